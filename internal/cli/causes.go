package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/knowledge"
)

// userKnowledge is where an administrator puts causes of his own.
const userKnowledge = "/etc/holdfast/knowledge.d"

// causeDoc is a cause as holdfast causes prints it for programs.
type causeDoc struct {
	ID          string             `json:"id"`
	Title       string             `json:"title"`
	Class       string             `json:"class"`
	Outcome     []string           `json:"outcome"`
	Benign      bool               `json:"benign,omitempty"`
	Senders     []string           `json:"senders"`
	Frequency   string             `json:"frequency"`
	Family      string             `json:"family,omitempty"`
	Requires    []string           `json:"requires,omitempty"`
	Contradicts []contradictionDoc `json:"contradicts,omitempty"`
	Evidence    []evidenceDoc      `json:"evidence,omitempty"`
	Excludes    []string           `json:"excludes,omitempty"`
	Says        string             `json:"says"`
	Effect      string             `json:"effect,omitempty"`
	Fixes       []fact.Fix         `json:"fixes"`
	Confirm     string             `json:"confirm,omitempty"`
	Prevent     string             `json:"prevent,omitempty"`
	References  []string           `json:"references"`
	Lab         []string           `json:"lab"`
	LookAlikes  []string           `json:"look_alikes,omitempty"`
	File        string             `json:"file"`
}

type evidenceDoc struct {
	If        string `json:"if"`
	Weight    string `json:"weight,omitempty"`
	Against   string `json:"against,omitempty"`
	Seen      *int   `json:"seen,omitempty"` // in how many of ten such cases
	Otherwise string `json:"otherwise,omitempty"`
	Witness   string `json:"witness,omitempty"`
	Says      string `json:"says,omitempty"`
}

type contradictionDoc struct {
	If        string `json:"if"`
	MustCheck bool   `json:"must_check,omitempty"`
}

// causeFlags are the flags of holdfast causes.
type causeFlags struct {
	classes, outcomes, senders, knowledge []string
}

func (o *options) causesCommand() *cobra.Command {
	f := &causeFlags{}
	c := &cobra.Command{
		Use:   "causes [ID]",
		Short: "The knowledge base: list causes, or show one in full",
		Long: `causes lists the knowledge base: every cause of a reset, refusal or timeout that
Holdfast can name. With an id it shows the cause in full: what it looks like, the
evidence with its weights, how to stop, confirm and prevent it, references, the
lab scenario that manufactures it, and what it is easily confused with.`,
		Example: "  holdfast causes --outcome refused\n  holdfast causes close-with-unread-data\n  holdfast causes lint /etc/holdfast/knowledge.d",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			base, err := o.loadBase(f.knowledge)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return o.showCause(base, args[0])
			}
			return o.listCauses(base, f)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return o.causeIDs(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	fs := c.Flags()
	fs.StringSliceVar(&f.classes, "class", nil, "only this class: "+strings.Join(diagnosis.Classes, ", "))
	fs.StringSliceVar(&f.outcomes, "outcome", nil, "only this outcome: "+strings.Join(diagnosis.Outcomes, ", "))
	fs.StringSliceVar(&f.senders, "sender", nil, "only causes that this role can be the sender of")
	c.PersistentFlags().StringSliceVar(&f.knowledge, "knowledge", nil, "directory with causes of your own (default "+userKnowledge+" if it exists)")
	c.AddCommand(o.causesLintCommand(), o.causesTestCommand(), o.causesNewCommand(), o.causesSeenCommand(), o.causesTimersCommand())
	return c
}

func (o *options) causeIDs() []string {
	base, err := o.loadBase(nil)
	if err != nil {
		return nil
	}
	var ids []string
	for _, c := range base.Causes() {
		ids = append(ids, c.ID)
	}
	return ids
}

// check refuses words outside the vocabularies.
func (f *causeFlags) check() error {
	for _, x := range []struct {
		flag        string
		given, know []string
	}{{"--class", f.classes, diagnosis.Classes}, {"--outcome", f.outcomes, diagnosis.Outcomes}, {"--sender", f.senders, diagnosis.Roles}} {
		for _, g := range x.given {
			if !slices.Contains(x.know, g) {
				return usageError("one of "+strings.Join(x.know, ", "), "%s %q is not known", x.flag, g)
			}
		}
	}
	return nil
}

func (f *causeFlags) match(c *causeDoc) bool {
	return anyOf(f.classes, func(s string) bool { return s == c.Class }) &&
		anyOf(f.outcomes, func(s string) bool { return slices.Contains(c.Outcome, s) }) &&
		anyOf(f.senders, func(s string) bool { return slices.Contains(c.Senders, s) })
}

func (o *options) listCauses(base *diagnosis.Base, f *causeFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	var list []causeDoc
	for _, c := range base.Causes() {
		if d := documentCause(c); f.match(&d) {
			list = append(list, d)
		}
	}
	if o.output != "text" {
		return value(o, list)
	}
	st := o.style()
	for _, d := range list {
		id := st.Bold(padTo(report.Clean(d.ID), 38))
		main := ""
		if len(d.Outcome) > 0 {
			main = d.Outcome[0] // the usual one; the page has all
		}
		o.printf("%s  %s  %s\n", id, st.Dim(padTo(main, 11)), report.Clean(d.Title))
	}
	o.notef("%s\n", plural(len(list), "causes"))
	return nil
}

func texts(list []diagnosis.Text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.S)
	}
	return out
}

