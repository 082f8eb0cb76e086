package diagnosis

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-project/holdfast/fact"
)

// tx makes texts of strings.
func tx(list ...string) []Text {
	var out []Text
	for _, s := range list {
		out = append(out, Text{S: s, Pos: Pos{File: "test", Line: 1, Column: 1}})
	}
	return out
}

func evidence(pairs ...any) []Line {
	var list []Line
	for i := 0; i < len(pairs); i += 2 {
		s := pairs[i].(string)
		l := Line{If: tx(s)[0], Says: tx("because " + strings.ReplaceAll(s, "{{", ""))[0]}
		if against, ok := strings.CutPrefix(pairs[i+1].(string), "against "); ok {
			l.Against = tx(against)[0]
		} else {
			l.Weight = tx(pairs[i+1].(string))[0]
		}
		list = append(list, l)
	}
	return list
}

func newCause(id string, lines ...any) CauseSpec {
	return CauseSpec{ID: id, Title: "Title of " + id, Class: "software-bug", Outcomes: tx("reset"), Senders: tx(fact.ServerApp, fact.ClientApp), Evidence: evidence(lines...)}
}

func testSenders() []SenderSpec {
	return []SenderSpec{
		{ID: fact.ServerApp, Requires: tx(`sender.role == "server"`), Evidence: evidence(`sender.seen`, "proof", `rst.form == "active-abort"`, "strong")},
		{ID: fact.ClientApp, Requires: tx(`sender.role == "client"`), Evidence: evidence(`sender.seen`, "proof")},
		{ID: fact.LocalFirewall, Requires: tx(`not sender.seen`), Evidence: evidence(`fw.rule_moved`, "proof")},
	}
}

func compile(t testing.TB, causes ...CauseSpec) *Base {
	t.Helper()
	b, problems := Compile(testSenders(), causes)
	for _, p := range problems {
		t.Fatal(p)
	}
	return b
}

// byServer is a reset that the server's application is known to have sent.
func byServer(t testing.TB, more map[string]any) *fact.Case {
	c := caseWith(t, map[string]any{"outcome": "reset", "rst.seen": true, "sender.seen": true, "sender.role": "server"})
	if err := c.SetFacts(more); err != nil {
		t.Fatal(err)
	}
	return c
}

func verdictOf(f fact.Finding) string {
	return fmt.Sprintf("%s %s, %s %s", f.Sender.Role, f.Sender.Grade, f.Cause.ID, f.Cause.Grade)
}

