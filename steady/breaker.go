package steady

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Cause says in one word what kind of failure an attempt met. A breaker counts
// each apart: a race with an idle timer says nothing about a server's health.
type Cause string

// Causes.
const (
	CauseRefused     Cause = "refused"     // ECONNREFUSED: nobody listens
	CauseUnreachable Cause = "unreachable" // no route, or an ICMP error
	CauseTimeout     Cause = "timeout"     // connecting or waiting took too long
	CauseHandshake   Cause = "handshake"   // the connection ended before the request could begin
	CauseReset       Cause = "reset"       // reset or closed with a request in flight
	CauseIdleClose   Cause = "idle-close"  // the peer had closed an idle connection
	CauseGoAway      Cause = "goaway"      // HTTP/2: the server is draining
	CauseLocal       Cause = "local"       // this end: cancelled, timed out, closed
	CauseUnavailable Cause = "unavailable" // status 503 or 429
	CauseOther       Cause = "other"       // not of the connection
)

// trips is how many failures in a row of one cause open a breaker; a cause
// that is not here never does.
var trips = map[Cause]int{
	CauseRefused: 5, CauseUnreachable: 5, CauseTimeout: 5, CauseHandshake: 5, CauseReset: 20,
}

// Breaker stops requests to a server that cannot be reached, by cause, and
// lets one through from time to time. The zero value is ready.
type Breaker struct {
	// Open is how long the first opening lasts, and Cap how long a later one
	// at most. Defaults 250 ms and 1 s: a returning server is found again
	// within two seconds.
	Open, Cap time.Duration
	// Off lets everything pass.
	Off bool

	ill atomic.Bool // something is in failures, or cause is set; so a healthy server costs no lock

	mu       sync.Mutex
	failures map[Cause]int // guarded by mu, as all below
	cause    Cause         // what opened it; empty when closed
	until    int64
	times    int
	rejected uint64
}

// Allow reports whether a request may be sent, and if not, why and for how
// long. When the time is over, one request passes as a probe and the breaker
// stays open for others.
func (b *Breaker) Allow() (Cause, time.Duration, bool) {
	if b.Off || !b.ill.Load() {
		return "", 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cause == "" {
		return "", 0, true
	}
	at := now()
	if at >= b.until {
		b.lockedOpen(b.cause, at)
		return "", 0, true
	}
	b.rejected++
	return b.cause, time.Duration(b.until - at), false
}

// Succeeded closes the breaker.
func (b *Breaker) Succeeded() {
	if b.Off || !b.ill.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.failures)
	b.cause, b.times = "", 0
	b.ill.Store(false)
}

// Failed counts a failure of cause c.
func (b *Breaker) Failed(c Cause) {
	if b.Off || trips[c] == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == nil {
		b.failures = make(map[Cause]int)
	}
	b.failures[c]++
	b.ill.Store(true)
	if b.cause == "" && b.failures[c] >= trips[c] {
		b.lockedOpen(c, now())
	}
}

func (b *Breaker) lockedOpen(c Cause, at int64) {
	open, most := b.Open, b.Cap
	if open == 0 {
		open = 250 * time.Millisecond
	}
	if most == 0 {
		most = time.Second
	}
	for range b.times {
		open = min(2*open, most)
	}
	b.times = min(b.times+1, 16)
	b.cause, b.until = c, at+int64(open/2+rand.N(open/2+1))
}

// Rejected returns how many requests were not sent.
func (b *Breaker) Rejected() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rejected
}

// RejectedError is returned for a request that was not sent, to spare the
// server: by the circuit breaker, the throttle, or the budget of reconnects.
type RejectedError struct {
	By       string // "breaker", "throttle" or "budget"
	Upstream string
	Cause    Cause         // what opened the breaker
	After    time.Duration // when to try again, 0 when unknown

	sent bool // an attempt before was answered, and is not meant here
}

// Verdict is NotSent, unless an earlier attempt of the same request was sent.
func (e *RejectedError) Verdict() Verdict {
	if e.sent {
		return Unknown
	}
	return NotSent
}

// Error says who rejected it, and why.
func (e *RejectedError) Error() string {
	if e.By == "breaker" {
		return "steady: circuit to " + e.Upstream + " is open (" + string(e.Cause) + "), nothing was sent; try again in " + e.After.String()
	}
	if e.By == "budget" {
		return "steady: the last connection to " + e.Upstream + " failed and the budget of reconnects is used up; try again in " + e.After.String()
	}
	return "steady: " + e.Upstream + " does not keep up, nothing was sent; send less"
}
