package report

import (
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

// Page collects titled, labelled and wrapped text, such as the page of a cause.
type Page struct{ k block }

// Page returns an empty page in this style.
func (st Style) Page() *Page { return &Page{block{st: st}} }

// Title writes a line in bold.
func (p *Page) Title(s string) { p.k.b.WriteString(p.k.st.Bold(Clean(s)) + "\n\n") }

// Row writes text behind a label; nothing when text is empty.
func (p *Page) Row(label, text string) {
	if strings.TrimSpace(text) != "" {
		p.k.row(label, text)
	}
}

// Rows writes several texts behind one label.
func (p *Page) Rows(label string, list []string) {
	for i, s := range list {
		p.k.row(first(i, label), s)
	}
}

// Fixes writes remedies with their commands.
func (p *Page) Fixes(list []fact.Fix) {
	for i, x := range list {
		p.k.fix(first(i, "fix"), x)
	}
}

// Picture writes lines as they are, below a label.
func (p *Page) Picture(label string, lines []string) {
	for i, l := range lines {
		const labelWidth = 9
		p.k.b.WriteString(strings.TrimRight(indent+p.k.st.paint(cyan, pad(first(i, label), labelWidth))+" "+Clean(l), " ") + "\n")
	}
}

// Commands writes lines to be copied.
func (p *Page) Commands(label string, lines []string) {
	p.Picture(label, lines)
}

// Blank writes an empty line.
func (p *Page) Blank() { p.k.b.WriteString("\n") }

// String returns what was collected.
func (p *Page) String() string { return p.k.b.String() }
