package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tool is a running program whose cost is measured.
type tool struct {
	cmd   *exec.Cmd
	ready time.Duration // from the start of the process to its word of readiness
	begun time.Time

	mu  sync.Mutex // guards text
	out strings.Builder
	eof chan struct{}
}

// launch starts cmd, inside the namespace unless s is nil, and waits until it
// prints word on standard error; an empty word waits for nothing.
func launch(ctx context.Context, s *space, cmd *exec.Cmd, word string) (*tool, error) {
	t := &tool{cmd: cmd, eof: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	t.begun = time.Now()
	if s == nil {
		err = cmd.Start()
	} else {
		err = s.start(cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	ready := make(chan time.Time, 1)
	go t.follow(pipe, word, ready)
	if word == "" {
		return t, nil
	}
	select {
	case at := <-ready:
		t.ready = at.Sub(t.begun)
		return t, nil
	case <-t.eof:
	case <-ctx.Done():
	case <-time.After(20 * time.Second):
	}
	t.stop()
	return nil, fmt.Errorf("%s did not get ready: %s", filepath.Base(cmd.Path), lastLine(t.text()))
}

// follow collects what the tool says and notices its word of readiness. Of an
// endless stream it keeps the beginning.
func (t *tool) follow(r io.Reader, word string, ready chan<- time.Time) {
	defer close(t.eof)
	in := bufio.NewReaderSize(r, 64<<10)
	found := false
	for {
		line, err := in.ReadString('\n')
		t.mu.Lock()
		if t.out.Len() < 1<<20 {
			t.out.WriteString(line)
		}
		t.mu.Unlock()
		if !found && strings.Contains(line, word) { // who is told of the word finds it in the text
			found = true
			ready <- time.Now()
		}
		if err != nil {
			return
		}
	}
}

func (t *tool) ended() bool {
	select {
	case <-t.eof:
		return true
	default:
		return false
	}
}

func (t *tool) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.String()
}

// stop ends the tool as Ctrl-C does and returns when it is gone.
func (t *tool) stop() {
	_ = t.cmd.Process.Signal(os.Interrupt) // it may be gone already
	hurry := time.AfterFunc(10*time.Second, func() { _ = t.cmd.Process.Kill() })
	defer hurry.Stop()
	<-t.eof
	_ = t.cmd.Wait() // many tools end with an error after an interrupt
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// cpuTime is the time all threads of a process spent on a CPU.
func cpuTime(pid int) (sum time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range tasks {
		if f := strings.Fields(readFile(path)); len(f) == 3 {
			ns, _ := strconv.ParseInt(f[0], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// memory reads a line of /proc/PID/status in bytes: VmRSS, VmHWM, RssAnon.
func memory(pid int, name string) int64 {
	v := strings.Fields(field(fmt.Sprintf("/proc/%d/status", pid), name))
	if len(v) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(v[0], 10, 64)
	return kb << 10
}

// watch starts holdfast watch on the host, where it sees every namespace.
// What it finds goes to out, nil for nowhere.
func (b *bench) watch(out io.Writer, flags ...string) (*tool, error) {
	cmd := exec.Command(b.holdfast, append([]string{"watch", "--all", "-o", "ndjson"}, flags...)...)
	cmd.Stdout = out
	return launch(b.ctx, nil, cmd, "holdfast watches")
}

// account is the summary that watch prints at its end.
type account struct {
	seen, reported, folded, lost uint64
	adds                         bool // as it says itself
	ledgers                      map[string]ledger
	agree                        int // namespaces whose OutRsts equals what was seen
}

type ledger struct{ outRsts, stack int64 }

var errNoSummary = errors.New("watch printed no summary")

// parseAccount reads the summary of watch.
func parseAccount(text string) (account, error) {
	a := account{ledgers: map[string]ledger{}}
	found := false
	for line := range strings.Lines(text) {
		var l ledger
		var name string
		if n, _ := fmt.Sscanf(line, "seen %d = reported %d + folded %d + lost %d:", &a.seen, &a.reported, &a.folded, &a.lost); n == 4 {
			found, a.adds = true, !strings.Contains(line, "does not add up")
		}
		_, counts, ok := strings.Cut(line, "cross-check: the kernel's own count of resets (OutRsts) equals ours in ")
		if ok {
			_, _ = fmt.Sscanf(counts, "%d", &a.agree) // no number, no agreement
		}
		if n, _ := fmt.Sscanf(line, "cross-check: namespace %s OutRsts %d, seen leaving the stack %d", &name, &l.outRsts, &l.stack); n == 3 {
			a.ledgers[strings.TrimSuffix(name, ":")] = l
		}
	}
	if !found {
		return a, errNoSummary
	}
	return a, nil
}
