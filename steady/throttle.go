package steady

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Throttle rejects requests on this side in proportion to what the server does
// not accept: with probability (requests - K*accepts)/(requests + 1), as in
// Site Reliability Engineering, chapter 21. Some always pass, to notice that
// the server is back. The zero value is ready.
type Throttle struct {
	// K is how many requests may be sent for each accepted one. Default 2.
	K float64
	// Window is the time over which counts fade to a third. Default 10 s.
	Window time.Duration
	// Off lets everything pass.
	Off bool

	mu       sync.Mutex
	requests float64 // guarded by mu, as all below
	accepts  float64
	faded    int64
	probe    int64
	failing  int // failures in a row
	rejected uint64
}

const (
	throttleVolume = 20 // requests in the window below which nothing is rejected
	throttleProbe  = 100 * time.Millisecond
	outageRun      = 20 // failures in a row after which a success ends an outage
)

// Allow reports whether a request may be sent. A request counts when it is
// rejected or over: those under way, which may be many and slow, say nothing yet.
func (t *Throttle) Allow() bool {
	if t.Off {
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
func (t *Throttle) Accepted() {
	if t.Off {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failing >= outageRun {
		t.requests, t.accepts = 0, 0
	}
	t.failing = 0
	t.lockedFade(now())
	t.requests++
	t.accepts++
}

// Failed notes that the server did not take a request on.
func (t *Throttle) Failed() {
	if t.Off {
		return
	}
	t.mu.Lock()
	t.lockedFade(now())
	t.requests++
	t.failing++
	t.mu.Unlock()
}

// Rejected returns how many requests were not sent.
func (t *Throttle) Rejected() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rejected
}

// lockedFade takes a tenth away with each tenth of the window.
func (t *Throttle) lockedFade(at int64) {
	w := t.Window
	if w == 0 {
		w = 10 * time.Second
	}
	step := int64(w / 10)
	for n := 0; at-t.faded >= step; n++ {
		if n == 100 { // nothing is left
			t.requests, t.accepts, t.faded = 0, 0, at
			return
		}
		t.requests *= 0.9
		t.accepts *= 0.9
		t.faded += step
	}
}
