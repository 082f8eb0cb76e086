package knowledge

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// Lint checks the knowledge files of dir ("" for the embedded ones) against the
// embedded knowledge that they extend: syntax, expressions and templates as
// Load does, and besides that everything a finished entry needs. scenario says
// whether a laboratory scenario exists; nil skips that check.
func Lint(dir string, scenario func(id string) bool) []diagnosis.Problem {
	var dirs []string
	if dir != "" {
		dirs = []string{dir}
	}
	base, set, err := load(dirs)
	l := linter{base: base, scenario: scenario, named: map[string]bool{}}
	for i := range set.causeList {
		l.named[set.causeList[i].ID] = true
	}
	if err != nil {
		l.problems = append(l.problems, diagnosis.Problem{Message: err.Error()})
	}
	files := map[string]bool{} // those of dir
	for _, from := range set.sources {
		if from.level == len(dirs) {
			files[from.name] = true
		}
	}
	inside := func(file string) bool { return files[file] }
	for _, p := range set.problems {
		if inside(p.Pos.File) || p.Pos.File == "" {
			l.problems = append(l.problems, p)
		}
	}
	for _, from := range set.sources {
		if from.level != len(dirs) {
			continue
		}
		if src, err := from.read(); err == nil {
			_, problems := decodeTests(from, src)
			l.problems = append(l.problems, problems...)
			l.literals(from.name, string(src))
		}
	}
	for i := range set.causeList {
		if c := &set.causeList[i]; !inside(c.Pos.File) {
			quiet := linter{values: l.values}
			quiet.rules(c, set)
			l.values = quiet.values // a new cause keeps to the values of the others
		}
	}
	for i := range set.causeList {
		if inside(set.causeList[i].Pos.File) {
			l.cause(&set.causeList[i])
			l.rules(&set.causeList[i], set)
		}
	}
	for i := range set.senderList {
		if inside(set.senderList[i].Pos.File) {
			l.sender(&set.senderList[i])
		}
	}
	return unique(l.problems)
}

// unique sorts the problems and drops repetitions: a file without YAML is
// reported by both of its readers.
func unique(list []diagnosis.Problem) []diagnosis.Problem {
	diagnosis.SortProblems(list)
	return slices.CompactFunc(list, func(a, b diagnosis.Problem) bool { return a == b })
}

// tests reads the self-tests of a specification.
func tests(read func() []diagnosis.SelfTest) []diagnosis.SelfTest {
	if read == nil {
		return nil
	}
	return read()
}

type linter struct {
	base     *diagnosis.Base
	scenario func(string) bool
	named    map[string]bool // ids of all causes, the unsound ones too
	problems []diagnosis.Problem
	values   map[string]string // what fixes set sysctls to
}

