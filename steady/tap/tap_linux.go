// Package tap sees the resets of this host on the wire, for steady.Transport.Tap: a
// reset from a host that has no such connection any more proves that a request was not
// delivered, where the counters of the kernel alone cannot.
//
// It is a packet socket with a filter for RST and SYN-ACK. It needs CAP_NET_RAW and
// Linux, sees nothing of what came before [Open], and says when it lost something. To
// debug it, look at [Tap.Forgotten].
package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/steady"
)

// Tap is a steady.Tap that watches this host's interfaces through AF_PACKET. The
// kernel passes it only RSTs and SYN-ACKs, and only their headers.
type Tap struct {
	file *os.File
	done chan struct{}

	mu        sync.Mutex
	young     map[flowKey]*seen // guarded by mu, as all below
	old       map[flowKey]*seen
	forgotten uint64
	lost      uint64 // packets that the kernel had no room for
}

// seen is what the tap knows of one flow.
type seen struct {
	steady.RST
	lost uint64 // Tap.lost when the flow began
}

// flowKey is a flow as this end sees it.
type flowKey struct{ local, remote netip.AddrPort }

// tapFlows bounds the flows remembered: two generations of so many.
const tapFlows = 8192

// tapFilter is classic BPF on packets that begin at the IP header: TCP, not a
// later fragment, with RST, or with SYN and ACK. The first 128 bytes pass.
var tapFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 0},                // 0: version
	{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},               // 1
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jt: 7},        // 2: IPv6 goes to 10
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 4, Jf: 14},       // 3: neither, drop
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},                // 4: protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jf: 12},       // 5
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},                // 6: fragment
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 10}, // 7
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},               // 8: header length
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 3},                             // 9: to 13
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6},                // 10: next header
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jf: 6},        // 11
	{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM, K: 40},              // 12
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13},               // 13: TCP flags
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x04, Jt: 2},    // 14: RST
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},            // 15
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x12, Jf: 1},     // 16: SYN and ACK
	{Code: unix.BPF_RET | unix.BPF_K, K: 128},                            // 17
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},                              // 18
}

// Open begins to watch. It needs CAP_NET_RAW in the network namespace of the
// connections, and sees only what comes after it. Close it when done.
func Open() (*Tap, error) {
	all := int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
	// Protocol 0 keeps packets away until the filter stands.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("open packet socket: %w (it needs CAP_NET_RAW: setcap cap_net_raw+ep on the program)", err)
		}
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(tapFilter)), Filter: unsafe.SliceData(tapFilter)}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all)})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("filter packets: %w", err)
	}
	t := &Tap{file: os.NewFile(uintptr(fd), "packet"), done: make(chan struct{}), young: map[flowKey]*seen{}}
	raw, err := t.file.SyscallConn()
	if err != nil {
		t.file.Close()
		return nil, fmt.Errorf("poll packet socket: %w", err)
	}
	go t.run(raw)
	return t, nil
}

// Close ends the watching.
func (t *Tap) Close() error {
	err := t.file.Close()
	<-t.done
	return err
}

// Forgotten returns how many flows were dropped from the table to bound it.
func (t *Tap) Forgotten() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.forgotten
}

func (t *Tap) run(raw syscall.RawConn) {
	defer close(t.done)
	buf := make([]byte, 128)
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(rerr, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); rerr == nil && ok && ll.Pkttype != unix.PACKET_OUTGOING {
			t.take(buf[:n])
		}
	}
}

// take reads one packet that the filter passed.
func (t *Tap) take(p []byte) {
	key, flags, ttl, ok := parseTCP(p)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.young[key]
	if r == nil {
		if r = t.old[key]; r == nil {
			r = &seen{lost: t.lost}
		}
		if len(t.young) >= tapFlows {
			t.forgotten += uint64(len(t.old))
			t.old, t.young = t.young, map[flowKey]*seen{}
		}
		t.young[key] = r
	}
	const flagRST, flagACK = 0x04, 0x10
	switch {
	case flags&flagRST == 0: // SYN-ACK: a new connection
		t.lockedCountLost()
		*r = seen{steady.RST{TTL: ttl, SameTTL: true}, t.lost}
		return
	case flags&flagACK == 0:
		r.Bare++
	default:
		r.Acking++
	}
	r.SameTTL = r.SameTTL && r.TTL == ttl
	r.TTL = ttl
}

// parseTCP reads addresses, flags and TTL of an incoming packet.
func parseTCP(p []byte) (key flowKey, flags, ttl byte, ok bool) {
	if len(p) < 1 {
		return key, 0, 0, false
	}
	var src, dst netip.Addr
	switch p[0] >> 4 {
	case 4:
		head := int(p[0]&15) * 4
		if head < 20 || len(p) < head+14 {
			return key, 0, 0, false
		}
		src, dst, ttl = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[8]
		p = p[head:]
	case 6:
		if len(p) < 54 {
			return key, 0, 0, false
		}
		src, dst, ttl = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), p[7]
		p = p[40:]
	default:
		return key, 0, 0, false
	}
	key.remote = netip.AddrPortFrom(src, binary.BigEndian.Uint16(p))
	key.local = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(p[2:]))
	return key, p[13], ttl, true
}

// lockedCountLost asks the kernel how many packets it dropped since it was asked
// last. Any of them may have been a RST.
func (t *Tap) lockedCountLost() {
	if t.file == nil {
		return
	}
	raw, err := t.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			t.lost += uint64(s.Drops)
		}
	})
}

// RST returns the resets seen of a flow; false, too, when the tap has lost packets
// since the flow began.
func (t *Tap) RST(local, remote netip.AddrPort) (steady.RST, bool) {
	key := flowKey{
		local:  netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port()),
		remote: netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port()),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.young[key]
	if r == nil {
		r = t.old[key]
	}
	if r == nil || r.Bare+r.Acking == 0 {
		return steady.RST{}, false
	}
	if t.lockedCountLost(); t.lost != r.lost {
		return steady.RST{}, false
	}
	return r.RST, true
}
