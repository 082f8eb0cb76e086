package nft

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Packet is what [Rule.Excludes] knows of a packet.
type Packet struct {
	Src, Dst netip.AddrPort
	IIF, OIF string // interface names, empty when unknown
}

// match is one condition of a rule that can be checked against a packet.
type match struct {
	field  string
	op     uint32 // 0 equal, 1 not equal; others are not checked
	value  []byte
	prefix netip.Prefix
	ranges [][2][]byte // any of them, both ends included
}

// newMatch keeps a comparison with a constant.
func newMatch(f field, op uint32, v []byte) match {
	return match{field: f.name, op: op, value: bytes.Clone(v)}
}

// learn keeps a condition for Excludes.
func (d *ruleDecoder) learn(m match) { d.rule.matches = append(d.rule.matches, m) }

// Excludes reports whether the rule certainly does not match a TCP packet:
// a condition on address, port, protocol or interface contradicts it. What
// it cannot judge does not exclude.
func (r *Rule) Excludes(p Packet) bool {
	if r.Family == "ip" && !p.Src.Addr().Unmap().Is4() || r.Family == "ip6" && p.Src.Addr().Unmap().Is4() {
		return true
	}
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.excludes(p) })
}

// excludes reports whether the condition contradicts the packet.
func (m *match) excludes(p Packet) bool {
	v := p.field(m.field)
	if v == nil || m.op > 1 {
		return false
	}
	var holds bool
	switch {
	case m.prefix.IsValid():
		a, ok := netip.AddrFromSlice(v)
		if !ok {
			return false
		}
		holds = m.prefix.Contains(a)
	case m.ranges != nil:
		holds = slices.ContainsFunc(m.ranges, func(r [2][]byte) bool {
			return len(r[0]) == len(v) && bytes.Compare(r[0], v) <= 0 && bytes.Compare(v, r[1]) <= 0
		})
	case len(m.value) == 0:
		return false
	case m.field == "iifname" || m.field == "oifname":
		holds = matchName(m.value, v)
	default:
		holds = bytes.Equal(m.value, v)
	}
	return holds == (m.op == 1)
}

// matchName compares an interface name; one without a NUL is a prefix.
func matchName(want, name []byte) bool {
	if i := bytes.IndexByte(want, 0); i >= 0 {
		return bytes.Equal(want[:i], name)
	}
	return bytes.HasPrefix(name, want)
}

// field returns the packet's value of a field in network byte order, nil when
// it is not known.
func (p Packet) field(name string) []byte {
	src, dst := p.Src.Addr().Unmap(), p.Dst.Addr().Unmap()
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	switch name {
	case "ip saddr", "ip6 saddr":
		return src.AsSlice()
	case "ip daddr", "ip6 daddr":
		return dst.AsSlice()
	case "tcp sport", "th sport":
		return port(p.Src.Port())
	case "tcp dport", "th dport":
		return port(p.Dst.Port())
	case "meta l4proto", "ip protocol", "ip6 nexthdr":
		return []byte{6}
	case "meta nfproto":
		if src.Is4() {
			return []byte{familyIPv4}
		}
		return []byte{familyIPv6}
	case "iifname":
		return bytesOrNil(p.IIF)
	case "oifname":
		return bytesOrNil(p.OIF)
	}
	return nil
}

func bytesOrNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
