package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/logline"
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
	Next         []string           `json:"next"`

	longest int
	all     strings.Builder // the texts around it, for the circumstances
}

type readingWhere struct {
	File  string `json:"file,omitempty"`
	Line  int    `json:"line"`
	Count int    `json:"count"`
	First int    `json:"first"` // line of the first one
	Last  int    `json:"last"`
}

type readingDoc struct {
	Software     string   `json:"software,omitempty"`
	Side         string   `json:"side"`
	Event        string   `json:"event"`
	EndedBy      string   `json:"ended_by"`
	TimerS       float64  `json:"timer_s,omitempty"`
	Peer         string   `json:"peer,omitempty"`
	Weight       string   `json:"weight"`
	Text         string   `json:"text"`
	Proves       []string `json:"proves"`
	DoesNotProve []string `json:"does_not_prove"`
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
	maxStories  = 50       // different readings of one call
	maxAround   = 16 << 10 // bytes of text kept for circumstances
	maxLineRead = 64 << 10 // of a longer line the rest is skipped
)

// textReader collects the stories of all arguments.
type textReader struct {
	r       *logline.Reader
	stories []*readingStory
	byKey   map[string]*readingStory
	refused int // stories beyond maxStories
	around  strings.Builder
}

// explain reads error texts, and files and streams of them.
func (o *options) explain(base *diagnosis.Base, args []string) error {
	r, err := logline.New()
	if err != nil {
		return err
	}
	t := newTextReader(r)
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
		o.notef("%s more are not shown\n", plural(t.refused, "different lines"))
	}
	if o.output != "text" {
		return value(o, stories)
	}
	for _, s := range stories {
		o.printStory(s)
	}
	return nil
}

func newTextReader(r *logline.Reader) *textReader {
	return &textReader{r: r, byKey: map[string]*readingStory{}}
}

// finish ranks the causes of each story, and the stories: what says most first.
// None: nothing that was read says anything.
func (t *textReader) finish(base *diagnosis.Base) []*readingStory {
	if len(t.stories) == 0 && !t.circumstances() {
		return nil
	}
	for _, s := range t.stories {
		s.rank(base, t)
	}
	slices.SortStableFunc(t.stories, func(a, b *readingStory) int {
		weight := func(s *readingStory) int { return slices.Index(logline.Weights, s.Reading.Weight) }
		return cmp.Compare(weight(b), weight(a))
	})
	return t.stories
}

// readTexts reads the arguments: texts, files of lines, or - for stdin.
func (o *options) readTexts(t *textReader, args []string) error {
	if len(args) > 1 {
		if _, err := os.Stat(args[0]); err != nil && args[0] != "-" {
			args = []string{strings.Join(args, " ")} // an unquoted text
		}
	}
	for _, a := range args {
		if err := o.readText(t, a); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) readText(t *textReader, a string) error {
	if a == "-" {
		return t.lines("", o.env.in)
	}
	if r := o.pipes[a]; r != nil {
		return t.lines(a, r)
	}
	f, err := os.Open(a)
	switch {
	case errors.Is(err, os.ErrPermission):
		return &cliError{codePermission, err, "sudo, or a copy that you may read"}
	case err != nil && looksLikeFile(a):
		if _, ok := t.r.Read(a); !ok {
			return &cliError{codeNotFound, err, "check the name; a text needs quotes"}
		}
		fallthrough
	case err != nil:
		return t.lines("", strings.NewReader(strings.ReplaceAll(strings.ReplaceAll(a, `\n`, "\n"), `\r`, "")))
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return usageError("name its files: holdfast explain "+filepath.Join(a, "*.log"), "%s is a directory", a)
	}
	r := bufio.NewReader(f)
	head, _ := r.Peek(512)
	switch {
	case len(head) == 0:
		return usageError("capture again; tcpdump -U writes each packet at once", "%s is empty", a)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", a, err)
		}
		return t.lines(a, z)
	case bytes.Count(head, []byte{0}) > len(head)/8:
		return usageError("captures are pcap or pcapng, plain or compressed; `editcap -F pcapng IN OUT` converts others", "%s is neither a capture nor text", a)
	}
	return t.lines(a, r)
}

