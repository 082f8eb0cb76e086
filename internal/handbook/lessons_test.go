package handbook

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded is what the laboratory saw of a scenario.
type recorded struct {
	Truth struct{ Sender, Cause string }
	Cases []struct{ Facts map[string]any }
}

// TestLessonsAreTrue compares each lesson with what the laboratory recorded.
func TestLessonsAreTrue(t *testing.T) {
	t.Parallel()
	list, err := Lessons()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 12 {
		t.Errorf("%d lessons, want twelve", len(list))
	}
	b := base(t)
	seen := map[string]bool{}
	for i := range list {
		l := &list[i]
		if seen[l.Scenario] {
			t.Errorf("%s stands twice", l.Scenario)
		}
		seen[l.Scenario] = true
		raw, err := os.ReadFile(filepath.Join("../cli/testdata/cases", l.Scenario+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		var r recorded
		if err := json.Unmarshal(raw, &r); err != nil || len(r.Cases) == 0 {
			t.Errorf("%s: %v", l.Scenario, err)
			continue
		}
		facts := r.Cases[0].Facts
		if r.Truth.Sender != l.Who.Right || r.Truth.Cause != l.Why.Right {
			t.Errorf("%s: the lab says %s, %s; the lesson %s, %s", l.Scenario, r.Truth.Sender, r.Truth.Cause, l.Who.Right, l.Why.Right)
		}
		if facts["receiver.error"] != l.Error {
			t.Errorf("%s: the lab recorded %v, the lesson says %s", l.Scenario, facts["receiver.error"], l.Error)
		}
		told := map[string]string{"client": l.Client, "server": l.Server}[str(facts["receiver.role"])]
		if !strings.Contains(told, l.Error) {
			t.Errorf("%s: %q does not name %s", l.Scenario, told, l.Error)
		}
		wire := strings.Join(l.Wire, "\n")
		want := map[string]string{"active-abort": "RST, ACK", "refusal": "RST, ACK", "reply": "RST --", "": "no answer"}[str(facts["rst.form"])]
		if !strings.Contains(wire, want) {
			t.Errorf("%s: no %q on the wire of the lesson, the lab recorded %v", l.Scenario, want, facts["rst.form"])
		}
		for _, q := range []Question{l.Who, l.Why} {
			if slices.Contains(q.Wrong, q.Right) || len(q.Wrong) < 2 {
				t.Errorf("%s: %q has the wrong answers %v", l.Scenario, q.Ask, q.Wrong)
			}
			for _, a := range q.Choices() {
				if Words(b, a) == a {
					t.Errorf("%s: %q is no role and no cause", l.Scenario, a)
				}
			}
		}
	}
}

func str(v any) string { s, _ := v.(string); return s }

// TestChoicesDoNotTell: the right answer does not always stand in one place.
func TestChoicesDoNotTell(t *testing.T) {
	t.Parallel()
	list, err := Lessons()
	if err != nil {
		t.Fatal(err)
	}
	places := map[int]int{}
	for i := range list {
		for _, q := range []Question{list[i].Who, list[i].Why} {
			places[slices.Index(q.Choices(), q.Right)]++
		}
	}
	for place, n := range places {
		if n > 14 {
			t.Errorf("%d of 24 right answers stand at place %d", n, place+1)
		}
	}
	if len(places) < 3 {
		t.Errorf("right answers stand at %v", places)
	}
}
