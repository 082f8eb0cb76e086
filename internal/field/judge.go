package field

import (
	"cmp"
	"slices"

	"github.com/holdfast-project/holdfast/fact"
)

// The verdicts on a play.
const (
	Right   = "right"   // everything expected was told exactly, and nothing else
	General = "general" // it was told by a cause that is true and says less
	Silent  = "silent"  // something expected was not told
	Wrong   = "wrong"   // something told contradicts the expert
)

// Verdict is how the findings of a play compare with what the expert says.
type Verdict struct {
	Result      string         `json:"result"`
	WrongProved int            `json:"wrong_proved"`
	Noise       int            `json:"noise"`   // harmful findings that a reader must dismiss
	Allowed     bool           `json:"allowed"` // silent, where silence is no fault
	Others      []fact.Finding `json:"others,omitempty"`
}

// Judge compares the findings of a play with what is expected.
func (p *Play) Judge(findings []fact.Finding) Verdict {
	v := Verdict{Result: Right}
	exact, general := make([]int, len(p.Expect)), make([]int, len(p.Expect))
	for i := range findings {
		f := &findings[i]
		if f.Story != "" {
			continue // a consequence of another one
		}
		if p.match(f, exact, general) || !f.Harmful || slices.Contains(p.Also, f.Cause.ID) {
			continue
		}
		v.Others = append(v.Others, *f)
		v.Noise += max(f.Count, 1)
		if f.Cause.Grade == fact.Proved {
			v.WrongProved++
		}
		if f.Cause.Grade == fact.Proved || f.Cause.Grade == fact.Probable {
			v.Result = Wrong
		}
	}
	for i := range p.Expect {
		v.lower(p.told(i, exact[i], general[i], findings, &v))
	}
	if v.Result == Silent {
		v.Allowed = !slices.ContainsFunc(p.Expect, func(e Expectation) bool { return !e.Silent })
	}
	return v
}

// lower makes the result no better than r.
func (v *Verdict) lower(r string) {
	order := []string{Right, General, Silent, Wrong}
	if slices.Index(order, r) > slices.Index(order, v.Result) {
		v.Result = r
	}
}

// told says how expectation i was met. What is called harmless, for a proved
// reason that is not expected, was hidden: that is wrong.
func (p *Play) told(i, exact, general int, findings []fact.Finding, v *Verdict) string {
	want := cmp.Or(p.Expect[i].Count, 1)
	switch {
	case exact >= want:
		return Right
	case exact+general >= want:
		return General
	}
	for j := range findings {
		f := &findings[j]
		if !f.Harmful && f.Cause.Grade == fact.Proved && f.Story == "" && !p.names(f.Cause.ID) {
			v.WrongProved++
			v.Others = append(v.Others, *f)
			return Wrong
		}
	}
	return Silent
}

// names reports whether a cause is among those that the play speaks of.
func (p *Play) names(id string) bool {
	return slices.Contains(p.Also, id) || slices.ContainsFunc(p.Expect, func(e Expectation) bool {
		return slices.Contains(e.Cause, id) || slices.Contains(e.General, id)
	})
}

// match counts a finding for the expectation that it meets. Only what is told
// as harmful is told.
func (p *Play) match(f *fact.Finding, exact, general []int) bool {
	if !f.Harmful {
		return false
	}
	n := max(f.Count, 1)
	for i, e := range p.Expect {
		if !slices.Contains(e.Who, f.Sender.Role) && f.Sender.Role != fact.UnknownSender {
			continue
		}
		switch {
		case slices.Contains(e.Cause, f.Cause.ID) && f.Sender.Role != fact.UnknownSender:
			exact[i] += n
			return true
		case slices.Contains(e.Cause, f.Cause.ID), slices.Contains(e.General, f.Cause.ID):
			general[i] += n
			return true
		}
	}
	return false
}
