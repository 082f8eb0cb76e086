package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/lab"
)

// accuracy is how good verdicts are against known truth, for each source.
type accuracy struct {
	Schema   string            `json:"schema"`
	Sources  []sourceAccuracy  `json:"sources"`
	Captures []captureAccuracy `json:"captures,omitempty"`
	Field    *fieldAccuracy    `json:"field,omitempty"`
	Lines    []linesAccuracy   `json:"lines,omitempty"`
	Threads  []threadsAccuracy `json:"threads,omitempty"`
}

// sourceAccuracy is the accuracy of one source of cases.
type sourceAccuracy struct {
	Source      string  `json:"source"`
	Cases       int     `json:"cases"`
	RightSender int     `json:"right_sender"`
	RightCause  int     `json:"right_cause"`
	Unknown     int     `json:"unknown"` // no cause was named: not wrong, not right
	Silent      int     `json:"silent"`  // nothing was reported at all
	WrongProved int     `json:"wrong_proved"`
	SenderBrier float64 `json:"sender_brier"` // mean; 0 is certain and right, 1 says nothing, 2 is certain and wrong
	CauseBrier  float64 `json:"cause_brier"`
	MedianMS    float64 `json:"median_verdict_ms"`

	Senders []confusion   `json:"senders"` // truth by truth
	Causes  []confusion   `json:"causes"`
	Grades  []calibration `json:"grades"` // of causes
}

// confusion is what was said when something was the truth.
type confusion struct {
	Truth string         `json:"truth"`
	Cases int            `json:"cases"`
	Right int            `json:"right"`
	Said  map[string]int `json:"said"` // every verdict, the right one included
}

// calibration compares what a grade promises with what it kept.
type calibration struct {
	Grade fact.Grade `json:"grade"`
	Cases int        `json:"cases"`
	Score float64    `json:"score"` // mean posterior
	Right float64    `json:"right"` // share that was right
}

const silent = "(nothing reported)"

type accuracyFlags struct {
	from, captures []string
	field          []string
	lines, threads []string
	minField       float64
	write          string
	lab            labFlags
	limits         captureLimits
}

func (o *options) accuracyCommand() *cobra.Command {
	a := &accuracyFlags{}
	c := &cobra.Command{
		Use:   "accuracy",
		Short: "Measure how often verdicts are right, and whether their scores are honest",
		Long: `accuracy compares verdicts with known truth: confusion of senders and causes, the
Brier score and calibration of the score, and the number of wrong verdicts
that were called proved, for each source. It reads what "holdfast lab run -o
ndjson" wrote, or runs the whole lab itself (root).

With --captures it judges what "holdfast explain" says about captures: those of
a directory with a table of labels (truth.tsv), or those that "holdfast lab run
--pcap" wrote: from the client's host, from the server's, from both, and from
all hosts together.

With --lines and --threads it judges what "holdfast explain" reads out of lines
of logs and out of what people wrote in public threads.`,
		Example: "  sudo holdfast lab run --all -o ndjson > lab.ndjson\n  holdfast accuracy --from lab.ndjson --write docs/accuracy.md\n" +
			"  sudo holdfast lab run --all --source none --pcap captures\n  holdfast accuracy --captures captures --max-wrong-proved 0",
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.accuracy(c.Context(), a) },
	}
	c.Flags().StringSliceVar(&a.from, "from", nil, "result of lab run -o ndjson, several may be given; - is standard input")
	c.Flags().StringSliceVar(&a.captures, "captures", nil, "directory with truth.tsv, or of lab run --pcap; several may be given")
	c.Flags().StringSliceVar(&a.field, "field", nil, "result of lab field -o ndjson; of a play that is there twice the later one counts")
	c.Flags().StringSliceVar(&a.lines, "lines", nil, "lines with what an expert reads out of them, in YAML; several may be given")
	c.Flags().StringSliceVar(&a.threads, "threads", nil, "threads with their established causes, in YAML; several may be given")
	c.Flags().Float64Var(&a.minField, "min-field", -1, "fail when of the field's faults a smaller share is right or general, when anything wrong was proved, or of noise")
	c.Flags().StringVar(&a.write, "write", "", "write the report as Markdown into this file")
	c.Flags().Float64Var(&a.limits.sender, "min-sender", -1, "fail when of the captures a smaller share of senders is right, 0 to 1")
	c.Flags().Float64Var(&a.limits.precision, "min-precision", -1, "fail when a smaller share of the senders that were named is right")
	c.Flags().Float64Var(&a.limits.accused, "min-accused", -1, "fail when a smaller share of the accused devices and injectors is right")
	c.Flags().Float64Var(&a.limits.cause, "min-cause", -1, "fail when a smaller share of causes is right, general or unknown")
	c.Flags().IntVar(&a.limits.wrongProved, "max-wrong-proved", -1, "fail when more wrong verdicts were called proved")
	return c
}

