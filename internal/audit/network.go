package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/internal/hostdoc"
)

// nearFull is from which share of a limit on it is nearly reached.
const nearFull = 0.8

func listenOverflow(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		total, moved := counter(n, "ListenOverflows")
		worst := -1
		for i, x := range n.Listeners {
			if x.Live != nil && x.Backlog > 0 && (worst < 0 || x.Live.Queue*n.Listeners[worst].Backlog > n.Listeners[worst].Live.Queue*x.Backlog) {
				worst = i
			}
		}
		if worst < 0 {
			return
		}
		x := n.Listeners[worst]
		full := float64(x.Live.Queue) / float64(x.Backlog)
		if moved == 0 && full <= 0.7 {
			return
		}
		a := Advice{Subject: subject(n, fmt.Sprintf("accept queue of %s, port %d", cmp.Or(x.Service, "an unknown program"), x.Port)), Severity: Near, Is: fmt.Sprintf("%d of %d connections wait", x.Live.Queue, x.Backlog), Want: "a queue that empties",
			Evidence: []Evidence{count("ListenOverflows", total, "since boot"), count("ListenOverflows", moved, l.window())}}
		if moved > 0 {
			a.Severity = Harm
			if full <= 0.7 {
				a.Is = fmt.Sprintf("a queue of this namespace ran over %d times; this one is the fullest now, with %d of %d", moved, x.Live.Queue, x.Backlog)
			}
		}
		a.Fix = advise("Accept faster (more workers), or raise the backlog of the program and net.core.somaxconn, the lower of which counts; a living listener keeps its limit until it calls listen() again")
		l.add(a)
	})
}

func backlogCapped(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		limit, ok := number(n, "net.core.somaxconn")
		for _, x := range n.Listeners {
			s := l.h.Service(x.Service)
			if s == nil || s.Config == nil || !ok {
				continue
			}
			for _, f := range s.Config.Fronts {
				if f.Backlog <= x.Backlog || !slices.ContainsFunc(f.Listen, func(a string) bool { return strings.HasSuffix(a, ":"+strconv.Itoa(int(x.Port))) }) {
					continue
				}
				a := Advice{Subject: subject(n, fmt.Sprintf("%s, port %d", x.Service, x.Port)), Severity: Latent, Is: fmt.Sprintf("its accept queue holds %d", x.Backlog), Want: fmt.Sprintf("the %d that it asks for", f.Backlog), Evidence: []Evidence{{"net.core.somaxconn", n.Sysctls["net.core.somaxconn"], "now"}}}
				if _, moved := counter(n, "ListenOverflows"); moved > 0 || x.Live != nil && x.Live.Queue > x.Backlog/2 {
					a.Severity = Near
					a.Evidence = append(a.Evidence, count("ListenOverflows", moved, l.window()))
				}
				if limit < float64(f.Backlog) {
					a.Fix, a.Actions = l.sysctl(n, "Raise the limit of accept queues, then restart the program: a living listener keeps its own", "net.core.somaxconn", strconv.Itoa(f.Backlog))
				} else {
					a.Fix = advise("Restart the program, or let it call listen() again: it began when net.core.somaxconn was lower")
				}
				l.add(a)
			}
		}
	})
}

var dnatTo = regexp.MustCompile(`dnat(?: ip| ip6)? to ([0-9a-f.:\[\]]+)`)

