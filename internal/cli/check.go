package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/audit"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/report"
)

// checkFlags are the flags of holdfast check.
type checkFlags struct {
	root, from string
	only       []string
	all        bool
	window     time.Duration
	suppress   string
	findings   string
	explain    string
	chains     bool
	svg        string
	emit       string
	own        bool

	fixing fixFlags
}

func (o *options) checkCommand() *cobra.Command {
	var cf checkFlags
	c := &cobra.Command{
		Use:   "check",
		Short: "Audit this host: what is set so that connections break, with evidence and the exact change",
		Long: `check reads the settings, listeners, connections, firewall, adapters and server
configurations of this host, runs no program, and says what breaks connections or is
about to. Severity is harm that was observed: "harm" happens now, "near" is a limit
nearly reached or a race on traffic that exists, "latent" would matter under other
load and is one line without --all. What could not be looked at is said.

The timers along the connections of this host are compared: who keeps an idle
connection for how long, and who closes first. --chains draws them.

--fix shows the plan and asks; with --yes it does not ask. Every change is in a
journal before it is made, is verified, and can be undone with --undo. The exit code
is 0 when there is nothing of harm or near, and 1 when there is.`,
		Example:     "  sudo holdfast check\n  holdfast check --chains\n  holdfast check --explain chain-reuse-race\n  sudo holdfast check --fix --only tcp-abort-on-overflow\n  sudo holdfast check --undo 0001",
		Args:        usage(cobra.NoArgs),
		Annotations: map[string]string{moreOutputs: "sarif markdown html"},
		RunE: func(c *cobra.Command, _ []string) error {
			return o.audit(c.Context(), &cf)
		},
	}
	f := c.Flags()
	f.StringVar(&cf.root, "root", "", "audit the files of an image or of a collected tree below `DIR`")
	f.StringVar(&cf.from, "from", "", "audit a document that \"holdfast snapshot -o json\" wrote to `FILE`")
	f.StringSliceVar(&cf.only, "only", nil, "only these checks, by id or group")
	f.BoolVar(&cf.all, "all", false, "show latent advices too, each in full")
	f.DurationVar(&cf.window, "window", 2*time.Second, "time between the two readings of counters; 0 reads them once")
	f.StringVar(&cf.suppress, "suppress", "", "`FILE` with advices that are not shown, each with a reason and a day")
	f.StringVar(&cf.findings, "findings", "", "findings of this host (watch -o ndjson) in `FILE`: their causes make an advice harm")
	f.StringVar(&cf.explain, "explain", "", "explain a check by its `ID`, or \"folklore\", or list all with \"list\"")
	f.BoolVar(&cf.chains, "chains", false, "draw the timers along the connections of this host")
	f.StringVar(&cf.svg, "svg", "", "write that drawing to `FILE`")
	f.StringVar(&cf.emit, "emit", "", "write the changes for people who manage hosts otherwise: "+strings.Join(audit.Forms(), ", "))
	f.BoolVar(&cf.own, "own-namespace", false, "only the network namespace of this process")
	cf.fixing.flags(f)
	return c
}

// audit runs one of the things that check does.
func (o *options) audit(ctx context.Context, cf *checkFlags) error {
	if cf.explain != "" {
		return o.explainCheck(cf.explain)
	}
	if cf.window < 0 {
		return usageError("--window 2s", "--window %v is negative", cf.window)
	}
	if err := cf.known(); err != nil {
		return err
	}
	if cf.fixing.undo != "" || cf.fixing.list {
		return o.undo(&cf.fixing)
	}
	doc, err := o.hostDocument(ctx, cf.root, cf.from, hostdoc.Options{Window: cf.window, OwnOnly: cf.own})
	if err != nil {
		return err
	}
	opt := audit.Options{Only: cf.only, Now: time.Now()}
	if cf.suppress != "" {
		if opt.Suppress, err = readSuppressions(cf.suppress); err != nil {
			return err
		}
	}
	if cf.findings != "" {
		if opt.Findings, err = countFindings(cf.findings); err != nil {
			return err
		}
	}
	res := audit.Run(doc, opt)
	if cf.svg != "" {
		if err := os.WriteFile(cf.svg, []byte(audit.Picture(res)), 0o644); err != nil {
			return fmt.Errorf("write the drawing: %w", err)
		}
	}
	switch {
	case cf.emit != "":
		return o.emit(res, cf.emit)
	case cf.fixing.fix:
		return o.fix(ctx, doc, res, cf)
	case cf.chains:
		return o.printChains(res)
	}
	if err := o.printAudit(res, cf); err != nil {
		return err
	}
	if slices.ContainsFunc(res.Advices, func(a audit.Advice) bool { return a.Severity != audit.Latent }) {
		return quiet(codeFindings)
	}
	return nil
}

