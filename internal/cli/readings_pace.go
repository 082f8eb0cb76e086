package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// pace is when the lines of a story were written, in bounded memory: a histogram
// whose columns become wider as time goes on.
type pace struct {
	first, last time.Time
	start       time.Time
	width       time.Duration // of a column
	columns     [paceColumns]int
	timed       int
}

// paceColumns is how many columns a chart has at most.
const paceColumns = 60

func (p *pace) add(t time.Time) {
	p.timed++
	if p.timed == 1 {
		p.first, p.last, p.start, p.width = t, t, t, time.Second
	}
	if t.Before(p.first) {
		p.first = t
	}
	if t.After(p.last) {
		p.last = t
	}
	if t.Before(p.start) { // lines out of order: what is earlier counts for the first column
		p.columns[0]++
		return
	}
	for t.Sub(p.start) >= p.width*paceColumns {
		p.fold()
	}
	p.columns[t.Sub(p.start)/p.width]++
}

// fold makes columns twice as wide.
func (p *pace) fold() {
	for i := range paceColumns / 2 {
		p.columns[i] = p.columns[2*i] + p.columns[2*i+1]
	}
	for i := paceColumns / 2; i < paceColumns; i++ {
		p.columns[i] = 0
	}
	p.width *= 2
}

// used are the columns up to the last line.
func (p *pace) used() []int {
	if p.timed == 0 {
		return nil
	}
	return p.columns[:min(int(p.last.Sub(p.start)/p.width)+1, paceColumns)]
}

// chart draws the histogram.
func (p *pace) chart() string {
	columns := p.used()
	if len(columns) < 4 {
		return ""
	}
	most := slices.Max(columns)
	marks := []rune(" ▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, n := range columns {
		i := 0
		if n > 0 {
			i = 1 + n*(len(marks)-2)/most
		}
		b.WriteRune(marks[min(i, len(marks)-1)])
	}
	return b.String()
}

// burst tells of a moment in which most lines were written.
func (p *pace) burst() string {
	columns := p.used()
	if len(columns) < 8 || p.timed < 10 {
		return ""
	}
	most := slices.Max(columns)
	at := slices.Index(columns, most)
	if 2*most < p.timed {
		return ""
	}
	return fmt.Sprintf("%d of them within %s from %s on: a deployment, a crash or a restart at that moment is likelier than a timer", most, p.width, p.start.Add(time.Duration(at)*p.width).Format("2006-01-02 15:04:05"))
}

// seen is what a story tells of its lines.
func (s *readingStory) seen() []string {
	if s.Where.Count < 2 {
		return nil
	}
	p := &s.pace
	line := fmt.Sprintf("%d times, lines %d to %d", s.Where.Count, s.Where.Line, s.Where.LastLine)
	if p.timed > 0 {
		line += fmt.Sprintf(", %s to %s", p.first.Format("2006-01-02 15:04:05"), p.last.Format("2006-01-02 15:04:05"))
	}
	list := []string{line}
	for _, more := range []string{s.share(), s.peers.text(), s.timerSeen(), s.rhythm()} {
		if more != "" {
			list = append(list, more)
		}
	}
	if c := p.chart(); c != "" {
		list = append(list, fmt.Sprintf("%s  (a column is %s)", c, p.width))
	}
	if b := p.burst(); b != "" {
		list = append(list, b)
	}
	return list
}
