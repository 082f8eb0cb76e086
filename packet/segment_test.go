package packet

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decodeOptions returns a SYN with options.
func decodeOptions(t *testing.T, options []byte) Segment {
	t.Helper()
	data := inIPv4(protoTCP, tcpHeader(SYN, options, nil))
	var d Decoder
	s := Segment{SACKs: 4, SACK: [4][2]uint32{{1, 1}, {1, 1}, {1, 1}, {1, 1}}, MSS: 1, Scale: 1, Options: OptOther, MPTCPReason: 1}
	if kind := d.Decode(record(LinkRaw, data), data, &s); kind != TCP {
		t.Fatalf("kind %d", kind)
	}
	return s
}

func TestOptions(t *testing.T) {
	type want struct {
		Options        OptionSet
		Scale, SACKs   uint8
		Subtype, Cause uint8
		MSS            uint16
		TSVal, TSEcr   uint32
		SACK           [4][2]uint32
	}
	for _, c := range []struct {
		name    string
		options []byte
		want    want
	}{
		{"none", nil, want{}},
		{"usual of a SYN", tcpOptions, want{Options: OptMSS | OptSACKOK | OptTimestamp | OptScale, MSS: 1460, TSVal: 9, TSEcr: 8, Scale: 7}},
		{"timestamp only", []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, want{Options: OptTimestamp, TSVal: 1, TSEcr: 2}},
		{"timestamp last", []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1}, want{Options: OptTimestamp, TSVal: 1, TSEcr: 2}},
		{"sack", []byte{1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4}, want{Options: OptSACK, SACKs: 2, SACK: [4][2]uint32{{1, 2}, {3, 4}}}},
		{"sack with nothing", []byte{5, 2, 0, 0}, want{Options: OptOther}},
		{"md5", slices.Concat([]byte{19, 18}, zeros(18)), want{Options: OptMD5}},
		{"ao", []byte{29, 4, 0, 0}, want{Options: OptAO}},
		{"fast open", []byte{34, 2, 0, 0}, want{Options: OptFastOpen}},
		{"fast open on trial", []byte{254, 4, 0xf9, 0x89}, want{Options: OptFastOpen}},
		{"another trial", []byte{254, 4, 1, 2}, want{Options: OptOther}},
		{"mptcp capable", []byte{30, 4, 0x01, 0}, want{Options: OptMPTCP}},
		{"mptcp reset", []byte{30, 4, 0x81, 3}, want{Options: OptMPTCP, Subtype: 8, Cause: 3}},
		{"mptcp reset among others", []byte{30, 4, 0x81, 3, 30, 4, 0x20, 9}, want{Options: OptMPTCP, Subtype: 8, Cause: 3}},
		{"mptcp close before reset", []byte{30, 4, 0x70, 0, 30, 4, 0x80, 1}, want{Options: OptMPTCP, Subtype: 8, Cause: 1}},
		{"after the end", []byte{0, 2, 4, 5}, want{}},
		{"length 0", []byte{2, 0, 1, 1}, want{Options: OptBroken}},
		{"length 1", []byte{3, 1, 1, 1}, want{Options: OptBroken}},
		{"beyond the header", []byte{1, 1, 8, 10}, want{Options: OptBroken}},
		{"no length", []byte{1, 1, 1, 8}, want{Options: OptBroken}},
		{"mss of another length", []byte{2, 3, 1, 1}, want{Options: OptOther}},
	} {
		s := decodeOptions(t, c.options)
		got := want{s.Options, s.Scale, s.SACKs, s.MPTCPSubtype, s.MPTCPReason, s.MSS, s.TSVal, s.TSEcr, s.SACK}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if int(s.HeaderSize) != 20+len(c.options) {
			t.Errorf("%s: header of %d", c.name, s.HeaderSize)
		}
	}
}

