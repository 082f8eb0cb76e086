package nft

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/netnstest"
	"golang.org/x/sys/unix"
)

const nftScript = `nft -f - <<'END'
table inet fw {
	set bad { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 } }
	chain in {
		type filter hook input priority 0; policy drop;
		iifname "lo" accept
		ct state established,related accept
		ct state invalid counter drop
		tcp dport 80 counter reject with tcp reset
		tcp dport { 22, 443, 8000-8080 } accept
		ip saddr 10.0.0.0/8 tcp dport 25 drop
		ip saddr 10.1.2.128/25 drop
		ip saddr @bad counter drop
		ip6 saddr fd00::/8 tcp dport 5432 reject with icmpv6 admin-prohibited
		tcp flags & (fin|syn|rst|ack) == syn limit rate 10/second burst 20 packets accept
		tcp flags rst drop
		tcp dport != 443 tcp sport 1024-65535 counter drop
		udp dport 53 accept
		meta l4proto tcp drop
		reject
		reject with icmpx admin-prohibited
		ip saddr 10.0.0.1 ip daddr 10.0.0.2 tcp sport 1000 tcp dport 2000 drop
		oifname "eth*" drop
		meta mark 0x1 drop
		ip saddr . tcp dport { 10.0.0.1 . 80, 10.0.0.2 . 443 } drop
		tcp dport vmap { 1 : accept, 2 : jump other, 3 : drop }
		icmp type echo-request accept
		ip ttl 1 drop comment "too old"
		meta skuid 1000 log prefix "user " drop
		jump other
	}
	chain other {
		counter packets 3 bytes 180 drop
	}
}
table ip nat {
	chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 10.0.0.5:80; udp dport 53 redirect to :5353; }
	chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; ip saddr 10.9.0.0/16 snat to 192.0.2.1; }
}
END`

func TestRootFirewallText(t *testing.T) {
	netnstest.Need(t, "nft")
	ns := netnstest.New(t)
	ns.Run(t, nftScript)
	rs, err := newReader().Ruleset(netns(ns))
	if err != nil {
		t.Fatal(err)
	}
	listing := ns.Run(t, "nft list ruleset")
	want := map[string]bool{}
	for line := range strings.Lines(listing) {
		want[strings.TrimSpace(line)] = true
	}
	for _, r := range rs.Rules {
		if !r.Policy && !want[r.Text] {
			t.Errorf("nft does not list %q", r.Text)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", ruleTexts(rs), listing)
	}
	policy := rs.Rules[len(rs.Rules)-1]
	if !policy.Policy || policy.Hook != "input" || policy.Verdict != Drop || policy.Position != 26 || !policy.Kills() {
		t.Errorf("policy: %+v", policy)
	}
	if !rs.NAT || rs.Legacy || rs.Truncated || rs.Generation == 0 || len(rs.Rules) != 31 {
		t.Errorf("nat %v legacy %v truncated %v generation %d, %d rules", rs.NAT, rs.Legacy, rs.Truncated, rs.Generation, len(rs.Rules))
	}
}

func TestRootMoved(t *testing.T) {
	netnstest.Need(t, "nft")
	ns := netnstest.New(t)
	h := newReader()
	ns.Run(t, `nft 'table inet f { chain i { type filter hook input priority 0; policy accept; tcp dport 80 jump web; tcp dport 81 counter drop; }; chain web { counter reject with tcp reset; }; }'`)
	before, err := h.Ruleset(netns(ns))
	if err != nil {
		t.Fatal(err)
	}
	if moved := Moved(before, before); len(moved) != 0 {
		t.Errorf("nothing happened, and %v moved", moved)
	}
	err = h.Host.Do(netns(ns), func() error {
		_, err := net.Dial("tcp", "127.0.0.1:80")
		return err
	})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("not refused: %v", err)
	}
	after, err := h.Ruleset(netns(ns))
	if err != nil {
		t.Fatal(err)
	}
	moved := Moved(before, after)
	if len(moved) != 1 || moved[0].Packets != 1 || moved[0].Verdict != RejectReset || moved[0].Chain != "web" || moved[0].Hook != "input" {
		t.Fatalf("%+v", moved)
	}
	if got := moved[0].String(); got != "inet f web: counter packets 1 bytes 60 reject with tcp reset" {
		t.Error(got)
	}
	if after.Generation != before.Generation {
		t.Error("counters changed the generation")
	}
}

