package probe

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// path is a path of routers with one device on it, as a shot meets them.
type path struct {
	server int  // hops
	device int  // a segment that arrives at this hop alive meets it; server: at the end
	reset  bool // or drops
	mute   bool // routers send no time-exceeded
	loss   float64
}

func (p *path) shot(trigger bool) func(ttl int) hit {
	return func(ttl int) hit {
		for range 3 { // the kernel sends what is lost again, with the same TTL
			if rand.Float64() < p.loss {
				continue
			}
			switch {
			case trigger && ttl >= p.device && p.reset:
				return wasReset
			case trigger && ttl >= p.device:
				return silent
			case ttl >= p.server:
				return answered
			case !p.mute:
				return expired
			}
		}
		return silent
	}
}

func (p *path) shots() *shots {
	return &shots{trigger: p.shot(true), control: p.shot(false), reach: func(ttl int) bool { return ttl >= p.server }}
}

func TestLocate(t *testing.T) {
	for _, reset := range []bool{true, false} {
		for server := 1; server <= 12; server++ {
			for device := 1; device <= server; device++ {
				p := path{server: server, device: device, reset: reset}
				b, ok := p.shots().locate(reset)
				if want := (border{device - 1, device, server, true}); !ok || b != want {
					t.Errorf("%+v: %+v, %t", p, b, ok)
				}
			}
		}
	}
}

// TestLocateIsNeverWrong: with losses, and with routers that say nothing, it may decline.
func TestLocateIsNeverWrong(t *testing.T) {
	told := map[string]int{}
	for i := range 4000 {
		p := path{server: 1 + rand.IntN(16), reset: i%2 == 0, mute: i%5 == 0, loss: []float64{0, 0.01, 0.05}[i%3]}
		p.device = 1 + rand.IntN(p.server)
		b, ok := p.shots().locate(p.reset)
		if ok && (b.after != p.device || b.before != p.device-1 || b.server != p.server) {
			t.Errorf("%+v: %+v", p, b)
		}
		told[fmt.Sprintf("mute %t, told %t", p.mute, ok)]++
	}
	if told["mute false, told true"] < 3000 {
		t.Errorf("%v", told)
	}
	t.Logf("%v", told)
}

// TestLocateNothing: a failure that has gone is not placed.
func TestLocateNothing(t *testing.T) {
	p := path{server: 5, device: 99, reset: true}
	if b, ok := p.shots().locate(true); ok || b.after != 0 {
		t.Errorf("%+v, %t", b, ok)
	}
	s := p.shots()
	s.reach = func(int) bool { return false }
	if _, ok := s.locate(true); ok {
		t.Error("a server that cannot be reached has a distance")
	}
}

// TestLocateBlocked: a device that lets nothing of this client through for a while, once
// it was triggered, is no device that drops at the first hop.
func TestLocateBlocked(t *testing.T) {
	p := path{server: 6, device: 4}
	for left := range 12 { // shots until the block
		s, n := p.shots(), left
		blocked := func(f func(int) hit) func(int) hit {
			return func(ttl int) hit {
				if n--; n < 0 {
					return failed
				}
				return f(ttl)
			}
		}
		s.trigger, s.control = blocked(s.trigger), blocked(s.control)
		if b, ok := s.locate(false); ok && (b.before != 3 || b.after != 4) {
			t.Errorf("blocked after %d shots: %+v", left, b)
		}
	}
}