func (o *options) accuracy(ctx context.Context, a *accuracyFlags) error {
	acc, err := o.measured(ctx, a)
	if err != nil {
		return err
	}
	if a.write != "" {
		if err := os.WriteFile(a.write, []byte(accuracyDocument(acc)), 0o644); err != nil {
			return fmt.Errorf("write accuracy report: %w", err)
		}
		o.notef("wrote %s\n", a.write)
	}
	switch {
	case o.output != "text":
		err = single(o, acc)
	case a.write == "":
		o.printf("%s", accuracyText(acc))
	}
	for _, s := range acc.Sources {
		if a.limits.wrongProved >= 0 && s.WrongProved > a.limits.wrongProved {
			err = errors.Join(err, &cliError{codeFindings, fmt.Errorf("source %s: %d wrong proved, more than %d", s.Source, s.WrongProved, a.limits.wrongProved), "sudo holdfast lab run, for each scenario"})
		}
	}
	for i := range acc.Captures {
		err = errors.Join(err, a.limits.check(&acc.Captures[i]))
	}
	if f := acc.Field; f != nil && a.minField >= 0 && (f.Share < a.minField || f.WrongProved > 0 || f.Noise > 0) {
		err = errors.Join(err, &cliError{codeFindings, fmt.Errorf("field: %.3f right or general, %d wrong proved, %d lines of noise; wanted %.3f, 0, 0", f.Share, f.WrongProved, f.Noise, a.minField), "sudo holdfast lab field, for each play"})
	}
	return err
}

// measured is the accuracy over what the flags name.
func (o *options) measured(ctx context.Context, a *accuracyFlags) (*accuracy, error) {
	acc := &accuracy{Schema: fact.Schema, Sources: []sourceAccuracy{}}
	if len(a.from) > 0 || len(a.captures)+len(a.field)+len(a.lines)+len(a.threads) == 0 {
		results, err := o.labResults(ctx, a)
		if err != nil {
			return nil, err
		}
		results = slices.DeleteFunc(results, func(r *labResult) bool { return r.Skipped != "" || r.Error != "" })
		if len(results) == 0 {
			return nil, &cliError{codeNotFound, fmt.Errorf("no result with a known truth"), "sudo holdfast lab run --all -o ndjson > lab.ndjson"}
		}
		acc = measure(results)
	}
	if len(a.field) > 0 {
		var err error
		if acc.Field, err = measureField(a.field); err != nil {
			return nil, err
		}
	}
	if len(a.captures)+len(a.lines)+len(a.threads) == 0 {
		return acc, nil
	}
	base, err := o.loadBase(a.lab.knowledge)
	if err != nil {
		return nil, err
	}
	if err := acc.measureTexts(base, a); err != nil {
		return nil, err
	}
	j := &captureJudge{base: base, explain: o.captureExplainer(ctx, base)}
	for _, dir := range a.captures {
		list, err := j.measure(dir)
		if err != nil {
			return nil, err
		}
		acc.Captures = append(acc.Captures, list...)
	}
	return acc, nil
}

// labResults reads results from files, or makes them.
func (o *options) labResults(ctx context.Context, a *accuracyFlags) ([]*labResult, error) {
	if len(a.from) == 0 {
		return o.runLab(ctx, &a.lab, lab.All(), func(r *labResult) { o.notef("%s\n", labLine(o.style(), r)) })
	}
	var list []*labResult
	for _, name := range a.from {
		in := o.env.in
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return nil, fmt.Errorf("open results: %w", err)
			}
			defer f.Close()
			in = f
		}
		part, err := readResults(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, part...)
	}
	return list, nil
}

