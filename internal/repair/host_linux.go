package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// maxTarget bounds a file that is changed.
const maxTarget = 8 << 20

// Host is the world of a running system.
type Host struct {
	Dir   string // of the journal; /var/lib/holdfast/repair
	Linux *linux.Host

	lock *os.File
}

// Open makes the directory of the journal and takes its lock: one repair at a time.
func Open(dir string, h *linux.Host) (*Host, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the journal: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another repair is running (%s): %w", f.Name(), err)
	}
	return &Host{Dir: dir, Linux: h, lock: f}, nil
}

// Close gives the lock back.
func (h *Host) Close() error { return h.lock.Close() }

// Look reads a target. Links are not followed: what they lead to belongs to
// somebody else.
func (h *Host) Look(kind, path string) (s State, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return State{}, nil
	}
	if errors.Is(err, unix.ELOOP) {
		return s, fmt.Errorf("%s is a symbolic link, which is not followed", path)
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return s, err
	}
	if !st.Mode().IsRegular() {
		return s, fmt.Errorf("%s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTarget+1))
	if err != nil {
		return s, err
	}
	if len(b) > maxTarget {
		return s, fmt.Errorf("%s is larger than %d MiB", path, maxTarget>>20)
	}
	var raw unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &raw); err != nil {
		return s, err
	}
	if kind == "sysctl" { // the kernel writes tabs and newlines of its own
		b = []byte(strings.Join(strings.Fields(string(b)), " "))
	}
	return stateOf(b, uint32(st.Mode().Perm()), int(raw.Uid), int(raw.Gid)), nil
}

// Put makes a target what the state says. A file is replaced as a whole: readers
// see the old one or the new one, also after a crash.
func (h *Host) Put(kind, path string, s State) error {
	if kind == "sysctl" {
		return os.WriteFile(path, s.Data, 0)
	}
	return put(osDisk{}, path, s)
}

// copyAttributes keeps what SELinux and others wrote beside a file.
func copyAttributes(from, to string) error {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(from, names)
	if err != nil {
		return nil // a new file, or a file system without them
	}
	for name := range bytes.SplitSeq(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		value := make([]byte, 64<<10)
		k, err := unix.Lgetxattr(from, string(name), value)
		if err != nil {
			continue
		}
		if err := unix.Lsetxattr(to, string(name), value[:k], 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("keep the attribute %s: %w", name, err)
		}
	}
	return nil
}

// Test runs the check of a server, at most for half a minute.
func (h *Host) Test(argv []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, linux.Clean(bytes.TrimSpace(out), 600))
	}
	return nil
}

// Signal tells a process to read its configuration again, unless its number
// belongs to another one by now.
func (h *Host) Signal(r Reload) error {
	p, err := h.Linux.Process(r.PID)
	if err != nil {
		return err
	}
	if p.StartTicks != r.Start {
		return fmt.Errorf("process %d: %w", r.PID, linux.ErrGone)
	}
	sig := unix.SignalNum(r.Signal)
	if sig == 0 {
		return fmt.Errorf("no signal %q", r.Signal)
	}
	return unix.Kill(r.PID, sig)
}

// List names the files of the journal.
func (h *Host) List() (names []string, err error) {
	entries, err := os.ReadDir(h.Dir)
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Read reads a file of the journal.
func (h *Host) Read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(h.Dir, name)) }

// Append adds a line to a file of the journal.
func (h *Host) Append(name string, line []byte) error {
	return appendLine(osDisk{}, filepath.Join(h.Dir, name), line)
}

// Remove removes a file of the journal.
func (h *Host) Remove(name string) error { return os.Remove(filepath.Join(h.Dir, name)) }

// osDisk is the disk of the host.
type osDisk struct{}

func (osDisk) Write(path string, s State) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(s.Data); err != nil {
		return err
	}
	if err := f.Chown(s.UID, s.GID); err != nil {
		return err
	}
	return f.Chmod(os.FileMode(s.Mode))
}

func (osDisk) Attributes(from, to string) error { return copyAttributes(from, to) }

func (osDisk) Append(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(line); err != nil {
		return errors.Join(err, f.Truncate(st.Size())) // a torn line would hide the next one
	}
	return nil
}

func (osDisk) Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) Remove(path string) error     { return os.Remove(path) }
