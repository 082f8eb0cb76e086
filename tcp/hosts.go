package tcp

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// Hosts remembers what the IPv4 addresses of a capture showed over all their
// connections. Many stacks (Windows, BSD, controllers) count the IP
// identification for the whole host, so that a RST can be compared with what its
// host sent just before to somebody else. It has hostPlaces places; an address whose
// place another one had within hostKeep is not remembered, and its segments are
// counted.
type Hosts struct {
	Refused int64              // segments of addresses for which there was no room
	tags    [hostPlaces]uint32 // address of each place, 0 when it is free: small enough to stay near the processor
	list    [hostPlaces]host
	noted   []noted // of RSTs that a table has not taken in yet, in the order of their frames
}

type noted struct {
	frame int64
	Prior
}

// The limits of what is remembered of hosts.
const (
	hostPlaces  = 1024
	hostLook    = 64 // of so many segments of addresses without a place one looks whether it is free
	hostKeep    = int64(10 * time.Second)
	hostStep    = 1024 // largest step of a counter that others use, too
	hostOrdered = 64   // a step back by so much is a packet that was overtaken
)

// host is one address.
type host struct {
	sum         uint32 // of the steps of its counter
	first, last int64
	quiet       *Quiet
	id          uint16
	flow        uint16 // of its latest segment
	steps       uint16 // that fit a counter in network order
	swaps       uint16 // that fit one in the other order
	jumps       uint16 // that fit none
	cross       uint16 // steps and swaps from one connection to another
	crossJumps  uint16
	ttl         uint8 // of most of its segments
	votes       uint8
	count       uint8 // segments, 255 at most
}

// Prior is what an address had shown before one of its RSTs, over all its
// connections.
type Prior struct {
	Seen    bool
	Shared  bool   // it counts the IP identification over all connections
	Sure    bool   // TTL is that of several segments
	Mixed   bool   // its segments come with all kinds of TTL, so that one more says nothing
	Swapped bool   // in the order of a little-endian processor
	TTL     uint8  // of most of its segments
	IPID    uint16 // the latest
	Allowed uint32 // the largest step since then that its own rate explains
	Gap     int64  // ns since its latest segment
	Quiet   *Quiet // what it did after the RST; nil when nobody noted it
}

// Quiet is how long a host was silent after a RST. RSTs of a host with nothing
// between them share one.
type Quiet struct {
	Since int64 // its latest RST, ns since 1970
	Next  int64 // its first other segment after that, 0 while there is none
	TTL   uint8 // of that
}

// Take takes in a segment of any connection. With ask, a table that has these
// Hosts takes it in next.
func (h *Hosts) Take(s *packet.Segment, ask bool) {
	switch {
	case s.V6:
	case s.Flags&packet.RST == 0:
		h.Sent(binary.BigEndian.Uint32(s.Src[12:]), s.SrcPort^s.DstPort^binary.BigEndian.Uint16(s.Dst[14:]), s.IPID, s.TTL, s.Time)
	default:
		p := h.Reset(binary.BigEndian.Uint32(s.Src[12:]), s.IPID, s.Time)
		if ask {
			h.noted = append(h.noted, noted{s.Frame, p})
		}
	}
}

// take returns what was noted for the RST of a frame.
func (h *Hosts) take(frame int64) (p Prior) {
	n := 0
	for n < len(h.noted) && h.noted[n].frame <= frame {
		if h.noted[n].frame == frame {
			p = h.noted[n].Prior
		}
		n++
	}
	if n == len(h.noted) {
		h.noted = h.noted[:0]
	} else {
		h.noted = h.noted[n:]
	}
	return p
}

