package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/holdfast-project/holdfast/fact"
)

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHTML(t *testing.T) {
	got := pageOf(t, sampleReport())
	checkPage(t, got)
	golden(t, "testdata/report.html.golden", got)
}

func TestHTMLEmpty(t *testing.T) {
	got := pageOf(t, &Report{})
	checkPage(t, got)
	if !strings.Contains(got, "No reset and no broken connection.") {
		t.Error("the page does not say that nothing was found")
	}
}

var (
	openTag  = regexp.MustCompile(`<([a-z][a-z0-9]*)([^>]*)>`)
	idAttr   = regexp.MustCompile(` id="([^"]+)"`)
	external = regexp.MustCompile(` (?:src|action|srcset|data|poster|background|on[a-z]+|style)="`)
)

// checkPage holds a page to its promises: nothing external, a policy that
// allows exactly its own script and style, unique ids, links inside that lead
// somewhere, and no character that misleads a reader.
func checkPage(t *testing.T, page string) {
	t.Helper()
	script, style := between(t, page, "<script>", "</script>"), between(t, page, "<style>", "</style>")
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d script elements", n)
	}
	policy := html.UnescapeString(between(t, page, `Content-Security-Policy" content="`, `"`))
	for _, want := range []string{"default-src 'none'", "script-src " + digest(script), "style-src " + digest(style)} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %q: %s", want, policy)
		}
	}
	ids := map[string]bool{}
	body := strings.Replace(strings.Replace(page, script, "", 1), style, "", 1)
	for _, tag := range openTag.FindAllStringSubmatch(body, -1) {
		switch tag[1] {
		case "img", "iframe", "object", "embed", "link", "base", "form", "image", "use", "foreignobject":
			t.Errorf("element %s", tag[0])
		}
		if a := external.FindString(tag[2]); a != "" {
			t.Errorf("attribute%s in %s", a, tag[0])
		}
		if m := idAttr.FindStringSubmatch(tag[2]); m != nil {
			if ids[m[1]] {
				t.Errorf("id %s twice", m[1])
			}
			ids[m[1]] = true
		}
	}
	for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if to, inside := strings.CutPrefix(m[1], "#"); inside && !ids[to] || !inside && !strings.HasPrefix(m[1], "https://") {
			t.Errorf("link to %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`aria-labelledby="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		for id := range strings.FieldsSeq(m[1]) {
			if !ids[id] {
				t.Errorf("label %s does not exist", id)
			}
		}
	}
	if i := strings.IndexFunc(page, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("unsafe character at %d: %q", i, page[max(i-30, 0):min(i+30, len(page))])
	}
}

func between(t *testing.T, s, from, to string) string {
	t.Helper()
	_, s, ok := strings.Cut(s, from)
	s, _, ok2 := strings.Cut(s, to)
	if !ok || !ok2 {
		t.Fatalf("no text between %q and %q", from, to)
	}
	return s
}

const poison = "</script></style></title></svg><script>alert(1)</script><img src=x onerror=alert(1)>\" ' {{.}} \x1b[2J \u202egnp.exe \u2066 \x00 \xff \u3164"

// hostileReport fills every string of a finding, an input and a ladder.
func hostileReport(t *testing.T) *Report {
	t.Helper()
	raw, err := json.Marshal(idleFinding())
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(poisoned(tree)); err != nil {
		t.Fatal(err)
	}
	list := make([]fact.Finding, 3)
	for i := range list {
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			t.Fatal(err)
		}
		f := &list[i]
		f.Sender.Process = &fact.ProcessBrief{PID: 7, Name: poison, Exe: poison, Unit: poison}
		f.References = []string{"javascript:alert(1)", "https://example.org/\"onmouseover=alert(1)", "https://example.org/\u202e", poison}
		f.Arithmetic = &fact.Arithmetic{Causes: []fact.Score{{ID: poison, Posterior: 1, Lines: []fact.ScoreLine{{If: poison, Witness: poison, Answer: "true"}}}}}
		f.Where = &fact.Where{File: poison, Stream: i}
	}
	list[1].Cause.Grade, list[2].Sender.Role = fact.Proved, fact.Injector
	r := &Report{Title: poison, Version: poison, Made: day, Stories: Stories(list)}
	r.Inputs = []Input{{Name: poison, LinkTypes: []string{poison}, Warnings: []string{poison}, First: day, Last: day.Add(time.Hour)}}
	r.Stories[0].Ladder = hostileLadder()
	return r
}

