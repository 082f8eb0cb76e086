package steady

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"time"
)

// attempt ties one pass through http.Transport to the connection it got. It is
// pooled, unless the caller traces too: then the trace is changed to call both.
type attempt struct {
	t     *Transport
	trace httptrace.ClientTrace

	ctx     context.Context
	host    *host
	safe    bool // net/http may replay the request by itself, metered here
	careful bool // it may not be executed twice, but can be sent again when nothing was sent
	cancel  context.CancelCauseFunc

	conn    *Conn
	number  uint64 // of the flight on conn
	h2      bool
	got     int
	reused  bool
	start   uint64 // HTTP/2: bytes written when the stream got its connection
	vetoed  bool   // net/http was kept from sending it again
	late    bool   // it became known that the host speaks HTTP/2, and nothing was sent
	tainted bool   // an earlier connection of this attempt may have delivered it
}

// failure is a failed attempt.
type failure struct {
	err     error
	verdict Verdict
	cause   Cause
	stale   bool // a pooled connection was left before the first byte
	late    bool // nothing was sent: to be prepared again, for HTTP/2
	proto   string
	reused  bool
}

// errLate ends a pass that was not prepared for HTTP/2, before its first byte.
var errLate = errors.New("steady: the host speaks HTTP/2")

var errInnerReplay = errors.New("steady: the attempt failed, and net/http was kept from sending the request again")

func newAttempt(t *Transport) *attempt {
	a := &attempt{t: t}
	a.trace.GotConn = a.gotConn
	return a
}

func (t *Transport) getAttempt(pooled bool) *attempt {
	if !pooled {
		return newAttempt(t)
	}
	a, _ := t.attempts.Get().(*attempt)
	return a
}

// release forgets the request. The trace stays as it is: a dial that outlives
// the attempt still reads it.
func (a *attempt) release(pooled bool) {
	a.ctx, a.host, a.cancel, a.conn = nil, nil, nil, nil
	a.safe, a.careful, a.h2, a.got, a.reused, a.vetoed, a.late, a.tainted = false, false, false, 0, false, false, false, false
	a.start, a.number = 0, 0
	if pooled {
		a.t.attempts.Put(a)
	}
}

// try makes one attempt by rt. at is when the answer came.
func (t *Transport) try(rt *http.Transport, req *http.Request, body io.ReadCloser, h *host, careful bool) (resp *http.Response, at int64, f *failure) {
	ctx := req.Context()
	pooled := httptrace.ContextClientTrace(ctx) == nil
	a := t.getAttempt(pooled)
	defer a.release(pooled)
	a.ctx, a.host, a.safe, a.careful = ctx, h, innerReplays(req.Method), careful
	p := a.prepare(req, body, !pooled)
	resp, err := rt.RoundTrip(&p.req)
	if err != nil {
		if a.cancel != nil {
			a.cancel(err)
		}
		if a.late && !a.vetoed && ctx.Err() == nil {
			return nil, 0, &failure{err: err, verdict: NotSent, late: true}
		}
		return nil, 0, a.failed(err)
	}
	if a.conn == nil || a.h2 {
		at = now()
	} else {
		at = a.conn.lastRead.Load()
		a.conn.finish(a.number, resp.Close)
		a.conn.up.readKeepAlive(resp.Header)
	}
	resp.Request = req
	p.wrap(resp, a)
	return resp, at, nil
}

// prepare copies req so that net/http can not replay it unseen: without GetBody
// it does not replay a body, and without the canonical name of the key header
// (names are case-insensitive on the wire) it does not replay for the key. others
// says that somebody else traces the request, too.
func (a *attempt) prepare(req *http.Request, body io.ReadCloser, others bool) *pass {
	p := &pass{}
	ctx := p.traced(a.ctx, &a.trace, others)
	bare := !hasBody(req)
	if bare && !isIdempotent(req.Method) {
		ctx, body = a.guardBare(ctx, body)
	}
	p.req = *req.WithContext(ctx)
	p.req.Body, p.req.GetBody = body, nil
	if bare && !a.safe {
		hideKeys(&p.req)
	}
	return p
}

// guardBare keeps HTTP/2 from replaying a request without a body, as net/http
// does for any method after PROTOCOL_ERROR, with the reason hidden. On a host
// known to speak HTTP/2 an empty body does; elsewhere it would change HTTP/1's
// framing, and gotConn cancels.
func (a *attempt) guardBare(ctx context.Context, body io.ReadCloser) (context.Context, io.ReadCloser) {
	a.host.mu.Lock()
	h2 := a.host.h2
	a.host.mu.Unlock()
	if h2 || a.t.h2c {
		return ctx, emptyBody{}
	}
	ctx, a.cancel = context.WithCancelCause(ctx)
	return ctx, body
}

// keyHeaders are what net/http takes for permission to replay
// (net/http/request.go, isReplayable), and the same in lower case.
var keyHeaders = map[string]string{"Idempotency-Key": "idempotency-key", "X-Idempotency-Key": "x-idempotency-key"}

