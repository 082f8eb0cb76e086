package knowledge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-project/holdfast/diagnosis"
)

var (
	causeKeys = []string{"id", "title", "class", "outcome", "benign", "senders", "frequency", "harm", "family", "requires", "contradicts", "evidence",
		"excludes", "symptoms", "words", "said", "says", "effect", "wire", "fixes", "confirm", "prevent", "references", "lab", "look_alikes", "given", "cases"}
	senderKeys = []string{"id", "title", "outcome", "frequency", "prior", "requires", "contradicts", "evidence", "says", "given", "cases"}
	lineKeys   = []string{"if", "weight", "against", "seen", "otherwise", "witness", "says"}
	vetoKeys   = []string{"if", "must_check"}
	caseKeys   = []string{"name", "like", "facts", "expect", "not"}
	expectKeys = []string{"sender", "cause", "grade", "sender_grade", "harmful"}
)

// source is a knowledge file. Its self-tests, about half of it, are read only
// when somebody asks for them, because Load stands before the first verdict of
// watch and nearly all of its time is spent in the YAML parser.
type source struct {
	name  string // in problems
	level int    // 0 is embedded, then the directories in order
	names *names // what the file may say by name
	read  func() ([]byte, error)
}

// withoutCases cuts the self-tests, and what they have in common, off src when
// they are the last keys of the file; found says whether there are any.
func withoutCases(src string) (head string, found bool) {
	i := strings.Index(src, "\ncases:")
	if i < 0 {
		return src, false
	}
	if g := strings.Index(src, "\ngiven:"); g >= 0 && g < i {
		i = g
	}
	for line := range strings.SplitSeq(src[i+1:], "\n") {
		if line != "" && !strings.ContainsRune(" \t\r-#", rune(line[0])) && !strings.HasPrefix(line, "cases:") && !strings.HasPrefix(line, "given:") {
			return src, true // another key follows: read it all
		}
	}
	return src[:i+1], true
}

// tests returns a function that reads the self-tests of the file.
func (s source) tests() func() []diagnosis.SelfTest {
	return func() []diagnosis.SelfTest {
		src, err := s.read()
		if err != nil {
			return nil
		}
		list, _ := decodeTests(s, src)
		return list
	}
}

// decodeTests reads only the self-tests of a file.
func decodeTests(file source, src []byte) ([]diagnosis.SelfTest, []diagnosis.Problem) {
	d := &document{file: file.name, src: string(src), names: file.names}
	m, ok := d.parse()
	if !ok {
		return nil, d.problems
	}
	return decodeCases(m), d.problems
}

// decodeCause reads one cause file. Problems do not stop it.
func decodeCause(file source, src string) (diagnosis.CauseSpec, []diagnosis.Problem) {
	head, tests := withoutCases(src)
	d := &document{file: file.name, src: head, names: file.names}
	c := diagnosis.CauseSpec{Pos: diagnosis.Pos{File: file.name}}
	if tests {
		c.Cases = file.tests()
	}
	m, ok := d.parse()
	if !ok {
		return c, d.problems
	}
	m.allow("a cause", causeKeys...)
	words := m.words()
	c.At = m.at
	c.ID, c.Title, c.Class = m.str("id"), m.str("title"), m.str("class")
	c.Outcomes = m.texts("outcome")
	c.Benign, _ = m.flag("benign")
	c.Senders = m.texts("senders")
	c.Frequency = m.str("frequency")
	c.Harm = m.texts("harm")
	c.Family = m.text("family")
	c.Requires, c.Contradicts = m.exprs("requires"), decodeContradictions(m)
	c.Evidence = append(words, decodeLines(m)...)
	c.Excludes = m.texts("excludes")
	c.Symptoms, c.Words, c.Said, c.Wire = m.strs("symptoms"), m.strs("words"), m.strs("said"), m.strs("wire")
	c.Says, c.Effect = m.text("says"), m.text("effect")
	c.Fixes = d.fixes(m)
	c.Confirm, c.HowToConfirm = d.confirm(m)
	c.Prevent = m.str("prevent")
	c.References = m.strs("references")
	c.Lab = decodeLab(m)
	c.LookAlikes = m.texts("look_alikes")
	return c, d.problems
}

// decodeSender reads one sender file. Problems do not stop it.
func decodeSender(file source, src string) (diagnosis.SenderSpec, []diagnosis.Problem) {
	head, tests := withoutCases(src)
	d := &document{file: file.name, src: head, names: file.names}
	s := diagnosis.SenderSpec{Pos: diagnosis.Pos{File: file.name}}
	if tests {
		s.Cases = file.tests()
	}
	m, ok := d.parse()
	if !ok {
		return s, d.problems
	}
	m.allow("a sender", senderKeys...)
	s.At = m.at
	s.ID, s.Title = m.str("id"), m.str("title")
	s.Outcomes = m.texts("outcome")
	s.Frequency = m.str("frequency")
	if x, ok := m.num("prior"); ok {
		s.Prior = &x
	}
	s.Requires, s.Contradicts = m.exprs("requires"), decodeContradictions(m)
	s.Evidence = decodeLines(m)
	s.Says = m.text("says")
	return s, d.problems
}

