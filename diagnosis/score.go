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
	byProof      = 30.0 // weight of a line that is a proof
	strongEnough = 10.0 // weight of a line of kernel, peer or probe, for proved

	provedAt   = 0.95
	probableAt = 0.8
	possibleAt = 0.3

	senderForProof = 0.8  // what the senders of a proved cause hold together
	negligible     = 1e-3 // causes whose senders hold less are not weighed
	familyShare    = 0.8  // share at which a specialised cause is shown
	byItself       = 24.8 // total that is provedAt against "none of these" alone
)

// maxWitness bounds the tables by witness, maxGroups those by group of facts.
const (
	maxWitness = 16
	maxGroups  = 128
)

// tally sums evidence. What one witness says in favour is capped, and a group
// of facts that say the same counts once, with its heaviest line.
type tally struct {
	sum     float64
	witness [maxWitness]float64
	favour  [maxGroups]float64 // heaviest line that counted, by group
	against [maxGroups]float64 // heaviest line that spoke against, by group
	proving float64            // heaviest true line of a witness that can prove
	solid   float64            // heaviest true line of a witness other than coincidence
}

// reset makes t ready for a hypothesis with n groups.
func (t *tally) reset(n int) {
	t.sum, t.proving, t.solid, t.witness = 0, 0, 0, [maxWitness]float64{}
	clear(t.favour[:n])
	clear(t.against[:n])
}

// add counts a line in favour, said by w, and returns what the caps left of it.
// Lines come by falling weight.
func (t *tally) add(weight float64, w fact.Witness, groups []uint8) float64 {
	said := 0.0
	for _, g := range groups {
		said = max(said, t.favour[g%maxGroups])
	}
	counted := max(0, min(weight-said, witnessCap-t.witness[w%maxWitness]))
	for _, g := range groups {
		t.favour[g%maxGroups] = max(t.favour[g%maxGroups], weight)
	}
	t.witness[w%maxWitness] += counted
	t.sum += counted
	switch w {
	case fact.ByKernel, fact.ByPeer, fact.ByProbe:
		t.proving, t.solid = max(t.proving, weight), max(t.solid, weight)
	case fact.ByTimer, fact.ByPattern:
	default:
		t.solid = max(t.solid, weight)
	}
	return counted
}

// oppose counts what speaks against, as a weight below zero. Of a group only
// the heaviest counts; what nobody saw (missing) counts only when no line of
// the group speaks in favour.
func (t *tally) oppose(weight float64, missing bool, groups []uint8) float64 {
	said := 0.0
	for _, g := range groups {
		if missing && t.favour[g%maxGroups] > 0 {
			return 0
		}
		said = min(said, t.against[g%maxGroups])
	}
	counted := min(0, weight-said)
	for _, g := range groups {
		t.against[g%maxGroups] = min(t.against[g%maxGroups], weight)
	}
	t.sum += counted
	return counted
}

// weigh counts the lines of h that want says, given their answers: first what
// is true, then what is missing, since a line that is false means nothing when
// another one of its group is true. It writes what each added into counted,
// unless that is nil.
func (t *tally) weigh(h *hypothesis, c *fact.Case, answers []Answer, own bool, counted []float64) {
	t.reset(h.groups)
	for i := range h.lines {
		l := &h.lines[i]
		if own && !l.own || answers[i] != Yes {
			continue
		}
		n := 0.0
		if l.weight > 0 {
			n = t.add(l.weight, l.witnessOf(c), l.groups)
		} else {
			n = t.oppose(l.weight, false, l.groups)
		}
		if counted != nil {
			counted[i] = n
		}
	}
	for i := range h.lines {
		l := &h.lines[i]
		if own && !l.own || answers[i] != No || l.otherwise == 0 {
			continue
		}
		n := t.oppose(l.otherwise, true, l.groups)
		if counted != nil {
			counted[i] = n
		}
	}
}

// ask answers every line of h.
func (h *hypothesis) ask(c *fact.Case, s *scratch) []Answer {
	s.answers = s.answers[:0]
	for i := range h.lines {
		s.answers = append(s.answers, h.lines[i].expr.answer(c, &s.looked))
	}
	return s.answers
}

