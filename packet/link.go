package packet

import (
	"encoding/binary"
	"math/bits"
)

var le = binary.LittleEndian

// fromLink decodes a frame of any link type.
func (d *Decoder) fromLink(t LinkType, b []byte, s *Segment) Kind {
	if d.depth--; d.depth < 0 {
		return Other
	}
	switch t {
	case LinkEthernet:
		return d.ethernet(b, s)
	case LinkRaw, LinkRawBSD, LinkRawOpenBSD, LinkIPv4, LinkIPv6:
		return d.ip(b, s)
	case LinkSLL:
		return d.sll(b, s)
	case LinkSLL2:
		return d.sll2(b, s)
	case LinkNull, LinkLoop:
		return d.loop(b, s)
	case LinkPPP, LinkPPPHDLC:
		return d.pppHDLC(b, s)
	case LinkPPPD, LinkPPPDir:
		return d.directed(b, s, (*Decoder).ppp)
	case LinkPPPEther:
		return d.pppoe(b, s)
	case LinkCiscoHDLC:
		return d.typeAfter(b, 2, s)
	case LinkHDLCDir:
		return d.directed(b, s, func(d *Decoder, b []byte, s *Segment) Kind { return d.typeAfter(b, 2, s) })
	case LinkATM:
		return d.llc(b, s)
	case LinkEnc:
		return d.enc(b, s)
	case LinkWiFi:
		return d.wifi(b, false, s)
	case LinkRadiotap:
		return d.radiotap(b, s)
	case LinkPrism, LinkAVS:
		return d.prism(b, s)
	case LinkPPI, LinkPKTAP:
		return d.wrapped(t, b, s)
	case LinkNFLOG:
		return d.nflog(b, s)
	}
	return Unknown
}

// ip decodes an IP packet of either version.
func (d *Decoder) ip(b []byte, s *Segment) Kind {
	if len(b) == 0 {
		return d.short()
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(b, s)
	case 6:
		return d.ipv6(b, s)
	}
	return Other
}

// sllDirection is the packet type of struct sockaddr_ll.
func sllDirection(t uint16) Direction {
	if t == 4 { // PACKET_OUTGOING
		return DirOut
	}
	return DirIn
}

// sll is the cooked header of Linux: packet type, ARPHRD, address, protocol.
func (d *Decoder) sll(b []byte, s *Segment) Kind {
	if len(b) < 16 {
		return d.short()
	}
	s.Layers |= LayerSLL
	if s.Direction == DirUnknown {
		s.Direction = sllDirection(be.Uint16(b))
	}
	if be.Uint16(b[4:]) == 6 {
		s.LinkSrc = be.Uint64(b[6:]) >> 16
	}
	return d.sllType(be.Uint16(b[14:]), be.Uint16(b[2:]), b[16:], s)
}

// sll2 is its second version: protocol, reserved, interface index, ARPHRD,
// packet type, address.
func (d *Decoder) sll2(b []byte, s *Segment) Kind {
	if len(b) < 20 {
		return d.short()
	}
	s.Layers |= LayerSLL
	if s.Direction == DirUnknown {
		s.Direction = sllDirection(uint16(b[10]))
	}
	if b[11] == 6 {
		s.LinkSrc = be.Uint64(b[12:]) >> 16
	}
	return d.sllType(be.Uint16(b), be.Uint16(b[8:]), b[20:], s)
}

// Hardware types (linux/if_arp.h) whose protocol field is no EtherType.
const (
	arphrdGRE      = 778
	arphrdRadiotap = 803
)

func (d *Decoder) sllType(proto, hardware uint16, b []byte, s *Segment) Kind {
	switch {
	case hardware == arphrdGRE:
		return d.greProtocol(proto, b, s)
	case hardware == arphrdRadiotap:
		return d.radiotap(b, s)
	case proto == 4: // LINUX_SLL_P_802_2
		return d.llc(b, s)
	case proto <= 1500:
		return Other // 1 is old IPX; nothing of IP
	}
	return d.etherType(proto, b, s)
}

// loop is the header of BSD loopback devices: an address family in the order
// of the host (NULL) or of the network (LOOP). The families of IPv6 differ.
func (d *Decoder) loop(b []byte, s *Segment) Kind {
	if len(b) < 4 {
		return d.short()
	}
	family := le.Uint32(b)
	if family > 0xffff {
		family = bits.ReverseBytes32(family)
	}
	s.Layers |= LayerLoop
	switch family {
	case 2:
		return d.ipv4(b[4:], s)
	case 10, 23, 24, 28, 30:
		return d.ipv6(b[4:], s)
	}
	return Other
}

// enc is the header of OpenBSD's enc(4): family, SPI, flags.
func (d *Decoder) enc(b []byte, s *Segment) Kind {
	if len(b) < 12 {
		return d.short()
	}
	return d.ip(b[12:], s)
}

