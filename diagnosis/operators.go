package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/holdfast-project/holdfast/fact"
)

// functions are the names that an expression may call.
var functions = []string{"present", "absent", "near", "past", "abs"}

func (x *compiler) binary(n *ast.BinaryNode) operand {
	switch n.Operator {
	case "..":
		return x.span(n)
	case "matches":
		return x.matches(n)
	}
	l, r := x.operand(n.Left), x.operand(n.Right)
	if l.kind == invalid || r.kind == invalid {
		return operand{}
	}
	switch n.Operator {
	case "and", "&&", "or", "||":
		return x.logic(n, l, r)
	case "==", "!=":
		return x.equal(n, l, r)
	case "<", "<=", ">", ">=":
		if l.kind == number && r.kind == number {
			return known(compare(n.Operator, l, r))
		}
	case "+", "-", "*", "/":
		if l.kind == number && r.kind == number {
			return arithmetic(n.Operator, l, r)
		}
	case "in":
		return x.in(n, l, r)
	case "contains", "startsWith", "endsWith":
		if l.kind == text && r.kind == text {
			return known(search(n.Operator, l, r))
		}
	default:
		return x.fail(n, fmt.Sprintf("unsupported operator %s", n.Operator), "")
	}
	return x.mismatch(n, l, r)
}

func (x *compiler) mismatch(n *ast.BinaryNode, l, r operand) operand {
	return x.fail(n, fmt.Sprintf("%s cannot stand between a %s and a %s", n.Operator, l.kind, r.kind), "")
}

func (x *compiler) logic(n *ast.BinaryNode, l, r operand) operand {
	if l.kind != boolean || r.kind != boolean {
		return x.mismatch(n, l, r)
	}
	a, b := l.condition(), r.condition()
	decisive := No // the answer of one side that decides alone
	if n.Operator == "or" || n.Operator == "||" {
		decisive = Yes
	}
	return known(func(c *fact.Case) Answer {
		p := a(c)
		if p == decisive {
			return p
		}
		q := b(c)
		if q == decisive || p != NotKnown {
			return q
		}
		return NotKnown
	})
}

// settle combines the states of two operands: an absent one decides (a
// comparison with it has a definite answer), then one not looked at.
func settle(a, b fact.State) fact.State {
	switch {
	case a == fact.Absent || b == fact.Absent:
		return fact.Absent
	case a == fact.NotLooked || b == fact.NotLooked:
		return fact.NotLooked
	}
	return fact.Present
}

// answer is that of a comparison whose operands have the settled state s.
func answer(s fact.State, holds bool) Answer {
	switch s {
	case fact.Present:
		return truth(holds)
	case fact.Absent:
		return No
	}
	return NotKnown
}

func (x *compiler) equal(n *ast.BinaryNode, l, r operand) operand {
	if l.kind != r.kind || l.kind > text {
		return x.mismatch(n, l, r)
	}
	var f condition
	switch l.kind {
	case number:
		a, b := l.number(), r.number()
		f = func(c *fact.Case) Answer {
			v, s := a(c)
			w, t := b(c)
			return answer(settle(s, t), v == w)
		}
	case text:
		if r.konst && !l.konst {
			f = equalConst(l.sf, r.s)
			break
		}
		a, b := l.text(), r.text()
		f = func(c *fact.Case) Answer {
			v, s := a(c)
			w, t := b(c)
			return answer(settle(s, t), v == w)
		}
	default:
		a, b := l.bool(), r.bool()
		f = func(c *fact.Case) Answer {
			v, s := a(c)
			w, t := b(c)
			return answer(settle(s, t), v == w)
		}
	}
	if n.Operator == "!=" {
		f = negate(f)
	}
	return known(f)
}

// equalConst is the most frequent comparison of all.
func equalConst(f strFunc, want string) condition {
	return func(c *fact.Case) Answer {
		v, s := f(c)
		return answer(s, v == want)
	}
}

