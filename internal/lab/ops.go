//go:build linux

package lab

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ops are the things an actor can do. Those that an application would do
// report an errno as a result; everything else that fails is a defect of the
// lab or of the machine.
var ops map[string]func(*actor, request, *response) error

func init() { //nolint:gochecknoinits // breaks the cycle between the table and serve
	ops = map[string]func(*actor, request, *response) error{
		"open":       opOpen,
		"listen":     opListen,
		"connect":    opConnect,
		"finish":     opFinish,
		"accept":     opAccept,
		"send":       opSend,
		"recv":       opRecv,
		"read":       opRead,
		"close":      opClose,
		"shutdown":   opShutdown,
		"setopt":     opSetopt,
		"disconnect": opDisconnect,
		"dup2":       opDup2,
		"info":       opInfo,
		"await":      opAwait,
		"vanish":     opVanish,
		"md5":        opMD5,

		"exec":      opExec,
		"exit":      opExit,
		"segv":      opSegv,
		"child":     opChild,
		"child-end": opChildEnd,
		"kill":      opKill,
		"cgroup":    opCgroup,
		"eat":       opEat,
		"rlimit":    opRlimit,

		"raw":        opRaw,
		"sniff":      opSniff,
		"sniffed":    opSniffed,
		"sniff-stop": opSniffStop,

		"sysctl":    opSysctl,
		"nft":       opNft,
		"sockets":   opSockets,
		"counters":  opCounters,
		"destroy":   opDestroy,
		"veth":      opVeth,
		"blackhole": opBlackhole,
		"addr":      opAddr,
		"up":        opUp,
		"down":      opDown,
		"mtu":       opMTU,
		"route":     opRoute,
		"unroute":   opUnroute,
		"unlink":    opUnlink,
		"bridge":    opBridge,
		"neigh":     opNeigh,
		"garp":      opGARP,
		"offload":   opOffload,
		"ct-flush":  opConntrackFlush,
	}
}

func opOpen(a *actor, q request, r *response) error {
	family := unix.AF_INET
	if q.Local.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, q.Proto)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	for _, o := range q.Opts {
		if err := unix.SetsockoptInt(fd, o.Level, o.Opt, o.Value); err != nil {
			unix.Close(fd)
			return fmt.Errorf("set socket option %d/%d: %w", o.Level, o.Opt, err)
		}
	}
	a.sockets[fd] = true
	r.FD = fd
	if q.Local.Port() == 0 && q.Local.Addr().IsUnspecified() {
		return nil
	}
	if err := unix.Bind(fd, sockaddr(q.Local)); err != nil {
		return saw(err)
	}
	return nil
}

func opListen(a *actor, q request, r *response) error {
	if err := unix.Listen(q.FD, q.N); err != nil {
		return saw(err)
	}
	r.Local = localName(q.FD)
	return nil
}

func opConnect(a *actor, q request, r *response) error {
	err := unix.Connect(q.FD, sockaddr(q.Addr))
	r.Local = localName(q.FD)
	if err == unix.EINPROGRESS && q.Wait > 0 {
		return opFinish(a, q, r)
	}
	return saw(err)
}

// opFinish waits for a connect in progress: EAGAIN when the time is over.
func opFinish(a *actor, q request, r *response) error {
	ready, err := pollFD(q.FD, unix.POLLOUT, q.Wait)
	if err != nil {
		return err
	}
	if !ready {
		return saw(unix.EAGAIN)
	}
	r.Local = localName(q.FD)
	return soError(q.FD)
}

func soError(fd int) error {
	no, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("read SO_ERROR: %w", err)
	}
	if no != 0 {
		return saw(syscall.Errno(no))
	}
	return nil
}

func opAccept(a *actor, q request, r *response) error {
	if _, err := pollFD(q.FD, unix.POLLIN, q.Wait); err != nil {
		return err
	}
	fd, sa, err := unix.Accept4(q.FD, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return saw(err)
	}
	a.sockets[fd] = true
	r.FD, r.Local, r.Peer = fd, localName(fd), fromSockaddr(sa)
	return nil
}

