package conf

import (
	"path"
	"strings"
)

// Directive is one directive of nginx. The span covers it whole: from its name to
// after its semicolon or closing brace.
type Directive struct {
	Span
	Name  string
	Args  []string
	Block []*Directive // what stands inside braces
	Body  int          // offset after the opening brace; 0 without one
	Raw   bool         // the block is a program (content_by_lua_block), not read
}

// Arg is an argument, empty when there are fewer.
func (d *Directive) Arg(i int) string {
	if i < len(d.Args) {
		return d.Args[i]
	}
	return ""
}

// Find returns the directives of that name directly inside the block.
func (d *Directive) Find(name string) (list []*Directive) {
	for _, c := range d.Block {
		if c.Name == name {
			list = append(list, c)
		}
	}
	return list
}

// Get is the last directive of that name directly inside the block: the one that
// nginx obeys, or nil.
func (d *Directive) Get(name string) *Directive {
	if list := d.Find(name); len(list) > 0 {
		return list[len(list)-1]
	}
	return nil
}

// Tree is what was read of a server.
type Tree struct {
	Root     *Directive // without a name; its block is the main context
	Files    []string   // read, in order
	Problems []Problem
}

// Nginx reads the configuration of nginx with what it includes.
func Nginx(name string, files Files) *Tree {
	r := newReader(files)
	root := &Directive{}
	r.file(name, Span{}, func(b []byte) { root.Block = r.nginx(name, path.Dir(name), b) })
	return &Tree{root, r.read, r.problems}
}

// nginxLexer walks over one file.
type nginxLexer struct {
	b    []byte
	at   int
	line int
}

// token is a word, or one of ; { }. Quoted words are never the latter.
type token struct {
	text       string
	mark       byte // ';', '{', '}' or 0
	start, end int
	line       int
}

// next returns the next token. It is false at the end, and ok is false when a
// quote is not closed.
func (l *nginxLexer) next() (t token, more, ok bool) {
	l.space()
	if l.at >= len(l.b) {
		return t, false, true
	}
	t.start, t.line = l.at, l.line
	switch c := l.b[l.at]; c {
	case ';', '{', '}':
		l.at++
		t.mark, t.end = c, l.at
		return t, true, true
	case '"', '\'':
		t.text, ok = l.quoted(c)
	default:
		t.text, ok = l.word(), true
	}
	t.end = l.at
	return t, true, ok
}

// space skips white space and comments.
func (l *nginxLexer) space() {
	for l.at < len(l.b) {
		switch l.b[l.at] {
		case '\n':
			l.line++
			l.at++
		case ' ', '\t', '\r':
			l.at++
		case '#':
			for l.at < len(l.b) && l.b[l.at] != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

func (l *nginxLexer) quoted(q byte) (string, bool) {
	var s strings.Builder
	for l.at++; l.at < len(l.b); l.at++ {
		switch c := l.b[l.at]; {
		case c == '\\' && l.at+1 < len(l.b):
			l.at++
			if l.b[l.at] == '\n' {
				l.line++
			}
			s.WriteByte(l.b[l.at])
		case c == q:
			l.at++
			return s.String(), true
		default:
			if c == '\n' {
				l.line++
			}
			s.WriteByte(c)
		}
	}
	return s.String(), false
}

// word reads an unquoted word. ${name} inside it is no block.
func (l *nginxLexer) word() string {
	start := l.at
	for l.at < len(l.b) {
		c := l.b[l.at]
		if c == '$' && l.at+1 < len(l.b) && l.b[l.at+1] == '{' {
			for l.at < len(l.b) && l.b[l.at] != '}' && l.b[l.at] != '\n' {
				l.at++
			}
			if l.at < len(l.b) && l.b[l.at] == '}' {
				l.at++
			}
			continue
		}
		if c == '\\' && l.at+1 < len(l.b) && l.b[l.at+1] != '\n' {
			l.at += 2
			continue
		}
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';' || c == '{' || c == '}' {
			break
		}
		l.at++
	}
	if l.at == start {
		l.at++ // a lone backslash before a newline
	}
	return string(l.b[start:l.at])
}

// skipBlock skips a block that is a program: braces are counted, strings and
// comments of Lua are skipped.
func (l *nginxLexer) skipBlock() bool {
	depth := 1
	for l.at < len(l.b) {
		c := l.b[l.at]
		l.at++
		switch c {
		case '\n':
			l.line++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return true
			}
		case '"', '\'':
			for l.at < len(l.b) && l.b[l.at] != c && l.b[l.at] != '\n' {
				if l.b[l.at] == '\\' {
					l.at++
				}
				l.at++
			}
			l.at = min(l.at+1, len(l.b))
		case '-':
			if l.at < len(l.b) && l.b[l.at] == '-' {
				for l.at < len(l.b) && l.b[l.at] != '\n' {
					l.at++
				}
			}
		}
	}
	return false
}

func (r *reader) nginx(file, dir string, b []byte) []*Directive {
	l := &nginxLexer{b: b, line: 1}
	list, _ := r.nginxBlock(file, dir, l, 0)
	return list
}

// nginxBlock reads directives until the closing brace, or the end of the file.
func (r *reader) nginxBlock(file, dir string, l *nginxLexer, depth int) (list []*Directive, closed bool) {
	var d *Directive
	for {
		t, more, ok := l.next()
		at := Span{File: file, Line: t.line, Start: t.start, End: t.end}
		switch {
		case !more:
			if d != nil {
				r.problem(d.Span, "%q has no semicolon", d.Name)
			}
			if depth > 0 {
				r.problem(Span{File: file, Line: l.line}, "a block is not closed")
			}
			return list, false
		case !ok:
			r.problem(at, "a quote is not closed")
			return list, false
		case t.mark == 0 && d == nil:
			d = &Directive{Name: t.text, Span: at}
		case t.mark == 0:
			d.Args = append(d.Args, t.text)
		case t.mark == '}':
			if d != nil {
				r.problem(d.Span, "%q has no semicolon", d.Name)
			}
			if depth > 0 {
				return list, true
			}
			r.problem(at, "a closing brace without a block")
			d = nil
		case d == nil:
			if t.mark == '{' {
				r.problem(at, "a block without a name")
				if depth < maxDepth {
					r.nginxBlock(file, dir, l, depth+1)
				}
			}
		case t.mark == '{':
			d.Body = t.end
			r.nginxBody(file, dir, l, d, depth)
			d.End = l.at
			list, d = append(list, d), nil
		default:
			d.End = t.end
			list, d = r.nginxEnd(list, d, dir), nil
		}
	}
}

// nginxBody reads what stands in the braces of a directive.
func (r *reader) nginxBody(file, dir string, l *nginxLexer, d *Directive, depth int) {
	switch {
	case strings.HasSuffix(d.Name, "_by_lua_block"):
		d.Raw = true
		if !l.skipBlock() {
			r.problem(d.Span, "the block of %q is not closed", d.Name)
		}
	case depth >= maxDepth:
		r.problem(d.Span, "blocks are nested deeper than %d", maxDepth)
		l.skipBlock()
	default:
		d.Block, _ = r.nginxBlock(file, dir, l, depth+1)
	}
}

// nginxEnd appends a directive without a block; an include is replaced by what
// it includes.
func (r *reader) nginxEnd(list []*Directive, d *Directive, dir string) []*Directive {
	if d.Name != "include" || len(d.Args) != 1 {
		return append(list, d)
	}
	for _, name := range r.include(d.Args[0], dir, d.Span) {
		r.file(name, d.Span, func(b []byte) { list = append(list, r.nginx(name, dir, b)...) })
	}
	return list
}
