package cli

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/logline"
)

// readingStep is a step that tells causes apart.
type readingStep struct {
	Question  string   `json:"question"`
	Fact      string   `json:"fact"`      // what its answer states; empty: it only shows
	Separates []string `json:"separates"` // the causes that it tells apart
	Cost      int      `json:"cost"`      // 1 the reporter knows it, 2 one look, 3 one command, 4 another host or a capture
	Command   string   `json:"command"`
	Yes       string   `json:"yes,omitempty"` // what each answer would mean
	No        string   `json:"no,omitempty"`
	Gain      float64  `json:"gain_bits"`
}

// textIndex is what the knowledge base says of texts: the words of causes, and
// their pages.
type textIndex struct {
	pages *logline.Pages
	words map[string]*regexp.Regexp // of logs
	said  map[string]*regexp.Regexp // of persons
	event map[string][]string       // outcomes of each cause
}

// index is made once for each base.
var index struct {
	sync.Mutex
	base *diagnosis.Base
	text *textIndex
}

func indexOf(base *diagnosis.Base) *textIndex {
	index.Lock()
	defer index.Unlock()
	if index.base != base {
		index.base, index.text = base, newTextIndex(base)
	}
	return index.text
}

func newTextIndex(base *diagnosis.Base) *textIndex {
	x := &textIndex{words: map[string]*regexp.Regexp{}, said: map[string]*regexp.Regexp{}, event: map[string][]string{}}
	text := map[string]string{}
	var order []string
	for _, c := range base.Causes() {
		order = append(order, c.ID)
		text[c.ID] = pageOf(c)
		for _, o := range c.Outcomes {
			x.event[c.ID] = append(x.event[c.ID], o.S)
		}
		for _, p := range []struct {
			list []string
			into map[string]*regexp.Regexp
		}{{c.Words, x.words}, {c.Said, x.said}} {
			if re, err := regexp.Compile("(?i)" + strings.Join(p.list, "|")); err == nil && len(p.list) > 0 { // the base was checked when it was read
				p.into[c.ID] = re
			}
		}
	}
	x.pages = logline.NewPages(text, order)
	return x
}

// pageOf is what people would find a cause by. How they describe it stands twice:
// it is nearest to what others say.
func pageOf(c *diagnosis.CauseSpec) string {
	symptoms := strings.Join(c.Symptoms, "\n")
	list := []string{c.Title, symptoms, symptoms, c.Says.S, c.Effect.S, c.Prevent, strings.ReplaceAll(c.ID, "-", " ")}
	for _, f := range c.Fixes {
		list = append(list, f.Title)
	}
	return strings.Join(list, "\n")
}

// wordsIn are the causes whose own words are in a text: more in the line of a
// program than in what somebody said.
func (x *textIndex) wordsIn(logs, prose string) map[string]float64 {
	found := map[string]float64{}
	for id, re := range x.words {
		switch {
		case re.MatchString(logs):
			found[id] = 1
		case re.MatchString(prose):
			found[id] = 0.8
		}
	}
	for id, re := range x.said {
		if prose != "" && re.MatchString(prose) {
			found[id] = max(found[id], 1)
		}
	}
	return found
}

// fits removes causes that cannot end as the text says.
func (x *textIndex) fits(found map[string]float64, event string) map[string]float64 {
	if !slices.Contains(diagnosis.Outcomes, event) {
		return found
	}
	for id := range found {
		if !slices.Contains(x.event[id], event) {
			found[id] /= 2
		}
	}
	return found
}

// force is how much a line of a weight says against the circumstances.
var force = map[string]float64{"strong": 1, "medium": 0.75, "weak": 0.5, "noise": 0.6}

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

// inHandshake is what lines say of a connection that was just being made.
var inHandshake = regexp.MustCompile(`(?i)handshak|ssl_connect|ssl_do_handshake|kex_exchange|ssh_exchange|pre-login|before secure tls|client ?hello`)

// rank orders the causes by the line and by the circumstances of the whole text,
// and finds the steps that tell them apart.
func (s *readingStory) rank(base *diagnosis.Base, r *logline.Reader) {
	a := s.ask
	a.Event, a.Named, a.Force, a.Said = s.Reading.Event, s.named, force[s.Reading.Weight], s.said
	if at, err := netip.ParseAddrPort(s.Reading.Peer); err == nil {
		a.Peer = at.Addr()
	} else if at, err := netip.ParseAddr(s.Reading.Peer); err == nil {
		a.Peer = at
	}
	a.New = s.Reading.Event != "none" && len(s.named) > 0 && inHandshake.MatchString(s.Reading.Text)
	s.ranked = slices.DeleteFunc(r.Rank(&a), func(x logline.Scored) bool { return titleOf(base, r, x.ID) == "" })
	s.show(base, r)
}

