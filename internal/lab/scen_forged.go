//go:build linux

package lab

import (
	"net/netip"
	"slices"
)

// forgedRecipes are segments that neither end sent.
var forgedRecipes = []recipe{
	{
		id: "forged-exact", title: "An attacker forges a RST with the exact sequence number", demo: true, v6: true,
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "client", Error: "ECONNRESET"},
		play:  func(s *stage) { forgedExact(s, 64) },
	},
	{
		id: "forged-wrong-ttl", title: "A forged RST whose TTL is unlike that of the server",
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "client", Error: "ECONNRESET"},
		play:  func(s *stage) { forgedExact(s, 201) },
	},
	{
		id: "forged-in-window", title: "A forged RST in the window, but not exact: challenged, the connection survives", demo: true, v6: true,
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "none"},
		play:  forgedInWindow,
	},
	{
		id: "forged-out-of-window", title: "A forged RST outside the window: ignored",
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "none"},
		play:  forgedOutOfWindow,
	},
	{
		id: "forged-ladder", title: "A ladder of forged RSTs, of which the last is exact",
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "client", Error: "ECONNRESET"},
		play:  forgedLadder,
	},
	{
		id: "forged-both", title: "Forged RSTs hit both ends at once",
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "both", Error: "ECONNRESET"},
		play:  forgedBoth,
	},
	{
		id: "ips-reset-both", title: "A device that reads along resets both ends after a forbidden request",
		truth: Truth{Sender: "injector", Cause: "ips-active-response", Receiver: "both", Error: "ECONNRESET", Lost: 0},
		play:  ipsReset,
	},
	{
		id: "forged-with-timestamp", title: "A forged RST that carries a copied timestamp and an ACK, as a live socket's would",
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "client", Error: "ECONNRESET"},
		play:  forgedTimestamp,
	},
	{
		id: "paws-old-data", title: "Data with an old timestamp is dropped (PAWS)",
		truth: Truth{Sender: "none", Cause: "paws-timestamp-reject", Receiver: "none"},
		play:  pawsOldData,
	},
	{
		id: "rst-into-time-wait", title: "A forged RST hits a connection in TIME_WAIT",
		truth: Truth{Sender: "injector", Cause: "forged-rst-attack", Receiver: "none"},
		play:  rstIntoTimeWait,
	},
	{
		id: "bad-ack-in-syn-sent", title: "A forged SYN-ACK acknowledges what the client never sent",
		truth: Truth{Sender: "client-kernel", Cause: "unsolicited-packets-benign", Receiver: "none"},
		play:  badACKInSynSent,
	},
	{
		id: "half-open-syn-scan", title: "A half-open scan finds an open port", from: "attacker",
		truth: Truth{Sender: "client-kernel", Cause: "unsolicited-packets-benign", Receiver: "none"},
		play:  synScan,
	},
	{
		id: "port-scan-closed", title: "A scan knocks at closed ports", from: "attacker",
		truth: Truth{Sender: "server-kernel", Cause: "unsolicited-packets-benign", Receiver: "none"},
		play:  portScan,
	},
	{
		id: "stray-ack-to-listener", title: "An ACK of no connection reaches a listener", from: "attacker", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "unsolicited-packets-benign", Receiver: "none"},
		play: func(s *stage) {
			s.listen(s.server(), 16)
			s.stray(flagACK)
		},
	},
	{
		id: "stray-ack-to-closed-port", title: "An ACK of no connection reaches a closed port", from: "attacker",
		truth: Truth{Sender: "server-kernel", Cause: "unsolicited-packets-benign", Receiver: "none"},
		play:  func(s *stage) { s.stray(flagACK) },
	},
	{
		id: "stray-synack", title: "A SYN-ACK that nobody asked for, as backscatter of a spoofed flood", from: "attacker",
		truth: Truth{Sender: "server-kernel", Cause: "unsolicited-packets-benign", Receiver: "none"},
		play:  func(s *stage) { s.stray(flagSYN | flagACK) },
	},
	{
		id: "mptcp-join-refused", title: "An MPTCP subflow asks to join a connection that does not exist", from: "attacker",
		truth: Truth{Sender: "server-kernel", Cause: "mptcp-subflow-reset", Receiver: "none"},
		play:  mptcpJoin,
	},
}

