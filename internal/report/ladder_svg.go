package report

import (
	_ "embed"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

//go:embed assets/ladder.css
var ladderCSS string

// The geometry of a drawing, in user units (CSS pixels).
const (
	svgWidth  = 960
	svgChar   = 7.25 // width of a character of the 12 px monospaced font
	svgLine   = 16   // height of a line of text
	svgNumber = 66   // right edges of the columns
	svgOffset = 158
	svgDelta  = 244
	svgLeft   = 276 // the client's lifeline
	svgRight  = 936 // the server's lifeline
)

// LadderSVG draws a ladder as a standalone SVG document: with title and
// description for screen readers, readable on light and dark, without scripts.
// All text is clean and escaped. It is nil for a ladder without frames.
func LadderSVG(l *fact.Ladder) []byte {
	if l == nil || len(l.Frames) == 0 {
		return nil
	}
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + drawLadder(l, "ladder", true) + "\n")
}

// drawing is an SVG under construction; y is where the next row starts.
type drawing struct {
	b strings.Builder
	y float64
	l *fact.Ladder
}

// drawLadder draws with ids that start with id. Without styled the page brings
// ladder.css.
func drawLadder(l *fact.Ladder, id string, styled bool) string {
	d := &drawing{l: l}
	frames, more := shown(l)
	steps := pace(frames)
	d.head(frames)
	for i := range frames {
		d.pause(&frames[i], steps[i])
		d.frame(&frames[i], steps[i])
	}
	if more > 0 {
		d.between(fmt.Sprintf("… %s more frames are not drawn …", thousands(int64(more))), "hl-m", 30)
	}
	d.lives("hl-life", 10)
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" class="hl" role="img" aria-labelledby="%s-t %s-d" viewBox="0 0 %d %.0f"`, id, id, svgWidth, d.y+8)
	if styled {
		fmt.Fprintf(&out, ` width="%d" height="%.0f"`, svgWidth, d.y+8)
	}
	out.WriteString(`>`)
	fmt.Fprintf(&out, `<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, esc(ladderTitle(l)), id, esc(describe(frames, steps)))
	if styled {
		out.WriteString("<style>" + ladderCSS + "</style>")
	}
	fmt.Fprintf(&out, `<rect class="hl-bg" width="%d" height="%.0f"/>`, svgWidth, d.y+8)
	out.WriteString(d.b.String() + "</svg>")
	return out.String()
}

func ladderTitle(l *fact.Ladder) string {
	return fmt.Sprintf("Packets between client %s and server %s", address(l.Client, true), address(l.Server, true))
}

// describe tells in words what the drawing shows.
func describe(frames []fact.Frame, steps []step) string {
	parts := []string{number(int64(len(frames)), "frame") + " drawn"}
	for i := range frames {
		f := &frames[i]
		if steps[i].gap && f.Skipped == 0 {
			parts = append(parts, fmt.Sprintf("%s before frame %d", silence(steps[i].delta), f.Number))
		}
		if f.Kind == fact.FramePlain || f.Kind == fact.FrameNextStep {
			continue
		}
		s := fmt.Sprintf("Frame %d, %s after the first, from the %s: %s", f.Number, span(steps[i].offset), side(f.FromClient), labels(f)[0])
		if info, note := remarks(f); info != "" || note != "" {
			s += ", " + strings.Trim(info+", "+note, ", ")
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ". ") + "."
}

func side(client bool) string {
	if client {
		return "client"
	}
	return "server"
}

// esc cleans and escapes a text for SVG and HTML.
func esc(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(Clean(s))); err != nil {
		return ""
	}
	return b.String()
}

// text writes s at x on the baseline y; anchor is start, middle or end.
func (d *drawing) text(x, y float64, anchor, class, s string) {
	if s != "" {
		fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, esc(s))
	}
}

func (d *drawing) x(pos float64) float64 {
	return svgLeft + (svgRight-svgLeft)*pos/float64(lifelines(d.l)-1)
}

// lives draws the lifelines over the next height units and goes there.
func (d *drawing) lives(class string, height float64) {
	for i := range lifelines(d.l) {
		x := d.x(float64(i))
		fmt.Fprintf(&d.b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x, d.y, x, d.y+height)
	}
	d.y += height
}

// head draws who stands where.
func (d *drawing) head(frames []fact.Frame) {
	when := "first frame " + frames[0].Time.UTC().Format("2006-01-02 15:04:05.000000") + " UTC"
	if len(d.l.Points) == 1 && d.l.Points[0] != "" {
		when += ", captured at " + fit(Clean(d.l.Points[0]), 60)
	}
	if c, s := address(d.l.Client, true), address(d.l.Server, true); lifelines(d.l) > 2 && max(len(c), len(s)) > 21 { // the boxes cut them
		when += ", client " + c + ", server " + s
	}
	d.text(8, 20, "start", "hl-m", fit(when, 130))
	d.text(svgNumber, 68, "end", "hl-m", "frame")
	d.text(svgOffset, 68, "end", "hl-m", "seconds")
	d.text(svgDelta, 68, "end", "hl-m", "delta")
	n := lifelines(d.l)
	for i := range n {
		room := (svgRight - svgLeft) / float64(n-1)
		top, name := "", ""
		switch i {
		case 0:
			top, name = "client", address(d.l.Client, true)
		case n - 1:
			top, name = "server", address(d.l.Server, true)
		default:
			top, name = "capture", d.l.Points[i-1]
		}
		d.box(d.x(float64(i)), room-8, top, name, i == 0, i == n-1)
	}
	d.y = 78
}

// box draws the head of a lifeline; the outer ones stay inside the drawing.
func (d *drawing) box(x, room float64, top, name string, isFirst, isLast bool) {
	if !isFirst && !isLast || lifelines(d.l) > 2 {
		room = min(room, 210)
	} else {
		room = 348 // a full IPv6 address and port
	}
	name = fit(Clean(name), int((room-7)/svgChar))
	w := min(max(float64(cells(name)), float64(len(top)))*svgChar+14, room)
	left := x - w/2
	if isFirst {
		left = max(x-20, 0)
	}
	if isLast {
		left = svgWidth - 4 - w
	}
	fmt.Fprintf(&d.b, `<rect class="hl-box" x="%.1f" y="34" width="%.1f" height="40" rx="5"/>`, left, w)
	d.text(left+w/2, 50, "middle", "hl-m", top)
	d.text(left+w/2, 66, "middle", "hl-t hl-b", name)
}

// pause draws what is left out before a frame, or the silence before it.
func (d *drawing) pause(f *fact.Frame, s step) {
	switch {
	case f.Skipped > 0:
		d.between(skippedText(f, s, "…"), "hl-m", 30)
	case s.gap:
		d.between(silence(s.delta), "hl-gap", 58)
	}
}

// between writes a text in the middle of broken lifelines.
func (d *drawing) between(text, class string, height float64) {
	y := d.y + height/2
	d.lives("hl-pause", height)
	w := float64(cells(text))*svgChar + 16
	fmt.Fprintf(&d.b, `<rect class="hl-halo" x="%.1f" y="%.1f" width="%.1f" height="20"/>`, (svgLeft+svgRight-w)/2, y-10, w)
	d.text((svgLeft+svgRight)/2, y+4, "middle", class, text)
}

// frame draws an arrow with its label above and its remarks below.
func (d *drawing) frame(f *fact.Frame, s step) {
	info, note := remarks(f)
	room := (svgRight - svgLeft - 40) * 100 / 725 // of characters
	infoLines, noteLines := cut(wrap(info, room), 2, room), cut(wrap(note, room), 4, room)
	e := extentOf(d.l, f)
	from, to := d.x(e.from), d.x(e.to)
	forms := labels(f)
	label := longest(forms, int((max(from, to)-min(from, to)-30)/svgChar))
	height := 32 + float64(svgLine*(len(infoLines)+len(noteLines)))
	if len(infoLines)+len(noteLines) > 0 {
		height += 6
	}
	class := string(f.Kind)
	if kindWords[f.Kind] == "" {
		class = "plain"
	}
	top, y := d.y, d.y+24
	fmt.Fprintf(&d.b, `<g class="%s"><title>%s</title><rect class="hl-row" x="0" y="%.1f" width="%d" height="%.1f"/>`, class, esc(hover(f)), top, svgWidth, height)
	d.lives("hl-life", height)
	d.text(svgNumber, y, "end", "hl-t hl-k hl-b", strconv.FormatInt(f.Number, 10))
	d.text(svgOffset, y, "end", "hl-m", offsetText(s))
	if !s.first {
		sign := "+"
		if s.delta < 0 {
			sign = ""
		}
		d.text(svgDelta, y, "end", "hl-m", sign+span(s.delta))
	}
	d.arrow(e, from, to, y)
	if lifelines(d.l) > 2 { // the lines between must not cross the label
		w := float64(cells(label))*svgChar + 6
		fmt.Fprintf(&d.b, `<rect class="hl-halo" x="%.1f" y="%.1f" width="%.1f" height="14"/>`, (from+to-w)/2, y-17, w)
	}
	d.text((from+to)/2, y-6, "middle", "hl-t hl-k", label)
	y += 18
	for _, l := range infoLines {
		d.remark(y, "hl-m", l)
		y += svgLine
	}
	for _, l := range noteLines {
		d.remark(y, "hl-t hl-k", l)
		y += svgLine
	}
	d.b.WriteString(`</g>`)
}

// cut keeps n lines and says that there are more.
func cut(lines []string, n, room int) []string {
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	if len(lines) > n {
		lines = append(lines[:n-1:n-1], strings.Join(lines[n-1:], " "))
	}
	for i := range lines {
		lines[i] = fit(lines[i], room)
	}
	return lines
}

func (d *drawing) remark(y float64, class, s string) {
	x := float64(svgLeft + 16)
	if lifelines(d.l) > 2 { // the lines between must not cross the text
		fmt.Fprintf(&d.b, `<rect class="hl-halo" x="%.1f" y="%.1f" width="%.1f" height="%d"/>`, x-3, y-12, float64(cells(s))*svgChar+6, svgLine)
	}
	d.text(x, y, "start", class, s)
}

// arrow draws a line and its head, or a cross where the frame was lost, and a
// dot where it was born.
func (d *drawing) arrow(e extent, from, to, y float64) {
	dir := 1.0
	if to < from {
		dir = -1
	}
	fmt.Fprintf(&d.b, `<line class="hl-a" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, from, y, to-dir*6, y)
	if e.born {
		fmt.Fprintf(&d.b, `<circle class="hl-h" cx="%.1f" cy="%.1f" r="5"/>`, from, y)
	}
	if e.lost {
		fmt.Fprintf(&d.b, `<path class="hl-lost" d="M%.1f %.1fl10 10m0 -10l-10 10"/>`, to-5, y-5)
		return
	}
	fmt.Fprintf(&d.b, `<path class="hl-h" d="M%.1f %.1fl%.0f -4.5v9z"/>`, to, y, -dir*10)
}

// hover is what a pointer over a frame shows.
func hover(f *fact.Frame) string {
	s := fmt.Sprintf("frame %d at %s, from the %s: %s, window %d, TTL %d, IP ID %d", f.Number, f.Time.UTC().Format(time.RFC3339Nano), side(f.FromClient), labels(f)[0], f.Window, f.TTL, f.IPID)
	if f.File != "" {
		s = f.File + ", " + s
	}
	return s
}
