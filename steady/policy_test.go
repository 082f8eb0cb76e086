package steady

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// commitsThenAborts executes every request, and aborts instead of the first answers.
func commitsThenAborts(t *testing.T, aborts int64) (url string, executed *atomic.Int64) {
	executed = &atomic.Int64{}
	return rawServer(t, func(c *net.TCPConn) {
		defer c.Close()
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			if req.URL.Path == "/warm" {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			if executed.Add(1) <= aborts {
				abort(c)
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}), executed
}

// TestPerRequest: what one request says of itself, and what Decide says.
func TestPerRequest(t *testing.T) {
	quick := Backoff{Base: 1}
	decide := func(d Decision) func(Attempt) Decision { return func(Attempt) Decision { return d } }
	background := context.Background()
	for _, c := range []struct {
		name     string
		method   string
		ctx      context.Context
		decide   func(Attempt) Decision
		executed int64
	}{
		{"POST", http.MethodPost, background, nil, 1},
		{"POST that may be executed twice", http.MethodPost, WithIdempotent(background, true), nil, 2},
		{"GET", http.MethodGet, background, nil, 2},
		{"GET that may not", http.MethodGet, WithIdempotent(background, false), nil, 1},
		{"PUT with one attempt", http.MethodPut, WithAttempts(background, 1), nil, 1},
		{"both", http.MethodPost, WithAttempts(WithIdempotent(background, true), 1), nil, 1},
		{"Decide as usual", http.MethodPost, background, decide(AsUsual), 1},
		{"Decide gives up", http.MethodPut, background, decide(GiveUp), 1},
		{"Decide takes the risk", http.MethodPost, background, decide(RiskTwice), 2},
	} {
		for _, warm := range []bool{false, true} {
			url, executed := commitsThenAborts(t, 1)
			tr := &Transport{Base: &http.Transport{}, Backoff: quick, Decide: c.decide}
			if warm {
				resp, err := (&http.Client{Transport: tr}).Get(url + "/warm")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			var body io.Reader
			if c.method != http.MethodGet {
				body = strings.NewReader("pay")
			}
			req, _ := http.NewRequestWithContext(c.ctx, c.method, url, body)
			resp, err := tr.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			if n := executed.Load(); n != c.executed || (err == nil) != (n == 2) {
				t.Errorf("%s, warm %v: executed %d times, want %d: %v", c.name, warm, n, c.executed, err)
			}
			tr.CloseIdleConnections()
		}
	}
}

// TestStatuses: which answers are asked for again.
func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		status int
		list   []int
		decide func(Attempt) Decision
		asked  int64
	}{
		{"502", http.MethodGet, 502, nil, nil, 1},
		{"502, listed", http.MethodGet, 502, []int{502, 504}, nil, 3},
		{"502 to a POST, listed", http.MethodPost, 502, []int{502, 504}, nil, 1},
		{"500", http.MethodGet, 500, []int{502, 504}, nil, 1},
		{"503 without Retry-After", http.MethodGet, 503, nil, nil, 1},
		{"503 without Retry-After, listed", http.MethodGet, 503, []int{503}, nil, 3},
		{"Decide gives up", http.MethodGet, 502, []int{502}, func(Attempt) Decision { return GiveUp }, 1},
		{"Decide takes the risk", http.MethodPost, 500, nil, func(a Attempt) Decision {
			if a.Response.StatusCode == 500 {
				return RiskTwice
			}
			return AsUsual
		}, 3},
	} {
		var asked atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.WriteHeader(c.status) }))
		tr := &Transport{Base: &http.Transport{}, Backoff: Backoff{Base: 1}, RetryStatus: c.list, Decide: c.decide}
		req, _ := http.NewRequest(c.method, srv.URL, nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := tr.Stats(); asked.Load() != c.asked || resp.StatusCode != c.status || n.Attempts != uint64(c.asked) || n.Requests != 1 {
			t.Errorf("%s: asked %d times, want %d; %+v", c.name, asked.Load(), c.asked, n)
		}
		srv.Close()
	}
}