// last returns the last segment from src to dst that the client's tap saw.
func (s *stage) last(src, dst netip.AddrPort) segment {
	var g segment
	for _, x := range s.tapped("client") {
		if x.Src == src && x.Dst == dst {
			g = x
		}
	}
	if !g.Src.IsValid() {
		s.fail("no segment from %s to %s was seen", src, dst)
	}
	return g
}

// idle makes a connection on which both ends are silent, and returns a RST
// from the server to the client that would be exact.
func (s *stage) idle() (c, a *sock, rst segment) {
	_, c, a = s.pair()
	c.exchange(a, 100)
	g := s.last(c.remote, c.local)
	return c, a, segment{Src: c.remote, Dst: c.local, Flags: flagRST, Seq: g.end(), TTL: 64}
}

// arrived waits until n foreign RSTs have reached an end.
func (s *stage) arrived(end, other string, n int) {
	s.eventually("forged RSTs to arrive", func() bool { return len(s.foreign(end, other)) >= n })
}

func forgedExact(s *stage, ttl uint8) {
	c, _, rst := s.idle()
	rst.TTL = ttl
	s.now()
	s.inject(rst, nil)
	s.hurt("client", c.drain().Errno)
}

func forgedInWindow(s *stage) {
	c, a, rst := s.idle()
	rst.Seq += 100
	s.now()
	s.inject(rst, nil)
	s.eventually("a challenge ACK", func() bool { return s.moved("client", "TcpExt:TCPChallengeACK") > 0 })
	c.exchange(a, 100)
}

func forgedOutOfWindow(s *stage) {
	c, a, rst := s.idle()
	rst.Seq += 0x20000000
	s.now()
	s.inject(rst, nil)
	s.arrived("client", "server", 1)
	c.exchange(a, 100)
}

func forgedLadder(s *stage) {
	c, _, rst := s.idle()
	s.now()
	for _, off := range []uint32{3 * 1460, 2 * 1460, 1460, 0} {
		g := rst
		g.Seq += off
		s.inject(g, nil)
	}
	s.hurt("client", c.drain().Errno)
}

func forgedBoth(s *stage) {
	c, a, rst := s.idle()
	back := segment{Src: c.local, Dst: c.remote, Flags: flagRST, Seq: s.last(c.local, c.remote).end(), TTL: 64}
	s.now()
	s.inject(rst, nil)
	s.inject(back, nil)
	s.hurt("client", c.drain().Errno)
	s.hurt("server", a.drain().Errno)
}

// ipsReset: intrusion prevention lets the request pass, recognises it, and
// forges a RST to each end before the answer comes.
func ipsReset(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	attack := []byte("GET /?id=1'+UNION+SELECT+password+FROM+users HTTP/1.1\r\nHost: lab\r\n\r\n")
	c.write(attack)
	a.get(len(attack))
	c.await("acked", 0)
	toClient, toServer := s.last(c.remote, c.local), s.last(c.local, c.remote)
	s.now()
	s.inject(segment{Src: c.remote, Dst: c.local, Flags: flagRST | flagACK, Seq: toClient.end(), Ack: toServer.end(), TTL: 64}, nil)
	s.inject(segment{Src: c.local, Dst: c.remote, Flags: flagRST | flagACK, Seq: toServer.end(), Ack: toClient.end(), TTL: 64}, nil)
	s.hurt("client", c.drain().Errno)
	s.hurt("server", a.drain().Errno)
}

func forgedTimestamp(s *stage) {
	c, _, rst := s.idle()
	g := s.last(c.remote, c.local)
	rst.Flags |= flagACK
	rst.Ack, rst.Window = s.last(c.local, c.remote).end(), g.Window
	rst.HasTS, rst.TSval, rst.TSe = true, g.TSval, g.TSe
	s.now()
	s.inject(rst, nil)
	s.hurt("client", c.drain().Errno)
}

func pawsOldData(s *stage) {
	c, a, rst := s.idle()
	g := s.last(c.remote, c.local)
	old := segment{
		Src: rst.Src, Dst: rst.Dst, Flags: flagPSH | flagACK, Seq: rst.Seq, Ack: s.last(c.local, c.remote).end(),
		Window: 500, TTL: 64, HasTS: true, TSval: g.TSval - 5e6, TSe: g.TSe,
	}
	s.now()
	s.inject(old, []byte("old!"))
	s.eventually("PAWS to drop it", func() bool { return s.moved("client", "TcpExt:PAWSEstab") > 0 })
	c.exchange(a, 100)
}

