package conf

import (
	"path"
	"strings"
)

// Setting is one line of a file of settings.
type Setting struct {
	Span
	Section string // [name] before it
	Name    string
	Value   string // unquoted, without comment
}

// Settings is what was read of a server with one setting for each line.
type Settings struct {
	List     []Setting
	Files    []string
	Problems []Problem
}

// Get is the last value of a name, which is the one that counts; nil when nobody
// sets it. Names are compared without regard to case.
func (s *Settings) Get(section, name string) *Setting {
	for i := len(s.List) - 1; i >= 0; i-- {
		if x := &s.List[i]; strings.EqualFold(x.Name, name) && (section == "" || strings.EqualFold(x.Section, section)) {
			return x
		}
	}
	return nil
}

// Syntax is how lines are written.
type Syntax struct {
	Comment  string   // characters that begin a comment
	Inline   bool     // a comment may follow a value
	Equals   bool     // name = value; a name alone, or name and value without =, is refused or empty
	Sections bool     // [section]
	Include  []string // names that include other files
}

// The syntaxes of programs.
var (
	Redis      = Syntax{Comment: "#", Include: []string{"include"}}
	PostgreSQL = Syntax{Comment: "#", Inline: true, Include: []string{"include", "include_if_exists", "include_dir"}}
	INI        = Syntax{Comment: "#;", Equals: true, Sections: true, Include: []string{"!include", "!includedir", "%include"}}
	SSHD       = Syntax{Comment: "#", Include: []string{"Include"}}
	Sysctl     = Syntax{Comment: "#;", Equals: true}
	Unit       = Syntax{Comment: "#;", Equals: true, Sections: true}
)

// Read reads a file and what it includes.
func (s Syntax) Read(name string, files Files) *Settings {
	r := newReader(files)
	out := &Settings{}
	r.file(name, Span{}, func(b []byte) { s.parse(r, out, name, b) })
	out.Files, out.Problems = r.read, r.problems
	return out
}

func (s Syntax) parse(r *reader, out *Settings, name string, b []byte) {
	section, at, line := "", 0, 0
	for at < len(b) {
		end := at
		for end < len(b) && b[end] != '\n' {
			end++
		}
		line++
		text := string(b[at:end])
		span := Span{File: name, Line: line, Start: at + len(text) - len(strings.TrimLeft(text, " \t\r")), End: at + len(strings.TrimRight(text, " \t\r"))}
		at = end + 1
		text = strings.TrimSpace(text)
		if text == "" || strings.ContainsRune(s.Comment, rune(text[0])) {
			continue
		}
		if s.Sections && text[0] == '[' {
			if i := strings.IndexByte(text, ']'); i > 0 {
				section = strings.TrimSpace(text[1:i])
				continue
			}
		}
		key, value := s.split(text)
		if s.included(r, out, key, value, span) {
			continue
		}
		out.List = append(out.List, Setting{span, section, key, value})
	}
}

// split separates name and value.
func (s Syntax) split(text string) (name, value string) {
	i := strings.IndexByte(text, '=')
	if !s.Equals {
		if j := strings.IndexAny(text, " \t"); j >= 0 && (i < 0 || j < i) {
			i = j
		}
	}
	if i < 0 {
		if f := strings.Fields(text); s.Equals && len(f) > 1 && strings.HasPrefix(f[0], "!") {
			return f[0], f[1]
		}
		return text, ""
	}
	name = strings.TrimSpace(text[:i])
	value = strings.TrimSpace(text[i:])
	if !s.Equals || strings.HasPrefix(value, "=") {
		value = strings.TrimSpace(strings.TrimPrefix(value, "="))
	}
	return name, s.unquote(value)
}

// unquote removes quotes, and a comment behind the value.
func (s Syntax) unquote(v string) string {
	if v == "" {
		return v
	}
	if q := v[0]; q == '\'' || q == '"' {
		var out strings.Builder
		for i := 1; i < len(v); i++ {
			switch {
			case v[i] == q && i+1 < len(v) && v[i+1] == q:
				out.WriteByte(q)
				i++
			case v[i] == '\\' && i+1 < len(v):
				i++
				out.WriteByte(v[i])
			case v[i] == q:
				return out.String()
			default:
				out.WriteByte(v[i])
			}
		}
		return out.String()
	}
	if s.Inline {
		if i := strings.IndexAny(v, s.Comment); i >= 0 {
			v = strings.TrimSpace(v[:i])
		}
	}
	return v
}

// included reads the files of an include.
func (s Syntax) included(r *reader, out *Settings, key, value string, span Span) bool {
	for _, name := range s.Include {
		if !strings.EqualFold(key, name) {
			continue
		}
		pattern := value
		if strings.HasSuffix(strings.ToLower(name), "dir") {
			pattern = path.Join(value, "*.c*nf")
		}
		for p := range strings.FieldsSeq(pattern) {
			for _, f := range r.include(p, path.Dir(span.File), span) {
				r.file(f, span, func(b []byte) { s.parse(r, out, f, b) })
			}
		}
		return true
	}
	return false
}