// known refuses names that no check has.
func (cf *checkFlags) known() error {
	for _, name := range cf.only {
		if !slices.ContainsFunc(audit.Checks(), func(c audit.Check) bool { return c.ID == name || c.Group == name }) {
			return usageError("holdfast check --explain list", "no check and no group %q", name)
		}
	}
	if cf.emit != "" && !slices.Contains(audit.Forms(), cf.emit) {
		return usageError("--emit "+strings.Join(audit.Forms(), ", "), "cannot write the form %q", cf.emit)
	}
	if cf.root != "" && cf.from != "" {
		return usageError("one of the two", "--root and --from exclude each other")
	}
	if cf.fixing.fix && (cf.root != "" || cf.from != "") {
		return usageError("run it on the host itself, or use --emit", "--fix changes this host, and was given another one")
	}
	return nil
}

// hostDocument reads this host, a tree of files, or a document.
func (o *options) hostDocument(ctx context.Context, root, from string, opt hostdoc.Options) (*hostdoc.Host, error) {
	if from != "" {
		return readDocument(from)
	}
	if root != "" {
		if st, err := os.Stat(root); err != nil || !st.IsDir() {
			return nil, &cliError{codeNotFound, fmt.Errorf("--root %s is no directory", root), "check the name"}
		}
	}
	return hostdoc.Collect(ctx, &linux.Host{Root: root}, opt)
}

// maxDocument bounds a document that is read.
const maxDocument = 256 << 20

func readDocument(name string) (*hostdoc.Host, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, &cliError{codeNotFound, err, "check the name"}
	}
	if st.Size() > maxDocument {
		return nil, usageError("holdfast snapshot -o json > FILE", "%s is larger than a document of a host can be", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var h hostdoc.Host
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, usageError("holdfast snapshot -o json > FILE", "%s is no document of a host: %w", name, err)
	}
	if h.Schema != hostdoc.Schema {
		return nil, usageError("holdfast snapshot -o json > FILE", "%s has the schema %q, and not %q", name, h.Schema, hostdoc.Schema)
	}
	return &h, nil
}

func readSuppressions(name string) ([]audit.Suppression, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, &cliError{codeNotFound, err, "check the name"}
	}
	list, err := audit.ReadSuppressions(b)
	if err != nil {
		return nil, usageError("- {id: CHECK, subject: SUBJECT, reason: WHY, until: 2027-01-31}", "%s: %w", name, err)
	}
	return list, nil
}

// countFindings counts the causes in the output of watch -o ndjson.
func countFindings(name string) (map[string]int, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &cliError{codeNotFound, err, "check the name"}
	}
	defer f.Close()
	out := map[string]int{}
	d := json.NewDecoder(f)
	for n := 1; d.More(); n++ {
		var x fact.Finding
		if err := d.Decode(&x); err != nil {
			return nil, usageError("holdfast watch -o ndjson > FILE", "%s, finding %d: %w", name, n, err)
		}
		if x.Harmful {
			out[x.Cause.ID] += max(1, x.Count)
		}
	}
	return out, nil
}

