package audit

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/conf"
	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/servers"
)

// clean is Debian 12 with sshd and nothing else (testdata/debian-12.json), collected
// by "holdfast snapshot -o json".
func clean(t testing.TB) *hostdoc.Host {
	t.Helper()
	b, err := os.ReadFile("testdata/debian-12.json")
	if err != nil {
		t.Fatal(err)
	}
	var h hostdoc.Host
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	return &h
}

func TestCleanHost(t *testing.T) {
	if r := Run(clean(t), Options{}); len(r.Advices) > 0 {
		t.Errorf("a clean host has advices: %+v", r.Advices)
	}
}

// change is what is done to a clean host.
type change = func(h *hostdoc.Host, n *hostdoc.Namespace)

func set(key, value string) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) { n.Sysctls[key] = value }
}

func moved(name string, v int64) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Live.Counters["TcpExt."+name] = v
		n.Live.Moved["TcpExt."+name] = v
	}
}

func rule(verdict, text string, moved uint64) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Firewall.Rules = append(n.Firewall.Rules, hostdoc.Rule{Where: "inet filter input (input)", Text: text, Verdict: verdict, Live: &hostdoc.RuleLive{Moved: moved, Packets: moved}})
	}
}

func all(list ...change) change {
	return func(h *hostdoc.Host, n *hostdoc.Namespace) {
		for _, f := range list {
			f(h, n)
		}
	}
}

func timer(meaning string, seconds float64) servers.Timer {
	return servers.Timer{Meaning: meaning, Key: meaning + "_key", Seconds: seconds, Never: seconds == 0, Origin: servers.Configured, At: conf.Span{File: "/etc/x", Line: 1}}
}

// chained puts a sender with a pool in front of a receiver.
func chained(from string, reuse float64, to string, closes float64, live hostdoc.HopLive) change {
	return func(h *hostdoc.Host, n *hostdoc.Namespace) {
		h.Services = append(h.Services,
			hostdoc.Service{ID: from, Product: from, Config: &servers.Config{Product: from, Backs: []servers.Back{{Peers: []string{"127.0.0.1:9000"}, Mode: "http", Reuses: true, Timers: []servers.Timer{timer(servers.Reuse, reuse)}}}}},
			hostdoc.Service{ID: "the " + to, Product: to, Config: &servers.Config{Product: to, Fronts: []servers.Front{{Listen: []string{":9000"}, Mode: "http", Timers: []servers.Timer{timer(servers.Close, closes)}}}}})
		n.Listeners = append(n.Listeners, hostdoc.Listener{Addr: "127.0.0.1", Port: 9000, Service: "the " + to, Backlog: 100, Sockets: 1, Live: &hostdoc.ListenerLive{}})
		n.Hops = append(n.Hops, hostdoc.Hop{From: from, To: "127.0.0.1:9000", Service: "the " + to, Namespace: n.ID, Live: &live})
	}
}

func tracked(c hostdoc.Conntrack) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) { n.Live.Conntrack = &c }
}

func idleHop(to string, idle float64, alive int) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Hops = append(n.Hops, hostdoc.Hop{From: "app", To: to, Live: &hostdoc.HopLive{Connections: 3, Idle: 3, LongestIdle: idle, KeepAlive: alive, KeepAliveIn: 7200}})
	}
}

func onHost(f func(h *hostdoc.Host)) change {
	return func(h *hostdoc.Host, _ *hostdoc.Namespace) { f(h) }
}

func listener(port uint16, queue, backlog, sockets int) change {
	return func(h *hostdoc.Host, n *hostdoc.Namespace) {
		h.Services = append(h.Services, hostdoc.Service{ID: "app"})
		n.Listeners = append(n.Listeners, hostdoc.Listener{Addr: "0.0.0.0", Port: port, Service: "app", Backlog: backlog, Sockets: sockets, Live: &hostdoc.ListenerLive{Queue: queue}})
	}
}

func nic(f func(*hostdoc.Interface)) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		for i := range n.Interfaces {
			if n.Interfaces[i].Name == "eth0" {
				f(&n.Interfaces[i])
			}
		}
	}
}

func peer(ports int) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Live.Peers = []hostdoc.PeerUse{{Remote: netip.MustParseAddrPort("10.0.0.1:80"), Ports: ports, TimeWait: ports}}
	}
}

