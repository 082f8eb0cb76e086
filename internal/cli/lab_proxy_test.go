package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// safeBuffer is written by a command and read by its test.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await polls until the text matches, and returns the first group.
func (s *safeBuffer) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if m := re.FindStringSubmatch(s.String()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("no %s in %q", pattern, s.String())
	return ""
}

// TestLabProxy runs the proxy with its API until it is interrupted.
func TestLabProxy(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer upstream.Close()
	out, log := &safeBuffer{}, &safeBuffer{}
	v := &env{in: strings.NewReader(""), out: out, err: log, getenv: func(string) string { return "" }, width: func() int { return 0 }}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- v.run(ctx, []string{"lab", "proxy", "--upstream", upstream.Listener.Addr().String(), "--api", "127.0.0.1:0", "--fault", "rst-after-commit", "--times", "1"})
	}()
	proxy, api := "http://"+log.await(t, `proxy (\S+) ->`), log.await(t, `api (\S+)`)
	// POST: the client of net/http repeats a GET by itself.
	post := func(url, body string) (int, error) {
		r, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		defer r.Body.Close()
		_, err = io.Copy(io.Discard, r.Body)
		return r.StatusCode, err
	}
	if _, err := post(proxy, "x"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the first request: %v", err)
	}
	if st, err := post(proxy, "x"); st != http.StatusOK || err != nil {
		t.Errorf("the second request: %d, %v", st, err)
	}
	if st, err := post(api+"/proxies/default/toxics", `{"type":"accept-rst"}`); st != http.StatusOK || err != nil {
		t.Errorf("a toxic: %d, %v", st, err)
	}
	if _, err := post(proxy, "x"); err == nil {
		t.Error("the toxic does nothing")
	}
	stop()
	select {
	case c := <-code:
		if c != codeOK {
			t.Errorf("exit code %d: %s", c, log)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the proxy does not end")
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "127.9.9.9:1": true, "[::ffff:127.0.0.1]:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "example.com:1": false, "192.0.2.1:1": false, "127.0.0.1": false, "localhost.example:1": false,
	} {
		if got := isLoopback(addr); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}
