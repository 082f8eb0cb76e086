package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/fact"
)

// TestHTMLWithoutDirectories: a page for others does not tell where the files
// lay, unless nothing else tells them apart.
func TestHTMLWithoutDirectories(t *testing.T) {
	page := func(names ...string) string {
		r := &Report{}
		var list []fact.Finding
		for _, n := range names {
			r.Inputs = append(r.Inputs, Input{Name: n})
			list = append(list, fact.Finding{Where: &fact.Where{File: n}, Proof: []fact.Proof{{Says: "so", File: n, Frame: 1}}})
		}
		r.Stories = Stories(list)
		r.Stories[0].Ladder = &fact.Ladder{Frames: []fact.Frame{{File: names[0], Number: 1}}}
		var b bytes.Buffer
		if err := HTML(&b, r); err != nil {
			t.Fatal(err)
		}
		if list[0].Where.File != names[0] || list[0].Proof[0].File != names[0] || r.Inputs[0].Name != names[0] || r.Stories[0].Ladder.Frames[0].File != names[0] {
			t.Error("the report itself was changed")
		}
		return b.String()
	}
	if s := page("/home/eve/a.pcap", "/home/eve/b.pcap"); strings.Contains(s, "/home/eve") || !strings.Contains(s, "a.pcap") {
		t.Error("directories are told")
	}
	if s := page("/home/eve/a.pcap", "/home/bob/a.pcap"); !strings.Contains(s, "/home/eve/a.pcap") {
		t.Error("files of the same name cannot be told apart")
	}
}
