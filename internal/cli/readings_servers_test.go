package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/logline"
	"github.com/holdfast-project/holdfast/knowledge"
)

// serverFaults are what a backend does, and what the log of a proxy before it must
// then be read as. HOLDFAST_LOG_LINES=1000000 go test -run TestServerLogs -timeout 2h
// makes logs of a million lines.
var serverFaults = []struct {
	name   string
	proxy  string
	path   string
	events map[string]string // event and end that the stories must tell, and no other failure
	cause  []string          // one of them is first
}{
	{"nginx, the backend closes", "nginx", "/close", map[string]string{"closed": "peer", "http-error": "unknown"}, []string{"nginx-upstream-keepalive-mismatch", "process-crash", "keepalive-race-generic"}},
	{"nginx, the backend resets", "nginx", "/reset", map[string]string{"reset": "peer", "http-error": "unknown"}, nil},
	{"nginx, the backend closes in the body", "nginx", "/part", map[string]string{"closed": "peer"}, nil},
	{"nginx, nobody listens", "nginx", "/refused", map[string]string{"refused": "peer", "http-error": "unknown"}, []string{"connection-refused-closed-port"}},
	{"nginx, the backend is late", "nginx", "/slow", map[string]string{"timeout": "speaker"}, []string{"proxy-read-timeout"}},
	{"nginx, the client leaves", "nginx", "/leave", map[string]string{"closed": "peer"}, []string{"client-abort"}},
	{"HAProxy, the backend closes", "haproxy", "/close", map[string]string{"http-error": "peer"}, nil}, // SH stands for bad answers, too
	{"HAProxy, nobody listens", "haproxy", "/refused", map[string]string{"refused": "unknown"}, []string{"connection-refused-closed-port"}},
	{"HAProxy, the backend is late", "haproxy", "/slow", map[string]string{"timeout": "speaker"}, []string{"proxy-read-timeout", "haproxy-timeout-client-server"}},
	{"HAProxy, the client leaves", "haproxy", "/leave", map[string]string{"closed": "peer"}, []string{"client-abort"}},
}