func TestOptionHash(t *testing.T) {
	a := decodeOptions(t, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	b := decodeOptions(t, []byte{1, 1, 8, 10, 9, 9, 9, 9, 9, 9, 9, 9})
	c := decodeOptions(t, []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1})
	d := decodeOptions(t, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 1, 1})
	if a.OptionHash != b.OptionHash || a.OptionHash == c.OptionHash || a.OptionHash == d.OptionHash || a.OptionHash == 0 {
		t.Errorf("%x %x %x %x", a.OptionHash, b.OptionHash, c.OptionHash, d.OptionHash)
	}
	if none := decodeOptions(t, nil); none.OptionHash != 0 {
		t.Errorf("%x without options", none.OptionHash)
	}
}

func TestChecksums(t *testing.T) {
	d := Decoder{Verify: true}
	var s Segment
	check := func(name string, data []byte, ip, tcp Sum) {
		t.Helper()
		if kind := d.Decode(record(LinkRaw, data), data, &s); kind != TCP || s.IPSum != ip || s.TCPSum != tcp {
			t.Errorf("%s: kind %d, checksums %d and %d, want %d and %d", name, kind, s.IPSum, s.TCPSum, ip, tcp)
		}
	}
	good := inIPv4(protoTCP, testTCP())
	check("good", good, SumGood, SumGood)
	for _, n := range []int{0, 1, 2, 3, 7, 8, 31, 32, 33, 1000, 1459} {
		check("good at any length", inIPv4(protoTCP, tcpHeader(ACK, nil, bytes.Repeat([]byte{0xfe}, n))), SumGood, SumGood)
	}
	bad := slices.Clone(good)
	bad[len(bad)-1] ^= 1
	check("one bit of data", bad, SumGood, SumBad)
	bad = slices.Clone(good)
	bad[8]--
	check("TTL without a new checksum", bad, SumBad, SumGood)
	none := slices.Clone(good)
	none[10], none[11] = 0, 0
	check("IP left to the card", none, SumPartial, SumGood)
	partial := slices.Clone(good)
	pseudo := sum(sum(protoTCP, v4Ends), u16(len(good)-20))
	copy(partial[36:], u16(int(fold(pseudo))))
	check("partial", partial, SumGood, SumPartial)
	copy(partial[36:], u16(int(fold(sum(protoTCP, v4Ends)))))
	check("partial without length", partial, SumGood, SumPartial)
	d.Verify = false
	check("not asked", bad, SumUnknown, SumUnknown)
}

// TestFlowHash: the hash does not depend on the direction and does on the ports.
func TestFlowHash(t *testing.T) {
	a := Segment{Src: Addr{10: 0xff, 11: 0xff, 12: 1}, Dst: Addr{10: 0xff, 11: 0xff, 12: 2}, SrcPort: 1, DstPort: 2}
	for _, v6 := range []bool{false, true} {
		a.V6 = v6
		b := a
		b.Src, b.Dst, b.SrcPort, b.DstPort = a.Dst, a.Src, a.DstPort, a.SrcPort
		c := a
		c.SrcPort = 3
		e := a // the ports change places, the addresses do not: another connection
		e.SrcPort, e.DstPort = a.DstPort, a.SrcPort
		if a.FlowHash() != b.FlowHash() || a.FlowHash() == c.FlowHash() || a.FlowHash() == e.FlowHash() {
			t.Errorf("v6 %v: %x %x %x %x", v6, a.FlowHash(), b.FlowHash(), c.FlowHash(), e.FlowHash())
		}
	}
	seen := map[uint64]bool{}
	low := map[uint64]int{}
	for port := range uint16(10_000) {
		s := Segment{Src: a.Src, Dst: a.Dst, SrcPort: 40000 + port, DstPort: 443}
		h := s.FlowHash()
		seen[h] = true
		low[h&7]++
	}
	if len(seen) != 10_000 {
		t.Errorf("%d hashes of 10000 connections", len(seen))
	}
	for k, n := range low {
		if n < 1000 || n > 1500 {
			t.Errorf("worker %d of 8 gets %d of 10000 connections", k, n)
		}
	}
}

