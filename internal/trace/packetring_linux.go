package trace

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// The shape of a ring: frames of 256 bytes hold the header of a TPACKET_V2
// frame (80), and 160 bytes from the network header on, which is IP and TCP
// with all the options there can be.
const (
	frameSize   = 256
	frameSnap   = 160
	blockFrames = 256 // 64 KiB, which any kernel can still find in one piece
	ownFrames   = 8192
	otherFrames = 2048 // of a namespace other than our own
)

// packetRing is an AF_PACKET socket on all devices of one namespace, with a
// ring that the kernel fills. It is used from one goroutine.
type packetRing struct {
	ns      linux.Netns
	fd      int
	mem     []byte
	frames  int
	next    int
	dropped uint64
	quiet   time.Time // until when only RSTs are taken, because SYNs came too fast
	syns    int       // segments without RST since the last look
}

// sighting is one segment at one device.
type sighting struct {
	resetEvent
	out bool // it was made, or passed on, in this namespace: handed to a device, or on the loopback device
}

// openRing opens a ring in a namespace. It needs CAP_NET_RAW there.
func openRing(h *linux.Host, ns linux.Netns, frames int) (*packetRing, error) {
	r := &packetRing{ns: ns, fd: -1, frames: frames}
	err := h.Do(ns, func() (err error) {
		// Protocol 0: nothing arrives before the filter and the ring are there.
		r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if err := r.start(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *packetRing) start() error {
	if err := r.filter(tcpFIN | tcpSYN | tcpRST); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return fmt.Errorf("set version of packet ring: %w", err)
	}
	req := unix.TpacketReq{Block_size: frameSize * blockFrames, Block_nr: uint32(r.frames / blockFrames), Frame_size: frameSize, Frame_nr: uint32(r.frames)}
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make packet ring: %w", err)
	}
	mem, err := unix.Mmap(r.fd, 0, r.frames*frameSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map packet ring: %w", err)
	}
	r.mem = mem
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)) // ETH_P_ALL: others do not see what goes out
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

func (r *packetRing) close() {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
	}
	unix.Close(r.fd)
}

// filter lets only first fragments of TCP segments with one of the flags pass.
func (r *packetRing) filter(flags uint32) error {
	prog := tcpFilter(flags)
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f); err != nil {
		return fmt.Errorf("attach packet filter: %w", err)
	}
	return nil
}

// Bits of the TCP flags, as they are on the wire.
const (
	tcpFIN = 1
	tcpSYN = 2
	tcpRST = 4
)

// tcpFilter is the classic BPF program. The data begin at the network header,
// because the socket is of type SOCK_DGRAM. What leaves through the loopback
// device arrives there as well, and only the arrival is taken; that is finer
// than PACKET_IGNORE_OUTGOING, which would hide what this host sends elsewhere.
func tcpFilter(flags uint32) []unix.SockFilter {
	const (
		ancillary = 0xfffff000 // SKF_AD_OFF (linux/filter.h)
		pktType   = ancillary + 4
		ifIndex   = ancillary + 8
		loopback  = 1 // LOOPBACK_IFINDEX, in each namespace
		ldw       = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ldh       = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		ldb       = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		jeq       = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jset      = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret       = unix.BPF_RET | unix.BPF_K
	)
	return []unix.SockFilter{
		{Code: ldw, K: pktType},
		{Code: jeq, K: unix.PACKET_OUTGOING, Jt: 0, Jf: 2},
		{Code: ldw, K: ifIndex},
		{Code: jeq, K: loopback, Jt: 23, Jf: 0},
		{Code: ldb, K: 0},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
		{Code: jeq, K: 0x40, Jt: 0, Jf: 7}, // IPv4
		{Code: ldb, K: 9},
		{Code: jeq, K: unix.IPPROTO_TCP, Jt: 0, Jf: 18},
		{Code: ldh, K: 6},
		{Code: jset, K: 0x1fff, Jt: 16, Jf: 0}, // not the first fragment
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13},
		{Code: jset, K: flags, Jt: 12, Jf: 13},
		{Code: jeq, K: 0x60, Jt: 0, Jf: 12}, // IPv6
		{Code: ldb, K: 6},
		{Code: jeq, K: unix.IPPROTO_TCP, Jt: 0, Jf: 2},
		{Code: ldb, K: 40 + 13},
		{Code: jset, K: flags, Jt: 7, Jf: 8},
		{Code: jeq, K: unix.IPPROTO_FRAGMENT, Jt: 0, Jf: 7},
		{Code: ldb, K: 40},
		{Code: jeq, K: unix.IPPROTO_TCP, Jt: 0, Jf: 5},
		{Code: ldh, K: 42},
		{Code: jset, K: 0xfff8, Jt: 3, Jf: 0},
		{Code: ldb, K: 48 + 13},
		{Code: jset, K: flags, Jt: 0, Jf: 1},
		{Code: ret, K: frameSnap},
		{Code: ret, K: 0},
	}
}