func nobodyBehindPublish(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		if n.Firewall == nil {
			return
		}
		for _, r := range n.Firewall.Rules {
			m := dnatTo.FindStringSubmatch(r.Text)
			if m == nil {
				continue
			}
			to, err := netip.ParseAddrPort(m[1])
			if err != nil {
				continue
			}
			owner := l.ownerOf(to.Addr())
			if owner == nil || slices.ContainsFunc(owner.Listeners, func(x hostdoc.Listener) bool {
				a, _ := netip.ParseAddr(x.Addr)
				return x.Port == to.Port() && (a.IsUnspecified() || a == to.Addr())
			}) {
				continue
			}
			a := Advice{Subject: "published port to " + to.String(), Severity: Near, Is: "nobody listens there in " + owner.ID, Want: "a listener on that address", Evidence: []Evidence{{"rule", r.Text, r.Where}},
				Fix: advise("Bind the program in the container to 0.0.0.0 instead of 127.0.0.1, or publish the port that it has")}
			if i := slices.IndexFunc(owner.Listeners, func(x hostdoc.Listener) bool { return x.Port == to.Port() }); i >= 0 {
				a.Is = fmt.Sprintf("the program in %s listens on %s only", owner.ID, owner.Listeners[i].Addr)
			}
			l.add(a)
		}
	})
}

// ownerOf is the namespace that has an address; nil when none of this host has.
func (l *looker) ownerOf(a netip.Addr) *hostdoc.Namespace {
	for i := range l.h.Namespaces {
		for _, x := range l.h.Namespaces[i].Interfaces {
			for _, p := range x.Addresses {
				if q, err := netip.ParsePrefix(p); err == nil && q.Addr() == a {
					return &l.h.Namespaces[i]
				}
			}
		}
	}
	return nil
}

func fdLimitNear(l *looker) {
	for _, s := range l.h.Services {
		if s.Live == nil || s.MaxFiles <= 0 || float64(s.Live.OpenFiles) <= nearFull*float64(s.MaxFiles) {
			continue
		}
		a := Advice{Subject: s.ID, Severity: Near, Is: fmt.Sprintf("%d of %d files open", s.Live.OpenFiles, s.MaxFiles), Want: "below 80 %"}
		if strings.HasSuffix(s.Unit, ".service") {
			set := fmt.Sprintf("LimitNOFILE=%d", 4*s.MaxFiles)
			a.Fix = advise("Raise the limit of the unit, and restart it")
			a.Fix.Kind = "unit"
			a.Fix.Commands = []string{"systemctl edit " + s.Unit + "   # [Service] " + set}
			a.Fix.Undo = []string{"systemctl revert " + s.Unit}
			a.Fix.Verify = []string{"systemctl show " + s.Unit + " -p LimitNOFILE"}
		} else {
			a.Fix = advise("Raise the limit where the program is started (ulimit -n, --ulimit nofile); limits.conf does nothing for services")
		}
		l.add(a)
	}
}

func cgroupNear(l *looker) {
	for _, s := range l.h.Services {
		if s.Live == nil || s.MaxMemory <= 0 && s.Live.OOMKills <= 0 {
			continue
		}
		full := s.MaxMemory > 0 && float64(s.Live.Memory) > 0.95*float64(s.MaxMemory)
		if !full && s.Live.OOMKills <= 0 {
			continue
		}
		severity := Near
		if !full { // it happened some time ago, and may be repaired
			severity = Latent
		}
		l.add(Advice{Subject: s.ID, Severity: severity, Is: fmt.Sprintf("%s of %s used, %d killed for want of memory", mib(s.Live.Memory), mib(s.MaxMemory), max(0, s.Live.OOMKills)), Want: "room below the limit",
			Fix: advise("Find what grows, or raise the limit (MemoryMax= of the unit, limits.memory of the pod): a kill resets every connection of the process")})
	}
}

func mib(b int64) string {
	if b <= 0 {
		return "no limit"
	}
	return strconv.FormatInt(b>>20, 10) + " MiB"
}

func oomHistory(l *looker) {
	if l.h.Live == nil || l.h.Live.OOMKills <= 0 {
		return
	}
	l.add(Advice{Subject: "memory of the host", Severity: Latent, Is: fmt.Sprintf("%d processes were killed for want of memory since boot", l.h.Live.OOMKills), Want: "none",
		Fix: advise("journalctl -k | grep -i 'killed process' names them: each kill resets every connection of the process")})
}

