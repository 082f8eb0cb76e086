package knowledge

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/fact"
)

// TestFactsHaveReaders: whoever adds a fact has a rule or a sentence in mind that
// uses it. The facts without one are in testdata/unread.txt with what they are
// for; that list may only become shorter.
func TestFactsHaveReaders(t *testing.T) {
	t.Parallel()
	base, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, s := range base.Senders() {
		s.Cases = nil
		fmt.Fprintf(&all, "%+v\n", s)
	}
	for _, c := range base.Causes() {
		c.Cases = nil
		fmt.Fprintf(&all, "%+v\n", c)
	}
	read := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b[a-z]+(?:\.[a-z0-9_]+)*`).FindAllString(all.String(), -1) {
		read[family(name)] = true
	}
	list, err := os.ReadFile("testdata/unread.txt")
	if err != nil {
		t.Fatal(err)
	}
	var unread []string
	for line := range strings.Lines(string(list)) {
		if names, what, _ := strings.Cut(strings.TrimSpace(line), ": "); names != "" && !strings.HasPrefix(names, "#") {
			if what == "" {
				t.Errorf("unread.txt: what is %s for?", names)
			}
			unread = append(unread, strings.Fields(names)...)
		}
	}
	for _, d := range fact.Defs() {
		name := family(d.Name)
		if strings.HasPrefix(name, "symptom.") {
			continue // package logline reads what people tell
		}
		switch listed := slices.Contains(unread, name); {
		case !read[name] && !listed:
			t.Errorf("no rule and no sentence reads %s: do not collect it, or say in testdata/unread.txt what it is for", d.Name)
		case read[name] && listed:
			t.Errorf("%s has a reader now: take it out of testdata/unread.txt", d.Name)
		}
	}
	for _, name := range unread {
		if !slices.ContainsFunc(fact.Defs(), func(d fact.Def) bool { return family(d.Name) == name }) {
			t.Errorf("unread.txt: there is no fact %s", name)
		}
	}
}

// family is the name of a fact, one for both ends of a connection.
func family(name string) string {
	for _, end := range []string{"sender.", "receiver."} {
		if rest, found := strings.CutPrefix(name, end); found {
			return "end." + rest
		}
	}
	return name
}
