package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/packet"
)

// Live reads frames from a packet socket through a ring that the kernel fills
// (TPACKET_V3, Documentation/networking/packet_mmap.rst). It is used by one
// goroutine, except for Dropped.
type Live struct {
	ctx        context.Context // in the struct, because ReadBatch is called like that of a file
	fd         int
	ring       []byte
	blocks     int
	block      int // the one at hand
	frames     int // of it that are still to be read; -1 when it is the kernel's
	at         int // the next of them, from the begin of the block
	number     int64
	snapLen    int
	interfaces []packet.Interface
	index      map[liveKey]uint16
	stopped    bool // nothing more comes into the ring
	waited     bool // for the block that was not full then
	dropped    atomic.Uint64
}

// liveKey is what one entry of interfaces stands for.
type liveKey struct {
	ifindex int32
	link    packet.LinkType
}

// livePoll is how long a read waits before it looks at its context, in ms.
// Blocks are handed over when they are liveRetire old.
const (
	livePoll   = 100
	liveRetire = 50
)

// OpenLive opens one interface, or with "" or "any" all interfaces of this
// network namespace. It needs CAP_NET_RAW and nothing else; the error without it
// is an os.ErrPermission.
func OpenLive(ctx context.Context, name string, o *LiveOptions) (*Live, error) {
	if o == nil {
		o = &LiveOptions{}
	}
	l := &Live{ctx: ctx, number: 1, frames: -1, snapLen: liveSnapLen, index: map[liveKey]uint16{}}
	var err error
	// Protocol 0: nothing arrives before the ring is there and the socket is bound.
	if l.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, liveError(err)
	}
	if err := l.start(name, o); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// liveError adds what to do.
func liveError(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("open live capture: %w: it needs CAP_NET_RAW; run it as root, or once `sudo setcap cap_net_raw+ep $(command -v holdfast)`", err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("open live capture: %w: this kernel has no packet sockets (CONFIG_PACKET)", err)
	}
	return fmt.Errorf("open live capture: %w", err)
}

func (l *Live) start(name string, o *LiveOptions) error {
	ifindex := 0
	if name != "" && name != "any" {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return fmt.Errorf("open live capture: no interface %q; there are: %s", name, interfaceNames())
		}
		ifindex = i.Index
	}
	if o.SnapLen > 0 && o.SnapLen < liveSnapLen {
		l.snapLen = o.SnapLen
	}
	if err := l.filter(); err != nil {
		return err
	}
	if err := l.map3(o.RingBytes); err != nil {
		return err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(l.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		return fmt.Errorf("open live capture: bind to %s: %w", name, err)
	}
	if !o.Promiscuous || ifindex == 0 {
		return nil
	}
	m := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(l.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return fmt.Errorf("open live capture: make %s promiscuous: %w", name, err)
	}
	return nil
}

func interfaceNames() string {
	all, err := net.Interfaces()
	if err != nil {
		return err.Error()
	}
	names := []string{"any"}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}

// filter makes the kernel keep only the first bytes of each frame. What goes out
// through the loopback device comes in there as well: only that is taken.
func (l *Live) filter() error {
	const (
		ancillary = 0xfffff000 // SKF_AD_OFF (linux/filter.h)
		pktType   = ancillary + 4
		ifIndex   = ancillary + 8
		loopback  = 1 // LOOPBACK_IFINDEX, in each namespace
		load      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret       = unix.BPF_RET | unix.BPF_K
	)
	prog := []unix.SockFilter{
		{Code: load, K: pktType},
		{Code: equal, K: unix.PACKET_OUTGOING, Jf: 3},
		{Code: load, K: ifIndex},
		{Code: equal, K: loopback, Jf: 1},
		{Code: ret, K: 0},
		{Code: ret, K: uint32(l.snapLen)},
	}
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(l.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f); err != nil {
		return fmt.Errorf("open live capture: attach filter: %w", err)
	}
	return nil
}