func documentCause(c *diagnosis.CauseSpec) causeDoc {
	d := causeDoc{
		ID: c.ID, Title: c.Title, Class: c.Class, Outcome: texts(c.Outcomes), Benign: c.Benign, Senders: texts(c.Senders),
		Frequency: c.Frequency, Family: c.Family.S, Requires: texts(c.Requires), Excludes: texts(c.Excludes), Says: c.Says.S,
		Effect: c.Effect.S, Fixes: c.Fixes, Confirm: c.Confirm, Prevent: c.Prevent, References: c.References, Lab: texts(c.Lab),
		LookAlikes: texts(c.LookAlikes), File: c.Pos.File,
	}
	for _, l := range c.Evidence {
		d.Evidence = append(d.Evidence, evidenceDoc{l.If.S, l.Weight.S, l.Against.S, l.Seen, l.Otherwise.S, l.Witness.S, l.Says.S})
	}
	for _, k := range c.Contradicts {
		d.Contradicts = append(d.Contradicts, contradictionDoc{k.If.S, k.MustCheck})
	}
	return d
}

func (o *options) showCause(base *diagnosis.Base, id string) error {
	c, ok := base.Cause(id)
	if !ok {
		return &cliError{codeNotFound, fmt.Errorf("the knowledge base has no cause %q", id), nearestHint(base, id)}
	}
	d := documentCause(c)
	if o.output != "text" {
		return single(o, d)
	}
	d.forReaders(knowledge.Example(c))
	page := o.style().Page()
	page.Title(d.Title)
	kind := d.Class
	if d.Benign {
		kind += ", benign"
	}
	page.Row("id", d.ID)
	page.Row("class", kind+", "+d.Frequency)
	page.Row("outcome", strings.Join(d.Outcome, ", "))
	page.Row("sent by", strings.Join(d.Senders, ", "))
	if d.Family != "" {
		page.Row("is a", d.Family)
	}
	page.Row("says", d.Says)
	page.Row("effect", d.Effect)
	page.Rows("requires", d.Requires)
	page.Rows("rules out", contradictionTexts(d.Contradicts))
	for i, e := range d.Evidence {
		page.Row(firstLabel(i, "evidence"), evidenceText(e))
		page.Row("", e.Says)
	}
	page.Fixes(d.Fixes)
	page.Row("confirm", d.Confirm)
	page.Row("prevent", d.Prevent)
	page.Row("silences", strings.Join(d.Excludes, ", "))
	page.Row("similar", strings.Join(d.LookAlikes, ", "))
	page.Rows("see", d.References)
	page.Row("lab", strings.Join(d.Lab, ", "))
	page.Row("file", d.File)
	o.printf("%s", page.String())
	return nil
}

// forReaders fills the texts with the values of an example; what does not hold
// there, and would show its template, is left out.
func (d *causeDoc) forReaders(example *fact.Case) {
	fill := func(text string) string {
		if !strings.Contains(text, "{{") {
			return text
		}
		t, problems := diagnosis.CompileTemplate(diagnosis.Text{S: text})
		if example == nil || len(problems) > 0 {
			return ""
		}
		return t.Render(example)
	}
	says, effect := d.Says, d.Effect
	d.Says, d.Effect = fill(says), fill(effect)
	if d.Says != says && d.Says != "" {
		d.Says = "for example: " + d.Says
	}
	for i := range d.Evidence {
		d.Evidence[i].Says = fill(d.Evidence[i].Says)
	}
	d.Fixes = slices.Clone(d.Fixes)
	for i := range d.Fixes {
		for _, list := range []*[]string{&d.Fixes[i].Commands, &d.Fixes[i].Undo} {
			filled := make([]string, 0, len(*list))
			for _, c := range *list {
				filled = append(filled, fill(c))
			}
			*list = filled
		}
	}
}

func evidenceText(e evidenceDoc) string {
	s := e.Weight
	if e.Against != "" {
		s = "against: " + e.Against
	}
	s += "  " + e.If
	switch {
	case e.Seen != nil:
		s += fmt.Sprintf("  (seen in %d of 10)", *e.Seen)
	case e.Otherwise != "":
		s += "  (against when false: " + e.Otherwise + ")"
	}
	if e.Witness != "" {
		s += "  [" + e.Witness + "]"
	}
	return s
}

func contradictionTexts(list []contradictionDoc) []string {
	var out []string
	for _, c := range list {
		if c.MustCheck {
			c.If += "  (must be checked)"
		}
		out = append(out, c.If)
	}
	return out
}

func firstLabel(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}

// nearestHint proposes causes whose id shares a word with what was asked.
func nearestHint(base *diagnosis.Base, id string) string {
	const show = 6
	var near, all []string
	for _, c := range base.Causes() {
		all = append(all, c.ID)
		for w := range strings.SplitSeq(id, "-") {
			if len(w) > 2 && strings.Contains(c.ID, w) {
				near = append(near, "holdfast causes "+c.ID)
				break
			}
		}
	}
	if best := diagnosis.Nearest(id, all); best != "" {
		return "holdfast causes " + best
	}
	if len(near) == 0 {
		return "holdfast causes, for the list"
	}
	if len(near) > show {
		near = append(near[:show], fmt.Sprintf("or one of %d more: holdfast causes, for the list", len(near)-show))
	}
	return strings.Join(near, "\n")
}
