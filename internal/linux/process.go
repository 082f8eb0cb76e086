package linux

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits of what is kept of a process.
const (
	maxCmdline  = 512
	maxCgroup   = 1024
	maxCountFDs = 1 << 16
)

// Process is one process as /proc shows it. Numbers are -1 when they could
// not be read (another user's process without privileges).
type Process struct {
	PID        int       // thread group id, in the namespace of the mounted /proc
	PPID       int       // parent; 0 when the kernel is
	PGID       int       // process group
	Name       string    // comm, made printable
	ParentName string    // comm of the parent
	Exe        string    // path in the process's own mount namespace
	ExeDeleted bool      // the file was removed or replaced since it was started
	Cmdline    string    // at most 512 bytes, arguments separated by spaces
	UID        int       // real user id
	Start      time.Time // when it was forked
	StartTicks uint64    // the same in clock ticks since boot; (PID, StartTicks) is unique
	State      byte      // R S D T t Z X I; T is stopped, t stopped by a tracer
	Frozen     bool      // its cgroup is frozen (docker pause)
	Cgroup     string    // path of the unified hierarchy, or of systemd's or the first useful one
	Unit       string    // deepest systemd service or scope that is not a container
	Container  string    // container id, usually 64 hexadecimal digits
	PodUID     string    // Kubernetes pod uid
	OpenFiles  int       // open file descriptors
	MaxFiles   int64     // soft RLIMIT_NOFILE
	NetnsInode uint64    // number in net:[...], 0 when unreadable
	Gone       bool      // it has ended; this is what Processes remembered

	image imageID
}

// imageID changes when a process executes another program.
type imageID struct {
	name                string
	startcode, argStart uint64
}

// Stopped reports whether the process cannot run: stopped by a signal or a
// tracer, or frozen.
func (p Process) Stopped() bool { return p.State == 'T' || p.State == 't' || p.Frozen }

// Process reads everything about one process. The error wraps ErrGone when it
// does not exist. Costs about 100 microseconds; see [Processes] for a cache.
func (h *Host) Process(pid int) (Process, error) {
	st, err := h.stat(pid)
	if err != nil {
		return Process{}, err
	}
	p := h.describe(st)
	h.vary(&p)
	return p, nil
}

// describe fills in what stays the same until the process executes another
// program or moves to another cgroup.
func (h *Host) describe(st procStat) Process {
	p := Process{
		PID: st.pid, PPID: st.ppid, PGID: st.pgid, Name: st.image.name, State: st.state,
		StartTicks: st.start, Start: h.ticksToTime(st.start), UID: -1, image: st.image,
	}
	if st.ppid > 0 {
		if parent, err := h.stat(st.ppid); err == nil {
			p.ParentName = parent.image.name
		}
	}
	if exe, err := os.Readlink(h.proc(p.PID, "exe")); err == nil {
		exe, p.ExeDeleted = strings.CutSuffix(exe, " (deleted)")
		p.Exe = Clean([]byte(exe), 1024)
	}
	_ = read(h.proc(p.PID, "cmdline"), maxCmdline, func(b []byte) error {
		p.Cmdline = Clean(bytes.TrimRight(b, "\x00 "), maxCmdline)
		return nil
	})
	_ = read(h.proc(p.PID, "status"), 16<<10, func(b []byte) error {
		p.UID = parseUID(b)
		return nil
	})
	_ = read(h.proc(p.PID, "cgroup"), 64<<10, func(b []byte) error {
		c := ParseCgroup(b)
		p.Cgroup, p.Unit, p.Container, p.PodUID = c.Path, c.Unit, c.Container, c.PodUID
		return nil
	})
	return p
}

// vary fills in what changes while the process runs.
func (h *Host) vary(p *Process) {
	p.OpenFiles, p.MaxFiles = h.countFDs(p.PID), -1
	_ = read(h.proc(p.PID, "limits"), 8<<10, func(b []byte) error {
		p.MaxFiles = parseMaxFiles(b)
		return nil
	})
	p.NetnsInode = h.netnsInode(p.PID)
	p.Frozen = h.frozen(p.Cgroup)
}

