package cli

import (
	"testing"

	"github.com/holdfast-project/holdfast/internal/audit"
	"github.com/holdfast-project/holdfast/knowledge"
)

// TestChecksPreventKnownCauses: what a check says it prevents is a cause that people
// can read about.
func TestChecksPreventKnownCauses(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range audit.Checks() {
		for _, id := range c.Prevents {
			if _, ok := base.Cause(id); !ok {
				t.Errorf("%s prevents %q, which is no cause", c.ID, id)
			}
		}
	}
}
