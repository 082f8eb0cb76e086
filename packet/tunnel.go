package packet

// UDP ports of tunnels (IANA), as destinations.
const (
	portL2TP     = 1701
	portGTPU     = 2152
	portTeredo   = 3544
	portLISP     = 4341
	portGREUDP   = 4754
	portVXLAN    = 4789
	portVXLANGPE = 4790
	portGeneve   = 6081
	portMPLSUDP  = 6635
	portVXLANOld = 8472 // of Linux before the number was given
	portTZSP     = 37008
)

// udp looks for a tunnel. What only looks like one is not malformed.
func (d *Decoder) udp(b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	dst := be.Uint16(b[2:])
	if be.Uint16(b) == portTeredo {
		dst = portTeredo
	}
	kind := d.overUDP(dst, b[8:], s)
	if kind == Malformed {
		return Other
	}
	return kind
}

func (d *Decoder) overUDP(port uint16, b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return Other
	}
	switch port {
	case portVXLAN, portVXLANOld: // RFC 7348 5
		if b[0]&8 != 0 {
			s.Layers |= LayerVXLAN
			return d.ethernet(b[8:], s)
		}
	case portVXLANGPE:
		s.Layers |= LayerVXLAN
		switch b[3] {
		case 1:
			return d.ipv4(b[8:], s)
		case 2:
			return d.ipv6(b[8:], s)
		case 3:
			return d.ethernet(b[8:], s)
		case 4:
			return d.nsh(b[8:], s)
		}
	case portGeneve:
		return d.geneve(b, s)
	case portGTPU:
		return d.gtpu(b, s)
	case portTeredo:
		return d.teredo(b, s)
	case portGREUDP:
		return d.gre(b, s)
	case portMPLSUDP:
		return d.mpls(b, s)
	case portLISP:
		return d.ip(b[8:], s)
	case portL2TP:
		return d.l2tp(b, s)
	case portTZSP:
		return d.tzsp(b, s)
	}
	return Other
}

// geneve decodes RFC 8926 3.4.
func (d *Decoder) geneve(b []byte, s *Segment) Kind {
	if b[0]>>6 != 0 {
		return Other
	}
	n := 8 + int(b[0]&0x3f)*4
	if len(b) < n {
		return d.short()
	}
	s.Layers |= LayerGeneve
	return d.etherType(be.Uint16(b[2:]), b[n:], s)
}

// gtpu decodes a user packet of a mobile network (3GPP TS 29.281 5.1).
func (d *Decoder) gtpu(b []byte, s *Segment) Kind {
	const gpdu = 0xff
	if b[0]>>5 != 1 || b[0]&0x10 == 0 || b[1] != gpdu {
		return Other
	}
	s.Layers |= LayerGTPU
	n := 8
	if b[0]&7 != 0 { // sequence number, N-PDU number, next extension header
		n = 12
		if len(b) < n {
			return d.short()
		}
		next := b[11]
		for b[0]&4 != 0 && next != 0 {
			if len(b) <= n || b[n] == 0 {
				return Malformed
			}
			size := int(b[n]) * 4
			if len(b) < n+size {
				return d.short()
			}
			next = b[n+size-1]
			n += size
		}
	}
	return d.ip(b[n:], s)
}

// teredo decodes RFC 4380 5.1.1: authentication and origin may stand before.
func (d *Decoder) teredo(b []byte, s *Segment) Kind {
	if be.Uint16(b) == 1 && len(b) >= 4 {
		n := 13 + int(b[2]) + int(b[3])
		if len(b) < n {
			return Other
		}
		b = b[n:]
	}
	if len(b) >= 8 && be.Uint16(b) == 0 {
		b = b[8:]
	}
	if len(b) < 40 || b[0]>>4 != 6 {
		return Other
	}
	s.Layers |= LayerTeredo
	return d.ipv6(b, s)
}

// l2tp decodes a data message of version 2 (RFC 2661 3.1): flags, then what they announce.
func (d *Decoder) l2tp(b []byte, s *Segment) Kind {
	const control, length, sequence, offset = 0x8000, 0x4000, 0x0800, 0x0200
	flags, n := be.Uint16(b), 6
	if flags&control != 0 || flags&0xf != 2 {
		return Other
	}
	if flags&length != 0 {
		n += 2
	}
	if flags&sequence != 0 {
		n += 4
	}
	if flags&offset != 0 {
		if len(b) < n+2 {
			return d.short()
		}
		n += 2 + int(be.Uint16(b[n:]))
	}
	if len(b) < n {
		return d.short()
	}
	return d.ppp(b[n:], s)
}

// tzsp decodes what wireless sensors and routers mirror: version, type,
// protocol, tags, frame.
func (d *Decoder) tzsp(b []byte, s *Segment) Kind {
	const ethernet, wifi, pad, end = 1, 18, 0, 1
	if b[0] != 1 || b[1] > 1 {
		return Other
	}
	proto := be.Uint16(b[2:])
	for b = b[4:]; len(b) > 0 && b[0] != end; {
		if b[0] == pad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return Other
		}
		b = b[2+int(b[1]):]
	}
	if len(b) == 0 {
		return Other
	}
	switch proto {
	case ethernet:
		return d.ethernet(b[1:], s)
	case wifi:
		return d.wifi(b[1:], false, s)
	}
	return Other
}

// gre decodes RFC 2784 and 2890, and version 1 of RFC 2637 (PPTP).
func (d *Decoder) gre(b []byte, s *Segment) Kind {
	const checksum, routing, key, sequence, ack, version = 0x8000, 0x4000, 0x2000, 0x1000, 0x80, 7
	if len(b) < 4 {
		return d.short()
	}
	flags, proto, n := be.Uint16(b), be.Uint16(b[2:]), 4
	if flags&routing != 0 || flags&version > 1 {
		return Other
	}
	if flags&checksum != 0 {
		n += 4
	}
	if flags&key != 0 {
		n += 4
	}
	if flags&sequence != 0 {
		n += 4
	}
	if flags&version == 1 && flags&ack != 0 {
		n += 4
	}
	if len(b) < n {
		return d.short()
	}
	s.Layers |= LayerGRE
	if proto == etherERSPAN2 && flags&sequence != 0 { // type I has neither sequence nor header
		n = min(n+8, len(b))
	}
	return d.greProtocol(proto, b[n:], s)
}

func (d *Decoder) greProtocol(proto uint16, b []byte, s *Segment) Kind {
	const wccp = 0x883e
	switch proto {
	case etherERSPAN2:
		return d.ethernet(b, s)
	case etherERSPAN3: // draft-foschiano-erspan: 12 bytes, 8 more when the O bit is set
		n := 12
		if len(b) >= n && b[11]&1 != 0 {
			n += 8
		}
		if len(b) < n {
			return d.short()
		}
		return d.ethernet(b[n:], s)
	case wccp: // with a header of 4 bytes in version 2
		if len(b) > 0 && b[0]>>4 != 4 {
			b = b[min(4, len(b)):]
		}
		return d.ipv4(b, s)
	}
	return d.etherType(proto, b, s)
}
