package linux

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCounterNames(t *testing.T) {
	for n := range NumCounters {
		if counterNames[n] == "" {
			t.Errorf("counter %d has no name", n)
		}
	}
	if len(counterIndex) != int(NumCounters) {
		t.Errorf("%d names for %d counters", len(counterIndex), NumCounters)
	}
}

// fixtureCounters parses the files of testdata, taken on Linux 6.18.
func fixtureCounters(t testing.TB) (c Counters) {
	t.Helper()
	for _, f := range counterFiles {
		b, err := os.ReadFile(filepath.Join("testdata/counters", f.name))
		if err != nil {
			t.Fatal(err)
		}
		f.parse(&c, b)
	}
	return c
}

func TestParseCounters(t *testing.T) {
	c := fixtureCounters(t)
	for n := range NumCounters {
		if _, ok := c.Get(n); !ok {
			t.Errorf("%v is not in the fixtures", n)
		}
	}
	var small Counters
	small.parsePairs([]byte("Tcp: RtoAlgorithm MaxConn ActiveOpens OutRsts\nTcp: 1 -1 5 17\nTcpExt: ListenOverflows ListenDrops\nTcpExt: 3\nOdd: a\n"))
	for n, want := range map[Counter]int64{TCPActiveOpens: 5, TCPOutRsts: 17, ListenOverflows: 3} {
		if v, ok := small.Get(n); !ok || v != want {
			t.Errorf("%v is %d %v, want %d", n, v, ok, want)
		}
	}
	if _, ok := small.Get(ListenDrops); ok {
		t.Error("a value that was cut off is known")
	}
}

func TestCountersSub(t *testing.T) {
	at := time.Unix(1000, 0)
	before, after := Counters{At: at}, Counters{At: at.Add(time.Second)}
	before.set(TCPOutRsts, 5)
	after.set(TCPOutRsts, 8)
	before.set(ListenDrops, 9)
	after.set(ListenDrops, 2)
	before.set(SockTCPMem, 70)
	after.set(SockTCPMem, 60)
	after.set(TCPAbortOnData, 1)
	d := after.Sub(&before)
	if v, ok := d.Get(TCPOutRsts); !ok || v != 3 || d.Window != time.Second {
		t.Errorf("OutRsts %d %v in %v", v, ok, d.Window)
	}
	if v, ok := d.Get(SockTCPMem); !ok || v != 60 {
		t.Errorf("gauge %d %v", v, ok)
	}
	for _, n := range []Counter{ListenDrops, TCPAbortOnData, PAWSEstab} {
		if v, ok := d.Get(n); ok {
			t.Errorf("%v is %d, want unknown", n, v)
		}
	}
	seen := 0
	d.Changed(func(n Counter, v int64) { seen++ })
	if seen != 1 {
		t.Errorf("%d counters changed, want 1", seen)
	}
	if sum, ok := d.Sum(TCPOutRsts, ListenDrops); sum != 3 || !ok {
		t.Errorf("sum %d %v", sum, ok)
	}
}

func FuzzCounters(f *testing.F) {
	for _, file := range counterFiles {
		b, err := os.ReadFile(filepath.Join("testdata/counters", file.name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("Tcp: A\nTcp: -\n:\n:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Counters
		c.parsePairs(b)
		c.parseSockstat(b)
		c.parseSnmp6(b)
		var ct Conntrack
		ct.parseStats(b)
	})
}

func BenchmarkCounters(b *testing.B) {
	h := &Host{}
	for b.Loop() {
		if _, err := h.Counters(Netns{PID: os.Getpid()}); err != nil {
			b.Skip(err)
		}
	}
}
