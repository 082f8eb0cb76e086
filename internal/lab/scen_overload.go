//go:build linux

package lab

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// overloadRecipes are the ends of queues and limits.
var overloadRecipes = []recipe{
	{
		id: "overflow-abort", title: "The accept queue is full, and tcp_abort_on_overflow is 1", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "listen-overflow-abort", Receiver: "client", Error: "ECONNRESET", Lost: 2},
		play:  overflowAbort,
	},
	{
		id: "overflow-late-reset", title: "The accept queue is full; the half-open connection expires, then data is reset", needs: []string{"nft"},
		truth: Truth{Sender: "server-kernel", Cause: "listen-overflow-late-reset", Receiver: "client", Error: "ECONNRESET", Lost: 2, Also: []string{"server-thread-pool-exhausted"}},
		play:  overflowLate,
	},
	{
		id: "overflow-silent-timeout", title: "The accept queue is full; the client is connected, and its data is never acknowledged", needs: []string{"nft"},
		truth: Truth{Sender: "none", Cause: "server-thread-pool-exhausted", Receiver: "client", Error: "ETIMEDOUT", Lost: 2},
		play:  overflowSilent,
	},
	{
		id: "syn-flood", title: "A SYN flood fills the SYN queue, SYN cookies are off",
		truth: Truth{Sender: "none", Cause: "dos-flood", Receiver: "client", Error: "ETIMEDOUT"},
		play:  synFlood,
	},
	{
		id: "syn-flood-cookies", title: "A SYN flood fills the SYN queue; SYN cookies let the client in",
		truth: Truth{Sender: "none", Cause: "syn-flood-cookies", Receiver: "none"},
		play:  synFloodCookies,
	},
	{
		id: "syn-cookie-queue-full", title: "SYN cookies with a full accept queue: connected, then silence although tcp_abort_on_overflow is 1", needs: []string{"nft"},
		truth: Truth{Sender: "none", Cause: "server-thread-pool-exhausted", Also: []string{"syn-flood-cookies"}, Receiver: "client", Error: "ETIMEDOUT", Lost: 2},
		play:  cookieQueueFull,
	},
	{
		id: "fd-exhaustion", title: "The server has no file descriptor left to accept with",
		truth: Truth{Sender: "none", Cause: "fd-exhaustion-emfile", Receiver: "client", Error: "ETIMEDOUT"},
		play:  fdExhaustion,
	},
	{
		id: "server-stopped", title: "The server is stopped (SIGSTOP) and its accept queue full",
		truth: Truth{Sender: "none", Cause: "server-thread-pool-exhausted", Receiver: "client", Error: "ETIMEDOUT"},
		play:  serverStopped,
	},
	{
		id: "slow-server", title: "One busy worker, a full accept queue: the surplus client times out",
		truth: Truth{Sender: "none", Cause: "server-thread-pool-exhausted", Receiver: "client", Error: "ETIMEDOUT"},
		play:  slowServer,
	},
	{
		id: "ephemeral-port-exhaustion", title: "The client has no local port left for this destination",
		truth: Truth{Sender: "none", Cause: "ephemeral-port-exhaustion", Receiver: "client", Error: "EADDRNOTAVAIL"},
		play:  portExhaustion,
	},
}

// fill lets n connections wait in the accept queue of l.
func (s *stage) fill(l *sock, n int) {
	for range n {
		if _, errno := s.dial(s.client(), s.addr("server", s.port), soon, opening{}); errno != "" {
			s.fail("fill the accept queue: %s", errno)
		}
	}
	l.await("backlog", n)
}

// stuck makes a connection whose client is ESTABLISHED while the server still
// waits for the last segment of the handshake, and fills the accept queue
// behind its back. When it is called again, that segment gets through.
func (s *stage) stuck(opts ...sockopt) (l, c *sock, release func()) {
	const backlog = 3
	l = s.listen(s.server(), backlog)
	port := s.port + portBlock - 1 // the client's, so that a rule can name it
	s.filter("router", "forward", fmt.Sprintf("tcp sport %d tcp flags & syn == 0 drop", port))
	c = s.connect(opening{local: s.addr("client", port), opts: opts})
	s.account(c, nil)
	s.fill(l, backlog+1) // the kernel lets one more in than asked
	return l, c, func() { s.unnft("router") }
}

