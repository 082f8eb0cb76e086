package capture

import (
	"math"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// byPeer marks a fact that two places of capture show together.
func byPeer[T any](v T) fact.Opt[T] { return fact.SomeBy(v, fact.ByPeer) }

// minMargin is how long at least a capture must have gone on after a segment for
// its absence to mean something, noTurn how long when the round trip is unknown,
// and maxDelay how far apart two sightings of one segment may be.
const (
	minMargin = int64(time.Millisecond)
	noTurn    = int64(time.Second)
	maxDelay  = int64(2 * time.Second)
)

// margin is minMargin and a round trip of the whole path.
func (g *group) margin() int64 {
	var turn int64
	for _, t := range g.tracks {
		turn = max(turn, t.turn())
	}
	if turn == 0 {
		turn = noTurn
	}
	return minMargin + turn
}

// fill adds what the other places have of the connection.
func (v *views) fill(f *fact.Case, c *Case) {
	g := v.group
	f.Wire.Points = byWire(int64(len(g.tracks)))
	f.Wire.NAT = byPeer(g.translated())
	at := g.index(c)
	if at < 0 {
		return
	}
	if c.Termination.Kind == tcp.ByReset {
		v.reset(f, c.Termination, at)
		c.history(&f.Wire)
		return
	}
	v.lost(f, c.Termination)
}

func (g *group) translated() bool {
	a := g.tracks[0]
	for _, b := range g.tracks[1:] {
		if a.client != b.client || a.server != b.server || a.cport != b.cport || a.sport != b.sport {
			return true
		}
	}
	return false
}

// toSender returns the tracks from the sender's end inward, toReceiver the
// other way round.
func (g *group) from(client bool) []*track {
	list := make([]*track, len(g.tracks))
	for i, t := range g.tracks {
		if client {
			list[i] = t
		} else {
			list[len(list)-1-i] = t
		}
	}
	return list
}

// reset fills where the RST and its trigger were seen, and where they are
// missing.
func (v *views) reset(f *fact.Case, e *tcp.Termination, at int) {
	g := v.group
	client := !e.FromServer()
	rst := sighting{
		time: e.Time, seq: e.Reset.Seq, ack: e.Reset.Ack, size: uint32(e.Reset.Length), flags: e.Reset.Flags, ipid: e.Reset.IPID, client: client,
	}
	common := e.Time - g.tracks[at].shift
	order := g.from(client)
	before := segmentsBefore(e, common)
	w := &f.Wire
	off := false
	for _, t := range g.stray {
		off = off || t.has(&rst, common)
	}
	w.OffPath = byPeer(off)
	first := -1 // the place nearest to the sender that has it
	for i, t := range order {
		if t.has(&rst, common) {
			first = i
			break
		}
	}
	if first < 0 {
		return
	}
	if first > 0 {
		// Of a place that may as well be behind the first one nothing follows.
		nearer := slices.DeleteFunc(slices.Clone(order[:first]), func(t *track) bool { return t.rank == order[first].rank })
		w.NotSent = v.absent(nearer, order[first:], &rst, common, before)
	} else if len(order) > 1 {
		w.Sent, w.NotSent = byPeer(true), byPeer(false)
	}
	w.OneWay = oneWay(order, first)
	w.Renamed = v.renamed(order[:first], &rst, common)
	w.HostSent = order[0].outgoing(&rst, common, first == 0 && order[0].hops(client) == 0)
	last := len(order) - 1
	for ; last > first && !order[last].has(&rst, common); last-- {
	}
	if last < len(order)-1 {
		w.NotCame = v.absent(order[last+1:], order[first:first+1], &rst, common, before)
	} else if first < last {
		w.NotCame = byPeer(false)
	}
	// A NAT that forgot the connection sends its segments on under other ports,
	// where they are not found; a RST would have been found there.
	if e.Trigger.Frame != 0 && (!g.translated() || w.NotSent.Or(false)) {
		v.trigger(w, e, order, at)
	}
	// Where the segment that it answers went elsewhere, another host may have the
	// sender's address now. Only who made it itself cannot be that host.
	if w.NotSent.Or(false) && w.TriggerLost.Or(false) {
		w.Began = byPeer(v.born(order, first, &rst, common, before))
		if !w.Began.Or(false) {
			w.NotSent, w.TriggerLost = byWire(true), byWire(true)
		}
	}
}

// born reports whether a RST demonstrably began in the box of the place nearest
// to its sender that has it: it left there with its TTL untouched, and what the
// other side had sent passed that box on another interface, which has not the
// RST.
func (v *views) born(order []*track, first int, rst *sighting, common int64, before until) bool {
	t := order[first]
	i := slices.IndexFunc(t.list, func(s sighting) bool {
		d := s.time - t.shift - common
		return s.client == rst.client && s.seq == rst.seq && s.flags == rst.flags && max(d, -d) <= maxDelay
	})
	if i < 0 || t.list[i].way != packet.DirOut || tcp.Hops(t.list[i].ttl) != 0 {
		return false
	}
	return slices.ContainsFunc(order, func(o *track) bool {
		return o != t && o.point == t.point && v.points[t.point].Counted && !o.has(rst, common) && passed(o, t, !rst.client, before)
	})
}

// absent says whether a RST is missing at places that would have it: true when
// one of them demonstrably lacks it, else not looked at. Where a capture does
// not say what it lost, that is what one packet more or less shows on the wire,
// and no proof.
// seen are the places that may have it; packets of its side must pass those
// that do and the one that does not.
// What the other side had sent until then must have passed all of them, too: a
// place that has only what the RST answers is a host that now has the sender's
// address, or lies on another path.
func (v *views) absent(places, seen []*track, rst *sighting, common int64, before until) fact.Opt[bool] {
	var found fact.Opt[bool]
	for _, t := range places {
		if !v.wouldHave(t, rst.client, common) || v.disguised(t, rst, common) {
			continue
		}
		if elsewhere := func(o *track) bool { return o.has(rst, common) && !passed(t, o, !rst.client, before) }; slices.ContainsFunc(seen, elsewhere) {
			continue
		}
		if !slices.ContainsFunc(seen, func(o *track) bool { return o.has(rst, common) && onPath(t, o, rst.client) }) {
			continue
		}
		if v.points[t.point].Counted {
			return byPeer(true)
		}
		found = byWire(true)
	}
	return found
}

// onPath reports whether packets of a side demonstrably pass two places, and all
// of them: of those that b has, a has at least four in five. Interfaces of a host
// with two uplinks are no path, and what a capture filter left out proves nothing.
func onPath(a, b *track, client bool) bool { return passed(a, b, client, until{common: math.MaxInt64}) }

// until is the segment at which a look back begins, and its time by the clock of
// the first track. The other clocks are known too roughly for the time alone.
type until struct {
	common int64
	key    segmentKey
}

// segmentsBefore is until for what came before the segment that a RST answers.
func segmentsBefore(e *tcp.Termination, common int64) until {
	t := &e.Trigger
	if t.Frame == 0 {
		return until{common: common}
	}
	return until{common, segmentKey{e.FromServer(), t.Flags, t.Seq, t.Ack, t.Len}}
}

// passed is onPath for what b has before.
func passed(a, b *track, client bool, before until) bool {
	const enough = 256 // the latest of them
	shared, total := 0, 0
	for i := max(0, len(b.list)-enough); i < len(b.list); i++ {
		if s := &b.list[i]; s.client == client && s.flags&packet.RST == 0 && s.time-b.shift < before.common && s.key() != before.key {
			total++
			if a.find(s) != nil {
				shared++
			}
		}
	}
	return shared > 0 && shared*5 >= total*4
}

// disguised reports whether a place has the RST under other addresses or ports:
// a NAT that lost the connection gives its segments new ones.
func (v *views) disguised(t *track, rst *sighting, common int64) bool {
	for _, r := range v.resets[rst.seq] {
		if d := r.time - t.shift - common; t.at(r.place) && r.flags == rst.flags && max(d, -d) <= maxDelay {
			return true
		}
	}
	return false
}

// renamed looks whether the RST is under other addresses or ports at a place
// that has it not under those of the connection.
func (v *views) renamed(places []*track, rst *sighting, common int64) fact.Opt[bool] {
	if len(places) == 0 {
		return fact.Opt[bool]{}
	}
	return byPeer(slices.ContainsFunc(places, func(t *track) bool {
		return v.wouldHave(t, rst.client, common) && v.disguised(t, rst, common)
	}))
}

// oneWay looks whether the place nearest to the sender that has the RST, and
// that is none of the ends, has otherwise only the other direction, while both
// ends have both.
func oneWay(order []*track, first int) fact.Opt[bool] {
	if n := len(order); first == 0 || first == n-1 || order[0].oneWay() || order[n-1].oneWay() {
		return fact.Opt[bool]{}
	}
	return byPeer(order[first].oneWay())
}

// history takes what the RST's side had done from the place nearest to it: what
// was lost on the way is missing further on.
func (c *Case) history(w *fact.Wire) {
	if c.home == nil || c.home == c {
		return
	}
	e := c.home.Termination
	me := e.Sender()
	w.Retransmits, w.Probes = byWire(max(w.Retransmits.Or(0), int64(me.RetransRow))), byWire(max(w.Probes.Or(0), int64(me.ProbesRow)))
	if w.FIN.Or(false) || me.FinTime == 0 {
		return
	}
	w.FIN, w.FINAge = byWire(true), since(e, me.FinTime)
	if idle, ok := e.Idle(); ok {
		w.Idle = us(idle)
	}
}

// trigger looks whether the other end sent what the RST answers, and whether it
// came to the place nearest to the sender of the RST.
func (v *views) trigger(w *fact.Wire, e *tcp.Termination, order []*track, at int) {
	t := &e.Trigger
	seg := sighting{time: t.Time, seq: t.Seq, ack: t.Ack, size: t.Len, flags: t.Flags, ipid: t.IPID, client: e.FromServer()}
	common := t.Time - v.group.tracks[at].shift
	w.TriggerNotSent = v.missed(order[len(order)-1], &seg, common)
	w.TriggerLost = v.missed(order[0], &seg, common)
}

// missed says whether a place lacks a segment: false when it has it, true when
// it would have it, else not looked at.
func (v *views) missed(t *track, s *sighting, common int64) fact.Opt[bool] {
	switch {
	case t.has(s, common):
		return byPeer(false)
	case !v.wouldHave(t, s.client, common):
		return fact.Opt[bool]{}
	case v.points[t.point].Counted:
		return byPeer(true)
	}
	return byWire(true)
}

// has reports whether a place saw a segment at about a time of the first
// track's clock. The acknowledgement of a RST without ACK flag means nothing,
// and the IP identification tells a copy from a repetition where there is one.
func (t *track) has(s *sighting, common int64) bool {
	for i := range t.list {
		o := &t.list[i]
		if o.client != s.client || o.seq != s.seq || o.size != s.size || o.flags != s.flags || o.flags&packet.ACK != 0 && o.ack != s.ack {
			continue
		}
		if d := o.time - t.shift - common; max(d, -d) > maxDelay {
			continue
		}
		if o.ipid == s.ipid || o.ipid == 0 || s.ipid == 0 || s.flags&packet.RST == 0 {
			return true
		}
	}
	return false
}

// wouldHave reports whether a place would have seen a segment of one side at a
// time: it saw that side of the connection before, it lost nothing, and it
// demonstrably went on afterwards.
func (v *views) wouldHave(t *track, client bool, common int64) bool {
	p := v.points[t.point]
	at := common + t.shift
	if t.full || p.Lost > 0 || p.Damage != nil || p.Until < at+v.group.margin() || len(t.list) == 0 {
		return false
	}
	saw := false
	for i := range t.list {
		if s := &t.list[i]; s.client == client && s.time < at && s.flags&packet.RST == 0 {
			saw = true
		}
	}
	return saw
}

// outgoing says whether a RST left by this place's interface, where its side's
// TTL is untouched: a host's own capture. Not looked at when the capture does not
// know directions.
func (t *track) outgoing(rst *sighting, common int64, near bool) fact.Opt[bool] {
	if !near {
		return fact.Opt[bool]{}
	}
	for i := range t.list {
		s := &t.list[i]
		if d := s.time - t.shift - common; s.client == rst.client && s.seq == rst.seq && s.flags == rst.flags && max(d, -d) <= maxDelay && s.way != packet.DirUnknown {
			return byPeer(s.way == packet.DirOut)
		}
	}
	return fact.Opt[bool]{}
}

// lost looks whether what stayed unanswered got lost between two places.
func (v *views) lost(f *fact.Case, e *tcp.Termination) {
	g := v.group
	waiting := e.From == e.Conn.Server() // the client waited
	order := g.from(waiting)
	var last *sighting
	for i := range order[0].list {
		if s := &order[0].list[i]; s.client == waiting && s.flags&packet.RST == 0 && (s.size > 0 || s.flags&packet.SYN != 0) {
			last = s
		}
	}
	if last == nil {
		return
	}
	common := last.time - order[0].shift
	for _, t := range order[1:] {
		v.arrived(&f.Wire, e, t, last, common)
		switch lost := v.missed(t, last, common); {
		case lost.Or(false):
			f.Wire.SegmentLost = lost
			return
		case lost.State() == fact.Present:
			f.Wire.SegmentLost = lost
		}
	}
}
