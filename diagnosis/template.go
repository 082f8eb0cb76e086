package diagnosis

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-project/holdfast/fact"
)

// Template is a text with values of a case in it, in the syntax of
// text/template: {{.sender.reason}}, {{bytes .sender.sock.unread_bytes}},
// {{if .sender.proc.exiting}} ... {{else}} ... {{end}}, and the functions of
// templateFuncs. Besides the facts it knows flow.client, flow.server and host.
//
// A sentence that names a fact which is not present, or an amount of 0 bytes, is
// left out: a text says only what holds. In a condition such a fact counts as
// false; a comparison with
// it is false. Values cannot smuggle anything in: they are inserted as text,
// with control characters escaped and at most maxValue bytes of each.
type Template struct {
	nodes []renderer
}

const maxValue = 300

// unsaid marks, while a text is made, the place of a value that is not there.
// No value contains it, because control characters are escaped.
const unsaid = 0

// renderer appends its part of the text to b.
type renderer func(b []byte, c *fact.Case) []byte

// Render returns the text for c, without white space around it. The zero
// Template and nil render to nothing.
func (t *Template) Render(c *fact.Case) string {
	if t == nil || len(t.nodes) == 0 {
		return ""
	}
	var buf [512]byte
	b := buf[:0]
	for _, n := range t.nodes {
		b = n(b, c)
	}
	return strings.TrimSpace(string(sayable(b)))
}

// sayable returns b without the sentences that have an unsaid value.
func sayable(b []byte) []byte {
	if bytes.IndexByte(b, unsaid) < 0 {
		return b
	}
	var out []byte
	for len(b) > 0 {
		n := sentence(b)
		if bytes.IndexByte(b[:n], unsaid) < 0 {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}

// sentence returns the length of the first sentence of b with the space behind
// it. It ends with a full stop, a question mark or an exclamation mark before a space, or with b.
func sentence(b []byte) int {
	for i := range b {
		if bytes.IndexByte([]byte(".?!"), b[i]) < 0 || i+1 < len(b) && !unicode.IsSpace(rune(b[i+1])) {
			continue
		}
		for i++; i < len(b) && unicode.IsSpace(rune(b[i])); i++ {
		}
		return i
	}
	return len(b)
}

// CompileTemplate parses a template and checks the facts it names.
func CompileTemplate(t Text) (*Template, []Problem) {
	if t.S == "" {
		return nil, nil
	}
	tree := parse.New("says")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(t.S, "{{", "}}", map[string]*parse.Tree{}); err != nil {
		return nil, []Problem{templateError(t, err)}
	}
	x := templateCompiler{text: t}
	nodes := x.list(tree.Root)
	if len(x.problems) > 0 {
		return nil, x.problems
	}
	return &Template{nodes}, nil
}

var templatePlace = regexp.MustCompile(`^template: says:(\d+): ?`)

// templateError turns "template: says:2: message" into a place and a message.
func templateError(t Text, err error) Problem {
	p := Problem{Pos: t.Pos, Message: "template: " + templatePlace.ReplaceAllString(err.Error(), "")}
	if m := templatePlace.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		offset := 0
		for i, l := range strings.SplitAfter(t.S, "\n") {
			if i+1 == line {
				p.Pos = t.At(offset)
				break
			}
			offset += utf8.RuneCountInString(l)
		}
	}
	return p
}

type templateCompiler struct {
	text     Text
	problems []Problem
}

func (x *templateCompiler) fail(n parse.Node, message, hint string) term {
	at := 0
	if n != nil && int(n.Position()) <= len(x.text.S) {
		at = utf8.RuneCountInString(x.text.S[:n.Position()])
	}
	x.problems = append(x.problems, Problem{Pos: x.text.At(at), Message: "template: " + message, Hint: hint})
	return nil
}

func (x *templateCompiler) list(l *parse.ListNode) []renderer {
	if l == nil {
		return nil
	}
	var nodes []renderer
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			s := string(n.Text)
			nodes = append(nodes, func(b []byte, _ *fact.Case) []byte { return append(b, s...) })
		case *parse.ActionNode:
			if f := x.pipe(n.Pipe); f != nil {
				nodes = append(nodes, func(b []byte, c *fact.Case) []byte { return f(c).append(b) })
			}
		case *parse.IfNode:
			nodes = append(nodes, x.branch(n))
		default:
			x.fail(n, fmt.Sprintf("unsupported construct %.40q", n.String()), "{{.fact}}, {{function .fact}} and {{if}} are")
		}
	}
	return nodes
}

func (x *templateCompiler) branch(n *parse.IfNode) renderer {
	cond, yes, no := x.pipe(n.Pipe), x.list(n.List), x.list(n.ElseList)
	return func(b []byte, c *fact.Case) []byte {
		nodes := no
		if cond(c).truth() {
			nodes = yes
		}
		for _, f := range nodes {
			b = f(b, c)
		}
		return b
	}
}

