package daemon

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func ending(id string, port uint16, phase string, harmful bool, at time.Time) *fact.Finding {
	f := &fact.Finding{ID: id, Time: at, Outcome: "reset", Phase: phase, Harmful: harmful}
	f.Flow.Client, f.Flow.Server = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), netip.MustParseAddrPort("192.0.2.2:80")
	return f
}

func TestStories(t *testing.T) {
	begin := time.Date(2026, 12, 1, 4, 0, 0, 0, time.UTC)
	s := stories{told: map[flowKey]lastTold{}}
	for _, x := range []struct {
		f    *fact.Finding
		want string
	}{
		{ending("gave-up", 1, "accept-queue", true, begin), ""},
		{ending("late answer", 1, "closed", true, begin.Add(2*time.Second)), "gave-up"},
		{ending("another connection", 2, "closed", true, begin.Add(2*time.Second)), ""},
		{ending("a new one of the same ports", 1, "established", true, begin.Add(3*time.Second)), ""},
		{ending("its consequence", 1, "closed", true, begin.Add(4*time.Second)), "a new one of the same ports"},
		{ending("too late", 1, "closed", true, begin.Add(time.Minute)), ""},
		{ending("harmless", 3, "established", false, begin), ""},
		{ending("after a harmless one", 3, "closed", true, begin.Add(time.Second)), ""},
		{ending("the clock stepped back", 2, "closed", true, begin.Add(-time.Hour)), ""},
	} {
		if got := s.of(x.f, 1); got != x.want {
			t.Errorf("%s: %q, want %q", x.f.ID, got, x.want)
		}
	}
	for i := range 3 * maxStories {
		s.of(ending(fmt.Sprint(i), uint16(i), "established", true, begin.Add(time.Duration(i)*time.Millisecond)), 1)
	}
	if len(s.told) > maxStories {
		t.Errorf("%d are remembered", len(s.told))
	}
}