func forwarding(uplink int) change {
	return func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Sysctls["net.ipv4.ip_forward"] = "1"
		for i := range n.Interfaces {
			if n.Interfaces[i].Name == "eth0" {
				n.Interfaces[i].MTU = uplink
			}
		}
		n.Interfaces = append(n.Interfaces, hostdoc.Interface{Name: "docker0", Kind: "bridge", MTU: 1500, State: "up"})
	}
}

func container(listens string) change {
	return func(h *hostdoc.Host, _ *hostdoc.Namespace) {
		h.Namespaces = append(h.Namespaces, hostdoc.Namespace{ID: "container shop", Sysctls: map[string]string{"net.core.somaxconn": "4096"},
			Interfaces: []hostdoc.Interface{{Name: "eth0", Addresses: []string{"172.17.0.2/16"}}}, Listeners: []hostdoc.Listener{{Addr: listens, Port: 80, Service: "app", Live: &hostdoc.ListenerLive{}}}})
	}
}

// cases: each check with hosts where it must appear, with its severity, and one
// that looks alike where it must not. An expert wrote both before the program ran.
var cases = []struct {
	id       string
	severity string // empty: must not appear
	change   change
}{
	{"tcp-abort-on-overflow", Latent, set("net.ipv4.tcp_abort_on_overflow", "1")},
	{"tcp-abort-on-overflow", Harm, all(set("net.ipv4.tcp_abort_on_overflow", "1"), moved("ListenOverflows", 3))},
	{"tcp-abort-on-overflow", "", moved("ListenOverflows", 3)},
	{"tcp-timestamps-off", Latent, set("net.ipv4.tcp_timestamps", "0")},
	{"tcp-timestamps-off", Near, all(set("net.ipv4.tcp_timestamps", "0"), peer(20000))},
	{"tcp-timestamps-off", "", peer(20000)},
	{"tcp-mtu-probing", Latent, rule("drop", "ip protocol icmp drop", 0)},
	{"tcp-mtu-probing", "", rule("drop", "icmp type echo-request drop", 0)},
	{"tcp-mtu-probing", "", all(rule("drop", "ip protocol icmp drop", 0), set("net.ipv4.tcp_mtu_probing", "1"))},
	{"tcp-migrate-req", Latent, listener(8443, 0, 100, 4)},
	{"tcp-migrate-req", "", listener(8443, 0, 100, 1)},
	{"tcp-port-range", Near, peer(25000)},
	{"tcp-port-range", "", peer(10000)},
	{"tcp-port-range-listeners", Latent, listener(33060, 0, 100, 1)},
	{"tcp-port-range-listeners", "", all(listener(33060, 0, 100, 1), set("net.ipv4.ip_local_reserved_ports", "33000-33100"))},
	{"tcp-orphans", Near, onHost(func(h *hostdoc.Host) { h.Live.Orphans = 1 << 20 })},
	{"tcp-orphans", "", onHost(func(h *hostdoc.Host) { h.Live.Orphans = 10 })},
	{"tcp-mem-pressure", Near, onHost(func(h *hostdoc.Host) { h.Live.TCPPages = 1 << 30 })},
	{"tcp-mem-pressure", Latent, set("net.ipv4.tcp_mem", "8388608 12582912 1677721600")},
	{"tcp-mem-pressure", "", onHost(func(h *hostdoc.Host) { h.Live.TCPPages = 100 })},
	{"tcp-ns-differs", Latent, all(func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Changed = append(n.Changed, hostdoc.Change{Key: "net.core.somaxconn", Value: "65535", Default: "4096", File: "/etc/sysctl.d/60-web.conf:1"})
	}, container("0.0.0.0"))},
	{"tcp-ns-differs", "", container("0.0.0.0")},
	{"tcp-file-not-effective", Latent, onHost(func(h *hostdoc.Host) {
		h.SysctlFiles = append(h.SysctlFiles, hostdoc.FileValue{Key: "net.ipv4.tcp_tw_recycle", Value: "1", File: "/etc/sysctl.d/a.conf", Line: 1, Wins: true})
	})},
	{"tcp-file-not-effective", "", onHost(func(h *hostdoc.Host) {
		h.SysctlFiles = append(h.SysctlFiles, hostdoc.FileValue{Key: "net.ipv4.tcp_sack", Value: "1", File: "/etc/sysctl.d/a.conf", Line: 1, Wins: true})
	})},
	{"tcp-keepalive-not-enabled", Latent, idleHop("203.0.113.7:5432", 900, 0)},
	{"tcp-keepalive-not-enabled", "", idleHop("203.0.113.7:5432", 900, 3)},
	{"tcp-keepalive-vs-path", Near, all(idleHop("203.0.113.7:5432", 900, 3), tracked(hostdoc.Conntrack{Count: 3, Max: 100}), set("net.netfilter.nf_conntrack_tcp_timeout_established", "600"))},
	{"tcp-keepalive-vs-path", "", all(idleHop("203.0.113.7:5432", 900, 3), tracked(hostdoc.Conntrack{Count: 3, Max: 100}))},
	{"tcp-retries2-too-low", Latent, set("net.ipv4.tcp_retries2", "5")},
	{"tcp-retries2-too-low", "", set("net.ipv4.tcp_retries2", "8")},
	{"tcp-synack-retries-low", Latent, set("net.ipv4.tcp_synack_retries", "1")},
	{"tcp-synack-retries-low", "", set("net.ipv4.tcp_synack_retries", "3")},
	{"tcp-sack-off", Latent, set("net.ipv4.tcp_sack", "0")},
	{"tcp-sack-off", "", moved("RetransSegs", 100)},
	{"tcp-window-scaling-off", Latent, set("net.ipv4.tcp_window_scaling", "0")},
	{"tcp-window-scaling-off", "", set("net.ipv4.tcp_window_scaling", "1")},
	{"tcp-tw-buckets-low", Near, moved("TCPTimeWaitOverflow", 5)},
	{"tcp-tw-buckets-low", "", set("net.ipv4.tcp_max_tw_buckets", "1000")},
	{"tcp-syncookies-off", Latent, set("net.ipv4.tcp_syncookies", "0")},
	{"tcp-syncookies-off", "", set("net.ipv4.tcp_syncookies", "2")},
	{"listen-overflow", Harm, all(listener(8080, 129, 128, 1), moved("ListenOverflows", 4))},
	{"listen-overflow", Near, listener(8080, 100, 128, 1)},
	{"listen-overflow", "", listener(8080, 10, 128, 1)},
	{"listen-backlog-capped", Latent, func(h *hostdoc.Host, n *hostdoc.Namespace) {
		listener(8080, 0, 128, 1)(h, n)
		h.Services[len(h.Services)-1].Config = &servers.Config{Fronts: []servers.Front{{Listen: []string{":8080"}, Backlog: 9000}}}
	}},
	{"listen-backlog-capped", Near, func(h *hostdoc.Host, n *hostdoc.Namespace) {
		listener(8080, 90, 128, 1)(h, n)
		h.Services[len(h.Services)-1].Config = &servers.Config{Fronts: []servers.Front{{Listen: []string{":8080"}, Backlog: 9000}}}
	}},
	{"listen-backlog-capped", "", func(h *hostdoc.Host, n *hostdoc.Namespace) {
		listener(8080, 0, 511, 1)(h, n)
		h.Services[len(h.Services)-1].Config = &servers.Config{Fronts: []servers.Front{{Listen: []string{":8080"}, Backlog: 511}}}
	}},
	{"listen-nobody-behind-publish", Near, all(container("127.0.0.1"), rule("dnat", "tcp dport 8080 dnat to 172.17.0.2:80", 0))},
	{"listen-nobody-behind-publish", Near, all(container("0.0.0.0"), rule("dnat", "tcp dport 8080 dnat to 172.17.0.2:8080", 0))},
	{"listen-nobody-behind-publish", "", all(container("0.0.0.0"), rule("dnat", "tcp dport 8080 dnat to 172.17.0.2:80", 0))},
	{"fd-limit-near", Near, onHost(func(h *hostdoc.Host) {
		h.Services = append(h.Services, hostdoc.Service{ID: "app", Unit: "app.service", MaxFiles: 1024, Live: &hostdoc.ServiceLive{OpenFiles: 1000}})
	})},
	{"fd-limit-near", "", onHost(func(h *hostdoc.Host) {
		h.Services = append(h.Services, hostdoc.Service{ID: "app", MaxFiles: 1024, Live: &hostdoc.ServiceLive{OpenFiles: 500}})
	})},
	{"mem-cgroup-near", Near, onHost(func(h *hostdoc.Host) {
		h.Services = append(h.Services, hostdoc.Service{ID: "app", MaxMemory: 100 << 20, Live: &hostdoc.ServiceLive{Memory: 99 << 20}})
	})},
	{"mem-cgroup-near", Latent, onHost(func(h *hostdoc.Host) {
		h.Services = append(h.Services, hostdoc.Service{ID: "app", MaxMemory: 100 << 20, Live: &hostdoc.ServiceLive{Memory: 9 << 20, OOMKills: 1}})
	})},
	{"mem-cgroup-near", "", onHost(func(h *hostdoc.Host) {
		h.Services = append(h.Services, hostdoc.Service{ID: "app", MaxMemory: -1, Live: &hostdoc.ServiceLive{Memory: 99 << 30, OOMKills: -1}})
	})},
	{"mem-oom-history", Latent, onHost(func(h *hostdoc.Host) { h.Live.OOMKills = 2 })},
	{"mem-oom-history", "", onHost(func(h *hostdoc.Host) { h.Live.OOMKills = -1 })},
	{"nf-conntrack-full", Near, tracked(hostdoc.Conntrack{Count: 90, Max: 100})},
	{"nf-conntrack-full", Harm, tracked(hostdoc.Conntrack{Count: 100, Max: 100, DropMoved: 7})},
	{"nf-conntrack-full", "", tracked(hostdoc.Conntrack{Count: 50, Max: 100, Drop: 900})},
	{"nf-established-timeout", Near, all(tracked(hostdoc.Conntrack{Count: 5, Max: 100}), rule("drop", "ct state invalid drop", 0), set("net.netfilter.nf_conntrack_tcp_timeout_established", "600"))},
	{"nf-established-timeout", "", tracked(hostdoc.Conntrack{Count: 5, Max: 100})},
	{"nf-loose-and-reject", Latent, all(rule("reject-reset", "ct state new tcp flags & (fin|syn|rst|ack) != syn reject with tcp reset", 0), set("net.netfilter.nf_conntrack_tcp_timeout_established", "600"))},
	{"nf-loose-and-reject", "", rule("reject-reset", "tcp dport 113 reject with tcp reset", 0)},
	{"nf-invalid-on-nat", Near, all(tracked(hostdoc.Conntrack{Count: 5, Max: 100, Invalid: 9, InvalidMoved: 2}), func(_ *hostdoc.Host, n *hostdoc.Namespace) { n.Firewall.NAT = true })},
	{"nf-invalid-on-nat", "", all(tracked(hostdoc.Conntrack{Count: 5, Max: 100, Invalid: 9, InvalidMoved: 2}), rule("drop", "ct state invalid drop", 0), func(_ *hostdoc.Host, n *hostdoc.Namespace) { n.Firewall.NAT = true })},
	{"nf-reject-counter", Near, all(rule("reject-reset", "tcp dport 5432 reject with tcp reset", 4), listener(5432, 0, 100, 1))},
	{"nf-reject-counter", Latent, rule("reject-reset", "tcp dport 113 reject with tcp reset", 400)},
	{"nf-reject-counter", "", rule("drop", "tcp dport 23 drop", 400)},
	{"ip-rp-filter", Near, all(set("net.ipv4.conf.all.rp_filter", "1"), moved("IPReversePathFilter", 3))},
	{"ip-rp-filter", "", set("net.ipv4.conf.all.rp_filter", "1")},
	{"ip-duplicate-address", Near, nic(func(i *hostdoc.Interface) { i.Failed = []string{"2001:db8::1"} })},
	{"ip-duplicate-address", Near, func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Neighbours = append(n.Neighbours, hostdoc.Neighbour{Dev: "eth0", Addr: "192.0.2.7", MAC: "02:00:00:00:00:01", Moved: true})
	}},
	{"ip-duplicate-address", "", func(_ *hostdoc.Host, n *hostdoc.Namespace) {
		n.Neighbours = append(n.Neighbours, hostdoc.Neighbour{Dev: "eth0", Addr: "192.0.2.7", MAC: "02:00:00:00:00:01"})
	}},
	{"mtu-chain", Latent, forwarding(1400)},
	{"mtu-chain", "", forwarding(1500)},
	{"mtu-chain", "", all(forwarding(1400), func(_ *hostdoc.Host, n *hostdoc.Namespace) { n.Firewall.Clamps = true })},
	{"nic-errors", Near, nic(func(i *hostdoc.Interface) { i.Live.CRC, i.Live.ErrorMoved = 50, 3 })},
	{"nic-errors", Near, nic(func(i *hostdoc.Interface) { i.Duplex, i.Speed = "half", 100 })},
	{"nic-errors", "", nic(func(i *hostdoc.Interface) { i.Live.RxDropped = 1000 })},
	{"nic-csum-bad", Near, moved("InCsumErrors", 2)},
	{"nic-csum-bad", "", func(_ *hostdoc.Host, n *hostdoc.Namespace) { n.Live.Counters["Tcp.InCsumErrors"] = 5 }},
	{"nic-xdp-tc-drop", Latent, nic(func(i *hostdoc.Interface) { i.XDP = true })},
	{"nic-xdp-tc-drop", "", nic(func(i *hostdoc.Interface) { i.Qdisc = "clsact" })},
	{"cpu-softnet-drop", Near, onHost(func(h *hostdoc.Host) { h.Live.Softnet = hostdoc.Softnet{Dropped: 9, Moved: 3} })},
	{"cpu-softnet-drop", "", onHost(func(h *hostdoc.Host) { h.Live.Softnet = hostdoc.Softnet{Squeezed: 90000} })},
	{"srv-nginx-upstream-vs-server", Near, chained("nginx", 60, "node", 5, hostdoc.HopLive{Connections: 3})},
	{"srv-nginx-upstream-vs-server", Latent, chained("nginx", 60, "node", 5, hostdoc.HopLive{})},
	{"srv-nginx-upstream-vs-server", "", chained("nginx", 4, "node", 5, hostdoc.HopLive{Connections: 3})},
	{"srv-nginx-upstream-vs-server", "", chained("nginx", 60, "node", 65, hostdoc.HopLive{Connections: 3})},
	{"srv-haproxy-reuse", Near, chained("haproxy", 0, "gunicorn", 2, hostdoc.HopLive{Connections: 3})},
	{"srv-haproxy-reuse", "", chained("haproxy", 0, "gunicorn", 0, hostdoc.HopLive{Connections: 3})},
	{"chain-reuse-race", Near, chained("pgbouncer", 600, "postgresql", 300, hostdoc.HopLive{Connections: 3})},
	{"chain-reuse-race", "", chained("pgbouncer", 600, "postgresql", 3600, hostdoc.HopLive{Connections: 3})},
	{"srv-nginx-front-vs-lb", Latent, front("nginx", "http", 5, 0)},
	{"srv-nginx-front-vs-lb", "", front("nginx", "http", 75, 0)},
	{"srv-haproxy-client-server", Near, func(h *hostdoc.Host, n *hostdoc.Namespace) {
		chained("app", 0, "haproxy", 60, hostdoc.HopLive{Connections: 2, LongestIdle: 50})(h, n)
		h.Services[len(h.Services)-1].Config.Fronts[0].Mode = "tcp"
	}},
	{"srv-haproxy-client-server", "", func(h *hostdoc.Host, n *hostdoc.Namespace) {
		chained("app", 0, "haproxy", 60, hostdoc.HopLive{Connections: 2, LongestIdle: 5})(h, n)
		h.Services[len(h.Services)-1].Config.Fronts[0].Mode = "tcp"
	}},
	{"srv-postgres-timers", Near, front("postgresql", "postgres", 300, 4)},
	{"srv-postgres-timers", Latent, front("postgresql", "postgres", 300, 0)},
	{"srv-postgres-timers", "", front("postgresql", "postgres", 0, 4)},
	{"srv-redis", Near, front("redis", "redis", 30, 4)},
	{"srv-redis", "", front("redis", "redis", 0, 4)},
	{"chain-silent-drop", Near, all(chained("app", 0, "redis", 0, hostdoc.HopLive{Connections: 2, Idle: 2, LongestIdle: 50}), tracked(hostdoc.Conntrack{Count: 5, Max: 100}), set("net.netfilter.nf_conntrack_tcp_timeout_established", "600"))},
	{"chain-silent-drop", "", all(chained("app", 30, "redis", 0, hostdoc.HopLive{Connections: 2, Idle: 2, LongestIdle: 25}), tracked(hostdoc.Conntrack{Count: 5, Max: 100}), set("net.netfilter.nf_conntrack_tcp_timeout_established", "600"))},
	{"chain-deadline", Latent, deadlines(50, 60)},
	{"chain-deadline", "", deadlines(60, 30)},
}