func (o *options) printAudit(res *audit.Result, cf *checkFlags) error {
	switch o.output {
	case "sarif":
		return report.JSON(o.env.out, audit.SARIF(res, readVersion().Version))
	case "markdown":
		o.printf("%s", audit.Markdown(res))
		return nil
	case "html":
		o.printf("%s", audit.HTML(res))
		return nil
	case "text":
	default:
		return single(o, res)
	}
	st := o.style()
	shown := 0
	for i := range res.Advices {
		if a := &res.Advices[i]; a.Severity != audit.Latent || cf.all || len(cf.only) > 0 {
			o.printAdvice(st, a)
			shown++
		}
	}
	latent := len(res.Advices) - shown
	switch {
	case shown == 0 && latent == 0:
		o.printf("Nothing here breaks connections or is about to.\n")
	case shown == 0:
		o.printf("Nothing here breaks connections or is about to. %s would matter under other load: --all shows them.\n", plural(latent, "settings"))
	case latent > 0:
		o.printf("%s would matter under other load: --all shows them.\n", plural(latent, "settings"))
	}
	for _, s := range res.Suppressed {
		o.notef("not shown until %s: %s (%s)\n", s.Until, s.ID, report.Clean(s.Reason))
	}
	for _, u := range res.NotLooked {
		o.notef("could not look at %s: %s\n", report.Clean(u.What), report.Clean(u.Why))
	}
	return nil
}

func (o *options) printAdvice(st report.Style, a *audit.Advice) {
	check, _ := audit.Find(a.ID)
	o.printf("%s  %s\n", st.Bold(padTo(a.Severity, 6)), st.Bold(check.Title)+st.Dim("  "+a.ID))
	row := func(label, text string) {
		if text != "" {
			o.printf("  %s%s\n", st.Dim(padTo(label, 9)), report.Clean(text))
		}
	}
	row("where", a.Subject)
	row("is", a.Is)
	row("want", a.Want)
	row("why", a.Why)
	for _, e := range a.Evidence {
		from := ""
		if e.From != "" {
			from = " (" + e.From + ")"
		}
		row("seen", e.What+": "+e.Value+from)
	}
	row("change", a.Fix.Title)
	for _, c := range a.Fix.Commands {
		at := ""
		if a.Fix.At != "" {
			at = "   at " + a.Fix.At
		}
		row("", "    "+c+at)
	}
	for _, u := range a.Or {
		row("or", u)
	}
	if a.Risk != "" && a.Risk != "none" {
		row("risk", a.Risk)
	}
	row("prevents", strings.Join(a.Prevents, ", "))
	row("source", a.Source)
	o.printf("\n")
}

func (o *options) printChains(res *audit.Result) error {
	if o.output != "text" {
		return value(o, res.Chains)
	}
	if len(res.Chains) == 0 {
		o.printf("No connection of this host has a timer that is known.\n")
	}
	for i := range res.Chains {
		o.printf("%s\n", report.CleanText(res.Chains[i].Text()))
	}
	return nil
}

func (o *options) explainCheck(id string) error {
	switch id {
	case "folklore":
		if o.output != "text" {
			return value(o, audit.Folklore())
		}
		for _, f := range audit.Folklore() {
			o.printf("%s\n  %s\n  source: %s\n", o.style().Bold(f.Tip), f.Today, f.Source)
		}
		return nil
	case "list":
		if o.output != "text" {
			return value(o, audit.Checks())
		}
		for _, c := range audit.Checks() {
			o.printf("%s  %s\n", padTo(c.ID, 30), c.Title)
		}
		return nil
	}
	c, ok := audit.Find(id)
	if !ok {
		return &cliError{codeNotFound, fmt.Errorf("no check %q", id), "holdfast check --explain list"}
	}
	if o.output != "text" {
		return single(o, c)
	}
	o.printf("%s: %s\n\n%s\n\nprevents  %s\nrisk      %s\nsource    %s\n", c.ID, c.Title, c.Why, strings.Join(c.Prevents, ", "), c.Risk, c.Source)
	return nil
}
