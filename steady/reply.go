package steady

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"
)

// pass is one pass through http.Transport: the request it gets, and its context.
// They are one allocation.
type pass struct {
	req   http.Request
	trace traced
	orig  *http.Request // that it was made of

	own      atomic.Pointer[ownConn] // that it has, of the own pool
	canceled atomic.Bool
}

// passes finds what is under way, for CancelRequest alone: each attempt has a slot,
// which costs a store, and slots are used again with their attempts. So the answer of a
// request can still be cancelled while it is read, until another takes its slot.
type passes struct {
	mu    sync.Mutex
	slots []weak.Pointer[attempt] // guarded by mu
}

// add makes a attempt findable.
func (l *passes) add(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.slots); n&(n-1) == 0 { // time to look for those that the pool has dropped
		l.slots = slices.DeleteFunc(l.slots, func(w weak.Pointer[attempt]) bool { return w.Value() == nil })
	}
	l.slots = append(l.slots, weak.Make(a))
}

// of returns the passes of req.
func (l *passes) of(req *http.Request) (found []*pass) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.slots {
		if a := w.Value(); a != nil {
			if p := a.pass.Load(); p != nil && p.orig == req {
				found = append(found, p)
			}
		}
	}
	return found
}

// traced is httptrace.WithClientTrace without an allocation. others is the trace of
// somebody else: it is told of the connection that net/http would have had.
func (p *pass) traced(ctx context.Context, a *attempt, others *httptrace.ClientTrace) context.Context {
	if traceKey == nil {
		return httptrace.WithClientTrace(ctx, &a.trace)
	}
	p.trace = traced{ctx, &a.trace}
	if others != nil {
		both := *others
		both.GotConn = func(info httptrace.GotConnInfo) {
			a.gotConn(info)
			if others.GotConn != nil {
				if c, ok := info.Conn.(*Conn); ok {
					info.Conn = c.lend()
				}
				others.GotConn(info)
			}
		}
		p.trace.trace = &both
	}
	return &p.trace
}

// traced is what httptrace.WithClientTrace makes where there is no other trace.
type traced struct {
	context.Context
	trace *httptrace.ClientTrace
}

// Value returns the trace, or what the context has.
func (c *traced) Value(key any) any {
	if key == traceKey {
		return c.trace
	}
	return c.Context.Value(key)
}

// traceKey is the key that httptrace looks for, which it does not export.
var traceKey = func() any {
	ask := &asked{Context: context.Background()}
	httptrace.ContextClientTrace(ask)
	return ask.key
}()

// asked remembers what it was asked for.
type asked struct {
	context.Context
	key any
}

// Value has nothing.
func (c *asked) Value(key any) any { c.key = key; return nil }

// reply is the body of a response. It judges errors that come while it is read.
type reply struct {
	io.ReadCloser
	t        *Transport
	req      *http.Request
	conn     *Conn
	number   uint64 // of the flight on conn
	attempt  int
	h2       bool
	unpacked bool // by net/http, whose unpacking has errors of its own
	received uint64
	err      error              // what the last Read returned, once it failed
	cancel   context.CancelFunc // when not nil, to be called at the end
}

// wrap puts the answer between resp and its body. The body of 101 (Switching
// Protocols) can be written to and stays what it is, as does an empty one.
func (p *pass) wrap(resp *http.Response, a *attempt) {
	if _, writable := resp.Body.(io.Writer); writable || resp.Body == nil || resp.Body == http.NoBody {
		return
	}
	resp.Body = &reply{
		ReadCloser: resp.Body, t: a.t, req: &p.req, conn: a.conn, number: a.number, attempt: 1,
		h2: a.h2, unpacked: resp.Uncompressed,
	}
}

// Read reads from the body; errors of the connection become a *ResetError.
func (b *reply) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	b.received += uint64(n)
	if err == nil {
		return n, nil
	}
	b.err = err
	if err != io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
		b.err = b.broken(err)
	}
	if b.cancel != nil {
		b.cancel()
	}
	return n, b.err
}

// Close closes the body.
func (b *reply) Close() error {
	err := b.ReadCloser.Close()
	if b.cancel != nil {
		b.cancel()
	}
	return err
}

// broken judges err. The header of the final answer has come, so the server has
// the request: all of it, unless it answered before it had read the body.
func (b *reply) broken(err error) error {
	ev := Evidence{}
	var acked uint64
	verdict := Delivered
	if b.conn != nil {
		var own bool
		if ev, own = b.conn.evidenceOf(b.number, err); own && !b.h2 {
			acked = judge(ev, err).acked
		}
		if !own || b.h2 {
			ev.Before, ev.Wrote, ev.Whole = Snapshot{}, 0, true
		}
		if !ev.Whole {
			verdict = Partial
		}
	}
	cause := causeOf(err, true, ev)
	if b.h2 && cause == CauseOther && isHTTP2(err) {
		cause = CauseReset
	}
	if cause == CauseOther || b.unpacked && !ev.Ended && !ev.FIN && errors.Is(err, io.ErrUnexpectedEOF) {
		return err // such as a read after Close, or data that cannot be unpacked
	}
	ev.Source = SourceAnswer
	re := &ResetError{
		Verdict: verdict, Who: whoEnded(ev, err), Acked: acked, Received: b.received, Evidence: ev,
		Hint: hintCut, Err: err,
	}
	if cause != CauseLocal {
		b.t.count.cut.Add(1)
		if b.t.Observer != nil {
			b.t.Observer(b.req.Context(), Event{
				Kind: EventCut, Upstream: b.req.URL.Host, Scheme: b.req.URL.Scheme, Protocol: protocol(b.h2), Method: b.req.Method, Attempt: b.attempt,
				Verdict: verdict, Cause: cause, Err: re, Reason: "the answer had begun",
			})
		}
	}
	return re
}

const hintCut = "the server has the request and a part of its answer came: ask for the rest by a range, or for the result; " +
	"send it again only if it is idempotent or carries an idempotency key"

// isHTTP2 reports errors of an HTTP/2 stream or connection (h2_bundle.go, Go 1.26).
func isHTTP2(err error) bool {
	var se streamError
	text := err.Error()
	return errors.As(err, &se) || strings.HasPrefix(text, "http2: server sent GOAWAY") ||
		strings.HasPrefix(text, "http2: client connection lost")
}