func readResults(r io.Reader) ([]*labResult, error) {
	var list []*labResult
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	for n := 1; sc.Scan(); n++ {
		if len(sc.Bytes()) == 0 {
			continue
		}
		x := &labResult{}
		if err := json.Unmarshal(sc.Bytes(), x); err != nil {
			return nil, &cliError{codeUsage, fmt.Errorf("line %d is no result of lab run: %w", n, err), "holdfast lab run --all -o ndjson"}
		}
		list = append(list, x)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return list, nil
}

// measure computes the accuracy of each source. A scenario of which nothing was
// reported counts for the only other source, or for "kernel".
func measure(results []*labResult) *accuracy {
	bySource := map[string][]*labResult{}
	for _, r := range results {
		bySource[r.Source] = append(bySource[r.Source], r)
	}
	if lost := bySource[""]; len(lost) > 0 {
		delete(bySource, "")
		name := "kernel"
		if len(bySource) == 1 {
			name = slices.Collect(maps.Keys(bySource))[0]
		}
		bySource[name] = append(bySource[name], lost...)
	}
	acc := &accuracy{Schema: fact.Schema}
	for _, name := range slices.Sorted(maps.Keys(bySource)) {
		acc.Sources = append(acc.Sources, measureSource(name, bySource[name]))
	}
	return acc
}

func measureSource(name string, results []*labResult) sourceAccuracy {
	a := sourceAccuracy{Source: name, Cases: len(results)}
	senders, causes := map[string]*confusion{}, map[string]*confusion{}
	grades := map[fact.Grade]*calibration{}
	var ms []float64
	for _, r := range results {
		if r.WrongProved {
			a.WrongProved++
		}
		if r.Finding == nil {
			a.Silent++
			confuse(senders, r.Truth.Sender, silent)
			confuse(causes, r.Truth.Cause, silent)
			a.SenderBrier, a.CauseBrier = a.SenderBrier+1, a.CauseBrier+1
			continue
		}
		f := r.Finding
		ms = append(ms, r.VerdictMS)
		if f.Cause.Grade == fact.Unknown {
			a.Unknown++
		}
		a.RightSender += confuse(senders, r.Truth.Sender, f.Sender.Role)
		right := confuse(causes, r.Truth.Cause, f.Cause.ID)
		a.RightCause += right
		a.SenderBrier += brier(senderClaims(f), r.Truth.Sender)
		a.CauseBrier += brier(causeClaims(f), r.Truth.Cause)
		calibrate(grades, f, right)
	}
	a.SenderBrier /= float64(len(results))
	a.CauseBrier /= float64(len(results))
	if len(ms) > 0 {
		slices.Sort(ms)
		a.MedianMS = ms[len(ms)/2]
	}
	a.Senders, a.Causes, a.Grades = sorted(senders), sorted(causes), finish(grades)
	return a
}

// brier is the Brier score of one verdict: the squared distance between the
// probabilities that it gives and the truth. 0 is certain and right, 1 says
// nothing, 2 is certain and wrong.
func brier(claims map[string]float64, truth string) float64 {
	sum := (1 - claims[truth]) * (1 - claims[truth])
	for said, p := range claims {
		if said != truth {
			sum += p * p
		}
	}
	return sum
}

func senderClaims(f *fact.Finding) map[string]float64 {
	if f.Sender.Role == fact.UnknownSender {
		return nil
	}
	return map[string]float64{f.Sender.Role: f.Sender.Score}
}

func causeClaims(f *fact.Finding) map[string]float64 {
	claims := map[string]float64{}
	for _, a := range f.Alternatives {
		claims[a.ID] = a.Score
	}
	if f.Cause.ID != "unknown" {
		claims[f.Cause.ID] = f.Cause.Score
	}
	return claims
}

// confuse counts a verdict and returns 1 when it is the truth.
func confuse(m map[string]*confusion, truth, said string) int {
	c := m[truth]
	if c == nil {
		c = &confusion{Truth: truth, Said: map[string]int{}}
		m[truth] = c
	}
	c.Cases++
	c.Said[said]++
	if said != truth {
		return 0
	}
	c.Right++
	return 1
}

func calibrate(m map[fact.Grade]*calibration, f *fact.Finding, right int) {
	g := m[f.Cause.Grade]
	if g == nil {
		g = &calibration{Grade: f.Cause.Grade}
		m[f.Cause.Grade] = g
	}
	g.Cases++
	g.Score += f.Cause.Score
	g.Right += float64(right)
}

func sorted(m map[string]*confusion) []confusion {
	var list []confusion
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, *m[k])
	}
	return list
}

func finish(m map[fact.Grade]*calibration) []calibration {
	var list []calibration
	for _, g := range []fact.Grade{fact.Proved, fact.Probable, fact.Possible, fact.Unknown} {
		if c := m[g]; c != nil {
			c.Score /= float64(c.Cases)
			c.Right /= float64(c.Cases)
			list = append(list, *c)
		}
	}
	return list
}
