package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/daemon"
	"github.com/holdfast-project/holdfast/internal/lab"
	"github.com/holdfast-project/holdfast/internal/report"
)

func (o *options) labCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "Manufacture causes in private network namespaces and see them diagnosed",
		Long: `The lab makes connections fail in every way it knows, with real sockets and
real servers in network namespaces of its own, and so knows the truth of each.
It never touches the network of the host, and leaves nothing behind.`,
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(o.labListCommand(), o.labRunCommand(), o.labStormCommand(), o.labFieldCommand(), o.labProxyCommand(), o.labFaultsCommand(), o.labCapturesCommand(), o.labLearnCommand())
	return c
}

// labEntry is a scenario as holdfast lab list prints it.
type labEntry struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Truth   labTruth `json:"truth"`
	Needs   []string `json:"needs,omitempty"`
	Demo    bool     `json:"demo,omitempty"`
	Slow    bool     `json:"slow,omitempty"`
	Missing string   `json:"missing,omitempty"` // why it cannot run here
}

func (o *options) labListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the scenarios with their truth",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			var list []labEntry
			for _, s := range lab.All() {
				list = append(list, labEntry{s.ID, s.Title, newResult(s).Truth, s.Needs, s.Demo, s.Slow, lab.Missing(s)})
			}
			if o.output != "text" {
				return value(o, list)
			}
			o.printScenarios(list)
			return nil
		},
	}
}

func (o *options) printScenarios(list []labEntry) {
	st := o.style()
	width := 0
	for _, e := range list {
		width = max(width, len(e.ID))
	}
	for _, e := range list {
		o.printf("%s  %s  %s\n", st.Bold(padTo(e.ID, width)), padTo(e.Truth.Sender, 14), e.Title)
		if len(e.Needs) > 0 {
			o.printf("%s  %s\n", padTo("", width), st.Dim("needs "+strings.Join(e.Needs, ", ")))
		}
	}
	o.notef("%s\n", plural(len(list), "scenarios"))
}

// labFlags are the flags of holdfast lab run.
type labFlags struct {
	all, why          bool
	source, record    string
	pcap              string
	knowledge         []string
	skipSlow, details bool
}

func (o *options) labRunCommand() *cobra.Command {
	l := &labFlags{}
	c := &cobra.Command{
		Use:   "run [ID...]",
		Short: "Run scenarios while watching, and compare each verdict with the truth",
		Long: `run starts the watcher, makes each scenario happen, and compares the finding
with the truth. Right means that sender and cause are exact and that nothing
wrong was called proved. The exit code is 1 when any scenario is not right.

With --pcap, every packet of every host is written to DIR/SCENARIO/HOST.pcapng,
and the truth to DIR/SCENARIO/truth.json. With --source none nobody watches and
nothing is judged: the packets are all there is.`,
		Example: "  sudo holdfast lab run close-unread --details\n  sudo holdfast lab run --all -o ndjson > lab.ndjson\n" +
			"  sudo holdfast lab run --all --source none --pcap captures",
		RunE: func(c *cobra.Command, ids []string) error {
			list, err := chooseScenarios(ids, l)
			if err != nil {
				return err
			}
			if l.source == noSource {
				return o.recordLab(c.Context(), l, list)
			}
			results, err := o.runLab(c.Context(), l, list, o.labOutput(l, len(list)))
			if err != nil {
				return err
			}
			return o.labVerdict(results)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, s := range lab.All() {
				ids = append(ids, s.ID)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
	}
	fs := c.Flags()
	fs.BoolVar(&l.all, "all", false, "run every scenario")
	fs.BoolVar(&l.skipSlow, "skip-slow", false, "leave out scenarios of more than about five seconds")
	fs.BoolVarP(&l.details, "details", "d", false, "show each finding in full, not only the wrong ones")
	fs.BoolVar(&l.why, "why", false, "show the arithmetic with the details")
	fs.StringVar(&l.record, "record", "", "write the observed cases with their truth into this directory")
	fs.StringVar(&l.source, "source", "auto", "where to look: auto, kernel, packet, counters, or none with --pcap")
	fs.StringVar(&l.pcap, "pcap", "", "write the packets of every host, with the truth, into this directory")
	fs.StringSliceVar(&l.knowledge, "knowledge", nil, "directory with causes of your own")
	return c
}

// chooseScenarios returns the scenarios that the command line names.
func chooseScenarios(ids []string, l *labFlags) ([]lab.Scenario, error) {
	if !slices.Contains(sources, l.source) && (l.source != noSource || l.pcap == "") {
		return nil, usageError("--source auto, kernel, packet or counters; none only with --pcap", "unknown source %q", l.source)
	}
	all := lab.All()
	if l.all == (len(ids) > 0) {
		return nil, usageError("holdfast lab run --all, or holdfast lab list for the ids", "name scenarios or give --all")
	}
	var list []lab.Scenario
	if l.all {
		for _, s := range all {
			if !s.Slow || !l.skipSlow {
				list = append(list, s)
			}
		}
		return list, nil
	}
	for _, id := range ids {
		i := slices.IndexFunc(all, func(s lab.Scenario) bool { return s.ID == id })
		if i < 0 {
			return nil, &cliError{codeNotFound, fmt.Errorf("no scenario is called %q", id), "holdfast lab list"}
		}
		list = append(list, all[i])
	}
	return list, nil
}

// runLab runs scenarios one after another while watching, and hands each
// result to show.
func (o *options) runLab(ctx context.Context, l *labFlags, list []lab.Scenario, show func(*labResult)) ([]*labResult, error) {
	base, err := o.loadBase(l.knowledge)
	if err != nil {
		return nil, err
	}
	watcher, err := daemon.Open(daemon.Config{Source: l.source, Wire: true, Knowledge: base, Why: true, Facts: true})
	if err != nil {
		return nil, err
	}
	c := newCollector(watcher.Coverage().Tier)
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- watcher.Run(watching, c.add) }()
	results, err := runScenarios(ctx, c, list, l.pcap, show)
	stop()
	if werr := <-ended; werr != nil && !errors.Is(werr, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("watch: %w", werr))
	}
	for _, id := range c.late() {
		o.notef("%s: a wrong finding, called proved, came after its verdict\n", id)
	}
	if l.record != "" {
		err = errors.Join(err, recordCases(l.record, results))
	}
	if l.pcap != "" {
		o.noteRecorded(l.pcap, results)
	}
	writeStats(o.env.err, o.style(), watcher.Stats())
	return results, err
}

