package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/daemon"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// watchFlags are the flags of holdfast watch.
type watchFlags struct {
	filter
	all, details, why, facts, stacks, demo, noFold, light, noPayload bool
	source, wire                                                     string
	knowledge                                                        []string
	duration                                                         time.Duration
}

var sources = []string{"auto", "kernel", "packet", "counters"}

func (o *options) watchCommand() *cobra.Command {
	w := &watchFlags{}
	c := &cobra.Command{
		Use:   "watch",
		Short: "Show every reset, refusal and timeout on this host as it happens, and why",
		Long: `watch observes every network namespace of this host from inside the kernel and
prints a line for each TCP reset, refused or timed-out connection: when, who
sent it, whom it hit, why, how sure that is, and what it cost. Repeats are
folded into one line with a count. It changes nothing on the host.

Harmless resets and consequences of others are counted and hidden; --all shows
them. Ctrl-C ends it with a summary. It needs root, or CAP_BPF, CAP_PERFMON,
CAP_NET_ADMIN and, where kernel symbols are hidden, CAP_SYSLOG; with less it
sees less and says so.`,
		Example: `  sudo holdfast watch
  sudo holdfast watch --demo
  sudo holdfast watch --port 5432 --details
  sudo holdfast watch -o ndjson --only-harmful | jq .cause.id`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.watch(c.Context(), w) },
	}
	fs := c.Flags()
	w.flags(fs)
	fs.BoolVarP(&w.all, "all", "a", false, "show harmless ones and consequences too, dimmed")
	fs.BoolVarP(&w.details, "details", "d", false, "show proof, effect, fixes, alternatives and missing facts below each line")
	fs.BoolVar(&w.why, "why", false, "show the arithmetic of each verdict")
	fs.BoolVar(&w.facts, "facts", false, "add every observed fact to JSON and YAML")
	fs.BoolVar(&w.stacks, "stacks", false, "record the kernel and user stack of whoever closed")
	fs.StringVar(&w.wire, "wire", "auto", "the wire witness, which sees resets that no socket sent: always, never, or auto (from the first sign of one)")
	fs.Lookup("wire").NoOptDefVal = "always"
	fs.BoolVar(&w.noPayload, "no-payload", false, "never look at the data of connections, not even at the first bytes that tell TLS from HTTP")
	fs.BoolVar(&w.demo, "demo", false, "make a dozen different resets in private namespaces while watching, then stop")
	fs.BoolVar(&w.noFold, "no-fold", false, "print repeats as lines of their own")
	fs.StringVar(&w.source, "source", "auto", "where to look: auto, kernel, packet or counters")
	fs.BoolVar(&w.light, "light", false, "let the packet source look at SYN, FIN and RST alone: cheaper, at once, and with few verdicts")
	fs.StringSliceVar(&w.knowledge, "knowledge", nil, "directory with causes of your own (default "+userKnowledge+" if it exists)")
	fs.DurationVar(&w.duration, "for", 0, "stop after this time, such as 30s")
	return c
}

func (w *watchFlags) check() error {
	if !slices.Contains(sources, w.source) {
		return usageError("--source auto, kernel, packet or counters", "unknown source %q", w.source)
	}
	if w.wire == "true" || w.wire == "false" {
		w.wire = map[string]string{"true": "always", "false": "never"}[w.wire]
	}
	if !slices.Contains([]string{"auto", "always", "never"}, w.wire) {
		return usageError("--wire auto, always or never", "unknown --wire %q", w.wire)
	}
	if w.light && w.source != "packet" && w.source != "auto" {
		return usageError("holdfast watch --source packet --light", "--light is for --source packet")
	}
	if w.duration < 0 {
		return usageError("--for 30s", "--for %s is negative", w.duration)
	}
	return w.filter.check()
}

func (o *options) watch(ctx context.Context, w *watchFlags) error {
	if err := w.check(); err != nil {
		return err
	}
	if w.demo {
		if err := canDemo(); err != nil {
			return err
		}
		w.all = true // what survives is part of the show
	}
	base, err := o.loadBase(w.knowledge)
	if err != nil {
		return err
	}
	if err := w.checkCauses(base); err != nil {
		return err
	}
	s := newScreen(o, w)
	watcher, err := daemon.Open(daemon.Config{Lost: s.lost, Source: w.source, Stacks: w.stacks, Wire: w.wire != "never", Demand: w.wire == "auto" && !w.demo, Light: w.light, NoPayload: w.noPayload, Knowledge: base, Why: w.why, Facts: true})
	if err != nil {
		return err
	}
	s.start(watcher.Coverage())
	s.noteAbsent()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.duration)
		defer cancel()
	}
	var demo sync.WaitGroup
	var demoErr error
	if w.demo {
		demo.Go(func() { demoErr = o.demo(ctx, s); cancel() })
	}
	demo.Go(func() { s.ticks(ctx) })
	err = watcher.Run(ctx, s.emit)
	cancel()
	demo.Wait()
	s.finish(watcher)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return demoErr
}

