package storm

import (
	"net/netip"
	"testing"
)

func TestScore(t *testing.T) {
	c, s := netip.MustParseAddrPort("127.1.0.1:40000"), netip.MustParseAddrPort("127.1.0.1:80")
	ending := &Termination{Class: "x", Netns: 1, Client: c, Server: s, Acts: []Act{{From: s, Sender: "app", PID: 7, Causes: []string{"a", "b"}}}, Resets: []Reset{{From: s, To: c}}}
	right := Found{Netns: 1, From: s, To: c, Role: "server-app", SenderGrade: "proved", PID: 7, Cause: "b", Grade: "proved", Reset: true}
	change := func(f func(*Found)) []Found { x := right; f(&x); return []Found{x} }
	for _, tt := range []struct {
		name  string
		found []Found
		want  Report
	}{
		{"right", []Found{right}, Report{Sender: 1, Cause: 1, Owner: 1}},
		{"nothing", nil, Report{Missing: 1}},
		{"another namespace", change(func(f *Found) { f.Netns = 2 }), Report{Missing: 1}},
		{"the other way", change(func(f *Found) { f.From, f.To = f.To, f.From }), Report{Missing: 1, Noise: 0}},
		{"a wrong cause", change(func(f *Found) { f.Cause = "c" }), Report{Sender: 1, Owner: 1, Wrong: 1}},
		{"a wrong cause that is not proved", change(func(f *Found) { f.Cause, f.Grade = "c", "probable" }), Report{Sender: 1, Owner: 1}},
		{"a wrong side", change(func(f *Found) { f.Role = "client-app" }), Report{Cause: 1, Owner: 1, Wrong: 1}},
		{"a wrong owner", change(func(f *Found) { f.PID = 8 }), Report{Sender: 1, Cause: 1}},
		{"one too many", []Found{right, right}, Report{Sender: 1, Cause: 1, Owner: 1, Extra: 1}},
	} {
		r := Score([]*Termination{ending}, tt.found)
		got := [...]int{r.Missing, r.Wrong, r.Sender, r.Cause, r.Owner, r.Extra, r.Noise}
		want := [...]int{tt.want.Missing, tt.want.Wrong, tt.want.Sender, tt.want.Cause, tt.want.Owner, tt.want.Extra, tt.want.Noise}
		if got != want || r.Resets != 1 || r.Owned != r.Resets-r.Missing {
			t.Errorf("%s: missing, wrong, sender, cause, owner, extra, noise: %v, want %v", tt.name, got, want)
		}
	}
}

func TestTheSeedDecides(t *testing.T) {
	a, b := choose(Options{Terminations: 50, Seed: 3}), choose(Options{Terminations: 50, Seed: 3})
	other := choose(Options{Terminations: 50, Seed: 4})
	same := true
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("ending %d differs: %+v, %+v", i, a[i], b[i])
		}
		same = same && a[i] == other[i]
	}
	if same {
		t.Error("another seed chose the same")
	}
}
