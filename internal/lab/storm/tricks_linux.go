package storm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// repairClose closes a socket without a word to the other end.
func repairClose(o *order) (a answer, err error) {
	if err := unix.SetsockoptInt(o.FD, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return a, fmt.Errorf("TCP_REPAIR: %w", err)
	}
	return a, unix.Close(o.FD)
}

// numbers returns the next sequence numbers of both directions.
func numbers(o *order) (a answer, err error) {
	const sendQueue, recvQueue = 2, 1
	if err := unix.SetsockoptInt(o.FD, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return a, fmt.Errorf("TCP_REPAIR: %w", err)
	}
	defer func() {
		// without window probes
		err = errors.Join(err, unix.SetsockoptInt(o.FD, unix.IPPROTO_TCP, unix.TCP_REPAIR, -1))
	}()
	read := func(queue int) (uint32, error) {
		if err := unix.SetsockoptInt(o.FD, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
			return 0, err
		}
		n, err := unix.GetsockoptInt(o.FD, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
		return uint32(n), err
	}
	if a.Seq, err = read(sendQueue); err != nil {
		return a, err
	}
	a.Ack, err = read(recvQueue)
	return a, err
}

// forge writes a RST from Addr to To.
func forge(o *order) (a answer, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return a, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1); err != nil {
		return a, err
	}
	src, dst := o.Addr.Addr().As4(), o.To.Addr().As4()
	b := make([]byte, 40)
	b[0], b[3], b[8], b[9] = 0x45, 40, 61, 6
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	t := b[20:]
	binary.BigEndian.PutUint16(t, o.Addr.Port())
	binary.BigEndian.PutUint16(t[2:], o.To.Port())
	binary.BigEndian.PutUint32(t[4:], o.Seq)
	t[12], t[13] = 0x50, 4
	binary.BigEndian.PutUint16(t[16:], checksum(src, dst, t))
	return a, unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: dst})
}

func checksum(src, dst [4]byte, t []byte) uint16 {
	sum := uint32(6 + len(t))
	for _, p := range [][]byte{src[:], dst[:], t} {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(p[i])<<8 | uint32(p[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// uring lets a ring hold the socket alone: registered, and its descriptor closed.
// It returns the ring.
func uring(o *order) (a answer, err error) {
	var params [120]byte // struct io_uring_params
	ring, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if e != 0 {
		return a, e
	}
	unix.CloseOnExec(int(ring))
	const registerFiles = 2
	fds := []int32{int32(o.FD)}
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_REGISTER, ring, registerFiles, uintptr(unsafe.Pointer(&fds[0])), 1, 0, 0); e != 0 {
		return a, e
	}
	return answer{FD: int(ring)}, unix.Close(o.FD)
}

// destroy does what ss -K does to the connection from Addr to To.
func destroy(o *order) (a answer, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return a, err
	}
	defer unix.Close(fd)
	const sockDestroy = 21
	b := make([]byte, 16+56) // nlmsghdr, inet_diag_req_v2
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDestroy)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	r := b[16:]
	r[0], r[1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], 0xffffffff)
	putID(r[8:], o.Addr, o.To)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return a, err
	}
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil || n < 20 {
		return a, errors.New("no answer to SOCK_DESTROY")
	}
	if e := int32(binary.NativeEndian.Uint32(b[16:])); e != 0 {
		return a, unix.Errno(-e)
	}
	return a, nil
}

// putID writes struct inet_diag_sockid.
func putID(b []byte, local, remote netip.AddrPort) {
	binary.BigEndian.PutUint16(b, local.Port())
	binary.BigEndian.PutUint16(b[2:], remote.Port())
	l, r := local.Addr().As4(), remote.Addr().As4()
	copy(b[4:], l[:])
	copy(b[20:], r[:])
	for i := range 8 {
		b[40+i] = 0xff // any cookie
	}
}
