//go:build linux

package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How the ends of a case saw the connection.
const (
	sawFin   = "fin"
	sawReset = "reset"
)

// readAll reads until the end, and says which it was.
func readAll(c *net.TCPConn) (n int64, end string) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := io.Copy(io.Discard, c)
	switch {
	case err == nil:
		return n, sawFin
	case errors.Is(err, syscall.ECONNRESET):
		return n, sawReset
	}
	return n, err.Error()
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// send writes n bytes and waits until all are acknowledged.
func send(c *net.TCPConn, n int) {
	_, _ = c.Write(make([]byte, n))
	settle(c)
}

func settle(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, alive := queued(raw); n == 0 || !alive {
			return
		}
	}
}

// exactly reads n bytes.
func exactly(c *net.TCPConn, n int64) { _, _ = io.CopyN(io.Discard, c, n) }

// fidelity are the cases of a faithful relay: what each end does, and what the other
// must see. An expert wrote down the second before the relay was run.
var fidelity = []struct {
	name           string
	client, server func(c *net.TCPConn) (int64, string)
	bytes          int64  // that the side that looks must get
	end            string // that it must see
	looks          string // client or server
	by, how        string // of the record
}{
	{"server: 100 kB acknowledged, then reset", func(c *net.TCPConn) (int64, string) { return readAll(c) }, func(c *net.TCPConn) (int64, string) { send(c, 100_000); reset(c); return 0, "" }, 100_000, sawReset, "client", "server", Reset},
	{"server: 4 MB to a slow client, then reset", func(c *net.TCPConn) (int64, string) {
		var sum int64
		for range 20 { // slower than the server, which has gone long before the end
			n, _ := io.CopyN(io.Discard, c, 64<<10)
			sum += n
			time.Sleep(2 * time.Millisecond)
		}
		n, end := readAll(c)
		return sum + n, end
	}, func(c *net.TCPConn) (int64, string) { send(c, 4<<20); reset(c); return 0, "" }, 4 << 20, sawReset, "client", "server", Reset},
	{"server: reset without a byte", func(c *net.TCPConn) (int64, string) { return readAll(c) }, func(c *net.TCPConn) (int64, string) { reset(c); return 0, "" }, 0, sawReset, "client", "server", Reset},
	{"server: idle, then reset", func(c *net.TCPConn) (int64, string) { return readAll(c) }, func(c *net.TCPConn) (int64, string) { time.Sleep(30 * time.Millisecond); reset(c); return 0, "" }, 0, sawReset, "client", "server", Reset},
	{"server: closes with the upload unread, after its answer", func(c *net.TCPConn) (int64, string) { send(c, 10_000); return readAll(c) }, func(c *net.TCPConn) (int64, string) {
		time.Sleep(20 * time.Millisecond)
		send(c, 1000)
		c.Close()
		return 0, ""
	}, 1000, sawReset, "client", "server", Reset},
	{"server: early answer and reset during an upload of 8 MB", func(c *net.TCPConn) (int64, string) {
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 8<<20))
			wrote <- err
		}()
		n, end := readAll(c)
		if err := <-wrote; end == sawFin && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
			end = sawReset // the write took the error of the socket away
		}
		return n, end
	}, func(c *net.TCPConn) (int64, string) { exactly(c, 100_000); send(c, 2000); reset(c); return 0, "" }, 2000, sawReset, "client", "server", Reset},
	{"client: data acknowledged, then reset", func(c *net.TCPConn) (int64, string) { send(c, 50_000); reset(c); return 0, "" }, func(c *net.TCPConn) (int64, string) { return readAll(c) }, 50_000, sawReset, "server", "client", Reset},
	{"client: reset without a byte", func(c *net.TCPConn) (int64, string) { reset(c); return 0, "" }, func(c *net.TCPConn) (int64, string) { return readAll(c) }, 0, sawReset, "server", "client", Reset},
	{"client: reset while the server sends", func(c *net.TCPConn) (int64, string) { exactly(c, 10_000); reset(c); return 0, "" }, func(c *net.TCPConn) (int64, string) {
		_, err := c.Write(make([]byte, 64<<20))
		if err != nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
			return 0, sawReset
		}
		return 0, "wrote all"
	}, 0, sawReset, "server", "client", Reset},
	{"client: half-closes, the answer comes after it", func(c *net.TCPConn) (int64, string) { send(c, 1000); _ = c.CloseWrite(); return readAll(c) }, func(c *net.TCPConn) (int64, string) {
		n, end := readAll(c)
		send(c, 200_000)
		c.Close()
		return n, end
	}, 200_000, sawFin, "client", "client", Fin},
	{"server: half-closes, the client goes on", func(c *net.TCPConn) (int64, string) { _, _ = readAll(c); send(c, 70_000); c.Close(); return 0, "" }, func(c *net.TCPConn) (int64, string) { send(c, 10); _ = c.CloseWrite(); return readAll(c) }, 70_000, sawFin, "server", "server", Fin},
	{"client: half-closes, the server resets", func(c *net.TCPConn) (int64, string) { send(c, 1000); _ = c.CloseWrite(); return readAll(c) }, func(c *net.TCPConn) (int64, string) { _, _ = readAll(c); send(c, 5000); reset(c); return 0, "" }, 5000, sawReset, "client", "server", Reset},
	{"both end in order", func(c *net.TCPConn) (int64, string) { send(c, 1000); n, e := readAll(c); c.Close(); return n, e }, func(c *net.TCPConn) (int64, string) { exactly(c, 1000); send(c, 3000); c.Close(); return 0, "" }, 3000, sawFin, "client", "server", Fin},
}

