package resettest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counting is a program that executes: it counts.
func counting(executed *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		executed.Add(1)
		_, _ = io.WriteString(w, strings.Repeat("answer ", 100))
	})
}

// try sends one request over a connection of its own.
func try(t *testing.T, addr string, size int, l limit) string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	ctx, cancel := l.context()
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/", bytes.NewReader(bytes.Repeat([]byte("x"), size)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Do(req)
	if err != nil {
		t.Log(err)
		return Classify(err)
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return Classify(err)
}

func streamFaults() []Fault {
	return slices.DeleteFunc(Faults(), func(f Fault) bool {
		return !f.Stream || f.Only == "linux" && runtime.GOOS != "linux" || f.Root && !canVanish()
	})
}

// TestStreamTruth makes the faults that need no look into the stream happen before a
// server of net/http, by a Listener and by a Proxy, and compares both sides with
// the truth.
func TestStreamTruth(t *testing.T) {
	for _, f := range streamFaults() {
		for _, way := range []string{"listener", "proxy"} {
			if way == "listener" && f.stage == stagePort {
				continue
			}
			t.Run(f.Name+"/"+way, func(t *testing.T) {
				t.Parallel()
				for range 2 {
					checkStream(t, f, way)
				}
			})
		}
	}
}

func checkStream(t *testing.T, f Fault, way string) {
	t.Helper()
	var executed atomic.Int64
	in := Injection{Fault: f.Name}
	size := 100000
	switch f.Name {
	case "stop-reading":
		in.At = 200
	case "rst-mid-response", "fin-mid-response", "trickle-rst":
		in.At = 400 // in the body of the answer
	case "half-close":
		size = 10 // a client that sees the FIN stops sending
	}
	addr, streams := faulty(t, &executed, in, way)
	wait := patient
	if slices.Contains(f.Truth.Sees, "timeout") {
		wait = impatient(func() bool { return f.stage == stagePort || slices.ContainsFunc(streams(), struckBy(f)) })
	}
	if f.stage == stageIdle {
		checkIdle(t, f, addr, &executed, streams)
		return
	}
	if saw := try(t, addr, size, wait); !slices.Contains(f.Truth.Sees, saw) {
		t.Errorf("client saw %q, truth says %v", saw, f.Truth.Sees)
	}
	if f.stage == stagePort {
		return
	}
	want := int64(0)
	if f.Truth.Executed {
		want = 1
	}
	s := struck(t, f, streams)
	if executed.Load() != want || s.Executed() != f.Truth.Executed {
		t.Errorf("executed %d times, want %d: %+v", executed.Load(), want, s)
	}
	if (s.In > 0) != (f.Truth.Delivered != No) || (s.Out > 0) != (f.Truth.Answered != No) {
		t.Errorf("truth says delivered %s, answered %s: %+v", f.Truth.Delivered, f.Truth.Answered, s)
	}
}

// struckBy says of a stream whether the fault has struck it and the program knows.
func struckBy(f Fault) func(Stream) bool {
	return func(s Stream) bool { return s.Fault == f.Name && s.Executed() == f.Truth.Executed }
}

// struck waits until the fault has struck and the program knows.
func struck(t *testing.T, f Fault, streams func() []Stream) Stream {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if list := streams(); slices.ContainsFunc(list, struckBy(f)) {
			return list[slices.IndexFunc(list, struckBy(f))]
		}
	}
	t.Fatalf("no such stream for %s: %+v", f.Name, streams())
	return Stream{}
}

// faulty starts a counting server behind the fault.
func faulty(t *testing.T, executed *atomic.Int64, in Injection, way string) (addr string, streams func() []Stream) {
	t.Helper()
	srv := httptest.NewUnstartedServer(counting(executed))
	t.Cleanup(srv.Close)
	if way == "listener" {
		l, err := Listen(1, in)
		if err != nil {
			t.Fatal(err)
		}
		srv.Listener.Close()
		srv.Listener = l
		srv.Start()
		return l.Addr().String(), l.Streams
	}
	srv.Start()
	p, err := NewProxy("127.0.0.1:0", srv.Listener.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.Inject("it", in); err != nil {
		t.Fatal(err)
	}
	return p.Addr(), p.Streams
}

// checkIdle sends a request that succeeds, waits for the fault, and sends another.
func checkIdle(t *testing.T, f Fault, addr string, executed *atomic.Int64, streams func() []Stream) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	const request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	_, _ = io.WriteString(c, request)
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if s := streams(); len(s) == 1 && s[0].Fault == f.Name && s[0].Ended {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the fault does not strike: %+v", streams())
		}
	}
	_, err = io.WriteString(c, request)
	if err == nil {
		_, err = io.Copy(io.Discard, c)
		if err == nil {
			err = io.EOF
		}
	}
	if saw := Classify(err); !slices.Contains(f.Truth.Sees, saw) {
		t.Errorf("client saw %q, truth says %v", saw, f.Truth.Sees)
	}
	if n := executed.Load(); n != 1 {
		t.Errorf("executed %d times, want 1", n)
	}
}

