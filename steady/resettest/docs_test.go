package resettest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table in docs/resettest.md")

const (
	document   = "../../docs/resettest.md"
	tableBegin = "<!-- faults: written by go test ./steady/resettest -run TestDocument -update -->\n"
	tableEnd   = "<!-- end of faults -->\n"
)

// TestDocument wants the table of the document to be the faults.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	before, rest, ok := strings.Cut(text, tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("the marks of the table are missing")
	}
	want := before + tableBegin + faultTable() + tableEnd + after
	if text == want {
		return
	}
	if !*update {
		t.Fatal("the table is old; go test ./steady/resettest -run TestDocument -update")
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func faultTable() string {
	var b strings.Builder
	b.WriteString("\n| fault | what happens | arrived / delivered / answered | executed | RST from | on the wire | the client sees | stream |\n|---|---|---|---|---|---|---|---|\n")
	mark := map[bool]string{true: "yes", false: "no"}
	for _, f := range Faults() {
		tr := f.Truth
		fmt.Fprintf(&b, "| `%s` | %s | %s / %s / %s | %s | %s | %s | %s | %s |\n", f.Name, f.Doc, tr.Arrived, tr.Delivered, tr.Answered, mark[tr.Executed], strings.Join(tr.Senders, ", "), tr.Wire, strings.Join(tr.Sees, ", "), mark[f.Stream])
	}
	b.WriteString("\n")
	return b.String()
}
