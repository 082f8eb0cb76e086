// Command bench measures what Holdfast costs and how fast it is, beside its
// peers, so that anybody can repeat the numbers of docs/performance.md. It
// needs root, two CPUs and a quiet machine; what it compares with (tcpdump,
// bpftrace, nginx, wrk) comes from Debian packages and is left out, with a
// word, where it is missing. All traffic stays in network namespaces that it
// makes and that end with it.
//
// To debug, run one part with few rounds: bench -rounds 1 cost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is what the parts share.
type bench struct {
	ctx      context.Context
	rounds   int
	seconds  float64
	holdfast string // the binary under test
	repo     string // the root of the repository
	steadyFlags
}

// part is one kind of measurement; its table goes to its own section of the page.
type part struct {
	name, title, doc string
	run              func(*bench) (string, error) // returns Markdown
}

var parts = []part{
	{"cost", "Cost while nothing is wrong", "what watching costs a busy server, beside other tools", (*bench).cost},
	{"flood", "Reset flood", "a flood of resets: rate, memory, accounting", (*bench).flood},
	{"start", "Start, latency, idle", "time to attach, reset to verdict, memory and CPU when idle", (*bench).start},
	{"steady", "Steady: requests that survive resets", "package steady beside other retry layers, by the server's ledger", (*bench).steady},
	{"relay", "Proxy: a relay that hides no reset", "holdfast proxy beside HAProxy and io.Copy: bytes and connections", (*bench).relay},
	{"capture", "Captures", "read captures of small packets, beside tcpdump and tshark", (*bench).capture},
	{"micro", "Single steps", "go benchmarks: decode, join, build, explain", (*bench).micro},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "role" {
		if err := role(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{}
	fs.IntVar(&b.rounds, "rounds", 9, "paired rounds of each load")
	fs.Float64Var(&b.seconds, "seconds", 1.5, "length of one run of a load")
	fs.StringVar(&b.holdfast, "holdfast", "", "binary to measure; default: build it from this repository")
	write := fs.String("write", "", "write the tables into this page too, between its markers")
	b.register(fs)
	fs.Usage = func() { usage(fs) }
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	chosen, err := choose(fs.Args())
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and eBPF need root: run it with sudo")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.ctx = ctx
	cleanup, err := b.prepare()
	if err != nil {
		return err
	}
	defer cleanup()
	return b.measure(chosen, *write)
}

func usage(fs *flag.FlagSet) {
	w := fs.Output()
	fmt.Fprintln(w, "usage: bench [flags] [part ...]     (no part means all)")
	for _, p := range parts {
		fmt.Fprintf(w, "  %-7s %s\n", p.name, p.doc)
	}
	fs.PrintDefaults()
}

func choose(names []string) ([]part, error) {
	if len(names) == 0 {
		return parts, nil
	}
	var chosen []part
	for _, name := range names {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no part %q; bench -h lists them", name)
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

// prepare finds the repository and builds the binary if none was given.
func (b *bench) prepare() (func(), error) {
	out, err := exec.CommandContext(b.ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/holdfast-project/holdfast").Output()
	if err != nil {
		return nil, fmt.Errorf("find the repository (run bench in its folder bench/): %w", err)
	}
	b.repo = strings.TrimSpace(string(out))
	if b.holdfast != "" {
		b.holdfast, err = filepath.Abs(b.holdfast)
		return func() {}, err
	}
	dir, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	b.holdfast = filepath.Join(dir, "holdfast")
	build := exec.CommandContext(b.ctx, "go", "build", "-o", b.holdfast, "./cmd/holdfast")
	build.Dir, build.Stderr, build.Env = b.repo, os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("build holdfast: %w", err)
	}
	return func() { os.RemoveAll(dir) }, nil
}

// measure runs the parts, prints their tables and writes them to the page.
func (b *bench) measure(chosen []part, page string) error {
	m := machine(b.ctx, b.repo)
	fmt.Printf("%s\n", m)
	if page != "" {
		if err := writeSection(page, "machine", m); err != nil {
			return err
		}
	}
	for _, p := range chosen {
		begin := time.Now()
		progress("%s: %s\n", p.name, p.doc)
		table, err := p.run(b)
		if b.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		progress("%s took %s\n", p.name, time.Since(begin).Round(time.Second))
		fmt.Printf("\n## %s\n\n%s", p.title, table)
		if page != "" {
			if err := writeSection(page, p.name, table); err != nil {
				return err
			}
		}
	}
	return nil
}

var progressTo io.Writer = os.Stderr

func progress(format string, args ...any) { fmt.Fprintf(progressTo, format, args...) }
