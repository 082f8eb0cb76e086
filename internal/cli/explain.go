package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/report"
)

// explanation is the answer of holdfast explain to one error text.
type explanation struct {
	pasted
	Causes []explainedCause `json:"causes"` // that fit, the most common first
	Prove  string           `json:"prove"`  // the command that would tell which it is
}

type explainedCause struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

const maxExplained = 50 // different errors of one input

func (o *options) explainCommand() *cobra.Command {
	var knowledge []string
	var cf captureFlags
	c := &cobra.Command{
		Use:   "explain CAPTURE...|TEXT|FILE|-",
		Short: "Say who reset the connections in a capture and why, or what an error message means",
		Long: `explain reads packet captures (pcap and pcapng, plain or compressed, any size) and
says for each RST, each refused attempt and each connection that died in silence
who ended it, why, with which frames as proof, what it cost, and what to do.
Frames and streams are numbered as in Wireshark. Several captures of the same
traffic, taken at different places at the same time, are compared: what is
absent at one of them is proof.

It also reads an error text as programs write it (Go, Java, Node.js, Python,
.NET, curl, nginx, PostgreSQL ...), a file with such lines, or standard input with
-. A text says what happened and which causes fit; it can not prove who sent a
reset.`,
		Example: `  holdfast explain trace.pcapng
  holdfast explain client.pcap server.pcap --report for-the-provider.html
  ssh router tcpdump -w - port 443 | holdfast explain --follow -
  sudo holdfast explain --interface eth0 --only-harmful
  holdfast explain "read tcp 10.0.0.5:40122->10.0.0.7:5432: read: connection reset by peer"
  journalctl -u app | holdfast explain -`,
		Args: usage(func(c *cobra.Command, args []string) error {
			if cf.iface != "" {
				return nil
			}
			return cobra.MinimumNArgs(1)(c, args)
		}),
		RunE: func(c *cobra.Command, args []string) error {
			base, err := o.loadBase(knowledge)
			if err != nil {
				return err
			}
			if err := cf.check(base); err != nil {
				return err
			}
			if cf.follow || cf.iface != "" {
				return o.followCapture(c.Context(), base, args, &cf)
			}
			captures, err := o.allCaptures(args)
			if err != nil {
				return err
			}
			if captures {
				return o.explainCaptures(c.Context(), base, args, &cf)
			}
			return o.explain(base, args)
		},
	}
	c.Flags().StringSliceVar(&knowledge, "knowledge", nil, "directory with causes of your own")
	cf.flags(c.Flags())
	return c
}

// allCaptures reports whether the arguments are captures. Captures and texts
// can not be mixed.
func (o *options) allCaptures(args []string) (bool, error) {
	n := 0
	for _, a := range args {
		if o.isCaptureFile(a) {
			n++
		}
	}
	if n == 0 || n == len(args) {
		return n > 0, nil
	}
	for _, a := range args {
		if !o.isCaptureFile(a) {
			return false, usageError("captures and texts in separate calls", "%s is not a capture, others are", a)
		}
	}
	return true, nil
}

func (o *options) explain(base *diagnosis.Base, args []string) error {
	found, err := o.readErrors(args)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return &cliError{
			codeNotFound, errors.New("no text names a reset, refused, timed-out or closed connection"),
			`paste the whole line, such as "read tcp 10.0.0.5:40122->10.0.0.7:443: connection reset by peer"`,
		}
	}
	var list []explanation
	for _, p := range found {
		list = append(list, explanation{p, fitting(base, &p), proveCommand(&p)})
	}
	if o.output != "text" {
		return value(o, list)
	}
	for i := range list {
		o.printExplanation(&list[i])
	}
	return nil
}