// runScenarios runs scenarios one after another, judged by what c collects
// unless c is nil, with their packets written to pcap unless it is empty.
func runScenarios(ctx context.Context, c *collector, list []lab.Scenario, pcap string, show func(*labResult)) (results []*labResult, err error) {
	var net *lab.Net
	closeNet := func() {
		if net != nil {
			err = errors.Join(err, net.Close())
			net = nil
		}
	}
	defer closeNet()
	var truth labTruth // of the scenario that runs
	opt := lab.Options{Pcap: pcap}
	if c != nil {
		opt.Settle = func(ctx context.Context, res lab.Result) {
			c.await(ctx, verdictSoon, res, func(list []sighting) bool { return primary(list, truth, true) != nil })
		}
	}
	for _, sc := range list {
		truth = newResult(sc).Truth
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		out := newResult(sc)
		if out.Skipped = lab.Missing(sc); out.Skipped == "" {
			if net == nil {
				if net, err = lab.NewNet(ctx, opt); err != nil {
					return results, err
				}
			}
			if out = runScenario(ctx, c, net, sc); out.Error != "" {
				closeNet() // the next one starts from a clean network
			}
		}
		results = append(results, out)
		show(out)
	}
	return results, nil
}

func runScenario(ctx context.Context, c *collector, net *lab.Net, sc lab.Scenario) *labResult {
	if c != nil {
		c.reset()
	}
	res, err := sc.Run(ctx, net)
	out := newResult(sc)
	switch {
	case err != nil:
		out.Error = err.Error()
	case c != nil:
		out = c.judge(ctx, sc, res)
	}
	out.Recording = res.Recording
	return out
}

// labOutput returns the function that prints each result as it comes.
func (o *options) labOutput(l *labFlags, n int) func(*labResult) {
	st := o.style()
	if o.output == "text" {
		o.printf("%s\n", st.Dim(labRow("SCENARIO", "TRUTH", "VERDICT", "GRADE", "TIME", "RIGHT")))
	}
	i := 0
	return func(r *labResult) {
		i++
		if o.output != "text" {
			o.labValue(r)
		} else {
			o.printf("%s\n", labLine(st, r))
		}
		if r.Skipped != "" || r.Right && !l.details || o.output == "text" && r.Error != "" {
			return
		}
		o.notef("%s", explainResult(st, r, l.why))
		if i == n {
			o.notef("\n")
		}
	}
}

func (o *options) labValue(r *labResult) {
	x := *r
	if x.Finding != nil {
		f := *x.Finding
		f.Case, f.Arithmetic = nil, nil
		x.Finding = &f
	}
	if err := single(o, x); err != nil {
		o.notef("write result: %v\n", err)
	}
}

func labRow(scenario, truth, verdict, grade, ms, right string) string {
	return padTo(scenario, 32) + "  " + padTo(truth, 44) + "  " + padTo(verdict, 44) + "  " + padTo(grade, 8) + "  " + padTo(ms, 8) + "  " + right
}

