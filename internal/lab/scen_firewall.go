//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// firewallRecipes are resets that netfilter writes into live connections.
var firewallRecipes = []recipe{
	{
		id: "nft-reject-input", title: "The server's firewall rejects an established connection with tcp reset", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "local-firewall", Cause: "firewall-reject-tcp-reset", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  func(s *stage) { rejected(s, "server", "input") },
	},
	{
		id: "nft-reject-forward", title: "A router rejects an established connection with tcp reset", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "middlebox", Cause: "firewall-reject-tcp-reset", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  func(s *stage) { rejected(s, "router", "forward") },
	},
	{
		id: "nft-reject-output", title: "The client's own firewall rejects what it sends with tcp reset", needs: []string{"nft"},
		truth: Truth{Sender: "local-firewall", Cause: "firewall-reject-tcp-reset", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  func(s *stage) { rejected(s, "client", "output") },
	},
	{
		id: "rate-limit-reset", title: "The server's firewall resets the connects of a client that opens too many", needs: []string{"nft"},
		truth: Truth{Sender: "local-firewall", Cause: "rate-limit-ban-reset", Receiver: "client", Error: "ECONNREFUSED"},
		play:  rateLimit,
	},
	{
		id: "asymmetric-path", title: "Only one direction crosses a stateful router, which rejects what it calls invalid", needs: []string{"nft"},
		truth: Truth{Sender: "middlebox", Cause: "asymmetric-routing", Receiver: "client", Error: "ECONNRESET"},
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

// rateLimit: four connects may come at once, the fifth is too many.
func rateLimit(s *stage) {
	l := s.listen(s.server(), 16)
	s.filter("server", "input", fmt.Sprintf("tcp dport %d ct state new limit rate over 2/minute burst 4 packets counter reject with tcp reset", s.port))
	s.fill(l, 4)
	s.refuse()
}

// asymmetricPath: segments of the server take another router home. The
// stateful one never sees the SYN-ACK, so that the client's ACK is invalid.
func asymmetricPath(s *stage) {
	s.wayBack()
	s.listen(s.server(), 16)
	s.filter("router", "forward", fmt.Sprintf("tcp dport %d ct state invalid counter reject with tcp reset", s.port))
	s.now()
	c, errno := s.dial(s.client(), s.addr("server", s.port), soon, opening{})
	s.account(c, nil)
	if errno == "" { // the RST comes just after the SYN-ACK
		errno = c.drain().Errno
	}
	s.hurt("client", errno)
}

// wayBack adds a second router, which carries what the server sends to the
// client.
func (s *stage) wayBack() {
	const name = "return"
	s.undo = append(s.undo, func(context.Context) error {
		if sp := s.n.spaces[name]; sp != nil {
			delete(s.n.spaces, name)
			sp.holder.kill()
		}
		return nil
	})
	s.check(s.n.addSpace(s.ctx, name, netip.Addr{}, netip.Addr{}))
	_, err := s.n.sysctl(s.ctx, name, "ipv4/ip_forward=1")
	s.check(err)
	for i, end := range []string{"client", "server"} {
		prefix := fmt.Sprintf("198.18.%d.", i)
		s.undo = append(s.undo, s.order(end, request{Op: "unlink", Text: "eth1"}))
		s.call(s.holder(end), request{Op: "veth", Text: "eth1", N: s.holder(name).pid, Args: []string{"to-" + end, mac(8+i, 1), mac(8+i, 2)}})
		s.call(s.holder(end), request{Op: "addr", Text: "eth1", Args: []string{prefix + "1/24"}})
		s.call(s.holder(end), request{Op: "up", Text: "eth1"})
		s.call(s.holder(name), request{Op: "addr", Text: "to-" + end, Args: []string{prefix + "2/24"}})
		s.call(s.holder(name), request{Op: "up", Text: "to-" + end})
	}
	client := s.addr("client", 0).Addr().String() + "/32"
	s.call(s.holder("server"), request{Op: "route", Args: []string{client, "198.18.1.2"}})
	s.call(s.holder(name), request{Op: "route", Args: []string{client, "198.18.0.1"}})
}