func conntrackFull(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		if n.Live == nil || n.Live.Conntrack == nil || n.Live.Conntrack.Max <= 0 {
			return
		}
		c := n.Live.Conntrack
		share := float64(c.Count) / float64(c.Max)
		if share <= nearFull && c.DropMoved == 0 {
			return
		}
		a := Advice{Subject: subject(n, "net.netfilter.nf_conntrack_max"), Severity: Near, Is: fmt.Sprintf("%d of %d entries (%.0f %%)", c.Count, c.Max, 100*share), Want: "below 80 %", Evidence: []Evidence{count("drop and early_drop", c.DropMoved, l.window()), count("drop", c.Drop, "since boot")}}
		if c.DropMoved > 0 {
			a.Severity = Harm
		}
		if n.Host {
			a.Fix, a.Actions = l.sysctl(n, "Allow twice as many entries (about 320 bytes each)", "net.netfilter.nf_conntrack_max", strconv.FormatInt(2*c.Max, 10))
		} else {
			a.Fix = advise("Raise it on the host: a namespace shows it and cannot change it")
		}
		l.add(a)
	})
}

// req5 is the least time for which a NAT remembers an established connection
// (RFC 5382, REQ-5): 2 h 4 min.
const req5 = 7440

func establishedTimeout(l *looker) {
	const key = "net.netfilter.nf_conntrack_tcp_timeout_established"
	l.each(func(n *hostdoc.Namespace) {
		v, ok := number(n, key)
		if !ok || v >= req5 || n.Live == nil || n.Live.Conntrack == nil {
			return
		}
		a := Advice{Subject: subject(n, key), Severity: Latent, Is: fmt.Sprintf("%.0f s", v), Want: "at least 7440 s", Evidence: []Evidence{count("tracked connections", n.Live.Conntrack.Count, "now")}}
		if n.Live.Conntrack.Count > 0 && (n.Firewall != nil && (n.Firewall.NAT || len(n.Firewall.Rules) > 0)) {
			a.Severity = Near
		}
		for _, h := range n.Hops {
			if h.Live != nil && h.Live.LongestIdle > v/2 && h.Live.KeepAlive < h.Live.Connections {
				a.Severity = Near
				a.Evidence = append(a.Evidence, Evidence{"connections to " + h.To + " without keep-alive", fmt.Sprintf("idle up to %.0f s", h.Live.LongestIdle), "now"})
			}
		}
		a.Fix, a.Actions = l.sysctl(n, "Remember established connections for as long as RFC 5382 asks", key, strconv.Itoa(req5))
		l.add(a)
	})
}

func looseAndReject(l *looker) {
	const key = "net.netfilter.nf_conntrack_tcp_loose"
	l.each(func(n *hostdoc.Namespace) {
		v, ok := number(n, key)
		t, _ := number(n, "net.netfilter.nf_conntrack_tcp_timeout_established")
		if !ok || v == 0 || n.Firewall == nil || t >= req5 {
			return
		}
		for _, r := range n.Firewall.Rules {
			if r.Verdict != "reject-reset" || !strings.Contains(r.Text, "ct state") && !strings.Contains(r.Text, "flags") {
				continue
			}
			l.add(Advice{Subject: subject(n, key), Severity: Latent, Is: fmt.Sprintf("1, with a rule that rejects by reset, and entries that last %.0f s", t), Want: "entries that last longer than connections are idle", Evidence: []Evidence{{"rule", r.Text, r.Where}},
				Fix: advise("Raise nf_conntrack_tcp_timeout_established, or let keep-alive refresh the entries; with loose=0 the same connections hang instead of being reset")})
			return
		}
	})
}

