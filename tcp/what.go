package tcp

import (
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// Phase says where in its life the connection was: connect, established,
// closing (a FIN was seen), closed (both were, or somebody had reset it) or
// none (nothing but the RST is in the capture).
func (e *Termination) Phase() string {
	c := &e.Conn
	a, b := &c.Sides[0], &c.Sides[1]
	switch {
	case e.Trigger.Frame != 0 && e.Trigger.Flags&(packet.SYN|packet.ACK) == packet.SYN && e.Sender().Bits&HasISN == 0:
		return "connect" // also when an earlier SYN was refused
	case a.RSTs+b.RSTs > 0:
		return "closed"
	case a.Segments+b.Segments == 0:
		return "none"
	case a.Bits&b.Bits&(SentFIN|FinAcked) == SentFIN|FinAcked:
		return "closed"
	case (a.Bits|b.Bits)&SentFIN != 0:
		return "closing"
	case c.Bits&Established != 0:
		return "established"
	case c.Sides[c.Client].Bits&HasISN != 0 || c.Sides[c.Server()].Bits&HasISN != 0:
		return "connect"
	}
	return "established"
}

// Form names what the RST looks like: active-abort (RST+ACK of a live socket, or
// what its stack sends instead, see bareAbort),
// reply (a bare RST that answers a segment, RFC 9293 3.10.7.1), refusal (RST+ACK
// that answers a SYN) or other.
func (e *Termination) Form() string {
	r := &e.Reset
	if r.Flags&packet.ACK == 0 {
		if e.bareAbort() {
			return "active-abort"
		}
		return "reply"
	}
	if r.Seq == 0 || e.zeroRelative() {
		if p := e.Receiver(); p.Bits&HasISN != 0 && !before(r.Ack, p.ISN+1) && !after(r.Ack, p.Next) && e.Sender().Bits&HasISN == 0 {
			return "refusal"
		}
		if e.Trigger.Frame != 0 || r.Seq == 0 && e.Phase() == "none" && r.Window == 0 {
			return "refusal"
		}
	}
	return "active-abort"
}

// zeroRelative reports whether the RST refuses a SYN with a sequence number
// other than 0, as some devices do: the side had sent nothing else.
func (e *Termination) zeroRelative() bool { return e.Sender().Bits&(HasNext|HasISN) == 0 }

// Sender is the side whose address the RST carries.
func (e *Termination) Sender() *Side { return &e.Conn.Sides[e.From] }

// Receiver is the other side.
func (e *Termination) Receiver() *Side { return &e.Conn.Sides[1-e.From] }

// FromServer reports whether the RST carries the server's address.
func (e *Termination) FromServer() bool { return e.From == e.Conn.Server() }

// lostRecord is how far beyond what was seen a sequence number lies when the
// capture misses a last small record and a FIN: a TLS close_notify takes 24 to 69
// bytes.
const lostRecord = 80

// Place says where the sequence number of the RST lies: next (what its side
// sends next), acked (what the other side awaits, although more had been sent),
// answer (the acknowledgement of the trigger), behind, beyond, or unknown.
func (e *Termination) Place() string {
	me, peer := e.Sender(), e.Receiver()
	seq := e.Reset.Seq
	switch {
	case e.Form() == "refusal":
		return "answer"
	case me.Bits&HasNext != 0 && seq == me.Next:
		return "next"
	case peer.Bits&HasAcked != 0 && seq == peer.Acked:
		return "acked"
	case e.Trigger.Frame != 0:
		return "answer"
	case me.Bits&HasNext == 0 && peer.Bits&HasAcked == 0:
		return "unknown"
	case me.Bits&HasNext != 0 && after(seq, me.Next):
		if seq-me.Next <= lostRecord {
			return "unknown"
		}
		return "beyond"
	}
	return "behind"
}

// Offset is the sequence number of the RST minus what the receiver awaits, as
// far as its acknowledgements tell; ok is false when it sent none.
func (e *Termination) Offset() (offset int64, ok bool) {
	peer := e.Receiver()
	if peer.Bits&HasAcked == 0 {
		return 0, false
	}
	return int64(int32(e.Reset.Seq - peer.Acked)), true
}

// Accepted says what the receiver makes of the RST by RFC 5961 3.2 and RFC 9293
// 3.10.7.3, and by what it did afterwards: accepted, challenged, ignored or
// unknown.
func (e *Termination) Accepted() string {
	peer, r := e.Receiver(), &e.Reset
	if e.Corrupt {
		return "ignored"
	}
	if e.Phase() == "connect" && e.FromServer() && peer.Bits&HasAcked == 0 { // the receiver is in SYN-SENT
		if r.Flags&packet.ACK == 0 || peer.Bits&HasISN != 0 && r.Ack != peer.ISN+1 && r.Ack != peer.Next {
			return "ignored"
		}
		return "accepted"
	}
	if e.After.ReceiverNew && e.After.ReceiverData > 0 && e.After.ReceiverSYN == 0 && e.Phase() != "closed" {
		if e.After.Challenge != 0 {
			return "challenged"
		}
		return "ignored"
	}
	offset, ok := e.Offset()
	if !ok {
		return "unknown"
	}
	window := int64(peer.Window) << e.scale(peer)
	switch me := e.Sender(); {
	case offset == 0 || me.Bits&HasNext != 0 && r.Seq == me.Next:
		return "accepted"
	case offset > 0 && offset < max(window, 1):
		if e.After.Challenge != 0 || e.After.ReceiverNew {
			return "challenged"
		}
		return "unknown"
	}
	return "ignored"
}

// scale is the shift of a side's window field; windows are scaled only when
// both ends asked for it (RFC 7323 2.2).
func (e *Termination) scale(s *Side) uint8 {
	if e.Conn.Sides[0].Bits&e.Conn.Sides[1].Bits&HasScale == 0 {
		return 0
	}
	return s.Scale
}

// Provoked reports whether something that the other side sent explains the
// RST; known is false when the capture began too late to tell, or when more
// passed in the time of an answer than is remembered.
func (e *Termination) Provoked() (provoked, known bool) {
	if e.Trigger.Frame != 0 {
		return true, true
	}
	c := &e.Conn
	if e.Receiver().Segments < 3 || c.Bits&FromMiddle != 0 {
		return false, false
	}
	if c.n <= Recent {
		return false, true
	}
	oldest := c.Latest(Recent - 1)
	return false, !c.inTime(e.Time-oldest.Time, oldest, e.From)
}

// Idle is how long no data had passed before the act that led to the RST: its
// trigger's data, the FIN of its sender, or itself. ok is false when no data
// passed at all.
func (e *Termination) Idle() (time.Duration, bool) {
	a, b := e.Sender(), e.Receiver()
	act, last := e.Time, max(a.LastData, b.LastData)
	if a.FinTime != 0 {
		act = a.FinTime
		last = lastBefore(act, a.LastData, b.LastData)
	} else if e.Trigger.Frame != 0 && e.Trigger.Len > 0 {
		act, last = e.Trigger.Time, lastBefore(e.Trigger.Time-1, a.LastData, e.dataBefore(e.Trigger.Frame))
	}
	if last == 0 || act < last {
		return 0, false
	}
	return time.Duration(act - last), true
}

func lastBefore(t int64, times ...int64) (last int64) {
	for _, x := range times {
		if x <= t {
			last = max(last, x)
		}
	}
	return last
}

// dataBefore is when the latest remembered data passed before a frame; 0 when
// none is remembered.
func (e *Termination) dataBefore(frame int64) int64 {
	for k := range Recent {
		r := e.Conn.Latest(k)
		if r == nil {
			break
		}
		if r.Frame < frame && r.Len > 0 && r.Bits&(SegProbe|SegResent) == 0 {
			return r.Time
		}
	}
	return 0
}

// Unanswered is how many bytes the other side had sent since the sender of the
// RST last sent data: a request without an answer.
func (e *Termination) Unanswered() (n int64) {
	for k := range Recent {
		r := e.Conn.Latest(k)
		if r == nil || r.Side == e.From && r.Len > 0 && r.Bits&SegProbe == 0 {
			break
		}
		if r.Side != e.From && r.Bits&(SegResent|SegProbe) == 0 {
			n += int64(r.Len)
		}
	}
	return n
}

// Unacked is how many bytes of data of the other side the sender of the RST had not
// acknowledged, the RST itself included.
func (e *Termination) Unacked() (n int64, ok bool) {
	me, peer := e.Sender(), e.Receiver()
	if peer.Bits&HasNext == 0 {
		return 0, false
	}
	acked, known := me.Acked, me.Bits&HasAcked != 0
	if e.Reset.Flags&packet.ACK != 0 && e.Form() == "active-abort" && (!known || after(e.Reset.Ack, acked)) {
		acked, known = e.Reset.Ack, true
	}
	if !known {
		return 0, false
	}
	next := peer.Next
	if peer.Bits&SentFIN != 0 && next == peer.FinSeq+1 { // a FIN is no data
		next--
	}
	return int64(max(int32(next-acked), 0)), true
}

// Reaction is the time from the segment that the RST answers, or else from the
// latest of the other side, to the RST; ok is false when there is none.
func (e *Termination) Reaction() (time.Duration, bool) {
	if e.Trigger.Frame != 0 {
		return time.Duration(e.Time - e.Trigger.Time), true
	}
	for k := range Recent {
		if r := e.Conn.Latest(k); r != nil && r.Side != e.From {
			return time.Duration(e.Time - r.Time), true
		}
	}
	return 0, false
}

// handshakeDoubt divides a round trip that was measured once: that segment, mostly
// the SYN, may have waited.
const handshakeDoubt = 8

// TooFast reports whether the RST answered faster than its supposed sender can
// be reached: in less than half of the least round trip ever seen to it. Of
// several segments that it may answer, as in a transfer, the earliest counts.
// known is false when the round trip is unknown or too short to tell, or when
// what is remembered does not reach back that far.
func (e *Termination) TooFast() (fast, known bool) {
	rtt := int64(e.Sender().RTT) * int64(time.Microsecond)
	if e.Sender().Bits&RTTOften == 0 {
		rtt /= handshakeDoubt
	}
	if rtt < int64(2*time.Millisecond) {
		return false, false
	}
	if e.Trigger.Frame == 0 {
		return e.acksTooFast(rtt)
	}
	for k := range Recent {
		r := e.Conn.Latest(k)
		if r == nil {
			return true, true // the whole connection is remembered
		}
		gap := e.Time - r.Time
		if r.Side != e.From && gap >= rtt/2 && answers(&e.Reset, r) && e.Conn.inTime(gap, r, e.From) && !e.Conn.settled(r, e.From) {
			return false, true
		}
		if gap >= 2*rtt {
			return true, true
		}
	}
	return false, false
}

// acksTooFast is TooFast for a RST+ACK that answers nothing: it acknowledges data
// that cannot have reached its supposed sender yet.
func (e *Termination) acksTooFast(rtt int64) (fast, known bool) {
	if e.Reset.Flags&packet.ACK == 0 {
		return false, false
	}
	for k := range Recent {
		if r := e.Conn.Latest(k); r != nil && r.Side != e.From && r.Len > 0 && r.End() == e.Reset.Ack && r.Bits&SegResent == 0 {
			return e.Time-r.Time < rtt/2, true
		}
	}
	return false, false
}

// Hops estimates how many routers a packet has passed, from the usual initial
// values of the TTL.
func Hops(ttl uint8) int {
	for _, start := range []int{32, 64, 128, 255} {
		if int(ttl) <= start {
			return start - int(ttl)
		}
	}
	return 0
}

// StartTTL is the initial TTL that Hops assumes.
func StartTTL(ttl uint8) int { return int(ttl) + Hops(ttl) }

// IPIDKind says how the IP identification of the RST relates to its side's:
// zero, counts-on (the next values of the sender's own counter), copied (that
// of the segment it answers, or of the other side's latest), jump, or unknown
// (IPv6, or nothing to compare with).
func (e *Termination) IPIDKind() string {
	me, peer, r := e.Sender(), e.Receiver(), &e.Reset
	if r.V6 {
		return "unknown"
	}
	next := me.IPID != 0 && me.Segments > uint32(me.IPIDZero) && (r.IPID-me.IPID-1 < smallStep || near(me.IPID, r.IPID, closeStep))
	switch {
	case r.IPID == 0:
		return "zero"
	case e.Trigger.Frame != 0 && e.Trigger.IPID == r.IPID && !next:
		return "copied"
	case e.Trigger.Frame == 0 && peer.Segments > 0 && peer.IPID == r.IPID && !next:
		return "copied"
	case me.Segments == 0 || me.Segments == uint32(me.IPIDZero):
		return "unknown"
	case next:
		return "counts-on"
	}
	return "jump"
}

// Counts reports whether the side's own segments show one IP identification
// counter, so that a jump means something; known is false with too few.
func (s *Side) Counts() (counts, known bool) {
	good := int(max(s.IPIDSteps, s.IPIDSwaps))
	n := int(s.IPIDSteps) + int(s.IPIDSwaps) + int(s.IPIDJumps)
	if n == 0 || n < 3 && good < n {
		return false, false
	}
	return good*10 >= n*9, true
}

// Negotiated reports whether both SYNs carried an option, of HasTS, SACKOK,
// HasScale or MPTCP; known is false when one of them is not in the capture.
func (c *Conn) Negotiated(bit SideBits) (both, known bool) {
	a, b := c.Sides[0].Bits, c.Sides[1].Bits
	if a&b&HasISN == 0 {
		return false, false
	}
	return a&b&bit != 0, true
}

// Alive reports whether the sender's TCP went on after its own RST, which the
// TCP of a connection that it aborted cannot. Segments within a millisecond
// may have been reordered.
func (e *Termination) Alive() bool {
	a, me := &e.After, e.Sender()
	if me.Segments > 0 && a.SenderTTL != 0 && a.SenderTTL != me.TTL && e.Reset.TTL == me.TTL {
		return false // what came later is not its own
	}
	return e.Ignored() || a.SenderSYN == 0 && (a.SenderNew || a.SenderData > 0 && a.SenderDelay > time.Duration(overtaken)) && a.SenderDelay > 0
}

// Sane reports whether the connection is well-formed as far as it goes: both
// ends opened it, and neither acknowledged what the other never sent. In fuzzed
// or incomplete captures nothing follows from an odd number.
func (c *Conn) Sane() bool {
	a, b := &c.Sides[0], &c.Sides[1]
	return a.Bits&b.Bits&HasISN != 0 && c.Bits&Established != 0 && a.Absurd+b.Absurd == 0 && a.Steady() && b.Steady()
}

// Steady reports whether the segments of a side came from one distance, or
// from one for its handshake and another for its data.
func (s *Side) Steady() bool {
	known := func(ttl uint8) bool { return ttl == s.SYNTTL || ttl == s.DataTTL }
	return s.MinTTL == s.MaxTTL || known(s.MinTTL) && known(s.MaxTTL)
}