// screen receives findings while watch runs.
type screen struct {
	o     *options
	w     *watchFlags
	begun time.Time

	mu    sync.Mutex // guards what follows
	p     *printer
	count *tally
	taps  []func(fact.Finding) // who else wants each finding
	err   error                // of the first failed write
}

func newScreen(o *options, w *watchFlags) *screen {
	p := o.newPrinter()
	p.details, p.why, p.fold = w.details, w.why, !w.noFold
	return &screen{o: o, w: w, begun: time.Now(), p: p, count: newTally()}
}

// start says what is watched, how, and what cannot be seen.
func (s *screen) start(c daemon.Coverage) {
	st := s.o.style()
	what := "every network namespace of this host"
	if c.Tier == "counters" {
		what = "what counters and the socket list of this network namespace show"
	}
	if f := s.w.String(); f != "" {
		what += ", showing only " + report.Clean(f)
	}
	s.o.notef("%s %s; source %s, ready in %s\n", st.Bold("holdfast watches"), what, report.Clean(c.Tier), round(c.ReadyIn))
	for _, b := range c.Blind {
		s.o.notef("  not seen: %s\n", report.Clean(b))
	}
	if s.w.details {
		for _, r := range c.Refused {
			s.o.notef("  refused: %s\n", report.Clean(r))
		}
	}
	if !s.w.demo && s.w.duration == 0 {
		s.o.notef("  %s\n", st.Dim("Ctrl-C ends with a summary"))
	}
	if h := s.p.st.Header(); s.o.output == "text" && h != "" {
		s.o.printf("\n%s\n", h)
	}
}

// noteAbsent says which processes of the filter do not exist now.
func (s *screen) noteAbsent() {
	for _, pid := range s.w.pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
			s.o.notef("  no process %d now: nothing will be shown unless one gets that number\n", pid)
		}
	}
	for _, g := range s.w.cgroups {
		if !strings.HasSuffix(g, ".service") && !strings.HasSuffix(g, ".scope") && !strings.HasSuffix(g, ".slice") {
			if _, err := os.Stat("/sys/fs/cgroup/" + strings.Trim(g, "/")); errors.Is(err, os.ErrNotExist) {
				s.o.notef("  no cgroup %s now\n", report.Clean(g))
			}
		}
	}
}

// emit takes one finding from the watcher.
func (s *screen) emit(f fact.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tap := range s.taps {
		tap(f)
	}
	if !s.w.match(&f) {
		s.count.filtered += max(f.Count, 1)
		return
	}
	s.count.add(&f)
	if s.o.output != "text" {
		s.write(f)
		return
	}
	if !s.w.all && (!f.Harmful || f.Story != "") {
		s.count.hidden += max(f.Count, 1)
		return
	}
	s.p.print(&f, time.Now())
}

// write prints a finding for programs; json on a stream is one document for
// each finding.
func (s *screen) write(f fact.Finding) {
	if !s.w.facts {
		f.Case = nil
	}
	if err := single(s.o, f); err != nil && s.err == nil {
		s.err = err
	}
}

// loss is the line of a stream of findings that says from when to when some are
// missing.
type loss struct {
	Schema string    `json:"schema"`
	Kind   string    `json:"kind"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Lost   uint64    `json:"lost"`   // records of which nothing more is known
	Folded uint64    `json:"folded"` // records that were counted by class
}

// lost says so as soon as records were lost, among the findings.
func (s *screen) lost(l trace.Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.output != "text" {
		if err := single(s.o, loss{fact.Schema, "loss", l.From, l.To, l.Lost, l.Folded}); err != nil && s.err == nil {
			s.err = err
		}
		return
	}
	if l.Lost > 0 {
		s.p.note("%s: %d records of resets were lost, so that findings are missing", l.To.Format("15:04:05"), l.Lost)
	}
	if l.Folded > 0 {
		s.p.note("%s: %d more were counted instead of explained one by one", l.To.Format("15:04:05"), l.Folded)
	}
}

// tap calls fn with every finding from now on.
func (s *screen) tap(fn func(fact.Finding)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps = append(s.taps, fn)
}

// note writes a line for people between the findings.
func (s *screen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p.note(format, args...)
}

// ticks keeps the counts on the screen fresh until ctx ends.
func (s *screen) ticks(ctx context.Context) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.mu.Lock()
			s.p.tick(now)
			s.mu.Unlock()
		}
	}
}

// finish prints the summary.
func (s *screen) finish(w *daemon.Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p.close()
	st := s.o.style()
	watched := time.Since(s.begun)
	s.count.write(s.o.env.err, st, watched)
	stats := w.Stats()
	writeStats(s.o.env.err, st, stats)
	if s.w.details {
		writeEachLedger(s.o.env.err, stats.Ledgers)
	}
	if watched > time.Minute { // the start line has scrolled away
		writeBlind(s.o.env.err, w.Coverage())
	}
}

// plural writes a count with its noun, which is given in the plural.
func plural(n int, nouns string) string {
	if n == 1 {
		return "1 " + strings.TrimSuffix(nouns, "s")
	}
	return fmt.Sprintf("%d %s", n, nouns)
}
