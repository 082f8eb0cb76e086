package cli

import (
	"bytes"
	"os"
	"testing"

	"github.com/holdfast-project/holdfast/knowledge"
)

// TestSimulatedCaptures judges simulated captures of seeds on which no weight was
// set.
func TestSimulatedCaptures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	scenes := 300
	if testing.Short() {
		scenes = 60
	}
	n, err := writeScenes(dir, 2_000_000, scenes)
	if err != nil {
		t.Fatal(err)
	}
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	o := &options{env: &env{getenv: os.Getenv, err: &bytes.Buffer{}}}
	j := &captureJudge{base: base, explain: o.captureExplainer(t.Context(), base)}
	a, err := j.labelled(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cases != n || n < 4*scenes {
		t.Fatalf("%d of %d resets judged", a.Cases, n)
	}
	limits := captureLimits{sender: 0.95, precision: 0.97, accused: 0.98, cause: 0.9, wrongProved: 0}
	if err := limits.check(&a); err != nil {
		t.Error(err)
	}
	t.Logf("%d resets: recall %.3f, precision %.3f, %s accusations right", a.Cases, a.Recall, a.Precision, a.accusedText())
}
