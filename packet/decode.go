package packet

import "encoding/binary"

// Kind is what Decode found in a frame.
type Kind uint8

// The kinds of frames.
const (
	Other     Kind = iota // not TCP
	TCP                   // the segment is filled
	ICMP                  // an error about a TCP segment: Decoder.ICMPError is filled
	Held                  // a fragment of an IP packet that is not complete yet
	Truncated             // the capture kept too few bytes to see a TCP header
	Malformed             // a header contradicts itself or the frame
	Unknown               // the link type is not decoded
)

// maxDepth is how many headers (tags, tunnels, extension headers) are followed.
const maxDepth = 24

// Decoder decodes frames. The zero value is ready.
type Decoder struct {
	Verify      bool  // check checksums; else they are SumUnknown
	VerifyFlags Flags // without Verify, check the TCP checksum of segments with one of these flags, unless they were put together from fragments

	ICMPError ICMPError // of the last frame that was of kind ICMP

	Fragments FragmentCounts

	Peek Peek // of the last frame that FlowHash knew

	// Of the frame at hand.
	missing int // bytes that the innermost header promises beyond those captured
	depth   int
	routed  bool // an IPv6 routing header names another last destination

	table fragmentTable
}

var be = binary.BigEndian

// Decode fills s from a frame. Everything of s is set when the kind is TCP,
// except Frame, which the caller sets before; s.Payload refers to data or, for
// fragments, to memory that the next call may use again. With kind ICMP,
// d.ICMPError is filled; with the other kinds what is in s has no meaning.
func (d *Decoder) Decode(rec *Record, data []byte, s *Segment) Kind {
	s.Time, s.Direction, s.Interface = rec.Time, rec.Direction, rec.Interface
	s.VLAN, s.Layers, s.LinkSrc, s.LinkDst = 0, 0, 0, 0
	d.missing, d.depth, d.routed = max(int(rec.Length)-len(data), 0), maxDepth, false
	if len(d.table.done) > 0 {
		d.table.release()
	}
	if rec.Link != LinkEthernet {
		return d.fromLink(rec.Link, data, s)
	}
	return d.ethernet(data, s)
}

// short is the kind of a frame that ends inside a header.
func (d *Decoder) short() Kind {
	if d.missing > 0 {
		return Truncated
	}
	return Malformed
}

// ethernet decodes from a destination address on.
func (d *Decoder) ethernet(b []byte, s *Segment) Kind {
	if len(b) < 14 {
		return d.short()
	}
	w := be.Uint64(b)
	s.LinkDst = w >> 16
	s.LinkSrc = w&0xffff<<32 | uint64(be.Uint32(b[8:]))
	return d.etherType(be.Uint16(b[12:]), b[14:], s)
}

// EtherTypes (IEEE 802 numbers).
const (
	etherIPv4    = 0x0800
	etherTEB     = 0x6558 // transparent Ethernet bridging
	etherVLAN    = 0x8100
	etherIPv6    = 0x86dd
	etherPPP     = 0x880b
	etherMPLS    = 0x8847
	etherMPLSUp  = 0x8848
	etherPPPoE   = 0x8864
	etherCMD     = 0x8909 // Cisco metadata
	etherQinQ    = 0x88a8
	etherERSPAN2 = 0x88be
	etherERSPAN3 = 0x22eb
	etherETag    = 0x893f
	etherNSH     = 0x894f
	etherQinQOld = 0x9100
	etherQinQ92  = 0x9200
)

// etherType decodes what follows an EtherType.
func (d *Decoder) etherType(t uint16, b []byte, s *Segment) Kind {
	switch t {
	case etherIPv4:
		return d.ipv4(b, s)
	case etherIPv6:
		return d.ipv6(b, s)
	}
	if d.depth--; d.depth < 0 {
		return Other
	}
	switch t {
	case etherVLAN, etherQinQ, etherQinQOld, etherQinQ92:
		return d.vlan(b, s)
	case etherMPLS, etherMPLSUp:
		return d.mpls(b, s)
	case etherPPPoE:
		return d.pppoe(b, s)
	case etherPPP:
		return d.ppp(b, s)
	case etherTEB:
		return d.ethernet(b, s)
	case etherCMD:
		return d.typeAfter(b, 6, s)
	case etherETag:
		return d.typeAfter(b, 6, s)
	case etherNSH:
		return d.nsh(b, s)
	}
	if t <= 1500 { // a length: IEEE 802.2
		return d.llc(b, s)
	}
	return Other
}

