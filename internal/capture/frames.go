package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/proto"
	"github.com/holdfast-project/holdfast/tcp"
)

// MaxLadders is how many cases Ladders and Extract serve in one call.
const MaxLadders = 200

// What a ladder keeps of a connection: its first frames, the last ones before
// its end and at the end, and some after it, if they come soon enough.
const (
	ladderHead  = 4
	ladderTail  = 16
	ladderAfter = 6
	ladderWait  = int64(time.Minute)
)

// ErrChanged is the error of what reads a capture again and does not find in it
// what was there.
var ErrChanged = errors.New("it is no longer what it was when its connections were read")

// Ladders reads the captures of cases again and collects for each the packets
// around its end. open opens a capture by the name of its point. Cases beyond
// MaxLadders get none. When one capture cannot be read again, the error says
// so, and the ladders of the others are returned.
func Ladders(ctx context.Context, cases []*Case, open func(name string) (io.ReadCloser, error)) (map[*Case]*fact.Ladder, error) {
	made := map[*Case]*fact.Ladder{}
	byPoint := map[*Point][]*target{}
	var points []*Point
	for _, c := range cases[:min(len(cases), MaxLadders)] {
		if byPoint[c.Point] == nil {
			points = append(points, c.Point)
		}
		byPoint[c.Point] = append(byPoint[c.Point], newTarget(c))
	}
	var errs []error
	for _, p := range points {
		if err := readAgain(ctx, p, byPoint[p], open); err != nil {
			errs = append(errs, fmt.Errorf("read %s again: %w", p.Name, err))
		}
		for _, t := range byPoint[p] {
			if t.found {
				made[t.c] = t.ladder()
			}
		}
	}
	return made, errors.Join(errs...)
}

