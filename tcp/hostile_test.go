package tcp

import (
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// reset1 feeds one connection that is reset, at a time, from a port.
func reset1(table *Table, at time.Duration, port uint16) {
	for i, s := range []packet.Segment{
		{Flags: packet.SYN, Seq: 100},
		{Flags: packet.SYN | packet.ACK, Seq: 500, Ack: 101},
		{Flags: packet.ACK, Seq: 101, Ack: 501},
		{Flags: packet.RST | packet.ACK, Seq: 501, Ack: 101},
	} {
		s.Src, s.Dst, s.SrcPort, s.DstPort, s.TTL = clientAddr, serverAddr, port, 80, 64
		if i%2 == 1 {
			s.Src, s.Dst, s.SrcPort, s.DstPort = s.Dst, s.Src, s.DstPort, s.SrcPort
		}
		s.Time, s.Frame = int64(at)+int64(i)*int64(time.Millisecond), int64(table.Stats.Segments)+1
		table.Segment(&s)
	}
}

// TestClockSteps sets the clock of the capture back and forth: no ending waits
// for a time that does not come again.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first, then time.Duration
		hurried     int64
	}{
		"an hour back":    {time.Hour, 0, 1},
		"an hour forward": {0, time.Hour, 0},
		"half a second":   {10 * time.Second, 9500 * time.Millisecond, 0},
	} {
		n := 0
		table := NewTable(Options{OnEnd: func(*Termination) { n++ }})
		reset1(table, c.first, 1000)
		for i := range 5 {
			reset1(table, c.then+time.Duration(i)*10*time.Second, uint16(2000+i))
		}
		if n != 5 { // all but the last, which still has its three seconds
			t.Errorf("%s: %d endings handed out, want 5", name, n)
		}
		if table.Stats.Hurried != c.hurried {
			t.Errorf("%s: %d hurried, want %d", name, table.Stats.Hurried, c.hurried)
		}
	}
}

// TestChosenCollisions has an attacker choose connections that collide for one
// key: for another one, which nobody knows, they do not.
func TestChosenCollisions(t *testing.T) {
	t.Parallel()
	known := packet.HashKey{1, 2, 3, 4}
	attacked := NewTable(Options{Key: known})
	const mask, want = 0x1ff00, 300
	var chosen []packet.Segment
	for port := 0; len(chosen) < want; port++ {
		s := packet.Segment{Src: clientAddr, Dst: serverAddr, SrcPort: uint16(port), DstPort: 80, Flags: packet.SYN}
		s.Src[13] = byte(port >> 16)
		if attacked.hash(&s)&mask == 0 {
			chosen = append(chosen, s)
		}
	}
	collide := func(table *Table) (n int) {
		for i := range chosen {
			if table.hash(&chosen[i])&mask == 0 {
				n++
			}
		}
		return n
	}
	if n := collide(attacked); n != want {
		t.Fatalf("%d of %d collide with the known key", n, want)
	}
	if a, b := NewTable(Options{}), NewTable(Options{}); collide(a) > want/10 || collide(b) > want/10 || a.opt.Key == b.opt.Key {
		t.Errorf("%d and %d of %d collide with keys that nobody knows", collide(a), collide(b), want)
	}
}
