package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manPages is where the manual pages are committed. Packagers install them from there;
// what writes them is in no binary.
const manPages = "../../docs/man"

var manDate = regexp.MustCompile(`(?m)^(\.TH "[^"]*" "1") "Jan 0001"`)

// TestManPages compares docs/man with what the commands say of themselves; -update
// rewrites it.
func TestManPages(t *testing.T) {
	want := map[string][]byte{}
	e := &env{in: strings.NewReader(""), out: new(bytes.Buffer), err: new(bytes.Buffer), getenv: func(string) string { return "" }, width: func() int { return 80 }}
	root := e.root()
	root.DisableAutoGenTag = true
	manOf(t, root, want)
	if *update {
		if err := os.RemoveAll(manPages); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(manPages, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range want {
			if err := os.WriteFile(filepath.Join(manPages, name), page, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	have, err := filepath.Glob(manPages + "/*.1")
	if err != nil || len(have) != len(want) {
		t.Errorf("%d pages in %s, want %d (%v); run: go test ./internal/cli -run TestManPages -update", len(have), manPages, len(want), err)
	}
	for _, path := range have {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want[filepath.Base(path)]) {
			t.Errorf("%s is stale (%v); run: go test ./internal/cli -run TestManPages -update", path, err)
		}
	}
}

// manOf makes the pages of a command and of those below it.
func manOf(t *testing.T, c *cobra.Command, pages map[string][]byte) {
	t.Helper()
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			manOf(t, sub, pages)
		}
	}
	var b bytes.Buffer
	header := &doc.GenManHeader{Section: "1", Source: "Holdfast", Manual: "Holdfast", Date: &time.Time{}}
	if err := doc.GenMan(c, header, &b); err != nil {
		t.Fatal(err)
	}
	// A day would be that of the last build, not that of the last change.
	pages[strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"] = manDate.ReplaceAll(b.Bytes(), []byte(`$1 ""`))
}