// poisoned replaces every text that is not an address, a time or a schema.
func poisoned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch k {
			case "client", "server", "time", "schema":
			default:
				v[k] = poisoned(x)
			}
		}
	case []any:
		for i := range v {
			v[i] = poisoned(v[i])
		}
	case string:
		return poison
	}
	return v
}

func TestHTMLHostile(t *testing.T) {
	r := hostileReport(t)
	before := fmt.Sprintf("%+v", *r.Stories[0].Findings[0])
	got := pageOf(t, r)
	checkPage(t, got)
	if strings.Count(got, "alert(1)") < 20 {
		t.Error("the page lost the hostile texts: they must be shown, escaped")
	}
	if fmt.Sprintf("%+v", *r.Stories[0].Findings[0]) != before {
		t.Error("writing the page changed the finding")
	}
	for _, o := range []SummaryOptions{{}, {Details: true, Why: true, Ladders: true}} {
		for row := range strings.SplitSeq(Style{Width: 80}.Summary(r, o), "\n") {
			if Clean(row) != row {
				t.Errorf("row is not clean: %q", row)
			}
		}
	}
}

func TestHTMLLimits(t *testing.T) {
	var list []fact.Finding
	for i := range maxStories + 5 {
		f := idleFinding()
		f.ID, f.Cause.ID, f.Time = strconv.Itoa(i), "cause-"+strconv.Itoa(i), at(float64(i)*100)
		list = append(list, f)
	}
	got := pageOf(t, &Report{Stories: Stories(list)})
	checkPage(t, got)
	if n := strings.Count(got, "<article"); n != maxStories || !strings.Contains(got, "5 more stories are counted above") {
		t.Errorf("%d stories on the page, want %d and a line about 5 more", n, maxStories)
	}
}

// TestHTMLAsks holds every role that the words know to a request.
func TestHTMLAsks(t *testing.T) {
	for _, role := range enums["Sender.role"] {
		a, ok := asks[role]
		if !ok || a.to == "" || len(a.steps) == 0 {
			t.Errorf("no request for %s", role)
		}
		f := idleFinding()
		f.Sender.Role = role
		got := pageOf(t, &Report{Stories: Stories([]fact.Finding{f})})
		if !strings.Contains(got, html.EscapeString(a.to)) {
			t.Errorf("%s: the page does not ask %s", role, a.to)
		}
	}
}

// TestContrast holds the colours of the page to WCAG 2.2 AA: 4.5 to 1 for text.
func TestContrast(t *testing.T) {
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(pageCSS, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of colours, want light and dark", len(blocks))
	}
	for i, b := range blocks {
		c := map[string]string{}
		for _, m := range regexp.MustCompile(`--(\w+): (#[0-9a-f]{6})`).FindAllStringSubmatch(b[1], -1) {
			c[m[1]] = m[2]
		}
		pairs := [][2]string{{"red", "redbg"}}
		for _, fg := range []string{"fg", "muted", "red", "green", "amber", "blue", "purple"} {
			pairs = append(pairs, [2]string{fg, "card"}, [2]string{fg, "bg"})
		}
		for _, fg := range []string{"fg", "muted", "blue"} {
			pairs = append(pairs, [2]string{fg, "askbg"}, [2]string{fg, "soft"})
		}
		for _, p := range pairs {
			if got := contrast(t, c[p[0]], c[p[1]]); got < 4.5 {
				t.Errorf("scheme %d: %s on %s has contrast %.2f", i, p[0], p[1], got)
			}
		}
	}
}

// contrast is the contrast ratio of WCAG 2.2.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(t *testing.T, s string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 16, 32)
	if err != nil {
		t.Fatalf("colour %q: %v", s, err)
	}
	sum := 0.0
	for i, w := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(n>>(16-8*i)&255) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += w * c
	}
	return sum
}
