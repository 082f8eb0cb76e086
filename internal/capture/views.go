package capture

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// Limits of the comparison of several points of capture.
const (
	maxGroups    = 4096             // connections that are compared
	maxSightings = 8192             // segments of one connection at one place
	maxPlaces    = 64               // places of one connection
	allSightings = 2 << 20          // of all connections at all places
	sameTime     = 30 * time.Second // between sightings of one SYN, before the clocks are compared
)

// Opener opens a capture again.
type Opener func(name string) (io.ReadCloser, error)

// sighting is one segment at one place.
type sighting struct {
	time, frame int64
	seq, ack    uint32
	size        uint32
	flags       packet.Flags
	ipid        uint16
	ttl         uint8
	client      bool             // sent by the client
	way         packet.Direction // through the interface
}

// same reports whether two sightings can be of one segment.
func (a *sighting) same(b *sighting) bool {
	return a.client == b.client && a.seq == b.seq && a.ack == b.ack && a.size == b.size && a.flags == b.flags
}

// place is an interface at a point of capture.
type place struct {
	point int
	iface uint16
}

// track is what one place has of a connection.
type track struct {
	place
	client, server packet.Addr
	cport, sport   uint16
	list           []sighting
	full           bool     // more came than is kept
	shift          int64    // its clock minus that of the first track, ns
	also           []uint16 // further interfaces of the point that are part of this track

	// Made by order:
	away [2]int // hops of what the server and the client sent here, RSTs excepted; -1 when nothing
	rank int    // tracks of the same rank: which of them is nearer to the client is not known
}

// at reports whether a place is part of the track.
func (t *track) at(p place) bool {
	return p.point == t.point && (p.iface == t.iface || slices.Contains(t.also, p.iface))
}

// group is one connection at all places.
type group struct {
	tracks  []*track // after order: nearest to the client first
	byPlace map[trackKey]*track
	crowded bool     // places beyond maxPlaces were left out
	stray   []*track // of places that have RSTs of the connection and nothing else
	isn     uint32
	hasISN  bool
	start   int64
}

// trackKey names a track of a group.
type trackKey struct {
	place
	tuple
}

type tuple struct {
	a, b         packet.Addr
	aport, bport uint16
}

// views is what all places have of the connection of a case.
type views struct {
	points []*Point
	group  *group
	resets map[uint32][]anyReset
	ports  *ports
}

// anyReset is a RST of whatever connection.
type anyReset struct {
	place
	time  int64
	flags packet.Flags
}

const maxResets = 1 << 20 // of all connections that are remembered

// comparison finds the same connections at several places.
type comparison struct {
	points  []*Point
	groups  []*group
	byTuple map[tuple][]*group
	byISN   map[uint32][]*group
	resets  map[uint32][]anyReset // by sequence number
	kept    int                   // RSTs in resets
	seen    int                   // sightings of all tracks
	ports   *ports
	refused int64
}

// Compare lists the endings of all points: each RST once, as it was seen
// nearest to its receiver, with what the other places have of it. Captures are
// read again for this. refused counts connections beyond the limit, which are
// not compared, and those at more places than are compared.
func Compare(ctx context.Context, points []*Point, open Opener) (list []*Case, refused int64, err error) {
	c := &comparison{points: points, byTuple: map[tuple][]*group{}, byISN: map[uint32][]*group{}, resets: map[uint32][]anyReset{}, ports: newPorts()}
	var all []*Case
	of := map[*Case]*group{}
	for _, p := range points {
		for _, k := range Cases(p) {
			all = append(all, k)
			of[k] = c.groupOf(k.Termination)
		}
	}
	for i, p := range points {
		if err := c.read(ctx, i, p, open); err != nil {
			return nil, 0, err
		}
	}
	for _, g := range c.groups {
		g.order(c.points)
		if g.crowded {
			c.refused++
		}
	}
	c.measure()
	for _, k := range all {
		if g := of[k]; g != nil && len(g.tracks)+len(g.stray) > 1 {
			k.views = &views{points, g, c.resets, c.ports}
		}
	}
	return merge(all, of), c.refused, nil
}

