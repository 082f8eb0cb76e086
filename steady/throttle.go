package steady

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Throttle rejects requests on this side in proportion to what the server does
// not accept: with probability (requests - K*accepts)/(requests + 1), as in
// Site Reliability Engineering, chapter 21. Some always pass, to notice that
// the server is back. The zero value is ready.
type Throttle struct {
	// K is how many requests may be sent for each accepted one, at least 1.
	// Default 2.
	K float64
	// Window is the time over which counts fade to a third. Default 10 s.
	Window time.Duration
	// Off lets everything pass.
	Off bool

	// While all is accepted, nothing but a count is kept for each request.
	troubled atomic.Bool  // a request was not accepted, and that has not faded
	fresh    atomic.Int64 // accepted since faded, not yet in requests and accepts
	faded    atomic.Int64 // the counts hold at this time; written under mu

	mu       sync.Mutex
	requests float64 // guarded by mu, as all below
	accepts  float64
	probe    int64
	failing  int // failures in a row
	rejected uint64
}

// troubleEnds is what is left of a failure after about seven tenths of the window.
const troubleEnds = 0.5

const (
	throttleVolume = 20 // requests in the window below which nothing is rejected
	throttleProbe  = 100 * time.Millisecond
	outageRun      = 20 // failures in a row after which a success ends an outage
)

// Allow reports whether a request may be sent. A request counts when it is
// rejected or over: those under way, which may be many and slow, say nothing yet.
func (t *Throttle) Allow() bool {
	if t.Off || !t.troubled.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := now()
	t.lockedFade(at)
	k := t.K
	if k == 0 {
		k = 2
	}
	p := (t.requests - k*t.accepts) / (t.requests + 1)
	if t.requests < throttleVolume || p <= 0 || rand.Float64() >= p {
		return true
	}
	if at-t.probe >= int64(throttleProbe) {
		t.probe = at
		return true
	}
	t.requests++
	t.rejected++
	return false
}

// Accepted notes that the server took a request on, whatever it answered but
// 503 and 429. The first after a run of failures ends the outage at once.
func (t *Throttle) Accepted() { t.accepted(now()) }

// accepted is Accepted at a time that is known already.
func (t *Throttle) accepted(at int64) {
	if t.Off {
		return
	}
	if !t.troubled.Load() && at-t.faded.Load() < t.step() {
		t.fresh.Add(1)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lockedFade(at)
	if t.failing >= outageRun {
		t.requests, t.accepts = 0, 0
	}
	t.failing = 0
	t.requests++
	t.accepts++
	if t.requests-t.accepts < troubleEnds {
		t.requests = t.accepts
		t.troubled.Store(false)
	}
}

// Failed notes that the server did not take a request on.
func (t *Throttle) Failed() {
	if t.Off {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lockedFade(now())
	t.requests++
	t.failing++
	t.troubled.Store(true)
}

// Rejected returns how many requests were not sent.
func (t *Throttle) Rejected() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rejected
}

func (t *Throttle) step() int64 {
	if t.Window == 0 {
		return int64(time.Second)
	}
	return int64(t.Window / 10)
}

// lockedFade takes a tenth away with each tenth of the window.
func (t *Throttle) lockedFade(at int64) {
	fresh := float64(t.fresh.Swap(0))
	t.requests, t.accepts = t.requests+fresh, t.accepts+fresh
	faded, step := t.faded.Load(), t.step()
	for n := 0; at-faded >= step; n++ {
		if n == 100 { // nothing is left
			t.requests, t.accepts, faded = 0, 0, at
			break
		}
		t.requests *= 0.9
		t.accepts *= 0.9
		faded += step
	}
	t.faded.Store(faded)
}