func overflowAbort(s *stage) {
	s.sysctl("server", "ipv4/tcp_syncookies=0", "ipv4/tcp_abort_on_overflow=1")
	_, c, release := s.stuck()
	release()
	s.now()
	c.send(2)
	s.hurt("client", c.drain().Errno)
}

func overflowLate(s *stage) {
	s.sysctl("server", "ipv4/tcp_syncookies=0", "ipv4/tcp_synack_retries=1")
	_, c, release := s.stuck()
	release()
	s.now()
	c.send(2)
	s.hurt("client", c.recvFor(1, 4*soon).Errno)
	if s.moved("server", "TcpExt:ListenOverflows") == 0 {
		s.fail("the accept queue did not overflow")
	}
}

func overflowSilent(s *stage) {
	s.sysctl("server", "ipv4/tcp_syncookies=0")
	s.sysctl("client", "ipv4/tcp_retries2=2")
	_, c, release := s.stuck()
	release()
	s.now()
	c.send(2)
	s.hurt("client", c.drain().Errno)
	if s.moved("server", "TcpExt:ListenOverflows") == 0 {
		s.fail("the accept queue did not overflow")
	}
}

func cookieQueueFull(s *stage) {
	s.sysctl("server", "ipv4/tcp_syncookies=2", "ipv4/tcp_abort_on_overflow=1")
	s.sysctl("client", "ipv4/tcp_retries2=2")
	_, c, release := s.stuck()
	release()
	s.now()
	c.send(2)
	s.hurt("client", c.drain().Errno)
	if s.moved("server", "TcpExt:ListenOverflows") == 0 {
		s.fail("the accept queue did not overflow")
	}
}

// floodSource are addresses that never answer: the router discards what is
// sent to them.
const floodSource = "198.19.0.0/16"

// flood sends SYNs to the listener until its SYN queue is full.
func (s *stage) flood(full string) {
	s.call(s.holder("router"), request{Op: "blackhole", Args: []string{floodSource}})
	s.undo = append(s.undo, s.unroute(floodSource))
	n := 0
	s.eventually(full+" to move", func() bool {
		for range 8 {
			n++
			src := netip.AddrFrom4([4]byte{198, 19, byte(n >> 8), byte(n)})
			syn := segment{Src: netip.AddrPortFrom(src, uint16(1024+n)), Dst: s.addr("server", s.port), Flags: flagSYN, Seq: uint32(n) * 1e6, Window: 1024, TTL: 64}
			s.inject(syn, nil)
		}
		return s.moved("server", full) > 0
	})
}

func synFlood(s *stage) {
	s.sysctl("server", "ipv4/tcp_syncookies=0")
	s.fewSYNs()
	s.listen(s.server(), 4)
	s.flood("TcpExt:TCPReqQFullDrop")
	s.refuse()
}

func synFloodCookies(s *stage) {
	l := s.listen(s.server(), 4)
	s.flood("TcpExt:TCPReqQFullDoCookies")
	s.now()
	c, a := s.join(l, opening{})
	c.exchange(a, 100)
	if s.moved("server", "TcpExt:SyncookiesRecv") == 0 {
		s.fail("the connection came without a SYN cookie")
	}
}

func fdExhaustion(s *stage) {
	l := s.listen(s.server(), 1)
	s.call(l.p, request{Op: "rlimit"})
	s.fill(l, 1)
	if _, errno := l.tryAccept(soon); errno != "EMFILE" {
		s.fail("accept: %q instead of EMFILE", errno)
	}
	s.fill(l, 1) // the one that could not be accepted still waits
	l.await("backlog", 2)
	s.fewSYNs()
	s.refuse()
}

func serverStopped(s *stage) {
	l := s.listen(s.server(), 1)
	s.fill(l, 2)
	s.fewSYNs()
	s.killed(l.p, unix.SIGSTOP)
	s.refuse()
}

func slowServer(s *stage) {
	l := s.listen(s.server(), 1)
	c := s.connect(opening{})
	c.send(100) // the request that the only worker is busy with
	a := l.accept()
	a.await("inq", 100)
	s.fill(l, 2)
	s.fewSYNs()
	s.refuse()
}

func portExhaustion(s *stage) {
	s.listen(s.server(), 16)
	s.sysctl("client", "ipv4/ip_local_port_range=40000 40001")
	for range 2 {
		s.connect(opening{})
	}
	s.now()
	_, errno := s.dial(s.client(), s.addr("server", s.port), soon, opening{})
	s.flow(s.addr("client", 0), s.addr("server", s.port))
	s.hurt("client", errno)
}