// groupOf returns the group of the connection of an ending, a new one if need
// be; nil when there is no room.
func (c *comparison) groupOf(e *tcp.Termination) *group {
	conn := &e.Conn
	client := &conn.Sides[conn.Client]
	k := tupleOf(conn.Addr[0], conn.Addr[1], conn.Port[0], conn.Port[1])
	known := client.Bits&tcp.HasISN != 0
	for _, g := range c.byTuple[k] {
		if !known || !g.hasISN || g.isn == client.ISN {
			return g
		}
	}
	if known {
		if g := c.find(client.ISN, conn.Start); g != nil {
			c.byTuple[k] = append(c.byTuple[k], g)
			return g
		}
	}
	if len(c.groups) >= maxGroups {
		c.refused++
		return nil
	}
	g := &group{isn: client.ISN, hasISN: known, start: conn.Start}
	c.groups = append(c.groups, g)
	c.byTuple[k] = append(c.byTuple[k], g)
	if known {
		c.byISN[g.isn] = append(c.byISN[g.isn], g)
	}
	return g
}

func (c *comparison) find(isn uint32, at int64) *group {
	for _, g := range c.byISN[isn] {
		if d := g.start - at; max(d, -d) < int64(sameTime) {
			return g
		}
	}
	return nil
}

// tupleOf names a connection without direction.
func tupleOf(a, b packet.Addr, aport, bport uint16) tuple {
	if c := slices.Compare(a[:], b[:]); c > 0 || c == 0 && aport > bport {
		return tuple{b, a, bport, aport}
	}
	return tuple{a, b, aport, bport}
}

