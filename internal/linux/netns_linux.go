package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/holdfast-project/holdfast/internal/netlink"
	"golang.org/x/sys/unix"
)

// findNetnses returns each distinct namespace once, with the lowest process
// number as the way in, or the mount or extra path when no process is in it.
func (h *Host) findNetnses(extra []string) ([]Netns, error) {
	pids, err := h.pids()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []Netns
	seen := map[uint64]int{}
	add := func(pid int, inode uint64) {
		if _, ok := seen[inode]; ok || inode == 0 {
			return
		}
		st, err := h.stat(pid)
		if err != nil {
			return
		}
		seen[inode] = len(out)
		out = append(out, Netns{Inode: inode, PID: pid, Path: h.proc(pid, "ns/net"), start: st.start})
	}
	self := os.Getpid()
	for _, pid := range pids {
		if pid == self && h.live() {
			continue // its main thread may be inside Do just now
		}
		add(pid, h.netnsInode(pid))
	}
	if s, err := os.Readlink("/proc/thread-self/ns/net"); err == nil && h.live() {
		add(self, parseNsLink(s))
	}
	for _, path := range append(h.mountedNetnses(), extra...) {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || !isNsfs(path) {
			continue
		}
		i, ok := seen[st.Ino]
		if !ok {
			i = len(out)
			seen[st.Ino] = i
			out = append(out, Netns{Inode: st.Ino, Path: path})
		}
		if filepath.Dir(path) == h.path("run/netns") {
			out[i].Name = Clean([]byte(filepath.Base(path)), 255)
		}
	}
	return out, nil
}

// Alive reports whether the namespace can still be entered the way it was
// found: the process may have ended, and others may hold the namespace. It
// costs about two microseconds.
func (h *Host) Alive(ns Netns) bool {
	if ns.PID != 0 {
		return h.netnsInode(ns.PID) == ns.Inode
	}
	return ns.Path == "" || isNsfs(ns.Path)
}

// isNsfs reports whether the file is a namespace, not a left-over mount point.
func isNsfs(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && int64(fs.Type) == unix.NSFS_MAGIC
}

// mountedNetnses lists the files that ip-netns(8), CNI plugins and Docker keep.
func (h *Host) mountedNetnses() (out []string) {
	for _, dir := range []string{"run/netns", "run/docker/netns"} {
		entries, err := os.ReadDir(h.path(dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			out = append(out, filepath.Join(h.path(dir), e.Name()))
		}
	}
	return out
}

// pids lists the processes, in rising order.
func (h *Host) pids() ([]int, error) {
	d, err := os.Open(h.path("proc"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var out []int
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			out = append(out, pid)
		}
	}
	if len(out) == 0 && err != nil {
		return nil, err
	}
	return out, nil
}

// inspect reads cookie and addresses from inside the namespace.
func (h *Host) inspect(ns *Netns) error {
	conn, err := h.Netlink(*ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer conn.Close()
	if cookie := conn.NetnsCookie(); cookie != 0 {
		ns.Cookie = cookie
	}
	ns.Addrs, err = addresses(conn)
	if err != nil {
		return fmt.Errorf("read addresses of %s: %w", ns.Path, err)
	}
	ns.Prefixes, err = localPrefixes(conn)
	if err != nil {
		return fmt.Errorf("read local routes of %s: %w", ns.Path, err)
	}
	return nil
}

// addresses returns the local addresses (RTM_GETADDR).
func addresses(c *netlink.Conn) (out []netip.Addr, err error) {
	req := make([]byte, unix.SizeofIfAddrmsg)
	err = c.Dump(unix.RTM_GETADDR, req, func(b []byte) error {
		if len(b) < unix.SizeofIfAddrmsg {
			return netlink.ErrShort
		}
		var local, addr netip.Addr
		for typ, v := range netlink.Attributes(b[unix.SizeofIfAddrmsg:]) {
			switch typ {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(v)
			case unix.IFA_ADDRESS:
				addr, _ = netip.AddrFromSlice(v)
			}
		}
		if local.IsValid() {
			addr = local // of a point-to-point link, IFA_ADDRESS is the peer
		}
		if addr.IsValid() && len(out) < 1<<16 {
			out = append(out, addr)
		}
		return nil
	})
	return out, err
}

// localPrefixes returns the ranges that routes make local (ip route add local
// 10.1.0.0/16 dev lo), which is how some load balancers own addresses.
func localPrefixes(c *netlink.Conn) (out []netip.Prefix, err error) {
	c.Strict() // or the kernel would dump every route there is
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		req := make([]byte, unix.SizeofRtMsg)
		req[0], req[4], req[7] = family, unix.RT_TABLE_LOCAL, unix.RTN_LOCAL
		err := c.Dump(unix.RTM_GETROUTE, req, func(b []byte) error {
			if len(b) < unix.SizeofRtMsg {
				return netlink.ErrShort
			}
			if bits := int(b[1]); b[7] == unix.RTN_LOCAL && len(out) < 1024 {
				for typ, v := range netlink.Attributes(b[unix.SizeofRtMsg:]) {
					a, ok := netip.AddrFromSlice(v)
					if typ == unix.RTA_DST && ok && bits < a.BitLen() && !a.IsLoopback() {
						out = append(out, netip.PrefixFrom(a, bits).Masked())
					}
				}
			}
			return nil
		})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENOENT) {
			continue // no IPv6 here, or no such table yet
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// Do runs f inside a namespace, on an operating system thread of its own that
// returns to its namespace afterwards, or is ended when it cannot. Sockets
// that f opens stay in the namespace. f must not call runtime.Goexit.
func (h *Host) Do(ns Netns, f func() error) error {
	if ns.Path == "" && ns.PID == 0 {
		return f()
	}
	done := make(chan result, 1)
	go func() {
		var r result
		finished := false
		defer func() {
			if !finished {
				r.panicked = recover()
				if r.panicked == nil {
					r.err = errors.New("function left its goroutine")
				}
			}
			done <- r
		}()
		r.err = inNetns(ns, f)
		finished = true
	}()
	r := <-done
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

// result is what a function that ran elsewhere brought back.
type result struct {
	err      error
	panicked any
}

// inNetns enters, runs f and returns. The goroutine stays locked to its
// thread when returning fails, so that the thread ends with it.
func inNetns(ns Netns, f func() error) error {
	path := ns.Path
	if path == "" {
		path = "/proc/" + strconv.Itoa(ns.PID) + "/ns/net"
	}
	target, err := openNs(path)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer unix.Close(target)
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	if ns.Inode != 0 && st.Ino != ns.Inode {
		return fmt.Errorf("namespace %s: %w", path, ErrGone)
	}
	runtime.LockOSThread()
	home, err := openNs("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer unix.Close(home)
	var own unix.Stat_t
	if unix.Fstat(home, &own) == nil && own.Ino == st.Ino && own.Dev == st.Dev {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := unix.Setns(target, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s (needs CAP_SYS_ADMIN): %w", path, err)
	}
	defer func() {
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// openNs opens a namespace file. A process that has ended makes it ErrGone.
func openNs(path string) (int, error) {
	fd, err := openRetry(path)
	if err == unix.ENOENT || err == unix.ESRCH {
		return fd, ErrGone
	}
	return fd, err
}

// Netlink opens a netlink socket in a namespace, where it stays.
func (h *Host) Netlink(ns Netns, protocol int) (c *netlink.Conn, err error) {
	err = h.Do(ns, func() error {
		c, err = netlink.Dial(protocol)
		return err
	})
	return c, err
}
