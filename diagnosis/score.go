package diagnosis

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/holdfast-project/holdfast/fact"
)

// The constants of the arithmetic, in decibans and probabilities. The package
// comment explains them.
const (
	baseline     = 12.0 // of "none of these", for senders and for causes
	witnessCap   = 30.0 // what one witness can say in favour
	strongEnough = 10.0 // from kernel, peer or probe, for proved

	provedAt   = 0.95
	probableAt = 0.8
	possibleAt = 0.3

	senderForProof = 0.8  // what the senders of a proved cause hold together
	negligible     = 1e-3 // causes whose senders hold less are not weighed
	familyShare    = 0.8  // share at which a specialised cause is shown
)

// maxWitness bounds the tables by witness.
const maxWitness = 16

// tally sums evidence with the cap for each witness.
type tally struct {
	sum  float64
	used [maxWitness]float64
}

// add counts weight said by w and returns what the cap left of it.
func (t *tally) add(weight float64, w fact.Witness) float64 {
	if weight > 0 {
		weight = min(weight, witnessCap-t.used[w%maxWitness])
		t.used[w%maxWitness] += weight
	}
	t.sum += weight
	return weight
}

// strong is what was counted from witnesses that can prove.
func (t *tally) strong() float64 {
	return t.used[fact.ByKernel] + t.used[fact.ByPeer] + t.used[fact.ByProbe]
}

// solid is what was counted from witnesses other than coincidence.
func (t *tally) solid() float64 {
	s := 0.0
	for w, u := range t.used {
		if w != int(fact.ByTimer) && w != int(fact.ByPattern) {
			s += u
		}
	}
	return s
}

// score is how one hypothesis fares with one case.
type score struct {
	total     float64 // prior, evidence and, for causes, the senders' part
	own       float64 // of a specialised cause: its prior and its own lines alone
	strong    float64 // counted from kernel, peer and probe
	ownSolid  float64 // of its own lines, from witnesses other than timer and pattern
	posterior float64
	claims    bool // a line of positive weight is true (for a specialised cause: of its own)
	certain   bool // every requirement is true, and the outcome was looked at
	veto      int  // index of the requirement that is false, -1 without
	sender    float64
	dropped   int // index of the cause that excludes it, -1 without
}

// witnessOf returns who saw line l in case c: the witness recorded with the
// first fact that was looked at. A declared witness counts only when the case
// has every fact of the line from its usual witness, so that no file can turn
// what a capture saw into a kernel's word. Outcome and phase lend their witness
// last.
func (l *line) witnessOf(c *fact.Case) fact.Witness {
	var first *fact.Def
	var by fact.Witness
	usual := true
	for i := range l.expr.facts {
		d := &l.expr.facts[i]
		v := d.Of(c)
		if v.State == fact.NotLooked {
			continue
		}
		frame := isFrame(d)
		if first == nil || !frame && isFrame(first) || usual && !frame && v.By != d.Witness {
			first, by = d, v.By
		}
		usual = usual && (frame || v.By == d.Witness)
	}
	switch {
	case first == nil:
		return l.expr.facts[0].Witness
	case l.witness != fact.ByDefault && usual && by == first.Witness:
		return l.witness
	}
	return by
}

// isFrame reports whether a fact says where the others belong.
func isFrame(d *fact.Def) bool { return d.Name == "outcome" || d.Name == "phase" }

// weigh returns the weight of the line for c, before the cap.
func (l *line) weigh(c *fact.Case, looked *fact.Set) (float64, Answer) {
	switch a := l.expr.answer(c, looked); a {
	case Yes:
		return l.weight, a
	case No:
		return l.unless, a
	}
	return 0, NotKnown
}

// eval scores h for c. Evidence of a vetoed hypothesis is not looked at.
func (h *hypothesis) eval(c *fact.Case, looked *fact.Set, special bool) score {
	s := score{veto: -1, dropped: -1, certain: true}
	for i, r := range h.requires {
		switch r.answer(c, looked) {
		case No:
			s.veto = i
			return s
		case NotKnown:
			s.certain = false
		}
	}
	var all, own tally
	for i := range h.lines {
		l := &h.lines[i]
		weight, answer := l.weigh(c, looked)
		if weight == 0 {
			continue
		}
		w := l.witnessOf(c)
		all.add(weight, w)
		if l.own {
			own.add(weight, w)
		}
		if answer == Yes && weight > 0 && l.own == special {
			s.claims = true
		}
	}
	s.total, s.own = h.prior+all.sum, h.prior+own.sum
	s.strong, s.ownSolid = all.strong(), own.solid()
	return s
}

// odds turns decibans into odds.
func odds(decibans float64) float64 { return math.Pow(10, decibans/10) }

// scratch is the working memory of one Explain.
type scratch struct {
	looked  fact.Set
	senders []score
	causes  []score
	active  []int32 // candidates, by falling total
	groups  []group
}

// group is a family of candidates, or a single one; they compete as one.
type group struct {
	head      int32 // index of the general cause
	best      float64
	share     float64 // sum of the odds of the members by their own evidence
	posterior float64
}

