package diagnosis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-project/holdfast/fact"
)

// Base is a compiled knowledge base. It is immutable and safe for concurrent use.
type Base struct {
	senders []sender
	causes  []cause // general causes before their specialisations
	byID    map[string]int
	roleOf  map[string]int                  // role to index into senders
	byOut   [maxOutcomes + 1][]int32        // causes that each outcome allows; the last: outcome not looked at
	pool    *sync.Pool                      // of *scratch
	order   struct{ causes, senders []int } // sorted by id, for listing
}

const maxOutcomes = 8

// outcomes is a set of outcomes, one bit for each of Outcomes.
type outcomes uint8

// roles is a set of roles, one bit for each of Roles.
type roles uint16

// hypothesis is what senders and causes have in common.
type hypothesis struct {
	id          string
	prior       float64 // decibans
	outcomes    outcomes
	requires    []*Expr
	contradicts []contradiction
	lines       []line // by falling weight, so that the caps take the heaviest first
	groups      int    // of facts that say the same, among its lines
}

// contradiction is a compiled Contradiction.
type contradiction struct {
	expr      *Expr
	mustCheck bool
}

// line is a compiled line of evidence.
type line struct {
	expr      *Expr
	weight    float64      // decibans when true; below zero when it speaks against
	otherwise float64      // decibans when definitely false, at most 0
	groups    []uint8      // of facts that say the same, within its hypothesis
	witness   fact.Witness // ByDefault: that of the first fact that was looked at
	says      *Template
	own       bool // of a specialised cause itself, not taken over from its general one
}

type sender struct {
	hypothesis
	spec *SenderSpec
	role int // index into Roles
	says *Template
}

type cause struct {
	hypothesis
	spec     *CauseSpec
	senders  roles
	family   int // index of the general cause, -1 without
	excludes []int
	says     *Template
	effect   *Template
	confirm  *Template
	prevent  *Template
	fixes    []fix
}

// Causes returns the specifications of all causes, by id. Do not change them.
func (b *Base) Causes() []*CauseSpec {
	list := make([]*CauseSpec, 0, len(b.causes))
	for _, i := range b.order.causes {
		list = append(list, b.causes[i].spec)
	}
	return list
}

// Cause returns the specification of a cause.
func (b *Base) Cause(id string) (*CauseSpec, bool) {
	i, ok := b.byID[id]
	if !ok {
		return nil, false
	}
	return b.causes[i].spec, true
}

// Senders returns the specifications of all senders, by role. Do not change them.
func (b *Base) Senders() []*SenderSpec {
	list := make([]*SenderSpec, 0, len(b.senders))
	for _, i := range b.order.senders {
		list = append(list, b.senders[i].spec)
	}
	return list
}

// Sender returns the specification of a role.
func (b *Base) Sender(role string) (*SenderSpec, bool) {
	i, ok := b.roleOf[role]
	if !ok {
		return nil, false
	}
	return b.senders[i].spec, true
}

// Compile checks the specifications and makes a base of those that are sound;
// the problems of the others are returned in order of file and line. The specs
// must not be changed afterwards.
func Compile(senders []SenderSpec, causes []CauseSpec) (*Base, []Problem) {
	k := baseCompiler{base: &Base{byID: map[string]int{}, roleOf: map[string]int{}}, named: map[string]bool{}}
	for i := range senders {
		k.sender(&senders[i])
	}
	for i := range causes {
		k.named[causes[i].ID] = true
	}
	general, special := splitFamilies(causes)
	for _, c := range append(general, special...) {
		k.cause(c)
	}
	k.link()
	k.index()
	SortProblems(k.problems)
	return k.base, k.problems
}

// splitFamilies puts the causes that others specialise before those others.
func splitFamilies(causes []CauseSpec) (general, special []*CauseSpec) {
	for i := range causes {
		if causes[i].Family.S == "" {
			general = append(general, &causes[i])
		} else {
			special = append(special, &causes[i])
		}
	}
	return general, special
}

type baseCompiler struct {
	base     *Base
	named    map[string]bool // ids of all specifications, the unsound ones too
	problems []Problem
}

