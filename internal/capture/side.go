package capture

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/tcp"
)

// Side says on which side of the path a RST was written, as far as TTLs tell: how
// many routers it had passed where it was captured, and how many what the two ends
// sent. It is empty for ends without a RST, and when nothing is there to compare
// with.
func (c *Case) Side() string {
	e := c.Termination
	me, peer := e.Sender(), e.Receiver()
	if e.Kind != tcp.ByReset || peer.Segments == 0 {
		return ""
	}
	hit, name := addrPort(&e.Conn, 1-e.From).Addr(), addrPort(&e.Conn, e.From).Addr()
	passed, here := tcp.Hops(e.Reset.TTL), tcp.Hops(peer.TTL)
	s := fmt.Sprintf("In %s the reset had passed %s, and packets of %s, whom it hit, %s", c.Point.Name, routers(passed), hit, routers(here))
	if me.Segments > 0 {
		s += fmt.Sprintf("; those of %s, in whose name it came, %s", name, routers(tcp.Hops(me.TTL)))
	}
	s += fmt.Sprintf(" (TTL %d, with the usual initial values).", e.Reset.TTL)
	switch away := tcp.Hops(me.TTL); {
	case me.Segments == 0 || e.Reset.TTL == me.TTL:
	case here == 0 && passed <= 1:
		s += fmt.Sprintf(" So it was written on the side of %s: on that host, its router or its own network.", hit)
	case here == 0 && passed < away:
		s += fmt.Sprintf(" So it was written %s from %s and %s before %s.", routers(passed), hit, routers(away-passed), name)
	case away == 0 && passed > 0:
		s += fmt.Sprintf(" It came from outside to the place where %s is, so that host did not write it.", name)
	}
	return s
}

func routers(n int) string {
	if n == 1 {
		return "1 router"
	}
	return fmt.Sprintf("%d routers", n)
}

// measure notes how the clocks of the points differ, and how many connections
// they have in common.
func (c *comparison) measure() {
	shifts := make([][]time.Duration, len(c.points))
	for _, g := range c.groups {
		at := map[int]*track{}
		for _, t := range g.tracks {
			if at[t.point] == nil {
				at[t.point] = t
			}
		}
		for i, t := range at {
			if len(at) > 1 {
				c.points[i].Shared++
			}
			if first := at[0]; first != nil && i > 0 {
				shifts[i] = append(shifts[i], time.Duration(t.shift-first.shift))
			}
		}
	}
	for i, list := range shifts {
		c.points[i].Compared = true
		if len(list) > 0 {
			slices.SortFunc(list, func(a, b time.Duration) int { return cmp.Compare(a, b) })
			c.points[i].Clock, c.points[i].ClockKnown = list[len(list)/2], true
		}
	}
}

// Absence says how it is known that a RST was not sent by the end in whose name it
// came: which captures nearer to that end have the connection and not the RST, how
// long they went on and what they lost. It is empty when nothing was missing.
func (c *Case) Absence() string {
	v, e := c.views, c.Termination
	if v == nil || e.Kind != tcp.ByReset {
		return ""
	}
	at := v.group.index(c)
	if at < 0 {
		return ""
	}
	rst := sighting{time: e.Time, seq: e.Reset.Seq, ack: e.Reset.Ack, size: uint32(e.Reset.Length), flags: e.Reset.Flags, ipid: e.Reset.IPID, client: !e.FromServer()}
	common := e.Time - v.group.tracks[at].shift
	text := ""
	for _, t := range v.group.from(rst.client) {
		if t.has(&rst, common) {
			break
		}
		if p := v.points[t.point]; v.wouldHave(t, rst.client, common) {
			text += fmt.Sprintf(" %s, nearer to its supposed sender, has %d packets of this connection and not this one. It went on for %v after the reset", p.Name, len(t.list), time.Duration(p.Until-common-t.shift).Round(100*time.Microsecond))
			if p.Counted {
				text += " and lost no packet, by its own count"
			}
			text += "."
		}
	}
	return text
}
