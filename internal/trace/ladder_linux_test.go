package trace

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// rungs are the ways in which kernels differ: programs that they refuse.
var rungs = []struct{ name, skip string }{
	{"default", ""},
	{"no fentry", "recv_fe,send4_fe,send6_fe"},
	{"tracepoints only", "recv_fe,send4_fe,send6_fe,recv_kp,send4_kp,send6_kp"},
}

// TestRootRungs attaches on each rung. That resets are still seen and
// understood there is what scripts/test-kernels shows.
func TestRootRungs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: attaches to the kernel")
	}
	for _, r := range rungs {
		t.Run(r.name, func(t *testing.T) {
			skip := strings.FieldsFunc(r.skip, func(r rune) bool { return r == ',' })
			s, err := Open(Config{Skip: skip})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c := s.Coverage()
			t.Logf("ready in %s, hooks: %s", c.ReadyIn.Round(time.Millisecond), strings.Join(c.Hooks, " "))
			for _, f := range c.Failures {
				t.Logf("refused: %s", f)
			}
			for _, sl := range ladder(s.kernel.facts, s.cfg) {
				p := s.kernel.attached[sl.name]
				if slices.Contains(skip, p) {
					t.Errorf("%s was to be skipped", p)
				}
				if p == "" && !sl.optional && !strings.HasPrefix(sl.name, "nosk") {
					t.Errorf("nothing is attached for %s: %s are not seen", sl.name, sl.blind)
				}
			}
		})
	}
}
