package tcp

import (
	"math"
	"math/bits"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// Segment takes in the next segment of the capture. Nothing of it is kept by
// reference.
func (t *Table) Segment(s *packet.Segment) {
	t.segment(s, &guess{t.hash(s), -1})
}

// segment takes in a segment that belongs where g says.
func (t *Table) segment(s *packet.Segment, g *guess) {
	t.Stats.Segments++
	t.clock(s.Time)
	var c *Conn
	i, side := g.conn, uint8(2)
	if i >= 0 {
		if c = t.at(i); c.alive {
			side = c.sender(&s.Src, &s.Dst, s.SrcPort, s.DstPort)
		}
	}
	if side == 2 {
		i, side = t.find(g.hash, &s.Src, &s.Dst, s.SrcPort, s.DstPort)
	}
	switch {
	case i < 0:
		i, c = t.add(g.hash, s)
		c.guessRoles(s)
	default:
		c = t.at(i)
		if c.reopens(s, side) {
			t.reopen(i, c, s, side)
			side = 0
		}
	}
	c.used = true
	c.Frames++
	if c.isCopy(s, side) {
		c.Dups++
		t.Stats.Copies++
		return
	}
	c.Last = s.Time
	if !c.Sides[side].believes(s) {
		t.Stats.BadSums++
		if s.Flags&packet.RST != 0 {
			t.reset(i, c, s, side, true)
		}
		return
	}
	t.follow(i, c, s, side)
}

// clock advances the time of the table and hands out endings that have waited
// long enough. A small step back is a segment that comes late. After a large one
// the clock was set: what waits is handed out at once, because the time that it
// waits for may never come again.
func (t *Table) clock(now int64) {
	if now < t.now {
		if t.now-now > int64(time.Second) {
			t.Stats.Backwards++
			t.now = now
			t.hurry(0)
		}
		return
	}
	t.now = now
	if now >= t.wake && len(t.due) > 0 {
		t.deliver(now)
	}
}

// deliver hands out what is due, and notes when it has to look again. Whatever
// may make something due earlier sets wake to lookNow.
func (t *Table) deliver(now int64) {
	for len(t.due) > 0 {
		i := t.due[0]
		list := t.pending[i]
		if len(list) > 0 && now-list[len(list)-1].Time < int64(t.opt.Watch) {
			t.wake = list[len(list)-1].Time + int64(t.opt.Watch)
			return
		}
		t.due = t.due[1:]
		t.release(i)
	}
	t.wake = lookNow
}

// guessRoles decides who is the client of a connection whose opening was not
// seen: the side with the higher port, or with the port that is no service.
func (c *Conn) guessRoles(s *packet.Segment) {
	switch {
	case s.Flags&(packet.SYN|packet.ACK) == packet.SYN:
		c.Client, c.RolesKnown = 0, true
		return
	case s.Flags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK:
		c.Client, c.RolesKnown = 1, true
		return
	}
	c.Bits |= FromMiddle
	if c.Port[0] < c.Port[1] {
		c.Client = 1
	}
}

// reopens reports whether a segment begins another connection with the same
// addresses and ports: a SYN with another initial sequence number. Wireshark
// counts streams so (tcp.stream).
func (c *Conn) reopens(s *packet.Segment, side uint8) bool {
	if s.Flags&(packet.SYN|packet.ACK) != packet.SYN {
		return false
	}
	me, peer := &c.Sides[side], &c.Sides[1-side]
	switch {
	case me.Bits&HasISN != 0:
		return s.Seq != me.ISN
	case peer.Bits&HasAcked != 0 && me.Bits&HasNext == 0: // its SYN may have been missed, or come later than the answer
		return s.Seq+1 != peer.Acked
	case me.Bits&HasNext != 0: // or later than what its own side sent next
		return me.Next-(s.Seq+1) > uint32(min(me.Bytes, math.MaxUint32-1))+1
	}
	return true // nothing but RSTs was seen of this side
}

// reopen replaces a connection by the next one of the same ports.
func (t *Table) reopen(i int32, c *Conn, s *packet.Segment, side uint8) {
	b := Before{Opened: c.Opened, Last: c.Last, How: c.how()}
	for k := range b.Next {
		was := &c.Sides[k^int(side)]
		b.Next[k], b.Acked[k] = was.Next, was.Acked
	}
	b.Client = c.Client ^ side
	t.finish(i, c)
	t.begin(c, s, c.hash)
	c.Before, c.RolesKnown = b, true
}

func (c *Conn) how() How {
	a, b := &c.Sides[0], &c.Sides[1]
	switch {
	case a.RSTs+b.RSTs > 0:
		return WasReset
	case a.Bits&b.Bits&SentFIN != 0:
		return Closed
	case (a.Bits|b.Bits)&SentFIN != 0:
		return HalfClosed
	}
	return Open
}

// copyWindow is how much later the copy of a segment from a second mirror port
// can come.
const copyWindow = int64(20 * time.Millisecond)

// isCopy reports whether a segment was already seen at another place: the same
// bytes, soon after, but with another TTL, VLAN or MAC address, or an IP
// identification that its stack would have counted on. A stack that sends
// again counts on.
func (c *Conn) isCopy(s *packet.Segment, side uint8) bool {
	me := &c.Sides[side]
	if me.news(s) {
		return false
	}
	for k := range min(c.n, 4) {
		r := &c.Recent[(c.n-1-k)%Recent]
		if r.Side != side || r.Seq != s.Seq || r.Ack != s.Ack || r.Flags != s.Flags || r.IPID != s.IPID ||
			int(r.Len) != s.Length || r.Window != s.Window || s.Time-r.Time > copyWindow || s.Time < r.Time {
			continue
		}
		if r.TTL != s.TTL || me.LinkAddr != s.LinkSrc {
			return true
		}
		return s.IPID != 0 && (me.IPIDSteps > 0 || c.Dups > 0) || s.IPID == 0 && c.Dups > 2
	}
	return false
}

// news reports whether a segment goes beyond all that its side has sent or
// acknowledged, so that no segment before it can be the same.
func (me *Side) news(s *packet.Segment) bool {
	end := s.Seq + uint32(s.Length)
	if s.Flags&(packet.SYN|packet.FIN) != 0 {
		end++
	}
	return me.Bits&HasNext != 0 && after(end, me.Next) || s.Flags&packet.ACK != 0 && me.Bits&HasAcked != 0 && after(s.Ack, me.Acked)
}

// believes reports whether the receiver will take the segment: its checksum is
// right, or wrong by the habit of a capturing host that leaves it to its
// network card.
func (me *Side) believes(s *packet.Segment) bool {
	switch s.TCPSum {
	case packet.SumGood, packet.SumPartial:
		me.Sums++
	case packet.SumBad:
		me.Sums++
		me.BadSums++
		return me.BadSums*2 >= me.Sums
	}
	return true
}

// follow updates the model.
func (t *Table) follow(i int32, c *Conn, s *packet.Segment, side uint8) {
	if c.Bits&pending != 0 {
		t.afterwards(i, c, s, side)
	}
	if s.Flags&packet.RST != 0 {
		t.reset(i, c, s, side, false)
		return
	}
	me, peer := &c.Sides[side], &c.Sides[1-side]
	bits := c.sequence(me, peer, s)
	c.acknowledge(me, peer, s)
	me.network(s)
	if s.Flags&packet.SYN != 0 {
		c.handshake(me, s, side)
	}
	if s.Flags&packet.FIN != 0 && me.Bits&SentFIN == 0 {
		me.Bits |= SentFIN
		me.FinSeq, me.FinTime = s.Seq+uint32(s.Length), s.Time
	}
	if c.Bits&Established == 0 && s.Flags&(packet.ACK|packet.SYN) == packet.ACK {
		if me.Bits&peer.Bits&HasISN != 0 && me.Acked != peer.ISN || me.Bytes > 0 && peer.Bytes > 0 {
			c.Bits |= Established
		}
	}
	me.Last = s.Time
	me.Segments++
	me.Window = s.Window
	me.Bits &^= ZeroWindow
	if s.Window == 0 && s.Flags&packet.SYN == 0 {
		me.Bits |= ZeroWindow
	}
	c.remember(s, side, bits)
}

func (c *Conn) remember(s *packet.Segment, side uint8, bits SegBits) {
	r := &c.Recent[c.n%Recent]
	c.n++
	// Field by field: a literal would be made on the stack and copied.
	r.Frame, r.Time, r.Seq, r.Ack, r.Len = s.Frame, s.Time, s.Seq, s.Ack, uint32(s.Length)
	r.IPID, r.Window, r.Flags, r.TTL, r.Side, r.Bits = s.IPID, s.Window, s.Flags, s.TTL, side, bits|segBits(s)
}

func segBits(s *packet.Segment) (b SegBits) {
	if s.Options&packet.OptTimestamp != 0 {
		b |= SegTimestamp
	}
	if s.Options&packet.OptMPTCP != 0 {
		b |= SegMPTCP
		if s.MPTCPSubtype == 1 {
			b |= SegMPJoin
		}
	}
	if s.DF {
		b |= SegDF
	}
	if s.TCPSum == packet.SumBad {
		b |= SegBadSum
	}
	return b
}

// sequence places the segment in the sequence space of its sender.
func (c *Conn) sequence(me, peer *Side, s *packet.Segment) (bits SegBits) {
	n := uint32(s.Length)
	end := s.Seq + n
	if s.Flags&packet.SYN != 0 {
		end++
	}
	if s.Flags&packet.FIN != 0 {
		end++
	}
	switch {
	case me.Bits&HasNext == 0:
		me.Bits |= HasNext
		me.Next = end
		if s.Flags&packet.SYN != 0 {
			me.timedSeq, me.timedAt = end, s.Time
		}
	case end == s.Seq: // a pure acknowledgement
		if s.Seq == me.Next-1 && s.Flags&packet.SYN == 0 && s.Flags&packet.ACK != 0 && c.Bits&Established != 0 && me.probing(peer) {
			bits = SegProbe
		}
	case after(end, me.Next):
		if after(s.Seq, me.Next) {
			me.Bits |= SentGap
			bits |= SegHole
		}
		n = min(n, end-me.Next)
		me.Next = end
		me.RetransRow = 0
		me.ProbesRow = 0
		if me.timedAt == 0 {
			me.timedSeq, me.timedAt = end, s.Time
		}
	case n <= 1 && s.Seq == me.Next-1 && s.Flags&(packet.SYN|packet.FIN) == 0:
		bits = SegProbe
		n = 0
	default:
		bits = SegResent
		n = 0
		c.resent(me, peer, s)
	}
	if bits&SegProbe != 0 {
		me.KeepAlives++
		if me.ProbesRow < 255 {
			me.ProbesRow++
		}
	}
	if n > 0 && s.Length > 0 && s.Flags&packet.SYN == 0 || n > 0 && s.Flags&packet.SYN != 0 && s.Length > 0 {
		me.data(s, n)
	}
	return bits
}

// probing reports whether an acknowledgement one byte back is a keep-alive
// probe and not an old duplicate: nothing of its sender is under way.
func (me *Side) probing(peer *Side) bool {
	return peer.Bits&HasAcked != 0 && !before(peer.Acked, me.Next)
}

func (c *Conn) resent(me, peer *Side, s *packet.Segment) {
	me.timedAt = 0 // Karn: a time from what was sent twice is not believed
	if s.Length == 0 && s.Flags&(packet.SYN|packet.FIN) == 0 {
		return
	}
	me.Retransmits++
	if peer.Bits&HasAcked != 0 && before(s.Seq, peer.Acked) && s.Flags&packet.SYN == 0 {
		return // already acknowledged: spurious, no sign of silence
	}
	if me.RetransRow == 0 {
		me.FirstTry = max(me.LastData, me.FinTime, me.SYNTime)
	}
	if me.RetransRow < 65535 {
		me.RetransRow++
	}
}

// data notes new bytes. n of them are new.
func (me *Side) data(s *packet.Segment, n uint32) {
	me.Bytes += uint64(n)
	me.DataCount++
	me.LastData = s.Time
	vote(&me.DataTTL, &me.dataVotes, s.TTL)
	if me.FirstLen == 0 {
		me.FirstLen = uint8(copy(me.First[:], s.Payload))
	}
	me.TailLen = uint8(copy(me.Tail[:], s.Payload))
	me.TailSize = uint16(min(s.Length, 65535))
}

// acknowledge takes in the acknowledgement number and what it says of time.
func (c *Conn) acknowledge(me, peer *Side, s *packet.Segment) {
	if s.Flags&packet.ACK == 0 {
		return
	}
	if s.SACKs > 0 {
		me.SACKed++
	}
	if peer.Bits&HasNext != 0 && after(s.Ack, peer.Next) {
		me.Absurd++
	}
	if me.Bits&HasAcked == 0 || after(s.Ack, me.Acked) {
		me.Bits |= HasAcked
		me.Acked = s.Ack
		peer.RetransRow = 0
	}
	peer.ProbesRow = 0
	if peer.timedAt != 0 && !before(s.Ack, peer.timedSeq) {
		if rtt := uint32(min(max(s.Time-peer.timedAt, 0)/1000, 1<<31)); s.Time >= peer.timedAt && (me.RTT == 0 || rtt < me.RTT) {
			me.RTT = max(rtt, 1)
		}
		if me.Bits&RTTOnce != 0 {
			me.Bits |= RTTOften
		}
		me.Bits |= RTTOnce
		peer.timedAt = 0
	}
	if peer.Bits&SentFIN != 0 && after(s.Ack, peer.FinSeq) {
		peer.Bits |= FinAcked
	}
}

// network notes what the IP header and the link tell of the sender.
func (me *Side) network(s *packet.Segment) {
	if me.MinTTL == 0 || s.TTL < me.MinTTL {
		me.MinTTL = s.TTL
	}
	me.MaxTTL = max(me.MaxTTL, s.TTL)
	vote(&me.TTL, &me.ttlVotes, s.TTL)
	me.LinkAddr = s.LinkSrc
	if !s.V6 {
		me.identify(s.IPID)
	}
	if s.Options&packet.OptTimestamp != 0 {
		me.TSVal = s.TSVal
		me.Bits |= UsesTS
	} else {
		me.Bits &^= UsesTS
	}
}

// vote finds the value that most have, with one counter.
func vote(value, votes *uint8, v uint8) {
	switch {
	case *votes == 0:
		*value, *votes = v, 1
	case *value != v:
		*votes--
	case *votes < 255:
		*votes++
	}
}

// smallStep is the largest step of the IP identification that still looks like
// one counter. Hosts that count over all connections step by more.
const smallStep = 64

func (me *Side) identify(id uint16) {
	switch {
	case id == 0:
		me.IPIDZero++
	case me.Segments > uint32(me.IPIDZero):
		switch {
		case id-me.IPID-1 < smallStep:
			me.IPIDSteps++
		case bits.ReverseBytes16(id)-bits.ReverseBytes16(me.IPID)-1 < smallStep:
			me.IPIDSwaps++
		default:
			me.IPIDJumps++
		}
	}
	if id != 0 {
		me.IPID = id
	}
}

// handshake notes what a SYN or SYN-ACK says.
func (c *Conn) handshake(me *Side, s *packet.Segment, side uint8) {
	me.SYNs++
	if me.Bits&HasISN == 0 || s.Seq != me.ISN {
		me.Bits |= HasISN
		me.ISN, me.SYNTime, me.SYNWindow = s.Seq, s.Time, s.Window
		me.SYNTTL, me.OptionHash, me.MSS = s.TTL, s.OptionHash, s.MSS
		me.options(s)
	}
	if s.Flags&packet.ACK == 0 {
		c.Client, c.RolesKnown = side, true
		return
	}
	c.Client, c.RolesKnown = 1-side, true
}

func (me *Side) options(s *packet.Segment) {
	if s.Options&packet.OptTimestamp != 0 {
		me.Bits |= HasTS
	}
	if s.Options&packet.OptSACKOK != 0 {
		me.Bits |= SACKOK
	}
	if s.Options&packet.OptScale != 0 {
		me.Bits |= HasScale
		me.Scale = min(s.Scale, 14)
	}
	if s.Options&packet.OptMPTCP != 0 {
		me.Bits |= MPTCP
	}
}