// readAgain gives the frames of a capture to the targets whose connections they
// belong to.
func readAgain(ctx context.Context, p *Point, targets []*target, open func(string) (io.ReadCloser, error)) error {
	f, err := open(p.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := packet.NewReader(f)
	if err != nil {
		return err
	}
	g := newGatherer(p, targets)
	var b packet.Batch
	for g.open > 0 {
		err := r.ReadBatch(&b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if damage := (*packet.DamageError)(nil); errors.Is(err, io.EOF) || errors.As(err, &damage) {
			break // what is missing of it is told by the targets
		}
		if err != nil {
			return err
		}
		g.tooLate(b.Records[0].Time)
		for i := range b.Records {
			g.record(&b, i)
		}
	}
	if slices.ContainsFunc(targets, func(t *target) bool { return !t.found }) {
		return ErrChanged
	}
	return nil
}

// ends2 are the two ends of a connection, the smaller one first.
type ends2 struct {
	addr [2]packet.Addr
	port [2]uint16
}

func endsOf(src, dst *packet.Addr, sport, dport uint16) ends2 {
	if c := slices.Compare(src[:], dst[:]); c > 0 || c == 0 && sport > dport {
		src, dst, sport, dport = dst, src, dport, sport
	}
	return ends2{[2]packet.Addr{*src, *dst}, [2]uint16{sport, dport}}
}

// gatherer gives frames to targets.
type gatherer struct {
	point   *Point
	decoder packet.Decoder
	segment packet.Segment
	hashes  map[uint64]bool // of the connections, to pass over the others quickly
	targets map[ends2][]*target
	list    []*target
	open    int // targets that want more
}

func newGatherer(p *Point, list []*target) *gatherer {
	g := &gatherer{point: p, hashes: map[uint64]bool{}, targets: map[ends2][]*target{}, list: list, open: len(list)}
	for _, t := range list {
		c := &t.e.Conn
		s := packet.Segment{Src: c.Addr[0], Dst: c.Addr[1], SrcPort: c.Port[0], DstPort: c.Port[1], V6: c.V6}
		g.hashes[s.FlowHash()] = true
		k := endsOf(&c.Addr[0], &c.Addr[1], c.Port[0], c.Port[1])
		g.targets[k] = append(g.targets[k], t)
	}
	return g
}

func (g *gatherer) record(b *packet.Batch, i int) {
	rec, data := &b.Records[i], b.Frame(i)
	if hash, simple := g.decoder.FlowHash(rec, data); simple && !g.hashes[hash] {
		return
	}
	s := &g.segment
	s.Frame = b.First + int64(i)
	switch g.decoder.Decode(rec, data, s) {
	case packet.TCP:
		for _, t := range g.targets[endsOf(&s.Src, &s.Dst, s.SrcPort, s.DstPort)] {
			if s.Frame > t.e.Conn.Opened && g.point.streams.begins(s.Frame) {
				g.close(t)
			}
			g.took(t, t.segment(s))
		}
	case packet.ICMP:
		n := &g.decoder.ICMPError
		n.Frame = s.Frame
		for _, t := range g.targets[endsOf(&n.Src, &n.Dst, n.SrcPort, n.DstPort)] {
			g.took(t, t.notice(n))
		}
	}
}

// tooLate closes the targets whose end lies too far back.
func (g *gatherer) tooLate(now int64) {
	for _, t := range g.list {
		if t.found && now-t.e.Time > ladderWait {
			g.close(t)
		}
	}
}

func (g *gatherer) took(t *target, enough bool) {
	if enough {
		g.close(t)
	}
}

// close ends the collection for one target.
func (g *gatherer) close(t *target) {
	if !t.over {
		t.over = true
		g.open--
	}
}

// begins reports whether a connection begins with a frame.
func (s *streams) begins(frame int64) bool {
	list := s.pages.Load()
	i := int(frame / pageFrames)
	return list != nil && i < len(*list) && (*list)[i][frame%pageFrames/64]>>(frame%64)&1 != 0
}

// kept is a frame of a ladder with its number within the connection.
type kept struct {
	fact.Frame
	nth int64
}

// target collects the ladder of one case.
type target struct {
	c     *Case
	e     *tcp.Termination
	wants map[int64]bool // frames that the verdict names
	found bool           // the frame of the ending was met, as it was
	over  bool

	count int64 // frames of the connection so far
	head  []kept
	tail  []kept // the latest before the end and the end itself; then those that wants names
	after []kept

	ends [2]endState
	last [4]copyKey
}

// endState is what a target knows of one end.
type endState struct {
	base, next       uint32
	based, hasNext   bool
	spoke, fromStart bool
}

// copyKey tells the copy of a segment that another mirror port took.
type copyKey struct {
	frame, time      int64
	seq, ack, length uint32
	window, ipid     uint16
	flags            packet.Flags
	side             uint8
}

func newTarget(c *Case) *target {
	e := c.Termination
	t := &target{c: c, e: e, wants: map[int64]bool{}}
	for _, n := range []int64{e.Frame, e.Trigger.Frame, e.Previous.Frame, e.Opposite.Frame, e.After.Challenge} {
		t.wants[n] = true
	}
	t.wants[aliveFrame(e)], t.wants[goesOnFrame(e)] = true, true
	if e.Conn.Bits&tcp.SawICMPError != 0 {
		t.wants[e.Conn.ICMPError.Frame] = true
	}
	delete(t.wants, 0)
	for i := range t.ends {
		if s := &e.Conn.Sides[i]; s.Bits&tcp.HasISN != 0 {
			t.ends[i] = endState{base: s.ISN, based: true, fromStart: true}
		}
	}
	return t
}

// aliveFrame is the first frame in which the end that seemed to send the RST
// goes on; 0 when it does not.
func aliveFrame(e *tcp.Termination) int64 {
	if e.Kind != tcp.ByReset || !e.Alive() {
		return 0
	}
	return e.After.SenderFirst
}

// goesOnFrame is the first frame in which the receiver of the RST goes on.
func goesOnFrame(e *tcp.Termination) int64 {
	if !e.After.ReceiverNew || e.After.ReceiverData == 0 {
		return 0
	}
	return e.After.ReceiverFirst
}

// segment takes one segment of the addresses and ports of the connection, and
// reports whether the ladder is complete.
func (t *target) segment(s *packet.Segment) (enough bool) {
	if t.over || s.Frame < t.e.Conn.Opened {
		return t.over
	}
	if t.found && s.Time-t.e.Time > ladderWait {
		return true
	}
	side := uint8(0)
	if c := &t.e.Conn; s.Src != c.Addr[0] || s.SrcPort != c.Port[0] {
		side = 1
	}
	if s.Frame == t.e.Frame {
		t.found = s.Time == t.e.Time && (t.e.Kind != tcp.ByReset || s.Seq == t.e.Reset.Seq && s.Flags == t.e.Reset.Flags)
	}
	t.relate(s, side)
	f := fact.Frame{
		File: t.c.Point.Name, Number: s.Frame, Time: when(s.Time), FromClient: side == t.e.Conn.Client,
		Flags: s.Flags.String(), Seq: int64(int32(s.Seq - t.ends[side].base)), Bytes: int64(s.Length),
		Window: int64(s.Window), TTL: int64(s.TTL), IPID: int64(s.IPID),
	}
	if s.Flags&packet.ACK != 0 {
		f.Ack = int64(int32(s.Ack - t.ends[1-side].base))
	}
	f.Kind, f.Note = t.repeats(s, side)
	if me := &t.ends[side]; s.Length > 0 && s.Flags&packet.RST == 0 {
		f.Info = proto.SegmentInfo(s.Payload, f.FromClient, !me.spoke && me.fromStart)
		me.spoke = true
	}
	return t.keep(f)
}

// relate finds what the sequence numbers of both ends count from: as Wireshark
// does, the data of a connection whose begin is not there starts at 1.
func (t *target) relate(s *packet.Segment, side uint8) {
	me, peer := &t.ends[side], &t.ends[1-side]
	switch {
	case s.Flags&packet.SYN != 0:
		me.base, me.based, me.fromStart = s.Seq, true, true
	case !me.based:
		me.base, me.based = s.Seq-1, true
	}
	if !peer.based && s.Flags&packet.ACK != 0 {
		peer.base, peer.based = s.Ack-1, true
	}
}

// repeats reports whether the segment brings nothing new, or is a copy.
func (t *target) repeats(s *packet.Segment, side uint8) (fact.FrameKind, string) {
	k := copyKey{s.Frame, s.Time, s.Seq, s.Ack, uint32(s.Length), s.Window, s.IPID, s.Flags, side}
	for _, o := range t.last {
		same := o
		same.frame, same.time = k.frame, k.time
		if same == k && s.IPID != 0 && s.Time-o.time < int64(20*time.Millisecond) && o.frame != 0 {
			return fact.FramePlain, fmt.Sprintf("a copy of frame %d", o.frame)
		}
	}
	copy(t.last[1:], t.last[:])
	t.last[0] = k
	me := &t.ends[side]
	size := uint32(s.Length)
	if s.Flags&packet.SYN != 0 {
		size++
	}
	if s.Flags&packet.FIN != 0 {
		size++
	}
	end := s.Seq + size
	if s.Flags&packet.RST != 0 || size == 0 {
		return fact.FramePlain, ""
	}
	if me.hasNext && int32(end-me.next) <= 0 {
		return fact.FrameResent, ""
	}
	me.next, me.hasNext = end, true
	return fact.FramePlain, ""
}

// notice takes an ICMP error about the connection.
func (t *target) notice(n *packet.ICMPError) (enough bool) {
	if t.over || n.Frame < t.e.Conn.Opened {
		return t.over
	}
	if n.Frame == t.e.Frame {
		t.found = n.Time == t.e.Time
	}
	name, _ := icmpErrorName(n)
	c := &t.e.Conn
	// It goes to the sender of what it quotes.
	toClient := n.Src == c.Addr[c.Client] && n.SrcPort == c.Port[c.Client]
	return t.keep(fact.Frame{
		File: t.c.Point.Name, Number: n.Frame, Time: when(n.Time), FromClient: !toClient, TTL: int64(n.TTL),
		Kind: fact.FrameICMPError, Info: fmt.Sprintf("ICMP %s from %s", name, n.From.Netip()),
	})
}

// keep puts a frame where it belongs, or counts it.
func (t *target) keep(f fact.Frame) (enough bool) {
	k := kept{f, t.count}
	t.count++
	switch {
	case f.Number > t.e.Frame:
		if len(t.after) < ladderAfter || t.wants[f.Number] {
			t.after = append(t.after, k)
		}
		delete(t.wants, f.Number)
		return len(t.after) >= ladderAfter && !t.wantsAfter()
	case len(t.head) < ladderHead:
		t.head = append(t.head, k)
	default:
		t.tail = append(t.tail, k)
		if len(t.tail) > ladderTail {
			t.thin()
		}
	}
	return false
}

func (t *target) wantsAfter() bool {
	for n := range t.wants {
		if n > t.e.Frame {
			return true
		}
	}
	return false
}

// thin drops the oldest frame of the tail that the verdict does not name.
func (t *target) thin() {
	for i := range t.tail {
		if !t.wants[t.tail[i].Number] {
			t.tail = slices.Delete(t.tail, i, i+1)
			return
		}
	}
}

// ladder puts together what was collected.
func (t *target) ladder() *fact.Ladder {
	c := &t.e.Conn
	l := &fact.Ladder{Client: addrPort(c, c.Client), Server: addrPort(c, c.Server())}
	next := int64(0)
	for _, list := range [][]kept{t.head, t.tail, t.after} {
		for _, k := range list {
			k.Skipped = k.nth - next
			next = k.nth + 1
			t.explain(&k.Frame)
			l.Frames = append(l.Frames, k.Frame)
		}
	}
	return l
}

// explain says what part a frame plays.
func (t *target) explain(f *fact.Frame) {
	e := t.e
	part := func(kind fact.FrameKind, note string) { f.Kind, f.Note = kind, cmp.Or(note, f.Note) }
	switch n := f.Number; {
	case n == e.Frame && e.Kind == tcp.ByReset:
		part(fact.FrameReset, "")
	case n == e.Frame && e.Kind != tcp.ByICMPError:
		part(cmp.Or(f.Kind, fact.FrameProof), "nothing answers this")
	case n == e.Trigger.Frame && n != 0:
		part(fact.FrameTrigger, "")
	case n == aliveFrame(e) && n != 0:
		part(fact.FrameProof, "the supposed sender of the reset goes on")
	case n == goesOnFrame(e) && n != 0:
		part(fact.FrameProof, "the receiver goes on: it did not accept the reset")
	case n == e.After.Challenge && n != 0:
		part(fact.FrameProof, "challenge ACK: the receiver does not believe the reset (RFC 5961 3.2)")
	case f.Kind == fact.FrameICMPError:
	case isReset(f):
		part(fact.FrameReset, resetNote(f, e))
	case n > e.Frame && f.Kind == fact.FramePlain:
		part(fact.FrameNextStep, "")
	}
}

// isReset reports whether a frame of a ladder is a RST.
func isReset(f *fact.Frame) bool {
	for _, c := range f.Flags {
		if c == 'R' {
			return true
		}
	}
	return false
}

// resetNote tells another RST of the connection from the one of the ending.
func resetNote(f *fact.Frame, e *tcp.Termination) string {
	who := "the other side"
	if f.FromClient == (e.From == e.Conn.Client) {
		who = "the same side"
	}
	if e.Kind != tcp.ByReset {
		return "a reset"
	}
	if f.Number < e.Frame {
		return "an earlier reset of " + who
	}
	return "another reset of " + who
}
