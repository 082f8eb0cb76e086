package diagnosis

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPatternWords(t *testing.T) {
	for expr, want := range map[string][]string{
		"upstream timed out":                       {"upstream timed out"},
		"(?i)Limiting (requests|connections)":      {"limiting "},
		"signal 15|received (fast|smart) shutdown": {"signal 15", "received "},
		"PROXY TCP[46] x":                          {"proxy tcp"},
		"(worker|WORKER) ?TIMEOUT":                 {"timeout"},
		"(abc){2,3}":                               {"abc"},
		"(abc)*":                                   nil,
		"(abc)?d":                                  nil,
		".*":                                       nil,
		"ab":                                       {"ab"}, "a": nil,
		"abc|.":                            nil,
		"(?i)größe":                        nil,
		"^Too many connections$":           {"too many connections"},
		` [cs][HDRCQL](--|[-A-Z][-A-Z])? `: nil,
		`error .*(wrong version number|http request)`:  {"wrong version number", "http request"},
		`(?i)limit|ct count|meter|recent|f2b|fail2ban`: {"limit", "ct count", "meter", "recent", "2b", "ail2ban"},
	} {
		p, err := newPattern(expr, &lowered{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.words); diff != "" {
			t.Errorf("%s: %s", expr, diff)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, expr := range []string{`(?i)limit|ct count|recent`, `(?i)no shared cipher|SSL.*(http request|wrong)`, `signal \d+ \(SIG(TERM|INT)\)`, `a+b{2}c`} {
		for _, text := range []string{"", "rate LIMIT", "recent\u017f", "\u212a", "No \u017fhared cipher", "signal 15 (SIGTERM)", "aabbc"} {
			f.Add(expr, text)
		}
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		p, err := newPattern(expr, &lowered{})
		if err != nil {
			t.Skip()
		}
		if got, want := p.match(text), regexp.MustCompile(expr).MatchString(text); got != want {
			t.Errorf("%q in %q: %v, the expression says %v (words %q)", expr, text, got, want, p.words)
		}
	})
}
