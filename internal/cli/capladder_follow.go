package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/capture"
	"github.com/holdfast-project/holdfast/internal/report"
)

// maxFirsts is how many findings are remembered for those that follow from them.
const maxFirsts = 4096

// following prints what is found while a capture goes on.
type following struct {
	o      *options
	cf     *captureFlags
	base   *diagnosis.Base
	p      *printer
	count  *tally
	ids    map[*capture.Case]string // of findings
	live   bool                     // an interface: frames have no number that means anything
	failed error                    // of the first finding that could not be written
}

// checkFollow refuses what a capture that goes on cannot have.
func (cf *captureFlags) checkFollow(args []string) error {
	switch {
	case cf.report != "" || cf.extract != "" || cf.svg != "":
		return usageError("record with `tcpdump -w FILE` and explain the file", "--report and --extract need a capture that has ended")
	case cf.iface != "" && len(args) > 0:
		return usageError("one of them", "--interface and files together")
	case cf.iface == "" && len(args) != 1:
		return usageError("holdfast explain --follow FILE", "--follow takes one capture, not %d", len(args))
	}
	return cf.filter.check()
}

// followCapture is holdfast explain --follow and --interface.
func (o *options) followCapture(ctx context.Context, base *diagnosis.Base, args []string, cf *captureFlags) error {
	if err := cf.checkFollow(args); err != nil {
		return err
	}
	f := &following{o: o, cf: cf, base: base, p: o.newPrinter(), count: newTally(), ids: map[*capture.Case]string{}, live: cf.iface != ""}
	f.p.details, f.p.why = cf.details, cf.why
	watch := capture.WatchOptions{Each: f.each, Ticker: func() { f.p.tick(time.Now()) }}
	read := f.file
	if f.live {
		read = f.iface
	}
	point, lost, err := read(ctx, args, watch)
	if err != nil {
		return err
	}
	f.finish(point, lost)
	switch {
	case f.failed != nil:
		return f.failed
	case point.Damage != nil:
		return point.Damage
	case cf.exitCode && f.count.harmful > 0:
		return quiet(codeFindings)
	}
	return nil
}

// file follows a growing file or a pipe.
func (f *following) file(ctx context.Context, args []string, watch capture.WatchOptions) (*capture.Point, uint64, error) {
	f.begin("follows " + report.Clean(args[0]))
	in, err := capture.Follow(ctx, args[0], f.o.env.in)
	if err != nil {
		return nil, 0, captureError(args[0], err)
	}
	defer in.Close()
	p, err := capture.WatchFile(ctx, args[0], in, watch)
	if err != nil && ctx.Err() != nil { // stopped before it began
		return &capture.Point{Name: args[0]}, 0, nil
	}
	if err != nil {
		return nil, 0, captureError(args[0], err)
	}
	return p, 0, nil
}

// iface captures from an interface.
func (f *following) iface(ctx context.Context, _ []string, watch capture.WatchOptions) (*capture.Point, uint64, error) {
	live, err := capture.OpenLive(ctx, f.cf.iface, nil)
	if _, missing := net.InterfaceByName(f.cf.iface); err != nil && missing != nil && f.cf.iface != "any" && !errors.Is(err, os.ErrPermission) {
		return nil, 0, &cliError{codeNotFound, err, "holdfast explain --interface any"}
	}
	if err != nil {
		return nil, 0, err
	}
	defer live.Close()
	f.begin("captures from " + report.Clean(f.cf.iface))
	p := capture.Watch(ctx, f.cf.iface, live, watch)
	return p, live.Dropped(), nil
}

// begin says what goes on.
func (f *following) begin(what string) {
	st := f.o.style()
	f.o.notef("%s; a reset is explained some seconds after it, silence after 30 seconds\n  %s\n", st.Bold("holdfast "+what), st.Dim("Ctrl-C ends with a summary"))
	if h := f.p.st.Header(); f.o.output == "text" && h != "" {
		f.o.printf("\n%s\n", h)
	}
}

// each explains and prints one ending.
func (f *following) each(c *capture.Case, where fact.Where) {
	x := explainCase(f.base, c, f.cf)
	if x.Where = &where; f.live {
		x.Where = nil
		for i := range x.Proof {
			x.Proof[i].File, x.Proof[i].Frame = "", 0
		}
	}
	if len(f.ids) >= maxFirsts {
		clear(f.ids)
	}
	f.ids[c] = x.ID
	if c.First != nil {
		x.Story = f.ids[c.First]
	}
	if !f.cf.filter.match(&x) {
		f.count.filtered += max(x.Count, 1)
		return
	}
	f.count.add(&x)
	switch {
	case f.o.output != "text":
		if err := single(f.o, x); err != nil && f.failed == nil {
			f.failed = fmt.Errorf("write finding: %w", err)
		}
	case c.First != nil && !f.cf.details:
		f.count.hidden += max(x.Count, 1)
	default:
		f.p.print(&x, time.Now())
	}
}

// finish prints the summary.
func (f *following) finish(p *capture.Point, lost uint64) {
	f.p.close()
	st := f.o.style()
	hidden := f.count.hidden
	f.count.hidden = 0
	f.count.write(f.o.env.err, st, p.Took)
	if hidden > 0 {
		f.o.notef("%s of the same connections not shown; --details shows them\n", plural(hidden, "later resets"))
	}
	in := inputOf(p)
	in.Rate = 0 // of the traffic, not of the analysis
	if lost > 0 {
		in.Warnings = append(in.Warnings, fmt.Sprintf("the kernel lost %d packets because they were not read fast enough; findings may be missing or wrong", lost))
	}
	f.o.notef("%s", st.Input(&in))
}
