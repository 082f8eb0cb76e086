//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// protoMPTCP asks for Multipath TCP.
const protoMPTCP = unix.IPPROTO_MPTCP

// sock is a socket of an actor.
type sock struct {
	s             *stage
	p             *proc
	fd            int
	local, remote netip.AddrPort
	wrote, read   int64
}

// got is the outcome of a read or write: bytes, and what stopped it.
type got struct {
	N     int
	Errno string // "", EOF, EAGAIN (nothing more within the time) or an errno name
}

func (g got) String() string { return fmt.Sprintf("%d bytes, %q", g.N, g.Errno) }

// opening says how to make a socket; the zero value makes a plain one.
type opening struct {
	local netip.AddrPort // bound address; default: chosen by the kernel
	proto int            // protoMPTCP, or TCP
	opts  []sockopt
}

func (s *stage) open(p *proc, o opening) *sock {
	if !o.local.IsValid() {
		o.local = s.any(0)
	}
	r := s.call(p, request{Op: "open", Local: o.local, Proto: o.proto, Opts: o.opts})
	if r.Errno != "" {
		s.fail("%s: bind %s: %s", p.name, o.local, r.Errno)
	}
	return &sock{s: s, p: p, fd: r.FD, local: o.local}
}

// listen opens a listener on the first server port.
func (s *stage) listen(p *proc, backlog int) *sock {
	return s.listenOn(p, backlog, opening{local: s.any(s.port)})
}

func (s *stage) listenOn(p *proc, backlog int, o opening) *sock {
	o.opts = append(o.opts, sockopt{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1})
	l := s.open(p, o)
	if r := l.call(request{Op: "listen", N: backlog}); r.Errno != "" {
		s.fail("%s: listen: %s", p.name, r.Errno)
	}
	return l
}

// connect connects the client to the server's first port, and must succeed.
func (s *stage) connect(o opening) *sock {
	c, errno := s.dial(s.client(), s.addr("server", s.port), soon, o)
	if errno != "" {
		s.fail("connect: %s", errno)
	}
	return c
}

// dial tries to connect, and reports what the application saw: EAGAIN when
// the time was over.
func (s *stage) dial(p *proc, to netip.AddrPort, wait time.Duration, o opening) (*sock, string) {
	c := s.open(p, o)
	r := c.call(request{Op: "connect", Addr: to, Wait: wait})
	c.local, c.remote = r.Local, to
	return c, r.Errno
}

// accept takes a connection, which must come soon.
func (l *sock) accept() *sock {
	a, errno := l.tryAccept(soon)
	if errno != "" {
		l.s.fail("%s: accept: %s", l.p.name, errno)
	}
	return a
}

func (l *sock) tryAccept(wait time.Duration) (*sock, string) {
	r := l.call(request{Op: "accept", Wait: wait})
	if r.Errno != "" {
		return nil, r.Errno
	}
	return &sock{s: l.s, p: l.p, fd: r.FD, local: r.Local, remote: r.Peer}, ""
}

// pair makes a listener, a connection to it, and accepts it. The connection is
// the flow of the truth.
func (s *stage) pair() (l, c, a *sock) { return s.pairWith(opening{}, opening{}) }

func (s *stage) pairWith(co, lo opening) (l, c, a *sock) {
	lo.local = s.any(s.port)
	l = s.listenOn(s.server(), 16, lo)
	c, a = s.join(l, co)
	return l, c, a
}

// join connects to a listener and accepts.
func (s *stage) join(l *sock, o opening) (c, a *sock) {
	c = s.connect(o)
	a = l.accept()
	s.account(c, a)
	return c, a
}

// account makes a connection a flow of the truth and counts its bytes. The
// server's end may be nil: nobody accepted it.
func (s *stage) account(c, a *sock) {
	s.flow(c.local, c.remote)
	s.pairs = append(s.pairs, pair{c, a})
}

func (k *sock) call(q request) response {
	q.FD = k.fd
	return k.s.call(k.p, q)
}

// try writes n bytes and reports what came of it.
func (k *sock) try(n int) got { return k.tryFor(n, soon) }

func (k *sock) tryFor(n int, wait time.Duration) got {
	r := k.call(request{Op: "send", N: n, Wait: wait})
	k.wrote += int64(r.N)
	return got{r.N, r.Errno}
}

// send writes n bytes, which must succeed.
func (k *sock) send(n int) {
	if g := k.try(n); g.N != n {
		k.s.fail("%s: send %d: %v", k.p.name, n, g)
	}
}

// write sends text, which must succeed.
func (k *sock) write(text []byte) {
	r := k.call(request{Op: "send", Data: text, Wait: soon})
	k.wrote += int64(r.N)
	if r.N != len(text) {
		k.s.fail("%s: send %q: %d bytes, %q", k.p.name, text, r.N, r.Errno)
	}
}

// recv reads up to n bytes and reports what came of it.
func (k *sock) recv(n int) got { return k.recvFor(n, soon) }

func (k *sock) recvFor(n int, wait time.Duration) got {
	r := k.call(request{Op: "recv", N: n, Wait: wait})
	k.read += int64(r.N)
	return got{r.N, r.Errno}
}

// all is more than any stream of the lab has.
const all = 1 << 30

// drain reads until something stops it.
func (k *sock) drain() got { return k.recv(all) }

// get reads exactly n bytes, which must succeed.
func (k *sock) get(n int) {
	if g := k.recv(n); g.N != n || g.Errno != "" {
		k.s.fail("%s: receive %d: %v", k.p.name, n, g)
	}
}

// exchange sends n bytes each way, so that both ends are idle afterwards.
func (k *sock) exchange(peer *sock, n int) {
	k.send(n)
	peer.get(n)
	peer.send(n)
	k.get(n)
	k.await("acked", 0)
	peer.await("acked", 0)
}

func (k *sock) await(cond string, n int) { k.call(request{Op: "await", Text: cond, N: n, Wait: soon}) }
func (k *sock) close()                   { k.call(request{Op: "close"}) }
func (k *sock) shutdown(how int)         { k.call(request{Op: "shutdown", N: how}) }
func (k *sock) info() *sockInfo          { return k.call(request{Op: "info"}).Info }
func (k *sock) setopt(level, opt, value int) {
	k.call(request{Op: "setopt", Level: level, Opt: opt, Value: value})
}

// linger0 makes close abort the connection.
func (k *sock) linger0() { k.setopt(unix.SOL_SOCKET, unix.SO_LINGER, 0) }
