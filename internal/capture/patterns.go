package capture

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// pattern is what the other endings of a capture say about one.
type pattern struct {
	burst, burstPeers  int64
	scanPorts          int64
	samePeer           int64
	idleRepeats        int64
	sharedIPID         int64
	oneBox             int64
	period             time.Duration
	periodKnown, idled bool
}

// patterns looks at all endings of a capture together. They are in the order of
// their frames.
func patterns(list []*tcp.Termination) []pattern {
	out := make([]pattern, len(list))
	bursts(list, out)
	scans(list, out)
	peers(list, out)
	idles(list, out)
	counters(list, out)
	boxes(list, out)
	return out
}

// fill puts the pattern into a case.
func (p *pattern) fill(c *fact.Case, e *tcp.Termination) {
	f := &c.Pattern
	some := func(n int64) fact.Opt[int64] { return fact.SomeBy(n, fact.ByPattern) }
	f.Burst, f.BurstPeers = some(p.burst), some(p.burstPeers)
	f.ScanPorts, f.SamePeer = some(p.scanPorts), some(p.samePeer)
	if p.idled {
		f.IdleRepeats = some(p.idleRepeats)
	}
	f.Period = fact.None[time.Duration]()
	if p.periodKnown {
		f.Period = fact.SomeBy(p.period, fact.ByPattern)
	}
	if e.Kind != tcp.ByReset {
		return
	}
	f.BothWays = byWire(e.After.ReceiverResets > 0 || e.Opposite.Frame != 0 && e.Time-e.Opposite.Time < int64(time.Second))
	attempts := int64(1)
	if (e.After.SeqChanged || e.Previous.Frame != 0 && e.Previous.Seq != e.Reset.Seq) && e.Trigger.Frame == 0 && e.Conn.Sane() {
		attempts = int64(e.Nth + e.After.SenderResets)
	}
	f.ForgedAttempts = some(attempts)
	c.Wire.IPIDShared, c.Wire.OneBox = some(max(p.sharedIPID, 1)), some(max(p.oneBox, 1))
	if q := e.Prior.Quiet; q != nil {
		until := max(e.CaptureEnd, q.Since)
		if q.Next != 0 {
			until = q.Next
		}
		f.Quiet = fact.SomeBy(time.Duration(max(until-e.Time, 0)), fact.ByPattern)
	}
}

// tally counts how often values are in a window that slides forward, so that
// each is looked at twice and not once for every place of the window.
type tally[K comparable] struct {
	group  []int // indexes of endings
	key    func(i int) K
	counts map[K]int
	lo, hi int // group[lo:hi] is counted
}

func newTally[K comparable](group []int, key func(i int) K) *tally[K] {
	return &tally[K]{group: group, key: key, counts: map[K]int{}}
}

// distinct returns how many values there are in group[lo:hi]. Neither may be
// less than in the call before.
func (t *tally[K]) distinct(lo, hi int) int64 {
	for ; t.hi < hi; t.hi++ {
		t.counts[t.key(t.group[t.hi])]++
	}
	for ; t.lo < lo; t.lo++ {
		k := t.key(t.group[t.lo])
		if t.counts[k]--; t.counts[k] == 0 {
			delete(t.counts, k)
		}
	}
	return int64(len(t.counts))
}

// window calls f for each ending with all those of the same key within a time
// around it: group[lo:hi], where group holds indexes in order.
func window(group []int, list []*tcp.Termination, span time.Duration, f func(i, lo, hi int)) {
	lo, hi := 0, 0
	for _, i := range group {
		for hi < len(group) && list[group[hi]].Time-list[i].Time <= int64(span) {
			hi++
		}
		for list[i].Time-list[group[lo]].Time > int64(span) {
			lo++
		}
		f(i, lo, hi)
	}
}

func groupBy[K comparable](list []*tcp.Termination, key func(e *tcp.Termination) (K, bool)) map[K][]int {
	groups := map[K][]int{}
	for i, e := range list {
		if k, ok := key(e); ok {
			groups[k] = append(groups[k], i)
		}
	}
	for _, g := range groups {
		slices.SortStableFunc(g, func(a, b int) int { return cmp.Compare(list[a].Time, list[b].Time) })
	}
	return groups
}

const nearLimit = 256 // endings that are compared with one

// bursts counts connections that one host reset within a second, all of them
// open at the same time, and of its own accord: what only answers a segment, or
// the other end's FIN, is no part of a burst.
func bursts(list []*tcp.Termination, out []pattern) {
	groups := groupBy(list, func(e *tcp.Termination) (packet.Addr, bool) {
		return e.Conn.Addr[e.From], e.Kind == tcp.ByReset && e.Nth == 1 && e.Form() != "refusal"
	})
	for _, g := range groups {
		window(g, list, time.Second, func(i, lo, hi int) {
			burst(list, g[max(lo, hi-nearLimit):hi], list[i], &out[i])
		})
	}
}

// burst counts what belongs to the burst of e.
func burst(list []*tcp.Termination, near []int, e *tcp.Termination, p *pattern) {
	conns, hosts := map[int64]bool{e.Conn.Opened: true}, map[packet.Addr]bool{e.Conn.Addr[1-e.From]: true}
	if unforced(e) {
		for _, j := range near {
			o := list[j]
			if at := min(o.Time, e.Time); unforced(o) && o.Conn.Start <= at && e.Conn.Start <= at {
				conns[o.Conn.Opened], hosts[o.Conn.Addr[1-o.From]] = true, true
			}
		}
	}
	p.burst, p.burstPeers = int64(len(conns)), int64(len(hosts))
}