// pppHDLC is PPP, with Cisco HDLC where its addresses stand first.
func (d *Decoder) pppHDLC(b []byte, s *Segment) Kind {
	if len(b) >= 4 && (b[0] == 0x0f || b[0] == 0x8f) && b[1] == 0 {
		return d.typeAfter(b, 2, s)
	}
	return d.ppp(b, s)
}

// directed has a byte before: 0 received, else sent.
func (d *Decoder) directed(b []byte, s *Segment, next func(*Decoder, []byte, *Segment) Kind) Kind {
	if len(b) < 1 {
		return d.short()
	}
	if s.Direction = DirIn; b[0] != 0 {
		s.Direction = DirOut
	}
	return next(d, b[1:], s)
}

// wrapped are headers that name the link type of what follows them: PPI
// (version, flags, length, link type) and Apple's PKTAP (length, type, link type).
func (d *Decoder) wrapped(t LinkType, b []byte, s *Segment) Kind {
	n, inner := 0, LinkType(0)
	switch {
	case t == LinkPPI && len(b) >= 8:
		n, inner = int(le.Uint16(b[2:])), LinkType(le.Uint32(b[4:]))
	case t == LinkPKTAP && len(b) >= 44:
		n, inner = int(min(le.Uint32(b), 1<<16)), LinkType(le.Uint32(b[8:]))
		switch flags := le.Uint32(b[36:]); { // PTH_FLAG_DIR_IN, _OUT
		case flags&1 != 0:
			s.Direction = DirIn
		case flags&2 != 0:
			s.Direction = DirOut
		}
	default:
		return d.short()
	}
	if n < 8 {
		return Malformed
	}
	if n > len(b) {
		return d.short()
	}
	return d.fromLink(inner, b[n:], s)
}

// nflog is a list of attributes in the order of the host; one is the packet.
func (d *Decoder) nflog(b []byte, s *Segment) Kind {
	const payload = 9 // NFULA_PAYLOAD
	if len(b) < 4 {
		return d.short()
	}
	for b = b[4:]; len(b) >= 4; {
		n, t := int(le.Uint16(b)), le.Uint16(b[2:])
		if n < 4 {
			return Malformed
		}
		if t&0x7fff == payload {
			return d.ip(b[4:min(n, len(b))], s)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return Other
}

// prism passes the header of Prism cards or the AVS header that replaced it.
func (d *Decoder) prism(b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	n := int(min(le.Uint32(b[4:]), 1<<16)) // Prism: message code and length in the order of the host
	if be.Uint32(b)&0xfffff000 == 0x80211000 {
		n = int(min(be.Uint32(b[4:]), 1<<16))
	} else if n < 8 || n > 512 {
		n = int(min(be.Uint32(b[4:]), 1<<16))
	}
	if n < 8 {
		return Malformed
	}
	if n > len(b) {
		return d.short()
	}
	return d.wifi(b[n:], false, s)
}

// radiotap passes the header described at https://www.radiotap.org.
func (d *Decoder) radiotap(b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	n := int(le.Uint16(b[2:]))
	if n < 8 {
		return Malformed
	}
	if n > len(b) {
		return d.short()
	}
	const tsft, flags, more, padded = 1, 2, 1 << 31, 0x20
	present, at, pad := le.Uint32(b[4:]), 8, false
	for p := present; p&more != 0 && at+4 <= n; at += 4 {
		p = le.Uint32(b[at:])
	}
	if present&tsft != 0 {
		at = (at+7)&^7 + 8
	}
	if present&flags != 0 && at < n {
		pad = b[at]&padded != 0
	}
	return d.wifi(b[n:], pad, s)
}

// wifi decodes a data frame of IEEE 802.11 that is not encrypted.
func (d *Decoder) wifi(b []byte, pad bool, s *Segment) Kind {
	if len(b) < 24 {
		return d.short()
	}
	const data, null, qos = 2, 0x40, 0x80
	const toDS, fromDS, protected, order = 1, 2, 0x40, 0x80
	if b[0]>>2&3 != data || b[0]&null != 0 || b[1]&protected != 0 {
		return Other
	}
	s.Layers |= LayerWiFi
	n, dst, src := 24, 4, 10
	switch b[1] & (toDS | fromDS) {
	case toDS:
		dst = 16
	case fromDS:
		src = 16
	case toDS | fromDS:
		n, dst, src = 30, 16, 24
	}
	aggregate := false
	if b[0]&qos != 0 {
		if len(b) < n+2 {
			return d.short()
		}
		aggregate = b[n]&0x80 != 0
		n += 2
		if b[1]&order != 0 {
			n += 4
		}
	}
	if pad {
		n = (n + 3) &^ 3
	}
	if aggregate { // A-MSDU: the first one, whose header is addresses and length
		n += 14
	}
	if len(b) < max(n, 32) {
		return d.short()
	}
	s.LinkDst, s.LinkSrc = be.Uint64(b[dst-2:])&(1<<48-1), be.Uint64(b[src-2:])&(1<<48-1)
	return d.llc(b[n:], s)
}
