package resettest

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Injection says which requests meet a fault.
//
// With a rate between 0 and 1, whether a request is hit follows from the seed, the
// fault, and the identity of the request with the number of its attempt (of the
// connection, for faults that strike before a request was read). So the same
// requests are hit in every run, in whatever order they come. Skip and Times
// count in the order of arrival.
//
// With a Message the fault strikes that request of its connection, whatever came
// before on it. A Server counts requests anyway; a Listener and a Proxy must know the
// Protocol, and choose connections by rate, Skip and Times.
type Injection struct {
	Fault string        `json:"fault"`
	Rate  float64       `json:"rate,omitempty"`  // share of the candidates; 0 means all
	At    int64         `json:"at,omitempty"`    // octets, see Fault.Params; 0 is the default of the fault
	After time.Duration `json:"after,omitempty"` // see Fault.Params; 0 is the default of the fault
	Skip  int           `json:"skip,omitempty"`  // leave this many candidates in peace first
	Times int           `json:"times,omitempty"` // then hit at most this many; 0 means no limit

	Protocol string `json:"protocol,omitempty"` // http, mysql, postgres or redis: see package framing
	Message  int    `json:"message,omitempty"`  // number of a request of its connection, from 1; 0: any, and with a Protocol the first
}

// armed is an injection with its fault and its counters.
type armed struct {
	Injection
	fault    Fault
	seen     int // candidates so far
	injected int
}

// plan decides who is hit.
type plan struct {
	seed uint64

	mu   sync.Mutex
	list []*armed // guarded by mu
}

func newPlan(seed uint64, list []Injection, stream bool) (*plan, error) {
	p := &plan{seed: seed}
	for _, in := range list {
		f, err := check(in, stream)
		if err != nil {
			return nil, err
		}
		p.list = append(p.list, &armed{Injection: in, fault: f})
	}
	return p, nil
}

// check refuses an injection that cannot be done.
func check(in Injection, stream bool) (Fault, error) {
	f, ok := Lookup(in.Fault)
	switch {
	case !ok:
		return f, fmt.Errorf("no fault is called %q; Faults lists them", in.Fault)
	case stream && !f.Stream:
		return f, fmt.Errorf("fault %s needs a server that speaks %s: a Listener or Proxy does not look into the stream", f.Name, f.Layer)
	case f.Only != "" && f.Only != runtime.GOOS && (f.Only != "unix" || !onUnix):
		return f, fmt.Errorf("fault %s needs %s", f.Name, f.Only)
	case !(in.Rate >= 0 && in.Rate <= 1):
		return f, fmt.Errorf("fault %s: rate %v is not between 0 and 1", f.Name, in.Rate)
	case in.At < 0 || in.After < 0 || in.Skip < 0 || in.Times < 0 || in.Message < 0:
		return f, fmt.Errorf("fault %s: negative parameter", f.Name)
	case f.Root && !canVanish():
		return f, fmt.Errorf("fault %s needs CAP_NET_ADMIN, which root has", f.Name)
	}
	return f, checkAim(in, f, stream)
}

// has says whether a fault of that stage is planned.
func (p *plan) has(s stage) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.list {
		if a.fault.stage == s {
			return true
		}
	}
	return false
}

// pick returns the injection for a candidate at a stage, or nil. request is its number
// on its connection.
func (p *plan) pick(s stage, key string, body bool, request int) *armed {
	return p.choose(key, func(a *armed) bool {
		return a.fault.stage == s && (body || !a.fault.Body) && (a.Message == 0 || a.Message == request)
	})
}

func (p *plan) choose(key string, eligible func(*armed) bool) *armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.list {
		if !eligible(a) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip || a.Times > 0 && a.injected >= a.Times {
			continue
		}
		if a.Rate > 0 && chance(p.seed, a.Fault, key) >= a.Rate {
			continue
		}
		a.injected++
		hit := *a // the caller reads it without the lock
		return &hit
	}
	return nil
}

// add arms one more injection.
func (p *plan) add(in Injection, f Fault) *armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &armed{Injection: in, fault: f}
	p.list = append(p.list, a)
	return a
}

// remove disarms an injection.
func (p *plan) remove(a *armed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(b *armed) bool { return a == b })
}

// chosen returns how often an injection was chosen; a may be nil.
func (p *plan) chosen(a *armed) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a == nil {
		return 0
	}
	return a.injected
}

// chance maps a seed and a key evenly onto [0,1).
func chance(seed uint64, fault, key string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s", fault, key)
	return rand.New(rand.NewPCG(seed, h.Sum64())).Float64()
}

// or returns the parameter, or its default.
func or[T int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
