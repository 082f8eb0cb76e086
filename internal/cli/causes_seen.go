package cli

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// seenLine is how often a line of evidence was true when its cause, or sender,
// was the truth.
type seenLine struct {
	ID       string `json:"id"` // cause or sender
	If       string `json:"if"`
	True     int    `json:"true"`
	Answered int    `json:"answered"`
	Declared int    `json:"declared"` // the knowledge base's seen: in how many of ten cases
	Measured int    `json:"measured"` // the same, of these recordings, smoothed
}

// leaveOneOut is what happens when a scenario is judged by what all the others
// have taught.
type leaveOneOut struct {
	Scenarios   int      `json:"scenarios"`
	RightSender int      `json:"right_sender"`
	RightCause  int      `json:"right_cause"`
	WrongProved int      `json:"wrong_proved"`
	Different   []string `json:"different,omitempty"` // scenarios that are not right
}

// smoothed is seen for a line that was true in k of n cases. As long as there are
// few cases it stays near 3 of 10.
func smoothed(k, n int) int {
	return min(max(int((float64(k)+1.2)/(float64(n)+4)*10+0.5), 1), 9)
}

func (o *options) causesSeenCommand() *cobra.Command {
	var leave bool
	c := &cobra.Command{
		Use:   "seen DIR",
		Short: "Measure how often each line of evidence holds, from recordings of the lab",
		Long: `seen replays recordings ("holdfast lab run --record DIR") and prints for each line
of evidence in how many of the cases of its cause it was true, beside the "seen"
that the knowledge base declares. With --leave-one-out every scenario is judged by
values measured on all the others: how much the verdicts depend on the cases that
the values came from.`,
		Example: "  holdfast causes seen internal/cli/testdata/cases --leave-one-out",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			base, err := o.loadBase(nil)
			if err != nil {
				return err
			}
			recs, err := readRecordings(args[0])
			if err != nil {
				return err
			}
			if leave {
				return o.printLeaveOneOut(base, recs)
			}
			return o.printSeen(countSeen(base, recs, ""))
		},
	}
	c.Flags().BoolVar(&leave, "leave-one-out", false, "judge every scenario by values measured on all the others")
	return c
}

func readRecordings(dir string) ([]*recording, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return nil, &cliError{codeNotFound, fmt.Errorf("no recordings in %s", dir), "sudo holdfast lab run --all --record " + dir}
	}
	var recs []*recording
	for _, f := range files {
		rec, err := readRecording(f)
		if err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// seenKey names a line.
type seenKey struct{ id, expr string }

// countSeen counts the answers of each line over the recordings whose verdict is
// the truth, leaving one scenario out.
func countSeen(base *diagnosis.Base, recs []*recording, without string) map[seenKey]*seenLine {
	m := map[seenKey]*seenLine{}
	note := func(list []fact.Score, id string) {
		i := slices.IndexFunc(list, func(s fact.Score) bool { return s.ID == id })
		if i < 0 {
			return
		}
		for _, l := range list[i].Lines {
			if l.Witness == "" || l.Answer == diagnosis.NotKnown.String() {
				continue
			}
			k := seenKey{id, l.If}
			if m[k] == nil {
				m[k] = &seenLine{ID: id, If: l.If}
			}
			m[k].Answered++
			if l.Answer == diagnosis.Yes.String() {
				m[k].True++
			}
		}
	}
	for _, rec := range recs {
		if rec.Scenario == without {
			continue
		}
		for _, c := range rec.Cases {
			f := base.Explain(c, diagnosis.Options{Why: true})
			if f.Sender.Role != rec.Truth.Sender || f.Cause.ID != rec.Truth.Cause {
				continue
			}
			note(f.Arithmetic.Senders, f.Sender.Role)
			note(f.Arithmetic.Causes, f.Cause.ID)
			if s, ok := base.Cause(f.Cause.ID); ok && s.Family.S != "" {
				note(f.Arithmetic.Causes, s.Family.S)
			}
		}
	}
	return m
}

func (o *options) printSeen(m map[seenKey]*seenLine) error {
	base, err := o.loadBase(nil)
	if err != nil {
		return err
	}
	var list []seenLine
	each := func(id string, lines []diagnosis.Line) {
		for _, l := range lines {
			if s := m[seenKey{id, l.If.S}]; s != nil && l.Seen != nil {
				s.Declared, s.Measured = *l.Seen, smoothed(s.True, s.Answered)
				list = append(list, *s)
			}
		}
	}
	for _, s := range base.Senders() {
		each(s.ID, s.Evidence)
	}
	for _, c := range base.Causes() {
		each(c.ID, c.Evidence)
	}
	if o.output != "text" {
		return value(o, list)
	}
	for _, s := range list {
		o.printf("%s  %d of %d true, seen %d, measured %d  %s\n", padTo(s.ID, 34), s.True, s.Answered, s.Declared, s.Measured, s.If)
	}
	return nil
}

// taught returns the base with the values of seen that m has measured.
func taught(base *diagnosis.Base, m map[seenKey]*seenLine) (*diagnosis.Base, error) {
	learn := func(id string, lines []diagnosis.Line) []diagnosis.Line {
		lines = slices.Clone(lines)
		for i := range lines {
			if s := m[seenKey{id, lines[i].If.S}]; lines[i].Seen != nil {
				n := smoothed(0, 0) // without a case
				if s != nil {
					n = smoothed(s.True, s.Answered)
				}
				lines[i].Seen = &n
			}
		}
		return lines
	}
	var senders []diagnosis.SenderSpec
	for _, s := range base.Senders() {
		x := *s
		x.Evidence = learn(x.ID, x.Evidence)
		senders = append(senders, x)
	}
	var causes []diagnosis.CauseSpec
	for _, c := range base.Causes() {
		x := *c
		x.Evidence = learn(x.ID, x.Evidence)
		causes = append(causes, x)
	}
	b, problems := diagnosis.Compile(senders, causes)
	if len(problems) > 0 {
		return nil, fmt.Errorf("compile what was learnt: %w", problems[0])
	}
	return b, nil
}

func (o *options) printLeaveOneOut(base *diagnosis.Base, recs []*recording) error {
	out := leaveOneOut{Scenarios: len(recs)}
	for _, rec := range recs {
		b, err := taught(base, countSeen(base, recs, rec.Scenario))
		if err != nil {
			return err
		}
		for i, c := range rec.Cases {
			f := b.Explain(c, diagnosis.Options{})
			if wrongProved(&f, rec.Truth) {
				out.WrongProved++
			}
			if i > 0 {
				continue
			}
			sender, cause := f.Sender.Role == rec.Truth.Sender, f.Cause.ID == rec.Truth.Cause
			if sender {
				out.RightSender++
			}
			if cause {
				out.RightCause++
			}
			if !sender || !cause {
				out.Different = append(out.Different, rec.Scenario)
			}
		}
	}
	if o.output != "text" {
		return single(o, out)
	}
	o.printf("leave one scenario out: sender right %s, cause right %s, %d wrong proved\n", interval(out.RightSender, out.Scenarios), interval(out.RightCause, out.Scenarios), out.WrongProved)
	for _, s := range out.Different {
		o.printf("  not right: %s\n", s)
	}
	return nil
}
