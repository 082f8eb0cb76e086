// Package conf reads the configuration files of servers: nginx, HAProxy, and
// files of one setting for each line. It keeps the place of everything it reads,
// to the byte, so that a patch changes what it means to change and nothing else.
// It does no I/O of its own, runs nothing, and never panics on hostile input.
package conf

import (
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is read of one server. What lies beyond is a [Problem].
const (
	maxFiles = 4096
	maxBytes = 64 << 20
	maxDepth = 32
)

// Files is where configuration comes from: the host, a container, a fixture.
type Files struct {
	Read func(path string) ([]byte, error)
	Glob func(pattern string) []string
}

// Span is a place in a file.
type Span struct {
	File  string `json:"file"`
	Line  int    `json:"line"` // from 1
	Start int    `json:"-"`    // first byte
	End   int    `json:"-"`    // after the last byte
}

func (s Span) String() string {
	if s.File == "" {
		return ""
	}
	return s.File + ":" + strconv.Itoa(s.Line)
}

// Problem is what could not be read, and why. What a file says there is unknown.
type Problem struct {
	Span
	Text string `json:"text"`
}

func (p Problem) String() string {
	if p.File == "" {
		return p.Text
	}
	return p.Span.String() + ": " + p.Text
}

// reader reads files with the bounds of the package.
type reader struct {
	files    Files
	problems []Problem
	read     []string // in the order of reading
	bytes    int
	depth    int
	open     map[string]bool // being read now: an include of itself is refused
}

func newReader(f Files) *reader { return &reader{files: f, open: map[string]bool{}} }

func (r *reader) problem(at Span, format string, args ...any) {
	if len(r.problems) < 1000 {
		r.problems = append(r.problems, Problem{at, fmt.Sprintf(format, args...)})
	}
}

// file calls f with the content of a file, unless a bound forbids it.
func (r *reader) file(name string, from Span, f func([]byte)) {
	switch {
	case r.depth >= maxDepth || r.open[name]:
		r.problem(from, "%s includes itself", name)
		return
	case len(r.read) >= maxFiles || r.bytes >= maxBytes:
		r.problem(from, "%s is not read: the configuration is larger than %d files or %d MiB", name, maxFiles, maxBytes>>20)
		return
	}
	b, err := r.files.Read(name)
	if err != nil {
		r.problem(from, "%s cannot be read: %v", name, err)
		return
	}
	r.read = append(r.read, name)
	r.bytes += len(b)
	r.depth++
	r.open[name] = true
	f(b)
	delete(r.open, name)
	r.depth--
}

// include lists the files of a pattern, in the order in which servers read them.
func (r *reader) include(pattern, dir string, from Span) []string {
	if !path.IsAbs(pattern) {
		pattern = path.Join(dir, pattern)
	}
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	if r.files.Glob == nil {
		r.problem(from, "%s is not read: nobody can list files here", pattern)
		return nil
	}
	list := r.files.Glob(pattern)
	sort.Strings(list)
	return list
}

// units of time as nginx, HAProxy, PostgreSQL and systemd write them.
var units = map[string]time.Duration{
	"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "sec": time.Second, "m": time.Minute, "min": time.Minute,
	"h": time.Hour, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour, "w": 7 * 24 * time.Hour, "M": 30 * 24 * time.Hour, "y": 365 * 24 * time.Hour,
}

// Duration reads a time such as 60, 1m30s, 500ms or "2 min". A number alone is in
// the unit given.
func Duration(text string, unit time.Duration) (time.Duration, bool) {
	text = strings.TrimSpace(strings.Trim(text, `"'`))
	if text == "" {
		return 0, false
	}
	total, n := 0.0, 0
	for text != "" && n < 8 {
		i := 0
		for i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] == '.') {
			i++
		}
		x, err := strconv.ParseFloat(text[:i], 64)
		if err != nil {
			return 0, false
		}
		text = strings.TrimLeft(text[i:], " ")
		j := 0
		for j < len(text) && (text[j] >= 'a' && text[j] <= 'z' || text[j] >= 'A' && text[j] <= 'Z') {
			j++
		}
		u := unit
		if j > 0 {
			ok := false
			if u, ok = units[text[:j]]; !ok {
				return 0, false
			}
		}
		total += x * float64(u)
		text = strings.TrimLeft(text[j:], " ")
		n++
	}
	if text != "" || total < 0 || total > 1<<62 {
		return 0, false
	}
	return time.Duration(total), true
}

// Edit is one change of a file: the bytes of the span become Text.
type Edit struct {
	Span
	Text string
}

// Apply returns the file with the edits made. They must not overlap.
func Apply(b []byte, edits ...Edit) ([]byte, error) {
	sort.Slice(edits, func(i, j int) bool { return edits[i].Start < edits[j].Start })
	var out []byte
	at := 0
	for _, e := range edits {
		if e.Start < at || e.End < e.Start || e.End > len(b) {
			return nil, fmt.Errorf("%s: the edits overlap, or lie outside the file", e.Span)
		}
		out = append(append(out, b[at:e.Start]...), e.Text...)
		at = e.End
	}
	return append(out, b[at:]...), nil
}
