package cli

import (
	"fmt"
	"strings"
)

// capturesText is the part of the accuracy report about captures.
func capturesText(list []captureAccuracy) string {
	var b strings.Builder
	b.WriteString(`## Captures

What ` + "`holdfast explain`" + ` says from packets alone. A sender is *exact* when it is the very role, and the *right end* when
client, server, a device or nobody is right: packets often cannot tell a program from the kernel it runs on, and labels
do not try. A cause is *exact*, or *general* when it is true and says less, as "the other end aborted, this side cannot
see why" does, or a refusal that names both a port without listener and a packet filter that rejects, whose packets are
the same. Where nobody reset a connection and no application saw an error, to report nothing is right. Recall is the
share of right ends among all cases whose sender is known, precision the share among those that were given a sender.
*Device or injector* counts the accusations of a third party that are at least probable and how many of them are right,
with the 95 % interval (Wilson).

`)
	rows := [][]string{{"captures", "cases", "exact sender", "right end", "recall", "precision", "device or injector", "exact cause", "general", "unknown", "wrong", "silent", "wrong proved", "Brier sender", "Brier cause"}}
	for i := range list {
		a := &list[i]
		exact := share(a.ExactSender, max(1, a.KnownSender))
		if a.namesEndsOnly() {
			exact = "-"
		}
		rows = append(rows, []string{
			a.Set, fmt.Sprint(a.Cases), exact, share(a.RightEnd, max(1, a.KnownSender)), fmt.Sprintf("%.3f", a.Recall), fmt.Sprintf("%.3f", a.Precision), a.accusedText(),
			share(a.RightCause, max(1, a.Cases)), fmt.Sprint(a.GeneralCause), fmt.Sprint(a.UnknownCause), fmt.Sprint(a.WrongCause),
			fmt.Sprint(a.Silent), fmt.Sprint(a.WrongProved), fmt.Sprintf("%.4f", a.SenderBrier), fmt.Sprintf("%.4f", a.CauseBrier),
		})
	}
	b.WriteString(table(rows))
	for i := range list {
		a := &list[i]
		fmt.Fprintf(&b, "\n### Captures: %s\n\n", a.Set)
		b.WriteString(gradeTable(a.Grades))
		b.WriteString("\n")
		if a.namesEndsOnly() && len(a.Verdicts) > manyLabels {
			b.WriteString(kindTable(a.Verdicts))
		} else if a.namesEndsOnly() {
			b.WriteString(labelTable(a.Verdicts))
		} else {
			b.WriteString(missedTable(a.Verdicts))
		}
		b.WriteString(missingText(a.Missing))
	}
	return b.String()
}

// accusedText tells how many accusations of a third party that are at least
// probable are right.
func (a *captureAccuracy) accusedText() string {
	if a.Accused == 0 {
		return "none accused"
	}
	return fmt.Sprintf("%d of %d (%.3f to %.3f)", a.AccusedRight, a.Accused, a.AccusedRange[0], a.AccusedRange[1])
}

// missingText lists what the knowledge base would need to say what the labels
// say.
func missingText(list []missingCause) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nCauses that labels allow and the knowledge base has not:\n\n")
	for _, m := range list {
		others := "and no other that is right"
		if m.Any {
			others = "others are right, too"
		}
		fmt.Fprintf(&b, "- %s: %s (%s)\n", m.Verdict, strings.Join(m.Causes, ", "), others)
	}
	return b.String()
}

// namesEndsOnly reports whether the truth of a set knows ends rather than
// roles, as labels do.
func (a *captureAccuracy) namesEndsOnly() bool {
	for i := range a.Verdicts {
		if len(a.Verdicts[i].Truth.Roles) > 1 {
			return true
		}
	}
	return false
}

// labelTable has a row for each label.
func labelTable(list []captureVerdict) string {
	rows := [][]string{{"file", "stream", "frame", "true end", "said", "sender", "said cause", "grade", "cause"}}
	for i := range list {
		v := &list[i]
		rows = append(rows, []string{
			v.Name, fmt.Sprint(v.Where.Stream), fmt.Sprint(v.Where.Frame), v.trueEnd(), v.Said.Role, string(v.Sender),
			v.Said.Cause, string(v.Said.Grade), v.causeMark(),
		})
	}
	return table(rows)
}

// missedTable has a row for each scenario whose sender or cause is not exact.
func missedTable(list []captureVerdict) string {
	rows := [][]string{{"scenario", "truth", "said", "sender", "cause"}}
	for i := range list {
		v := &list[i]
		if v.Sender == markExact && v.Cause == markExact && !v.WrongProved {
			continue
		}
		rows = append(rows, []string{
			v.Name, v.Truth.Roles[0] + " " + v.Truth.Causes[0], v.Said.Role + " " + v.Said.Cause + " " + string(v.Said.Grade), string(v.Sender), v.causeMark(),
		})
	}
	if len(rows) == 1 {
		return "Every sender and cause is exact.\n"
	}
	return table(rows)
}

func (v *captureVerdict) trueEnd() string {
	if len(v.Truth.Roles) == 0 {
		return "not known"
	}
	return placeOf(v.Truth.Roles[0])
}

func (v *captureVerdict) causeMark() string {
	if v.WrongProved {
		return string(v.Cause) + ", wrong proved"
	}
	return string(v.Cause)
}
