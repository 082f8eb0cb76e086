package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/field"
)

// fieldAccuracy is how good verdicts are on real servers.
type fieldAccuracy struct {
	Faults      int        `json:"faults"` // without those of which silence is no fault and that were silent
	Right       int        `json:"right"`
	General     int        `json:"general"`
	Silent      int        `json:"silent"`
	Wrong       int        `json:"wrong"`
	WrongProved int        `json:"wrong_proved"`
	Share       float64    `json:"share"` // right or general
	Range       [2]float64 `json:"range"` // 95 % interval of that share (Wilson)
	Traffic     int        `json:"traffic"`
	Noise       int        `json:"noise"` // lines told as harmful of ordinary traffic

	NotRight []*fieldResult `json:"not_right,omitempty"`
}

// measureField reads what "holdfast lab field -o ndjson" wrote. Of a play that is
// there twice the later one counts; what was wrongly proved, or told of ordinary
// traffic, in the earlier one stays: a busy machine is no excuse for that.
func measureField(names []string) (*fieldAccuracy, error) {
	byPlay := map[string]*fieldResult{}
	var order []string
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("open results: %w", err)
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 64<<20)
		for n := 1; sc.Scan(); n++ {
			r := &fieldResult{}
			if err := json.Unmarshal(sc.Bytes(), r); err != nil || r.Play == "" {
				return nil, usageError("holdfast lab field -o ndjson", "%s: line %d is no result of lab field", name, n)
			}
			if earlier := byPlay[r.Play]; earlier == nil {
				order = append(order, r.Play)
			} else {
				r.Verdict.WrongProved = max(r.Verdict.WrongProved, earlier.Verdict.WrongProved)
				r.Verdict.Noise = max(r.Verdict.Noise, earlier.Verdict.Noise)
			}
			byPlay[r.Play] = r
		}
		if err := sc.Err(); err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
	}
	a := &fieldAccuracy{}
	for _, id := range order {
		a.add(byPlay[id])
	}
	if a.Faults > 0 {
		a.Share = float64(a.Right+a.General) / float64(a.Faults)
	}
	a.Range[0], a.Range[1] = wilson(a.Right+a.General, a.Faults)
	return a, nil
}

func (a *fieldAccuracy) add(r *fieldResult) {
	switch {
	case r.Skipped != "" || r.Error != "":
		return
	case r.Traffic:
		a.Traffic++
		a.Noise += r.Verdict.Noise
		return
	case r.Verdict.Allowed:
		return
	}
	a.Faults++
	a.WrongProved += r.Verdict.WrongProved
	switch r.Verdict.Result {
	case field.Right:
		a.Right++
		return
	case field.General:
		a.General++
	case field.Silent:
		a.Silent++
	default:
		a.Wrong++
	}
	a.NotRight = append(a.NotRight, r)
}

// fieldText is the part about the field.
func fieldText(a *fieldAccuracy) string {
	var b strings.Builder
	b.WriteString("## The field\n\n`sudo holdfast lab field`: faults as they happen in production, on real servers. What an expert would say of each was written\n" +
		"before anybody looked at what Holdfast says; which causes count as that answer stands beside it in internal/field/data/faults.yaml.\n*General* is a cause that is true and says less. Plays in which silence is no\nfault (an orderly end that nobody can tell from a wanted one) count only when something was told.\n\n")
	b.WriteString(table([][]string{
		{"faults", "right", "general", "silent", "wrong", "wrong proved", "right or general (95 % interval)"},
		{fmt.Sprint(a.Faults), fmt.Sprint(a.Right), fmt.Sprint(a.General), fmt.Sprint(a.Silent), fmt.Sprint(a.Wrong), fmt.Sprint(a.WrongProved), interval(a.Right+a.General, a.Faults)},
	}))
	fmt.Fprintf(&b, "\nOrdinary traffic through %s of real servers, without a fault: %s told as harmful.\n", plural(a.Traffic, "kinds"), plural(a.Noise, "lines"))
	if len(a.NotRight) > 0 {
		rows := [][]string{{"play", "verdict", "an expert would say", "told"}}
		for _, r := range a.NotRight {
			var told []string
			for _, f := range r.Told {
				if s := f.Cause.ID + " (" + string(f.Cause.Grade) + ")"; !slices.Contains(told, s) {
					told = append(told, s)
				}
			}
			rows = append(rows, []string{r.Title, r.Verdict.Result, r.Expert, strings.Join(told, ", ")})
		}
		b.WriteString("\n" + table(rows))
	}
	return b.String()
}

// interval writes a share with its 95 % interval.
func interval(n, of int) string {
	from, to := wilson(n, of)
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %% (%.1f-%.1f)", 100*float64(n)/float64(of), 100*from, 100*min(to, 1))
}
