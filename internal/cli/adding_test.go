package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAddingACause types what docs/adding-a-cause.md says under "The short way", in an
// empty directory. What needs root there is left out.
func TestAddingACause(t *testing.T) {
	page, err := os.ReadFile("../../docs/adding-a-cause.md")
	if err != nil {
		t.Fatal(err)
	}
	recordings, err := filepath.Abs("testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(page), "## The short way\n")
	if !ok {
		t.Fatal("the page has no short way any more")
	}
	part, _, _ = strings.Cut(part, "\n## ")
	t.Chdir(t.TempDir())
	typed := 0
	for line := range strings.Lines(part) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "#")
		words := strings.Fields(strings.ReplaceAll(command, "DIR", recordings))
		if len(words) == 0 || words[0] != "holdfast" {
			continue
		}
		typed++
		var out, errs bytes.Buffer
		e := &env{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }, width: func() int { return 80 }}
		if code := e.run(context.Background(), words[1:]); code != codeOK {
			t.Errorf("%s: exit code %d\n%s%s", command, code, out.String(), errs.String())
		}
	}
	if typed < 5 {
		t.Errorf("only %d commands were typed", typed)
	}
}

// TestCompareRecordings: another weight changes a verdict, and whether that is for the
// worse is said.
func TestCompareRecordings(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("../../knowledge/causes/so-linger-zero.yaml")
	if err != nil {
		t.Fatal(err)
	}
	recordings, err := filepath.Abs("testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change []string
		code   int
		out    string
	}{
		"the same file":    {nil, codeOK, ""},
		"one weight less":  {[]string{"weight: proof", "weight: faint"}, codeFindings, "the same verdict, with another score"}, // a case of the file fails
		"without evidence": {[]string{"weight: proof", "weight: faint", "weight: strong", "weight: faint"}, codeFindings, "WRONG NOW"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "so-linger-zero.yaml"), []byte(strings.NewReplacer(c.change...).Replace(string(b))), 0o644); err != nil {
				t.Fatal(err)
			}
			code, out, errs := run(t, 100, "causes", "test", dir, "--recordings", recordings)
			if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, "verdicts change") {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}
