package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/internal/traffic"
	"github.com/holdfast-project/holdfast/tcp"
)

// made returns a capture of package traffic in memory.
func made(tb testing.TB, o traffic.Options) []byte {
	tb.Helper()
	b, err := io.ReadAll(traffic.Reader(o))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// BenchmarkRead reads captures of small packets from memory and finds how
// their connections ended: everything but the diagnosis.
func BenchmarkRead(b *testing.B) {
	kinds := []struct {
		name string
		o    traffic.Options
	}{
		{"mixed", traffic.Options{Packets: 2_000_000}},
		{"ipv6", traffic.Options{Packets: 2_000_000, V6: true}},
		{"scan", traffic.Options{Packets: 1_000_000, Scan: true}},
	}
	for _, k := range kinds {
		file := made(b, k.o)
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", k.name, workers), func(b *testing.B) {
				b.SetBytes(int64(len(file)))
				b.ReportAllocs()
				for b.Loop() {
					p, err := Read(context.Background(), k.name, bytes.NewReader(file), Options{Workers: workers})
					if err != nil || p.Packets != k.o.Packets {
						b.Fatal(p, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(k.o.Packets), "ns/packet")
			})
		}
	}
}

// TestWorkersAgree reads the same capture with different numbers of workers.
func TestWorkersAgree(t *testing.T) {
	file := made(t, traffic.Options{Packets: 60_000, Conns: 500, Resets: 20})
	var want []tcp.Termination
	for _, workers := range []int{1, 2, 5} {
		p, err := Read(context.Background(), "mixed", bytes.NewReader(file), Options{Workers: workers})
		if err != nil || p.Packets != 60_000 || p.Segments != 60_000 {
			t.Fatal(p, err)
		}
		var got []tcp.Termination
		for _, e := range p.Terminations {
			got = append(got, tcp.Termination{Kind: e.Kind, From: e.From, Frame: e.Frame, Time: e.Time, Trigger: e.Trigger, Nth: e.Nth, CaptureEnd: p.Stream(e)})
		}
		if workers == 1 {
			want = got
		}
		if len(got) < 100 || !slices.EqualFunc(want, got, func(a, b tcp.Termination) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%d endings with %d workers, %d with one, or different ones", len(got), workers, len(want))
		}
	}
}

// TestScanLeavesRoom looks whether the rare endings after a scan are kept: of
// the scan only so many are.
func TestScanLeavesRoom(t *testing.T) {
	w := newWorker(&Point{}, 0, &Options{Workers: 1, Conns: 16, Terminations: 1000})
	scan := func(n int, last byte) {
		for range n {
			e := &tcp.Termination{}
			e.Conn.Addr[0][15], e.Conn.Addr[1][15] = last, 99
			w.keep(e)
		}
	}
	scan(5000, 1)
	if len(w.endings) != 500 || w.dropped != 4500 {
		t.Fatalf("%d of a scan kept, %d counted; want 500 and 4500", len(w.endings), w.dropped)
	}
	for host := byte(2); host < 102; host++ {
		scan(3, host)
	}
	if len(w.endings) != 800 {
		t.Errorf("%d endings kept, want 800", len(w.endings))
	}
	scan(5000, 200)
	if len(w.endings) != 1000 {
		t.Errorf("%d endings kept, want the limit of 1000", len(w.endings))
	}
}
