package packet

import "math/bits"

// Numbers that mix (the fraction of pi).
const (
	mixA = 0x243f6a8885a308d3
	mixB = 0x13198a2e03707344
	mixC = 0xa4093822299f31d0
	mixD = 0x082efa98ec4e6c89
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// pair hashes two ends, in either order alike.
func pair(a, b uint64) uint64 {
	return mix(min(a, b)^mixA, max(a, b)^mixB)
}

func end4(addr uint32, port uint16) uint64 { return uint64(addr)<<16 | uint64(port) }

func end6(a []byte, port uint16) uint64 {
	_ = a[15]
	return mix(be.Uint64(a)^mixC, be.Uint64(a[8:])^mixD) + uint64(port)*mixB
}

// FlowHash returns a hash of the addresses and ports, the same for both
// directions, for spreading connections over workers.
func (s *Segment) FlowHash() uint64 {
	if s.V6 {
		return pair(end6(s.Src[:], s.SrcPort), end6(s.Dst[:], s.DstPort))
	}
	return pair(end4(be.Uint32(s.Src[12:]), s.SrcPort), end4(be.Uint32(s.Dst[12:]), s.DstPort))
}

// FlowHash returns what Segment.FlowHash would after Decode, without decoding.
// It knows the common frames: Ethernet with up to two tags, Linux cooked and
// raw, then IP without fragments or extension headers, then TCP. For all others
// ok is false and the frame must be decoded: it may be TCP in a tunnel.
func (d *Decoder) FlowHash(rec *Record, data []byte) (hash uint64, ok bool) {
	t, at := uint16(0), 14
	switch rec.Link {
	case LinkEthernet:
		if len(data) < 34 {
			return 0, false
		}
		t = be.Uint16(data[12:])
		for range 2 {
			if t != etherVLAN && t != etherQinQ || len(data) < at+4 {
				break
			}
			t = be.Uint16(data[at+2:])
			at += 4
		}
	case LinkSLL:
		if len(data) < 36 || notEtherType(be.Uint16(data[2:])) {
			return 0, false
		}
		t, at = be.Uint16(data[14:]), 16
	case LinkSLL2:
		if len(data) < 40 || notEtherType(be.Uint16(data[8:])) {
			return 0, false
		}
		t, at = be.Uint16(data), 20
	case LinkRaw, LinkRawBSD, LinkRawOpenBSD, LinkIPv4, LinkIPv6:
		if at = 0; len(data) < 20 {
			return 0, false
		}
		if t = etherIPv4; data[0]>>4 == 6 {
			t = etherIPv6
		}
	default:
		return 0, false
	}
	return hashIP(t, data[at:])
}

// notEtherType tells the hardware types whose protocol is no EtherType.
func notEtherType(hardware uint16) bool {
	return hardware == arphrdGRE || hardware == arphrdRadiotap
}

func hashIP(t uint16, b []byte) (hash uint64, ok bool) {
	switch {
	case t == etherIPv4 && len(b) >= 24:
		port := 20
		if b[0] != 0x45 {
			port = int(b[0]&15) * 4
			if b[0]>>4 != 4 || port < 20 || len(b) < port+4 {
				return 0, false
			}
		}
		if b[9] != protoTCP || be.Uint16(b[6:])&(moreFragments|fragmentOffset) != 0 {
			return 0, false
		}
		ports := be.Uint32(b[port:])
		return pair(end4(be.Uint32(b[12:]), uint16(ports>>16)), end4(be.Uint32(b[16:]), uint16(ports))), true
	case t == etherIPv6 && len(b) >= 44:
		if b[0]>>4 != 6 || b[6] != protoTCP {
			return 0, false
		}
		return pair(end6(b[8:], be.Uint16(b[40:])), end6(b[24:], be.Uint16(b[42:]))), true
	}
	return 0, false
}
