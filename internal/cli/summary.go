package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/daemon"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// tally counts findings for the summary.
type tally struct {
	total, harmful, hidden, filtered int
	causes                           map[string]*causeCount
}

type causeCount struct {
	id      string
	n       int
	harmful bool
	senders map[string]int
	grades  map[fact.Grade]int
}

func newTally() *tally { return &tally{causes: map[string]*causeCount{}} }

func (t *tally) add(f *fact.Finding) {
	n := max(f.Count, 1)
	t.total += n
	if f.Harmful {
		t.harmful += n
	}
	c := t.causes[f.Cause.ID]
	if c == nil {
		c = &causeCount{id: f.Cause.ID, senders: map[string]int{}, grades: map[fact.Grade]int{}}
		t.causes[f.Cause.ID] = c
	}
	c.n += n
	c.harmful = c.harmful || f.Harmful
	c.senders[f.Sender.Role] += n
	c.grades[f.Cause.Grade] += n
}

// write prints the counts by cause and sender.
func (t *tally) write(w io.Writer, st report.Style, watched time.Duration) {
	fmt.Fprintf(w, "\n%s\n", st.Bold(fmt.Sprintf("%d findings in %s, %d of them harmful", t.total, round(watched), t.harmful)))
	if t.hidden > 0 {
		fmt.Fprintf(w, "%d harmless or secondary resets hidden; use --all\n", t.hidden)
	}
	if t.filtered > 0 {
		fmt.Fprintf(w, "%d more did not match the filter\n", t.filtered)
	}
	list := slices.SortedFunc(maps.Values(t.causes), func(a, b *causeCount) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.id, b.id))
	})
	for _, c := range list {
		id := padTo(report.Clean(c.id), 34)
		if c.harmful {
			id = st.Bold(id)
		}
		fmt.Fprintf(w, "%6d  %s  %s  %s\n", c.n, id, padTo(counts(c.grades), 22), counts(c.senders))
	}
}

// counts writes a map of counts, largest first: "server-app 5, none 1". A lone
// entry needs no number.
func counts[K ~string](m map[K]int) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	if len(keys) == 1 {
		return string(keys[0])
	}
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%s %d", k, m[k])
	}
	return strings.Join(parts, ", ")
}

// writeStats prints that nothing went missing, or what did.
func writeStats(w io.Writer, st report.Style, s daemon.Stats) {
	verdict := st.Good("complete")
	if s.Seen != s.Reported+s.Folded+s.Lost {
		verdict = st.Bad("does not add up")
	} else if s.Lost > 0 {
		verdict = st.Bad(fmt.Sprintf("%d lost", s.Lost))
	}
	fmt.Fprintf(w, "\nseen %d = reported %d + folded %d + lost %d: %s\n", s.Seen, s.Reported, s.Folded, s.Lost, verdict)
	writeSegments(w, st, s.Segments)
	writeFloods(w, s.Floods)
	writeLedgers(w, st, s.Ledgers)
}

// writeSegments prints what the packet source followed, and what it had no time for.
func writeSegments(w io.Writer, st report.Style, s *daemon.Segments) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "followed %d packets in %s", s.Packets, plural(int(s.Spaces), "network namespaces"))
	if s.Refused > 0 {
		fmt.Fprintf(w, "; %s more were too many", plural(int(s.Refused), "namespaces"))
	}
	if s.Lost > 0 || s.Overrun > 0 {
		fmt.Fprintf(w, "; %s", st.Bad(fmt.Sprintf("%d packets lost, %s not looked at", s.Lost, plural(int(s.Overrun), "ends"))))
	}
	fmt.Fprintln(w)
}

// writeFloods prints the largest classes of resets that the kernel counted
// instead of recording them one by one.
func writeFloods(w io.Writer, list []trace.Flood) {
	const show = 5
	list = slices.SortedFunc(slices.Values(list), func(a, b trace.Flood) int { return cmp.Compare(b.Count, a.Count) })
	for i, f := range list {
		if i == show {
			fmt.Fprintf(w, "flood: %d smaller ones\n", len(list)-show)
			return
		}
		reason := cmp.Or(f.Reason, f.Origin, "no reason given")
		fmt.Fprintf(w, "flood: %d folded in the kernel: %s, port %d, reason %s, within %s\n", f.Count, report.Clean(f.Hook), f.Port, report.Clean(reason), round(f.Last.Sub(f.First)))
	}
}

// writeLedgers prints whether the kernel's own counters agree. Namespaces that
// agree are counted, those that do not are named; a namespace that is gone
// took its counters with it.
func writeLedgers(w io.Writer, st report.Style, list []daemon.Ledger) {
	if len(list) == 0 {
		return
	}
	var agree, gone, wire, foreign int64
	var differ []daemon.Ledger
	for _, l := range list {
		wire, foreign = wire+l.WireSeen, foreign+l.WireNoSocket
		switch {
		case l.OutRsts < 0:
			gone++
		case l.Remainder == 0:
			agree++
		default:
			differ = append(differ, l)
		}
	}
	switch {
	case agree > 0:
		fmt.Fprintf(w, "cross-check: the kernel's own count of resets (OutRsts) equals ours in %s", plural(int(agree), "namespaces"))
	case len(differ) > 0:
		fmt.Fprintf(w, "cross-check: the kernel's own count of resets (OutRsts) differs in %s", plural(len(differ), "namespaces"))
	default:
		fmt.Fprint(w, "cross-check: no namespace could be compared with the kernel's counter")
	}
	if gone > 0 {
		fmt.Fprintf(w, ", %d ended before it could be read", gone)
	}
	if wire > 0 {
		fmt.Fprintf(w, "; %d on the wire, %d of them from no socket", wire, foreign)
	}
	fmt.Fprintln(w)
	for _, l := range differ {
		fmt.Fprintf(w, "%s namespace %s: OutRsts %d, seen leaving the stack %d, remainder %s\n", st.Bad("cross-check:"), report.Clean(l.Netns), l.OutRsts, l.StackSent, st.Bad(fmt.Sprint(l.Remainder)))
	}
}

// writeEachLedger prints the account of each namespace whose counters can be
// read, also where they agree.
func writeEachLedger(w io.Writer, list []daemon.Ledger) {
	for _, l := range list {
		if l.OutRsts >= 0 && l.Remainder == 0 {
			fmt.Fprintf(w, "cross-check: namespace %s: OutRsts %d, seen leaving the stack %d\n", report.Clean(l.Netns), l.OutRsts, l.StackSent)
		}
	}
}

// writeBlind prints what this tier cannot see.
func writeBlind(w io.Writer, c daemon.Coverage) {
	for i, b := range c.Blind {
		label := "not seen:"
		if i > 0 {
			label = "         "
		}
		fmt.Fprintf(w, "%s %s\n", label, report.Clean(b))
	}
}

func round(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