// opSend writes N bytes (or Data), unless the time is over or an error comes
// first. Fewer bytes without an error mean that the time was over.
func opSend(a *actor, q request, r *response) error {
	data := q.Data
	if data == nil {
		data = pattern(q.N)
	}
	deadline := time.Now().Add(q.Wait)
	for len(data) > 0 {
		n, err := unix.SendmsgN(q.FD, data, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EAGAIN {
			left := time.Until(deadline)
			if left <= 0 {
				return nil
			}
			if _, err := pollFD(q.FD, unix.POLLOUT, left); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return saw(err)
		}
		r.N += n
		data = data[n:]
	}
	return nil
}

// pattern is n bytes that are easy to recognise in a capture.
func pattern(n int) []byte {
	const text = "holdfast lab. "
	b := make([]byte, n)
	for i := range b {
		b[i] = text[i%len(text)]
	}
	return b
}

// opRecv reads N bytes, unless the time is over (EAGAIN), the stream ends
// (EOF) or an error comes first.
func opRecv(a *actor, q request, r *response) error {
	deadline := time.Now().Add(q.Wait)
	buf := make([]byte, min(q.N, 1<<18))
	for r.N < q.N {
		n, _, err := unix.Recvfrom(q.FD, buf[:min(len(buf), q.N-r.N)], 0)
		switch {
		case err == unix.EAGAIN:
			left := time.Until(deadline)
			if left <= 0 {
				return saw(unix.EAGAIN)
			}
			if _, err := pollFD(q.FD, unix.POLLIN, left); err != nil {
				return err
			}
		case err == unix.EINTR:
		case err != nil:
			return saw(err)
		case n == 0:
			return saw(io.EOF)
		default:
			r.N += n
		}
	}
	return nil
}

func opClose(a *actor, q request, r *response) error {
	delete(a.sockets, q.FD)
	return saw(unix.Close(q.FD))
}

func opShutdown(a *actor, q request, r *response) error {
	return saw(unix.Shutdown(q.FD, q.N))
}

func opSetopt(a *actor, q request, r *response) error {
	if q.Level == unix.SOL_SOCKET && q.Opt == unix.SO_LINGER {
		return unix.SetsockoptLinger(q.FD, q.Level, q.Opt, &unix.Linger{Onoff: 1, Linger: int32(q.Value)})
	}
	if err := unix.SetsockoptInt(q.FD, q.Level, q.Opt, q.Value); err != nil {
		return fmt.Errorf("set socket option %d/%d: %w", q.Level, q.Opt, err)
	}
	return nil
}

// opDisconnect is connect(AF_UNSPEC).
func opDisconnect(a *actor, q request, r *response) error {
	var sa [16]byte // family 0 is AF_UNSPEC
	_, _, no := unix.Syscall(unix.SYS_CONNECT, uintptr(q.FD), uintptrOf(&sa), uintptr(len(sa)))
	if no != 0 {
		return saw(no)
	}
	return nil
}

// opDup2 closes the socket by putting /dev/null in its place.
func opDup2(a *actor, q request, r *response) error {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	delete(a.sockets, q.FD)
	return dup2(null, q.FD)
}

// opVanish makes every socket of this process disappear without a segment, as
// when its host loses power: TCP_REPAIR sockets are closed in silence.
// One socket only, when FD names one.
func opVanish(a *actor, q request, r *response) error {
	if q.FD != 0 {
		vanish(q.FD)
		delete(a.sockets, q.FD)
		return nil
	}
	for fd := range a.sockets {
		for { // connections in an accept queue would be reset with their listener
			c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			vanish(c)
		}
		vanish(fd)
		delete(a.sockets, fd)
	}
	return nil
}

func vanish(fd int) {
	unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, 1) //nolint:errcheck // listeners refuse, and need it not
	unix.Close(fd)
}

// opMD5 requires TCP-MD5 signatures (RFC 2385) from the peer.
func opMD5(a *actor, q request, r *response) error {
	sig := unix.TCPMD5Sig{Keylen: uint16(len(q.Text))}
	copy(sig.Key[:], q.Text)
	if q.Addr.Addr().Is4() {
		sig.Addr.Family = unix.AF_INET
		ip := q.Addr.Addr().As4()
		copy(sig.Addr.Data[2:], ip[:]) // behind the port
	} else {
		sig.Addr.Family = unix.AF_INET6
		ip := q.Addr.Addr().As16()
		copy(sig.Addr.Data[6:], ip[:]) // behind port and flow label
	}
	return unix.SetsockoptTCPMD5Sig(q.FD, unix.SOL_TCP, unix.TCP_MD5SIG, &sig)
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}
	}
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
}

func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func localName(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return fromSockaddr(sa)
}

// pollFD waits for an event; it returns false when the time is over.
func pollFD(fd int, events int16, wait time.Duration) (bool, error) {
	deadline := time.Now().Add(wait)
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		n, err := unix.Poll(p, int(max(0, time.Until(deadline)).Milliseconds()+1))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		if n > 0 || time.Now().After(deadline) {
			return n > 0, nil
		}
	}
}
