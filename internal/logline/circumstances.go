package logline

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// wordsFact is a fact with the phrases that make it true.
type wordsFact struct {
	Fact  string `yaml:"fact"`
	Value string `yaml:"value"`
	Say   string `yaml:"say"`

	re *regexp.Regexp
}

// profile is what is usually said when a cause is at work.
type profile struct {
	ID       string     `yaml:"id"`
	Products []string   `yaml:"products"`
	Only     bool       `yaml:"only"` // without one of its products, or its words, nothing else points at it
	With     []string   `yaml:"with"`
	Event    []string   `yaml:"event"`
	Family   string     `yaml:"family"` // ipv6: not when the other end has an IPv4 address
	Says     string     `yaml:"says"`
	Weight   float64    `yaml:"weight"` // of all this, 1 unless set: causes that fit everything have less
	IdleS    [2]float64 `yaml:"idle_s"`
	ExactS   [2]float64 `yaml:"exact_s"`

	Idle              *bool `yaml:"idle"`
	LargeOnly         *bool `yaml:"large_only"`
	Upload            *bool `yaml:"upload"`
	Download          *bool `yaml:"download"`
	Deploy            *bool `yaml:"deploy"`
	Restart           *bool `yaml:"restart"`
	Startup           *bool `yaml:"startup"`
	Upgrade           *bool `yaml:"upgrade"`
	Load              *bool `yaml:"load"`
	Parallel          *bool `yaml:"parallel"`
	Intermittent      *bool `yaml:"intermittent"`
	Always            *bool `yaml:"always"`
	RetryWorks        *bool `yaml:"retry_works"`
	ReconnectLoop     *bool `yaml:"reconnect_loop"`
	Connect           *bool `yaml:"connect"`
	Handshake         *bool `yaml:"handshake"`
	AfterLogin        *bool `yaml:"after_login"`
	MidTransfer       *bool `yaml:"mid_transfer"`
	Hang              *bool `yaml:"hang"`
	DirectWorks       *bool `yaml:"direct_works"`
	OtherClientWorks  *bool `yaml:"other_client_works"`
	OtherNetworkWorks *bool `yaml:"other_network_works"`
	OneName           *bool `yaml:"one_name"`
	Region            *bool `yaml:"region"`
	ServerSilent      *bool `yaml:"server_silent"`
	RestartCures      *bool `yaml:"restart_cures"`
	OneHost           *bool `yaml:"one_host"`
	Memory            *bool `yaml:"memory"`
	Disk              *bool `yaml:"disk"`
	Descriptors       *bool `yaml:"descriptors"`
	TimeWait          *bool `yaml:"time_wait"`
	PlainTLS          *bool `yaml:"plain_tls"`
	ManyLogins        *bool `yaml:"many_logins"`
	CannotAnyMore     *bool `yaml:"cannot_any_more"`

	says    *regexp.Regexp
	expects map[string]bool
}

// facts collects what the fields expect, by name.
func (p *profile) facts() map[string]bool {
	m := map[string]bool{}
	for name, v := range map[string]*bool{
		"idle": p.Idle, "large_only": p.LargeOnly, "upload": p.Upload, "download": p.Download, "deploy": p.Deploy, "restart": p.Restart, "startup": p.Startup,
		"upgrade": p.Upgrade, "load": p.Load, "parallel": p.Parallel, "intermittent": p.Intermittent, "always": p.Always, "retry_works": p.RetryWorks,
		"reconnect_loop": p.ReconnectLoop, "connect": p.Connect, "handshake": p.Handshake, "after_login": p.AfterLogin, "mid_transfer": p.MidTransfer, "hang": p.Hang,
		"direct_works": p.DirectWorks, "other_client_works": p.OtherClientWorks, "other_network_works": p.OtherNetworkWorks, "one_name": p.OneName, "region": p.Region,
		"server_silent": p.ServerSilent, "restart_cures": p.RestartCures, "one_host": p.OneHost, "memory": p.Memory, "disk": p.Disk, "descriptors": p.Descriptors,
		"time_wait": p.TimeWait, "plain_tls": p.PlainTLS, "many_logins": p.ManyLogins, "cannot_any_more": p.CannotAnyMore,
	} {
		if v != nil {
			m[name] = *v
		}
	}
	return m
}

