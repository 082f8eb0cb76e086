package logline

import (
	"cmp"
	"math"
	"slices"
)

// Step is a question with what it is worth now.
type Step struct {
	Question
	Separates []string // causes that its answer tells apart, the likeliest first
	Gain      float64  // expected information about the cause, in bits
}

// How likely a yes is when a cause is at work: people are wrong, and profiles
// are not complete.
const (
	yesIf      = 0.85 // the cause expects it
	yesIfNot   = 0.08 // the cause expects the opposite
	yesOrNo    = 0.3  // the cause says nothing of it
	likelyOnes = 8    // causes that a question is judged by
)

// NextSteps returns the questions that are not answered yet, the one with the
// most information for its cost first.
func (r *Reader) NextSteps(list []Scored, said *Said) []Step {
	list = list[:min(len(list), likelyOnes)]
	if len(list) == 0 {
		return nil
	}
	chance := Chances(list)
	profiles := make([]*profile, len(list))
	for i, x := range list {
		if k := slices.IndexFunc(r.circumstances.Causes, func(p profile) bool { return p.ID == x.ID }); k >= 0 {
			profiles[i] = &r.circumstances.Causes[k]
		}
	}
	var steps []Step
	for _, q := range r.circumstances.Questions {
		if said.Known(q.Fact) || q.Fact == "idle_s" && !said.Yes["idle"] {
			continue
		}
		s := Step{Question: q}
		if q.Unit == "" {
			s.Gain = gainYes(q.Fact, profiles, chance)
		} else {
			s.Gain = gainNumber(q.Fact, profiles, chance)
		}
		for i, p := range profiles {
			if p != nil && p.speaksOf(q.Fact) {
				s.Separates = append(s.Separates, list[i].ID)
			}
		}
		if s.Gain > 0.005 {
			steps = append(steps, s)
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int {
		return cmp.Compare(b.Gain/price(b.Cost), a.Gain/price(a.Cost))
	})
	return steps
}

// price is what a step costs: a command costs more than a memory, and less than
// twice as much.
func price(cost int) float64 { return 1 + 0.4*float64(cost-1) }

func (p *profile) speaksOf(fact string) bool {
	switch fact {
	case "idle_s":
		return p.IdleS[1] > 0
	case "exact_s":
		return p.ExactS[1] > 0
	}
	_, ok := p.expects[fact]
	return ok
}

func (p *profile) yes(fact string) float64 {
	if p == nil {
		return yesOrNo
	}
	switch want, ok := p.expects[fact]; {
	case !ok:
		return yesOrNo
	case want:
		return yesIf
	}
	return yesIfNot
}

// gainYes is the expected information of a yes or a no.
func gainYes(fact string, profiles []*profile, chance []float64) float64 {
	yes := make([]float64, len(chance))
	no := make([]float64, len(chance))
	for i, p := range profiles {
		y := p.yes(fact)
		yes[i], no[i] = chance[i]*y, chance[i]*(1-y)
	}
	return entropy(chance) - expected(yes) - expected(no)
}

// gainNumber is that of a number: each range is an outcome, "another number" is
// one, too.
func gainNumber(fact string, profiles []*profile, chance []float64) float64 {
	left := 0.0
	other := make([]float64, len(chance))
	copy(other, chance)
	for i, p := range profiles {
		if p == nil || !p.speaksOf(fact) {
			continue
		}
		hit := make([]float64, len(chance))
		for k, x := range profiles {
			switch {
			case k == i:
				hit[k] = chance[k] * yesIf
			case x != nil && x.speaksOf(fact):
				hit[k] = chance[k] * (1 - yesIf) / float64(len(profiles))
			default:
				hit[k] = chance[k] * yesOrNo / float64(len(profiles))
			}
			other[k] = max(0, other[k]-hit[k])
		}
		left += expected(hit)
	}
	return entropy(chance) - left - expected(other)
}

// expected is the entropy of a part that is not normalised, times its weight.
func expected(p []float64) float64 {
	sum := 0.0
	for _, x := range p {
		sum += x
	}
	if sum <= 0 {
		return 0
	}
	q := make([]float64, len(p))
	for i, x := range p {
		q[i] = x / sum
	}
	return sum * entropy(q)
}

func entropy(p []float64) float64 {
	h := 0.0
	for _, x := range p {
		if x > 0 {
			h -= x * math.Log2(x)
		}
	}
	return h
}
