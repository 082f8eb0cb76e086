package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	retrygo "github.com/avast/retry-go/v5"
	"github.com/cenkalti/backoff/v5"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/holdfast-project/holdfast/steady"
)

// postClient is one way to send a request. do must be safe for concurrent use.
type postClient struct {
	name  string
	do    func(*http.Request) (*http.Response, error)
	key   bool // send an Idempotency-Key
	dials *atomic.Int64
	close func()
	stats func() steady.Stats // nil for peers
}

// postClients makes each client anew, all on transports of the same settings.
// quick shortens the waits between attempts, not their number, where the wait
// does not matter to what is counted.
func postClients(quick bool) []*postClient {
	return []*postClient{
		plainClient("net/http", false),
		plainClient("net/http, Idempotency-Key", true),
		retryableClient(quick),
		failsafeClient(quick),
		retryGoClient(quick),
		backoffClient(quick),
		steadyClient(false),
		steadyClient(true),
	}
}

// countedTransport is what all clients send through.
func countedTransport(dials *atomic.Int64) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		MaxIdleConnsPerHost: 256,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return dialer.DialContext(ctx, network, addr)
		},
	}
}

func newClient(name string) (*postClient, *http.Transport) {
	c := &postClient{name: name, dials: new(atomic.Int64)}
	tr := countedTransport(c.dials)
	c.close = tr.CloseIdleConnections
	return c, tr
}

func plainClient(name string, key bool) *postClient {
	c, tr := newClient(name)
	c.do, c.key = tr.RoundTrip, key
	return c
}

// steadyClient is steady with its observer, on net/http's pool or its own.
func steadyClient(own bool) *postClient {
	c, tr := newClient(steadyName(own))
	st := &steady.Transport{Base: tr, Observer: observeTrail, OwnPool: own}
	c.do, c.close, c.stats = st.RoundTrip, st.CloseIdleConnections, st.Stats
	return c
}

func steadyName(own bool) string {
	if own {
		return "steady, own pool"
	}
	return "steady"
}

// isSteady says whether the promise is asked of a client.
func isSteady(name string) bool { return strings.HasPrefix(name, "steady") }

// observeTrail notes what steady says of an attempt.
func observeTrail(ctx context.Context, e steady.Event) {
	if t, ok := ctx.Value(trailKey{}).(*trail); ok {
		t.add(e)
	}
}

func retryableClient(quick bool) *postClient {
	c, tr := newClient("go-retryablehttp")
	rc := retryablehttp.NewClient()
	rc.Logger = nil
	rc.HTTPClient = &http.Client{Transport: tr}
	if quick {
		rc.RetryWaitMin, rc.RetryWaitMax = time.Millisecond, time.Millisecond
	}
	c.do = func(r *http.Request) (*http.Response, error) {
		req, err := retryablehttp.FromRequest(r)
		if err != nil {
			return nil, err
		}
		return rc.Do(req)
	}
	return c
}

func failsafeClient(quick bool) *postClient {
	c, tr := newClient("failsafe-go (failsafehttp)")
	policy := failsafehttp.NewRetryPolicyBuilder()
	if quick {
		policy = policy.WithDelay(time.Millisecond)
	}
	c.do = failsafehttp.NewRoundTripper(tr, policy.Build()).RoundTrip
	return c
}

// again returns the request with a body that can be read.
func again(r *http.Request) (*http.Request, error) {
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = body
	return r, nil
}

func retryGoClient(quick bool) *postClient {
	c, tr := newClient("retry-go")
	c.do = func(r *http.Request) (*http.Response, error) {
		options := []retrygo.Option{retrygo.Context(r.Context()), retrygo.LastErrorOnly(true)}
		if quick {
			options = append(options, retrygo.DelayType(retrygo.FixedDelay), retrygo.Delay(time.Millisecond))
		}
		return retrygo.NewWithData[*http.Response](options...).Do(func() (*http.Response, error) {
			r, err := again(r)
			if err != nil {
				return nil, err
			}
			return tr.RoundTrip(r)
		})
	}
	return c
}

func backoffClient(quick bool) *postClient {
	c, tr := newClient("backoff")
	c.do = func(r *http.Request) (*http.Response, error) {
		var options []backoff.RetryOption
		if quick {
			options = append(options, backoff.WithBackOff(backoff.NewConstantBackOff(time.Millisecond)))
		}
		return backoff.Retry(r.Context(), func() (*http.Response, error) {
			r, err := again(r)
			if err != nil {
				return nil, err
			}
			return tr.RoundTrip(r)
		}, options...)
	}
	return c
}

// finishBody reads an answer to its end, so that its connection is used again.
func finishBody(resp *http.Response) error {
	_, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return err
}
