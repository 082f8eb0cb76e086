//go:build linux

package lab

import (
	"net/netip"
)

// identityRecipes are ends that are no longer who they were.
var identityRecipes = []recipe{
	{
		id: "peer-reboot", title: "The server's host lost power and is back without the connection", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "half-open-after-reboot", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  peerReboot,
	},
	{
		id: "client-reboot-same-port", title: "A rebooted client connects again from the same port", v6: true,
		truth: Truth{Sender: "client-kernel", Cause: "half-open-reconnect-challenge", Receiver: "server", Error: "ECONNRESET"},
		play:  clientReboot,
	},
	{
		id: "pod-ip-reuse", title: "The server's address belongs to a newcomer", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "pod-ip-reuse", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  podIPReuse,
	},
	{
		id: "failover", title: "A service address moves to a standby that has no state", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "stateful-failover", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  failover,
	},
	{
		id: "arp-conflict", title: "A second host claims the server's address by ARP",
		truth: Truth{Sender: "server-kernel", Cause: "arp-conflict-or-flux", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  arpConflict,
	},
	{
		id: "timewait-port-reuse", title: "A new SYN uses a tuple that the server still holds in TIME_WAIT",
		truth: Truth{Sender: "client-kernel", Cause: "timewait-port-reuse", Receiver: "none"},
		play:  timewaitReuse,
	},
}

// talks makes the client send on a connection whose other end is not what it
// was, and reports what it sees.
func (s *stage) talks(c *sock) {
	s.now()
	c.send(40)
	s.hurt("client", c.drain().Errno)
}

func peerReboot(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	s.reboot("server")
	s.talks(c)
}

func clientReboot(s *stage) {
	own := opening{local: s.addr("client", s.port+portBlock-1)}
	l := s.listen(s.server(), 16)
	c, a := s.join(l, own)
	c.exchange(a, 100)
	s.reboot("client")
	s.now()
	again := s.connect(own)
	s.hurt("server", a.drain().Errno)
	b := l.accept()
	again.exchange(b, 100)
}

// host is the prefix that holds just one address.
func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// moves makes the router send what is for addr to another namespace, until the
// end of the play.
func (s *stage) moves(addr netip.Addr, space string) {
	q := request{Op: "route", Args: []string{host(addr), s.addr(space, 0).Addr().String()}}
	s.call(s.holder("router"), q)
}

// adopt gives an address to a namespace.
func (s *stage) adopt(space string, addr netip.Addr) {
	s.call(s.holder(space), request{Op: "addr", Text: "lo", Args: []string{host(addr)}})
}

// newcomer is a namespace that owns addr and listens on the first port.
func (s *stage) newcomer(name string, addr netip.Addr) {
	s.extra(name)
	s.tap(name, "server")
	s.adopt(name, addr)
	s.listen(s.actor(name, "lab-"+name), 16)
}

func podIPReuse(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.p.quiet(s.ctx)
	a.p.kill()
	addr := s.addr("server", 0).Addr()
	s.newcomer("newpod", addr)
	s.undo = append(s.undo, s.unroute(host(addr)))
	s.moves(addr, "newpod")
	s.talks(c)
}

// serviceAddr is a service address, owned by whoever serves.
func (s *stage) serviceAddr() netip.Addr {
	if s.v6 {
		return netip.MustParseAddr(s.n.links[1].v6 + "64")
	}
	return netip.MustParseAddr(s.n.links[1].v4 + "100")
}

func failover(s *stage) {
	vip := s.serviceAddr()
	s.undo = append(s.undo, s.unroute(host(vip)))
	s.adopt("server", vip)
	s.moves(vip, "server")
	l := s.listen(s.server(), 16)
	c, errno := s.dial(s.client(), netip.AddrPortFrom(vip, s.port), soon, opening{})
	if errno != "" {
		s.fail("connect: %s", errno)
	}
	a := l.accept()
	s.account(c, a)
	c.exchange(a, 100)
	s.newcomer("standby", vip)
	// As keepalived does: with the address on both, it would be a conflict.
	s.call(s.holder("server"), request{Op: "addr", Text: "lo", N: -1, Args: []string{host(vip)}})
	s.moves(vip, "standby")
	s.talks(c)
}

// arpConflict joins the server and a rogue to one bridge on the router; then
// the rogue announces the server's address as its own.
func arpConflict(s *stage) {
	const bridge = "segment"
	s.extra("rogue")
	s.tap("rogue", "server")
	addr, gateway := s.addr("server", 0).Addr().String(), s.n.links[1].v4+"1/24"
	router := s.holder("router")
	s.undo = append(s.undo,
		s.order("router", request{Op: "addr", Text: "to-server", Args: []string{gateway}}),
		s.order("router", request{Op: "unlink", Text: bridge}))
	s.call(router, request{Op: "addr", Text: "to-server", N: -1, Args: []string{gateway}})
	s.call(router, request{Op: "bridge", Text: bridge, Args: []string{"to-server", "to-rogue"}})
	s.call(router, request{Op: "addr", Text: bridge, Args: []string{gateway}})
	s.call(router, request{Op: "sysctl", Text: "ipv4/conf/" + bridge + "/arp_accept", Args: []string{"1"}})
	_, c, a := s.pair()
	c.exchange(a, 100)
	s.call(s.holder("rogue"), request{Op: "addr", Text: "eth0", Args: []string{addr + "/24"}})
	s.call(s.holder("rogue"), request{Op: "route", Args: []string{"0.0.0.0/0", s.n.links[1].v4 + "1"}})
	s.call(s.holder("rogue"), request{Op: "garp", Text: "eth0", Args: []string{addr}})
	s.eventually("the router to believe the rogue", func() bool {
		r := s.call(router, request{Op: "neigh", Text: bridge, Args: []string{addr}})
		return r.Text == mac(4, 2)
	})
	s.talks(c)
}

// timewaitReuse: the first connection moved so many bytes at once that the
// sequence number of the next SYN is behind its end, and without timestamps
// nothing else proves that the SYN is new. The server answers from TIME_WAIT,
// the client resets that, and the second SYN succeeds.
func timewaitReuse(s *stage) {
	const bulk = 48 << 20 // initial sequence numbers advance by about 16 MB/s
	s.sysctl("client", "ipv4/tcp_timestamps=0")
	own := opening{local: s.addr("client", s.port+portBlock-1)}
	l := s.listen(s.server(), 16)
	c, a := s.join(l, own)
	w, err := c.p.begin(request{Op: "send", FD: c.fd, N: bulk, Wait: 2 * soon})
	s.check(err)
	a.get(bulk)
	r, err := w.wait(s.ctx)
	s.check(err)
	c.wrote += int64(r.N)
	s.tapped("client") // the bulk has filled their buffers
	s.tapped("server")
	a.close()
	if g := c.recv(1); g.Errno != "EOF" {
		s.fail("client: %v instead of the end of the stream", g)
	}
	c.close()
	s.awaitState("server", a.local, a.remote, "TIME_WAIT")
	s.awaitState("client", c.local, c.remote, "")
	s.now()
	again := s.connect(own)
	b := l.accept()
	s.account(again, b)
	again.exchange(b, 100)
}
