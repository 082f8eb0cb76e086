package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/holdfast-project/holdfast/fact"
)

const pipeWidth = 100 // cells of a ladder without a limit

// painter draws a ladder on a terminal, row by row: a gutter with frame number,
// offset and delta, then the lifelines.
type painter struct {
	st                    Style
	ch                    *strokes
	l                     *fact.Ladder
	out                   strings.Builder
	width, gutter         int
	number, offset, delta int // widths of the columns, 0 when left out
	life                  []int
	frames                []fact.Frame
	steps                 []step
}

// cell is one position of a row.
type cell struct{ s, sgr string }

func newPainter(st Style, l *fact.Ladder) *painter {
	p := &painter{st: st, ch: unicodeStrokes, l: l, width: st.Width, number: len("frame")}
	if st.ASCII {
		p.ch = asciiStrokes
	}
	if p.width <= 0 {
		p.width = pipeWidth
	}
	p.width = max(p.width, 36)
	p.frames, _ = shown(l)
	p.steps = pace(p.frames)
	for i := range p.frames {
		p.number = max(p.number, len(strconv.FormatInt(p.frames[i].Number, 10)))
		p.offset = max(p.offset, len(offsetText(p.steps[i])))
		p.delta = max(p.delta, cells(p.deltaText(p.steps[i])))
	}
	p.offset, p.delta = max(p.offset, len("seconds")), max(p.delta, len("delta"))
	n := lifelines(l)
	need := max(40, 18*(n-1))
	if p.setGutter(); p.width-p.gutter < need {
		p.delta = 0
	}
	if p.setGutter(); p.width-p.gutter < max(26, 12*(n-1)) {
		p.offset = 0
	}
	p.setGutter()
	for i := range n {
		p.life = append(p.life, p.gutter+(p.width-1-p.gutter)*i/(n-1))
	}
	return p
}

func (p *painter) setGutter() {
	p.gutter = 2 + p.number + 2
	for _, w := range []int{p.offset, p.delta} {
		if w > 0 {
			p.gutter += w + 2
		}
	}
}

func offsetText(s step) string { return fmt.Sprintf("%.6f", s.offset.Seconds()) }

func (p *painter) deltaText(s step) string {
	if s.first {
		return ""
	}
	t := span(s.delta)
	if s.delta >= 0 {
		t = "+" + t
	}
	return strings.ReplaceAll(t, "µs", p.ch.micro)
}

func padLeft(s string, n int) string { return strings.Repeat(" ", max(n-cells(s), 0)) + s }

// left returns the gutter of a row.
func (p *painter) left(mark, number, offset, delta string) string {
	s := pad(mark, 1) + " " + padLeft(number, p.number) + "  "
	if p.offset > 0 {
		s += padLeft(offset, p.offset) + "  "
	}
	if p.delta > 0 {
		s += padLeft(delta, p.delta) + "  "
	}
	return s
}

// row returns an empty row with its lifelines.
func (p *painter) row(life string) []cell {
	r := make([]cell, p.width)
	for i := range r {
		r[i].s = " "
	}
	for _, x := range p.life {
		r[x] = cell{life, dim}
	}
	return r
}

// put writes s from column x on and cuts it before column end.
func put(r []cell, x, end int, s, sgr string) {
	for _, c := range s {
		w := runeWidth(c)
		switch {
		case w == 0 && x > 0 && unicode.In(c, unicode.Mn, unicode.Me):
			r[x-1].s += string(c)
			continue
		case x+w > min(end, len(r)):
			return
		}
		r[x] = cell{string(c), sgr}
		for i := 1; i < w; i++ {
			r[x+i] = cell{"", sgr}
		}
		x += w
	}
}

// flush writes a gutter and a row.
func (p *painter) flush(gutter, tint string, r []cell) {
	p.out.WriteString(p.st.paint(tint, gutter))
	end := len(r)
	for end > p.gutter && r[end-1].s == " " {
		end--
	}
	for i := p.gutter; i < end; {
		j, text := i, ""
		for j < end && r[j].sgr == r[i].sgr {
			text += r[j].s
			j++
		}
		p.out.WriteString(p.st.paint(r[i].sgr, text))
		i = j
	}
	p.out.WriteByte('\n')
}

func (p *painter) blankGutter() string { return strings.Repeat(" ", p.gutter) }