// datum is a value in a template: a fact, a constant or a result.
type datum struct {
	kind valueKind // boolean, number or text; invalid when not present
	b    bool
	n    float64
	s    string
	unit time.Duration // of a duration
}

// term is a compiled sub-expression of a template.
type term func(c *fact.Case) datum

func (d datum) truth() bool {
	switch d.kind {
	case boolean:
		return d.b
	case number:
		return d.n != 0
	case text:
		return d.s != ""
	}
	return false
}

func (d datum) append(b []byte) []byte {
	switch d.kind {
	case boolean:
		return strconv.AppendBool(b, d.b)
	case number:
		return appendNumber(b, d.n)
	case text:
		return appendSafe(b, d.s)
	}
	return append(b, unsaid)
}

// appendNumber writes at most three decimals.
func appendNumber(b []byte, n float64) []byte {
	start := len(b)
	b = strconv.AppendFloat(b, n, 'f', 3, 64)
	if i := strings.IndexByte(string(b[start:]), '.'); i >= 0 {
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
		if b[len(b)-1] == '.' {
			b = b[:len(b)-1]
		}
	}
	return b
}

// appendSafe writes a value that a stranger may have chosen: control and
// invisible characters, which could command a terminal, are escaped.
func appendSafe(b []byte, s string) []byte {
	cut := len(s) > maxValue
	if cut {
		s = s[:maxValue]
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = fmt.Appendf(b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b = append(b, s[i:i+size]...)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b = append(b, q[1:len(q)-1]...)
		}
		i += size
	}
	if cut {
		b = append(b, "..."...)
	}
	return b
}

func (x *templateCompiler) pipe(p *parse.PipeNode) term {
	if len(p.Decl) > 0 {
		return x.fail(p, "variables are not supported", "")
	}
	var last term
	for i, cmd := range p.Cmds {
		last = x.command(cmd, last, i > 0)
		if last == nil {
			return nil
		}
	}
	return last
}

func (x *templateCompiler) command(cmd *parse.CommandNode, before term, piped bool) term {
	id, isFunc := cmd.Args[0].(*parse.IdentifierNode)
	if !isFunc {
		if len(cmd.Args) > 1 || piped {
			return x.fail(cmd, fmt.Sprintf("%s is not a function", cmd.Args[0]), "")
		}
		return x.arg(cmd.Args[0])
	}
	var args []term
	for _, a := range cmd.Args[1:] {
		t := x.arg(a)
		if t == nil {
			return nil
		}
		args = append(args, t)
	}
	if piped {
		args = append(args, before)
	}
	return x.function(cmd, id.Ident, args)
}

func (x *templateCompiler) arg(n parse.Node) term {
	switch n := n.(type) {
	case *parse.FieldNode:
		return x.field(n, strings.Join(n.Ident, "."))
	case *parse.PipeNode:
		return x.pipe(n)
	case *parse.StringNode:
		return constant(datum{kind: text, s: n.Text})
	case *parse.BoolNode:
		return constant(datum{kind: boolean, b: n.True})
	case *parse.NumberNode:
		if n.IsFloat {
			return constant(datum{kind: number, n: n.Float64})
		}
	case *parse.IdentifierNode:
		return x.function(n, n.Ident, nil)
	}
	return x.fail(n, fmt.Sprintf("unsupported value %.40q", n.String()), "")
}

func constant(d datum) term { return func(*fact.Case) datum { return d } }

func (x *templateCompiler) field(n parse.Node, name string) term {
	switch name {
	case "flow.client":
		return func(c *fact.Case) datum { return address(c.Flow.Client.IsValid(), c.Flow.Client.String) }
	case "flow.server":
		return func(c *fact.Case) datum { return address(c.Flow.Server.IsValid(), c.Flow.Server.String) }
	case "host":
		return func(c *fact.Case) datum { return address(c.Host != "", func() string { return c.Host }) }
	}
	d, ok := fact.Lookup(name)
	if !ok {
		return x.fail(n, fmt.Sprintf("unknown fact %q", name), Suggest(name))
	}
	kind := [...]valueKind{fact.Bool: boolean, fact.Int: number, fact.Float: number, fact.String: text}[d.Kind]
	return func(c *fact.Case) datum {
		v := d.Of(c)
		if v.State != fact.Present {
			return datum{}
		}
		return datum{kind: kind, b: v.Bool, n: v.Num, s: v.Str, unit: d.Unit}
	}
}

func address(ok bool, s func() string) datum {
	if !ok {
		return datum{}
	}
	return datum{kind: text, s: s()}
}