// front is a server that nobody on this host connects to.
func front(product, mode string, closes float64, closedFirst int) change {
	return func(h *hostdoc.Host, n *hostdoc.Namespace) {
		h.Services = append(h.Services, hostdoc.Service{ID: product, Product: product, Config: &servers.Config{Product: product, Fronts: []servers.Front{{Listen: []string{":8080"}, Mode: mode, Timers: []servers.Timer{timer(servers.Close, closes)}}}}})
		n.Listeners = append(n.Listeners, hostdoc.Listener{Addr: "0.0.0.0", Port: 8080, Service: product, Backlog: 511, Sockets: 1, Live: &hostdoc.ListenerLive{ClosedFirst: closedFirst}})
	}
}

// deadlines puts haproxy in front of nginx in front of an application.
func deadlines(outer, inner float64) change {
	return func(h *hostdoc.Host, n *hostdoc.Namespace) {
		h.Services = append(h.Services,
			hostdoc.Service{ID: "haproxy", Product: "haproxy", Config: &servers.Config{Backs: []servers.Back{{Peers: []string{"127.0.0.1:8080"}, Timers: []servers.Timer{timer(servers.Deadline, outer)}}}}},
			hostdoc.Service{ID: "nginx", Product: "nginx", Config: &servers.Config{Fronts: []servers.Front{{Listen: []string{":8080"}}}, Backs: []servers.Back{{Peers: []string{"127.0.0.1:9000"}, Timers: []servers.Timer{timer(servers.Deadline, inner)}}}}})
		n.Listeners = append(n.Listeners, hostdoc.Listener{Addr: "127.0.0.1", Port: 8080, Service: "nginx", Backlog: 511, Sockets: 1, Live: &hostdoc.ListenerLive{}})
	}
}

