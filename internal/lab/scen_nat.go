//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// natRecipes are devices that translate addresses, and forget how.
var natRecipes = []recipe{
	{
		id: "conntrack-invalid-leak", title: "A segment that conntrack calls invalid is not translated; the NAT host resets it", needs: []string{"nft"},
		truth: Truth{Sender: "middlebox", Cause: "conntrack-invalid-nat-leak", Receiver: "server", Error: "ECONNRESET"},
		play:  invalidLeak,
	},
	{
		id: "snat-entry-lost", title: "The NAT forgets a connection; the client's data reaches the server from another port", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "linux-conntrack-entry-lost", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  snatLost,
	},
	{
		id: "dnat-entry-lost", title: "The holder of a virtual address forgets a connection and answers itself", needs: []string{"nft"},
		truth: Truth{Sender: "middlebox", Cause: "linux-conntrack-entry-lost", Receiver: "client", Error: "ECONNRESET", Lost: 40},
		play:  dnatLost,
	},
}

// nat loads one rule of address translation into the router.
func (s *stage) nat(chain, prio, rule string) {
	s.nft("router", fmt.Sprintf("table inet nat {\n chain c {\n  type nat hook %s priority %s;\n  %s\n }\n}\n", chain, prio, rule))
}

// snatPair makes a connection whose client address the router translates. The
// flow as the server sees it is a flow of the truth, too.
func (s *stage) snatPair(how string) (c, a *sock) {
	s.nat("postrouting", "100", fmt.Sprintf("oifname to-server tcp dport %d %s", s.port, how))
	_, c, a = s.pair()
	if a.remote == c.local {
		s.fail("the router did not translate %s", c.local)
	}
	s.flow(a.remote, a.local)
	c.exchange(a, 100)
	return c, a
}

// invalidLeak: a late segment of the server, far outside the window, is
// invalid to conntrack, so that the router takes it for its own.
func invalidLeak(s *stage) {
	_, a := s.snatPair("masquerade")
	seen := s.tapped("server")
	i := slices.IndexFunc(seen, func(g segment) bool { return g.Src == a.local && g.Len > 0 })
	if i < 0 {
		s.fail("no data of the server was seen")
	}
	late := segment{Src: a.local, Dst: a.remote, Flags: flagPSH | flagACK, Seq: seen[i].Seq + 50e6, Ack: seen[i].Ack, Window: 500, TTL: 64}
	s.now()
	s.call(s.server(), request{Op: "raw", Addr: late.Dst, Data: late.build([]byte("late"))})
	s.hurt("server", a.drain().Errno)
}

func snatLost(s *stage) {
	c, a := s.snatPair("masquerade random")
	s.call(s.holder("router"), request{Op: "ct-flush"})
	s.talks(c)
	for _, g := range s.tapped("server") {
		if g.Dst == a.local && g.Src != a.remote {
			s.flow(g.Src, a.local)
		}
	}
	if len(s.res.Flows) != 3 {
		s.fail("the router found the old translation again: %v", s.res.Flows)
	}
}

func dnatLost(s *stage) {
	vip := netip.AddrPortFrom(netip.MustParseAddr(s.n.links[0].v4+"1"), s.port)
	s.sysctl("router", "netfilter/nf_conntrack_tcp_loose=0")
	s.nat("prerouting", "-100", fmt.Sprintf("ip daddr %s tcp dport %d dnat ip to %s", vip.Addr(), s.port, s.addr("server", s.port)))
	l := s.listen(s.server(), 16)
	c, errno := s.dial(s.client(), vip, soon, opening{})
	if errno != "" {
		s.fail("connect: %s", errno)
	}
	a := l.accept()
	s.account(c, a)
	s.flow(a.remote, a.local)
	c.exchange(a, 100)
	s.call(s.holder("router"), request{Op: "ct-flush"})
	s.talks(c)
}
