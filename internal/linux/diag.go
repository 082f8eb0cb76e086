package linux

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/internal/netlink"
)

// TCPState is a TCP state as the kernel numbers them (net/tcp_states.h).
type TCPState uint8

// The states.
const (
	Established TCPState = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	NewSynRecv
)

var stateNames = [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"}

// String returns the name that facts use: ESTABLISHED, TIME_WAIT ...
func (s TCPState) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return ""
}

// States is a set of TCP states, for [Host.Sockets].
type States uint32

// Common sets.
const (
	AllStates  States = 1<<(NewSynRecv+1) - 2
	Listeners  States = 1 << Listen
	Connected  States = AllStates &^ (1<<Listen | 1<<TimeWait | 1<<NewSynRecv | 1<<SynRecv)
	WithHalves States = AllStates &^ (1 << Listen)
)

// Has reports whether the set has a state.
func (s States) Has(state TCPState) bool { return s&(1<<state) != 0 }

// Socket is one TCP socket as inet_diag shows it.
type Socket struct {
	State         TCPState
	Local, Remote netip.AddrPort // IPv4-mapped addresses come as IPv4
	V6            bool           // the socket's family is AF_INET6, also when it speaks IPv4
	Inode         uint64         // 0 for sockets without a file: TIME_WAIT, SYN_RECV, orphans
	Cookie        uint64
	UID           int
	Iface         int    // bound interface, 0 when not bound
	RQueue        uint32 // unread bytes; of a listener, connections waiting for accept()
	WQueue        uint32 // unacknowledged bytes; of a listener, the limit of its queue
	Timer         Timer
	TimerExpires  time.Duration
	TimerRetries  int
	V6Only        bool
	Info          TCPInfo // zero for TIME_WAIT and SYN_RECV
	HasInfo       bool
}

// Timer is the timer that runs on a socket.
type Timer uint8

// The timers, in the kernel's numbering (net/ipv4/inet_diag.c).
const (
	NoTimer Timer = iota
	RetransmitTimer
	KeepaliveTimer // or the timer of FIN_WAIT2
	TimeWaitTimer
	ProbeTimer // zero-window probe
)

// TCPInfo is what is used of struct tcp_info. Fields that an older kernel
// does not have are 0.
type TCPInfo struct {
	Retransmits  int // of the segment at the front, now
	Probes       int // unanswered keep-alive or window probes
	Backoff      int
	RTO          time.Duration
	RTT          time.Duration // smoothed
	Unacked      uint32        // segments; of a listener, its queue
	Lost         uint32
	Retrans      uint32
	TotalRetrans uint32
	LastDataSent time.Duration
	LastDataRecv time.Duration
	LastAckRecv  time.Duration
	SndMSS       uint32
	SndCwnd      uint32
	SndWnd       uint32
	RcvWnd       uint32
	BytesAcked   uint64
	BytesRecv    uint64
	BytesSent    uint64
	BytesRetrans uint64
	NotSent      uint32        // bytes written and not yet sent
	Busy         time.Duration // with data in flight or waiting
	Timestamps   bool          // negotiated
}

// Offsets and sizes in struct inet_diag_msg and inet_diag_req_v2
// (linux/inet_diag.h), which are the same everywhere.
const (
	sizeDiagMsg     = 72
	sizeDiagReq     = 56
	diagInfo        = 2   // INET_DIAG_INFO
	diagSkV6Only    = 11  // INET_DIAG_SKV6ONLY
	sizeTCPInfoMin  = 104 // struct tcp_info of Linux 2.6
	tcpiOptTimestap = 1
)

// parseSocket decodes one answer of SOCK_DIAG_BY_FAMILY.
func parseSocket(b []byte) (s Socket, ok bool) {
	if len(b) < sizeDiagMsg {
		return s, false
	}
	ne := binary.NativeEndian
	s.V6 = b[0] == 10
	s.State = TCPState(b[1])
	s.Timer, s.TimerRetries = Timer(b[2]), int(b[3])
	s.Local = diagAddr(s.V6, b[8:24], netlink.Uint16(b[4:]))
	s.Remote = diagAddr(s.V6, b[24:40], netlink.Uint16(b[6:]))
	s.Iface = int(ne.Uint32(b[40:]))
	s.Cookie = uint64(ne.Uint32(b[44:])) | uint64(ne.Uint32(b[48:]))<<32
	s.TimerExpires = time.Duration(ne.Uint32(b[52:])) * time.Millisecond
	s.RQueue, s.WQueue = ne.Uint32(b[56:]), ne.Uint32(b[60:])
	s.UID, s.Inode = int(ne.Uint32(b[64:])), uint64(ne.Uint32(b[68:]))
	for typ, v := range netlink.Attributes(b[sizeDiagMsg:]) {
		switch typ {
		case diagInfo:
			s.Info, s.HasInfo = parseTCPInfo(v)
		case diagSkV6Only:
			s.V6Only = len(v) > 0 && v[0] != 0
		}
	}
	return s, true
}

// diagAddr decodes an address of inet_diag_sockid.
func diagAddr(v6 bool, b []byte, port uint16) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(b[:4]))
	if v6 {
		a = netip.AddrFrom16([16]byte(b[:16])).Unmap()
	}
	return netip.AddrPortFrom(a, port)
}

// parseTCPInfo decodes struct tcp_info, which has grown at its end since 2.6.
func parseTCPInfo(b []byte) (t TCPInfo, ok bool) {
	if len(b) < sizeTCPInfoMin {
		return t, false
	}
	u32 := func(off int) uint32 {
		if off+4 > len(b) {
			return 0
		}
		return binary.NativeEndian.Uint32(b[off:])
	}
	u64 := func(off int) uint64 {
		if off+8 > len(b) {
			return 0
		}
		return binary.NativeEndian.Uint64(b[off:])
	}
	us := func(off int) time.Duration { return time.Duration(u32(off)) * time.Microsecond }
	ms := func(off int) time.Duration { return time.Duration(u32(off)) * time.Millisecond }
	return TCPInfo{
		Retransmits: int(b[2]), Probes: int(b[3]), Backoff: int(b[4]), Timestamps: b[5]&tcpiOptTimestap != 0,
		RTO: us(8), SndMSS: u32(16), Unacked: u32(24), Lost: u32(32), Retrans: u32(36),
		LastDataSent: ms(44), LastDataRecv: ms(52), LastAckRecv: ms(56),
		RTT: us(68), SndCwnd: u32(80), TotalRetrans: u32(100),
		BytesAcked: u64(120), BytesRecv: u64(128), NotSent: u32(144),
		Busy: time.Duration(u64(168)) * time.Microsecond, BytesSent: u64(200), BytesRetrans: u64(208),
		SndWnd: u32(228), RcvWnd: u32(232),
	}, true
}