// unforced reports whether nothing of the other end led to a RST.
func unforced(e *tcp.Termination) bool {
	return e.Trigger.Frame == 0 && e.Receiver().Bits&tcp.SentFIN == 0
}

// A client that finds a few services of a host down is no scanner. manyPorts is
// from when on it is taken for one; with a SYN that no common stack sends, five
// ports are enough.
const (
	manyPorts = 12
	fewPorts  = 4 // what is told of less
)

// scans counts ports of one host at which one other host found no connection or
// broke off at once.
func scans(list []*tcp.Termination, out []pattern) {
	groups := groupBy(list, func(e *tcp.Termination) ([2]packet.Addr, bool) {
		c := &e.Conn
		return [2]packet.Addr{c.Addr[c.Client], c.Addr[c.Server()]}, c.Sides[0].Bytes+c.Sides[1].Bytes == 0
	})
	for _, g := range groups {
		ports := newTally(g, func(j int) uint16 { return list[j].Conn.Port[list[j].Conn.Server()] })
		window(g, list, 5*time.Second, func(i, lo, hi int) {
			if out[i].scanPorts = ports.distinct(lo, min(hi, lo+nearLimit)); out[i].scanPorts < manyPorts && !bareSYN(&list[i].Conn) {
				out[i].scanPorts = min(out[i].scanPorts, fewPorts)
			}
		})
	}
}

// bareSYN reports whether a SYN has none of the options that common stacks send.
func bareSYN(c *tcp.Conn) bool {
	client := &c.Sides[c.Client]
	return client.Bits&tcp.HasISN != 0 && client.Bits&(tcp.HasTS|tcp.SACKOK|tcp.HasScale) == 0
}

type service struct {
	client, server packet.Addr
	port           uint16
}

// peers looks for repetition between one client and one service.
func peers(list []*tcp.Termination, out []pattern) {
	groups := groupBy(list, func(e *tcp.Termination) (service, bool) {
		c := &e.Conn
		return service{c.Addr[c.Client], c.Addr[c.Server()], c.Port[c.Server()]}, e.Nth <= 1
	})
	for _, g := range groups {
		window(g, list, 30*time.Second, func(i, lo, hi int) { out[i].samePeer = int64(hi - lo) })
		if period, ok := regular(g, list); ok {
			for _, i := range g {
				out[i].period, out[i].periodKnown = period, true
			}
		}
	}
}

// regular returns the interval of events when at least four of them keep it
// within 15 %.
func regular(g []int, list []*tcp.Termination) (time.Duration, bool) {
	if len(g) < 4 {
		return 0, false
	}
	mean := (list[g[len(g)-1]].Time - list[g[0]].Time) / int64(len(g)-1)
	if mean < int64(50*time.Millisecond) {
		return 0, false
	}
	for k := 1; k < len(g); k++ {
		if d := list[g[k]].Time - list[g[k-1]].Time - mean; max(d, -d)*100 > mean*15 {
			return 0, false
		}
	}
	return time.Duration(mean), true
}

// idles counts endings on the same server port after the same time without
// data: a timer.
func idles(list []*tcp.Termination, out []pattern) {
	groups := groupBy(list, func(e *tcp.Termination) (uint16, bool) {
		idle, ok := e.Idle()
		return e.Conn.Port[e.Conn.Server()], ok && idle >= 2*time.Second && e.Nth <= 1
	})
	for _, g := range groups {
		gaps := make([]time.Duration, len(g))
		for k, i := range g {
			gaps[k], _ = list[i].Idle()
		}
		sorted := slices.Sorted(slices.Values(gaps))
		for k, i := range g {
			lo, _ := slices.BinarySearch(sorted, gaps[k]*95/100)
			hi, _ := slices.BinarySearch(sorted, gaps[k]*105/100+1)
			out[i].idled, out[i].idleRepeats = true, int64(hi-lo)
		}
	}
}

// counters looks for RSTs in the name of different hosts whose IP
// identifications continue one counter, from one distance: one box wrote them. A chance
// continuation has a probability of chainStep in 65536 for each link.
func counters(list []*tcp.Termination, out []pattern) {
	const chainStep, chainTime = 100, int64(time.Minute)
	groups := groupBy(list, func(e *tcp.Termination) (netip.Addr, bool) {
		ok := e.Kind == tcp.ByReset && !e.Reset.V6 && e.Reset.IPID != 0 && e.IPIDKind() != "counts-on" && e.IPIDKind() != "copied"
		return e.Conn.Addr[1-e.From].Netip(), ok
	})
	for _, g := range groups {
		for from := 0; from < len(g); {
			hosts := map[packet.Addr]bool{list[g[from]].Conn.Addr[list[g[from]].From]: true}
			to := from + 1
			for ; to < len(g); to++ {
				a, b := list[g[to-1]], list[g[to]]
				if step := b.Reset.IPID - a.Reset.IPID; step == 0 || step > chainStep || b.Time-a.Time > chainTime || a.Reset.TTL != b.Reset.TTL {
					break
				}
				hosts[b.Conn.Addr[b.From]] = true
			}
			for _, i := range g[from:to] {
				out[i].sharedIPID = int64(len(hosts))
			}
			from = to
		}
	}
}
