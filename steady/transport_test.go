package steady

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// rawServer answers each connection by serve.
func rawServer(t *testing.T, serve func(c *net.TCPConn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return "http://" + l.Addr().String()
}

// TestEarlyAnswer: a server that answers before it read the upload, and resets,
// is heard.
func TestEarlyAnswer(t *testing.T) {
	url := rawServer(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"+strings.Repeat("x", 1000))
		c.Close() // with the rest unread: a reset
	})
	tr := &Transport{Base: &http.Transport{}}
	for range 50 {
		req, _ := http.NewRequest(http.MethodPost, url, bytes.NewReader(make([]byte, 16<<20)))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 413 || len(body) != 1000 || err != nil {
			t.Fatalf("status %d, %d bytes, %v", resp.StatusCode, len(body), err)
		}
	}
}

// TestLargeBodyOnStaleConnection: a body that is too large to keep survives a
// connection that is left before anything was sent.
func TestLargeBodyOnStaleConnection(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}))
	defer srv.Close()
	tr := &Transport{Base: &http.Transport{}}
	defer tr.CloseIdleConnections()
	for range 2 {
		req, _ := http.NewRequest(http.MethodPost, srv.URL, struct{ io.Reader }{bytes.NewReader(make([]byte, 1<<20))})
		req.ContentLength = 1 << 20
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "1048576" {
			t.Errorf("the server got %s bytes", b)
		}
		// Learned: the server closes at once, so every pooled connection is stale.
		up := tr.ups.get(srv.Listener.Addr().String())
		up.learn(time.Nanosecond * 8)
	}
	if s := tr.Stats(); s.Stale != 1 {
		t.Errorf("%+v", s)
	}
}

// TestBodyReplay: a body without GetBody is replayed from what was kept, also
// when it was read in part; a longer one is not, and the error says so.
func TestBodyReplay(t *testing.T) {
	for _, c := range []struct {
		size int
		ok   bool
	}{{100, true}, {5000, true}, {60 << 10, true}, {70 << 10, false}} {
		var conns atomic.Int64
		var got atomic.Value
		url := rawServer(t, func(s *net.TCPConn) {
			defer s.Close()
			if conns.Add(1) == 1 {
				io.ReadFull(s, make([]byte, c.size))
				abort(s)
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(s))
			if err != nil {
				return
			}
			b, _ := io.ReadAll(req.Body)
			got.Store(string(b))
			io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		})
		want := strings.Repeat("abcdefghij", c.size/10)
		src := &closeCounter{Reader: strings.NewReader(want)}
		req, _ := http.NewRequest(http.MethodPut, url, src)
		tr := &Transport{Base: &http.Transport{}, Backoff: Backoff{Base: 1}}
		resp, err := tr.RoundTrip(req)
		if c.ok != (err == nil) {
			t.Errorf("%d bytes: %v", c.size, err)
		}
		if err == nil {
			resp.Body.Close()
			if got.Load() != want {
				t.Errorf("%d bytes: the server got another body", c.size)
			}
		}
		eventually(t, "body closed", func() bool { return src.closed.Load() > 0 })
		tr.CloseIdleConnections()
	}
}

type closeCounter struct {
	io.Reader
	closed atomic.Int64
}

func (c *closeCounter) Close() error { c.closed.Add(1); return nil }

