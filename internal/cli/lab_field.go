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
	"github.com/holdfast-project/holdfast/internal/field"
	"github.com/holdfast-project/holdfast/internal/report"
)

// fieldFlags are the flags of holdfast lab field.
type fieldFlags struct {
	faults, traffic, details bool
	seconds, parallel        int
	source                   string
	knowledge                []string
}

// fieldResult is what holdfast lab field says of one play.
type fieldResult struct {
	Play    string         `json:"play"`
	Title   string         `json:"title"`
	Expert  string         `json:"expert,omitempty"`
	Traffic bool           `json:"traffic,omitempty"` // without a fault: whatever is told is noise
	Verdict field.Verdict  `json:"verdict"`
	Told    []fact.Finding `json:"told"` // as harmful
	Skipped string         `json:"skipped,omitempty"`
	Error   string         `json:"error,omitempty"`

	all []fact.Finding
}

func (o *options) labFieldCommand() *cobra.Command {
	f := &fieldFlags{}
	c := &cobra.Command{
		Use:   "field [ID...]",
		Short: "Play faults of production, and ordinary traffic, on real servers",
		Long: `field plays faults as they happen in production on real servers, each in
namespaces of its own, and compares what watch says with what an expert would
say, which was written before. It also sends ordinary traffic without a fault
through the same servers: whatever is told as harmful there is a false alarm.`,
		Example: "  sudo holdfast lab field\n  sudo holdfast lab field --traffic --seconds 600\n  sudo holdfast lab field n30 --details",
		RunE: func(c *cobra.Command, ids []string) error {
			plays, err := f.choose(ids)
			if err != nil {
				return err
			}
			return o.runField(c.Context(), f, plays)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			all, _ := (&fieldFlags{}).choose(nil)
			var ids []string
			for _, p := range all {
				ids = append(ids, p.ID)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
	}
	fs := c.Flags()
	fs.BoolVar(&f.faults, "faults", false, "only the faults")
	fs.BoolVar(&f.traffic, "traffic", false, "only the ordinary traffic")
	fs.BoolVarP(&f.details, "details", "d", false, "show what was told of every play, not only of those that are not right")
	fs.IntVar(&f.seconds, "seconds", 60, "how long ordinary traffic goes on")
	fs.IntVar(&f.parallel, "parallel", 3, "how many faults at once; traffic runs side by side")
	fs.StringVar(&f.source, "source", "auto", "where to look: auto, kernel, packet or counters")
	fs.StringSliceVar(&f.knowledge, "knowledge", nil, "directory with causes of your own")
	return c
}

// choose returns the plays that the command line names.
func (f *fieldFlags) choose(ids []string) ([]field.Play, error) {
	faults, err := field.Faults()
	if err != nil {
		return nil, err
	}
	traffic, err := field.Traffic()
	if err != nil {
		return nil, err
	}
	var list []field.Play
	if !f.traffic || f.faults {
		list = append(list, faults...)
	}
	if !f.faults || f.traffic {
		list = append(list, traffic...)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(list, func(p field.Play) bool { return p.ID == id }) {
			return nil, &cliError{codeNotFound, fmt.Errorf("no play is called %q", id), "holdfast lab field --help"}
		}
	}
	return slices.DeleteFunc(list, func(p field.Play) bool { return len(ids) > 0 && !slices.Contains(ids, p.ID) }), nil
}

// fieldCollector sorts findings by the network namespace that they happened in.
type fieldCollector struct {
	mu   sync.Mutex // guards what follows
	list map[uint64][]fact.Finding
}

// maxFieldFindings bounds what is kept of one play; a flood is wrong anyway.
const maxFieldFindings = 10000

func (c *fieldCollector) add(f fact.Finding) {
	if f.Case == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.list[f.Case.Flow.Netns]; len(l) < maxFieldFindings {
		c.list[f.Case.Flow.Netns] = append(l, f)
	}
}

func (c *fieldCollector) of(cookie uint64) []fact.Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list[cookie])
}

func (o *options) runField(ctx context.Context, f *fieldFlags, plays []field.Play) error {
	base, err := o.loadBase(f.knowledge)
	if err != nil {
		return err
	}
	watcher, err := daemon.Open(daemon.Config{Source: f.source, Wire: true, Knowledge: base, Facts: true})
	if err != nil {
		return err
	}
	c := &fieldCollector{list: map[uint64][]fact.Finding{}}
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- watcher.Run(watching, c.add) }()
	results := o.playAll(ctx, c, f, plays)
	stop()
	if werr := <-ended; werr != nil && !errors.Is(werr, context.Canceled) {
		return fmt.Errorf("watch: %w", werr)
	}
	return o.fieldVerdict(results)
}

