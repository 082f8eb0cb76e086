package cli

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/logline"
	"github.com/holdfast-project/holdfast/internal/logs"
	"github.com/holdfast-project/holdfast/internal/report"
)

// readingStory is what lines that say the same say together.
type readingStory struct {
	Schema       string             `json:"schema"`
	Kind         string             `json:"kind"` // reading
	Where        readingWhere       `json:"where"`
	Reading      readingDoc         `json:"reading"`
	Sender       readingSender      `json:"sender"`
	Cause        readingCause       `json:"cause"`
	Alternatives []fact.Alternative `json:"alternatives"`
	Said         map[string]any     `json:"said,omitempty"` // circumstances that the text tells; nobody saw them
	Next         []readingStep      `json:"next"`

	ask    logline.Ask // what the text says for causes, beside the line itself
	ranked []logline.Scored
	said   *logline.Said
	named  []string
	own    []string // steps of the sentence itself
	longer int
	lines  strings.Builder // a few of its lines, for the products that they name
	pace   pace
	ages   ages // how long the requests or connections lasted
	gaps   ages // between one line and the next
	before time.Time
	file   *span
	peers  peers
}

type readingWhere struct {
	File     string    `json:"file"`
	Line     int       `json:"line"` // of the first one
	LastLine int       `json:"last_line"`
	Count    int       `json:"count"`
	First    time.Time `json:"first,omitzero"` // when, as far as lines have times
	Last     time.Time `json:"last,omitzero"`
}

type readingDoc struct {
	Software     string   `json:"software"` // empty: the line does not tell
	Side         string   `json:"side"`
	Event        string   `json:"event"`
	EndedBy      string   `json:"ended_by"`
	TimerS       float64  `json:"timer_s"` // 0: the line names none
	Peer         string   `json:"peer"`
	Proves       []string `json:"proves"`
	DoesNotProve []string `json:"does_not_prove"`
	Weight       string   `json:"weight"`
	Text         string   `json:"text"`
}

type readingSender struct {
	Role  string     `json:"role"`
	Grade fact.Grade `json:"grade"`
}

type readingCause struct {
	ID    string     `json:"id"`
	Title string     `json:"title"`
	Grade fact.Grade `json:"grade"`
	Score float64    `json:"score"`
}

const (
	maxStories = 50       // different readings of one call
	maxAround  = 16 << 10 // bytes of text kept for circumstances
	fewLines   = 60       // what has more is a log, not a report: only its errors count
)

// textReader collects the stories of all arguments.
type textReader struct {
	r       *logline.Reader
	stories []*readingStory
	byKey   map[string]*readingStory
	refused int // lines of stories beyond maxStories
	count   int // lines read
	prose   strings.Builder
	errors  strings.Builder // lines with an error, for the products that they name
	facts   []string        // name=value, stated
	window  stampWindow
	files   map[string]*span
	hosts   map[string]int // servers with a story of their own, for each kind of line
}

func newTextReader(r *logline.Reader) *textReader {
	return &textReader{r: r, byKey: map[string]*readingStory{}, files: map[string]*span{}, hosts: map[string]int{}}
}

// explain reads error texts, and files and streams of them.
func (o *options) explain(base *diagnosis.Base, args []string, tf *textFlags) error {
	r, err := o.lineReader(tf.knowledge)
	if err != nil {
		return err
	}
	t := newTextReader(r)
	t.facts = tf.facts
	if t.window, err = tf.window(); err != nil {
		return err
	}
	if err := o.readTexts(t, args); err != nil {
		return err
	}
	stories := t.finish(base)
	if len(stories) == 0 {
		return &cliError{
			codeNotFound, errors.New("no text names a reset, refused, timed-out or closed connection"),
			`paste the whole line, such as "read tcp 10.0.0.5:40122->10.0.0.7:443: connection reset by peer", or say what happens: "reset after 6 minutes idle behind an NLB"`,
		}
	}
	if t.refused > 0 {
		o.notef("%s of other readings are not shown\n", plural(t.refused, "lines"))
	}
	if tf.ask {
		return o.interview(base, t, stories[0])
	}
	if o.output != "text" {
		return value(o, stories)
	}
	for _, s := range stories {
		o.printStory(s)
	}
	return nil
}

// lineReader reads by the built-in sentences, and those of the directories that
// the user named; a mistake in the default directory is only reported.
func (o *options) lineReader(dirs []string) (*logline.Reader, error) {
	if len(dirs) > 0 {
		r, err := logline.NewWith(dirs...)
		if err != nil {
			return nil, usageError("lines/*.yaml of the directory: docs/adding-a-cause.md", "%w", err)
		}
		return r, nil
	}
	if _, err := os.Stat(filepath.Join(userKnowledge, "lines")); err == nil {
		r, err := logline.NewWith(userKnowledge)
		if err == nil {
			return r, nil
		}
		o.notef("holdfast: %s\n", report.CleanText(err.Error()))
	}
	return logline.New()
}

