// Package linux reads the host: /proc, /sys, sysctl, netlink and namespaces.
// It is the only package that does. It knows nothing of cases and causes; it
// returns plain values and errors, and never panics on vanished processes,
// hostile names or truncated files.
//
// Everything starts at a [Host], whose root directory is replaceable: tests
// and `holdfast` in a container set [Host].Root, everybody else uses the zero
// value. Reads are bounded in size. What needs Linux system calls (namespaces,
// netlink) returns [ErrUnsupported] on other systems, so that the rest of the
// tree builds there.
//
// To see what a method reads, run the program under `strace -e openat,readlink`.
package linux

import (
	"bytes"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// ErrUnsupported is returned by everything that needs Linux system calls when
// the program runs on another operating system.
var ErrUnsupported = errors.New("reading a host needs Linux: run holdfast there, or explain a capture or a log here")

// ErrGone says that a process or namespace no longer exists, or that its
// number belongs to another one by now.
var ErrGone = errors.New("process or namespace is gone")

// Host is the machine that is read. The zero value reads the running system.
// A Host holds small caches and must not be copied; all methods are safe for
// concurrent use.
type Host struct {
	// Root is put before every path, such as "/host" in a container that
	// mounts the host there, or a directory of fixtures. Empty means "/".
	Root string
	// DockerSocket is asked for names of containers that no file names.
	// Empty means /run/docker.sock below Root.
	DockerSocket string

	containers containerCache
	clock      clockCache
	users      userSymbols
}

// path returns name, which has no leading slash, below the root.
func (h *Host) path(name string) string {
	if h == nil || h.Root == "" || h.Root == "/" {
		return "/" + name
	}
	return filepath.Join(h.Root, name)
}

// proc returns the path of a file of a process.
func (h *Host) proc(pid int, name string) string {
	return h.path("proc/" + strconv.Itoa(pid) + "/" + name)
}

// live reports whether the host is the running system, so that system calls
// and clocks agree with its files.
func (h *Host) live() bool { return h == nil || h.Root == "" || h.Root == "/" }

// bufs holds read buffers: files of /proc are small and read often.
var bufs = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// read calls f with the content of a file, at most limit bytes of it. The
// bytes are valid during the call only.
func read(path string, limit int, f func([]byte) error) error {
	p := bufs.Get().(*[]byte)
	defer func() {
		if cap(*p) <= 256<<10 {
			bufs.Put(p)
		}
	}()
	b, err := readFile(path, (*p)[:0], limit)
	*p = b[:0]
	if err != nil {
		return err
	}
	return f(b)
}

// readString returns a small file's content without the final newline.
func readString(path string, limit int) (s string, err error) {
	err = read(path, limit, func(b []byte) error {
		s = strings.TrimRight(string(b), "\n")
		return nil
	})
	return s, err
}

// readInts returns the numbers of a file such as /proc/sys/net/ipv4/tcp_mem.
func readInts(path string) (out []int64, err error) {
	err = read(path, 4096, func(b []byte) error {
		for _, f := range bytes.Fields(b) {
			n, err := strconv.ParseInt(string(f), 10, 64)
			if err != nil {
				return err
			}
			out = append(out, n)
		}
		return nil
	})
	return out, err
}

// Clean makes hostile bytes printable: control characters become spaces,
// other unprintable or invalid ones '?'; the result has at most limit bytes
// and is valid UTF-8.
func Clean(b []byte, limit int) string {
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < ' ' || r == 0x7f:
			r = ' '
		case r == utf8.RuneError && n <= 1, !unicode.IsPrint(r):
			r = '?'
		}
		if s.Len()+utf8.RuneLen(r) > limit {
			break
		}
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// nextLine splits off the first line of b, without its newline.
func nextLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}
