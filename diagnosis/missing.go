package diagnosis

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

const (
	maxMissing     = 5
	maxContenders  = 4
	requirementPay = 20 // decibans a requirement is worth: it stands between probable and proved
)

// want is a fact that nobody looked at and what it could be worth.
type want struct {
	def  *fact.Def
	gain float64
}

// wants collects facts, each once, with its greatest worth.
type wants []want

func (w *wants) add(c *fact.Case, looked *fact.Set, e *Expr, gain float64) {
	for i := range e.facts {
		d := &e.facts[i]
		if d.How == "" || looked.Has(d) || watched(c, d) {
			continue
		}
		n := slices.IndexFunc(*w, func(x want) bool { return x.def.Same(d) })
		if n < 0 {
			*w = append(*w, want{d, gain})
		} else {
			(*w)[n].gain = max((*w)[n].gain, gain)
		}
	}
}

// watched reports whether d is of an end that was watched from inside: what was
// not seen there cannot be had by watching it.
func watched(c *fact.Case, d *fact.Def) bool {
	switch end, _, _ := strings.Cut(d.Name, "."); end {
	case "sender":
		return c.Sender.Watched.Or(false)
	case "receiver":
		return c.Receiver.Watched.Or(false)
	case "trigger":
		return c.Sender.Watched.Or(false)
	}
	return false
}

// unanswered adds the facts of the lines and requirements of h that are unknown.
func (w *wants) unanswered(c *fact.Case, looked *fact.Set, h *hypothesis) {
	for _, r := range h.requires {
		if r.answer(c, looked) == NotKnown {
			w.add(c, looked, r, requirementPay)
		}
	}
	for i := range h.contradicts {
		if k := &h.contradicts[i]; k.mustCheck && k.expr.answer(c, looked) == NotKnown {
			w.add(c, looked, k.expr, requirementPay)
		}
	}
	for i := range h.lines {
		l := &h.lines[i]
		if gain := max(l.weight, -l.weight, -l.otherwise); gain > 0 && l.expr.answer(c, looked) == NotKnown {
			w.add(c, looked, l.expr, gain)
		}
	}
}

// missing lists the facts that could change the verdict, the weightiest first,
// and of those that are obtained in the same way only the weightiest.
func (b *Base) missing(c *fact.Case, s *scratch, v *verdict) []fact.Missing {
	var room [32]want
	w := wants(room[:0])
	if v.senderGrade != fact.Proved {
		for i := range b.senders {
			if i == v.sender || v.sender < 0 && s.senders[i].veto == nil {
				w.unanswered(c, &s.looked, &b.senders[i].hypothesis)
			}
		}
	}
	if v.grade != fact.Proved {
		for _, i := range b.contenders(c, s) {
			w.unanswered(c, &s.looked, &b.causes[i].hypothesis)
		}
	}
	slices.SortStableFunc(w, func(x, y want) int { return cmp.Compare(y.gain, x.gain) })
	var list []fact.Missing
	for _, x := range w {
		if len(list) == maxMissing {
			break
		}
		if !slices.ContainsFunc(list, func(m fact.Missing) bool { return m.How == x.def.How }) {
			list = append(list, fact.Missing{Fact: x.def.Name, How: x.def.How})
		}
	}
	return list
}

// contenders are the best candidates, or, when nothing claims anything, the
// causes that could still gain most.
func (b *Base) contenders(c *fact.Case, s *scratch) []int32 {
	if len(s.active) > 0 {
		return s.active[:min(len(s.active), maxContenders)]
	}
	_, index, _ := allowed(c)
	if index < 0 {
		return nil
	}
	var best [maxContenders]int32
	var worth [maxContenders]float64
	n := 0
	for _, i := range b.byOut[index] {
		r := &s.causes[i]
		if r.veto != nil || r.sender < negligible {
			continue
		}
		p := r.total + b.causes[i].potential(c, s)
		at := n
		for at > 0 && worth[at-1] < p {
			at--
		}
		if at == maxContenders {
			continue
		}
		n = min(n+1, maxContenders)
		copy(worth[at+1:n], worth[at:])
		copy(best[at+1:n], best[at:])
		worth[at], best[at] = p, i
	}
	return best[:n]
}

// potential is what the lines nobody could answer would add if all were true.
func (h *hypothesis) potential(c *fact.Case, s *scratch) float64 {
	s.all.reset(h.groups)
	for i := range h.lines {
		if l := &h.lines[i]; l.weight > 0 && l.expr.answer(c, &s.looked) == NotKnown {
			s.all.add(l.weight, l.witnessOf(c), l.groups)
		}
	}
	return s.all.sum
}

// notChecked names the facts that nobody looked at and that could contradict
// the verdict, each once.
func (b *Base) notChecked(c *fact.Case, s *scratch, v *verdict) []string {
	var list []string
	add := func(h *hypothesis) {
		for i := range h.contradicts {
			e := h.contradicts[i].expr
			if e.answer(c, &s.looked) != NotKnown {
				continue
			}
			for j := range e.facts {
				if d := &e.facts[j]; !s.looked.Has(d) && !slices.Contains(list, d.Name) {
					list = append(list, d.Name)
				}
			}
		}
	}
	if v.sender >= 0 {
		add(&b.senders[v.sender].hypothesis)
	}
	if v.cause >= 0 {
		add(&b.causes[v.cause].hypothesis)
	}
	slices.Sort(list)
	return list
}
