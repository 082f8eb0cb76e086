package resettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// limit ends a request with a timeout, wait after the moment since which reached
// holds; nil holds at once. A machine that starves the client or the server cannot
// make the timeout come before the fault.
type limit struct {
	wait    time.Duration
	reached func() bool
}

// patient is the limit of a request that must end by itself.
var patient = limit{wait: patience}

// impatient is the limit of a request that never ends, once the fault is reached.
func impatient(reached func() bool) limit { return limit{300 * time.Millisecond, reached} }

// expiring is a context whose deadline comes when somebody says so.
type expiring struct {
	context.Context
	done chan struct{}
}

func (e expiring) Done() <-chan struct{} { return e.done }

func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func (l limit) context() (context.Context, func()) {
	e := expiring{context.Background(), make(chan struct{})}
	over := make(chan struct{})
	go func() {
		defer close(e.done)
		for end := time.Now().Add(patience); l.reached != nil && !l.reached() && time.Now().Before(end); {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
		}
		select {
		case <-over:
		case <-time.After(l.wait):
		}
	}()
	return e, func() { close(over) }
}

// post sends one request over a connection of its own and says in one word what
// the client got.
func post(t *testing.T, s *Server, id string, body []byte, l limit) string {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	return postWith(t, c, s, id, body, l)
}

func postWith(t *testing.T, c *http.Client, s *Server, id string, body []byte, l limit) string {
	t.Helper()
	ctx, cancel := l.context()
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Resettest-Id", id)
	resp, err := c.Do(req)
	if err != nil {
		t.Logf("%s: %v", id, err)
		return Classify(err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		t.Logf("%s: body: %v", id, err)
		return Classify(err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Sprintf("http-%d", resp.StatusCode)
	case len(s.Ledger().Of(id)) > 1:
		return "retried"
	}
	return "answer"
}

// await polls until the ledger has an entry with the fault for which ok holds.
func await(t *testing.T, s *Server, fault string, ok func(Entry) bool) Entry {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, e := range s.Ledger().Hit(fault) {
			if ok(e) {
				return e
			}
		}
	}
	t.Fatalf("no such entry for %s: %+v", fault, s.Ledger().Entries())
	return Entry{}
}

// hit says whether the ledger has what the truth of the fault says. A port without a
// server writes nothing down.
func (s *Server) hit(f Fault) func() bool {
	return func() bool { return f.stage == stagePort || slices.ContainsFunc(s.Ledger().Hit(f.Name), agrees(f)) }
}

// agrees compares what the server wrote down with the truth of the fault.
func agrees(f Fault) func(Entry) bool {
	return func(e Entry) bool {
		arrived := e.Arrived == f.Truth.Arrived || f.Truth.Arrived == Any ||
			f.Truth.Arrived == Yes && e.Arrived == Some && e.Delivered == Some
		return arrived && e.Delivered == f.Truth.Delivered && e.Executed == f.Truth.Executed && e.Answered == f.Truth.Answered
	}
}

// TestTruth makes every fault happen, over real sockets, twice, and compares what
// the client saw and what the server wrote down with the truth it declares.
func TestTruth(t *testing.T) {
	for _, f := range Faults() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			if f.Only != "" && f.Only != runtime.GOOS && (f.Only != "unix" || !onUnix) {
				t.Skipf("%s needs %s", f.Name, f.Only)
			}
			if f.Root && !canVanish() {
				t.Skipf("%s needs CAP_NET_ADMIN", f.Name)
			}
			for i := range 2 {
				checkTruth(t, f, fmt.Sprintf("%s-%d", f.Name, i))
			}
		})
	}
}

