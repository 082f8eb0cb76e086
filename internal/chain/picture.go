package chain

import (
	"fmt"
	"html"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-project/holdfast/internal/servers"
)

// barWidth is the length of the longest bar of a picture, in characters.
const barWidth = 50

// bar draws a time on a scale on which longest has the full width: a logarithm,
// because 1 s and 2 h stand side by side.
func bar(t *servers.Timer, longest float64) string {
	if t == nil {
		return "?"
	}
	n := barWidth
	if !t.Never {
		n = length(t.Seconds, longest, barWidth)
	}
	end := "┤"
	if t.Never {
		end = "▶"
	}
	return "├" + strings.Repeat("─", n) + end + " " + Amount(t) + " (" + Origin(t) + ")"
}

func length(s, longest float64, width int) int {
	if s <= 0 {
		return 0
	}
	return max(1, int(math.Round(float64(width)*math.Log1p(s)/math.Log1p(max(longest, 1)))))
}

// Text draws a link: one line for each side, and what would end the race.
func (l *Link) Text() string {
	var b strings.Builder
	race := l.Race()
	word := "──"
	if race != nil {
		word = "── RACE ──"
	}
	fmt.Fprintf(&b, "%s %s %s %s", l.From.Name(), word, l.To.Name(), l.To.Addr)
	if v := l.Live; v != nil && v.Connections > 0 {
		fmt.Fprintf(&b, "   %d connections, %d idle, the longest for %.0f s", v.Connections, v.Idle, v.LongestIdle)
	}
	if v := l.Live; v != nil && v.ServerClosed+v.SenderClosed > 0 {
		fmt.Fprintf(&b, "   in TIME_WAIT: %d closed by the server first, %d by the sender", v.ServerClosed, v.SenderClosed)
	}
	b.WriteByte('\n')
	rows := l.rows()
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r.label))
	}
	longest := l.longest()
	for _, r := range rows {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, r.label, bar(r.timer, longest))
	}
	if race != nil {
		for i, c := range race.Changes {
			label := "change"
			if i > 0 {
				label = "or"
			}
			fmt.Fprintf(&b, "  %-*s  %s\n", width, label, c.String())
		}
	}
	return b.String()
}

type row struct {
	label string
	timer *servers.Timer
}

// rows are the timers that belong in a picture.
func (l *Link) rows() (list []row) {
	if l.Reuses || l.Reuse() != nil {
		list = append(list, row{l.From.Name() + " keeps", l.Reuse()})
	}
	if c := l.Close(); c != nil {
		list = append(list, row{l.To.Name() + " closes", c})
	}
	for i := range l.Path {
		list = append(list, row{"path forgets", &l.Path[i]})
	}
	return list
}

func (l *Link) longest() float64 {
	m := 1.0
	for _, r := range l.rows() {
		if r.timer != nil && !r.timer.Never {
			m = max(m, r.timer.Seconds)
		}
	}
	return m
}

// SVG draws links as a picture that stands alone: no script, no other file. Unknown
// values are hatched; the window in which a request meets the close is red.
func SVG(links []Link) string {
	const left, width, line = 190, 560, 22
	var b strings.Builder
	height := 20
	for i := range links {
		height += 34 + line*(len(links[i].rows())+1)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="sans-serif" font-size="13"><title>Timers along the connections of this host</title>`, left+width+250, height)
	b.WriteString(`<desc>One bar for each side of each connection: how long it keeps an idle connection. Where the receiver closes first, a request can meet the close.</desc>`)
	b.WriteString(`<defs><pattern id="q" width="6" height="6" patternUnits="userSpaceOnUse"><path d="M0 6L6 0" stroke="#999"/></pattern></defs><rect width="100%" height="100%" fill="#fff"/>`)
	y := 24
	for i := range links {
		l := &links[i]
		race := l.Race()
		title := l.From.Name() + " → " + l.To.Name() + " " + l.To.Addr
		color := "#222"
		if race != nil {
			title += " : race"
			color = "#b00020"
		}
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="bold" fill="%s">%s</text>`, y, color, html.EscapeString(title))
		longest := l.longest()
		for _, r := range l.rows() {
			y += line
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#222">%s</text>`, left-8, y, html.EscapeString(r.label))
			n, fill, text := width, "#4a7ebb", "?"
			switch {
			case r.timer == nil:
				fill = "url(#q)"
			case !r.timer.Never:
				n = length(r.timer.Seconds, longest, width)
				fallthrough
			default:
				text = Amount(r.timer) + " (" + Origin(r.timer) + ")"
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="12" fill="%s"/><text x="%d" y="%d" fill="#222">%s</text>`, left, y-11, n, fill, left+n+6, y, html.EscapeString(text))
			if race != nil && r.timer == race.Reuse && !race.Close.Never {
				from := length(race.Close.Seconds, longest, width)
				if n > from {
					fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="12" fill="#b00020"/>`, left+from, y-11, n-from)
				}
			}
		}
		if race != nil && len(race.Changes) > 0 {
			y += line
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#1b6e20">change: %s</text>`, left, y, html.EscapeString(race.Changes[0].String()))
		}
		y += 34
	}
	b.WriteString("</svg>\n")
	return b.String()
}