// TestThrottleGroups: what is refused on one path does not keep back another.
func TestThrottleGroups(t *testing.T) {
	for _, status := range []int{429, 503} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/limited" {
				w.WriteHeader(status)
			}
		}))
		c := &http.Client{Transport: &Transport{Base: &http.Transport{}}}
		limited, good := 0, 0
		var rejected error
		for i := range 400 {
			path, count := "/limited", &limited
			if i%5 == 4 {
				path, count = "/good", &good
			}
			resp, err := c.Get(srv.URL + path)
			if err != nil {
				rejected = err
				continue
			}
			resp.Body.Close()
			*count++
		}
		if good != 80 || (limited == 320) != (status == 429) {
			t.Errorf("%d: of 80 good requests %d were sent, of 320 others %d", status, good, limited)
		}
		if status == 503 && VerdictOf(rejected) != NotSent {
			t.Errorf("kept back: %q (%v)", VerdictOf(rejected), rejected)
		}
		srv.Close()
	}
}

// TestFinalVerdict: the error of the last attempt does not hide that an earlier one
// was executed.
func TestFinalVerdict(t *testing.T) {
	var executed atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		l.Close() // the next dial is refused
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			executed.Add(1)
		}
		abort(c.(*net.TCPConn))
	}()
	tr := &Transport{Base: &http.Transport{}, Backoff: Backoff{Base: 1}}
	req, _ := http.NewRequest(http.MethodPut, "http://"+l.Addr().String(), strings.NewReader("pay"))
	_, err = tr.RoundTrip(req)
	if !errors.Is(err, syscall.ECONNREFUSED) || executed.Load() != 1 || VerdictOf(err).SafeToRetry() {
		t.Errorf("executed %d times: %v", executed.Load(), err)
	}
}

// TestUploadReset: the error of an upload that was reset is the reset, and a PUT is
// sent again, from memory or from a file.
func TestUploadReset(t *testing.T) {
	const size = 8 << 20
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method string
		file   bool
	}{{http.MethodPut, false}, {http.MethodPut, true}, {http.MethodPost, false}, {http.MethodPost, true}} {
		for range 5 {
			var conns, whole atomic.Int64
			url := rawServer(t, func(s *net.TCPConn) {
				defer s.Close()
				req, err := http.ReadRequest(bufio.NewReader(s))
				if err != nil {
					return
				}
				if conns.Add(1) == 1 {
					io.CopyN(io.Discard, req.Body, size/8)
					s.SetLinger(0)
					return
				}
				n, _ := io.Copy(io.Discard, req.Body)
				whole.Store(n)
				io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			})
			var body io.Reader = bytes.NewReader(make([]byte, size))
			if c.file {
				f, err := os.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				body = f
			}
			req, _ := http.NewRequest(c.method, url, body)
			req.ContentLength = size
			resp, err := (&Transport{Base: &http.Transport{}, Backoff: Backoff{Base: 1}}).RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			switch {
			case c.method == http.MethodPut && (err != nil || whole.Load() != size):
				t.Fatalf("%+v: %d of %d octets: %v", c, whole.Load(), size, err)
			case c.method == http.MethodPost && (!isReset(err) || VerdictOf(err).SafeToRetry()):
				t.Fatalf("%+v: %v", c, err)
			}
		}
	}
}

// TestManners: what users of net/http rely on.
func TestManners(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			w.WriteHeader(http.StatusLengthRequired)
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	tr := &Transport{Base: srv.Client().Transport.(*http.Transport)}
	for range 2 { // before and after it is known that the host speaks HTTP/2
		resp, err := (&http.Client{Transport: tr}).Post(srv.URL, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Errorf("a POST without a body: %s, %s", resp.Proto, resp.Status)
		}
	}
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	var conn net.Conn
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn }})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, plain.URL, nil)
	resp, err := (&Transport{Base: &http.Transport{}}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, ok := conn.(*net.TCPConn); !ok {
		t.Errorf("a trace got a %T", conn)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req, _ = http.NewRequestWithContext(ctx, http.MethodGet, plain.URL, nil)
	if _, err := tr.RoundTrip(req); err != context.Canceled { //nolint:errorlint // that is the matter
		t.Errorf("%#v", err)
	}
}

// TestCancelRequest: the deprecated way works, before and behind the header of the answer.
func TestCancelRequest(t *testing.T) {
	for _, answered := range []bool{false, true} {
		came, gone := make(chan struct{}), make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if answered {
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
			}
			close(came)
			<-r.Context().Done()
			close(gone)
		}))
		tr := &Transport{Base: &http.Transport{}}
		req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
		if !answered {
			go func() { <-came; tr.CancelRequest(req) }()
		}
		resp, err := tr.RoundTrip(req)
		if answered {
			if err != nil {
				t.Fatal(err)
			}
			tr.CancelRequest(req)
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Error("it was not cancelled")
		}
		<-gone
		srv.Close()
	}
}
