package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func TestStories(t *testing.T) {
	list := storySamples()
	var got []string
	for _, s := range Stories(list) {
		got = append(got, fmt.Sprintf("%s %d/%d", s.Findings[0].ID, s.Terminations(), len(s.Findings)))
	}
	want := "edge-1 12/12, forged-1 1/1, refused-1 37/1, tls-1 2/2, health-1 118/1"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("stories are %s, want %s", s, want)
	}
}

// TestStoriesSplit names what must not be one story.
func TestStoriesSplit(t *testing.T) {
	base := idleFinding()
	for name, c := range map[string]struct {
		change func(*fact.Finding)
		want   int
	}{
		"same cause, sender and server":      {func(f *fact.Finding) { f.Flow.Client = refusedLadder().Client }, 1},
		"same cause, sender and client":      {func(f *fact.Finding) { f.Flow.Server = refusedLadder().Server }, 1},
		"other ends":                         {func(f *fact.Finding) { f.Flow = flowOf(refusedLadder()) }, 2},
		"other cause on another connection":  {func(f *fact.Finding) { f.Flow.Client = refusedLadder().Client; f.Cause.ID = "x" }, 2},
		"other cause on the same connection": {func(f *fact.Finding) { f.Cause.ID = "x" }, 1},
		"other sender":                       {func(f *fact.Finding) { f.Flow.Client = refusedLadder().Client; f.Sender.Role = fact.ServerApp }, 2},
		"much later":                         {func(f *fact.Finding) { f.Time = f.Time.Add(incidentGap + time.Second) }, 2},
		"benign":                             {func(f *fact.Finding) { f.Flow.Client = refusedLadder().Client; f.Harmful = false }, 2},
		"named":                              {func(f *fact.Finding) { *f = fact.Finding{ID: "y", Story: base.ID} }, 1},
		"no addresses":                       {func(f *fact.Finding) { f.Flow = fact.FindingFlow{} }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			other := base
			other.ID = "edge-x"
			c.change(&other)
			if got := Stories([]fact.Finding{other, base}); len(got) != c.want {
				t.Errorf("%d stories, want %d", len(got), c.want)
			} else if c.want == 1 && got[0].Findings[0].ID != base.ID && name == "named" {
				t.Errorf("%s comes first, want what it follows from", got[0].Findings[0].ID)
			}
		})
	}
	if got := Stories(nil); len(got) != 0 {
		t.Errorf("%d stories of nothing", len(got))
	}
}

// TestStoriesUnknown keeps unknown causes of one client apart.
func TestStoriesUnknown(t *testing.T) {
	a := fact.Finding{ID: "a", Time: day, Flow: flowOf(idleLadder()), Cause: fact.CauseVerdict{ID: "unknown", Grade: fact.Unknown}}
	b := a
	b.ID, b.Flow.Server = "b", refusedLadder().Server
	if got := Stories([]fact.Finding{a, b}); len(got) != 2 {
		t.Errorf("%d stories, want 2", len(got))
	}
}

func TestSummary(t *testing.T) {
	for name, c := range map[string]struct {
		st Style
		o  SummaryOptions
	}{
		"pipe":    {Style{}, SummaryOptions{}},
		"80":      {Style{Width: 80}, SummaryOptions{}},
		"color":   {Style{Width: 120, Color: true}, SummaryOptions{Limit: 2}},
		"details": {Style{Width: 100}, SummaryOptions{Details: true, Ladders: true, Why: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.st.Summary(sampleReport(), c.o)
			for row := range strings.SplitSeq(got, "\n") {
				if w := c.st.Width; w > 0 && !c.st.Color && cells(row) > w && !strings.Contains(row, "sysctl") && !strings.Contains(row, "http") {
					t.Errorf("row takes %d cells: %s", cells(row), row)
				}
			}
			golden(t, "testdata/summary-"+name+".golden", got)
		})
	}
}

func TestHeadline(t *testing.T) {
	in := []Input{{Packets: 2000, Connections: 1}}
	silent := idleFinding()
	silent.Sender.Role = fact.Nobody
	benign := idleFinding()
	benign.Harmful = false
	for want, r := range map[string]*Report{
		"No reset and no broken connection.":                                                             {},
		"No reset and no broken connection in 1 connection and 2,000 packets.":                           {Inputs: in},
		"1 reset in 1 connection and 2,000 packets: 1 story; it did harm.":                               {Inputs: in, Stories: Stories([]fact.Finding{idleFinding()})},
		"1 broken connection without a reset: 1 story; it did harm.":                                     {Stories: Stories([]fact.Finding{silent})},
		"1 reset and 1 broken connection without one: 1 story; all did harm.":                            {Stories: Stories([]fact.Finding{silent, idleFinding()})},
		"1 reset: 1 story; none did harm.":                                                               {Stories: Stories([]fact.Finding{benign})},
		"170 resets in 1,241 connections and 88,194 packets: 5 stories, 4 of them harmful; 52 did harm.": {Inputs: sampleReport().Inputs, Stories: sampleReport().Stories},
	} {
		if got := r.Headline(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