// playAll plays the faults a few at once, and all ordinary traffic side by side.
func (o *options) playAll(ctx context.Context, c *fieldCollector, f *fieldFlags, plays []field.Play) []*fieldResult {
	results := make([]*fieldResult, len(plays))
	var print sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(f.parallel, 1))
	for i := range plays {
		p := &plays[i]
		traffic := p.Expert == ""
		if !traffic {
			slots <- struct{}{}
		} else if i > 0 && plays[i-1].Expert != "" {
			wg.Wait() // faults must not disturb what must stay silent
		}
		wg.Go(func() {
			r := playOne(ctx, c, p, f.seconds)
			if !traffic {
				<-slots
			}
			results[i] = r
			print.Lock()
			defer print.Unlock()
			o.showPlay(r, f.details)
		})
	}
	wg.Wait()
	return results
}

// fieldSettle is how long findings of a play may come after its end.
const fieldSettle = 2500 * time.Millisecond

func playOne(ctx context.Context, c *fieldCollector, p *field.Play, seconds int) *fieldResult {
	r := &fieldResult{Play: p.ID, Title: p.Title, Expert: p.Expert, Traffic: p.Expert == ""}
	if missing := p.Missing(); len(missing) > 0 {
		r.Skipped = "needs " + strings.Join(missing, ", ")
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+2*time.Minute)
	defer cancel()
	run, err := field.Start(ctx, p, seconds)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	<-run.Done()
	if run.Err() != nil {
		r.Error = run.Err().Error()
	} else {
		select {
		case <-time.After(fieldSettle):
		case <-ctx.Done():
		}
	}
	r.all = c.of(run.Cookie)
	if err := run.Close(); err != nil && r.Error == "" {
		r.Error = err.Error()
	}
	r.Verdict = p.Judge(r.all)
	for _, f := range r.all {
		f.Case = nil
		if f.Harmful {
			r.Told = append(r.Told, f)
		}
	}
	for i := range r.Verdict.Others {
		r.Verdict.Others[i].Case = nil
	}
	return r
}

func (o *options) showPlay(r *fieldResult, details bool) {
	if o.output != "text" {
		if err := single(o, r); err != nil {
			o.notef("write result: %v\n", err)
		}
		return
	}
	st := o.style()
	head := padTo(r.Play, 12) + "  " + padTo(r.Title, 76)
	switch {
	case r.Skipped != "":
		o.printf("%s\n", st.Dim(head+"  skipped: "+r.Skipped))
		return
	case r.Error != "":
		o.printf("%s  %s\n", head, st.Bad("failed: "+report.CleanText(r.Error)))
		return
	case r.Verdict.Result == field.Right:
		o.printf("%s  %s\n", head, st.Good(field.Right))
	default:
		o.printf("%s  %s\n", head, st.Bad(fmt.Sprintf("%s, %d wrong proved, %s of noise", r.Verdict.Result, r.Verdict.WrongProved, plural(r.Verdict.Noise, "lines"))))
	}
	if r.Verdict.Result == field.Right && !details {
		return
	}
	if r.Expert != "" {
		o.printf("    expert: %s\n", r.Expert)
	}
	for i := range r.Told {
		o.printf("    told:   %s\n", st.Line(&r.Told[i]))
		if i == 7 && len(r.Told) > 9 {
			o.printf("    and %d more\n", len(r.Told)-8)
			break
		}
	}
}

// fieldVerdict prints the summary and returns the error that sets the exit code.
func (o *options) fieldVerdict(results []*fieldResult) error {
	n := map[string]int{}
	played, allowed, wrong, noise, broken := 0, 0, 0, 0, 0
	for _, r := range results {
		switch {
		case r.Skipped != "":
			n["skipped"]++
			continue
		case r.Error != "":
			broken++
			continue
		case r.Traffic:
			noise += r.Verdict.Noise
			continue
		}
		played++
		n[r.Verdict.Result]++
		wrong += r.Verdict.WrongProved
		if r.Verdict.Allowed {
			allowed++
		}
	}
	o.notef("%s: %d right, %d general, %d silent (%d where silence is no fault), %d wrong; %d wrong proved; %d skipped, %d failed to play\n",
		plural(played, "faults"), n[field.Right], n[field.General], n[field.Silent], allowed, n[field.Wrong], wrong, n["skipped"], broken)
	o.notef("ordinary traffic: %s of noise\n", plural(noise, "lines"))
	if n[field.Silent] > allowed || n[field.Wrong] > 0 || noise > 0 || wrong > 0 || broken > 0 {
		return quiet(codeFindings)
	}
	return nil
}
