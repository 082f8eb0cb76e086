package relay

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// read waits until something can be read, and reads it into a buffer that it takes
// only then. n is 0 without an error at the end of the stream.
func read(raw syscall.RawConn) (buf *[]byte, n int, err error) {
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		buf = buffers.Get().(*[]byte)
		for {
			n, rerr = unix.Read(int(fd), *buf)
			if rerr != unix.EINTR {
				break
			}
		}
		if rerr == unix.EAGAIN {
			buffers.Put(buf)
			buf, n = nil, 0
			return false
		}
		return true
	})
	if err == nil {
		err = rerr
	}
	return buf, max(n, 0), err
}

// info is TCP_INFO of a socket.
func info(raw syscall.RawConn) (i *unix.TCPInfo) {
	_ = raw.Control(func(fd uintptr) { i, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return i
}

// stateClose is TCP_CLOSE (include/net/tcp_states.h).
const stateClose = 7

// wasReset tells a clean end of a stream from a reset whose error somebody else was
// given: the socket is closed, and no FIN came, which would count as one byte more
// than was read. TIME_WAIT looks closed too, but had its FIN.
func wasReset(raw syscall.RawConn, received int64) bool {
	i := info(raw)
	return i != nil && i.State == stateClose && int64(i.Bytes_received) == received
}

// queued is how many bytes are not acknowledged, and whether the socket lives: the
// count of a dead one never falls.
func queued(raw syscall.RawConn) (n int, alive bool) {
	i := info(raw)
	if i == nil || i.State == stateClose {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, true
}

func isReset(err error) bool {
	return errors.Is(err, errReset) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNABORTED)
}

func isTimeout(err error) bool { return errors.Is(err, unix.ETIMEDOUT) }