func invalidOnNAT(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		if n.Firewall == nil || !n.Firewall.NAT || n.Live == nil || n.Live.Conntrack == nil || n.Live.Conntrack.Invalid == 0 {
			return
		}
		for _, r := range n.Firewall.Rules {
			if strings.Contains(strings.ToLower(r.Text), "invalid") && r.Verdict == "drop" {
				return
			}
		}
		if v, ok := number(n, "net.netfilter.nf_conntrack_tcp_be_liberal"); ok && v == 1 {
			return
		}
		c := n.Live.Conntrack
		a := Advice{Subject: subject(n, "packets that connection tracking calls invalid"), Severity: Latent, Is: "they pass the NAT untranslated", Want: "dropped in forward", Evidence: []Evidence{count("invalid", c.Invalid, "since boot"), count("invalid", c.InvalidMoved, l.window())}}
		if c.InvalidMoved > 0 {
			a.Severity = Near
		}
		a.Fix = advise("Drop them before they leave")
		a.Fix.Kind = "nft"
		a.Fix.Commands = []string{"nft insert rule inet filter forward ct state invalid drop"}
		a.Fix.Undo = []string{"nft -a list chain inet filter forward; nft delete rule inet filter forward handle N"}
		a.Or = []string{"sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1: out-of-window packets are translated as the rest"}
		l.add(a)
	})
}

var portOf = regexp.MustCompile(`\bdport (?:\{ )?(\d+)`)

// rejectCounter: a scan that meets a rule is what the rule is for. It matters when
// the rule stands before a listener of this host, or before its own programs.
func rejectCounter(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		if n.Firewall == nil {
			return
		}
		for _, r := range n.Firewall.Rules {
			if r.Live == nil || r.Live.Moved == 0 || r.Verdict != "reject-reset" {
				continue
			}
			a := Advice{Subject: subject(n, "rule in "+r.Where), Severity: Latent, Is: r.Text, Want: "no program of yours behind it", Evidence: []Evidence{count("packets answered with a reset", int64(r.Live.Moved), l.window()), count("packets", int64(r.Live.Packets), "since the rule was made")},
				Fix: advise("See whom it hits: holdfast watch names the connections; when they are yours, accept them before this rule")}
			m := portOf.FindStringSubmatch(r.Text)
			if strings.Contains(r.Where, "output") {
				a.Severity = Near
			}
			if i := slices.IndexFunc(n.Listeners, func(x hostdoc.Listener) bool { return m != nil && strconv.Itoa(int(x.Port)) == m[1] }); i >= 0 {
				a.Severity = Near
				a.Evidence = append(a.Evidence, Evidence{"behind it listens", cmp.Or(n.Listeners[i].Service, "an unknown program"), "now"})
			}
			l.add(a)
		}
	})
}

func rpFilter(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		total, moved := counter(n, "IPReversePathFilter")
		if moved == 0 {
			return
		}
		a := Advice{Subject: subject(n, "net.ipv4.conf.all.rp_filter"), Severity: Near, Is: n.Sysctls["net.ipv4.conf.all.rp_filter"], Want: "2 (loose), where routes are asymmetric", Evidence: []Evidence{count("IPReversePathFilter", total, "since boot"), count("IPReversePathFilter", moved, l.window())}}
		if a.Is == "1" {
			a.Fix, a.Actions = l.sysctl(n, "Accept packets from addresses that are reachable through any interface", "net.ipv4.conf.all.rp_filter", "2")
		} else {
			a.Fix = advise("Find the interface with rp_filter=1: the larger of its value and that of \"all\" counts")
		}
		l.add(a)
	})
}

func duplicateAddress(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		for _, i := range n.Interfaces {
			for _, a := range i.Failed {
				l.add(Advice{Subject: subject(n, a+" on "+i.Name), Severity: Near, Is: "duplicate address detection found another owner", Want: "an address of its own", Fix: advise("Find the other owner, and give one of them another address")})
			}
		}
		for _, x := range n.Neighbours {
			if x.Moved {
				l.add(Advice{Subject: subject(n, x.Addr+" on "+x.Dev), Severity: Near, Is: "its hardware address changed while we looked, to " + x.MAC, Want: "one owner", Fix: advise("arping -D finds a second owner; two routers with one virtual address (VRRP) change it on a failover only")})
			}
		}
	})
}

