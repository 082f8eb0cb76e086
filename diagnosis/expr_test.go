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
	"outcome": "reset", "sender.reason": "TCP_ABORT_ON_CLOSE", "sender.sock.unread_bytes": 1000, "sender.sock.linger": true,
	"sender.sock.idle_recv_ms": 59500, "sender.proc.signal": nil, "sender.proc.exit_code": nil, "sender.proc.exiting": nil,
	"sender.sock.orphan": false, "log.text": "worker 12 exited on signal 11",
} // not looked at: sender.seen, sender.call, sender.sock.unacked_bytes

func TestExpressions(t *testing.T) {
	c := caseWith(t, someFacts)
	for _, x := range []struct {
		source string
		want   Answer
	}{
		{`sender.reason == "TCP_ABORT_ON_CLOSE"`, Yes},
		{`sender.reason != "TCP_ABORT_ON_CLOSE"`, No},
		{`"TCP_ABORT_ON_CLOSE" == sender.reason`, Yes},
		{`sender.sock.unread_bytes > 999.5 and sender.sock.unread_bytes <= 1000`, Yes},
		{`999 < sender.sock.unread_bytes < 1001`, Yes},
		{`sender.sock.unread_bytes in 1..1000`, Yes},
		{`sender.sock.unread_bytes not in [1, 2, 1000]`, No},
		{`sender.sock.unread_bytes + 24 == 2 * 512`, Yes},
		{`sender.sock.unread_bytes / 0 > 1`, No},
		{`-sender.sock.unread_bytes < -999`, Yes},
		{`abs(sender.sock.unread_bytes - 2000) == 1000`, Yes},
		{`near(sender.sock.idle_recv_ms, 60000, 0.02)`, Yes},
		{`near(sender.sock.idle_recv_ms, 60000, 0.001)`, No},
		{`near(sender.sock.idle_recv_ms, [5000, 60000])`, Yes},
		{`past(sender.sock.idle_recv_ms, [5000, 59000], 0.02)`, Yes},
		{`past(sender.sock.idle_recv_ms, 59500, 0)`, Yes},
		{`past(sender.sock.idle_recv_ms, [60001, 90000], 0.5)`, No},
		{`past(sender.sock.unacked_bytes, 5, 0.5)`, NotKnown},
		{`sender.reason in ["NO_SOCKET", "TCP_ABORT_ON_CLOSE"]`, Yes},
		{`log.text contains "signal 11" && log.text startsWith "worker" && not (log.text endsWith "9")`, Yes},
		{`log.text matches "signal (9|11)$"`, Yes},
		{`sender.sock.linger`, Yes},
		{`not sender.sock.orphan`, Yes},
		{`sender.sock.linger == sender.sock.orphan`, No},
		// absent
		{`sender.proc.signal == "SIGKILL"`, No},
		{`sender.proc.signal != "SIGKILL"`, Yes},
		{`sender.proc.signal in ["SIGKILL"]`, No},
		{`sender.proc.signal not in ["SIGKILL"]`, Yes},
		{`sender.proc.signal contains "K"`, No},
		{`sender.proc.signal matches ".*"`, No},
		{`sender.proc.exit_code < 1 or sender.proc.exit_code >= 0`, No},
		{`sender.proc.exit_code + 1 == 1`, No},
		{`sender.proc.exiting`, No},
		{`not sender.proc.exiting`, Yes},
		{`sender.proc.exiting == false`, No},
		{`sender.proc.exit_code == sender.sock.unacked_bytes`, No},
		// not looked at
		{`sender.call == "close"`, NotKnown},
		{`sender.call != "close"`, NotKnown},
		{`sender.call not in ["close"]`, NotKnown},
		{`sender.call matches "x"`, NotKnown},
		{`sender.seen`, NotKnown},
		{`not sender.seen`, NotKnown},
		{`sender.sock.unacked_bytes + sender.sock.unread_bytes > 0`, NotKnown},
		{`near(sender.sock.unacked_bytes, 5, 0.5)`, NotKnown},
		{`sender.seen and sender.sock.orphan`, No},
		{`sender.seen and sender.sock.linger`, NotKnown},
		{`sender.seen or sender.sock.linger`, Yes},
		{`sender.sock.orphan || sender.seen`, NotKnown},
		{`present(sender.call)`, NotKnown},
		{`absent(sender.call)`, NotKnown},
		{`present(sender.reason) and absent(sender.proc.signal)`, Yes},
		{`present(sender.proc.signal)`, No},
		{`absent(sender.reason)`, No},
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
		{`sender.raeson == "x"`, 1, `unknown fact "sender.raeson" (did you mean sender.reason?)`},
		{`rst.seen and sock.unread_bytes > 1`, 14, `did you mean sender.sock.unread_bytes or receiver.sock.unread_bytes`},
		{`sender.sock`, 1, `group of facts`},
		{`sender.reason`, 1, `expression is a string`},
		{`sender.reason == 5`, 1, `== cannot stand between a string and a number`},
		{`sender.reason > "a"`, 1, `> cannot stand`},
		{`not sender.reason`, 1, `not cannot be applied to a string`},
		{`not sender.reason in ["x"]`, 1, `not cannot be applied to a string (write x not in`},
		{`sender.reason == nil`, 18, `use present(x)`},
		{`sender.reason = "x"`, 15, `equality is ==`},
		{`sender.reason == "x" ? sender.seen : rst.seen`, 0, `unsupported construct Conditional`},
		{`len(sender.reason) > 3`, 1, `unknown function len`},
		{`neer(sender.sock.age_ms, 1, 0.1)`, 1, `did you mean near`},
		{`present("x")`, 0, `a fact is named by words`},
		{`present(sender.reason, sender.call)`, 0, `takes one fact`},
		{`near(sender.reason, 5, 0.1)`, 0, `near needs numbers`},
		{`past(sender.sock.age_ms, 5, 1)`, 0, `past needs numbers`},
		{`near(sender.sock.age_ms, 5, sender.sock.age_ms)`, 0, `near needs numbers`},
		{`sender.reason matches sender.call`, 0, `constant pattern`},
		{`sender.reason matches "("`, 0, `pattern: missing closing )`},
		{`sender.sock.unread_bytes in ["a"]`, 0, `a number is never in this list`},
		{`sender.sock.unread_bytes in [1, "a"]`, 0, `may not mix`},
		{`sender.sock.unread_bytes in []`, 0, `list is empty`},
		{`sender.reason in [sender.call]`, 0, `only constant`},
		{`sender.reason in sender.call`, 0, `in needs a list`},
		{`sender.sock.unread_bytes in 5..1`, 0, `the smaller first`},
		{`sender?.reason == "x"`, 0, `unsupported construct`},
		{`sender["reason"] == "x" and emit[outcome] == "x"`, 0, `a fact is named by words`},
		{`let x = 1; x == 1`, 0, `unsupported construct`},
		{`any([1], # > 0)`, 0, `unknown function any`},
		{`1 == 1`, 0, `names no fact`},
		{`sender.sock.unread_bytes % 2 == 0`, 0, `unsupported operator %`},
		{`  `, 0, `empty`},
		{`(((`, 0, `syntax`},
		{`sender.seen and (rst.seen`, 0, `syntax`},
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
		return pick("sender.sock.unread_bytes", "sender.sock.unacked_bytes", "sender.sock.age_ms", "2", "1",
			"(sender.sock.unread_bytes "+pick("+", "-", "*", "/")+" sender.sock.lost)", "abs(sender.sock.lost - 2)")
	}
	word := func() string { return pick("sender.reason", "sender.call", "outcome") }
	if depth == 0 || r.IntN(4) == 0 {
		switch r.IntN(8) {
		case 0:
			return pick("sender.seen", "rst.seen", "sender.proc.exiting")
		case 1:
			return pick("sender.seen", "rst.seen") + pick(" == ", " != ") + pick("sender.proc.exiting", "true", "false")
		case 2:
			return "sender.sock.retransmits " + pick("<", "<=", ">", ">=", "==", "!=") + " " + number()
		case 3:
			return word() + pick(" == ", " != ", " contains ", " not contains ") + pick(`"a"`, "sender.syscall")
		case 4:
			return word() + pick(" in ", " not in ") + `["a", "ab"]`
		case 5:
			return number() + pick(" in ", " not in ") + "0..2" + " and sender.seen"
		case 6:
			return pick("present(", "absent(") + word() + ")"
		}
		return "near(sender.sock.lost, " + number() + ", 0.5)"
	}
	switch r.IntN(3) {
	case 0:
		return "not (" + randomExpr(r, depth-1) + ")"
	}
	return "(" + randomExpr(r, depth-1) + ")" + pick(" and ", " or ", " && ", " || ") + "(" + randomExpr(r, depth-1) + ")"
}

func FuzzExpr(f *testing.F) {
	for _, s := range []string{`sender.reason == "x" and not rst.seen`, `sender.sock.age_ms in 1..5`, `near(sender.sock.age_ms, [1,2], 0.1)`,
		`sender.reason matches "a|b"`, `a?.b ?? c`, `filter([1], {# > 1})`, `sender.seen not`, "let x = 1; x", "if a {b} else {c}", `1 not in`, `{a: 1}.b`, "a[1:2]"} {
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
