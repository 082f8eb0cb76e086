package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/holdfast-project/holdfast/internal/traffic"
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