// typeAfter goes on after n bytes, then an EtherType.
func (d *Decoder) typeAfter(b []byte, n int, s *Segment) Kind {
	if len(b) < n+2 {
		return d.short()
	}
	return d.etherType(be.Uint16(b[n:]), b[n+2:], s)
}

func (d *Decoder) vlan(b []byte, s *Segment) Kind {
	if len(b) < 4 {
		return d.short()
	}
	if s.Layers&LayerVLAN != 0 {
		s.Layers |= LayerQinQ
	} else {
		s.Layers |= LayerVLAN
		s.VLAN = be.Uint16(b) & 0xfff
	}
	return d.etherType(be.Uint16(b[2:]), b[4:], s)
}

func (d *Decoder) llc(b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	switch {
	case b[0] == 0xaa && b[1] == 0xaa && b[2] == 3: // SNAP
		if be.Uint32(b[2:])&0xffffff == 0 || b[3] == 0 && b[4] == 0 && b[5] == 0xf8 {
			return d.etherType(be.Uint16(b[6:]), b[8:], s)
		}
		if b[3] == 0 && b[4] == 0x80 && b[5] == 0xc2 && (b[7] == 1 || b[7] == 7) { // RFC 2684 5.2, bridged Ethernet
			return d.ethernet(b[min(10, len(b)):], s)
		}
	case b[0] == 6 && b[1] == 6 && b[2] == 3: // IP by its own SAP
		return d.ipv4(b[3:], s)
	}
	return Other
}

// mpls goes to the bottom of the label stack and guesses what follows, as
// routers do (RFC 4928 2).
func (d *Decoder) mpls(b []byte, s *Segment) Kind {
	s.Layers |= LayerMPLS
	for {
		if len(b) < 4 {
			return d.short()
		}
		bottom := b[2]&1 != 0
		b = b[4:]
		if bottom {
			break
		}
	}
	if len(b) == 0 {
		return d.short()
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(b, s)
	case 6:
		return d.ipv6(b, s)
	case 0: // a pseudowire control word (RFC 4385), then Ethernet
		if len(b) >= 18 {
			return d.ethernet(b[4:], s)
		}
	}
	return Other
}

func (d *Decoder) pppoe(b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	s.Layers |= LayerPPPoE
	if b[0] != 0x11 || b[1] != 0 {
		return Other
	}
	return d.ppp(b[6:], s)
}

// ppp decodes from the protocol field on, with or without address and control
// (RFC 1661, RFC 1662).
func (d *Decoder) ppp(b []byte, s *Segment) Kind {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b = b[2:]
	}
	if len(b) < 2 {
		return d.short()
	}
	proto, n := uint16(b[0]), 1
	if b[0]&1 == 0 {
		proto, n = be.Uint16(b), 2
	}
	switch proto {
	case 0x0021:
		return d.ipv4(b[n:], s)
	case 0x0057:
		return d.ipv6(b[n:], s)
	case 0x0281, 0x0283:
		return d.mpls(b[n:], s)
	}
	return Other
}

// nsh passes a network service header (RFC 8300).
func (d *Decoder) nsh(b []byte, s *Segment) Kind {
	if len(b) < 8 {
		return d.short()
	}
	n := int(be.Uint16(b)&0x3f) * 4
	if n < 8 {
		return Malformed
	}
	if len(b) < n {
		return d.short()
	}
	switch b[3] {
	case 1:
		return d.ipv4(b[n:], s)
	case 2:
		return d.ipv6(b[n:], s)
	case 3:
		return d.ethernet(b[n:], s)
	}
	return Other
}
