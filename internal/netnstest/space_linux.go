// Package netnstest makes network namespaces for tests that need root. It uses nothing
// of ours, so that what reads namespaces is not tested by itself.
package netnstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace.
type Space struct {
	Path  string // a file that setns(2) takes, in this process only
	Inode uint64
}

// New makes a namespace that lives until the test ends, with lo up. It skips the test
// without the right to do so.
func New(t testing.TB) Space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	fd, err := unshare()
	if err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	s := Space{Path: fmt.Sprintf("/proc/self/fd/%d", fd), Inode: st.Ino}
	s.Run(t, "ip link set lo up")
	return s
}

// unshare makes a namespace and returns its file.
func unshare() (fd int, err error) {
	err = apart(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// apart runs f on a thread of its own, which returns to its namespace afterwards: were
// it the main thread, the whole process would seem to have moved. A thread that cannot
// return ends.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(home)
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Do calls f inside the namespace. Sockets that it opens stay there.
func (s Space) Do(t testing.TB, f func() error) {
	t.Helper()
	err := apart(func() error {
		fd, err := unix.Open(s.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Run runs a script of the shell inside the namespace and returns what it printed.
func (s Space) Run(t testing.TB, script string) (out string) {
	t.Helper()
	s.Do(t, func() error {
		b, err := exec.Command("sh", "-ec", script).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", script, err, b)
		}
		out = string(b)
		return nil
	})
	return out
}

// Listen opens a TCP listener inside the namespace, until the test ends.
func (s Space) Listen(t testing.TB, addr string) (l net.Listener) {
	t.Helper()
	s.Do(t, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// Dial opens a TCP connection inside the namespace, until the test ends.
func (s Space) Dial(t testing.TB, addr string) (c net.Conn) {
	t.Helper()
	s.Do(t, func() (err error) {
		c, err = net.Dial("tcp", addr)
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// Need skips the test when a program is not installed.
func Need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}
