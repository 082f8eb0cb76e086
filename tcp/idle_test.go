package tcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// TestTickAndSweep: an ending that waits is handed out by the clock alone, and
// silence is told once.
func TestTickAndSweep(t *testing.T) {
	var got []*Termination
	table := NewTable(Options{OnEnd: func(e *Termination) { got = append(got, e) }})
	now := int64(time.Hour)
	seg := func(sport uint16, flags packet.Flags, seq, ack uint32, back bool) *packet.Segment {
		now += int64(time.Second)
		s := &packet.Segment{
			Time: now, Frame: now, Src: packet.AddrFrom(netip.MustParseAddr("10.0.0.1")), Dst: packet.AddrFrom(netip.MustParseAddr("10.0.0.2")),
			SrcPort: sport, DstPort: 80, Flags: flags, Seq: seq, Ack: ack, TTL: 64, HeaderSize: 20,
		}
		if back {
			s.Src, s.Dst, s.SrcPort, s.DstPort = s.Dst, s.Src, s.DstPort, s.SrcPort
		}
		return s
	}
	for range 4 {
		table.Segment(seg(1000, packet.SYN, 1, 0, false))
	}
	table.Segment(seg(1001, packet.SYN, 1, 0, false))
	table.Segment(seg(1001, packet.RST|packet.ACK, 0, 2, true))
	table.Tick(now + int64(2*time.Second))
	table.Sweep(now+int64(2*time.Second), 30*time.Second)
	if len(got) != 0 {
		t.Fatalf("%d endings too early", len(got))
	}
	table.Tick(now + int64(4*time.Second))
	if len(got) != 1 || got[0].Kind != ByReset {
		t.Fatalf("%d endings, want the reset", len(got))
	}
	if table.Now() != now || table.Stats.Backwards != 0 {
		t.Errorf("the time of the table is %d, want that of its latest segment, %d", table.Now(), now)
	}
	table.Sweep(now+int64(time.Minute), 30*time.Second)
	table.Sweep(now+int64(time.Minute), 30*time.Second)
	if len(got) != 2 || got[1].Kind != NoAnswer {
		t.Fatalf("%d endings, want the silence too", len(got))
	}
	table.Flush()
	if len(got) != 2 {
		t.Errorf("%d endings after the end", len(got))
	}
}
