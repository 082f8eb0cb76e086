package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/daemon"
	"github.com/holdfast-project/holdfast/internal/lab/storm"
)

// stormFlags are the flags of holdfast lab storm.
type stormFlags struct {
	storm.Options
	source  string
	verbose bool
	wire    string
}

func (o *options) labStormCommand() *cobra.Command {
	w := &stormFlags{}
	c := &cobra.Command{
		Use:   "storm",
		Short: "End thousands of connections at random, and compare the verdicts with an account of their own",
		Long: `storm lets many processes end many connections at once, in private network
namespaces with equal addresses: by close, by signals, by exits, from threads,
through passed descriptors and rings, with forged packets between. Its account
of who did what, and its witnesses on the wire, share nothing with the rules that
judge. It fails when anything wrong was called proved, when more than one reset
in 200 is missing, or when the owner of more than one in 200 is wrong.`,
		Example: "  sudo holdfast lab storm --endings 2000 --seed 1 --load 12\n  sudo holdfast lab storm --only forged-and-abort --endings 20 --verbose",
		Args:    usage(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return o.storm(c.Context(), w) },
	}
	fs := c.Flags()
	fs.IntVar(&w.Terminations, "endings", 500, "how many connections end")
	fs.Uint64Var(&w.Seed, "seed", 1, "what is chosen, and in which order")
	fs.IntVar(&w.Parallel, "parallel", 16, "how many at once")
	fs.IntVar(&w.Load, "load", 0, "busy loops beside them")
	fs.StringSliceVar(&w.Only, "only", nil, "classes of endings to choose from")
	fs.StringVar(&w.source, "source", "auto", "where to look: auto, kernel, packet or counters")
	fs.StringVar(&w.wire, "wire", "auto", "the wire witness: always, never or auto")
	fs.BoolVar(&w.verbose, "verbose", false, "print every order to an actor, with its answer")
	return c
}

func (o *options) storm(ctx context.Context, w *stormFlags) error {
	if w.Terminations < 1 || w.Parallel < 1 || w.Load < 0 {
		return usageError("holdfast lab storm --endings 500 --parallel 16 --load 0", "a storm needs endings")
	}
	if w.verbose {
		w.Logf = func(format string, args ...any) { o.notef(format+"\n", args...) }
	}
	base, err := o.loadBase(nil)
	if err != nil {
		return err
	}
	watcher, err := daemon.Open(daemon.Config{Source: w.source, Wire: w.wire != "never", Demand: w.wire == "auto", Knowledge: base, Facts: true})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var found []storm.Found
	watching, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- watcher.Run(watching, func(f fact.Finding) {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, foundOf(&f))
		})
	}()
	list, err := storm.Run(ctx, w.Options)
	if err == nil {
		settleStorm(ctx, func() int { mu.Lock(); defer mu.Unlock(); return len(found) })
	}
	stop()
	err = errors.Join(err, <-ended)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	r := storm.Score(list, found)
	if err := o.stormReport(r); err != nil {
		return err
	}
	writeStats(o.env.err, o.style(), watcher.Stats())
	return stormVerdict(r)
}

// settleStorm waits until no more findings come.
func settleStorm(ctx context.Context, n func() int) {
	for before := -1; n() != before; {
		before = n()
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// foundOf tells a finding in the terms of the ledger.
func foundOf(f *fact.Finding) storm.Found {
	x := storm.Found{Role: f.Sender.Role, SenderGrade: string(f.Sender.Grade), Cause: f.Cause.ID, Grade: string(f.Cause.Grade), Count: f.Count, Harmful: f.Harmful,
		From: f.Flow.Client, To: f.Flow.Server, AtNS: f.Time.UnixNano()}
	if f.Sender.Process != nil {
		x.PID = int(f.Sender.Process.PID)
	}
	if f.Case == nil {
		return x
	}
	x.Netns = f.Case.Flow.Netns
	x.Reset = f.Case.RST.Seen.Or(false)
	if f.Case.Sender.Role.Or("") == "server" {
		x.From, x.To = x.To, x.From
	}
	return x
}

func (o *options) stormReport(r *storm.Report) error {
	if o.output != "text" {
		return single(o, r)
	}
	var names []string
	for name := range r.Classes {
		names = append(names, name)
	}
	slices.Sort(names)
	o.printf("%s  %8s %7s %7s %8s %7s %7s %7s %6s\n", padTo("CLASS", 24), "ENDINGS", "RESETS", "MISSING", "WRONG", "SENDER", "OWNER", "CAUSE", "NOISE")
	for _, name := range names {
		t := r.Classes[name]
		o.printf("%s  %8d %7d %7d %8d %7d %7d %7d %6d\n", padTo(name, 24), t.Terminations, t.Resets, t.Missing, t.Wrong, t.Sender, t.Owner, t.Cause, t.Noise)
	}
	o.printf("\n%d endings (%d failed), %d resets: %d missing, %d wrong proved, sender right %d, owner right %d of %d, cause right %d, noise %d, extra %d\n",
		r.Terminations, r.Failed, r.Resets, r.Missing, r.Wrong, r.Sender, r.Owner, r.Owned, r.Cause, r.Noise, r.Extra)
	for _, s := range r.Samples {
		o.notef("%s\n", strings.ToValidUTF8(s, "?"))
	}
	return nil
}

// stormVerdict is the error when the storm was not withstood.
func stormVerdict(r *storm.Report) error {
	var faults []string
	if r.Wrong > 0 {
		faults = append(faults, fmt.Sprintf("%d wrong proved", r.Wrong))
	}
	if r.Missing*200 > r.Resets {
		faults = append(faults, fmt.Sprintf("%d of %d missing", r.Missing, r.Resets))
	}
	if (r.Owned-r.Owner)*200 > r.Owned {
		faults = append(faults, fmt.Sprintf("%d of %d owners wrong", r.Owned-r.Owner, r.Owned))
	}
	if r.Noise > 0 {
		faults = append(faults, fmt.Sprintf("%d false alarms", r.Noise))
	}
	if r.Failed*20 > r.Terminations {
		faults = append(faults, fmt.Sprintf("%d endings failed", r.Failed))
	}
	if len(faults) > 0 {
		return errors.New("the storm was not withstood: " + strings.Join(faults, ", "))
	}
	return nil
}