// rounds of each case; HOLDFAST_RELAY_ROUNDS asks for more.
func rounds(t *testing.T) int {
	if s := os.Getenv("HOLDFAST_RELAY_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 5
}

func TestFidelity(t *testing.T) {
	for _, c := range fidelity {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for round := range rounds(t) {
				records := make(chan Record, 1)
				backend := listen(t)
				front := listen(t)
				s := &Server{Backends: []string{backend.Addr().String()}, Record: func(r Record) { records <- r }}
				ctx, cancel := context.WithCancel(context.Background())
				go func() { _ = s.Serve(ctx, context.Background(), front) }()
				type seen struct {
					n   int64
					end string
				}
				servers := make(chan seen, 1)
				go func() {
					x, err := backend.Accept()
					if err != nil {
						servers <- seen{0, err.Error()}
						return
					}
					n, end := c.server(x.(*net.TCPConn))
					servers <- seen{n, end}
					x.Close()
				}()
				x, err := net.Dial("tcp", front.Addr().String())
				got := seen{0, sawReset}
				if err == nil {
					got.n, got.end = c.client(x.(*net.TCPConn))
				} else if !errors.Is(err, syscall.ECONNRESET) { // it can come before connect returns
					t.Fatal(err)
				}
				if other := <-servers; c.looks == "server" {
					got = other
				}
				if err == nil {
					x.Close()
				}
				r := <-records
				cancel()
				if got.n != c.bytes || got.end != c.end {
					t.Errorf("round %d: the %s saw %s after %d bytes, want %s after %d (%+v)", round, c.looks, got.end, got.n, c.end, c.bytes, r)
				}
				if r.EndedBy != c.by || r.How != c.how || r.Hidden || s.Stats().Hidden != 0 {
					t.Errorf("round %d: the record says %s by %s, want %s by %s: %+v", round, r.How, r.EndedBy, c.how, c.by, r)
				}
			}
		})
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestBytes moves random-looking data both ways at once and compares it.
func TestBytes(t *testing.T) {
	backend, front := listen(t), listen(t)
	s := &Server{Backends: []string{backend.Addr().String()}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = s.Serve(ctx, context.Background(), front) }()
	go func() {
		c, err := backend.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c) // an echo
		c.Close()
	}()
	c, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 7)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	})
	got, err := io.ReadAll(c)
	wg.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(sent), err)
	}
}

func TestUnreachable(t *testing.T) {
	dead := listen(t)
	addr := dead.Addr().String()
	dead.Close()
	alive, front := listen(t), listen(t)
	records := make(chan Record, 4)
	s := &Server{Backends: []string{addr}, Record: func(r Record) { records <- r }}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = s.Serve(ctx, context.Background(), front) }()
	c, err := net.Dial("tcp", front.Addr().String())
	if err == nil {
		_, end := readAll(c.(*net.TCPConn))
		if r := <-records; end != sawReset || r.How != "unreachable" || s.Stats().Unreachable != 1 {
			t.Errorf("%s %+v", end, r)
		}
	}
	// With a second backend nobody notices.
	s2 := &Server{Backends: []string{addr, alive.Addr().String()}}
	front2 := listen(t)
	go func() { _ = s2.Serve(ctx, context.Background(), front2) }()
	go func() {
		for {
			c, err := alive.Accept()
			if err != nil {
				return
			}
			send(c.(*net.TCPConn), 7)
			c.Close()
		}
	}()
	for range 4 {
		c, err := net.Dial("tcp", front2.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if n, end := readAll(c.(*net.TCPConn)); n != 7 || end != sawFin {
			t.Errorf("%d bytes, %s", n, end)
		}
		c.Close()
	}
}

// TestIdleAndStop: the relay's own ends are orderly, or resets when it is told to
// stop, and the record says that they were its own.
func TestIdleAndStop(t *testing.T) {
	for _, how := range []string{"idle", "stopped"} {
		backend, front := listen(t), listen(t)
		records := make(chan Record, 1)
		s := &Server{Backends: []string{backend.Addr().String()}, Record: func(r Record) { records <- r }}
		if how == "idle" {
			s.Options.Idle = 30 * time.Millisecond
		}
		ctx, cancel := context.WithCancel(context.Background())
		sessions, stop := context.WithCancel(context.Background())
		go func() { _ = s.Serve(ctx, sessions, front) }()
		there := make(chan struct{})
		go func() {
			if c, err := backend.Accept(); err == nil {
				exactly(c.(*net.TCPConn), 1)
				close(there)
				_, _ = readAll(c.(*net.TCPConn))
				c.Close()
			}
		}()
		c, err := net.Dial("tcp", front.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		<-there
		if how == "stopped" {
			cancel()
			stop()
		}
		_, end := readAll(c.(*net.TCPConn))
		r := <-records
		if want := map[string]string{"idle": sawFin, "stopped": sawReset}[how]; end != want || r.EndedBy != "relay" || r.How != how || r.Hidden {
			t.Errorf("%s: saw %s: %+v", how, end, r)
		}
		s.Wait()
		cancel()
		stop()
	}
}
