package steady

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Hedge sends a second copy of a slow request on another connection. The first
// answer wins and the other copy is cancelled. Only requests that may be executed
// twice are copied: idempotent methods, and those with a key of KeyHeaders, whose
// body is empty or has GetBody. Each copy is taken from the Budget.
type Hedge struct {
	// Delay is how long a request may take before it is copied. Default: what 95
	// of 100 requests to the host took lately, once hedgeLeast are known.
	Delay time.Duration
}

const (
	hedgeSamples = 128 // times kept for each host
	hedgeLeast   = 20  // without a Delay, nothing is copied before so many are known
	hedgeRenew   = 16  // the quantile is computed after so many new times
	hedgeFloor   = time.Millisecond
)

// latency is how long answers of one host took.
type latency struct {
	mu    sync.Mutex
	took  []time.Duration // guarded by mu
	next  int             // guarded by mu
	delay time.Duration   // guarded by mu: 95 of 100 took at most so long
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took) < hedgeSamples {
		l.took = append(l.took, d)
	} else {
		l.took[l.next%hedgeSamples] = d
	}
	if l.next++; l.next >= hedgeLeast && (l.next-hedgeLeast)%hedgeRenew == 0 {
		sorted := slices.Sorted(slices.Values(l.took))
		l.delay = max(sorted[len(sorted)*95/100], hedgeFloor)
	}
}

// wait returns the delay, or 0 when none is known yet.
func (l *latency) wait(h *Hedge) time.Duration {
	if h.Delay > 0 {
		return h.Delay
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delay
}

// copied is the result of one copy.
type copied struct {
	resp  *http.Response
	at    int64
	f     *failure
	hedge bool
}

// copies is what the copies of one attempt share.
type copies struct {
	r       *run
	began   time.Time
	results chan copied // has the buffer for all
	cancel  [2]context.CancelFunc
}

// attempt makes one attempt, of two copies if it is slow.
func (r *run) attempt(body io.ReadCloser) (*http.Response, int64, *failure) {
	t := r.t
	if t.Hedge == nil || !r.repeatable() || hasBody(r.req) && r.req.GetBody == nil || r.req.Header.Get("Upgrade") != "" {
		return t.try(t.inner, r.req, body, r.host, !r.repeatable() && r.bodies.replayable(), r.repeatable())
	}
	delay := r.host.latency.wait(t.Hedge)
	if delay == 0 {
		began := time.Now()
		resp, at, f := t.try(t.inner, r.req, body, r.host, false, true)
		if f == nil {
			r.host.latency.add(time.Since(began))
		}
		return resp, at, f
	}
	own := *r // so that a run stays on the stack where nothing is copied
	c := &copies{r: &own, began: time.Now(), results: make(chan copied, 2)}
	c.send(t.inner, body, false)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case res := <-c.results:
		return c.one(res)
	case <-timer.C:
	}
	if !c.hedge(delay) {
		return c.one(<-c.results)
	}
	return c.first()
}

// send starts a copy. The request is cloned, because the loser may still be
// reading it when the caller already has the answer.
func (c *copies) send(rt *http.Transport, body io.ReadCloser, hedge bool) {
	ctx, cancel := context.WithCancel(c.r.req.Context())
	c.cancel[index(hedge)] = cancel
	req := c.r.req.Clone(ctx)
	go func() {
		resp, at, f := c.r.t.try(rt, req, body, c.r.host, false, true)
		c.results <- copied{resp, at, f, hedge}
	}()
}

func index(hedge bool) int {
	if hedge {
		return 1
	}
	return 0
}

// hedge sends the second copy if body and budget allow it.
func (c *copies) hedge(delay time.Duration) bool {
	r := c.r
	if r.req.Context().Err() != nil {
		return false
	}
	body := r.req.Body
	if hasBody(r.req) {
		b, err := r.req.GetBody()
		if err != nil {
			return false
		}
		body = b
	}
	if !r.t.Budget.Take() {
		if hasBody(r.req) {
			body.Close()
		}
		return false
	}
	r.t.count.attempts.Add(1)
	r.t.count.hedges.Add(1)
	r.tell(Event{Kind: EventHedge, Delay: delay, Reason: "no answer yet"})
	c.send(r.t.elsewhere(r.host), body, true)
	return true
}

// elsewhere returns the http.Transport for a second copy. HTTP/1 takes another
// connection by itself; HTTP/2 would take the same, so it gets a pool of its own.
func (t *Transport) elsewhere(h *host) *http.Transport {
	h.mu.Lock()
	h2 := h.h2 || t.h2c
	h.mu.Unlock()
	if !h2 {
		return t.inner
	}
	t.second.Do(func() { t.other.Store(t.inner.Clone()) })
	return t.other.Load()
}

// first returns the first answer, or when both copies failed a failure: the one
// that allows less.
func (c *copies) first() (*http.Response, int64, *failure) {
	res := <-c.results
	if res.f == nil {
		c.drop(!res.hedge)
		return c.one(res)
	}
	c.cancel[index(res.hedge)]()
	last := <-c.results
	if last.f != nil && last.f.verdict.SafeToRetry() && !res.f.verdict.SafeToRetry() {
		last = res
	}
	return c.one(last)
}

// drop cancels the loser and closes what it may still bring.
func (c *copies) drop(hedge bool) {
	c.cancel[index(hedge)]()
	go func() {
		if res := <-c.results; res.f == nil {
			res.resp.Body.Close()
		}
	}()
}

// one finishes with one result. The context of an answer must live as long as its
// body is read.
func (c *copies) one(res copied) (*http.Response, int64, *failure) {
	cancel := c.cancel[index(res.hedge)]
	if res.f != nil {
		cancel()
		return nil, 0, res.f
	}
	c.r.host.latency.add(time.Since(c.began))
	if res.hedge {
		c.r.t.count.wins.Add(1)
	}
	res.resp.Request = c.r.req
	if b, ok := res.resp.Body.(*reply); ok {
		b.cancel = cancel
	} else {
		cancel()
	}
	return res.resp, res.at, nil
}
