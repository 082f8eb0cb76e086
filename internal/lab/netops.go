//go:build linux

package lab

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// opSysctl sets /proc/sys/net/TEXT of this namespace and returns the old value.
func opSysctl(a *actor, q request, r *response) error {
	path := filepath.Join("/proc/sys/net", filepath.Clean("/"+q.Text))
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read sysctl: %w", err)
	}
	r.Text = strings.TrimSpace(string(old))
	if len(q.Args) == 0 {
		return nil
	}
	if err := os.WriteFile(path, []byte(q.Args[0]), 0); err != nil {
		return fmt.Errorf("write sysctl: %w", err)
	}
	return nil
}

// opSockets lists the TCP sockets of this namespace, also those without a
// process. It reads /proc because that shows TIME_WAIT and half-open
// connections in the same way on every kernel.
func opSockets(a *actor, q request, r *response) error {
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/thread-self/net/" + name)
		if err != nil {
			return fmt.Errorf("list sockets: %w", err)
		}
		s := bufio.NewScanner(f)
		for s.Scan() {
			if e, ok := parseSocket(s.Text()); ok {
				r.Sockets = append(r.Sockets, e)
			}
		}
		f.Close()
		if err := s.Err(); err != nil {
			return fmt.Errorf("list sockets: %w", err)
		}
	}
	return nil
}

func parseSocket(line string) (e sockEntry, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || !strings.HasSuffix(f[0], ":") {
		return e, false
	}
	state, err := strconv.ParseInt(f[3], 16, 32)
	if err != nil {
		return e, false
	}
	e.Local, e.Remote, e.State = hexAddr(f[1]), hexAddr(f[2]), stateName(int(state))
	_, rx, _ := strings.Cut(f[4], ":")
	q, _ := strconv.ParseInt(rx, 16, 64)
	e.RxQueue = int(q)
	e.Inode, _ = strconv.ParseUint(f[9], 10, 64)
	return e, e.Local.IsValid()
}

// hexAddr parses ADDRESS:PORT, where the address is 32-bit words in host
// order.
func hexAddr(s string) netip.AddrPort {
	h, p, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(h)
	port, err2 := strconv.ParseUint(p, 16, 16)
	if err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}
	}
	one := uint16(1)
	if *(*byte)(unsafe.Pointer(&one)) == 1 { // little endian
		for i := 0; i < len(b); i += 4 {
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

// opCounters reads the SNMP counters of this namespace, as in "Tcp:OutRsts".
func opCounters(a *actor, q request, r *response) error {
	r.Counters = map[string]int64{}
	for _, name := range []string{"snmp", "netstat"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			return fmt.Errorf("read counters: %w", err)
		}
		lines := strings.Split(string(b), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for k := 1; k < len(names) && k < len(values); k++ {
				v, _ := strconv.ParseInt(values[k], 10, 64)
				r.Counters[names[0]+names[k]] = v
			}
		}
	}
	return nil
}

// sockID is struct inet_diag_req_v2 of include/uapi/linux/inet_diag.h.
type sockID struct{ local, remote netip.AddrPort }

func (id sockID) Len() int { return 56 }

func (id sockID) Serialize() []byte {
	b := make([]byte, id.Len())
	b[0], b[1] = unix.AF_INET, unix.IPPROTO_TCP
	if id.local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	for i := 4; i < 8; i++ { // every state
		b[i] = 0xff
	}
	binary.BigEndian.PutUint16(b[8:], id.local.Port())
	binary.BigEndian.PutUint16(b[10:], id.remote.Port())
	copy(b[12:28], id.local.Addr().AsSlice())
	copy(b[28:44], id.remote.Addr().AsSlice())
	for i := 48; i < 56; i++ { // no cookie
		b[i] = 0xff
	}
	return b
}

// opDestroy is SOCK_DESTROY, what ss -K does, on the connection Local-Addr.
func opDestroy(a *actor, q request, r *response) error {
	const sockDestroy = 21
	req := nl.NewNetlinkRequest(sockDestroy, unix.NLM_F_ACK)
	req.AddData(sockID{q.Local, q.Addr})
	if _, err := req.Execute(unix.NETLINK_SOCK_DIAG, 0); err != nil {
		return fmt.Errorf("destroy socket: %w", err)
	}
	return nil
}

// opVeth makes a pair of interfaces: TEXT here, ARGS[0] in the namespace of
// process N. ARGS[1] and ARGS[2] are their hardware addresses.
func opVeth(a *actor, q request, r *response) error {
	here, err := net.ParseMAC(q.Args[1])
	if err != nil {
		return err
	}
	there, err := net.ParseMAC(q.Args[2])
	if err != nil {
		return err
	}
	err = netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: q.Text, HardwareAddr: here},
		PeerName:         q.Args[0],
		PeerHardwareAddr: there,
		PeerNamespace:    netlink.NsPid(q.N),
	})
	if err != nil {
		return fmt.Errorf("make veth pair: %w", err)
	}
	return nil
}

