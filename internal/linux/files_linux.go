package linux

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errNotRegular says that a path leads to a device, pipe or directory.
var errNotRegular = errors.New("not a regular file")

// fileID returns what identifies a file, following links.
func fileID(path string) (dev, ino uint64, size int64, regular bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0, 0, 0, false
	}
	return uint64(st.Dev), st.Ino, st.Size, st.Mode&unix.S_IFMT == unix.S_IFREG
}

// statFile is fileID of an open file.
func statFile(f *os.File) (dev, ino uint64, size int64, regular bool) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0, 0, 0, false
	}
	return uint64(st.Dev), st.Ino, st.Size, st.Mode&unix.S_IFMT == unix.S_IFREG
}

// openRegular opens a regular file, without waiting for anything else.
func openRegular(path string) (*os.File, error) {
	fd, err := openRetry(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return asRegular(fd, path)
}

// asRegular makes a file out of a descriptor, or closes it.
func asRegular(fd int, path string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenIn opens a regular file for reading as a process sees the path, the
// host's own for pid 0. Links are followed inside that root only, so that a
// container cannot make us read a file of the host.
func (h *Host) OpenIn(pid int, path string) (*os.File, error) {
	root := h.path("")
	if pid != 0 {
		root = h.proc(pid, "root")
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 8 { // EAGAIN: something was renamed meanwhile
		fd, err := unix.Openat2(dir, path, &how)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err == unix.ENOSYS && h.ownRoot(root) { // before Linux 5.6
			return openRegular(path)
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return asRegular(fd, path)
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: unix.EAGAIN}
}

// ownRoot reports whether a directory is this process's root.
func (h *Host) ownRoot(root string) bool {
	dev, ino, _, _ := fileID(root)
	ownDev, ownIno, _, _ := fileID("/")
	return ino == ownIno && dev == ownDev && ino != 0
}
