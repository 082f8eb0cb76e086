//go:build linux

package lab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// timerRecipes are connections that a kernel gave up.
var timerRecipes = []recipe{
	{
		id: "keepalive-timeout", title: "Keep-alive probes of the server find no answer", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "tcp-keepalive-timeout", Receiver: "server", Error: "ETIMEDOUT"},
		play:  keepaliveTimeout,
	},
	{
		id: "user-timeout-idle", title: "TCP_USER_TIMEOUT ends an idle connection whose probes find no answer",
		truth: Truth{Sender: "server-kernel", Cause: "rto-giveup-user-timeout", Receiver: "server", Error: "ETIMEDOUT"},
		play:  userTimeoutIdle,
	},
	{
		id: "user-timeout-in-flight", title: "TCP_USER_TIMEOUT ends a connection with data in flight, without a RST",
		truth: Truth{Sender: "none", Cause: "rto-giveup-user-timeout", Receiver: "client", Error: "ETIMEDOUT", Lost: 3000},
		play:  userTimeoutInFlight,
	},
	{
		id: "rto-giveup", title: "The client's retransmissions are exhausted; nobody is told",
		truth: Truth{Sender: "none", Cause: "rto-giveup-user-timeout", Receiver: "client", Error: "ETIMEDOUT", Lost: 3000},
		play:  rtoGiveup,
	},
	{
		id: "rto-giveup-peer-talks", title: "The client's retransmissions are exhausted; later the server talks and is reset", v6: true,
		truth: Truth{Sender: "client-kernel", Cause: "rto-giveup-user-timeout", Receiver: "both", Error: "ECONNRESET", Lost: 3100},
		play:  rtoGiveupPeerTalks,
	},
	{
		id: "nft-drop", title: "The server's firewall starts to drop an established connection", needs: []string{"nft"},
		truth: Truth{Sender: "none", Cause: "firewall-drop-or-icmp", Receiver: "client", Error: "ETIMEDOUT", Lost: 100},
		play:  nftDrop,
	},
	{
		id: "mtu-blackhole", title: "Large segments are lost: a small MTU on the way, and its ICMP is filtered", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "none", Cause: "mtu-blackhole", Receiver: "client", Error: "ETIMEDOUT", Lost: 20000},
		play:  mtuBlackhole,
	},
	{
		id: "md5-mismatch", title: "The server demands TCP-MD5 signatures, the client sends none",
		truth: Truth{Sender: "none", Cause: "md5-ao-mismatch", Receiver: "client", Error: "ETIMEDOUT"},
		play:  md5Mismatch,
	},
	{
		id: "sock-destroy", title: "An administrator destroys the server's socket (ss -K)", demo: true, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "sock-destroy-admin", Receiver: "both", Error: "ECONNRESET"},
		play:  sockDestroy,
	},
}

// keepalive turns probes on: after one second, then each second.
func (k *sock) keepalive(probes int) {
	k.setopt(unix.SOL_TCP, unix.TCP_KEEPIDLE, 1)
	k.setopt(unix.SOL_TCP, unix.TCP_KEEPINTVL, 1)
	k.setopt(unix.SOL_TCP, unix.TCP_KEEPCNT, probes)
	k.setopt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

func keepaliveTimeout(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 10)
	s.blackhole("client")
	s.now()
	a.keepalive(2)
	s.hurt("server", a.drain().Errno)
}

func userTimeoutIdle(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 10)
	s.blackhole("client")
	s.now()
	a.setopt(unix.SOL_TCP, unix.TCP_USER_TIMEOUT, 2500)
	a.keepalive(9)
	s.hurt("server", a.drain().Errno)
}

func userTimeoutInFlight(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 10)
	c.setopt(unix.SOL_TCP, unix.TCP_USER_TIMEOUT, 1000)
	s.blackhole("server")
	s.now()
	c.send(3000)
	s.hurt("client", c.drain().Errno)
}

// giveUp lets the client's retransmissions run out.
func giveUp(s *stage) (c, a *sock, heal func()) {
	s.sysctl("client", "ipv4/tcp_retries2=2")
	_, c, a = s.pair()
	c.exchange(a, 10)
	heal = s.blackhole("server")
	s.now()
	c.send(3000)
	if g := c.drain(); g.Errno != "ETIMEDOUT" {
		s.fail("client: %v instead of a timeout", g)
	}
	return c, a, heal
}

func rtoGiveup(s *stage) {
	giveUp(s)
	s.hurt("client", "ETIMEDOUT")
}

func rtoGiveupPeerTalks(s *stage) {
	_, a, heal := giveUp(s)
	heal()
	s.now()
	a.send(100)
	s.hurt("server", a.drain().Errno)
	s.hurt("client", "ETIMEDOUT")
}

func nftDrop(s *stage) {
	s.sysctl("client", "ipv4/tcp_retries2=2")
	_, c, a := s.pair()
	c.exchange(a, 10)
	s.filter("server", "input", fmt.Sprintf("tcp dport %d counter drop", s.port))
	s.now()
	c.send(100)
	s.hurt("client", c.drain().Errno)
}

// smallMTU is the least that IPv6 allows.
const smallMTU = 1280

func mtuBlackhole(s *stage) {
	s.sysctl("client", "ipv4/tcp_retries2=2", "ipv4/tcp_mtu_probing=0")
	router := s.holder("router")
	s.call(router, request{Op: "mtu", Text: "to-server", N: smallMTU})
	s.undo = append(s.undo, s.order("router", request{Op: "mtu", Text: "to-server", N: 1500}))
	s.filter("router", "output", "icmp type destination-unreachable drop", "icmpv6 type packet-too-big drop")
	_, c, a := s.pair()
	c.exchange(a, 10) // small segments pass
	s.now()
	c.send(20000)
	s.hurt("client", c.drain().Errno)
}

func md5Mismatch(s *stage) {
	l := s.listen(s.server(), 16)
	l.call(request{Op: "md5", Addr: s.addr("client", 0), Text: "secret"})
	s.fewSYNs()
	s.refuse()
	if s.moved("server", "TcpExt:TCPMD5NotFound") == 0 {
		s.fail("no segment was dropped for want of a signature")
	}
}

func sockDestroy(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	ss := s.actor("server", "ss")
	s.now()
	s.call(ss, request{Op: "destroy", Local: a.local, Addr: a.remote})
	s.hurt("client", c.drain().Errno)
	local := a.drain().Errno
	if local != "ECONNABORTED" {
		s.fail("server: %q instead of ECONNABORTED", local)
	}
	s.hurt("server", local)
}
