package capture

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// TestSide says where a forged RST was written, and how its absence elsewhere is
// known.
func TestSide(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	at := func(client, server byte) []line {
		return []line{
			{at: 0, client: true, flags: packet.SYN, seq: 100, ttl: client, id: 1},
			{at: 2 * time.Millisecond, flags: packet.SYN | packet.ACK, seq: 500, ack: 101, ttl: server, id: 9},
			{at: 3 * time.Millisecond, client: true, flags: packet.ACK, seq: 101, ack: 501, ttl: client, id: 2},
			{at: 4 * time.Millisecond, client: true, flags: packet.PSH | packet.ACK, seq: 101, ack: 501, data: "GET / HTTP/1.1\r\n\r\n", ttl: client, id: 3},
		}
	}
	rst := line{at: 6 * time.Millisecond, flags: packet.RST | packet.ACK, seq: 501, ack: 119, ttl: 63, id: 77}
	points := []*Point{
		taken(t, files, "client", 0, 5*time.Second, append(at(64, 58), rst)),
		taken(t, files, "server", 7*time.Second, 12*time.Second, at(58, 64)),
	}
	list, _, err := Compare(t.Context(), points, reopen(files))
	if err != nil || len(list) != 1 {
		t.Fatalf("%d cases, error %v", len(list), err)
	}
	for _, want := range []string{"had passed 1 router,", "in whose name it came, 6 routers", "on the side of 192.0.2.1"} {
		if got := list[0].Side(); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	for _, want := range []string{"server, nearer to", "4 packets of this connection", "lost no packet"} {
		if got := list[0].Absence(); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if p := points[1]; !p.ClockKnown || p.Clock != 7*time.Second || p.Shared != 1 {
		t.Errorf("clock %v (%v), %d shared", p.Clock, p.ClockKnown, p.Shared)
	}
}
