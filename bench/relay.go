package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// relayed is a relay under test, as a process of its own.
type relayed struct {
	name  string
	addr  string
	start func(b *bench, dir, listen, backend string) (*exec.Cmd, error)

	cmd                   *exec.Cmd
	bulk, bulkCPU         sample // MiB/s; microseconds of CPU for a MiB
	conns, connCPU, ratio sample // connections/s; microseconds of CPU for each; bulk against HAProxy in the same round
	connRatio             sample
}

// relay measures holdfast proxy beside HAProxy in TCP mode and the usual two calls
// of io.Copy: one stream that is as fast as it can be, and short connections.
func (b *bench) relay() (string, error) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		return "not measured: install haproxy\n", nil
	}
	dir, err := os.MkdirTemp("", "bench-relay")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	go source(l)
	list := []*relayed{{name: "HAProxy, tcp, splice-auto", start: startHAProxy}, {name: "holdfast proxy", start: startOurs}, {name: "io.Copy twice", start: startCopy}}
	for _, r := range list {
		if err := r.begin(b, dir, l.Addr().String()); err != nil {
			return "", fmt.Errorf("%s: %w", r.name, err)
		}
		defer r.end()
	}
	for round := range b.rounds {
		for i := range list {
			r := list[(i+round)%len(list)]
			if err := r.measure(b.ctx, b.seconds); err != nil {
				return "", fmt.Errorf("%s: %w", r.name, err)
			}
		}
		for _, r := range list {
			r.ratio = append(r.ratio, r.bulk[round]/list[0].bulk[round])
			r.connRatio = append(r.connRatio, r.conns[round]/list[0].conns[round])
		}
		progress("  round %d: %.0f, %.0f, %.0f MiB/s\n", round+1, list[0].bulk[round], list[1].bulk[round], list[2].bulk[round])
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.name, fmt.Sprintf("%.0f MiB/s", r.bulk.median()), r.ratio.ratio(), fmt.Sprintf("%.2f", r.bulkCPU.median()/list[0].bulkCPU.median()),
			fmt.Sprintf("%.0f/s", r.conns.median()), r.connRatio.ratio(), fmt.Sprintf("%.2f", r.connCPU.median()/list[0].connCPU.median())})
	}
	return table([]string{"relay", "one stream", "against HAProxy [quartiles]", "CPU per MiB, against HAProxy", "connections", "against HAProxy [quartiles]", "CPU each, against HAProxy"}, rows), nil
}

// source answers "b" with bytes until the client has enough, and "c" with one byte.
func source(l net.Listener) {
	chunk := make([]byte, 256<<10)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var what [1]byte
			if _, err := io.ReadFull(c, what[:]); err != nil {
				return
			}
			if what[0] == 'c' {
				_, _ = c.Write(what[:])
				_, _ = c.Read(what[:])
				return
			}
			for {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}()
	}
}

func (r *relayed) begin(b *bench, dir, backend string) (err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.addr = l.Addr().String()
	l.Close()
	if r.cmd, err = r.start(b, dir, r.addr, backend); err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
			return nil
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func (r *relayed) end() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

func startHAProxy(b *bench, dir, listen, backend string) (*exec.Cmd, error) {
	file := filepath.Join(dir, "haproxy.cfg")
	text := fmt.Sprintf("global\n  maxconn 4000\ndefaults\n  mode tcp\n  option splice-auto\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\nlisten l\n  bind %s\n  server s %s\n", listen, backend)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return exec.CommandContext(b.ctx, "haproxy", "-db", "-f", file), nil
}

func startOurs(b *bench, _, listen, backend string) (*exec.Cmd, error) {
	return exec.CommandContext(b.ctx, b.holdfast, "proxy", listen, backend), nil
}

func startCopy(b *bench, _, listen, backend string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(b.ctx, self, "role", "copy-relay", listen, backend), nil
}

// copyRelay is what most people write.
func copyRelay(listen, backend string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	for {
		a, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer a.Close()
			b, err := net.Dial("tcp", backend)
			if err != nil {
				return
			}
			defer b.Close()
			go func() {
				_, _ = io.Copy(b, a)
				_ = b.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(a, b)
		}()
	}
}

// measure runs both loads once.
func (r *relayed) measure(ctx context.Context, seconds float64) error {
	before, err := cpuOf(r.cmd.Process.Pid)
	if err != nil {
		return err
	}
	got, took, err := stream(r.addr, seconds)
	if err != nil {
		return err
	}
	middle, err := cpuOf(r.cmd.Process.Pid)
	if err != nil {
		return err
	}
	n, ctook := short(ctx, r.addr, seconds)
	after, err := cpuOf(r.cmd.Process.Pid)
	if err != nil {
		return err
	}
	mib := float64(got) / (1 << 20)
	r.bulk = append(r.bulk, mib/took.Seconds())
	r.bulkCPU = append(r.bulkCPU, (middle-before).Seconds()*1e6/mib)
	r.conns = append(r.conns, float64(n)/ctook.Seconds())
	r.connCPU = append(r.connCPU, (after-middle).Seconds()*1e6/float64(max(n, 1)))
	return nil
}

// stream reads as fast as it can.
func stream(addr string, seconds float64) (n int64, took time.Duration, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if _, err := c.Write([]byte("b")); err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 1<<20)
	begun := time.Now()
	for took < time.Duration(seconds*float64(time.Second)) {
		m, err := c.Read(buf)
		if err != nil {
			return 0, 0, err
		}
		n += int64(m)
		took = time.Since(begun)
	}
	return n, took, nil
}

// short opens, asks and closes connections, eight at once.
func short(ctx context.Context, addr string, seconds float64) (n int64, took time.Duration) {
	var done atomic.Int64
	begun := time.Now()
	end := begun.Add(time.Duration(seconds * float64(time.Second)))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					continue
				}
				_, _ = c.Write([]byte("c"))
				if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
					done.Add(1)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	return done.Load(), time.Since(begun)
}

// cpuOf is the processor time of a process, which Linux counts in hundredths of a
// second.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, err
}
