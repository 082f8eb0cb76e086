package packet

import (
	"bytes"
	"testing"
)

// fragmentsOf cuts a segment of 100 bytes of data into IPv4 fragments of 40.
func fragmentsOf() [][]byte {
	segment := tcpHeader(ACK, nil, bytes.Repeat([]byte("0123456789"), 10))
	checksum(segment, 16, v4Ends, []byte{0, protoTCP}, u16(len(segment)))
	return [][]byte{
		inIPv4Frag(protoTCP, moreFragments, segment[:40]),
		inIPv4Frag(protoTCP, moreFragments|5, segment[40:80]),
		inIPv4Frag(protoTCP, 10, segment[80:]),
	}
}

func decodeAll(d *Decoder, frames ...[]byte) (kinds []Kind, s Segment) {
	for _, f := range frames {
		kinds = append(kinds, d.Decode(record(LinkRaw, f), f, &s))
	}
	return kinds, s
}

func TestFragments(t *testing.T) {
	f := fragmentsOf()
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		d := Decoder{Verify: true}
		kinds, s := decodeAll(&d, f[order[0]], f[order[1]], f[order[2]])
		if !bytes.Equal(kindBytes(kinds), []byte{byte(Held), byte(Held), byte(TCP)}) {
			t.Errorf("%v: kinds %v", order, kinds)
		}
		if s.Length != 100 || string(s.Payload[90:]) != "0123456789" || s.Layers != LayerFragments || s.TCPSum != SumGood {
			t.Errorf("%v: %+v", order, s)
		}
		if d.Fragments != (FragmentCounts{Fragments: 3, Complete: 1}) || len(d.table.open) != 0 {
			t.Errorf("%v: %+v", order, d.Fragments)
		}
	}
}

func kindBytes(kinds []Kind) (b []byte) {
	for _, k := range kinds {
		b = append(b, byte(k))
	}
	return b
}

func TestFragmentsDuplicate(t *testing.T) {
	f := fragmentsOf()
	var d Decoder
	kinds, s := decodeAll(&d, f[0], f[0], f[2], f[2], f[1])
	if kinds[4] != TCP || s.Length != 100 || d.Fragments.Duplicate != 2 {
		t.Errorf("%v %+v", kinds, d.Fragments)
	}
}

func TestFragmentsContradict(t *testing.T) {
	f := fragmentsOf()
	for name, bad := range map[string][]byte{
		"overlap":          inIPv4Frag(protoTCP, moreFragments|3, make([]byte, 24)),
		"another end":      inIPv4Frag(protoTCP, 12, make([]byte, 20)),
		"beyond the end":   inIPv4Frag(protoTCP, moreFragments|16, make([]byte, 16)),
		"end before a gap": inIPv4Frag(protoTCP, 2, make([]byte, 4)),
	} {
		var d Decoder
		kinds, _ := decodeAll(&d, f[0], f[2], bad)
		if kinds[2] != Held || d.Fragments.Overlap != 1 || len(d.table.open) != 0 {
			t.Errorf("%s: %v %+v", name, kinds, d.Fragments)
		}
	}
	for name, bad := range map[string][]byte{
		"not a multiple of 8": inIPv4Frag(protoTCP, moreFragments, make([]byte, 20)),
		"beyond 64 KiB":       inIPv4Frag(protoTCP, 0x1fff, make([]byte, 20)),
		"empty":               inIPv4Frag(protoTCP, moreFragments, nil),
	} {
		var d Decoder
		if kinds, _ := decodeAll(&d, bad); kinds[0] != Malformed {
			t.Errorf("%s: %v", name, kinds)
		}
	}
}

func TestFragmentsLimits(t *testing.T) {
	f := fragmentsOf()
	var d Decoder
	var s Segment
	for i := range 3 * maxDatagrams {
		b := bytes.Clone(f[0])
		copy(b[4:], u16(i))
		d.Decode(record(LinkRaw, b), b, &s)
	}
	if len(d.table.open) != maxDatagrams || d.Fragments.Evicted != 2*maxDatagrams || len(d.table.free) > maxDatagrams {
		t.Errorf("%d open, %+v", len(d.table.open), d.Fragments)
	}
	late := record(LinkRaw, f[0])
	late.Time += fragmentTimeout + 1
	d.Decode(late, f[0], &s)
	if d.Fragments.TimedOut != maxDatagrams || len(d.table.open) != 1 {
		t.Errorf("%d open, %+v", len(d.table.open), d.Fragments)
	}
	many := Decoder{}
	for i := range maxSpans + 1 {
		b := inIPv4Frag(protoTCP, moreFragments|2*i, make([]byte, 8))
		many.Decode(record(LinkRaw, b), b, &s)
	}
	if many.Fragments.Overlap != 1 {
		t.Errorf("more than %d holes: %+v", maxSpans, many.Fragments)
	}
}

// TestFragmentsCut: what the capture has cut cannot be put together, but its
// first fragment has the header.
func TestFragmentsCut(t *testing.T) {
	f := fragmentsOf()
	var d Decoder
	var s Segment
	if kind := d.Decode(record(LinkRaw, f[0]), f[0][:50], &s); kind != TCP || s.Length != 20 || len(s.Payload) != 10 {
		t.Errorf("kind %d: %d of %d", kind, len(s.Payload), s.Length)
	}
	if kind := d.Decode(record(LinkRaw, f[1]), f[1][:50], &s); kind != Held || d.Fragments.Incomplete != 2 {
		t.Errorf("kind %d: %+v", kind, d.Fragments)
	}
}

func TestFragmentsIPv6(t *testing.T) {
	segment := testTCP()
	checksum(segment, 16, v6Ends, []byte{0, protoTCP}, u16(len(segment)))
	a := inIPv6(44, cat([]byte{6, 0, 0, 1, 0, 0, 0, 9}, segment[:24]))
	b := inIPv6(44, cat([]byte{6, 0, 0, 24, 0, 0, 0, 9}, segment[24:]))
	d := Decoder{Verify: true}
	kinds, s := decodeAll(&d, b, a)
	if kinds[0] != Held || kinds[1] != TCP || s.TCPSum != SumGood || !bytes.Equal(s.Payload, testPayload) || s.Layers != LayerFragments|LayerIPv6Ext {
		t.Errorf("%v %+v", kinds, s)
	}
}

// TestFragmentsNested: fragments within a tunnel whose packets are fragments too.
func TestFragmentsNested(t *testing.T) {
	inner := fragmentsOf()
	var d Decoder
	var s Segment
	var last Kind
	for id, f := range inner {
		whole := cat([]byte{0, 0, 8, 0}, f)
		for _, outer := range [][]byte{inIPv4Frag(protoGRE, moreFragments, whole[:32]), inIPv4Frag(protoGRE, 4, whole[32:])} {
			copy(outer[4:], u16(1000+id))
			last = d.Decode(record(LinkRaw, outer), outer, &s)
		}
	}
	if last != TCP || s.Length != 100 || string(s.Payload[90:]) != "0123456789" || s.Layers != LayerFragments|LayerGRE {
		t.Errorf("kind %d: %+v", last, s)
	}
}