// TestPolicy: what is retried after an abort that hides whether it was executed.
func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		method, key string
		keys        []string
		want        int64 // executions
	}{
		{"GET", "", nil, 3}, {"PUT", "", nil, 3}, {"DELETE", "", nil, 3},
		{"POST", "", nil, 1}, {"PATCH", "", nil, 1},
		{"POST", "k", nil, 1}, {"POST", "k", []string{"Idempotency-Key"}, 3},
		{"POST", "", []string{"Idempotency-Key"}, 1},
	} {
		var executed atomic.Int64
		url := rawServer(t, func(s *net.TCPConn) {
			br := bufio.NewReader(s)
			for {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				if req.URL.Path == "/warm" {
					io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					continue
				}
				io.Copy(io.Discard, req.Body)
				executed.Add(1)
				abort(s)
				return
			}
		})
		var events atomic.Int64
		tr := &Transport{
			Base: &http.Transport{}, KeyHeaders: c.keys, Backoff: Backoff{Base: 1},
			Observer: func(_ context.Context, e Event) { events.Add(1) },
		}
		warm, err := (&http.Client{Transport: tr}).Get(url + "/warm")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, warm.Body)
		warm.Body.Close()
		req, _ := http.NewRequest(c.method, url, nil)
		if c.key != "" {
			req.Header.Set("Idempotency-Key", c.key)
		}
		_, err = tr.RoundTrip(req)
		if VerdictOf(err).SafeToRetry() || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			t.Errorf("%+v: %v", c, err)
		}
		// net/http may itself replay a GET, once, from a reused connection.
		if n := executed.Load(); n != c.want && !(c.method == "GET" && n == c.want+1) {
			t.Errorf("%+v: executed %d times", c, n)
		}
		if events.Load() == 0 {
			t.Errorf("%+v: the observer heard nothing", c)
		}
	}
}

// TestCancel: a cancelled request ends at once, with the connection closed.
func TestCancel(t *testing.T) {
	closed, came := make(chan struct{}), make(chan struct{})
	url := rawServer(t, func(s *net.TCPConn) {
		s.Read(make([]byte, 1))
		close(came)
		io.Copy(io.Discard, s)
		close(closed)
	})
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	go func() { <-came; cancel() }()
	_, err := (&Transport{Base: &http.Transport{}}).RoundTrip(req)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	re, ok := errors.AsType[*ResetError](err)
	if !ok || re.Who != WhoLocal || re.Verdict.SafeToRetry() {
		t.Errorf("%+v", re)
	}
	<-closed
}

func TestRetryAfterStatus(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	for _, c := range []struct {
		method string
		status int
	}{{"GET", 200}, {"POST", 503}} {
		n.Store(0)
		req, _ := http.NewRequest(c.method, srv.URL, nil)
		resp, err := (&Transport{}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.method, resp.StatusCode, c.status)
		}
	}
}

func TestReadRetryAfter(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{"7": 7 * time.Second, "Fri, 02 Jan 2026 03:04:09 GMT": 4 * time.Second, "x": -1, "": -1, "-1": -1} {
		d, ok := retryAfter(http.Header{"Retry-After": {v}}, at)
		if !ok {
			d = -1
		}
		if d != want {
			t.Errorf("%q: %v, want %v", v, d, want)
		}
	}
}

// TestOutage: nobody listens; few attempts are made, and when the server is
// back it is found within two seconds.
func TestOutage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var dials atomic.Int64
	tr := &Transport{Base: &http.Transport{}, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	const requests = 2000
	for range requests {
		req, _ := http.NewRequest(http.MethodGet, "http://"+addr, nil)
		if _, err := tr.RoundTrip(req); err == nil {
			t.Fatal("an answer from nobody")
		}
	}
	if n := dials.Load(); n > requests*12/10 {
		t.Errorf("%d dials for %d requests", n, requests)
	}
	s := tr.Stats()
	if s.Attempts > requests*12/10 || s.Rejected == 0 {
		t.Errorf("%+v", s)
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port was taken meanwhile:", err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(l)
	defer srv.Close()
	tries := 0
	eventually(t, "recovery", func() bool {
		tries++
		req, _ := http.NewRequest(http.MethodGet, "http://"+addr, nil)
		resp, err := tr.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
}

// TestAmplification is the arithmetic of a total outage without breaker and
// throttle: the budget alone holds it.
func TestAmplification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Budget{}
		const requests = 10000
		extra := 0
		for range requests {
			b.Earn()
			for range 2 {
				if b.Take() {
					extra++
				}
			}
		}
		if extra > requests/5+3 || extra < requests/5 {
			t.Errorf("%d extra attempts for %d requests", extra, requests)
		}
		if b.Refused() == 0 {
			t.Error("nothing was refused")
		}
	})
}

