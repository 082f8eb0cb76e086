package steady

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// roundTrip is a rung in memory.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerBy(name string, err *error) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			r.Body.Close()
		}
		if *err != nil {
			return nil, *err
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"By": {name}}, Body: http.NoBody}, nil
	})
}

func by(t *testing.T, l *Ladder, method string) string {
	t.Helper()
	req, _ := http.NewRequest(method, "https://example.test/", strings.NewReader("x"))
	resp, err := l.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	return resp.Header.Get("By")
}

// TestLadder: UDP is blocked for two minutes, then open.
func TestLadder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var none error
		l := &Ladder{Rungs: []Rung{
			{Name: "h3", RoundTripper: answerBy("h3", &none), Connect: func(ctx context.Context, _ string) error {
				if time.Since(began) < 2*time.Minute {
					<-ctx.Done() // a black hole
					return ctx.Err()
				}
				return nil
			}},
			{Name: "h2", RoundTripper: answerBy("h2", &none)},
		}}
		if got := by(t, l, "POST"); got != "h2" || time.Since(began) > 300*time.Millisecond {
			t.Errorf("first answer by %s after %v", got, time.Since(began))
		}
		for time.Since(began) < 2*time.Minute {
			if got := by(t, l, "POST"); got != "h2" {
				t.Fatal(got)
			}
			time.Sleep(time.Second)
		}
		open := time.Now()
		for by(t, l, "POST") != "h3" {
			if time.Since(open) > time.Minute+connectTimeout {
				t.Fatal("not back on h3")
			}
			time.Sleep(time.Second)
		}
		l.Close()
	})
}

// TestLadderVerdicts: what a rung may have executed is not sent by the next.
func TestLadderVerdicts(t *testing.T) {
	for _, c := range []struct {
		method string
		err    error
		want   string
	}{
		{"POST", &ResetError{Verdict: NotDelivered, Err: errors.New("gone")}, "h2"},
		{"POST", &ResetError{Verdict: Unknown, Err: errors.New("gone")}, "gone (delivery unknown; by )"},
		{"POST", errors.New("broken"), "broken"},
		{"PUT", errors.New("broken"), "h2"},
	} {
		var none error
		l := &Ladder{Rungs: []Rung{{Name: "h3", RoundTripper: answerBy("h3", &c.err)}, {Name: "h2", RoundTripper: answerBy("h2", &none)}}}
		if got := by(t, l, c.method); got != c.want {
			t.Errorf("%s after %v: %q, want %q", c.method, c.err, got, c.want)
		}
		l.Close()
	}
}
