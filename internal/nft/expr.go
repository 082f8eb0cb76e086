package nft

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// maxRuleText bounds the text of a rule.
const maxRuleText = 1024

// ruleDecoder turns the expressions of one rule, a little program on
// registers, back into text.
type ruleDecoder struct {
	family uint8
	sets   func(chainKey) *nftSet
	rule   *Rule
	regs   [20]operand // by 32-bit slot
	l3, l4 string      // what earlier matches established: ip, tcp ...
	parts  []rulePart
}

// rulePart is a piece of the rule's text. A dependency is a match that nft
// leaves out when a later one implies it: "meta l4proto tcp" before "tcp
// dport 80".
type rulePart struct {
	text    string
	implied string // header whose fields imply this part
}

// operand is what a register holds: fields of the packet, or a constant.
type operand struct {
	fields    []field
	mask, xor []byte
	data      []byte // constant
	text      string // of a map or another computed value
}

func (d *ruleDecoder) say(text string) { d.parts = append(d.parts, rulePart{text: text}) }

// text joins what was said.
func (d *ruleDecoder) text() string {
	var b strings.Builder
	for _, p := range d.parts {
		if p.text == "" {
			continue
		}
		if b.Len()+len(p.text) > maxRuleText {
			b.WriteString(" ...")
			break
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// needs drops the dependency that a field of the header implies.
func (d *ruleDecoder) needs(header string) {
	for i := range d.parts {
		if d.parts[i].implied == header && header != "" {
			d.parts[i].text = ""
		}
	}
}

// dataValue returns the bytes of a nested NFTA_DATA_VALUE.
func dataValue(b []byte) []byte { return netlink.Attrs(b)[nftaDataValue] }

// slot converts a register number to a 32-bit slot: 1 to 4 are of 16 bytes,
// from 8 on of 4 (enum nft_registers).
func slot(b []byte) int {
	n := int(netlink.Uint32(b))
	switch {
	case n >= 1 && n <= 4:
		return (n - 1) * 4
	case n >= 8 && n < 8+16:
		return n - 8
	}
	return 19 // a spare one, for the verdict and for nonsense
}

// expressions are the decoders by name of the expression.
var expressions map[string]func(*ruleDecoder, []byte)

func init() {
	expressions = map[string]func(*ruleDecoder, []byte){
		"meta": (*ruleDecoder).meta, "payload": (*ruleDecoder).payload, "cmp": (*ruleDecoder).compare,
		"bitwise": (*ruleDecoder).bitwise, "range": (*ruleDecoder).ranges, "immediate": (*ruleDecoder).immediate,
		"lookup": (*ruleDecoder).lookup, "ct": (*ruleDecoder).conntrack, "counter": (*ruleDecoder).counter,
		"limit": (*ruleDecoder).limit, "reject": (*ruleDecoder).reject, "nat": (*ruleDecoder).nat,
		"masq": (*ruleDecoder).masquerade, "redir": (*ruleDecoder).redirect, "log": (*ruleDecoder).log,
		"match": (*ruleDecoder).xtMatch, "target": (*ruleDecoder).xtTarget, "fib": (*ruleDecoder).fib,
		"connlimit": (*ruleDecoder).connlimit, "queue": (*ruleDecoder).queue, "byteorder": (*ruleDecoder).byteorder,
		"notrack": func(d *ruleDecoder, _ []byte) { d.say("notrack") },
	}
}

// expression decodes one expression; unknown ones show their name.
func (d *ruleDecoder) expression(b []byte) {
	a := netlink.Attrs(b)
	name := cstring(a[nftaExprName])
	if f, ok := expressions[name]; ok {
		f(d, a[nftaExprData])
		return
	}
	switch name {
	case "tproxy", "synproxy", "dup", "fwd", "flow_offload":
		d.rule.Verdict = Other
	}
	d.say(name)
}

func (d *ruleDecoder) meta(b []byte) {
	const dreg, key, sreg = 1, 2, 3
	a := netlink.Attrs(b)
	f, ok := metaFields[netlink.Uint32(a[key])]
	if !ok {
		f = field{name: fmt.Sprintf("meta key-%d", netlink.Uint32(a[key]))}
	}
	if a[sreg] != nil {
		d.say(f.name + " set " + d.value(slot(a[sreg]), f.kind))
		return
	}
	d.regs[slot(a[dreg])] = operand{fields: []field{f}}
}

func (d *ruleDecoder) conntrack(b []byte) {
	const dreg, key, direction, sreg = 1, 2, 3, 4
	a := netlink.Attrs(b)
	f, ok := ctFields[netlink.Uint32(a[key])]
	if !ok {
		f = field{name: fmt.Sprintf("ct key-%d", netlink.Uint32(a[key]))}
	}
	if len(a[direction]) > 0 {
		f.name = "ct " + valueNames[kindCTDir][uint64(a[direction][0])] + strings.TrimPrefix(f.name, "ct")
	}
	if a[sreg] != nil {
		d.say(f.name + " set " + d.value(slot(a[sreg]), f.kind))
		return
	}
	d.regs[slot(a[dreg])] = operand{fields: []field{f}}
}

// payload loads bytes of the packet; they may span several fields, or the
// start of one (nft shortens prefixes of whole bytes).
func (d *ruleDecoder) payload(b []byte) {
	const dreg, base, offset, length, sreg = 1, 2, 3, 4, 5
	a := netlink.Attrs(b)
	header := d.header(netlink.Uint32(a[base]))
	off, n := int(netlink.Uint32(a[offset])), int(netlink.Uint32(a[length]))
	fields := fieldsAt(headers[header], off, n)
	if fields == nil {
		raw := []string{"ll", "nh", "th", "ih"}[netlink.Uint32(a[base])&3]
		fields = []field{{name: fmt.Sprintf("@%s,%d,%d", raw, off*8, n*8), size: n}}
	} else {
		d.needs(header)
		d.needs(map[string]string{"icmp": "ip", "icmpv6": "ip6"}[header])
	}
	if a[sreg] != nil {
		d.say(fields[0].name + " set " + d.value(slot(a[sreg]), fields[0].kind))
		return
	}
	d.regs[slot(a[dreg])] = operand{fields: fields}
}

// header names the header that payload base 0 to 2 means here.
func (d *ruleDecoder) header(base uint32) string {
	switch base {
	case 0:
		return "ether"
	case 1:
		switch {
		case d.family == familyIPv4:
			return "ip"
		case d.family == familyIPv6:
			return "ip6"
		}
		return d.l3
	case 2:
		if headers[d.l4] != nil {
			return d.l4
		}
		return "th"
	}
	return ""
}

// fieldsAt returns the fields that cover n bytes from off, the last perhaps
// only partly; nil when none start there.
func fieldsAt(hdr []field, off, n int) (out []field) {
	for n > 0 && n <= 64 {
		i := slices.IndexFunc(hdr, func(f field) bool { return f.off == off })
		if i < 0 {
			return nil
		}
		f := hdr[i]
		if f.size > n && f.kind != kindAddr {
			return nil
		}
		out = append(out, f)
		off, n = off+f.size, n-f.size
	}
	return out
}

func (d *ruleDecoder) bitwise(b []byte) {
	const sreg, dreg, mask, xor, op = 1, 2, 4, 5, 6
	a := netlink.Attrs(b)
	o := d.regs[slot(a[sreg])]
	if netlink.Uint32(a[op]) != 0 {
		o = operand{text: "(" + d.value(slot(a[sreg]), kindRaw) + " shifted)"}
	} else {
		o.mask, o.xor = bytes.Clone(dataValue(a[mask])), bytes.Clone(dataValue(a[xor]))
	}
	d.regs[slot(a[dreg])] = o
}

func (d *ruleDecoder) byteorder(b []byte) {
	a := netlink.Attrs(b)
	d.regs[slot(a[2])] = d.regs[slot(a[1])]
}

// compareOps are enum nft_cmp_ops as written between field and value.
var compareOps = []string{"", "!= ", "< ", "<= ", "> ", ">= "}

func (d *ruleDecoder) compare(b []byte) {
	const sreg, op, data = 1, 2, 3
	a := netlink.Attrs(b)
	value, n := dataValue(a[data]), netlink.Uint32(a[op])
	if int(n) >= len(compareOps) {
		return
	}
	o := d.regs[slot(a[sreg])]
	if len(o.fields) == 0 {
		d.say(cmp.Or(o.text, "value") + " " + compareOps[n] + "0x" + hex.EncodeToString(value))
		return
	}
	if o.mask != nil {
		d.compareMasked(o, n, value)
		return
	}
	for _, f := range o.fields {
		part := value[:min(len(value), max(f.size, 0))]
		if f.size == 0 {
			part = value
		}
		value = value[len(part):]
		d.compareField(f, n, part)
	}
}

// compareField writes one comparison and learns from it.
func (d *ruleDecoder) compareField(f field, op uint32, v []byte) {
	text := f.kind.format(v)
	if f.kind == kindAddr && f.size > len(v) { // a prefix of whole bytes
		full := append(bytes.Clone(v), make([]byte, f.size-len(v))...)
		text = f.kind.format(full) + "/" + strconv.Itoa(len(v)*8)
		d.learn(match{field: f.name, op: op, prefix: addrPrefix(full, len(v)*8)})
	} else {
		d.learn(newMatch(f, op, v))
	}
	p := rulePart{text: f.name + " " + compareOps[op] + text}
	if d.closeRange(f, op, text) {
		return
	}
	if op == 0 {
		p.implied = d.establish(f, text)
	}
	d.parts = append(d.parts, p)
}

// closeRange joins "f >= a" and "f <= b" to "f a-b", as nft does.
func (d *ruleDecoder) closeRange(f field, op uint32, text string) bool {
	const lessOrEqual = 3
	if op != lessOrEqual || len(d.parts) == 0 {
		return false
	}
	last := &d.parts[len(d.parts)-1]
	low, ok := strings.CutPrefix(last.text, f.name+" >= ")
	if ok {
		last.text = f.name + " " + low + "-" + text
	}
	return ok
}

// establish notes which headers a match proves to be there, and returns the
// header whose fields imply it.
func (d *ruleDecoder) establish(f field, value string) string {
	switch f.name {
	case "meta l4proto", "ip protocol", "ip6 nexthdr":
		if value == "ipv6-icmp" {
			value = "icmpv6"
		}
		d.l4 = value
		return value
	case "meta nfproto":
		d.l3 = map[string]string{"ipv4": "ip", "ipv6": "ip6"}[value]
		return d.l3
	case "meta protocol", "ether type":
		d.l3 = value
		return value
	}
	return ""
}

// compareMasked writes a comparison of some bits.
func (d *ruleDecoder) compareMasked(o operand, op uint32, v []byte) {
	f := o.fields[0]
	ones, isPrefix := prefixLen(o.mask)
	switch zero := bytes.Count(v, []byte{0}) == len(v); {
	case flagNames[f.kind] != nil && op == 1 && zero:
		d.say(f.name + " " + f.kind.format(o.mask))
	case flagNames[f.kind] != nil && op == 0 && zero:
		d.say(f.name + " ! " + f.kind.format(o.mask))
	case f.kind == kindFlags && op <= 1:
		d.say(f.name + " " + compareOps[op] + f.kind.format(v) + " / " + f.kind.format(o.mask))
	case f.kind == kindAddr && isPrefix && len(o.fields) == 1 && len(v) <= f.size:
		v = append(bytes.Clone(v), make([]byte, f.size-len(v))...)
		d.learn(match{field: f.name, op: op, prefix: addrPrefix(v, ones)})
		d.say(f.name + " " + compareOps[op] + f.kind.format(v) + "/" + strconv.Itoa(ones))
	default:
		d.say(f.name + " & " + f.kind.format(o.mask) + " " + cmp.Or(compareOps[op], "== ") + f.kind.format(v))
	}
}

func (d *ruleDecoder) ranges(b []byte) {
	const sreg, op, from, to = 1, 2, 3, 4
	a := netlink.Attrs(b)
	o := d.regs[slot(a[sreg])]
	lo, hi := dataValue(a[from]), dataValue(a[to])
	if len(o.fields) == 0 || netlink.Uint32(a[op]) > 1 {
		return
	}
	f := o.fields[0]
	d.learn(match{field: f.name, op: netlink.Uint32(a[op]), ranges: [][2][]byte{{bytes.Clone(lo), bytes.Clone(hi)}}})
	d.say(f.name + " " + compareOps[netlink.Uint32(a[op])] + f.kind.format(lo) + "-" + f.kind.format(hi))
}

// immediate loads a constant, or is the verdict.
func (d *ruleDecoder) immediate(b []byte) {
	const dreg, data = 1, 2
	a := netlink.Attrs(b)
	if netlink.Uint32(a[dreg]) != 0 {
		d.regs[slot(a[dreg])] = operand{data: bytes.Clone(dataValue(a[data]))}
		return
	}
	v, target := parseVerdict(netlink.Attrs(a[data])[nftaDataVerdict])
	d.rule.Verdict, d.rule.Target = v, target
	d.say(strings.TrimSpace(string(v) + " " + target))
}

// parseVerdict decodes NFTA_DATA_VERDICT.
func parseVerdict(b []byte) (v Verdict, target string) {
	a := netlink.Attrs(b)
	verdicts := map[int32]Verdict{0: Drop, 1: Accept, 3: Queue, -1: "continue", -2: "break", -3: Jump, -4: Goto, -5: Return}
	code := int32(netlink.Uint32(a[nftaVerdictCode]))
	v, ok := verdicts[code]
	if !ok {
		v = verdicts[code&0xff] // errno or queue number above
	}
	return v, cstring(a[nftaVerdictChain])
}

// value writes what a slot holds.
func (d *ruleDecoder) value(i int, kind valueKind) string {
	o := d.regs[i]
	switch {
	case o.data != nil:
		return kind.format(o.data)
	case o.text != "":
		return o.text
	case len(o.fields) > 0:
		return o.fields[0].name
	}
	return "?"
}

func (d *ruleDecoder) counter(b []byte) {
	packets, bytes, ok := parseCounter(b)
	if d.rule.Counted {
		return // a second counter of the same rule
	}
	d.rule.Packets, d.rule.Bytes, d.rule.Counted = packets, bytes, ok
	d.say(counterText(packets, bytes))
}

func (d *ruleDecoder) limit(b []byte) {
	const rate, unit, burst, typ, flags = 1, 2, 3, 4, 5
	a := netlink.Attrs(b)
	units := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
	over, what := "", " packets"
	if netlink.Uint32(a[flags])&1 != 0 {
		over = "over "
	}
	n, u := netlink.Uint64(a[rate]), units[netlink.Uint64(a[unit])]
	text := fmt.Sprintf("limit rate %s%d/%s", over, n, u)
	if netlink.Uint32(a[typ]) == 1 {
		text, what = fmt.Sprintf("limit rate %s%d bytes/%s", over, n, u), " bytes"
	}
	if burst := netlink.Uint32(a[burst]); burst > 0 {
		text += fmt.Sprintf(" burst %d%s", burst, what)
	}
	d.say(text)
}

// Codes of reject, as nft names them.
var (
	icmpCodes  = map[byte]string{0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}
	icmp6Codes = map[byte]string{0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route"}
	icmpxCodes = map[byte]string{0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
)

func (d *ruleDecoder) reject(b []byte) {
	const typ, code = 1, 2
	a := netlink.Attrs(b)
	var c byte
	if len(a[code]) > 0 {
		c = a[code][0]
	}
	d.rule.Verdict = RejectICMP
	switch netlink.Uint32(a[typ]) {
	case 1:
		d.rule.Verdict = RejectReset
		d.needs("tcp")
		d.say("reject with tcp reset")
	case 2:
		d.say(rejectText("icmpx", icmpxCodes, c, 1))
	default:
		if d.family == familyIPv6 || d.l3 == "ip6" {
			d.say(rejectText("icmpv6", icmp6Codes, c, 4))
			return
		}
		d.say(rejectText("icmp", icmpCodes, c, 3))
	}
}

// rejectText leaves the usual code out, as nft does.
func rejectText(proto string, codes map[byte]string, code, usual byte) string {
	if code == usual {
		return "reject"
	}
	name, ok := codes[code]
	if !ok {
		name = strconv.Itoa(int(code))
	}
	return "reject with " + proto + " " + name
}

func (d *ruleDecoder) nat(b []byte) {
	const typ, family, addrMin, addrMax, protoMin, protoMax = 1, 2, 3, 4, 5, 6
	a := netlink.Attrs(b)
	d.rule.Verdict = SNAT
	if netlink.Uint32(a[typ]) == 1 {
		d.rule.Verdict = DNAT
	}
	to := d.translated(a[addrMin], a[addrMax], kindAddr)
	if ports := d.translated(a[protoMin], a[protoMax], kindBE); ports != "" {
		if strings.Contains(to, ":") {
			to = "[" + to + "]"
		}
		to += ":" + ports
	}
	name := string(d.rule.Verdict)
	if d.family == familyInet {
		name += map[uint32]string{familyIPv4: " ip", familyIPv6: " ip6"}[netlink.Uint32(a[family])]
	}
	if to != "" {
		name += " to " + to
	}
	d.say(name)
}

// translated writes the range of addresses or ports of a NAT expression.
func (d *ruleDecoder) translated(lo, hi []byte, kind valueKind) string {
	if lo == nil {
		return ""
	}
	read := func(reg []byte) string {
		i := slot(reg)
		if kind == kindBE && len(d.regs[i].data) > 2 {
			d.regs[i].data = d.regs[i].data[:2]
		}
		return d.value(i, kind)
	}
	from := read(lo)
	if hi == nil {
		return from
	}
	if to := read(hi); to != from {
		return from + "-" + to
	}
	return from
}

func (d *ruleDecoder) masquerade(b []byte) {
	d.rule.Verdict = Masquerade
	a := netlink.Attrs(b)
	if ports := d.translated(a[2], a[3], kindBE); ports != "" {
		d.say("masquerade to :" + ports)
		return
	}
	d.say("masquerade")
}

func (d *ruleDecoder) redirect(b []byte) {
	d.rule.Verdict = Redirect
	a := netlink.Attrs(b)
	if ports := d.translated(a[1], a[2], kindBE); ports != "" {
		d.say("redirect to :" + ports)
		return
	}
	d.say("redirect")
}

func (d *ruleDecoder) log(b []byte) {
	a := netlink.Attrs(b)
	if prefix := cstring(a[2]); prefix != "" {
		d.say("log prefix " + strconv.Quote(prefix))
		return
	}
	d.say("log")
}

func (d *ruleDecoder) queue(b []byte) {
	d.rule.Verdict = Queue
	d.say("queue to " + strconv.Itoa(int(netlink.Uint16(netlink.Attrs(b)[1]))))
}

func (d *ruleDecoder) connlimit(b []byte) {
	a := netlink.Attrs(b)
	over := ""
	if netlink.Uint32(a[2])&1 != 0 {
		over = "over "
	}
	d.say(fmt.Sprintf("ct count %s%d", over, netlink.Uint32(a[1])))
}

func (d *ruleDecoder) fib(b []byte) {
	const dreg, res, flags = 1, 2, 3
	a := netlink.Attrs(b)
	names := []flagName{{1, "saddr"}, {2, "daddr"}, {4, "mark"}, {8, "iif"}, {16, "oif"}}
	f := field{name: "fib " + strings.ReplaceAll(formatFlags(names, uint64(netlink.Uint32(a[flags]))&31), ",", " . ")}
	switch netlink.Uint32(a[res]) {
	case 1:
		f.name, f.kind = f.name+" oif", kindHost
	case 2:
		f.name, f.kind = f.name+" oifname", kindString
	case 3:
		f.name, f.kind = f.name+" type", kindAddrType
	}
	d.regs[slot(a[dreg])] = operand{fields: []field{f}}
}

// addrPrefix makes a prefix of an address in bytes.
func addrPrefix(b []byte, bits int) netip.Prefix {
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, bits)
}
