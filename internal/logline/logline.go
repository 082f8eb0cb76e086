// Package logline reads one line of a log, or of what somebody pasted, and says
// what it proves about a connection and what it does not: which software wrote
// it, what happened, who ended it, and which causes fit that software.
//
// The sentences are data (lines/). The longest match wins, wherever it stands;
// numbers are errnos only where a form says so. A line is hostile: it is
// read in bounded time and memory, and nothing of it is executed or trusted. To
// debug a reading, look at its ID.
package logline

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed lines
var linesFS embed.FS

//go:embed named.yaml
var namedYAML []byte

//go:embed circumstances.yaml
var circumstancesYAML []byte

// Entry is a sentence that programs write.
type Entry struct {
	ID       string   `yaml:"id"`
	Software string   `yaml:"software"` // who writes it; empty: many
	Say      []string `yaml:"say"`      // any of them, in lower case; "..." is anything between
	Re       string   `yaml:"re"`       // as well; with upper-case letters it is case-sensitive
	Has      []string `yaml:"has"`      // words of which one is in every line that re matches, where re does not show them
	Open     bool     `yaml:"open"`     // the system's error elsewhere in the line says what happened
	First    bool     `yaml:"first"`    // before every sentence without
	Event    string   `yaml:"event"`    // reset refused timeout closed aborted tls-alert http-error unreachable resource none
	By       string   `yaml:"by"`       // who ended it, as far as the line proves: speaker peer device unknown
	Side     string   `yaml:"side"`     // which side of that connection the speaker is on: client server unknown
	Weight   string   `yaml:"weight"`   // noise weak medium strong
	Proves   string   `yaml:"proves"`
	Not      string   `yaml:"not"` // what it does not prove
	Causes   []string `yaml:"causes"`
	Next     []string `yaml:"next"` // steps, the cheapest first

	system bool // of the operating system, not of a program
}

// Named is a cause that a text can name and that the knowledge base does not
// have.
type Named struct {
	ID    string `yaml:"id"`
	Title string `yaml:"title"`
	Fix   string `yaml:"fix"`
}

// Weights are the weights of entries, the least telling first.
var Weights = []string{"noise", "weak", "medium", "strong"}

// form is a compiled way in which an entry is written.
type form struct {
	entry *Entry
	parts []string       // in order; nil for a pattern
	re    *regexp.Regexp // nil for parts
	exact bool           // case-sensitive
	size  int            // of what must be there: the longest wins
}

// Reader reads lines. It is immutable and safe for concurrent use.
type Reader struct {
	entries []Entry
	named   []Named

	circumstances circumstances
	forms         []form
	sieve         *sieve // finds the forms whose word may be in a line
}

// New returns the reader of the built-in sentences.
var New = sync.OnceValues(func() (*Reader, error) { return compile(namedYAML, circumstancesYAML, linesFS) })

// NewWith returns a reader of the built-in sentences and of those in the files
// lines/*.yaml of directories.
func NewWith(dirs ...string) (*Reader, error) {
	levels := []fs.FS{linesFS}
	for _, d := range dirs {
		levels = append(levels, os.DirFS(d))
	}
	if len(levels) == 1 {
		return New()
	}
	return compile(namedYAML, circumstancesYAML, levels...)
}

// systemFile has the sentences of the operating systems themselves, which any
// program may print.
const systemFile = "generic.yaml"

// readLines reads all files of sentences of a directory.
func (r *Reader) readLines(dir fs.FS) error {
	files, err := fs.Glob(dir, "lines/*.yaml")
	if err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	for _, f := range files {
		b, err := fs.ReadFile(dir, f)
		if err != nil {
			return fmt.Errorf("read lines: %w", err)
		}
		var list []Entry
		if err := yaml.UnmarshalWithOptions(b, &list, yaml.Strict()); err != nil {
			return fmt.Errorf("read %s: %w", f, err)
		}
		for i := range list {
			e := &list[i]
			if err := e.check(); err != nil {
				return fmt.Errorf("read %s: line %q: %w", f, e.ID, err)
			}
			e.system = dir == fs.FS(linesFS) && path.Base(f) == systemFile
		}
		r.entries = append(r.entries, list...)
	}
	return nil
}

// check finds words that mean nothing.
func (e *Entry) check() error {
	for _, w := range []struct {
		name, is string
		of       []string
	}{
		{"event", e.Event, []string{"reset", "refused", "timeout", "closed", "aborted", "tls-alert", "http-error", "unreachable", "resource", "none"}},
		{"by", e.By, []string{"speaker", "peer", "device", "unknown"}},
		{"side", e.Side, []string{"client", "server", "unknown"}},
		{"weight", e.Weight, Weights},
	} {
		if !slices.Contains(w.of, w.is) {
			return fmt.Errorf("%s is %q, not one of %s", w.name, w.is, strings.Join(w.of, " "))
		}
	}
	if e.ID == "" || len(e.Say) == 0 && e.Re == "" {
		return errors.New("an id, and say or re are needed")
	}
	return nil
}

