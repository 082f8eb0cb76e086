package diagnosis

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/fact"
)

// caseWith makes a case of facts; nil is absent.
func caseWith(t testing.TB, facts map[string]any) *fact.Case {
	t.Helper()
	c := &fact.Case{ID: "test"}
	if err := c.SetFacts(facts); err != nil {
		t.Fatal(err)
	}
	return c
}

var someFacts = map[string]any{
	"outcome": "reset", "emit.reason": "TCP_ABORT_ON_CLOSE", "emit.sock.unread_bytes": 1000, "emit.sock.linger": true,
	"emit.sock.idle_recv_ms": 59500, "emit.proc.signal": nil, "emit.proc.exit_code": nil, "emit.proc.exiting": nil,
	"emit.sock.orphan": false, "log.text": "worker 12 exited on signal 11",
} // not looked at: emit.seen, emit.call, emit.sock.unacked_bytes

func TestExpressions(t *testing.T) {
	c := caseWith(t, someFacts)
	for _, x := range []struct {
		source string
		want   Answer
	}{
		{`emit.reason == "TCP_ABORT_ON_CLOSE"`, Yes},
		{`emit.reason != "TCP_ABORT_ON_CLOSE"`, No},
		{`"TCP_ABORT_ON_CLOSE" == emit.reason`, Yes},
		{`emit.sock.unread_bytes > 999.5 and emit.sock.unread_bytes <= 1000`, Yes},
		{`999 < emit.sock.unread_bytes < 1001`, Yes},
		{`emit.sock.unread_bytes in 1..1000`, Yes},
		{`emit.sock.unread_bytes not in [1, 2, 1000]`, No},
		{`emit.sock.unread_bytes + 24 == 2 * 512`, Yes},
		{`emit.sock.unread_bytes / 0 > 1`, No},
		{`-emit.sock.unread_bytes < -999`, Yes},
		{`abs(emit.sock.unread_bytes - 2000) == 1000`, Yes},
		{`near(emit.sock.idle_recv_ms, 60000, 0.02)`, Yes},
		{`near(emit.sock.idle_recv_ms, 60000, 0.001)`, No},
		{`near(emit.sock.idle_recv_ms, [5000, 60000])`, Yes},
		{`past(emit.sock.idle_recv_ms, [5000, 59000], 0.02)`, Yes},
		{`past(emit.sock.idle_recv_ms, 59500, 0)`, Yes},
		{`past(emit.sock.idle_recv_ms, [60001, 90000], 0.5)`, No},
		{`past(emit.sock.unacked_bytes, 5, 0.5)`, NotKnown},
		{`emit.reason in ["NO_SOCKET", "TCP_ABORT_ON_CLOSE"]`, Yes},
		{`log.text contains "signal 11" && log.text startsWith "worker" && not (log.text endsWith "9")`, Yes},
		{`log.text matches "signal (9|11)$"`, Yes},
		{`emit.sock.linger`, Yes},
		{`not emit.sock.orphan`, Yes},
		{`emit.sock.linger == emit.sock.orphan`, No},
		// absent
		{`emit.proc.signal == "SIGKILL"`, No},
		{`emit.proc.signal != "SIGKILL"`, Yes},
		{`emit.proc.signal in ["SIGKILL"]`, No},
		{`emit.proc.signal not in ["SIGKILL"]`, Yes},
		{`emit.proc.signal contains "K"`, No},
		{`emit.proc.signal matches ".*"`, No},
		{`emit.proc.exit_code < 1 or emit.proc.exit_code >= 0`, No},
		{`emit.proc.exit_code + 1 == 1`, No},
		{`emit.proc.exiting`, No},
		{`not emit.proc.exiting`, Yes},
		{`emit.proc.exiting == false`, No},
		{`emit.proc.exit_code == emit.sock.unacked_bytes`, No},
		// not looked at
		{`emit.call == "close"`, NotKnown},
		{`emit.call != "close"`, NotKnown},
		{`emit.call not in ["close"]`, NotKnown},
		{`emit.call matches "x"`, NotKnown},
		{`emit.seen`, NotKnown},
		{`not emit.seen`, NotKnown},
		{`emit.sock.unacked_bytes + emit.sock.unread_bytes > 0`, NotKnown},
		{`near(emit.sock.unacked_bytes, 5, 0.5)`, NotKnown},
		{`emit.seen and emit.sock.orphan`, No},
		{`emit.seen and emit.sock.linger`, NotKnown},
		{`emit.seen or emit.sock.linger`, Yes},
		{`emit.sock.orphan || emit.seen`, NotKnown},
		{`present(emit.call)`, NotKnown},
		{`absent(emit.call)`, NotKnown},
		{`present(emit.reason) and absent(emit.proc.signal)`, Yes},
		{`present(emit.proc.signal)`, No},
		{`absent(emit.reason)`, No},
	} {
		e, problems := CompileExpr(Text{S: x.source})
		if problems != nil {
			t.Errorf("%s: %v", x.source, problems)
			continue
		}
		if got := e.Eval(c); got != x.want {
			t.Errorf("%s is %v, want %v", x.source, got, x.want)
		}
		if n := testing.AllocsPerRun(20, func() { e.Eval(c) }); n != 0 {
			t.Errorf("%s: %v allocations", x.source, n)
		}
	}
}