// Question is what to ask, and what its answer would mean.
type Question struct {
	Fact     string `yaml:"fact"`
	Cost     int    `yaml:"cost"` // 1 the reporter knows it, 2 one look, 3 one command, 4 another host or a capture
	Unit     string `yaml:"unit"` // of a number; empty: yes or no
	Question string `yaml:"question"`
	Command  string `yaml:"command"`
	Yes      string `yaml:"yes"`
	No       string `yaml:"no"`
}

// circumstances is the file of that name.
type circumstances struct {
	Words     []wordsFact `yaml:"words"`
	Causes    []profile   `yaml:"causes"`
	Questions []Question  `yaml:"questions"`

	rarity map[string]float64 // of each fact: what few causes expect says more
}

func (r *Reader) readCircumstances(b []byte) error {
	c := &r.circumstances
	if err := yaml.UnmarshalWithOptions(b, c, yaml.Strict()); err != nil {
		return fmt.Errorf("read circumstances: %w", err)
	}
	for i := range c.Words {
		w := &c.Words[i]
		re, err := regexp.Compile(`(?:^|[^a-z0-9_])(?:` + w.Say + `)(?:$|[^a-z0-9_])`)
		if err != nil {
			return fmt.Errorf("words of %s %s: %w", w.Fact, w.Value, err)
		}
		w.re = re
	}
	for i := range c.Causes {
		p := &c.Causes[i]
		p.expects = p.facts()
		if p.Weight == 0 {
			p.Weight = 1
		}
		if p.Says == "" {
			continue
		}
		re, err := regexp.Compile(`(?:^|[^a-z0-9_])(?:` + p.Says + `)(?:$|[^a-z0-9_])`)
		if err != nil {
			return fmt.Errorf("words of cause %s: %w", p.ID, err)
		}
		p.says = re
	}
	c.weighFacts()
	return nil
}

// weighFacts sets how much each fact says: what few causes expect, more.
func (c *circumstances) weighFacts() {
	n := map[string]float64{}
	for i := range c.Causes {
		for fact, want := range c.Causes[i].expects {
			if want {
				n[fact]++
			}
		}
	}
	c.rarity = map[string]float64{}
	for fact := range n {
		c.rarity[fact] = min(2, max(0.75, math.Log2(float64(len(c.Causes))/n[fact])/3))
	}
}

// Said are the circumstances that somebody told: facts whose only witness is a
// person. They order causes and never prove one.
type Said struct {
	Products []string
	Yes      map[string]bool    // fact: what was said of it; absent: nothing was said
	Numbers  map[string]float64 // idle_s, exact_s

	low string
}

// Understand reads the circumstances in a text.
func (r *Reader) Understand(text string) *Said {
	s := &Said{Yes: map[string]bool{}, Numbers: map[string]float64{}, low: strings.ToLower(normal(text))}
	for i := range r.circumstances.Words {
		w := &r.circumstances.Words[i]
		if !w.re.MatchString(s.low) {
			continue
		}
		if w.Fact == "product" {
			s.Products = append(s.Products, w.Value)
		} else {
			s.Yes[w.Fact] = true
		}
	}
	s.times()
	return s
}

