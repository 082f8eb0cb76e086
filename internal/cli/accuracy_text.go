package cli

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// accuracyDocument is docs/accuracy.md.
func accuracyDocument(acc *accuracy) string {
	doc := `# Accuracy

How often verdicts are right, measured by the laboratory, which knows the truth because it made it. This page is written
by a program; to repeat it, as root:

    holdfast lab run --all -o ndjson > lab.ndjson
`
	if slices.ContainsFunc(acc.Sources, func(s sourceAccuracy) bool { return s.Source == "packet" }) {
		doc += "    holdfast lab run --all --skip-slow --source packet -o ndjson >> lab.ndjson\n"
	}
	if len(acc.Captures) == 0 {
		doc += "    holdfast accuracy --from lab.ndjson --write docs/accuracy.md\n"
	} else {
		doc += `    holdfast lab run --all --source none --pcap captures
    holdfast lab field -o ndjson > field.ndjson
    holdfast lab captures --scenes 3200 simulated
    holdfast accuracy --from lab.ndjson --captures captures --captures simulated --captures "$HOLDFAST_CAPTURES" --field field.ndjson --write docs/accuracy.md

` + "`HOLDFAST_CAPTURES`" + ` is a directory of labelled captures; who has none leaves it out.
`
	}
	first := ""
	if len(acc.Lines) > 0 {
		first = firstMeasured
	}
	return doc + `
*Right* means the exact sender and the exact cause. *Unknown* is an honest answer and counts as not right. *Wrong proved*
is the worst defect this program can have: a verdict with the grade proved that is not the truth, counted over every
finding on the connections of a scenario, the secondary ones too. The Brier score is the mean squared distance
between the probabilities that a verdict gives and the truth: 0 is certain and right, 1 says nothing, 2 is certain and
wrong. Shares stand with their 95 % interval (Wilson). Judged by values that were measured on all other scenarios, the
recorded cases keep their verdicts: ` + "`holdfast causes seen internal/cli/testdata/cases --leave-one-out`" + `. Before what could contradict a
verdict had to be checked, 122 of the laboratory's 156 causes were called *proved* (commit 5f57d52); the first table of grades says how
many are now.

` + accuracyText(acc) + first
}

// accuracyText is the report; its tables are Markdown and read well as text.
func accuracyText(acc *accuracy) string {
	var b strings.Builder
	if len(acc.Sources) > 0 {
		b.WriteString(sourcesText(acc))
	}
	if len(acc.Sources) > 0 && len(acc.Captures) > 0 {
		b.WriteString("\n")
	}
	if len(acc.Captures) > 0 {
		b.WriteString(capturesText(acc.Captures))
	}
	if acc.Field != nil {
		b.WriteString("\n" + fieldText(acc.Field))
	}
	if len(acc.Lines)+len(acc.Threads) > 0 {
		b.WriteString("\n" + linesText(acc.Lines, acc.Threads))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// sourcesText is the part about cases that were observed as they happened.
func sourcesText(acc *accuracy) string {
	var b strings.Builder
	rows := [][]string{{"source", "cases", "right sender (95 %)", "right cause (95 %)", "unknown", "silent", "wrong proved", "Brier sender", "Brier cause", "median verdict"}}
	for _, s := range acc.Sources {
		rows = append(rows, []string{
			s.Source, fmt.Sprint(s.Cases), interval(s.RightSender, s.Cases), interval(s.RightCause, s.Cases), fmt.Sprint(s.Unknown),
			fmt.Sprint(s.Silent), fmt.Sprint(s.WrongProved), fmt.Sprintf("%.4f", s.SenderBrier), fmt.Sprintf("%.4f", s.CauseBrier), fmt.Sprintf("%.0f ms", s.MedianMS),
		})
	}
	b.WriteString(table(rows))
	for _, s := range acc.Sources {
		fmt.Fprintf(&b, "\n## Source: %s\n\n### Calibration of causes\n\n", s.Source)
		b.WriteString(gradeTable(s.Grades))
		b.WriteString("\n### Senders\n\n")
		b.WriteString(confusionTable(s.Senders))
		b.WriteString("\n### Causes\n\n")
		b.WriteString(confusionTable(s.Causes))
	}
	return b.String()
}

func share(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/float64(of))
}

func gradeTable(list []calibration) string {
	rows := [][]string{{"grade", "cases", "mean score", "right (95 %)"}}
	for _, g := range list {
		rows = append(rows, []string{string(g.Grade), fmt.Sprint(g.Cases), fmt.Sprintf("%.3f", g.Score), interval(int(math.Round(g.Right*float64(g.Cases))), g.Cases)})
	}
	return table(rows)
}

// confusionTable has a row for each truth and, instead of a column for each of
// a hundred verdicts, the verdicts that were given and are wrong.
func confusionTable(list []confusion) string {
	rows := [][]string{{"truth", "cases", "right", "said instead"}}
	for _, c := range list {
		wrong := maps.Clone(c.Said)
		delete(wrong, c.Truth)
		var said []string
		for _, k := range slices.Sorted(maps.Keys(wrong)) {
			said = append(said, fmt.Sprintf("%s %d", k, wrong[k]))
		}
		rows = append(rows, []string{c.Truth, fmt.Sprint(c.Cases), fmt.Sprint(c.Right), strings.Join(said, ", ")})
	}
	return table(rows)
}

// table writes rows, the first of which is the header, as aligned Markdown.
func table(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len(c))
		}
	}
	var b strings.Builder
	line := func(r []string) {
		b.WriteString("|")
		for i, c := range r {
			b.WriteString(" " + padTo(c, width[i]) + " |")
		}
		b.WriteString("\n")
	}
	line(rows[0])
	b.WriteString("|")
	for _, w := range width {
		b.WriteString(strings.Repeat("-", w+2) + "|")
	}
	b.WriteString("\n")
	for _, r := range rows[1:] {
		line(r)
	}
	return b.String()
}