func TestFlowHashNotSimple(t *testing.T) {
	var d Decoder
	for name, data := range map[string][]byte{
		"fragment": inEthernet(etherIPv4, inIPv4Frag(protoTCP, moreFragments, testTCP())),
		"udp":      overUDPv4(53, zeros(40)),
		"tunnel":   inGRE([]byte{0, 0, 8, 0}, inIPv4(protoTCP, testTCP())),
		"arp":      inEthernet(0x0806, zeros(46)),
		"short":    inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))[:37],
		"nothing":  nil,
	} {
		if _, ok := d.FlowHash(record(LinkEthernet, data), data); ok {
			t.Errorf("%s has a hash", name)
		}
	}
}

func TestLengths(t *testing.T) {
	var d Decoder
	var s Segment
	big := inIPv4(protoTCP, tcpHeader(ACK, nil, make([]byte, 20_000)))
	if d.Decode(record(LinkRaw, big), big, &s); s.Length != 20_000 || s.Layers != LayerSuper {
		t.Errorf("super-frame: %d, layers %x", s.Length, s.Layers)
	}
	zero := slices.Clone(big)
	zero[2], zero[3] = 0, 0
	if d.Decode(record(LinkRaw, zero), zero, &s); s.Length != 20_000 || s.Layers != LayerSuper|LayerZeroLength {
		t.Errorf("length 0: %d, layers %x", s.Length, s.Layers)
	}
	cut := record(LinkRaw, zero)
	if d.Decode(cut, zero[:100], &s); s.Length != 20_000 || len(s.Payload) != 60 {
		t.Errorf("length 0, cut: %d of %d", len(s.Payload), s.Length)
	}
	six := inIPv6(protoTCP, tcpHeader(ACK, nil, make([]byte, 9000)))
	six[4], six[5] = 0, 0
	if d.Decode(record(LinkRaw, six), six, &s); s.Length != 9000 || s.Layers != LayerZeroLength {
		t.Errorf("IPv6 length 0: %d, layers %x", s.Length, s.Layers)
	}
	for name, change := range map[string]func(b []byte){
		"header beyond the packet": func(b []byte) { b[20+12] = 0xf0 },
		"header below 20":          func(b []byte) { b[20+12] = 0x40 },
		"total below the header":   func(b []byte) { b[2], b[3] = 0, 19 },
		"IP header below 20":       func(b []byte) { b[0] = 0x44 },
	} {
		b := inIPv4(protoTCP, tcpHeader(ACK, nil, nil))
		change(b)
		if kind := d.Decode(record(LinkRaw, b), b, &s); kind != Malformed {
			t.Errorf("%s: kind %d", name, kind)
		}
	}
}

// TestSnapLength: 16 bytes of a TCP header are enough to know the flags.
func TestSnapLength(t *testing.T) {
	data := inEthernet(etherIPv4, inIPv4(protoTCP, tcpHeader(RST|ACK, tcpOptions, testPayload)))
	var d Decoder
	for n := range len(data) {
		var s Segment
		kind := d.Decode(record(LinkEthernet, data), data[:n], &s)
		switch {
		case n < 14+20+16 && kind != Truncated:
			t.Errorf("%d bytes: kind %d", n, kind)
		case n >= 14+20+16 && (kind != TCP || s.Flags != RST|ACK || s.Length != len(testPayload)):
			t.Errorf("%d bytes: kind %d, %+v", n, kind, s)
		case n < 14+20+40 && s.OptionHash != 0:
			t.Errorf("%d bytes: hash of options that are not all there", n)
		case s.Options&OptBroken != 0:
			t.Errorf("%d bytes: options are called broken", n)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	var s Segment
	for _, f := range sampleFrames {
		d := Decoder{Verify: true}
		rec := record(f.link, f.data)
		if n := testing.AllocsPerRun(100, func() {
			d.Decode(rec, f.data, &s)
			d.FlowHash(rec, f.data)
		}); n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}
