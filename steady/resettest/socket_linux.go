package resettest

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// flushed waits until the peer's kernel has acknowledged everything sent, at most
// settle. A RST throws away what is still in the send queue.
func flushed(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		queued := 0
		err := raw.Control(func(fd uintptr) { queued, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err != nil || queued == 0 {
			return
		}
	}
}

// blackHole listens on addr with a full accept queue, which makes the kernel drop
// every further SYN (net/ipv4/tcp_input.c, tcp_conn_request). The connections
// that fill it are its own.
func blackHole(addr *net.TCPAddr) (bound *net.TCPAddr, release func(), err error) {
	fd, err := bindSocket(addr)
	if err != nil {
		return nil, nil, err
	}
	fds := []int{fd}
	release = func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	if bound, err = localAddr(fd); err == nil {
		err = unix.Listen(fd, 0)
	}
	for err == nil {
		full := false
		if full, err = queueFull(fd); full || err != nil {
			break
		}
		if len(fds) > 8 { // a queue of length 0 holds one
			err = errors.New("accept queue does not fill")
			break
		}
		var c int
		if c, err = fill(fd, bound); err == nil {
			fds = append(fds, c)
		}
	}
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("fill accept queue: %w", err)
	}
	return bound, release, nil
}

// fill opens one connection that stays in the accept queue of the listener.
func fill(listener int, addr *net.TCPAddr) (int, error) {
	before, err := unix.GetsockoptTCPInfo(listener, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return -1, err
	}
	family := unix.AF_INET
	if addr.IP.To4() == nil {
		family = unix.AF_INET6
	}
	c, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	to := *addr
	if to.IP.IsUnspecified() {
		to.IP = net.IPv4(127, 0, 0, 1)
	}
	if err := unix.Connect(c, sockaddr(&to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(c)
		return -1, err
	}
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if now, err := unix.GetsockoptTCPInfo(listener, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && now.Unacked > before.Unacked {
			return c, nil
		}
	}
	_ = unix.Close(c)
	return -1, errors.New("connection does not reach the accept queue")
}

// queueFull reads the accept queue of a listener, which TCP_INFO has in these two
// fields (net/ipv4/tcp.c, tcp_get_info).
func queueFull(fd int) (bool, error) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false, err
	}
	return i.Unacked > i.Sacked, nil
}

// acknowledge sends the acknowledgement that the kernel may still delay
// (net/ipv4/tcp.c, __tcp_sock_set_quickack).
func acknowledge(c *net.TCPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
}

// vanish closes a connection without a segment. A socket in repair mode does
// (net/ipv4/tcp.c, tcp_disconnect).
func vanish(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var op error
	err = raw.Control(func(fd uintptr) { op = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) })
	return errors.Join(err, op, c.Close())
}

// canVanish says whether vanish is allowed.
func canVanish() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) == nil
}
