package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

// storyView is one story on the page.
type storyView struct {
	N                           int
	Title, Cause, Short         string
	Harm                        bool
	Grade, Role, When, Scope    string
	SenderGrade, Side           string
	Flow                        string
	Who, Why, Cost, Sure        string
	Stop                        []string
	Ladder                      template.HTML
	LadderText                  string
	Proof                       []proofView
	Fixes                       []fact.Fix
	Alternatives                []alternativeView
	Missing                     []fact.Missing
	Confirm, Prevent, Wireshark string
	References                  []referenceView
	Ask                         *askView
	Arithmetic                  string
	Others                      []connectionView
	MoreOthers                  string
	ManyCauses                  bool // among Others
}

const notKnown = "Cause not known"

type proofView struct{ Says, Witness, Weight, File, Frame string }

type alternativeView struct{ Title, ID, Score string }

type referenceView struct{ Text, URL string }

type connectionView struct{ Time, Client, Server, Cause, Effect, Where string }

func storyOf(n int, s *Story) storyView {
	f := s.Findings[0]
	v := storyView{
		N: n, Title: cmpOr(f.Cause.Title, cmpOr(f.Cause.ID, notKnown)), Cause: f.Cause.ID, Harm: s.Harmful() > 0, Grade: gradeWord(f.Cause.Grade), Role: roleWord(f.Sender.Role),
		SenderGrade: gradeWord(f.Sender.Grade), Side: s.Side,
		When: utc(f.Time), Scope: strings.TrimSpace(storyScope(s)), Flow: flowText(f),
		Who: whoText(f), Why: cmpOr(f.Cause.Says, f.Cause.Title), Sure: sureText(f), Cost: costText(s),
		Fixes: f.Fixes, Missing: f.Missing, Confirm: f.Confirm, Prevent: f.Prevent, Ask: askOf(s),
		Arithmetic: Style{Width: 110}.Why(f),
	}
	if f.Cause.Grade == fact.Unknown || f.Cause.ID == "unknown" {
		v.Title = notKnown
	}
	if f.Count > 1 && len(s.Findings) == 1 {
		v.Scope = number(s.Terminations(), "time")
	}
	v.Short = opening(v.Why, 220)
	for _, x := range f.Fixes {
		v.Stop = append(v.Stop, x.Title)
	}
	if s.Ladder != nil && len(s.Ladder.Frames) > 0 {
		v.Ladder = template.HTML(drawLadder(s.Ladder, "ladder-"+itoa(n), false)) // every text in it passed esc
		v.LadderText = Style{Width: 100}.Ladder(s.Ladder)
	}
	if f.Where != nil {
		v.Wireshark = fmt.Sprintf("tcp.stream eq %d", f.Where.Stream)
	}
	v.addProof(f)
	v.addOthers(s)
	return v
}

// costText says what the story cost.
func costText(s *Story) string {
	f := s.Findings[0]
	text := cmpOr(f.Effect.Says, Effect(f))
	switch {
	case text == "" && f.Harmful:
		text = "The connection was lost; nothing more is known."
	case text == "":
		text = "Nothing."
	case text == "harmless":
		text = "Nothing: it is harmless."
	case f.Effect.Says != "" && f.Effect.AppError != "":
		text += " The program saw " + f.Effect.AppError + "."
	case text == Clean(f.Effect.AppError):
		text = "The program saw " + text + "."
	case f.Effect.Says == "":
		text = capital(text) + "."
	}
	if n := s.Terminations(); n > 1 {
		text += fmt.Sprintf(" Over the whole story: %s", number(n, "connection end"))
		if lost := s.Lost(); lost > 0 {
			text += ", " + Bytes(lost) + " lost"
		}
		text += "."
	}
	return text
}

// capital starts a text with a capital letter.
func capital(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return strings.ToUpper(s[:1]) + s[1:]
	}
	return s
}

func (v *storyView) addProof(f *fact.Finding) {
	for _, p := range f.Proof {
		pv := proofView{Says: capital(p.Says), Witness: p.Witness, Weight: fmt.Sprintf("%+.0f", p.Weight), File: p.File}
		if pv.Weight == "+0" {
			pv.Weight = "0"
		}
		if p.Frame > 0 {
			pv.Frame = itoa(p.Frame)
		}
		v.Proof = append(v.Proof, pv)
	}
	for _, a := range f.Alternatives {
		v.Alternatives = append(v.Alternatives, alternativeView{cmpOr(a.Title, a.ID), a.ID, percent(a.Score)})
	}
	for _, r := range f.References {
		rv := referenceView{Text: r}
		if strings.HasPrefix(r, "https://") && !strings.ContainsAny(r, " \t\r\n") && Clean(r) == r {
			rv.URL = r
		}
		v.References = append(v.References, rv)
	}
}

// addOthers lists the connections of a story when there are several, in order
// of time.
func (v *storyView) addOthers(s *Story) {
	if len(s.Findings) < 2 {
		return
	}
	list := slices.Clone(s.Findings)
	slices.SortStableFunc(list, func(a, b *fact.Finding) int { return a.Time.Compare(b.Time) })
	n := min(len(list), maxConnections)
	for _, f := range list[:n] {
		c := connectionView{Time: f.Time.UTC().Format("2006-01-02 15:04:05.000"), Client: address(f.Flow.Client, true), Server: address(f.Flow.Server, true), Cause: f.Cause.ID, Effect: counted(f)}
		if f.Where != nil {
			c.Where = fmt.Sprintf("%s, stream %d, frame %d", f.Where.File, f.Where.Stream, f.Where.Frame)
		}
		v.ManyCauses = v.ManyCauses || f.Cause.ID != list[0].Cause.ID
		v.Others = append(v.Others, c)
	}
	if more := int64(len(list) - n); more > 0 {
		v.MoreOthers = number(more, "more connection") + " not listed."
	}
}
