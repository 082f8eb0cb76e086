package capture

import (
	"slices"

	"github.com/holdfast-project/holdfast/tcp"
)

// fold makes a RST that a NAT gave other addresses follow from itself. A NAT that
// forgot a connection passes its segments on under new ports; there, the answer
// looks like one to a connection of its own, without a beginning.
func fold(list []*Case, of map[*Case]*group) []*Case {
	bySeq := map[uint32][]*Case{}
	for _, c := range list {
		if of[c] != nil && c.Termination.Kind == tcp.ByReset && c.Termination.Conn.Bits&tcp.FromMiddle != 0 {
			bySeq[c.Termination.Reset.Seq] = append(bySeq[c.Termination.Reset.Seq], c)
		}
	}
	under := map[*Case][]*Case{}
	hidden := map[*Case]bool{}
	for _, c := range list {
		e := c.Termination
		if of[c] == nil || c.views == nil || e.Kind != tcp.ByReset || e.Conn.Bits&tcp.FromMiddle != 0 {
			continue
		}
		for _, d := range bySeq[e.Reset.Seq] {
			if !hidden[d] && c.sameUnderOtherPorts(d, of) {
				d.First, hidden[d] = c, true
				if c.First != nil {
					d.First = c.First
				}
				under[c] = append(under[c], d)
			}
		}
	}
	if len(hidden) == 0 {
		return list
	}
	out := make([]*Case, 0, len(list))
	for _, c := range list {
		if !hidden[c] {
			out = append(append(out, c), under[c]...)
		}
	}
	return out
}

// sameUnderOtherPorts reports whether d is the RST of c at a place that has the
// connection of c and not this RST.
func (c *Case) sameUnderOtherPorts(d *Case, of map[*Case]*group) bool {
	g, r := of[c], &d.Termination.Reset
	if of[d] == g || r.Flags != c.Termination.Reset.Flags || d.Termination.Conn.Sides[0].Segments+d.Termination.Conn.Sides[1].Segments > 2 {
		return false
	}
	at := place{slices.Index(c.views.points, d.Point), r.Interface}
	i, own := slices.IndexFunc(g.tracks, func(t *track) bool { return t.at(at) }), g.index(c)
	if i < 0 || own < 0 {
		return false
	}
	apart := d.Termination.Time - g.tracks[i].shift - (c.Termination.Time - g.tracks[own].shift)
	return max(apart, -apart) <= maxDelay
}
