package packet

// icmp fills d.ICMPError when an error quotes a TCP segment (RFC 792, RFC 4443).
func (d *Decoder) icmp(v6 bool, b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	if !quotes(v6, b[0]) {
		return Other
	}
	n := &d.ICMPError
	*n = ICMPError{Time: s.Time, Frame: s.Frame, From: s.Src, V6: v6, TTL: s.TTL, Type: b[0], Code: b[1]}
	const unreachable, needFragmentation, tooBig = 3, 4, 2
	switch {
	case v6 && b[0] == tooBig:
		n.MTU = be.Uint32(b[4:])
	case !v6 && b[0] == unreachable && b[1] == needFragmentation:
		n.MTU = uint32(be.Uint16(b[6:]))
	}
	var quote []byte
	if v6 {
		quote = n.quoteIPv6(b[8:])
	} else {
		quote = n.quoteIPv4(b[8:])
	}
	if len(quote) < 4 {
		return Other
	}
	n.SrcPort, n.DstPort = be.Uint16(quote), be.Uint16(quote[2:])
	if len(quote) >= 8 {
		n.Seq, n.HasSeq = be.Uint32(quote[4:]), true
	}
	return ICMP
}

// quotes tells the types that quote a packet.
func quotes(v6 bool, kind uint8) bool {
	if v6 {
		return kind >= 1 && kind <= 4
	}
	switch kind {
	case 3, 4, 5, 11, 12:
		return true
	}
	return false
}

// quoteIPv4 takes the addresses and returns what is there of a TCP header.
func (n *ICMPError) quoteIPv4(b []byte) []byte {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != protoTCP || be.Uint16(b[6:])&fragmentOffset != 0 {
		return nil
	}
	size := int(b[0]&15) * 4
	if size < 20 || len(b) < size {
		return nil
	}
	mapped(&n.Src, be.Uint32(b[12:]))
	mapped(&n.Dst, be.Uint32(b[16:]))
	return b[size:]
}

func (n *ICMPError) quoteIPv6(b []byte) []byte {
	if len(b) < 40 || b[0]>>4 != 6 {
		return nil
	}
	copy(n.Src[:], b[8:24])
	copy(n.Dst[:], b[24:40])
	p, b := b[6], b[40:]
	for range maxDepth {
		if p == protoTCP {
			return b
		}
		if len(b) < 8 {
			return nil
		}
		size := 8 + int(b[1])*8
		switch p {
		case protoHopByHop, protoRouting, protoDstOpts:
		case protoFragment:
			if be.Uint16(b[2:])&^7 != 0 {
				return nil
			}
			size = 8
		case protoAH:
			size = 8 + int(b[1])*4
		default:
			return nil
		}
		if len(b) < size {
			return nil
		}
		p, b = b[0], b[size:]
	}
	return nil
}