func (l *linter) fail(at diagnosis.Pos, hint, format string, args ...any) {
	l.problems = append(l.problems, diagnosis.Problem{Pos: at, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// need reports a missing key.
func (l *linter) need(ok bool, file diagnosis.Pos, at map[string]diagnosis.Pos, key, hint string) {
	if ok {
		return
	}
	if p, there := at[key]; there {
		l.fail(p, hint, "%s is empty", key)
	} else {
		l.fail(file, hint, "%s is missing", key)
	}
}

func (l *linter) cause(c *diagnosis.CauseSpec) {
	need := func(ok bool, key, hint string) { l.need(ok, c.Pos, c.At, key, hint) }
	special := c.Family.S != "" // fixes, references and lab come from the general cause
	need(strings.TrimSpace(c.Says.S) != "", "says", "two or three sentences for a human")
	need(special || len(c.Fixes) > 0, "fixes", "what to change, with commands, risk and undo")
	need(special || len(c.References) > 0, "references", "an RFC, a kernel file, a page")
	need(len(c.Symptoms) > 0, "symptoms", "how people write it, in their own words")
	need(special || len(c.Lab) > 0, "lab", `the scenario that manufactures it, or "none: reason"`)
	l.evidence(c.Evidence)
	l.fixes(c)
	l.lab(c)
	for _, t := range c.LookAlikes {
		if _, ok := l.base.Cause(t.S); !ok && !l.named[t.S] {
			l.fail(t.Pos, "", "look_alikes names %q, which is no cause", t.S)
		}
	}
	yes, no := false, false
	cases := tests(c.Cases)
	for i := range cases {
		t := &cases[i]
		l.selfTest(t)
		yes = yes || t.Expect != nil && t.Expect.Cause == c.ID
		no = no || slices.ContainsFunc(t.Not, func(n diagnosis.Text) bool { return n.S == c.ID })
		for _, n := range t.Not {
			if _, ok := l.base.Cause(n.S); !ok && n.S != "unknown" && !l.named[n.S] {
				l.fail(n.Pos, "", "not names %q, which is no cause", n.S)
			}
		}
	}
	need(yes, "cases", "a case with expect: {cause: "+c.ID+", grade: proved}")
	need(no, "cases", "a look-alike with not: "+c.ID)
}

func (l *linter) sender(s *diagnosis.SenderSpec) {
	need := func(ok bool, key, hint string) { l.need(ok, s.Pos, s.At, key, hint) }
	need(s.Title != "", "title", "")
	need(strings.TrimSpace(s.Says.S) != "", "says", "one or two sentences for a human")
	l.evidence(s.Evidence)
	yes, no := false, false
	cases := tests(s.Cases)
	for i := range cases {
		t := &cases[i]
		l.selfTest(t)
		yes = yes || t.Expect != nil && t.Expect.Sender == s.ID
		no = no || slices.ContainsFunc(t.Not, func(n diagnosis.Text) bool { return n.S == s.ID })
	}
	need(yes, "cases", "a case with expect: {sender: "+s.ID+", grade: proved}")
	need(no, "cases", "a look-alike with not: "+s.ID)
}

func (l *linter) evidence(lines []diagnosis.Line) {
	for _, e := range lines {
		if e.Weight.S == "" {
			continue
		}
		if strings.TrimSpace(e.Says.S) == "" {
			l.fail(e.If.Pos, "says: what this line proves, for a human", "a line in favour says nothing")
		}
		if e.Seen == nil && e.Otherwise.S == "" {
			l.fail(e.If.Pos, "seen: 1 to 9, in how many of ten such cases it is true", "a line in favour does not say what its falsehood means")
		}
	}
}

func (l *linter) fixes(c *diagnosis.CauseSpec) {
	at := c.At["fixes"]
	for _, f := range c.Fixes {
		if !slices.Contains(diagnosis.Risks, f.Risk) {
			l.fail(at, "risk: "+strings.Join(diagnosis.Risks, ", "), "fix %q has risk %q", f.Title, f.Risk)
		}
		if f.Automatic && (len(f.Commands) == 0 || len(f.Undo) == 0 || f.Kind == "advise" || f.Kind == "ask") {
			l.fail(at, "", "fix %q is automatic but has no commands, or no undo", f.Title)
		}
	}
}

func (l *linter) lab(c *diagnosis.CauseSpec) {
	for _, t := range c.Lab {
		reason, none := strings.CutPrefix(t.S, "none")
		switch {
		case none && strings.TrimSpace(strings.TrimPrefix(reason, ":")) == "":
			l.fail(t.Pos, `lab: "none: reason"`, "lab is none without a reason")
		case !none && l.scenario != nil && !l.scenario(t.S):
			l.fail(t.Pos, "holdfast lab list", "no laboratory scenario %q", t.S)
		}
	}
}

func (l *linter) selfTest(t *diagnosis.SelfTest) {
	if t.Name == "" {
		l.fail(t.Pos, "", "a case has no name")
	}
	if _, problems := caseOf(t); len(problems) > 0 {
		l.problems = append(l.problems, problems...)
	}
	e := t.Expect
	if e == nil {
		return
	}
	if _, ok := l.base.Cause(e.Cause); e.Cause != "" && e.Cause != "unknown" && !ok && !l.named[e.Cause] {
		l.fail(t.Pos, "", "case %q expects cause %q, which is none", t.Name, e.Cause)
	}
	if e.Sender != "" && e.Sender != fact.UnknownSender && !slices.Contains(diagnosis.Roles, e.Sender) {
		l.fail(t.Pos, "roles: "+strings.Join(diagnosis.Roles, ", "), "case %q expects sender %q, which is no role", t.Name, e.Sender)
	}
	for _, g := range []string{e.Grade, e.SenderGrade} {
		if g != "" && !slices.Contains([]string{"proved", "probable", "possible", "unknown"}, g) {
			l.fail(t.Pos, "proved, probable, possible, unknown", "case %q expects grade %q", t.Name, g)
		}
	}
}

// caseOf makes the case of a self-test.
func caseOf(t *diagnosis.SelfTest) (*fact.Case, []diagnosis.Problem) {
	c := newTestCase(t.Name)
	var problems []diagnosis.Problem
	for _, f := range t.Facts {
		if err := setFact(c, f); err != nil {
			problems = append(problems, diagnosis.Problem{Pos: f.Name.Pos, Message: err.Error(), Hint: hintFor(f.Name.S, err)})
		}
	}
	return c, problems
}

var errUnknownFact = errors.New("unknown fact")

func setFact(c *fact.Case, f diagnosis.FactSpec) error {
	d, ok := fact.Lookup(f.Name.S)
	if !ok {
		return fmt.Errorf("%w %q", errUnknownFact, f.Name.S)
	}
	v, err := d.Parse(f.Value)
	if err != nil {
		return err
	}
	if f.By != "" {
		if v.By, ok = fact.ParseWitness(f.By); !ok {
			return fmt.Errorf("unknown witness %q", f.By)
		}
	}
	d.Set(c, v)
	return nil
}

func hintFor(name string, err error) string {
	if !errors.Is(err, errUnknownFact) {
		return ""
	}
	return diagnosis.Suggest(name)
}
