//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is an external program that runs in a namespace of the lab. It is
// the first process of a PID namespace of its own, so that the kernel ends its
// children with it, whatever ends it. Mind that the first process of a PID
// namespace gets only those signals that it has a handler for (and SIGKILL).
type program struct {
	name  string
	pid   int
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu: stdout and stderr
}

// running says how to start a program.
type running struct {
	space string // namespace
	name  string // looked up with findProgram
	args  []string
	env   []string            // default: ours
	dir   string              // default: /
	log   string              // file that gets stdout and stderr; default: program.output
	cred  *syscall.Credential // default: ours
}

// program starts a program. It lives until the next play, so that its log and
// its process can still be looked at when this one is over. It also has an IPC
// namespace of its own: System V shared memory goes with it.
func (s *stage) program(o running) *program {
	path, err := findProgram(o.name)
	s.check(err)
	p := &program{name: o.name, ended: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: path, Args: append([]string{path}, o.args...), Env: o.env, Dir: o.dir, Stdout: p, Stderr: p,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWIPC, Credential: o.cred},
	}
	if p.cmd.Dir == "" {
		p.cmd.Dir = "/"
	}
	if o.log != "" {
		f, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		s.check(err)
		defer f.Close()
		p.cmd.Stdout, p.cmd.Stderr = f, f
	}
	done := make(chan error)
	st := s.n.starter
	st.jobs <- func() { done <- st.inside(s.n.spaces[o.space].path(), p.cmd.Start) }
	if err := <-done; err != nil {
		s.fail("start %s: %w", o.name, err)
	}
	p.pid = p.cmd.Process.Pid
	go func() {
		p.cmd.Wait() //nolint:errcheck // ProcessState says how it ended
		close(p.ended)
	}()
	s.n.leave(func() error {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
		return nil
	})
	return p
}

// Write collects output; it is for exec.Cmd.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// output is what the program has printed until now.
func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// tempDir makes a directory that is removed when the next play begins.
func (s *stage) tempDir() string {
	dir, err := os.MkdirTemp("", "holdfast-lab-")
	if err != nil {
		s.fail("make directory: %w", err)
	}
	s.n.leave(func() error {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove directory: %w", err)
		}
		return nil
	})
	return dir
}
