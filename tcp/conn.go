package tcp

import (
	"github.com/holdfast-project/holdfast/packet"
)

// Recent is how many of the latest segments of a connection are remembered.
const Recent = 8

// Side is what one end of a connection showed at the point of capture. Times
// are ns since 1970, 0 when it never happened.
type Side struct {
	sideState
	First [FirstBytes]byte // start of its first data, FirstLen bytes; what follows them is of no meaning
}

// sideState is what is cleared when a connection begins. The fields that every
// segment touches come first, in two cache lines; what is seldom written comes last.
type sideState struct {
	Next       uint32 // sequence number after the last byte seen, SYN and FIN included
	Acked      uint32 // highest acknowledgement number this side sent
	FinSeq     uint32 // sequence number of its FIN
	TSVal      uint32 // latest timestamp
	RTT        uint32 // least time from the point of capture to this side and back, us; 0 unknown
	timedSeq   uint32 // end of the segment whose acknowledgement is awaited
	timedAt    int64
	Last       int64  // any segment but a RST
	LinkAddr   uint64 // MAC address it came from, latest
	Bits       SideBits
	Window     uint16 // latest raw window field
	IPID       uint16 // of its latest segment
	RetransRow uint16 // retransmissions in a row without progress
	Sums       uint16 // segments whose checksum was verified
	BadSums    uint16 // and found wrong
	TTL        uint8  // of most of its segments, RSTs excepted
	MinTTL     uint8
	MaxTTL     uint8
	ProbesRow  uint8 // keep-alive or window probes in a row that the other end has not answered

	LastData  int64  // a segment with new data
	Bytes     uint64 // distinct bytes of data
	Segments  uint32 // RSTs excepted
	DataCount uint32 // segments with new data
	IPIDZero  uint16 // segments with IPID 0, RSTs excepted
	IPIDSteps uint16 // small steps forward from one of its segments to the next
	IPIDSwaps uint16 // such steps of a counter in the order of a little-endian processor
	IPIDJumps uint16 // other steps
	TailSize  uint16 // length of its latest data segment, at most 65535
	ttlVotes  uint8  // how much TTL and DataTTL prevail (Boyer and Moore's majority vote)
	dataVotes uint8
	DataTTL   uint8           // of most of its segments with data
	FirstLen  uint8           // bytes of First
	TailLen   uint8           // bytes of Tail
	Tail      [TailBytes]byte // start of its latest data segment

	FirstTry    int64 // first transmission of what is retransmitted now
	SYNTime     int64
	FinTime     int64
	RSTTime     int64 // its first RST
	Retransmits uint32
	ISN         uint32 // of its SYN or SYN-ACK
	OptionHash  uint32 // habit of its SYN
	SYNWindow   uint16
	MSS         uint16
	RSTs        uint16
	SYNs        uint16 // SYN or SYN-ACK segments
	SACKed      uint16 // segments that carried SACK blocks
	KeepAlives  uint16
	Absurd      uint16 // segments that acknowledge what the other side never sent, or lie a MiB away
	Scale       uint8  // window scale of its SYN
	SYNTTL      uint8  // of its SYN or SYN-ACK
}

// FirstBytes and TailBytes are how much of a side's first and latest data is
// kept.
const (
	FirstBytes = 64
	TailBytes  = 25
)

// SideBits are yes-or-no observations of a side.
type SideBits uint16

// The observations.
const (
	HasNext    SideBits = 1 << iota // Next is known
	HasAcked                        // Acked is known
	HasISN                          // its SYN or SYN-ACK was seen
	SentFIN                         // a FIN was seen
	HasTS                           // its SYN carried the timestamp option
	UsesTS                          // its latest segment but RSTs carried timestamps
	SACKOK                          // its SYN permits SACK
	HasScale                        // its SYN carried a window scale
	ZeroWindow                      // its latest window is 0
	SentGap                         // a hole in its data was seen that was never filled
	MPTCP                           // its SYN carried MP_CAPABLE or MP_JOIN
	FinAcked                        // the other side acknowledged its FIN
	RTTOnce                         // RTT comes from one segment
	RTTOften                        // RTT comes from several
)

