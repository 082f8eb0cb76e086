package resettest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func aimedFaults() []Fault {
	return slices.DeleteFunc(streamFaults(), func(f Fault) bool { return f.stage < stageRequest })
}

// TestAimedHTTP strikes the third request of a connection, by each fault, through a
// Listener and a Proxy: the two before it are answered, the third has the truth that
// the fault declares.
func TestAimedHTTP(t *testing.T) {
	for _, f := range aimedFaults() {
		for _, way := range []string{"listener", "proxy"} {
			t.Run(f.Name+"/"+way, func(t *testing.T) {
				t.Parallel()
				checkAimed(t, f, way)
			})
		}
	}
}

func checkAimed(t *testing.T, f Fault, way string) {
	var executed atomic.Int64
	in := Injection{Fault: f.Name, Protocol: "http", Message: 3}
	switch f.Name {
	case "rst-mid-response", "fin-mid-response", "trickle-rst":
		in.At = 400
	case "stop-reading", "rst-mid-body", "unread-data":
		in.At = 100
	}
	addr, streams := faulty(t, &executed, in, way)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	send := func() error {
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n%s", strings.Repeat("x", 200))
		if err != nil {
			return err
		}
		head := ""
		for !strings.HasSuffix(head, "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if head += line; err != nil {
				if head != "" && err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
		_, err = io.ReadFull(r, make([]byte, 700))
		return err
	}
	for i := range 2 {
		if err := send(); err != nil {
			t.Fatalf("request %d: %v", i+1, err)
		}
	}
	want, answers := int64(2), 2
	if f.Truth.Executed {
		want, answers = 3, 3
	}
	if f.stage == stageIdle {
		want, answers = 3, 3
		if err := send(); err != nil {
			t.Fatalf("request 3: %v", err)
		}
		waitFor(t, func() bool { return streams()[0].Ended }, func() any { return streams() })
	}
	if slices.Contains(f.Truth.Sees, "timeout") {
		go func() {
			waitFor(t, func() bool { return streams()[0].Fault == f.Name }, func() any { return streams() })
			_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		}()
	}
	if saw := Classify(send()); !slices.Contains(f.Truth.Sees, saw) {
		t.Errorf("client saw %q, truth says %v", saw, f.Truth.Sees)
	}
	ok := func() bool {
		s := streams()[0]
		return executed.Load() == want && s.Fault == f.Name && s.Message == 3 && s.Answers == answers
	}
	waitFor(t, ok, func() any { return fmt.Sprintf("executed %d of %d, %+v", executed.Load(), want, streams()) })
	s := streams()[0]
	if s.Lost != "" || f.stage != stageIdle && s.Executed() != f.Truth.Executed {
		t.Errorf("%+v", s)
	}
	if wantRequests := 2; f.Truth.Delivered == No && f.stage != stageIdle && s.Requests != wantRequests {
		t.Errorf("the program was given %d requests, want %d", s.Requests, wantRequests)
	}
}

func waitFor(t *testing.T, ok func() bool, state func() any) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("it does not happen: %+v", state())
			return
		}
	}
}

// redis starts a server and returns its address.
func redisServer(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server: apt install redis-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, func() any { return addr })
	return addr
}

// redisDo sends a command as clients do and returns the line of the answer.
func redisDo(c net.Conn, r *bufio.Reader, words ...string) (string, error) {
	b := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		b += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c, b); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	return strings.TrimSpace(line), err
}

// TestAimedRedis strikes the fourth command of a connection to a real Redis, whose
// counter says what was executed.
func TestAimedRedis(t *testing.T) {
	upstream := redisServer(t)
	dial := func(addr string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c, bufio.NewReader(c)
	}
	truth, tr := dial(upstream)
	for _, f := range []string{"rst-unforwarded", "rst-after-commit", "fin-after-commit", "rst-mid-response"} {
		p, err := NewProxy("127.0.0.1:0", upstream, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Inject("it", Injection{Fault: f, Protocol: "redis", Message: 4, At: 1}); err != nil {
			t.Fatal(err)
		}
		c, r := dial(p.Addr())
		for i, word := range []string{"hello", "set", "incr"} {
			words := [][]string{{"PING"}, {"SET", "x", "a\r\n$5\r\n"}, {"INCR", f}}[i]
			if _, err := redisDo(c, r, words...); err != nil {
				t.Fatalf("%s: %s: %v", f, word, err)
			}
		}
		if got, err := redisDo(c, r, "INCR", f); err == nil {
			t.Errorf("%s: answered %q", f, got)
		}
		want := "$1 2"
		if f == "rst-unforwarded" {
			want = "$1 1"
		}
		waitFor(t, func() bool {
			head, err := redisDo(truth, tr, "GET", f)
			if err != nil {
				return false
			}
			value, _ := tr.ReadString('\n')
			return head+" "+strings.TrimSpace(value) == want
		}, func() any { return fmt.Sprintf("%s: the counter is not %q, %+v", f, want, p.Streams()) })
		if s := p.Streams()[0]; s.Fault != f || s.Executed() != (f != "rst-unforwarded") || s.Lost != "" {
			t.Errorf("%s: %+v", f, s)
		}
		p.Close()
	}
}

// TestAimedServer strikes the second request of a connection of a Server.
func TestAimedServer(t *testing.T) {
	for _, in := range []Injection{{Fault: "rst-after-commit", Message: 2}, {Fault: "rst-unforwarded", Message: 2, Protocol: "http"}, {Fault: "idle-rst", Message: 2}} {
		s := New(t, in)
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; ; i++ {
			_, err := rawPost(c, fmt.Sprint(i))
			if err == nil && i < 4 {
				if in.Fault == "idle-rst" && i == 2 {
					await(t, s, in.Fault, func(Entry) bool { return true })
				}
				continue
			}
			if want := map[string]int{"idle-rst": 3}[in.Fault]; i != max(want, 2) {
				t.Errorf("%s strikes request %d", in.Fault, i)
			}
			break
		}
		c.Close()
	}
}

// TestAimRefused: what cannot be aimed is not begun.
func TestAimRefused(t *testing.T) {
	for _, in := range []Injection{
		{Fault: "accept-rst", Protocol: "http"}, {Fault: "rst-after-commit", Message: 2}, {Fault: "rst-after-commit", Protocol: "gopher"},
		{Fault: "rst-after-commit", Protocol: "http", Message: -1}, {Fault: "refused", Protocol: "redis", Message: 1},
	} {
		if l, err := Listen(1, in); err == nil {
			l.Close()
			t.Errorf("%+v is accepted", in)
		}
	}
	if _, err := Start(Config{Inject: []Injection{{Fault: "rst-after-commit", Protocol: "redis"}}}); err == nil {
		t.Error("a server of HTTP speaks Redis")
	}
}

// TestAimLost: a connection whose messages cannot be counted passes as it is, and the
// ledger says why.
func TestAimLost(t *testing.T) {
	var executed atomic.Int64
	srv := httptest.NewServer(counting(&executed))
	defer srv.Close()
	for _, protocol := range []string{"redis", "postgres", "mysql"} {
		p, err := NewProxy("127.0.0.1:0", srv.Listener.Addr().String(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Inject("it", Injection{Fault: "rst-after-commit", Protocol: protocol, Message: 40}); err != nil {
			t.Fatal(err)
		}
		if saw := try(t, p.Addr(), 10, patient); saw != "answer" {
			t.Errorf("%s: %s", protocol, saw)
		}
		waitFor(t, func() bool { s := p.Streams()[0]; return s.Ended && (s.Lost != "" || protocol == "redis") }, func() any { return p.Streams() })
		p.Close()
	}
}
