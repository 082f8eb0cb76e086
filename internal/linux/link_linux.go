package linux

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// maxTable bounds how many routes or neighbours of a namespace are read.
const maxTable = 1 << 14

// Network reads interfaces, addresses, routes, neighbours and queueing
// disciplines of a namespace.
func (h *Host) Network(ns Netns) (n Network, err error) {
	c, err := h.Netlink(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return n, err
	}
	defer c.Close()
	err = errors.Join(
		table(c, unix.RTM_GETLINK, sizeIfInfo, parseLink, &n.Links, &n.Truncated),
		table(c, unix.RTM_GETADDR, unix.SizeofIfAddrmsg, parseAddress, &n.Addresses, &n.Truncated),
		table(c, unix.RTM_GETROUTE, sizeRtMsg, ownRoute, &n.Routes, &n.Truncated),
		table(c, unix.RTM_GETNEIGH, 12, usedNeighbour, &n.Neighbours, &n.Truncated),
		table(c, unix.RTM_GETQDISC, 20, parseQdisc, &n.Qdiscs, &n.Truncated),
	)
	if h.own(ns) { // sysfs shows the namespace of who mounted it
		for i := range n.Links {
			h.hardware(&n.Links[i])
		}
	}
	return n, err
}

// table reads one table. What the kernel does not have is empty.
func table[T any](c *netlink.Conn, typ uint16, size int, parse func([]byte) (T, bool), out *[]T, truncated *bool) error {
	err := c.Dump(typ, make([]byte, size), func(b []byte) error {
		if v, ok := parse(b); ok {
			if len(*out) >= maxTable {
				*truncated = true
				return nil
			}
			*out = append(*out, v)
		}
		return nil
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, netlink.ErrInterrupted) {
		return nil
	}
	return err
}

// parseAddress decodes RTM_NEWADDR.
func parseAddress(b []byte) (a Address, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, false
	}
	a.Link = int(netlink.NativeUint32(b[4:]))
	a.Failed = b[2]&unix.IFA_F_DADFAILED != 0
	for typ, v := range netlink.Attributes(b[unix.SizeofIfAddrmsg:]) {
		x, good := netip.AddrFromSlice(v)
		if good && int(b[1]) <= x.BitLen() && (typ == unix.IFA_LOCAL || typ == unix.IFA_ADDRESS && !a.Prefix.IsValid()) {
			a.Prefix = netip.PrefixFrom(x, int(b[1]))
		}
	}
	return a, a.Prefix.IsValid()
}

// ownRoute leaves out what the kernel keeps for itself: local addresses,
// broadcast, multicast, and cached routes.
func ownRoute(b []byte) (Route, bool) {
	r, ok := parseRoute(b)
	if !ok || r.Table == unix.RT_TABLE_LOCAL || r.Kind == "local" || r.Kind == "broadcast" || r.Kind == "multicast" || r.Kind == "anycast" {
		return r, false
	}
	return r, len(b) < 12 || netlink.NativeUint32(b[8:])&unix.RTM_F_CLONED == 0
}

// usedNeighbour leaves out multicast, and entries without a state.
func usedNeighbour(b []byte) (Neighbour, bool) {
	n, ok := parseNeighbour(b)
	return n, ok && n.State != "" && n.State != "noarp" && !n.Addr.IsMulticast()
}

// hardware reads what only sysfs says of an adapter.
func (h *Host) hardware(l *Link) {
	if l.Loopback || l.Kind != "" || strings.ContainsAny(l.Name, "/.") {
		return
	}
	dir := h.path("sys/class/net/" + l.Name)
	if drv, err := filepath.EvalSymlinks(dir + "/device/driver"); err == nil {
		l.Driver = Clean([]byte(filepath.Base(drv)), 64)
	}
	if s, err := readString(dir+"/speed", 64); err == nil {
		if n, err := strconv.Atoi(s); err == nil && n > 0 {
			l.Speed = n
		}
	}
	if s, err := readString(dir+"/duplex", 64); err == nil && s != "unknown" {
		l.Duplex = Clean([]byte(s), 16)
	}
}

// own reports whether a namespace is the one of this process.
func (h *Host) own(ns Netns) bool {
	return ns.PID == 0 && ns.Path == "" || h.live() && ns.Inode == h.netnsInode(os.Getpid())
}

// copiedSysctls are not defaults in a new namespace but copies of the first one
// (net/ipv4/tcp_ipv4.c, tcp_sk_init; net/ipv4/devinet.c), or depend on its place.
var copiedSysctls = []string{"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_fastopen", "net.ipv4.conf.", "net.ipv6.conf.",
	"net.ipv4.tcp_child_ehash_entries", "net.ipv4.udp_hash_entries", "net.ipv4.udp_child_hash_entries", "net.ipv4.tcp_ehash_entries", "net.core.netdev_rss_key", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets"}

// SysctlDefaults are the settings of a namespace that was made just now: the
// defaults of this kernel. Those that a new namespace copies, or does not have, are
// left out. It needs CAP_SYS_ADMIN.
func (h *Host) SysctlDefaults() (map[string]string, error) {
	if !h.live() {
		return nil, ErrUnsupported
	}
	type answer struct {
		m   map[string]string
		err error
	}
	done := make(chan answer, 1)
	go func() {
		m, err := h.freshSysctls()
		maps.DeleteFunc(m, func(k, _ string) bool {
			return slices.ContainsFunc(copiedSysctls, func(c string) bool { return strings.HasPrefix(k, c) })
		})
		done <- answer{m, err}
	}()
	a := <-done
	return a.m, a.err
}

// freshSysctls reads the settings of a namespace that it makes for that. The thread
// returns to its own namespace, or ends with the goroutine.
func (h *Host) freshSysctls() (map[string]string, error) {
	runtime.LockOSThread()
	home, err := openNs("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("unshare", err)
	}
	m, err := h.sysctls()
	if unix.Setns(home, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return m, err
}
