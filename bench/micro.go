package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// micros are the go benchmarks that go on the page: package folder, name, what
// it is, and what is to be reached.
var micros = []struct{ dir, name, what, target string }{
	{"internal/trace", "BenchmarkDecode", "decode one record of the ring buffer", "0 allocations"},
	{"internal/trace", "BenchmarkJoin", "join the records of one reset, both ends", ""},
	{"internal/trace", "BenchmarkBuild", "build the case from them", ""},
	{"bench", "BenchmarkExplainLab", "diagnose a recorded case of the laboratory", "< 50 us"},
	{"knowledge", "BenchmarkLoad", "load and compile the knowledge base", ""},
}

// micro runs them, five times each, and reports medians.
func (b *bench) micro() (string, error) {
	var rows [][]string
	results := map[string]map[string]sample{}
	for _, m := range micros {
		if results[m.dir] == nil {
			text, err := b.goBench(m.dir)
			if err != nil {
				return "", err
			}
			results[m.dir] = map[string]sample{}
			parseGoBench(text, results[m.dir])
		}
		ns := results[m.dir][m.name+" ns/op"]
		if len(ns) == 0 {
			rows = append(rows, []string{m.what, "not measured", "-", "-", m.target, m.dir + " " + m.name})
			continue
		}
		rows = append(rows, []string{m.what, nanos(ns.median()), fmt.Sprintf("%.0f", results[m.dir][m.name+" allocs/op"].median()), fmt.Sprintf("%.0f", results[m.dir][m.name+" B/op"].median()), m.target, m.dir + " " + m.name})
	}
	return table([]string{"step", "median time", "allocations", "bytes", "to reach", "benchmark"}, rows), nil
}

func (b *bench) goBench(dir string) (string, error) {
	var names []string
	for _, m := range micros {
		if m.dir == dir {
			names = append(names, m.name)
		}
	}
	cmd := exec.CommandContext(b.ctx, "go", "test", "-run", "^$", "-bench", "^("+strings.Join(names, "|")+")$", "-benchmem", "-benchtime", "0.3s", "-count", "5", ".")
	cmd.Dir, cmd.Stderr = filepath.Join(b.repo, dir), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go test in %s: %w: %s", dir, err, lastLine(string(out)))
	}
	return string(out), nil
}

// parseGoBench reads lines such as "BenchmarkX-2  100  12.3 ns/op  0 B/op  0 allocs/op".
func parseGoBench(text string, into map[string]sample) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(f[0], "-")
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				into[name+" "+f[i+1]] = append(into[name+" "+f[i+1]], v)
			}
		}
	}
}

func nanos(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.1f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.1f us", ns/1e3)
	}
	return fmt.Sprintf("%.1f ms", ns/1e6)
}
