package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

const indent = "    "

// block collects labelled, wrapped lines.
type block struct {
	st Style
	b  strings.Builder
}

// row writes text behind a label; continuation lines align with the text.
func (k *block) row(label, text string) {
	const labelWidth = 9
	width := 0
	if k.st.Width > 0 {
		width = max(k.st.Width-len(indent)-labelWidth-1, 30)
	}
	for i, l := range wrap(CleanText(text), width) {
		if i > 0 {
			label = ""
		}
		k.b.WriteString(strings.TrimRight(indent+k.st.paint(cyan, pad(label, labelWidth))+" "+l, " ") + "\n")
	}
}

// raw writes a line that must not be wrapped, such as a command.
func (k *block) raw(text string) {
	k.b.WriteString(indent + strings.Repeat(" ", 10) + Clean(text) + "\n")
}

// Details returns everything a finding says, as an indented block to stand
// below its Line. It ends in a newline.
func (st Style) Details(f *fact.Finding) string {
	k := &block{st: st}
	k.row("flow", flowText(f))
	if says := cmpOr(f.Cause.Says, f.Cause.Title); says != "" {
		k.row("why", fmt.Sprintf("%s (%s, %s)", strings.TrimSpace(says), f.Cause.Grade, percent(f.Cause.Score)))
	}
	k.row("sender", senderDetail(f))
	for i, p := range f.Proof {
		k.row(first(i, "proof"), proofText(p, f.Where))
	}
	if e := cmpOr(f.Effect.Says, Effect(f)); e != "" {
		k.row("effect", e)
	}
	for i, x := range f.Fixes {
		k.fix(first(i, "fix"), x)
	}
	if f.Confirm != "" {
		k.row("confirm", f.Confirm)
	}
	if f.Prevent != "" {
		k.row("prevent", f.Prevent)
	}
	for i, a := range f.Alternatives {
		k.row(first(i, "else"), fmt.Sprintf("%s: %s (%s)", a.ID, a.Title, percent(a.Score)))
	}
	for i, m := range f.Missing {
		k.row(first(i, "missing"), m.Fact+": "+m.How)
	}
	return k.b.String()
}

func (k *block) fix(label string, x fact.Fix) {
	title := x.Title
	if x.Risk != "" {
		title += " (risk: " + x.Risk + ")"
	}
	k.row(label, title)
	if x.Effect != "" {
		k.raw("    effect: " + x.Effect)
	}
	for _, c := range x.Commands {
		for line := range strings.SplitSeq(strings.TrimRight(c, "\n"), "\n") {
			k.raw("    " + line)
		}
	}
	for _, c := range x.Undo {
		k.raw("    undo: " + c)
	}
}

func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func flowText(f *fact.Finding) string {
	s := fmt.Sprintf("client %s, server %s, %s", f.Flow.Client, f.Flow.Server, f.Outcome)
	if f.Phase != "" {
		s += " in phase " + f.Phase
	}
	if f.Story != "" {
		s += ", follows from finding " + f.Story
	}
	return s
}

func senderDetail(f *fact.Finding) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s (%s, %s)", f.Sender.Role, f.Sender.Grade, percent(f.Sender.Score))
	p := f.Sender.Process
	if p != nil {
		s.WriteString(", " + processText(p))
		for _, x := range []struct{ label, v string }{{"", p.Exe}, {"unit ", p.Unit}, {"container ", p.Container}, {"pod ", p.Pod}} {
			if x.v != "" {
				s.WriteString(", " + x.label + x.v)
			}
		}
	}
	if f.Sender.Where != "" {
		s.WriteString(", at " + f.Sender.Where)
	}
	if f.Sender.Says != "" {
		s.WriteString(": " + strings.TrimSpace(f.Sender.Says))
	}
	return s.String()
}

// proofText is a line of proof; the file is named when it is another one than
// that of the finding.
func proofText(p fact.Proof, where *fact.Where) string {
	s := p.Witness + ": " + p.Says
	if weight := fmt.Sprintf("%+.0f", p.Weight); weight != "+0" { // +0: the witness had said enough already
		s = weight + " dB " + s
	}
	switch {
	case p.File == "":
	case p.Frame == 0:
		s += " (" + p.File + ")"
	case where != nil && where.File == p.File:
		s += fmt.Sprintf(" (frame %d)", p.Frame)
	default:
		s += fmt.Sprintf(" (%s, frame %d)", p.File, p.Frame)
	}
	return s
}

func percent(p float64) string {
	switch {
	case p > 0.9995:
		return "> 99.9 %"
	case p > 0.99:
		return fmt.Sprintf("%.1f %%", 100*p)
	}
	return fmt.Sprintf("%.0f %%", 100*p)
}

// Why returns the whole arithmetic of a verdict, or "" when the finding does
// not carry it. Hypotheses below one in a thousand are counted, not shown.
func (st Style) Why(f *fact.Finding) string {
	if f.Arithmetic == nil {
		return ""
	}
	k := &block{st: st}
	k.scores("senders", f.Arithmetic.Senders)
	k.scores("causes", f.Arithmetic.Causes)
	return k.b.String()
}

func (k *block) scores(label string, list []fact.Score) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b fact.Score) int {
		switch {
		case a.Posterior > b.Posterior:
			return -1
		case a.Posterior < b.Posterior:
			return 1
		}
		return strings.Compare(a.Vetoed, b.Vetoed)
	})
	hidden := 0
	for _, s := range list {
		if s.Vetoed != "" || s.Posterior < 0.001 {
			hidden++
			continue
		}
		k.row(label, fmt.Sprintf("%s: prior %+.0f dB, total %+.1f dB, %s", s.ID, s.Prior, s.Total, percent(s.Posterior)))
		label = ""
		for _, l := range s.Lines {
			if l.Answer == "true" {
				k.raw(fmt.Sprintf("  %+4.0f dB  %-8s %s", l.Counted, l.Witness, l.If))
			}
		}
		for _, l := range s.Lines {
			if l.Answer == "not looked" {
				k.raw(fmt.Sprintf("  not looked  %-8s %s", l.Witness, l.If))
			}
		}
	}
	if hidden > 0 {
		k.row(label, fmt.Sprintf("%d more are vetoed or below one in a thousand", hidden))
	}
}