func compile(named, around []byte, levels ...fs.FS) (*Reader, error) {
	r := &Reader{}
	for _, dir := range levels {
		if err := r.readLines(dir); err != nil {
			return nil, err
		}
	}
	if err := yaml.UnmarshalWithOptions(named, &r.named, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read named causes: %w", err)
	}
	if err := r.readCircumstances(around); err != nil {
		return nil, err
	}
	var anchors []string
	add := func(f form, anchor string) {
		r.forms = append(r.forms, f)
		anchors = append(anchors, strings.ToLower(anchor))
	}
	for i := range r.entries {
		e := &r.entries[i]
		for _, s := range e.Say {
			f := form{entry: e, parts: strings.Split(strings.ToLower(s), "...")}
			if e.First {
				f.size = above
			}
			longest := ""
			for k, p := range f.parts {
				f.parts[k] = strings.TrimSpace(p)
				f.size += len(f.parts[k])
				if len(f.parts[k]) > len(longest) {
					longest = f.parts[k]
				}
			}
			add(f, longest)
		}
		if e.Re == "" {
			continue
		}
		re, err := regexp.Compile(e.Re)
		if err != nil {
			return nil, fmt.Errorf("line %s: %w", e.ID, err)
		}
		literals := e.Has
		if len(literals) == 0 {
			literals = required(e.Re)
		}
		if len(literals) == 0 {
			return nil, fmt.Errorf("line %s: pattern has no word that must be there", e.ID)
		}
		cased := escaped.ReplaceAllString(e.Re, "")
		for _, l := range literals {
			if len(l) < gramSizes[1] {
				return nil, fmt.Errorf("line %s: %q is too short a word to look for", e.ID, l)
			}
			size := len(classes.ReplaceAllString(e.Re, ""))
			if e.system {
				size = len(l) // a number says less than a sentence
			}
			if e.First {
				size += above
			}
			add(form{entry: e, re: re, exact: strings.ToLower(cased) != cased, size: size}, l)
		}
	}
	var err error
	if r.sieve, err = newSieve(anchors); err != nil {
		return nil, fmt.Errorf("read lines: %w", err)
	}
	return r, nil
}

// above lifts the sentences that come first above the longest of the others.
const above = 1 << 20

// escaped are classes such as \S, whose letter is no text.
var escaped = regexp.MustCompile(`\\.`)

// classes are the parts of a pattern that are no text.
var classes = regexp.MustCompile(`\\.|\[[^\]]*\]|\{[^}]*\}|[().*+?|]`)

// Entries returns all sentences. Do not change them.
func (r *Reader) Entries() []Entry { return r.entries }

// Named returns the title and the fix of a cause that only texts name.
func (r *Reader) Named(id string) (Named, bool) {
	i := slices.IndexFunc(r.named, func(n Named) bool { return n.ID == id })
	if i < 0 {
		return Named{}, false
	}
	return r.named[i], true
}

// Reading is what a line says.
type Reading struct {
	Entry
	Text     string // the line, decoded
	TimerS   float64
	Peer     string // address of the other end, with its port when the line has it
	Longer   int    // length of the match, to compare readings
	Software string
}

// Read reads one line; ok is false when it says nothing about a connection.
func (r *Reader) Read(line string) (Reading, bool) {
	text := normal(line)
	low := strings.ToLower(text)
	var room [32]int
	candidates := room[:0]
	r.sieve.each(low, func(i int) {
		if !slices.Contains(candidates, i) {
			candidates = append(candidates, i)
		}
	})
	slices.SortFunc(candidates, func(a, b int) int { return r.forms[b].size - r.forms[a].size })
	best := slices.IndexFunc(candidates, func(i int) bool { return r.forms[i].matches(text, low) })
	if best < 0 {
		return Reading{}, false
	}
	f := &r.forms[candidates[best]]
	x := Reading{Entry: *f.entry, Text: text, Longer: f.size, TimerS: timer(low)}
	if x.Open {
		for _, i := range candidates[best+1:] {
			if e := r.forms[i].entry; e.system && !e.Open && e.Event != "none" && r.forms[i].matches(text, low) {
				x.become(e)
				break
			}
		}
	}
	x.Software = x.Entry.Software
	if x.Software == "" || slices.Contains(runtimes, x.Software) {
		x.Software = cmp.Or(softwareOf(low), x.Software)
	}
	x.Peer = peer(&x, text)
	return x, true
}

// become makes the reading say what the system's error says: the sentence around
// it only tells who speaks, and of what.
func (x *Reading) become(e *Entry) {
	switch same := e.Event == x.Event; {
	case same && x.By != "unknown":
		return
	case !same && !(ended(e.Event) && ended(x.Event)):
		x.Causes = e.Causes
	}
	x.Event, x.By, x.Proves, x.Not = e.Event, e.By, e.Proves, e.Not
}

// ended: an established connection ended; the causes of both forms are the same.
func ended(event string) bool { return event == "reset" || event == "closed" }

func (f *form) matches(text, low string) bool {
	if f.re != nil {
		if f.exact {
			return f.re.MatchString(text)
		}
		return f.re.MatchString(low)
	}
	at := 0
	for _, p := range f.parts {
		i := strings.Index(low[at:], p)
		if i < 0 {
			return false
		}
		at += i + len(p)
	}
	return true
}
