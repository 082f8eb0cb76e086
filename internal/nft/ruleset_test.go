package nft

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// seedRules reads rules as a little-endian kernel sent them: length, message.
func seedRules(t testing.TB) (out [][]byte) {
	t.Helper()
	b, err := os.ReadFile("testdata/rules")
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 2 {
		n := int(binary.LittleEndian.Uint16(b))
		out, b = append(out, b[2:2+n]), b[2+n:]
	}
	return out
}

func TestParseRuleOfKernel(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixtures are of a little-endian kernel")
	}
	var all []string
	for _, b := range seedRules(t) {
		r, _, ok := parseRule(b, nil)
		if !ok {
			t.Errorf("cannot parse %x", b)
		}
		all = append(all, r.Text)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"tcp dport 80 counter packets 0 bytes 0 reject with tcp reset", "ip saddr 10.0.0.0/8 tcp dport 25 drop",
		"ct state established,related accept", "tcp dport 8080 dnat to 10.0.0.5:80"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, b := range seedRules(f) {
		f.Add(b)
	}
	set := &nftSet{anonymous: true, complete: true, intervals: true, keyLen: 8, elements: []setElement{
		{key: []byte{0, 22, 0, 0}}, {key: []byte{0, 23}, end: true}, {}, {key: []byte{1}, verdict: Drop, isVerdict: true}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, ok := parseRule(b, func(chainKey) *nftSet { return set })
		if ok && !utf8.ValidString(r.Text) {
			t.Errorf("%q", r.Text)
		}
		r.Excludes(Packet{})
		parseLegacy(familyIPv4, "filter", iptInfo{valid: 31, size: uint32(len(b))}, b)
		parseLegacy(familyIPv6, "filter", iptInfo{valid: 31, size: uint32(len(b))}, b)
	})
}

func FuzzParseSet(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add([]byte{10, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		parseElements(b)
		parseSet(b)
		parseChain(b)
	})
}
