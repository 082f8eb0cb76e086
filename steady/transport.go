package steady

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Transport is an http.RoundTripper for HTTP/1.1 and HTTP/2 that retries what
// cannot be executed twice by it:
//
//   - any method, when the failed attempt is proved not sent or not delivered;
//   - idempotent methods (RFC 9110 9.2.2), when that is unknown;
//   - others, when that is unknown, only with a key of KeyHeaders.
//
// It checks that a pooled connection lives before the first byte is sent, and
// retires connections before the idle timeout that it learns of each server. A
// request that cannot be executed twice does not try out a longer silence than
// connections to the server were seen to survive; it gets a fresh one. To learn,
// at most one connection to each server stays open, unused and beyond
// MaxConnsPerHost, until the server ends it, for 90 s at most.
// Errors of connections are wrapped in a *ResetError, also those that come while
// the body of an answer is read; those are not retried. The zero value is ready;
// fields must not change after the first request.
type Transport struct {
	// Base is cloned at the first request, and its dial functions are wrapped.
	// Default: a clone of http.DefaultTransport. Connections that
	// Base.DialTLSContext makes cannot be judged, and protocols added by
	// Base.RegisterProtocol are lost, as by Clone.
	Base *http.Transport
	// Dial makes connections, such as Dialer.DialContext. Default: Base's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Attempts is the most that one request gets. Default 3. Leaving a stale
	// pooled connection, with nothing sent, is not an attempt.
	Attempts int
	// Backoff is the wait between attempts.
	Backoff Backoff
	// KeyHeaders name the request headers by which the servers recognise a
	// repeated request, such as Idempotency-Key. A request that has one is
	// retried as if it were idempotent. Default: none, since it is the server
	// that must know the header.
	KeyHeaders []string
	// MaxReplay is how much of a body without GetBody is kept for replay, in
	// bytes. Default 64 KiB, negative for none.
	MaxReplay int64
	// MaxRetryAfter is the longest Retry-After that is waited for. An answer
	// 503 or 429 with a longer one, or with none, is returned as it is.
	// Default 5 s, negative for none.
	MaxRetryAfter time.Duration
	// RetryStatus are further statuses behind which a request is sent again that may be
	// executed twice, such as 502 and 504. Default: none, as in net/http.
	RetryStatus []int
	// Decide, when set, is asked about each failed attempt and each answer 429 or of
	// 500 and more. It may end what the Transport would repeat, and widen by name.
	Decide func(Attempt) Decision

	// Budget bounds retries. Default: an own one. Share it between transports
	// and dialers of the same servers.
	Budget *Budget
	// Hedge, when set, sends a second copy of a request that is slow and may be
	// executed twice. Default: none.
	Hedge *Hedge
	// NoThrottle and NoBreaker leave out what would keep requests back: the throttle
	// behind failures and 503 (not 429) of a group of paths, the breaker behind
	// connections to a host that fail.
	NoThrottle, NoBreaker bool
	// Group names the requests that share a throttle. Default: the host and the first
	// segment of the path.
	Group func(*http.Request) string
	// Trust is how much is believed before a request that may not be executed twice
	// is sent again. Default TrustKernel.
	Trust Trust
	// Tap, when set, sees RSTs on the wire and proves more requests undelivered:
	// TrustTap.
	Tap Tap
	// OwnPool keeps connections of plain HTTP/1 in a pool of this package instead of
	// Base's, which costs less than Base's pool alone. Requests that are traced, go
	// through a proxy, upgrade, or have a Base with MaxConnsPerHost or its own protocols
	// go through Base as before.
	OwnPool bool
	// Observer is told of failures and of what was done.
	Observer Observer

	once     sync.Once
	inner    *http.Transport
	own      ownPool
	second   sync.Once
	other    atomic.Pointer[http.Transport] // for second copies over HTTP/2, made by second
	strange  bool                           // a foreign round tripper may not report its connections
	h2c      bool
	level    Trust // Trust, or what Tap makes of it
	ups      table[upstream]
	hosts    table[host]
	groups   table[Throttle] // of those that had a failure
	troubled atomic.Bool     // groups is not empty
	attempts sync.Pool
	passes   passes
	_        [64]byte // what follows changes with each request, what is above does not
	count    counters
}

// host is what is kept for each authority.
type host struct {
	breaker Breaker
	latency latency
	mu      sync.Mutex
	h2      bool // guarded by mu: the last connection spoke HTTP/2
}

// Stats returns counts since the start.
func (t *Transport) Stats() Stats { return t.count.stats() }

// CloseIdleConnections closes pooled connections that are not in use.
func (t *Transport) CloseIdleConnections() {
	t.once.Do(t.init)
	t.closeIdle()
	t.ups.each((*upstream).stop)
	if other := t.other.Load(); other != nil {
		other.CloseIdleConnections()
	}
}

// closeIdle empties the pools.
func (t *Transport) closeIdle() {
	t.own.closeIdle()
	t.inner.CloseIdleConnections()
}

// CancelRequest cancels req, as http.Transport.CancelRequest does. It is for
// programs that still call it.
//
// Deprecated: use a context, as net/http says.
func (t *Transport) CancelRequest(req *http.Request) {
	t.once.Do(t.init)
	for _, p := range t.passes.of(req) {
		t.inner.CancelRequest(&p.req) //nolint:staticcheck // deprecated there too; those who call it expect it
		p.cancelOwn()
	}
}