func (b *Base) newScratch() *scratch {
	return &scratch{
		senders: make([]score, len(b.senders)),
		causes:  make([]score, len(b.causes)),
		active:  make([]int32, 0, len(b.causes)),
		groups:  make([]group, 0, len(b.causes)),
	}
}

// allowed returns the outcomes of c as a set, the index into byOut, and whether
// the outcome was looked at.
func allowed(c *fact.Case) (set outcomes, index int, looked bool) {
	if c.Outcome.State() == fact.NotLooked {
		return 1<<len(Outcomes) - 1, maxOutcomes, false
	}
	v, _ := c.Outcome.Get()
	i := slices.Index(Outcomes, v)
	if i < 0 {
		return 0, -1, true
	}
	return 1 << i, i, true
}

// weighSenders fills s.senders and returns the probability of each role for
// weighing causes (its own and its share of the unknown), and of unknown.
func (b *Base) weighSenders(c *fact.Case, s *scratch) (byRole [16]float64, unknown float64) {
	set, _, looked := allowed(c)
	sum, open := odds(baseline), 0
	for i := range b.senders {
		h := &b.senders[i]
		if h.outcomes&set == 0 {
			s.senders[i] = score{veto: -1, dropped: -1}
			continue
		}
		r := h.eval(c, &s.looked, false)
		r.certain = r.certain && looked
		if r.veto < 0 {
			open++
			if r.claims {
				r.posterior = odds(r.total)
				sum += r.posterior
			}
		}
		s.senders[i] = r
	}
	unknown = odds(baseline) / sum
	for i := range b.senders {
		r := &s.senders[i]
		r.posterior /= sum
		if r.veto < 0 && b.senders[i].outcomes&set != 0 {
			byRole[b.senders[i].role] = r.posterior + unknown/float64(open)
		}
	}
	return byRole, unknown
}

// weighCauses fills s.causes, s.active and s.groups, and returns the posterior
// of "none of these".
func (b *Base) weighCauses(c *fact.Case, s *scratch, byRole *[16]float64) float64 {
	_, index, looked := allowed(c)
	s.active, s.groups = s.active[:0], s.groups[:0]
	if index < 0 {
		return 1
	}
	for _, i := range b.byOut[index] {
		h := &b.causes[i]
		p := 0.0
		for set := h.senders; set != 0; set &= set - 1 {
			p += byRole[bits.TrailingZeros16(uint16(set))]
		}
		r := score{veto: -1, dropped: -1}
		if p >= negligible {
			r = h.eval(c, &s.looked, h.family >= 0)
		}
		r.certain = r.certain && looked
		r.sender = min(p, 1)
		if p >= negligible && r.veto < 0 {
			r.total += 10 * math.Log10(r.sender)
			if r.claims {
				s.active = append(s.active, i)
			}
		}
		s.causes[i] = r
	}
	b.exclude(s)
	return b.normalise(s)
}

// exclude drops the candidates that are only consequences of a better one.
func (b *Base) exclude(s *scratch) {
	slices.SortFunc(s.active, func(x, y int32) int {
		return cmp.Or(cmp.Compare(s.causes[y].total, s.causes[x].total), cmp.Compare(b.causes[x].id, b.causes[y].id))
	})
	dropped := false
	for n, i := range s.active {
		if s.causes[i].dropped >= 0 {
			continue
		}
		for _, victim := range b.causes[i].excludes {
			of := func(j int32) bool { return int(j) == victim || b.causes[j].family == victim }
			if slices.ContainsFunc(s.active[:n], of) {
				continue // a member of that family stands higher
			}
			for _, j := range s.active[n+1:] {
				if of(j) {
					s.causes[j].dropped = int(i)
					dropped = true
				}
			}
		}
	}
	if dropped {
		s.active = slices.DeleteFunc(s.active, func(i int32) bool { return s.causes[i].dropped >= 0 })
	}
}

// head is the general cause of i's family, i itself without one.
func (b *Base) head(i int32) int32 {
	if f := b.causes[i].family; f >= 0 {
		return int32(f)
	}
	return i
}

// normalise computes the posteriors of groups and members. A general cause
// belongs to its group even when only a specialised one claims anything.
func (b *Base) normalise(s *scratch) (none float64) {
	for _, i := range s.active {
		h := b.head(i)
		n := slices.IndexFunc(s.groups, func(g group) bool { return g.head == h })
		if n < 0 { // active is sorted: the first of a family is its best
			n = len(s.groups)
			s.groups = append(s.groups, group{head: h, best: s.causes[i].total, share: 1})
		}
		if i != h {
			s.groups[n].share += odds(s.causes[i].own)
		}
	}
	sum := odds(baseline)
	for n := range s.groups {
		s.groups[n].posterior = odds(s.groups[n].best)
		sum += s.groups[n].posterior
	}
	for n := range s.groups {
		g := &s.groups[n]
		g.posterior /= sum
		s.causes[g.head].posterior = g.posterior / g.share
	}
	for _, i := range s.active {
		if h := b.head(i); i != h {
			n := slices.IndexFunc(s.groups, func(g group) bool { return g.head == h })
			s.causes[i].posterior = s.groups[n].posterior * odds(s.causes[i].own) / s.groups[n].share
		}
	}
	return odds(baseline) / sum
}