// TestProxyIsFaithful wants a proxy without faults to change nothing: a big echo with
// half-close, and a reset of the upstream.
func TestProxyIsFaithful(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				first := make([]byte, 1)
				_, _ = io.ReadFull(c, first)
				_, _ = io.Copy(c, c)
				if first[0] == 'r' {
					flushed(c.(*net.TCPConn))
					_ = abort(c.(*net.TCPConn))
				}
				c.Close()
			}()
		}
	}()
	p, err := NewProxy("127.0.0.1:0", l.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range []struct{ first, want string }{{"e", "answer"}, {"r", "reset"}} {
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		data := strings.Repeat("0123456789", 300000)
		go func() {
			_, _ = io.WriteString(conn, c.first+data)
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if string(got) != data || Classify(err) != c.want {
			t.Errorf("%s: got %d of %d octets and %v", c.first, len(got), len(data), err)
		}
		conn.Close()
	}
}

// TestProxyPort wants a fault of the port to come and go, with the same port.
func TestProxyPort(t *testing.T) {
	var executed atomic.Int64
	srv := httptest.NewServer(counting(&executed))
	defer srv.Close()
	p, err := NewProxy("127.0.0.1:0", srv.Listener.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 {
		if saw := try(t, p.Addr(), 10, patient); saw != "answer" {
			t.Fatalf("healthy: %s", saw)
		}
		if err := p.Inject("port", Injection{Fault: "refused"}); err != nil {
			t.Fatal(err)
		}
		if saw := try(t, p.Addr(), 10, patient); saw != "refused" {
			t.Fatalf("refused: %s", saw)
		}
		if ok, err := p.Remove("port"); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if n := executed.Load(); n != 2 {
		t.Errorf("executed %d", n)
	}
}

func TestProxyAbort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := NewProxy("127.0.0.1:0", l.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	up, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if n := p.Abort(); n != 1 {
		t.Errorf("aborted %d connections", n)
	}
	for _, end := range []net.Conn{c, up} {
		_ = end.SetReadDeadline(time.Now().Add(patience))
		if _, err := end.Read(make([]byte, 1)); Classify(err) != "reset" {
			t.Errorf("got %v", err)
		}
	}
}

// TestSeed wants the same requests to be hit with the same seed, others with another,
// and about the share that was asked for.
func TestSeed(t *testing.T) {
	hits := func(seed uint64) (hit []string) {
		s, err := Start(Config{Seed: seed, Inject: []Injection{{Fault: "rst-after-commit", Rate: 0.2}}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range 200 {
			post(t, s, fmt.Sprintf("%d", i), nil, patient)
		}
		for _, e := range s.Ledger().Hit("") {
			hit = append(hit, e.ID)
		}
		if d := s.Ledger().Duplicates(); len(d) != 0 || s.Ledger().Executions() != 200 {
			t.Errorf("executed %d, duplicates %v", s.Ledger().Executions(), d)
		}
		return hit
	}
	a, b, c := hits(1), hits(1), hits(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("hit %v, again %v, with another seed %v", a, b, c)
	}
	if len(a) < 20 || len(a) > 60 {
		t.Errorf("hit %d of 200 with a rate of 0.2", len(a))
	}
}

func TestSkipAndTimes(t *testing.T) {
	s := New(t, Injection{Fault: "rst-after-commit", Skip: 2, Times: 2})
	var saw []string
	for i := range 6 {
		saw = append(saw, post(t, s, fmt.Sprint(i), nil, patient))
	}
	if want := []string{"answer", "answer", "reset", "reset", "answer", "answer"}; !slices.Equal(saw, want) {
		t.Errorf("saw %v", saw)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, in := range [][]Injection{
		{{Fault: "no-such-fault"}},
		{{Fault: "stall", Rate: 1.5}},
		{{Fault: "stall", At: -1}},
		{{Fault: "refused"}, {Fault: "stall"}},
		{{Fault: "refused-stream"}, {Fault: "stall"}},
	} {
		if s, err := Start(Config{Inject: in}); err == nil {
			s.Close()
			t.Errorf("%v was accepted", in)
		}
	}
	if l, err := Listen(1, Injection{Fault: "early-413"}); err == nil {
		l.Close()
		t.Error("a listener does early-413")
	}
	if l, err := Listen(1, Injection{Fault: "refused"}); err == nil {
		l.Close()
		t.Error("a listener refuses connections")
	}
}

// TestLedgerLimit wants a full ledger to say so.
func TestLedgerLimit(t *testing.T) {
	s, err := Start(Config{MaxEntries: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 5 {
		if saw := post(t, s, fmt.Sprint(i), nil, patient); saw != "answer" {
			t.Fatal(saw)
		}
	}
	if l := s.Ledger(); len(l.Entries()) != 2 || l.Refused() != 3 {
		t.Errorf("%d entries, %d refused", len(l.Entries()), l.Refused())
	}
}

// TestNames wants names that do not change and a text and a truth for each.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Faults() {
		if seen[f.Name] || f.Doc == "" || len(f.Truth.Sees) == 0 || len(f.Truth.Senders) == 0 || f.Truth.Wire == "" {
			t.Errorf("fault %+v is incomplete or there twice", f)
		}
		seen[f.Name] = true
		if f.Truth.SafeToRepeat() == f.Truth.Executed {
			t.Errorf("%s: safe and executed", f.Name)
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d faults, want at least 20", len(seen))
	}
}