var (
	timeForm = regexp.MustCompile(`(\d+(?:\.\d+)?|\ban?\b|\bone\b|\btwo\b|\bthree\b|\bfour\b|\bfive\b|\bten\b|\bfifteen\b|\bthirty\b|\bhalf an?\b|\bhalf|\bevery|\beach)[ -]?(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|hrs?|days?)\b`)
	idleNear = regexp.MustCompile(`idl|inactiv|pause|break|quiet|no traffic|without|unused|no activity|silen|not used|sleep|rarely|keep-?alive|long query|lasts? more|takes? more|request every|output|between`)
	exact    = regexp.MustCompile(`(exactly|every|each|always after|after|constant|about|precisely|limit of|timeout (of|is)?|for)\W{0,3}(\w+\W{1,2}){0,2}$`)
	numbers  = map[string]float64{"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "fifteen": 15, "thirty": 30, "half": 0.5, "every": 1, "each": 1, "half a": 0.5, "half an": 0.5}
)

// times finds how long a connection was idle, and after how long it fails.
func (s *Said) times() {
	for _, m := range timeForm.FindAllStringSubmatchIndex(s.low, 20) {
		n, err := strconv.ParseFloat(s.low[m[2]:m[3]], 64)
		if err != nil {
			n = numbers[s.low[m[2]:m[3]]]
		}
		unit := s.low[m[4]:m[5]]
		switch {
		case unit == "ms" || strings.HasPrefix(unit, "milli"):
			n /= 1000
		case strings.HasPrefix(unit, "m"):
			n *= 60
		case strings.HasPrefix(unit, "h"):
			n *= 3600
		case strings.HasPrefix(unit, "d"):
			n *= 86400
		}
		each := s.low[m[2]] == 'e'
		if n == 0 || each && (n < 60 || n >= 86400) { // every second request, each day: no timers
			continue
		}
		before, after := s.low[max(0, m[0]-48):m[0]], s.low[m[1]:min(len(s.low), m[1]+40)]
		switch {
		case idleNear.MatchString(before) || idleNear.MatchString(after):
			if s.Numbers["idle_s"] == 0 {
				s.Numbers["idle_s"] = n
			}
			s.Yes["idle"] = true
		case (each || exact.MatchString(before)) && s.Numbers["exact_s"] == 0:
			s.Numbers["exact_s"] = n
		}
	}
}

// Set states a fact: yes, no or a number.
func (s *Said) Set(fact, value string) error {
	switch n, err := strconv.ParseFloat(strings.TrimSuffix(value, "s"), 64); {
	case strings.HasSuffix(fact, "_s") && err == nil:
		s.Numbers[fact] = n
		if fact == "idle_s" {
			s.Yes["idle"] = n > 0
		}
	case strings.HasSuffix(fact, "_s"):
		return fmt.Errorf("fact %s wants a number of seconds, not %q", fact, value)
	case fact == "product":
		s.Products = append(s.Products, value)
	case slices.Contains([]string{"true", "yes", "y", "1"}, value):
		s.Yes[fact] = true
	case slices.Contains([]string{"false", "no", "n", "0"}, value):
		s.Yes[fact] = false
	default:
		return fmt.Errorf("fact %s wants true or false, not %q", fact, value)
	}
	return nil
}

// Also takes the products that another text names; of log lines nothing else is
// a circumstance.
func (s *Said) Also(other *Said) {
	for _, p := range other.Products {
		if !slices.Contains(s.Products, p) {
			s.Products = append(s.Products, p)
		}
	}
	s.low += "\n" + other.low
}

// Values are the facts by name, for documents; nil when there are none.
func (s *Said) Values() map[string]any {
	m := map[string]any{}
	for k, v := range s.Yes {
		m[k] = v
	}
	for k, v := range s.Numbers {
		m[k] = v
	}
	if len(s.Products) > 0 {
		m["product"] = s.Products
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// Clone is a copy that may be changed.
func (s *Said) Clone() *Said {
	c := *s
	c.Products, c.Yes, c.Numbers = slices.Clone(s.Products), map[string]bool{}, map[string]float64{}
	for k, v := range s.Yes {
		c.Yes[k] = v
	}
	for k, v := range s.Numbers {
		c.Numbers[k] = v
	}
	return &c
}

// Known reports whether anything was said of a fact.
func (s *Said) Known(fact string) bool {
	if strings.HasSuffix(fact, "_s") {
		return s.Numbers[fact] != 0
	}
	_, ok := s.Yes[fact]
	return ok
}

// Failing reports whether two things at least were said of how or when it fails:
// a name of a product alone is no complaint.
func (s *Said) Failing() bool { return len(s.Yes)+len(s.Numbers) >= 2 }

// FactNames are the facts that can be said, the questions' order first.
func (r *Reader) FactNames() []string {
	list := []string{"product"}
	for _, q := range r.circumstances.Questions {
		list = append(list, q.Fact)
	}
	for i := range r.circumstances.Words {
		if f := r.circumstances.Words[i].Fact; !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// Questions returns all questions. Do not change them.
func (r *Reader) Questions() []Question { return r.circumstances.Questions }

// Ask is what causes are ranked by.
type Ask struct {
	Event  string             // of the line, or the one that the text speaks of
	Named  []string           // causes that the line names, in its order
	Force  float64            // how much the line says: 0 no line, 1 a strong one
	Peer   netip.Addr         // the other end, when the line names its address
	New    bool               // the line says that the connection was in its handshake
	Said   *Said              // of the whole text
	Like   map[string]float64 // likeness of the text to each cause's page, 0 to 1
	Words  map[string]float64 // causes whose own words are in the text: 1 in a log line, less as somebody said it
	rarity map[string]float64
	Also   map[string]float64 // causes that other lines of the same report name, 0 to 1
}

// Scored is a cause with its score: the higher, the more likely; only the
// differences mean something.
type Scored struct {
	ID    string
	Score float64
}

// The weights: what one statement adds to the logarithm of a cause's odds.
const (
	forNamed       = 3.2
	forAlso        = 1.2
	forProduct     = 1.3
	forWith        = 0.4
	forFact        = 0.8
	forNumber      = 2.2
	forWords       = 1.8
	forEvent       = 0.4
	forLike        = 0.8 // the most that likeness of words can add
	against        = 1.2
	forUnexplained = 0.8 // taken off for a telling fact that the cause does not explain
	fewest         = 3   // with fewer candidates, likeness alone makes some
	alike          = 0.7 // from this share of the best likeness on
	enough         = 1.2 // below this nothing points at the cause
)

// Rank orders causes, the likeliest first. Causes at which nothing points are
// left out.
func (r *Reader) Rank(a *Ask) []Scored {
	a.rarity = r.circumstances.rarity
	score := map[string]float64{}
	for i, id := range a.Named {
		score[id] = max(score[id], forNamed*a.Force/(1+0.3*float64(i)))
	}
	for i := range r.circumstances.Causes {
		p := &r.circumstances.Causes[i]
		_, named := score[p.ID]
		if n, points := p.score(a); points || named {
			score[p.ID] += n * p.Weight
			if a.New && p.expects["idle"] { // nobody had used it before: nothing was reused
				score[p.ID] -= 2 * against
			}
		}
	}
	for id, n := range a.Words {
		score[id] += forWords * n
	}
	for id, n := range a.Also {
		score[id] += forAlso * n
	}
	for id, n := range a.Like {
		if _, ok := score[id]; ok {
			score[id] += forLike * n
		}
	}
	if len(score) < fewest { // nothing else points anywhere: what the pages are most like
		for id, n := range a.Like {
			if n >= alike {
				score[id] = max(score[id], enough*n)
			}
		}
	}
	for i := range r.circumstances.Causes {
		if p := &r.circumstances.Causes[i]; p.Family == "ipv6" && a.Peer.Unmap().Is4() {
			delete(score, p.ID)
		}
	}
	var list []Scored
	for id, n := range score {
		if slices.Contains(a.Named, id) || n >= enough*0.4 {
			list = append(list, Scored{id, n})
		}
	}
	slices.SortFunc(list, func(x, y Scored) int {
		return cmp.Or(cmp.Compare(y.Score, x.Score), cmp.Compare(place(a.Named, x.ID), place(a.Named, y.ID)), cmp.Compare(x.ID, y.ID))
	})
	return list
}

func place(list []string, id string) int {
	if i := slices.Index(list, id); i >= 0 {
		return i
	}
	return len(list)
}

// score is how well what was said fits a cause, and whether anything points at
// it at all.
func (p *profile) score(a *Ask) (n float64, points bool) {
	said := a.Said
	product := len(p.Products) == 0
	for _, x := range p.Products {
		if slices.Contains(said.Products, x) {
			n += forProduct
			product = true
			break
		}
	}
	for _, x := range p.With {
		if slices.Contains(said.Products, x) {
			n += forWith
			break
		}
	}
	words := p.says != nil && p.says.MatchString(said.low)
	if words {
		n += forWords
	}
	met := 0
	for fact, want := range p.expects {
		switch v, ok := said.Yes[fact]; {
		case ok && v == want:
			n += forFact * a.rarity[fact]
			met++
			product = product || !p.Only && v && slices.Contains(telling, fact)
		case ok:
			n -= against
		}
	}
	for fact, v := range said.Yes {
		if _, ok := p.expects[fact]; v && !ok && (fact == "idle" || slices.Contains(telling, fact)) {
			n -= forUnexplained * a.rarity[fact]
		}
	}
	numbers := p.number("idle_s", p.IdleS, said) + p.number("exact_s", p.ExactS, said)
	n += numbers
	if len(p.Event) > 0 && a.Event != "" && a.Event != "none" {
		if slices.Contains(p.Event, a.Event) {
			n += forEvent
		} else {
			n -= against
		}
	}
	switch {
	case p.Only:
		return n, (product || words) && n >= enough
	case words || met > 0 && product || met >= 3 || numbers > 0:
		return n, n >= enough
	}
	return n / 2, product && n >= enough // it only fits
}

// telling are facts that point at a cause without its product; the others fit
// half of all causes.
var telling = []string{
	"large_only", "deploy", "startup", "parallel", "reconnect_loop", "one_name", "one_host", "memory", "disk", "descriptors", "time_wait", "plain_tls", "many_logins",
	"other_client_works", "direct_works", "after_login",
}

// number compares a range with what was said. A time after which it fails may
// be the pause, too.
func (p *profile) number(fact string, window [2]float64, said *Said) float64 {
	if window[1] == 0 {
		return 0
	}
	x := said.Numbers[fact]
	other := 1.0
	if x == 0 && fact == "idle_s" {
		x, other = said.Numbers["exact_s"], 0.7
	}
	narrow := window[1] < 2*window[0]
	switch {
	case x == 0:
		return 0
	case x >= window[0] && x <= window[1] && narrow:
		return forNumber * other
	case x >= window[0] && x <= window[1]:
		return forFact * other
	case !narrow:
		return 0
	case fact == "idle_s" && x < window[0]:
		return -2 * against * other // the timer had not run out
	case fact == "idle_s":
		return -against / 4 * other // a longer pause does not tell the time limit
	}
	return -against * other
}

// Chances turns scores into shares that add up to one.
func Chances(list []Scored) []float64 {
	p := make([]float64, len(list))
	sum := 0.0
	for i, x := range list {
		p[i] = math.Exp(x.Score - list[0].Score)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// words for an event, as people describe it.
var spoken = []struct {
	event string
	re    *regexp.Regexp
}{
	{"refused", regexp.MustCompile(`\b(refus(ed|es)|econnrefused)\b`)},
	{"reset", regexp.MustCompile(`\b(reset|resets|rst|econnreset)\b|broken pipe|\bepipe\b|err_connection_reset`)},
	{"unreachable", regexp.MustCompile(`\bunreachable\b|no route to host`)},
	{"closed", regexp.MustCompile(`\b(closed|closes|disconnect(s|ed)?|dropped|drops|lose(s)? (its|the|their|each)|eof|hung up|hang ?up|cut (off)?|1006|gone away|terminated|connection lost|lost connection|thrown out|kicked)\b`)},
	{"timeout", regexp.MustCompile(`\b(time[sd]? ?out|timeouts?|hangs?|no answer|stuck|never (returns|answers|responds)|freezes|stalls?)\b`)},
	{"http-error", regexp.MustCompile(`\b(50[0234]s?|5xx|bad gateway|52[0-7])\b`)},
	{"tls-alert", regexp.MustCompile(`\b(handshake (failure|fails|error|failed)|certificate|wrong version number)\b`)},
}

var complaint = regexp.MustCompile(`\b(fail\w*|errors?|broken|los(e|es|ing)|blocks?|ends? after|not (receive|reach|answer|respond|connect|load|open|come)\w*|no (more|new|longer|request)|does not|doesn't|breaks?|does not work|doesn't work|not working|problems?|warnings?|lost|dead|dies|kills?|cuts?|slow|unable|cannot|can't|stops?)\b`)

// setting is a timer that is set, not one that ran out.
var setting = regexp.MustCompile(`[\w-]*timeouts?["']?\s*[=:]\s*["']?\d+\w*|\w+[_-]timeouts?\s+\d+\w*|\btimeout (client|server|tunnel|connect|queue|http-request|http-keep-alive) \d+\w*|\btimeouts? (setting|value|option|parameter)s?\b`)

// Complains reports whether a text speaks of a failure at all.
func Complains(text string) bool {
	return Spoken(text) != "" || complaint.MatchString(strings.ToLower(text))
}

// Spoken is the event that a sentence of symptoms speaks of; "" when none.
func Spoken(text string) string {
	low := setting.ReplaceAllString(strings.ToLower(text), "")
	for _, s := range spoken {
		if s.re.MatchString(low) {
			return s.event
		}
	}
	return ""
}
