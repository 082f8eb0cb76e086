package tcp

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// Options say how much a table may hold and who hears of endings.
type Options struct {
	Conns   int           // connections at the same time; 0 means 100,000
	Watch   time.Duration // how long after a RST its consequences are awaited; 0 means 3 s
	Forget  time.Duration // a connection silent for so long makes room first; 0 means an hour
	OnOpen  func(frame int64)
	OnEnd   func(*Termination)
	PerConn int            // RSTs of one connection that get an ending of their own; 0 means 32
	Waiting int            // RSTs whose consequences are awaited at the same time; 0 means 16,384
	Key     packet.HashKey // of the hash of connections; zero means a random one
	Hosts   *Hosts         // told of every segment by the caller; asked about the host of a RST; may be nil
}

// Stats count what a table did and what it had no room for.
type Stats struct {
	Segments       int64 // segments taken in
	Conns          int64 // connections begun
	Terminations   int64 // endings handed out
	RSTs           int64 // RST segments, copies excepted
	Copies         int64 // segments that were copies of another (two mirror ports)
	Evicted        int64 // connections thrown out for want of room while they were alive
	Folded         int64 // RSTs beyond PerConn of one connection
	Hurried        int64 // times that the consequences of RSTs were not awaited for want of room
	Backwards      int64 // times that the clock of the capture went back by more than a second
	BadSums        int64 // segments whose TCP checksum is wrong, left out of the model
	ICMPErrors     int64 // ICMP errors about a connection
	ICMPErrorsLost int64 // ICMP errors about none that is known
}

const (
	chunkConns = 1024
	maxSpare   = 4096
)

type slot struct {
	hash uint32
	conn int32 // index + 1; 0 is empty
}

// Table is the set of connections. It is not safe for concurrent use: shard
// segments by [packet.Segment.FlowHash] to use several cores.
type Table struct {
	Stats   Stats
	opt     Options
	slots   []slot
	mask    uint32
	chunks  [][]Conn
	free    []int32
	used    int32 // indexes ever handed out
	hand    int32
	now     int64
	pending [][]*Termination // endings of each connection that wait for what comes after them
	waiting int              // how many
	spare   []*Termination   // to be filled again
	due     []int32          // connections with pending endings, oldest first
	wake    int64            // before that time nothing is due; lookNow when that is not known
	warmed  uint32           // keeps the loads of warm from being left out
}

const lookNow = math.MinInt64

// NewTable returns an empty table.
func NewTable(o Options) *Table {
	if o.Conns == 0 {
		o.Conns = 100_000
	}
	if o.Watch == 0 {
		o.Watch = 3 * time.Second
	}
	if o.Forget == 0 {
		o.Forget = time.Hour
	}
	if o.PerConn == 0 {
		o.PerConn = 32
	}
	if o.Waiting == 0 {
		o.Waiting = 16_384
	}
	if o.OnOpen == nil {
		o.OnOpen = func(int64) {}
	}
	if o.OnEnd == nil {
		o.OnEnd = func(*Termination) {}
	}
	if o.Key == (packet.HashKey{}) {
		for i := range o.Key {
			o.Key[i] = rand.Uint64()
		}
	}
	size := uint32(1024)
	return &Table{opt: o, slots: make([]slot, size), mask: size - 1, wake: lookNow}
}

func (t *Table) at(i int32) *Conn { return &t.chunks[uint32(i)/chunkConns][uint32(i)%chunkConns] }

// ahead is how many segments are looked up together: enough to wait for memory
// once instead of once each, few enough for what arrives to be there still.
const ahead = 16

// Segments takes in the next segments of the capture, as [Table.Segment] does
// one by one, and quicker: with many connections most of the time goes into
// waiting for memory, so it asks for the memory of several connections before
// it needs the first. Nothing of list is kept by reference.
func (t *Table) Segments(list []packet.Segment) {
	var guesses [ahead]guess
	for len(list) > 0 {
		n := min(len(list), ahead)
		for k := range n {
			guesses[k].hash = t.hash(&list[k])
		}
		t.warm(list[:n], &guesses)
		for k := range n {
			t.segment(&list[k], &guesses[k])
		}
		list = list[n:]
	}
}

// guess is where a segment belongs, as far as its hash tells.
type guess struct {
	hash uint32
	conn int32 // -1: nowhere, or not known
}

