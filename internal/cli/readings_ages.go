package cli

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/knowledge"
)

// ages counts durations, in bounded memory: only which of them are equal matters.
type ages struct {
	seen  map[int]int // by the logarithm of seconds, a bucket being two percent wide
	sum   map[int]float64
	count int
}

// maxAges is how many different durations are told apart; what is more varied
// than that is no timer.
const maxAges = 200

func bucketOf(seconds float64) int { return int(math.Round(math.Log(seconds) / math.Log(1.02))) }

func (a *ages) add(seconds float64) {
	if seconds < 0.5 { // no timer that anybody sets
		return
	}
	if a.seen == nil {
		a.seen, a.sum = map[int]int{}, map[int]float64{}
	}
	a.count++
	i := bucketOf(seconds)
	if _, ok := a.seen[i]; !ok && len(a.seen) == maxAges {
		return
	}
	a.seen[i]++
	a.sum[i] += seconds
}

// equal is the duration that most have, and how many do; 0 when they vary. A
// duration at the border of two buckets lies in both.
func (a *ages) equal() (seconds float64, n int) {
	for i := range a.seen {
		if k := a.seen[i] + a.seen[i+1]; k > n {
			n, seconds = k, (a.sum[i]+a.sum[i+1])/float64(k)
		}
	}
	if n < 5 || 10*n < 6*a.count {
		return 0, 0
	}
	return seconds, n
}

// durationForms are the places where logs write how long a request or a
// connection lasted, with the unit of the number.
var durationForms = []struct {
	form *regexp.Regexp
	unit float64 // seconds
}{
	{regexp.MustCompile(` -?\d+/-?\d+/(?:-?\d+/-?\d+/)?\+?(\d+) (?:-?\d{1,3} )?\+?\d+ \S* ?(?:- - )?[a-zA-Z-]{2,4} \d+/`), 0.001},              // HAProxy, tcp and http
	{regexp.MustCompile(`"?(?:upstream_response_time|request_time|rt|urt)"?[=:] ?"?(\d+\.\d+)`), 1},                                            // nginx
	{regexp.MustCompile(`"(?:session_duration|duration_ms|elapsed_ms|latency_ms|responseTime)"[: ]+"?(\d+)`), 0.001},                           // loggers that say milliseconds
	{regexp.MustCompile(`"duration"[: ]+(\d+\.\d+)`), 1},                                                                                       // Caddy
	{regexp.MustCompile(`" \d{3} [A-Z,-]+ (?:\S+ - "[^"]*" )?\d+ \d+ (\d+) `), 0.001},                                                          // Envoy
	{regexp.MustCompile(`(?:after|in|took|elapsed|last-recv|for longer than|have not heard from server in)[: ]+(\d+(?:\.\d+)?) ?ms\b`), 0.001}, // sentences
	{regexp.MustCompile(`(?:after|took|elapsed|idle for|lasted)[: ]+(\d+(?:\.\d+)?) ?s(?:ec\w*)?\b`), 1},
}

// durationIn is how long the request or the connection of a line lasted.
func durationIn(line string) (seconds float64, ok bool) {
	for i := range durationForms {
		d := &durationForms[i]
		if m := d.form.FindStringSubmatch(line); m != nil {
			x, err := strconv.ParseFloat(m[1], 64)
			return x * d.unit, err == nil
		}
	}
	return 0, false
}

// measure takes what a line says of durations, and how long after the line
// before it came.
func (s *readingStory) measure(line string, at time.Time, timed bool) {
	if x, ok := durationIn(line); ok {
		s.ages.add(x)
	}
	if !timed {
		return
	}
	if !s.before.IsZero() {
		s.gaps.add(at.Sub(s.before).Seconds())
	}
	s.before = at
}

// timerSeen names the duration that most lines of a story have: nothing but a
// timer makes them equal.
func (s *readingStory) timerSeen() string {
	x, n := s.ages.equal()
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("%d of %d lasted %s s: equal times are a timer", n, s.ages.count, seconds(x))
	if list := timersNear(x, s.Reading.Software, s.Reading.Event); len(list) > 0 {
		text += ", such as " + strings.Join(list, "; ")
	}
	return text
}

