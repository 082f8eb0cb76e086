// Package audit judges the document of a host: what is set so that connections
// break, with the evidence, what it should be for this load, and the exact change.
// It reads nothing itself. A check is a row of checks.yaml (what, why, source) and a
// predicate over the document; what a check could not look at is said, and is never
// an advice.
package audit

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/chain"
	"github.com/holdfast-project/holdfast/internal/conf"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
)

// Schema is the version of the output.
const Schema = "holdfast-check/1"

// How bad an advice is. Severity is harm that was observed.
const (
	Harm   = "harm"   // it breaks connections now: a counter moved, or findings of its causes exist
	Near   = "near"   // a limit is nearly reached, or a race is possible on traffic that exists
	Latent = "latent" // it would matter under other load
)

var severities = []string{Harm, Near, Latent}

// Check is a row of checks.yaml.
type Check struct {
	ID       string   `json:"id"`
	Group    string   `json:"group"`
	Title    string   `json:"title"`
	Why      string   `json:"why"`      // what happens, measured where that is said
	Prevents []string `json:"prevents"` // causes
	Risk     string   `json:"risk"`
	Source   string   `json:"source"`
}

// Evidence is a value that decided.
type Evidence struct {
	What  string `json:"what"`
	Value string `json:"value"`
	From  string `json:"from,omitempty"` // since boot, in 5 s, now, a file
}

// Advice is what a check says of one subject.
type Advice struct {
	ID       string     `json:"id"`
	Subject  string     `json:"subject"`
	Severity string     `json:"severity"`
	Is       string     `json:"is"`
	Want     string     `json:"want"`
	Why      string     `json:"why"`
	Evidence []Evidence `json:"evidence"`
	Prevents []string   `json:"prevents"`
	Findings int        `json:"findings,omitempty"` // of these causes, in what was given
	Fix      fact.Fix   `json:"fix"`
	Or       []string   `json:"or,omitempty"` // other ways
	Risk     string     `json:"risk,omitempty"`
	Source   string     `json:"source"`

	Actions []Action `json:"-"` // of the fix, when Holdfast can make it
}

// Action is a change that Holdfast can make itself.
type Action struct {
	Kind      string // sysctl, edit
	Namespace string // of a sysctl
	Key       string
	Value     string
	Old       string
	Service   string // of an edit
	Edit      conf.Edit
}

// Result is an audit.
type Result struct {
	Schema     string           `json:"schema"`
	Host       string           `json:"host"`
	Advices    []Advice         `json:"advices"`
	NotLooked  []hostdoc.Unseen `json:"not_looked"`
	Suppressed []Suppression    `json:"suppressed,omitempty"`
	Chains     []chain.Link     `json:"chains"`
}

// Options of an audit.
type Options struct {
	Findings map[string]int // how many findings of each cause were seen on this host
	Suppress []Suppression
	Only     []string // ids or groups; empty: all
	Now      time.Time
}

//go:embed checks.yaml
var checksYAML []byte

var checks = mustLoad()

func mustLoad() (list []Check) {
	if err := yaml.UnmarshalWithOptions(checksYAML, &list, yaml.Strict()); err != nil {
		panic(err)
	}
	return list
}

// Checks are all checks, in the order of the table.
func Checks() []Check { return checks }

// Find returns a check by its id.
func Find(id string) (Check, bool) {
	i := slices.IndexFunc(checks, func(c Check) bool { return c.ID == id })
	if i < 0 {
		return Check{}, false
	}
	return checks[i], true
}

// looker is one audit while it looks.
type looker struct {
	h     *hostdoc.Host
	links []chain.Link
	opt   Options
	out   *Result
	check Check // whose predicate runs
}