// show writes the ranking into the document.
func (s *readingStory) show(base *diagnosis.Base, r *logline.Reader) {
	s.Alternatives, s.Next = []fact.Alternative{}, []readingStep{}
	s.Sender = readingSender{Role: senderOfReading(&s.Reading), Grade: fact.Possible}
	if s.Sender.Role == fact.UnknownSender {
		s.Sender.Grade = fact.Unknown
	}
	s.Said = s.said.Values()
	if len(s.ranked) == 0 || s.Reading.Event == "none" && s.Reading.Weight == "noise" {
		s.Cause = readingCause{ID: "unknown", Title: "Nothing is wrong, as far as this line says", Grade: fact.Unknown}
		return
	}
	most := map[string]float64{"strong": 0.79, "medium": 0.6, "weak": 0.5, "noise": 0.2}[s.Reading.Weight]
	for i, p := range logline.Chances(s.ranked) {
		id := s.ranked[i].ID
		x := fact.Alternative{ID: id, Title: titleOf(base, r, id), Score: math.Round(1000*p*most) / 1000}
		switch {
		case i == 0:
			only := len(s.named) == 1 && s.named[0] == id && (len(s.ranked) == 1 || p > 0.8)
			s.Cause = readingCause{id, x.Title, gradeFor(s.Reading.Weight, only), x.Score}
			if only && s.Reading.Weight == "strong" {
				s.Cause.Score = max(s.Cause.Score, 0.8)
			}
		case i <= 4:
			s.Alternatives = append(s.Alternatives, x)
		}
	}
	s.Next = s.steps(r)
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

// titleOf is the title of a cause of the base, or of one that only texts name;
// empty when there is none.
func titleOf(base *diagnosis.Base, r *logline.Reader, id string) string {
	if c, ok := base.Cause(id); ok {
		return c.Title
	}
	if n, ok := r.Named(id); ok {
		return n.Title
	}
	return ""
}

// elsewhere are texts of places where nobody can watch a kernel.
var elsewhere = regexp.MustCompile(`(?i)err_(connection|timed|empty|ssl|http2)|pr_connect_reset|pr_end_of|winerror|wsa(recv|send|e)|\b100(53|54|60|61)\b|[a-z]:\\|macos|darwin|os error (54|60|61|65)\b| app/\S+ \S+ \S+ |statusdetails|errorinfo_|x-edge|nsurlerror`)

// cloud products whose hosts nobody can log in to.
var managed = []string{"alb", "nlb", "google", "azure", "cloudflare", "cloudfront", "natgw", "s3"}

// steps are what tells the causes apart: what the sentence itself asks for, the
// questions with the most information for their cost, and a look at the packets.
func (s *readingStory) steps(r *logline.Reader) []readingStep {
	list := []readingStep{}
	for _, x := range s.own {
		list = append(list, readingStep{Separates: s.top(2), Cost: 2, Command: x})
	}
	if n, ok := r.Named(s.ranked[0].ID); ok {
		list = append(list, readingStep{Question: "If it is that: " + n.Title, Separates: s.top(1), Cost: 3, Command: n.Fix})
	}
	if s.Reading.EndedBy == "peer" && s.Reading.Event != "refused" {
		list = append(list, readingStep{
			Question: "What does the other end's log say in that second?", Fact: "server_silent", Separates: s.top(3), Cost: 2,
			Command: "the other end's log, one second around the line" + s.when(), Yes: "silent: it never got the request; a dead connection, or a device between", No: "it names the program's reason",
		})
	}
	for i, q := range r.NextSteps(s.ranked, s.said) {
		if i == 3 {
			break
		}
		list = append(list, stepOf(&q))
	}
	list = append(list, s.look())
	slices.SortStableFunc(list, func(a, b readingStep) int { return a.Cost - b.Cost })
	return list
}

func stepOf(q *logline.Step) readingStep {
	return readingStep{
		Question: q.Question.Question, Fact: q.Fact, Separates: q.Separates, Cost: q.Cost, Command: q.Command, Yes: q.Yes, No: q.No,
		Gain: math.Round(1000*q.Gain) / 1000,
	}
}

func (s *readingStory) when() string {
	if s.Where.First.IsZero() {
		return ""
	}
	return " (" + s.Where.First.Format("2006-01-02 15:04:05") + ")"
}

// top are the first n causes.
func (s *readingStory) top(n int) []string {
	list := []string{}
	for _, x := range s.ranked[:min(n, len(s.ranked))] {
		list = append(list, x.ID)
	}
	return list
}

// look is the step that shows the packets: the kernel's where it can be watched,
// a capture elsewhere.
func (s *readingStory) look() readingStep {
	step := readingStep{
		Question: "Who sends the RST or FIN, and after what?", Separates: s.top(4), Cost: 4,
		Yes: "its finding names the sender, with proof", No: "nothing is caught: it did not happen there",
	}
	switch {
	case elsewhere.MatchString(s.Reading.Text) || slices.ContainsFunc(s.said.Products, func(p string) bool { return p == "macos" || p == "windows" || p == "browser" || p == "mobile" }):
		step.Command = "capture on the client with Wireshark while it happens, save it as FILE, then: holdfast explain FILE"
	case slices.ContainsFunc(s.said.Products, func(p string) bool { return slices.Contains(managed, p) }):
		step.Command = "capture on the host behind the balancer while it happens (tcpdump -w FILE port PORT), then: holdfast explain FILE"
	default:
		host, port, _ := strings.Cut(s.Reading.Peer, ":")
		switch {
		case host == "" || strings.Contains(port, ":"):
			step.Command = "sudo holdfast watch --details"
		case port == "":
			step.Command = fmt.Sprintf("sudo holdfast watch --address %s --details", host)
		default:
			step.Command = fmt.Sprintf("sudo holdfast watch --address %s --port %s --details", host, port)
		}
		step.Command += "   # on either host, while it happens again"
	}
	return step
}