func (t *Transport) init() {
	base := t.Base
	if base == nil {
		base, _ = http.DefaultTransport.(*http.Transport)
		if base == nil {
			base = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
		}
	}
	t.inner = base.Clone()
	if _, had := base.TLSNextProto["h2"]; had && t.inner.TLSNextProto == nil {
		t.inner.ForceAttemptHTTP2 = true // a wrapped dial would turn HTTP/2 off
	}
	t.strange = len(t.inner.TLSNextProto) > 0
	if p := t.inner.Protocols; p != nil {
		t.h2c = p.UnencryptedHTTP2() && !p.HTTP1()
	}
	t.inner.DialContext = t.tracked(t.dialFunc())
	//lint:ignore SA1019 a deprecated field that may be set in Base
	t.inner.Dial = nil
	t.own.init(t.inner)
	t.level = t.Trust
	if t.Tap != nil {
		t.level = max(t.level, TrustTap)
	}
	if t.Attempts == 0 {
		t.Attempts = 3
	}
	if t.MaxReplay == 0 {
		t.MaxReplay = 64 << 10
	}
	if t.MaxRetryAfter == 0 {
		t.MaxRetryAfter = 5 * time.Second
	}
	if t.Budget == nil {
		t.Budget = &Budget{}
	}
	t.ups.make = func() *upstream { return &upstream{} }
	t.hosts.make = func() *host {
		return &host{breaker: Breaker{Off: t.NoBreaker}}
	}
	t.groups.make = func() *Throttle { return &Throttle{} }
	t.attempts.New = func() any { return newAttempt(t) }
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

func (t *Transport) dialFunc() dialFunc {
	//lint:ignore SA1019 as above
	old := t.inner.Dial
	switch {
	case t.Dial != nil:
		return t.Dial
	case t.inner.DialContext != nil:
		return t.inner.DialContext
	case old != nil:
		return func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) }
	}
	return (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
}

// tracked wraps dial so that http.Transport gets connections that count.
func (t *Transport) tracked(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(context.WithValue(ctx, paidKey{}, true), network, addr)
		if err != nil {
			return nil, err
		}
		tc, ok := c.(*Conn)
		if !ok {
			tc = track(c, t.ups.get(addr))
		} else if tc.up == nil {
			tc.up = t.ups.get(addr)
		}
		if slot, ok := ctx.Value(ownSlotKey{}).(**Conn); ok {
			*slot = tc
		}
		return tc, nil
	}
}

// RoundTrip sends req, and again as the type's comment says.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.once.Do(t.init)
	if req.URL == nil {
		t.count.requests.Add(1)
		return t.inner.RoundTrip(req)
	}
	if ctx := req.Context(); ctx.Err() != nil {
		// Nothing is tried, so there is nothing to judge: callers compare this error.
		if req.Body != nil {
			req.Body.Close()
		}
		t.count.requests.Add(1)
		t.count.failures.Add(1)
		return nil, context.Cause(ctx)
	}
	r := run{t: t, req: req, host: t.hosts.get(req.URL.Host), bodies: newBodies(req, t.MaxReplay), n: 1, opts: optionsOf(req.Context())}
	t.Budget.Earn()
	resp, err := r.loop()
	r.bodies.done()
	if r.clean {
		t.count.clean.Add(1) // one count, because each costs the other CPUs a cache miss
		return resp, nil
	}
	t.count.requests.Add(1)
	if err != nil {
		t.count.failures.Add(1)
	}
	return resp, err
}

// run is one request with all its attempts.
type run struct {
	t      *Transport
	req    *http.Request
	host   *host
	bodies bodies
	n      int    // the attempt under way, from 1
	stale  int    // connections left with nothing sent
	proto  string // Event.Protocol
	free   bool
	clean  bool  // answered, at the first attempt
	at     int64 // when the answer came
	risky  bool  // an earlier attempt may have been executed
	last   error // of the attempt before
	opts   options
}

// staleLimit ends a search for a living pooled connection; after half of it
// the pool is emptied.
const staleLimit = 512

func (r *run) loop() (*http.Response, error) {
	for {
		if err := r.admit(); err != nil {
			if r.last != nil {
				return nil, r.last // the first real error says more
			}
			return nil, err
		}
		body, err := r.bodies.next(r.n + r.stale)
		if err != nil {
			return nil, err
		}
		resp, at, f := r.attempt(body)
		r.at = at
		if f == nil {
			if b, ok := resp.Body.(*reply); ok {
				b.attempt = r.n
			}
			again, err := r.answered(resp)
			if !again {
				return resp, err
			}
			continue
		}
		if again := r.failed(f); !again {
			return nil, r.final(f)
		}
	}
}

// timeFor reports whether the deadline leaves time to wait for d.
func (r *run) timeFor(d time.Duration) bool {
	deadline, ok := r.req.Context().Deadline()
	return !ok || time.Until(deadline) > d
}

// protocol returns an Event.Protocol.
func protocol(h2 bool) string {
	if h2 {
		return "2"
	}
	return "1.1"
}

func (r *run) tell(e Event) {
	if r.t.Observer != nil {
		e.Upstream, e.Scheme, e.Protocol = r.req.URL.Host, r.req.URL.Scheme, r.proto
		e.Method, e.Attempt = r.req.Method, r.n
		r.t.Observer(r.req.Context(), e)
	}
}

// sleep waits for d, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trackedConn finds the Conn below conn, and whether TLS is above it.
func trackedConn(conn net.Conn) (c *Conn, sec *tls.Conn) {
	for conn != nil {
		switch x := conn.(type) {
		case *Conn:
			return x, sec
		case *tls.Conn:
			sec, conn = x, x.NetConn()
		case interface{ NetConn() net.Conn }:
			conn = x.NetConn()
		default:
			return nil, sec
		}
	}
	return nil, sec
}
