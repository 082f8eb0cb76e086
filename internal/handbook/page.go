// Package handbook makes the page of a cause: what happens on the wire, how to
// recognise it, how to prove, fix and prevent it, and how to see it in the
// laboratory. It is one page for the terminal, for Markdown and for programs, so
// none of them says what the others do not.
//
// It does no diagnosis. A text of the knowledge base with values of a case in it
// is filled from the first case of its file; when a page reads oddly, look there.
package handbook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/knowledge"
)

// Page is a cause for readers. No text has templates in it.
type Page struct {
	ID         string
	Title      string
	Class      string
	Frequency  string
	Benign     bool
	Outcomes   []string
	Senders    []string
	Harm       []string
	Family     Link // the general cause that it is a form of
	Forms      []Link
	Wire       []string // a ladder, line by line
	Symptoms   []string
	Says       string
	Effect     string
	Proof      []string // what shows it, the strongest first
	Against    []string // what it is not
	Confirm    fact.Confirm
	Fixes      []fact.Fix
	Prevent    string
	Lab        []string // scenarios
	NoLab      string   // why there is none
	LookAlikes []Link
	References []string
	File       string
}

// Link is another cause.
type Link struct{ ID, Title string }

// New makes the page of a cause of base.
func New(base *diagnosis.Base, c *diagnosis.CauseSpec) Page {
	example := complete(knowledge.Example(c))
	fill := func(s string) string { return filled(s, example) }
	p := Page{
		ID: c.ID, Title: c.Title, Class: c.Class, Frequency: c.Frequency, Benign: c.Benign, Outcomes: texts(c.Outcomes), Senders: texts(c.Senders),
		Harm: texts(c.Harm), Symptoms: c.Symptoms, Says: strings.TrimSpace(fill(c.Says.S)), Effect: strings.TrimSpace(fill(c.Effect.S)),
		Confirm: confirm(c.HowToConfirm, fill), Prevent: fill(c.Prevent), References: c.References, File: c.Pos.File,
	}
	if p.Says != "" && strings.Contains(c.Says.S, "{{") {
		p.Says = "For example: " + p.Says
	}
	p.Wire = ladder(c, example)
	p.proof(c, fill)
	p.fixes(c, fill)
	for _, t := range c.Lab {
		if reason, none := strings.CutPrefix(t.S, "none"); none {
			p.NoLab = strings.TrimSpace(strings.TrimPrefix(reason, ":"))
		} else {
			p.Lab = append(p.Lab, t.S)
		}
	}
	link := func(id string) Link {
		l := Link{ID: id}
		if o, ok := base.Cause(id); ok {
			l.Title = o.Title
		}
		return l
	}
	for _, t := range c.LookAlikes {
		p.LookAlikes = append(p.LookAlikes, link(t.S))
	}
	if c.Family.S != "" {
		p.Family = link(c.Family.S)
	}
	for _, o := range base.Causes() {
		if o.Family.S == c.ID {
			p.Forms = append(p.Forms, Link{o.ID, o.Title})
		}
	}
	return p
}

// complete gives an example the addresses and roles that every connection has.
func complete(c *fact.Case) *fact.Case {
	if c == nil {
		return nil
	}
	if c.Flow.ServerPort.State() == fact.NotLooked {
		c.Flow.ServerPort, c.Flow.ClientPort = fact.Some(int64(c.Flow.Server.Port())), fact.Some(int64(c.Flow.Client.Port()))
	}
	emit := c.Sender.Role.Or("server")
	if c.Sender.Role.State() == fact.NotLooked {
		c.Sender.Role = fact.Some(emit)
	}
	if c.Receiver.Role.State() == fact.NotLooked {
		c.Receiver.Role = fact.Some(other(emit))
	}
	return c
}

// confirm fills what is to be run and looked at.
func confirm(c fact.Confirm, fill func(string) string) fact.Confirm {
	all := func(list []string) []string {
		var out []string
		for _, s := range list {
			out = append(out, fill(s))
		}
		return out
	}
	return fact.Confirm{Text: fill(c.Text), Run: all(c.Run), Probe: all(c.Probe), Counter: fill(c.Counter), Log: fill(c.Log)}
}

// proof lists what the lines of evidence say, the heaviest first.
func (p *Page) proof(c *diagnosis.CauseSpec, fill func(string) string) {
	lines := slices.Clone(c.Evidence)
	slices.SortStableFunc(lines, func(a, b diagnosis.Line) int {
		return slices.Index(diagnosis.Weights, a.Weight.S) - slices.Index(diagnosis.Weights, b.Weight.S)
	})
	add := func(list *[]string, s string) {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, l := range lines {
		if l.Weight.S != "" {
			add(&p.Proof, fill(l.Says.S))
		} else {
			add(&p.Against, fill(l.Says.S))
		}
	}
}

func (p *Page) fixes(c *diagnosis.CauseSpec, fill func(string) string) {
	all := func(list []string) []string {
		out := make([]string, 0, len(list))
		for _, s := range list {
			out = append(out, fill(s))
		}
		return out
	}
	for _, f := range c.Fixes {
		f.Commands, f.Undo, f.Verify = all(f.Commands), all(f.Undo), all(f.Verify)
		p.Fixes = append(p.Fixes, f)
	}
}

// filled renders a text with the values of an example. What does not hold there,
// and would show its template, is left out.
func filled(text string, example *fact.Case) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	t, problems := diagnosis.CompileTemplate(diagnosis.Text{S: text})
	if example == nil || len(problems) > 0 {
		return ""
	}
	return strings.ReplaceAll(t.Render(example), "an unknown time", "some time")
}

func texts(list []diagnosis.Text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.S)
	}
	return out
}

// Kind is class, frequency and whether it hurts, in words.
func (p *Page) Kind() string {
	s := p.Class + ", " + strings.ReplaceAll(p.Frequency, "-", " ")
	if p.Benign {
		s += ", harmless"
	}
	return s
}

// LabCommands are what lets one see it.
func (p *Page) LabCommands() []string {
	var list []string
	for _, s := range p.Lab {
		list = append(list, fmt.Sprintf("sudo holdfast lab run %s --details --why", s))
	}
	return list
}
