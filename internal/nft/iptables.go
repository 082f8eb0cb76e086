package nft

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// iptLayout says where things stand in struct ipt_entry and ip6t_entry.
type iptLayout struct {
	addr, src, dst, smask, dmask int // length and offsets of addresses
	in, out                      int // interface names
	proto, invflags              int
	target, next, counters, size int
}

var iptLayouts = map[uint8]iptLayout{
	familyIPv4: {4, 0, 4, 8, 12, 16, 32, 80, 83, 88, 90, 96, 112},
	familyIPv6: {16, 0, 16, 32, 48, 64, 80, 128, 132, 140, 142, 152, 168},
}

// legacyChainNames are the built-in chains, by hook.
var legacyChainNames = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// iptInfo is what IPT_SO_GET_INFO answers.
type iptInfo struct {
	valid      uint32
	entry, end [5]uint32 // where each hook's chain starts, and its policy
	size       uint32
}

// legacyEntry is one entry with the chain it stands in.
type legacyEntry struct {
	off    int
	b      xtInfo
	chain  string
	hook   int // -1 in a chain of the user
	policy bool
}

// parseLegacy turns the entries of a legacy table into rules.
func parseLegacy(family uint8, table string, info iptInfo, b []byte) (out []Rule) {
	l := iptLayouts[family]
	entries := splitLegacy(l, info, b)
	starts := map[int]string{}
	for _, e := range entries {
		if e.chain != "" && starts[e.off] == "" {
			starts[e.off] = e.chain
		}
	}
	position := map[string]int{}
	for _, e := range entries {
		name, _ := legacyTarget(l, e.b)
		if name == "ERROR" || e.chain == "" {
			continue
		}
		position[e.chain]++
		r := Rule{Family: familyNames[family], Table: table, Chain: e.chain, Legacy: true, Policy: e.policy,
			Position: position[e.chain], Counted: true, Packets: xtU64(e.b, l.counters), Bytes: xtU64(e.b, l.counters+8)}
		if e.hook >= 0 {
			r.Hook = strings.ToLower(legacyChainNames[e.hook])
		}
		describeLegacy(&r, l, e, starts)
		if !r.Policy || r.Verdict == Drop {
			out = append(out, r)
		}
	}
	spreadLegacyHooks(family, table, out)
	return out
}

// spreadLegacyHooks tells the chains of the user from which hooks they are
// reached.
func spreadLegacyHooks(family uint8, table string, rules []Rule) {
	index, families := map[chainKey]*chain{}, make([]uint8, len(rules))
	for i, r := range rules {
		families[i] = family
		c := &chain{}
		if r.Hook != "" {
			c.hooks = []string{r.Hook}
		}
		index[chainKey{family, table, r.Chain}] = c
	}
	spreadHooks(index, rules, families)
	for i := range rules {
		rules[i].Hook = strings.Join(index[chainKey{family, table, rules[i].Chain}].hooks, ",")
	}
}

// splitLegacy walks the entries and finds the chain of each. The last entry of
// a built-in chain is its policy; a chain of the user starts with an ERROR
// target that holds its name and ends with an implicit return.
func splitLegacy(l iptLayout, info iptInfo, b []byte) (out []legacyEntry) {
	chain, hook := "", -1
	for off := 0; off+l.size <= len(b); {
		e := legacyEntry{off: off, b: b[off:]}
		next := int(e.b.u16(l.next))
		if next < l.size || off+next > len(b) {
			return out
		}
		e.b = e.b[:next]
		for h := range legacyChainNames {
			if info.valid&(1<<h) != 0 && int(info.entry[h]) == off {
				chain, hook = legacyChainNames[h], h
			}
			e.policy = e.policy || info.valid&(1<<h) != 0 && int(info.end[h]) == off
		}
		if name, data := legacyTarget(l, e.b); name == "ERROR" {
			if n := len(out); n > 0 && hook < 0 {
				out[n-1].policy = true // the return at the end of a chain of the user
			}
			chain, hook = cstring(data.bytes(0, 30)), -1
			off += next
			continue
		}
		e.chain, e.hook = chain, hook
		out = append(out, e)
		off += next
	}
	return out
}

