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
	"sync/atomic"
	"time"
)

// attempt ties one pass through http.Transport to the connection it got. It is
// pooled, unless the caller traces too: then the trace is changed to call both.
type attempt struct {
	t     *Transport
	trace httptrace.ClientTrace
	pass  atomic.Pointer[pass] // under way, or the last, whose answer may still be read

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
	tainted bool   // an earlier connection of this attempt may have delivered it
}

// failure is a failed attempt.
type failure struct {
	err     error
	verdict Verdict
	cause   Cause
	stale   bool // a pooled connection was left before the first byte
	proto   string
	reused  bool
}

var errInnerReplay = errors.New("steady: the attempt failed, and net/http was kept from sending the request again")

func newAttempt(t *Transport) *attempt {
	a := &attempt{t: t}
	a.trace.GotConn = a.gotConn
	t.passes.add(a)
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
	a.safe, a.careful, a.h2, a.got, a.reused, a.vetoed, a.tainted = false, false, false, 0, false, false, false
	a.start, a.number = 0, 0
	if pooled {
		a.t.attempts.Put(a)
	}
}

// try makes one attempt by rt. at is when the answer came; twice says that the request
// may be executed twice, and careful that it may not, and can be sent again.
func (t *Transport) try(rt *http.Transport, req *http.Request, body io.ReadCloser, h *host, careful, twice bool) (resp *http.Response, at int64, f *failure) {
	ctx := req.Context()
	others := httptrace.ContextClientTrace(ctx)
	pooled := others == nil
	a := t.getAttempt(pooled)
	defer a.release(pooled)
	a.ctx, a.host, a.safe, a.careful = ctx, h, innerReplays(req.Method) && twice, careful
	resp, p, err := a.send(rt, req, body, others)
	if err != nil {
		if a.cancel != nil {
			a.cancel(err)
		}
		return nil, 0, a.failed(err)
	}
	if a.conn == nil || a.h2 {
		at = now()
		a.conn.sortOut(&t.count, true)
	} else {
		at = a.conn.lastRead.Load()
		a.conn.finish(a.number, resp.Close)
		a.conn.sortOut(&t.count, false)
		a.conn.up.readKeepAlive(resp.Header)
	}
	resp.Request = req
	p.wrap(resp, a)
	return resp, at, nil
}

// send makes a pass through the own pool, or through rt.
func (a *attempt) send(rt *http.Transport, req *http.Request, body io.ReadCloser, others *httptrace.ClientTrace) (*http.Response, *pass, error) {
	if others == nil && rt == a.t.inner {
		if addr, ok := a.t.ownAddr(req); ok {
			p := &pass{orig: req, req: *req}
			p.req.Body, p.req.GetBody = body, nil
			a.pass.Store(p)
			resp, err := a.t.own.roundTrip(a, &p.req, addr)
			return resp, p, p.unlessCanceled(err)
		}
	}
	p := a.prepare(req, body, others)
	a.pass.Store(p)
	resp, err := rt.RoundTrip(&p.req)
	return resp, p, err
}

// prepare copies req so that net/http cannot replay it unseen: without GetBody
// it does not replay a body, and without the canonical name of the key header
// (names are case-insensitive on the wire) it does not replay for the key. others
// says that somebody else traces the request, too.
func (a *attempt) prepare(req *http.Request, body io.ReadCloser, others *httptrace.ClientTrace) *pass {
	p := &pass{orig: req}
	ctx := p.traced(a.ctx, a, others)
	bare := !hasBody(req)
	if bare && !a.safe && (a.careful || !isIdempotent(req.Method)) {
		ctx = a.guardBare(ctx)
	}
	p.req = *req.WithContext(ctx)
	p.req.Body, p.req.GetBody = body, nil
	if a.t.strange && req.GetBody != nil {
		p.req.GetBody = func() (io.ReadCloser, error) { return a.rewind(req) }
	}
	if bare && !a.safe {
		hideKeys(&p.req)
	}
	return p
}

// rewind is the GetBody that a foreign round tripper gets, such as x/net/http2 in
// Base.TLSNextProto. It asks when its connection was gone before anything was sent,
// and when HTTP/2 refused the stream: then it may not send the request again.
func (a *attempt) rewind(req *http.Request) (io.ReadCloser, error) {
	if !a.safe && a.got > 0 && (a.conn == nil || a.conn.count() != a.start) {
		a.tainted = true
		return nil, errInnerReplay
	}
	return req.GetBody()
}

