package handover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/steady/drain"
)

// drainPatience is how long a test waits for what must happen.
const drainPatience = 30 * time.Second

// childVariable makes the test binary be a server: its value is the path of the
// hand-over.
const childVariable = "STEADY_TEST_HANDOVER"

// TestHandoverServer is the server process of the tests below.
func TestHandoverServer(t *testing.T) {
	path := os.Getenv(childVariable)
	if path == "" {
		t.Skip("started by the other tests of this file")
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d", os.Getpid())
	})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // the parent closes standard input when it wants us gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	h := &Handover{
		Addr: "127.0.0.1:0", Path: strings.TrimPrefix(path, "-"), Drain: &drain.Drain{LameDuck: 300 * time.Millisecond},
		Serving: func(l net.Listener, from Origin) { fmt.Printf("serving %s %s\n", l.Addr(), from) },
	}
	report, err := h.Serve(ctx, srv)
	if err != nil {
		fmt.Printf("error %v\n", err)
		os.Exit(1)
	}
	b, _ := json.Marshal(report)
	fmt.Printf("report %s\n", b)
	os.Exit(0)
}

// child is a server process.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
	addr  string
	from  Origin
}

func startChild(t *testing.T, path string, files []*os.File, env []string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^TestHandoverServer$"), lines: make(chan string, 16)}
	if env == nil {
		env = os.Environ()
	}
	c.cmd.Env = append(env, childVariable+"="+path)
	c.cmd.ExtraFiles = files
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		b, _ := io.ReadAll(io.TeeReader(out, lineWriter(c.lines)))
		_ = b
	}()
	word := strings.Fields(c.line(t))
	if len(word) != 3 || word[0] != "serving" {
		t.Fatalf("server says %q", word)
	}
	c.addr, c.from = word[1], Origin(word[2])
	return c
}

// lineWriter sends each line that is written to it; a line is written in one piece.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w <- strings.TrimSpace(line)
	}
	return len(p), nil
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	select {
	case s := <-c.lines:
		return s
	case <-time.After(drainPatience):
		t.Fatal("server says nothing")
		return ""
	}
}

// end waits for the process and returns its report.
func (c *child) end(t *testing.T) drain.Report {
	t.Helper()
	var r drain.Report
	text, ok := strings.CutPrefix(c.line(t), "report ")
	if err := json.Unmarshal([]byte(text), &r); !ok || err != nil {
		t.Fatalf("server says %q: %v", text, err)
	}
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("server: %v", err)
	}
	return r
}

// load sends POSTs from several keep-alive clients until stop is called.
func load(addr string, clients int, think time.Duration) (stop func() (ok, failed int64, last error)) {
	var good, bad atomic.Int64
	var last atomic.Value
	var wg sync.WaitGroup
	done := make(chan struct{})
	tr := &http.Transport{MaxIdleConnsPerHost: clients}
	client := &http.Client{Transport: tr, Timeout: drainPatience}
	for range clients {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := postOnce(client, addr); err != nil {
					bad.Add(1)
					last.Store(err)
				} else {
					good.Add(1)
				}
				if think > 0 {
					time.Sleep(think) // the client thinks; nothing waits for it
				}
			}
		})
	}
	return func() (int64, int64, error) {
		close(done)
		wg.Wait()
		tr.CloseIdleConnections()
		err, _ := last.Load().(error)
		return good.Load(), bad.Load(), err
	}
}

func postOnce(c *http.Client, addr string) error {
	r, err := c.Post("http://"+addr+"/", "text/plain", strings.NewReader("x"))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", r.StatusCode)
	}
	return nil
}

// restartCount is how often TestRestarts restarts: 6 times, or STEADY_RESTARTS times.
func restartCount(t *testing.T) int {
	text := os.Getenv("STEADY_RESTARTS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("STEADY_RESTARTS=%q", text)
	}
	return n
}

// TestRestarts replaces a server process by its successor several times, under the
// load of keep-alive POST clients, and wants no request to fail.
func TestRestarts(t *testing.T) {
	restarts := restartCount(t)
	path := filepath.Join(t.TempDir(), "handover")
	old := startChild(t, path, nil, nil)
	if old.from != OriginNew {
		t.Errorf("the first listener is %s", old.from)
	}
	stop := load(old.addr, 16, 2*time.Millisecond)
	for i := range restarts {
		next := startChild(t, path, nil, nil)
		if next.from != OriginPredecessor || next.addr != old.addr {
			t.Errorf("restart %d: listener %s is %s, want %s from the predecessor", i, next.addr, next.from, old.addr)
		}
		if r := old.end(t); r.Failed() != 0 {
			t.Errorf("restart %d: %+v", i, r)
		}
		old = next
	}
	ok, failed, err := stop()
	t.Logf("%d restarts, %d requests answered, %d failed", restarts, ok, failed)
	if failed != 0 || ok == 0 {
		t.Errorf("%d requests answered, %d failed, the last with: %v", ok, failed, err)
	}
	old.stdin.Close()
	old.end(t)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of the hand-over is left behind: %v", err)
	}
}

