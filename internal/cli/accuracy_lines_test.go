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
	for _, name := range []string{"unseen.yaml", "unseen2.yaml", "unseen3.yaml", "pasted.yaml"} {
		a, err := measureLines(r, base, "testdata/lines/"+name)
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, a)
	}
}

func checkLines(t *testing.T, a *linesAccuracy) {
	t.Helper()
	if a.OverClaims > 0 || a.FalseAlarms > 0 || 100*a.Right < 98*a.Lines || 100*a.Three < 95*a.Causes {
		t.Errorf("%d over-claims, %d false alarms, %d of %d right, cause in three %d of %d:", a.OverClaims, a.FalseAlarms, a.Right, a.Lines, a.Three, a.Causes)
		for _, f := range a.Faults {
			t.Log(f)
		}
	}
}

// TestThreadsAccuracy holds what is found in public threads, whose root cause
// was established.
func TestThreadsAccuracy(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := logline.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"threads.yaml", "threads2.yaml", "threads3.yaml"} {
		a, err := measureThreads(r, base, "testdata/lines/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if 100*a.Symptoms[0] < 70*a.Threads || 100*a.Symptoms[1] < 80*a.Threads || 100*a.All[0] < 85*a.Threads || 100*a.All[1] < 90*a.Threads || 100*a.Asked[0] < 85*a.Threads {
			t.Errorf("%s: symptoms %v, with lines %v, after an interview %v of %d:", name, a.Symptoms, a.All, a.Asked, a.Threads)
			for _, f := range a.Faults {
				t.Log(f)
			}
		}
	}
}
