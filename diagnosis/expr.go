package diagnosis

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"github.com/holdfast-project/holdfast/fact"
)

// Answer is the value of an expression in Kleene's three-valued logic.
type Answer uint8

// The three answers. NotKnown comes from facts that nobody looked at.
const (
	No Answer = iota
	Yes
	NotKnown
)

// String returns false, true or "not looked".
func (a Answer) String() string { return [...]string{"false", "true", "not looked"}[a] }

// Expr is a compiled expression over the facts of a case. It is immutable.
//
// The syntax is that of github.com/expr-lang/expr, of which it takes
// comparisons, and/or/not, in with a constant list or range, contains,
// startsWith, endsWith, matches with a constant pattern, + - * /, and the
// functions abs, near, past, present and absent.
//
// A comparison with a fact that was not looked at is NotKnown. With an absent
// fact it is No, and Yes for != and the other negated ones; a bare absent bool
// is No. Arithmetic with an absent fact, and division by zero, are absent.
// A definite answer never changes when more facts become known.
type Expr struct {
	Source string
	eval   condition
	facts  []fact.Def // in order of appearance, each once
	needs  []part     // its facts again, as a set
	blind  Answer     // when nobody looked at any of them
}

// part is a word of a fact.Set that is not empty.
type part struct {
	word int
	bits uint64
}

// Eval answers the expression for c. It allocates nothing.
func (e *Expr) Eval(c *fact.Case) Answer { return e.eval(c) }

// answer is Eval for a case of which it is known which facts were looked at.
// Most knowledge is about facts that most cases do not have.
func (e *Expr) answer(c *fact.Case, looked *fact.Set) Answer {
	for i := range e.needs {
		if p := &e.needs[i]; looked[p.word%len(looked)]&p.bits != 0 {
			return e.eval(c)
		}
	}
	return e.blind
}

// weighed notes what answer needs.
func (e *Expr) weighed() *Expr {
	var set fact.Set
	for i := range e.facts {
		set.Add(&e.facts[i])
	}
	for i, bits := range set {
		if bits != 0 {
			e.needs = append(e.needs, part{i, bits})
		}
	}
	e.blind = e.eval(&fact.Case{})
	return e
}

// Facts returns the facts that the expression names, in order of appearance.
func (e *Expr) Facts() []fact.Def { return slices.Clone(e.facts) }

// maxExpr limits the length of an expression, and so the depth of its tree.
const maxExpr = 4096

// CompileExpr parses and type-checks an expression. With problems the result
// is nil.
func CompileExpr(t Text) (*Expr, []Problem) {
	x := compiler{text: t}
	if len(t.S) > maxExpr {
		return nil, []Problem{{Pos: t.Pos, Message: fmt.Sprintf("expression is longer than %d characters", maxExpr)}}
	}
	if strings.TrimSpace(t.S) == "" {
		return nil, []Problem{{Pos: t.Pos, Message: "expression is empty"}}
	}
	tree, err := parser.Parse(t.S)
	if err != nil {
		x.syntax(err)
		return nil, x.problems
	}
	o := x.operand(tree.Node)
	if len(x.problems) == 0 && o.kind != boolean {
		x.fail(tree.Node, fmt.Sprintf("expression is a %s, not true or false", o.kind), "compare it with something")
	}
	if len(x.problems) == 0 && len(x.facts) == 0 {
		x.fail(tree.Node, "expression names no fact", "")
	}
	if len(x.problems) > 0 {
		return nil, x.problems
	}
	return (&Expr{Source: t.S, eval: o.condition(), facts: x.facts}).weighed(), nil
}

// compiler turns one syntax tree into closures.
type compiler struct {
	text     Text
	facts    []fact.Def
	problems []Problem
}

func (x *compiler) syntax(err error) {
	p := Problem{Pos: x.text.Pos, Message: err.Error()}
	var e *file.Error
	if errors.As(err, &e) {
		p.Pos, p.Message = x.text.At(e.From), "syntax: "+e.Message
	}
	if strings.Contains(x.text.S, "=") && strings.Contains(p.Message, `Operator("=")`) {
		p.Hint = "equality is =="
	}
	x.problems = append(x.problems, p)
}

