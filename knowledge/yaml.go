package knowledge

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/holdfast-project/holdfast/diagnosis"
)

// document is one YAML file while it is decoded. Decoding goes on after a
// problem, so that one run shows all of them.
type document struct {
	file     string
	src      string
	words    string // what $words stands for in this file
	names    *names // what expressions and cases may say by name; may be nil
	problems []diagnosis.Problem
}

// parse returns the top-level mapping of the file; ok is false when there is
// none, with the reason among the problems.
func (d *document) parse() (m mapping, ok bool) {
	f, err := parser.ParseBytes([]byte(d.src), 0)
	if err != nil {
		d.syntax(err)
		return m, false
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		d.problem(diagnosis.Pos{File: d.file, Line: 1, Column: 1}, "one YAML document expected, found %d", len(f.Docs))
		return m, false
	}
	return d.mapping(f.Docs[0].Body, "the file")
}

// list returns the entries of a file that is one list.
func (d *document) list() []ast.Node {
	f, err := parser.ParseBytes([]byte(d.src), 0)
	if err != nil {
		d.syntax(err)
		return nil
	}
	if len(f.Docs) == 1 {
		if seq, ok := f.Docs[0].Body.(*ast.SequenceNode); ok {
			return seq.Values
		}
	}
	d.problem(diagnosis.Pos{File: d.file, Line: 1, Column: 1}, "one list expected")
	return nil
}

func (d *document) syntax(err error) {
	p := diagnosis.Problem{Pos: diagnosis.Pos{File: d.file}, Message: err.Error()}
	var s *yaml.SyntaxError
	if errors.As(err, &s) {
		p.Message = s.Message
		if s.Token != nil && s.Token.Position != nil {
			p.Pos.Line, p.Pos.Column = s.Token.Position.Line, s.Token.Position.Column
		}
	}
	p.Message = "YAML: " + p.Message
	d.problems = append(d.problems, p)
}

func (d *document) problem(at diagnosis.Pos, format string, args ...any) *diagnosis.Problem {
	d.problems = append(d.problems, diagnosis.Problem{Pos: at, Message: fmt.Sprintf(format, args...)})
	return &d.problems[len(d.problems)-1]
}

func (d *document) pos(n ast.Node) diagnosis.Pos {
	p := diagnosis.Pos{File: d.file}
	if n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
		at := n.GetToken().Position
		p.Line, p.Column = at.Line, at.Column
	}
	return p
}

// mapping is a YAML mapping with the keys in file order.
type mapping struct {
	d    *document
	keys []string
	val  map[string]ast.Node
	at   map[string]diagnosis.Pos
	pos  diagnosis.Pos
}

// mapping reads n as a mapping; what names it in the problem when it is not.
func (d *document) mapping(n ast.Node, what string) (mapping, bool) {
	m := mapping{d: d, val: map[string]ast.Node{}, at: map[string]diagnosis.Pos{}, pos: d.pos(n)}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.problem(d.pos(n), "%s must be a mapping (key: value), not %s", what, kind(n))
		return m, false
	}
	for i, v := range values {
		key := v.Key.GetToken().Value
		at := d.pos(v.Key)
		if i == 0 {
			m.pos = at
		}
		if _, dup := m.val[key]; dup {
			d.problem(at, "key %q stands twice", key)
			continue
		}
		m.keys = append(m.keys, key)
		m.val[key], m.at[key] = v.Value, at
	}
	return m, true
}

// allow reports every key that is not in known.
func (m mapping) allow(what string, known ...string) {
	for _, k := range m.keys {
		if slices.Contains(known, k) {
			continue
		}
		p := m.d.problem(m.at[k], "unknown key %q in %s", k, what)
		if near := diagnosis.Nearest(k, known); near != "" {
			p.Hint = fmt.Sprintf("did you mean %q?", near)
		} else {
			p.Hint = "known keys: " + strings.Join(known, ", ")
		}
	}
}

func kind(n ast.Node) string {
	switch n := n.(type) {
	case nil:
		return "nothing"
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.TagNode:
		return "a YAML tag"
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
		return "a YAML alias or anchor"
	case *ast.BoolNode:
		return "the boolean " + n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode:
		return "the number " + n.GetToken().Value
	}
	return "a string"
}