// Reset takes in a RST of an address, with its IP identification, and returns
// what the address had shown before. One that does not fit what the host had
// sent leaves its counter alone: the host may not have sent it.
func (h *Hosts) Reset(addr uint32, id uint16, now int64) (p Prior) {
	i := place(addr)
	x := &h.list[i]
	if h.tags[i] != addr {
		if !h.free(i, now) {
			return p
		}
		h.tags[i] = addr
		*x = host{first: max(now, 1), last: now}
	}
	if x.count > 0 {
		p = x.prior(now)
	}
	if x.quiet == nil || x.quiet.Next != 0 {
		x.quiet = &Quiet{}
	}
	x.quiet.Since, p.Quiet = now, x.quiet
	if step := p.step(id); id != 0 && step > 0 && step <= hostOrdered {
		x.id = id
	}
	return p
}

// Sent takes in a segment that is no RST: of an address in one of its
// connections, with the IP identification and TTL that it had, at a time.
func (h *Hosts) Sent(addr uint32, flow, id uint16, ttl uint8, now int64) {
	i := place(addr)
	x := &h.list[i]
	if h.tags[i] != addr {
		if !h.free(i, now) {
			return
		}
		h.tags[i] = addr
		*x = host{first: max(now, 1), ttl: ttl, id: id, flow: flow}
	}
	if x.quiet != nil && x.quiet.Next == 0 {
		x.quiet.Next, x.quiet.TTL = now, ttl
	}
	x.last = now
	vote(&x.ttl, &x.votes, ttl)
	if x.count < 255 {
		x.count++
	}
	if id == 0 {
		return
	}
	if x.id != 0 && x.id != id {
		x.step(id, flow != x.flow)
	}
	x.id, x.flow = id, flow
}

// free reports whether a place may be taken, and counts when not.
func (h *Hosts) free(i uint32, now int64) bool {
	if h.tags[i] == 0 {
		return true
	}
	h.Refused++
	return h.Refused%hostLook == 0 && now-h.list[i].last >= hostKeep
}

// place is where an address is remembered.
func place(addr uint32) uint32 { return addr * 0x9e3779b1 >> 22 & (hostPlaces - 1) }

// step counts how the IP identification went on.
func (x *host) step(id uint16, other bool) {
	native, swapped := id-x.id, bits.ReverseBytes16(id)-bits.ReverseBytes16(x.id)
	switch least := min(native, swapped); {
	case least <= hostStep && native <= swapped:
		x.steps = inc(x.steps)
	case least <= hostStep:
		x.swaps = inc(x.swaps)
	case -native <= hostOrdered || -swapped <= hostOrdered:
		return
	default:
		x.jumps = inc(x.jumps)
		if other {
			x.crossJumps = inc(x.crossJumps)
		}
		return
	}
	x.sum += uint32(min(native, swapped))
	if other {
		x.cross = inc(x.cross)
	}
}

func inc(n uint16) uint16 {
	if n == 65535 {
		return n
	}
	return n + 1
}

// prior is what a host has shown until now.
func (x *host) prior(now int64) Prior {
	p := Prior{Seen: true, TTL: x.ttl, Sure: x.votes >= 3, Mixed: x.count >= 4 && x.votes < x.count/2, IPID: x.id, Gap: now - x.last}
	good := max(x.steps, x.swaps)
	p.Swapped = x.swaps > x.steps
	p.Shared = x.cross >= 2 && x.crossJumps*8 <= x.cross && int(good)*10 >= (int(x.steps)+int(x.swaps)+int(x.jumps))*9
	p.Allowed = allowedStep(x.sum, x.last-x.first, p.Gap)
	return p
}

// allowedStep is the largest step after a pause that a counter takes which took
// sum steps in a time: four times its rate, and a few.
func allowedStep(sum uint32, in, gap int64) uint32 {
	const few, most = 256, 1 << 15
	if in <= 0 || gap <= 0 {
		return few
	}
	return uint32(min(few+4*float64(sum)*float64(gap)/float64(in), most))
}

// step is how far an IP identification is ahead of the host's latest.
func (p *Prior) step(id uint16) uint16 {
	if p.Swapped {
		return bits.ReverseBytes16(id) - bits.ReverseBytes16(p.IPID)
	}
	return id - p.IPID
}