// map3 makes the ring. A block is handed over when it is full or 50 ms old.
func (l *Live) map3(size int) error {
	if size <= 0 {
		size = liveRingBytes
	}
	size = min(size, liveMaxRing)
	l.blocks = max(size/liveBlock, 2)
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("open live capture: set version of the ring: %w", err)
	}
	const frame = 2048 // only a unit of account in this version
	req := unix.TpacketReq3{
		Block_size: liveBlock, Block_nr: uint32(l.blocks),
		Frame_size: frame, Frame_nr: uint32(l.blocks * liveBlock / frame), Retire_blk_tov: liveRetire,
	}
	if err := unix.SetsockoptTpacketReq3(l.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("open live capture: make a ring of %d MiB: %w; try a smaller one", l.blocks*liveBlock>>20, err)
	}
	ring, err := unix.Mmap(l.fd, 0, l.blocks*liveBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("open live capture: map the ring: %w", err)
	}
	l.ring = ring
	return nil
}

// Close gives the ring and the socket back.
func (l *Live) Close() error {
	if l.ring != nil {
		_ = unix.Munmap(l.ring)
		l.ring = nil
	}
	if l.fd < 0 {
		return nil
	}
	fd := l.fd
	l.fd = -1
	return unix.Close(fd)
}

// Interfaces returns the interfaces met so far; Record.Interface is an index.
func (l *Live) Interfaces() []packet.Interface { return l.interfaces }

// Dropped returns how many frames the kernel could not put into the ring,
// because they were not read fast enough. It may be called by any goroutine.
func (l *Live) Dropped() uint64 { return l.dropped.Load() }

// ReadBatch waits for frames and fills b with what is there. When the context
// is done it returns what the ring still has and then io.EOF.
func (l *Live) ReadBatch(b *packet.Batch) error {
	if cap(b.Data) < packet.BatchBytes+liveBlock {
		b.Data = make([]byte, 0, packet.BatchBytes+liveBlock)
	}
	b.Data, b.Records, b.First = b.Data[:0], b.Records[:0], l.number
	for {
		if l.ctx.Err() != nil && !l.stopped {
			if err := l.stop(); err != nil {
				return err
			}
		}
		l.drain(b)
		if len(b.Records) > 0 {
			l.number += int64(len(b.Records))
			return l.count()
		}
		if l.waited {
			return io.EOF
		}
		l.waited = l.stopped
		fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN | unix.POLLERR}}
		if _, err := unix.Poll(fds, livePoll); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for frames: %w", err)
		}
		if fds[0].Revents&unix.POLLERR != 0 {
			if err := l.socketError(); err != nil {
				return err
			}
		}
	}
}

// stop lets nothing more into the ring, so that it can be read to its end.
func (l *Live) stop() error {
	l.stopped = true
	f := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	if err := unix.SetsockoptSockFprog(l.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f); err != nil {
		return fmt.Errorf("stop live capture: %w", err)
	}
	return nil
}

// socketError is what happened to the interface.
func (l *Live) socketError() error {
	n, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return fmt.Errorf("read frames: %w", err)
	case n == 0:
		return nil
	case unix.Errno(n) == unix.ENETDOWN:
		return errors.New("read frames: the interface went down or away")
	}
	return fmt.Errorf("read frames: %w", unix.Errno(n))
}

// count asks how many frames were lost; asking sets the kernel's count to zero.
func (l *Live) count() error {
	st, err := unix.GetsockoptTpacketStatsV3(l.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("read packet statistics: %w", err)
	}
	l.dropped.Add(uint64(st.Drops))
	return nil
}

// The fields of struct tpacket_block_desc and tpacket3_hdr (linux/if_packet.h).
const (
	blockStatus = 8
	blockFrames = 12
	blockFirst  = 16

	frameNext    = 0
	frameSeconds = 4
	frameNanos   = 8
	frameSnap    = 12
	frameLength  = 16
	frameStatus  = 20
	frameMAC     = 24
	frameNet     = 26
	frameTCI     = 32
	frameTPID    = 36
	frameAddress = 48 // struct sockaddr_ll, aligned to 16
	frameMinimum = frameAddress + 20

	addrIfindex  = 4
	addrHardware = 8
	addrType     = 10
)

