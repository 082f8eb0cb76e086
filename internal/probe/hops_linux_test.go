package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/netnstest"
)

// chain joins namespaces in a row: a client, three routers and a server, four hops away.
// Address 10.9.i.1 is the left end of link i, 10.9.i.2 the right one; fd09:i::1 and ::2.
func chain(t *testing.T) (spaces []netnstest.Space) {
	t.Helper()
	netnstest.Need(t, "nft")
	const n = 5
	var pids []int
	for range n {
		s := netnstest.New(t)
		cmd := exec.Command("sleep", "300") // ip(8) wants a process in it
		s.Do(t, cmd.Start)
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		spaces, pids = append(spaces, s), append(pids, cmd.Process.Pid)
	}
	for i := range n - 1 {
		spaces[i].Run(t, fmt.Sprintf("ip link add right type veth peer name left netns %d && ip addr add 10.9.%d.1/24 dev right && ip -6 addr add fd09:%d::1/64 dev right nodad && ip link set right up", pids[i+1], i, i))
		spaces[i+1].Run(t, fmt.Sprintf("ip addr add 10.9.%d.2/24 dev left && ip -6 addr add fd09:%d::2/64 dev left nodad && ip link set left up", i, i))
	}
	for i, s := range spaces {
		script := "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0\n"
		if i < n-1 {
			script += fmt.Sprintf("ip route add default via 10.9.%d.2; ip -6 route add default via fd09:%d::2\n", i, i)
		}
		for j := range i - 1 { // links to the left that are not its own
			script += fmt.Sprintf("ip route add 10.9.%d.0/24 via 10.9.%d.1; ip -6 route add fd09:%d::/64 via fd09:%d::1\n", j, i-1, j, i-1)
		}
		s.Run(t, script)
	}
	return spaces
}

// TestRootHops: a device that resets or drops handshakes which name one host, at each
// place of a path, truth first.
func TestRootHops(t *testing.T) {
	spaces := chain(t)
	client, last := spaces[0], spaces[len(spaces)-1]
	cert, _ := certificateOf(t, time.Now().Add(time.Hour), "any.example")
	l := last.Listen(t, ":443")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
				c.Close()
			}()
		}
	}()
	r := newRun(Target{Protocol: "https", Host: "blocked.example", Port: 443, Path: "/"}, Options{})
	at := bytes.Index(r.hello("blocked.example"), []byte("blocked"))
	if at < 0 {
		t.Fatal("the name is not in the hello")
	}
	r.sni = "blocked.example"
	var long firstWrite // as the handshakes of the contrast begin
	_ = tls.Client(&long, r.tlsConfig()).Handshake()
	if bytes.Index(long.b, []byte("blocked")) != at {
		t.Skip("the name stands elsewhere in the long hello, and the rule knows one place")
	}
	match := fmt.Sprintf("tcp dport 443 @ih,%d,56 0x%x", at*8, "blocked")
	targets := map[string]string{"IPv4": "10.9.3.2", "IPv6": "fd09:3::2"}
	for _, to := range targets { // IPv6 needs a moment to know its neighbours
		client.Do(t, func() error {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(to, "443"), 20*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	for name, c := range map[string]struct {
		place int // namespace
		hook  string
		do    string
		want  string
	}{
		"reset in the forwarding of router 2": {2, "forward", "reject with tcp reset", "between hop 2 and hop 3; the server is 4 hops away"},
		"dropped in the forwarding of 2":      {2, "forward", "drop", "between hop 2 and hop 3; the server is 4 hops away"},
		"dropped before the routing of 3":     {3, "prerouting", "drop", "between hop 2 and hop 3; the server is 4 hops away"},
		"dropped before the routing of 1":     {1, "prerouting", "drop", "between this host and hop 1; the server is 4 hops away"},
		"reset by the server's firewall":      {4, "input", "reject with tcp reset", "at the last of 4 hops"},
		"dropped by the server's firewall":    {4, "input", "drop", "at the last of 4 hops"},
		"no device":                           {2, "forward", "counter", ""},
	} {
		for family, to := range targets {
			if family == "IPv6" && c.do == "drop" && c.place != 2 {
				continue // each takes seconds
			}
			t.Run(name+", "+family, func(t *testing.T) {
				spaces[c.place].Run(t, fmt.Sprintf("nft -f - <<'END'\ntable inet box {\n\tchain c {\n\t\ttype filter hook %s priority 0\n\t\t%s %s\n\t}\n}\nEND", c.hook, match, c.do))
				defer spaces[c.place].Run(t, "nft delete table inet box")
				r := newRun(Target{Protocol: "https", Host: "blocked.example", Port: 443, Path: "/"}, Options{Timeout: 400 * time.Millisecond, Repeat: 2})
				r.addrs = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(to), 443)}
				client.Do(t, func() error {
					r.exchange(context.Background())
					return nil
				})
				r.conclude(false)
				where := r.res.Stages[len(r.res.Stages)-1]
				switch {
				case c.want == "":
					if r.res.Measured()["one_name"] || where.Stage == "hops" {
						t.Errorf("%s: %s", where.Stage, where.Result)
					}
				case where.Stage != "hops" || !strings.HasPrefix(where.Result, c.want):
					t.Errorf("%s: %s, want %s", where.Stage, where.Result, c.want)
				case strings.HasPrefix(c.want, "between") != strings.Contains(r.res.Verdict, "A device between"):
					t.Errorf("%s", r.res.Verdict)
				}
				t.Logf("%d connections, %.0f ms: %s", r.res.Connections, where.TookMS, r.res.Verdict)
			})
		}
	}
}
