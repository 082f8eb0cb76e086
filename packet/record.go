// Package packet reads and writes captures (pcap and pcapng) and decodes their
// frames down to one TCP segment each, whatever lies around it: tags, tunnels,
// fragments, headers of wireless cards.
//
// It keeps no connection state (package tcp does) and opens no file (package
// internal/capture does). The way of a frame from the file to its Segment
// allocates nothing: a Batch is filled in place by Reader.ReadBatch, and
// Decoder.Decode fills a Segment that refers to the bytes of the batch.
// A decoder and a reader belong to one goroutine each.
//
// To find out why a frame is not taken: `go test -run TestDecode -v`, or compare
// with `tshark -r FILE -Y frame.number==N -V`.
package packet

// LinkType is what the frames of an interface begin with: a LINKTYPE_ value of
// https://www.tcpdump.org/linktypes.html.
type LinkType uint16

// The link types that Decoder knows.
const (
	LinkNull        LinkType = 0
	LinkEthernet    LinkType = 1
	LinkPPP         LinkType = 9
	LinkRawBSD      LinkType = 12 // DLT_RAW of most systems
	LinkRawOpenBSD  LinkType = 14 // DLT_RAW of OpenBSD
	LinkPPPHDLC     LinkType = 50
	LinkPPPEther    LinkType = 51
	LinkATM         LinkType = 100 // RFC 2684 (1483), LLC
	LinkRaw         LinkType = 101
	LinkCiscoHDLC   LinkType = 104
	LinkWiFi        LinkType = 105
	LinkLoop        LinkType = 108
	LinkEnc         LinkType = 109 // OpenBSD enc(4)
	LinkSLL         LinkType = 113
	LinkPrism       LinkType = 119
	LinkRadiotap    LinkType = 127
	LinkAVS         LinkType = 163
	LinkPPPD        LinkType = 166
	LinkPPI         LinkType = 192
	LinkPPPDir      LinkType = 204
	LinkHDLCDir     LinkType = 205
	LinkIPv4        LinkType = 228
	LinkIPv6        LinkType = 229
	LinkNFLOG       LinkType = 239
	LinkPKTAP       LinkType = 258
	LinkSLL2        LinkType = 276
	linkPKTAPLegacy LinkType = 149 // DLT_USER2, as macOS wrote it before 258 was given
)

// Interface is one interface of a capture.
type Interface struct {
	Link              LinkType
	Name, Description string
	SnapLen           int // bytes kept of each frame, 0 when there is no limit
}

// Record is one captured frame; its bytes are Batch.Data[Start:Start+Captured].
type Record struct {
	Start     uint32
	Captured  uint32 // bytes that were kept
	Length    uint32 // bytes that were on the wire
	Interface uint16 // index in Reader.Interfaces
	Link      LinkType
	Direction Direction
	Time      int64 // ns since 1970; 0 in pcapng simple packet blocks, which have none
	Offset    int64 // of the record in the uncompressed file
}

// The size of a Batch.
const (
	BatchBytes   = 1 << 20 // about; more only for one record that is larger
	BatchRecords = 8192    // at most
)

// Batch is a run of consecutive records. It is used again and again: what
// refers to its bytes is valid until the next ReadBatch into it.
type Batch struct {
	Data    []byte
	Records []Record
	First   int64 // number of Records[0] in its capture, from 1
}

// Frame returns the bytes of record i.
func (b *Batch) Frame(i int) []byte {
	r := &b.Records[i]
	return b.Data[r.Start : r.Start+r.Captured : r.Start+r.Captured]
}
