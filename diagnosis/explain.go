package diagnosis

import (
	"cmp"
	"math"
	"slices"

	"github.com/holdfast-project/holdfast/fact"
)

const (
	unknownCause = "unknown"
	noneOfThese  = "none-of-these"
)

// Options say what a finding should carry besides the verdict.
type Options struct {
	Why   bool // the whole arithmetic
	Facts bool // the case itself, not copied
}

// verdict is the outcome of both stages.
type verdict struct {
	sender      int // index, -1 for unknown
	senderGrade fact.Grade
	senderProb  float64
	cause       int // index, -1 for unknown
	group       int // of the cause
	grade       fact.Grade
	prob        float64
	unknown     float64 // probability of the role unknown
	none        float64 // probability of "none of these"
}

// Explain finds the sender and the cause of one case. The result depends on
// nothing but c, b and opt.
func (b *Base) Explain(c *fact.Case, opt Options) fact.Finding {
	s := b.pool.Get().(*scratch)
	defer b.pool.Put(s)
	s.looked = fact.Looked(c)
	byRole, unknown := b.weighSenders(c, s)
	v := verdict{unknown: unknown, none: b.weighCauses(c, s, &byRole)}
	b.judge(s, &v, &byRole)

	f := fact.Finding{
		Schema: fact.Schema, ID: findingID(c), Time: c.Time, Source: c.Source,
		Flow:    fact.FindingFlow{Client: c.Flow.Client, Server: c.Flow.Server, CommunityID: CommunityID(c.Flow.Client, c.Flow.Server), Connection: c.Connection()},
		Outcome: c.Outcome.Or(""), Phase: c.Phase.Or(""),
		Sender: b.senderOf(c, &v),
		Effect: effect(c),
	}
	if l := (fact.Labels{Weaver: c.Wire.Forgery.Or(""), SIGCOMM23: c.Wire.Signature.Or("")}); l != (fact.Labels{}) {
		f.Labels = &l
	}
	b.fillCause(c, s, &v, &f)
	f.Harmful = harmful(c, v.cause >= 0 && b.causes[v.cause].spec.Benign)
	f.Proof = b.proof(c, s, &v)
	if v.grade != fact.Proved || v.senderGrade != fact.Proved {
		f.Missing = b.missing(c, s, &v)
	}
	f.NotChecked = b.notChecked(c, s, &v)
	if opt.Why {
		f.Arithmetic = b.arithmetic(c, s, &v)
	}
	if opt.Facts {
		f.Case = c
	}
	return f
}

// judge makes one verdict of both stages: the sender is the likeliest of those
// that can send the cause, and where the two contradict each other neither is
// named. A guess never accuses a device or an injector.
func (b *Base) judge(s *scratch, v *verdict, byRole *[16]float64) {
	b.judgeSender(s, v)
	b.judgeCause(s, v)
	if v.cause >= 0 && !b.agree(v) {
		if v.grade == fact.Possible {
			v.dropCause()
		} else {
			v.sender = -1
		}
	}
	if v.cause >= 0 {
		b.senderGiven(s, v, byRole)
	}
	if v.cause >= 0 && v.grade == fact.Possible && v.sender < 0 && b.blamesOnlyOthers(v.cause) {
		v.dropCause()
	}
	if v.sender >= 0 && v.senderGrade == fact.Possible && accuses(b.senders[v.sender].id) {
		v.dropSender()
		if v.grade == fact.Possible {
			v.dropCause()
		}
	}
}

// blamesOnlyOthers reports whether only a third party can be behind a cause.
func (b *Base) blamesOnlyOthers(cause int) bool {
	for i := range b.senders {
		if b.causes[cause].senders&(1<<b.senders[i].role) != 0 && !accuses(b.senders[i].id) {
			return false
		}
	}
	return true
}

// accuses reports whether a role is a third party.
func accuses(role string) bool { return role == fact.Middlebox || role == fact.Injector }

