package steady

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// infoNeeded is the length of struct tcp_info up to tcpi_bytes_retrans, which
// Linux 4.19 brought. A shorter answer is no evidence.
const infoNeeded = uint32(unsafe.Offsetof(unix.TCPInfo{}.Bytes_retrans) + 8)

// kernelInfo is where the kernel writes; it lives in the connection so that a
// snapshot allocates nothing.
type kernelInfo struct {
	raw unix.TCPInfo
	n   uint32
}

// read fills s from the socket fd.
func (k *kernelInfo) read(fd uintptr, s *Snapshot) {
	*s = Snapshot{}
	k.n = uint32(unsafe.Sizeof(k.raw))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&k.raw)), uintptr(unsafe.Pointer(&k.n)), 0)
	if errno != 0 || k.n < infoNeeded {
		return
	}
	s.Taken, s.State = true, k.raw.State
	s.BytesAcked, s.BytesReceived = k.raw.Bytes_acked, k.raw.Bytes_received
	s.BytesSent, s.BytesRetrans = k.raw.Bytes_sent, k.raw.Bytes_retrans
	s.DataSegments = k.raw.Data_segs_out
	s.Silent = time.Duration(k.raw.Last_data_recv) * time.Millisecond
	s.RTT = time.Duration(k.raw.Rtt) * time.Microsecond
}

// unread returns the bytes in the receive queue (SIOCINQ, tcp(7)); the kernel
// leaves a FIN out of it (net/ipv4/tcp.c, tcp_inq).
func unread(fd uintptr) (uint64, bool) {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	return uint64(max(n, 0)), err == nil
}