// TestServerLogs: real proxies before a backend with one fault among many good
// answers write logs; the stories are what was done to them, and how often.
func TestServerLogs(t *testing.T) {
	lines := 600
	if s := os.Getenv("HOLDFAST_LOG_LINES"); s != "" {
		var err error
		if lines, err = strconv.Atoi(s); err != nil || lines < 100 {
			t.Fatalf("HOLDFAST_LOG_LINES=%s: a number from 100 on is wanted", s)
		}
	}
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := logline.New()
	if err != nil {
		t.Fatal(err)
	}
	backend := faultyBackend(t)
	for _, f := range serverFaults {
		t.Run(f.name, func(t *testing.T) {
			program, err := exec.LookPath(f.proxy)
			if err != nil {
				t.Skip(f.proxy + " is not installed")
			}
			faults := min(lines/20, 200)
			log := proxyLog(t, program, f.proxy, backend, f.path, lines, faults)
			x := newTextReader(r)
			file, err := os.Open(log)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := x.lines(log, file); err != nil {
				t.Fatal(err)
			}
			counts := map[string]int{}
			first := ""
			for _, s := range x.finish(base) {
				e := s.Reading.Event
				if e == "none" {
					continue
				}
				first = cmp.Or(first, s.Cause.ID)
				if by, ok := f.events[e]; !ok || s.Reading.EndedBy != by {
					t.Errorf("%s by %s, %d times: %s", e, s.Reading.EndedBy, s.Where.Count, s.Reading.Text)
				}
				counts[e] = max(counts[e], s.Where.Count)
			}
			for e := range maps.Keys(f.events) {
				if n := counts[e]; n != faults {
					t.Errorf("%s told %d times, done %d times, of %d lines", e, n, faults, x.files[log].lines)
				}
			}
			if f.cause != nil && !contains(f.cause, first) {
				t.Errorf("first cause %s, want one of %v", first, f.cause)
			}
			t.Logf("%d lines, %v, first cause %s", x.files[log].lines, counts, first)
		})
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// faultyBackend answers well, but for the paths that name a fault.
func faultyBackend(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/close", "/reset", "/part":
			c, out, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			if q.URL.Path == "/reset" {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			if q.URL.Path == "/part" {
				_, _ = out.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nten bytes.")
				_ = out.Flush()
			}
		case "/slow", "/leave":
			<-q.Context().Done()
		default:
			_, _ = io.WriteString(w, "ok\n")
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const nginxConf = `daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/log error;
events { worker_connections 1024; }
http {
  access_log %[1]s/log; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream app { server %[3]s; keepalive 16; }
  server {
    listen %[2]s; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 1s; proxy_next_upstream off;
    location / { proxy_pass http://app; }
    location /refused { proxy_pass http://%[4]s; }
    location /leave { proxy_pass http://app; proxy_read_timeout 60s; }
  }
}
`

const haproxyConf = `global
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option dontlognull
  option abortonclose
  retries 0
  timeout connect 1s
  timeout client 60s
  timeout server 1s
frontend www
  bind %[2]s
  use_backend none if { path /refused }
  use_backend long if { path /leave }
  default_backend app
backend app
  server s1 %[3]s
backend long
  timeout server 60s
  server s1 %[3]s
backend none
  server s1 %[4]s
`

// proxyLog runs a proxy before the backend, and returns the file that it wrote.
func proxyLog(t *testing.T, program, kind, backend, path string, lines, faults int) string {
	t.Helper()
	dir := t.TempDir()
	front, closed := freeAddress(t), freeAddress(t)
	conf, args := nginxConf, []string{"-p", dir, "-e", dir + "/log", "-c", dir + "/conf"}
	if kind == "haproxy" {
		conf, args = haproxyConf, []string{"-db", "-f", dir + "/conf"}
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), fmt.Appendf(nil, conf, dir, front, backend, closed), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	cmd := exec.Command(program, args...)
	if kind == "haproxy" {
		out, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout = out
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { _ = cmd.Wait(); close(stopped) }()
	stop := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-stopped:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-stopped
		}
	}
	defer stop()
	if err := ask(front, stopped); err != nil {
		stop()
		t.Fatalf("%s does not answer: %v\n%s", kind, err, stderr.String())
	}
	load(t, front, path, lines, faults)
	written(t, log, lines+1) // and the first question
	return log
}

// written waits until a log has so many lines: a proxy writes some when a client
// has long left.
func written(t *testing.T, log string, lines int) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for {
		b, err := os.ReadFile(log)
		if err == nil && bytes.Count(b, []byte("\n")) >= lines {
			return
		}
		select {
		case <-late:
			t.Logf("the log has only %d of %d lines", bytes.Count(b, []byte("\n")), lines) // HAProxy loses some of a hundred thousand
			return
		case <-tick.C:
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask asks until the proxy answers, or ends.
func ask(front string, stopped <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for {
		resp, err := http.Get("http://" + front + "/")
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-stopped:
			return errors.New("it ended")
		case <-late:
			return err
		case <-tick.C:
		}
	}
}

// load sends good requests, and the fault now and then; each fault over a
// connection of its own, so that it cannot touch others.
func load(t *testing.T, front, path string, lines, faults int) {
	t.Helper()
	good := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer good.CloseIdleConnections()
	bad := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= lines; i = int(next.Add(1)) {
				c, url, patience := good, "http://"+front+"/page/104/"+strconv.Itoa(i), time.Minute
				if i%(lines/faults) == 0 && i/(lines/faults) <= faults {
					c, url = bad, "http://"+front+path
					if path == "/leave" {
						patience = 100 * time.Millisecond
					}
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
				if err == nil {
					var resp *http.Response
					if resp, err = c.Do(q); err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}
				cancel()
				if err != nil && c == good {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of the good requests failed", n)
	}
}
