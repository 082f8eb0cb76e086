//go:build linux

package lab

import (
	"context"
	"testing"
	"time"
)

// TestRootServerScenarios runs the scenarios with real servers.
func TestRootServerScenarios(t *testing.T) {
	needRoot(t)
	n, err := NewNet(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, rc := range serverRecipes {
		sc := rc.scenario(false)
		t.Run(sc.ID, func(t *testing.T) {
			if why := Missing(sc); why != "" {
				t.Skip(why)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			r, err := sc.Run(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: %s %s %q", time.Since(start).Round(time.Millisecond), r.Victim, sc.Truth.Cause, r.Error)
		})
	}
}
