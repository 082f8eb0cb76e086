package resettest

import (
	"errors"
	"io"
	"net"
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
		{Toxic{Type: "timeout", Attributes: map[string]float64{"timeout": 60}}, func(s sight) bool { return s.n == 0 && s.took >= 59*time.Millisecond }},
		{Toxic{Type: "reset_peer", Attributes: map[string]float64{"timeout": 30}}, func(s sight) bool { return errors.Is(s.err, syscall.ECONNRESET) }},
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
			if s.took = time.Since(begin); c.toxic.Type == "limit_data" && open {
				s.n++ // one octet was counted before
			}
			if !c.ok(s) {
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