func checkTruth(t *testing.T, f Fault, id string) {
	t.Helper()
	in := Injection{Fault: f.Name, Times: 1}
	s := New(t, in)
	var saw string
	switch {
	case f.stage == stageIdle || f.stage == stageNext:
		saw = second(t, s, f, id)
	case slices.Contains(f.Truth.Sees, "timeout"):
		body := "effect"
		if f.Name == "stop-reading" {
			body = strings.Repeat("x", 32<<20) // more than the buffers of both ends
		}
		saw = post(t, s, id, []byte(body), impatient(s.hit(f)))
	default:
		saw = post(t, s, id, bytes.Repeat([]byte("body "), 2000), patient)
	}
	if !slices.Contains(f.Truth.Sees, saw) {
		t.Errorf("client saw %q, truth says %v", saw, f.Truth.Sees)
	}
	if f.stage == stagePort {
		if n := len(s.Ledger().Entries()); n != 0 {
			t.Errorf("a port without a server has %d entries", n)
		}
		return
	}
	e := await(t, s, f.Name, agrees(f))
	want := 0
	if f.Truth.Executed || saw == "retried" {
		want = 1
	}
	if f.Truth.Executed && saw == "retried" {
		want = 2 // net/http believes it, and sends it again
	}
	if n := s.Ledger().Executed(id); n != want {
		t.Errorf("executed %d times, want %d: %+v", n, want, e)
	}
}

// second sends a request that must succeed, and then the one that meets the fault.
func second(t *testing.T, s *Server, f Fault, id string) string {
	t.Helper()
	if f.Layer == "h2" {
		c := s.Client()
		defer c.CloseIdleConnections()
		if saw := postWith(t, c, s, "first-"+id, nil, patient); saw != "answer" {
			t.Fatalf("the first request got %q", saw)
		}
		return postWith(t, c, s, id, nil, patient)
	}
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := rawPost(c, "first-"+id); err != nil {
		t.Fatalf("the first request: %v", err)
	}
	if f.Name != "idle-race" { // the server closes before the next request
		await(t, s, f.Name, func(Entry) bool { return true })
		if _, err := peekAt(c.(*net.TCPConn), make([]byte, 1)); err == nil {
			t.Fatal("the server sends something on an idle connection")
		}
	}
	_, err = rawPost(c, id)
	return Classify(err)
}

// rawPost sends a request without looking at the connection first, as a client
// does that loses the race.
func rawPost(c net.Conn, id string) (string, error) {
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nResettest-Id: %s\r\nContent-Length: 0\r\n\r\n", id); err != nil {
		return "", err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	var got []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		if bytes.Contains(got, []byte("executed "+id+"\n")) {
			return string(got), nil
		}
		if err != nil {
			return string(got), err
		}
	}
}

func TestHealthy(t *testing.T) {
	for _, cfg := range []Config{{}, {TLS: true}, {HTTP2: true}, {HTTP2: true, TLS: true}} {
		t.Run(fmt.Sprintf("tls=%v,http2=%v", cfg.TLS, cfg.HTTP2), func(t *testing.T) {
			t.Parallel()
			s, err := Start(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c := s.Client()
			defer c.CloseIdleConnections()
			for i := range 50 {
				id := fmt.Sprintf("Request/%d?%c*é", i, 'A'+i)
				if saw := postWith(t, c, s, id, bytes.Repeat([]byte{byte(i)}, i*1000), patient); saw != "answer" {
					t.Fatalf("request %d got %q", i, saw)
				}
				e := s.Ledger().Of(id)
				if len(e) != 1 || e[0].Body != int64(i*1000) || !e[0].Executed || e[0].Method != http.MethodPost {
					t.Fatalf("request %d: entries %+v", i, e)
				}
			}
			if n := s.Ledger().Executions(); n != 50 {
				t.Errorf("executed %d of 50", n)
			}
		})
	}
}

func TestUnexpectedEOFIsNoEOF(t *testing.T) {
	if got := Classify(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)); got != "unexpected-eof" {
		t.Error(got)
	}
	if got := Classify(errors.New("boom")); got != "other" {
		t.Error(got)
	}
}
