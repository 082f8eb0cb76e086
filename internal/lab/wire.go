//go:build linux

package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// sniffer reads the TCP segments of one port from one interface.
type sniffer struct {
	fd   int
	port uint16
}

// opSniff starts to watch port N on the interface TEXT.
func opSniff(a *actor, q request, r *response) error {
	i, err := net.InterfaceByName(q.Text)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", q.Text, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make packet socket: %w", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) //nolint:errcheck // the default may do
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: i.Index})
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind packet socket: %w", err)
	}
	a.sniffers[fd] = &sniffer{fd, uint16(q.N)}
	r.FD = fd
	return nil
}

func htons(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// opSniffed returns the segments seen since the last call.
func opSniffed(a *actor, q request, r *response) error {
	s := a.sniffers[q.FD]
	if s == nil {
		return fmt.Errorf("no sniffer %d", q.FD)
	}
	var buf [160]byte
	for {
		n, from, err := unix.Recvfrom(s.fd, buf[:], 0)
		if err == unix.EAGAIN {
			return nil
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("read packet socket: %w", err)
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		seg, isTCP := parseSegment(buf[:n])
		if !ok || !isTCP || !s.wants(seg) {
			continue
		}
		seg.Out, seg.At = ll.Pkttype == unix.PACKET_OUTGOING, time.Now()
		r.Segments = append(r.Segments, seg)
	}
}

func opSniffStop(a *actor, q request, r *response) error {
	delete(a.sniffers, q.FD)
	return unix.Close(q.FD)
}

// parseSegment decodes the headers of an IP packet with TCP in it.
func parseSegment(b []byte) (s segment, ok bool) {
	if len(b) < 20 {
		return s, false
	}
	var src, dst netip.Addr
	var total int
	switch b[0] >> 4 {
	case 4:
		ihl := int(b[0]&15) * 4
		if b[9] != unix.IPPROTO_TCP || ihl < 20 || len(b) < ihl {
			return s, false
		}
		total, s.TTL = int(binary.BigEndian.Uint16(b[2:]))-ihl, b[8]
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[ihl:]
	case 6:
		if len(b) < 40 || b[6] != unix.IPPROTO_TCP {
			return s, false
		}
		total, s.TTL = int(binary.BigEndian.Uint16(b[4:])), b[7]
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
	default:
		return s, false // ARP, for one
	}
	if len(b) < 20 {
		return s, false
	}
	s.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	s.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	s.Seq, s.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	off := int(b[12]>>4) * 4
	s.Flags, s.Window, s.Len = b[13], binary.BigEndian.Uint16(b[14:]), total-off
	s.parseOptions(b[20:max(20, min(off, len(b)))])
	return s, true
}

func (s *segment) parseOptions(b []byte) {
	for len(b) > 0 && b[0] != 0 {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		if b[0] == 8 && b[1] == 10 {
			s.HasTS = true
			s.TSval, s.TSe = binary.BigEndian.Uint32(b[2:]), binary.BigEndian.Uint32(b[6:])
		}
		b = b[b[1]:]
	}
}

// build makes an IP packet with the segment and data, ready for a raw socket.
func (s segment) build(data []byte) []byte {
	opts := slices.Clone(s.Options)
	if s.HasTS {
		opts = binary.BigEndian.AppendUint32(append(opts, 1, 1, 8, 10), s.TSval)
		opts = binary.BigEndian.AppendUint32(opts, s.TSe)
	}
	t := make([]byte, 20, 20+len(opts)+len(data))
	binary.BigEndian.PutUint16(t, s.Src.Port())
	binary.BigEndian.PutUint16(t[2:], s.Dst.Port())
	binary.BigEndian.PutUint32(t[4:], s.Seq)
	binary.BigEndian.PutUint32(t[8:], s.Ack)
	t[12], t[13] = byte(20+len(opts))<<2, s.Flags
	binary.BigEndian.PutUint16(t[14:], s.Window)
	t = append(append(t, opts...), data...)
	src, dst := s.Src.Addr().AsSlice(), s.Dst.Addr().AsSlice()
	pseudo := append(append([]byte{}, src...), dst...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(t)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, unix.IPPROTO_TCP)
	binary.BigEndian.PutUint16(t[16:], checksum(append(pseudo, t...)))
	if s.Src.Addr().Is6() {
		ip := make([]byte, 8, 40+len(t))
		ip[0], ip[6], ip[7] = 0x60, unix.IPPROTO_TCP, s.TTL
		binary.BigEndian.PutUint16(ip[4:], uint16(len(t)))
		return append(append(append(ip, src...), dst...), t...)
	}
	ip := make([]byte, 12, 20+len(t))
	ip[0], ip[8], ip[9] = 0x45, s.TTL, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(t)))
	binary.BigEndian.PutUint16(ip[4:], 0x1234)
	ip = append(append(ip, src...), dst...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, t...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// opRaw sends Data, an IP packet, to Addr.
func opRaw(a *actor, q request, r *response) error {
	v6 := q.Addr.Addr().Is6()
	fd, ok := a.raw[v6]
	if !ok {
		family := unix.AF_INET
		if v6 {
			family = unix.AF_INET6
		}
		var err error
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("make raw socket: %w", err)
		}
		a.raw[v6] = fd
	}
	if err := unix.Sendto(fd, q.Data, 0, sockaddr(netip.AddrPortFrom(q.Addr.Addr(), 0))); err != nil {
		return fmt.Errorf("send raw packet: %w", err)
	}
	return nil
}

// wants reports whether the segment uses one of the ports of the play.
func (s *sniffer) wants(g segment) bool {
	return g.Src.Port()-s.port < portBlock || g.Dst.Port()-s.port < portBlock
}
