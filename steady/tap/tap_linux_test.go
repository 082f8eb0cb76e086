package tap

import (
	"net/netip"
	"testing"
)

func TestTapTable(t *testing.T) {
	tap := &Tap{young: map[flowKey]*seen{}}
	p := make([]byte, 40)
	p[0], p[8], p[9], p[33] = 0x45, 64, 6, 0x04
	for i := range 3 * tapFlows {
		p[20], p[21] = byte(i>>8), byte(i)
		p[15] = byte(i >> 16)
		tap.take(p)
	}
	if n := len(tap.young) + len(tap.old); n > 2*tapFlows || tap.Forgotten() == 0 {
		t.Errorf("%d flows kept, %d forgotten", n, tap.Forgotten())
	}
	for n := range 40 { // cut packets are no packets
		tap.take(p[:n])
	}
}

// TestTapLost: a tap that lost a packet proves nothing of the flows of that time.
func TestTapLost(t *testing.T) {
	tap := &Tap{young: map[flowKey]*seen{}}
	p := make([]byte, 40)
	p[0], p[8], p[9] = 0x45, 64, 6
	local, remote := netip.MustParseAddrPort("0.0.0.0:0"), netip.MustParseAddrPort("0.0.0.0:0")
	for _, lost := range []uint64{0, 1} {
		p[33] = 0x12
		tap.take(p)
		tap.lost += lost
		p[33] = 0x04
		tap.take(p)
		if r, ok := tap.RST(local, remote); ok != (lost == 0) || ok && r.Bare != 1 {
			t.Errorf("lost %d: %+v, %v", lost, r, ok)
		}
	}
}
