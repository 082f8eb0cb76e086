package steady

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Rung is one protocol of a Ladder.
type Rung struct {
	Name string // such as "h3"
	// RoundTripper sends requests by this protocol. Its errors must be a
	// *ResetError where it knows that a request was not delivered; any other
	// error is taken for "may have been executed".
	RoundTripper http.RoundTripper
	// Connect, when set, tries whether the authority ("host:port" or "host")
	// can be reached. The rung is used only after it succeeded.
	Connect func(ctx context.Context, authority string) error
}

// Ladder is an http.RoundTripper that prefers its first rung and falls back to
// the next where that fails, such as from HTTP/3 where UDP is blocked. A rung
// that failed cools down, for longer each time, and is then tried again, aside.
// Rungs share one Budget, so that falling back does not multiply load: give the
// same to the Transport of a rung. The zero value has no rung.
type Ladder struct {
	// Rungs in order of preference. The last should have no Connect.
	Rungs []Rung
	// HeadStart is how long a request waits for Connect. Default 250 ms.
	HeadStart time.Duration
	// Cooldown is how long a failed rung rests: first, and doubled up to 60 s.
	// Default 5 s.
	Cooldown time.Duration
	// Budget bounds repeated requests. Default: an own one.
	Budget *Budget
	// Observer is told of fall-backs.
	Observer Observer

	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	hosts  table[steps]
}

// steps is the state of the rungs for one authority.
type steps struct {
	mu   sync.Mutex
	list []step // guarded by mu
}

type step struct {
	ready   bool
	trying  chan struct{} // not nil while Connect runs, closed at its end
	fails   int
	resting time.Time // until then
}

const (
	connectTimeout = 10 * time.Second
	cooldownCap    = time.Minute
)

func (l *Ladder) init() {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if l.HeadStart == 0 {
		l.HeadStart = 250 * time.Millisecond
	}
	if l.Cooldown == 0 {
		l.Cooldown = 5 * time.Second
	}
	if l.Budget == nil {
		l.Budget = &Budget{}
	}
	l.hosts.make = func() *steps { return &steps{list: make([]step, len(l.Rungs))} }
}

// Close ends attempts to connect and waits for them.
func (l *Ladder) Close() error {
	l.once.Do(l.init)
	l.cancel()
	l.wg.Wait()
	return nil
}

// RoundTrip sends req by the first rung that works. A request that may have
// been executed by one rung is not sent by another, unless it is idempotent.
func (l *Ladder) RoundTrip(req *http.Request) (*http.Response, error) {
	l.once.Do(l.init)
	l.Budget.Earn()
	st := l.hosts.get(req.URL.Host)
	b := newBodies(req, 64<<10)
	defer b.done()
	tries := 0
	err := errors.New("steady: no protocol of the ladder is usable")
	for i, r := range l.Rungs {
		if !l.usable(req.Context(), st, i, req.URL.Host) {
			continue
		}
		body, berr := b.next(tries + 1)
		if berr != nil {
			return nil, berr
		}
		tries++
		attempt := req.Clone(req.Context())
		attempt.Body = body
		var resp *http.Response
		if resp, err = r.RoundTripper.RoundTrip(attempt); err == nil {
			resp.Request = req
			return resp, nil
		}
		if req.Context().Err() != nil {
			return nil, err
		}
		if i < len(l.Rungs)-1 {
			st.failed(i, l.Cooldown)
		}
		v := VerdictOf(err)
		if !v.SafeToRetry() && !isIdempotent(req.Method) || !b.replayable() || i == len(l.Rungs)-1 || !l.Budget.Take() {
			return nil, err
		}
		l.tell(req, r.Name, v, err)
	}
	return nil, err
}

func (l *Ladder) tell(req *http.Request, from string, v Verdict, err error) {
	if l.Observer != nil {
		l.Observer(req.Context(), Event{
			Kind: EventFallback, Upstream: req.URL.Host, Scheme: req.URL.Scheme, Method: req.Method, Verdict: v, Err: err, Reason: from + " failed",
		})
	}
}

// usable reports whether rung i may be used now. It starts Connect when need
// be, and waits for it a little.
func (l *Ladder) usable(ctx context.Context, st *steps, i int, authority string) bool {
	st.mu.Lock()
	s := &st.list[i]
	if resting := time.Now().Before(s.resting); resting || s.ready {
		st.mu.Unlock()
		return !resting
	}
	if l.Rungs[i].Connect == nil {
		st.mu.Unlock()
		return true
	}
	if s.trying == nil {
		done := make(chan struct{})
		s.trying = done
		l.wg.Go(func() { l.connect(st, i, authority, done) })
	}
	trying := s.trying
	st.mu.Unlock()
	t := time.NewTimer(l.HeadStart)
	defer t.Stop()
	select {
	case <-trying:
	case <-t.C:
	case <-ctx.Done():
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.list[i].ready
}

func (l *Ladder) connect(st *steps, i int, authority string, done chan struct{}) {
	ctx, cancel := context.WithTimeout(l.ctx, connectTimeout)
	defer cancel()
	err := l.Rungs[i].Connect(ctx, authority)
	if err != nil {
		st.failed(i, l.Cooldown)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s := &st.list[i]
	s.trying = nil
	if err == nil {
		s.ready, s.fails, s.resting = true, 0, time.Time{}
	}
	close(done)
}

func (st *steps) failed(i int, cooldown time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := &st.list[i]
	s.ready = false
	s.resting = time.Now().Add(min(cooldown<<min(s.fails, 10), cooldownCap))
	s.fails++
}
