package nft

import (
	"bytes"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// maxSetText bounds how many elements of a set are written.
const maxSetText = 32

// nftSet is a set or map that rules look up.
type nftSet struct {
	key       chainKey // family, table and name
	anonymous bool
	constant  bool
	intervals bool
	keyLen    int
	dataLen   int
	elements  []setElement
	complete  bool // elements were read
}

// setElement is one element; with intervals, end marks the first value behind
// one.
type setElement struct {
	key, keyEnd []byte
	end         bool
	data        []byte
	verdict     Verdict
	target      string
	isVerdict   bool
}

// parseSet decodes NFT_MSG_NEWSET.
func parseSet(b []byte) (s nftSet, ok bool) {
	const table, name, flags, keyLen, dataLen = 1, 2, 3, 5, 7
	if len(b) < 4 {
		return s, false
	}
	a := netlink.Attrs(b[4:])
	s.key = chainKey{b[0], cstring(a[table]), cstring(a[name])}
	f := netlink.Uint32(a[flags])
	s.anonymous, s.constant, s.intervals = f&1 != 0, f&2 != 0, f&4 != 0
	s.keyLen, s.dataLen = int(netlink.Uint32(a[keyLen])), int(netlink.Uint32(a[dataLen]))
	return s, s.key.name != ""
}

// parseElements decodes NFT_MSG_NEWSETELEM.
func parseElements(b []byte) (out []setElement) {
	const elements, key, data, flags, keyEnd = 3, 1, 2, 3, 10
	if len(b) < 4 {
		return nil
	}
	for _, e := range netlink.Attributes(netlink.Attrs(b[4:])[elements]) {
		a := netlink.Attrs(e)
		el := setElement{key: bytes.Clone(dataValue(a[key])), keyEnd: bytes.Clone(dataValue(a[keyEnd])), end: netlink.Uint32(a[flags])&1 != 0}
		if v := netlink.Attrs(a[data]); v[nftaDataVerdict] != nil {
			el.verdict, el.target = parseVerdict(v[nftaDataVerdict])
			el.isVerdict = true
		} else {
			el.data = bytes.Clone(v[nftaDataValue])
		}
		out = append(out, el)
	}
	return out
}

// ranges turns elements into ranges with both ends included, in order.
func (s *nftSet) ranges() (out []setElement) {
	if !s.intervals || slices.ContainsFunc(s.elements, func(e setElement) bool { return e.keyEnd != nil }) {
		out = slices.DeleteFunc(slices.Clone(s.elements), func(e setElement) bool { return e.end })
	} else {
		out = pairIntervals(s.elements)
	}
	slices.SortStableFunc(out, func(a, b setElement) int { return bytes.Compare(a.key, b.key) })
	return out
}

// pairIntervals joins each start with the end that follows it.
func pairIntervals(elements []setElement) (out []setElement) {
	sorted := slices.Clone(elements)
	slices.SortStableFunc(sorted, func(a, b setElement) int {
		if c := bytes.Compare(a.key, b.key); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	for i, e := range sorted {
		if e.end {
			continue
		}
		e.keyEnd = bytes.Repeat([]byte{0xff}, len(e.key))
		if i+1 < len(sorted) && sorted[i+1].end {
			e.keyEnd = before(sorted[i+1].key)
		}
		out = append(out, e)
	}
	return out
}

// before subtracts one from a big-endian number.
func before(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return b
}

// lookup is a match against a set, a verdict map or a data map.
func (d *ruleDecoder) lookup(b []byte) {
	const set, sreg, dreg, flags = 1, 2, 3, 5
	a := netlink.Attrs(b)
	name := cstring(a[set])
	var s *nftSet
	if d.sets != nil {
		s = d.sets(chainKey{d.family, d.rule.Table, name})
	}
	fields := d.concatenated(slot(a[sreg]), s)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	left := strings.Join(names, " . ")
	body := "@" + name
	if s != nil && s.anonymous && s.complete {
		body = s.text(fields)
	}
	op := uint32(0)
	if netlink.Uint32(a[flags])&1 != 0 {
		op = 1
	}
	switch {
	case a[dreg] == nil:
		if len(fields) == 1 && s != nil && s.complete {
			d.learnSet(fields[0], op, s)
		}
		d.say(left + " " + compareOps[op] + body)
	case netlink.Uint32(a[dreg]) == 0:
		d.rule.Verdict = VerdictMap
		if s != nil {
			d.rule.mapKills = slices.ContainsFunc(s.elements, func(e setElement) bool { return e.isVerdict && !e.end && e.verdict == Drop })
		}
		d.say(left + " vmap " + body)
	default:
		d.regs[slot(a[dreg])] = operand{text: left + " map " + body}
	}
}

// concatenated returns the fields in the slots from i on that make up the key
// of a set.
func (d *ruleDecoder) concatenated(i int, s *nftSet) (out []field) {
	left := 4
	if s != nil {
		left = s.keyLen
	}
	for left > 0 && i < len(d.regs) && len(d.regs[i].fields) > 0 {
		f := d.regs[i].fields[0]
		out = append(out, f)
		n := f.size
		if n == 0 {
			n = metaSize(f)
		}
		slots := (n + 3) / 4
		left, i = left-slots*4, i+slots
	}
	if len(out) == 0 {
		return []field{{name: "?", size: left}}
	}
	return out
}

// metaSize is the width of fields that are not part of a header.
func metaSize(f field) int {
	switch f.kind {
	case kindString:
		return 16
	case kindEther:
		return 6
	}
	return 4
}

// text writes the elements between braces.
func (s *nftSet) text(fields []field) string {
	var b strings.Builder
	b.WriteString("{ ")
	for i, e := range s.ranges() {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == maxSetText {
			b.WriteString("...")
			break
		}
		b.WriteString(e.text(fields))
	}
	b.WriteString(" }")
	return b.String()
}

// text writes one element: key, range or concatenation, and what it maps to.
func (e *setElement) text(fields []field) string {
	var parts []string
	key, end := e.key, e.keyEnd
	for _, f := range fields {
		n := f.size
		if n == 0 {
			n = metaSize(f)
		}
		if len(fields) == 1 {
			n = len(key)
		}
		n = min(n, len(key))
		one := f.kind.format(key[:n])
		if len(end) >= n && !bytes.Equal(end[:n], key[:n]) {
			one = formatRange(f.kind, key[:n], end[:n])
		}
		parts = append(parts, one)
		pad := min((n+3)&^3, len(key))
		key, end = key[pad:], end[min(pad, len(end)):]
	}
	text := strings.Join(parts, " . ")
	switch {
	case e.isVerdict:
		text += " : " + strings.TrimSpace(string(e.verdict)+" "+e.target)
	case e.data != nil:
		kind := kindRaw
		if len(e.data) == 4 || len(e.data) == 16 {
			kind = kindAddr
		}
		text += " : " + kind.format(e.data)
	}
	return text
}

// formatRange writes a range, of addresses as a prefix where it is one.
func formatRange(kind valueKind, lo, hi []byte) string {
	if kind == kindAddr && len(lo) == len(hi) {
		mask := make([]byte, len(lo))
		for i := range lo {
			mask[i] = ^(lo[i] ^ hi[i])
		}
		if ones, ok := prefixLen(mask); ok && addrPrefix(lo, ones).Masked().Addr() == addrPrefix(lo, ones).Addr() {
			return addrPrefix(lo, ones).String()
		}
	}
	return kind.format(lo) + "-" + kind.format(hi)
}

// learnSet keeps membership in a set for Excludes.
func (d *ruleDecoder) learnSet(f field, op uint32, s *nftSet) {
	m := match{field: f.name, op: op, ranges: [][2][]byte{}}
	for _, e := range s.ranges() {
		end := e.keyEnd
		if end == nil {
			end = e.key
		}
		m.ranges = append(m.ranges, [2][]byte{e.key, end})
	}
	d.learn(m)
}
