//go:build linux

package lab

import "fmt"

// firewallRecipes are resets that netfilter writes into live connections.
var firewallRecipes = []recipe{
	{
		id: "nft-reject-input", title: "The server's firewall rejects an established connection with tcp reset", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "local-firewall", Cause: "firewall-reject-tcp-reset", Victim: "client", Error: "ECONNRESET", Lost: 40},
		play:  func(s *stage) { rejected(s, "server", "input") },
	},
	{
		id: "nft-reject-forward", title: "A router rejects an established connection with tcp reset", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "middlebox", Cause: "firewall-reject-tcp-reset", Victim: "client", Error: "ECONNRESET", Lost: 40},
		play:  func(s *stage) { rejected(s, "router", "forward") },
	},
	{
		id: "nft-reject-output", title: "The client's own firewall rejects what it sends with tcp reset", needs: []string{"nft"},
		truth: Truth{Sender: "local-firewall", Cause: "firewall-reject-tcp-reset", Victim: "client", Error: "ECONNRESET", Lost: 40},
		play:  func(s *stage) { rejected(s, "client", "output") },
	},
	{
		id: "asymmetric-path", title: "Only one direction crosses a stateful router, which rejects what it calls invalid", needs: []string{"nft"},
		truth: Truth{Sender: "middlebox", Cause: "asymmetric-routing", Victim: "client", Error: "ECONNRESET"},
		play:  asymmetricPath,
	},
}

func rejected(s *stage, space, hook string) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	s.filter(space, hook, fmt.Sprintf("tcp dport %d counter reject with tcp reset", s.port))
	s.now()
	g := c.try(40)
	if g.Errno == "" {
		g = c.drain()
	}
	s.hurt("client", g.Errno)
	if i := a.info(); i.State != "ESTABLISHED" {
		s.fail("the server noticed: %+v", *i)
	}
}

// asymmetricPath: segments of the server take another router home. The
// stateful one never sees the SYN-ACK, so that the client's ACK is invalid.
func asymmetricPath(s *stage) {
	s.extra("return") // forwards what the server sends
	back := s.n.spaces["return"].addr(s.v6).String()
	for _, set := range []string{"ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1"} {
		_, err := s.n.sysctl(s.ctx, "return", set)
		s.check(err)
	}
	s.call(s.holder("server"), request{Op: "veth", Text: "eth1", N: s.holder("return").pid, Args: []string{"eth1", mac(9, 1), mac(9, 2)}})
	s.undo = append(s.undo, s.order("server", request{Op: "unlink", Text: "eth1"}))
	for _, o := range []struct{ space, addr string }{{"server", "198.18.9.1/24"}, {"return", "198.18.9.2/24"}} {
		s.call(s.holder(o.space), request{Op: "addr", Text: "eth1", Args: []string{o.addr}})
		s.call(s.holder(o.space), request{Op: "up", Text: "eth1"})
	}
	client := s.addr("client", 0).Addr().String()
	s.call(s.holder("server"), request{Op: "route", Args: []string{client + "/32", "198.18.9.2"}})
	_ = back
	s.listen(s.server(), 16)
	s.filter("router", "forward", fmt.Sprintf("tcp dport %d ct state invalid counter reject with tcp reset", s.port))
	s.now()
	c := s.connect(opening{})
	s.account(c, nil)
	s.hurt("client", c.drain().Errno)
}