func TestExpressionProblems(t *testing.T) {
	for _, x := range []struct {
		source string
		column int
		want   string
	}{
		{`emit.raeson == "x"`, 1, `unknown fact "emit.raeson" (did you mean emit.reason?)`},
		{`rst.seen and sock.unread_bytes > 1`, 14, `did you mean emit.sock.unread_bytes or victim.sock.unread_bytes`},
		{`emit.sock`, 1, `group of facts`},
		{`emit.reason`, 1, `expression is a string`},
		{`emit.reason == 5`, 1, `== cannot stand between a string and a number`},
		{`emit.reason > "a"`, 1, `> cannot stand`},
		{`not emit.reason`, 1, `not cannot be applied to a string`},
		{`not emit.reason in ["x"]`, 1, `not cannot be applied to a string (write x not in`},
		{`emit.reason == nil`, 16, `use present(x)`},
		{`emit.reason = "x"`, 13, `equality is ==`},
		{`emit.reason == "x" ? emit.seen : rst.seen`, 0, `unsupported construct Conditional`},
		{`len(emit.reason) > 3`, 1, `unknown function len`},
		{`neer(emit.sock.age_ms, 1, 0.1)`, 1, `did you mean near`},
		{`present("x")`, 0, `a fact is named by words`},
		{`present(emit.reason, emit.call)`, 0, `takes one fact`},
		{`near(emit.reason, 5, 0.1)`, 0, `near needs numbers`},
		{`past(emit.sock.age_ms, 5, 1)`, 0, `past needs numbers`},
		{`near(emit.sock.age_ms, 5, emit.sock.age_ms)`, 0, `near needs numbers`},
		{`emit.reason matches emit.call`, 0, `constant pattern`},
		{`emit.reason matches "("`, 0, `pattern: missing closing )`},
		{`emit.sock.unread_bytes in ["a"]`, 0, `a number is never in this list`},
		{`emit.sock.unread_bytes in [1, "a"]`, 0, `may not mix`},
		{`emit.sock.unread_bytes in []`, 0, `list is empty`},
		{`emit.reason in [emit.call]`, 0, `only constant`},
		{`emit.reason in emit.call`, 0, `in needs a list`},
		{`emit.sock.unread_bytes in 5..1`, 0, `the smaller first`},
		{`emit?.reason == "x"`, 0, `unsupported construct`},
		{`emit["reason"] == "x" and emit[outcome] == "x"`, 0, `a fact is named by words`},
		{`let x = 1; x == 1`, 0, `unsupported construct`},
		{`any([1], # > 0)`, 0, `unknown function any`},
		{`1 == 1`, 0, `names no fact`},
		{`emit.sock.unread_bytes % 2 == 0`, 0, `unsupported operator %`},
		{`  `, 0, `empty`},
		{`(((`, 0, `syntax`},
		{`emit.seen and (rst.seen`, 0, `syntax`},
		{strings.Repeat("(", 5000), 0, `longer than`},
	} {
		e, problems := CompileExpr(Text{S: x.source, Pos: Pos{File: "f", Line: 1, Column: 1}})
		if e != nil || len(problems) == 0 {
			t.Errorf("%s compiled", x.source)
			continue
		}
		if got := problems[0].Error(); !strings.Contains(got, x.want) || x.column > 0 && problems[0].Pos.Column != x.column {
			t.Errorf("%s: %s, want %s in column %d", x.source, got, x.want, x.column)
		}
	}
}