// traceLine are lines of a stack trace, which repeat the words of their error.
var traceLine = regexp.MustCompile(`^\s+at [\w$.<]|^\s*File "|^\s+\.\.\. \d+ (more|common)|^During handling of the above|^The above exception was`)

// line takes one line of a text or file.
func (t *textReader) line(file string, n int, line string) {
	if line == "" || strings.IndexByte(" \tDT", line[0]) >= 0 && traceLine.MatchString(line) {
		return
	}
	t.count++
	x, ok := t.r.Read(line)
	if !ok {
		t.keepWords(line)
		return
	}
	at, timed := logs.LineTime(line)
	if !t.window.has(at, timed) {
		return
	}
	if x.Event != "none" {
		t.keepWords(line)
	}
	key := t.keyOf(file, &x)
	s := t.byKey[key]
	if s == nil {
		if len(t.stories) == maxStories {
			t.refused++
			return
		}
		s = newStory(&x)
		s.Where.File, s.Where.Line = file, n
		t.byKey[key] = s
		t.stories = append(t.stories, s)
	}
	s.Where.Count++
	s.Where.LastLine = n
	if s.lines.Len() < maxAround/8 {
		s.lines.WriteString(line + "\n")
	}
	if timed {
		s.pace.add(at)
	}
	s.measure(line, at, timed)
	s.peers.add(x.Peer)
}

// keyOf tells which lines make one story: those of one file that say the same of
// one server. Clients are many, and one story; so are servers beyond a few.
func (t *textReader) keyOf(file string, x *logline.Reading) string {
	kind := file + "|" + x.ID + "|" + x.Event
	host := hostOf(x.Peer)
	if x.Event == "none" || x.Side == "server" || host == "" || strings.HasPrefix(x.Text, host) { // an access log begins with the client
		return kind
	}
	key := kind + "|" + host
	if t.byKey[key] == nil {
		if t.hosts[kind] == maxHosts {
			return kind
		}
		t.hosts[kind]++
	}
	return key
}

// maxHosts is how many servers have stories of their own.
const maxHosts = 8

func hostOf(peer string) string {
	if host, _, err := net.SplitHostPort(peer); err == nil {
		return host
	}
	return peer
}

// keepWords keeps a line with an error for what it tells beside it: a log line
// names products, a sentence of a person everything.
func (t *textReader) keepWords(line string) {
	switch {
	case t.count > fewLines || t.prose.Len()+t.errors.Len() > maxAround:
	case isLogLine(line):
		t.errors.WriteString(line + "\n")
	default:
		t.prose.WriteString(line + "\n")
	}
}

// logForm are the beginnings and signs of a line that a program wrote.
var logForm = regexp.MustCompile(`^\s*(#|//)|^\W?\d{4}[-/]\d\d|^\W?(\d+ +)?(\d{1,3}\.){3}\d|^\W?\d{10}|^[\[{%<*]|\d->|[A-Z][a-z]+[A-Za-z]*(Error|Exception)\b|^[a-z_./-]+(\[\d+\])?: |^(ERROR|FATAL|WARN(ING)?|LOG|INFO|DEBUG|TRACE|NOTICE)\b|^(?i:error|fatal|warning): |^[A-Z][a-z]{2} +\d+ \d\d:|\(\d+: |\berrno\b|os error|0x[0-9a-f]{4}`)

func isLogLine(line string) bool { return logForm.MatchString(line) }

func newStory(x *logline.Reading) *readingStory {
	s := &readingStory{Schema: fact.Schema, Kind: "reading", longer: x.Longer, named: x.Causes, own: x.Next}
	s.Reading = readingDoc{
		Software: x.Software, Side: cmp.Or(x.Side, "unknown"), Event: x.Event, EndedBy: x.By, TimerS: x.TimerS, Peer: x.Peer,
		Weight: x.Weight, Text: x.Text, Proves: sentences(x.Proves), DoesNotProve: sentences(x.Not),
	}
	return s
}

func sentences(s string) []string {
	if s == "" {
		return []string{}
	}
	return []string{s}
}

// finish ranks the causes of each story, and the stories: what says most first.
// None: nothing that was read says anything.
func (t *textReader) finish(base *diagnosis.Base) []*readingStory {
	prose := t.prose.String()
	all := t.said(prose)
	if t.only("none") {
		t.circumstances(base, prose, all)
	}
	if len(t.stories) == 0 {
		return nil
	}
	x := indexOf(base)
	like, logs := x.pages.Like(prose), t.errors.String()
	for _, s := range t.stories {
		s.said = all
		s.Where.First, s.Where.Last, s.file = s.pace.first, s.pace.last, t.files[s.Where.File]
		s.Reading.Peer = s.peers.one(s.Reading.Peer)
		if x, n := s.ages.equal(); n > 0 && s.Reading.TimerS == 0 {
			s.Reading.TimerS = math.Round(10*x) / 10
			if !all.Known("exact_s") {
				s.said = all.Clone()
				s.said.Numbers["exact_s"] = s.Reading.TimerS
			}
		}
		s.ask = logline.Ask{Like: like, Words: x.fits(x.wordsIn(logs+s.Reading.Text, prose), s.Reading.Event), Also: t.alsoNamed(s)}
		s.rank(base, t.r)
	}
	t.stories = slices.DeleteFunc(t.stories, func(s *readingStory) bool { return s.Cause.ID == "" })
	slices.SortStableFunc(t.stories, func(a, b *readingStory) int { return cmp.Compare(b.importance(), a.importance()) })
	return t.stories
}

