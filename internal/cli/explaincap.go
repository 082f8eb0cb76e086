package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/capture"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/packet"
)

// captureFlags are the flags of holdfast explain that concern captures.
type captureFlags struct {
	filter   filter
	details  bool
	why      bool
	facts    bool
	exitCode bool
	follow   bool
	iface    string
	workers  int
	stories  int
	report   string
	svg      string
	extract  string

	spool *spool // nil keeps nothing
}

func (cf *captureFlags) flags(fs *pflag.FlagSet) {
	cf.filter.packetFlags(fs)
	fs.BoolVar(&cf.details, "details", false, "show all proof, alternatives, fixes and ladders of each story")
	fs.BoolVar(&cf.why, "why", false, "show the arithmetic of each verdict")
	fs.BoolVar(&cf.facts, "facts", false, "with -o json, add all facts of each case")
	fs.BoolVar(&cf.exitCode, "exit-code", false, "exit with 1 when a harmful reset was found")
	fs.BoolVar(&cf.follow, "follow", false, "wait for more at the end of a capture that is still being written; findings are printed as they come")
	fs.StringVar(&cf.iface, "interface", "", "capture from this interface, or from any; findings are printed as they come (CAP_NET_RAW)")
	fs.IntVar(&cf.workers, "workers", 0, "cores to use; 0 means all")
	fs.IntVar(&cf.stories, "stories", 20, "stories to print; 0 means all")
	fs.StringVar(&cf.report, "report", "", "write a self-contained HTML `FILE` to send to others; an old one is replaced")
	fs.StringVar(&cf.svg, "svg", "", "write the packets of each story as a drawing into a `DIR`")
	fs.StringVar(&cf.extract, "extract", "", "write the packets around each end, with comments, to a pcapng `FILE`; an old one is replaced")
}

// check refuses what would fail, or hide everything, only after the whole
// capture was read.
func (cf *captureFlags) check(base *diagnosis.Base) error {
	switch {
	case cf.workers < 0:
		return usageError("--workers 2; 0 means all cores", "--workers %d is negative", cf.workers)
	case cf.stories < 0:
		return usageError("--stories 20; 0 means all", "--stories %d is negative", cf.stories)
	}
	for flag, path := range map[string]string{"--report": cf.report, "--extract": cf.extract} {
		if err := checkOutput(flag, path); err != nil {
			return err
		}
	}
	if cf.svg != "" {
		if st, err := os.Stat(cf.svg); err == nil && !st.IsDir() {
			return usageError("--svg DIR", "--svg %s is no directory", cf.svg)
		}
	}
	return cf.filter.checkCauses(base)
}

