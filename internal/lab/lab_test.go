//go:build linux

package lab

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	ActorMain()
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
}

func TestRootScenarios(t *testing.T) {
	needRoot(t)
	n, err := NewNet(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, sc := range All() {
		t.Run(sc.ID, func(t *testing.T) {
			if why := Missing(sc); why != "" {
				t.Skip(why)
			}
			if sc.Slow && testing.Short() {
				t.Skip("slow")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			start := time.Now()
			r, err := sc.Run(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(start).Round(time.Millisecond)
			if sc.Demo && took > 3*time.Second {
				t.Errorf("took %v, a demo must be quick", took)
			}
			t.Logf("%v: %s %s %q, %d lost, %v", took, r.Victim, sc.Truth.Cause, r.Error, r.Lost, r.Flows)
		})
	}
}