// importance orders stories: how much they say, and lines of no failure last.
func (s *readingStory) importance() int {
	n := 10 * slices.Index(logline.Weights, s.Reading.Weight)
	if s.Reading.Event == "none" {
		n -= 100
	}
	return n
}

// only reports whether every story tells of that event.
func (t *textReader) only(event string) bool {
	return !slices.ContainsFunc(t.stories, func(s *readingStory) bool { return s.Reading.Event != event })
}

// said are the circumstances of the whole text and of the stated facts.
func (t *textReader) said(prose string) *logline.Said {
	all := t.r.Understand(prose)
	all.Also(t.r.Understand(t.errors.String()))
	for _, f := range t.facts {
		name, v, _ := strings.Cut(f, "=")
		_ = all.Set(strings.TrimPrefix(name, "symptom."), v) // checked with the flags
	}
	return all
}

// alsoNamed are the causes that the other lines of a report name.
func (t *textReader) alsoNamed(s *readingStory) map[string]float64 {
	if t.count > fewLines || len(t.stories) < 2 {
		return nil
	}
	also := map[string]float64{}
	for _, x := range t.stories {
		if x == s || x.Reading.Weight != "strong" {
			continue
		}
		for i, id := range x.named {
			also[id] = max(also[id], 1/float64(i+1))
		}
	}
	return also
}

// circumstances makes a story of a text that names no error, when its words
// point at causes.
func (t *textReader) circumstances(base *diagnosis.Base, prose string, all *logline.Said) {
	if strings.TrimSpace(prose) == "" && len(t.facts) == 0 {
		return
	}
	event := logline.Spoken(prose)
	x := indexOf(base)
	words := x.wordsIn("", prose)
	if !logline.Complains(prose) && len(words) == 0 && !all.Failing() || len(t.r.Rank(&logline.Ask{Event: event, Said: all, Words: words, Like: x.pages.Like(prose)})) == 0 {
		return
	}
	s := &readingStory{Schema: fact.Schema, Kind: "reading", Where: readingWhere{Line: 1, LastLine: 1, Count: 1}}
	s.Reading = readingDoc{
		Side: "unknown", Event: cmp.Or(event, "none"), EndedBy: "unknown", Weight: "weak", Text: strings.TrimSpace(prose), Proves: []string{},
		DoesNotProve: []string{"anything: it tells circumstances, not an error of a program"},
	}
	t.stories = append(t.stories, s)
}

// textFlags are the flags of explain for texts and logs.
type textFlags struct {
	knowledge    []string // directories with sentences of the user's own
	facts        []string
	ask          bool
	since, until string
}

func (tf *textFlags) window() (stampWindow, error) {
	var w stampWindow
	for _, x := range []struct {
		name, text string
		at         *time.Time
	}{{"--since", tf.since, &w.since}, {"--until", tf.until, &w.until}} {
		if x.text == "" {
			continue
		}
		t, err := momentOf(x.text, time.Now())
		if err != nil {
			return w, usageError(x.name+" 2026-11-30T14:00:00Z, \"2026-11-30 14:00\", 14:00 or 2h (ago)", "%s %q is no time", x.name, x.text)
		}
		*x.at = t
	}
	return w, nil
}

// checkFacts refuses facts that nobody can say.
func (tf *textFlags) checkFacts() error {
	if len(tf.facts) == 0 {
		return nil
	}
	r, err := logline.New()
	if err != nil {
		return err
	}
	for _, f := range tf.facts {
		name, v, ok := strings.Cut(f, "=")
		name = strings.TrimPrefix(name, "symptom.")
		if !ok || !slices.Contains(r.FactNames(), name) {
			return usageError("holdfast facts symptom", "no fact that can be said is called %q", f)
		}
		if err := (&logline.Said{Yes: map[string]bool{}, Numbers: map[string]float64{}}).Set(name, v); err != nil {
			return usageError("--fact idle_s=350, --fact always=false", "%v", err)
		}
	}
	return nil
}

// stampWindow is a time from which and until which lines count.
type stampWindow struct{ since, until time.Time }

// has reports whether a line counts. One without a time counts only when no
// window was asked for.
func (w stampWindow) has(at time.Time, timed bool) bool {
	switch {
	case w.since.IsZero() && w.until.IsZero():
		return true
	case !timed:
		return false
	}
	return !(at.Before(w.since) || !w.until.IsZero() && at.After(w.until))
}

// momentOf reads a time: full, of today, or a time ago.
func momentOf(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("no time: %w", os.ErrInvalid)
}