// checkOutput refuses a file that cannot be written because of where it stands.
func checkOutput(flag, path string) error {
	if path == "" {
		return nil
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return usageError("name a file in it", "%s %s is a directory", flag, path)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || !st.IsDir() {
		return &cliError{codeNotFound, fmt.Errorf("%s %s: no directory %s", flag, path, filepath.Dir(path)), "mkdir -p " + filepath.Dir(path)}
	}
	return nil
}

// captured is what was found in captures.
type captured struct {
	points   []*capture.Point
	cases    []*capture.Case // of findings, in the same order
	findings []fact.Finding

	uncompared int64 // connections beyond the limit of the comparison
}

// isCaptureFile looks whether an argument is a capture, under compression too.
// Standard input is looked at without losing its bytes.
func (o *options) isCaptureFile(path string) bool {
	if path == "-" {
		head, rest := lookAhead(o.env.in)
		o.env.in = rest
		return capture.IsCapture(head)
	}
	if r := o.pipes[path]; r != nil {
		head, rest := lookAhead(r)
		o.pipes[path] = rest
		return capture.IsCapture(head)
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() && !st.IsDir() { // a pipe, which gives its bytes once
		o.pipes[path] = f
		return o.isCaptureFile(path)
	}
	defer f.Close()
	head := make([]byte, capture.HeadSize)
	n, _ := io.ReadFull(f, head)
	return capture.IsCapture(head[:n])
}

// lookAhead returns the first bytes that a reader gives at once, and a reader
// that gives everything.
func lookAhead(r io.Reader) ([]byte, io.Reader) {
	head := make([]byte, capture.HeadSize)
	n := 0
	for n < 4 {
		m, err := r.Read(head[n:])
		n += m
		if err != nil {
			break
		}
	}
	return head[:n], io.MultiReader(bytes.NewReader(head[:n]), r)
}

// readCaptures reads captures of the same traffic, one for each place, and
// explains how each connection ended.
func (o *options) readCaptures(ctx context.Context, base *diagnosis.Base, paths []string, cf *captureFlags) (*captured, error) {
	got := &captured{}
	for _, path := range paths {
		p, err := o.readCapture(ctx, path, cf)
		if err != nil {
			return nil, err
		}
		got.points = append(got.points, p)
	}
	if err := o.compare(ctx, got); err != nil {
		return nil, err
	}
	got.explain(base, cf)
	return got, nil
}

// compare lists the endings of all captures. Several places, as several files
// or several interfaces in one, are compared; for that they are read again.
func (o *options) compare(ctx context.Context, got *captured) error {
	places := 0
	for _, p := range got.points {
		places += max(len(p.Interfaces), 1)
		if once(p.Name) && len(got.points) > 1 {
			return usageError("save standard input to a file first", "several captures are read twice, and standard input cannot be")
		}
	}
	if places < 2 || once(got.points[0].Name) {
		got.cases = capture.Cases(got.points[0])
		return nil
	}
	var err error
	got.cases, got.uncompared, err = capture.Compare(ctx, got.points, func(name string) (io.ReadCloser, error) { return capture.Open(name, nil) })
	return err
}

func (o *options) readCapture(ctx context.Context, path string, cf *captureFlags) (*capture.Point, error) {
	f, err := o.openCapture(path)
	if err != nil {
		return nil, captureError(path, err)
	}
	defer f.Close()
	bar := o.newProgress(path, f)
	defer bar.clear()
	p, err := capture.Read(ctx, path, cf.spool.keep(path, f), capture.Options{Workers: cf.workers, Progress: bar.update})
	if err != nil {
		return nil, captureError(path, err)
	}
	return p, nil
}

// openCapture opens a capture to read it for the first time.
func (o *options) openCapture(path string) (*capture.File, error) {
	if r := o.pipes[path]; r != nil {
		return capture.Open("-", r)
	}
	return capture.Open(path, o.env.in)
}

func captureError(path string, err error) error {
	if errors.Is(err, packet.ErrFormat) {
		return usageError("a capture in pcap or pcapng format, plain or compressed; `editcap -F pcapng IN OUT` converts others", "%w", err)
	}
	if errors.Is(err, os.ErrNotExist) {
		return &cliError{codeNotFound, err, "check the name"}
	}
	return err
}

// explain asks the engine about each case, on all cores.
func (g *captured) explain(base *diagnosis.Base, cf *captureFlags) {
	g.findings = make([]fact.Finding, len(g.cases))
	var next atomic.Int64
	var done sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), max(len(g.cases), 1)) {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(g.cases); i = int(next.Add(1)) - 1 {
				g.findings[i] = explainCase(base, g.cases[i], cf)
			}
		})
	}
	done.Wait()
	ids := make(map[*capture.Case]string, len(g.cases))
	for i, c := range g.cases {
		ids[c] = g.findings[i].ID
		if c.First != nil {
			g.findings[i].Story = ids[c.First]
		}
	}
}

// stale is from which age on nobody can look at the host of a capture any more.
const stale = 7 * 24 * time.Hour

func explainCase(base *diagnosis.Base, c *capture.Case, cf *captureFlags) fact.Finding {
	f := base.Explain(c.Fact(), diagnosis.Options{Why: cf.why, Facts: cf.facts})
	where := c.Where()
	f.Where = &where
	proofFrames(&f, c)
	if time.Since(f.Time) > stale { // what only a watch on the host could have seen is gone
		f.Missing = slices.DeleteFunc(f.Missing, func(m fact.Missing) bool { return strings.Contains(m.How, "holdfast watch") })
	}
	if n := c.Termination.Folded; n > 0 {
		f.Count = n + 1
	}
	return f
}

// filtered drops what the filter does not want.
func (g *captured) filtered(f *filter) {
	kept := 0
	for i := range g.findings {
		if f.match(&g.findings[i]) {
			g.findings[kept], g.cases[kept] = g.findings[i], g.cases[i]
			kept++
		}
	}
	g.findings, g.cases = g.findings[:kept], g.cases[:kept]
}