func rstIntoTimeWait(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	c.close()
	if g := a.recv(1); g.Errno != "EOF" {
		s.fail("server: %v instead of the end of the stream", g)
	}
	a.close()
	s.awaitState("client", c.local, c.remote, "TIME_WAIT")
	s.awaitState("server", c.remote, c.local, "")
	s.now()
	s.inject(segment{Src: c.remote, Dst: c.local, Flags: flagRST, Seq: s.last(c.remote, c.local).end(), TTL: 64}, nil)
	s.awaitState("client", c.local, c.remote, "") // RFC 1337: the RST ends it early
}

func badACKInSynSent(s *stage) {
	l := s.listen(s.server(), 16)
	heal := s.blackhole("server")
	c := s.open(s.client(), opening{})
	c.remote = s.addr("server", s.port)
	c.local = c.call(request{Op: "connect", Addr: c.remote}).Local
	s.eventually("the SYN to leave", func() bool { return len(s.tapped("client")) > 0 })
	syn := s.tapped("client")[0]
	s.now()
	s.inject(segment{Src: c.remote, Dst: c.local, Flags: flagSYN | flagACK, Seq: 1000, Ack: syn.Seq + 77, Window: 500, TTL: 64}, nil)
	s.eventually("the client to reset it", func() bool { return len(s.resets("client", true)) > 0 })
	heal()
	if r := c.call(request{Op: "finish", Wait: soon}); r.Errno != "" {
		s.fail("connect: %s", r.Errno)
	}
	a := l.accept()
	s.account(c, a)
	c.exchange(a, 100)
}

func synScan(s *stage) {
	s.listen(s.server(), 16)
	from := s.addr("attacker", 40000+s.port%1000)
	s.flow(from, s.addr("server", s.port))
	s.now()
	s.inject(segment{Src: from, Dst: s.addr("server", s.port), Flags: flagSYN, Seq: 1000, Window: 1024, TTL: 64}, nil)
	s.eventually("the scanner's kernel to reset the answer", func() bool { return len(s.resets("client", true)) > 0 })
}

func portScan(s *stage) {
	from := s.addr("attacker", 40000+s.port%1000)
	for i := range uint16(12) {
		to := s.addr("server", s.port+i)
		if i == 11 { // only the last port has all the others before it
			s.flow(from, to)
		}
		s.now()
		s.inject(segment{Src: from, Dst: to, Flags: flagSYN, Seq: 1000, Window: 1024, TTL: 64}, nil)
		s.eventually("the server's kernel to refuse", func() bool {
			return slices.ContainsFunc(s.resets("server", true), func(g segment) bool { return g.Src == to })
		})
	}
}

// stray sends one segment of no connection from the attacker's own address.
func (s *stage) stray(flags uint8) {
	from := s.addr("attacker", 40000+s.port%1000)
	s.flow(from, s.addr("server", s.port))
	s.now()
	s.inject(segment{Src: from, Dst: s.addr("server", s.port), Flags: flags, Seq: 1000, Ack: 77, Window: 500, TTL: 64}, nil)
	s.eventually("the server's kernel to answer", func() bool { return len(s.resets("server", true)) > 0 })
}

// mptcpJoin sends a SYN with MP_JOIN (RFC 8684 section 3.2) and a token that no
// connection has.
func mptcpJoin(s *stage) {
	s.listenOn(s.server(), 16, opening{local: s.any(s.port), proto: protoMPTCP})
	from := s.addr("attacker", 40000+s.port%1000)
	s.flow(from, s.addr("server", s.port))
	join := []byte{30, 12, 0x10, 1, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4}
	s.now()
	s.inject(segment{Src: from, Dst: s.addr("server", s.port), Flags: flagSYN, Seq: 1000, Window: 1024, TTL: 64, Options: join}, nil)
	s.eventually("the server to refuse the subflow", func() bool {
		return slices.ContainsFunc(s.resets("server", true), func(g segment) bool { return g.Dst == from })
	})
	if s.moved("server", "MPTcpExt:MPJoinNoTokenFound") == 0 {
		s.fail("the server did not look for the token")
	}
}
