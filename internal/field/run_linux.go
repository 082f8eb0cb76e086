package field

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// start runs a script as the first process of namespaces of its own.
func (r *Running) start(ctx context.Context, script string) error {
	r.cmd = exec.CommandContext(ctx, "bash", "-c", script)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:    syscall.SIGKILL,
		Cloneflags:   unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Unshareflags: unix.CLONE_NEWNS,
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	r.cmd.Stderr = r.cmd.Stdout
	// The thread that starts the process must live as long, or the kernel takes it
	// for the death of the parent.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := r.cmd.Start()
		started <- err
		if err == nil {
			r.follow(out)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	r.Cookie, err = cookieOf(r.cmd.Process.Pid)
	if err != nil {
		r.Close() //nolint:errcheck // the error at hand says more
	}
	return err
}

// follow reads the output until the script says that it has ended, or fails.
func (r *Running) follow(out io.Reader) {
	over := sync.OnceFunc(func() { close(r.done) })
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if s.Text() == ended {
			over()
			continue
		}
		r.out.add(s.Text())
	}
	err := r.cmd.Wait()
	select {
	case <-r.done:
	default:
		r.failed = fmt.Errorf("the script failed: %w\n%s", errors.Join(err, s.Err()), r.Output())
		over()
	}
}

// Close ends every process of the play and removes its directory.
func (r *Running) Close() error {
	r.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-r.done
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	return nil
}

// cookieOf returns the SO_NETNS_COOKIE of the network namespace of a process.
func cookieOf(pid int) (cookie uint64, err error) {
	done := make(chan struct{})
	go func() { // on a thread that ends with it, because it stays in that namespace
		defer close(done)
		runtime.LockOSThread()
		var f *os.File
		if f, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter namespace: %w", err)
			return
		}
		fd, e := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if e != nil {
			err = fmt.Errorf("open socket: %w", e)
			return
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	}()
	<-done
	return cookie, err
}

// output keeps the end of what a script prints.
type output struct {
	mu    sync.Mutex // guards lines
	lines []string
}

const maxLines = 200

func (o *output) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lines = append(o.lines, line); len(o.lines) > maxLines {
		o.lines = o.lines[1:]
	}
}

// String returns the lines.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}
