package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reader is a program that reads a capture to its end.
type reader struct {
	name    string
	program string // that must be installed; "" is this program
	slow    bool   // only on the smaller file
	args    []string
	env     []string
}

// captureReaders take turns. FILE stands for the capture.
var captureReaders = []reader{
	{name: "hop over the record headers", args: []string{"role", "hop", "FILE"}},
	{name: "tcpdump, RST filter", program: "tcpdump", args: []string{"-nn", "-r", "FILE", "-w", "/dev/null", "tcp[tcpflags] & tcp-rst != 0"}},
	{name: "holdfast explain, one core", program: "holdfast", args: []string{"explain", "--workers", "1", "-o", "ndjson", "FILE"}, env: []string{"GOMAXPROCS=1"}},
	{name: "holdfast explain, all cores", program: "holdfast", args: []string{"explain", "-o", "ndjson", "FILE"}},
	{name: "tshark, RST filter", program: "tshark", slow: true, args: []string{"-n", "-r", "FILE", "-Y", "tcp.flags.reset==1"}},
	{name: "tshark -2, expert information", program: "tshark", slow: true, args: []string{"-n", "-2", "-q", "-r", "FILE", "-z", "expert"}},
}

const oneCore = "holdfast explain, one core"

// passage is what reading a capture once took.
type passage struct {
	wall, cpu float64 // s
	memory    float64 // bytes, the most at any time
}

// pass runs a reader on a capture; its output is thrown away.
func (b *bench) pass(r *reader, file string, in io.Reader) (p passage, err error) {
	program := r.program
	switch program {
	case "":
		program = "/proc/self/exe"
	case "holdfast":
		program = b.holdfast
	}
	args := make([]string, len(r.args))
	for i, a := range r.args {
		args[i] = strings.Replace(a, "FILE", file, 1)
	}
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Env, cmd.Stdin = append(os.Environ(), r.env...), in
	var errs strings.Builder
	cmd.Stderr = &errs
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return p, fmt.Errorf("%s: %w: %s", r.name, err, lastLine(errs.String()))
	}
	p.wall = time.Since(begin).Seconds()
	p.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		p.memory = float64(u.Maxrss) * 1024
	}
	return p, nil
}

// capture measures reading captures of small packets, and returns Markdown.
func (b *bench) capture() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-bench-capture-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	var page strings.Builder
	for _, m := range []struct {
		kind, title string
		packets     int64
		all         bool
		rounds      int
	}{
		{"mixed", "All programs", 1_000_000, true, max(1, min(b.rounds, 5))},
		{"mixed", "The quick ones, a longer capture", 10_000_000, false, max(1, b.rounds)},
		{"ipv6", "IPv6", 5_000_000, false, max(1, b.rounds/2)},
		{"many", "50,000 connections at the same time", 5_000_000, false, max(1, b.rounds/2)},
		{"scan", "A port scan: a million refused SYNs", 2_000_000, false, max(1, b.rounds/2)},
	} {
		file := filepath.Join(dir, m.kind+".pcap")
		if err := makeCapture(file, m.kind, m.packets); err != nil {
			return "", err
		}
		text, err := b.readers(file, m.packets, m.all, m.rounds)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&page, "### %s: %s packets\n\n%s\n", m.title, thousands(m.packets), text)
		os.Remove(file)
	}
	text, err := b.large()
	return page.String() + text, err
}

func makeCapture(file, kind string, packets int64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeTraffic([]string{kind, strconv.FormatInt(packets, 10)}, f)
}

// readers lets the programs read a file in turn, each round beginning with
// another one, and returns a table.
func (b *bench) readers(file string, packets int64, all bool, rounds int) (string, error) {
	var chosen []*reader
	for i := range captureReaders {
		r := &captureReaders[i]
		if _, err := exec.LookPath(r.program); r.program != "" && r.program != "holdfast" && err != nil {
			progress("%s is not installed\n", r.program)
		} else if all || !r.slow {
			chosen = append(chosen, r)
		}
	}
	taken := make([][]passage, len(chosen))
	for round := range rounds {
		for k := range chosen {
			k = (k + round) % len(chosen)
			p, err := b.pass(chosen[k], file, nil)
			if err != nil {
				return "", err
			}
			taken[k] = append(taken[k], p)
		}
	}
	st, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	return passagesTable(chosen, taken, float64(packets), float64(st.Size())), nil
}

// passagesTable compares with holdfast on one core, round by round.
func passagesTable(chosen []*reader, taken [][]passage, packets, size float64) string {
	var base []passage
	for k, r := range chosen {
		if r.name == oneCore {
			base = taken[k]
		}
	}
	var rows [][]string
	for k, r := range chosen {
		var wall, cpu, memory, ratio, cpuRatio sample
		for i, p := range taken[k] {
			wall, cpu, memory = append(wall, p.wall), append(cpu, p.cpu), append(memory, p.memory)
			ratio, cpuRatio = append(ratio, p.wall/base[i].wall), append(cpuRatio, p.cpu/base[i].cpu)
		}
		rows = append(rows, []string{
			r.name, fmt.Sprintf("%.2f M", packets/wall.median()/1e6), fmt.Sprintf("%.0f", size/wall.median()/1e6),
			fmt.Sprintf("%.0f ns", 1e9*cpu.median()/packets), fmt.Sprintf("%.0f ns", 1e9*cpu.quantile(0)/packets), cpuRatio.ratio(), ratio.ratio(),
			fmt.Sprintf("%.0f MB", memory.quantile(1)/1e6), strconv.Itoa(len(taken[k])),
		})
	}
	return table([]string{"program", "packets/s", "MB/s", "CPU per packet", "least", "CPU, to one core", "time, to one core", "most memory", "rounds"}, rows)
}

// large lets holdfast read 10 GB through a pipe.
func (b *bench) large() (string, error) {
	const packets = 95_000_000
	in, out, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer in.Close()
	writer := exec.CommandContext(b.ctx, "/proc/self/exe", "role", "traffic", "mixed", strconv.Itoa(packets))
	writer.Stdout = out
	err = writer.Start()
	out.Close()
	if err != nil {
		return "", err
	}
	p, err := b.pass(&reader{name: oneCore, program: "holdfast", args: []string{"explain", "--workers", "1", "-o", "ndjson", "-"}, env: []string{"GOMAXPROCS=1"}}, "", in)
	in.Close()
	if err = errors.Join(err, writer.Wait()); err != nil {
		return "", err
	}
	return fmt.Sprintf("### 10 GB through a pipe\n\n%s\n", table([]string{"packets", "time", "CPU per packet", "most memory"}, [][]string{{
		thousands(packets), fmt.Sprintf("%.0f s", p.wall), fmt.Sprintf("%.0f ns", 1e9*p.cpu/packets), fmt.Sprintf("%.0f MB", p.memory/1e6),
	}})), nil
}

// thousands writes 1234 as 1,234.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
