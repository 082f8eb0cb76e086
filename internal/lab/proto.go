//go:build linux

package lab

import (
	"net/netip"
	"time"
)

// request is one order of the parent to an actor. Actors obey one after the
// other; orders wait in the pipe.
type request struct {
	ID    int // set by begin; the answer bears it, too
	Op    string
	FD    int            `json:",omitempty"` // socket
	Addr  netip.AddrPort // peer, or destination of a raw packet
	Local netip.AddrPort // address to bind
	N     int            `json:",omitempty"` // bytes, backlog, pid, exit code ...
	Level int            `json:",omitempty"` // of a socket option
	Opt   int            `json:",omitempty"`
	Value int            `json:",omitempty"` // integer value of an option; signal
	Data  []byte         `json:",omitempty"`
	Text  string         `json:",omitempty"` // condition, path, interface ...
	Args  []string       `json:",omitempty"`
	Opts  []sockopt      `json:",omitempty"` // options set before bind
	Proto int            `json:",omitempty"` // IPPROTO_MPTCP, or 0 for TCP
	Wait  time.Duration  `json:",omitempty"` // how long the actor may wait
}

// sockopt is an integer socket option.
type sockopt struct{ Level, Opt, Value int }

// response answers a request.
type response struct {
	ID       int
	Err      string            `json:",omitempty"` // the order could not be carried out: a defect of the lab
	Errno    string            `json:",omitempty"` // what the application saw: an errno name, or EOF
	FD       int               `json:",omitempty"`
	N        int               `json:",omitempty"` // bytes moved, or value read
	Local    netip.AddrPort    // of a socket
	Peer     netip.AddrPort    // of an accepted socket
	Data     []byte            `json:",omitempty"`
	Text     string            `json:",omitempty"`
	Info     *sockInfo         `json:",omitempty"`
	Sockets  []sockEntry       `json:",omitempty"`
	Counters map[string]int64  `json:",omitempty"`
	Segments []segment         `json:",omitempty"`
	Values   map[string]string `json:",omitempty"`
}

// sockInfo is the part of a socket's state that scenarios wait for.
type sockInfo struct {
	State       string
	Inq, Outq   int // unread here, unacknowledged by the peer
	Backlog     int // of a listener: connections waiting for accept
	Retransmits int
	Probes      int
	CAState     int
	LastRecv    time.Duration
}

// sockEntry is a line of /proc/net/tcp.
type sockEntry struct {
	Local, Remote netip.AddrPort
	State         string
	RxQueue       int
	Inode         uint64
}

// segment is a TCP segment seen by a sniffer.
type segment struct {
	Src, Dst   netip.AddrPort
	Out        bool // left this host, did not arrive
	Flags      uint8
	Seq, Ack   uint32
	Window     uint16
	TTL        uint8
	Len        int // payload
	TSval, TSe uint32
	HasTS      bool
	Options    []byte `json:",omitempty"` // further options of a segment to build, a multiple of four bytes
	At         time.Time
}

// Flag bits of the TCP header.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// end is the sequence number that follows the segment.
func (s segment) end() uint32 {
	n := uint32(s.Len)
	if s.Flags&flagSYN != 0 {
		n++
	}
	if s.Flags&flagFIN != 0 {
		n++
	}
	return s.Seq + n
}
