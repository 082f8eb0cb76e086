package packet

import "slices"

// Limits of the table of fragments.
const (
	maxDatagrams    = 128 // put together at a time, 64 KiB each at most
	maxSpans        = 64  // pieces of one that are apart from each other
	maxDatagram     = 65535
	fragmentTimeout = 30e9 // ns, net.ipv4.ipfrag_time of Linux
)

// FragmentCounts says what became of fragmented IP packets.
type FragmentCounts struct {
	Fragments  uint64 // seen
	Complete   uint64 // packets put together
	Duplicate  uint64 // fragments that were there already
	Overlap    uint64 // packets given up because fragments contradict each other (RFC 5722)
	TimedOut   uint64 // packets given up after 30 s
	Evicted    uint64 // packets given up because too many were incomplete
	Incomplete uint64 // fragments that the capture cut, which cannot be put together
}

// datagramKey is what fragments of one packet have in common (RFC 791 2.3, RFC 8200 4.5).
type datagramKey struct {
	src, dst Addr
	id       uint32
	proto    uint8
	v6       bool
}

// span is a run of bytes that is there, to is the first beyond it.
type span struct{ from, to int }

// datagram is an IP packet that is being put together.
type datagram struct {
	key   datagramKey
	first int64 // time of its first fragment
	total int   // bytes of its payload, -1 when not known
	data  []byte
	spans []span // sorted, apart from each other
}

// fragmentTable holds incomplete packets, oldest first.
type fragmentTable struct {
	open map[datagramKey]*datagram
	ages []*datagram
	done []*datagram // complete in this call: what it returned refers to them
	free []*datagram
}

// fragment takes the payload b of one fragment. A fragment that the capture
// cut is never complete, so the first of them is decoded as it is.
func (d *Decoder) fragment(proto uint8, id uint32, offset int, more bool, b []byte, s *Segment) Kind {
	d.Fragments.Fragments++
	s.Layers |= LayerFragments
	if d.missing > 0 {
		d.Fragments.Incomplete++
		if offset == 0 {
			return d.protocol(proto, b, s)
		}
		return Held
	}
	if len(b) == 0 || offset+len(b) > maxDatagram || more && len(b)%8 != 0 {
		return Malformed
	}
	t := &d.table
	t.expire(s.Time, &d.Fragments)
	g := t.find(datagramKey{s.Src, s.Dst, id, proto, s.V6}, s.Time, &d.Fragments)
	switch g.add(offset, more, b) {
	case duplicate:
		d.Fragments.Duplicate++
		return Held
	case contradicts:
		d.Fragments.Overlap++
		t.remove(g)
		t.free = append(t.free, g)
		return Held
	}
	if g.total < 0 || len(g.spans) != 1 || g.spans[0] != (span{0, g.total}) {
		return Held
	}
	d.Fragments.Complete++
	t.remove(g)
	t.done = append(t.done, g)
	return d.protocol(proto, g.data[:g.total], s)
}

// find returns the packet of a key, a new one when there is none.
func (t *fragmentTable) find(key datagramKey, now int64, c *FragmentCounts) *datagram {
	if g := t.open[key]; g != nil {
		return g
	}
	if t.open == nil {
		t.open = make(map[datagramKey]*datagram)
	}
	if len(t.ages) >= maxDatagrams {
		c.Evicted++
		g := t.ages[0]
		t.remove(g)
		t.free = append(t.free, g)
	}
	g := &datagram{}
	if n := len(t.free); n > 0 {
		g, t.free = t.free[n-1], t.free[:n-1]
	}
	g.key, g.first, g.total, g.data, g.spans = key, now, -1, g.data[:0], g.spans[:0]
	t.open[key] = g
	t.ages = append(t.ages, g)
	return g
}

func (t *fragmentTable) remove(g *datagram) {
	delete(t.open, g.key)
	if i := slices.Index(t.ages, g); i >= 0 {
		t.ages = slices.Delete(t.ages, i, i+1)
	}
}

// expire gives up what is too old. Captures may go back in time: then too.
func (t *fragmentTable) expire(now int64, c *FragmentCounts) {
	for len(t.ages) > 0 {
		g := t.ages[0]
		if age := now - g.first; age <= fragmentTimeout && age >= -fragmentTimeout {
			return
		}
		c.TimedOut++
		t.remove(g)
		t.free = append(t.free, g)
	}
}

// release makes the memory of the last call free again.
func (t *fragmentTable) release() {
	t.free = append(t.free, t.done...)
	t.done = t.done[:0]
}

// What a fragment was to its packet.
type addition uint8

const (
	added addition = iota
	duplicate
	contradicts
)

// add puts the bytes of a fragment in their place.
func (g *datagram) add(offset int, more bool, b []byte) addition {
	end := offset + len(b)
	if !more {
		if g.total >= 0 && g.total != end {
			return contradicts
		}
		g.total = end
	}
	if g.total >= 0 && (end > g.total || len(g.spans) > 0 && g.spans[len(g.spans)-1].to > g.total) {
		return contradicts
	}
	at, _ := slices.BinarySearchFunc(g.spans, offset, func(s span, o int) int { return s.to - o - 1 })
	if at < len(g.spans) && g.spans[at].from < end { // it meets a span that ends beyond its begin
		if g.spans[at].from <= offset && end <= g.spans[at].to {
			return duplicate
		}
		return contradicts
	}
	if len(g.spans) >= maxSpans {
		return contradicts
	}
	g.write(offset, b)
	g.spans = slices.Insert(g.spans, at, span{offset, end})
	if at+1 < len(g.spans) && g.spans[at+1].from == end {
		g.spans[at].to = g.spans[at+1].to
		g.spans = slices.Delete(g.spans, at+1, at+2)
	}
	if at > 0 && g.spans[at-1].to == offset {
		g.spans[at-1].to = g.spans[at].to
		g.spans = slices.Delete(g.spans, at, at+1)
	}
	return added
}

func (g *datagram) write(offset int, b []byte) {
	if need := offset + len(b); need > len(g.data) {
		g.data = slices.Grow(g.data, need-len(g.data))[:need]
	}
	copy(g.data[offset:], b)
}
