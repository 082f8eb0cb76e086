package cli

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/daemon"
	"github.com/holdfast-project/holdfast/internal/report"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// testScreen returns a screen whose output can be read.
func testScreen(width int, output string, w *watchFlags) (s *screen, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	o := &options{output: output, color: "never", env: &env{out: out, err: err, getenv: func(string) string { return "" }, width: func() int { return width }}}
	return newScreen(o, w), out, err
}

func finding(cause string, clientPort uint16) fact.Finding {
	f := *postgresReset()
	f.Time = time.Date(2026, 3, 1, 14, 3, 7, 0, time.UTC)
	f.Cause = fact.CauseVerdict{ID: cause, Title: "A title", Grade: fact.Proved, Score: 0.99, Says: "It says."}
	f.Flow.Client = netip.AddrPortFrom(f.Flow.Client.Addr(), clientPort)
	return f
}

func TestRepeatsAreFoldedIntoAPipe(t *testing.T) {
	s, out, _ := testScreen(0, "text", &watchFlags{})
	for i := range 37 {
		s.emit(finding("close-with-unread-data", uint16(40000+i)))
	}
	s.emit(finding("oom-kill", 50000))
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Fatalf("%d lines before the window ends:\n%s", n, out)
	}
	s.p.tick(time.Now().Add(foldWindow))
	if n := strings.Count(out.String(), "×36 more"); n != 1 {
		t.Errorf("the total is shown %d times:\n%s", n, out)
	}
	s.emit(finding("close-with-unread-data", 1))
	s.p.close()
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines at the end, want 4:\n%s", n, out)
	}
	if s.count.total != 39 {
		t.Errorf("counted %d, want 39", s.count.total)
	}
}

func TestRepeatsAreCountedInPlaceOnATerminal(t *testing.T) {
	s, out, _ := testScreen(130, "text", &watchFlags{})
	s.emit(finding("close-with-unread-data", 1))
	s.emit(finding("close-with-unread-data", 2))
	s.p.tick(time.Now())
	if !strings.Contains(out.String(), "\x1b[1A\x1b[J") || !strings.Contains(out.String(), "×2") {
		t.Errorf("no rewritten line: %q", out)
	}
	s.emit(finding("oom-kill", 3))
	s.emit(finding("close-with-unread-data", 4))
	before := out.Len()
	s.p.tick(time.Now())
	if out.Len() != before {
		t.Errorf("a line that is not the last one was rewritten: %q", out.String()[before:])
	}
	s.p.close()
	if !strings.Contains(out.String(), "×1 more") {
		t.Errorf("the last count is missing: %q", out)
	}
}

