package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/handbook"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/knowledge"
)

// userKnowledge is where an administrator puts causes of his own.
const userKnowledge = "/etc/holdfast/knowledge.d"

// causeDoc is a cause as holdfast causes prints it for programs.
type causeDoc struct {
	ID           string             `json:"id"`
	Title        string             `json:"title"`
	Class        string             `json:"class"`
	Outcome      []string           `json:"outcome"`
	Benign       bool               `json:"benign,omitempty"`
	Senders      []string           `json:"senders"`
	Frequency    string             `json:"frequency"`
	Harm         []string           `json:"harm,omitempty"`
	Family       string             `json:"family,omitempty"`
	Symptoms     []string           `json:"symptoms"`
	Wire         []string           `json:"wire,omitempty"`
	Proof        []string           `json:"proof,omitempty"`
	Requires     []string           `json:"requires,omitempty"`
	Contradicts  []contradictionDoc `json:"contradicts,omitempty"`
	Evidence     []evidenceDoc      `json:"evidence,omitempty"`
	Excludes     []string           `json:"excludes,omitempty"`
	Says         string             `json:"says"`
	Effect       string             `json:"effect,omitempty"`
	Fixes        []fact.Fix         `json:"fixes"`
	Confirm      string             `json:"confirm,omitempty"`
	HowToConfirm *fact.Confirm      `json:"how_to_confirm,omitempty"`
	Prevent      string             `json:"prevent,omitempty"`
	References   []string           `json:"references"`
	Lab          []string           `json:"lab"`
	LookAlikes   []string           `json:"look_alikes,omitempty"`
	File         string             `json:"file"`
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
	classes, outcomes, senders, harms, knowledge []string
	rules                                        bool
}

