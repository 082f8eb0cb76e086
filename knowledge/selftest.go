package knowledge

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// Failure is a self-test that did not lead to its verdict.
type Failure struct {
	Pos     diagnosis.Pos
	ID      string // cause or sender whose file holds the case
	Case    string
	Message string // expected, got, and the arithmetic
}

// Error returns place, case and message.
func (f Failure) Error() string { return fmt.Sprintf("%s: case %q: %s", f.Pos, f.Case, f.Message) }

// Test runs the cases that the files of base carry.
func Test(base *diagnosis.Base) []Failure {
	var list []Failure
	run := func(id string, cases []diagnosis.SelfTest) {
		for i := range cases {
			if m := check(base, &cases[i]); m != "" {
				list = append(list, Failure{cases[i].Pos, id, cases[i].Name, m})
			}
		}
	}
	for _, s := range base.Senders() {
		run(s.ID, tests(s.Cases))
	}
	for _, c := range base.Causes() {
		run(c.ID, tests(c.Cases))
	}
	return list
}

// Example returns a case of a cause: the first self-test that must lead to it.
// It is nil when there is none.
func Example(c *diagnosis.CauseSpec) *fact.Case {
	for _, t := range tests(c.Cases) {
		if t.Expect != nil && t.Expect.Cause == c.ID {
			k, _ := caseOf(&t)
			return k
		}
	}
	return nil
}

// CountTests returns how many cases the files of base carry.
func CountTests(base *diagnosis.Base) int {
	n := 0
	for _, s := range base.Senders() {
		n += len(tests(s.Cases))
	}
	for _, c := range base.Causes() {
		n += len(tests(c.Cases))
	}
	return n
}

func newTestCase(name string) *fact.Case {
	c := &fact.Case{ID: name, Source: "self-test", Host: "host", Time: time.Unix(1700000000, 0).UTC()}
	c.Flow.Client = netip.MustParseAddrPort("192.0.2.1:40000")
	c.Flow.Server = netip.MustParseAddrPort("198.51.100.2:443")
	return c
}

// check returns "" when the case leads to its verdict, else the difference.
func check(base *diagnosis.Base, t *diagnosis.SelfTest) string {
	c, problems := caseOf(t)
	if len(problems) > 0 {
		return problems[0].Message
	}
	f := base.Explain(c, diagnosis.Options{Why: true})
	var wrong []string
	wish := func(what, want, got string) {
		if want != "" && want != got {
			wrong = append(wrong, fmt.Sprintf("%s should be %s, is %s", what, want, got))
		}
	}
	var about []string
	if e := t.Expect; e != nil {
		wish("sender", e.Sender, f.Sender.Role)
		wish("sender's grade", e.SenderGrade, string(f.Sender.Grade))
		wish("cause", e.Cause, f.Cause.ID)
		if e.Cause != "" {
			wish("grade", e.Grade, string(f.Cause.Grade))
		} else {
			wish("sender's grade", e.Grade, string(f.Sender.Grade))
		}
		if e.Harmful != nil {
			wish("harmful", fmt.Sprint(*e.Harmful), fmt.Sprint(f.Harmful))
		}
		about = append(about, e.Cause, e.Sender)
	}
	for _, n := range t.Not {
		family := ""
		if s, ok := base.Cause(f.Cause.ID); ok {
			family = s.Family.S
		}
		if n.S == f.Cause.ID || n.S == f.Sender.Role || n.S == family {
			wrong = append(wrong, fmt.Sprintf("the verdict must not be %s", n.S))
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	return strings.Join(wrong, "; ") + "\n" + arithmetic(&f, about)
}

// arithmetic prints the leading hypotheses and those of interest.
func arithmetic(f *fact.Finding, about []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  verdict: %s (%s, %.3f), sent by %s (%s, %.3f)\n", f.Cause.ID, f.Cause.Grade, f.Cause.Score, f.Sender.Role, f.Sender.Grade, f.Sender.Score)
	show := func(title string, list []fact.Score, lead string) {
		fmt.Fprintf(&b, "  %s\n", title)
		for i, s := range list {
			wanted := s.ID == lead
			for _, id := range about {
				wanted = wanted || id == s.ID
			}
			if wanted || i < 3 && s.Posterior > 0 {
				printScore(&b, s)
			}
		}
	}
	show("senders", f.Arithmetic.Senders, f.Sender.Role)
	show("causes", f.Arithmetic.Causes, f.Cause.ID)
	return b.String()
}

func printScore(b *strings.Builder, s fact.Score) {
	fmt.Fprintf(b, "    %-40s %6.1f dB  posterior %.3f", s.ID, s.Total, s.Posterior)
	if s.Vetoed != "" {
		fmt.Fprintf(b, "  out: %s", s.Vetoed)
	}
	b.WriteByte('\n')
	if s.Prior != 0 {
		fmt.Fprintf(b, "      %+6.1f  prior\n", s.Prior)
	}
	for _, l := range s.Lines {
		fmt.Fprintf(b, "      %+6.1f  of %+-5.3g %-10s %s: %s\n", l.Counted, l.Weight, l.Answer, l.Witness, l.If)
	}
}
