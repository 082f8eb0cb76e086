package packet

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A small builder of frames: each function puts a header before its argument.

var testPayload = []byte("GET / HTTP/1.1\r\n\r\n")

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func u16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

func zeros(n int) []byte { return make([]byte, n) }

// tcpOptions are MSS 1460, SACK allowed, timestamps, NOP, scale 7.
var tcpOptions = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 1, 3, 3, 7}

// tcpHeader is a segment 40000 > 80; its checksum is left to inIPv4 and inIPv6.
func tcpHeader(flags Flags, options, payload []byte) []byte {
	h := []byte{
		0x9c, 0x40, 0, 80, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
		byte(20+len(options))/4<<4 | byte(flags>>8), byte(flags), 0x12, 0x34, 0, 0, 0, 0,
	}
	return cat(h, options, payload)
}

func testTCP() []byte { return tcpHeader(ACK|PSH, nil, testPayload) }

var (
	v4Ends = []byte{192, 0, 2, 1, 198, 51, 100, 2}
	v6Ends = append([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}...)
)

// checksum fills the field at `at` of b, over b and a pseudo header.
func checksum(b []byte, at int, pseudo ...[]byte) {
	b[at], b[at+1] = 0, 0
	acc := uint64(0)
	for _, p := range pseudo {
		acc = sum(acc, p)
	}
	binary.BigEndian.PutUint16(b[at:], ^fold(sum(acc, b)))
}

// inIPv4 fills the checksum of TCP too.
func inIPv4(proto byte, payload []byte) []byte { return inIPv4Frag(proto, dontFragment, payload) }

func inIPv4Frag(proto byte, frag int, payload []byte) []byte {
	payload = slices.Clone(payload)
	if proto == protoTCP && frag&0x3fff == 0 && len(payload) >= 20 {
		checksum(payload, 16, v4Ends, []byte{0, proto}, u16(len(payload)))
	}
	h := cat([]byte{0x45, 0x28}, u16(20+len(payload)), u16(0x4242), u16(frag), []byte{57, proto, 0, 0}, v4Ends)
	checksum(h, 10)
	return cat(h, payload)
}

func inIPv6(next byte, payload []byte) []byte {
	payload = slices.Clone(payload)
	if next == protoTCP && len(payload) >= 20 {
		checksum(payload, 16, v6Ends, []byte{0, next}, u16(len(payload)))
	}
	return cat([]byte{0x62, 0x80, 0, 0}, u16(len(payload)), []byte{next, 57}, v6Ends, payload)
}

// extended puts extension headers between IPv6 and TCP, whose checksum does not see them.
func extended(first byte, headers []byte, segment []byte) []byte {
	segment = slices.Clone(segment)
	checksum(segment, 16, v6Ends, []byte{0, protoTCP}, u16(len(segment)))
	return inIPv6(first, cat(headers, segment))
}

func inEthernet(etherType int, payload []byte) []byte {
	return cat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, u16(etherType), payload)
}

func inUDP(port int, payload []byte) []byte {
	return cat(u16(49152), u16(port), u16(8+len(payload)), []byte{0, 0}, payload)
}

func overUDPv4(port int, payload []byte) []byte {
	return inEthernet(etherIPv4, inIPv4(protoUDP, inUDP(port, payload)))
}

func inGRE(header []byte, payload []byte) []byte {
	return inEthernet(etherIPv4, inIPv4(protoGRE, cat(header, payload)))
}

var snap = []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}

// inWiFi is a frame from an access point, with QoS when qos is not nil.
func inWiFi(qos, payload []byte) []byte {
	control := []byte{0x08, 2}
	if qos != nil {
		control[0] = 0x88
	}
	return cat(control, []byte{0, 0}, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2}, []byte{0, 0}, qos, payload)
}

