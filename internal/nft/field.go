package nft

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// valueKind says how the bytes of a field are written.
type valueKind uint8

const (
	kindRaw      valueKind = iota // hexadecimal
	kindBE                        // number in network byte order
	kindHost                      // number in host byte order
	kindHostHex                   // the same in hexadecimal (marks)
	kindAddr                      // IPv4 or IPv6 address
	kindEther                     // hardware address
	kindString                    // NUL-terminated or cut off (interface names)
	kindL4                        // IP protocol
	kindNFProto                   // netfilter family
	kindEthType                   // ethertype
	kindFlags                     // TCP flags
	kindCTState                   // conntrack state, host order
	kindCTStatus                  // conntrack status, host order
	kindCTDir                     // conntrack direction
	kindAddrType                  // route type, host order
	kindPktType                   // unicast, broadcast ...
	kindICMP                      // ICMP type
	kindICMP6                     // ICMPv6 type
)

// field is a part of a packet or of its surroundings that rules compare.
type field struct {
	name string
	kind valueKind
	off  int // in its header
	size int // in bytes
}

// headers are the fields of packet headers that rules use, by header.
var headers = map[string][]field{
	"ether": {{"ether daddr", kindEther, 0, 6}, {"ether saddr", kindEther, 6, 6}, {"ether type", kindEthType, 12, 2}},
	"ip": {{"ip dscp", kindRaw, 1, 1}, {"ip length", kindBE, 2, 2}, {"ip id", kindBE, 4, 2}, {"ip frag-off", kindBE, 6, 2},
		{"ip ttl", kindBE, 8, 1}, {"ip protocol", kindL4, 9, 1}, {"ip checksum", kindBE, 10, 2},
		{"ip saddr", kindAddr, 12, 4}, {"ip daddr", kindAddr, 16, 4}},
	"ip6": {{"ip6 length", kindBE, 4, 2}, {"ip6 nexthdr", kindL4, 6, 1}, {"ip6 hoplimit", kindBE, 7, 1},
		{"ip6 saddr", kindAddr, 8, 16}, {"ip6 daddr", kindAddr, 24, 16}},
	"th": {{"th sport", kindBE, 0, 2}, {"th dport", kindBE, 2, 2}},
	"tcp": {{"tcp sport", kindBE, 0, 2}, {"tcp dport", kindBE, 2, 2}, {"tcp sequence", kindBE, 4, 4}, {"tcp ackseq", kindBE, 8, 4},
		{"tcp doff", kindRaw, 12, 1}, {"tcp flags", kindFlags, 13, 1}, {"tcp window", kindBE, 14, 2},
		{"tcp checksum", kindBE, 16, 2}, {"tcp urgptr", kindBE, 18, 2}},
	"udp":    {{"udp sport", kindBE, 0, 2}, {"udp dport", kindBE, 2, 2}, {"udp length", kindBE, 4, 2}, {"udp checksum", kindBE, 6, 2}},
	"sctp":   {{"sctp sport", kindBE, 0, 2}, {"sctp dport", kindBE, 2, 2}},
	"icmp":   {{"icmp type", kindICMP, 0, 1}, {"icmp code", kindBE, 1, 1}},
	"icmpv6": {{"icmpv6 type", kindICMP6, 0, 1}, {"icmpv6 code", kindBE, 1, 1}},
}

// metaFields are the keys of the meta expression (enum nft_meta_keys).
var metaFields = map[uint32]field{
	0: {name: "meta length", kind: kindHost}, 1: {name: "meta protocol", kind: kindEthType},
	2: {name: "meta priority", kind: kindHostHex}, 3: {name: "meta mark", kind: kindHostHex},
	4: {name: "iif", kind: kindHost}, 5: {name: "oif", kind: kindHost},
	6: {name: "iifname", kind: kindString}, 7: {name: "oifname", kind: kindString},
	8: {name: "iiftype", kind: kindHost}, 9: {name: "oiftype", kind: kindHost},
	10: {name: "meta skuid", kind: kindHost}, 11: {name: "meta skgid", kind: kindHost},
	12: {name: "meta nftrace", kind: kindBE}, 13: {name: "meta rtclassid", kind: kindHost},
	15: {name: "meta nfproto", kind: kindNFProto}, 16: {name: "meta l4proto", kind: kindL4},
	17: {name: "meta ibrname", kind: kindString}, 18: {name: "meta obrname", kind: kindString},
	19: {name: "meta pkttype", kind: kindPktType}, 20: {name: "meta cpu", kind: kindHost},
	21: {name: "iifgroup", kind: kindHost}, 22: {name: "oifgroup", kind: kindHost},
	23: {name: "meta cgroup", kind: kindHost}, 24: {name: "meta random", kind: kindHost},
	26: {name: "iifkind", kind: kindString}, 27: {name: "oifkind", kind: kindString},
}