// rhythm tells of lines that come at equal distances: jobs and checks do, users
// do not.
func (s *readingStory) rhythm() string {
	x, n := s.gaps.equal()
	if n == 0 || x < 2 {
		return ""
	}
	return fmt.Sprintf("one each %s s: a check or a job that repeats, or a client that tries again", seconds(x))
}

func seconds(x float64) string {
	return strconv.FormatFloat(math.Round(10*x)/10, 'f', -1, 64)
}

// timers is the embedded table, which is checked by its own tests.
var timers = sync.OnceValue(func() []knowledge.Timer {
	list, err := knowledge.Timers()
	if err != nil {
		return nil
	}
	return list
})

// timersNear are the timers of products that have this value: those of the
// speaking software, and of them deadlines first when an answer was late; at most
// three.
func timersNear(x float64, software, event string) []string {
	list := slices.Clone(timers())
	slices.SortStableFunc(list, func(a, b knowledge.Timer) int {
		late := func(t *knowledge.Timer) bool { return (t.Meaning == "deadline") == (event == "timeout") }
		return map[bool]int{true: -1}[late(&a)] - map[bool]int{true: -1}[late(&b)]
	})
	var own, others []string
	at := strconv.FormatFloat(x, 'f', 3, 64)
	for i := range list {
		t := &list[i]
		if t.How == "known" || !fitsTimer(t, at) {
			continue
		}
		name := t.Product + " " + t.Key
		switch {
		case slices.Contains(own, name) || slices.Contains(others, name):
		case software != "" && strings.Contains(strings.ToLower(t.Product), strings.ToLower(software)):
			own = append(own, name)
		default:
			others = append(others, name)
		}
	}
	if len(own) > 0 {
		others = nil
	}
	return append(own, others...)[:min(3, len(own)+len(others))]
}

// span is the whole of a file, to tell what share of it a story is.
type span struct {
	lines       int
	first, last time.Time
}

// share tells how much of a file a story is, and since when.
func (s *readingStory) share() string {
	f := s.file
	if f == nil || f.lines < 10*fewLines || s.Where.File == "" {
		return ""
	}
	text := fmt.Sprintf("%s of the %d lines", percent(s.Where.Count, f.lines), f.lines)
	if late := s.pace.first.Sub(f.first); !f.first.IsZero() && s.pace.timed > 0 && late > time.Minute && 10*late > f.last.Sub(f.first) {
		text += fmt.Sprintf("; none in the first %s of the file: what changed at %s?", late.Round(time.Second), s.pace.first.Format("2006-01-02 15:04:05"))
	}
	if still := f.last.Sub(s.pace.last); !f.last.IsZero() && s.pace.timed > 0 && still > time.Minute && 10*still > f.last.Sub(f.first) {
		text += fmt.Sprintf("; none in its last %s", still.Round(time.Second))
	}
	return text
}

func percent(n, of int) string {
	return strconv.FormatFloat(100*float64(n)/float64(of), 'g', 2, 64) + " %"
}

// peers counts the other ends of a story, in bounded memory.
type peers struct {
	seen    map[string]int
	count   int
	refused bool // more than maxPeers
}

const maxPeers = 500

func (p *peers) add(peer string) {
	if peer == "" {
		return
	}
	if p.seen == nil {
		p.seen = map[string]int{}
	}
	p.count++
	if host := hostOf(peer); p.seen[host] > 0 || len(p.seen) < maxPeers {
		p.seen[host]++
	} else {
		p.refused = true
	}
}

// one is the peer of a story that has one, empty for several.
func (p *peers) one(first string) string {
	if len(p.seen) > 1 {
		return ""
	}
	return first
}

// text tells of several peers, and whether one stands out.
func (p *peers) text() string {
	if len(p.seen) < 2 {
		return ""
	}
	most := ""
	for host, n := range p.seen {
		if m := p.seen[most]; n > m || n == m && host < most {
			most = host
		}
	}
	return fmt.Sprintf("%s%d addresses; most often %s, %s", map[bool]string{true: "more than "}[p.refused], len(p.seen), most, percent(p.seen[most], p.count))
}
