package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrShort says that a kernel message ended before its time.
var ErrShort = errors.New("netlink message is too short")

// ErrStop ends a dump early; the connection is useless afterwards.
var ErrStop = errors.New("stop")

// ErrInterrupted says that the table changed during the dump, which may
// therefore miss or repeat entries.
var ErrInterrupted = errors.New("the table changed while it was read")

var native = binary.NativeEndian

// timeout bounds the wait for the kernel's answer.
const timeout = 2 // seconds

// Conn is a netlink socket with one request at a time.
type Conn struct {
	fd  int
	seq uint32
}

// buffers are receive buffers; the kernel fills up to 32 KiB per message
// of a dump.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// Dial opens a netlink socket in the namespace of the calling thread, where it stays.
// The protocol is unix.NETLINK_NETFILTER or another.
func Dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	tv := unix.Timeval{Sec: timeout}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return &Conn{fd: fd}, nil
}

// Close closes the socket.
func (c *Conn) Close() { unix.Close(c.fd) }

// Dump asks for a table and calls each with the payload of each entry.
func (c *Conn) Dump(typ uint16, payload []byte, each func([]byte) error) error {
	return c.Request(typ, unix.NLM_F_DUMP, payload, func(_ uint16, b []byte) error { return each(b) })
}

// Request sends one request and reads the whole answer. Kernel errors come
// back as unix.Errno. The payload that each gets is valid during the call.
func (c *Conn) Request(typ, flags uint16, payload []byte, each func(typ uint16, b []byte) error) error {
	c.seq++
	msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(payload))
	native.PutUint32(msg[0:], uint32(cap(msg)))
	native.PutUint16(msg[4:], typ)
	native.PutUint16(msg[6:], flags|unix.NLM_F_REQUEST)
	native.PutUint32(msg[8:], c.seq)
	msg = append(msg, payload...)
	if err := unix.Sendto(c.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send netlink request: %w", err)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	interrupted := false
	for {
		n, from, err := recvfrom(c.fd, *buf)
		if err != nil {
			return fmt.Errorf("receive netlink answer: %w", err)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // another process may send to us; only the kernel counts
		}
		done, err := c.messages((*buf)[:n], &interrupted, each)
		if err != nil {
			return err
		}
		if done || flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
			if interrupted {
				return ErrInterrupted
			}
			return nil
		}
	}
}

// recvfrom is recvfrom(2) that goes on after signals.
func recvfrom(fd int, b []byte) (int, unix.Sockaddr, error) {
	for {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != unix.EINTR {
			return n, from, err
		}
	}
}

// messages walks one datagram; done is true at the end of the answer.
func (c *Conn) messages(b []byte, interrupted *bool, each func(uint16, []byte) error) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(native.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return true, ErrShort
		}
		typ, flags, seq := native.Uint16(b[4:]), native.Uint16(b[6:]), native.Uint32(b[8:])
		data := b[unix.SizeofNlMsghdr:size]
		b = b[min(len(b), (size+3)&^3):]
		if seq != c.seq {
			continue
		}
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			*interrupted = true
		}
		switch typ {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(data) >= 4 {
				if errno := int32(native.Uint32(data)); errno < 0 {
					return true, unix.Errno(-errno)
				}
			}
			return true, nil
		case unix.NLMSG_NOOP:
		default:
			if err := each(typ, data); err != nil {
				return true, err
			}
		}
	}
	return false, nil
}

// Strict asks the kernel to filter a dump by what the request says (NETLINK_GET_STRICT_CHK,
// Linux 4.20). An older kernel dumps everything.
func (c *Conn) Strict() {
	_ = unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
}

// NetnsCookie returns the identity of the socket's namespace, 0 when unknown.
func (c *Conn) NetnsCookie() uint64 {
	n, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return n
}

// NetfilterHeader returns the header of netfilter's messages (struct nfgenmsg).
func NetfilterHeader(family byte) []byte { return []byte{family, 0, 0, 0} }