func (o *options) causesCommand() *cobra.Command {
	f := &causeFlags{}
	c := &cobra.Command{
		Use:   "causes [ID]",
		Short: "The knowledge base: list causes, or show one in full",
		Long: `causes lists the knowledge base: every cause of a reset, refusal or timeout that
Holdfast can name. With an id it shows its page: what happens on the wire, how people
describe it, what shows it, how to prove, fix and prevent it, the lab scenario that
lets one see it, and what it is easily confused with. --outcome, --class and --harm
begin with how to go about such a failure; they take the words that people use, such
as overload, malware or timed-out.`,
		Example: "  holdfast causes --outcome refused\n  holdfast causes close-with-unread-data\n  holdfast causes lint /etc/holdfast/knowledge.d",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			base, err := o.loadBase(f.knowledge)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return o.showCause(base, args[0], f.rules)
			}
			return o.listCauses(base, f)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return o.causeIDs(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	fs := c.Flags()
	fs.BoolVar(&f.rules, "rules", false, "with an id: also the rules by which the engine finds it")
	fs.StringSliceVar(&f.harms, "harm", nil, "only causes that can cost this: "+strings.Join(diagnosis.Harms, ", "))
	fs.StringSliceVar(&f.classes, "class", nil, "only this class: "+strings.Join(diagnosis.Classes, ", "))
	fs.StringSliceVar(&f.outcomes, "outcome", nil, "only this outcome: "+strings.Join(diagnosis.Outcomes, ", "))
	fs.StringSliceVar(&f.senders, "sender", nil, "only causes that this role can be the sender of")
	c.PersistentFlags().StringSliceVar(&f.knowledge, "knowledge", nil, "directory with causes of your own (default "+userKnowledge+" if it exists)")
	c.AddCommand(o.causesLintCommand(), o.causesTestCommand(), o.causesNewCommand(), o.causesSeenCommand(), o.causesTimersCommand(), o.causesDocsCommand())
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

// shelves turns the words of the flags into names, and returns what to say first.
func (f *causeFlags) shelves() ([]knowledge.Shelf, error) {
	t, err := knowledge.LoadTaxonomy()
	if err != nil {
		return nil, err
	}
	var begin []knowledge.Shelf
	for _, x := range []struct {
		flag  string
		given []string
		know  []knowledge.Shelf
	}{{"--class", f.classes, t.Classes}, {"--outcome", f.outcomes, t.Outcomes}, {"--harm", f.harms, t.Harms}} {
		for i, g := range x.given {
			s, ok := knowledge.Find(x.know, g)
			if !ok {
				return nil, usageError("one of "+strings.Join(knowledge.Names(x.know), ", "), "%s %q is not known", x.flag, g)
			}
			x.given[i] = s.Name
			begin = append(begin, s)
		}
	}
	for _, g := range f.senders {
		if !slices.Contains(diagnosis.Roles, g) {
			return nil, usageError("one of "+strings.Join(diagnosis.Roles, ", "), "--sender %q is not known", g)
		}
	}
	return begin, nil
}

func (f *causeFlags) match(c *causeDoc) bool {
	return anyOf(f.classes, func(s string) bool { return s == c.Class }) &&
		anyOf(f.outcomes, func(s string) bool { return slices.Contains(c.Outcome, s) }) &&
		anyOf(f.harms, func(s string) bool { return slices.Contains(c.Harm, s) }) &&
		anyOf(f.senders, func(s string) bool { return slices.Contains(c.Senders, s) })
}

func (o *options) listCauses(base *diagnosis.Base, f *causeFlags) error {
	begin, err := f.shelves()
	if err != nil {
		return err
	}
	var list []causeDoc
	for _, c := range base.Causes() {
		d := documentCause(c)
		if !f.match(&d) {
			continue
		}
		if o.output != "text" {
			p := handbook.New(base, c)
			d.read(&p)
		}
		list = append(list, d)
	}
	if o.output != "text" {
		return value(o, list)
	}
	st := o.style()
	for _, s := range begin {
		page := st.Page()
		page.Title(s.Title)
		page.Row("about", s.About)
		for i, step := range s.Begin {
			page.Row(firstLabel(i, "begin"), fmt.Sprintf("%d. %s", i+1, step))
		}
		page.Blank()
		o.printf("%s", page.String())
	}
	first := func(d *causeDoc) bool { return len(f.outcomes) == 0 || slices.Contains(f.outcomes, d.Outcome[0]) }
	slices.SortStableFunc(list, func(a, b causeDoc) int { // what usually ends so stands first
		return map[bool]int{false: 1}[first(&a)] - map[bool]int{false: 1}[first(&b)]
	})
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
		Frequency: c.Frequency, Harm: texts(c.Harm), Family: c.Family.S, Symptoms: c.Symptoms, Requires: texts(c.Requires), Excludes: texts(c.Excludes), Says: c.Says.S,
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

func (o *options) showCause(base *diagnosis.Base, id string, rules bool) error {
	c, ok := base.Cause(id)
	if !ok {
		return &cliError{codeNotFound, fmt.Errorf("the knowledge base has no cause %q", id), nearestHint(base, id)}
	}
	p := handbook.New(base, c)
	if o.output != "text" {
		d := documentCause(c)
		d.read(&p)
		return single(o, d)
	}
	page := o.style().Page()
	page.Title(p.Title)
	page.Row("id", p.ID)
	page.Row("class", p.Kind())
	page.Row("outcome", strings.Join(p.Outcomes, ", "))
	page.Row("sent by", strings.Join(p.Senders, ", "))
	page.Row("can cost", strings.Join(p.Harm, ", "))
	page.Row("form of", p.Family.ID)
	page.Row("says", p.Says)
	page.Row("effect", p.Effect)
	page.Picture("wire", p.Wire)
	page.Rows("said as", p.Symptoms)
	page.Rows("shown by", p.Proof)
	page.Rows("not when", p.Against)
	prove := strings.TrimSuffix(p.Confirm.Text, ".")
	if prove == "" && p.Confirm.String() != "" {
		prove = "by this"
	}
	page.Row("prove", prove)
	page.Commands("", append(slices.Clone(p.Confirm.Run), p.Confirm.Probe...))
	page.Row("", prefixed("a counter that rises by one for each: ", p.Confirm.Counter))
	page.Row("", prefixed("the log says: ", p.Confirm.Log))
	page.Fixes(p.Fixes)
	page.Row("prevent", p.Prevent)
	page.Commands("see it", p.LabCommands())
	if len(p.Lab) == 0 {
		page.Row("see it", "no scenario in the laboratory: "+p.NoLab)
	}
	page.Rows("forms", linkTexts(p.Forms))
	page.Rows("similar", linkTexts(p.LookAlikes))
	page.Rows("read", p.References)
	if rules {
		o.printRules(page, c)
	}
	o.printf("%s", page.String())
	if !rules {
		o.notef("the rules by which it is found: holdfast causes %s --rules\n", p.ID)
	}
	return nil
}

// printRules adds what the engine weighs, as it stands in the file.
func (o *options) printRules(page *report.Page, c *diagnosis.CauseSpec) {
	d := documentCause(c)
	page.Blank()
	page.Rows("requires", d.Requires)
	page.Rows("rules out", contradictionTexts(d.Contradicts))
	for i, e := range d.Evidence {
		page.Row(firstLabel(i, "evidence"), evidenceText(e))
	}
	page.Row("silences", strings.Join(d.Excludes, ", "))
	page.Row("file", d.File)
}

func prefixed(label, s string) string {
	if s == "" {
		return ""
	}
	return label + s
}

func linkTexts(list []handbook.Link) []string {
	var out []string
	for _, l := range list {
		out = append(out, l.ID+": "+l.Title)
	}
	return out
}

// read takes the texts of a page, which have no templates in them.
func (d *causeDoc) read(p *handbook.Page) {
	d.Says, d.Effect, d.Fixes, d.Confirm, d.Prevent = p.Says, p.Effect, p.Fixes, p.Confirm.String(), p.Prevent
	d.Wire, d.HowToConfirm = p.Wire, &p.Confirm
	for i := range d.Evidence {
		d.Evidence[i].Says = ""
	}
	d.Proof = p.Proof
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