func (v *verdict) dropCause()  { v.cause, v.group, v.grade, v.prob = -1, -1, fact.Unknown, v.none }
func (v *verdict) dropSender() { v.sender, v.senderGrade, v.senderProb = -1, fact.Unknown, v.unknown }

// agree reports whether the sender, where one is named, can send the cause.
func (b *Base) agree(v *verdict) bool {
	return v.sender < 0 || b.causes[v.cause].senders&(1<<b.senders[v.sender].role) != 0
}

// senderGiven names the likeliest sender of the cause. Its probability is that
// given the cause, as far as the cause holds, and else that of its own evidence.
// Of several that could be, one without evidence of its own is not named.
func (b *Base) senderGiven(s *scratch, v *verdict, byRole *[16]float64) {
	k, sum, best, open := &b.causes[v.cause], 0.0, -1, 0
	for i := range b.senders {
		r := b.senders[i].role
		if k.senders&(1<<r) == 0 || s.senders[i].veto != nil {
			continue
		}
		sum += byRole[r]
		open++
		if best < 0 || byRole[r] > byRole[b.senders[best].role] {
			best = i
		}
	}
	if best < 0 || sum == 0 || open > 1 && s.senders[best].posterior < possibleAt {
		v.dropSender()
		return
	}
	r := &s.senders[best]
	share, own := byRole[b.senders[best].role], r.posterior
	if accuses(b.senders[best].id) { // which third party it was is a detail
		share, own = 0, b.thirdParty(s)
		for i := range b.senders {
			if r := b.senders[i].role; accuses(b.senders[i].id) && k.senders&(1<<r) != 0 && s.senders[i].veto == nil {
				share += byRole[r]
			}
		}
	}
	p := v.prob*share/sum + (1-v.prob)*own
	v.dropSender()
	if g := grade(p, r.certain && r.proving >= strongEnough); g != fact.Unknown {
		v.sender, v.senderGrade, v.senderProb = best, g, p
	}
}

func (b *Base) judgeSender(s *scratch, v *verdict) {
	v.dropSender()
	best := -1
	for i := range s.senders {
		if best < 0 || s.senders[i].posterior > s.senders[best].posterior {
			best = i
		}
	}
	if best < 0 || s.senders[best].posterior < possibleAt {
		return
	}
	r := &s.senders[best]
	v.sender, v.senderProb = best, r.posterior
	if accuses(b.senders[best].id) {
		v.senderProb = b.thirdParty(s)
	}
	v.senderGrade = grade(v.senderProb, r.certain && r.proving >= strongEnough)
}

// thirdParty is the probability that somebody sent it who is none of the ends.
func (b *Base) thirdParty(s *scratch) (p float64) {
	for i := range b.senders {
		if accuses(b.senders[i].id) {
			p += s.senders[i].posterior
		}
	}
	return p
}

// grade of a posterior; provable says whether the other conditions of proved hold.
func grade(p float64, provable bool) fact.Grade {
	switch {
	case p >= provedAt && provable:
		return fact.Proved
	case p >= probableAt:
		return fact.Probable
	case p >= possibleAt:
		return fact.Possible
	}
	return fact.Unknown
}

func (b *Base) judgeCause(s *scratch, v *verdict) {
	v.dropCause()
	best := -1
	for n := range s.groups { // in order of total, then id: the first of equals stays
		if best < 0 || s.groups[n].posterior > s.groups[best].posterior {
			best = n
		}
	}
	if best < 0 {
		return
	}
	i, p := b.represent(s, &s.groups[best])
	r := &s.causes[i]
	g := grade(p, r.certain && r.proving >= strongEnough && r.sender >= senderForProof &&
		(b.causes[i].family < 0 || r.ownSolid >= strongEnough))
	if g == fact.Unknown {
		return
	}
	if b.contradicted(s, v, i) || !r.general && b.causes[i].family >= 0 {
		g = fact.Possible // its senders are not likely; or of a general cause only the detail is there
	}
	v.cause, v.group, v.grade, v.prob = i, best, g, p
}

