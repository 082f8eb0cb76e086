package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// maxLadder is how many frames a ladder draws; the rest is counted.
const maxLadder = 400

// strokes are the characters of a drawing, one cell each except more.
type strokes struct {
	life, pause, line, heavy, right, left, lost, born, up, more, micro string
	marks                                                              map[fact.FrameKind]string
}

var unicodeStrokes = &strokes{
	life: "│", pause: "┆", line: "─", heavy: "━", right: "►", left: "◄", lost: "✗", born: "*", up: "▲", more: "…", micro: "µs",
	marks: map[fact.FrameKind]string{
		fact.FrameReset: "●", fact.FrameTrigger: "▸", fact.FrameProof: "◆", fact.FrameResent: "↻", fact.FrameLost: "✗", fact.FrameICMPError: "!",
	},
}

var asciiStrokes = &strokes{
	life: "|", pause: ":", line: "-", heavy: "=", right: ">", left: "<", lost: "X", born: "*", up: "^", more: "...", micro: "us",
	marks: map[fact.FrameKind]string{
		fact.FrameReset: "R", fact.FrameTrigger: "T", fact.FrameProof: "P", fact.FrameResent: "r", fact.FrameLost: "X", fact.FrameICMPError: "!",
	},
}

// kindWords say what part a frame plays, before its note.
var kindWords = map[fact.FrameKind]string{
	fact.FrameReset: "the reset", fact.FrameTrigger: "what the reset answers", fact.FrameProof: "proof", fact.FrameResent: "sent again",
	fact.FrameLost: "lost on the way", fact.FrameICMPError: "ICMP", fact.FrameNextStep: "after the reset",
}

var kindTints = map[fact.FrameKind]string{
	fact.FrameReset: redBold, fact.FrameTrigger: yellow, fact.FrameProof: cyan, fact.FrameResent: magenta,
	fact.FrameLost: magenta, fact.FrameICMPError: yellow, fact.FrameNextStep: dim,
}

// Ladder draws the packets of one connection around what ended it, client left
// and server right, with the points of capture between when there are several.
// Without a width it takes 100 cells. All text is clean; it ends in a newline.
func (st Style) Ladder(l *fact.Ladder) string {
	if l == nil || len(l.Frames) == 0 {
		return ""
	}
	p := newPainter(st, l)
	p.head()
	frames, more := shown(l)
	steps := pace(frames)
	for i := range frames {
		p.pause(&frames[i], steps[i])
		p.frame(&frames[i], steps[i])
	}
	if more > 0 {
		p.middle(fmt.Sprintf("%s %s more frames are not drawn %s", p.ch.more, thousands(int64(more)), p.ch.more), dim, p.ch.life)
	}
	if st.ASCII {
		return strings.ReplaceAll(p.out.String(), "…", "~") // from cut texts
	}
	return p.out.String()
}

// shown returns the frames that are drawn and how many are not.
func shown(l *fact.Ladder) ([]fact.Frame, int) {
	n := min(len(l.Frames), maxLadder)
	return l.Frames[:n], len(l.Frames) - n
}

// step is the time of a frame: since the first and since the one before.
type step struct {
	offset, delta time.Duration
	first, gap    bool // gap: long enough to be drawn
}

// pace computes the steps. A gap is drawn from 10 s on, and from 1 s on when it
// is a fifth of the whole.
func pace(frames []fact.Frame) []step {
	out := make([]step, len(frames))
	whole := frames[len(frames)-1].Time.Sub(frames[0].Time)
	for i := range frames {
		out[i].offset, out[i].first = frames[i].Time.Sub(frames[0].Time), i == 0
		if i == 0 {
			continue
		}
		d := frames[i].Time.Sub(frames[i-1].Time)
		out[i].delta, out[i].gap = d, d >= 10*time.Second || d >= time.Second && d*5 >= whole
	}
	return out
}

// extent is the way of an arrow in units of lifelines: 0 is the client, then
// the points of capture, then the server. An arrow ends at the point that saw
// the frame, and goes on to the receiver from the last point on the way.
type extent struct {
	from, to   float64
	born, lost bool // starts, ends between two points
}

// lifelines is the number of vertical lines.
func lifelines(l *fact.Ladder) int {
	if len(l.Points) < 2 {
		return 2
	}
	return len(l.Points) + 2
}

func extentOf(l *fact.Ladder, f *fact.Frame) extent {
	last := float64(lifelines(l) - 1)
	e := extent{lost: f.Kind == fact.FrameLost}
	if last == 1 {
		e.to = 1
	} else {
		point := min(max(f.Point, 0), len(l.Points)-1)
		if !f.FromClient {
			point = len(l.Points) - 1 - point // count from the sender's side
		}
		e.from, e.to = float64(point), float64(point+1)
		if e.born = point > 0 && f.Kind == fact.FrameReset && !copied(l, f); e.born {
			e.from += 0.5
		}
		if point == len(l.Points)-1 {
			e.to = last
		}
	}
	if e.lost {
		e.to = max(e.from+0.6, e.to-0.4)
		if last > 1 {
			e.to = min(e.from+1.5, last-0.4)
		}
	}
	if !f.FromClient {
		e.from, e.to = last-e.from, last-e.to
	}
	return e
}

