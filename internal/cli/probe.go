package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/probe"
	"github.com/holdfast-project/holdfast/internal/report"
)

// probeDoc is what a probe found, with what the engine says of its failures.
type probeDoc struct {
	*probe.Result
	Findings []fact.Finding  `json:"findings"`
	Readings []*readingStory `json:"readings"` // what the errors of a client may come from
}

func (o *options) probeCommand() *cobra.Command {
	var opt probe.Options
	var v4, v6, dry bool
	var dirs []string
	c := &cobra.Command{
		Use:   "probe TARGET",
		Short: "Try an exchange with a service from here, and say where it breaks",
		Long: `probe tries what a client does, stage by stage: the name at every resolver, a
connection to each address apart, TLS, and the first exchange of the protocol. What
fails is tried again, so that "3 of 3" can be told from "1 of 3". It needs no
privilege, sends fewer than 60 segments to a healthy target, and leaves no failed
login behind. --dry-run shows what it would send.

TARGET is a host (https is meant), host:port, or a URL of one of these protocols:
` + strings.Join(probe.Protocols(), ", ") + `.

From here nobody sees who sent a reset. To see that too, run "holdfast watch" on this
host meanwhile. The exit code is 0 when the target is healthy, and 1 when something
fails.`,
		Example: "  holdfast probe https://shop.example/\n  holdfast probe db.internal:5432\n  holdfast probe --dry-run redis://cache.internal",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := probe.ParseTarget(args[0])
			if err != nil {
				return usageError("holdfast probe https://HOST/, HOST:PORT or PROTOCOL://HOST:PORT", "%w", err)
			}
			if v4 && v6 {
				return usageError("leave out both for all addresses", "-4 and -6 exclude each other")
			}
			opt.Family = map[bool]string{v4: "4", v6: "6"}[true]
			if a, err := netip.ParseAddr(t.Host); err == nil && (v4 && !a.Unmap().Is4() || v6 && a.Unmap().Is4()) {
				return usageError("leave the flag out, or name the host", "%s is of the other family", t.Host)
			}
			if dry {
				return o.probePlan(t, opt)
			}
			return o.probe(c.Context(), t, opt, dirs)
		},
	}
	f := c.Flags()
	f.BoolVarP(&v4, "ipv4", "4", false, "only IPv4 addresses")
	f.BoolVarP(&v6, "ipv6", "6", false, "only IPv6 addresses")
	f.StringVar(&opt.SNI, "sni", "", "server name in the TLS handshake, instead of the host")
	f.DurationVar(&opt.Timeout, "timeout", 4*time.Second, "limit of one trial of one stage")
	f.IntVar(&opt.Repeat, "repeat", 3, "how often what fails is tried, at most 20")
	f.BoolVar(&dry, "dry-run", false, "say what would be sent, and send nothing")
	f.StringArrayVar(&dirs, "knowledge", nil, "directory with causes of your own (may be repeated)")
	return c
}

func (o *options) probePlan(t probe.Target, opt probe.Options) error {
	plan := probe.Plan(t, opt)
	if o.output != "text" {
		return value(o, plan)
	}
	o.printf("%s\n", report.Clean(t.String()))
	for i, step := range plan {
		o.printf("%d. %s\n", i+1, report.Clean(step))
	}
	return nil
}

func (o *options) probe(ctx context.Context, t probe.Target, opt probe.Options, dirs []string) error {
	base, err := o.loadBase(dirs)
	if err != nil {
		return err
	}
	if o.output == "text" {
		opt.Progress = o.printStage
	}
	res, _ := probe.Run(ctx, t, opt) // interrupted: what was found until then
	doc := probeDoc{Result: res, Findings: []fact.Finding{}}
	for _, c := range res.Cases {
		doc.Findings = append(doc.Findings, base.Explain(c, diagnosis.Options{}))
	}
	if doc.Readings, err = o.probeReadings(base, res, dirs); err != nil {
		return err
	}
	if err := o.printProbe(&doc); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return quiet(codeInterrupted)
	case !res.Healthy:
		return quiet(codeFindings)
	}
	return nil
}

func (o *options) printStage(s probe.Stage) {
	o.printf("%-9s %9s  %s%s\n", s.Stage, fmt.Sprintf("%.1f ms", s.TookMS), map[string]string{"failed": "FAILED: ", "warning": "WARNING: "}[s.Verdict], report.Clean(s.Result))
}

// printProbe prints what is known only at the end.
func (o *options) printProbe(d *probeDoc) error {
	if o.output != "text" {
		return value(o, []*probeDoc{d})
	}
	o.printf("\n%s\n", report.Clean(d.Verdict))
	for i := range d.Findings {
		o.probeFinding(&d.Findings[i])
	}
	for _, r := range d.Readings {
		o.probeReading(r)
	}
	o.notef("%s\n", plural(d.Connections, "connections"))
	for _, n := range d.NotLooked {
		o.notef("not looked at: %s (%s)\n", n.What, n.How)
	}
	return nil
}

// probeReadings are the causes that the errors of a client may have.
func (o *options) probeReadings(base *diagnosis.Base, res *probe.Result, dirs []string) ([]*readingStory, error) {
	r, err := o.lineReader(dirs)
	if err != nil {
		return nil, err
	}
	t := newTextReader(r)
	for i, line := range res.Lines {
		t.line("", i+1, line)
	}
	for name, yes := range res.Measured() {
		t.facts = append(t.facts, fmt.Sprintf("%s=%t", name, yes))
	}
	list := t.finish(base)
	if list == nil {
		list = []*readingStory{}
	}
	return list, nil
}

// probeFinding prints a cause that the facts of a client suffice for, which is rare.
func (o *options) probeFinding(f *fact.Finding) {
	if f.Cause.ID == "unknown" {
		return
	}
	o.printf("  cause   %s (%s): %s\n", f.Cause.ID, f.Cause.Grade, report.CleanText(f.Cause.Says))
	if len(f.Fixes) > 0 {
		o.printf("  do      %s\n", report.Clean(f.Fixes[0].Title))
	}
}

// probeReading prints what an error may come from, and the cheapest ways to tell.
func (o *options) probeReading(s *readingStory) {
	for _, p := range s.Reading.Proves {
		o.printf("  proves  %s\n", report.Clean(p))
	}
	for _, p := range s.Reading.DoesNotProve {
		o.printf("  not     %s\n", report.Clean(p))
	}
	if s.Cause.ID != "unknown" {
		o.printf("  may be  %s: %s\n", s.Cause.ID, report.Clean(s.Cause.Title))
	}
	for _, a := range s.Alternatives[:min(len(s.Alternatives), 2)] {
		o.printf("          %s: %s\n", a.ID, report.Clean(a.Title))
	}
	for _, n := range s.Next[:min(len(s.Next), 2)] {
		o.printf("  next    %s\n", report.Clean(strings.TrimSpace(n.Question+" "+n.Command)))
	}
}