func (k *baseCompiler) fail(at Pos, hint, format string, args ...any) {
	k.problems = append(k.problems, Problem{Pos: at, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// place is the position of a key, or of the file when the key is missing.
func place(file Pos, at map[string]Pos, key string) Pos {
	if p, ok := at[key]; ok {
		return p
	}
	return file
}

func (k *baseCompiler) sender(spec *SenderSpec) {
	before := len(k.problems)
	s := sender{spec: spec, role: slices.Index(Roles, spec.ID)}
	at := func(key string) Pos { return place(spec.Pos, spec.At, key) }
	if s.role < 0 {
		k.fail(at("id"), "roles: "+strings.Join(Roles, ", "), "unknown role %q", spec.ID)
	}
	if i, dup := k.base.roleOf[spec.ID]; dup {
		k.fail(at("id"), "", "sender %s is also defined in %s", spec.ID, k.base.senders[i].spec.Pos.File)
	}
	s.id = spec.ID
	s.prior = k.prior(spec.Frequency, at("frequency"))
	if spec.Prior != nil {
		s.prior = *spec.Prior
		if math.Abs(s.prior) > maxPrior {
			k.fail(at("prior"), "decibans; very-common is 5, rare is -7", "prior %g is beyond %d", s.prior, maxPrior)
		}
	}
	s.outcomes = k.outcomes(spec.Outcomes)
	s.requires, s.contradicts = k.exprs(spec.Requires), k.contradictions(spec.Contradicts)
	s.lines = k.lines(spec.Evidence)
	if len(spec.Evidence) == 0 {
		k.fail(at("evidence"), "", "sender %s has no evidence", spec.ID)
	}
	s.says = k.template(spec.Says)
	k.group(&s.hypothesis, at("evidence"))
	if len(k.problems) == before {
		k.base.roleOf[s.id] = len(k.base.senders)
		k.base.senders = append(k.base.senders, s)
	}
}

func (k *baseCompiler) cause(spec *CauseSpec) {
	before := len(k.problems)
	c := cause{spec: spec, family: -1}
	at := func(key string) Pos { return place(spec.Pos, spec.At, key) }
	k.identity(spec, at)
	c.id = spec.ID
	c.prior = k.prior(spec.Frequency, at("frequency"))
	if len(spec.Outcomes) == 0 {
		k.fail(at("outcome"), "outcome: [reset]; one or several of "+strings.Join(Outcomes, ", "), "cause %s has no outcome", spec.ID)
	}
	c.outcomes = k.outcomes(spec.Outcomes)
	if len(spec.Senders) == 0 {
		k.fail(at("senders"), "senders: [server-app]; one or several of "+strings.Join(Roles, ", "), "cause %s has no senders", spec.ID)
	}
	for _, s := range spec.Senders {
		i := k.member("sender", s, Roles)
		if i >= 0 {
			c.senders |= 1 << i
		}
	}
	for _, h := range spec.Harm {
		k.member("harm", h, Harms)
	}
	if len(spec.Evidence) == 0 {
		k.fail(at("evidence"), "", "cause %s has no evidence", spec.ID)
	}
	c.requires, c.contradicts, c.lines = k.exprs(spec.Requires), k.contradictions(spec.Contradicts), k.lines(spec.Evidence)
	if spec.Family.S != "" {
		k.specialise(&c, spec.Family)
	}
	c.says, c.effect = k.template(c.spec.Says), k.template(c.spec.Effect)
	c.confirm = k.template(Text{S: c.spec.Confirm, Pos: at("confirm")})
	c.prevent = k.template(Text{S: c.spec.Prevent, Pos: at("prevent")})
	c.fixes = k.fixes(c.spec.Fixes, at("fixes"))
	k.group(&c.hypothesis, at("evidence"))
	if len(k.problems) == before {
		k.base.byID[c.id] = len(k.base.causes)
		k.base.causes = append(k.base.causes, c)
	}
}

func (k *baseCompiler) identity(spec *CauseSpec, at func(string) Pos) {
	switch i, dup := k.base.byID[spec.ID]; {
	case dup:
		k.fail(at("id"), "ids are unique", "cause %s is also defined in %s", spec.ID, k.base.causes[i].spec.Pos.File)
	case spec.ID == "":
		k.fail(at("id"), "", "cause has no id")
	case spec.ID == unknownCause || spec.ID == noneOfThese:
		k.fail(at("id"), "", "%s is not available as an id", spec.ID)
	case !validID(spec.ID):
		k.fail(at("id"), "lower case words with hyphens, such as close-with-unread-data", "malformed id %q", spec.ID)
	}
	if spec.Title == "" {
		k.fail(at("title"), "", "cause %s has no title", spec.ID)
	}
	if !slices.Contains(Classes, spec.Class) {
		k.fail(at("class"), "classes: "+strings.Join(Classes, ", "), "unknown class %q", spec.Class)
	}
}

func validID(id string) bool {
	if id == "" || len(id) > 80 || strings.Trim(id, "-") != id {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// specialise gives a cause the requirements and lines of its general cause.
func (k *baseCompiler) specialise(c *cause, family Text) {
	i, ok := k.base.byID[family.S]
	if !ok {
		hint := "the id of a general cause, which has no family itself"
		if k.named[family.S] {
			hint = "it is there, but has problems of its own"
		}
		if near := Nearest(family.S, k.ids()); near != "" {
			hint = "did you mean " + near + "?"
		}
		k.fail(family.Pos, hint, "no general cause %q", family.S)
		return
	}
	general := &k.base.causes[i]
	if general.family >= 0 {
		k.fail(family.Pos, "name the general cause "+general.spec.Family.S, "%s is a specialisation itself", family.S)
		return
	}
	if extra := c.outcomes &^ general.outcomes; extra != 0 {
		k.fail(family.Pos, "a specialisation may only narrow", "%s has an outcome that its general cause %s has not", c.spec.ID, family.S)
	}
	if extra := c.senders &^ general.senders; extra != 0 {
		k.fail(family.Pos, "a specialisation may only narrow", "%s has a sender that its general cause %s has not", c.spec.ID, family.S)
	}
	c.family = i
	c.spec = inherit(c.spec, general.spec)
	for j := range c.lines {
		c.lines[j].own = true
	}
	c.requires = append(slices.Clone(general.requires), c.requires...)
	c.contradicts = append(slices.Clone(general.contradicts), c.contradicts...)
	c.lines = append(slices.Clone(general.lines), c.lines...)
}

// inherit returns spec with what it does not say itself taken from its general cause.
func inherit(spec, general *CauseSpec) *CauseSpec {
	s := *spec
	s.Benign = s.Benign || general.Benign
	if s.Confirm == "" {
		s.Confirm, s.HowToConfirm = general.Confirm, general.HowToConfirm
	}
	s.Prevent = cmp.Or(s.Prevent, general.Prevent)
	if s.Effect.S == "" {
		s.Effect = general.Effect
	}
	if len(s.Fixes) == 0 {
		s.Fixes = general.Fixes
	}
	if len(s.References) == 0 {
		s.References = general.References
	}
	if len(s.Lab) == 0 {
		s.Lab = general.Lab
	}
	return &s
}

func (k *baseCompiler) ids() []string {
	var list []string
	for i := range k.base.causes {
		list = append(list, k.base.causes[i].id)
	}
	return list
}

// link resolves the ids that causes give of each other.
func (k *baseCompiler) link() {
	for i := range k.base.causes {
		c := &k.base.causes[i]
		for _, t := range c.spec.Excludes {
			j, ok := k.exclusion(c, t)
			if ok && k.base.causes[j].family == i {
				k.fail(t.Pos, "a family is one claim already", "excludes names %s, of the same family", t.S)
				continue
			}
			if ok {
				c.excludes = append(c.excludes, j)
			}
		}
		if c.family >= 0 { // general causes come first, so theirs are linked
			c.excludes = append(c.excludes, k.base.causes[c.family].excludes...)
		}
	}
}

func (k *baseCompiler) exclusion(c *cause, t Text) (int, bool) {
	j, ok := k.base.byID[t.S]
	switch {
	case !ok && k.named[t.S]: // its own problems are enough
	case !ok:
		hint := ""
		if near := Nearest(t.S, k.ids()); near != "" {
			hint = "did you mean " + near + "?"
		}
		k.fail(t.Pos, hint, "excludes names %q, which is no cause", t.S)
	case &k.base.causes[j] == c:
		k.fail(t.Pos, "", "excludes names the cause itself")
		return 0, false
	case c.family >= 0 && (j == c.family || k.base.causes[j].family == c.family):
		k.fail(t.Pos, "a family is one claim already", "excludes names %s, of the same family", t.S)
		return 0, false
	}
	return j, ok
}

// index lists the causes of each outcome, and everything by id.
func (k *baseCompiler) index() {
	b := k.base
	for i := range b.causes {
		for o := range Outcomes {
			if b.causes[i].outcomes&(1<<o) != 0 {
				b.byOut[o] = append(b.byOut[o], int32(i))
			}
		}
		b.byOut[maxOutcomes] = append(b.byOut[maxOutcomes], int32(i))
		b.order.causes = append(b.order.causes, i)
	}
	for i := range b.senders {
		b.order.senders = append(b.order.senders, i)
	}
	slices.SortFunc(b.order.causes, func(x, y int) int { return cmp.Compare(b.causes[x].id, b.causes[y].id) })
	slices.SortFunc(b.order.senders, func(x, y int) int { return cmp.Compare(b.senders[x].id, b.senders[y].id) })
	b.pool = &sync.Pool{New: func() any { return b.newScratch() }}
}

const maxPrior = 20

func (k *baseCompiler) prior(frequency string, at Pos) float64 {
	if frequency == "" {
		return 0
	}
	p, ok := priors[frequency]
	if !ok {
		k.fail(at, "very-common, common or rare", "unknown frequency %q", frequency)
	}
	return p
}

// member returns the index of t in the vocabulary, -1 with a problem.
func (k *baseCompiler) member(what string, t Text, vocabulary []string) int {
	i := slices.Index(vocabulary, t.S)
	if i < 0 {
		k.fail(t.Pos, "one of "+strings.Join(vocabulary, ", "), "unknown %s %q", what, t.S)
	}
	return i
}

// outcomes returns the set; an empty list allows all.
func (k *baseCompiler) outcomes(list []Text) outcomes {
	if len(list) == 0 {
		return 1<<len(Outcomes) - 1
	}
	var set outcomes
	for _, t := range list {
		if i := k.member("outcome", t, Outcomes); i >= 0 {
			set |= 1 << i
		}
	}
	return set
}

func (k *baseCompiler) exprs(list []Text) []*Expr {
	compiled := make([]*Expr, 0, len(list))
	for _, t := range list {
		e, problems := CompileExpr(t)
		k.problems = append(k.problems, problems...)
		compiled = append(compiled, e)
	}
	return compiled
}

func (k *baseCompiler) contradictions(list []Contradiction) []contradiction {
	compiled := make([]contradiction, 0, len(list))
	for _, c := range list {
		e, problems := CompileExpr(c.If)
		k.problems = append(k.problems, problems...)
		compiled = append(compiled, contradiction{e, c.MustCheck})
	}
	return compiled
}

func (k *baseCompiler) lines(specs []Line) []line {
	list := make([]line, 0, len(specs))
	for i := range specs {
		s := &specs[i]
		var l line
		var problems []Problem
		l.expr, problems = CompileExpr(s.If)
		k.problems = append(k.problems, problems...)
		l.says = k.template(s.Says)
		if s.Witness.S != "" {
			w, ok := fact.ParseWitness(s.Witness.S)
			if !ok {
				k.fail(s.Witness.Pos, "kernel, wire, process, counter, host, log, timer, pattern, probe, peer", "unknown witness %q", s.Witness.S)
			}
			l.witness = w
		}
		k.weigh(s, &l)
		list = append(list, l)
	}
	return list
}

// weigh reads the weights of a line.
func (k *baseCompiler) weigh(s *Line, l *line) {
	l.weight = k.weight(s.Weight) - k.weight(s.Against)
	switch {
	case (s.Weight.S == "") == (s.Against.S == ""):
		k.fail(s.If.Pos, "weight: "+strings.Join(Weights, ", "), "a line of evidence has one of weight and against")
	case s.Against.S != "" && (s.Seen != nil || s.Otherwise.S != ""):
		k.fail(s.If.Pos, "leave seen and otherwise out", "a line that speaks against is silent when it is false")
	case s.Seen != nil && s.Otherwise.S != "":
		k.fail(s.If.Pos, "keep one of them", "a line has seen and otherwise")
	case s.Seen != nil && (*s.Seen < 1 || *s.Seen > 9):
		k.fail(s.If.Pos, "in how many of ten cases of this cause the line is true", "seen is %d, not 1 to 9", *s.Seen)
	case s.Otherwise.S != "":
		l.otherwise = -k.weight(s.Otherwise)
	case s.Against.S == "":
		l.otherwise = absence(l.weight, cmp.Or(deref(s.Seen), usuallySeen))
	}
}

// usuallySeen is taken when a line does not say in how many of ten cases it is
// seen: so little that its absence says next to nothing.
const usuallySeen = 2

func deref(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// absence is what it weighs, in decibans, that a line of a weight is false which
// holds in seen of ten cases of its hypothesis: the likelihood ratio of not
// seeing it, when seeing it has the ratio 10^(weight/10).
func absence(weight float64, seen int) float64 {
	p := float64(seen) / 10
	return 10 * math.Log10((1-p)/(1-p/odds(weight)))
}

// weight returns the decibans of a word; no word weighs nothing.
func (k *baseCompiler) weight(t Text) float64 {
	if t.S == "" {
		return 0
	}
	w, ok := weights[t.S]
	if !ok {
		k.fail(t.Pos, "one of "+strings.Join(Weights, ", "), "unknown weight %q", t.S)
	}
	return w
}

func (k *baseCompiler) template(t Text) *Template {
	c, problems := CompileTemplate(t)
	k.problems = append(k.problems, problems...)
	return c
}
