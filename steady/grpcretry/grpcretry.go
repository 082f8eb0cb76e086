// Package grpcretry retries gRPC calls by the verdict of package steady.
//
//	conn, err := grpc.NewClient(target, append(grpcretry.Options(grpcretry.Config{
//		Idempotent: func(method string) bool { return method == "/shop.Cart/Get" },
//	}), grpc.WithTransportCredentials(creds))...)
//
// A call whose headers were never handed to a connection was not sent, and any
// method is called again. A call that failed as UNAVAILABLE in another way may have
// been executed: it is called again only if Idempotent says so. Streams are judged,
// not repeated.
//
// grpc-go itself repeats, once and without asking, calls whose stream the peer says
// it did not process (REFUSED_STREAM, GOAWAY), also with grpc.WithDisableRetry.
// That is the word of the next hop: a proxy may say so after the server executed the
// call (HAProxy does). Here it is switched off, by keeping no message for repetition,
// unless Config.Trust is steady.TrustPeer; retryPolicies of the service config are
// off with it. What grpc-go repeats in any case is a call of which no message was sent.
//
// The policy is for calls without a retryPolicy in the service config; use one
// of the two. To debug it set Config.Observer.
package grpcretry

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Config says what may be repeated. The zero value is ready.
type Config struct {
	// Idempotent reports whether a method ("/package.Service/Method") may be
	// executed twice. Default: none.
	Idempotent func(method string) bool
	// Trust, when steady.TrustPeer, lets grpc-go repeat what the peer says it did not
	// process.
	Trust    steady.Trust
	Attempts int // default 3
	Backoff  steady.Backoff
	Budget   *steady.Budget  // default: an own one
	Dialer   *steady.Dialer  // default: an own one
	Observer steady.Observer // told of failures
}

// Options returns the dial options that install the policy: a stats handler, an
// interceptor for unary calls and one for streams, and a dialer.
func Options(c Config) []grpc.DialOption {
	if c.Attempts == 0 {
		c.Attempts = 3
	}
	if c.Budget == nil {
		c.Budget = &steady.Budget{}
	}
	if c.Dialer == nil {
		c.Dialer = &steady.Dialer{}
	}
	p := &policy{c}
	options := []grpc.DialOption{
		grpc.WithStatsHandler(watcher{}),
		grpc.WithChainUnaryInterceptor(p.unary),
		grpc.WithChainStreamInterceptor(p.stream),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return c.Dialer.DialContext(ctx, "tcp", addr)
		}),
	}
	if c.Trust < steady.TrustPeer {
		options = append(options, grpc.WithDefaultCallOptions(grpc.MaxRetryRPCBufferSize(0)))
	}
	return options
}

type policy struct{ Config }

// sent is set when a call's headers were handed to a connection.
type sent struct{ atomic.Bool }

type sentKey struct{}

// watcher notes the headers of calls.
type watcher struct{}

func (watcher) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (watcher) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (watcher) HandleConn(context.Context, stats.ConnStats)                       {}

// HandleRPC is called by grpc-go; OutHeader comes when the stream was created.
func (watcher) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); ok {
		if m, ok := ctx.Value(sentKey{}).(*sent); ok {
			m.Store(true)
		}
	}
}

func (p *policy) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	p.Budget.Earn()
	for n := 1; ; n++ {
		mark := &sent{}
		err := invoke(context.WithValue(ctx, sentKey{}, mark), method, req, reply, cc, opts...)
		if status.Code(err) != codes.Unavailable {
			return err
		}
		err = judge(err, mark)
		delay, reason := p.decide(ctx, method, n, err)
		p.tell(ctx, steady.Event{Upstream: cc.Target(), Method: method, Attempt: n, Verdict: steady.VerdictOf(err), Err: err, Delay: delay, Reason: reason})
		if reason != "" || wait(ctx, delay) != nil {
			return err
		}
	}
}

// decide returns the wait before the next attempt, or why there is none.
func (p *policy) decide(ctx context.Context, method string, n int, err error) (time.Duration, string) {
	delay := p.Backoff.Wait(n)
	deadline, limited := ctx.Deadline()
	switch {
	case ctx.Err() != nil:
		return 0, "the context is over"
	case !steady.VerdictOf(err).SafeToRetry() && (p.Idempotent == nil || !p.Idempotent(method)):
		return 0, "it may have been executed, and is not idempotent"
	case n >= p.Attempts:
		return 0, "attempts are used up"
	case limited && time.Until(deadline) <= delay:
		return 0, "the deadline comes first"
	case !p.Budget.Take():
		return 0, "the retry budget is used up"
	}
	return delay, ""
}

func (p *policy) tell(ctx context.Context, e steady.Event) {
	if p.Observer == nil {
		return
	}
	e.Kind = steady.EventRetry
	if e.Reason != "" {
		e.Kind = steady.EventGiveUp
	}
	p.Observer(ctx, e)
}

// stream judges the failure to open a stream.
func (p *policy) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	mark := &sent{}
	s, err := open(context.WithValue(ctx, sentKey{}, mark), desc, cc, method, opts...)
	if status.Code(err) == codes.Unavailable {
		return nil, judge(err, mark)
	}
	return s, err
}

// callError is a ResetError that keeps its gRPC status.
type callError struct{ *steady.ResetError }

// GRPCStatus returns the status of the call.
func (e callError) GRPCStatus() *status.Status { return status.Convert(e.Err) }

// Unwrap returns the ResetError.
func (e callError) Unwrap() error { return e.ResetError }

func judge(err error, mark *sent) error {
	re := &steady.ResetError{
		Verdict: steady.Unknown, Err: err, Evidence: steady.Evidence{Source: steady.SourceHTTP2},
		Hint: "the server may have executed it: call it again only if it is idempotent",
	}
	if !mark.Load() {
		re.Verdict, re.Evidence.Source, re.Hint = steady.NotSent, steady.SourceCaller, "call it again"
	}
	return callError{re}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
