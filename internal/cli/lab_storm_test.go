package cli

import (
	"testing"

	"github.com/holdfast-project/holdfast/internal/lab/storm"
)

// TestRootLabStorm is what CI runs: "holdfast lab storm" at rest and beside busy
// loops.
func TestRootLabStorm(t *testing.T) {
	needRoot(t)
	for _, args := range [][]string{
		{"lab", "storm", "--endings", "500", "--seed", "1", "--wire", "always"},
		{"lab", "storm", "--endings", "200", "--seed", "2", "--load", "12", "--parallel", "32", "--wire", "always", "-o", "json"},
	} {
		if code, out, errOut := run(t, 0, args...); code != codeOK {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errOut)
		}
	}
	if code, out, errOut := run(t, 0, "lab", "storm", "--only", "unread", "--endings", "2", "--verbose"); code != codeOK || errOut == "" {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	if code, _, _ := run(t, 0, "lab", "storm", "--endings", "0"); code != codeUsage {
		t.Errorf("no endings: exit code %d", code)
	}
}

func TestStormVerdict(t *testing.T) {
	for _, c := range []struct {
		r    storm.Report
		fine bool
	}{
		{storm.Report{Terminations: 500, Resets: 500, Missing: 2, Owned: 500, Owner: 498}, true},
		{storm.Report{Terminations: 500, Resets: 500, Wrong: 1}, false},
		{storm.Report{Terminations: 500, Resets: 500, Missing: 3}, false},
		{storm.Report{Terminations: 500, Owned: 500, Owner: 497}, false},
		{storm.Report{Terminations: 500, Noise: 1}, false},
		{storm.Report{Terminations: 500, Failed: 26}, false},
	} {
		if err := stormVerdict(&c.r); (err == nil) != c.fine {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
}
