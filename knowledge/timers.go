package knowledge

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// Timer is a row of timers.yaml: one number of one product, with where it comes
// from. Rows of one name are what evidence calls timer(NAME).
type Timer struct {
	Name      string   `json:"name,omitempty"` // several rows may share it
	Product   string   `json:"product"`
	Versions  string   `json:"versions,omitempty"` // to which it applies; empty: all that were looked at
	Key       string   `json:"key"`                // how the product calls it
	Default   Amount   `json:"default"`            // built in
	Before    Amount   `json:"before,omitzero"`    // default of older versions
	Shipped   Amount   `json:"shipped,omitzero"`   // what its packages configure, when that differs
	Effective Amount   `json:"effective,omitzero"` // what a peer sees, when that differs
	Unit      string   `json:"unit,omitempty"`     // s unless said
	Range     []string `json:"range,omitempty"`    // least and most that can be set; one word: fixed
	Meaning   string   `json:"meaning"`            // of Meanings
	Note      string   `json:"note,omitempty"`     // what happens then
	How       string   `json:"how"`                // of Hows
	Source    string   `json:"source,omitempty"`   // page, file or version that was run
	Date      string   `json:"date"`               // when it was checked, YYYY-MM-DD
	File      string   `json:"-"`
}

// Meanings are what a timer decides.
var Meanings = []string{
	"reuse",    // how long the side that sends keeps an idle connection
	"close",    // how long the side that receives keeps one
	"path",     // when a device between forgets one
	"deadline", // how long an answer may take
	"drain",    // how long a server that stops finishes work
	"probe",    // when a silent peer is asked
	"age",      // after how long, or how many requests, a connection ends
	"limit",    // no time: how many, or how much
}

// Hows are how a number of timers.yaml was found.
var Hows = []string{
	"run",   // started, and timed or asked
	"src",   // read in the source code
	"doc",   // read on the vendor's page
	"known", // common knowledge, not opened: not for evidence
}

// Amount is a number, several, or a word such as none; all as written.
type Amount string

// Numbers are the numbers of an amount that is nothing else.
func (a Amount) Numbers() []float64 {
	var list []float64
	for w := range strings.SplitSeq(string(a), ",") {
		x, err := strconv.ParseFloat(strings.TrimSpace(w), 64)
		if err != nil {
			return nil
		}
		list = append(list, x)
	}
	return list
}

// Values are what a peer may see of a timer, in its unit: the effective value,
// or else the default; and what packages configure.
func (t *Timer) Values() []float64 {
	list := t.Effective.Numbers()
	if len(list) == 0 {
		list = t.Default.Numbers()
	}
	list = append(list, t.Shipped.Numbers()...)
	return slices.DeleteFunc(list, func(x float64) bool { return x == 0 })
}

// isTime reports whether the unit is one of time.
func (t *Timer) isTime() bool { return t.Unit == "s" || t.Unit == "ms" }

// milliseconds of Values.
func (t *Timer) milliseconds() []float64 {
	list := t.Values()
	if t.Unit == "s" {
		for i := range list {
			list[i] *= 1000
		}
	}
	return list
}

// Timers returns the rows of timers.yaml, the embedded ones and those of dirs.
func Timers(dirs ...string) ([]Timer, error) {
	n := newNames()
	err := n.level(embedded, embeddedName)
	for _, dir := range dirs {
		err = errors.Join(err, n.level(os.DirFS(dir), filepath.ToSlash(dir)))
	}
	if len(n.problems) > 0 {
		err = errors.Join(err, &Error{n.problems})
	}
	return n.timers, err
}

// names is what knowledge files say by name: timers, conditions, and the facts
// that many cases share. A later level adds to it, and may replace.
type names struct {
	timers     []Timer
	conditions map[string]string
	given      map[string][]diagnosis.FactSpec
	fixes      map[string]fact.Fix
	sysctls    map[string]string // defaults that are the same on every host
	problems   []diagnosis.Problem
}

func newNames() *names {
	return &names{conditions: map[string]string{}, given: map[string][]diagnosis.FactSpec{}, fixes: map[string]fact.Fix{}, sysctls: map[string]string{}}
}

// copy returns the names for the next level, without problems.
func (n *names) copy() *names {
	return &names{timers: slices.Clip(n.timers), conditions: maps.Clone(n.conditions), given: maps.Clone(n.given), fixes: maps.Clone(n.fixes), sysctls: maps.Clone(n.sysctls)}
}

// notCauses are the files of a knowledge directory that are no causes.
var notCauses = []string{"timers.yaml", "macros.yaml"}

// level reads timers.yaml and macros.yaml of one directory.
func (n *names) level(files fs.FS, dir string) error {
	for _, name := range notCauses {
		src, err := fs.ReadFile(files, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read knowledge file: %w", err)
		}
		if file := path.Join(dir, name); name == "timers.yaml" {
			n.addTimers(file, src)
		} else {
			n.addMacros(file, string(src))
		}
	}
	return nil
}

var timerKeys = []string{"name", "product", "versions", "key", "default", "before", "shipped", "effective", "unit", "range", "meaning", "note", "how", "source", "date"}

func (n *names) addTimers(file string, src []byte) {
	d := &document{file: file, src: string(src)}
	for _, node := range d.list() {
		m, ok := d.mapping(node, "a timer")
		if !ok {
			continue
		}
		m.allow("a timer", timerKeys...)
		amount := func(key string) Amount { return Amount(strings.Join(m.strs(key), ", ")) }
		t := Timer{
			Name: m.str("name"), Product: m.str("product"), Versions: m.str("versions"), Key: m.str("key"), Default: amount("default"), Before: amount("before"),
			Shipped: amount("shipped"), Effective: amount("effective"), Unit: cmp.Or(m.str("unit"), "s"), Range: m.strs("range"), Meaning: m.str("meaning"),
			Note: m.str("note"), How: m.str("how"), Source: m.str("source"), Date: m.str("date"),
		}
		if hint, message := t.wrong(); message != "" {
			d.problem(m.pos, "timer %s, %s %s", t.Product, t.Key, message).Hint = hint
		}
		n.timers = append(n.timers, t)
	}
	n.problems = append(n.problems, d.problems...)
}

// wrong says what is not as it must be.
func (t *Timer) wrong() (hint, message string) {
	switch {
	case t.Product == "" || t.Key == "" || t.Default == "":
		return "product, key, default, meaning, how, date", "is not complete"
	case !slices.Contains(Meanings, t.Meaning):
		return strings.Join(Meanings, ", "), fmt.Sprintf("has the meaning %q", t.Meaning)
	case !slices.Contains(Hows, t.How):
		return strings.Join(Hows, ", "), fmt.Sprintf("was found by %q", t.How)
	case !date.MatchString(t.Date):
		return "date: 2026-11-30", "has no date"
	case (t.How == "doc" || t.How == "src") && t.Source == "":
		return "the page or the file", "names no source"
	case t.Name != "" && (!t.isTime() || len(t.Values()) == 0):
		return "a number of seconds or milliseconds", "has a name and no time"
	}
	return "", ""
}

var date = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)

// times are the milliseconds that timer(name) stands for; known says that no
// row of the name was opened or measured.
func (n *names) times(name string) (list []float64, known bool) {
	known = true
	for i := range n.timers {
		if t := &n.timers[i]; t.Name == name {
			list = append(list, t.milliseconds()...)
			known = known && t.How == "known"
		}
	}
	slices.Sort(list)
	return slices.Compact(list), known
}

func (n *names) timerNames() []string {
	var list []string
	for i := range n.timers {
		if name := n.timers[i].Name; name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