// hash is where the search for a connection begins.
func (t *Table) hash(s *packet.Segment) uint32 {
	h := s.KeyedHash(&t.opt.Key)
	return uint32(h) ^ uint32(h>>32)
}

// warm finds the connections of segments by their hashes.
// On the way it reads a word of each cache line that the segments will most
// likely touch. The loads do not depend on each other, so that the processor
// has many of them under way at the same time.
func (t *Table) warm(list []packet.Segment, guesses *[ahead]guess) {
	for k := range list {
		g := &guesses[k&(ahead-1)]
		i := g.hash & t.mask
		for t.slots[i].hash != g.hash && t.slots[i].conn != 0 {
			i = (i + 1) & t.mask
		}
		g.conn = t.slots[i].conn - 1
	}
	sum := uint32(0)
	for k := range list {
		if i := guesses[k&(ahead-1)].conn; i >= 0 {
			c := t.at(i)
			sum += c.n + c.Sides[0].Next + c.Sides[0].Segments + c.Sides[1].Next + c.Sides[1].Segments
		}
	}
	for k := range list {
		if i := guesses[k&(ahead-1)].conn; i >= 0 {
			c := t.at(i)
			sum += c.Recent[c.n%Recent].Seq
		}
	}
	t.warmed = sum
}

// sender returns which side of a connection sends from one address and port to
// another; 2 when neither does. Which of the two it is no processor can foresee,
// so that it must not depend on a branch.
func (c *Conn) sender(src, dst *packet.Addr, sport, dport uint16) uint8 {
	me := c.seems(sport, dport)
	if c.from(me, src, dst, sport, dport) {
		return me
	}
	if sport == dport && c.from(1-me, src, dst, sport, dport) {
		return 1 - me
	}
	return 2
}

// seems is sender as far as the ports tell.
func (c *Conn) seems(sport, dport uint16) (side uint8) {
	if (c.Port[0]^sport)|(c.Port[1]^dport) != 0 {
		side = 1
	}
	return side
}

// from reports whether a side sends from one address and port to another.
func (c *Conn) from(side uint8, src, dst *packet.Addr, sport, dport uint16) bool {
	me, peer := side&1, 1-side&1
	return c.Port[me] == sport && c.Port[peer] == dport && c.Addr[me] == *src && c.Addr[peer] == *dst
}

// find returns the index of the connection that a segment belongs to and which
// side sent it; -1 when there is none.
func (t *Table) find(h uint32, src, dst *packet.Addr, sport, dport uint16) (int32, uint8) {
	for i := h & t.mask; ; i = (i + 1) & t.mask {
		s := t.slots[i]
		if s.conn == 0 {
			return -1, 0
		}
		if s.hash != h {
			continue
		}
		if side := t.at(s.conn-1).sender(src, dst, sport, dport); side < 2 {
			return s.conn - 1, side
		}
	}
}

// add makes a connection for a segment; its sender is side 0.
func (t *Table) add(h uint32, s *packet.Segment) (int32, *Conn) {
	i := t.room()
	c := t.at(i)
	t.begin(c, s, h)
	t.insert(slot{h, i + 1})
	return i, c
}

// begin makes c the connection of a segment. It clears what has a meaning without
// being written first: to clear all would cost twice the memory traffic.
func (t *Table) begin(c *Conn, s *packet.Segment, h uint32) {
	c.connHead, c.connTail = connHead{}, connTail{}
	c.Sides[0].sideState, c.Sides[1].sideState = sideState{}, sideState{}
	c.Addr[0], c.Addr[1] = s.Src, s.Dst
	c.Port[0], c.Port[1] = s.SrcPort, s.DstPort
	c.hash, c.V6, c.alive, c.used = h, s.V6, true, true
	c.Opened, c.Start = s.Frame, s.Time
	t.Stats.Conns++
	t.opt.OnOpen(s.Frame)
}

// room returns a free index, if need be by throwing somebody out.
func (t *Table) room() int32 {
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	if int(t.used) < t.opt.Conns {
		if i := t.finished(); i >= 0 {
			return i
		}
		i := t.used
		t.used++
		if int(i/chunkConns) == len(t.chunks) {
			t.chunks = append(t.chunks, make([]Conn, chunkConns))
			t.pending = append(t.pending, make([][]*Termination, chunkConns)...)
		}
		if int(t.used)*2 > len(t.slots) {
			t.grow()
		}
		return i
	}
	i := t.victim()
	t.prepare(t.hand)
	if !t.at(i).over() {
		t.Stats.Evicted++
	}
	t.remove(i)
	t.free = t.free[:len(t.free)-1]
	return i
}

