package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/lab"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and eBPF")
	}
}

// TestRootLabRun runs two scenarios end to end: namespaces, kernel source,
// engine, verdict, output.
func TestRootLabRun(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	code, out, errOut := run(t, 0, "lab", "run", "close-unread", "closed-port", "--record", dir, "--why", "--details", "--skip-slow", "-o", "ndjson")
	if code != codeOK {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	for line := range strings.Lines(out) {
		var r labResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if !r.Right || r.WrongProved || r.Finding == nil || r.Source == "" {
			t.Errorf("unexpected: %s", line)
		}
	}
	for _, id := range []string{"close-unread", "closed-port"} {
		rec, err := readRecording(filepath.Join(dir, id+".json"))
		if err != nil || len(rec.Cases) == 0 {
			t.Errorf("recording of %s: %v", id, err)
		}
	}
}

// TestRootLabPacket lets the packet source judge, which has no kernel hook: it wants
// the sender of resets by a program, by a kernel, by a packet filter and by a
// forger. The first scenario is for the captures to begin.
func TestRootLabPacket(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("captures lose packets when the machine is busy; runs alone without -short")
	}
	want := []string{"close-unread", "closed-port", "nft-reject-input", "nft-reject-output", "forged-exact", "linger-zero"}
	code, out, errOut := run(t, 0, append([]string{"lab", "run", "--source", "packet", "-o", "ndjson", "sigkill-queued"}, want...)...)
	if code != codeOK && code != codeFindings { // causes are general here
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	seen := 0
	for line := range strings.Lines(out) {
		var r labResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.WrongProved || r.Source != "packet" {
			t.Errorf("unexpected: %s", line)
		}
		if !slices.Contains(want, r.Scenario) {
			continue
		}
		if seen++; r.Finding == nil || r.Finding.Sender.Role != r.Truth.Sender {
			t.Errorf("sender is not %s: %s", r.Truth.Sender, line)
		}
	}
	if seen != len(want) {
		t.Errorf("%d results, want %d\n%s", seen, len(want), errOut)
	}
}

// TestRootWatchDemo runs what the README promises.
func TestRootWatchDemo(t *testing.T) {
	needRoot(t)
	code, out, errOut := run(t, 130, "watch", "--demo", "--stacks", "--wire=true", "--for", "60s", "--color", "never")
	if code != codeOK {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	for _, want := range []string{"close-with-unread-data", "→", "SENT BY"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if !strings.Contains(errOut, "seen ") || !strings.Contains(errOut, "verdicts are the truth") {
		t.Errorf("no summary:\n%s", errOut)
	}
}

// TestLabNeedsRoot is what people meet who are not root.
func TestLabNeedsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can do all of it")
	}
	for _, args := range [][]string{{"lab", "run", "close-unread", "--source", "counters"}, {"watch", "--demo"}} {
		code, out, errOut := run(t, 0, args...)
		if code != codePermission || !strings.Contains(errOut, "try: sudo holdfast") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errOut)
		}
	}
}

// TestRootLabPcap records packets without watching.
func TestRootLabPcap(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	code, out, errOut := run(t, 0, "lab", "run", "closed-port", "--pcap", dir, "--source", "none")
	if code != codeOK || !strings.Contains(out, "4 hosts, ") || !strings.Contains(out, "packets, 4 resets") || !strings.Contains(errOut, "0 lost") {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	rec, err := lab.ReadRecording(filepath.Join(dir, "closed-port"))
	if err != nil || rec.Cause != "connection-refused-closed-port" || len(rec.Hosts) != 4 {
		t.Errorf("%+v, %v", rec, err)
	}
}
