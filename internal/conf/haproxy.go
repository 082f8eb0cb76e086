package conf

import (
	"path"
	"slices"
	"strings"
)

// Line is one line of HAProxy's configuration.
type Line struct {
	Span
	Words []string
}

// Word is a word of the line, empty when there are fewer.
func (l *Line) Word(i int) string {
	if i < len(l.Words) {
		return l.Words[i]
	}
	return ""
}

// Section is a section of HAProxy: global, defaults, frontend, backend, listen ...
type Section struct {
	Span
	Kind, Name string
	Lines      []Line
	Defaults   *Section // that it takes its values from; nil without
}

// Get is the last line that begins with the words, here or in the defaults; nil
// when nobody says it.
func (s *Section) Get(words ...string) *Line {
	for sec := s; sec != nil; sec = sec.Defaults {
		for i := len(sec.Lines) - 1; i >= 0; i-- {
			l := &sec.Lines[i]
			if len(l.Words) >= len(words) && slices.Equal(l.Words[:len(words)], words) {
				return l
			}
		}
	}
	return nil
}

// Find lists the lines of the section itself that begin with a word.
func (s *Section) Find(word string) (list []*Line) {
	for i := range s.Lines {
		if s.Lines[i].Words[0] == word {
			list = append(list, &s.Lines[i])
		}
	}
	return list
}

// Sections is what was read of HAProxy.
type Sections struct {
	List     []*Section
	Files    []string
	Problems []Problem
}

// haproxySections are the words that begin a section (HAProxy 3.2, configuration
// manual, section 2.1 and following).
var haproxySections = []string{
	"global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "cache", "program", "http-errors",
	"ring", "log-forward", "fcgi-app", "crt-store", "traces", "acme", "log-profile",
}

// HAProxy reads the files of HAProxy in their order. A directory stands for its
// *.cfg files.
func HAProxy(names []string, files Files) *Sections {
	r := newReader(files)
	h := &haproxy{r: r, named: map[string]*Section{}}
	for _, name := range names {
		list := []string{name}
		if files.Glob != nil {
			if inside := files.Glob(path.Join(name, "*.cfg")); len(inside) > 0 {
				slices.Sort(inside)
				list = inside
			}
		}
		for _, f := range list {
			r.file(f, Span{}, func(b []byte) { h.file(f, b) })
		}
	}
	return &Sections{h.list, r.read, r.problems}
}

// haproxy is the state between lines.
type haproxy struct {
	r        *reader
	list     []*Section
	named    map[string]*Section // defaults by name
	defaults *Section            // the last without "from"
}

func (h *haproxy) file(name string, b []byte) {
	at, line := 0, 0
	for at < len(b) {
		end := at
		for end < len(b) && b[end] != '\n' {
			end++
		}
		line++
		span := Span{File: name, Line: line, Start: at, End: end}
		words, ok := haproxyWords(string(b[at:end]))
		if !ok {
			h.r.problem(span, "a quote is not closed")
		}
		if len(words) > 0 {
			span.Start += len(b[at:end]) - len(strings.TrimLeft(string(b[at:end]), " \t\r"))
			h.line(Line{span, words})
		}
		at = end + 1
	}
}

func (h *haproxy) line(l Line) {
	if !slices.Contains(haproxySections, l.Words[0]) {
		if len(h.list) == 0 || l.Words[0] == "" {
			if !strings.HasPrefix(l.Words[0], ".") { // .if, .notice
				h.r.problem(l.Span, "%q stands before any section", l.Words[0])
			}
			return
		}
		if l.Words[0][0] == '.' {
			h.r.problem(l.Span, "%q is not followed: which lines count is unknown", l.Words[0])
			return
		}
		last := h.list[len(h.list)-1]
		last.Lines = append(last.Lines, l)
		last.End = l.End
		return
	}
	s := &Section{Span: l.Span, Kind: l.Words[0]}
	from := ""
	if i := slices.Index(l.Words, "from"); i > 0 && i+1 < len(l.Words) {
		from = l.Words[i+1]
		l.Words = l.Words[:i]
	}
	s.Name = l.Word(1)
	if slices.Contains([]string{"frontend", "backend", "listen", "defaults"}, s.Kind) {
		switch {
		case from != "":
			if s.Defaults = h.named[from]; s.Defaults == nil {
				h.r.problem(l.Span, "no defaults section %q before this one", from)
			}
		case s.Kind != "defaults":
			s.Defaults = h.defaults
		}
	}
	if s.Kind == "defaults" {
		h.defaults = s
		h.named[s.Name] = s
	}
	h.list = append(h.list, s)
}

// haproxyWords splits a line as HAProxy does: \ escapes, "weak" and 'strong'
// quotes, # begins a comment.
func haproxyWords(line string) (words []string, ok bool) {
	var w strings.Builder
	in := false // a word has begun
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			w.WriteByte(line[i])
			in = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			w.WriteByte(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == '#':
			i = len(line)
		case c == ' ' || c == '\t' || c == '\r':
			if in {
				words = append(words, w.String())
				w.Reset()
				in = false
			}
		default:
			w.WriteByte(c)
			in = true
		}
	}
	if in && (w.Len() > 0 || len(words) > 0) {
		words = append(words, w.String())
	}
	return words, quote == 0
}