// text reads key as a string; numbers and booleans are taken as written.
func (m mapping) text(key string) diagnosis.Text {
	n, ok := m.val[key]
	if !ok {
		return diagnosis.Text{}
	}
	return m.d.text(n, key)
}

// str reads key as a plain string without surrounding white space.
func (m mapping) str(key string) string { return strings.TrimSpace(m.text(key).S) }

func (d *document) text(n ast.Node, what string) diagnosis.Text {
	t := diagnosis.Text{Pos: d.pos(n)}
	switch n := n.(type) {
	case *ast.StringNode:
		t.S = n.Value
	case *ast.LiteralNode:
		t.S = n.Value.Value
		t.Pos = d.pos(n)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		t.S = n.GetToken().Value
	case *ast.TagNode:
		d.problem(t.Pos, "%s must be a string, and YAML reads a leading ! as a tag", what).Hint = "quote it, or write not"
		return t
	default:
		d.problem(t.Pos, "%s must be a string, not %s", what, kind(n))
		return t
	}
	at := t.Pos
	s := t.S
	_, block := n.(*ast.LiteralNode)
	t.Map = func(offset int) diagnosis.Pos { return d.locate(at, s, offset, block) }
	return t
}

// locate finds the place in the file of the rune at offset of the scalar s that
// starts at pos. Both are walked in step: a character of the file that is not
// in the string (quote, escape, indentation, fold) is skipped.
func (d *document) locate(pos diagnosis.Pos, s string, offset int, block bool) diagnosis.Pos {
	lines := strings.SplitAfter(d.src, "\n")
	line, col := pos.Line-1, pos.Column-1
	if line < 0 || line >= len(lines) {
		return pos
	}
	if block {
		line, col = line+1, 0
	}
	var src []rune
	next := func() bool { // stands on a rune of the file, or reports its end
		for {
			if src == nil {
				if line >= len(lines) {
					return false
				}
				src = []rune(lines[line])
			}
			if col < len(src) {
				return true
			}
			src, line, col = nil, line+1, 0
		}
	}
	for i, r := range []rune(s) {
		for next() && src[col] != r && !(unicode.IsSpace(r) && unicode.IsSpace(src[col])) {
			col++
		}
		if i == offset {
			break
		}
		if next() {
			col++
		}
	}
	if line >= len(lines) {
		return pos
	}
	return diagnosis.Pos{File: pos.File, Line: line + 1, Column: col + 1}
}

// texts reads key as a list of strings; a single string is a list of one.
func (m mapping) texts(key string) []diagnosis.Text {
	n, ok := m.val[key]
	if !ok {
		return nil
	}
	if _, null := n.(*ast.NullNode); null {
		return nil
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return []diagnosis.Text{m.d.text(n, key)}
	}
	list := make([]diagnosis.Text, 0, len(seq.Values))
	for _, v := range seq.Values {
		list = append(list, m.d.text(v, "an entry of "+key))
	}
	return list
}

// strs is texts without places.
func (m mapping) strs(key string) []string {
	var list []string
	for _, t := range m.texts(key) {
		list = append(list, t.S)
	}
	return list
}

// list reads key as a list of nodes.
func (m mapping) list(key string) []ast.Node {
	n, ok := m.val[key]
	if !ok {
		return nil
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return nil
	case *ast.SequenceNode:
		return n.Values
	}
	m.d.problem(m.d.pos(n), "%s must be a list (lines starting with -), not %s", key, kind(n))
	return nil
}

// num reads key as a number; ok is false when the key is missing.
func (m mapping) num(key string) (x float64, ok bool) {
	n, there := m.val[key]
	if !there {
		return 0, false
	}
	switch n := n.(type) {
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			return float64(v), true
		case uint64:
			return float64(v), true
		}
	case *ast.FloatNode:
		return n.Value, true
	}
	m.d.problem(m.d.pos(n), "%s must be a number, not %s", key, kind(n))
	return 0, false
}

// flag reads key as true or false; a missing key is false.
func (m mapping) flag(key string) (value, ok bool) {
	n, there := m.val[key]
	if !there {
		return false, false
	}
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value, true
	}
	m.d.problem(m.d.pos(n), "%s must be true or false, not %s", key, kind(n))
	return false, false
}
