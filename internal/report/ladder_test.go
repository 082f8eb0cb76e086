package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func sampleLadders() map[string]*fact.Ladder {
	return map[string]*fact.Ladder{"idle": idleLadder(), "refused": refusedLadder(), "forged": forgedLadder(), "tls": tlsLadder()}
}

func TestLadder(t *testing.T) {
	for name, l := range sampleLadders() {
		for style, st := range map[string]Style{"pipe": {}, "80": {Width: 80}, "50": {Width: 50}, "ascii": {Width: 80, ASCII: true}, "color": {Width: 90, Color: true}} {
			t.Run(name+"-"+style, func(t *testing.T) {
				got := st.Ladder(l)
				checkRows(t, st, got)
				golden(t, fmt.Sprintf("testdata/ladder-%s-%s.golden", name, style), got)
			})
		}
	}
}

// checkRows holds every row to the width and, with ASCII, to ASCII.
func checkRows(t *testing.T, st Style, text string) {
	t.Helper()
	width := st.Width
	if width == 0 {
		width = pipeWidth
	}
	for row := range strings.SplitSeq(text, "\n") {
		if !st.Color && cells(row) > max(width, 36) {
			t.Errorf("row takes %d cells: %s", cells(row), row)
		}
		if st.ASCII && !plain(row) {
			t.Errorf("row is not ASCII: %q", row)
		}
	}
}

func TestLadderHostile(t *testing.T) {
	for _, width := range []int{0, 1, 36, 37, 60, 80, 81, 200} {
		st := Style{Width: width}
		got := st.Ladder(hostileLadder())
		checkRows(t, st, got)
		for row := range strings.SplitSeq(got, "\n") {
			if Clean(row) != row {
				t.Errorf("row is not clean: %q", row)
			}
		}
	}
}

func TestLadderEmpty(t *testing.T) {
	if got := (Style{}).Ladder(nil) + (Style{}).Ladder(&fact.Ladder{}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestLadderLimit(t *testing.T) {
	l := idleLadder()
	for len(l.Frames) < maxLadder+7 {
		l.Frames = append(l.Frames, l.Frames[0])
	}
	if got := (Style{}).Ladder(l); !strings.Contains(got, "7 more frames are not drawn") {
		t.Errorf("the frames that are not drawn are not counted:\n%s", got[len(got)-300:])
	}
}

// TestExtent says where arrows start and end: 0 is the client, 3 the server,
// 1 and 2 the points of capture.
func TestExtent(t *testing.T) {
	l := forgedLadder()
	for _, c := range []struct {
		frame    int
		from, to float64
		why      string
	}{
		{0, 0, 1, "client to the first point"},
		{1, 1, 3, "first point, past the second, to the server"},
		{2, 3, 2, "server to the second point"},
		{3, 2, 0, "second point, past the first, to the client"},
		{7, 1.5, 0, "born between the points"},
		{8, 0, 1.5, "lost between the points"},
	} {
		e := extentOf(l, &l.Frames[c.frame])
		if e.from != c.from || e.to != c.to {
			t.Errorf("frame %d runs from %v to %v, want %v to %v: %s", c.frame, e.from, e.to, c.from, c.to, c.why)
		}
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 23 * time.Microsecond: "23 µs", 1520 * time.Microsecond: "1.52 ms", 235_700 * time.Microsecond: "235.7 ms",
		999_999 * time.Microsecond: "1000 ms", 350_020 * time.Millisecond: "350.02 s", 2 * time.Hour: "7200 s", -3 * time.Millisecond: "-3 ms",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 s", 350 * time.Second: "5 min 50 s", 2 * time.Hour: "2 h", 49 * time.Hour: "2 d 1 h", time.Hour + time.Second: "1 h"} {
		if got := clockSpan(d); got != want {
			t.Errorf("clockSpan(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1_234_567: "1,234,567", -1234: "-1,234"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
