//go:build unix

package resettest

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

const onUnix = true

// peekAt waits for data and copies it without taking it from the socket.
func peekAt(c *net.TCPConn, p []byte) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var op error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, op = unix.Recvfrom(int(fd), p, unix.MSG_PEEK)
			if !errors.Is(op, unix.EINTR) {
				break
			}
		}
		return !errors.Is(op, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return 0, err
	case op != nil:
		return 0, op
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// abortive makes closing a socket abort its connection.
func abortive(_, _ string, raw syscall.RawConn) error {
	var op error
	err := raw.Control(func(fd uintptr) {
		op = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	return errors.Join(err, op)
}

// hold binds a port without listening on it. Connections to it are refused and
// nobody else can take it until release is called.
func hold(addr *net.TCPAddr) (bound *net.TCPAddr, release func(), err error) {
	fd, err := bindSocket(addr)
	if err != nil {
		return nil, nil, err
	}
	bound, err = localAddr(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, nil, err
	}
	return bound, func() { _ = unix.Close(fd) }, nil
}

// bindSocket returns a TCP socket bound to addr.
func bindSocket(addr *net.TCPAddr) (int, error) {
	family := unix.AF_INET
	if addr.IP.To4() == nil {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, sockaddr(addr))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(addr *net.TCPAddr) unix.Sockaddr {
	if ip := addr.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}
	}
	sa := &unix.SockaddrInet6{Port: addr.Port}
	copy(sa.Addr[:], addr.IP.To16())
	return sa
}

func localAddr(fd int) (*net.TCPAddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: net.IP(sa.Addr[:]), Port: sa.Port}, nil
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: net.IP(sa.Addr[:]), Port: sa.Port}, nil
	}
	return nil, errors.New("socket is not TCP")
}

// urgent sends one octet of urgent data.
func urgent(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = syscall.Sendto(int(fd), []byte{'!'}, syscall.MSG_OOB, nil) }); err != nil {
		return err
	}
	return serr
}