// explainCaptures is holdfast explain with captures.
func (o *options) explainCaptures(ctx context.Context, base *diagnosis.Base, paths []string, cf *captureFlags) error {
	if err := cf.filter.check(); err != nil {
		return err
	}
	cf.spool = newSpool(o, cf)
	defer cf.spool.close()
	got, err := o.readCaptures(ctx, base, paths, cf)
	if err != nil {
		return err
	}
	if err := nothingRead(got.points); err != nil {
		return err
	}
	got.filtered(&cf.filter)
	rep := got.report()
	ladderErr := o.addLadders(ctx, got, rep, cf)
	if err := o.printCaptured(got, rep, cf); err != nil {
		return err
	}
	for _, p := range got.points {
		if p.Damage != nil {
			o.notef("holdfast: %s: %v\n", report.Clean(p.Name), p.Damage)
		}
	}
	if err := o.writeFiles(ctx, got, rep, cf, ladderErr); err != nil {
		return err
	}
	if cf.exitCode && slices.ContainsFunc(got.findings, func(f fact.Finding) bool { return f.Harmful }) {
		return quiet(codeFindings)
	}
	return nil
}

func (o *options) printCaptured(got *captured, rep *report.Report, cf *captureFlags) error {
	if o.output != "text" {
		return value(o, got.findings)
	}
	o.printf("%s", o.style().Summary(rep, report.SummaryOptions{
		Details: cf.details, Why: cf.why, Ladders: cf.details || len(rep.Stories) <= fewStories, Limit: cf.stories,
	}))
	return nil
}

// report puts findings into stories.
func (g *captured) report() *report.Report {
	r := &report.Report{Made: time.Now(), Version: readVersion().Version}
	for _, p := range g.points {
		r.Inputs = append(r.Inputs, inputOf(p))
	}
	if g.uncompared > 0 && len(r.Inputs) > 0 {
		in := &r.Inputs[0]
		in.Warnings = append(in.Warnings, fmt.Sprintf("%d of the connections were too many to be compared between the places", g.uncompared))
	}
	r.Places = len(g.points) > 1
	for i, p := range g.points {
		if p.Compared && r.Places && p.Shared == 0 && len(p.Terminations) > 0 {
			in := &r.Inputs[i]
			in.Warnings = append(in.Warnings, "no connection that ended badly here is in another of the captures: do they belong together?")
		}
	}
	r.Stories = report.Stories(g.findings)
	for i := range r.Stories {
		r.Stories[i].Side = g.sideOf(r.Stories[i].Findings[0])
	}
	return r
}

// sideOf says on which side of the path a third party wrote a RST.
func (g *captured) sideOf(f *fact.Finding) string {
	if placeOf(f.Sender.Role) != "device" {
		return ""
	}
	for i := range g.findings {
		if g.findings[i].ID == f.ID {
			return strings.TrimSpace(g.cases[i].Side() + g.cases[i].Absence())
		}
	}
	return ""
}

// hashes adds the SHA-256 of the files that can be read again.
func hashes(r *report.Report) error {
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if st, err := os.Stat(in.Name); err != nil || !st.Mode().IsRegular() {
			continue // standard input, a pipe
		}
		f, err := os.Open(in.Name)
		if err != nil {
			return fmt.Errorf("hash %s: %w", in.Name, err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("hash %s: %w", in.Name, err)
		}
		in.SHA256 = hex.EncodeToString(h.Sum(nil))
	}
	return nil
}