// Seg is a segment as it is remembered.
type Seg struct {
	Frame  int64 // 0 when there is none
	Time   int64
	Seq    uint32
	Ack    uint32
	Len    uint32 // bytes of data
	IPID   uint16
	Window uint16
	Flags  packet.Flags
	TTL    uint8
	Side   uint8 // who sent it: 0 or 1
	Bits   SegBits
}

// SegBits are observations of a segment.
type SegBits uint8

// The observations.
const (
	SegResent    SegBits = 1 << iota // it carries nothing new
	SegProbe                         // a keep-alive or window probe
	SegTimestamp                     // carries timestamps
	SegMPTCP                         // carries a Multipath TCP option
	SegBadSum                        // its TCP checksum is wrong
	SegDF                            // don't fragment
	SegHole                          // data before it was not seen
	SegMPJoin                        // carries MP_JOIN (RFC 8684 3.2)
)

// End returns the sequence number after the segment.
func (s *Seg) End() uint32 { return s.Seq + s.span() }

func (s *Seg) span() uint32 {
	n := s.Len
	if s.Flags&packet.SYN != 0 {
		n++
	}
	if s.Flags&packet.FIN != 0 {
		n++
	}
	return n
}

// Conn is one connection, or what a capture has of it.
type Conn struct {
	connHead
	Sides  [2]Side
	Recent [Recent]Seg // a ring; see Latest
	connTail
}

// connHead is what finds a connection and what every segment touches, in one
// cache line.
type connHead struct {
	Addr  [2]packet.Addr
	Port  [2]uint16
	hash  uint32
	n     uint32 // segments put into Recent
	V6    bool
	used  bool // since the hand of the clock passed
	alive bool

	Client     uint8 // index of the side that opened it
	RolesKnown bool  // from SYN or SYN-ACK, not from the ports
	Bits       ConnBits
	Frames     uint32

	Last int64 // time of the latest segment
}

// connTail is what few segments touch.
type connTail struct {
	Opened int64  // first frame of this connection
	Start  int64  // time of that frame
	End    int64  // time of the latest segment of the whole table when the ending was made
	Dups   uint32 // copies of segments that another mirror port took

	Before    Before // what used the same addresses and ports earlier
	ICMPError packet.ICMPError
	_         [32]byte // fills the last of 17 cache lines: with an even number, connections would share too few sets of a cache
}

// ConnBits are observations of a connection.
type ConnBits uint16

// The observations.
const (
	Established  ConnBits = 1 << iota // SYN, SYN-ACK and an acknowledgement of the latter were seen, or data both ways
	SawICMPError                      // an ICMP error quotes one of its segments
	Reported                          // an ending was made
	FromMiddle                        // its beginning is not in the capture
	pending                           // endings wait for what comes after them
)

// Before is the connection that had the same addresses and ports before.
type Before struct {
	Opened int64 // its first frame, 0 when there was none
	Last   int64 // time of its latest segment
	How    How
	Next   [2]uint32 // of its sides, in the order of this connection
	Acked  [2]uint32
	Client uint8 // side of this connection that had opened it
}

// How says how far a connection had come to its end.
type How uint8

// The ways.
const (
	Open       How = iota // nobody had closed it
	HalfClosed            // one side had sent FIN
	Closed                // both had
	WasReset              // somebody had sent a RST
)

// Server is the index of the side that was connected to.
func (c *Conn) Server() uint8 { return 1 - c.Client }

// Latest returns the i-th latest segment, 0 being the latest; nil when it is
// not remembered.
func (c *Conn) Latest(i int) *Seg {
	if i < 0 || i >= Recent || uint32(i) >= c.n {
		return nil
	}
	return &c.Recent[(c.n-1-uint32(i))%Recent]
}

// before reports whether a precedes b in sequence space (RFC 9293 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }

func after(a, b uint32) bool { return int32(a-b) > 0 }
