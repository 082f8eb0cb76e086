//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// childName is the comm of a child that holds a socket of its parent.
const childName = "lab-child"

// opExec replaces the process by another program; sockets are close-on-exec.
func opExec(a *actor, q request, r *response) error {
	err := unix.Exec(q.Text, q.Args, []string{"PATH=/usr/bin:/bin"})
	return fmt.Errorf("execute %s: %w", q.Text, err)
}

func opExit(a *actor, q request, r *response) error {
	os.Exit(q.N)
	return nil
}

// opChild starts a child that inherits the socket, as a forked worker does.
// A Go program cannot fork without exec, so the socket is passed instead.
func opChild(a *actor, q request, r *response) error {
	dup, err := unix.FcntlInt(uintptr(q.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate socket: %w", err)
	}
	f := os.NewFile(uintptr(dup), "socket")
	defer f.Close()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{childName},
		Env:         append(os.Environ(), actorEnv+"="+childName),
		ExtraFiles:  []*os.File{f},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start child: %w", err)
	}
	r.N = cmd.Process.Pid
	a.children[r.N] = childHandle{in.Close, cmd.Wait}
	return nil
}

type childHandle struct{ release, wait func() error }

// Close lets the child exit and waits until it has.
func (c childHandle) Close() error {
	if err := c.release(); err != nil {
		return err
	}
	return c.wait()
}

func opChildEnd(a *actor, q request, r *response) error {
	c := a.children[q.N]
	if c == nil {
		return fmt.Errorf("no child %d", q.N)
	}
	delete(a.children, q.N)
	return c.Close()
}

// opKill sends a signal to another actor. The caller made sure that it is one.
func opKill(a *actor, q request, r *response) error {
	if q.N <= 1 {
		return fmt.Errorf("refuse to signal process %d", q.N)
	}
	return unix.Kill(q.N, syscall.Signal(q.Value))
}

func opCgroup(a *actor, q request, r *response) error {
	err := os.WriteFile(q.Text+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0)
	if err != nil {
		return fmt.Errorf("join control group: %w", err)
	}
	return nil
}

// opEat uses memory until the kernel ends the process, or N MiB are used.
func opEat(a *actor, q request, r *response) error {
	var kept [][]byte
	for range q.N {
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return fmt.Errorf("map memory: %w", err)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	return fmt.Errorf("used %d MiB and lives", len(kept))
}

// opRlimit limits the number of open files so that N more can be opened.
func opRlimit(a *actor, q request, r *response) error {
	free, err := unix.FcntlInt(fdIn, unix.F_DUPFD_CLOEXEC, 0) // the lowest free one
	if err != nil {
		return fmt.Errorf("find free descriptor: %w", err)
	}
	unix.Close(free)
	limit := uint64(free + q.N)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		return fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	r.N = int(old.Cur)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		return fmt.Errorf("set RLIMIT_NOFILE: %w", err)
	}
	return nil
}

// opNft gives a script to nft in this namespace.
func opNft(a *actor, q request, r *response) error {
	path, err := findProgram("nft")
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd := &exec.Cmd{
		Path:        path,
		Args:        []string{"nft", "-f", "-"},
		Stdin:       bytes.NewReader([]byte(q.Text)),
		Stderr:      &stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
