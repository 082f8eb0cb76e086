// Package http3 makes HTTP/3 a rung of a steady.Ladder, by quic-go.
//
//	ladder := &steady.Ladder{Rungs: []steady.Rung{
//		http3.Rung(&quichttp3.Transport{}), // github.com/quic-go/quic-go/http3
//		{Name: "h2", RoundTripper: &steady.Transport{}},
//	}}
//
// Where UDP is blocked the ladder answers by the next rung after its head
// start, and looks aside whether UDP came back. A forged TCP reset can not end
// an HTTP/3 connection.
//
// It is not a client by itself. To debug it give the ladder an Observer.
package http3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/quic-go/quic-go"
	quichttp3 "github.com/quic-go/quic-go/http3"
)

// Rung returns a rung that sends requests by t, with a verdict on each failure.
func Rung(t *quichttp3.Transport) steady.Rung {
	return steady.Rung{
		Name:         "h3",
		RoundTripper: &roundTripper{t},
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

type roundTripper struct{ t *quichttp3.Transport }

// RoundTrip sends req. quic-go repeats by itself only what was not sent or was
// rejected unprocessed.
func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	resp, err := r.t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, &steady.ResetError{Verdict: verdict(err, connected.Load()), Who: who(err), Err: err,
			Evidence: steady.Evidence{Source: "HTTP/3 and QUIC errors"}, Hint: "see the verdict"}
	}
	return resp, nil
}

// verdict judges a failure. RFC 9114 8.1: H3_REQUEST_REJECTED means that the
// server did not process the request.
func verdict(err error, connected bool) steady.Verdict {
	if !connected {
		return steady.NotSent
	}
	if e, ok := errors.AsType[*quichttp3.Error](err); ok && e.Remote && e.ErrorCode == quichttp3.ErrCodeRequestRejected {
		return steady.NotDelivered
	}
	return steady.Unknown
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