// inputOf tells what was read at one point of capture, and what limits the
// answer.
func inputOf(p *capture.Point) report.Input {
	in := report.Input{
		Name: p.Name, Packets: p.Packets, TCPPackets: p.Segments, Connections: p.TCP.Conns, Resets: p.TCP.RSTs,
		Bytes: p.Bytes, First: p.First, Last: p.Last,
	}
	if p.Until != 0 {
		in.Until = time.Unix(0, p.Until).UTC()
	}
	in.Clock, in.ClockKnown = p.Clock, p.ClockKnown
	switch {
	case p.Lost > 0:
		in.Lost = fmt.Sprintf("%d packets lost, by its own count", p.Lost)
	case p.Counted:
		in.Lost = "no packet lost, by its own count"
	default:
		in.Lost = "it does not say how many packets it lost"
	}
	if s := p.Took.Seconds(); s > 0 {
		in.Rate = float64(p.Packets) / s
	}
	for _, i := range p.Interfaces {
		if name := i.Link.String(); !slices.Contains(in.LinkTypes, name) {
			in.LinkTypes = append(in.LinkTypes, name)
		}
	}
	warn := func(n int64, what string) {
		if n > 0 {
			in.Warnings = append(in.Warnings, fmt.Sprintf("%d %s", n, what))
		}
	}
	if p.Damage != nil {
		in.Warnings = append(in.Warnings, p.Damage.Error())
	}
	warn(p.Lost, "packets were lost by the capture itself, by its own count; absence proves nothing there")
	warn(p.TCP.Copies, "of the packets were copies (two mirror ports, or captured before and after a router) and count once")
	warn(p.TCP.BadSums, "of the packets had a wrong TCP checksum that no receiver accepts")
	warn(p.Truncated, "of the packets ended before the end of their TCP header (snap length)")
	warn(p.Malformed, "of the packets have a header that contradicts itself or the frame, and were left out")
	if p.Unknown > 0 {
		in.Warnings = append(in.Warnings, unknownLink(p))
	}
	warn(p.TCP.Backwards, "times the clock went back by more than a second")
	warn(p.TCP.Evicted, "of the connections were forgotten for want of room; their ends may be missing")
	warn(p.TCP.Folded, "of the resets came after many others of the same connection; they are counted and not shown one by one")
	warn(p.TCP.Hurried, "of the resets were judged before their consequences were seen, because too many waited")
	warn(p.Dropped, "of the ends of connections are beyond the limit; they are counted and not explained")
	return in
}

// unknownLink says how much of a capture was not looked at, and what it is.
func unknownLink(p *capture.Point) string {
	var names []string
	for _, i := range p.Interfaces {
		if name := i.Link.String(); !i.Link.Known() && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		names = []string{"inside another header"}
	}
	return fmt.Sprintf("%d of %d frames have a link type that is not decoded (%s)", p.Unknown, p.Packets, strings.Join(names, ", "))
}

// nothingRead is the error of captures of which nothing was decoded: that no
// reset was found there means nothing.
func nothingRead(points []*capture.Point) error {
	for _, p := range points {
		switch {
		case p.Segments > 0:
			return nil
		case p.Damage != nil && p.Packets == 0:
			return &cliError{codeUsage, fmt.Errorf("%s has no packet that can be read: %w", p.Name, p.Damage), "capture again, or copy the file again"}
		case p.Unknown > 0 && p.Unknown == p.Packets:
			return &cliError{codeUsage, fmt.Errorf("%s: %s", p.Name, unknownLink(p)), "capture with tcpdump -i any, or save the frames with their real link type"}
		}
	}
	return nil
}

// progress is a bar on a terminal's standard error.
type progress struct {
	o     *options
	f     *capture.File
	name  string
	on    bool
	shown time.Time
	begun time.Time
}

func (o *options) newProgress(name string, f *capture.File) *progress {
	file, ok := o.env.err.(*os.File)
	now := time.Now()
	return &progress{o: o, f: f, name: name, on: ok && terminalWidth(file) > 0, begun: now, shown: now}
}

// update draws the bar, at most five times in a second.
func (b *progress) update(p *capture.Point) {
	now := time.Now()
	if !b.on || now.Sub(b.shown) < 200*time.Millisecond {
		return
	}
	b.shown = now
	took := now.Sub(b.begun).Seconds()
	text := fmt.Sprintf("%s  %.1f M packets  %.1f M/s", report.Clean(b.name), float64(p.Packets)/1e6, float64(p.Packets)/1e6/took)
	if done := b.f.Progress(); b.f.Size > 0 && done > 0 {
		share := float64(done) / float64(b.f.Size)
		left := time.Duration(took * (1 - share) / share * float64(time.Second)).Round(time.Second)
		filled := int(share * 20)
		text += fmt.Sprintf("  [%s%s] %3.0f %%  %s left", strings.Repeat("#", filled), strings.Repeat(".", 20-filled), share*100, left)
	}
	b.o.notef("\r\x1b[K%s", text)
}

func (b *progress) clear() {
	if b.on && b.shown != b.begun {
		b.o.notef("\r\x1b[K")
	}
}

// captureExplainer returns what holdfast explain finds in captures of the same
// traffic.
func (o *options) captureExplainer(ctx context.Context, base *diagnosis.Base) explainer {
	return func(files []string) ([]fact.Finding, error) {
		got, err := o.readCaptures(ctx, base, files, &captureFlags{})
		if err != nil {
			return nil, err
		}
		return got.findings, nil
	}
}