// score is how one hypothesis fares with one case.
type score struct {
	total     float64 // prior, evidence and, for causes, the senders' part
	own       float64 // of a specialised cause: its prior and its own lines alone
	proving   float64 // heaviest true line of kernel, peer or probe
	ownSolid  float64 // heaviest true line of its own of a witness other than timer and pattern
	posterior float64
	claims    bool  // a line of positive weight is true (for a specialised cause: of its own)
	general   bool  // a line of positive weight of its general cause is true
	explains  bool  // every requirement or a line of the weight of a proof is true
	certain   bool  // every requirement is true, what must be checked was, and the outcome was looked at
	veto      *Expr // the requirement that is false, or the contradiction that is true
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
		if v.By == fact.BySaid {
			return fact.BySaid // what a person said proves nothing, whatever stands beside it
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

// vetoed returns what rules h out for c, whether every requirement is true, and
// whether everything that a proof needs was answered.
func (h *hypothesis) vetoed(c *fact.Case, looked *fact.Set) (veto *Expr, met, certain bool) {
	met = true
	for _, r := range h.requires {
		switch r.answer(c, looked) {
		case No:
			return r, false, false
		case NotKnown:
			met = false
		}
	}
	certain = met
	for i := range h.contradicts {
		k := &h.contradicts[i]
		switch k.expr.answer(c, looked) {
		case Yes:
			return k.expr, false, false
		case NotKnown:
			certain = certain && !k.mustCheck
		}
	}
	return nil, met, certain
}

// eval scores h for c. Evidence of a vetoed hypothesis is not looked at.
func (h *hypothesis) eval(c *fact.Case, s *scratch, special bool) score {
	r := score{dropped: -1}
	r.veto, r.explains, r.certain = h.vetoed(c, &s.looked)
	if r.veto != nil {
		return r
	}
	answers := h.ask(c, s)
	for i := range h.lines {
		l := &h.lines[i]
		if answers[i] == Yes && l.weight > 0 {
			r.claims = r.claims || l.own == special
			r.general = r.general || !l.own
			r.explains = r.explains || l.weight >= byProof
		}
	}
	s.all.weigh(h, c, answers, false, nil)
	r.total, r.proving = h.prior+s.all.sum, s.all.proving
	if special {
		s.own.weigh(h, c, answers, true, nil)
		r.own, r.ownSolid = h.prior+s.own.sum, s.own.solid
	}
	return r
}

// odds turns decibans into odds.
func odds(decibans float64) float64 { return math.Pow(10, decibans/10) }

// scratch is the working memory of one Explain.
type scratch struct {
	looked  fact.Set
	all     tally
	own     tally
	answers []Answer
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
			s.senders[i] = score{dropped: -1}
			continue
		}
		r := h.eval(c, s, false)
		r.certain = r.certain && looked
		if r.veto == nil {
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
		if r.veto == nil && b.senders[i].outcomes&set != 0 {
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
		r := score{dropped: -1}
		if p >= negligible {
			r = h.eval(c, s, h.family >= 0)
		}
		r.certain = r.certain && looked
		r.sender = min(p, 1)
		if p >= negligible && r.veto == nil {
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

// exclude drops the candidates that are only consequences of another one: of
// one that stands by itself, or that is better. Members of a family that are
// better than the excluding cause stay. A cause of which a requirement is not
// known, and that no line proves, explains nothing away.
func (b *Base) exclude(s *scratch) {
	slices.SortFunc(s.active, func(x, y int32) int {
		return cmp.Or(cmp.Compare(s.causes[y].total, s.causes[x].total), cmp.Compare(b.causes[x].id, b.causes[y].id))
	})
	dropped := false
	for n, i := range s.active {
		if s.causes[i].dropped >= 0 || !s.causes[i].explains {
			continue
		}
		for _, victim := range b.causes[i].excludes {
			special := func(j int32) bool { return b.causes[j].family == victim }
			if slices.ContainsFunc(s.active[:n], special) {
				continue // a member of that family stands higher
			}
			for m, j := range s.active {
				if (int(j) == victim || special(j)) && (m > n || s.causes[i].total >= byItself) && s.causes[j].dropped < 0 {
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