// looksLikeFile tells a mistyped file name from an error text.
func looksLikeFile(a string) bool {
	return !strings.ContainsAny(a, " \t\n") && (strings.ContainsRune(a, filepath.Separator) || filepath.Ext(a) != "")
}

// lines reads lines of any length in bounded memory.
func (t *textReader) lines(file string, in io.Reader) error {
	r := bufio.NewReaderSize(in, maxLineRead)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		t.line(file, n, string(bytes.TrimRight(line, "\r\n")))
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n') // the rest of a line too long to mean anything
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read text: %w", err)
		}
	}
}

// traceLine are lines of a stack trace, which repeat the words of their error.
var traceLine = regexp.MustCompile(`^\s+at [\w$.<]|^\s*File "|^\s+\.\.\. \d+ (more|common)|^During handling of the above|^The above exception was`)

func (t *textReader) line(file string, n int, line string) {
	if line == "" || strings.IndexByte(" \tDT", line[0]) >= 0 && traceLine.MatchString(line) {
		return
	}
	x, ok := t.r.Read(line)
	if t.around.Len() < maxAround {
		t.around.WriteString(line + "\n")
	}
	if !ok {
		return
	}
	host, _, _ := strings.Cut(x.Peer, ":")
	key := file + "|" + x.ID + "|" + host
	s := t.byKey[key]
	if s == nil {
		if len(t.stories) == maxStories {
			t.refused++
			return
		}
		s = &readingStory{Schema: fact.Schema, Kind: "reading", Where: readingWhere{File: file, Line: n, First: n}}
		s.Reading = readingDoc{
			Software: x.Software, Side: cmp.Or(x.Side, "unknown"), Event: x.Event, EndedBy: x.By, TimerS: x.TimerS, Peer: x.Peer,
			Weight: x.Weight, Text: x.Text, Proves: sentences(x.Proves), DoesNotProve: sentences(x.Not),
		}
		for _, c := range x.Causes {
			s.Alternatives = append(s.Alternatives, fact.Alternative{ID: c})
		}
		s.Next = slices.Clone(x.Next)
		s.longest = x.Longer
		t.byKey[key] = s
		t.stories = append(t.stories, s)
	}
	s.Where.Count++
	s.Where.Last = n
	if s.all.Len() < maxAround {
		s.all.WriteString(line + "\n")
	}
}

func sentences(s string) []string {
	if s == "" {
		return []string{}
	}
	return []string{s}
}

// circumstances makes a story of a text that names no error, when its words
// point at causes.
func (t *textReader) circumstances() bool {
	text := t.around.String()
	event := logline.Spoken(text)
	ids := t.r.Rank(event, text, nil)
	if len(ids) == 0 {
		return false
	}
	s := &readingStory{Schema: fact.Schema, Kind: "reading", Where: readingWhere{Line: 1, Count: 1, First: 1, Last: 1}}
	s.Reading = readingDoc{
		Side: "unknown", Event: cmp.Or(event, "none"), EndedBy: "unknown", Weight: "weak", Text: strings.TrimSpace(text), Proves: []string{},
		DoesNotProve: []string{"anything: it tells circumstances, not an error of a program"},
	}
	t.stories = append(t.stories, s)
	return true
}

// gradeFor: a line never proves a cause; a strong one that names a single cause
// makes it probable.
func gradeFor(weight string, only bool) fact.Grade {
	switch {
	case weight == "strong" && only:
		return fact.Probable
	case weight == "noise":
		return fact.Unknown
	}
	return fact.Possible
}

// rank orders the causes by the line and by the circumstances of the whole text,
// and adds the steps that every reader can take.
func (s *readingStory) rank(base *diagnosis.Base, t *textReader) {
	var named []string
	for _, a := range s.Alternatives {
		named = append(named, a.ID)
	}
	ids := named
	if s.Reading.Weight != "noise" {
		ids = t.r.Rank(s.Reading.Event, t.around.String(), named)
	}
	s.Alternatives = []fact.Alternative{}
	score := map[string]float64{"strong": 0.8, "medium": 0.6, "weak": 0.4, "noise": 0.2}[s.Reading.Weight]
	for i, id := range ids {
		a := fact.Alternative{ID: id, Title: titleOf(base, t.r, id), Score: score / float64(int(1)<<min(i, 10))}
		if i == 0 {
			s.Cause = readingCause{id, a.Title, gradeFor(s.Reading.Weight, len(ids) == 1), a.Score}
			continue
		}
		if i <= 4 {
			s.Alternatives = append(s.Alternatives, a)
		}
	}
	if len(ids) == 0 {
		s.Cause = readingCause{ID: "unknown", Title: "Nothing is wrong, as far as this line says", Grade: fact.Unknown}
	}
	s.Sender = readingSender{Role: senderOfReading(&s.Reading), Grade: fact.Possible}
	if s.Sender.Role == fact.UnknownSender {
		s.Sender.Grade = fact.Unknown
	}
	if n, ok := t.r.Named(s.Cause.ID); ok {
		s.Next = append(s.Next, n.Fix)
	}
	s.Next = append(s.Next, nextSteps(&s.Reading)...)
}