// TestMoreKnowledgeNeverChangesAnAnswer is the law of three-valued logic: what
// is definite stays so when more facts become known.
func TestMoreKnowledgeNeverChangesAnAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		source := randomExpr(r, 3)
		e, problems := CompileExpr(Text{S: source})
		if problems != nil {
			t.Fatalf("%s: %v", source, problems)
		}
		full, part := &fact.Case{}, &fact.Case{}
		for _, d := range e.facts {
			v := randomValue(r, &d)
			d.Set(full, v)
			if r.IntN(2) == 0 {
				d.Set(part, v)
			}
		}
		if looked := fact.Looked(part); e.answer(part, &looked) != e.Eval(part) {
			t.Fatalf("%s is another answer when it is known what was looked at", source)
		}
		if got, want := e.Eval(part), e.Eval(full); got != NotKnown && got != want {
			t.Fatalf("%s is %v when part is known, %v when all is", source, got, want)
		}
	}
}

func randomValue(r *rand.Rand, d *fact.Def) fact.Value {
	if r.IntN(4) == 0 {
		return fact.Value{State: fact.Absent}
	}
	return fact.Value{State: fact.Present, Bool: r.IntN(2) == 0, Num: float64(r.IntN(4)), Str: []string{"a", "b", "ab"}[r.IntN(3)]}
}

// randomExpr makes an expression of every kind that the language has.
func randomExpr(r *rand.Rand, depth int) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	number := func() string {
		return pick("emit.sock.unread_bytes", "emit.sock.unacked_bytes", "emit.sock.age_ms", "2", "1",
			"(emit.sock.unread_bytes "+pick("+", "-", "*", "/")+" emit.sock.lost)", "abs(emit.sock.lost - 2)")
	}
	word := func() string { return pick("emit.reason", "emit.call", "outcome") }
	if depth == 0 || r.IntN(4) == 0 {
		switch r.IntN(8) {
		case 0:
			return pick("emit.seen", "rst.seen", "emit.proc.exiting")
		case 1:
			return pick("emit.seen", "rst.seen") + pick(" == ", " != ") + pick("emit.proc.exiting", "true", "false")
		case 2:
			return "emit.sock.retransmits " + pick("<", "<=", ">", ">=", "==", "!=") + " " + number()
		case 3:
			return word() + pick(" == ", " != ", " contains ", " not contains ") + pick(`"a"`, "emit.syscall")
		case 4:
			return word() + pick(" in ", " not in ") + `["a", "ab"]`
		case 5:
			return number() + pick(" in ", " not in ") + "0..2" + " and emit.seen"
		case 6:
			return pick("present(", "absent(") + word() + ")"
		}
		return "near(emit.sock.lost, " + number() + ", 0.5)"
	}
	switch r.IntN(3) {
	case 0:
		return "not (" + randomExpr(r, depth-1) + ")"
	}
	return "(" + randomExpr(r, depth-1) + ")" + pick(" and ", " or ", " && ", " || ") + "(" + randomExpr(r, depth-1) + ")"
}

func FuzzExpr(f *testing.F) {
	for _, s := range []string{`emit.reason == "x" and not rst.seen`, `emit.sock.age_ms in 1..5`, `near(emit.sock.age_ms, [1,2], 0.1)`,
		`emit.reason matches "a|b"`, `a?.b ?? c`, `filter([1], {# > 1})`, `emit.seen not`, "let x = 1; x", "if a {b} else {c}", `1 not in`, `{a: 1}.b`, "a[1:2]"} {
		f.Add(s)
	}
	empty := &fact.Case{}
	f.Fuzz(func(t *testing.T, s string) {
		e, problems := CompileExpr(Text{S: s, Pos: Pos{File: "f", Line: 1, Column: 1}})
		if (e == nil) == (len(problems) == 0) {
			t.Fatalf("%q: neither or both of expression and problem", s)
		}
		if e == nil {
			for _, p := range problems {
				if p.Message == "" {
					t.Errorf("%q: empty problem", s)
				}
			}
			return
		}
		if len(e.facts) == 0 {
			t.Fatalf("%q names no fact", s)
		}
		e.Eval(empty)
		e.Eval(caseWith(t, someFacts))
	})
}