// copied reports whether the ladder has the frame at another point too.
func copied(l *fact.Ladder, f *fact.Frame) bool {
	return slices.ContainsFunc(l.Frames, func(g fact.Frame) bool {
		return g.Point != f.Point && g.FromClient == f.FromClient && g.Flags == f.Flags && g.Seq == f.Seq && g.Ack == f.Ack
	})
}

var flagNames = []struct {
	letter rune
	name   string
}{{'S', "SYN"}, {'F', "FIN"}, {'R', "RST"}, {'P', "PSH"}, {'A', "ACK"}, {'U', "URG"}, {'E', "ECE"}, {'C', "CWR"}}

// flagText spells the flags out, the telling ones first.
func flagText(flags string) string {
	var out []string
	for _, n := range flagNames {
		if strings.ContainsRune(flags, n.letter) {
			out = append(out, n.name)
		}
	}
	if len(out) == 0 {
		return "no flags"
	}
	return strings.Join(out, " ")
}

// labels are what an arrow can say, longest first.
func labels(f *fact.Frame) []string {
	if f.Kind == fact.FrameICMPError {
		if info := Clean(f.Info); info != "" {
			return []string{info, "ICMP"}
		}
		return []string{"ICMP"}
	}
	flags := flagText(f.Flags)
	seq, size, ack, ttl := fmt.Sprintf(" seq %d", f.Seq), "", "", ""
	if f.Bytes > 0 {
		size = fmt.Sprintf(" len %d", f.Bytes)
	}
	if strings.Contains(f.Flags, "A") {
		ack = fmt.Sprintf(" ack %d", f.Ack)
	}
	special := f.Kind == fact.FrameReset || f.Kind == fact.FrameTrigger || f.Kind == fact.FrameProof
	if f.TTL > 0 && (special || strings.Contains(f.Flags, "S")) {
		ttl = fmt.Sprintf(" ttl %d", f.TTL)
	}
	short := size
	if short == "" {
		short = seq
	}
	return []string{flags + seq + ack + size + ttl, flags + seq + ack + size, flags + seq + size, flags + short, flags, Clean(f.Flags)}
}

// longest is the first of the forms that takes at most n cells, else "".
func longest(forms []string, n int) string {
	for _, s := range forms {
		if cells(s) <= n {
			return s
		}
	}
	return ""
}

// remarks are the lines below an arrow: what the data is, and why it matters.
func remarks(f *fact.Frame) (info, note string) {
	if f.Kind != fact.FrameICMPError {
		info = Clean(f.Info)
	}
	note, word := Clean(f.Note), kindWords[f.Kind]
	switch {
	case note == "":
		note = word
	case word != "" && f.Kind != fact.FrameReset:
		note = word + ": " + note
	}
	return info, note
}

// skippedText counts the frames that were left out before a frame.
func skippedText(f *fact.Frame, s step, more string) string {
	text := thousands(f.Skipped) + plural(f.Skipped, " frame", " frames")
	if s.gap {
		text += " in " + span(s.delta)
	}
	return more + " " + text + " " + more
}

// silence names a gap in which nothing was sent.
func silence(d time.Duration) string {
	s := span(d)
	if d >= 2*time.Minute {
		s += " (" + clockSpan(d) + ")"
	}
	return s + " of silence"
}

// span writes a duration for people: 23 µs, 1.52 ms, 350.02 s.
func span(d time.Duration) string {
	a := d.Abs()
	switch {
	case a < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case a < time.Second:
		return strconv.FormatFloat(float64(d.Microseconds())/1e3, 'g', 3+b2i(a >= 100*time.Millisecond), 64) + " ms"
	case a < 1000*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// longSpan is span up to two minutes and clockSpan above.
func longSpan(d time.Duration) string {
	if d >= 2*time.Minute {
		return clockSpan(d)
	}
	return span(d)
}

// clockSpan writes a duration of minutes or more: 5 min 50 s, 2 h 3 min.
func clockSpan(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	parts := []string{}
	for _, u := range []struct {
		n    int64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}} {
		if v := s / u.n; v > 0 && len(parts) < 2 {
			parts = append(parts, fmt.Sprintf("%d %s", v, u.name))
		} else if len(parts) > 0 {
			break
		}
		s %= u.n
	}
	if len(parts) == 0 {
		return "0 s"
	}
	return strings.Join(parts, " ")
}

// thousands writes a count with separators: 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := strings.TrimRight(s, "0123456789")
	s = s[len(sign):]
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
