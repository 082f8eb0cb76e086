package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-project/holdfast/fact"
)

func TestLadderSVG(t *testing.T) {
	for name, l := range sampleLadders() {
		t.Run(name, func(t *testing.T) {
			svg := LadderSVG(l)
			checkSVG(t, svg)
			golden(t, "testdata/ladder-"+name+".svg.golden", string(svg))
		})
	}
	if svg := LadderSVG(&fact.Ladder{}); svg != nil {
		t.Errorf("a ladder without frames gives %s", svg)
	}
}

func TestLadderSVGHostile(t *testing.T) {
	svg := LadderSVG(hostileLadder())
	checkSVG(t, svg)
	if i := bytes.IndexFunc(svg, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("unsafe character at %d: %q", i, svg[i:min(i+20, len(svg))])
	}
}

// checkSVG holds a drawing to well-formed XML that a screen reader can name,
// made of shapes and text only.
func checkSVG(t *testing.T, svg []byte) {
	t.Helper()
	allowed := " svg title desc style rect line text g path circle "
	seen := map[string]int{}
	for dec := xml.NewDecoder(bytes.NewReader(svg)); ; {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		el, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		seen[el.Name.Local]++
		if !strings.Contains(allowed, " "+el.Name.Local+" ") {
			t.Errorf("element %s", el.Name.Local)
		}
		for _, a := range el.Attr {
			if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
				t.Errorf("attribute %s of %s", a.Name.Local, el.Name.Local)
			}
		}
	}
	if seen["svg"] != 1 || seen["desc"] != 1 || seen["title"] < 1 || !bytes.Contains(svg, []byte(`role="img"`)) {
		t.Errorf("a screen reader cannot name the drawing: %v", seen)
	}
}
