package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// xtInfo reads the private structures of iptables extensions, which are in
// host byte order unless noted (linux/netfilter/xt_*.h).
type xtInfo []byte

func (b xtInfo) u8(off int) byte {
	if off >= len(b) {
		return 0
	}
	return b[off]
}

func (b xtInfo) u16(off int) uint16 {
	if off+2 > len(b) {
		return 0
	}
	return binary.NativeEndian.Uint16(b[off:])
}

func (b xtInfo) u32(off int) uint32 {
	if off+4 > len(b) {
		return 0
	}
	return binary.NativeEndian.Uint32(b[off:])
}

// bytes returns n bytes from off, fewer or none when the structure is short.
func (b xtInfo) bytes(off, n int) []byte {
	if off >= len(b) {
		return nil
	}
	return b[off:min(off+n, len(b))]
}

// xtMatch is an iptables match inside an nf_tables rule.
func (d *ruleDecoder) xtMatch(b []byte) {
	a := netlink.Attrs(b)
	text, matches := describeMatch(cstring(a[1]), netlink.Uint32(a[2]), a[3])
	d.rule.matches = append(d.rule.matches, matches...)
	if text != "" {
		d.needs("tcp")
		d.say(text)
	}
}

// xtTarget is an iptables target inside an nf_tables rule.
func (d *ruleDecoder) xtTarget(b []byte) {
	a := netlink.Attrs(b)
	verdict, text := describeTarget(cstring(a[1]), netlink.Uint32(a[2]), a[3], d.family == familyIPv6)
	if verdict != NoVerdict {
		d.rule.Verdict = verdict
	}
	if verdict == RejectReset {
		d.needs("tcp")
	}
	d.say(text)
}

// describeMatch writes an iptables match in the words of nft, and what of it
// can be checked against a packet.
func describeMatch(name string, rev uint32, b xtInfo) (string, []match) {
	switch name {
	case "tcp":
		return matchTCP(b)
	case "udp":
		text, _ := xtPorts("udp", b, b.u8(8))
		return text, nil
	case "multiport":
		return matchMultiport(b)
	case "conntrack":
		return matchConntrack(rev, b), nil
	case "state":
		return "ct state " + xtState(b.u32(0)), nil
	case "comment":
		return "comment " + strconv.Quote(cstring(b.bytes(0, 256))), nil
	case "limit":
		return fmt.Sprintf("limit rate %s burst %d packets", xtRate(b.u32(0)), b.u32(4)), nil
	case "addrtype":
		return "fib daddr type " + xtAddrType(b.u16(2)), nil
	case "mark":
		return fmt.Sprintf("meta mark & 0x%08x == 0x%08x", b.u32(4), b.u32(0)), nil
	case "icmp":
		return "icmp type " + kindICMP.format([]byte{b.u8(0)}), nil
	case "icmp6":
		return "icmpv6 type " + kindICMP6.format([]byte{b.u8(0)}), nil
	}
	return "xt match " + strconv.Quote(name), nil
}

// xtPorts writes the port ranges that struct xt_tcp and xt_udp begin with.
func xtPorts(proto string, b xtInfo, inverted byte) (string, []match) {
	var parts []string
	var matches []match
	for i, name := range []string{proto + " sport", proto + " dport"} {
		lo, hi := b.u16(i*4), b.u16(i*4+2)
		if lo == 0 && hi == 0xffff {
			continue
		}
		op := uint32(inverted>>i) & 1
		text := strconv.Itoa(int(lo))
		if hi != lo {
			text += "-" + strconv.Itoa(int(hi))
		}
		parts = append(parts, name+" "+compareOps[op]+text)
		matches = append(matches, match{field: name, op: op, ranges: portRanges(lo, hi)})
	}
	return strings.Join(parts, " "), matches
}

// portRanges makes one range of ports in network byte order.
func portRanges(lo, hi uint16) [][2][]byte {
	return [][2][]byte{{binary.BigEndian.AppendUint16(nil, lo), binary.BigEndian.AppendUint16(nil, hi)}}
}

// matchTCP decodes struct xt_tcp.
func matchTCP(b xtInfo) (string, []match) {
	inverted := b.u8(11)
	text, matches := xtPorts("tcp", b, inverted)
	if mask := b.u8(9); mask != 0 {
		op := compareOps[inverted>>3&1]
		text += " tcp flags " + op + kindFlags.format([]byte{b.u8(10)}) + " / " + kindFlags.format([]byte{mask})
	}
	return strings.TrimSpace(text), matches
}

// matchMultiport decodes struct xt_multiport_v1: up to 15 ports or ranges.
func matchMultiport(b xtInfo) (string, []match) {
	names := []string{"tcp sport", "tcp dport", "tcp sport/dport"}
	kind, n := int(b.u8(0)), min(int(b.u8(1)), 15)
	if kind >= len(names) {
		return "xt match \"multiport\"", nil
	}
	var parts []string
	m := match{field: names[kind], op: uint32(b.u8(47)) & 1, ranges: [][2][]byte{}}
	for i := 0; i < n; i++ {
		lo := b.u16(2 + 2*i)
		hi := lo
		text := strconv.Itoa(int(lo))
		if b.u8(32+i) != 0 && i+1 < n {
			i++
			hi = b.u16(2 + 2*i)
			text += "-" + strconv.Itoa(int(hi))
		}
		parts = append(parts, text)
		m.ranges = append(m.ranges, portRanges(lo, hi)...)
	}
	return names[kind] + " " + compareOps[m.op] + "{ " + strings.Join(parts, ", ") + " }", []match{m}
}

