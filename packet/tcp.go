package packet

// superLength is more than any MTU in use, jumbo frames included.
const superLength = 9216

// tcp decodes a TCP segment (RFC 9293 3.1).
func (d *Decoder) tcp(b []byte, s *Segment) Kind {
	if len(b) < 20 {
		return d.cutTCP(b, s)
	}
	size := int(b[12]>>4) * 4
	length := len(b) + d.missing - size
	if size < 20 || length < 0 {
		return Malformed
	}
	s.SrcPort, s.DstPort = be.Uint16(b), be.Uint16(b[2:])
	s.Seq, s.Ack = be.Uint32(b[4:]), be.Uint32(b[8:])
	s.Flags = Flags(be.Uint16(b[12:]) & 0xfff)
	s.Window, s.Urgent = be.Uint16(b[14:]), be.Uint16(b[18:])
	s.HeaderSize, s.Length = uint8(size), length
	if length > superLength {
		s.Layers |= LayerSuper
	}
	if size == 20 {
		s.noOptions()
		s.Payload = b[20:]
	} else {
		end := min(size, len(b))
		s.options(b[20:end], end < size)
		s.Payload = b[end:]
	}
	if s.TCPSum = SumUnknown; (d.Verify || s.Flags&d.VerifyFlags != 0 && s.Layers&LayerFragments == 0) && d.missing == 0 && !d.routed {
		s.TCPSum = tcpSum(s, b)
	}
	return TCP
}

// cutTCP takes a header that ends after the window at the earliest.
func (d *Decoder) cutTCP(b []byte, s *Segment) Kind {
	const least = 16
	if len(b) < least || d.missing == 0 {
		return d.short()
	}
	var whole [20]byte
	copy(whole[:], b)
	d.missing -= 20 - len(b)
	if d.missing < 0 {
		return Malformed
	}
	kind := d.tcp(whole[:], s)
	s.Payload, s.TCPSum = b[len(b):], SumUnknown
	return kind
}

// noOptions clears what options would set.
func (s *Segment) noOptions() {
	if s.SACKs != 0 {
		s.SACK = [4][2]uint32{}
	}
	s.Options, s.Scale, s.SACKs, s.MPTCPSubtype, s.MPTCPReason = 0, 0, 0, 0, 0
	s.MSS, s.TSVal, s.TSEcr, s.OptionHash = 0, 0, 0, 0
}

// Kinds of TCP options (IANA).
const (
	kindEnd       = 0
	kindNOP       = 1
	kindMSS       = 2
	kindScale     = 3
	kindSACKOK    = 4
	kindSACK      = 5
	kindTimestamp = 8
	kindMD5       = 19
	kindAO        = 29
	kindMPTCP     = 30
	kindFastOpen  = 34
	kindTrial1    = 253 // RFC 6994
	kindTrial2    = 254
	trialFastOpen = 0xf989
)

// hashStart and hashPrime are those of FNV-1a with 32 bits.
const (
	hashStart = 2166136261
	hashPrime = 16777619
)

// timestampsOnly are the options of most segments: NOP NOP and a timestamp.
const timestampsOnly = 0x0101080a

var timestampsHash = hashKinds(kindNOP, kindNOP, kindTimestamp)

func hashKinds(kinds ...byte) uint32 {
	h := uint32(hashStart)
	for _, k := range kinds {
		h = (h ^ uint32(k)) * hashPrime
	}
	return h
}

// options decodes the options o; cut says that the capture has not all of them.
func (s *Segment) options(o []byte, cut bool) {
	s.noOptions()
	if len(o) == 12 && be.Uint32(o) == timestampsOnly && !cut {
		s.Options, s.OptionHash = OptTimestamp, timestampsHash
		s.TSVal, s.TSEcr = be.Uint32(o[4:]), be.Uint32(o[8:])
		return
	}
	h := uint32(hashStart)
	for len(o) > 0 {
		kind := o[0]
		h = (h ^ uint32(kind)) * hashPrime
		if kind == kindEnd {
			break
		}
		if kind == kindNOP {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			if !cut {
				s.Options |= OptBroken
			}
			break
		}
		n := o[1]
		s.option(kind, o[2:n])
		o = o[n:]
	}
	if s.OptionHash = h; cut {
		s.OptionHash = 0
	}
}

// option takes one option with its value. A known kind of a wrong length is OptOther.
func (s *Segment) option(kind byte, v []byte) {
	set := OptOther
	switch {
	case kind == kindMSS && len(v) == 2:
		set, s.MSS = OptMSS, be.Uint16(v)
	case kind == kindScale && len(v) == 1:
		set, s.Scale = OptScale, v[0]
	case kind == kindSACKOK && len(v) == 0:
		set = OptSACKOK
	case kind == kindSACK && len(v) >= 8 && len(v)%8 == 0:
		set = OptSACK
		for ; len(v) > 0 && int(s.SACKs) < len(s.SACK); v = v[8:] {
			s.SACK[s.SACKs] = [2]uint32{be.Uint32(v), be.Uint32(v[4:])}
			s.SACKs++
		}
	case kind == kindTimestamp && len(v) == 8:
		set, s.TSVal, s.TSEcr = OptTimestamp, be.Uint32(v), be.Uint32(v[4:])
	case kind == kindMD5:
		set = OptMD5
	case kind == kindAO:
		set = OptAO
	case kind == kindMPTCP && len(v) >= 1:
		set = OptMPTCP
		s.mptcp(v)
	case kind == kindFastOpen, (kind == kindTrial1 || kind == kindTrial2) && len(v) >= 2 && be.Uint16(v) == trialFastOpen:
		set = OptFastOpen
	}
	s.Options |= set
}

// mptcp takes a Multipath TCP option (RFC 8684 3). A segment may carry several:
// what ends the connection counts before the others.
func (s *Segment) mptcp(v []byte) {
	const fastClose, reset = 7, 8
	sub := v[0] >> 4
	if s.MPTCPSubtype == reset || s.MPTCPSubtype == fastClose && sub != reset {
		return
	}
	s.MPTCPSubtype, s.MPTCPReason = sub, 0
	if sub == reset && len(v) >= 2 {
		s.MPTCPReason = v[1]
	}
}
