package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

// SummaryOptions say how much a summary shows.
type SummaryOptions struct {
	Details bool // all proof, fixes and the other connections of each story
	Why     bool // the whole arithmetic, for findings that carry it
	Ladders bool // draw the ladders
	Limit   int  // stories printed; 0 means all. The rest is counted
}

// Totals counts a report.
type Totals struct {
	Terminations, Resets, Harmful            int64 // ends of connections; of these by a reset; of these harmful
	Stories, HarmfulStories                  int64
	Packets, TCPPackets, Connections, Octets int64
	Lost                                     int64 // bytes
}

// Totals adds the inputs and stories up.
func (r *Report) Totals() Totals {
	var t Totals
	for i := range r.Inputs {
		in := &r.Inputs[i]
		t.Packets += in.Packets
		t.TCPPackets += in.TCPPackets
		if r.Places {
			t.Connections = max(t.Connections, in.Connections)
		} else {
			t.Connections += in.Connections
		}
		t.Octets += in.Bytes
	}
	for i := range r.Stories {
		s := &r.Stories[i]
		t.Stories++
		t.Terminations += s.Terminations()
		t.Resets += s.Resets()
		t.Harmful += s.Harmful()
		t.HarmfulStories += int64(b2i(s.Harmful() > 0))
		t.Lost += s.Lost()
	}
	return t
}

// Headline says in one sentence how much was found.
func (r *Report) Headline() string {
	t := r.Totals()
	over := ""
	if t.Packets > 0 {
		over = fmt.Sprintf(" in %s and %s", number(t.Connections, "connection"), number(t.Packets, "packet"))
		if r.Places && len(r.Inputs) > 1 {
			over = fmt.Sprintf(" in %s, seen in %d captures (%s)", number(t.Connections, "connection"), len(r.Inputs), number(t.Packets, "packet"))
		}
	}
	if t.Terminations == 0 {
		return "No reset and no broken connection" + over + "."
	}
	s := number(t.Resets, "reset")
	if broken := t.Terminations - t.Resets; broken > 0 {
		s += fmt.Sprintf(" and %s without one", number(broken, "broken connection"))
		if t.Resets == 0 {
			s = number(broken, "broken connection") + " without a reset"
		}
	}
	s += over
	s += ": " + count(t.Stories, "story", "stories")
	if t.HarmfulStories > 0 && t.HarmfulStories < t.Stories {
		s += fmt.Sprintf(", %s of them harmful", thousands(t.HarmfulStories))
	}
	switch {
	case t.Harmful == 0:
		return s + "; none did harm."
	case t.Terminations == 1:
		return s + "; it did harm."
	case t.Harmful == t.Terminations:
		return s + "; all did harm."
	}
	return s + fmt.Sprintf("; %s did harm.", thousands(t.Harmful))
}

func count(n int64, one, many string) string { return thousands(n) + " " + plural(n, one, many) }

func number(n int64, word string) string { return count(n, word, word+"s") }

// Group is the stories with one cause and one sender role.
type Group struct {
	Cause, Title, Role                     string
	Grade                                  fact.Grade // the best
	Terminations, Harmful, Stories, Octets int64      // Octets: bytes lost
}

// Groups counts the stories by cause and sender, in their order.
func (r *Report) Groups() []Group {
	var out []Group
	for i := range r.Stories {
		for _, f := range r.Stories[i].Findings {
			out = addGroup(out, f)
		}
		for j := range out {
			head := r.Stories[i].Findings[0]
			out[j].Stories += int64(b2i(out[j].Cause == head.Cause.ID && out[j].Role == head.Sender.Role))
		}
	}
	slices.SortStableFunc(out, func(a, b Group) int {
		return cmp.Or(-cmp.Compare(b2i(a.Harmful > 0), b2i(b.Harmful > 0)), -cmp.Compare(a.Octets, b.Octets), -cmp.Compare(a.Terminations, b.Terminations))
	})
	return out
}

