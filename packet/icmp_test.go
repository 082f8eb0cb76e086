package packet

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNotice(t *testing.T) {
	quoted4, quoted6 := inIPv4(protoTCP, testTCP()), inIPv6(protoTCP, testTCP())
	fill := func(n *ICMPError) {
		n.SrcPort, n.DstPort = 40000, 80
		n.Src, n.Dst = testAddr("192.0.2.1"), testAddr("198.51.100.2")
		if n.V6 {
			n.Src, n.Dst = testAddr("2001:db8::1"), testAddr("2001:db8::2")
		}
		n.From, n.TTL, n.Time, n.Frame = n.Src, 57, 1e18, 5
	}
	for _, c := range []struct {
		name string
		data []byte
		want ICMPError
	}{
		{"port unreachable, 8 bytes", inIPv4(protoICMP, cat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted4[:28])), ICMPError{Type: 3, Code: 3, Seq: 0x11223344, HasSeq: true}},
		{"4 bytes", inIPv4(protoICMP, cat([]byte{11, 0, 0, 0, 0, 0, 0, 0}, quoted4[:24])), ICMPError{Type: 11}},
		{"fragmentation needed", inIPv4(protoICMP, cat([]byte{3, 4, 0, 0, 0, 0, 5, 0x14}, quoted4)), ICMPError{Type: 3, Code: 4, MTU: 1300, Seq: 0x11223344, HasSeq: true}},
		{"too big", inIPv6(protoICMPv6, cat([]byte{2, 0, 0, 0, 0, 0, 5, 0}, quoted6)), ICMPError{V6: true, Type: 2, MTU: 1280, Seq: 0x11223344, HasSeq: true}},
		{"prohibited, extension headers", inIPv6(protoICMPv6, cat([]byte{1, 1, 0, 0, 0, 0, 0, 0}, extended(0, []byte{44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 1}, testTCP()))),
			ICMPError{V6: true, Type: 1, Code: 1, Seq: 0x11223344, HasSeq: true}},
	} {
		fill(&c.want)
		var d Decoder
		s := Segment{Frame: 5}
		if kind := d.Decode(record(LinkRaw, c.data), c.data, &s); kind != ICMP {
			t.Errorf("%s: kind %d", c.name, kind)
		}
		if diff := cmp.Diff(c.want, d.ICMPError); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	udp := inIPv4(protoUDP, inUDP(53, nil))
	for name, data := range map[string][]byte{
		"echo":             inIPv4(protoICMP, cat([]byte{8, 0, 0, 0, 0, 0, 0, 0}, quoted4)),
		"about UDP":        inIPv4(protoICMP, cat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, udp)),
		"later fragment":   inIPv4(protoICMP, cat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, inIPv4Frag(protoTCP, 3, testTCP()))),
		"too short":        inIPv4(protoICMP, cat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted4[:23])),
		"neighbour advert": inIPv6(protoICMPv6, cat([]byte{136, 0, 0, 0, 0, 0, 0, 0}, quoted6)),
	} {
		var d Decoder
		var s Segment
		if kind := d.Decode(record(LinkRaw, data), data, &s); kind != Other {
			t.Errorf("%s: kind %d", name, kind)
		}
	}
}

func testAddr(s string) Addr { return AddrFrom(netip.MustParseAddr(s)) }