// sampleFrames are one frame for each way to carry a segment. want is what the
// decoder says of its layers.
var sampleFrames = []struct {
	name   string
	link   LinkType
	data   []byte
	layers Layers
	v6     bool
	alone  bool // tshark needs a setting to see it, or does not know it
}{
	{name: "ethernet", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))},
	{name: "ethernet ipv6", link: LinkEthernet, data: inEthernet(etherIPv6, inIPv6(protoTCP, testTCP())), v6: true},
	{name: "options", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoTCP, tcpHeader(SYN, tcpOptions, nil)))},
	{name: "padding", link: LinkEthernet, data: cat(inEthernet(etherIPv4, inIPv4(protoTCP, tcpHeader(ACK, nil, nil))), zeros(6))},
	{name: "padding ipv6", link: LinkEthernet, data: cat(inEthernet(etherIPv6, inIPv6(protoTCP, tcpHeader(ACK, nil, nil))), zeros(6)), v6: true},
	{name: "vlan", link: LinkEthernet, data: inEthernet(etherVLAN, cat(u16(0x6007), u16(etherIPv4), inIPv4(protoTCP, testTCP()))), layers: LayerVLAN},
	{name: "qinq", link: LinkEthernet, data: inEthernet(etherQinQ, cat(u16(7), u16(etherVLAN), u16(8), u16(etherIPv4), inIPv4(protoTCP, testTCP()))), layers: LayerVLAN | LayerQinQ},
	{name: "mpls", link: LinkEthernet, data: inEthernet(etherMPLS, cat([]byte{0, 1, 0, 64, 0, 2, 1, 64}, inIPv4(protoTCP, testTCP()))), layers: LayerMPLS},
	{name: "mpls ipv6", link: LinkEthernet, data: inEthernet(etherMPLS, cat([]byte{0, 2, 1, 64}, inIPv6(protoTCP, testTCP()))), layers: LayerMPLS, v6: true},
	{name: "mpls pseudowire", link: LinkEthernet, data: inEthernet(etherMPLS, cat([]byte{0, 2, 1, 64}, zeros(4), inEthernet(etherIPv4, inIPv4(protoTCP, testTCP())))), layers: LayerMPLS, alone: true},
	{name: "pppoe", link: LinkEthernet, data: inEthernet(etherPPPoE, cat([]byte{0x11, 0, 0, 1}, u16(60), []byte{0, 0x21}, inIPv4(protoTCP, testTCP()))), layers: LayerPPPoE},
	{name: "snap", link: LinkEthernet, data: inEthernet(8+58, cat(snap, inIPv4(protoTCP, testTCP())))},
	{name: "cisco metadata", link: LinkEthernet, data: inEthernet(etherCMD, cat([]byte{1, 1, 0, 1, 0, 9}, u16(etherIPv4), inIPv4(protoTCP, testTCP())))},
	{name: "etag", link: LinkEthernet, data: inEthernet(etherETag, cat(zeros(6), u16(etherIPv4), inIPv4(protoTCP, testTCP())))},
	{name: "nsh", link: LinkEthernet, data: inEthernet(etherNSH, cat([]byte{0x0f, 0xc6, 1, 1, 0, 0, 1, 255}, zeros(16), inIPv4(protoTCP, testTCP())))},
	{name: "sll", link: LinkSLL, data: cat([]byte{0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0}, u16(etherIPv4), inIPv4(protoTCP, testTCP())), layers: LayerSLL},
	{name: "sll vlan", link: LinkSLL, data: cat([]byte{0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0}, u16(etherVLAN), u16(9), u16(etherIPv4), inIPv4(protoTCP, testTCP())), layers: LayerSLL | LayerVLAN},
	{name: "sll2", link: LinkSLL2, data: cat(u16(etherIPv6), zeros(2), []byte{0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0}, inIPv6(protoTCP, testTCP())), layers: LayerSLL, v6: true},
	{name: "null little", link: LinkNull, data: cat([]byte{2, 0, 0, 0}, inIPv4(protoTCP, testTCP())), layers: LayerLoop},
	{name: "null big", link: LinkNull, data: cat([]byte{0, 0, 0, 30}, inIPv6(protoTCP, testTCP())), layers: LayerLoop, v6: true},
	{name: "loop", link: LinkLoop, data: cat([]byte{0, 0, 0, 2}, inIPv4(protoTCP, testTCP())), layers: LayerLoop},
	{name: "raw", link: LinkRaw, data: inIPv4(protoTCP, testTCP())},
	{name: "raw ipv6", link: LinkRaw, data: inIPv6(protoTCP, testTCP()), v6: true},
	{name: "ipv4", link: LinkIPv4, data: inIPv4(protoTCP, testTCP())},
	{name: "ipv6", link: LinkIPv6, data: inIPv6(protoTCP, testTCP()), v6: true},
	{name: "raw bsd", link: LinkRawBSD, data: inIPv4(protoTCP, testTCP())},
	{name: "raw openbsd", link: LinkRawOpenBSD, data: inIPv4(protoTCP, testTCP())},
	{name: "ppp", link: LinkPPP, data: cat([]byte{0xff, 3, 0, 0x21}, inIPv4(protoTCP, testTCP()))},
	{name: "ppp compressed", link: LinkPPP, data: cat([]byte{0x57}, inIPv6(protoTCP, testTCP())), v6: true},
	{name: "ppp hdlc", link: LinkPPPHDLC, data: cat([]byte{0xff, 3, 0, 0x21}, inIPv4(protoTCP, testTCP()))},
	{name: "ppp direction", link: LinkPPPDir, data: cat([]byte{1, 0xff, 3, 0, 0x21}, inIPv4(protoTCP, testTCP()))},
	{name: "ppp ether", link: LinkPPPEther, data: cat([]byte{0x11, 0, 0, 1}, u16(60), []byte{0, 0x21}, inIPv4(protoTCP, testTCP())), layers: LayerPPPoE},
	{name: "cisco hdlc", link: LinkCiscoHDLC, data: cat([]byte{0x0f, 0, 8, 0}, inIPv4(protoTCP, testTCP()))},
	{name: "atm", link: LinkATM, data: cat(snap, inIPv4(protoTCP, testTCP()))},
	{name: "enc", link: LinkEnc, data: cat([]byte{2, 0, 0, 0}, zeros(8), inIPv4(protoTCP, testTCP()))},
	{name: "802.11", link: LinkWiFi, data: inWiFi(nil, cat(snap, inIPv4(protoTCP, testTCP()))), layers: LayerWiFi},
	{name: "802.11 qos", link: LinkWiFi, data: inWiFi([]byte{0, 0}, cat(snap, inIPv4(protoTCP, testTCP()))), layers: LayerWiFi},
	{name: "802.11 a-msdu", link: LinkWiFi, data: inWiFi([]byte{0x80, 0}, cat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, u16(8+58), snap, inIPv4(protoTCP, testTCP()))), layers: LayerWiFi},
	{name: "radiotap", link: LinkRadiotap, data: cat([]byte{0, 0, 9, 0, 2, 0, 0, 0, 0}, inWiFi(nil, cat(snap, inIPv4(protoTCP, testTCP())))), layers: LayerWiFi},
	{name: "radiotap padded", link: LinkRadiotap, data: cat([]byte{0, 0, 17, 0, 3, 0, 0, 0}, zeros(8), []byte{0x20}, inWiFi([]byte{0, 0}, cat(zeros(2), snap, inIPv4(protoTCP, testTCP())))), layers: LayerWiFi},
	{name: "prism", link: LinkPrism, data: cat([]byte{0x44, 0, 0, 0, 144, 0, 0, 0}, zeros(136), inWiFi(nil, cat(snap, inIPv4(protoTCP, testTCP())))), layers: LayerWiFi},
	{name: "avs", link: LinkAVS, data: cat([]byte{0x80, 0x21, 0x10, 1, 0, 0, 0, 64}, zeros(56), inWiFi(nil, cat(snap, inIPv4(protoTCP, testTCP())))), layers: LayerWiFi},
	{name: "ppi", link: LinkPPI, data: cat([]byte{0, 0, 8, 0, 105, 0, 0, 0}, inWiFi(nil, cat(snap, inIPv4(protoTCP, testTCP())))), layers: LayerWiFi},
	{name: "pktap", link: LinkPKTAP, data: cat([]byte{108, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, zeros(24), []byte{2, 0, 0, 0}, zeros(68), inEthernet(etherIPv4, inIPv4(protoTCP, testTCP())))},
	{name: "nflog", link: LinkNFLOG, data: cat([]byte{2, 0, 0, 1, 8, 0, 1, 0, 8, 0, 1, 0, 62, 0, 9, 0}, inIPv4(protoTCP, testTCP()))},

	{name: "ip in ip", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoIPv4, inIPv4(protoTCP, testTCP()))), layers: LayerIPIP},
	{name: "ipv4 in ipv6", link: LinkEthernet, data: inEthernet(etherIPv6, inIPv6(protoIPv4, inIPv4(protoTCP, testTCP()))), layers: LayerIPIP},
	{name: "6in4", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoIPv6, inIPv6(protoTCP, testTCP()))), layers: Layer6in4, v6: true},
	{name: "ipv6 in ipv6", link: LinkEthernet, data: inEthernet(etherIPv6, inIPv6(protoIPv6, inIPv6(protoTCP, testTCP()))), layers: LayerIPIP, v6: true},
	{name: "gre", link: LinkEthernet, data: inGRE([]byte{0, 0, 8, 0}, inIPv4(protoTCP, testTCP())), layers: LayerGRE},
	{name: "gre key", link: LinkEthernet, data: inGRE([]byte{0x20, 0, 8, 0, 0, 0, 0, 7}, inIPv4(protoTCP, testTCP())), layers: LayerGRE},
	{name: "gre checksum key sequence", link: LinkEthernet, data: inGRE([]byte{0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1}, inIPv6(protoTCP, testTCP())), layers: LayerGRE, v6: true},
	{name: "gre ethernet", link: LinkEthernet, data: inGRE([]byte{0, 0, 0x65, 0x58}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))), layers: LayerGRE},
	{name: "pptp", link: LinkEthernet, data: inGRE([]byte{0x30, 0x81, 0x88, 0x0b, 0, 62, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21}, inIPv4(protoTCP, testTCP())), layers: LayerGRE},
	{name: "erspan 1", link: LinkEthernet, data: inGRE([]byte{0, 0, 0x88, 0xbe}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))), layers: LayerGRE},
	{name: "erspan 2", link: LinkEthernet, data: inGRE([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 1, 0, 0, 0, 0}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))), layers: LayerGRE},
	{name: "erspan 3", link: LinkEthernet, data: inGRE(cat([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 1}, zeros(8)), inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))), layers: LayerGRE},
	{name: "vxlan", link: LinkEthernet, data: overUDPv4(portVXLAN, cat([]byte{8, 0, 0, 0, 0, 0, 7, 0}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP())))), layers: LayerVXLAN},
	{name: "vxlan ipv6", link: LinkEthernet, data: overUDPv4(portVXLAN, cat([]byte{8, 0, 0, 0, 0, 0, 7, 0}, inEthernet(etherIPv6, inIPv6(protoTCP, testTCP())))), layers: LayerVXLAN, v6: true},
	{name: "vxlan gpe", link: LinkEthernet, data: overUDPv4(portVXLANGPE, cat([]byte{0x0c, 0, 0, 1, 0, 0, 7, 0}, inIPv4(protoTCP, testTCP()))), layers: LayerVXLAN},
	{name: "vxlan old port", link: LinkEthernet, data: overUDPv4(portVXLANOld, cat([]byte{8, 0, 0, 0, 0, 0, 7, 0}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP())))), layers: LayerVXLAN, alone: true},
	{name: "geneve", link: LinkEthernet, data: overUDPv4(portGeneve, cat([]byte{1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 0}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP())))), layers: LayerGeneve},
	{name: "gtp-u", link: LinkEthernet, data: overUDPv4(portGTPU, cat([]byte{0x30, 0xff, 0, 58, 0, 0, 0, 1}, inIPv4(protoTCP, testTCP()))), layers: LayerGTPU},
	{name: "gtp-u extension", link: LinkEthernet, data: overUDPv4(portGTPU, cat([]byte{0x34, 0xff, 0, 66, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0x10, 9, 0}, inIPv4(protoTCP, testTCP()))), layers: LayerGTPU},
	{name: "teredo", link: LinkEthernet, data: overUDPv4(portTeredo, inIPv6(protoTCP, testTCP())), layers: LayerTeredo, v6: true},
	{name: "teredo authentication origin", link: LinkEthernet, data: overUDPv4(portTeredo, cat([]byte{0, 1, 0, 0}, zeros(9), []byte{0, 0, 1, 2, 3, 4, 5, 6}, inIPv6(protoTCP, testTCP()))), layers: LayerTeredo, v6: true},
	{name: "l2tp", link: LinkEthernet, data: overUDPv4(portL2TP, cat([]byte{0x40, 2, 0, 70, 0, 1, 0, 2, 0xff, 3, 0, 0x21}, inIPv4(protoTCP, testTCP())))},
	{name: "tzsp", link: LinkEthernet, data: overUDPv4(portTZSP, cat([]byte{1, 0, 0, 1, 0, 10, 1, 5, 1}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))))},
	{name: "lisp", link: LinkEthernet, data: overUDPv4(portLISP, cat([]byte{0x80, 0, 0, 1, 0, 0, 0, 1}, inIPv4(protoTCP, testTCP())))},
	{name: "mpls over udp", link: LinkEthernet, data: overUDPv4(portMPLSUDP, cat([]byte{0, 2, 1, 64}, inIPv4(protoTCP, testTCP()))), layers: LayerMPLS, alone: true},
	{name: "gre over udp", link: LinkEthernet, data: overUDPv4(portGREUDP, cat([]byte{0, 0, 8, 0}, inIPv4(protoTCP, testTCP()))), layers: LayerGRE},
	{name: "etherip", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoEtherIP, cat([]byte{0x30, 0}, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP())))))},
	{name: "mpls in ip", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoMPLS, cat([]byte{0, 2, 1, 64}, inIPv4(protoTCP, testTCP())))), layers: LayerMPLS},
	{name: "ah", link: LinkEthernet, data: inEthernet(etherIPv4, inIPv4(protoAH, cat([]byte{6, 4}, zeros(22), testTCP())))},
	{name: "hop-by-hop", link: LinkEthernet, data: inEthernet(etherIPv6, extended(0, []byte{6, 0, 5, 2, 0, 0, 1, 0}, testTCP())), layers: LayerIPv6Ext, v6: true},
	{name: "destination options, routing", link: LinkEthernet, data: inEthernet(etherIPv6, extended(60, cat([]byte{43, 0, 1, 4, 0, 0, 0, 0, 6, 2, 4, 0}, zeros(20)), testTCP())), layers: LayerIPv6Ext, v6: true},
	{name: "atomic fragment", link: LinkEthernet, data: inEthernet(etherIPv6, extended(44, []byte{6, 0, 0, 0, 0, 0, 0, 5}, testTCP())), layers: LayerIPv6Ext, v6: true},
	{name: "srv6 ethernet", link: LinkEthernet, data: inEthernet(etherIPv6, inIPv6(protoEthernet, inEthernet(etherIPv4, inIPv4(protoTCP, testTCP()))))},
}
