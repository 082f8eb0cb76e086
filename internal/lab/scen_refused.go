//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"time"
)

// refusedRecipes are connects that never succeed.
var refusedRecipes = []recipe{
	{
		id: "closed-port", title: "Nothing listens on the port", demo: true, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "connection-refused-closed-port", Receiver: "client", Error: "ECONNREFUSED"},
		play:  closedPort,
	},
	{
		id: "listens-on-loopback-only", title: "The service listens on a loopback address only", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "connection-refused-closed-port", Receiver: "client", Error: "ECONNREFUSED"},
		play:  loopbackOnly,
	},
	{
		id: "nft-reject-syn", title: "The server's firewall rejects the SYN with tcp reset", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "local-firewall", Cause: "firewall-reject-tcp-reset", Receiver: "client", Error: "ECONNREFUSED"},
		play:  func(s *stage) { rejectedSYN(s, "server", "input") },
	},
	{
		id: "nft-reject-forward-syn", title: "A router rejects the SYN with tcp reset", needs: []string{"nft"},
		truth: Truth{Sender: "middlebox", Cause: "firewall-reject-tcp-reset", Receiver: "client", Error: "ECONNREFUSED"},
		play:  func(s *stage) { rejectedSYN(s, "router", "forward") },
	},
	{
		id: "syn-timeout", title: "SYNs are dropped on the way",
		truth: Truth{Sender: "none", Cause: "connect-timeout-no-answer", Receiver: "client", Error: "ETIMEDOUT"},
		play:  synTimeout,
	},
	{
		id: "nft-drop-syn", title: "The server's firewall drops the SYN", needs: []string{"nft"},
		truth: Truth{Sender: "none", Cause: "firewall-drop-or-icmp", Receiver: "client", Error: "ETIMEDOUT"},
		play:  droppedSYN,
	},
	{
		id: "icmp-unreachable", title: "A router answers the SYN with ICMP host unreachable", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "none", Cause: "firewall-drop-or-icmp", Receiver: "client", Error: "EHOSTUNREACH"},
		play:  func(s *stage) { icmpReject(s, "host-unreachable", "addr-unreachable") },
	},
	{
		id: "icmp-admin-prohibited", title: "A router answers the SYN with ICMP administratively prohibited", needs: []string{"nft"},
		truth: Truth{Sender: "none", Cause: "firewall-drop-or-icmp", Receiver: "client", Error: "EHOSTUNREACH"},
		play:  func(s *stage) { icmpReject(s, "admin-prohibited", "admin-prohibited") },
	},
	{
		id: "icmp-port-unreachable", title: "The server's firewall answers the SYN with ICMP port unreachable", needs: []string{"nft"},
		truth: Truth{Sender: "none", Cause: "firewall-drop-or-icmp", Receiver: "client", Error: "ECONNREFUSED"},
		play:  icmpPort,
	},
}

// refuse tries to connect, which must fail.
func (s *stage) refuse() {
	s.now()
	c, errno := s.dial(s.client(), s.addr("server", s.port), 2*soon, opening{})
	s.account(c, nil)
	s.hurt("client", errno)
}

func closedPort(s *stage) { s.refuse() }

func loopbackOnly(s *stage) {
	lo := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if s.v6 {
		lo = netip.IPv6Loopback()
	}
	s.listenOn(s.server(), 16, opening{local: netip.AddrPortFrom(lo, s.port)})
	s.refuse()
}

func rejectedSYN(s *stage, space, hook string) {
	s.listen(s.server(), 16)
	s.filter(space, hook, fmt.Sprintf("tcp dport %d counter reject with tcp reset", s.port))
	s.refuse()
}

// fewSYNs makes the client give up after one SYN more than the first.
func (s *stage) fewSYNs() { s.sysctl("client", "ipv4/tcp_syn_retries=1") }

func synTimeout(s *stage) {
	s.listen(s.server(), 16)
	s.fewSYNs()
	s.blackhole("server")
	s.refuse()
}

func droppedSYN(s *stage) {
	s.listen(s.server(), 16)
	s.fewSYNs()
	s.filter("server", "input", fmt.Sprintf("tcp dport %d counter drop", s.port))
	s.refuse()
}

func icmpReject(s *stage, v4, v6 string) {
	s.listen(s.server(), 16)
	family, kind := "icmp", v4
	if s.v6 {
		family, kind = "icmpv6", v6
	}
	s.filter("router", "forward", fmt.Sprintf("tcp dport %d counter reject with %s type %s", s.port, family, kind))
	s.refuse()
}

func icmpPort(s *stage) {
	s.listen(s.server(), 16)
	s.filter("server", "input", fmt.Sprintf("tcp dport %d counter reject with icmp type port-unreachable", s.port))
	s.refuse()
}

// give is a short time in which nothing must happen.
const give = 100 * time.Millisecond
