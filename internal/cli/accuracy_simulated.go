package cli

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// seedFile names the seeds of simulated captures, beside their table of truth.
const seedFile = "seeds.txt"

// setName names a directory of labelled captures.
func setName(dir string) string {
	if b, err := os.ReadFile(filepath.Join(dir, seedFile)); err == nil {
		return "simulated captures, " + strings.TrimSpace(string(b))
	}
	return "labelled captures"
}

// wilson is the 95 % interval of a share of at least one case (Wilson 1927).
func wilson(n, of int) (from, to float64) {
	const z = 1.96
	p, m := float64(n)/float64(of), float64(of)
	mid, half := p+z*z/(2*m), z*math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return (mid - half) / (1 + z*z/m), (mid + half) / (1 + z*z/m)
}

// manyLabels is how many labels are listed one by one; of more, the kinds are.
const manyLabels = 200

// kindTable has a row for each kind of label.
func kindTable(list []captureVerdict) string {
	type kind struct{ end, label string }
	type row struct{ cases, right, unknown, wrong, exact, general, wrongCause int }
	rows := map[kind]*row{}
	for i := range list {
		v := &list[i]
		k := kind{v.trueEnd(), v.Label}
		r := rows[k]
		if r == nil {
			r = &row{}
			rows[k] = r
		}
		r.cases++
		count := func(n *int, is bool) {
			if is {
				*n++
			}
		}
		count(&r.right, v.Sender == markExact || v.Sender == markEnd)
		count(&r.unknown, v.Sender == markUnknown || v.Sender == markSilent)
		count(&r.wrong, v.Sender == markWrong)
		count(&r.exact, v.Cause == markExact)
		count(&r.general, v.Cause == markGeneral)
		count(&r.wrongCause, v.Cause == markWrong)
	}
	kinds := make([]kind, 0, len(rows))
	for k := range rows {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.label, b.label)) })
	out := [][]string{{"true end", "truth", "cases", "right end", "unknown", "wrong end", "exact cause", "general", "wrong cause"}}
	for _, k := range kinds {
		r := rows[k]
		line := []string{k.end, k.label}
		for _, n := range []int{r.cases, r.right, r.unknown, r.wrong, r.exact, r.general, r.wrongCause} {
			line = append(line, fmt.Sprint(n))
		}
		out = append(out, line)
	}
	return table(out)
}
