package logs

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// window says which lines of a file's tail are wanted.
type window struct {
	from, to time.Time
	written  time.Time // when the file was last written
	known    int64     // bytes of the tail that an earlier look has seen; -1: no earlier look
	word     string    // only lines with this word, and what follows them
}

// stamped is one line with its time.
type stamped struct {
	text  string
	stamp stamp
	ok    bool
}

// pick returns the lines of the window. A line without a time belongs to the
// one before it. When no line has one, those written since an earlier look
// count, or the last alone, whose time is the file's.
func (w window) pick(tail []byte) (out []string) {
	lines := split(tail)
	shift, any := zoneShift(lines, w.written)
	if !any {
		return w.untimed(tail)
	}
	wanted := false
	for _, l := range lines {
		if l.ok {
			t := l.stamp.in(shift)
			from := w.from.Add(-l.stamp.resolution)
			wanted = !t.Before(from) && !t.After(w.to) && strings.Contains(l.text, w.word)
		}
		if wanted && l.text != "" {
			out = append(out, l.text)
		}
	}
	return out
}

// untimed picks from a file without times.
func (w window) untimed(tail []byte) (out []string) {
	if w.written.Before(w.from) || w.word != "" {
		return nil
	}
	fresh := tail
	if w.known >= 0 {
		seen := tail[:min(int64(len(tail)), w.known)]
		fresh = tail[bytes.LastIndexByte(seen, '\n')+1:] // a line of which half was there is fresh
	}
	for _, l := range split(fresh) {
		if l.text != "" {
			out = append(out, l.text)
		}
	}
	if w.known < 0 && len(out) > 1 {
		out = out[len(out)-1:]
	}
	return out
}

// split makes lines, clean and with their times.
func split(b []byte) (out []stamped) {
	for len(b) > 0 {
		line, rest := b, []byte(nil)
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, rest = b[:i], b[i+1:]
		}
		b = rest
		var l stamped
		line, l.stamp, l.ok = unwrap(line)
		if !l.ok {
			l.stamp, l.ok = parseStamp(string(line[:min(len(line), 300)]))
		}
		l.text = shorten(line)
		out = append(out, l)
	}
	return out
}

// shorten makes a line printable. Of a long one the head and the tail stay:
// nginx writes the reason before the request, others after it.
func shorten(line []byte) string {
	const head = maxLine * 2 / 3
	if len(line) <= maxLine {
		return strings.TrimRight(linux.Clean(line, maxLine), " ")
	}
	tail := line[len(line)-(maxLine-head-len(gap)):]
	return linux.Clean(line[:head], head) + gap + strings.TrimRight(linux.Clean(tail, len(tail)), " ")
}

const gap = " ... "

// unwrap takes a line out of Docker's JSON, which has the time beside it.
func unwrap(line []byte) ([]byte, stamp, bool) {
	if len(line) == 0 || line[0] != '{' || !strings.HasPrefix(string(line[:min(len(line), 8)]), `{"log":`) {
		return line, stamp{}, false
	}
	var d struct {
		Log  string    `json:"log"`
		Time time.Time `json:"time"`
	}
	if json.Unmarshal(line, &d) != nil || d.Time.IsZero() {
		return line, stamp{}, false
	}
	return []byte(strings.TrimRight(d.Log, "\r\n")), stamp{t: d.Time, zoned: true}, true
}

// zoneShift finds out which zone times without one are in: the last of them
// was written when the file was. The difference, to a quarter of an hour, is
// the zone. When it is not near one, they are taken to be local. any is false
// when no line has a time.
func zoneShift(lines []stamped, written time.Time) (shift time.Duration, any bool) {
	const quarter = 15 * time.Minute
	_, local := written.Local().Zone()
	shift = time.Duration(local) * time.Second
	for i := len(lines) - 1; i >= 0; i-- {
		l := lines[i]
		if !l.ok {
			continue
		}
		if l.stamp.zoned {
			any = true
			continue
		}
		diff := l.stamp.withYear(written).Sub(written)
		zone := diff.Round(quarter)
		if off := (diff - zone).Abs(); off < 2*time.Minute && zone.Abs() <= 14*time.Hour {
			shift = zone
		}
		return shift, true
	}
	return shift, any
}
