package linux

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// Link is a network interface (RTM_NEWLINK).
type Link struct {
	Index     int
	Name      string
	Kind      string // veth, bridge, vlan, vxlan, bond ...; empty for hardware and lo
	MTU       int
	Master    int    // index of the bridge or bond it belongs to, 0 without
	Parent    int    // index of the link below it, or of a veth's peer; 0 without
	PeerNetns int    // the parent is in the namespace with this number here; -1: in this one
	MAC       string // empty without
	State     string // up, down, lowerlayerdown, unknown ...
	Up        bool   // an administrator wants it up
	Loopback  bool
	XDP       bool // a program is attached at XDP
	Stats     LinkStats
	HasStats  bool
	Changes   uint32 // times the carrier came or went
	Driver    string // of hardware
	Speed     int    // Mbit/s; 0 unknown
	Duplex    string // full, half; empty unknown
}

// LinkStats are counters since the link was made (struct rtnl_link_stats64).
type LinkStats struct {
	RxPackets, TxPackets uint64
	RxErrors, TxErrors   uint64
	RxDropped, TxDropped uint64
	RxCRC                uint64
	RxFrame              uint64
	RxFIFO               uint64
	RxMissed             uint64 // the adapter had no room
	Collisions           uint64
	TxCarrier            uint64
	RxNoHandler          uint64
}

// Attributes of links (linux/if_link.h).
const (
	sizeIfInfo       = 16
	iflaAddress      = 1
	iflaIfname       = 3
	iflaMTU          = 4
	iflaLink         = 5
	iflaMaster       = 10
	iflaOperstate    = 16
	iflaLinkinfo     = 18
	iflaStats64      = 23
	iflaCarrierCount = 35
	iflaLinkNetnsid  = 37
	iflaXDP          = 43
	iflaInfoKind     = 1
	iflaXDPAttached  = 2
	iffUp            = 1
	iffLoopback      = 8
)

var operstates = []string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}

// parseLink decodes RTM_NEWLINK.
func parseLink(b []byte) (l Link, ok bool) {
	if len(b) < sizeIfInfo {
		return l, false
	}
	ne := binary.NativeEndian
	flags := ne.Uint32(b[8:])
	l = Link{Index: int(int32(ne.Uint32(b[4:]))), Up: flags&iffUp != 0, Loopback: flags&iffLoopback != 0, State: "unknown", PeerNetns: -1}
	u32 := func(v []byte) int {
		if len(v) < 4 {
			return 0
		}
		return int(int32(ne.Uint32(v)))
	}
	for typ, v := range netlink.Attributes(b[sizeIfInfo:]) {
		switch typ {
		case iflaAddress:
			if len(v) == 6 && !bytes.Equal(v, make([]byte, 6)) {
				l.MAC = macString(v)
			}
		case iflaIfname:
			l.Name = Clean(bytes.TrimRight(v, "\x00"), 32)
		case iflaMTU:
			l.MTU = u32(v)
		case iflaLink:
			l.Parent = u32(v)
		case iflaMaster:
			l.Master = u32(v)
		case iflaLinkNetnsid:
			l.PeerNetns = u32(v)
		case iflaOperstate:
			if len(v) > 0 && int(v[0]) < len(operstates) {
				l.State = operstates[v[0]]
			}
		case iflaCarrierCount:
			l.Changes = uint32(u32(v))
		case iflaStats64:
			l.Stats, l.HasStats = parseLinkStats(v)
		case iflaLinkinfo:
			for t, k := range netlink.Attributes(v) {
				if t == iflaInfoKind {
					l.Kind = Clean(bytes.TrimRight(k, "\x00"), 32)
				}
			}
		case iflaXDP:
			for t, k := range netlink.Attributes(v) {
				if t == iflaXDPAttached && len(k) > 0 && k[0] != 0 {
					l.XDP = true
				}
			}
		}
	}
	return l, l.Name != ""
}

func macString(b []byte) string {
	var s strings.Builder
	for i, x := range b {
		if i > 0 {
			s.WriteByte(':')
		}
		const digits = "0123456789abcdef"
		s.WriteByte(digits[x>>4])
		s.WriteByte(digits[x&15])
	}
	return s.String()
}

// parseLinkStats decodes struct rtnl_link_stats64.
func parseLinkStats(b []byte) (s LinkStats, ok bool) {
	if len(b) < 23*8 {
		return s, false
	}
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	s = LinkStats{
		RxPackets: at(0), TxPackets: at(1), RxErrors: at(4), TxErrors: at(5), RxDropped: at(6), TxDropped: at(7), Collisions: at(9),
		RxCRC: at(12), RxFrame: at(13), RxFIFO: at(14), RxMissed: at(15), TxCarrier: at(17),
	}
	if len(b) >= 24*8 {
		s.RxNoHandler = at(23)
	}
	return s, true
}

// Address is an address of an interface.
type Address struct {
	Link   int // index
	Prefix netip.Prefix
	Failed bool // duplicate address detection found another owner
}

// Route is a route of the main table, or of one that a rule leads to.
type Route struct {
	Dst     netip.Prefix // invalid: default
	Gateway netip.Addr
	Source  netip.Addr
	Link    int // index of the output interface, 0 for several or none
	Table   uint32
	Metric  uint32
	Kind    string // unicast, blackhole, unreachable, prohibit, throw
	MTU     int    // 0: that of the link
	AdvMSS  int
	Family  byte // 4 or 6
	Hops    int  // next hops when there are several
}

