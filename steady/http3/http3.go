// Package http3 makes HTTP/3 a rung of a steady.Ladder, by quic-go.
//
//	ladder := &steady.Ladder{Rungs: []steady.Rung{
//		http3.Rung(&quichttp3.Transport{}), // github.com/quic-go/quic-go/http3
//		{Name: "h2", RoundTripper: &steady.Transport{}},
//	}}
//
// Where UDP is blocked the ladder answers by the next rung after its head
// start, and looks aside whether UDP came back. A forged TCP reset cannot end
// an HTTP/3 connection.
//
// A server's H3_REQUEST_REJECTED is its word, which an intermediary may give of what
// the server behind it has executed. It is believed only with steady.TrustPeer, and
// quic-go, which repeats such requests by itself, is kept from that for POST and PATCH; one without
// a body goes without content-length then.
//
// It is not a client by itself. To debug it give the ladder an Observer.
package http3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/quic-go/quic-go"
	quichttp3 "github.com/quic-go/quic-go/http3"
)

// Rung returns a rung that sends requests by t, with a verdict on each failure.
func Rung(t *quichttp3.Transport) steady.Rung { return TrustingRung(t, steady.TrustKernel) }

// TrustingRung is Rung for one who believes as much as trust says.
func TrustingRung(t *quichttp3.Transport, trust steady.Trust) steady.Rung {
	return steady.Rung{
		Name:         "h3",
		RoundTripper: &roundTripper{t, trust},
		Connect:      func(ctx context.Context, authority string) error { return connect(ctx, t, authority) },
	}
}

// connect makes a handshake and closes the connection again.
func connect(ctx context.Context, t *quichttp3.Transport, authority string) error {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host, authority = authority, net.JoinHostPort(authority, "443")
	}
	conf := &tls.Config{}
	if t.TLSClientConfig != nil {
		conf = t.TLSClientConfig.Clone()
	}
	conf.NextProtos = []string{quichttp3.NextProtoH3}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	c, err := quic.DialAddr(ctx, authority, conf, t.QUICConfig)
	if err != nil {
		return fmt.Errorf("connect by QUIC: %w", err)
	}
	return c.CloseWithError(quic.ApplicationErrorCode(quichttp3.ErrCodeNoError), "")
}

type roundTripper struct {
	t     *quichttp3.Transport
	trust steady.Trust
}

// RoundTrip sends req.
func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	own := req.WithContext(ctx)
	if r.trust < steady.TrustPeer && (req.Method == http.MethodPost || req.Method == http.MethodPatch) {
		own.GetBody = nil // by which quic-go would repeat what was rejected
		if own.Body == nil || own.Body == http.NoBody {
			own.Body = emptyBody{}
		}
	}
	resp, err := r.t.RoundTrip(own)
	if err != nil {
		return nil, r.judge(err, connected.Load())
	}
	return resp, nil
}

// emptyBody is a body that quic-go does not take for none.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// judge judges a failure. RFC 9114 8.1: H3_REQUEST_REJECTED means that the server
// did not process the request.
func (r *roundTripper) judge(err error, connected bool) error {
	re := &steady.ResetError{
		Who: who(err), Err: err, Evidence: steady.Evidence{Source: "HTTP/3 and QUIC errors", Trusted: r.trust}, Hint: "see the verdict",
	}
	e, ok := errors.AsType[*quichttp3.Error](err)
	rejected := ok && e.Remote && e.ErrorCode == quichttp3.ErrCodeRequestRejected
	switch {
	case !connected:
		re.Verdict = steady.NotSent
	case rejected && r.trust >= steady.TrustPeer:
		re.Verdict, re.Level = steady.NotDelivered, steady.TrustPeer
	case rejected:
		re.Evidence.Claim = steady.NotDelivered
	}
	return re
}

func who(err error) steady.Who {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return steady.WhoLocal
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return steady.WhoPeer
	}
	if e, ok := errors.AsType[*quichttp3.Error](err); ok && e.Remote {
		return steady.WhoPeer
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return steady.WhoPath
	}
	return steady.WhoUnknown
}
