package field

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func TestPlaysAreSound(t *testing.T) {
	faults, err := Faults()
	if err != nil {
		t.Fatal(err)
	}
	traffic, err := Traffic()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range append(faults, traffic...) {
		if p.ID == "" || p.Title == "" || p.Script == "" || seen[p.ID] {
			t.Errorf("play %q: no id, no title, no script, or twice", p.ID)
		}
		seen[p.ID] = true
		for _, e := range p.Expect {
			if len(e.Who) == 0 || len(e.Cause) == 0 {
				t.Errorf("play %s expects nothing of somebody", p.ID)
			}
		}
	}
	for _, p := range traffic {
		if len(p.Expect) > 0 || p.Expert != "" {
			t.Errorf("traffic %s expects something", p.ID)
		}
	}
	if len(faults) < 60 || len(traffic) < 10 {
		t.Errorf("%d faults, %d kinds of traffic", len(faults), len(traffic))
	}
}

func told(role, cause string, grade fact.Grade, harmful bool) fact.Finding {
	return fact.Finding{Sender: fact.Sender{Role: role}, Cause: fact.CauseVerdict{ID: cause, Grade: grade}, Harmful: harmful}
}

func TestJudge(t *testing.T) {
	play := Play{Expect: []Expectation{{Who: []string{fact.ServerApp}, Cause: []string{"killed"}, General: []string{"ended"}}}, Also: []string{"late"}}
	quiet := Play{}
	allowed := Play{Expect: []Expectation{{Who: []string{fact.Nobody}, Cause: []string{"cut"}, Silent: true}}}
	for _, x := range []struct {
		name     string
		play     *Play
		findings []fact.Finding
		want     string
		wrong    int
		noise    int
	}{
		{"exact", &play, []fact.Finding{told(fact.ServerApp, "killed", fact.Proved, true)}, Right, 0, 0},
		{"exact, and what else is true", &play, []fact.Finding{told(fact.ServerApp, "killed", fact.Proved, true), told(fact.ClientApp, "late", fact.Proved, true)}, Right, 0, 0},
		{"less", &play, []fact.Finding{told(fact.ServerApp, "ended", fact.Probable, true)}, General, 0, 0},
		{"nothing", &play, nil, Silent, 0, 0},
		{"another sender", &play, []fact.Finding{told(fact.ClientApp, "killed", fact.Proved, true)}, Wrong, 1, 1},
		{"another cause", &play, []fact.Finding{told(fact.ServerApp, "scan", fact.Possible, true)}, Silent, 0, 1},
		{"hidden", &play, []fact.Finding{told(fact.ServerApp, "scan", fact.Proved, false)}, Wrong, 1, 0},
		{"the consequence of another", &quiet, []fact.Finding{{Story: "x", Harmful: true}}, Right, 0, 0},
		{"a false alarm", &quiet, []fact.Finding{told(fact.ServerApp, "killed", fact.Proved, true)}, Wrong, 1, 1},
		{"harmless", &quiet, []fact.Finding{told(fact.ServerApp, "killed", fact.Proved, false)}, Right, 0, 0},
		{"may be silent", &allowed, nil, Silent, 0, 0},
	} {
		v := x.play.Judge(x.findings)
		if v.Result != x.want || v.WrongProved != x.wrong || v.Noise != x.noise || v.Allowed != (x.play == &allowed) {
			t.Errorf("%s: %+v", x.name, v)
		}
	}
}

func TestRootPlayLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	p := &Play{ID: "test", Needs: []string{"bash"}, Script: "echo $$ in $D\nsleep 300 & ss -tln >/dev/null\n"}
	if m := p.Missing(); len(m) > 0 {
		t.Skip("needs ", m)
	}
	r, err := Start(context.Background(), p, 1)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.Done():
	case <-time.After(time.Minute):
		t.Error("the script does not end")
	}
	if r.Err() != nil || r.Cookie == 0 || !strings.HasPrefix(r.Output(), "1 in "+r.dir) {
		t.Errorf("error %v, cookie %d, output %q", r.Err(), r.Cookie, r.Output())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there", r.dir)
	}
	bad := &Play{ID: "bad", Script: "false"}
	r, err = Start(context.Background(), bad, 1)
	if err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	if r.Err() == nil {
		t.Error("a script that fails has no error")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if !slices.Contains((&Play{Needs: []string{"no-such-program"}}).Missing(), "no-such-program") {
		t.Error("a missing program is not missed")
	}
}