// head writes the titles: who stands where, and the clock of the first frame.
func (p *painter) head() {
	first := p.frames[0].Time.UTC().Format("2006-01-02 15:04:05.000000") + " UTC"
	client, server := "client "+address(p.l.Client, true), "server "+address(p.l.Server, true)
	title := first
	if len(p.l.Points) == 1 && p.l.Points[0] != "" {
		title += ", captured at " + Clean(p.l.Points[0])
	}
	p.out.WriteString(p.st.paint(dim, fit(title, p.width)) + "\n")
	r, end := p.row(" "), p.life[len(p.life)-1]+1
	gutter := p.left("", "frame", "seconds", "delta")
	if cells(client)+cells(server)+2 > end-p.gutter {
		p.out.WriteString(fit(client, p.width) + "\n" + fit(server, p.width) + "\n")
		client, server = "client", "server"
	}
	put(r, p.gutter, end, client, bold)
	put(r, max(end-cells(server), 0), end, server, bold)
	if len(p.life) == 2 {
		p.flush(gutter, dim, r)
		return
	}
	p.flush(p.blankGutter(), "", r)
	r = p.row(p.ch.life)
	for i, name := range p.l.Points { // centred on its line, in half of the room to each side
		before, after := p.life[i+1]-p.life[i], p.life[i+2]-p.life[i+1]
		text := fit(Clean(name), max(min(before, after)-2, 1))
		put(r, p.life[i+1]-cells(text)/2, end, text, bold)
	}
	p.flush(gutter, dim, r)
}

// pause draws what is left out before a frame, or the silence before it.
func (p *painter) pause(f *fact.Frame, s step) {
	switch {
	case f.Skipped > 0:
		p.middle(strings.ReplaceAll(skippedText(f, s, p.ch.more), "µs", p.ch.micro), dim, p.ch.pause)
	case s.gap:
		p.flush(p.blankGutter(), "", p.row(p.ch.pause))
		text := silence(s.delta)
		if cells(text)+2 > p.life[len(p.life)-1]-p.gutter {
			text = span(s.delta)
		}
		p.middle(text, yellow, p.ch.pause)
		p.flush(p.blankGutter(), "", p.row(p.ch.pause))
	}
}

// middle writes a text centred between client and server.
func (p *painter) middle(text, sgr, life string) {
	r := p.row(life)
	from, to := p.life[0]+1, p.life[len(p.life)-1]
	text = fit(" "+text+" ", to-from)
	put(r, from+(to-from-cells(text))/2, to, text, sgr)
	p.flush(p.blankGutter(), "", r)
}

// frame draws the arrow of a frame and its remarks.
func (p *painter) frame(f *fact.Frame, s step) {
	tint := kindTints[f.Kind]
	r := p.row(p.ch.life)
	p.arrow(r, f, tint)
	gutterTint := dim
	if f.Kind == fact.FrameReset || f.Kind == fact.FrameTrigger || f.Kind == fact.FrameProof {
		gutterTint = tint
	}
	mark := p.ch.marks[f.Kind]
	p.flush(p.left(mark, strconv.FormatInt(f.Number, 10), offsetText(s), p.deltaText(s)), gutterTint, r)
	info, note := remarks(f)
	p.remark(info, dim)
	if note != "" {
		p.remark(p.ch.up+" "+note, tint)
	}
}

// arrow draws from the sender to where the frame was seen, with its label in
// the line when there is room.
func (p *painter) arrow(r []cell, f *fact.Frame, tint string) {
	e := extentOf(p.l, f)
	from, to := p.column(e.from), p.column(e.to)
	line := p.ch.line
	if f.Kind == fact.FrameReset {
		line = p.ch.heavy
	}
	lo, hi := min(from, to), max(from, to)
	if !e.born {
		lo, hi = lo+b2i(from < to), hi-b2i(from > to)
	}
	if !e.lost {
		lo, hi = lo+b2i(from > to), hi-b2i(from < to)
	}
	for x := lo; x <= hi; x++ {
		r[x] = cell{line, tint}
	}
	head, tail := hi, lo
	tip := p.ch.right
	if from > to {
		head, tail, tip = lo, hi, p.ch.left
	}
	if e.lost {
		tip = p.ch.lost
	}
	if e.born {
		r[tail] = cell{p.ch.born, tint}
	}
	r[head] = cell{tip, tint}
	if label := longest(labels(f), hi-lo-5); label != "" {
		label = " " + label + " "
		put(r, lo+(hi-lo+1-cells(label))/2, hi, label, tint)
	}
}

// column is where a position in units of lifelines stands.
func (p *painter) column(pos float64) int {
	i := min(int(math.Floor(pos)), len(p.life)-1)
	x := float64(p.life[i])
	if i+1 < len(p.life) {
		x += (pos - float64(i)) * float64(p.life[i+1]-p.life[i])
	}
	return int(math.Round(x))
}

// remark writes text below an arrow, in at most three rows.
func (p *painter) remark(text, sgr string) {
	if text == "" {
		return
	}
	from, to := p.life[0]+3, p.life[len(p.life)-1]-1
	hang := 2 * b2i(strings.HasPrefix(text, p.ch.up+" "))
	lines := wrap(text, to-from-hang-1)
	for i, line := range lines[:min(len(lines), 3)] {
		if i == 2 {
			line = strings.Join(lines[2:], " ") // cut below
		}
		if i > 0 {
			line = strings.Repeat(" ", hang) + line
		}
		r := p.row(p.ch.life)
		put(r, from, to, fit(line, to-from-1), sgr)
		p.flush(p.blankGutter(), "", r)
	}
}
