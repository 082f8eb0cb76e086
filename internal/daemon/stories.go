package daemon

import (
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// stories remembers which connection was told last, so that what its other end
// meets a moment later, on a connection that is gone already, is told as its
// consequence and not as a second story.
type stories struct {
	told map[flowKey]lastTold
}

type flowKey struct {
	client, server netip.AddrPort
	netns          uint64 // cookie; two namespaces may have the same addresses
}

type lastTold struct {
	id string
	at time.Time
}

const (
	storyFor   = 30 * time.Second // a connection of the same ports cannot have begun and ended in it, as a rule
	maxStories = 4096
)

// of returns the id of the finding that f is a consequence of, "" without one.
// Only a reset that answers a segment for a connection that is gone is one.
func (s *stories) of(f *fact.Finding, netns uint64) string {
	if !f.Flow.Client.IsValid() || f.Flow.Client.Port() == 0 || f.Flow.Server.Port() == 0 {
		return ""
	}
	k := flowKey{f.Flow.Client, f.Flow.Server, netns}
	first, ok := s.told[k]
	if ok && f.Phase == "closed" && f.Outcome == "reset" && !f.Time.Before(first.at) && f.Time.Sub(first.at) < storyFor {
		return first.id
	}
	if !f.Harmful {
		return ""
	}
	if len(s.told) >= maxStories {
		s.forget(f.Time)
	}
	s.told[k] = lastTold{f.ID, f.Time}
	return ""
}

// forget drops what is too old, and everything when that is nothing: then a flood
// is told, in which consequences are not told one by one.
func (s *stories) forget(now time.Time) {
	for k, t := range s.told {
		if now.Sub(t.at) >= storyFor || t.at.After(now) {
			delete(s.told, k)
		}
	}
	if len(s.told) >= maxStories {
		clear(s.told)
	}
}
