package linux

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Bounds of looking for files and relatives of a process.
const (
	maxScanFDs   = 4096
	maxWritten   = 32
	maxRelatives = 32
)

// WrittenFile is a regular file that a process has open for writing.
type WrittenFile struct {
	PID      int // who has it open
	FD       int
	Path     string // in the process's mount namespace, without " (deleted)"
	Deleted  bool   // removed, or rotated away and removed
	Dev, Ino uint64
	Size     int64 // when it was found
}

// WrittenFiles lists the regular files that a process has open for writing,
// at most 32 of them, in order of descriptor.
func (h *Host) WrittenFiles(pid int) (out []WrittenFile) {
	d, err := os.Open(h.proc(pid, "fd"))
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxScanFDs)
	fds := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			fds = append(fds, n)
		}
	}
	slices.Sort(fds)
	for _, fd := range fds {
		if f, ok := h.writtenFile(pid, fd); ok && len(out) < maxWritten {
			out = append(out, f)
		}
	}
	return out
}

// writtenFile describes one descriptor when it is a regular file open for
// writing.
func (h *Host) writtenFile(pid, fd int) (f WrittenFile, ok bool) {
	link := h.proc(pid, "fd/"+strconv.Itoa(fd))
	path, err := os.Readlink(link)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/memfd:") || strings.HasPrefix(path, "/dev/") {
		return f, false
	}
	f = WrittenFile{PID: pid, FD: fd}
	f.Path, f.Deleted = strings.CutSuffix(path, " (deleted)")
	var regular bool
	if f.Dev, f.Ino, f.Size, regular = fileID(link); !regular {
		return f, false
	}
	err = read(h.proc(pid, "fdinfo/"+strconv.Itoa(fd)), 4096, func(b []byte) error {
		ok = openForWriting(b)
		return nil
	})
	return f, ok && err == nil
}

// openForWriting reads the access mode out of /proc/PID/fdinfo/FD, where
// flags are octal.
func openForWriting(b []byte) bool {
	i := bytes.Index(b, []byte("flags:"))
	if i < 0 {
		return false
	}
	line, _ := nextLine(b[i+6:])
	flags, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 64)
	return err == nil && flags&3 != 0
}

// OpenWritten opens a file for reading that [Host.WrittenFiles] found: through
// the descriptor while the process lives, which also works for deleted files,
// and by its path afterwards, when that is still the same file.
func (h *Host) OpenWritten(f WrittenFile) (*os.File, error) {
	file, err := openRegular(h.proc(f.PID, "fd/"+strconv.Itoa(f.FD)))
	if err == nil && sameFile(file, f) {
		return file, nil
	}
	if err == nil {
		file.Close()
	}
	if f.Deleted {
		return nil, ErrGone
	}
	for _, pid := range []int{f.PID, 0} {
		file, err = h.OpenIn(pid, f.Path)
		if err != nil {
			continue
		}
		if sameFile(file, f) {
			return file, nil
		}
		file.Close()
	}
	return nil, ErrGone
}

// sameFile reports whether an open file is the one that was found.
func sameFile(file *os.File, f WrittenFile) bool {
	dev, ino, _, regular := statFile(file)
	return regular && dev == f.Dev && ino == f.Ino
}

// GlobIn lists files by pattern as a process sees them, as paths within its
// root; the host's own for pid 0.
func (h *Host) GlobIn(pid int, pattern string) (out []string) {
	root := h.path("")
	if pid != 0 {
		root = h.proc(pid, "root")
	}
	root = strings.TrimSuffix(root, "/")
	names, _ := filepath.Glob(root + pattern)
	for _, name := range names[:min(len(names), 256)] {
		out = append(out, strings.TrimPrefix(name, root))
	}
	return out
}

// Relatives returns the parent of a process, and those children of the parent
// that are in its process group or run the same program, at most 32 in all.
// Init is nobody's relative.
func (h *Host) Relatives(pid int) (out []int) {
	st, err := h.stat(pid)
	if err != nil || st.ppid <= 1 {
		return nil
	}
	exe, _ := os.Readlink(h.proc(pid, "exe"))
	related := func(other int) bool {
		o, err := h.stat(other)
		if err != nil {
			return false
		}
		if o.pgid == st.pgid {
			return true
		}
		e, err := os.Readlink(h.proc(other, "exe"))
		return err == nil && exe != "" && e == exe
	}
	if related(st.ppid) {
		out = append(out, st.ppid)
	}
	for _, child := range h.children(st.ppid) {
		if child != pid && len(out) < maxRelatives && related(child) {
			out = append(out, child)
		}
	}
	return out
}

// children returns the children that the main thread of a process made, at
// most a thousand.
func (h *Host) children(pid int) (out []int) {
	p := strconv.Itoa(pid)
	_ = read(h.proc(pid, "task/"+p+"/children"), 8<<10, func(b []byte) error {
		for _, f := range bytes.Fields(b) {
			if n := atoi(f); n > 0 && len(out) < 1000 {
				out = append(out, n)
			}
		}
		return nil
	})
	return out
}