func addGroup(list []Group, f *fact.Finding) []Group {
	i := slices.IndexFunc(list, func(g Group) bool { return g.Cause == f.Cause.ID && g.Role == f.Sender.Role })
	if i < 0 {
		i = len(list)
		list = append(list, Group{Cause: f.Cause.ID, Title: f.Cause.Title, Role: f.Sender.Role, Grade: f.Cause.Grade})
	}
	g, n := &list[i], int64(max(f.Count, 1))
	g.Terminations += n
	g.Octets += lost(f)
	if f.Harmful {
		g.Harmful += n
	}
	if gradeRank[f.Cause.Grade] > gradeRank[g.Grade] {
		g.Grade = f.Cause.Grade
	}
	return list
}

// Summary writes a report for a terminal: counts, inputs, a table by cause and
// sender, and a block for each story, those that matter first.
func (st Style) Summary(r *Report, o SummaryOptions) string {
	var b strings.Builder
	for _, l := range wrap(r.Headline(), st.Width) {
		b.WriteString(st.Bold(l) + "\n")
	}
	for i := range r.Inputs {
		b.WriteString(st.Input(&r.Inputs[i]))
	}
	if len(r.Stories) == 0 {
		return b.String()
	}
	b.WriteString("\n" + st.groups(r.Groups()))
	shown := len(r.Stories)
	if o.Limit > 0 {
		shown = min(shown, o.Limit)
	}
	for i := range r.Stories[:shown] {
		b.WriteString("\n" + st.Story(i+1, &r.Stories[i], o))
	}
	if more := len(r.Stories) - shown; more > 0 {
		b.WriteString("\n" + st.Dim(fmt.Sprintf("%s not shown", count(int64(more), "more story is", "more stories are"))) + "\n")
	}
	return b.String()
}

// Input writes what was read of a file, and what limits the answer.
func (st Style) Input(in *Input) string {
	parts := []string{number(in.Packets, "packet")}
	if in.TCPPackets != in.Packets {
		parts[0] += fmt.Sprintf(" (%s TCP)", thousands(in.TCPPackets))
	}
	parts = append(parts, number(in.Connections, "connection"), thousands(in.Resets)+" RST", Bytes(in.Bytes))
	if d := in.Last.Sub(in.First); !in.First.IsZero() && d > 0 {
		parts = append(parts, longSpan(d))
	}
	if in.Rate > 0 && in.Packets >= worthARate {
		parts = append(parts, "read at "+rate(in.Rate))
	}
	k := &block{st: st}
	k.hanging("  "+Clean(in.Name)+": ", strings.Join(parts, ", "), dim, 4)
	for _, w := range in.Warnings {
		k.hanging("    warning: ", Clean(w), yellow, 6)
	}
	return k.b.String()
}

// hanging writes text behind a label; continuation lines are indented by n.
func (k *block) hanging(label, text, tint string, n int) {
	for i, l := range wrap(label+text, k.st.Width-n) {
		indent := n
		if i == 0 {
			indent = len(label) - len(strings.TrimLeft(label, " "))
		}
		k.b.WriteString(strings.Repeat(" ", indent) + k.st.paint(tint, l) + "\n")
	}
}

// worthARate is how many packets it takes for a rate to mean something.
const worthARate = 10_000

func rate(perSecond float64) string {
	switch {
	case perSecond >= 1e6:
		return fmt.Sprintf("%.1f M packets/s", perSecond/1e6)
	case perSecond >= 1e3:
		return fmt.Sprintf("%.0f k packets/s", perSecond/1e3)
	}
	return fmt.Sprintf("%.0f packets/s", perSecond)
}

// groups writes the table by cause and sender.
func (st Style) groups(list []Group) string {
	cause, sender := len("CAUSE"), len("SENT BY")
	for _, g := range list {
		cause, sender = max(cause, cells(Clean(g.Cause))), max(sender, cells(Clean(g.Role)))
	}
	if st.Width > 0 {
		sender = min(sender, 16)
		cause = min(cause, max(st.Width-sender-42, 12))
	}
	var b strings.Builder
	row := func(tint, n, harmful, cause_, role, grade, lost string) {
		line := fmt.Sprintf("  %s  %s  %s  %s  ", padLeft(n, 7), padLeft(harmful, 7), st.cell(cause_, cause), st.cell(role, sender))
		b.WriteString(st.paint(tint, strings.TrimRight(line+pad(grade, gradeWidth)+"  "+lost, " ")) + "\n")
	}
	row(dim, "COUNT", "HARMFUL", "CAUSE", "SENT BY", "GRADE", "LOST")
	for _, g := range list {
		tint, harmful, lost := "", thousands(g.Harmful), ""
		if g.Harmful == 0 {
			tint, harmful = dim, "-"
		}
		if g.Octets > 0 {
			lost = Bytes(g.Octets)
		}
		row(tint, thousands(g.Terminations), harmful, Clean(g.Cause), Clean(g.Role), Clean(string(g.Grade)), lost)
	}
	return b.String()
}

