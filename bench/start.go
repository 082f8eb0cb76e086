package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	starts     = 15
	resetCount = 60
	resetPause = 0.05 // seconds
	idleTime   = 10 * time.Second
)

// start measures how soon watch is ready, how soon a verdict is printed, and
// what it takes when nothing happens.
func (b *bench) start() (string, error) {
	var ready, attach sample
	for range starts {
		t, err := b.watch(nil)
		if err != nil {
			return "", err
		}
		t.stop()
		ready = append(ready, ms(t.ready))
		if _, after, ok := strings.Cut(t.text(), "ready in "); ok {
			if d, err := time.ParseDuration(strings.Fields(after)[0]); err == nil {
				attach = append(attach, ms(d))
			}
		}
		if b.ctx.Err() != nil {
			return "", b.ctx.Err()
		}
	}
	progress("  ready in %.0f ms\n", ready.median())
	verdict, err := b.latency()
	if err != nil {
		return "", err
	}
	progress("  verdict in %.0f ms\n", verdict.median())
	idle, err := b.idle()
	if err != nil {
		return "", err
	}
	rows := [][]string{
		{"start of the process until watching, knowledge loaded", millis(ready), "< 500 ms"},
		{"of this, attaching to the kernel, as watch says itself", millis(attach), ""},
		{fmt.Sprintf("close() that resets until its verdict is read from the pipe (%d of %d printed)", len(verdict), resetCount), millis(verdict), "< 100 ms"},
	}
	return table([]string{"what", "median [quartiles], slowest", "to reach"}, append(rows, idle...)), nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func millis(s sample) string {
	return fmt.Sprintf("%.0f ms [%.0f-%.0f], %.0f ms (n=%d)", s.median(), s.quantile(0.25), s.quantile(0.75), s.quantile(1), len(s))
}

// latency makes resets one at a time and waits for the line of each.
func (b *bench) latency() (sample, error) {
	s, err := newSpace()
	if err != nil {
		return nil, err
	}
	defer s.close()
	out, in := io.Pipe()
	t, err := b.watch(in)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	printed := map[int]time.Time{}
	var reader sync.WaitGroup
	reader.Go(func() { arrivals(out, &mu, printed) })
	made, err := b.makeResets(s)
	t.stop()
	in.Close()
	reader.Wait()
	if err != nil {
		return nil, err
	}
	var took sample
	for _, r := range made {
		if at, ok := printed[r.Client]; ok {
			took = append(took, ms(at.Sub(time.Unix(0, r.At))))
		}
	}
	if len(took) == 0 {
		return nil, fmt.Errorf("watch printed none of %d resets", len(made))
	}
	return took, nil
}

// arrivals notes when the finding of each client port was read.
func arrivals(r io.Reader, mu *sync.Mutex, printed map[int]time.Time) {
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadBytes('\n')
		now := time.Now()
		var f struct {
			Flow struct{ Client, Server netip.AddrPort }
		}
		if json.Unmarshal(line, &f) == nil && f.Flow.Server.Port() == basePort {
			mu.Lock()
			if _, ok := printed[int(f.Flow.Client.Port())]; !ok {
				printed[int(f.Flow.Client.Port())] = now
			}
			mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (b *bench) makeResets(s *space) (made []reset, err error) {
	cmd := exec.Command("/proc/self/exe", "role", "resets", fmt.Sprint(resetPause), fmt.Sprint(resetCount))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("make resets: %w: %s", err, errs.String())
	}
	for dec := json.NewDecoder(strings.NewReader(out.String())); dec.More(); {
		var r reset
		if err := dec.Decode(&r); err != nil {
			return nil, err
		}
		made = append(made, r)
	}
	return made, b.ctx.Err()
}

// idle lets watch run with nothing to see.
func (b *bench) idle() ([][]string, error) {
	t, err := b.watch(nil)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	pid := t.cmd.Process.Pid
	pause := func(d time.Duration) {
		select {
		case <-b.ctx.Done():
		case <-time.After(d):
		}
	}
	pause(time.Second) // past the work of starting
	before, begin := cpuTime(pid), time.Now()
	pause(idleTime)
	cpu := (cpuTime(pid) - before).Seconds() / time.Since(begin).Seconds()
	rows := [][]string{
		{fmt.Sprintf("resident memory after %s idle", idleTime), fmt.Sprintf("%.1f MB, of this the program's own pages %.1f MB", mb(memory(pid, "VmRSS")), mb(memory(pid, "RssAnon"))), "< 60 MB"},
		{"most resident memory since the start", fmt.Sprintf("%.1f MB", mb(memory(pid, "VmHWM"))), ""},
		{"CPU when idle", fmt.Sprintf("%.2f %% of one core", 100*cpu), ""},
	}
	return rows, b.ctx.Err()
}
