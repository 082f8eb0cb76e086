package capture

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
)

// The frames of a ladder across several places: of the opening, before the end
// and after it, at each place.
const (
	acrossHead  = 3
	acrossTail  = 6
	acrossAfter = 3
)

// Across returns the ladder of a case over all places of capture, nearest to
// the client first; nil when only one place has the connection. Times are on
// the clock of the first place.
func (c *Case) Across() *fact.Ladder {
	if c.views == nil || len(c.views.group.tracks) < 2 {
		return nil
	}
	g := c.views.group
	at := g.index(c)
	if at < 0 {
		return nil
	}
	l := &fact.Ladder{Client: addrPort(&c.Termination.Conn, c.Termination.Conn.Client), Server: addrPort(&c.Termination.Conn, c.Termination.Conn.Server())}
	end := c.Termination.Time - g.tracks[at].shift
	base := g.bases()
	for i, t := range g.tracks {
		l.Points = append(l.Points, c.views.placeName(t))
		for _, k := range t.around(end) {
			l.Frames = append(l.Frames, c.frame(t, i, k, base))
		}
	}
	slices.SortStableFunc(l.Frames, func(a, b fact.Frame) int { return cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()) })
	return l
}

// placeName is the name of a file, with the interface when it has several.
func (v *views) placeName(t *track) string {
	p := v.points[t.point]
	name := strings.TrimSuffix(filepath.Base(p.Name), ".pcapng")
	if i := int(t.iface); len(p.Interfaces) > 1 && i < len(p.Interfaces) && p.Interfaces[i].Name != "" {
		name += " " + p.Interfaces[i].Name
	}
	return name
}

// bases are the initial sequence numbers of server and client, or the least
// that was seen.
func (g *group) bases() (base [2]uint32) {
	var known [2]bool
	for _, t := range g.tracks {
		for i := range t.list {
			s := &t.list[i]
			side := b2i(s.client)
			if !known[side] || s.flags&packet.SYN != 0 {
				base[side], known[side] = s.seq, true
			}
			if s.flags&packet.SYN != 0 && s.flags&packet.ACK == 0 && s.client {
				base[1] = s.seq
			}
		}
	}
	return base
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// around picks the indexes of the sightings that a ladder shows.
func (t *track) around(end int64) (list []int) {
	last := 0 // sightings up to the end
	for i := range t.list {
		if t.list[i].time-t.shift <= end+minMargin {
			last = i + 1
		}
	}
	for i := range t.list {
		if i < acrossHead || i >= last-acrossTail && i < last+acrossAfter {
			list = append(list, i)
		}
	}
	return list
}

// frame makes the frame of a sighting. What left a place and did not come to
// the next one is lost.
func (c *Case) frame(t *track, point, i int, base [2]uint32) fact.Frame {
	s := &t.list[i]
	f := fact.Frame{
		File: c.views.points[t.point].Name, Point: point, Number: s.frame, Time: when(s.time - t.shift), FromClient: s.client,
		Flags: s.flags.String(), Seq: int64(int32(s.seq - base[b2i(s.client)])), Bytes: int64(s.size), TTL: int64(s.ttl), IPID: int64(s.ipid),
	}
	if s.flags&packet.ACK != 0 {
		f.Ack = int64(int32(s.ack - base[b2i(!s.client)]))
	}
	if i > 0 && i >= acrossHead && !slices.Contains(t.around(c.endTime()), i-1) {
		f.Skipped = int64(i - acrossHead)
	}
	switch {
	case s.flags&packet.RST != 0:
		f.Kind, f.Note = fact.FrameReset, c.resetNote(t, s)
	case c.isTrigger(t, s):
		f.Kind = fact.FrameTrigger
	case c.lostAfter(t, s):
		f.Kind, f.Note = fact.FrameLost, "left here and never came to the next place"
	}
	return f
}

func (c *Case) endTime() int64 {
	g := c.views.group
	return c.Termination.Time - g.tracks[g.index(c)].shift
}

func (c *Case) isTrigger(t *track, s *sighting) bool {
	tr := &c.Termination.Trigger
	return tr.Frame != 0 && s.client == c.Termination.FromServer() && s.seq == tr.Seq && s.ack == tr.Ack && s.size == tr.Len && s.flags == tr.Flags &&
		max(s.time-t.shift-c.endTime(), c.endTime()-s.time+t.shift) < maxDelay
}

// resetNote says where a RST was seen and where it is missing.
func (c *Case) resetNote(t *track, s *sighting) string {
	v := c.views
	order := v.group.from(s.client)
	if !order[0].has(s, s.time-t.shift) && v.wouldHave(order[0], s.client, s.time-t.shift) {
		return "not seen at " + v.placeName(order[0]) + ": its supposed sender did not send it"
	}
	if order[0] == t {
		return "the reset, where it was sent"
	}
	return "the reset"
}

// lostAfter reports whether the next place on the way would have seen a segment
// and has not.
func (c *Case) lostAfter(t *track, s *sighting) bool {
	order := c.views.group.from(s.client)
	i := slices.Index(order, t)
	if i < 0 || i+1 >= len(order) || s.size == 0 && s.flags&packet.SYN == 0 {
		return false
	}
	next := order[i+1]
	common := s.time - t.shift
	return !next.has(s, common) && c.views.wouldHave(next, s.client, common) && onPath(next, t, s.client)
}