// matchConntrack decodes what is used of struct xt_conntrack_mtinfo1 to 3:
// the states.
func matchConntrack(rev uint32, b xtInfo) string {
	flags, inverted, state := uint16(0), uint16(0), uint32(0)
	if rev >= 2 {
		flags, inverted, state = b.u16(146), b.u16(148), uint32(b.u16(150))
	} else {
		flags, inverted, state = b.u16(146), b.u16(148), uint32(b.u8(150))
	}
	const checkState, checkStatus = 1, 16384
	if flags&checkState == 0 {
		if flags&checkStatus != 0 {
			return "ct status"
		}
		return "xt match \"conntrack\""
	}
	return "ct state " + compareOps[inverted&1] + xtState(state)
}

// xtState names the bits of XT_CONNTRACK_STATE: 1<<(ctinfo+1), plus snat and
// dnat at 64 and 128 and untracked at 256 (xt_conntrack) or 64 (xt_state).
func xtState(n uint32) string {
	return formatFlags([]flagName{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "snat"}, {128, "dnat"}, {256, "untracked"}}, uint64(n))
}

// xtRate writes the period between packets, in units of 1/10000 s.
func xtRate(avg uint32) string {
	if avg == 0 {
		return "0/second"
	}
	for _, u := range []struct {
		ticks uint32
		name  string
	}{{10000, "second"}, {600000, "minute"}, {36000000, "hour"}} {
		if n := u.ticks / avg; n > 0 {
			return fmt.Sprintf("%d/%s", n, u.name)
		}
	}
	return fmt.Sprintf("%d/day", 864000000/avg)
}

// xtAddrType names the first type of an address type mask.
func xtAddrType(mask uint16) string {
	for i := range 9 {
		if mask&(1<<i) != 0 {
			return valueNames[kindAddrType][uint64(i)]
		}
	}
	return "unspec"
}

// Codes of the REJECT targets (ipt_REJECT.h, ip6t_REJECT.h); 7 and 6 reset.
var (
	iptRejects  = []string{"icmp net-unreachable", "icmp host-unreachable", "icmp prot-unreachable", "icmp port-unreachable", "echo reply", "icmp net-prohibited", "icmp host-prohibited", "tcp reset", "icmp admin-prohibited"}
	ip6tRejects = []string{"icmpv6 no-route", "icmpv6 admin-prohibited", "icmpv6 not-neighbour", "icmpv6 addr-unreachable", "icmpv6 port-unreachable", "echo reply", "tcp reset", "icmpv6 policy-fail", "icmpv6 reject-route"}
)

// describeTarget decodes an iptables target.
func describeTarget(name string, rev uint32, b xtInfo, v6 bool) (Verdict, string) {
	switch name {
	case "REJECT":
		return xtReject(b, v6)
	case "MASQUERADE":
		return Masquerade, "masquerade"
	case "REDIRECT":
		return Redirect, "redirect" + xtNATRange(rev, b, "")
	case "SNAT":
		return SNAT, "snat" + xtNATRange(rev, b, " to ")
	case "DNAT":
		return DNAT, "dnat" + xtNATRange(rev, b, " to ")
	case "TPROXY", "NETMAP", "SYNPROXY":
		return Other, "xt target " + strconv.Quote(name)
	case "NFQUEUE":
		return Queue, "queue to " + strconv.Itoa(int(b.u16(0)))
	case "LOG":
		return NoVerdict, "log prefix " + strconv.Quote(cstring(b.bytes(2, 30)))
	}
	return NoVerdict, "xt target " + strconv.Quote(name)
}

// xtReject decodes struct ipt_reject_info: one number.
func xtReject(b xtInfo, v6 bool) (Verdict, string) {
	names := iptRejects
	if v6 {
		names = ip6tRejects
	}
	code := int(b.u32(0))
	if code >= len(names) {
		return RejectICMP, "reject"
	}
	if names[code] == "tcp reset" {
		return RejectReset, "reject with tcp reset"
	}
	return RejectICMP, "reject with " + names[code]
}

// xtNATRange writes the addresses and ports of a NAT target: revision 0 is
// struct nf_nat_ipv4_multi_range_compat, later ones struct nf_nat_range.
func xtNATRange(rev uint32, b xtInfo, to string) string {
	const mapIPs, specified = 1, 2
	var flags uint32
	var addr netip.Addr
	var port uint16
	if rev == 0 {
		flags, port = b.u32(4), netlink.Uint16(b.bytes(16, 2))
		addr, _ = netip.AddrFromSlice(b.bytes(8, 4))
	} else {
		flags, port = b.u32(0), netlink.Uint16(b.bytes(36, 2))
		addr, _ = netip.AddrFromSlice(b.bytes(4, 16))
		if a16 := b.bytes(8, 12); len(a16) == 12 && strings.Trim(string(a16), "\x00") == "" {
			addr, _ = netip.AddrFromSlice(b.bytes(4, 4))
		}
	}
	text := ""
	if flags&mapIPs != 0 && addr.IsValid() {
		text = addr.String()
		if flags&specified != 0 && addr.Is6() {
			text = "[" + text + "]"
		}
	}
	if flags&specified != 0 {
		text += ":" + strconv.Itoa(int(port))
		to = " to "
	}
	if text == "" {
		return ""
	}
	return cmp.Or(to, " to ") + text
}
