package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCausesSeen(t *testing.T) {
	dir := t.TempDir()
	for _, s := range []string{"close-unread", "closed-port", "sigkill-queued"} {
		b, err := os.ReadFile(filepath.Join("testdata/cases", s+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s+".json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errOut := run(t, 0, "causes", "seen", dir)
	if code != codeOK || !strings.Contains(out, "process-killed") || !strings.Contains(out, "1 of 1 true") {
		t.Errorf("exit %d, %s, %s", code, out, errOut)
	}
	code, out, errOut = run(t, 0, "causes", "seen", dir, "--leave-one-out")
	if code != codeOK || !strings.HasPrefix(out, "leave one scenario out: sender right 100.0 % ") {
		t.Errorf("exit %d, %s, %s", code, out, errOut)
	}
	if code, _, _ = run(t, 0, "causes", "seen", t.TempDir()); code != codeNotFound {
		t.Errorf("exit %d of an empty directory", code)
	}
}

func TestSmoothed(t *testing.T) {
	for _, x := range [][3]int{{0, 0, 3}, {1, 1, 4}, {0, 9, 1}, {9, 9, 8}, {100, 100, 9}} {
		if got := smoothed(x[0], x[1]); got != x[2] {
			t.Errorf("%d of %d is %d, want %d", x[0], x[1], got, x[2])
		}
	}
}
