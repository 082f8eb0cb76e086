package tcp

import (
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// Kind says in which way a connection ended badly.
type Kind uint8

// The kinds.
const (
	ByReset     Kind = iota // a RST segment
	ByICMPError             // an ICMP error refused the attempt to connect
	NoAnswer                // nobody answered the SYN, or the SYN-ACK
	BySilence               // data was sent again and again and never acknowledged
)

// PayloadKept is how much of the data in a RST is kept (RFC 9293 3.5.2 allows
// diagnostic text).
const PayloadKept = 256

// Termination is a RST, or another bad end, with the connection as it was then.
type Termination struct {
	Conn  Conn // before the RST
	Kind  Kind
	From  uint8 // side whose address the RST carries; of the others, the side that did not answer
	Frame int64
	Time  int64

	Reset     packet.Segment // the RST, without Payload
	Payload   string         // its data, at most PayloadKept bytes
	Corrupt   bool           // its checksum is wrong, others of its side were right
	Nth       int            // of the RSTs of this side, from 1
	NthOfConn int            // of the RSTs of the connection, from 1
	Folded    int            // further RSTs of this side that got no ending of their own

	Trigger    Seg           // what the RST answers, Frame 0 when nothing fits
	Previous   Seg           // the RST of the same side before this one, Frame 0 when none
	Opposite   Seg           // the latest RST of the other side before, Frame 0 when none
	Prior      Prior         // what its address had shown before, in all connections
	After      After         // what came later
	Watched    time.Duration // how long the capture went on for this connection
	CaptureEnd int64         // time of the latest segment that the table had seen
}

// After is what the ends did once the RST was seen.
type After struct {
	SenderData     int           // segments with data of the side that had sent the RST
	SenderAcks     int           // its other segments, RSTs excepted
	SenderSYN      int           // its SYNs
	SenderNew      bool          // its data or acknowledgements went beyond what it had sent before: its TCP lives
	SenderFirst    int64         // frame of the first of them
	SenderDelay    time.Duration // from the RST to that
	ReceiverData   int           // segments with data of the other side
	ReceiverAcks   int
	ReceiverSYN    int
	ReceiverNew    bool  // data never sent before: its connection goes on
	ReceiverFirst  int64 // frame of the first
	ReceiverDelay  time.Duration
	Challenge      int64 // frame of an acknowledgement without news right after the RST (RFC 5961 3.2)
	SenderResets   int   // later RSTs of the same side
	ReceiverResets int
	ReceiverReset  time.Duration // from the RST to the first RST of the other side, 0 when there was none
	SynAckFirst    bool          // its side's SYN-ACK came after the RST, and before another SYN
	SynAckDelay    time.Duration // from the RST to that
	AckedBeyond    bool          // the other side acknowledged at the same moment what the RST's side had never sent
	SenderTTL      uint8         // TTL of the first segment of its side after it, 0 when there was none
	SeqStep        uint32        // sequence number of the next RST of the same side minus this one's
	IPIDStep       uint16        // the same of the IP identification
	SeqChanged     bool          // a later RST of the same side has another sequence number
	AckChanged     bool
	Beyond         bool // a later RST lies beyond all that its side had sent
}

// reset makes an ending of a RST segment.
func (t *Table) reset(i int32, c *Conn, s *packet.Segment, side uint8, corrupt bool) {
	t.Stats.RSTs++
	me := &c.Sides[side]
	peer := &c.Sides[1-side]
	list := t.pending[i]
	if c.isCopyOfReset(list, s, side) {
		t.Stats.RSTs--
		t.Stats.Copies++
		c.Dups++
		return
	}
	if len(list) >= t.opt.PerConn {
		t.Stats.Folded++
		list[len(list)-1].Folded++
		me.RSTs++
		return
	}
	e := t.ending()
	e.Conn, e.Kind, e.From, e.Frame, e.Time = *c, ByReset, side, s.Frame, s.Time
	e.Reset, e.Corrupt = *s, corrupt
	e.Reset.Payload = nil
	e.Payload = string(s.Payload[:min(len(s.Payload), PayloadKept)])
	e.Nth, e.NthOfConn = int(me.RSTs)+1, int(me.RSTs)+int(peer.RSTs)+1
	e.Trigger = c.trigger(s, side)
	e.Previous, e.Opposite = lastReset(list, side), lastReset(list, 1-side)
	if t.opt.Hosts != nil {
		e.Prior = t.opt.Hosts.take(s.Frame)
	}
	for _, old := range list {
		old.followUp(s, side, me)
	}
	t.pending[i] = append(list, e)
	t.waiting++
	t.wake = lookNow
	if c.Bits&pending == 0 {
		t.due = append(t.due, i)
	}
	c.Bits |= pending | Reported
	if me.RSTs == 0 {
		me.RSTTime = s.Time
	}
	me.RSTs++
	t.hurry(t.opt.Waiting)
}

// hurry hands out the oldest endings until no more than so many wait.
func (t *Table) hurry(most int) {
	for t.waiting > most {
		t.Stats.Hurried++
		i := t.due[0]
		t.due = t.due[1:]
		t.release(i)
	}
}

// ending returns an empty ending, one that nobody kept if there is one.
func (t *Table) ending() *Termination {
	n := len(t.spare)
	if n == 0 {
		return &Termination{}
	}
	e := t.spare[n-1]
	t.spare = t.spare[:n-1]
	*e = Termination{}
	return e
}

// Recycle gives back an ending that OnEnd was called with and that is not kept:
// the table will fill it again. A flood of resets then makes no garbage.
func (t *Table) Recycle(e *Termination) {
	if len(t.spare) < maxSpare {
		t.spare = append(t.spare, e)
	}
}

// isCopyOfReset is isCopy for segments that are not remembered.
func (c *Conn) isCopyOfReset(list []*Termination, s *packet.Segment, side uint8) bool {
	for k := len(list) - 1; k >= max(0, len(list)-4); k-- {
		e := list[k]
		r := &e.Reset
		if e.From != side || r.Seq != s.Seq || r.Ack != s.Ack || r.Flags != s.Flags || r.IPID != s.IPID ||
			r.Window != s.Window || s.Time-r.Time > copyWindow || s.Time < r.Time {
			continue
		}
		if r.TTL != s.TTL || r.LinkSrc != s.LinkSrc || r.VLAN != s.VLAN || s.IPID != 0 && c.Dups > 0 || c.Dups > 2 {
			return true
		}
	}
	return false
}

func lastReset(list []*Termination, side uint8) Seg {
	for k := len(list) - 1; k >= 0; k-- {
		if e := list[k]; e.From == side {
			return e.seg()
		}
	}
	return Seg{}
}

// seg is the RST as a remembered segment.
func (e *Termination) seg() Seg {
	s := &e.Reset
	return Seg{
		Frame: s.Frame, Time: s.Time, Seq: s.Seq, Ack: s.Ack, Len: uint32(s.Length), IPID: s.IPID,
		Window: s.Window, Flags: s.Flags, TTL: s.TTL, Side: e.From, Bits: segBits(s),
	}
}

// followUp notes a later RST.
func (e *Termination) followUp(s *packet.Segment, side uint8, sender *Side) {
	if side != e.From {
		if e.After.ReceiverResets++; e.After.ReceiverResets == 1 {
			e.After.ReceiverReset = time.Duration(max(s.Time-e.Time, 1))
		}
		return
	}
	if e.After.SenderResets++; e.After.SenderResets == 1 {
		e.After.SeqStep, e.After.IPIDStep = s.Seq-e.Reset.Seq, s.IPID-e.Reset.IPID
	}
	if s.Seq != e.Reset.Seq {
		e.After.SeqChanged = true
	}
	if s.Flags&e.Reset.Flags&packet.ACK != 0 && s.Ack != e.Reset.Ack {
		e.After.AckChanged = true
	}
	if sender.Bits&HasNext != 0 && after(s.Seq, sender.Next) && after(s.Seq, e.Reset.Seq) {
		e.After.Beyond = true
	}
}

// trigger finds the segment that a RST answers: of the other side, the latest
// that RFC 9293 3.10.7.1 makes a stack answer so.
func (c *Conn) trigger(s *packet.Segment, side uint8) Seg {
	var taken uint32 // highest acknowledgement of side after the segment at hand
	known := false
	for k := range Recent {
		r := c.Latest(k)
		if r == nil {
			break
		}
		if r.Side == side {
			if r.Flags&packet.ACK != 0 && (!known || after(r.Ack, taken)) {
				taken, known = r.Ack, true
			}
			continue
		}
		accepted := r.Len > 0 && known && !before(taken, r.Seq+r.Len) // its data was taken by a living socket
		if (answers(s, r) || c.echoes(s, r, side)) && !accepted && c.inTime(s.Time-r.Time, r, side) && !c.settled(r, side) {
			return *r
		}
	}
	return Seg{}
}

// A stack answers at once. answerTime is what is granted besides round trips for
// queues, unknownTime when the round trip is not known, and refuseTime for a
// gateway that must ask elsewhere before it refuses.
const (
	answerTime  = int64(100 * time.Millisecond)
	unknownTime = int64(time.Second)
	refuseTime  = int64(5 * time.Second)
)

// settled reports whether a segment only acknowledges data that a side had just
// sent: who sent that data has a connection, and takes its acknowledgement in
// silence. After a RST of its own or of the other side it has none, and answers that
// too.
func (c *Conn) settled(r *Seg, side uint8) bool {
	me := &c.Sides[side]
	return me.RSTs == 0 && c.Sides[1-side].RSTs == 0 && r.Len == 0 && r.Flags&(packet.SYN|packet.FIN) == 0 && r.Bits&SegProbe == 0 &&
		me.DataCount > 0 && me.Bits&SentFIN == 0 && r.Ack == me.Next && r.Time-me.LastData < int64(time.Second)
}

// twinTime is how soon after each other RSTs to both ends are one act: sooner
// than any of the ends could have heard of the other's.
const twinTime = int64(100 * time.Microsecond)

// inTime reports whether a RST so long after a segment can be its answer.
func (c *Conn) inTime(gap int64, r *Seg, side uint8) bool {
	if r.Flags&packet.SYN != 0 {
		return gap <= refuseTime
	}
	rtt := int64(c.Sides[side].RTT)
	if rtt == 0 {
		return gap <= unknownTime
	}
	return gap <= answerTime+3*1000*rtt
}

// echoes reports whether a RST+ACK of a side that has no connection any more, by
// a RST of its own, takes its numbers from a segment: no stack does that, but
// devices do that have lost the connection.
func (c *Conn) echoes(s *packet.Segment, r *Seg, side uint8) bool {
	return c.Sides[side].RSTs > 0 && s.Flags&packet.ACK != 0 && r.Flags&(packet.ACK|packet.RST) == packet.ACK && s.Seq == r.Ack && s.Ack == r.End()
}

// answers reports whether a RST is what a stack that knows no connection, or
// one that does not accept the acknowledgement, says to a segment.
func answers(s *packet.Segment, r *Seg) bool {
	switch {
	case r.Flags&packet.RST != 0:
		return false
	case s.Flags&packet.ACK == 0:
		return r.Flags&packet.ACK != 0 && r.Ack == s.Seq
	case s.Seq == 0:
		return r.Flags&packet.ACK == 0 && s.Ack == r.End()
	}
	return false
}

// afterwards adds a segment to the endings of its connection that wait.
func (t *Table) afterwards(i int32, c *Conn, s *packet.Segment, side uint8) {
	if s.Flags&packet.RST != 0 {
		return
	}
	for _, e := range t.pending[i] {
		if side == e.From {
			e.After.sender(e, s)
		} else {
			e.After.receiver(e, s)
		}
	}
}

// overtaken is how long after a RST a segment can come that its side had sent
// before it.
const overtaken = int64(2 * time.Millisecond)

func (a *After) sender(e *Termination, s *packet.Segment) {
	if a.SenderTTL == 0 {
		a.SenderTTL = s.TTL
	}
	if s.Flags&packet.SYN != 0 {
		if a.SenderSYN++; a.SenderSYN == 1 && a.ReceiverSYN == 0 && s.Flags&packet.ACK != 0 && s.Ack == e.Receiver().ISN+1 {
			a.SynAckFirst, a.SynAckDelay = true, time.Duration(s.Time-e.Time)
		}
		return
	}
	if a.SenderFirst == 0 {
		a.SenderFirst, a.SenderDelay = s.Frame, time.Duration(s.Time-e.Time)
	}
	was := &e.Conn.Sides[e.From]
	if s.Length > 0 {
		a.SenderData++
		if end := s.Seq + uint32(s.Length); was.Bits&HasNext != 0 && after(end, was.Next) && (after(end, e.Reset.Seq) || s.Time-e.Time > overtaken) {
			a.SenderNew = true
		}
	} else {
		a.SenderAcks++
	}
	if s.Flags&packet.ACK != 0 && was.Bits&HasAcked != 0 && after(s.Ack, was.Acked) && s.Time-e.Time > overtaken {
		a.SenderNew = true
	}
}

func (a *After) receiver(e *Termination, s *packet.Segment) {
	if s.Flags&packet.SYN != 0 {
		a.ReceiverSYN++
		return
	}
	if a.ReceiverFirst == 0 {
		a.ReceiverFirst, a.ReceiverDelay = s.Frame, time.Duration(s.Time-e.Time)
	}
	was := &e.Conn.Sides[1-e.From]
	if me := e.Sender(); s.Flags&packet.ACK != 0 && me.Bits&HasNext != 0 && after(s.Ack, me.Next+1) && s.Time-e.Time <= twinTime {
		a.AckedBeyond = true
	}
	if s.Length > 0 {
		a.ReceiverData++
		if was.Bits&HasNext != 0 && after(s.Seq+uint32(s.Length), was.Next) && (a.Challenge != 0 || s.Time-e.Time > 2*1000*int64(was.RTT)+5*int64(time.Millisecond)) {
			a.ReceiverNew = true
		}
		return
	}
	a.ReceiverAcks++
	if s.Flags&(packet.ACK|packet.FIN) == packet.ACK && was.Bits&HasAcked != 0 && s.Ack == was.Acked && a.Challenge == 0 && s.Seq == was.Next {
		a.Challenge = s.Frame
	}
	if was.Bits&HasAcked != 0 && after(s.Ack, was.Acked) {
		a.ReceiverNew = true
	}
}

// release hands out the endings of a connection that have waited.
func (t *Table) release(i int32) {
	list := t.pending[i]
	t.pending[i] = nil
	t.waiting -= len(list)
	t.wake = lookNow
	c := t.at(i)
	c.Bits &^= pending
	for _, e := range list {
		t.emit(e, c)
	}
	if clear(list); cap(list) == 1 { // most connections have one RST
		t.pending[i] = list[:0]
	}
}

func (t *Table) emit(e *Termination, c *Conn) {
	e.CaptureEnd = t.now
	e.Watched = time.Duration(max(c.Last, e.Time) - e.Time)
	t.Stats.Terminations++
	t.opt.OnEnd(e)
}

// finish ends a connection: what waits is handed out, and what ended without a
// RST becomes an ending now.
func (t *Table) finish(i int32, c *Conn) {
	if c.Bits&pending != 0 {
		t.release(i)
	}
	if c.Bits&Reported != 0 {
		return
	}
	kind, from, ok := c.died(t.now)
	if !ok {
		return
	}
	e := t.ending()
	e.Conn, e.Kind, e.From = *c, kind, from
	last := c.Latest(0)
	if last != nil {
		e.Frame, e.Time = last.Frame, last.Time
	}
	if kind == ByICMPError {
		e.Frame, e.Time = c.ICMPError.Frame, c.ICMPError.Time
	}
	c.Bits |= Reported
	t.emit(e, c)
}

// quiet is how long a capture must have gone on for silence to mean something,
// and patience how many transmissions must have stayed unanswered.
const (
	quiet    = int64(time.Second)
	patience = 2
)

// died reports whether a connection ended without a RST, and which side did
// not answer. The capture must have gone on for longer than the last pause
// between two transmissions.
func (c *Conn) died(now int64) (kind Kind, silent uint8, ok bool) {
	client, server := &c.Sides[c.Client], &c.Sides[c.Server()]
	if c.Bits&SawICMPError != 0 && c.Bits&Established == 0 {
		return ByICMPError, c.Server(), true
	}
	if c.Bits&Established == 0 && client.SYNs > 0 && server.Segments == 0 {
		return NoAnswer, c.Server(), client.SYNs > patience || now-c.Last > 3*quiet
	}
	if c.Bits&Established == 0 && server.SYNs > patience {
		return NoAnswer, c.Client, true // a SYN-ACK that the client never acknowledged
	}
	for side := range uint8(2) {
		me := &c.Sides[side]
		if me.RetransRow > patience && now-me.FirstTry > quiet && c.Latest(0).Side == side {
			return BySilence, 1 - side, true
		}
	}
	return 0, 0, false
}

// ICMPError takes in an ICMP error about a connection.
func (t *Table) ICMPError(n *packet.ICMPError) {
	t.clock(n.Time)
	s := packet.Segment{Src: n.Src, Dst: n.Dst, SrcPort: n.SrcPort, DstPort: n.DstPort, V6: n.V6}
	i, side := t.find(t.hash(&s), &n.Src, &n.Dst, n.SrcPort, n.DstPort)
	if i < 0 {
		t.Stats.ICMPErrorsLost++
		return
	}
	t.Stats.ICMPErrors++
	c := t.at(i)
	c.used = true
	if me := &c.Sides[side]; n.HasSeq && me.Bits&HasNext != 0 && after(n.Seq, me.Next) {
		return // quotes what was never sent: forged, or another connection
	}
	if c.Bits&SawICMPError == 0 {
		c.Bits |= SawICMPError
		c.ICMPError = *n
	}
}
