package failsafe

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/holdfast-project/holdfast/steady"
)

// TestCommitThenAbort: the server executes each POST and resets. failsafe-go's
// own policy for HTTP would execute it three times.
func TestCommitThenAbort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var executed atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.Copy(io.Discard, req.Body)
				executed.Add(1)
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	client := &http.Client{Transport: failsafehttp.NewRoundTripper(&steady.Transport{Attempts: 1}, NewRetryPolicy(Options{}))}
	_, err = client.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader("amount=1"))
	if !errors.Is(err, syscall.ECONNRESET) || executed.Load() != 1 {
		t.Errorf("executed %d times: %v", executed.Load(), err)
	}
}

// TestNotSent: what was not sent is sent again, as often as allowed.
func TestNotSent(t *testing.T) {
	var dials atomic.Int64
	rt := failsafehttp.NewRoundTripper(roundTrip(func(*http.Request) (*http.Response, error) {
		if dials.Add(1) < 3 {
			return nil, &steady.ResetError{Verdict: steady.NotSent, Err: syscall.ECONNREFUSED}
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	}), NewRetryPolicy(Options{Backoff: steady.Backoff{Base: 1}}))
	req, _ := http.NewRequest(http.MethodPost, "http://example.test", nil)
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.StatusCode != 200 || dials.Load() != 3 {
		t.Errorf("%d attempts: %v", dials.Load(), err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