// readErrors reads the arguments: texts, files of texts, or - for stdin. Each
// different error is returned once.
func (o *options) readErrors(args []string) ([]pasted, error) {
	if rest := strings.Join(args, " "); len(args) > 1 {
		if _, err := os.Stat(args[0]); err != nil && args[0] != "-" {
			args = []string{rest} // an unquoted text
		}
	}
	var found []pasted
	for _, a := range args {
		list, err := o.readArgument(a)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(found, func(p pasted) bool {
		k := fmt.Sprint(p.Error, p.Doing, p.Remote, p.Runtime)
		dup := seen[k]
		seen[k] = true
		return dup || len(seen) > maxExplained
	}), nil
}

func (o *options) readArgument(a string) ([]pasted, error) {
	if a == "-" {
		return readLines(o.env.in)
	}
	if r := o.pipes[a]; r != nil {
		return readLines(r)
	}
	f, err := os.Open(a)
	if err != nil {
		p, ok := readError(a)
		switch {
		case ok:
			return []pasted{p}, nil
		case errors.Is(err, os.ErrPermission):
			return nil, &cliError{codePermission, err, "sudo, or a copy that you may read"}
		case looksLikeFile(a):
			return nil, &cliError{codeNotFound, err, "check the name; a text needs quotes"}
		}
		return nil, nil
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, usageError("name its files: holdfast explain "+filepath.Join(a, "*.pcapng"), "%s is a directory", a)
	}
	r := bufio.NewReader(f)
	head, _ := r.Peek(512)
	if len(head) == 0 {
		return nil, usageError("capture again; tcpdump -U writes each packet at once", "%s is empty", a)
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return nil, usageError("captures are pcap or pcapng, plain or in gzip, zstd, xz or bzip2; `editcap -F pcapng IN OUT` converts others", "%s is neither a capture nor text", a)
	}
	return readLines(r)
}

// looksLikeFile tells a mistyped file name from an error text.
func looksLikeFile(a string) bool {
	return !strings.ContainsAny(a, " \t\n") && (strings.ContainsRune(a, filepath.Separator) || filepath.Ext(a) != "")
}

func readLines(r io.Reader) ([]pasted, error) {
	var list []pasted
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if p, ok := readError(sc.Text()); ok && len(list) < 100_000 {
			list = append(list, p)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read text: %w", err)
	}
	return list, nil
}

// fitting lists the causes that the text does not rule out, the most common
// first. What the text tells is put to the engine as a case.
func fitting(base *diagnosis.Base, p *pasted) []explainedCause {
	out := ruledOut(base, p)
	rank := map[string]int{"very-common": 0, "": 1, "common": 1, "rare": 2}
	var specs []*diagnosis.CauseSpec
	for _, c := range base.Causes() {
		if !c.Benign && !out[c.ID] && c.Family.S == "" && slices.Contains(texts(c.Outcomes), p.Outcome) {
			specs = append(specs, c)
		}
	}
	slices.SortStableFunc(specs, func(a, b *diagnosis.CauseSpec) int { return rank[a.Frequency] - rank[b.Frequency] })
	list := []explainedCause{}
	for _, c := range specs {
		list = append(list, explainedCause{c.ID, c.Title})
	}
	return list
}

// caseOf returns what the text tells, as a case.
func caseOf(p *pasted) *fact.Case {
	c := &fact.Case{Source: "log", Outcome: fact.SomeBy(p.Outcome, fact.ByLog)}
	if p.Phase != "" {
		c.Phase = fact.SomeBy(p.Phase, fact.ByLog)
	}
	if p.Error != "EOF" {
		c.Victim.Error = fact.SomeBy(p.Error, fact.ByLog)
	}
	if p.Remote != nil && p.Phase == "connect" {
		c.Flow.Server = *p.Remote
		c.Flow.ServerPort = fact.SomeBy(int64(p.Remote.Port()), fact.ByLog)
	}
	return c
}

func proveCommand(p *pasted) string {
	cmd := "sudo holdfast watch"
	if p.Remote != nil {
		cmd += fmt.Sprintf(" --address %s --port %d", p.Remote.Addr(), p.Remote.Port())
	}
	return cmd + " --details"
}

func (o *options) printExplanation(e *explanation) {
	page := o.style().Page()
	title := e.Error
	if e.Doing != "" {
		title += " while " + e.Doing
	}
	if e.Remote != nil {
		title += ", remote end " + e.Remote.String()
	}
	if e.Runtime != "" {
		title += " (in the words of " + e.Runtime + ")"
	}
	page.Title(title)
	page.Row("text", firstLine(e.Text))
	page.Row("means", e.Means)
	const show = 12
	for i, c := range e.Causes[:min(show, len(e.Causes))] {
		page.Row(firstLabel(i, "may be"), c.ID+": "+c.Title)
	}
	if more := len(e.Causes) - show; more > 0 {
		page.Row("", fmt.Sprintf("and %d rarer ones: holdfast causes --outcome %s", more, e.Outcome))
	}
	page.Row("prove", "the text does not tell which of them it was; this would, on either host, while it happens again:")
	page.Row("", "  "+e.Prove)
	page.Blank()
	o.printf("%s", page.String())
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	return report.Clean(line)
}

// ruledOut returns the causes of which the text contradicts a requirement.
func ruledOut(base *diagnosis.Base, p *pasted) map[string]bool {
	f := base.Explain(caseOf(p), diagnosis.Options{Why: true})
	out := map[string]bool{}
	if f.Arithmetic == nil {
		return out
	}
	for _, s := range f.Arithmetic.Causes {
		if c, ok := base.Cause(s.ID); ok {
			out[s.ID] = slices.Contains(texts(c.Requires), s.Vetoed) ||
				slices.ContainsFunc(c.Contradicts, func(k diagnosis.Contradiction) bool { return k.If.S == s.Vetoed })
		}
	}
	return out
}
