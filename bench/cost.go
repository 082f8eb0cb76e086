package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

// workload is a load with the variants that are measured on it.
type workload struct {
	name, unit string
	variants   []variant // measured in every round
	peers      []variant // take turns, one in each round; some more often
	rounds     func(int) int
	prepare    func(*space) (func(seconds float64) (load, error), func(), error)
}

func builtin(role string) func(*space) (func(float64) (load, error), func(), error) {
	return func(s *space) (func(float64) (load, error), func(), error) {
		return func(seconds float64) (l load, err error) {
			return l, s.run(&l, role, fmt.Sprint(seconds))
		}, func() {}, nil
	}
}

var workloads = []workload{
	{"short connections", "connection", []variant{none, watch, null}, []variant{blind, segs, rst, life, blind, segs, rst, state}, func(n int) int { return n }, builtin("connections")},
	{"nginx, Connection: close", "request", []variant{none, watch, null}, []variant{blind, segs, rst, life, blind, segs, rst, state}, func(n int) int { return n }, prepareNginx},
	{"established, one byte ping-pong", "round trip", []variant{none, watch, null}, []variant{segs, rst, full}, func(n int) int { return max(1, n/2) }, builtin("pingpong")},
}

func prepareNginx(s *space) (func(float64) (load, error), func(), error) {
	for _, p := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, nil, fmt.Errorf("%s is not installed (apt-get install nginx-light wrk)", p)
		}
	}
	dir, err := os.MkdirTemp("", "holdfast-bench-nginx-")
	if err != nil {
		return nil, nil, err
	}
	server, err := nginx(s, dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	end := func() {
		_ = server.Process.Kill()
		_ = server.Wait() // it was killed
		os.RemoveAll(dir)
	}
	return func(seconds float64) (load, error) { return wrk(s, server.Process.Pid, seconds) }, end, nil
}

// measured is what one variant came to.
type measured struct {
	variant
	rate, cpu sample // relative to none in the same round
	tool      sample // CPU of the watching process, in cores
	raw       sample // units per second
	micros    sample // CPU of the load for one unit, in us
}

// cost measures every workload with every variant.
func (b *bench) cost() (string, error) {
	var page strings.Builder
	for _, w := range workloads {
		s, err := newSpace()
		if err != nil {
			return "", err
		}
		run, end, err := w.prepare(s)
		if err != nil { // a program is missing
			s.close()
			fmt.Fprintf(&page, "%s: not measured, %v.\n\n", w.name, err)
			continue
		}
		results, err := b.workload(w, s, run)
		end()
		s.close()
		if err != nil {
			return "", fmt.Errorf("%s: %w", w.name, err)
		}
		page.WriteString(costTable(w, results))
	}
	return page.String(), nil
}

// workload runs the rounds of one workload: forth and back through the
// variants, so that a drift of the machine hits all alike, and beginning with
// another one each time. What is not installed is left out.
func (b *bench) workload(w workload, s *space, run func(float64) (load, error)) ([]measured, error) {
	var results []measured
	for _, v := range slices.Concat(w.variants, w.peers) {
		if !slices.ContainsFunc(results, func(m measured) bool { return m.name == v.name }) {
			results = append(results, measured{variant: v})
		}
	}
	peers := slices.DeleteFunc(slices.Clone(w.peers), func(v variant) bool { return !v.installed() })
	if _, err := run(b.seconds); err != nil { // warm up: fill TIME_WAIT, caches, clocks
		return nil, err
	}
	for r := range w.rounds(b.rounds) {
		order := slices.Clone(w.variants)
		if len(peers) > 0 {
			order = append(order, peers[r%len(peers)])
		}
		order = slices.Concat(order[r%len(order):], order[:r%len(order)])
		back := slices.Clone(order)
		slices.Reverse(back)
		runs, err := b.round(slices.Concat(order, back), s, run)
		if err != nil {
			return nil, err
		}
		for i := range results {
			results[i].add(runs[results[i].name], runs[none.name])
		}
		progress("  %s %d/%d: none %.0f/s, watch x%.3f, noise x%.3f\n", w.name, r+1, w.rounds(b.rounds),
			runs[none.name].load.rate(), runs[watch.name].load.rate()/runs[none.name].load.rate(), runs[null.name].load.rate()/runs[none.name].load.rate())
	}
	return results, nil
}

// runs adds up the runs of one variant in one round.
type runs struct {
	load load
	tool time.Duration
}

// settle lets what a tool does when it starts, or leaves when it ends, pass.
const settle = 400 * time.Millisecond

// round runs the variants in that order. Each run has a fresh tool, so that
// none remembers what the end of an earlier load looked like.
func (b *bench) round(order []variant, s *space, run func(float64) (load, error)) (map[string]*runs, error) {
	sums := map[string]*runs{}
	for _, v := range order {
		if sums[v.name] == nil {
			sums[v.name] = &runs{}
		}
		if err := b.single(v, s, run, sums[v.name]); err != nil {
			return nil, err
		}
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
	}
	return sums, nil
}

// single adds one run of a variant to its sum.
func (b *bench) single(v variant, s *space, run func(float64) (load, error), sum *runs) error {
	var t *tool
	if v.start != nil {
		var err error
		if t, err = v.start(b, s); err != nil {
			return err
		}
		defer t.stop()
	}
	time.Sleep(settle)
	return sum.measure(b, t, run)
}

func (r *runs) measure(b *bench, t *tool, run func(float64) (load, error)) error {
	var before time.Duration
	if t != nil {
		before = cpuTime(t.cmd.Process.Pid)
	}
	l, err := run(b.seconds)
	if err != nil {
		return err
	}
	if t != nil {
		r.tool += cpuTime(t.cmd.Process.Pid) - before
	}
	r.load.Units += l.Units
	r.load.Seconds += l.Seconds
	r.load.CPU += l.CPU
	return nil
}

func (m *measured) add(r, base *runs) {
	if r == nil || base == nil {
		return
	}
	perUnit := func(l load) float64 { return l.CPU / float64(l.Units) }
	m.rate = append(m.rate, r.load.rate()/base.load.rate())
	m.cpu = append(m.cpu, perUnit(r.load)/perUnit(base.load))
	m.tool = append(m.tool, r.tool.Seconds()/r.load.Seconds)
	m.raw = append(m.raw, r.load.rate())
	m.micros = append(m.micros, perUnit(r.load)*1e6)
}

func costTable(w workload, results []measured) string {
	var rows [][]string
	for _, m := range results {
		if len(m.rate) == 0 {
			why := "not measured: needs more rounds"
			if !m.installed() {
				why = "not installed: " + m.program
			}
			rows = append(rows, []string{m.name, why, "-", "-", "-", "-", "0"})
			continue
		}
		rows = append(rows, []string{m.name, m.rate.ratio(), m.cpu.ratio(), fmt.Sprintf("%.0f", m.raw.median()), fmt.Sprintf("%.1f", m.micros.median()), fmt.Sprintf("%.1f %%", 100*m.tool.median()), fmt.Sprint(len(m.rate))})
	}
	return fmt.Sprintf("### %s\n\n%s\n", w.name, table([]string{"watched by", "rate", "CPU per " + w.unit, w.unit + "s/s", "us CPU each", "tool's own CPU", "rounds"}, rows))
}