// Run audits a document.
func Run(h *hostdoc.Host, opt Options) *Result {
	l := &looker{h: h, opt: opt, links: chain.Of(h), out: &Result{Schema: Schema, Host: h.Name, Advices: []Advice{}, NotLooked: slices.Clone(h.CouldNotSee)}}
	l.out.Chains = l.links
	for _, c := range checks {
		if len(opt.Only) > 0 && !slices.Contains(opt.Only, c.ID) && !slices.Contains(opt.Only, c.Group) {
			continue
		}
		l.check = c
		predicates[c.ID](l)
	}
	slices.SortStableFunc(l.out.Advices, func(a, b Advice) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	return l.out
}

// add writes down an advice of the check that runs.
func (l *looker) add(a Advice) {
	a.ID, a.Prevents, a.Source = l.check.ID, l.check.Prevents, l.check.Source
	a.Risk = cmp.Or(a.Risk, l.check.Risk)
	a.Why = cmp.Or(a.Why, l.check.Why)
	if a.Evidence == nil {
		a.Evidence = []Evidence{}
	}
	for _, c := range a.Prevents {
		a.Findings += l.opt.Findings[c]
	}
	if a.Findings > 0 {
		a.Severity = Harm
		a.Evidence = append(a.Evidence, Evidence{"findings of the causes it prevents", fmt.Sprint(a.Findings), "given"})
	}
	if a.Fix.Kind == "" {
		a.Fix.Kind = "advise"
	}
	for i := range l.opt.Suppress {
		if s := &l.opt.Suppress[i]; s.hides(&a, l.opt.Now) {
			s.Hidden++
			l.out.Suppressed = append(l.out.Suppressed, *s)
			return
		}
	}
	for i := range l.out.Advices { // one subject, one advice
		if o := &l.out.Advices[i]; o.ID == a.ID && o.Subject == a.Subject && o.Is == a.Is {
			for _, e := range a.Evidence {
				if !slices.Contains(o.Evidence, e) {
					o.Evidence = append(o.Evidence, e)
				}
			}
			return
		}
	}
	l.out.Advices = append(l.out.Advices, a)
}

// sysctl is a fix of one setting of a namespace.
func (l *looker) sysctl(n *hostdoc.Namespace, title, key, value string) (fact.Fix, []Action) {
	old := n.Sysctls[key]
	f := fact.Fix{Title: title, Kind: "sysctl", Commands: []string{write(key, value)}, Undo: []string{write(key, old)}, Verify: []string{"sysctl " + key}}
	if !n.Host {
		f.Title += " (in the namespace " + n.ID + ": a container takes it from its runtime when it starts)"
	}
	return f, []Action{{Kind: "sysctl", Namespace: n.ID, Key: key, Value: value, Old: old}}
}

func write(key, value string) string {
	if strings.Contains(value, " ") {
		value = "'" + value + "'"
	}
	return "sysctl -w " + key + "=" + value
}

// subject names a setting, with its namespace when that is not the host's.
func subject(n *hostdoc.Namespace, what string) string {
	if n.Host {
		return what
	}
	return "netns " + n.ID + ": " + what
}

// Suppression hides an advice, for a reason and until a day.
type Suppression struct {
	ID      string `json:"id"`
	Subject string `json:"subject,omitempty"` // empty: every one
	Reason  string `json:"reason"`
	Until   string `json:"until"` // YYYY-MM-DD
	Hidden  int    `json:"-"`
}

func (s *Suppression) hides(a *Advice, now time.Time) bool {
	if s.ID != a.ID || s.Subject != "" && s.Subject != a.Subject {
		return false
	}
	until, err := time.ParseInLocation(time.DateOnly, s.Until, now.Location())
	return err == nil && now.Before(until.AddDate(0, 0, 1))
}

// ReadSuppressions reads a list of suppressions. Each needs a reason and a day.
func ReadSuppressions(b []byte) (list []Suppression, err error) {
	if err := yaml.UnmarshalWithOptions(b, &list, yaml.Strict()); err != nil {
		return nil, err
	}
	for i, s := range list {
		if _, ok := Find(s.ID); !ok {
			return nil, fmt.Errorf("entry %d: no check %q", i+1, s.ID)
		}
		if strings.TrimSpace(s.Reason) == "" {
			return nil, fmt.Errorf("entry %d (%s) has no reason", i+1, s.ID)
		}
		if _, err := time.Parse(time.DateOnly, s.Until); err != nil {
			return nil, fmt.Errorf("entry %d (%s): until: %q is no day as 2027-01-31", i+1, s.ID, s.Until)
		}
	}
	return list, nil
}