// Limits that keep a flood of SYNs from pushing RSTs out of the ring: the
// baselines can wait, the resets cannot.
const (
	manySyns   = 512             // segments without RST in one drain, normally 10 ms
	quietAfter = 2 * time.Second // how long to go without them
)

// drain hands each new segment to f, with its time on the monotonic clock.
func (r *packetRing) drain(offset int64, f func(*sighting)) error {
	r.syns = 0
	var s sighting
	for range r.frames {
		frame := r.mem[r.next*frameSize : (r.next+1)*frameSize]
		status := (*uint32)(unsafe.Pointer(&frame[0]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			break
		}
		if parseFrame(frame, offset, &s) {
			s.Netns = r.ns.Cookie
			if s.Packet.Flags&flagRST == 0 {
				r.syns++
			}
			f(&s)
		}
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % r.frames
	}
	st, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("read packet statistics: %w", err)
	}
	r.dropped += uint64(st.Drops) // reading resets them
	return r.adapt(time.Now())
}

// adapt leaves SYN and FIN out for a while when there are too many.
func (r *packetRing) adapt(now time.Time) error {
	switch {
	case r.syns > manySyns && r.quiet.IsZero():
		r.quiet = now.Add(quietAfter)
		return r.filter(tcpRST)
	case !r.quiet.IsZero() && now.After(r.quiet):
		r.quiet = time.Time{}
		return r.filter(tcpFIN | tcpSYN | tcpRST)
	}
	return nil
}

// parseFrame decodes one frame of a ring: struct tpacket2_hdr, struct
// sockaddr_ll, the packet. The network is hostile: nothing of it is believed
// beyond the bytes that are there.
func parseFrame(b []byte, offset int64, s *sighting) bool {
	ne := binary.NativeEndian
	snap, net := int(ne.Uint32(b[8:])), int(ne.Uint16(b[14:]))
	if net+snap > len(b) || snap <= 0 {
		return false
	}
	*s = sighting{}
	s.Kind, s.Reason, s.Ifindex = kindWire, -1, ne.Uint32(b[36:])
	outgoing := b[42] == unix.PACKET_OUTGOING
	s.out = outgoing || s.Ifindex == 1
	s.Origin = 6 // forwarded, as far as this device knows
	if s.out {
		s.Origin = 0
	}
	wall := int64(ne.Uint32(b[16:]))*int64(time.Second) + int64(ne.Uint32(b[20:]))
	s.TimeNs = uint64(wall + offset)
	return parsePacket(b[net:net+snap], &s.resetEvent)
}

// parsePacket fills Packet from an IP packet with a TCP segment.
func parsePacket(b []byte, e *resetEvent) bool {
	p := &e.Packet
	if len(b) < 20 {
		return false
	}
	var tcp []byte
	var payload int
	be := binary.BigEndian
	switch b[0] >> 4 {
	case 4:
		hlen := int(b[0]&15) * 4
		if hlen < 20 || len(b) < hlen+20 || b[9] != unix.IPPROTO_TCP {
			return false
		}
		copy(p.Saddr[:], b[12:16])
		copy(p.Daddr[:], b[16:20])
		p.Ttl, p.IpId, p.Df = b[8], be.Uint16(b[4:]), b[6]>>6&1
		tcp, payload = b[hlen:], int(be.Uint16(b[2:]))-hlen
	case 6:
		if len(b) < 60 {
			return false
		}
		copy(p.Saddr[:], b[8:24])
		copy(p.Daddr[:], b[24:40])
		p.Ttl, payload = b[7], int(be.Uint16(b[4:]))
		tcp = b[40:]
		if b[6] == unix.IPPROTO_FRAGMENT {
			tcp, payload = b[48:], payload-8
		}
	default:
		return false
	}
	if len(tcp) < 20 {
		return false
	}
	p.Version = b[0] >> 4
	p.Sport, p.Dport = be.Uint16(tcp), be.Uint16(tcp[2:])
	p.Seq, p.Ack = be.Uint32(tcp[4:]), be.Uint32(tcp[8:])
	p.Flags, p.Window, p.Present = tcp[13], be.Uint16(tcp[14:]), 1
	doff := int(tcp[12]>>4) * 4
	if doff < 20 || doff > len(tcp) {
		return true // a broken header is a fact too: no options, no payload
	}
	p.OptionsBytes = uint8(copy(p.Options[:], tcp[20:doff]))
	p.PayloadBytes = uint16(max(payload-doff, 0))
	return true
}