// drain moves frames from the ring to b until there are no more or b is full.
func (l *Live) drain(b *packet.Batch) {
	for {
		block := l.ring[l.block*liveBlock : (l.block+1)*liveBlock]
		status := (*uint32)(unsafe.Pointer(&block[blockStatus]))
		if l.frames < 0 {
			if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
				return
			}
			l.frames = int(binary.NativeEndian.Uint32(block[blockFrames:]))
			l.at = int(binary.NativeEndian.Uint32(block[blockFirst:]))
		}
		for l.frames > 0 {
			if len(b.Records) >= packet.BatchRecords || len(b.Data) >= packet.BatchBytes {
				return
			}
			l.frame(b, block[min(l.at, liveBlock-frameMinimum):])
			l.frames--
		}
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		l.frames = -1
		l.block = (l.block + 1) % l.blocks
	}
}

// frame copies one frame.
func (l *Live) frame(b *packet.Batch, f []byte) {
	ne := binary.NativeEndian
	l.at += int(ne.Uint32(f[frameNext:]))
	a := f[frameAddress:]
	out := a[addrType] == unix.PACKET_OUTGOING
	hardware := ne.Uint16(a[addrHardware:])
	start, snap, length := int(ne.Uint16(f[frameMAC:])), int(ne.Uint32(f[frameSnap:])), ne.Uint32(f[frameLength:])
	link := packet.LinkEthernet
	if hardware != unix.ARPHRD_ETHER && hardware != unix.ARPHRD_LOOPBACK { // from the IP header on
		link = packet.LinkRaw
		skip := max(int(ne.Uint16(f[frameNet:]))-start, 0)
		start, snap, length = start+skip, max(snap-skip, 0), length-min(uint32(skip), length)
	}
	if start+snap > len(f) {
		return
	}
	rec := packet.Record{
		Start: uint32(len(b.Data)), Link: link, Direction: packet.DirIn, Interface: l.interfaceOf(int32(ne.Uint32(a[addrIfindex:])), link),
		Time: int64(ne.Uint32(f[frameSeconds:]))*1e9 + int64(ne.Uint32(f[frameNanos:])),
	}
	if out {
		rec.Direction = packet.DirOut
	}
	data := f[start : start+snap]
	if ne.Uint32(f[frameStatus:])&unix.TP_STATUS_VLAN_VALID != 0 && link == packet.LinkEthernet && len(data) >= 12 {
		b.Data = append(b.Data, data[:12]...)
		b.Data = appendTag(b.Data, f)
		data, length = data[12:], length+4
	}
	b.Data = append(b.Data, data...)
	rec.Captured = uint32(len(b.Data)) - rec.Start
	rec.Length = max(length, rec.Captured)
	b.Records = append(b.Records, rec)
}

// appendTag puts a VLAN tag back, which the card or the kernel has taken off.
func appendTag(b, f []byte) []byte {
	tpid := uint16(unix.ETH_P_8021Q)
	if binary.NativeEndian.Uint32(f[frameStatus:])&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = binary.NativeEndian.Uint16(f[frameTPID:])
	}
	b = binary.BigEndian.AppendUint16(b, tpid)
	return binary.BigEndian.AppendUint16(b, uint16(binary.NativeEndian.Uint32(f[frameTCI:])))
}

// interfaceOf returns the index of an interface, a new one when it is first met.
func (l *Live) interfaceOf(ifindex int32, link packet.LinkType) uint16 {
	key := liveKey{ifindex, link}
	if i, ok := l.index[key]; ok {
		return i
	}
	const limit = 1 << 16
	if len(l.interfaces) >= limit {
		return limit - 1
	}
	p := packet.Interface{Link: link, Name: fmt.Sprintf("if%d", ifindex), SnapLen: l.snapLen}
	if i, err := net.InterfaceByIndex(int(ifindex)); err == nil {
		p.Name = i.Name
	}
	l.interfaces = append(l.interfaces, p)
	l.index[key] = uint16(len(l.interfaces) - 1)
	return l.index[key]
}
