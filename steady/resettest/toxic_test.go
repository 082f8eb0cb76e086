package resettest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestToxics meets each toxic, added before the connection or while it is open.
func TestToxics(t *testing.T) {
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
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	type sight struct {
		n     int
		err   error
		took  time.Duration
		reads int
	}
	for _, c := range []struct {
		toxic Toxic
		ok    func(s sight) bool
	}{
		{Toxic{Type: "latency", Attributes: map[string]float64{"latency": 60, "jitter": 1}}, func(s sight) bool { return s.n == 1000 && s.took >= 59*time.Millisecond }},
		{Toxic{Type: "latency", Stream: "upstream", Attributes: map[string]float64{"latency": 60}}, func(s sight) bool { return s.n == 1000 && s.took >= 59*time.Millisecond }},
		{Toxic{Type: "bandwidth", Attributes: map[string]float64{"rate": 10}}, func(s sight) bool { return s.n == 1000 && s.took >= 90*time.Millisecond }},
		{Toxic{Type: "slow_close", Attributes: map[string]float64{"delay": 60}}, func(s sight) bool { return s.n == 1000 && s.took >= 59*time.Millisecond }},
		{Toxic{Type: "slicer", Attributes: map[string]float64{"average_size": 100, "size_variation": 10, "delay": 2000}}, func(s sight) bool { return s.n == 1000 && s.reads >= 5 }},
		{Toxic{Type: "limit_data", Attributes: map[string]float64{"bytes": 300}}, func(s sight) bool { return s.n == 300 && s.err == nil }},
		{Toxic{Type: "limit_data", Stream: "upstream", Attributes: map[string]float64{"bytes": 300}}, func(s sight) bool { return s.n <= 300 }},
		{Toxic{Type: "timeout", Attributes: map[string]float64{"timeout": 60}}, func(s sight) bool { return s.n == 0 && s.took >= 59*time.Millisecond }},
		{Toxic{Type: "reset_peer", Attributes: map[string]float64{"timeout": 30}}, func(s sight) bool {
			return s.n == 0 && s.took >= 29*time.Millisecond && errors.Is(s.err, syscall.ECONNRESET)
		}},
		{Toxic{Type: "reset_peer"}, func(s sight) bool { return s.n == 0 && errors.Is(s.err, syscall.ECONNRESET) }},
		{Toxic{Type: "reset_peer", Stream: "upstream"}, func(s sight) bool { return s.n == 0 && errors.Is(s.err, syscall.ECONNRESET) }},
		{Toxic{Type: "latency", Attributes: map[string]float64{"latency": 1, "nonsense": 5}}, func(s sight) bool { return s.n == 1000 }},
	} {
		for _, open := range []bool{false, true} {
			p, err := NewProxy("127.0.0.1:0", l.Addr().String(), 1)
			if err != nil {
				t.Fatal(err)
			}
			c.toxic.Name, c.toxic.Toxicity = "it", 1
			add := func() {
				if err := p.AddToxic(c.toxic); err != nil {
					t.Fatal(err)
				}
			}
			if !open {
				add()
			}
			conn, err := net.Dial("tcp", p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			if open {
				conn.Write([]byte("x"))
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				add()
			}
			begin := time.Now()
			conn.Write(make([]byte, 1000))
			if c.toxic.Type != "timeout" && c.toxic.Type != "reset_peer" { // the end passes, and would end it sooner
				conn.(*net.TCPConn).CloseWrite()
			}
			var s sight
			for b := make([]byte, 4096); s.err == nil; s.reads++ {
				n, err := conn.Read(b)
				s.n, s.err = s.n+n, err
			}
			if errors.Is(s.err, io.EOF) {
				s.err = nil
			}
			if s.took = time.Since(begin); !c.ok(s) {
				t.Errorf("%s, %s, open %v: %+v", c.toxic.Type, c.toxic.Stream, open, s)
			}
			conn.Close()
			if !p.RemoveToxic("it") || p.RemoveToxic("it") || len(p.Toxics()) != 0 {
				t.Error("it is not removed once")
			}
			p.Close()
		}
	}
}

// TestToxicsRefused: what cannot be done is not begun.
func TestToxicsRefused(t *testing.T) {
	p, err := NewProxy("127.0.0.1:0", "127.0.0.1:1", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, x := range []Toxic{
		{Type: "none", Toxicity: 1}, {Type: "latency", Toxicity: 2}, {Type: "latency", Toxicity: -1}, {Type: "latency", Stream: "both"},
		{Type: "latency", Attributes: map[string]float64{"latency": -1}}, {Type: "limit_data", Attributes: map[string]float64{"bytes": 1e18}},
	} {
		if err := p.AddToxic(x); err == nil {
			t.Errorf("%+v is accepted", x)
		}
	}
}

// TestToxicAtOnce: from the moment at which AddToxic returns, reset_peer lets nothing
// of its stream pass, whichever goroutine of the proxy runs first.
func TestToxicAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan int64, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, c)
			c.Close()
			got <- n
		}
	}()
	p, err := NewProxy("127.0.0.1:0", l.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 200 {
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AddToxic(Toxic{Name: "cut", Type: "reset_peer", Stream: "upstream", Toxicity: 1}); err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		conn.Write([]byte("lost"))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the client sees %v", err)
		}
		conn.Close()
		if n := <-got; n != 0 {
			t.Fatalf("%d octets passed", n)
		}
		p.RemoveToxic("cut")
	}
}

// TestToxicEnds: what a toxic does to a connection on which nothing moves.
func TestToxicEnds(t *testing.T) {
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
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	p, err := NewProxy("127.0.0.1:0", l.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	add := func(kind string, ms float64) {
		if err := p.AddToxic(Toxic{Name: "it", Type: kind, Toxicity: 1, Attributes: map[string]float64{"timeout": ms}}); err != nil {
			t.Fatal(err)
		}
	}
	idle := dial()
	add("reset_peer", 0)
	idle.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reset_peer without data: %v", err)
	}
	p.RemoveToxic("it")
	for _, ms := range []float64{0, 30, 3600000} {
		conn := dial()
		add("timeout", ms)
		if ms != 30 {
			p.RemoveToxic("it")
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("timeout of %v ms: %v", ms, err)
		}
		p.RemoveToxic("it")
	}
}

// TestLatencyIsNoBandwidth: what is sent at once arrives at once, only later. With
// each piece waiting for the one before, these 4 MiB would take 12 seconds.
func TestLatencyIsNoBandwidth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	p, err := NewProxy("127.0.0.1:0", l.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.AddToxic(Toxic{Name: "it", Type: "latency", Toxicity: 1, Attributes: map[string]float64{"latency": 100}}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i * i >> 9)
	}
	begin := time.Now()
	go func() {
		conn.Write(data)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if took := time.Since(begin); !bytes.Equal(got, data) || err != nil || took < 100*time.Millisecond || took > 6*time.Second {
		t.Errorf("%d of %d octets in %v, %v", len(got), len(data), took, err)
	}
}