func TestThrottle(t *testing.T) {
	slow := &Throttle{}
	for range 1000 {
		if !slow.Allow() {
			t.Fatal("requests under way count as failures")
		}
	}
	th := &Throttle{}
	sent := 0
	for range 2000 {
		if th.Allow() {
			sent++
			th.Failed()
		}
	}
	if sent > 200 {
		t.Errorf("%d of 2000 sent to a server that accepts nothing", sent)
	}
	th.Accepted() // it is back
	sent = 0
	for range 100 {
		if th.Allow() {
			sent++
			th.Accepted()
		}
	}
	if sent < 95 {
		t.Errorf("%d of 100 sent after recovery", sent)
	}
}

func TestBreakerByCause(t *testing.T) {
	b := &Breaker{}
	for range 100 {
		b.Failed(CauseIdleClose)
		b.Failed(CauseGoAway)
	}
	if _, _, ok := b.Allow(); !ok {
		t.Error("idle closes opened the breaker")
	}
	for range trips[CauseRefused] {
		b.Failed(CauseRefused)
	}
	if c, after, ok := b.Allow(); ok || c != CauseRefused || after <= 0 {
		t.Errorf("after refusals: %v %v %v", c, after, ok)
	}
	b.Succeeded()
	if _, _, ok := b.Allow(); !ok {
		t.Error("open after a success")
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Base: 10, Cap: 100}
	for n, most := range map[int]time.Duration{1: 10, 2: 20, 3: 40, 4: 80, 5: 100, 60: 100} {
		seen := time.Duration(0)
		for range 2000 {
			d := b.Wait(n)
			if d < 0 || d > most {
				t.Fatalf("wait %d before attempt %d", d, n)
			}
			seen = max(seen, d)
		}
		if seen < most*8/10 {
			t.Errorf("attempt %d: at most %d of %d", n, seen, most)
		}
	}
}

func TestIdleLimit(t *testing.T) {
	u := &upstream{}
	if u.idleLimit(0, now()) != 0 {
		t.Error("a limit out of nothing")
	}
	u.sawIdleClose(time.Second)
	u.sawIdleClose(time.Millisecond * 3) // an outlier, such as a restart
	if d := u.idleLimit(0, now()); d != 750*time.Millisecond {
		t.Error(d)
	}
	u.sawIdleClose(1100 * time.Millisecond)
	if d := u.idleLimit(10*time.Millisecond, now()); d != 730*time.Millisecond {
		t.Error(d)
	}
	v := &upstream{}
	v.readKeepAlive(http.Header{"Keep-Alive": {"max=5, timeout=60"}})
	if d := v.idleLimit(0, now()); d != 58*time.Second {
		t.Error(d)
	}
}

// TestLearnsFromIdleClosesOnly: a FIN behind a request that was acknowledged is a
// lost answer and says nothing about the server's idle timer.
func TestLearnsFromIdleClosesOnly(t *testing.T) {
	for _, acked := range []uint64{100, 150} {
		c := &Conn{up: &upstream{}}
		c.flight = flight{reused: true, idle: time.Second}
		ev := Evidence{FIN: true, Before: Snapshot{Taken: true, BytesAcked: 100}, After: Snapshot{Taken: true, BytesAcked: acked}}
		c.lockedLearn(ev)
		if learned := c.up.idleLimit(0, now()) != 0; learned != (acked == 100) {
			t.Errorf("acknowledged up to %d: learned %t", acked, learned)
		}
	}
}

// TestAllocations: what the wrapper adds to a request that succeeds.
func TestAllocations(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		measure := func(rt http.RoundTripper) float64 {
			return testing.AllocsPerRun(500, func() {
				req, _ := http.NewRequest(method, srv.URL, strings.NewReader("x"))
				if method == http.MethodGet {
					req, _ = http.NewRequest(method, srv.URL, nil)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			})
		}
		plain, ours := measure(&http.Transport{}), measure(&Transport{Base: &http.Transport{}})
		t.Logf("%s: %.0f, plain net/http %.0f", method, ours, plain)
		if ours > plain+3.5 {
			t.Errorf("%s: %.0f allocations, plain net/http %.0f", method, ours, plain)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 1024)) }))
	defer srv.Close()
	for name, rt := range map[string]http.RoundTripper{
		"plain":  &http.Transport{MaxIdleConnsPerHost: 64},
		"steady": &Transport{Base: &http.Transport{MaxIdleConnsPerHost: 64}},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
					resp, err := rt.RoundTrip(req)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		})
	}
}
