package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/knowledge"
)

// BenchmarkExplainLab diagnoses the cases that the laboratory recorded, one
// after the other, with the whole knowledge base.
func BenchmarkExplainLab(b *testing.B) {
	files, err := filepath.Glob("../internal/cli/testdata/cases/*.json")
	if err != nil || len(files) == 0 {
		b.Fatalf("no recorded cases: %v", err)
	}
	var cases []*fact.Case
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		var recording struct{ Cases []*fact.Case }
		if err := json.Unmarshal(text, &recording); err != nil {
			b.Fatalf("%s: %v", path, err)
		}
		cases = append(cases, recording.Cases...)
	}
	base, err := knowledge.Load()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	named := 0
	for i := 0; b.Loop(); i++ {
		if f := base.Explain(cases[i%len(cases)], diagnosis.Options{}); f.Cause.ID != "" {
			named++
		}
	}
	if named == 0 {
		b.Fatal("no case got a verdict")
	}
	b.ReportMetric(float64(len(cases)), "cases")
}
