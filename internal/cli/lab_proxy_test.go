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

	"github.com/holdfast-project/holdfast/steady/resettest"
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

// TestLabProxyVerbs steers a proxy by the verbs of toxiproxy-cli.
func TestLabProxyVerbs(t *testing.T) {
	api := httptest.NewServer(&resettest.API{Token: "secret"})
	defer api.Close()
	run := func(args ...string) (code int, out, log string) {
		o, l := &safeBuffer{}, &safeBuffer{}
		getenv := func(name string) string {
			return map[string]string{"TOXIPROXY_URL": api.URL, "HOLDFAST_LAB_TOKEN": "secret"}[name]
		}
		v := &env{in: strings.NewReader(""), out: o, err: l, getenv: getenv, width: func() int { return 0 }}
		code = v.run(context.Background(), append([]string{"lab", "proxy"}, args...))
		return code, o.String(), l.String()
	}
	for _, c := range []struct {
		args      string
		code      int
		out, says string
	}{
		{args: "list", says: "0 proxies"},
		{args: "create db --listen 127.0.0.1:0 --upstream 127.0.0.1:1", says: "proxy db: 127.0.0.1:"},
		{args: "create db -l 127.0.0.1:0 -u 127.0.0.1:1", code: codeUsage, says: "already"},
		{args: "create web", code: codeUsage, says: "upstream"},
		{args: "create", code: codeUsage, says: "accepts 1 arg"},
		{args: "toxic add --type latency --toxicName slow --toxicity 0.5 --attribute latency=100 -a jitter=5 --upstream db", says: "added upstream latency as slow"},
		{args: "toxic add -t rst-after-commit -a postgres=3 --downstream db", says: "as rst-after-commit"},
		{args: "toxic add -t latency -u -d db", code: codeUsage, says: "one direction"},
		{args: "toxic add -t latency -a latency db", code: codeUsage, says: "KEY=NUMBER"},
		{args: "toxic add -t latency -a latency=x db", code: codeUsage, says: "KEY=NUMBER"},
		{args: "toxic add -t rst-after-commit -n both -a postgres=3 -a redis=1 db", code: codeUsage, says: "one protocol"},
		{args: "toxic add db", code: codeUsage, says: "which toxic"},
		{args: "toxic add -t gopher db", code: codeUsage, says: "gopher"},
		{args: "inspect db", out: "slow  upstream latency  of 0.5 of the connections  jitter=5  latency=100\n"},
		{args: "inspect db", out: "rst-after-commit  downstream rst-after-commit  postgres=3\n"},
		{args: "toxic update -n slow -a latency=7 db", says: "updated"},
		{args: "toxic update --toxicName slow --toxicity 1 db", says: "updated"},
		{args: "toxic update db", code: codeUsage, says: "which toxic"},
		{args: "inspect db", out: "slow  upstream latency  jitter=5  latency=7\n"},
		{args: "toxic remove -n slow db", says: "removed"},
		{args: "toxic delete -n slow db", code: codeNotFound, says: "slow"},
		{args: "toxic remove db", code: codeUsage, says: "which toxic"},
		{args: "toggle db", says: "now disabled"},
		{args: "list -o ndjson", out: `"enabled":false`},
		{args: "toggle db", says: "now enabled"},
		{args: "inspect nobody", code: codeNotFound, says: "nobody"},
		{args: "list --token wrong", code: codePermission, says: "token"},
		{args: "list --host 127.0.0.1:1", code: codeUnreachable, says: "connection refused"},
		{args: "list --host http://[", code: codeUsage, says: "address of the API"},
		{args: "delete db", says: "deleted"},
		{args: "list -o json", out: "[]"},
	} {
		code, out, log := run(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(log, c.says) {
			t.Errorf("%s: code %d, want %d\n%s%s", c.args, code, c.code, out, log)
		}
	}
}

// TestLabProxyVerbsHostile: an API that is none does no harm to a terminal.
func TestLabProxyVerbsHostile(t *testing.T) {
	answer := ""
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer api.Close()
	for args, text := range map[string]string{
		"list":         `{"a":{"name":"a\u001b[2J","listen":"\u202e","toxics":[{"name":"\u0007","attributes":{"\u001b":1}}]}}`,
		"delete x":     `{"error":"\u001b]0;title"}`,
		"inspect x":    `{"name":7}`,
		"toggle x":     `<html>`,
		"delete other": strings.Repeat("x", 9<<20),
	} {
		answer = text
		o, l := &safeBuffer{}, &safeBuffer{}
		v := &env{in: strings.NewReader(""), out: o, err: l, getenv: func(string) string { return "" }, width: func() int { return 0 }}
		code := v.run(context.Background(), append([]string{"lab", "proxy"}, append(strings.Fields(args), "--host", api.URL)...))
		if both := o.String() + l.String(); strings.ContainsAny(both, "\x1b\x07\u202e") || len(both) > 1000 || (code == codeOK) != (args == "list") {
			t.Errorf("%s: code %d: %q", args, code, both)
		}
	}
}
