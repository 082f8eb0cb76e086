package relay

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe carries bytes from socket to socket inside the kernel.
type pipe struct{ r, w int }

// maxPipes bounds the pipes of a process: an unprivileged user has 1024 pages of
// them each, and beyond that every splice is slow (fs.pipe-user-pages-soft).
const maxPipes = 64

// pipeSize is what is asked for; without the privilege the kernel gives less.
const pipeSize = 1 << 20

// pipes that are free; room counts those that may still be made.
var (
	pipes = make(chan *pipe, maxPipes)
	room  = make(chan struct{}, maxPipes)
)

// takePipe returns a pipe, or nil when all are in use: then bytes are copied.
func takePipe() *pipe {
	select {
	case p := <-pipes:
		return p
	default:
	}
	select {
	case room <- struct{}{}:
	default:
		return nil
	}
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		<-room
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fd[1]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fd[0], fd[1]}
}

// give returns an empty pipe.
func (p *pipe) give() { pipes <- p }

// drop closes a pipe that has bytes left.
func (p *pipe) drop() {
	unix.Close(p.r)
	unix.Close(p.w)
	<-room
}

// bulk moves what arrives faster than it is read, inside the kernel, until nothing
// is there for the moment. moved counts bytes that were taken from from, and sent
// those that to accepted; the errors say whose they are. end is true at the end of
// the stream.
func bulk(from, to syscall.RawConn, moved, sent func(int64)) (end bool, rerr, werr error) {
	p := takePipe()
	if p == nil {
		return false, nil, nil
	}
	for {
		n, err := spliceIn(from, p)
		switch {
		case err == unix.EAGAIN:
			p.give()
			return false, nil, nil
		case err != nil:
			p.give()
			return false, err, nil
		case n == 0:
			p.give()
			return true, nil, nil
		}
		moved(n)
		for n > 0 {
			m, err := spliceOut(to, p, n)
			if err != nil {
				p.drop()
				return false, nil, err
			}
			sent(m)
			n -= m
		}
	}
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

// spliceIn does not wait: EAGAIN says that nothing is there.
func spliceIn(from syscall.RawConn, p *pipe) (n int64, err error) {
	cerr := from.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Splice(int(fd), nil, p.w, nil, pipeSize, spliceFlags)
			if err != unix.EINTR {
				return true
			}
		}
	})
	if cerr != nil {
		err = cerr
	}
	return max(n, 0), err
}

// spliceOut waits until the socket takes something.
func spliceOut(to syscall.RawConn, p *pipe, most int64) (n int64, err error) {
	cerr := to.Write(func(fd uintptr) bool {
		for {
			n, err = unix.Splice(p.r, nil, int(fd), nil, int(most), spliceFlags)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if cerr != nil {
		err = cerr
	}
	return max(n, 0), err
}
