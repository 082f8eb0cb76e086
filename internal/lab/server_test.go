//go:build linux

package lab

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestRootServerScenarios runs the scenarios with real servers, and looks at
// what they leave behind: nothing.
func TestRootServerScenarios(t *testing.T) {
	needRoot(t)
	tmp, err := os.MkdirTemp("", "holdfast-test-") // not t.TempDir: the servers' user may not enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	n, err := NewNet(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rc := range serverRecipes {
		for _, v6 := range []bool{false, true} {
			if v6 && !rc.v6 {
				continue
			}
			sc := rc.scenario(v6)
			t.Run(sc.ID, func(t *testing.T) { playOne(t, n, sc) })
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

func playOne(t *testing.T, n *Net, sc Scenario) {
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
	t.Logf("%v: %s %s %q", time.Since(start).Round(time.Millisecond), r.Receiver, sc.Truth.Cause, r.Error)
}

// TestClientHello: a scenario sends what a real client would.
func TestClientHello(t *testing.T) {
	hello := (&stage{}).clientHello()
	if len(hello) < 1100 || hello[0] != 0x16 || hello[1] != 3 || hello[5] != 1 {
		t.Errorf("%d bytes that begin with % x are not a ClientHello larger than nginx's first buffer", len(hello), hello[:min(6, len(hello))])
	}
}

// TestMessages: the hand-made protocol messages are as their documentation says.
func TestMessages(t *testing.T) {
	if got, want := string(resp("GET", "k")), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"; got != want {
		t.Errorf("RESP command %q, want %q", got, want)
	}
	if got, want := string(pgQuery("x")), "Q\x00\x00\x00\x06x\x00"; got != want {
		t.Errorf("PostgreSQL query %q, want %q", got, want)
	}
	if got, want := len(oneSegment(get)), 1300; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}