// read collects the sightings of a point.
func (c *comparison) read(ctx context.Context, index int, p *Point, open Opener) error {
	f, err := open(p.Name)
	if err != nil {
		return fmt.Errorf("read %s again: %w", p.Name, err)
	}
	defer f.Close()
	r, err := packet.NewReader(f)
	if err != nil {
		return fmt.Errorf("read %s again: %w", p.Name, err)
	}
	var b packet.Batch
	var d packet.Decoder
	var s packet.Segment
	for {
		if err := r.ReadBatch(&b); err != nil {
			return ctx.Err() // damage was reported by the first reading
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range b.Records {
			rec := &b.Records[i]
			if d.Decode(rec, b.Data[rec.Start:rec.Start+rec.Captured], &s) == packet.TCP {
				s.Frame = b.First + int64(i)
				c.see(index, &s)
			}
		}
	}
}

// see notes a segment of a connection that is compared.
func (c *comparison) see(point int, s *packet.Segment) {
	if s.Flags&packet.RST != 0 && c.kept < maxResets {
		c.kept++
		c.resets[s.Seq] = append(c.resets[s.Seq], anyReset{place{point, s.Interface}, s.Time, s.Flags})
	}
	c.ports.see(point, s)
	k := tupleOf(s.Src, s.Dst, s.SrcPort, s.DstPort)
	list := c.byTuple[k]
	syn := s.Flags&(packet.SYN|packet.ACK) == packet.SYN
	if syn && len(c.byISN[s.Seq]) > 0 && !slices.ContainsFunc(list, func(g *group) bool { return g.isn == s.Seq }) {
		if g := c.find(s.Seq, s.Time); g != nil { // the same SYN under other addresses
			list = append(list, g)
			c.byTuple[k] = list
		}
	}
	if len(list) == 0 {
		return
	}
	if g := choose(list, s, syn); g != nil {
		c.seen += g.see(place{point, s.Interface}, s, allSightings-c.seen)
	}
}

// choose picks the connection of a tuple that a segment belongs to: the latest
// that had begun.
func choose(list []*group, s *packet.Segment, syn bool) (best *group) {
	for _, g := range list {
		switch {
		case syn && g.hasISN && g.isn == s.Seq:
			return g
		case syn && g.hasISN:
		case best == nil || g.start > best.start && g.start <= s.Time+int64(sameTime):
			best = g
		}
	}
	return best
}

// see notes a segment at a place, and returns how many were kept, 0 or 1. A
// track that could not keep all proves no absence.
func (g *group) see(at place, s *packet.Segment, room int) int {
	t := g.track(at, s)
	if t == nil {
		return 0
	}
	if len(t.list) >= maxSightings || room <= 0 {
		t.full = true
		return 0
	}
	t.list = append(t.list, sighting{
		time: s.Time, frame: s.Frame, seq: s.Seq, ack: s.Ack, size: uint32(s.Length), flags: s.Flags, ipid: s.IPID, ttl: s.TTL,
		client: s.Src == t.client && s.SrcPort == t.cport, way: s.Direction,
	})
	return 1
}

// track returns the track of a place, nil when there is no room for it. The
// client is who sent the SYN; without it, who has the higher port, as in package
// tcp.
func (g *group) track(at place, s *packet.Segment) *track {
	k := trackKey{at, tupleOf(s.Src, s.Dst, s.SrcPort, s.DstPort)}
	if t := g.byPlace[k]; t != nil {
		return t
	}
	if len(g.tracks) >= maxPlaces {
		g.crowded = true
		return nil
	}
	t := &track{place: at, client: s.Src, server: s.Dst, cport: s.SrcPort, sport: s.DstPort}
	fromServer := s.Flags&packet.SYN != 0 && s.Flags&packet.ACK != 0 || s.Flags&packet.SYN == 0 && g.servedBy(s)
	if fromServer {
		t.client, t.server, t.cport, t.sport = t.server, t.client, t.sport, t.cport
	}
	if g.byPlace == nil {
		g.byPlace = map[trackKey]*track{}
	}
	g.byPlace[k] = t
	g.tracks = append(g.tracks, t)
	return t
}

// servedBy reports whether a segment comes from the server, by what other
// tracks know or else by the ports.
func (g *group) servedBy(s *packet.Segment) bool {
	for _, t := range g.tracks {
		switch {
		case t.server == s.Src && t.sport == s.SrcPort, t.client == s.Dst && t.cport == s.DstPort:
			return true
		case t.client == s.Src && t.cport == s.SrcPort, t.server == s.Dst && t.sport == s.DstPort:
			return false
		}
	}
	return s.SrcPort < s.DstPort
}

// order sorts the tracks from the client to the server and compares their
// clocks. A place nearer to the client has fewer hops from it; of equal ones, it
// is the one where more time passes between SYN and SYN-ACK, which needs no
// common clock. Where neither tells two places apart, they have the same rank,
// and stand in the order of their names, so that the order of the files on the
// command line does not matter.
func (g *group) order(points []*Point) {
	for _, t := range g.tracks {
		t.away = [2]int{t.firstHops(false), t.firstHops(true)}
	}
	g.tracks = slices.DeleteFunc(g.tracks, func(t *track) bool {
		if t.hops(true) >= 0 || t.hops(false) >= 0 {
			return false
		}
		g.stray = append(g.stray, t)
		return true
	})
	if len(g.tracks) == 0 { // nothing but RSTs anywhere
		g.tracks, g.stray = g.stray, nil
	}
	g.joinDirections()
	path := 0
	for _, t := range g.tracks {
		path = max(path, t.hops(true)+t.hops(false))
	}
	g.rank(points, path)
	firsts := g.tracks[0].firsts()
	for _, t := range g.tracks[1:] {
		t.shift = t.offset(firsts)
	}
}

// rank sorts the tracks and numbers their ranks. Among places that are as far from
// the client, the hops from the server count only when all of them have them: a
// criterion that some lack is no order.
func (g *group) rank(points []*Point, path int) {
	type position struct {
		along, end, server int
		turn               int64
	}
	where := make(map[*track]position, len(g.tracks))
	partial := map[[2]int]bool{}
	for _, t := range g.tracks {
		p := position{t.along(path), t.end(path), -t.hops(false), -t.turn()}
		where[t] = p
		if t.hops(false) < 0 {
			partial[[2]int{p.along, p.end}] = true
		}
	}
	compare := func(a, b position) int {
		c := cmp.Or(cmp.Compare(a.along, b.along), cmp.Compare(a.end, b.end))
		if c == 0 && !partial[[2]int{a.along, a.end}] {
			c = cmp.Compare(a.server, b.server)
		}
		return cmp.Or(c, cmp.Compare(a.turn, b.turn))
	}
	slices.SortStableFunc(g.tracks, func(a, b *track) int {
		return cmp.Or(compare(where[a], where[b]), cmp.Compare(points[a.point].Name, points[b.point].Name), cmp.Compare(a.iface, b.iface), cmp.Compare(a.cport, b.cport), cmp.Compare(a.sport, b.sport))
	})
	for i, t := range g.tracks {
		if t.rank = i; i > 0 && compare(where[g.tracks[i-1]], where[t]) == 0 {
			t.rank = g.tracks[i-1].rank
		}
	}
}

// joinDirections makes one track of two interfaces of a point of which each has
// one direction of the connection: a host that answers by another way than it
// was asked, or a tap with an interface for each direction.
func (g *group) joinDirections() {
	for i := 0; i < len(g.tracks); i++ {
		for j := i + 1; j < len(g.tracks); j++ {
			a, b := g.tracks[i], g.tracks[j]
			if a.point != b.point || !a.sameEnds(b) || !a.oneWay() || !b.oneWay() || a.hops(true) >= 0 == (b.hops(true) >= 0) {
				continue
			}
			a.also, a.full = append(a.also, b.iface), a.full || b.full
			a.away = [2]int{max(a.away[0], b.away[0]), max(a.away[1], b.away[1])}
			a.list = append(a.list, b.list...)
			slices.SortStableFunc(a.list, func(x, y sighting) int { return cmp.Compare(x.time, y.time) })
			g.tracks = slices.Delete(g.tracks, j, j+1)
			break
		}
	}
}

func (t *track) sameEnds(o *track) bool {
	return t.client == o.client && t.server == o.server && t.cport == o.cport && t.sport == o.sport
}

// oneWay reports whether a track has only one direction, RSTs excepted.
func (t *track) oneWay() bool { return (t.hops(true) < 0) != (t.hops(false) < 0) }

// along is how far a track is from the client, when the path is so long.
func (t *track) along(path int) int {
	if h := t.hops(true); h >= 0 {
		return h
	}
	return path - t.hops(false)
}

// end is -1 for a track that can be at the client itself, 1 for one that can be
// at the server itself, and 0 for others and where no router is between. An end
// has both directions.
func (t *track) end(path int) int {
	switch {
	case path == 0 || t.oneWay():
		return 0
	case t.hops(true) == 0:
		return -1
	case t.hops(false) == 0:
		return 1
	}
	return 0
}

// hops is how far the client (or server) is by the TTL of what it sent, RSTs
// excepted; -1 when it sent nothing here.
func (t *track) hops(client bool) int {
	if client {
		return t.away[1]
	}
	return t.away[0]
}

func (t *track) firstHops(client bool) int {
	for i := range t.list {
		if s := &t.list[i]; s.client == client && s.flags&packet.RST == 0 {
			return tcp.Hops(s.ttl)
		}
	}
	return -1
}

// turn is the time from the SYN to the SYN-ACK here, 0 when unknown.
func (t *track) turn() int64 {
	var syn int64
	for i := range t.list {
		s := &t.list[i]
		switch {
		case s.flags&packet.SYN == 0:
		case s.flags&packet.ACK == 0 && syn == 0:
			syn = s.time
		case s.flags&packet.ACK != 0 && syn != 0:
			return s.time - syn
		}
	}
	return 0
}

// clockSample is how many segments of a track the comparison of clocks looks at.
const clockSample = 512

// segmentKey names a segment for the comparison of clocks.
type segmentKey struct {
	client         bool
	flags          packet.Flags
	seq, ack, size uint32
}

func (s *sighting) key() segmentKey { return segmentKey{s.client, s.flags, s.seq, s.ack, s.size} }

// firsts maps each segment of a track to when it was seen first.
func (t *track) firsts() map[segmentKey]int64 {
	m := make(map[segmentKey]int64, min(len(t.list), clockSample))
	for i := range t.list[:min(len(t.list), clockSample)] {
		s := &t.list[i]
		if _, ok := m[s.key()]; !ok {
			m[s.key()] = s.time
		}
	}
	return m
}

// offset estimates the clock of t minus that of the track with these firsts:
// what segments took one way and the other differs by twice that.
func (t *track) offset(firsts map[segmentKey]int64) int64 {
	const none = int64(1) << 62
	there, back := none, none
	seen := map[segmentKey]bool{}
	for i := range t.list[:min(len(t.list), clockSample)] {
		s := &t.list[i]
		at, ok := firsts[s.key()]
		if !ok || seen[s.key()] || s.flags&packet.RST != 0 {
			continue
		}
		seen[s.key()] = true
		if d := s.time - at; s.client {
			there = min(there, d)
		} else {
			back = min(back, -d)
		}
	}
	switch {
	case there != none && back != none:
		return (there - back) / 2
	case there != none:
		return there
	case back != none:
		return -back
	}
	return 0
}

// find returns the first sighting of a segment here.
func (t *track) find(s *sighting) *sighting {
	for i := range t.list {
		if t.list[i].same(s) {
			return &t.list[i]
		}
	}
	return nil
}

// merge keeps each RST once: where it was seen nearest to its receiver; home is
// where it was seen nearest to its sender, who knows its own history best. An end
// without RST is told once for a connection, and not at all when another place
// saw a RST.
func merge(all []*Case, of map[*Case]*group) []*Case {
	best, home := map[any]*Case{}, map[any]*Case{}
	reset := map[*group]bool{}
	for _, c := range all {
		if g := of[c]; g != nil && c.Termination.Kind == tcp.ByReset {
			reset[g] = true
		}
	}
	var list []*Case
	for _, c := range all {
		g := of[c]
		if g == nil {
			list = append(list, c)
			continue
		}
		if c.Termination.Kind != tcp.ByReset && reset[g] {
			continue
		}
		k := identity(c, g)
		if old := best[k]; old == nil || c.nearer(old, g) {
			best[k] = c
		}
		if old := home[k]; old == nil || old.nearer(c, g) {
			home[k] = c
		}
	}
	for _, c := range all {
		if g := of[c]; g != nil && best[identity(c, g)] == c {
			c.home = home[identity(c, g)]
			list = append(list, c)
		}
	}
	return fold(relink(list, of), of)
}

type resetID struct {
	g        *group
	kind     tcp.Kind
	client   bool
	seq, ack uint32
	ipid     uint16
	flags    packet.Flags
	nth      int
}

func identity(c *Case, g *group) resetID {
	e := c.Termination
	if e.Kind != tcp.ByReset {
		return resetID{g: g, kind: e.Kind}
	}
	id := resetID{g: g, client: !e.FromServer(), seq: e.Reset.Seq, ack: e.Reset.Ack, ipid: e.Reset.IPID, flags: e.Reset.Flags}
	if id.ipid == 0 {
		id.nth = e.Nth
	}
	return id
}

// nearer reports whether c was seen nearer to the receiver than o.
func (c *Case) nearer(o *Case, g *group) bool {
	a, b := g.index(c), g.index(o)
	if a < 0 || b < 0 {
		return a >= 0
	}
	if c.Termination.FromServer() {
		return a < b
	}
	return a > b
}

// index is the position of the track in which a case was seen.
func (g *group) index(c *Case) int {
	for i, t := range g.tracks {
		for j := range t.list {
			if s := &t.list[j]; s.frame == c.Termination.Frame && c.views != nil && c.views.points[t.point] == c.Point {
				return i
			}
		}
	}
	return -1
}

// relink lets later RSTs of a connection point to its first one that is kept.
func relink(list []*Case, of map[*Case]*group) []*Case {
	slices.SortStableFunc(list, func(a, b *Case) int { return cmp.Compare(a.Termination.Time, b.Termination.Time) })
	first := map[*group]*Case{}
	for _, c := range list {
		g := of[c]
		if g == nil {
			continue
		}
		c.First = first[g]
		if c.First == nil && !c.Termination.Corrupt {
			first[g] = c
		}
	}
	return list
}
