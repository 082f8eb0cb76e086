package report

import (
	"fmt"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

// columns are the widths of a line. A zero effect column is left out.
type columns struct {
	clock                            string // layout of the time
	sender, receiver, cause, effects int
}

const gradeWidth = 8

// layout chooses the columns for a width of the terminal.
func (st Style) layout() columns {
	c := columns{clock: "15:04:05.000", sender: 30, receiver: 24, cause: 28, effects: -1}
	if st.Width == 0 {
		return c
	}
	if st.Width < 118 {
		c.clock = "15:04:05"
	}
	free := st.Width - len(c.clock) - gradeWidth - 2 - 2 - 3 - 2 - 2 // mark, gaps and arrow
	c.cause = clamp(free*28/100, 16, 30)
	c.sender = clamp(free*30/100, 12, 36)
	c.receiver = clamp(free*22/100, 10, 28)
	c.effects = free - c.cause - c.sender - c.receiver - 2
	if c.effects < 10 {
		c.receiver += max(c.effects+2, 0)
		c.effects = 0
	}
	return c
}

func clamp(n, lo, hi int) int { return max(lo, min(n, hi)) }

// Header returns the titles of the columns of Line.
func (st Style) Header() string {
	c := st.layout()
	s := "  " + pad("TIME", len(c.clock)) + "  " + pad("SENT BY", c.sender) + "   " + pad("HIT", c.receiver) + "  " +
		pad("CAUSE", c.cause) + "  " + pad("GRADE", gradeWidth)
	if c.effects != 0 {
		s += "  EFFECT"
	}
	return st.paint(dim, strings.TrimRight(s, " "))
}

// Line returns a finding as one line without the newline: when, who reset whom,
// why, how sure, and what it cost. Folded repeats show as a count.
func (st Style) Line(f *fact.Finding) string {
	c := st.layout()
	sender, receiver := Ends(f)
	cell := func(s string, n int) string {
		if st.Width > 0 {
			s = fit(s, n)
		}
		return pad(s, n)
	}
	effect := Effect(f)
	if f.Count > 1 {
		effect = strings.TrimRight(fmt.Sprintf("×%d  %s", f.Count, effect), " ")
	}
	if c.effects >= 0 {
		effect = fit(effect, c.effects)
	}
	causeID := Clean(f.Cause.ID)
	grade := string(f.Cause.Grade)
	clock := f.Time.Local().Format(c.clock)
	mark, tint := severity(f)
	if tint == dim {
		return st.paint(dim, strings.TrimRight(mark+" "+clock+"  "+cell(sender, c.sender)+" → "+cell(receiver, c.receiver)+"  "+
			cell(causeID, c.cause)+"  "+cell(grade, gradeWidth)+"  "+effect, " "))
	}
	line := st.paint(tint, mark) + " " + st.paint(dim, clock) + "  " + cell(sender, c.sender) + st.paint(dim, " → ") +
		cell(receiver, c.receiver) + "  " + st.paint(causeTint(tint), cell(causeID, c.cause)) + "  " +
		st.paint(gradeTint(f.Cause.Grade), cell(grade, gradeWidth))
	if effect != "" {
		line += "  " + effect
	}
	return strings.TrimRight(line, " ")
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
