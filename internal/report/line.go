package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// columns are the widths of a line. Without a limit the effect runs to the end.
type columns struct {
	clock                           string // layout of the time
	sender, receiver, cause, effect int
}

const (
	gradeWidth = 8
	narrow     = 110 // below this width a finding takes two lines
)

// layout chooses the columns for a terminal at least as wide as narrow.
func (st Style) layout() columns {
	if st.Width == 0 {
		return columns{clock: "15:04:05.000", sender: 38, receiver: 26, cause: 28, effect: -1}
	}
	c := columns{clock: "15:04:05"}
	if st.Width >= 140 {
		c.clock = "15:04:05.000"
	}
	free := st.Width - cells("● ") - len(c.clock) - 2 - cells(" → ") - gradeWidth - 2*len("  ")
	free -= len("  ")
	c.cause, c.sender, c.receiver = min(free*32/100, 38), min(free*29/100, 40), min(free*20/100, 30)
	c.effect = free - c.cause - c.sender - c.receiver
	return c
}

// Header returns the titles of the columns of Line, "" on a narrow terminal.
func (st Style) Header() string {
	if st.Width > 0 && st.Width < narrow {
		return ""
	}
	c := st.layout()
	s := "  " + pad("TIME", len(c.clock)) + "  " + pad("SENT BY", c.sender) + "   " + pad("HIT", c.receiver) + "  " +
		pad("CAUSE", c.cause) + "  " + pad("GRADE", gradeWidth)
	return st.paint(dim, s+"  EFFECT")
}

// Line returns a finding as one line without the newline: when, who reset whom,
// why, how sure, and what it cost. Folded repeats show as a count. On a narrow
// terminal it takes two lines.
func (st Style) Line(f *fact.Finding) string {
	if st.Width > 0 && st.Width < narrow {
		return st.twoLines(f)
	}
	c := st.layout()
	from, to := ends(f)
	sender, receiver := from.fit(0), to.fit(0)
	if st.Width > 0 {
		sender, receiver = from.fit(c.sender), to.fit(c.receiver)
	}
	mark, tint := severity(f)
	p := st
	if tint == dim {
		p.Color = false // the whole line is dimmed at the end
	}
	line := p.paint(tint, mark) + " " + p.paint(dim, f.Time.Local().Format(c.clock)) + "  " + st.cell(sender, c.sender) +
		p.paint(dim, " → ") + st.cell(receiver, c.receiver) + "  " + p.paint(causeTint(tint), st.cell(Clean(f.Cause.ID), c.cause)) +
		"  " + p.paint(gradeTint(f.Cause.Grade), pad(string(f.Cause.Grade), gradeWidth))
	if effect := counted(f); effect != "" {
		if c.effect > 0 {
			effect = fit(effect, c.effect)
		}
		line += "  " + effect
	}
	line = strings.TrimRight(line, " ")
	if tint == dim {
		return st.paint(dim, line)
	}
	return line
}

// Repeats returns the line that says how many more findings like f there were
// since it was printed, up to last.
func (st Style) Repeats(f *fact.Finding, n int, last time.Time) string {
	sender, receiver := Ends(f)
	s := fmt.Sprintf("  ×%d more: %s → %s  %s, the last at %s", n, sender, receiver, Clean(f.Cause.ID), last.Local().Format("15:04:05"))
	if st.Width > 0 {
		s = fit(s, st.Width)
	}
	return st.paint(dim, s)
}

// twoLines returns the cause and its effect above the two ends.
func (st Style) twoLines(f *fact.Finding) string {
	sender, receiver := Ends(f)
	mark, tint := severity(f)
	clock := f.Time.Local().Format("15:04:05")
	head := Clean(f.Cause.ID) + "  " + string(f.Cause.Grade)
	if effect := counted(f); effect != "" {
		head += "  " + effect
	}
	below := strings.Repeat(" ", 12) + fit(sender+" → "+receiver, max(st.Width-12, 8))
	return st.paint(tint, mark) + " " + st.paint(dim, clock) + "  " + st.paint(causeTint(tint), fit(head, max(st.Width-12, 8))) +
		"\n" + st.paint(dim, below)
}

// cell pads s to n cells, and cuts it when the terminal has a width.
func (st Style) cell(s string, n int) string {
	if st.Width > 0 {
		s = fit(s, n)
	}
	return pad(s, n)
}

// counted is the effect behind the number of folded repeats. Of a third party it
// says when the sender is proved and the cause is not: that is what the reader
// was asked to prove.
func counted(f *fact.Finding) string {
	effect := Effect(f)
	switch f.Sender.Role {
	case fact.Middlebox, fact.Injector, fact.LocalFirewall:
		if f.Sender.Grade == fact.Proved && f.Cause.Grade != fact.Proved {
			effect = strings.TrimSuffix("sender proved, "+effect, ", ")
		}
	}
	if f.Count > 1 {
		return strings.TrimRight(fmt.Sprintf("×%d  %s", f.Count, effect), " ")
	}
	return effect
}

// severity returns the mark of a finding and its colour.
func severity(f *fact.Finding) (mark, sgr string) {
	switch {
	case !f.Harmful:
		return "○", dim
	case f.Story != "":
		return "↳", dim
	case f.Cause.Grade == fact.Unknown:
		return "●", magenta
	case f.Outcome == "reset":
		return "●", redBold
	}
	return "●", yellow
}

func causeTint(tint string) string {
	if tint == redBold {
		return bold
	}
	return tint
}

func gradeTint(g fact.Grade) string {
	switch g {
	case fact.Proved:
		return green
	case fact.Probable:
		return cyan
	case fact.Possible:
		return yellow
	}
	return magenta
}