func TestNoFold(t *testing.T) { // --no-fold
	s, out, _ := testScreen(0, "text", &watchFlags{noFold: true})
	for i := range 3 {
		s.emit(finding("close-with-unread-data", uint16(i)))
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
}

// TestRootNoPayload keeps the data of connections out: --no-payload.
func TestRootNoPayload(t *testing.T) {
	needRoot(t)
	if code, out, errOut := run(t, 0, "watch", "--no-payload", "--for", "100ms", "-o", "ndjson"); code != codeOK {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
}

func TestFoldsAreBounded(t *testing.T) {
	s, _, _ := testScreen(0, "text", &watchFlags{})
	for i := range foldMax + 100 {
		s.emit(finding(fmt.Sprint("cause-", i), 1))
	}
	if len(s.p.folds) > foldMax {
		t.Errorf("%d folds are remembered, the limit is %d", len(s.p.folds), foldMax)
	}
}

func TestHarmlessAndConsequencesAreHidden(t *testing.T) {
	benign, follows := finding("health-check", 1), finding("data-after-close", 2)
	benign.Harmful = false
	follows.Story = "f-1"
	for _, c := range []struct {
		all  bool
		want int
	}{{false, 0}, {true, 2}} {
		s, out, _ := testScreen(0, "text", &watchFlags{all: c.all})
		s.emit(benign)
		s.emit(follows)
		if n := strings.Count(out.String(), "\n"); n != c.want {
			t.Errorf("all=%v: %d lines, want %d", c.all, n, c.want)
		}
		if s.count.hidden != 2-c.want {
			t.Errorf("all=%v: %d hidden", c.all, s.count.hidden)
		}
	}
}

func TestDetailsAndWhy(t *testing.T) { // --details --why
	s, out, _ := testScreen(0, "text", &watchFlags{details: true, why: true})
	f := finding("close-with-unread-data", 1)
	f.Arithmetic = &fact.Arithmetic{Causes: []fact.Score{{ID: "close-with-unread-data", Total: 30, Posterior: 0.99}}}
	s.emit(f)
	for _, want := range []string{"It says.", "flow ", "total +30.0 dB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

func TestMachineOutputIsComplete(t *testing.T) {
	benign := finding("health-check", 1)
	benign.Harmful = false
	for _, c := range []struct {
		facts bool // --facts
		want  bool
	}{{false, false}, {true, true}} {
		s, out, _ := testScreen(0, "ndjson", &watchFlags{facts: c.facts})
		s.emit(benign)
		s.emit(finding("close-with-unread-data", 2))
		s.emit(finding("close-with-unread-data", 3))
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines, want 3: nothing is hidden or folded for programs", n)
		}
		if got := strings.Contains(out.String(), `"sender.proc.name"`); got != c.want {
			t.Errorf("--facts=%v: facts are there: %v", c.facts, got)
		}
	}
}

func TestSummary(t *testing.T) {
	s, _, err := testScreen(0, "text", &watchFlags{})
	s.emit(finding("close-with-unread-data", 1))
	s.emit(finding("close-with-unread-data", 2))
	f := finding("oom-kill", 3)
	f.Sender.Role, f.Count = fact.ServerKernel, 40
	s.emit(f)
	s.count.write(s.o.env.err, report.Style{}, 90*time.Second)
	writeStats(s.o.env.err, report.Style{}, daemon.Stats{
		Seen: 43, Reported: 3, Folded: 40,
		Ledgers: []daemon.Ledger{{Netns: "host", OutRsts: 43, StackSent: 43, WireSeen: 44, WireNoSocket: 1}, {Netns: "7", OutRsts: -1, StackSent: 2}, {Netns: "web", OutRsts: 5, StackSent: 4, Remainder: 1}},
	})
	writeStats(s.o.env.err, report.Style{}, daemon.Stats{Seen: 43, Reported: 3, Folded: 30, Lost: 10, Floods: []trace.Flood{
		{Hook: "send", Reason: "NO_SOCKET", Port: 80, Count: 30, First: time.Unix(0, 0), Last: time.Unix(3, 0)},
	}})
	writeStats(s.o.env.err, report.Style{}, daemon.Stats{Seen: 43, Reported: 3})
	want := `
42 findings in 1m30s, 42 of them harmful
    40  oom-kill                            proved                  server-kernel
     2  close-with-unread-data              proved                  server-app

seen 43 = reported 3 + folded 40 + lost 0: complete
cross-check: the kernel's own count of resets (OutRsts) equals ours in 1 namespace, 1 ended before it could be read; 44 on the wire, 1 of them from no socket
cross-check: namespace web: OutRsts 5, seen leaving the stack 4, remainder 1

seen 43 = reported 3 + folded 30 + lost 10: 10 lost
flood: 30 folded in the kernel: send, port 80, reason NO_SOCKET, within 3s

seen 43 = reported 3 + folded 0 + lost 0: does not add up
`
	if err.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", err, want)
	}
}

func TestStartSaysWhatCanNotBeSeen(t *testing.T) {
	s, out, err := testScreen(130, "text", &watchFlags{filter: filter{ports: []uint{80}}})
	s.start(daemon.Coverage{Tier: "kernel", Blind: []string{"TTL of accepted resets\x1b[2J"}, ReadyIn: 31 * time.Millisecond})
	want := "holdfast watches every network namespace of this host, showing only port 80; source kernel, ready in 31ms\n" +
		"  not seen: TTL of accepted resets\\x1b[2J\n  Ctrl-C ends with a summary\n"
	if err.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", err, want)
	}
	if !strings.Contains(out.String(), "SENT BY") {
		t.Errorf("no header: %q", out)
	}
}
