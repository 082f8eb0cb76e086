// Package daemon wires a source, what the host knows about the case, and the
// diagnosis together: cases in, findings out. It prints nothing and decides
// nothing; to see what it did, ask Coverage and Stats.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// Config says what to watch. Knowledge is required.
type Config struct {
	Source    string           // auto, kernel, packet, counters; "" is auto
	Stacks    bool             // take user stacks of the closing call
	Wire      bool             // allow the wire witness
	NoPayload bool             // never look at what connections carry
	Demand    bool             // attach it only after a sign of resets that no socket sent
	Knowledge *diagnosis.Base  // the causes
	Why       bool             // fill Finding.Arithmetic
	Facts     bool             // fill Finding.Case
	Record    func(*fact.Case) // called with each complete case, may be nil
	Lost      func(trace.Loss) // called soon after resets were lost or folded, from the goroutine that emits; may be nil
	Light     bool             // the packet source looks at SYN, FIN and RST alone
	Trace     trace.Config     // further settings of the kernel source, for tests
}

// Coverage says what the chosen tier sees and what it is blind to.
type Coverage struct {
	Tier    string
	Sees    []string
	Blind   []string
	Hooks   []string
	Refused []string // what the kernel refused, with its reason
	ReadyIn time.Duration
}

// Stats accounts for every reset: Seen = Reported + Folded + Lost.
type Stats struct {
	Seen, Reported, Folded, Lost uint64
	Cases                        uint64 // findings made from the reported records
	Evicted                      uint64 // cases closed early because too many were open
	Ledgers                      []Ledger
	Floods                       []trace.Flood
	Segments                     *Segments // nil unless connections are followed
}

// Segments accounts for the captures in which the packet source follows
// connections. What is lost there costs verdicts, not resets.
type Segments struct {
	Spaces, Refused int64 // network namespaces whose capture has ended, and those beyond the limit
	Packets, Lost   int64 // frames read in captures that have ended, and those that did not fit a ring
	Overrun         int64 // ends of connections that were not looked at: too many at once, or packets were lost meanwhile
}

// Ledger reconciles one namespace: what the kernel's OutRsts counter says, what
// the stack reported, and what the wire carried.
type Ledger struct {
	Netns        string
	OutRsts      int64 // increase of Tcp OutRsts since the watcher started, -1 when it cannot be read
	StackSent    int64 // tcp_send_reset events
	WireSeen     int64 // RSTs handed to devices
	WireNoSocket int64 // of these, the ones no socket sent: firewall, raw sockets, eBPF
	Forwarded    int64 // of these, the ones that were only passing through
	Remainder    int64 // OutRsts - StackSent: what nobody explains
}

// source is what the daemon needs of a source; the tiers implement it.
type source interface {
	Run(context.Context, func(trace.Observed)) error
	Coverage() trace.Coverage
	Stats() trace.Stats
	Floods() []trace.Flood
	Ledgers() []trace.Ledger
	Space(cookie uint64) (linux.Netns, bool)
	Spaces() []linux.Netns
	Close() error
}

// Watcher is an open source. Run it once.
type Watcher struct {
	cfg    Config
	src    source
	enrich *enricher
	follow *segments // nil unless the packet source follows connections
	ready  time.Duration
	take   func(trace.Observed) // set by Run, for cases of the source's goroutine
	emit   func(fact.Finding)   // set by Run

	mu       sync.Mutex // guards all below
	cases    uint64
	stories  stories
	final    *Stats
	outBegin map[uint64]int64       // OutRsts at the beginning, by namespace cookie
	spaces   map[uint64]linux.Netns // by cookie, as of the latest tick: the source's own are of its goroutine
}

