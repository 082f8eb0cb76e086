package linux

import (
	"strings"
	"testing"
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
	need(t, "nft")
	ns := newNetns(t)
	run(t, ns, nftScript)
	rs, err := (&Host{}).Firewall(ns)
	if err != nil {
		t.Fatal(err)
	}
	listing := run(t, ns, "nft list ruleset")
	want := map[string]bool{}
	for line := range strings.Lines(listing) {
		want[strings.TrimSpace(line)] = true
	}
	for _, r := range rs.Rules {
		if !r.Policy && !want[r.Text] {
			t.Errorf("nft does not list %q", r.Text)
		}
	}
	t.Logf("%s\n%s", ruleTexts(rs), listing)
}
