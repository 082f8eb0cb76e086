package daemon

import (
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// told is what a merger handed out, and a merger.
func told() (*merger, *[]trace.Observed) {
	var list []trace.Observed
	return newMerger("host", func(o trace.Observed) { list = append(list, o) }, func() {}), &list
}

func seenAt(netns uint64, at time.Time, place string) sight {
	c := &fact.Case{Time: at}
	c.Flow.Client, c.Flow.Server = netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.2:80")
	c.Sender.Role, c.Flow.RolesKnown = fact.SomeBy("server", fact.ByWire), fact.SomeBy(true, fact.ByWire)
	c.Wire.Place, c.RST.TTL = fact.SomeBy(place, fact.ByWire), fact.SomeBy(int64(99), fact.ByWire)
	return sight{netns: netns, reset: true, at: at, src: c.Flow.Server, dst: c.Flow.Client, seen: c}
}

func TestMergerPrefersWhatIsNearestToTheSender(t *testing.T) {
	m, list := told()
	now := time.Unix(1000, 0)
	o := observed("192.0.2.1:40000", "198.51.100.2:80", now)
	o.SenderNetns, o.ReceiverNetns, o.WireNetns = 7, 8, 9
	o.RST.TTL = fact.Some(int64(64))
	m.hold(o, now)
	m.add(seenAt(8, now.Add(time.Millisecond), "next"))
	m.add(seenAt(9, now, "acked"))
	m.expire(now.Add(time.Second))
	if len(*list) != 0 {
		t.Fatal("it did not wait for the sender's namespace")
	}
	m.add(seenAt(7, now, "beyond"))
	if len(*list) != 1 {
		t.Fatalf("%d cases, want 1", len(*list))
	}
	c := (*list)[0].Case
	if c.Wire.Place.Or("") != "beyond" || c.Wire.Place.By() != fact.ByWire && c.Wire.Place.By() != fact.ByDefault {
		t.Errorf("place %v", c.Wire.Place)
	}
	if c.RST.TTL.Or(0) != 64 {
		t.Error("what the source had seen itself was replaced")
	}
	m.expire(now.Add(time.Hour))
	m.add(seenAt(7, now, "next"))
	if len(*list) != 1 || len(m.of) != 0 || len(m.queue) != 0 {
		t.Errorf("%d cases, %d and %d held", len(*list), len(m.of), len(m.queue))
	}
}

func TestMergerHandsOutWhatNobodySaw(t *testing.T) {
	m, list := told()
	now := time.Unix(1000, 0)
	hasty := 0
	m.hasty = func() { hasty++ }
	for range maxHeld + 10 {
		m.hold(observed("192.0.2.1:40000", "198.51.100.2:80", now), now)
	}
	if len(*list) != 10 || hasty != 10 || len(m.queue) != maxHeld {
		t.Fatalf("%d handed out, %d counted and %d held, want 10, 10 and %d", len(*list), hasty, len(m.queue), maxHeld)
	}
	m.add(seenAt(7, now.Add(time.Minute), "next")) // another reset of the same ports
	m.expire(now.Add(heldFor))
	if len(*list) != maxHeld+10 || (*list)[10].Wire.Place.State() != fact.NotLooked {
		t.Errorf("%d handed out", len(*list))
	}
}

func TestMergerTellsSilenceOnce(t *testing.T) {
	m, list := told()
	x := seenAt(7, time.Unix(1000, 0), "next")
	x.reset = false
	m.add(x)
	x.netns = 8
	m.add(x)
	if len(*list) != 1 || (*list)[0].Source != "packet" || (*list)[0].Host != "host" {
		t.Fatalf("%d cases, want the silence once: %+v", len(*list), *list)
	}
	for port := range uint16(2 * maxTold) {
		x.src = netip.AddrPortFrom(x.src.Addr(), port+1)
		m.add(x)
	}
	if len(m.told) > maxTold {
		t.Errorf("%d silences are remembered, more than %d", len(m.told), maxTold)
	}
}

func TestJoinOfOppositeRoles(t *testing.T) {
	c := observed("198.51.100.2:80", "192.0.2.1:40000", time.Unix(1000, 0)).Case
	seen := seenAt(7, time.Unix(1000, 0), "next").seen
	join(c, seen)
	if c.Flow.Client != seen.Flow.Client || c.Sender.Role.Or("") != "server" || c.Wire.Place.Or("") != "next" {
		t.Errorf("a guess stood against a handshake: %+v", c.Flow)
	}
	sure := observed("198.51.100.2:80", "192.0.2.1:40000", time.Unix(1000, 0)).Case
	sure.Flow.RolesKnown = fact.Some(true)
	join(sure, seen)
	if sure.Flow.Client == seen.Flow.Client || sure.Wire.Place.State() != fact.NotLooked {
		t.Error("two that disagree were put together")
	}
}