func compare(op string, l, r operand) condition {
	a, b := l.number(), r.number()
	if op == "<" || op == "<=" {
		a, b = b, a // now a > b, or a >= b
	}
	if op == "<" || op == ">" {
		return func(c *fact.Case) Answer {
			v, s := a(c)
			w, t := b(c)
			return answer(settle(s, t), v > w)
		}
	}
	return func(c *fact.Case) Answer {
		v, s := a(c)
		w, t := b(c)
		return answer(settle(s, t), v >= w)
	}
}

func arithmetic(op string, l, r operand) operand {
	a, b := l.number(), r.number()
	f := func(c *fact.Case) (float64, fact.State) {
		v, s := a(c)
		w, t := b(c)
		state := settle(s, t)
		if state != fact.Present {
			return 0, state
		}
		switch op {
		case "+":
			return v + w, state
		case "-":
			return v - w, state
		case "*":
			return v * w, state
		}
		if w == 0 {
			return 0, fact.Absent
		}
		return v / w, state
	}
	if !l.konst || !r.konst {
		return operand{kind: number, nf: f}
	}
	v, s := f(nil)
	if s != fact.Present {
		return operand{kind: number, nf: func(*fact.Case) (float64, fact.State) { return 0, fact.Absent }}
	}
	return operand{kind: number, konst: true, n: v}
}

func (x *compiler) in(n *ast.BinaryNode, l, r operand) operand {
	switch {
	case r.kind == span && l.kind == number:
		f, lo, hi := l.number(), r.nums[0], r.nums[1]
		return known(func(c *fact.Case) Answer {
			v, s := f(c)
			return answer(s, v >= lo && v <= hi)
		})
	case r.kind == list && l.kind == number && r.nums != nil:
		f := l.number()
		return known(func(c *fact.Case) Answer {
			v, s := f(c)
			return answer(s, slices.Contains(r.nums, v))
		})
	case r.kind == list && l.kind == text && r.strs != nil:
		f := l.text()
		return known(func(c *fact.Case) Answer {
			v, s := f(c)
			return answer(s, slices.Contains(r.strs, v))
		})
	}
	if l.kind == boolean {
		return x.fail(n, "in cannot stand after a boolean", "not binds tighter than in: write x not in [...]")
	}
	if r.kind != list && r.kind != span {
		return x.fail(n, fmt.Sprintf("in needs a list or a range, not a %s", r.kind), `x in ["a", "b"], x in 1..5, text contains "word"`)
	}
	return x.fail(n, fmt.Sprintf("a %s is never in this %s", l.kind, r.kind), "")
}

func (x *compiler) span(n *ast.BinaryNode) operand {
	l, r := x.operand(n.Left), x.operand(n.Right)
	if l.kind == invalid || r.kind == invalid {
		return operand{}
	}
	if l.kind != number || r.kind != number || !l.konst || !r.konst || l.n > r.n {
		return x.fail(n, "a range needs two constant numbers, the smaller first", "x in 1..5")
	}
	return operand{kind: span, konst: true, nums: []float64{l.n, r.n}}
}

func (x *compiler) matches(n *ast.BinaryNode) operand {
	l := x.operand(n.Left)
	if l.kind == invalid {
		return l
	}
	p, ok := n.Right.(*ast.StringNode)
	if !ok || l.kind != text {
		return x.fail(n, "matches needs a string on its left and a constant pattern on its right", "")
	}
	re, err := newPattern(p.Value, &latest)
	if err != nil {
		return x.fail(n.Right, "pattern: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "), "")
	}
	f := l.text()
	return known(func(c *fact.Case) Answer {
		v, s := f(c)
		return answer(s, s == fact.Present && re.match(v))
	})
}

func search(op string, l, r operand) condition {
	a, b := l.text(), r.text()
	find := strings.Contains
	switch op {
	case "startsWith":
		find = strings.HasPrefix
	case "endsWith":
		find = strings.HasSuffix
	}
	return func(c *fact.Case) Answer {
		v, s := a(c)
		w, t := b(c)
		s = settle(s, t)
		return answer(s, s == fact.Present && find(v, w))
	}
}

