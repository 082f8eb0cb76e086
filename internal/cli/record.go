package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast-project/holdfast/fact"
)

// recording is a file that holdfast lab run --record writes: what was observed
// of a scenario, with its truth. It replays without root in milliseconds.
type recording struct {
	Schema   string       `json:"schema"`
	Scenario string       `json:"scenario"`
	Truth    labTruth     `json:"truth"`
	Cases    []*fact.Case `json:"cases"` // the one that answers for the scenario first
}

// recordCases writes a file for each scenario that was diagnosed.
func recordCases(dir string, results []*labResult) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory for recordings: %w", err)
	}
	var errs []error
	for _, r := range results {
		if r.Finding == nil || r.Finding.Case == nil {
			continue
		}
		rec := recording{Schema: fact.Schema, Scenario: r.Scenario, Truth: r.Truth, Cases: []*fact.Case{anonymous(r.Finding.Case)}}
		for _, s := range r.seen {
			if s.f.ID != r.Finding.ID && s.f.Case != nil && len(rec.Cases) < 8 {
				rec.Cases = append(rec.Cases, anonymous(s.f.Case))
			}
		}
		errs = append(errs, writeRecording(filepath.Join(dir, r.Scenario+".json"), &rec))
	}
	return errors.Join(errs...)
}

// anonymous returns a copy of a case without what names this machine.
func anonymous(c *fact.Case) *fact.Case {
	x := *c
	x.Host = "lab"
	for _, p := range []*fact.Process{&x.Sender.Proc, &x.Receiver.Proc} {
		if _, ok := p.Cgroup.Get(); ok {
			p.Cgroup = fact.Some("/lab")
		}
		if exe, ok := p.Exe.Get(); ok {
			p.Exe = fact.Some("/usr/bin/" + filepath.Base(exe))
		}
	}
	return &x
}

// writeRecording writes one fact on each line, so that a diff can be read.
func writeRecording(path string, rec *recording) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(rec); err != nil {
		return fmt.Errorf("encode recording: %w", err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// readRecording is the inverse of writeRecording.
func readRecording(path string) (*recording, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rec := &recording{}
	if err := json.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rec, nil
}
