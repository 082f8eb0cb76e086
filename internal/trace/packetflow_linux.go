package trace

import "net/netip"

// baseline is what the handshake of a connection showed: who opened it, and
// how segments of each side look at each device. It makes the odd RST visible.
type baseline struct {
	client, server netip.AddrPort
	syn, synack    *handshake // nil when not seen
	fins           [2]uint64  // when each side's FIN was seen first, monotonic ns; 0 client, 1 server
}

// handshake is a SYN or a SYN-ACK.
type handshake struct {
	at     uint64 // monotonic ns
	seq    uint32
	window uint16
	ts     bool // timestamp option
	mptcp  bool
	points [maxPoints]point
	n      int
}

// point is a device, and the TTL that a segment had there.
type point struct {
	netns   uint64
	ifindex uint32
	ttl     uint8
}

const maxPoints = 6

// baselines remembers handshakes in two generations: when the young one is
// full, the old one is forgotten. What is still used moves to the young one.
type baselines struct {
	young, old map[conn]*baseline
	limit      int
}

func newBaselines(limit int) *baselines {
	return &baselines{young: map[conn]*baseline{}, old: map[conn]*baseline{}, limit: limit}
}

func (t *baselines) get(c conn) *baseline {
	if b := t.young[c]; b != nil {
		return b
	}
	b := t.old[c]
	if b != nil {
		t.put(c, b)
	}
	return b
}

func (t *baselines) put(c conn, b *baseline) {
	if len(t.young) >= t.limit {
		t.young, t.old = map[conn]*baseline{}, t.young
	}
	t.young[c] = b
}

// add takes a segment with SYN or FIN.
func (t *baselines) add(s *sighting) {
	p := &s.Packet
	src, dst := s.packetSrc(), s.packetDst()
	c := connOf(src, dst)
	b := t.get(c)
	switch {
	case p.Flags&(flagSYN|flagACK) == flagSYN:
		if b == nil || b.client != src || b.syn == nil || b.syn.seq != p.Seq {
			b = &baseline{client: src, server: dst, syn: newHandshake(s)} // a new connection, perhaps with the ports of an old one
			t.put(c, b)
		}
		b.syn.note(s)
	case p.Flags&flagSYN != 0:
		if b == nil || b.server != src {
			b = &baseline{client: dst, server: src}
			t.put(c, b)
		}
		if b.synack == nil || b.synack.seq != p.Seq {
			b.synack = newHandshake(s)
		}
		b.synack.note(s)
	case p.Flags&flagFIN != 0 && b != nil:
		side := 0
		if src == b.server {
			side = 1
		}
		if b.fins[side] == 0 {
			b.fins[side] = s.TimeNs
		}
	}
}

func newHandshake(s *sighting) *handshake {
	p := &s.Packet
	return &handshake{at: s.TimeNs, seq: p.Seq, window: p.Window, ts: hasTimestamp(p.Options, p.OptionsBytes),
		mptcp: findOption(p.Options, p.OptionsBytes, 30) != nil}
}

// note remembers the TTL at the device.
func (h *handshake) note(s *sighting) {
	if h.n < maxPoints {
		h.points[h.n] = point{s.Netns, s.Ifindex, s.Packet.Ttl}
		h.n++
	}
}

// ttl returns the TTL that the segment had at a device.
func (h *handshake) ttl(netns uint64, ifindex uint32) (uint8, bool) {
	if h == nil {
		return 0, false
	}
	for _, p := range h.points[:h.n] {
		if p.netns == netns && p.ifindex == ifindex {
			return p.ttl, true
		}
	}
	return 0, false
}

// of returns the segment by which addr took part in the handshake.
func (b *baseline) of(addr netip.AddrPort) *handshake {
	if addr == b.client {
		return b.syn
	}
	return b.synack
}

// finBefore says whether a side's FIN, or either's, was seen before the time.
func (b *baseline) finBefore(at uint64) bool {
	return b.fins[0] != 0 && b.fins[0] <= at || b.fins[1] != 0 && b.fins[1] <= at
}
