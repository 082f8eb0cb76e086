package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/hostdoc"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.ID] {
			t.Errorf("%s twice", c.ID)
		}
		seen[c.ID] = true
		if predicates[c.ID] == nil {
			t.Errorf("%s has no predicate", c.ID)
		}
		if c.Title == "" || c.Why == "" || c.Source == "" || c.Risk == "" || len(c.Prevents) == 0 || c.Group == "" {
			t.Errorf("%s is incomplete: %+v", c.ID, c)
		}
		for _, text := range []string{c.Title, c.Why, c.Risk, c.Source} { // " #" begins a comment of YAML
			if strings.HasSuffix(text, ",") || strings.HasSuffix(text, ";") {
				t.Errorf("%s: a text is cut off: %q", c.ID, text)
			}
		}
	}
	for id := range predicates {
		if !seen[id] {
			t.Errorf("predicate %s has no row", id)
		}
	}
}

func TestSuppressions(t *testing.T) {
	list, err := ReadSuppressions([]byte("- {id: mem-oom-history, reason: tests do it, until: 2027-01-31}\n"))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	h := &hostdoc.Host{Live: &hostdoc.HostLive{OOMKills: 3, Orphans: -1, TCPPages: -1}}
	for at, want := range map[string]int{"2027-01-31": 0, "2027-02-01": 1} {
		now, _ := time.Parse(time.DateOnly, at)
		got := Run(h, Options{Suppress: list, Now: now})
		if len(got.Advices) != want || len(got.Suppressed) != 1-want {
			t.Errorf("on %s: %+v", at, got)
		}
	}
	for text, want := range map[string]string{
		"- {id: nothing, reason: x, until: 2027-01-31}":        "no check",
		"- {id: mem-oom-history, until: 2027-01-31}":           "no reason",
		"- {id: mem-oom-history, reason: x, until: sometimes}": "no day",
		"- {id: mem-oom-history, why: x}":                      "unknown field",
	} {
		if _, err := ReadSuppressions([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestOneSubject: Docker publishes a port by a rule for others and one for the host
// itself; that is one advice with both rules.
func TestOneSubject(t *testing.T) {
	h := clean(t)
	all(rule("dnat", "tcp dport 8080 dnat to 172.17.0.2:80", 0), rule("dnat", "iif lo tcp dport 8080 dnat to 172.17.0.2:80", 0), container("127.0.0.1"))(h, &h.Namespaces[0])
	r := Run(h, Options{Only: []string{"listen-nobody-behind-publish"}})
	if len(r.Advices) != 1 || len(r.Advices[0].Evidence) != 2 {
		t.Errorf("%+v", r.Advices)
	}
}