// A table that is not full takes the places of connections that have been over
// for a while, so that a long capture needs less memory. Small captures never
// come to that.
const (
	roomy    = 16 << 10                // places that are filled before
	overLong = int64(15 * time.Second) // since the latest segment
	tries    = 4                       // connections that are looked at
)

// finished frees a connection that has been over for long and returns its
// index; -1 when none is at hand.
func (t *Table) finished() int32 {
	if t.used < roomy {
		return -1
	}
	for range tries {
		i := t.hand
		if t.hand++; t.hand >= t.used {
			t.hand = 0
		}
		if c := t.at(i); c.alive && c.over() && t.now-c.Last > overLong {
			t.prepare(t.hand)
			t.remove(i)
			t.free = t.free[:len(t.free)-1]
			return i
		}
	}
	return -1
}

// prepare reads a word of each cache line that is cleared when the connection
// at a place has to go, so that its memory is near then.
func (t *Table) prepare(i int32) {
	c := t.at(i)
	sum := uint32(c.Opened) + uint32(c.Before.Opened) + uint32(c.ICMPError.Time)
	for k := range c.Sides {
		s := &c.Sides[k]
		sum += s.Next + s.Segments + s.ISN
	}
	t.warmed = sum
}

// over reports whether nothing more is expected of a connection: both sides
// have closed it, or it was reset and what followed was seen.
func (c *Conn) over() bool {
	return c.Bits&pending == 0 && (c.Bits&Reported != 0 || c.Sides[0].Bits&c.Sides[1].Bits&SentFIN != 0)
}

// glances is how many connections are looked at for one that is over before
// one that is not has to go.
const glances = 8

// victim passes the hand over the connections until one is over, so that those
// that are open and idle are remembered longest. Else it takes one that was not
// used since the last time: least recently used, nearly, at the cost of one bit.
func (t *Table) victim() int32 {
	unused := int32(-1)
	for n := range 2 * t.used {
		i := t.hand
		if t.hand++; t.hand == t.used {
			t.hand = 0
		}
		c := t.at(i)
		if c.over() {
			return i
		}
		if !c.used && unused < 0 {
			unused = i
		}
		if c.used = false; unused >= 0 && n >= glances {
			return unused
		}
	}
	return t.hand
}

func (t *Table) insert(s slot) {
	i := s.hash & t.mask
	for t.slots[i].conn != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = s
}

func (t *Table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	t.mask = uint32(len(t.slots) - 1)
	for _, s := range old {
		if s.conn != 0 {
			t.insert(s)
		}
	}
}

// remove ends what is known of a connection and frees its place.
func (t *Table) remove(i int32) {
	c := t.at(i)
	t.finish(i, c)
	c.alive = false
	j := c.hash & t.mask
	for t.slots[j].conn != i+1 {
		j = (j + 1) & t.mask
	}
	// Close the gap, so that no search stops early (Knuth 6.4, algorithm R).
	for k := j; ; {
		t.slots[j] = slot{}
		for {
			k = (k + 1) & t.mask
			if t.slots[k].conn == 0 {
				t.free = append(t.free, i)
				return
			}
			home := t.slots[k].hash & t.mask
			if (k > j && (home <= j || home > k)) || (k < j && home <= j && home > k) {
				break
			}
		}
		t.slots[j] = t.slots[k]
		j = k
	}
}

// Flush hands out everything that still waits. The table is empty afterwards.
func (t *Table) Flush() {
	for i := range t.used {
		if c := t.at(i); c.alive {
			t.remove(i)
		}
	}
}

// FlushAt is Flush when other tables have had segments of the same capture, the
// latest at that time, ns since 1970.
func (t *Table) FlushAt(now int64) {
	t.clock(now)
	t.Flush()
}

// Now is the time of the latest segment, ns since 1970.
func (t *Table) Now() int64 { return t.now }

// Live is the number of connections in the table.
func (t *Table) Live() int { return int(t.used) - len(t.free) }
