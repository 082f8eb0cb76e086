package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canLocate says whether segments with a small TTL can be sent without a privilege here.
const canLocate = true

// Waits of a shot. What expires, and a reset, comes within a round trip; a segment that
// is lost is sent again after 0.2 s with the same TTL.
const (
	shotWait = 700 * time.Millisecond
	poll     = 3 * time.Millisecond
	usualTTL = 64
)

// shoot connects, and then sends a payload that lives for ttl hops. The handshake is not
// limited, and neither is the abort behind it, so that no half-open connection stays at
// the server.
func shoot(ctx context.Context, to netip.AddrPort, ttl int, payload []byte) (hit, error) {
	d := net.Dialer{}
	d.SetMultipathTCP(false)
	nc, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return failed, err
	}
	c := nc.(*net.TCPConn)
	defer func() {
		_ = withFD(c, func(fd int) error { return setTTL(fd, to, usualTTL) })
		_ = c.SetLinger(0)
		c.Close()
	}()
	err = withFD(c, func(fd int) error { return errors.Join(receiveErrors(fd, to), setTTL(fd, to, ttl)) })
	if err != nil {
		return failed, err
	}
	if _, err := c.Write(payload); err != nil {
		return hitOf(err), nil
	}
	b := make([]byte, 1)
	for end := time.Now().Add(shotWait); time.Now().Before(end) && ctx.Err() == nil; {
		_ = c.SetReadDeadline(time.Now().Add(poll))
		n, err := c.Read(b)
		switch {
		case n > 0 || errors.Is(err, io.EOF):
			return answered, nil
		case err != nil && !errors.Is(err, context.DeadlineExceeded) && hitOf(err) != silent:
			return hitOf(err), nil
		}
		// An ICMP error that meets a locked socket is kept aside as a soft error.
		var soft error
		_ = withFD(c, func(fd int) error { soft = softError(fd); return nil })
		if h := hitOf(soft); h != silent {
			return h, nil
		}
	}
	return silent, ctx.Err()
}

// reach asks whether a SYN that lives for ttl hops is answered.
func reach(ctx context.Context, to netip.AddrPort, ttl int) bool {
	d := net.Dialer{Timeout: shotWait, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = setTTL(int(fd), to, ttl) })
		return err
	}}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return false
	}
	_ = withFD(c.(*net.TCPConn), func(fd int) error { return setTTL(fd, to, usualTTL) })
	c.Close()
	return true
}

func hitOf(err error) hit {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return silent
	}
	switch errno {
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED:
		return wasReset
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH:
		return expired
	}
	return silent
}

func softError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || n == 0 {
		return err
	}
	return syscall.Errno(n)
}

func setTTL(fd int, to netip.AddrPort, ttl int) error {
	if to.Addr().Unmap().Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
}

// receiveErrors has ICMP errors reported that TCP would ignore (ip(7), IP_RECVERR).
func receiveErrors(fd int, to netip.AddrPort) error {
	if to.Addr().Unmap().Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
}

func withFD(c *net.TCPConn, f func(fd int) error) (err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}