// Open attaches the best source that this host allows, or the one asked for.
// Errors are *trace.AccessError, with a hint, when privileges are missing.
func Open(cfg Config) (*Watcher, error) {
	begin := time.Now()
	if cfg.Knowledge == nil {
		return nil, errors.New("open the watcher: no knowledge base")
	}
	w := &Watcher{cfg: cfg, outBegin: map[uint64]int64{}, stories: stories{told: map[flowKey]lastTold{}}}
	cfg.Trace.Lost = cfg.Lost
	cfg.Trace.Tick = func() {
		w.learn()
		for _, o := range w.enrich.step() {
			w.take(o)
		}
	}
	cfg.Trace.Blocked = func(netns uint64) { w.enrich.look(netns) }
	src, err := w.openSource(cfg)
	if err != nil {
		return nil, err
	}
	w.src, w.enrich = src, newEnricher(src)
	for _, ns := range src.Spaces() {
		if n, ok := outRsts(w.enrich.host, ns); ok {
			w.outBegin[ns.Cookie] = n
		}
	}
	w.learn()
	w.ready = time.Since(begin)
	return w, nil
}

// learn takes the namespaces that the source knows over for Stats. It runs in
// the source's goroutine.
func (w *Watcher) learn() {
	list := w.src.Spaces()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spaces == nil || len(w.spaces) > 2*maxSpaces {
		w.spaces = map[uint64]linux.Netns{}
	}
	for _, ns := range list {
		w.spaces[ns.Cookie] = ns
	}
}

// openSource opens the source asked for, or the best that this host allows,
// which then tells why no better one was to be had.
// HOLDFAST_SKIP_PROGRAMS names kernel programs not to try, separated by commas:
// a test of the ladder, not a setting.
func (w *Watcher) openSource(cfg Config) (source, error) {
	tc := cfg.Trace
	tc.Stacks, tc.NoWire, tc.Demand, tc.NoPayload = cfg.Stacks, !cfg.Wire, cfg.Demand, cfg.NoPayload
	if skip := os.Getenv("HOLDFAST_SKIP_PROGRAMS"); skip != "" {
		tc.Skip = append(slices.Clone(tc.Skip), strings.Split(skip, ",")...)
	}
	type refuser interface {
		source
		Refuse(error)
	}
	tiers := []struct {
		name string
		open func() (source, error)
	}{
		{"kernel", func() (source, error) { return trace.Open(tc) }},
		{"packet", func() (source, error) { return w.openPacket(tc) }},
		{"counters", func() (source, error) { return trace.OpenCounters(tc) }},
	}
	auto := cfg.Source == "" || cfg.Source == "auto"
	var refused []error
	for _, t := range tiers {
		if !auto && t.name != cfg.Source {
			continue
		}
		src, err := t.open()
		if err != nil {
			refused = append(refused, err)
			continue
		}
		if r, ok := src.(refuser); ok {
			for _, err := range refused {
				r.Refuse(err)
			}
		}
		return src, nil
	}
	if len(refused) == 0 {
		return nil, fmt.Errorf("unknown source %q: auto, kernel, packet or counters", cfg.Source)
	}
	return nil, refused[len(refused)-1]
}

// openPacket opens the packet source, and follows the connections of whatever it
// watches.
func (w *Watcher) openPacket(tc trace.Config) (source, error) {
	if w.cfg.Light {
		return trace.OpenPacket(tc)
	}
	f := newSegments()
	tc.Entered, tc.Left = f.enter, f.leave
	src, err := trace.OpenPacket(tc)
	if err != nil {
		f.close()
		return nil, err
	}
	w.follow = f
	return src, nil
}

// Run watches until ctx is done and calls emit for each finding, from one
// goroutine. It closes the source before it returns.
func (w *Watcher) Run(ctx context.Context, emit func(fact.Finding)) error {
	w.emit, w.take = emit, w.handle
	var err error
	if w.follow == nil {
		err = w.src.Run(ctx, w.take)
	} else {
		err = w.runFollowing(ctx)
	}
	w.learn()
	final := w.Stats()
	w.mu.Lock()
	w.final = &final
	w.mu.Unlock()
	w.enrich.kernel.Close()
	return errors.Join(err, w.src.Close())
}

