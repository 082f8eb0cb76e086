package knowledge

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
)

// addMacros reads a macros.yaml: conditions by name, which expressions call
// $NAME, facts by name, which cases are like, fixes that several causes use, and
// the defaults of sysctls.
func (n *names) addMacros(file, src string) {
	d := &document{file: file, src: src, names: n}
	m, ok := d.parse()
	if ok {
		m.allow("macros", "sysctls", "conditions", "fixes", "given")
		for _, p := range d.pairs(m, "sysctls") {
			n.sysctls[p.key] = p.value
		}
		if node, there := m.val["conditions"]; there {
			c, _ := d.mapping(node, "conditions")
			for _, k := range c.keys {
				n.conditions[k] = strings.TrimSpace(c.text(k).S)
			}
		}
		if node, there := m.val["fixes"]; there {
			f, _ := d.mapping(node, "fixes")
			for _, k := range f.keys {
				if x, ok := d.mapping(f.val[k], "a fix"); ok {
					n.fixes[k] = d.fix(x)
				}
			}
		}
		if node, there := m.val["given"]; there {
			g, _ := d.mapping(node, "given")
			for _, k := range g.keys {
				n.given[k] = d.given(g.val[k])
			}
		}
	}
	n.problems = append(n.problems, d.problems...)
}

// byName is what an expression says by name.
var byName = regexp.MustCompile(`\$[a-z][a-z0-9-]*|\btimer\([a-z0-9-]*\)`)

// expand replaces the names of an expression by what they stand for. Places in
// what replaced a name are that of the name.
func (d *document) expand(t diagnosis.Text) diagnosis.Text {
	const deepest = 8 // conditions within conditions
	for range deepest {
		i := byName.FindStringIndex(t.S)
		if i == nil {
			return t
		}
		name := t.S[i[0]:i[1]]
		text, hint := d.stands(name)
		if hint != "" {
			d.problem(t.At(len([]rune(t.S[:i[0]]))), "unknown name %s", name).Hint = hint
			return t // which does not compile
		}
		t = replaced(t, i[0], i[1], text)
	}
	d.problem(t.Pos, "an expression with more than %d names, or conditions that name each other", deepest)
	return diagnosis.Text{Pos: t.Pos}
}

// stands is what a name stands for, or a hint when there is none of that name.
func (d *document) stands(name string) (text, hint string) {
	if name == "$words" && d.words != "" {
		return "(" + d.words + ")", ""
	}
	if d.names == nil {
		return "", "no names here"
	}
	if macro, ok := strings.CutPrefix(name, "$"); ok {
		text, ok := d.names.conditions[macro]
		if !ok {
			return "", "conditions of macros.yaml: " + strings.Join(slices.Sorted(maps.Keys(d.names.conditions)), ", ")
		}
		return "(" + text + ")", ""
	}
	list, known := d.names.times(strings.TrimSuffix(strings.TrimPrefix(name, "timer("), ")"))
	switch {
	case len(list) == 0:
		return "", "names of timers.yaml: " + strings.Join(d.names.timerNames(), ", ")
	case known:
		return "", "open a source first: no row of that name in timers.yaml was measured or read"
	}
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = strconv.FormatFloat(x, 'f', -1, 64)
	}
	return "[" + strings.Join(words, ", ") + "]", ""
}

// replaced puts text in the place of bytes from to end of t.
func replaced(t diagnosis.Text, from, end int, text string) diagnosis.Text {
	old, start := t, len([]rune(t.S[:from]))
	gone, come := len([]rune(t.S[from:end])), len([]rune(text))
	return diagnosis.Text{S: t.S[:from] + text + t.S[end:], Pos: t.Pos, Map: func(offset int) diagnosis.Pos {
		switch {
		case offset < start:
			return old.At(offset)
		case offset < start+come:
			return old.At(start)
		}
		return old.At(offset - come + gone)
	}}
}

// expr reads key as an expression.
func (m mapping) expr(key string) diagnosis.Text { return m.d.expand(m.text(key)) }

// exprs reads key as a list of expressions.
func (m mapping) exprs(key string) []diagnosis.Text {
	list := m.texts(key)
	for i := range list {
		list[i] = m.d.expand(list[i])
	}
	return list
}

// overlay returns the facts of base with those of over put over them; a fact of
// over that unlooked names is taken out.
func overlay(base, over []diagnosis.FactSpec) []diagnosis.FactSpec {
	list := slices.Clone(base)
	for _, f := range over {
		if i := slices.IndexFunc(list, func(g diagnosis.FactSpec) bool { return g.Name.S == f.Name.S }); i >= 0 {
			list[i] = f
		} else {
			list = append(list, f)
		}
	}
	return slices.DeleteFunc(list, func(f diagnosis.FactSpec) bool { return f.Value == notLooked })
}

// notLooked is the value of a fact that nobody looked at, other than the facts
// it is put over: {rst.ttl: not looked}.
const notLooked = "not looked"

// likes reads "like": the names of facts that a case, or a given, begins with.
func (d *document) likes(m mapping) []diagnosis.FactSpec {
	var list []diagnosis.FactSpec
	for _, t := range m.texts("like") {
		g, ok := []diagnosis.FactSpec(nil), false
		if d.names != nil {
			g, ok = d.names.given[t.S]
		}
		if !ok {
			p := d.problem(t.Pos, "like names %q, which is no given of macros.yaml", t.S)
			if d.names != nil {
				p.Hint = "known: " + strings.Join(slices.Sorted(maps.Keys(d.names.given)), ", ")
			}
			continue
		}
		list = overlay(list, g)
	}
	return list
}