// legacyTarget returns the name and data of an entry's target.
func legacyTarget(l iptLayout, b xtInfo) (string, xtInfo) {
	at := int(b.u16(l.target))
	if at < l.size || at+32 > len(b) {
		return "", nil
	}
	return cstring(b[at+2 : at+31]), b[at+32:]
}

// describeLegacy fills in text, verdict and conditions.
func describeLegacy(r *Rule, l iptLayout, e legacyEntry, starts map[int]string) {
	var parts []string
	add := func(text string, m ...match) {
		if text != "" {
			parts = append(parts, text)
		}
		r.matches = append(r.matches, m...)
	}
	describeLegacyHead(r.Family, l, e.b, add)
	for at := l.size; at+32 <= int(e.b.u16(l.target)); {
		size := int(e.b.u16(at))
		if size < 32 || at+size > len(e.b) {
			break
		}
		name := cstring(e.b[at+2 : at+31])
		text, matches := describeMatch(name, uint32(e.b.u8(at+31)), e.b[at+32:at+size])
		if n := len(parts); n > 0 && (strings.HasPrefix(text, "tcp ") || strings.HasPrefix(text, "udp ")) &&
			parts[n-1] == "meta l4proto "+text[:3] {
			parts = parts[:n-1] // "tcp dport 80" implies it
		}
		add(text, matches...)
		at += size
	}
	add(counterText(r.Packets, r.Bytes))
	name, data := legacyTarget(l, e.b)
	if name == "" {
		r.Verdict, r.Target = legacyVerdict(int32(data.u32(0)), starts)
		add(strings.TrimSpace(string(r.Verdict) + " " + r.Target))
	} else {
		verdict, text := describeTarget(name, uint32(e.b.u8(int(e.b.u16(l.target))+31)), data, l.addr == 16)
		r.Verdict = verdict
		add(text)
	}
	if r.Policy {
		parts = []string{"policy " + string(r.Verdict)}
	}
	r.Text = strings.Join(parts, " ")
}

// legacyVerdict decodes a standard target: a place to jump to, or minus a
// verdict minus one.
func legacyVerdict(v int32, starts map[int]string) (Verdict, string) {
	switch v {
	case -1:
		return Drop, ""
	case -2:
		return Accept, ""
	case -4:
		return Queue, ""
	case -5:
		return Return, ""
	}
	if name := starts[int(v)]; name != "" {
		return Jump, name
	}
	return NoVerdict, ""
}

// describeLegacyHead writes addresses, interfaces and protocol (struct ipt_ip).
func describeLegacyHead(family string, l iptLayout, b xtInfo, add func(string, ...match)) {
	const invIn, invOut, invSrc, invDst, invProto = 1, 2, 8, 16, 64
	inv := uint32(b.u8(l.invflags))
	op := func(bit uint32) uint32 { return min(inv&bit, 1) }
	for _, x := range []struct {
		name       string
		addr, mask int
		bit        uint32
	}{{family + " saddr", l.src, l.smask, invSrc}, {family + " daddr", l.dst, l.dmask, invDst}} {
		ones, ok := prefixLen(b.bytes(x.mask, l.addr))
		if !ok || ones == 0 {
			continue
		}
		p := addrPrefix(b.bytes(x.addr, l.addr), ones)
		add(x.name+" "+compareOps[op(x.bit)]+prefixText(p), match{field: x.name, op: op(x.bit), prefix: p})
	}
	for _, x := range []struct {
		name string
		off  int
		bit  uint32
	}{{"iifname", l.in, invIn}, {"oifname", l.out, invOut}} {
		if name := cstring(b.bytes(x.off, 16)); name != "" {
			add(x.name+" "+compareOps[op(x.bit)]+strconv.Quote(name), match{field: x.name, op: op(x.bit), value: append([]byte(name), 0)})
		}
	}
	if proto := b.u16(l.proto); proto != 0 {
		add("meta l4proto "+compareOps[op(invProto)]+kindL4.format([]byte{byte(proto)}),
			match{field: "meta l4proto", op: op(invProto), value: []byte{byte(proto)}})
	}
}

// prefixText writes a prefix, a single address without its length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// xtU64 reads a counter.
func xtU64(b xtInfo, off int) uint64 {
	return netlink.NativeUint64(b.bytes(off, 8))
}
