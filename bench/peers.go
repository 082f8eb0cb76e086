package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// variant is one way to watch the load, or not to.
type variant struct {
	name    string
	program string // that must be installed, "" when nothing runs
	start   func(*bench, *space) (*tool, error)
}

func (v variant) installed() bool {
	if v.program == "" || v.program == "holdfast" {
		return true
	}
	_, err := exec.LookPath(v.program)
	return err == nil
}

var (
	none  = variant{name: "none"}
	null  = variant{name: "none again (noise)"}
	watch = variant{"holdfast watch", "holdfast", func(b *bench, _ *space) (*tool, error) { return b.watch(nil) }}
	blind = variant{"holdfast watch --wire=always", "holdfast", func(b *bench, _ *space) (*tool, error) { return b.watch(nil, "--wire=always") }}
	segs  = variant{"holdfast watch --source packet", "holdfast", func(b *bench, _ *space) (*tool, error) { return b.watch(nil, "--source", "packet") }}
	rst   = variant{"tcpdump -i any, RST filter", "tcpdump", tcpdump("tcp[tcpflags] & tcp-rst != 0")}
	full  = variant{"tcpdump -i any, everything", "tcpdump", tcpdump("")}
	life  = variant{"bpftrace, tcplife style", "bpftrace", bpftrace(tcplife)}
	state = variant{"bpftrace, tcpstates style", "bpftrace", bpftrace(tcpstates)}
)

//go:embed peers/tcplife.bt
var tcplife string

//go:embed peers/tcpstates.bt
var tcpstates string

// tcpdump watches one namespace, which is all that it can.
func tcpdump(filter string) func(*bench, *space) (*tool, error) {
	return func(b *bench, s *space) (*tool, error) {
		args := []string{"-i", "any", "-nn", "-w", "/dev/null"}
		if filter != "" {
			args = append(args, filter)
		}
		return launch(b.ctx, s, exec.Command("tcpdump", args...), "listening on")
	}
}

// bpftrace prints one line for each connection or state to /dev/null. It runs
// in a mount namespace of its own, in which tracefs is mounted, as not every
// host has it. It says nothing when it is ready: it is when it has programs and
// opens no more files.
func bpftrace(script string) func(*bench, *space) (*tool, error) {
	return func(b *bench, _ *space) (*tool, error) {
		t, err := launch(b.ctx, nil, exec.Command("/proc/self/exe", "role", "bpftrace", script), "")
		if err != nil {
			return nil, err
		}
		for same, last := 0, ""; same < 6; time.Sleep(50 * time.Millisecond) {
			now, programs := openFiles(t.cmd.Process.Pid)
			switch {
			case time.Since(t.begun) > 20*time.Second || b.ctx.Err() != nil || t.ended():
				t.stop()
				return nil, errors.New("bpftrace did not get ready: " + lastLine(t.text()))
			case now == last && programs > 0:
				same++
			default:
				same, last = 0, now
			}
		}
		return t, nil
	}
}

// openFiles lists what a process has open, and counts the BPF programs.
func openFiles(pid int) (list string, programs int) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	for _, e := range entries {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		list += to + " "
		if strings.Contains(to, "bpf-prog") {
			programs++
		}
	}
	return list, programs
}

func execBpftrace(script string) error {
	path, err := exec.LookPath("bpftrace")
	if err != nil {
		return err
	}
	const tracing = "/sys/kernel/tracing"
	if _, err := os.Stat(tracing + "/events"); err != nil {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("tracefs", tracing, "tracefs", 0, ""); err != nil {
			return fmt.Errorf("mount tracefs: %w", err)
		}
	}
	return unix.Exec(path, []string{"bpftrace", "-o", "/dev/null", "-e", script}, os.Environ())
}

// nginx serves an empty answer from one process.
func nginx(s *space, dir string) (*exec.Cmd, error) {
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log crit;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen 127.0.0.1:%[2]d backlog=4096; location / { return 200 "ok"; } }
}
`, dir, basePort)
	path := dir + "/nginx.conf"
	if err := writeFile(path, conf); err != nil {
		return nil, err
	}
	cmd := exec.Command("nginx", "-p", dir, "-c", path)
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := s.startOn(0, cmd); err != nil { // the scheduler's choice of CPUs would be the larger part of the noise
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var l load
		err := s.run(&l, "knock")
		if err == nil {
			return cmd, nil
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			return nil, errors.Join(errors.New("nginx does not answer: "+errs.String()), err, cmd.Wait())
		}
	}
}

// wrk drives nginx with connections that carry one request each.
func wrk(s *space, server int, seconds float64) (l load, err error) {
	cmd := exec.Command("wrk", "-t1", "-c16", fmt.Sprintf("-d%ds", max(1, int(seconds+0.5))), "-H", "Connection: close", fmt.Sprintf("http://127.0.0.1:%d/", basePort))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	before := cpuTime(server)
	if err := s.startOn(1, cmd); err != nil {
		return l, fmt.Errorf("start wrk: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return l, fmt.Errorf("wrk: %w: %s", err, lastLine(out.String()))
	}
	l.CPU = (cpuTime(server) - before + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return l, parseWrk(out.String(), &l)
}

// parseWrk reads "43210 requests in 2.00s, 6.1MB read".
func parseWrk(text string, l *load) error {
	for line := range strings.Lines(text) {
		var took string
		if n, _ := fmt.Sscanf(strings.TrimSpace(line), "%d requests in %s", &l.Units, &took); n == 2 {
			d, err := time.ParseDuration(strings.TrimSuffix(took, ","))
			l.Seconds = d.Seconds()
			return err
		}
	}
	return errors.New("wrk printed no number of requests: " + lastLine(text))
}