// countFDs returns the number of open files, -1 when it is not readable. From
// Linux 6.2 the size of the directory is that number (fs/proc/fd.c).
func (h *Host) countFDs(pid int) int {
	fi, err := os.Stat(h.proc(pid, "fd"))
	if err != nil {
		return -1
	}
	if n := fi.Size(); n > 0 && h.live() {
		return int(n)
	}
	d, err := os.Open(h.proc(pid, "fd"))
	if err != nil {
		return -1
	}
	defer d.Close()
	n := 0
	for n < maxCountFDs {
		names, err := d.Readdirnames(1024)
		n += len(names)
		if err != nil || len(names) == 0 {
			break
		}
	}
	return n
}

// netnsInode returns the inode of the network namespace of a process, 0 when
// it is not readable.
func (h *Host) netnsInode(pid int) uint64 {
	s, err := os.Readlink(h.proc(pid, "ns/net"))
	if err != nil {
		return 0
	}
	return parseNsLink(s)
}

// parseNsLink returns the number in "net:[4026531840]", 0 for anything else.
func parseNsLink(s string) uint64 {
	s, ok := strings.CutPrefix(s, "net:[")
	if !ok || !strings.HasSuffix(s, "]") {
		return 0
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// frozen reports whether the cgroup v2 freezer holds the cgroup.
func (h *Host) frozen(cgroup string) bool {
	if cgroup == "" || cgroup == "/" || strings.Contains(cgroup, "..") {
		return false
	}
	frozen := false
	_ = read(h.path("sys/fs/cgroup"+cgroup+"/cgroup.events"), 4096, func(b []byte) error {
		frozen = bytes.Contains(b, []byte("frozen 1"))
		return nil
	})
	return frozen
}

// procStat is what is used of /proc/PID/stat.
type procStat struct {
	pid, ppid, pgid int
	state           byte
	start           uint64
	image           imageID
}

// stat reads /proc/PID/stat. A thread id is resolved to its process.
func (h *Host) stat(pid int) (st procStat, err error) {
	if pid <= 0 {
		return st, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	err = read(h.proc(pid, "stat"), 4096, func(b []byte) error {
		st, err = parseStat(b)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return st, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return st, fmt.Errorf("read process %d: %w", pid, err)
	}
	return st, nil
}

// parseStat parses /proc/PID/stat. The name may hold any byte, parentheses
// and newlines included, so its end is the last parenthesis.
func parseStat(b []byte) (st procStat, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return st, errors.New("malformed stat file")
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return st, errors.New("truncated stat file")
	}
	st.pid = atoi(bytes.TrimSpace(b[:open]))
	st.image.name = Clean(b[open+1:end], 64)
	st.state = f[0][0]
	st.ppid, st.pgid = atoi(f[1]), atoi(f[2])
	st.start = atou(f[19])
	if len(f) > 45 {
		st.image.startcode, st.image.argStart = atou(f[23]), atou(f[45])
	}
	return st, nil
}

// atoi and atou return 0 for what is not a number.
func atoi(b []byte) int    { n, _ := strconv.Atoi(string(b)); return n }
func atou(b []byte) uint64 { n, _ := strconv.ParseUint(string(b), 10, 64); return n }

// parseUID returns the real user id of /proc/PID/status, -1 without one.
func parseUID(b []byte) int {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		if rest, ok := bytes.CutPrefix(line, []byte("Uid:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				if n, err := strconv.Atoi(string(f[0])); err == nil {
					return n
				}
			}
		}
	}
	return -1
}

// parseMaxFiles returns the soft limit of open files in /proc/PID/limits, -1
// when it is missing or unlimited.
func parseMaxFiles(b []byte) int64 {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		if rest, ok := bytes.CutPrefix(line, []byte("Max open files")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				if n, err := strconv.ParseInt(string(f[0]), 10, 64); err == nil {
					return n
				}
			}
		}
	}
	return -1
}
