package daemon

import (
	"math"
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// patterns looks at a case among the others of the same time and place. Each
// table is bounded; when one is full it starts anew, which only makes patterns
// look smaller than they are.
type patterns struct {
	emitters map[emitterKey]*window // resets by process or namespace
	pairs    map[pairKey]*window    // cases between two addresses and a server port
	tuples   map[tuple]*window      // refused RSTs aimed at one connection
	idles    map[uint16]*window     // idle gaps by server port
}

const (
	maxPatterns = 4096
	windowSize  = 64
)

type emitterKey struct {
	netns uint64
	pid   int
}

type pairKey struct {
	a, b netip.Addr
	port uint16
}

type tuple struct{ client, server netip.AddrPort }

// window is a ring of the latest occurrences with a value each.
type window struct {
	at    [windowSize]time.Time
	value [windowSize]uint64
	next  int
}

func (w *window) add(at time.Time, v uint64) {
	w.at[w.next%windowSize], w.value[w.next%windowSize] = at, v
	w.next++
}

// since counts occurrences in the time before now, and how many different
// values they had.
func (w *window) since(now time.Time, span time.Duration) (n, different int64) {
	seen := map[uint64]bool{}
	for i := range min(w.next, windowSize) {
		if d := now.Sub(w.at[i]); d >= -span && d <= span {
			n++
			seen[w.value[i]] = true
		}
	}
	return n, int64(len(seen))
}

// last returns the latest occurrences in order, at most n.
func (w *window) last(n int) []time.Time {
	var out []time.Time
	for i := max(0, w.next-min(n, windowSize)); i < w.next; i++ {
		out = append(out, w.at[i%windowSize])
	}
	return out
}

func newPatterns() *patterns {
	return &patterns{emitters: map[emitterKey]*window{}, pairs: map[pairKey]*window{}, tuples: map[tuple]*window{}, idles: map[uint16]*window{}}
}

func in[K comparable](m map[K]*window, k K) *window {
	w := m[k]
	if w == nil {
		if len(m) >= maxPatterns {
			clear(m)
		}
		w = &window{}
		m[k] = w
	}
	return w
}

func hash(a netip.Addr) uint64 {
	b := a.As16()
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func (p *patterns) add(o trace.Observed) {
	c, f := o.Case, &o.Pattern
	client, server := unmapped(c.Flow.Client), unmapped(c.Flow.Server)
	emitter, receiver := server, client
	if c.Sender.Role.Or("") == "client" {
		emitter, receiver = client, server
	}
	if o.SenderNetns != 0 {
		w := in(p.emitters, emitterKey{o.SenderNetns, o.SenderPID})
		w.add(c.Time, hash(receiver.Addr())^uint64(receiver.Port()))
		n, _ := w.since(c.Time, time.Second)
		f.Burst = fact.Some(n)
		f.BurstPeers = fact.Some(peers(w, c.Time))
	}
	w := in(p.pairs, pairKey{client.Addr(), server.Addr(), server.Port()})
	w.add(c.Time, uint64(client.Port()))
	n, _ := w.since(c.Time, time.Minute)
	f.SamePeer = fact.Some(n)
	f.Period = period(w)

	if c.RST.Accepted.State() == fact.Present {
		w = in(p.tuples, tuple{client, server})
		w.add(c.Time, uint64(c.RST.SeqOffset.Or(0)))
		_, different := w.since(c.Time, 10*time.Second)
		f.ForgedAttempts = fact.Some(different)
	}
	p.idle(c, emitter)
}

func peers(w *window, now time.Time) int64 {
	_, different := w.since(now, time.Second)
	return different
}

// idle counts cases on the same port with an idle gap within 5 %.
func (p *patterns) idle(c *fact.Case, emitter netip.AddrPort) {
	gap, ok := c.Sender.Dead.Idle.Get()
	if !ok {
		if gap, ok = c.Receiver.Sock.IdleRecv.Get(); !ok {
			return
		}
	}
	if gap < 500*time.Millisecond {
		return
	}
	w := in(p.idles, emitter.Port())
	w.add(c.Time, uint64(gap.Milliseconds()))
	n := int64(0)
	for i := range min(w.next, windowSize) {
		if math.Abs(float64(w.value[i])-float64(gap.Milliseconds())) <= 0.05*float64(gap.Milliseconds()) {
			n++
		}
	}
	c.Pattern.IdleRepeats = fact.Some(n)
}

// period returns the interval of the latest four or more occurrences when each
// is within 15 % of their mean; absent when they are irregular, not looked
// when there are fewer than four.
func period(w *window) fact.Opt[time.Duration] {
	at := w.last(8)
	if len(at) < 4 {
		return fact.Opt[time.Duration]{}
	}
	mean := at[len(at)-1].Sub(at[0]) / time.Duration(len(at)-1)
	for i := 1; i < len(at); i++ {
		if d := at[i].Sub(at[i-1]); mean < 20*time.Millisecond || (d-mean).Abs() > mean*15/100 {
			return fact.None[time.Duration]()
		}
	}
	return fact.Some(mean)
}