// fail reports a problem at node n and returns the operand that stands for it.
func (x *compiler) fail(n ast.Node, message, hint string) operand {
	x.problems = append(x.problems, Problem{Pos: x.text.At(start(n)), Message: message, Hint: hint})
	return operand{kind: invalid}
}

// start is the offset of the first character of n.
func start(n ast.Node) int {
	switch n := n.(type) {
	case *ast.MemberNode:
		return start(n.Node)
	case *ast.BinaryNode:
		return start(n.Left)
	case *ast.CallNode:
		return start(n.Callee)
	}
	return n.Location().From
}

// valueKind is the static type of an operand.
type valueKind uint8

const (
	invalid valueKind = iota // a problem was reported already
	boolean
	number
	text
	list
	span
)

func (k valueKind) String() string {
	return [...]string{"mistake", "boolean", "number", "string", "list", "range"}[k]
}

type (
	condition func(*fact.Case) Answer
	boolFunc  func(*fact.Case) (bool, fact.State)
	numFunc   func(*fact.Case) (float64, fact.State)
	strFunc   func(*fact.Case) (string, fact.State)
)

// operand is a compiled sub-expression. Of the functions only one of its kind is
// set: for a boolean bf of a fact, cf of a condition; a constant has none.
type operand struct {
	kind  valueKind
	konst bool
	bf    boolFunc
	cf    condition
	nf    numFunc
	sf    strFunc
	b     bool
	n     float64
	s     string
	nums  []float64 // list of numbers, or the two ends of a range
	strs  []string  // list of strings
}

// known makes a boolean operand of a condition.
func known(f condition) operand { return operand{kind: boolean, cf: f} }

// condition makes a boolean operand answer; absent is No.
func (o operand) condition() condition {
	switch {
	case o.konst:
		a := truth(o.b)
		return func(*fact.Case) Answer { return a }
	case o.cf != nil:
		return o.cf
	}
	f := o.bf
	return func(c *fact.Case) Answer {
		v, s := f(c)
		return answer(s, v)
	}
}

func truth(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

func (o operand) number() numFunc {
	if o.konst {
		n := o.n
		return func(*fact.Case) (float64, fact.State) { return n, fact.Present }
	}
	return o.nf
}

func (o operand) text() strFunc {
	if o.konst {
		s := o.s
		return func(*fact.Case) (string, fact.State) { return s, fact.Present }
	}
	return o.sf
}

func (o operand) bool() boolFunc {
	if o.konst {
		b := o.b
		return func(*fact.Case) (bool, fact.State) { return b, fact.Present }
	}
	if o.bf != nil {
		return o.bf
	}
	f := o.cf
	return func(c *fact.Case) (bool, fact.State) {
		switch f(c) {
		case Yes:
			return true, fact.Present
		case No:
			return false, fact.Present
		}
		return false, fact.NotLooked
	}
}

func (x *compiler) operand(n ast.Node) operand {
	switch n := n.(type) {
	case *ast.BoolNode:
		return operand{kind: boolean, konst: true, b: n.Value}
	case *ast.IntegerNode:
		return operand{kind: number, konst: true, n: float64(n.Value)}
	case *ast.FloatNode:
		return operand{kind: number, konst: true, n: n.Value}
	case *ast.StringNode:
		return operand{kind: text, konst: true, s: n.Value}
	case *ast.NilNode:
		return x.fail(n, "nil is no value of a fact", "use present(x), absent(x) or looked(x)")
	case *ast.IdentifierNode, *ast.MemberNode:
		return x.fact(n)
	case *ast.UnaryNode:
		return x.unary(n)
	case *ast.BinaryNode:
		return x.binary(n)
	case *ast.ArrayNode:
		return x.array(n)
	case *ast.BuiltinNode:
		return x.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			return x.call(n, id.Value, n.Arguments)
		}
	}
	kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", n), "*ast."), "Node")
	return x.fail(n, "unsupported construct "+kind, "comparisons, and, or, not, in, contains, startsWith, endsWith, matches, + - * /, and functions "+strings.Join(functions, ", "))
}