// hideKeys renames those headers.
func hideKeys(req *http.Request) {
	for canonical, hidden := range keyHeaders {
		if v, ok := req.Header[canonical]; ok {
			h := maps.Clone(req.Header)
			delete(h, canonical)
			h[hidden] = v
			req.Header = h
		}
	}
}

// gotConn is called on the goroutine of the request, before its first byte.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.got++
	veto := a.got > 1 && !a.leave()
	c, sec := trackedConn(info.Conn)
	a.conn, a.reused = c, info.Reused
	a.h2 = a.speaksHTTP2(c, sec)
	switch {
	case a.h2 && a.got > 1 && a.cancel != nil:
		a.vetoed = true
		a.cancel(errInnerReplay)
	case a.h2 && a.cancel != nil:
		// http.Transport looks at the context once more before it sends HEADERS
		// (h2_bundle.go, encodeAndWriteHeaders), so nothing will be sent.
		a.late = true
		a.cancel(errLate)
	case c == nil:
	case a.h2:
		a.start = c.count()
	default:
		a.number = c.arm(flight{armed: true, live: true, http: true, reused: info.Reused, careful: a.careful, tapped: a.t.Tap != nil, veto: veto})
	}
}

// leave judges the connection that net/http gives up for another one, and
// reports whether the replay may go on.
func (a *attempt) leave() bool {
	if a.h2 || a.conn == nil {
		return true // HTTP/2 gives up only streams that were not processed, or safe ones
	}
	err := a.conn.readError()
	ev := a.conn.settle(a.ctx, a.number, err)
	if v, _ := judge(ev, err); v.SafeToRetry() {
		return true
	}
	a.tainted = true
	a.t.count.attempts.Add(1)
	return a.t.Budget.Take()
}

func (a *attempt) speaksHTTP2(c *Conn, sec *tls.Conn) bool {
	if sec == nil {
		return a.t.h2c
	}
	h2 := false
	if c == nil {
		h2 = sec.ConnectionState().NegotiatedProtocol == "h2"
	} else {
		h2 = c.negotiated(sec) == "h2"
	}
	if h2 {
		a.host.mu.Lock()
		a.host.h2 = true
		a.host.mu.Unlock()
	}
	return h2
}

// failed judges the attempt.
func (a *attempt) failed(err error) *failure {
	if a.vetoed && a.ctx.Err() == nil {
		err = errInnerReplay
	}
	ev := a.evidence(err)
	if ev.overtaken && a.ctx.Err() == nil {
		err = errOvertaken
	}
	f := &failure{cause: causeOf(err, a.got > 0, ev), reused: a.reused}
	if a.got > 0 {
		f.proto = protocol(a.h2)
	}
	if f.cause == CauseOther && a.got > 0 && a.h2 {
		if c, ok := http2Verdict(err); ok {
			f.cause = c
		}
	}
	re := newResetError(ev, err)
	if c, ok := http2Verdict(err); ok && a.h2 {
		re.Verdict, re.Acked, re.Evidence.Source, f.cause = NotDelivered, 0, SourceHTTP2, c
	}
	if a.tainted {
		re.Verdict = Unknown
	}
	re.Hint = hints[re.Verdict]
	f.verdict, f.err = re.Verdict, re
	f.stale = !a.tainted && ev.stale
	if f.cause == CauseOther {
		f.err = err
	}
	return f
}

// evidence gathers what is known of the attempt.
func (a *attempt) evidence(err error) Evidence {
	switch {
	case a.got == 0:
		// Without a connection nothing can have been sent.
		return Evidence{Tracked: !a.t.strange}
	case a.conn == nil:
		return Evidence{}
	case !a.h2:
		return a.tapped(a.conn.settle(a.ctx, a.number, err), err)
	}
	ev := a.conn.evidence(err)
	// Others share the connection: what they wrote can not be told apart, but
	// if nothing at all was acknowledged since, nothing of this stream was.
	ev.Before, ev.Wrote, ev.Whole = a.conn.counted(a.start, 0), 1, false
	return weigh(ev, err)
}

// tapPatience is how long to wait for the tap to have read what the kernel has
// already acted on.
const tapPatience = 5 * time.Millisecond

// tapped adds what the tap saw, when the verdict hangs on it.
func (a *attempt) tapped(ev Evidence, err error) Evidence {
	if v, _ := judge(ev, err); a.t.Tap == nil || v.SafeToRetry() || ev.After.State != stateClose {
		return ev
	}
	local, lerr := netip.ParseAddrPort(a.conn.LocalAddr().String())
	remote, rerr := netip.ParseAddrPort(a.conn.RemoteAddr().String())
	if lerr != nil || rerr != nil {
		return ev
	}
	for deadline := time.Now().Add(tapPatience); ; time.Sleep(100 * time.Microsecond) {
		if r, ok := a.t.Tap.RST(local, remote); ok {
			ev.RST = &r
			return ev
		}
		if time.Now().After(deadline) {
			return ev
		}
	}
}