// runFollowing is Run with what the segments between say: each case waits for it.
func (w *Watcher) runFollowing(ctx context.Context) error {
	name, _ := w.enrich.host.Hostname()
	m := newMerger(name, w.explain, func() { w.follow.overrun.Add(1) })
	cases, ended := make(chan trace.Observed, 64), make(chan error, 1)
	w.take = func(o trace.Observed) {
		w.enrich.enrich(o) // while counters and rules are fresh; in the source's goroutine, as it wants it
		cases <- o
	}
	go func() {
		err := w.src.Run(ctx, w.take)
		close(cases)
		w.follow.close()
		ended <- err
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	out := w.follow.out
	for cases != nil || out != nil {
		select {
		case o, ok := <-cases:
			if !ok {
				cases = nil
				continue
			}
			m.hold(o, time.Now())
		case x, ok := <-out:
			if !ok {
				out = nil
				continue
			}
			m.add(x)
		case now := <-tick.C:
			m.expire(now)
		}
	}
	m.expire(time.Now().Add(2 * heldFor))
	return <-ended
}

func (w *Watcher) handle(o trace.Observed) {
	w.enrich.enrich(o)
	w.explain(o)
}

// explain makes the finding of a case that is complete.
func (w *Watcher) explain(o trace.Observed) {
	if w.cfg.Record != nil {
		w.cfg.Record(o.Case)
	}
	f := w.cfg.Knowledge.Explain(o.Case, diagnosis.Options{Why: w.cfg.Why, Facts: w.cfg.Facts})
	if o.Repeats > 0 {
		f.Count = int(o.Repeats) + 1
	}
	w.mu.Lock()
	w.cases++
	f.Story = w.stories.of(&f, o.Case.Flow.Netns)
	w.mu.Unlock()
	w.emit(f)
}

// Coverage says what is attached.
func (w *Watcher) Coverage() Coverage {
	c := w.src.Coverage()
	if w.follow != nil {
		w.follow.coverage(&c)
	}
	return Coverage{Tier: c.Tier, Sees: c.Sees, Blind: c.Blind, Hooks: c.Hooks, Refused: c.Failures, ReadyIn: w.ready}
}

// Stats returns the account so far; after Run, the final one.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.final != nil {
		return *w.final
	}
	s := w.src.Stats()
	out := Stats{Seen: s.Seen, Reported: s.Reported, Folded: s.Folded, Lost: s.Lost, Evicted: s.Evicted, Cases: w.cases, Floods: w.src.Floods()}
	if w.follow != nil {
		out.Segments = w.follow.account()
	}
	for _, l := range w.src.Ledgers() {
		out.Ledgers = append(out.Ledgers, w.lockedLedger(l))
	}
	return out
}

func (w *Watcher) lockedLedger(l trace.Ledger) Ledger {
	out := Ledger{Netns: fmt.Sprint(l.Netns), OutRsts: -1, StackSent: int64(l.StackSent)}
	for origin, n := range l.Wire {
		out.WireSeen += int64(n)
		switch origin {
		case "tcp-active", "tcp-reply":
		case "forwarded":
			out.Forwarded += int64(n)
		default:
			out.WireNoSocket += int64(n)
		}
	}
	if ns, ok := w.spaces[l.Netns]; ok && w.enrich.host.Alive(ns) {
		if ns.Name != "" {
			out.Netns = ns.Name
		}
		if n, ok := outRsts(w.enrich.host, ns); ok {
			out.OutRsts = n - w.outBegin[l.Netns]
			out.Remainder = out.OutRsts - out.StackSent
		}
	}
	return out
}

func outRsts(h *linux.Host, ns linux.Netns) (int64, bool) {
	c, err := h.Counters(ns)
	if err != nil {
		return 0, false
	}
	return c.Get(linux.TCPOutRsts)
}
