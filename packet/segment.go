package packet

import (
	"net/netip"
)

// Addr is an IP address: IPv6 as on the wire, IPv4 mapped (RFC 4291 2.5.5.2).
// It has no pointer, so that tables of addresses cost the collector nothing.
type Addr [16]byte

// Netip returns the address in the form of package netip, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// AddrFrom converts an address; the zone is lost.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// Flags are the flags of a TCP header with its four reserved bits: the low
// twelve bits of its bytes 12 and 13 (RFC 9293 3.1).
type Flags uint16

// The TCP flags.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE // RFC 9768, once the ECN nonce
)

// String writes the flags in the order FSRPAUEC, such as "SA"; "." when none is set.
func (f Flags) String() string {
	const names = "FSRPAUECN"
	var b [len(names)]byte
	n := 0
	for i := range len(names) {
		if f&(1<<i) != 0 {
			b[n] = names[i]
			n++
		}
	}
	if n == 0 {
		return "."
	}
	return string(b[:n])
}

// OptionSet says which TCP options a segment carries.
type OptionSet uint16

// The TCP options (IANA tcp-parameters) that Segment knows.
const (
	OptMSS       OptionSet = 1 << iota // kind 2
	OptScale                           // kind 3, RFC 7323
	OptSACKOK                          // kind 4, RFC 2018
	OptSACK                            // kind 5
	OptTimestamp                       // kind 8, RFC 7323
	OptMD5                             // kind 19, RFC 2385
	OptAO                              // kind 29, RFC 5925
	OptMPTCP                           // kind 30, RFC 8684
	OptFastOpen                        // kind 34, RFC 7413
	OptOther                           // any other kind except end and no-operation
	OptBroken                          // the list is malformed: a length below 2 or beyond the header
)

// Sum is what is known of a checksum.
type Sum uint8

// The states of a checksum.
const (
	SumUnknown Sum = iota // not verified: the packet was not captured whole, or nobody asked
	SumGood
	SumPartial // only the pseudo header is summed: left to the network card by the capturing host
	SumBad     // wrong in another way: corrupted, or left to the card
)

// Direction is how the capturing interface saw a packet.
type Direction uint8

// The directions (pcapng epb_flags, SLL packet type).
const (
	DirUnknown Direction = iota
	DirIn
	DirOut
)

// Layers are the encapsulations around a TCP segment, a set.
type Layers uint32

// The encapsulations.
const (
	LayerVLAN Layers = 1 << iota
	LayerQinQ
	LayerMPLS
	LayerPPPoE
	LayerSLL
	LayerLoop
	LayerWiFi
	LayerGRE
	LayerIPIP
	LayerVXLAN
	LayerGeneve
	LayerGTPU
	LayerTeredo
	Layer6in4
	LayerFragments  // the IP packet was put together from fragments
	LayerIPv6Ext    // IPv6 extension headers
	LayerIPOptions  // IPv4 options
	LayerSuper      // longer than any MTU: segmentation left to the card (TSO, GRO)
	LayerZeroLength // IPv4 total length 0: TSO of more than 64 KiB
)

// Segment is one TCP segment as a capture has it. It refers to the bytes of
// its record: what is kept longer must be copied.
type Segment struct {
	Time  int64 // ns since 1970
	Frame int64 // number of the record in its file, from 1

	Src, Dst         Addr
	SrcPort, DstPort uint16
	V6               bool
	Direction        Direction
	Interface        uint16 // index of the interface within the file
	VLAN             uint16 // outermost VLAN id, 0 when none
	Layers           Layers
	LinkSrc, LinkDst uint64 // MAC addresses in the low 48 bits, 0 when the link has none

	TTL    uint8 // or hop limit, of the innermost IP header
	TOS    uint8 // DSCP and ECN, or traffic class
	DF     bool
	IPSum  Sum
	TCPSum Sum
	IPID   uint16 // 0 for IPv6

	Seq, Ack   uint32
	Flags      Flags
	Window     uint16 // raw field
	Urgent     uint16
	HeaderSize uint8 // TCP header with options, bytes

	Options      OptionSet
	Scale        uint8 // window scale shift
	SACKs        uint8 // blocks in SACK
	MPTCPSubtype uint8 // RFC 8684 8, when OptMPTCP
	MPTCPReason  uint8 // of MP_TCPRST (subtype 8) and MP_FASTCLOSE
	MSS          uint16
	TSVal, TSEcr uint32
	SACK         [4][2]uint32 // left and right edges
	OptionHash   uint32       // of the kinds and their order, without values: the stack's habit

	Length  int    // bytes of data by the IP header, or by the record when the header says 0
	Payload []byte // data that was captured, at most Length
}

// ICMPError is an ICMP or ICMPv6 error about a TCP segment (RFC 792, RFC 4443).
type ICMPError struct {
	Time  int64
	Frame int64
	From  Addr // who sent the error
	V6    bool
	TTL   uint8
	Type  uint8
	Code  uint8
	MTU   uint32 // of fragmentation needed / packet too big

	// The segment it is about, as far as it is quoted: addresses and ports are
	// there always, Seq when HasSeq.
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Seq              uint32
	HasSeq           bool
}