func (x *compiler) call(n ast.Node, name string, args []ast.Node) operand {
	switch name {
	case "present", "absent":
		return x.state(n, name, args)
	case "near":
		return x.around(n, name, args, func(v, w, fraction float64) bool { return math.Abs(v-w) <= fraction*math.Abs(w) })
	case "past":
		return x.around(n, name, args, func(v, w, fraction float64) bool { return v >= w && v <= w*(1+fraction) })
	case "abs":
		return x.abs(n, args)
	}
	hint := "functions: " + strings.Join(functions, ", ")
	if name == "looked" {
		return x.fail(n, "there is no function looked", "an answer that nobody has is neither yes nor no: put what must not be true under contradicts")
	}
	if like := Nearest(name, functions); like != "" {
		hint = "did you mean " + like + "?"
	}
	return x.fail(n, fmt.Sprintf("unknown function %s", name), hint)
}

// state compiles present(x) and absent(x).
func (x *compiler) state(n ast.Node, name string, args []ast.Node) operand {
	if len(args) != 1 {
		return x.fail(n, name+" takes one fact", name+"(sender.reason)")
	}
	d, ok := x.def(args[0])
	if !ok {
		return operand{}
	}
	want := fact.Present
	if name == "absent" {
		want = fact.Absent
	}
	return known(func(c *fact.Case) Answer {
		s := d.Of(c).State
		if s == fact.NotLooked {
			return NotKnown
		}
		return truth(s == want)
	})
}

// around compiles near(x, value, tolerance), |x - value| <= tolerance * |value|,
// and past(x, value, tolerance), value <= x <= value * (1 + tolerance), for value
// or any value of a list. The tolerance is a fraction, 0.02 when left out.
func (x *compiler) around(n ast.Node, name string, args []ast.Node, fits func(v, w, fraction float64) bool) operand {
	usage := name + "(sender.sock.idle_recv_ms, 60000, 0.02), " + name + "(x, [5, 60, 75], 0.02)"
	if len(args) != 2 && len(args) != 3 {
		return x.fail(n, name+" takes a number, a value or list of values, and a tolerance", usage)
	}
	v, to, tol := x.operand(args[0]), x.operand(args[1]), operand{kind: number, konst: true, n: 0.02}
	if len(args) == 3 {
		tol = x.operand(args[2])
	}
	if v.kind == invalid || to.kind == invalid || tol.kind == invalid {
		return operand{}
	}
	if v.kind != number || tol.kind != number || !tol.konst || tol.n < 0 || tol.n >= 1 || to.kind != number && to.nums == nil || to.kind == span {
		return x.fail(n, name+" needs numbers, and a constant tolerance from 0 to 1", usage)
	}
	f, fraction := v.number(), tol.n
	if to.kind == list {
		return known(func(c *fact.Case) Answer {
			v, s := f(c)
			return answer(s, slices.ContainsFunc(to.nums, func(w float64) bool { return fits(v, w, fraction) }))
		})
	}
	g := to.number()
	return known(func(c *fact.Case) Answer {
		v, s := f(c)
		w, t := g(c)
		return answer(settle(s, t), fits(v, w, fraction))
	})
}

func (x *compiler) abs(n ast.Node, args []ast.Node) operand {
	if len(args) != 1 {
		return x.fail(n, "abs takes one number", "")
	}
	o := x.operand(args[0])
	switch {
	case o.kind == invalid:
		return o
	case o.kind != number:
		return x.fail(n, fmt.Sprintf("abs takes a number, not a %s", o.kind), "")
	case o.konst:
		o.n = math.Abs(o.n)
		return o
	}
	f := o.nf
	return operand{kind: number, nf: func(c *fact.Case) (float64, fact.State) { v, s := f(c); return math.Abs(v), s }}
}