// represent returns the member of a family that is shown, and its probability.
func (b *Base) represent(s *scratch, g *group) (int, float64) {
	best, headClaims := -1, false
	for _, i := range s.active {
		switch {
		case b.head(i) != g.head:
		case i == g.head:
			headClaims = true
		case best < 0 || s.causes[i].own > s.causes[best].own:
			best = int(i)
		}
	}
	if best >= 0 && (!headClaims || odds(s.causes[best].own)/g.share >= familyShare) {
		return best, s.causes[best].posterior
	}
	return int(g.head), g.posterior
}

// contradicted reports whether roles that cannot send this cause are together
// more likely than those that can.
func (b *Base) contradicted(s *scratch, v *verdict, i int) bool {
	others := 0.0
	for j := range b.senders {
		if b.causes[i].senders&(1<<b.senders[j].role) == 0 {
			others += s.senders[j].posterior
		}
	}
	return others > s.causes[i].sender
}

// fillCause writes what the verdict says about the cause.
func (b *Base) fillCause(c *fact.Case, s *scratch, v *verdict, f *fact.Finding) {
	f.Alternatives = b.alternatives(s, v)
	if v.cause < 0 {
		f.Cause = fact.CauseVerdict{ID: unknownCause, Title: "No cause is supported well enough", Grade: fact.Unknown, Score: v.none}
		return
	}
	k := &b.causes[v.cause]
	f.Cause = fact.CauseVerdict{ID: k.id, Title: k.spec.Title, Class: k.spec.Class, Grade: v.grade, Score: v.prob, Says: cmp.Or(k.says.Render(c), k.spec.Title+".")}
	f.Effect.Says = k.effect.Render(c)
	f.Fixes, f.Confirm, f.Prevent, f.References = fitting(k.fixes, c), k.confirm.Render(c), k.prevent.Render(c), k.spec.References
}

// Alternatives are at most maxAlternatives, each with at least leastAlternative.
const (
	maxAlternatives  = 3
	leastAlternative = 0.01
)

func (b *Base) alternatives(s *scratch, v *verdict) []fact.Alternative {
	var list []fact.Alternative
	for _, i := range s.active {
		p := s.causes[i].posterior
		head := b.head(i)
		switch {
		case int(i) == v.cause || p < leastAlternative:
			continue
		case v.cause >= 0 && b.head(int32(v.cause)) == head && i == head:
			continue // the general form of the verdict
		}
		list = append(list, fact.Alternative{ID: b.causes[i].id, Title: b.causes[i].spec.Title, Score: p})
	}
	slices.SortStableFunc(list, func(x, y fact.Alternative) int { return cmp.Compare(y.Score, x.Score) })
	return list[:min(len(list), maxAlternatives)]
}

// proof lists the true lines of the cause, strongest first, then those of the
// sender that say something else.
func (b *Base) proof(c *fact.Case, s *scratch, v *verdict) []fact.Proof {
	var list []fact.Proof
	if v.cause >= 0 {
		list = b.causes[v.cause].prove(c, s, list)
	}
	if v.sender >= 0 {
		list = b.senders[v.sender].prove(c, s, list)
	}
	return list
}