// Story writes one story as a block: two to four lines, or everything with
// Details. It ends in a newline.
func (st Style) Story(n int, s *Story, o SummaryOptions) string {
	head := *s.Findings[0]
	head.Count = int(s.Terminations())
	k := &block{st: st}
	k.b.WriteString(st.Bold(fmt.Sprintf("Story %d", n)) + st.Dim(storyScope(s)) + "\n" + st.Line(&head) + "\n")
	if o.Ladders && s.Ladder != nil {
		k.b.WriteString("\n" + st.Ladder(s.Ladder) + "\n")
	}
	if o.Details {
		k.b.WriteString(st.Details(&head))
		k.where(&head)
		k.labels(head.Labels)
		k.others(s)
	} else {
		k.brief(&head)
	}
	if o.Why {
		k.b.WriteString(st.Why(&head))
	}
	return k.b.String()
}

// storyScope tells how far a story of several findings reaches.
func storyScope(s *Story) string {
	if len(s.Findings) < 2 {
		return ""
	}
	first, last := s.Span()
	text := "  " + number(s.connections(), "connection")
	if d := last.Sub(first); d > 0 {
		text += " within " + longSpan(d)
	}
	causes := map[string]bool{}
	for _, f := range s.Findings {
		causes[f.Cause.ID] = true
	}
	if lost := s.Lost(); lost > 0 {
		text += ", " + Bytes(lost) + " lost in all"
	}
	if len(causes) > 1 {
		text += fmt.Sprintf(", %d causes", len(causes))
	}
	return text
}

// brief is the default: why, and how to stop it.
func (k *block) brief(f *fact.Finding) {
	if says := opening(cmpOr(f.Cause.Says, f.Cause.Title), 180); says != "" {
		k.row("why", says)
	}
	if len(f.Fixes) > 0 {
		k.row("fix", f.Fixes[0].Title)
	}
	k.where(f)
}

func (k *block) where(f *fact.Finding) {
	if f.Where != nil {
		k.row("where", fmt.Sprintf("%s, stream %d, frame %d", f.Where.File, f.Where.Stream, f.Where.Frame))
	}
}

// labels names the ending as papers do.
func (k *block) labels(l *fact.Labels) {
	if l == nil {
		return
	}
	if l.SIGCOMM23 != "" {
		k.row("labels", "Sundara Raman et al. (SIGCOMM 2023): "+l.SIGCOMM23)
	}
	if l.Weaver != "" {
		k.row("labels", "Weaver et al. (NDSS 2009): "+l.Weaver)
	}
}

const maxOthers = 20 // other connections of a story listed in details

// others lists the other connections of a story.
func (k *block) others(s *Story) {
	rest := s.Findings[1:]
	for i, f := range rest[:min(len(rest), maxOthers)] {
		text := fmt.Sprintf("%s client %s, server %s: %s", f.Time.Local().Format("15:04:05.000"), f.Flow.Client, f.Flow.Server, f.Cause.ID)
		if f.Where != nil {
			text += fmt.Sprintf(" (%s, frame %d)", f.Where.File, f.Where.Frame)
		}
		k.row(first(i, "also"), text)
	}
	if more := len(rest) - maxOthers; more > 0 {
		k.row("", fmt.Sprintf("and %s more", thousands(int64(more))))
	}
}

// opening returns the first sentence of a text, and those after it that fit
// into n cells.
func opening(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	end := 0
	for i := 0; i < len(s); {
		j := strings.Index(s[i:], ". ")
		if j < 0 {
			break
		}
		i += j + 2
		if i >= len(s) || s[i] < 'A' || s[i] > 'Z' {
			continue
		}
		if end > 0 && cells(s[:i-1]) > n {
			return s[:end]
		}
		end = i - 1
	}
	if end > 0 && cells(s) > n {
		return s[:end]
	}
	return s
}