func TestVerdicts(t *testing.T) {
	unread := newCause("unread", `sender.reason == "TCP_ABORT_ON_CLOSE"`, "proof")
	unread.Requires = tx("sender.sock.unread_bytes > 0")
	crash := newCause("crash", `sender.reason == "TCP_ABORT_ON_CLOSE"`, "hint", `sender.proc.signal == "SIGSEGV"`, "proof")
	crash.Requires, crash.Excludes = tx("sender.proc.exiting"), tx("unread")
	noise := newCause("noise", `pattern.period_ms > 0`, "faint")
	noise.Benign = true
	policy := newCause("policy", `fw.rule_moved`, "proof")
	policy.Senders = tx(fact.LocalFirewall)
	base := compile(t, unread, crash, noise, policy)
	for _, x := range []struct {
		name  string
		facts map[string]any
		want  string
	}{
		{"nothing known about the cause", nil, "server-app proved, unknown unknown"},
		{"the kernel says so", map[string]any{"sender.reason": "TCP_ABORT_ON_CLOSE", "sender.sock.unread_bytes": 5}, "server-app proved, unread proved"},
		{"a requirement nobody looked at is not proof", map[string]any{"sender.reason": "TCP_ABORT_ON_CLOSE"}, "server-app proved, unread probable"},
		{"vetoes beat weights", map[string]any{"sender.reason": "TCP_ABORT_ON_CLOSE", "sender.sock.unread_bytes": nil, "sender.proc.exiting": false}, "server-app proved, unknown unknown"},
		{"the consequence stays silent", map[string]any{"sender.reason": "TCP_ABORT_ON_CLOSE", "sender.sock.unread_bytes": 5, "sender.proc.exiting": true, "sender.proc.signal": "SIGSEGV"}, "server-app proved, crash proved"},
		{"what a log said is not proof", map[string]any{"sender.reason": map[string]any{"value": "TCP_ABORT_ON_CLOSE", "by": "log"}, "sender.sock.unread_bytes": 5}, "server-app proved, unread probable"},
		{"the other end is proof", map[string]any{"sender.reason": map[string]any{"value": "TCP_ABORT_ON_CLOSE", "by": "peer"}, "sender.sock.unread_bytes": 5}, "server-app proved, unread proved"},
		{"a weak hint is no verdict", map[string]any{"pattern.period_ms": 5}, "server-app proved, unknown unknown"},
		{"wrong outcome", map[string]any{"outcome": "timeout", "sender.reason": "TCP_ABORT_ON_CLOSE", "sender.sock.unread_bytes": 5}, "server-app proved, unknown unknown"},
		{"no such outcome", map[string]any{"outcome": nil, "sender.reason": "TCP_ABORT_ON_CLOSE"}, "unknown unknown, unknown unknown"},
		{"the sender is out", map[string]any{"fw.rule_moved": true}, "server-app proved, unknown unknown"},
		{"the firewall", map[string]any{"sender.seen": false, "fw.rule_moved": true}, "local-firewall probable, policy probable"},
		{"the firewall, by a probe", map[string]any{"sender.seen": false, "fw.rule_moved": map[string]any{"value": true, "by": "probe"}}, "local-firewall proved, policy proved"},
	} {
		f := base.Explain(byServer(t, x.facts), Options{})
		if got := verdictOf(f); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	f := base.Explain(&fact.Case{}, Options{})
	if got := verdictOf(f); got != "unknown unknown, unknown unknown" || f.Cause.Title == "" || len(f.Missing) == 0 {
		t.Errorf("of nothing: %s, missing %v", got, f.Missing)
	}
}

func TestOneWitnessCountsOnce(t *testing.T) {
	a := newCause("log-only", `log.text contains "a"`, "proof", `log.text contains "b"`, "proof", `log.text contains "c"`, "strong", `log.file == "x"`, "against hint")
	f := compile(t, a).Explain(byServer(t, map[string]any{"log.text": "abc", "log.file": "x"}), Options{Why: true})
	for _, s := range f.Arithmetic.Causes {
		if s.ID == "log-only" && math.Abs(s.Total-20) > 0.1 { // 30 - 10, and almost nothing for the sender
			t.Errorf("total %v", s.Total)
		}
	}
	if len(f.Proof) < 3 || f.Proof[0].Weight != 30 || f.Proof[1].Weight != 0 || f.Proof[0].File != "x" {
		t.Errorf("%+v", f.Proof)
	}
}

func TestDeclaredWitnessDoesNotOverrideTheRecorded(t *testing.T) {
	a := newCause("a", `rst.form == "reply"`, "proof")
	a.Evidence[0].Witness = tx("kernel")[0]
	base := compile(t, a)
	if f := base.Explain(byServer(t, map[string]any{"rst.form": "reply"}), Options{}); f.Proof[0].Witness != "kernel" || f.Cause.Grade != fact.Proved {
		t.Errorf("%+v %+v", f.Cause, f.Proof)
	}
	if f := base.Explain(byServer(t, map[string]any{"rst.form": map[string]any{"value": "reply", "by": "log"}}), Options{}); f.Proof[0].Witness != "log" || f.Cause.Grade == fact.Proved {
		t.Errorf("%+v %+v", f.Cause, f.Proof)
	}
}

func TestOutcomeIsAWitnessOnlyAlone(t *testing.T) {
	a := newCause("a", `outcome == "reset" and log.text contains "oom"`, "proof")
	f := compile(t, a).Explain(byServer(t, map[string]any{"log.text": "oom"}), Options{})
	if f.Proof[0].Witness != "log" || f.Cause.Grade != fact.Probable {
		t.Errorf("%+v %+v", f.Cause, f.Proof)
	}
}

func TestFamily(t *testing.T) {
	race := newCause("race", `sender.reason == "TCP_TIMEWAIT_SOCKET"`, "proof")
	race.Fixes, race.References = []fact.Fix{{Title: "general fix"}}, []string{"general"}
	node := newCause("node", `sender.proc.name == "node"`, "strong")
	node.Family = tx("race")[0]
	node.Fixes = []fact.Fix{{Title: "node fix"}}
	gunicorn := newCause("gunicorn", `sender.proc.name == "gunicorn"`, "strong")
	gunicorn.Family = tx("race")[0]
	timer := newCause("timer", `near(sender.sock.idle_recv_ms, 5000)`, "strong")
	timer.Evidence[0].Witness = tx("timer")[0]
	timer.Family = tx("race")[0]
	base := compile(t, node, timer, race, gunicorn) // order does not matter
	reason := func(more map[string]any) map[string]any {
		m := map[string]any{"sender.reason": "TCP_TIMEWAIT_SOCKET"}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	for _, x := range []struct {
		facts map[string]any
		want  string
	}{
		{reason(nil), "race proved"},
		{reason(map[string]any{"sender.proc.name": "java"}), "race proved"},
		{reason(map[string]any{"sender.proc.name": "node"}), "node proved"},
		{reason(map[string]any{"sender.sock.idle_recv_ms": 5001}), "timer probable"},                          // coincidence alone never proves
		{reason(map[string]any{"sender.proc.name": "node", "sender.sock.idle_recv_ms": 5001}), "race proved"}, // two details dispute; the general stays
		{map[string]any{"sender.reason": "NO_SOCKET", "sender.proc.name": "node"}, "node possible"},           // the general one claims nothing
		{map[string]any{"sender.proc.name": "gunicorn", "sender.reason": "TCP_TIMEWAIT_SOCKET"}, "gunicorn proved"},
	} {
		f := base.Explain(byServer(t, x.facts), Options{})
		if got := f.Cause.ID + " " + string(f.Cause.Grade); got != x.want {
			t.Errorf("%v: %s (%.3f), want %s", x.facts, got, f.Cause.Score, x.want)
		}
		if f.Cause.ID == "node" && (f.Fixes[0].Title != "node fix" || f.References[0] != "general" ||
			slices.ContainsFunc(f.Alternatives, func(a fact.Alternative) bool { return a.ID == "race" })) {
			t.Errorf("%+v %+v", f.Fixes, f.Alternatives)
		}
	}
}

func TestCompileProblems(t *testing.T) {
	for _, x := range []struct {
		change func(*CauseSpec)
		want   string
	}{
		{func(c *CauseSpec) { c.ID = "No Id" }, "malformed id"},
		{func(c *CauseSpec) { c.ID = "" }, "no id"},
		{func(c *CauseSpec) { c.ID = "unknown" }, "not available"},
		{func(c *CauseSpec) { c.ID = "other" }, "also defined"},
		{func(c *CauseSpec) { c.Class = "x" }, "unknown class"},
		{func(c *CauseSpec) { c.Title = "" }, "no title"},
		{func(c *CauseSpec) { c.Outcomes = tx("rest") }, "unknown outcome"},
		{func(c *CauseSpec) { c.Outcomes = nil }, "no outcome"},
		{func(c *CauseSpec) { c.Senders = tx("servr-app") }, "unknown sender"},
		{func(c *CauseSpec) { c.Senders = nil }, "no senders"},
		{func(c *CauseSpec) { c.Frequency = "often" }, "unknown frequency"},
		{func(c *CauseSpec) { c.Evidence = nil }, "no evidence"},
		{func(c *CauseSpec) { c.Evidence[0].Weight = tx("heavy")[0] }, "unknown weight"},
		{func(c *CauseSpec) { c.Evidence[0].Against = tx("hint")[0] }, "one of weight and against"},
		{func(c *CauseSpec) { c.Evidence[0].Witness = tx("me")[0] }, "unknown witness"},
		{func(c *CauseSpec) { c.Requires = tx("sender.x") }, "unknown fact"},
		{func(c *CauseSpec) { c.Says = tx("{{.x}}")[0] }, "unknown fact"},
		{func(c *CauseSpec) { c.Excludes = tx("othr") }, `names "othr", which is no cause (did you mean other?)`},
		{func(c *CauseSpec) { c.Excludes = tx("this") }, "itself"},
		{func(c *CauseSpec) { c.Family = tx("nothing")[0] }, "no general cause"},
		{func(c *CauseSpec) { c.Family, c.Senders = tx("other")[0], tx(fact.Middlebox) }, "a sender that its general"},
		{func(c *CauseSpec) { c.Family, c.Outcomes = tx("other")[0], tx("timeout") }, "an outcome that its general"},
	} {
		c := newCause("this", "sender.seen", "faint")
		x.change(&c)
		base, problems := Compile(testSenders(), []CauseSpec{newCause("other", "sender.seen", "faint"), c})
		if len(problems) == 0 || !strings.Contains(problems[0].Error(), x.want) {
			t.Errorf("%v, want %s", problems, x.want)
		}
		if _, ok := base.Cause("other"); !ok {
			t.Error("a sound cause was lost")
		}
	}
	if _, problems := Compile([]SenderSpec{{ID: "me"}}, nil); len(problems) != 2 {
		t.Error(problems)
	}
}

func TestEffectAndProcess(t *testing.T) {
	base := compile(t, newCause("a", `sender.reason == "X"`, "proof"))
	c := byServer(t, map[string]any{
		"sender.reason": "X", "sender.sock.known": true, "sender.sock.unread_bytes": 100, "sender.sock.unacked_bytes": 20, "receiver.sock.unacked_bytes": 3,
		"receiver.error": "ECONNRESET", "rst.accepted": "accepted", "sender.proc.pid": 42, "sender.proc.name": "nginx", "sender.proc.unit": "nginx.service",
		"sender.proc.exiting": false, "sender.watched": true,
	})
	c.Host, c.Flow.Client, c.Flow.Server = "web1", netip.MustParseAddrPort("10.0.0.1:1234"), netip.MustParseAddrPort("10.0.0.2:80")
	f := base.Explain(c, Options{Facts: true})
	lost, unread, died := int64(123), int64(100), false
	want := fact.Effect{Accepted: "accepted", AppError: "ECONNRESET", BytesLost: &lost, BytesUnread: &unread, ProcessDied: &died}
	if d := cmp.Diff(want, f.Effect); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(&fact.ProcessBrief{PID: 42, Name: "nginx", Unit: "nginx.service"}, f.Sender.Process); d != "" {
		t.Error(d)
	}
	if f.Sender.Host != "web1" || f.Sender.Where != "10.0.0.2:80" || !f.Harmful || f.Case != c || f.Schema != fact.Schema {
		t.Errorf("%+v", f)
	}
	if g := base.Explain(&fact.Case{}, Options{}); g.Effect != (fact.Effect{}) {
		t.Errorf("effect of nothing: %+v", g.Effect)
	}
	c.Outcome = fact.Some("survived")
	if g := base.Explain(c, Options{}); g.Harmful || g.Effect.BytesLost != nil {
		t.Errorf("survived: %+v", g.Effect)
	}
}

func TestMissing(t *testing.T) {
	a := newCause("a", `sender.reason == "X"`, "strong", `log.text contains "x"`, "proof", `sender.proc.name == "x"`, "faint")
	a.Requires = tx("fw.nat or sender.listener.exists")
	f := compile(t, a).Explain(byServer(t, map[string]any{"sender.reason": "X"}), Options{})
	var got []string
	for _, m := range f.Missing {
		got = append(got, m.Fact)
		if m.How == "" {
			t.Error("no how")
		}
	}
	if d := cmp.Diff([]string{"log.text", "fw.nat", "sender.listener.exists"}, got); d != "" {
		t.Error(d)
	}
}

func TestCommunityID(t *testing.T) {
	for _, x := range [][3]string{ // from the baseline of github.com/corelight/pycommunityid
		{"128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"[::ffff:128.232.110.120]:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
	} {
		a, b := netip.MustParseAddrPort(x[0]), netip.MustParseAddrPort(x[1])
		if got := CommunityID(a, b); got != x[2] || CommunityID(b, a) != got {
			t.Errorf("%s, want %s", got, x[2])
		}
	}
	if CommunityID(netip.AddrPort{}, netip.AddrPort{}) != "" {
		t.Error("of nothing")
	}
}

func TestFindingIDIsStable(t *testing.T) {
	c := fact.Case{ID: "7", Host: "h", Time: time.Unix(5, 0)}
	d := c
	d.Sender.Reason, d.Time = fact.Some("X"), time.Unix(5, 0).UTC()
	if findingID(&c) != findingID(&d) {
		t.Error("depends on more than the case's identity")
	}
	if d.ID = "8"; findingID(&c) == findingID(&d) {
		t.Error("two cases share an id")
	}
}

// randomBase makes a base of n causes over a small vocabulary, with families,
// exclusions and vetoes.
func randomBase(t testing.TB, r *rand.Rand, n int) *Base {
	var causes []CauseSpec
	for i := range n {
		c := newCause(fmt.Sprintf("c%d", i))
		c.Frequency = []string{"", "rare", "very-common"}[r.IntN(3)]
		for range 1 + r.IntN(8) {
			l := Line{If: tx(randomExpr(r, 1))[0], Says: tx("{{.sender.reason}} and {{.sender.proc.name}}")[0]}
			weight := tx(Weights[r.IntN(len(Weights))])[0]
			if r.IntN(5) == 0 {
				l.Against = weight
			} else {
				seen := 1 + r.IntN(9)
				l.Weight, l.Seen = weight, &seen
			}
			if _, problems := CompileExpr(l.If); problems != nil {
				l.If = tx("sender.seen")[0]
			}
			c.Evidence = append(c.Evidence, l)
		}
		for range r.IntN(2) {
			c.Requires = append(c.Requires, tx(randomExpr(r, 1))...)
		}
		for range r.IntN(2) {
			c.Contradicts = append(c.Contradicts, Contradiction{If: tx(randomExpr(r, 1))[0], MustCheck: r.IntN(2) == 0})
		}
		if i > 0 && r.IntN(4) == 0 {
			c.Excludes = tx(fmt.Sprintf("c%d", r.IntN(i)))
		}
		if i > 0 && r.IntN(3) == 0 && causes[i-1].Family.S == "" {
			c.Family = tx(causes[i-1].ID)[0]
			if len(c.Excludes) > 0 && c.Excludes[0].S == c.Family.S {
				c.Excludes = nil // a family is one claim
			}
		}
		causes = append(causes, c)
	}
	return compile(t, causes...)
}

func randomCase(r *rand.Rand) *fact.Case {
	c := &fact.Case{ID: "random"}
	defs := fact.Defs()
	for i := range defs {
		if r.IntN(3) > 0 {
			defs[i].Set(c, randomValue(r, &defs[i]))
		}
	}
	c.Outcome = fact.Some("reset")
	return c
}

func total(list []fact.Score) float64 {
	sum := 0.0
	for _, s := range list {
		sum += s.Posterior
	}
	return sum
}

func TestInvariants(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	verdicts := map[fact.Grade]int{}
	for range 100 {
		base := randomBase(t, r, 30)
		for range 20 {
			full := randomCase(r)
			a := base.Explain(full, Options{Why: true})
			verdicts[a.Cause.Grade]++
			if !reflect.DeepEqual(a, base.Explain(full, Options{Why: true})) {
				t.Fatal("not deterministic")
			}
			if s, c := total(a.Arithmetic.Senders), total(a.Arithmetic.Causes); math.Abs(s-1) > 1e-9 || math.Abs(c-1) > 1e-9 {
				t.Fatalf("posteriors sum to %v and %v", s, c)
			}
			checkVerdict(t, &a)
			part := *full
			hide(r, &part)
			b := base.Explain(&part, Options{Why: true})
			for _, s := range a.Arithmetic.Causes { // what a full view vetoes, a partial one never proves
				if s.ID == b.Cause.ID && b.Cause.Grade == fact.Proved && vetoed(base, s) {
					t.Fatalf("%s is proved when facts are hidden that veto it: %s", s.ID, s.Vetoed)
				}
			}
		}
	}
	if verdicts[fact.Proved] == 0 || verdicts[fact.Unknown] == 0 || verdicts[fact.Possible] == 0 {
		t.Errorf("the random cases test little: %v", verdicts)
	}
}

// vetoed tells a requirement from the other reasons for being out.
func vetoed(b *Base, s fact.Score) bool {
	i, ok := b.byID[s.ID]
	return ok && (slices.ContainsFunc(b.causes[i].requires, func(e *Expr) bool { return e.Source == s.Vetoed }) ||
		slices.ContainsFunc(b.causes[i].contradicts, func(k contradiction) bool { return k.mustCheck && k.expr.Source == s.Vetoed }))
}

func hide(r *rand.Rand, c *fact.Case) {
	defs := fact.Defs()
	for i := range defs {
		if r.IntN(3) == 0 {
			defs[i].Set(c, fact.Value{})
		}
	}
}

func checkVerdict(t *testing.T, f *fact.Finding) {
	t.Helper()
	c := f.Cause
	switch {
	case c.ID == "" || c.Title == "" || math.IsNaN(c.Score) || c.Score < 0 || c.Score > 1+1e-9:
		t.Fatalf("%+v", c)
	case c.Grade == fact.Proved && c.Score < provedAt, c.Grade == fact.Probable && c.Score < probableAt, c.Grade == fact.Possible && c.Score < possibleAt:
		t.Fatalf("%+v", c)
	case (c.ID == unknownCause) != (c.Grade == fact.Unknown):
		t.Fatalf("%+v", c)
	}
	if c.Grade == fact.Proved && !slices.ContainsFunc(f.Proof, func(p fact.Proof) bool {
		return p.Weight > 0 && (p.Witness == "kernel" || p.Witness == "peer" || p.Witness == "probe")
	}) {
		t.Fatalf("proved without a witness: %+v", f.Proof)
	}
	for _, p := range f.Proof {
		if p.Weight < 0 || p.Says == "" {
			t.Fatalf("%+v", p)
		}
	}
	if len(f.Missing) > maxMissing {
		t.Fatal(f.Missing)
	}
}

func TestHostileCaseSurvives(t *testing.T) {
	base := randomBase(t, rand.New(rand.NewPCG(9, 9)), 40)
	defs := fact.Defs()
	for n, s := range hostile {
		c := &fact.Case{ID: s, Host: s}
		for i := range defs {
			defs[i].Set(c, fact.Value{State: fact.Present, Str: s, Num: []float64{math.MaxInt64, -1, 0}[n%3], Bool: true})
		}
		c.Outcome = fact.Some("reset")
		f := base.Explain(c, Options{Why: true})
		checkVerdict(t, &f)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	base := randomBase(t, r, 40)
	cases := make([]*fact.Case, 20)
	want := make([]fact.Finding, len(cases))
	for i := range cases {
		cases[i] = randomCase(r)
		want[i] = base.Explain(cases[i], Options{})
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i, c := range cases {
				if f := base.Explain(c, Options{}); f.Cause.ID != want[i].Cause.ID || f.Cause.Score != want[i].Cause.Score {
					t.Errorf("case %d: %+v, want %+v", i, f.Cause, want[i].Cause)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkExplain is a full diagnosis with 80 causes of 8 lines on average,
// every one of which the outcome and the sender allow: the worst case.
func BenchmarkExplain(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	base := randomBase(b, r, 80)
	c := randomCase(r)
	c.Sender.Seen, c.Sender.Role = fact.Some(true), fact.Some("server")
	b.ReportAllocs()
	for b.Loop() {
		base.Explain(c, Options{})
	}
}