// ctFields are the keys of the ct expression (enum nft_ct_keys).
var ctFields = map[uint32]field{
	0: {name: "ct state", kind: kindCTState}, 1: {name: "ct direction", kind: kindCTDir},
	2: {name: "ct status", kind: kindCTStatus}, 3: {name: "ct mark", kind: kindHostHex},
	5: {name: "ct expiration", kind: kindHost}, 6: {name: "ct helper", kind: kindString},
	7: {name: "ct l3proto", kind: kindNFProto}, 8: {name: "ct saddr", kind: kindAddr}, 9: {name: "ct daddr", kind: kindAddr},
	10: {name: "ct protocol", kind: kindL4}, 11: {name: "ct proto-src", kind: kindBE}, 12: {name: "ct proto-dst", kind: kindBE},
	13: {name: "ct label", kind: kindRaw}, 14: {name: "ct packets", kind: kindHost}, 15: {name: "ct bytes", kind: kindHost},
	16: {name: "ct avgpkt", kind: kindHost}, 17: {name: "ct zone", kind: kindHost},
	19: {name: "ct ip saddr", kind: kindAddr}, 20: {name: "ct ip daddr", kind: kindAddr},
	21: {name: "ct ip6 saddr", kind: kindAddr}, 22: {name: "ct ip6 daddr", kind: kindAddr},
}

// flagName is one bit with its name, in the order in which nft lists them.
type flagName struct {
	bit  uint64
	name string
}

var flagNames = map[valueKind][]flagName{
	kindFlags:    {{1, "fin"}, {2, "syn"}, {4, "rst"}, {8, "psh"}, {16, "ack"}, {32, "urg"}, {64, "ecn"}, {128, "cwr"}},
	kindCTState:  {{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}},
	kindCTStatus: {{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}, {512, "dying"}},
}

// valueNames name single values.
var valueNames = map[valueKind]map[uint64]string{
	kindL4: {1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
		58: "ipv6-icmp", 89: "ospf", 112: "vrrp", 132: "sctp", 136: "udplite"},
	kindNFProto: {2: "ipv4", 10: "ipv6"},
	kindEthType: {0x0800: "ip", 0x0806: "arp", 0x86dd: "ip6", 0x8100: "vlan"},
	kindCTDir:   {0: "original", 1: "reply"},
	kindPktType: {0: "host", 1: "broadcast", 2: "multicast", 3: "other"},
	kindAddrType: {0: "unspec", 1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole",
		7: "unreachable", 8: "prohibit"},
	kindICMP: {0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request",
		9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem",
		13: "timestamp-request", 14: "timestamp-reply"},
	kindICMP6: {1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem",
		128: "echo-request", 129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done",
		133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
		137: "nd-redirect", 143: "mld2-listener-report"},
}

// hostOrder reports whether values of a kind are in host byte order.
func (k valueKind) hostOrder() bool {
	switch k {
	case kindHost, kindHostHex, kindCTState, kindCTStatus, kindAddrType:
		return true
	}
	return false
}

// number reads up to eight bytes as a number.
func (k valueKind) number(b []byte) uint64 {
	var full [8]byte
	if len(b) > 8 {
		return 0
	}
	if k.hostOrder() && binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		copy(full[:], b)
		return binary.LittleEndian.Uint64(full[:])
	}
	copy(full[8-len(b):], b)
	return binary.BigEndian.Uint64(full[:])
}

// format writes a value as nft does.
func (k valueKind) format(b []byte) string {
	switch k {
	case kindAddr:
		if a, ok := netip.AddrFromSlice(b); ok {
			return a.String()
		}
		return "0x" + hex.EncodeToString(b)
	case kindEther:
		parts := make([]string, len(b))
		for i, c := range b {
			parts[i] = fmt.Sprintf("%02x", c)
		}
		return strings.Join(parts, ":")
	case kindString:
		return formatName(b)
	case kindRaw:
		return "0x" + hex.EncodeToString(b)
	}
	if len(b) > 8 {
		return "0x" + hex.EncodeToString(b)
	}
	n := k.number(b)
	if flags := flagNames[k]; flags != nil {
		return formatFlags(flags, n)
	}
	if name, ok := valueNames[k][n]; ok {
		return name
	}
	if k == kindHostHex || k == kindEthType {
		return fmt.Sprintf("0x%08x", n)
	}
	return strconv.FormatUint(n, 10)
}

// formatName writes an interface name; one that was cut off before its NUL is
// a prefix.
func formatName(b []byte) string {
	s := cstring(b)
	if len(b) < 16 && bytes.IndexByte(b, 0) < 0 {
		s += "*"
	}
	return strconv.Quote(s)
}

// formatFlags joins the names of set bits with commas.
func formatFlags(flags []flagName, n uint64) string {
	var names []string
	for _, f := range flags {
		if n&f.bit != 0 {
			names = append(names, f.name)
			n &^= f.bit
		}
	}
	if n != 0 || len(names) == 0 {
		names = append(names, fmt.Sprintf("0x%x", n))
	}
	return strings.Join(names, ",")
}

// prefixLen returns the length of a mask that is a prefix.
func prefixLen(mask []byte) (int, bool) {
	ones, ended := 0, false
	for _, c := range mask {
		lead := bits.LeadingZeros8(^c)
		if ended && c != 0 || c<<lead != 0 {
			return 0, false
		}
		ones += lead
		ended = ended || lead < 8
	}
	return ones, true
}
