package packet

// IP protocol numbers (IANA) that are followed.
const (
	protoHopByHop  = 0
	protoICMP      = 1
	protoIPv4      = 4
	protoTCP       = 6
	protoUDP       = 17
	protoIPv6      = 41
	protoRouting   = 43
	protoFragment  = 44
	protoGRE       = 47
	protoAH        = 51
	protoICMPv6    = 58
	protoDstOpts   = 60
	protoEtherIP   = 97
	protoMobility  = 135
	protoHIP       = 139
	protoShim6     = 140
	protoMPLS      = 137
	protoEthernet  = 143
	moreFragments  = 0x2000
	dontFragment   = 0x4000
	fragmentOffset = 0x1fff
)

// ipv4 decodes from an IPv4 header on (RFC 791).
func (d *Decoder) ipv4(b []byte, s *Segment) Kind {
	if len(b) < 20 {
		return d.short()
	}
	size := int(b[0]&15) * 4
	if b[0]>>4 != 4 || size < 20 {
		return Malformed
	}
	if len(b) < size {
		return d.short()
	}
	total := int(be.Uint16(b[2:]))
	switch {
	case total == len(b):
		d.missing = 0
	case total == 0: // segmentation was left to the card, and more than 64 KiB
		s.Layers |= LayerZeroLength
	case total < size:
		return Malformed
	case total < len(b): // padding, checksums of the link
		b, d.missing = b[:total], 0
	default:
		d.missing = total - len(b)
	}
	mapped(&s.Src, be.Uint32(b[12:]))
	mapped(&s.Dst, be.Uint32(b[16:]))
	frag := be.Uint16(b[6:])
	s.V6, s.TTL, s.TOS, s.DF, s.IPID = false, b[8], b[1], frag&dontFragment != 0, be.Uint16(b[4:])
	if s.IPSum = SumUnknown; d.Verify {
		s.IPSum = headerSum(b[:size])
	}
	if size > 20 {
		s.Layers |= LayerIPOptions
	}
	if frag&(moreFragments|fragmentOffset) != 0 {
		return d.fragment(b[9], uint32(s.IPID), int(frag&fragmentOffset)*8, frag&moreFragments != 0, b[size:], s)
	}
	if b[9] == protoTCP {
		return d.tcp(b[size:], s)
	}
	return d.protocol(b[9], b[size:], s)
}

// mapped writes an IPv4 address in its IPv6 form.
func mapped(a *Addr, v4 uint32) {
	be.PutUint64(a[:8], 0)
	be.PutUint64(a[8:], 0xffff<<32|uint64(v4))
}

// ipv6 decodes from an IPv6 header on (RFC 8200).
func (d *Decoder) ipv6(b []byte, s *Segment) Kind {
	if len(b) < 40 {
		return d.short()
	}
	if b[0]>>4 != 6 {
		return Malformed
	}
	total := int(be.Uint16(b[4:])) + 40
	switch {
	case total == 40 && len(b) > 40: // a jumbogram or segmentation that was left to the card
		s.Layers |= LayerZeroLength
	case total <= len(b):
		b, d.missing = b[:total], 0
	default:
		d.missing = total - len(b)
	}
	copy(s.Src[:], b[8:24])
	copy(s.Dst[:], b[24:40])
	s.V6, s.TTL, s.TOS, s.DF, s.IPID = true, b[7], byte(be.Uint16(b)>>4), false, 0
	s.IPSum = SumUnknown
	if b[6] == protoTCP {
		return d.tcp(b[40:], s)
	}
	return d.protocol(b[6], b[40:], s)
}

// protocol decodes what an IP header announces.
func (d *Decoder) protocol(p uint8, b []byte, s *Segment) Kind {
	if d.depth--; d.depth < 0 {
		return Other
	}
	switch p {
	case protoTCP:
		return d.tcp(b, s)
	case protoICMP, protoICMPv6:
		return d.icmp(p == protoICMPv6, b, s)
	case protoUDP:
		return d.udp(b, s)
	case protoIPv4:
		s.Layers |= LayerIPIP
		return d.ipv4(b, s)
	case protoIPv6:
		if s.V6 {
			s.Layers |= LayerIPIP
		} else {
			s.Layers |= Layer6in4
		}
		return d.ipv6(b, s)
	case protoGRE:
		return d.gre(b, s)
	case protoAH:
		return d.extension(p, b, s)
	case protoMPLS:
		return d.mpls(b, s)
	case protoEtherIP: // RFC 3378
		if len(b) < 2 {
			return d.short()
		}
		return d.ethernet(b[2:], s)
	case protoEthernet: // RFC 8986
		return d.ethernet(b, s)
	case protoHopByHop, protoRouting, protoFragment, protoDstOpts, protoMobility, protoHIP, protoShim6:
		if s.V6 {
			return d.extension(p, b, s)
		}
	}
	return Other
}

// extension passes an IPv6 extension header or an authentication header.
func (d *Decoder) extension(p uint8, b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	n := 8 + int(b[1])*8
	switch p {
	case protoAH: // RFC 4302 2.2
		n = 8 + int(b[1])*4
	case protoFragment:
		s.Layers |= LayerIPv6Ext
		if frag := be.Uint16(b[2:]); frag&^6 != 0 {
			return d.fragment(b[0], be.Uint32(b[4:]), int(frag&^7), frag&1 != 0, b[8:], s)
		}
		return d.protocol(b[0], b[8:], s) // atomic, RFC 6946
	case protoRouting:
		d.routed = b[3] != 0 // the destination of the checksum is another
		s.Layers |= LayerIPv6Ext
	default:
		s.Layers |= LayerIPv6Ext
	}
	if len(b) < n {
		return d.short()
	}
	return d.protocol(b[0], b[n:], s)
}

// headerSum verifies the checksum of an IPv4 header. A field of 0 was left to the card.
func headerSum(h []byte) Sum {
	switch {
	case fold(sum(0, h)) == 0xffff:
		return SumGood
	case h[10] == 0 && h[11] == 0:
		return SumPartial
	default:
		return SumBad
	}
}
