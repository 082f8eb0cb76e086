package tcp

import (
	"math/bits"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// TTLKind compares the TTL of the RST with that of most other segments of its
// side, or else of its address in other connections: same, near (one or two
// hops: another path), far (more, or it passed no router and its host's other
// segments did), other-start (another initial value: another
// stack), or unknown. There are devices that answer for a host at its distance,
// and hosts behind changing paths, so that neither same nor near says who it was.
func (e *Termination) TTLKind() string {
	ttl, usual, ok := e.Reset.TTL, uint8(0), false
	me := e.Sender()
	switch {
	case me.Segments > 0:
		if ttl == me.TTL || me.Bits&HasISN != 0 && ttl == me.SYNTTL || me.DataCount > 0 && ttl == me.DataTTL {
			return "same"
		}
		usual, ok = me.TTL, true
	case e.After.SenderTTL != 0:
		usual, ok = e.After.SenderTTL, true
	}
	if p := &e.Prior; p.Seen {
		if ttl == p.TTL {
			return "same"
		}
		if p.Mixed {
			return "unknown"
		}
		if !ok {
			usual, ok = p.TTL, true
		}
	}
	if q := e.Prior.Quiet; !ok && q != nil && q.TTL != 0 {
		usual, ok = q.TTL, true
	}
	if !ok {
		return "unknown"
	}
	d := Hops(ttl) - Hops(usual)
	switch {
	case ttl == usual:
		return "same"
	case StartTTL(ttl) != StartTTL(usual):
		if max(d, -d) <= 1 && Hops(usual) >= farAway && e.Reset.Flags&packet.ACK == 0 && e.Trigger.Frame != 0 {
			return "near"
		}
		return "other-start"
	case max(d, -d) > 2, Hops(ttl) == 0 && e.Conn.Dups == 0: // no path of a host behind routers has none
		return "far"
	}
	return "near"
}

// Usual is the TTL that TTLKind compares with, 0 when there is none.
func (e *Termination) Usual() uint8 {
	switch me := e.Sender(); {
	case me.Segments > 0:
		return me.TTL
	case e.After.SenderTTL != 0:
		return e.After.SenderTTL
	}
	if q := e.Prior.Quiet; !e.Prior.Seen && q != nil {
		return q.TTL
	}
	return e.Prior.TTL
}

// farAway is from how many routers on two stacks at the same distance are taken
// for one host: there are some whose RSTs for no socket start at another TTL.
const farAway = 4

// UsualSure reports whether several segments show the TTL that TTLKind compares
// with: a handshake alone may be that of a load balancer in front of the host.
func (e *Termination) UsualSure() bool {
	me, p := e.Sender(), &e.Prior
	return me.Segments >= 3 && me.Segments > uint32(me.SYNs) && me.Mostly() || me.Segments > uint32(me.SYNs) && p.Seen && p.TTL == me.TTL && p.Sure
}

// closeStep is a step of the IP identification that chance makes once in four
// thousand times.
const closeStep = 16

// Counter says how the IP identification of the RST fits the counters of its
// side and of its host: continues (it is one of the next values), fits (it may be,
// after a pause), breaks (a counter is known, and it is no value of it), copied,
// zero, or unknown. A counter of the host counts only where other segments of the
// side had part in it: newer Windows counts for each destination.
func (e *Termination) Counter() string {
	r, p, me := &e.Reset, &e.Prior, e.Sender()
	if r.V6 {
		return "unknown"
	}
	kind := e.IPIDKind()
	if kind == "zero" || kind == "counts-on" {
		return map[string]string{"zero": "zero", "counts-on": "continues"}[kind]
	}
	fits := false
	if p.Seen && p.IPID != 0 {
		step := p.step(r.IPID)
		if near(p.IPID, r.IPID, closeStep) || p.Shared && near(p.IPID, r.IPID, smallStep) || p.Shared && step > 0 && uint32(step) <= min(p.Allowed, hostStep) {
			return "continues"
		}
		fits = p.Shared && step > 0 && uint32(step) <= p.Allowed
	}
	counts, known := me.Counts()
	if known && counts && me.IPID != 0 {
		step := r.IPID - me.IPID
		if me.IPIDSwaps > me.IPIDSteps {
			step = bits.ReverseBytes16(r.IPID) - bits.ReverseBytes16(me.IPID)
		}
		fits = fits || step > 0 && uint32(step) <= max(p.Allowed, allowedStep(me.Segments, me.Last-e.Conn.Start, e.Time-me.Last))
	}
	switch {
	case kind == "copied":
		return "copied"
	case fits:
		return "fits"
	case p.Seen && p.Shared && me.Segments > uint32(me.IPIDZero), known && counts && r.Flags&packet.ACK != 0 && e.Trigger.Frame == 0:
		return "breaks"
	}
	return "unknown"
}

// near reports whether b is one of the next n values after a, in either order of
// bytes.
func near(a, b, n uint16) bool {
	return b-a-1 < n || bits.ReverseBytes16(b)-bits.ReverseBytes16(a)-1 < n
}

// bareAbort reports whether a RST without ACK is how its stack ends a live
// connection, as Windows XP, Windows CE, some BSDs and many controllers do: it
// answers nothing, has the next sequence number, and looks like its side's other
// segments.
func (e *Termination) bareAbort() bool {
	r, me := &e.Reset, e.Sender()
	if r.Flags&packet.ACK != 0 || e.Trigger.Frame != 0 || me.Bits&HasNext == 0 || r.Seq != me.Next || me.RSTs > 0 || me.Segments == 0 || r.TTL != me.TTL {
		return false
	}
	return e.Counter() == "continues" || r.Window != 0 && r.Window == me.Window && me.Bits&HasAcked != 0 && r.Ack == me.Acked
}

// GaveUp reports whether the side sent the same again in intervals that grow, and
// reset the connection an interval after the last time: its stack gave up.
func (e *Termination) GaveUp() bool {
	const least = 3
	if e.Sender().RetransRow < least {
		return false
	}
	var times []int64 // of its segments that were sent again, latest first
	for k := range Recent {
		r := e.Conn.Latest(k)
		if r == nil || r.Side != e.From && r.Len > 0 {
			break
		}
		if r.Side == e.From && r.Bits&SegResent != 0 {
			times = append(times, r.Time)
		}
	}
	if len(times) < least {
		return false
	}
	last, before := times[0]-times[1], times[1]-times[2]
	return last*10 >= before*15 && (e.Time-times[0])*10 >= last*13
}

// OddRefusal reports whether a RST+ACK answers a SYN and carries what no kernel
// puts into a refusal (RFC 9293 3.10.7.1: sequence number 0, and nothing that
// belongs to a connection): timestamps, a sequence number, or the window or IP
// identification of the SYN. Small stacks put their own window into it.
func (e *Termination) OddRefusal() bool {
	r := &e.Reset
	if r.Flags&packet.ACK == 0 || e.Sender().Bits&(HasISN|HasNext) != 0 || e.Receiver().Bits&HasISN == 0 {
		return false
	}
	syn := e.Receiver()
	if r.Ack != syn.Next || syn.Segments != uint32(syn.SYNs) {
		return false
	}
	return r.Options&packet.OptTimestamp != 0 || r.Window != 0 && r.Window == syn.Window || r.Seq != 0 || r.IPID != 0 && r.IPID == syn.IPID && !r.V6
}

// Ignored reports whether a refusal was none: the side's SYN-ACK came after it,
// for the same SYN.
func (e *Termination) Ignored() bool {
	return e.After.SynAckFirst && e.Sender().Bits&HasISN == 0 && e.Receiver().SYNs == 1 && e.Reset.Flags&packet.ACK != 0 && e.Reset.Ack == e.Receiver().ISN+1
}

// AckBeyond is how much the RST acknowledges that its receiver never sent, as far
// as the capture has it.
func (e *Termination) AckBeyond() int64 {
	r, peer := &e.Reset, e.Receiver()
	if r.Flags&packet.ACK == 0 || peer.Bits&HasNext == 0 || peer.Bits&SentGap != 0 || e.Conn.Bits&FromMiddle != 0 {
		return 0
	}
	return int64(max(int32(r.Ack-peer.Next), 0))
}

// Twin reports whether both ends were cut off at the same moment: by RSTs in both
// directions, or by a RST and, the other way, a segment that acknowledges what was
// never sent. Neither end can have heard of the other's in that time.
func (e *Termination) Twin() bool {
	a := &e.After
	if e.Trigger.Frame != 0 {
		return false // it answers something, as an end may at any moment
	}
	return e.Opposite.Frame != 0 && e.Time-e.Opposite.Time <= twinTime || a.ReceiverResets > 0 && a.ReceiverReset <= time.Duration(twinTime) || a.AckedBeyond
}

// MixedData reports whether a few segments of the RST's side came with another
// TTL than most of them.
func (e *Termination) MixedData() bool {
	me := e.Sender()
	return me.MinTTL != me.MaxTTL && me.Mostly() && !me.Steady()
}

// Mostly reports whether nearly all segments of a side have the same TTL.
func (s *Side) Mostly() bool { return int(s.ttlVotes)*4 >= int(min(s.Segments, 255))*3 }
