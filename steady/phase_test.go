package steady

import (
	"strings"
	"testing"
)

// legal is the state machine of a Conn as a drawing: for each phase the acts that are
// legal, and where they lead. Every act that is not drawn must change nothing.
const legal = `
idle     arm:armed veto:vetoed fence:fenced close:closed
armed    arm:armed veto:vetoed probe:probing send:sending refuse:refused answer:idle fence:fenced close:closed hold:closing
probing  send:sending refuse:refused fence:fenced close:closed hold:closing
sending  arm:armed veto:vetoed answer:idle fence:fenced close:closed hold:closing
refused  fence:fenced close:closed hold:closing watch:watched
vetoed   fence:fenced close:closed hold:closing
fenced   close:closed watch:watched
closing  close:closed
watched  close:closed
closed
`

// TestTransitions tries every act in every phase.
func TestTransitions(t *testing.T) {
	want := map[string]string{}
	for line := range strings.Lines(legal) {
		from, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, step := range strings.Fields(rest) {
			a, to, _ := strings.Cut(step, ":")
			want[from+" "+a] = to
		}
	}
	tried, legal := 0, 0
	for p := range phases {
		for a := range acts {
			tried++
			c := &Conn{phase: p}
			ok := c.lockedStep(a)
			to, isLegal := want[p.String()+" "+a.String()]
			if isLegal {
				legal++
			} else {
				to = p.String()
			}
			if ok != isLegal || c.phase.String() != to {
				t.Errorf("%s in %s: %s, %v; want %s, %v", a, p, c.phase, ok, to, isLegal)
			}
		}
	}
	if legal != len(want) || tried != int(phases)*int(acts) {
		t.Errorf("%d of %d transitions tried, of %d combinations", legal, len(want), tried)
	}
}

// TestNoWayBack: from where nothing of a request may be written no sequence of acts
// leads to where something may.
func TestNoWayBack(t *testing.T) {
	for _, start := range []phase{phaseRefused, phaseVetoed, phaseFenced, phaseClosing, phaseWatched, phaseClosed} {
		seen := map[phase]bool{}
		for todo := []phase{start}; len(todo) > 0; {
			p := todo[0]
			todo = todo[1:]
			if seen[p] {
				continue
			}
			seen[p] = true
			if p <= phaseSending {
				t.Errorf("%s leads to %s", start, p)
			}
			for a := range acts {
				next, _ := p.step(a)
				todo = append(todo, next)
			}
		}
	}
}

// TestWithheld: whatever ends a probe but the rest of the request, the rest stays here.
func TestWithheld(t *testing.T) {
	for a := range acts {
		c := &Conn{phase: phaseProbing}
		if legal := c.lockedStep(a); c.flight.withheld != (legal && a != actSend) {
			t.Errorf("%s: withheld %v", a, c.flight.withheld)
		}
	}
}
