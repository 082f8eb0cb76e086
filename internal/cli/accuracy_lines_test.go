package cli

import (
	"testing"

	"github.com/holdfast-project/holdfast/internal/logline"
	"github.com/holdfast-project/holdfast/knowledge"
)

// TestLinesAccuracy holds readings to what was reached: none may claim more than
// its line proves, and no line of a working program may become a failure.
func TestLinesAccuracy(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := logline.New()
	if err != nil {
		t.Fatal(err)
	}
	a, err := measureLines(r, base, "testdata/lines/unseen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if a.OverClaims > 0 || a.FalseAlarms > 0 || 100*a.Right < 98*a.Lines || 100*a.Three < 95*a.Causes {
		t.Errorf("%d over-claims, %d false alarms, %d of %d right, cause in three %d of %d:", a.OverClaims, a.FalseAlarms, a.Right, a.Lines, a.Three, a.Causes)
		for _, f := range a.Faults {
			t.Log(f)
		}
	}
}