func labLine(st report.Style, r *labResult) string {
	truth := padTo(r.Truth.Sender, 14) + " " + r.Truth.Cause
	switch {
	case r.Skipped != "":
		return st.Dim(labRow(r.Scenario, truth, "skipped: "+report.Clean(r.Skipped), "", "", ""))
	case r.Error != "":
		return labRow(r.Scenario, truth, "the scenario failed: "+report.Clean(r.Error), "", "", st.Bad("✗"))
	case r.Finding == nil:
		return labRow(r.Scenario, truth, "nothing reported", "", "", st.Bad("✗"))
	}
	mark := st.Good("✓")
	if !r.Right {
		mark = st.Bad("✗")
	}
	if r.WrongProved {
		mark = st.Bad("✗ wrong proved")
	}
	f := r.Finding
	return labRow(r.Scenario, truth, padTo(f.Sender.Role, 14)+" "+report.Clean(f.Cause.ID), string(f.Cause.Grade), fmt.Sprintf("%.0f ms", r.VerdictMS), mark)
}

// explainResult shows every finding on the connections of a scenario.
func explainResult(st report.Style, r *labResult, why bool) string {
	var b strings.Builder
	if r.Error != "" {
		fmt.Fprintf(&b, "%s failed: %s\n", r.Scenario, report.CleanText(r.Error))
	}
	for _, s := range r.seen {
		b.WriteString(st.Line(&s.f) + "\n" + st.Details(&s.f))
		if why {
			b.WriteString(st.Why(&s.f))
		}
	}
	return b.String()
}

// labVerdict prints the summary and returns the error that sets the exit code.
func (o *options) labVerdict(results []*labResult) error {
	var ran, right, skipped, wrong int
	for _, r := range results {
		switch {
		case r.Skipped != "":
			skipped++
			o.notef("skipped %s: %s\n", r.Scenario, report.Clean(r.Skipped))
			continue
		case r.Right:
			right++
		}
		ran++
		if r.WrongProved {
			wrong++
		}
	}
	if ran == 0 {
		return &cliError{codePermission, errors.New("no scenario could run"), "sudo holdfast lab run, with the programs that holdfast lab list names"}
	}
	o.notef("%d of %d scenarios right, %d wrong proved, %d skipped; median time to verdict %s\n", right, ran, wrong, skipped, medianVerdict(results))
	if right < ran {
		return quiet(codeFindings)
	}
	return nil
}

func medianVerdict(results []*labResult) string {
	var ms []float64
	for _, r := range results {
		if r.Finding != nil {
			ms = append(ms, r.VerdictMS)
		}
	}
	if len(ms) == 0 {
		return "unknown"
	}
	slices.Sort(ms)
	return fmt.Sprintf("%.0f ms", ms[len(ms)/2])
}

// demoScenarios are those that show well and can run here.
func demoScenarios() []lab.Scenario {
	return slices.DeleteFunc(lab.All(), func(sc lab.Scenario) bool { return !sc.Demo || lab.Missing(sc) != "" })
}

// canDemo says why the demonstration cannot run here, if so.
func canDemo() error {
	if len(demoScenarios()) > 0 {
		return nil
	}
	reason := "there is none"
	for _, sc := range lab.All() {
		if sc.Demo {
			reason = lab.Missing(sc)
			break
		}
	}
	return &cliError{codePermission, fmt.Errorf("the demonstration cannot run: %s", reason), "sudo holdfast watch --demo"}
}

// demo runs the scenarios that show well, one after another, while the screen
// shows what the watcher says about them.
func (o *options) demo(ctx context.Context, s *screen) error {
	c := newCollector("")
	s.tap(func(f fact.Finding) { c.add(f) })
	list := demoScenarios()
	st := o.style()
	i := 0
	titled := slices.Clone(list)
	for k := range titled {
		run, title := list[k].Run, list[k].Title
		titled[k].Run = func(ctx context.Context, n *lab.Net) (lab.Result, error) {
			i++
			s.note("%s", st.Dim(fmt.Sprintf("  demo %d of %d: %s", i, len(list), title)))
			return run(ctx, n)
		}
	}
	right := 0
	results, err := runScenarios(ctx, c, titled, "", func(r *labResult) {
		switch {
		case r.Right:
			right++
		case r.Error != "":
			s.note("    the demonstration itself failed: %s", report.Clean(r.Error))
		default:
			s.note("    the truth was %s, %s", r.Truth.Sender, r.Truth.Cause)
		}
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	s.note("\n%s", st.Bold(fmt.Sprintf("demo: %d of %d verdicts are the truth", right, len(results))))
	return nil
}