// templateFuncs are the functions of templates, with their least and greatest
// number of arguments (-1: any).
var templateFuncs = map[string]struct {
	min, max int
	f        func(args []datum) datum
}{
	"bytes":   {1, 1, func(a []datum) datum { return amount(a[0]) }},
	"dur":     {1, 1, func(a []datum) datum { return humane(a[0], durationOf(a[0].unit)) }},
	"present": {1, 1, func(a []datum) datum { return yesNo(a[0].kind != invalid) }},
	"not":     {1, 1, func(a []datum) datum { return yesNo(!a[0].truth()) }},
	"eq":      {2, -1, func(a []datum) datum { return yesNo(slices.ContainsFunc(a[1:], a[0].equal)) }},
	"ne":      {2, 2, func(a []datum) datum { return yesNo(a[0].comparable(a[1]) && !a[0].equal(a[1])) }},
	"lt":      {2, 2, func(a []datum) datum { return yesNo(a[0].less(a[1])) }},
	"le":      {2, 2, func(a []datum) datum { return yesNo(a[0].less(a[1]) || a[0].equal(a[1])) }},
	"gt":      {2, 2, func(a []datum) datum { return yesNo(a[1].less(a[0])) }},
	"ge":      {2, 2, func(a []datum) datum { return yesNo(a[1].less(a[0]) || a[0].equal(a[1])) }},
	"and":     {1, -1, func(a []datum) datum { return pick(a, false) }},
	"or":      {1, -1, func(a []datum) datum { return pick(a, true) }},
}

func (x *templateCompiler) function(n parse.Node, name string, args []term) term {
	f, ok := templateFuncs[name]
	if !ok {
		var known []string
		for k := range templateFuncs {
			known = append(known, k)
		}
		slices.Sort(known)
		return x.fail(n, fmt.Sprintf("unknown function %s", name), "functions: "+strings.Join(known, ", "))
	}
	if len(args) < f.min || f.max >= 0 && len(args) > f.max {
		return x.fail(n, fmt.Sprintf("%s takes %d argument(s), not %d", name, f.min, len(args)), "")
	}
	return func(c *fact.Case) datum {
		var room [4]datum
		values := room[:0]
		for _, a := range args {
			values = append(values, a(c))
		}
		return f.f(values)
	}
}

func yesNo(b bool) datum { return datum{kind: boolean, b: b} }

// pick returns the first argument of the wanted truth, else the last, as and
// and or of text/template do.
func pick(args []datum, want bool) datum {
	for _, a := range args {
		if a.truth() == want {
			return a
		}
	}
	return args[len(args)-1]
}

func (d datum) comparable(e datum) bool { return d.kind == e.kind && d.kind != invalid }

func (d datum) equal(e datum) bool {
	return d.comparable(e) && d.b == e.b && d.n == e.n && d.s == e.s
}

func (d datum) less(e datum) bool {
	return d.kind == e.kind && (d.kind == number && d.n < e.n || d.kind == text && d.s < e.s)
}

// amount is a number of bytes; none is nothing to speak of.
func amount(d datum) datum {
	if d.kind == number && d.n == 0 {
		return datum{}
	}
	return humane(d, Bytes)
}

func humane(d datum, f func(float64) string) datum {
	if d.kind != number {
		return d
	}
	return datum{kind: text, s: f(d.n)}
}

// Bytes writes a number of bytes for humans: "1 byte", "512 bytes", "1.5 KiB".
func Bytes(n float64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1<<10:
		return string(appendNumber(nil, n)) + " bytes"
	case n < 1<<20:
		return strconv.FormatFloat(n/(1<<10), 'f', 1, 64) + " KiB"
	case n < 1<<30:
		return strconv.FormatFloat(n/(1<<20), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatFloat(n/(1<<30), 'f', 1, 64) + " GiB"
}

// durationOf returns a writer of numbers in the given unit, seconds when 0.
func durationOf(unit time.Duration) func(float64) string {
	if unit == 0 {
		unit = time.Second
	}
	return func(n float64) string { return Duration(n * unit.Seconds()) }
}

// Duration writes a number of seconds for humans: "350 s", "1.5 ms", "2.5 h".
func Duration(s float64) string {
	for _, u := range []struct {
		below, size float64
		name        string
	}{{1e-3, 1e-6, " µs"}, {1, 1e-3, " ms"}, {600, 1, " s"}, {7200, 60, " min"}, {48 * 3600, 3600, " h"}} {
		if s < u.below {
			v := s / u.size
			digits := 1
			if v >= 100 {
				digits = 0
			}
			return strings.TrimSuffix(strconv.FormatFloat(v, 'f', digits, 64), ".0") + u.name
		}
	}
	return strings.TrimSuffix(strconv.FormatFloat(s/86400, 'f', 1, 64), ".0") + " days"
}
