package cli

import (
	"fmt"
	"math"
	"slices"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/knowledge"
)

// verdictChange is a recorded case of which two knowledge bases say something else.
type verdictChange struct {
	Scenario string   `json:"scenario"`
	Case     int      `json:"case"` // in its recording, from 0, the decisive one
	Truth    labTruth `json:"truth"`
	Before   brief    `json:"before"`
	After    brief    `json:"after"`
	Effect   string   `json:"effect"` // now-right, now-wrong, now-wrong-proved, score, other
}

type brief struct {
	Sender string     `json:"sender"`
	Cause  string     `json:"cause"`
	Grade  fact.Grade `json:"grade"`
	Score  float64    `json:"score"`
}

func (v brief) String() string {
	return fmt.Sprintf("%s, %s (%s %.3f)", v.Sender, v.Cause, v.Grade, v.Score)
}

// sameScore is how far a score may move without being worth a line.
const sameScore = 0.005

func verdictOf(f *fact.Finding) brief {
	return brief{f.Sender.Role, f.Cause.ID, f.Cause.Grade, f.Cause.Score}
}

// compareRecordings lists what changes between two knowledge bases, in the order of
// the recordings, and how many cases there are.
func compareRecordings(before, after *diagnosis.Base, recs []*recording) (out []verdictChange, cases int) {
	for _, rec := range recs {
		for i, c := range rec.Cases {
			cases++
			old, now := before.Explain(c, diagnosis.Options{}), after.Explain(c, diagnosis.Options{})
			if x, changed := compareFindings(&old, &now, rec.Truth); changed {
				x.Scenario, x.Case = rec.Scenario, i
				out = append(out, x)
			}
		}
	}
	return out, cases
}

func compareFindings(old, now *fact.Finding, truth labTruth) (x verdictChange, changed bool) {
	x = verdictChange{Truth: truth, Before: verdictOf(old), After: verdictOf(now)}
	right := func(v brief) bool {
		return v.Sender == truth.Sender && (v.Cause == truth.Cause || slices.Contains(truth.Also, v.Cause))
	}
	was, is := right(x.Before), right(x.After)
	switch {
	case wrongProved(now, truth) && !wrongProved(old, truth):
		x.Effect = "now-wrong-proved"
	case was && !is:
		x.Effect = "now-wrong"
	case !was && is:
		x.Effect = "now-right"
	case x.Before.Sender != x.After.Sender || x.Before.Cause != x.After.Cause:
		x.Effect = "other"
	case x.Before.Grade != x.After.Grade || math.Abs(x.Before.Score-x.After.Score) > sameScore:
		x.Effect = "score"
	default:
		return x, false
	}
	return x, true
}

// testRecordings prints what the causes of dirs change in recorded cases, against the
// built-in knowledge. It fails when a verdict that was right is not any more.
func (o *options) testRecordings(after *diagnosis.Base, dir string) error {
	before, err := knowledge.Load()
	if err != nil {
		return err
	}
	recs, err := readRecordings(dir)
	if err != nil {
		return err
	}
	list, cases := compareRecordings(before, after, recs)
	if o.output != "text" {
		if err := value(o, list); err != nil {
			return err
		}
	}
	worse := 0
	for _, x := range list {
		if x.Effect == "now-wrong" || x.Effect == "now-wrong-proved" {
			worse++
		}
		if o.output == "text" {
			o.printf("%s, case %d: %s\n    truth   %s, %s\n    before  %s\n    after   %s\n", x.Scenario, x.Case, effects[x.Effect], x.Truth.Sender, x.Truth.Cause, x.Before, x.After)
		}
	}
	o.notef("%s of %s: %d verdicts change, %d of them for the worse\n", plural(cases, "cases"), plural(len(recs), "recordings"), len(list), worse)
	if worse > 0 {
		return quiet(codeFindings)
	}
	return nil
}

var effects = map[string]string{
	"now-right":        "now right",
	"now-wrong":        "WRONG NOW",
	"now-wrong-proved": "WRONG NOW, and proved",
	"score":            "the same verdict, with another score",
	"other":            "another verdict",
}