func TestCases(t *testing.T) {
	appears, absent := map[string]bool{}, map[string]bool{}
	for i, c := range cases {
		h := clean(t)
		c.change(h, &h.Namespaces[0])
		got := ""
		for _, a := range Run(h, Options{}).Advices {
			if a.ID == c.id {
				got = a.Severity
				if a.Is == "" || a.Want == "" || a.Why == "" || a.Fix.Title == "" || a.Subject == "" {
					t.Errorf("%s is incomplete: %+v", c.id, a)
				}
			}
		}
		if got != c.severity {
			t.Errorf("case %d, %s: %q, want %q", i, c.id, got, c.severity)
		}
		appears[c.id] = appears[c.id] || c.severity != ""
		absent[c.id] = absent[c.id] || c.severity == ""
	}
	for _, c := range Checks() {
		if !appears[c.ID] || !absent[c.ID] {
			t.Errorf("%s needs a host where it appears and one where it does not", c.ID)
		}
	}
}

func TestFindingsAreHarm(t *testing.T) {
	h := clean(t)
	chained("nginx", 60, "node", 5, hostdoc.HopLive{})(h, &h.Namespaces[0])
	r := Run(h, Options{Findings: map[string]int{"node-keepalive-5s": 7}})
	i := slices.IndexFunc(r.Advices, func(a Advice) bool { return a.ID == "srv-nginx-upstream-vs-server" })
	if i < 0 || r.Advices[i].Severity != Harm || r.Advices[i].Findings != 7 {
		t.Errorf("%+v", r.Advices)
	}
}

// TestForms looks that every form can be written, and that hostile names do not
// leave their place.
func TestForms(t *testing.T) {
	h := clean(t)
	h.Name = "<script>\x1b[31m"
	all(set("net.ipv4.tcp_abort_on_overflow", "1"), chained("nginx\n# x", 60, "node", 5, hostdoc.HopLive{Connections: 1}))(h, &h.Namespaces[0])
	r := Run(h, Options{})
	for _, text := range []string{Markdown(r), HTML(r), Picture(r)} {
		if strings.Contains(text, "\x1b") || strings.Contains(text, "<script>") || strings.Contains(text, "\n# x") {
			t.Errorf("hostile: %q", text)
		}
	}
	if b, err := json.Marshal(SARIF(r, "1")); err != nil || !strings.Contains(string(b), `"ruleId":"tcp-abort-on-overflow"`) {
		t.Errorf("%s %v", b, err)
	}
	for _, f := range Forms() {
		text, _ := Emit(r, f)
		if want := f != "nginx" && f != "haproxy"; want != strings.Contains(text, "net.ipv4.tcp_abort_on_overflow") {
			t.Errorf("%s: %q", f, text)
		}
	}
}