// Attributes of routes (linux/rtnetlink.h).
const (
	sizeRtMsg    = 12
	rtaDst       = 1
	rtaOIF       = 4
	rtaGateway   = 5
	rtaPriority  = 6
	rtaPrefsrc   = 7
	rtaMetrics   = 8
	rtaMultipath = 9
	rtaTable     = 15
	rtaxMTU      = 2
	rtaxAdvMSS   = 8
)

var routeKinds = []string{"", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat"}

// parseRoute decodes RTM_NEWROUTE.
func parseRoute(b []byte) (r Route, ok bool) {
	if len(b) < sizeRtMsg || int(b[7]) >= len(routeKinds) {
		return r, false
	}
	r = Route{Table: uint32(b[4]), Kind: routeKinds[b[7]], Family: 4}
	if b[0] == 10 {
		r.Family = 6
	}
	for typ, v := range netlink.Attributes(b[sizeRtMsg:]) {
		a, isAddr := netip.AddrFromSlice(v)
		switch typ {
		case rtaDst:
			if isAddr && int(b[1]) <= a.BitLen() {
				r.Dst = netip.PrefixFrom(a, int(b[1]))
			}
		case rtaGateway:
			r.Gateway = a
		case rtaPrefsrc:
			r.Source = a
		case rtaOIF:
			r.Link = int(netlink.NativeUint32(v))
		case rtaPriority:
			r.Metric = netlink.NativeUint32(v)
		case rtaTable:
			r.Table = netlink.NativeUint32(v)
		case rtaMultipath:
			r.Hops = nextHops(v)
		case rtaMetrics:
			for t, m := range netlink.Attributes(v) {
				switch t {
				case rtaxMTU:
					r.MTU = int(netlink.NativeUint32(m))
				case rtaxAdvMSS:
					r.AdvMSS = int(netlink.NativeUint32(m))
				}
			}
		}
	}
	return r, true
}

// nextHops counts struct rtnexthop.
func nextHops(b []byte) (n int) {
	for len(b) >= 8 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 8 || size > len(b) {
			break
		}
		n++
		b = b[min(len(b), (size+3)&^3):]
	}
	return n
}

// Neighbour is an entry of the ARP or neighbour discovery table.
type Neighbour struct {
	Link  int
	Addr  netip.Addr
	MAC   string
	State string // reachable, stale, delay, probe, failed, incomplete, permanent, noarp
}

var neighbourStates = map[uint16]string{1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 0x10: "probe", 0x20: "failed", 0x40: "noarp", 0x80: "permanent"}

// parseNeighbour decodes RTM_NEWNEIGH.
func parseNeighbour(b []byte) (n Neighbour, ok bool) {
	if len(b) < 12 {
		return n, false
	}
	ne := binary.NativeEndian
	n = Neighbour{Link: int(int32(ne.Uint32(b[4:]))), State: neighbourStates[ne.Uint16(b[8:])]}
	for typ, v := range netlink.Attributes(b[12:]) {
		switch typ {
		case 1: // NDA_DST
			n.Addr, ok = netip.AddrFromSlice(v)
		case 2: // NDA_LLADDR
			if len(v) == 6 {
				n.MAC = macString(v)
			}
		}
	}
	return n, ok
}

// Qdisc is a queueing discipline with its counters since it was attached.
type Qdisc struct {
	Link       int
	Kind       string
	Root       bool
	Packets    uint32
	Drops      uint32
	Overlimits uint32
	Backlog    uint32 // bytes waiting
}

// parseQdisc decodes RTM_NEWQDISC.
func parseQdisc(b []byte) (q Qdisc, ok bool) {
	if len(b) < 20 {
		return q, false
	}
	ne := binary.NativeEndian
	q = Qdisc{Link: int(int32(ne.Uint32(b[4:]))), Root: ne.Uint32(b[12:]) == 0xffffffff}
	for typ, v := range netlink.Attributes(b[20:]) {
		switch typ {
		case 1: // TCA_KIND
			q.Kind = Clean(bytes.TrimRight(v, "\x00"), 32)
		case 7: // TCA_STATS2
			for t, s := range netlink.Attributes(v) {
				switch {
				case t == 1 && len(s) >= 12: // TCA_STATS_BASIC: bytes, packets
					q.Packets = ne.Uint32(s[8:])
				case t == 3 && len(s) >= 20: // TCA_STATS_QUEUE: qlen, backlog, drops, requeues, overlimits
					q.Backlog, q.Drops, q.Overlimits = ne.Uint32(s[4:]), ne.Uint32(s[8:]), ne.Uint32(s[16:])
				}
			}
		}
	}
	return q, q.Kind != ""
}

// Softnet is one processor's line of /proc/net/softnet_stat.
type Softnet struct {
	Processed, Dropped, Squeezed uint64
}

// SoftnetStats returns the queues between adapters and protocols, one for each
// processor that is on line.
func (h *Host) SoftnetStats() (list []Softnet, err error) {
	err = read(h.path("proc/net/softnet_stat"), 1<<20, func(b []byte) error {
		for line := range bytes.Lines(b) {
			f := bytes.Fields(line)
			if len(f) < 3 {
				continue
			}
			var v [3]uint64
			for i := range v {
				if v[i], err = strconv.ParseUint(string(f[i]), 16, 64); err != nil {
					return err
				}
			}
			list = append(list, Softnet{v[0], v[1], v[2]})
		}
		return nil
	})
	return list, err
}

// Network is the configuration of one namespace, as rtnetlink shows it. It needs
// no privilege in one's own namespace.
type Network struct {
	Links      []Link
	Addresses  []Address
	Routes     []Route
	Neighbours []Neighbour
	Qdiscs     []Qdisc
	Truncated  bool // a table was larger than what is read
}