func (h *hypothesis) prove(c *fact.Case, s *scratch, list []fact.Proof) []fact.Proof {
	s.all.reset(h.groups)
	start := len(list)
	for i := range h.lines {
		l := &h.lines[i]
		if l.weight <= 0 || l.expr.answer(c, &s.looked) != Yes {
			continue
		}
		w := l.witnessOf(c)
		p := fact.Proof{Says: l.says.Render(c), Witness: w.String(), Weight: s.all.add(l.weight, w, l.groups)}
		if p.Says == "" {
			p.Says = l.expr.Source
		}
		if slices.ContainsFunc(list, func(q fact.Proof) bool { return q.Says == p.Says }) {
			continue
		}
		if w == fact.ByLog {
			p.File = c.Log.File.Or("")
		}
		for i := range l.expr.facts {
			p.Facts = append(p.Facts, l.expr.facts[i].Name)
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list[start:], func(x, y fact.Proof) int { return cmp.Compare(y.Weight, x.Weight) })
	return list
}

// arithmetic writes down the whole computation, likeliest first.
func (b *Base) arithmetic(c *fact.Case, s *scratch, v *verdict) *fact.Arithmetic {
	a := &fact.Arithmetic{}
	set, index, _ := allowed(c)
	for i := range b.senders {
		h := &b.senders[i]
		x := h.written(c, s, &s.senders[i])
		if h.outcomes&set == 0 {
			x.Vetoed = "outcome is " + c.Outcome.Or("absent")
		}
		a.Senders = append(a.Senders, x)
	}
	for i := range b.causes {
		h := &b.causes[i]
		r := score{dropped: -1}
		considered := index >= 0 && slices.Contains(b.byOut[index], int32(i))
		if considered {
			r = s.causes[i]
		}
		x := h.written(c, s, &r)
		switch {
		case x.Vetoed != "":
		case !considered:
			x.Vetoed = "outcome is " + c.Outcome.Or("absent")
		case r.sender < negligible:
			x.Vetoed = "its senders are out"
		case r.dropped >= 0:
			x.Vetoed = "only a consequence of " + b.causes[r.dropped].id
		default:
			x.Lines = append(x.Lines, fact.ScoreLine{If: "probability of its senders", Weight: 10 * math.Log10(r.sender), Counted: 10 * math.Log10(r.sender), Answer: Yes.String()})
			if !r.claims && r.posterior == 0 {
				x.Vetoed = "no line of its own is true"
			}
		}
		if x.Vetoed != "" {
			x.Posterior = 0
		}
		a.Causes = append(a.Causes, x)
	}
	a.Senders = append(a.Senders, fact.Score{ID: fact.UnknownSender, Prior: baseline, Total: baseline, Posterior: v.unknown})
	a.Causes = append(a.Causes, fact.Score{ID: noneOfThese, Prior: baseline, Total: baseline, Posterior: v.none})
	for _, list := range [][]fact.Score{a.Senders, a.Causes} {
		slices.SortStableFunc(list, func(x, y fact.Score) int {
			return cmp.Or(cmp.Compare(y.Posterior, x.Posterior), cmp.Compare(y.Total, x.Total), cmp.Compare(x.ID, y.ID))
		})
	}
	return a
}

// written is the arithmetic of one hypothesis.
func (h *hypothesis) written(c *fact.Case, s *scratch, r *score) fact.Score {
	x := fact.Score{ID: h.id, Prior: h.prior, Total: r.total, Posterior: r.posterior}
	if r.veto != nil {
		x.Vetoed = r.veto.Source
	}
	if r.veto == nil {
		x.Lines = h.unchecked(c, &s.looked)
	}
	answers, counted := h.ask(c, s), make([]float64, len(h.lines))
	s.all.weigh(h, c, answers, false, counted)
	for i := range h.lines {
		l := &h.lines[i]
		x.Lines = append(x.Lines, fact.ScoreLine{If: l.expr.Source, Witness: l.witnessOf(c).String(), Weight: l.weight, Counted: counted[i], Answer: answers[i].String()})
	}
	return x
}

// unchecked lists what keeps h from being proved because nobody looked.
func (h *hypothesis) unchecked(c *fact.Case, looked *fact.Set) []fact.ScoreLine {
	var list []fact.ScoreLine
	for _, e := range h.requires {
		if e.answer(c, looked) == NotKnown {
			list = append(list, fact.ScoreLine{If: "requires " + e.Source, Answer: NotKnown.String()})
		}
	}
	for i := range h.contradicts {
		if k := &h.contradicts[i]; k.mustCheck && k.expr.answer(c, looked) == NotKnown {
			list = append(list, fact.ScoreLine{If: "must not be " + k.expr.Source, Answer: NotKnown.String()})
		}
	}
	return list
}