// TestPassedListener gives a listener to a child by LISTEN_FDS.
func TestPassedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	files, env, err := Pass(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	c := startChild(t, filepath.Join(t.TempDir(), "handover"), files, env)
	closeFiles(files)
	if c.from != OriginEnvironment || c.addr != l.Addr().String() {
		t.Fatalf("the child serves %s, %s", c.addr, c.from)
	}
	l.Close() // the child's is the same socket
	if err := postOnce(&http.Client{Timeout: drainPatience}, c.addr); err != nil {
		t.Error(err)
	}
	c.stdin.Close()
	c.end(t)
}

func TestInheritedCount(t *testing.T) {
	for _, c := range []struct {
		env  string
		want int
		bad  bool
	}{
		{"", 0, false},
		{"LISTEN_FDS=2 LISTEN_PID=10", 2, false},
		{"LISTEN_FDS=2 LISTEN_PID=11", 0, false},
		{"LISTEN_FDS=2 LISTEN_PID=11 LISTEN_PPID=9", 0, false},
		{"LISTEN_FDS=2 LISTEN_PPID=9", 2, false},
		{"LISTEN_FDS=2 LISTEN_PPID=8", 0, false},
		{"LISTEN_FDS=2", 0, false},
		{"LISTEN_FDS=x LISTEN_PID=10", 0, true},
		{"LISTEN_FDS=-1 LISTEN_PID=10", 0, true},
		{"LISTEN_FDS=65 LISTEN_PID=10", 0, true},
	} {
		env := map[string]string{}
		for kv := range strings.FieldsSeq(c.env) {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
		n, err := inheritedCount(func(name string) string { return env[name] }, 10, 9)
		if n != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %d, %v", c.env, n, err)
		}
	}
}

// TestOfferSurvives wants the offer to stand when a successor dies before it
// serves, and everything to be given when one lives.
func TestOfferSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	var list []net.Listener
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l)
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	offered := make(chan error, 1)
	go func() { offered <- Offer(ctx, path, list...) }()
	first := takeSoon(t, ctx, path)
	if err := Offer(ctx, path, list...); err == nil {
		t.Error("two processes offer at one path")
	}
	first.Cancel()
	second := takeSoon(t, ctx, path)
	if len(second.Listeners) != len(list) {
		t.Fatalf("got %d of %d listeners", len(second.Listeners), len(list))
	}
	if err := second.Ready(); err != nil {
		t.Fatal(err)
	}
	if err := <-offered; err != nil {
		t.Fatal(err)
	}
	for i, l := range list {
		if got := second.Listeners[i].Addr().String(); got != l.Addr().String() {
			t.Errorf("listener %d is %s, want %s", i, got, l.Addr())
		}
		l.Close()
		echoOnce(t, second.Listeners[i])
		second.Listeners[i].Close()
	}
	if _, err := Take(ctx, path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path is not free: %v", err)
	}
}

// TestServingMeansOffered: a successor that is started by Serving finds the offer,
// without waiting for it.
func TestServingMeansOffered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	var first error
	h := &Handover{Addr: "127.0.0.1:0", Path: path, Drain: &drain.Drain{LameDuck: time.Millisecond}}
	h.Serving = func(net.Listener, Origin) {
		k, err := Take(t.Context(), path)
		if first = err; err != nil {
			return
		}
		first = k.Ready()
		k.Listeners[0].Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), drainPatience)
	defer cancel()
	if _, err := h.Serve(ctx, &http.Server{}); err != nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	if first != nil {
		t.Error(first)
	}
}

func takeSoon(t *testing.T, ctx context.Context, path string) *Takeover { //nolint:revive // t comes first in tests
	t.Helper()
	for {
		k, err := Take(ctx, path)
		if err == nil {
			return k
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// echoOnce serves one connection, to see that the listener lives.
func echoOnce(t *testing.T, l net.Listener) {
	t.Helper()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "ping")
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); !bytes.Equal(b, []byte("ping")) {
		t.Errorf("echo %q: %v", b, err)
	}
}

func TestNothingToHandOver(t *testing.T) {
	if _, _, err := Pass(nil); err == nil {
		t.Error("no listener was passed and there is no error")
	}
	_, _, err := Pass(nil, struct{ net.Listener }{})
	if err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a listener without socket: %v", err)
	}
}
