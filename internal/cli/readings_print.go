package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/report"
)

func (o *options) printStory(s *readingStory) {
	page := o.style().Page()
	r := &s.Reading
	title := r.Event
	if r.Peer != "" {
		title += ", the other end is " + r.Peer
	}
	if r.Software != "" {
		title += " (" + r.Software + ")"
	}
	page.Title(title)
	page.Row("text", firstLine(r.Text))
	for i, line := range s.seen() {
		page.Row(map[bool]string{true: "seen"}[i == 0], line)
	}
	page.Rows("proves", r.Proves)
	page.Rows("does not", r.DoesNotProve)
	page.Row("said", saidLine(s.Said))
	if s.Cause.ID != "unknown" {
		page.Row("may be", fmt.Sprintf("%s: %s", s.Cause.ID, s.Cause.Title))
	}
	for i, a := range s.Alternatives {
		if i < 3 {
			page.Row("", a.ID+": "+a.Title)
		}
	}
	for i := range s.Next {
		x := &s.Next[i]
		label := map[bool]string{true: "next"}[i == 0]
		if x.Question == "" {
			page.Row(label, x.Command)
			continue
		}
		page.Row(label, x.Question)
		page.Row("", "  "+x.Command)
		if x.Yes != "" && x.Gain > 0 {
			page.Row("", "  yes: "+x.Yes)
		}
		if x.No != "" && x.Gain > 0 {
			page.Row("", "  no: "+x.No)
		}
	}
	page.Blank()
	o.printf("%s", page.String())
}

// saidLine tells which circumstances were understood.
func saidLine(m map[string]any) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch v := m[k].(type) {
		case bool:
			if v {
				list = append(list, strings.ReplaceAll(k, "_", " "))
			} else {
				list = append(list, "not "+strings.ReplaceAll(k, "_", " "))
			}
		case []string:
			list = append(list, strings.Join(v, ", "))
		default:
			list = append(list, fmt.Sprintf("%s %v", strings.TrimSuffix(strings.ReplaceAll(k, "_", " "), " s"), v))
		}
	}
	return strings.Join(list, "; ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	return report.Clean(line)
}