func mtuChain(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		if v, ok := number(n, "net.ipv4.ip_forward"); !ok || v != 1 || n.Firewall == nil || n.Firewall.Clamps {
			return
		}
		out := n.Outgoing()
		if out == nil || out.MTU == 0 {
			return
		}
		for _, r := range n.Routes {
			if strings.HasPrefix(r.Dst, "default") && r.MTU > 0 {
				return // said to the host itself, and by ICMP to others
			}
		}
		for _, i := range n.Interfaces {
			if i.Name == out.Name || i.State != "up" || i.Kind == "loopback" || i.MTU <= out.MTU || i.Master != "" {
				continue
			}
			l.add(Advice{Subject: subject(n, i.Name+" to "+out.Name), Severity: Latent, Is: fmt.Sprintf("packets of up to %d bytes come in, %d leave", i.MTU, out.MTU), Want: "the same size, or the size of segments clamped",
				Fix: advise(fmt.Sprintf("Set the MTU of %s to %d, or clamp: nft add rule inet filter forward tcp flags syn tcp option maxseg size set rt mtu", i.Name, out.MTU))})
			return
		}
	})
}

func nicErrors(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		for _, i := range n.Interfaces {
			v := i.Live
			if v == nil || i.Kind != "" {
				continue
			}
			bad := v.CRC + v.Frame
			rate := float64(bad) / max(1, float64(v.RxPackets))
			switch {
			case v.ErrorMoved > 0, v.RxPackets > 1000 && rate > 1e-6:
			case i.Duplex == "half":
			default:
				continue
			}
			a := Advice{Subject: subject(n, i.Name), Severity: Near, Is: fmt.Sprintf("%d CRC and frame errors in %d packets, %d missed", bad, v.RxPackets, v.Missed), Want: "none", Evidence: []Evidence{count("errors", int64(v.ErrorMoved), l.window())},
				Fix: advise("Cable, transceiver or port of the switch; missed packets: a larger receive ring (ethtool -G)")}
			if v.ErrorMoved == 0 && i.Duplex != "half" {
				a.Severity = Latent
			}
			if i.Duplex == "half" {
				a.Is = "half duplex at " + strconv.Itoa(i.Speed) + " Mbit/s; " + a.Is
			}
			l.add(a)
		}
	})
}

func csumBad(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		total, moved := counter(n, "InCsumErrors")
		if moved == 0 {
			return
		}
		l.add(Advice{Subject: subject(n, "checksums of TCP"), Severity: Near, Is: fmt.Sprintf("%d segments with a wrong checksum", moved), Want: "none", Evidence: []Evidence{count("InCsumErrors", total, "since boot"), count("InCsumErrors", moved, l.window())},
			Fix: advise("Capture on both sides: wrong on the wire is a broken device or driver; ethtool -K IFACE tx off on the sender tells an offload that writes it wrong")})
	})
}

func xdp(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		for _, i := range n.Interfaces {
			if i.XDP {
				l.add(Advice{Subject: subject(n, i.Name), Severity: Latent, Is: "a program is attached at XDP: it can drop and answer packets before everything else", Want: "known to you", Fix: advise("bpftool net show dev " + i.Name + " names it")})
			}
		}
	})
}

func softnetDrop(l *looker) {
	if l.h.Live == nil || l.h.Live.Softnet.Dropped == 0 {
		return
	}
	s := l.h.Live.Softnet
	a := Advice{Subject: "net.core.netdev_max_backlog", Severity: Latent, Is: fmt.Sprintf("%d packets dropped between adapter and protocols", s.Dropped), Want: "none", Evidence: []Evidence{count("dropped", s.Dropped, "since boot"), count("dropped", s.Moved, l.window())}}
	if s.Moved > 0 {
		a.Severity = Near
	}
	if n := hostSpace(l.h); n != nil {
		if v, ok := number(n, "net.core.netdev_max_backlog"); ok {
			a.Fix, a.Actions = l.sysctl(n, "Let the queue hold more; spread the load over processors first (RPS, more queues)", "net.core.netdev_max_backlog", strconv.Itoa(2*int(v)))
		}
	}
	l.add(a)
}
