package cli

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/lab"
	"github.com/holdfast-project/holdfast/knowledge"
)

var (
	labClient = netip.MustParseAddrPort("192.0.2.2:40000")
	labServer = netip.MustParseAddrPort("198.51.100.2:20000")
)

func labFinding(at time.Time, role, cause string, grade fact.Grade) fact.Finding {
	return fact.Finding{
		ID: cause, Time: at, Flow: fact.FindingFlow{Client: labClient, Server: labServer},
		Sender: fact.Sender{Role: role, Grade: grade}, Cause: fact.CauseVerdict{ID: cause, Grade: grade},
	}
}

func TestJudge(t *testing.T) {
	scenario := lab.Scenario{ID: "s", Truth: lab.Truth{Sender: fact.ServerApp, Cause: "a", Also: []string{"late"}}}
	type emit struct {
		after time.Duration // of the decisive event
		role  string
		cause string
		grade fact.Grade
	}
	for _, c := range []struct {
		name         string
		emits        []emit
		right, wrong bool
		cause        string
	}{
		{"right", []emit{{0, fact.ServerApp, "a", fact.Proved}}, true, false, "a"},
		{"right after a consequence", []emit{{0, fact.ServerKernel, "late", fact.Proved}, {time.Second, fact.ServerApp, "a", fact.Proved}}, true, false, "a"},
		{"only the consequence", []emit{{0, fact.ServerKernel, "late", fact.Proved}}, false, false, "late"},
		{"nothing", nil, false, false, ""},
		{"too late", []emit{{5 * time.Second, fact.ServerApp, "a", fact.Proved}}, false, false, ""},
		{"before the event", []emit{{-time.Second, fact.ServerApp, "a", fact.Proved}}, false, false, ""},
		{"wrong cause, probable", []emit{{0, fact.ServerApp, "b", fact.Probable}}, false, false, "b"},
		{"wrong cause, proved", []emit{{0, fact.ServerApp, "b", fact.Proved}}, false, true, "b"},
		{"wrong sender, proved", []emit{{0, fact.ClientApp, "a", fact.Proved}}, false, true, "a"},
		{"right, and a wrong proved one", []emit{{0, fact.ServerApp, "a", fact.Proved}, {100 * time.Millisecond, fact.ServerApp, "b", fact.Proved}}, false, true, "a"},
		{"right, and a wrong proved one much later", []emit{{0, fact.ServerApp, "a", fact.Proved}, {time.Second, fact.ServerApp, "b", fact.Proved}}, false, true, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				col, at := newCollector("kernel"), time.Now()
				for _, e := range c.emits {
					time.AfterFunc(max(e.after, 0), func() { col.add(labFinding(at.Add(e.after), e.role, e.cause, e.grade)) })
				}
				out := col.judge(context.Background(), scenario, lab.Result{At: at, Flows: []lab.Flow{{Client: labClient, Server: labServer}}})
				time.Sleep(10 * time.Second) // in the bubble: what comes late is judged too
				synctest.Wait()
				col.late()
				cause := ""
				if out.Finding != nil {
					cause = out.Finding.Cause.ID
				}
				if out.Right != c.right || out.WrongProved != c.wrong || cause != c.cause {
					t.Errorf("right %v, wrong proved %v, cause %q; want %v, %v, %q", out.Right, out.WrongProved, cause, c.right, c.wrong, c.cause)
				}
			})
		})
	}
}

func TestOnFlows(t *testing.T) {
	at := time.Now()
	mapped := netip.AddrPortFrom(netip.AddrFrom16(labServer.Addr().As16()), labServer.Port())
	anyPort := netip.AddrPortFrom(labClient.Addr(), 0)
	other := netip.MustParseAddrPort("203.0.113.2:1")
	for _, c := range []struct {
		name string
		flow lab.Flow
		want bool
	}{
		{"same", lab.Flow{Client: labClient, Server: labServer}, true},
		{"turned round", lab.Flow{Client: labServer, Server: labClient}, true},
		{"any port of the client", lab.Flow{Client: anyPort, Server: labServer}, true},
		{"mapped address", lab.Flow{Client: labClient, Server: mapped}, true},
		{"another client", lab.Flow{Client: other, Server: labServer}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := labFinding(at, "", "", "")
			if got := onFlows(&f, lab.Result{At: at, Flows: []lab.Flow{c.flow}}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestRecordedCases replays what the kernel showed of each scenario of the lab,
// without root: the knowledge base must name its sender and cause, and must
// call nothing wrong proved. Record anew with
//
//	sudo holdfast lab run --all --record internal/cli/testdata/cases
func TestRecordedCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.json")
	if err != nil {
		t.Fatal(err)
	}
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		rec, err := readRecording(file)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(rec.Scenario, func(t *testing.T) { replay(t, base, rec) })
	}
}

func replay(t *testing.T, base *diagnosis.Base, rec *recording) {
	for i, c := range rec.Cases {
		f := base.Explain(c, diagnosis.Options{Why: true})
		right := f.Sender.Role == rec.Truth.Sender && f.Cause.ID == rec.Truth.Cause
		if i == 0 && !right || wrongProved(&f, rec.Truth) {
			t.Errorf("case %d is %s, %s (%s); the truth is %s, %s", i, f.Sender.Role, f.Cause.ID, f.Cause.Grade, rec.Truth.Sender, rec.Truth.Cause)
		}
	}
}

func TestRecordingsSurviveTheFile(t *testing.T) {
	dir := t.TempDir()
	f := labFinding(time.Now(), fact.ServerApp, "a", fact.Proved)
	f.Case = &fact.Case{ID: "c-1", Host: "secret", Time: time.Unix(1, 0).UTC()}
	f.Case.Sender.Sock.Unread = fact.Some(int64(7))
	other := f
	other.ID, other.Case = "x", &fact.Case{ID: "c-2"}
	r := &labResult{Scenario: "s", Truth: labTruth{Sender: "server-app", Cause: "a"}, Finding: &f, seen: []sighting{{f: f}, {f: other}}}
	if err := recordCases(filepath.Join(dir, "new"), []*labResult{r, {Scenario: "skipped", Skipped: "no root"}}); err != nil {
		t.Fatal(err)
	}
	rec, err := readRecording(filepath.Join(dir, "new", "s.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Cases) != 2 || rec.Cases[0].Sender.Sock.Unread.Or(0) != 7 || rec.Cases[0].Host != "lab" || rec.Truth.Cause != "a" {
		t.Errorf("read back %+v", rec)
	}
	if f.Case.Host != "secret" {
		t.Error("recording changed the case of the finding")
	}
	if list, _ := os.ReadDir(filepath.Join(dir, "new")); len(list) != 1 {
		t.Errorf("%d files, want 1", len(list))
	}
}
