package cli

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/lab"
)

// labTruth is the truth of a scenario in the output of holdfast lab run.
type labTruth struct {
	Sender string   `json:"sender"`
	Cause  string   `json:"cause"`
	Also   []string `json:"also,omitempty"` // causes of legitimate secondary resets on the same connections
}

// labResult is what holdfast lab run says about one scenario.
type labResult struct {
	Scenario    string        `json:"scenario"`
	Source      string        `json:"source"`
	Truth       labTruth      `json:"truth"`
	Finding     *fact.Finding `json:"finding"` // null: nothing was reported
	Right       bool          `json:"right"`   // sender and cause are those of the truth
	WrongProved bool          `json:"wrong_proved"`
	VerdictMS   float64       `json:"verdict_ms"` // from the event to its finding
	Others      int           `json:"others"`     // further findings on the same connections
	Error       string        `json:"error,omitempty"`
	Skipped     string        `json:"skipped,omitempty"`

	Recording *lab.Recording `json:"recording,omitempty"` // of its packets, with --pcap

	seen []sighting // every finding on these connections, the chosen one included
}

// sighting is a finding and when it was handed out.
type sighting struct {
	f  fact.Finding
	at time.Time
}

const (
	clockSlack  = 10 * time.Millisecond // an event may be stamped this much before Result.At
	verdictWait = 2 * time.Second       // a finding may come this late
	packetWait  = 5 * time.Second       // and this late from the packet source, which waits itself
	verdictSoon = time.Second           // while the scenario's rules and namespaces still stand
	settle      = 200 * time.Millisecond
)

// collector keeps the findings of the scenario that runs. Findings of earlier
// scenarios that come late are still judged.
type collector struct {
	tier string // of the watcher: kernel, packet or counters

	mu      sync.Mutex // guards what follows
	list    []sighting
	past    []*judged
	changed chan struct{} // closed and replaced when list grows
}

// judged is a scenario whose result was handed out; wrong says that something
// wrong was called proved after that.
type judged struct {
	res   lab.Result
	out   *labResult
	wrong bool
}

// newCollector collects the findings of one tier.
func newCollector(tier string) *collector {
	return &collector{tier: tier, changed: make(chan struct{})}
}

// add takes a finding from the watcher.
func (c *collector) add(f fact.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.past {
		if onFlows(&f, j.res) && wrongProved(&f, j.out.Truth) {
			j.wrong = true
		}
	}
	c.list = append(c.list, sighting{f, time.Now()})
	close(c.changed)
	c.changed = make(chan struct{})
}

// reset forgets what was collected, before a scenario starts.
func (c *collector) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = nil
}

func (c *collector) matching(res lab.Result) (list []sighting, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.list {
		if onFlows(&s.f, res) {
			list = append(list, s)
		}
	}
	return list, c.changed
}

// judge waits for the finding of a scenario that ran, and compares it with the
// truth.
func (c *collector) judge(ctx context.Context, sc lab.Scenario, res lab.Result) *labResult {
	out := newResult(sc)
	out.Source = c.tier
	wait := verdictWait
	if c.tier == "packet" {
		wait = packetWait
	}
	c.await(ctx, wait, res, func(list []sighting) bool { return primary(list, out.Truth, true) != nil })
	c.await(ctx, settle, res, func([]sighting) bool { return false })
	out.seen, _ = c.matching(res)
	if p := primary(out.seen, out.Truth, false); p != nil {
		out.Finding = &p.f
		out.VerdictMS = float64(p.at.Sub(p.f.Time).Microseconds()) / 1000
		out.Others = len(out.seen) - 1
		out.Right = p.f.Sender.Role == out.Truth.Sender && p.f.Cause.ID == out.Truth.Cause
	}
	for _, s := range out.seen {
		out.WrongProved = out.WrongProved || wrongProved(&s.f, out.Truth)
	}
	out.Right = out.Right && !out.WrongProved
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = append(c.past, &judged{res: res, out: out})
	return out
}

// late corrects results by what came after they were handed out, and returns
// the scenarios concerned. Call it when the watcher has ended.
func (c *collector) late() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, j := range c.past {
		if j.wrong && !j.out.WrongProved {
			j.out.WrongProved, j.out.Right = true, false
			list = append(list, j.out.Scenario)
		}
	}
	return list
}

func newResult(sc lab.Scenario) *labResult {
	return &labResult{Scenario: sc.ID, Truth: labTruth{Sender: sc.Truth.Sender, Cause: sc.Truth.Cause, Also: sc.Truth.Also}}
}

// await returns when done holds for the findings on the flows of res, or after
// the limit.
func (c *collector) await(ctx context.Context, limit time.Duration, res lab.Result, done func([]sighting) bool) {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		list, changed := c.matching(res)
		if done(list) {
			return
		}
		select {
		case <-changed:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// primary is the finding that answers for the scenario: the first one that is
// no consequence and, when the truth speaks of a RST, that speaks of one too;
// or, unless strict, the first one at all. Nil when there is none.
func primary(list []sighting, truth labTruth, strict bool) *sighting {
	for i := range list {
		if truth.Sender != fact.Nobody && before(&list[i].f) {
			continue // the silence before the RST
		}
		if !slices.Contains(truth.Also, list[i].f.Cause.ID) && list[i].f.Story == "" {
			return &list[i]
		}
	}
	if strict || len(list) == 0 {
		return nil
	}
	return &list[0]
}

// wrongProved reports whether a finding on the connections of a scenario claims
// to have proved what is not so.
func wrongProved(f *fact.Finding, truth labTruth) bool {
	if before(f) && !f.Harmful {
		return false // a note on an end that hurt nobody
	}
	also := slices.Contains(truth.Also, f.Cause.ID)
	wrongCause := f.Cause.Grade == fact.Proved && f.Cause.ID != truth.Cause && !also
	silence := before(f) && truth.Sender != fact.Nobody && f.Cause.ID == truth.Cause // before a RST of the same cause
	wrongSender := f.Sender.Grade == fact.Proved && f.Sender.Role != truth.Sender && !also && !silence
	return wrongCause || wrongSender
}

// before reports whether a finding speaks of what came before a RST: silence, or
// an end in order.
func before(f *fact.Finding) bool { return f.Sender.Role == fact.Nobody || f.Outcome == "closed" }

// onFlows reports whether a finding speaks of a connection of res, in either
// direction, at or after the decisive moment.
func onFlows(f *fact.Finding, res lab.Result) bool {
	if f.Time.Before(res.At.Add(-clockSlack)) {
		return false
	}
	return slices.ContainsFunc(res.Flows, func(x lab.Flow) bool {
		return sameEnd(f.Flow.Client, x.Client) && sameEnd(f.Flow.Server, x.Server) ||
			sameEnd(f.Flow.Client, x.Server) && sameEnd(f.Flow.Server, x.Client)
	})
}

// sameEnd compares two ends; port 0 in the truth matches any port, and a
// finding about many clients names none.
func sameEnd(got, want netip.AddrPort) bool {
	if got.Addr().IsUnspecified() && got.Port() == 0 {
		return true
	}
	return got.Addr().Unmap() == want.Addr().Unmap() && (want.Port() == 0 || got.Port() == want.Port())
}
