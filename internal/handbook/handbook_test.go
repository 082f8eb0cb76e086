package handbook

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/knowledge"
)

var update = flag.Bool("update", false, "write docs/causes")

func base(t *testing.T) *diagnosis.Base {
	t.Helper()
	b, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDocsAreCurrent compares docs/causes with what the knowledge base says.
func TestDocsAreCurrent(t *testing.T) {
	docs, err := Docs(base(t))
	if err != nil {
		t.Fatal(err)
	}
	current(t, "../../docs/causes", docs)
	lessons, err := LessonDocs(base(t))
	if err != nil {
		t.Fatal(err)
	}
	current(t, "../../docs/learn", lessons)
}

// current compares a directory of documents with what they should be.
func current(t *testing.T, dir string, docs map[string]string) {
	t.Helper()
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range docs {
		file := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if old, err := os.ReadFile(file); err != nil || string(old) != text {
			t.Errorf("%s is stale; run go test ./internal/handbook -update", file)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if _, ok := docs[filepath.Base(f)]; !ok {
			t.Errorf("%s is not generated", f)
		}
	}
}

// TestPagesAreWhole: what a reader must find on every page, and what must never
// reach one.
func TestPagesAreWhole(t *testing.T) {
	t.Parallel()
	b := base(t)
	tax, err := knowledge.LoadTaxonomy()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Pages(b) {
		text := p.Markdown()
		for _, bad := range []string{"{{", "{{.", "<no value>", "%!", "  \n"} {
			if strings.Contains(text, bad) {
				i := strings.Index(text, bad)
				t.Errorf("%s: %q in its page: ...%s", p.ID, bad, text[max(0, i-60):min(len(text), i+30)])
			}
		}
		if p.Says == "" || len(p.Symptoms) == 0 || len(p.Proof) == 0 || len(p.Fixes) == 0 || p.Confirm.String() == "" || len(p.References) == 0 || len(p.Lab) == 0 && p.NoLab == "" {
			t.Errorf("%s: says %v, symptoms %d, proof %d, fixes %d, confirm %v, references %d, lab %v", p.ID, p.Says != "", len(p.Symptoms), len(p.Proof),
				len(p.Fixes), p.Confirm.String() != "", len(p.References), p.Lab)
		}
		for _, l := range slices.Concat(p.LookAlikes, p.Forms) {
			if l.Title == "" {
				t.Errorf("%s: no cause %s", p.ID, l.ID)
			}
		}
		for _, line := range p.Wire {
			if len([]rune(line)) > 110 {
				t.Errorf("%s: a line of the ladder is too long: %s", p.ID, line)
			}
		}
	}
	for name, pair := range map[string][2][]string{
		"classes": {knowledge.Names(tax.Classes), diagnosis.Classes}, "outcomes": {knowledge.Names(tax.Outcomes), diagnosis.Outcomes}, "harms": {knowledge.Names(tax.Harms), diagnosis.Harms},
	} {
		got, want := slices.Sorted(slices.Values(pair[0])), slices.Sorted(slices.Values(pair[1]))
		if !slices.Equal(got, want) {
			t.Errorf("the taxonomy has the %s %v, the engine %v", name, got, want)
		}
	}
}

// TestLadders: the wire of causes that an expert would draw without thinking.
func TestLadders(t *testing.T) {
	t.Parallel()
	b := base(t)
	for id, want := range map[string][]string{
		"keepalive-race-generic":         {"<-- FIN", "--- data", "<-- RST"},
		"close-with-unread-data":         {"--- data", "<-- RST, ACK"},
		"client-abort":                   {"--- RST, ACK"},
		"connection-refused-closed-port": {"--- SYN", "<-- RST, ACK"},
		"connect-timeout-no-answer":      {"--- SYN", "--- SYN", "no answer"},
		"aws-nlb-idle-350":               {"device", "--- data", "<-- RST"},
		"forged-rst-attack":              {"injector", "<-- RST"},
		"rto-giveup-user-timeout":        {"--- data", "--- data", "no answer"},
	} {
		c, ok := b.Cause(id)
		if !ok {
			t.Errorf("no cause %s", id)
			continue
		}
		p := New(b, c)
		text, at := strings.Join(p.Wire, "\n"), 0
		for _, w := range want {
			i := strings.Index(text[at:], w)
			if i < 0 {
				t.Errorf("%s: no %q in\n%s", id, w, text)
				break
			}
			at += i + len(w)
		}
	}
}