// guardBare keeps HTTP/2 from replaying a request without a body, as net/http
// does for any method after REFUSED_STREAM and PROTOCOL_ERROR, with the reason
// hidden: gotConn cancels the second pass. A body that is only empty would do, too,
// and lose content-length: 0.
func (a *attempt) guardBare(ctx context.Context) context.Context {
	ctx, a.cancel = context.WithCancelCause(ctx)
	return ctx
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
	case a.h2 && veto && a.cancel != nil:
		// http.Transport looks at the context once more before it sends HEADERS
		// (h2_bundle.go, encodeAndWriteHeaders), so nothing will be sent again.
		a.vetoed = true
		a.cancel(errInnerReplay)
	case c == nil:
	case a.h2:
		a.start = c.count()
	default:
		how := actArm
		if veto {
			how = actVeto
		}
		a.number = c.arm(flight{http: true, reused: info.Reused, careful: a.careful, tapped: a.t.Tap != nil}, how)
	}
}

// leave judges the connection that net/http gives up for another one, and
// reports whether the replay may go on.
func (a *attempt) leave() bool {
	if a.conn == nil {
		return a.safe
	}
	if a.h2 {
		// HTTP/2 gives up streams that the peer says it did not process, and those
		// for which it had no room: then nothing was written.
		if a.safe || a.conn.count() == a.start {
			return true
		}
		a.tainted = true
		return false
	}
	err := a.conn.readError()
	ev := a.conn.settle(a.ctx, a.number, err, a.t.level)
	if judge(ev, err).verdict.SafeToRetry() {
		return true
	}
	a.tainted = true
	if !a.safe {
		return false
	}
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
	re := newResetError(ev, err)
	if c, said := http2Verdict(err); said != Unknown && a.got > 0 && a.h2 {
		f.cause = c
		a.peerSaid(re, said)
	}
	if a.tainted {
		re.Verdict, re.Level, re.Hint = Unknown, TrustKernel, hints[Unknown]
	}
	f.verdict, f.err = re.Verdict, re
	a.conn.sortOut(&a.t.count, false)
	// A pooled connection on which a write failed with nothing written is stale, too.
	f.stale = !a.tainted && (ev.stale || a.reused && !a.h2 && re.Verdict == NotSent && !ev.Whole && f.cause != CauseLocal)
	if f.cause == CauseOther {
		f.err = err
	}
	return f
}

// peerSaid is the verdict on a stream that HTTP/2 gave up: said is NotSent when
// that was this end, which then wrote nothing, and NotDelivered when it was the peer.
func (a *attempt) peerSaid(re *ResetError, said Verdict) {
	re.Evidence.Source, re.Evidence.Claim = SourceHTTP2, Unknown
	switch {
	case said == NotSent:
		re.Verdict, re.Level, re.Acked = NotSent, TrustKernel, 0
		re.Evidence.Source = SourceCaller
	case a.t.level >= TrustPeer:
		re.Verdict, re.Level, re.Acked = said, TrustPeer, 0
	case !re.Verdict.SafeToRetry():
		re.Verdict, re.Evidence.Claim = Unknown, said
	}
	re.Hint = hintFor(re.Verdict, re.Evidence.Claim)
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
		return a.tapped(a.conn.settle(a.ctx, a.number, err, a.t.level), err)
	}
	ev := a.conn.evidence(err, a.t.level)
	ev.withheld, ev.asked, ev.stale = false, false, false
	if a.conn.closedAt(a.start) {
		ev.Wrote, ev.loose = 0, a.conn.isLoose()
		return ev
	}
	// Others share the connection: what they wrote cannot be told apart, but
	// if nothing at all was acknowledged since, nothing of this stream was.
	ev.Before, ev.Wrote, ev.Whole, ev.first = a.conn.counted(a.start, 0), 1, false, a.start == 0
	return weigh(ev, err)
}

// tapPatience is how long to wait for the tap to have read what the kernel has
// already acted on.
const tapPatience = 5 * time.Millisecond

// tapped adds what the tap saw, when the verdict hangs on it.
func (a *attempt) tapped(ev Evidence, err error) Evidence {
	if a.t.Tap == nil || judge(ev, err).verdict.SafeToRetry() || ev.After.State != stateClose {
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
