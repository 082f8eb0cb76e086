package report

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

const (
	timelineBins  = 140
	timelineLanes = 8 // causes with a lane of their own; the others share one
	timelineLeft  = 300
	timelineRight = 944
)

// lane is the endings of one cause over time.
type lane struct {
	name    string
	harmful bool
	bins    [timelineBins]int64
	total   int64
}

// timeline draws when connections ended, a lane for each cause. It is empty
// when there is nothing to draw.
func (r *Report) timeline() template.HTML {
	from, to := r.span()
	if len(r.Stories) == 0 || !to.After(from) {
		return ""
	}
	lanes := r.lanes(from, to)
	var b strings.Builder
	height := 34*len(lanes) + 40
	var desc strings.Builder
	for _, l := range lanes {
		fmt.Fprintf(&desc, "%s: %s. ", l.name, thousands(l.total))
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="tl" role="img" aria-labelledby="tl-t tl-d" viewBox="0 0 960 %d"><title id="tl-t">When connections ended, by cause</title><desc id="tl-d">%s</desc>`, height, esc(desc.String()))
	for i, l := range lanes {
		l.draw(&b, float64(34*i+4))
	}
	axis(&b, from, to, float64(34*len(lanes)+6))
	b.WriteString("</svg>")
	return template.HTML(b.String()) // every text in it passed esc
}

// span is the time that inputs and findings cover.
func (r *Report) span() (from, to time.Time) {
	add := func(t time.Time) {
		if t.IsZero() {
			return
		}
		if from.IsZero() || t.Before(from) {
			from = t
		}
		if to.IsZero() || t.After(to) {
			to = t
		}
	}
	for i := range r.Inputs {
		add(r.Inputs[i].First)
		add(r.Inputs[i].Last)
	}
	for i := range r.Stories {
		first, last := r.Stories[i].Span()
		add(first)
		add(last)
	}
	return from, to
}

func (r *Report) lanes(from, to time.Time) []*lane {
	var list []*lane
	byCause := map[string]*lane{}
	for _, g := range r.Groups() {
		if byCause[g.Cause] != nil {
			continue
		}
		if len(list) <= timelineLanes {
			list = append(list, &lane{name: cmpOr(g.Cause, "unknown")})
		}
		if len(list) > timelineLanes {
			list[timelineLanes].name = "other causes"
		}
		byCause[g.Cause] = list[len(list)-1]
	}
	for i := range r.Stories {
		for _, f := range r.Stories[i].Findings {
			l, n := byCause[f.Cause.ID], int64(max(f.Count, 1))
			bin := int(float64(timelineBins) * float64(f.Time.Sub(from)) / float64(to.Sub(from)))
			l.bins[min(max(bin, 0), timelineBins-1)] += n
			l.total += n
			l.harmful = l.harmful || f.Harmful
		}
	}
	return list
}

func (l *lane) draw(b *strings.Builder, y float64) {
	class := "tl-benign"
	if l.harmful {
		class = "tl-harm"
	}
	fmt.Fprintf(b, `<g class="%s"><text x="%d" y="%.0f" text-anchor="end" class="tl-t">%s</text><text x="%d" y="%.0f" text-anchor="end" class="tl-m">%s</text>`,
		class, timelineLeft-56, y+20, esc(fit(l.name, 33)), timelineLeft-12, y+20, thousands(l.total))
	fmt.Fprintf(b, `<line class="tl-base" x1="%d" x2="%d" y1="%.0f" y2="%.0f"/>`, timelineLeft, timelineRight, y+26, y+26)
	var top int64
	for _, n := range l.bins {
		top = max(top, n)
	}
	step := float64(timelineRight-timelineLeft) / timelineBins
	for i, n := range l.bins {
		if n > 0 {
			h := 8 + 16*float64(n)/float64(top)
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`, timelineLeft+float64(i)*step, y+26-h, step-0.6, h, thousands(n))
		}
	}
	b.WriteString("</g>")
}

// ticks are the distances that an axis may have.
var ticks = []time.Duration{
	time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
	30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour,
}

// tickChar is about how wide a character of the axis is.
const tickChar = 6.8

// axis draws the clock below the lanes, with at most seven ticks.
func axis(b *strings.Builder, from, to time.Time, y float64) {
	whole, step := to.Sub(from), ticks[len(ticks)-1]
	for _, d := range ticks {
		if whole/d < 7 {
			step = d
			break
		}
	}
	layout := "15:04:05"
	switch {
	case step < time.Millisecond:
		layout = "15:04:05.000000"
	case step < time.Second:
		layout = "15:04:05.000"
	case step >= 24*time.Hour:
		layout = "2006-01-02"
	case whole >= 24*time.Hour:
		layout = "01-02 15:04"
	}
	used := 0.0 // as far as labels reach
	for n, t := 0, from.UTC().Truncate(step); !t.After(to) && n < 16; n, t = n+1, t.Add(step) {
		if t.Before(from) {
			continue
		}
		x := timelineLeft + (timelineRight-timelineLeft)*float64(t.Sub(from))/float64(whole)
		fmt.Fprintf(b, `<line class="tl-tick" x1="%.1f" x2="%.1f" y1="4" y2="%.0f"/>`, x, x, y)
		width := tickChar * float64(len(layout))
		anchor, left := "middle", x-width/2
		if x > timelineRight-width/2 {
			anchor, left = "end", x-width
		}
		if left < used {
			continue
		}
		used = left + width + tickChar
		fmt.Fprintf(b, `<text x="%.1f" y="%.0f" text-anchor="%s" class="tl-m">%s</text>`, x, y+18, anchor, t.Format(layout))
	}
	fmt.Fprintf(b, `<text x="%d" y="%.0f" text-anchor="end" class="tl-m">UTC</text>`, timelineLeft-56, y+18)
}
