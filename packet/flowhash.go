package packet

import "math/bits"

// HashKey makes a hash of addresses and ports that nobody can foresee who does
// not know it, so that nobody can choose connections that collide.
type HashKey [4]uint64

// fixed spreads connections over workers (the fraction of pi): the same capture
// is then always spread in the same way.
var fixed = HashKey{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// pair hashes two ends, in either order alike.
func (k *HashKey) pair(a, b uint64) uint64 {
	return mix(min(a, b)^k[0], max(a, b)^k[1])
}

func end4(addr uint32, port uint16) uint64 { return uint64(addr)<<16 | uint64(port) }

func (k *HashKey) end6(a []byte, port uint16) uint64 {
	_ = a[15]
	return mix(be.Uint64(a)^k[2], be.Uint64(a[8:])^k[3]) + uint64(port)*k[1]
}

// FlowHash returns a hash of the addresses and ports, the same for both
// directions, for spreading connections over workers. Whoever chooses addresses
// and ports can make it collide: a table takes KeyedHash.
func (s *Segment) FlowHash() uint64 { return s.KeyedHash(&fixed) }

// KeyedHash returns a hash of the addresses and ports, the same for both
// directions, that depends on a key.
func (s *Segment) KeyedHash(k *HashKey) uint64 {
	if s.V6 {
		return k.pair(k.end6(s.Src[:], s.SrcPort), k.end6(s.Dst[:], s.DstPort))
	}
	return k.pair(end4(be.Uint32(s.Src[12:]), s.SrcPort), end4(be.Uint32(s.Dst[12:]), s.DstPort))
}

// Peek is what Decoder.FlowHash saw of a frame besides, for who follows hosts.
type Peek struct {
	V4   bool   // the rest is known: IPv4 with a whole TCP header
	RST  bool   // the segment is a RST
	TTL  uint8  // of the IP header
	IPID uint16 // its identification
	Flow uint16 // tells connections of the source apart, mostly
	Src  uint32 // source address
}

// FlowHash returns what Segment.FlowHash would after Decode, without decoding.
// It knows the common frames: Ethernet with up to two tags, Linux cooked and
// raw, then IP without fragments or extension headers, then TCP. For all others
// ok is false and the frame must be decoded: it may be TCP in a tunnel.
func (d *Decoder) FlowHash(rec *Record, data []byte) (hash uint64, ok bool) {
	d.Peek.V4 = false
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
	return d.hashIP(t, data[at:])
}

// notEtherType tells the hardware types whose protocol is no EtherType.
func notEtherType(hardware uint16) bool {
	return hardware == arphrdGRE || hardware == arphrdRadiotap
}

func (d *Decoder) hashIP(t uint16, b []byte) (hash uint64, ok bool) {
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
		if len(b) >= port+20 {
			d.Peek = Peek{true, b[port+13]&byte(RST) != 0, b[8], be.Uint16(b[4:]), uint16(ports>>16) ^ uint16(ports) ^ be.Uint16(b[18:]), be.Uint32(b[12:])}
		}
		return fixed.pair(end4(be.Uint32(b[12:]), uint16(ports>>16)), end4(be.Uint32(b[16:]), uint16(ports))), true
	case t == etherIPv6 && len(b) >= 44:
		if b[0]>>4 != 6 || b[6] != protoTCP {
			return 0, false
		}
		return fixed.pair(fixed.end6(b[8:], be.Uint16(b[40:])), fixed.end6(b[24:], be.Uint16(b[42:]))), true
	}
	return 0, false
}
