package diagnosis

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/holdfast-project/holdfast/fact"
)

// Pos is a place in a file of the knowledge base. Line and Column start at 1;
// 0 means not known.
type Pos struct {
	File         string
	Line, Column int
}

// String returns file:line:column, as far as known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is something wrong in the knowledge base.
type Problem struct {
	Pos     Pos
	Message string // what is wrong
	Hint    string // what to try; may be empty
}

// Error returns "file:line:column: message (hint)".
func (p Problem) Error() string {
	s := p.Message
	if at := p.Pos.String(); at != "" {
		s = at + ": " + s
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// SortProblems orders problems by file, line and column, in place.
func SortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

// Text is a string of a knowledge file: an expression, a template, an id.
type Text struct {
	S   string
	Pos Pos
	// Map gives the place of the character at offset (in runes) of S, which
	// differs from Pos plus offset in quoted and block scalars. May be nil.
	Map func(offset int) Pos
}

// At returns the place of the character at offset, counted in runes.
func (t Text) At(offset int) Pos {
	if t.Map != nil {
		return t.Map(offset)
	}
	p := t.Pos
	if p.Column > 0 {
		p.Column += offset
	}
	return p
}

// Line is one line of evidence. Exactly one of Weight and Against is given.
type Line struct {
	If        Text // expression
	Weight    Text // for the hypothesis when If is true: proof, strong, hint or faint
	Against   Text // against it when If is true, in the same words
	Seen      *int // in how many of ten cases of this hypothesis If holds; its falsehood weighs accordingly
	Otherwise Text // against it when If is definitely false, in words; instead of Seen
	Witness   Text // name of a witness; empty: that of the first fact in If that was looked at
	Says      Text // template, what this line proves
}

// Contradiction is what cannot be when a hypothesis holds: a veto when true.
// When nobody looked, the finding names it as not checked, and one that must be
// checked keeps the verdict from being proved.
type Contradiction struct {
	If        Text
	MustCheck bool
}

// SelfTest is a case in a knowledge file with the verdict it must, or must not,
// lead to.
type SelfTest struct {
	Name   string
	Facts  []FactSpec
	Expect *Expect // nil when only Not is given
	Not    []Text  // cause ids (in a sender file: roles) that must not be the verdict
	Pos    Pos
}

// FactSpec is one fact of a self-test. Value is nil (absent), bool, float64 or
// string; By is empty for the declared witness.
type FactSpec struct {
	Name  Text
	Value any
	By    string
}

// Expect is the verdict that a self-test expects; empty fields are not checked.
// Grade is that of the cause, or that of the sender when no cause is named.
type Expect struct {
	Sender      string
	Cause       string
	Grade       string
	SenderGrade string
	Harmful     *bool
}

// SenderSpec is a file of senders/: a hypothesis about who emitted the RST.
type SenderSpec struct {
	ID          string // a role, such as server-app
	Title       string
	Outcomes    []Text   // outcomes it can explain; empty: all
	Frequency   string   // very-common, common, rare
	Prior       *float64 // decibans; instead of Frequency
	Requires    []Text
	Contradicts []Contradiction
	Evidence    []Line
	Says        Text
	Cases       func() []SelfTest // reads the self-tests; nil when there are none

	Pos Pos            // of the file
	At  map[string]Pos // of each top-level key

	Overrides string // file of the entry of the same id that this one replaces
}

// CauseSpec is a file of causes/: one cause.
type CauseSpec struct {
	ID           string
	Title        string
	Class        string // one of Classes
	Outcomes     []Text // one or several of Outcomes
	Benign       bool   // nobody is hurt
	Senders      []Text // roles that can emit it
	Frequency    string // very-common, common (default), rare
	Harm         []Text // what it costs besides a connection, of Harms
	Family       Text   // id of the general cause this one specialises
	Requires     []Text
	Contradicts  []Contradiction
	Evidence     []Line
	Excludes     []Text   // ids of causes that are only consequences of this one
	Symptoms     []string // how people describe it
	Words        []string // patterns of sentences that programs write when it is at work
	Said         []string // patterns of how people speak of it
	Says         Text
	Effect       Text
	Wire         []string // what is on the wire, for the page; empty: drawn from the example
	Fixes        []fact.Fix
	Confirm      string // HowToConfirm in one text
	HowToConfirm fact.Confirm
	Prevent      string
	References   []string
	Lab          []Text // scenario ids, or one entry "none: reason"
	LookAlikes   []Text
	Cases        func() []SelfTest // reads the self-tests; nil when there are none

	Pos Pos            // of the file
	At  map[string]Pos // of each top-level key

	Overrides string // file of the entry of the same id that this one replaces
}

// The closed vocabularies of the knowledge base.
var (
	// Classes are the classes of causes.
	Classes = []string{"server-overload", "network-congestion", "server-configuration", "software-bug",
		"client-side", "malicious-activity", "router-modem", "isp-throttling"}
	// Harms are what a cause can cost.
	Harms = []string{"data-loss", "crash", "security", "downtime"}
	// Outcomes are the values of the fact outcome.
	Outcomes = []string{"reset", "refused", "timeout", "unreachable", "survived", "none", "closed"}
	// Roles are the senders that can be named; the role unknown is implied.
	Roles = []string{fact.ClientApp, fact.ClientKernel, fact.ServerApp, fact.ServerKernel,
		fact.LocalFirewall, fact.Middlebox, fact.Injector, fact.Nobody}
	// Risks are the risks a fix can have.
	Risks = []string{"none", "low", "medium", "high"}
)

// priors are the decibans of each frequency.
var priors = map[string]float64{"very-common": 5, "common": 0, "rare": -7}

// weights are the decibans of each word that says how much a line weighs.
var weights = map[string]float64{"proof": 30, "strong": 20, "hint": 10, "faint": 5}

// Weights are the words for the weight of a line, the heaviest first.
var Weights = []string{"proof", "strong", "hint", "faint"}