func TestRootExcludes(t *testing.T) {
	netnstest.Need(t, "nft")
	ns := netnstest.New(t)
	ns.Run(t, nftScript)
	rs, err := newReader().Ruleset(netns(ns))
	if err != nil {
		t.Fatal(err)
	}
	p := Packet{Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:25"), IIF: "eth0"}
	excluded := map[string]bool{}
	for _, r := range rs.Rules {
		excluded[r.Text] = r.Excludes(p)
	}
	for text, want := range map[string]bool{
		`iifname "lo" accept`:                                                    true,
		"ip saddr 10.0.0.0/8 tcp dport 25 drop":                                  false,
		"ip saddr 10.1.2.128/25 drop":                                            true,
		"tcp dport 80 counter packets 0 bytes 0 reject with tcp reset":           true,
		"tcp dport { 22, 443, 8000-8080 } accept":                                true,
		"udp dport 53 accept":                                                    true,
		"meta l4proto tcp drop":                                                  false,
		"ip6 saddr fd00::/8 tcp dport 5432 reject with icmpv6 admin-prohibited":  true,
		"ip saddr 10.0.0.1 ip daddr 10.0.0.2 tcp sport 1000 tcp dport 2000 drop": true,
		"ct state invalid counter packets 0 bytes 0 drop":                        false,
		"policy drop": false,
	} {
		if got, ok := excluded[text]; !ok || got != want {
			t.Errorf("%s: excluded %v (%v), want %v", text, got, ok, want)
		}
	}
}

const iptablesScript = `iptables -A INPUT -p tcp --dport 80 -j REJECT --reject-with tcp-reset
iptables -A INPUT -s 10.0.0.0/8 -p tcp -m multiport --dports 22,25,100:200 -j REJECT
iptables -A INPUT -m conntrack --ctstate INVALID -m comment --comment hello -j DROP
iptables -A OUTPUT -p tcp --tcp-flags RST RST -o eth0 -j DROP
iptables -N OWN
iptables -A FORWARD -j OWN
iptables -A OWN -p tcp --dport 81 -j DROP
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
iptables -P FORWARD DROP
ip6tables -A INPUT -p tcp --dport 80 -j REJECT --reject-with tcp-reset
`

func TestRootIptables(t *testing.T) {
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			netnstest.Need(t, "iptables-"+kind)
			ns := netnstest.New(t)
			h := newReader()
			ns.Run(t, strings.NewReplacer("ip6tables", "ip6tables-"+kind, "iptables", "iptables-"+kind).Replace(iptablesScript))
			rs, err := h.Ruleset(netns(ns))
			if err != nil {
				t.Fatal(err)
			}
			got := ruleTexts(rs)
			for _, want := range []string{
				"ip filter INPUT input 1 [reject-reset] tcp dport 80 counter packets 0 bytes 0 reject with tcp reset\n",
				"ip filter INPUT input 2 [reject-icmp] ip saddr 10.0.0.0/8 tcp dport { 22, 25, 100-200 } counter packets 0 bytes 0 reject with icmp port-unreachable\n",
				"ip filter INPUT input 3 [drop] ct state invalid comment \"hello\" counter packets 0 bytes 0 drop\n",
				"ip filter OUTPUT output 1 [drop] oifname \"eth0\" tcp flags rst / rst counter packets 0 bytes 0 drop\n",
				"ip filter FORWARD forward 1 [jump] counter packets 0 bytes 0 jump OWN\n",
				"ip filter OWN forward 1 [drop] tcp dport 81 counter packets 0 bytes 0 drop\n",
				"[masquerade]", "counter packets 0 bytes 0 dnat to 172.17.0.2:80\n",
				"ip filter FORWARD forward 2 [drop] policy drop\n",
				"ip6 filter INPUT input 1 [reject-reset] tcp dport 80 counter packets 0 bytes 0 reject with tcp reset\n",
			} {
				if !strings.Contains(got, want) {
					t.Errorf("missing %q", want)
				}
			}
			if !rs.NAT || rs.Legacy != (kind == "legacy") {
				t.Errorf("nat %v, legacy %v", rs.NAT, rs.Legacy)
			}
			err = h.Host.Do(netns(ns), func() error { _, err := net.Dial("tcp", "127.0.0.1:80"); return err })
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatalf("not refused: %v", err)
			}
			after, err := h.Ruleset(netns(ns))
			if moved := Moved(rs, after); err != nil || len(moved) == 0 || moved[0].Packets != 1 || moved[0].Verdict != RejectReset {
				t.Errorf("moved %+v, %v", moved, err)
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
}

// TestRootWriteSeeds refreshes the seeds of FuzzParseRule from the kernel; it
// only does so when told to by -write-seeds.
func TestRootWriteSeeds(t *testing.T) {
	if !*writeSeeds {
		t.Skip("run with -write-seeds to refresh testdata/nft")
	}
	ns := netnstest.New(t)
	ns.Run(t, nftScript)
	ns.Run(t, strings.NewReplacer("ip6tables", "ip6tables-nft", "iptables", "iptables-nft").Replace(iptablesScript))
	nl, err := newReader().Host.Netlink(netns(ns), unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	raw, _, err := conn{nl}.rules()
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, b := range raw {
		all = binary.NativeEndian.AppendUint16(all, uint16(len(b)))
		all = append(all, b...)
	}
	if err := os.WriteFile("testdata/rules", all, 0o644); err != nil {
		t.Fatal(err)
	}
}

var writeSeeds = flag.Bool("write-seeds", false, "write seeds of fuzz tests from the running kernel")

// BenchmarkFirewall shows the cost of 5000 rules.
func BenchmarkFirewall(b *testing.B) {
	h, ns := newReader(), netnstest.New(b)
	var script strings.Builder
	script.WriteString("table ip f { chain i { type filter hook input priority 0;\n")
	for i := range 5000 {
		fmt.Fprintf(&script, "ip saddr 10.0.%d.%d tcp dport %d counter drop\n", i/256, i%256, i+1)
	}
	script.WriteString("}\n}\n")
	err := h.Host.Do(netns(ns), func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script.String())
		return cmd.Run()
	})
	if err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if rs, err := h.Ruleset(netns(ns)); err != nil || len(rs.Rules) != 5000 {
			b.Fatal(len(rs.Rules), err)
		}
	}
}

func newReader() *Reader { return &Reader{Host: &linux.Host{}} }

func netns(s netnstest.Space) linux.Netns { return linux.Netns{Path: s.Path, Inode: s.Inode} }

// ruleTexts returns the texts of rules and their verdicts.
func ruleTexts(rs Ruleset) string {
	var b strings.Builder
	for _, r := range rs.Rules {
		fmt.Fprintf(&b, "%s %s %s %s %d [%s] %s\n", r.Family, r.Table, r.Chain, r.Hook, r.Position, r.Verdict, r.Text)
	}
	return b.String()
}