// name returns the dotted name of a member chain.
func name(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.MemberNode:
		p, ok := n.Property.(*ast.StringNode)
		if !ok || n.Optional {
			return "", false
		}
		head, ok := name(n.Node)
		return head + "." + p.Value, ok
	}
	return "", false
}

func (x *compiler) def(n ast.Node) (*fact.Def, bool) {
	full, ok := name(n)
	if !ok {
		x.fail(n, "unsupported construct: a fact is named by words with dots between", "such as sender.sock.unread_bytes")
		return nil, false
	}
	d, ok := fact.Lookup(full)
	if !ok {
		x.fail(n, fmt.Sprintf("unknown fact %q", full), Suggest(full))
		return nil, false
	}
	if !slices.ContainsFunc(x.facts, func(e fact.Def) bool { return e.Name == d.Name }) {
		x.facts = append(x.facts, d)
	}
	return &d, true
}

// Suggest says what the author may have meant by the unknown fact name.
func Suggest(name string) string {
	var all, tails, members []string
	for _, d := range fact.Defs() {
		all = append(all, d.Name)
		if strings.HasSuffix(d.Name, "."+name) {
			tails = append(tails, d.Name)
		}
		if strings.HasPrefix(d.Name, name+".") {
			members = append(members, d.Name)
		}
	}
	switch {
	case len(members) > 0:
		return "this is a group of facts: " + strings.Join(members[:min(3, len(members))], ", ") + " ..."
	case len(tails) > 0:
		return "did you mean " + strings.Join(tails[:min(3, len(tails))], " or ") + "?"
	}
	if near := Nearest(name, all); near != "" {
		return "did you mean " + near + "?"
	}
	return "holdfast facts lists all of them"
}

func (x *compiler) fact(n ast.Node) operand {
	d, ok := x.def(n)
	if !ok {
		return operand{}
	}
	switch d.Kind {
	case fact.Bool:
		return operand{kind: boolean, bf: func(c *fact.Case) (bool, fact.State) { v := d.Of(c); return v.Bool, v.State }}
	case fact.String:
		return operand{kind: text, sf: func(c *fact.Case) (string, fact.State) { v := d.Of(c); return v.Str, v.State }}
	}
	return operand{kind: number, nf: func(c *fact.Case) (float64, fact.State) { v := d.Of(c); return v.Num, v.State }}
}

func (x *compiler) unary(n *ast.UnaryNode) operand {
	o := x.operand(n.Node)
	switch {
	case o.kind == invalid:
		return o
	case (n.Operator == "not" || n.Operator == "!") && o.kind == boolean:
		return known(negate(o.condition()))
	case n.Operator == "-" && o.kind == number && o.konst:
		o.n = -o.n
		return o
	case n.Operator == "+" && o.kind == number:
		return o
	case n.Operator == "-" && o.kind == number:
		f := o.nf
		return operand{kind: number, nf: func(c *fact.Case) (float64, fact.State) { v, s := f(c); return -v, s }}
	}
	hint := ""
	if n.Operator == "not" || n.Operator == "!" {
		hint = "write x not in [...] or not (x == y)"
	}
	return x.fail(n, fmt.Sprintf("%s cannot be applied to a %s", n.Operator, o.kind), hint)
}

func negate(f condition) condition {
	return func(c *fact.Case) Answer {
		switch f(c) {
		case Yes:
			return No
		case No:
			return Yes
		}
		return NotKnown
	}
}

func (x *compiler) array(n *ast.ArrayNode) operand {
	o := operand{kind: list, konst: true}
	for _, e := range n.Nodes {
		v := x.operand(e)
		switch {
		case v.kind == number && v.konst:
			o.nums = append(o.nums, v.n)
		case v.kind == text && v.konst:
			o.strs = append(o.strs, v.s)
		case v.kind == invalid:
			return v
		default:
			return x.fail(e, "a list may hold only constant strings or numbers", "")
		}
	}
	if len(o.nums) > 0 && len(o.strs) > 0 {
		return x.fail(n, "a list may not mix strings and numbers", "")
	}
	if len(n.Nodes) == 0 {
		return x.fail(n, "the list is empty", "")
	}
	return o
}