// decodeLab also takes "none: reason" without quotes, which YAML reads as a mapping.
func decodeLab(m mapping) []diagnosis.Text {
	switch n := m.val["lab"].(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		l, _ := m.d.mapping(n, "lab")
		l.allow("lab", "none")
		t := l.text("none")
		return []diagnosis.Text{{S: "none: " + t.S, Pos: t.Pos}}
	}
	return m.texts("lab")
}

func decodeLines(m mapping) []diagnosis.Line {
	var list []diagnosis.Line
	for _, n := range m.list("evidence") {
		e, ok := m.d.mapping(n, "a line of evidence")
		if !ok {
			continue
		}
		e.allow("a line of evidence", lineKeys...)
		l := diagnosis.Line{If: e.expr("if"), Witness: e.text("witness"), Says: e.text("says")}
		if l.If.S == "" {
			m.d.problem(e.pos, "a line of evidence has no expression").Hint = "if: sender.reason == \"NO_SOCKET\""
			continue
		}
		l.Weight, l.Against, l.Otherwise = e.text("weight"), e.text("against"), e.text("otherwise")
		if x, ok := e.num("seen"); ok {
			n := int(x)
			l.Seen = &n
		}
		list = append(list, l)
	}
	return list
}

// decodeContradictions reads a list of expressions, of which those that must be
// checked are written {if: ..., must_check: true}.
func decodeContradictions(m mapping) []diagnosis.Contradiction {
	var list []diagnosis.Contradiction
	for _, n := range m.list("contradicts") {
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			e, _ := m.d.mapping(n, "a contradiction")
			e.allow("a contradiction", vetoKeys...)
			c := diagnosis.Contradiction{If: e.expr("if")}
			c.MustCheck, _ = e.flag("must_check")
			list = append(list, c)
		default:
			list = append(list, diagnosis.Contradiction{If: m.d.expand(m.d.text(n, "an entry of contradicts"))})
		}
	}
	return list
}

func decodeCases(m mapping) []diagnosis.SelfTest {
	var list []diagnosis.SelfTest
	common := m.d.given(m.val["given"])
	for _, n := range m.list("cases") {
		t, ok := m.d.mapping(n, "a case")
		if !ok {
			continue
		}
		t.allow("a case", caseKeys...)
		c := diagnosis.SelfTest{Name: t.str("name"), Not: t.texts("not"), Pos: t.pos}
		c.Facts = slices.Clone(common)
		if _, ok := t.val["like"]; ok {
			c.Facts = m.d.likes(t) // instead of what the file's cases have in common
		}
		if f, ok := t.val["facts"]; ok {
			c.Facts = overlay(c.Facts, m.d.facts(f))
		}
		if x, ok := t.val["expect"]; ok {
			c.Expect = m.d.expect(x)
		}
		if c.Expect == nil && len(c.Not) == 0 {
			m.d.problem(t.pos, "case %q expects nothing", c.Name).Hint = "give expect: {cause: ID, grade: proved}, or not: ID"
		}
		list = append(list, c)
	}
	return list
}

func (d *document) expect(n ast.Node) *diagnosis.Expect {
	m, ok := d.mapping(n, "expect")
	if !ok {
		return nil
	}
	m.allow("expect", expectKeys...)
	e := &diagnosis.Expect{Sender: m.str("sender"), Cause: m.str("cause"), Grade: m.str("grade"), SenderGrade: m.str("sender_grade")}
	if v, ok := m.flag("harmful"); ok {
		e.Harmful = &v
	}
	return e
}

// given reads facts that begin with those of others: {like: idle-close, phase: closed}.
func (d *document) given(n ast.Node) []diagnosis.FactSpec {
	if n == nil {
		return nil
	}
	m, ok := d.mapping(n, "given")
	if !ok {
		return nil
	}
	return overlay(d.likes(m), d.facts(n))
}

// facts reads a mapping of fact names to values; null is absent, and
// {value: v, by: witness} names another witness than the declared one.
func (d *document) facts(n ast.Node) []diagnosis.FactSpec {
	if _, empty := n.(*ast.NullNode); empty {
		return nil
	}
	m, ok := d.mapping(n, "facts")
	if !ok {
		return nil
	}
	var list []diagnosis.FactSpec
	for _, k := range m.keys {
		if k == "like" {
			continue
		}
		f := diagnosis.FactSpec{Name: diagnosis.Text{S: k, Pos: m.at[k]}}
		v := m.val[k]
		switch v.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			w, _ := d.mapping(v, k)
			w.allow("a fact with a witness", "value", "by")
			f.By, v = w.str("by"), w.val["value"]
		}
		x, err := scalar(v)
		if err != nil {
			d.problem(d.pos(v), "fact %s: %v", k, err)
			continue
		}
		f.Value = x
		list = append(list, f)
	}
	return list
}

func scalar(n ast.Node) (any, error) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			return float64(v), nil
		case uint64:
			return float64(v), nil
		}
	case *ast.FloatNode:
		return n.Value, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), nil
	}
	return nil, fmt.Errorf("value must be true, false, a number, a string or null, not %s", kind(n))
}