// senderOfReading is the end that ended the connection, as far as the line
// proves; which of its parts did it no line says.
func senderOfReading(r *readingDoc) string {
	if r.Event == "none" || r.EndedBy == "device" || r.EndedBy == "unknown" || r.Side == "unknown" {
		return fact.UnknownSender
	}
	server := (r.Side == "server") == (r.EndedBy == "speaker")
	switch {
	case r.Event == "refused" && server:
		return fact.ServerKernel
	case r.Event == "timeout":
		return fact.Nobody
	case server:
		return fact.ServerApp
	}
	return fact.ClientApp
}

func titleOf(base *diagnosis.Base, r *logline.Reader, id string) string {
	if c, ok := base.Cause(id); ok {
		return c.Title
	}
	if n, ok := r.Named(id); ok {
		return n.Title
	}
	return id
}

// elsewhere are texts of places where nobody can watch a kernel.
var elsewhere = regexp.MustCompile(`(?i)err_connection|pr_connect_reset|winerror|wsa(recv|send|e)|10054|10061|10060|[a-z]:\\|macos|darwin|os error (54|60|61|65)\b|app/\S+ \S+ \S+ |statusdetails|errorinfo_|x-edge`)

// nextSteps are what tells the causes apart, the cheapest first.
func nextSteps(r *readingDoc) []string {
	var list []string
	switch r.Event {
	case "none":
		return nil
	case "reset", "closed":
		list = append(list, "does it fail on the first request after a pause? then it is an idle timer: measure the pause")
		if r.EndedBy == "peer" {
			list = append(list, "read the other end's log of the same second")
		}
	case "refused":
		list = append(list, "on the other end: ss -ltn shows whether something listens, and on which address")
	case "timeout":
		list = append(list, "whose time limit ran out? compare the time in the log with the program's settings")
	}
	if elsewhere.MatchString(r.Text) {
		return append(list, "capture on the client (Wireshark, or tcpdump -w FILE) while it happens, then: holdfast explain FILE")
	}
	watch := "sudo holdfast watch --details"
	if host, port, ok := strings.Cut(r.Peer, ":"); ok && !strings.Contains(port, ":") {
		watch = fmt.Sprintf("sudo holdfast watch --address %s --port %s --details", host, port)
	} else if r.Peer != "" {
		watch = fmt.Sprintf("sudo holdfast watch --address %s --details", r.Peer)
	}
	return append(list, watch+"   # on either host, while it happens again")
}

func (o *options) printStory(s *readingStory) {
	page := o.style().Page()
	r := &s.Reading
	title := r.Event
	if r.Peer != "" {
		title += ", the other end is " + r.Peer
	}
	if r.Software != "" {
		title += " (" + r.Software + ")"
	}
	page.Title(title)
	page.Row("text", firstLine(r.Text))
	if s.Where.Count > 1 {
		page.Row("seen", fmt.Sprintf("%d times, lines %d to %d", s.Where.Count, s.Where.First, s.Where.Last))
	}
	page.Rows("proves", r.Proves)
	page.Rows("does not", r.DoesNotProve)
	if s.Cause.ID != "unknown" {
		page.Row("may be", s.Cause.ID+": "+s.Cause.Title)
	}
	for _, a := range s.Alternatives {
		page.Row("", a.ID+": "+a.Title)
	}
	page.Rows("next", s.Next)
	page.Blank()
	o.printf("%s", page.String())
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	return report.Clean(line)
}
