package trace

import (
	"fmt"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

// byCounter marks a fact that the counters show.
func byCounter[T any](v T) fact.Opt[T] { return fact.SomeBy(v, fact.ByCounter) }

// gone is a connection that ended: one socket of it, or both when both ends
// are in the namespace.
type gone struct{ one, other *polled }

// pairUp joins the two ends of a connection within one namespace.
func pairUp(list []*polled) (out []gone) {
	at := map[conn]int{}
	for _, e := range list {
		c := connOf(e.Local, e.Remote)
		if i, ok := at[c]; ok && out[i].other == nil && out[i].one.Local == e.Remote {
			out[i].other = e
			continue
		}
		at[c] = len(out)
		out = append(out, gone{one: e})
	}
	return out
}

// ending is how the connections of a tick ended, as far as the counters say so
// of all of them.
type ending uint8

const (
	endUnclear ending = iota
	endReset          // a RST arrived
	endUnread         // closed here with unread data
	endAbort          // closed here with SO_LINGER 0
	endTimeout        // given up here
	endProbed         // given up here with a RST: keep-alive probes without an answer
	endRefused        // the attempt was refused
)

// decide compares the counters with the number of connections that ended. A
// counter that rose by as many speaks of each of them, one that did not move
// of none; anything else speaks of nobody in particular.
func decide(have increments, units int64, attempt bool) ending {
	all := func(n int64) bool { return n == units }
	quiet := func(list ...int64) bool {
		for _, n := range list {
			if n != 0 {
				return false
			}
		}
		return true
	}
	switch {
	case attempt && all(have.timeouts) && have.ends == 0:
		return endTimeout
	case attempt && quiet(have.timeouts, have.icmp):
		return endRefused
	case attempt:
	case all(have.onClose) && quiet(have.onData, have.timeouts, have.memory):
		return endUnread
	case all(have.onData) && quiet(have.onClose, have.timeouts, have.memory):
		return endAbort
	case all(have.timeouts) && quiet(have.onClose, have.onData, have.memory, have.rsts):
		return endTimeout
	case all(have.timeouts) && all(have.rsts) && quiet(have.onClose, have.onData, have.memory):
		return endProbed
	case quiet(have.onClose, have.onData, have.timeouts, have.memory, have.rsts):
		return endReset
	}
	return endUnclear
}

// report makes the cases of the connections that ended in a tick.
func (s *CountersSource) report(t *tick, list []*polled, have increments, attempt bool) {
	if s.emit == nil {
		return
	}
	units := pairUp(list)
	how := decide(have, int64(len(units)), attempt)
	for _, u := range units {
		s.emit(s.counterCase(t, u, how, have))
	}
}

// side says which socket sent the RST: nil when that is the far end, ok false
// when nobody knows.
func (u gone) side(how ending) (emitter *polled, ok bool) {
	if u.other == nil {
		switch how {
		case endUnread, endAbort, endProbed:
			return u.one, true
		case endReset, endTimeout, endRefused:
			return nil, true
		}
		return nil, false
	}
	if how == endUnread && (u.one.RQueue > 0) != (u.other.RQueue > 0) {
		if u.one.RQueue > 0 {
			return u.one, true
		}
		return u.other, true
	}
	return nil, false
}

func (s *CountersSource) counterCase(t *tick, u gone, how ending, have increments) Observed {
	b := s.build
	b.serial++
	c := &fact.Case{ID: fmt.Sprintf("%s-%d-%d", b.name, t.at.UnixNano(), b.serial), Time: t.at, Source: "counters", Host: b.name}
	ob := Observed{Case: c}
	emitter, sided := u.side(how)
	src := u.one.Remote
	if emitter != nil {
		src = emitter.Local
	}
	s.counterFlow(t, u, c)
	describeFlow(c, src, c.Flow.RolesKnown.Or(false), fact.ByHost)
	if !sided { // which end did it is not known: nothing is said of either
		c.Sender, c.Receiver = fact.Endpoint{}, fact.Endpoint{}
	}
	for _, e := range []*polled{u.one, u.other} {
		if e == nil || !sided {
			continue
		}
		end, netns, pid := &c.Receiver, &ob.ReceiverNetns, &ob.ReceiverPID
		if e == emitter {
			end, netns, pid = &c.Sender, &ob.SenderNetns, &ob.SenderPID
		}
		*netns = t.ns.Cookie
		*pid = s.end(t, end, e, how)
	}
	s.farEnd(t, &ob, sided)
	counterStory(c, u.one, how, have)
	return ob
}

// farEnd says whether the end that is not in this namespace is on this host.
func (s *CountersSource) farEnd(t *tick, ob *Observed, sided bool) {
	if !sided {
		return
	}
	for _, e := range []*fact.Endpoint{&ob.Sender, &ob.Receiver} {
		if e.Watched.State() != fact.NotLooked {
			continue
		}
		addr := ob.Flow.Client.Addr()
		if e.Role.Or("") == "server" {
			addr = ob.Flow.Server.Addr()
		}
		if len(s.host.ownersOf(addr, t.ns.Cookie)) > 0 {
			e.Watched = fact.SomeBy(true, fact.ByHost)
		}
	}
}

// end fills the facts of a socket of this namespace and of its process.
func (s *CountersSource) end(t *tick, end *fact.Endpoint, e *polled, how ending) (pid int) {
	end.Watched = fact.SomeBy(true, fact.ByHost)
	k := &end.Sock
	polledSocket(k, e)
	if !e.first.IsZero() {
		k.Age = fact.SomeBy(t.at.Sub(e.first), fact.ByHost)
	}
	if (how == endTimeout || how == endProbed) && e.HasInfo { // nothing arrived meanwhile, or it would not have timed out
		k.Retransmits, k.ProbesOut = fact.SomeBy(int64(e.Info.Retransmits), fact.ByHost), fact.SomeBy(int64(e.Info.Probes), fact.ByHost)
		k.IdleRecv = fact.SomeBy(e.Info.LastDataRecv+t.at.Sub(e.last), fact.ByHost)
	}
	if how == endUnread && e.RQueue > 0 {
		k.Unread = fact.SomeBy(int64(e.RQueue), fact.ByHost)
	}
	if pid = s.sockets.owner(e.Inode); pid == 0 {
		pid = s.host.ownerOfInode(e.Inode)
	}
	s.build.living(&end.Proc, pid)
	return pid
}

// counterFlow fills the connection: who opened it, as its byte counters tell,
// or a listener, or the port numbers.
func (s *CountersSource) counterFlow(t *tick, u gone, c *fact.Case) {
	e := u.one
	active, known := e.opener()
	if !known && u.other != nil {
		active, known = u.other.opener()
		active = !active
	}
	if !known {
		active = e.Local.Port() > e.Remote.Port()
		if _, ok, _, looked := s.host.listener(t.ns.Cookie, e.Local); looked && ok {
			active = false
		}
	}
	c.Flow.Client, c.Flow.Server, c.Flow.Netns = e.Remote, e.Local, t.ns.Cookie
	if active {
		c.Flow.Client, c.Flow.Server = e.Local, e.Remote
	}
	c.Flow.RolesKnown = fact.SomeBy(known, fact.ByHost)
}

// counterStory fills outcome, phase, and what is known of the RST.
func counterStory(c *fact.Case, e *polled, how ending, have increments) {
	switch {
	case e.State == linux.SynSent:
		c.Phase = fact.SomeBy("connect", fact.ByHost)
	case e.State == linux.CloseWait:
		c.Phase = fact.SomeBy("closing", fact.ByHost)
	case e.Inode == 0:
		c.Phase = fact.SomeBy("accept-queue", fact.ByHost)
	default:
		c.Phase = fact.SomeBy("established", fact.ByHost)
	}
	switch how {
	case endRefused:
		c.Outcome, c.RST.Seen, c.Receiver.Error = byCounter("refused"), byCounter(true), byCounter("ECONNREFUSED")
	case endTimeout:
		c.Outcome, c.RST.Seen, c.Receiver.Error = byCounter("timeout"), byCounter(false), byCounter("ETIMEDOUT")
	case endProbed:
		c.Outcome, c.RST.Seen, c.Sender.Error = byCounter("timeout"), byCounter(true), byCounter("ETIMEDOUT")
		c.RST.Form = byCounter("active-abort")
	case endReset:
		c.Outcome, c.RST.Seen = byCounter("reset"), byCounter(true)
		c.Receiver.Error = byCounter(map[bool]string{true: "EPIPE", false: "ECONNRESET"}[e.State == linux.CloseWait])
	case endUnread, endAbort:
		c.Outcome, c.RST.Seen, c.RST.Form = byCounter("reset"), byCounter(true), byCounter("active-abort")
	default:
		if e.State != linux.SynSent && have.timeouts == 0 {
			c.Outcome = byCounter("reset")
		}
	}
}
