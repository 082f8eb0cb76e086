package tcp

import (
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/internal/traffic"
	"github.com/holdfast-project/holdfast/packet"
)

// segments decodes what package traffic makes.
func segments(tb testing.TB, o traffic.Options) []packet.Segment {
	tb.Helper()
	src := traffic.New(o)
	decoder := packet.Decoder{VerifyFlags: packet.SYN | packet.FIN | packet.RST}
	list := make([]packet.Segment, 0, o.Packets)
	for {
		frame, at := src.Next()
		if frame == nil {
			return list
		}
		n := uint32(len(frame))
		rec := packet.Record{Captured: n, Length: n, Link: packet.LinkEthernet, Time: at}
		s := packet.Segment{Frame: int64(len(list)) + 1}
		if decoder.Decode(&rec, append([]byte(nil), frame...), &s) != packet.TCP {
			tb.Fatalf("frame %d is not TCP", s.Frame)
		}
		list = append(list, s)
	}
}

// TestNoAllocations follows short connections in a table that is full: no
// packet may cost memory. Resets do, as their endings are handed out.
func TestNoAllocations(t *testing.T) {
	list := segments(t, traffic.Options{Packets: 60_000, Conns: 500, Resets: -1})
	table := NewTable(Options{Conns: 1000})
	half := len(list) / 2
	table.Segments(list[:half])
	if table.Live() != 1000 {
		t.Fatalf("%d connections in the table, want it full", table.Live())
	}
	const part = 1000
	at := half
	allocs := testing.AllocsPerRun(half/part-1, func() {
		table.Segments(list[at : at+part])
		at += part
	})
	if allocs != 0 {
		t.Errorf("%d segments cost %g allocations", part, allocs)
	}
}

// TestSegmentsLikeSegment takes in the same segments in both ways.
func TestSegmentsLikeSegment(t *testing.T) {
	list := segments(t, traffic.Options{Packets: 40_000, Conns: 300, Resets: 10})
	var frames [2][]int64
	var stats [2]Stats
	for k := range frames {
		table := NewTable(Options{Conns: 700, OnEnd: func(e *Termination) { frames[k] = append(frames[k], e.Frame, int64(e.From), e.Trigger.Frame, e.Time) }})
		if k == 0 {
			for i := range list {
				table.Segment(&list[i])
			}
		} else {
			for i := 0; i < len(list); i += 37 {
				table.Segments(list[i:min(i+37, len(list))])
			}
		}
		table.Flush()
		stats[k] = table.Stats
	}
	if stats[0] != stats[1] || len(frames[0]) == 0 || len(frames[0]) != len(frames[1]) {
		t.Fatalf("one by one %+v, together %+v", stats[0], stats[1])
	}
	for i := range frames[0] {
		if frames[0][i] != frames[1][i] {
			t.Fatalf("ending %d differs", i/4)
		}
	}
}

// TestFloodOfResets bounds what waits, and fills endings again that nobody
// keeps.
func TestFloodOfResets(t *testing.T) {
	list := segments(t, traffic.Options{Packets: 40_000, Scan: true})
	var table *Table
	ends, seen := int64(0), map[*Termination]bool{}
	table = NewTable(Options{Waiting: 100, OnEnd: func(e *Termination) {
		ends++
		seen[e] = true
		if e.Kind != ByReset || e.Reset.Flags&packet.RST == 0 || e.Nth != 1 || e.Trigger.Frame == 0 {
			t.Fatalf("ending of frame %d is %+v", e.Frame, e)
		}
		table.Recycle(e)
	}})
	table.Segments(list)
	if table.waiting > 100 {
		t.Errorf("%d endings wait, more than 100", table.waiting)
	}
	hurried := table.Stats.Hurried
	for i := range table.used { // what was not refused yet is no ending to count here
		if table.at(i).Bits&pending != 0 {
			table.release(i)
		}
	}
	if s := table.Stats; ends != s.RSTs || ends < 15_000 || hurried != ends-100 {
		t.Errorf("%d endings, %+v", ends, s)
	}
	if len(seen) > 101 {
		t.Errorf("%d endings were made for 100 places", len(seen))
	}
}

// TestCacheLines keeps the layout of Conn: what every segment touches lies in
// few cache lines.
func TestCacheLines(t *testing.T) {
	var c Conn
	var s Side
	for name, at := range map[string]uintptr{
		"Conn": unsafe.Sizeof(c), "Side": unsafe.Sizeof(s), "Conn.Sides": unsafe.Offsetof(c.Sides), "Side.LastData": unsafe.Offsetof(s.LastData),
	} {
		if at%64 != 0 {
			t.Errorf("%s at %d, want a multiple of 64", name, at)
		}
	}
	if unsafe.Offsetof(c.Last)+8 > 64 || unsafe.Offsetof(s.Tail)+TailBytes > 128 {
		t.Errorf("Conn.Last ends at %d, Side.Tail at %d: want 64 and 128", unsafe.Offsetof(c.Last)+8, unsafe.Offsetof(s.Tail)+TailBytes)
	}
	if unsafe.Sizeof(c)/64%2 == 0 {
		t.Errorf("Conn has %d cache lines, want an odd number", unsafe.Sizeof(c)/64)
	}
}

func BenchmarkSegments(b *testing.B) {
	for _, conns := range []int{100, 2000, 50_000} {
		list := segments(b, traffic.Options{Packets: 1_000_000, Conns: conns, Resets: -1})
		b.Run(map[int]string{100: "100", 2000: "2000", 50_000: "50000"}[conns], func(b *testing.B) {
			b.ReportAllocs()
			table := NewTable(Options{})
			for i := 0; b.Loop(); i++ {
				at := i * 1000 % len(list)
				table.Segments(list[at : at+1000])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/segment")
		})
	}
}
