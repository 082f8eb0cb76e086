package capture

import (
	"testing"

	"github.com/holdfast-project/holdfast/tcp"
)

// TestScans tells a scanner from a client that finds services down.
func TestScans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		ports   int
		options tcp.SideBits
		want    int64
	}{
		{"eight services are down", 8, tcp.SACKOK, fewPorts},
		{"twelve ports", 12, tcp.SACKOK, 12},
		{"five ports without options", 5, 0, 5},
		{"one port", 1, 0, 1},
	} {
		var list []*tcp.Termination
		for i := range c.ports {
			e := &tcp.Termination{Kind: tcp.ByReset, Time: int64(i)}
			e.Conn.Port = [2]uint16{40000, uint16(8000 + i)}
			e.Conn.Sides[0].Bits = tcp.HasISN | c.options
			list = append(list, e)
		}
		if got := patterns(list)[0].scanPorts; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