// withLink runs f on the interface of that name.
func withLink(name string, f func(netlink.Link) error) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if err := f(l); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// opAddr adds the addresses ARGS, or removes them when N is -1. Duplicate
// address detection is off: it would take a second.
func opAddr(a *actor, q request, r *response) error {
	return withLink(q.Text, func(l netlink.Link) error {
		for _, s := range q.Args {
			addr, err := netlink.ParseAddr(s)
			if err != nil {
				return err
			}
			if q.N < 0 {
				err = netlink.AddrDel(l, addr)
			} else {
				addr.Flags = unix.IFA_F_NODAD
				err = netlink.AddrAdd(l, addr)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func opUp(a *actor, q request, r *response) error   { return withLink(q.Text, netlink.LinkSetUp) }
func opDown(a *actor, q request, r *response) error { return withLink(q.Text, netlink.LinkSetDown) }
func opMTU(a *actor, q request, r *response) error {
	return withLink(q.Text, func(l netlink.Link) error { return netlink.LinkSetMTU(l, q.N) })
}
func opUnlink(a *actor, q request, r *response) error { return withLink(q.Text, netlink.LinkDel) }

// opBridge makes the bridge TEXT and attaches the interfaces ARGS to it.
func opBridge(a *actor, q request, r *response) error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: q.Text}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make bridge: %w", err)
	}
	for _, port := range q.Args {
		if err := withLink(port, func(l netlink.Link) error { return netlink.LinkSetMaster(l, br) }); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(br)
}

// opRoute sets the route to ARGS[0] through the gateway ARGS[1].
func opRoute(a *actor, q request, r *response) error {
	rt, err := parseRoute(q)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(rt); err != nil {
		return fmt.Errorf("set route %v: %w", q.Args, err)
	}
	return nil
}

func opUnroute(a *actor, q request, r *response) error {
	rt, err := parseRoute(q)
	if err != nil {
		return err
	}
	if err := netlink.RouteDel(rt); err != nil && !errors.Is(err, unix.ESRCH) { // it may have gone with its interface
		return fmt.Errorf("delete route %v: %w", q.Args, err)
	}
	return nil
}

// opBlackhole discards what is routed to ARGS[0], in silence.
func opBlackhole(a *actor, q request, r *response) error {
	rt, err := parseRoute(q)
	if err != nil {
		return err
	}
	rt.Type = unix.RTN_BLACKHOLE
	if err := netlink.RouteAdd(rt); err != nil {
		return fmt.Errorf("add blackhole %v: %w", q.Args, err)
	}
	return nil
}

func parseRoute(q request) (*netlink.Route, error) {
	_, dst, err := net.ParseCIDR(q.Args[0])
	if err != nil {
		return nil, fmt.Errorf("parse route: %w", err)
	}
	rt := &netlink.Route{Dst: dst}
	if len(q.Args) > 1 {
		rt.Gw = net.ParseIP(q.Args[1])
	}
	return rt, nil
}

// opNeigh returns the hardware address that the interface TEXT knows for
// ARGS[0], "" when none.
func opNeigh(a *actor, q request, r *response) error {
	return withLink(q.Text, func(l netlink.Link) error {
		list, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, n := range list {
			if n.IP.String() == q.Args[0] {
				r.Text = n.HardwareAddr.String()
			}
		}
		return nil
	})
}

// opGARP announces the IPv4 address ARGS[0] on the interface TEXT: an ARP
// reply that nobody asked for (RFC 5227).
func opGARP(a *actor, q request, r *response) error {
	ip, err := netip.ParseAddr(q.Args[0])
	if err != nil {
		return err
	}
	return withLink(q.Text, func(l netlink.Link) error {
		own, all := l.Attrs().HardwareAddr, [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		arp := []byte{0, 1, 8, 0, 6, 4, 0, 2} // Ethernet, IPv4, reply
		arp = append(append(arp, own...), ip.AsSlice()...)
		arp = append(append(arp, own...), ip.AsSlice()...)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: l.Attrs().Index, Halen: 6, Addr: all}
		return unix.Sendto(fd, arp, 0, to)
	})
}

// opConntrackFlush empties the connection tracking table of this namespace.
func opConntrackFlush(a *actor, q request, r *response) error {
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("flush connection tracking: %w", err)
	}
	return nil
}

// opOffload turns segmentation and checksum offload of the interface TEXT
// off: captures then show packets as they would be on a cable.
func opOffload(a *actor, q request, r *response) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	for _, cmd := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO, unix.ETHTOOL_STXCSUM} {
		value := struct{ cmd, data uint32 }{cmd, 0}
		req := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value)}
		copy(req.name[:unix.IFNAMSIZ-1], q.Text)
		_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if no != 0 && no != unix.EOPNOTSUPP {
			return fmt.Errorf("turn off offload %#x of %s: %w", cmd, q.Text, no)
		}
	}
	return nil
}
