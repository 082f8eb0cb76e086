package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/fact"

	"github.com/holdfast-project/holdfast/internal/hostdoc"
)

// predicates of the checks, by id.
var predicates = map[string]func(*looker){
	"tcp-abort-on-overflow":        abortOnOverflow,
	"tcp-timestamps-off":           timestampsOff,
	"tcp-mtu-probing":              mtuProbing,
	"tcp-migrate-req":              migrateReq,
	"tcp-port-range":               portRange,
	"tcp-port-range-listeners":     portRangeListeners,
	"tcp-orphans":                  orphans,
	"tcp-mem-pressure":             memPressure,
	"tcp-ns-differs":               nsDiffers,
	"tcp-file-not-effective":       fileNotEffective,
	"tcp-keepalive-not-enabled":    keepaliveNotEnabled,
	"tcp-keepalive-vs-path":        keepaliveVsPath,
	"tcp-retries2-too-low":         setting("net.ipv4.tcp_retries2", below(8), "8", "TCPAbortOnTimeout"),
	"tcp-synack-retries-low":       setting("net.ipv4.tcp_synack_retries", below(3), "5", "EmbryonicRsts"),
	"tcp-sack-off":                 setting("net.ipv4.tcp_sack", is(0), "1", "RetransSegs"),
	"tcp-window-scaling-off":       setting("net.ipv4.tcp_window_scaling", is(0), "1", ""),
	"tcp-tw-buckets-low":           twBucketsLow,
	"tcp-syncookies-off":           setting("net.ipv4.tcp_syncookies", is(0), "1", "TCPReqQFullDrop"),
	"listen-overflow":              listenOverflow,
	"listen-backlog-capped":        backlogCapped,
	"listen-nobody-behind-publish": nobodyBehindPublish,
	"fd-limit-near":                fdLimitNear,
	"mem-cgroup-near":              cgroupNear,
	"mem-oom-history":              oomHistory,
	"nf-conntrack-full":            conntrackFull,
	"nf-established-timeout":       establishedTimeout,
	"nf-loose-and-reject":          looseAndReject,
	"nf-invalid-on-nat":            invalidOnNAT,
	"nf-reject-counter":            rejectCounter,
	"ip-rp-filter":                 rpFilter,
	"ip-duplicate-address":         duplicateAddress,
	"mtu-chain":                    mtuChain,
	"nic-errors":                   nicErrors,
	"nic-csum-bad":                 csumBad,
	"nic-xdp-tc-drop":              xdp,
	"cpu-softnet-drop":             softnetDrop,
	"srv-nginx-upstream-vs-server": raceOf("nginx"),
	"srv-haproxy-reuse":            raceOf("haproxy"),
	"chain-reuse-race":             raceOf(""),
	"srv-nginx-front-vs-lb":        nginxFront,
	"srv-haproxy-client-server":    haproxyRelay,
	"srv-postgres-timers":          databaseTimer("postgresql", "idle_session_timeout"),
	"srv-redis":                    databaseTimer("redis", "timeout"),
	"chain-silent-drop":            silentDrop,
	"chain-deadline":               lateDeadline,
}

// each calls f for every namespace.
func (l *looker) each(f func(*hostdoc.Namespace)) {
	for i := range l.h.Namespaces {
		f(&l.h.Namespaces[i])
	}
}

// number of a setting; ok is false when it was not read.
func number(n *hostdoc.Namespace, key string) (float64, bool) {
	v, ok := n.Sysctls[key]
	if !ok {
		return 0, false
	}
	x, err := strconv.ParseFloat(v, 64)
	return x, err == nil
}

// counter since boot, and in the window.
func counter(n *hostdoc.Namespace, name string) (total, moved int64) {
	if n.Live == nil || name == "" {
		return 0, 0
	}
	for k, v := range n.Live.Counters {
		if strings.HasSuffix(k, "."+name) {
			total = v
		}
	}
	for k, v := range n.Live.Moved {
		if strings.HasSuffix(k, "."+name) {
			moved = v
		}
	}
	return total, moved
}

func count(name string, v int64, from string) Evidence {
	return Evidence{name, strconv.FormatInt(v, 10), from}
}

// window says over how long counters were compared.
func (l *looker) window() string {
	if l.h.Live == nil || l.h.Live.Window == 0 {
		return "not compared"
	}
	return fmt.Sprintf("in %g s", l.h.Live.Window)
}

func below(limit float64) func(float64) bool { return func(x float64) bool { return x < limit } }
func is(v float64) func(float64) bool        { return func(x float64) bool { return x == v } }

// setting is a check of one setting, of which a counter tells whether it matters.
func setting(key string, bad func(float64) bool, want, name string) func(*looker) {
	return func(l *looker) {
		l.each(func(n *hostdoc.Namespace) {
			v, ok := number(n, key)
			if !ok || !bad(v) {
				return
			}
			a := Advice{Subject: subject(n, key), Severity: Latent, Is: n.Sysctls[key], Want: want}
			total, moved := counter(n, name)
			if name != "" {
				a.Evidence = []Evidence{count(name, total, "since boot"), count(name, moved, l.window())}
			}
			if moved > 0 {
				a.Severity = Near
			}
			a.Fix, a.Actions = l.sysctl(n, l.check.Title, key, want)
			l.add(a)
		})
	}
}

func abortOnOverflow(l *looker) {
	const key = "net.ipv4.tcp_abort_on_overflow"
	l.each(func(n *hostdoc.Namespace) {
		if v, ok := number(n, key); !ok || v == 0 {
			return
		}
		total, moved := counter(n, "ListenOverflows")
		a := Advice{Subject: subject(n, key), Severity: Latent, Is: "1", Want: "0", Evidence: []Evidence{count("ListenOverflows", total, "since boot"), count("ListenOverflows", moved, l.window())}}
		switch {
		case moved > 0:
			a.Severity = Harm
		case total > 0:
			a.Severity = Near
		}
		a.Fix, a.Actions = l.sysctl(n, "Let a full accept queue drop the last ACK instead of resetting the client", key, "0")
		l.add(a)
	})
}

func timestampsOff(l *looker) {
	const key = "net.ipv4.tcp_timestamps"
	l.each(func(n *hostdoc.Namespace) {
		if v, ok := number(n, key); !ok || v != 0 {
			return
		}
		a := Advice{Subject: subject(n, key), Severity: Latent, Is: "0", Want: "1"}
		if u := busiest(n); u != nil && float64(u.Ports) > 0.3*rangeSize(n) {
			a.Severity = Near
			a.Evidence = []Evidence{count("local ports in use towards "+u.Remote.String(), int64(u.Ports), "now")}
		}
		a.Fix, a.Actions = l.sysctl(n, "Switch TCP timestamps on again", key, "1")
		l.add(a)
	})
}

func busiest(n *hostdoc.Namespace) *hostdoc.PeerUse {
	if n.Live == nil || len(n.Live.Peers) == 0 {
		return nil
	}
	return &n.Live.Peers[0]
}

// ports is the range of ephemeral ports.
func ports(n *hostdoc.Namespace) (low, high int, ok bool) {
	f := strings.Fields(n.Sysctls["net.ipv4.ip_local_port_range"])
	if len(f) != 2 {
		return 0, 0, false
	}
	low, err1 := strconv.Atoi(f[0])
	high, err2 := strconv.Atoi(f[1])
	return low, high, err1 == nil && err2 == nil && high >= low
}

func rangeSize(n *hostdoc.Namespace) float64 {
	low, high, ok := ports(n)
	if !ok {
		return 28232
	}
	return float64(high - low + 1 - reserved(n, low, high))
}

// reserved counts reserved ports inside a range.
func reserved(n *hostdoc.Namespace, low, high int) (sum int) {
	for from, to := range reservedPorts(n) {
		if from, to = max(from, low), min(to, high); from <= to {
			sum += to - from + 1
		}
	}
	return sum
}

func reservedPorts(n *hostdoc.Namespace) func(func(int, int) bool) {
	return func(yield func(int, int) bool) {
		for w := range strings.SplitSeq(n.Sysctls["net.ipv4.ip_local_reserved_ports"], ",") {
			a, b, ranged := strings.Cut(w, "-")
			from, err := strconv.Atoi(strings.TrimSpace(a))
			to := from
			if ranged {
				to, _ = strconv.Atoi(strings.TrimSpace(b))
			}
			if err == nil && !yield(from, to) {
				return
			}
		}
	}
}

// ephemeralUse from which share of the ports towards one address on it is near.
const ephemeralUse = 0.7

func portRange(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		u := busiest(n)
		low, high, ok := ports(n)
		if u == nil || !ok {
			return
		}
		size := rangeSize(n)
		share := float64(u.Ports) / size
		if share <= ephemeralUse {
			return
		}
		a := Advice{Subject: subject(n, "local ports towards "+u.Remote.String()), Severity: Near, Is: fmt.Sprintf("%d of %.0f in use (%.0f %%)", u.Ports, size, 100*share), Want: "below 70 %",
			Evidence: []Evidence{count("of them in TIME_WAIT", int64(u.TimeWait), "now")},
			Or:       []string{"keep connections for the next request in the client: then each needs one port", "connect from several source addresses, or to several destination addresses or ports"}}
		const wide = "15000 65000"
		if low > 15000 && high < 65000 && free(n, 15000, low) {
			a.Fix, a.Actions = l.sysctl(n, "Widen the range of ephemeral ports", "net.ipv4.ip_local_port_range", wide)
		} else {
			a.Fix.Title = "Keep connections for the next request in the client that connects there"
		}
		l.add(a)
	})
}

// free reports whether nobody listens in a range.
func free(n *hostdoc.Namespace, low, high int) bool {
	return !slices.ContainsFunc(n.Listeners, func(x hostdoc.Listener) bool { return int(x.Port) >= low && int(x.Port) <= high })
}

func portRangeListeners(l *looker) {
	l.each(func(n *hostdoc.Namespace) {
		low, high, ok := ports(n)
		if !ok {
			return
		}
		var inside []string
		for _, x := range n.Listeners {
			p := int(x.Port)
			if p < low || p > high || slices.Contains(inside, strconv.Itoa(p)) {
				continue
			}
			taken := false
			for from, to := range reservedPorts(n) {
				taken = taken || p >= from && p <= to
			}
			if !taken && x.Service != "" { // a listener without a known owner may be on a port that the kernel chose
				inside = append(inside, strconv.Itoa(p))
			}
		}
		if len(inside) == 0 || len(inside) > 8 {
			return
		}
		const key = "net.ipv4.ip_local_reserved_ports"
		want := strings.Trim(n.Sysctls[key]+","+strings.Join(inside, ","), ",")
		a := Advice{Subject: subject(n, "listeners on ephemeral ports"), Severity: Latent, Is: "port " + strings.Join(inside, ", ") + fmt.Sprintf(" lies inside %d-%d and is not reserved", low, high), Want: "reserved, when these ports are fixed"}
		a.Fix, a.Actions = l.sysctl(n, "Keep the ports of listeners out of the ephemeral range", key, want)
		l.add(a)
	})
}

func migrateReq(l *looker) {
	const key = "net.ipv4.tcp_migrate_req"
	l.each(func(n *hostdoc.Namespace) {
		if v, ok := number(n, key); !ok || v != 0 {
			return
		}
		var who []string
		for _, x := range n.Listeners {
			if name := fmt.Sprintf("%s port %d (%d sockets)", x.Service, x.Port, x.Sockets); x.Sockets > 1 && !slices.Contains(who, name) {
				who = append(who, name)
			}
		}
		if len(who) == 0 {
			return
		}
		a := Advice{Subject: subject(n, key), Severity: Latent, Is: "0", Want: "1", Evidence: []Evidence{{"listeners with SO_REUSEPORT", strings.Join(who, ", "), "now"}}}
		a.Fix, a.Actions = l.sysctl(n, "Let the connections that wait at a closed listener move to another one of its group", key, "1")
		l.add(a)
	})
}

func twBucketsLow(l *looker) {
	const key = "net.ipv4.tcp_max_tw_buckets"
	l.each(func(n *hostdoc.Namespace) {
		total, moved := counter(n, "TCPTimeWaitOverflow")
		if moved == 0 && total == 0 {
			return
		}
		a := Advice{Subject: subject(n, key), Severity: Latent, Is: n.Sysctls[key], Want: "the kernel's default for this memory",
			Evidence: []Evidence{count("TCPTimeWaitOverflow", total, "since boot"), count("TCPTimeWaitOverflow", moved, l.window())}}
		if moved > 0 {
			a.Severity = Near
		}
		for _, c := range n.Changed {
			if c.Key == key {
				a.Fix, a.Actions = l.sysctl(n, "Give TIME_WAIT its room back", key, c.Default)
			}
		}
		if a.Fix.Title == "" {
			a.Fix.Title = "Find who closes so many connections, and keep them open for the next request"
		}
		l.add(a)
	})
}

func orphans(l *looker) {
	h, n := l.h.Live, hostSpace(l.h)
	if h == nil || n == nil || h.Orphans < 0 {
		return
	}
	limit, ok := number(n, "net.ipv4.tcp_max_orphans")
	_, moved := counter(n, "TCPAbortOnMemory")
	if !ok || float64(h.Orphans) < limit/2 && moved == 0 {
		return
	}
	a := Advice{Subject: "net.ipv4.tcp_max_orphans", Severity: Near, Is: fmt.Sprintf("%d of %.0f", h.Orphans, limit), Want: "less than half",
		Evidence: []Evidence{count("TCPAbortOnMemory", moved, l.window())}}
	if moved > 0 {
		a.Severity = Harm
	}
	a.Fix, a.Actions = l.sysctl(n, "Allow twice as many, each up to 64 KiB; then find who closes connections with data unsent", "net.ipv4.tcp_max_orphans", strconv.FormatInt(2*int64(limit), 10))
	l.add(a)
}

// hostSpace is the namespace of the host itself; nil when it was not read.
func hostSpace(h *hostdoc.Host) *hostdoc.Namespace {
	for i := range h.Namespaces {
		if h.Namespaces[i].Host {
			return &h.Namespaces[i]
		}
	}
	return nil
}

func memPressure(l *looker) {
	n := hostSpace(l.h)
	if n == nil || l.h.Live == nil || l.h.Live.TCPPages < 0 {
		return
	}
	f := strings.Fields(n.Sysctls["net.ipv4.tcp_mem"])
	if len(f) != 3 {
		return
	}
	pressure, err := strconv.ParseFloat(f[1], 64)
	high, err2 := strconv.ParseFloat(f[2], 64)
	if err != nil || err2 != nil {
		return
	}
	if l.h.Memory > 0 && high*4096 > 4*float64(l.h.Memory) { // copied in bytes
		l.add(Advice{Subject: "net.ipv4.tcp_mem", Severity: Latent, Is: n.Sysctls["net.ipv4.tcp_mem"] + " pages", Want: "pages, not bytes",
			Why: fmt.Sprintf("The unit is pages of 4 KiB. The upper limit is %.0f times the memory of this host: a limit that never limits.", high*4096/float64(l.h.Memory)), Fix: advise("Set it in pages, or remove the line that sets it")})
		return
	}
	_, moved := counter(n, "TCPMemoryPressures")
	_, aborted := counter(n, "TCPAbortOnMemory")
	if float64(l.h.Live.TCPPages) < 0.7*pressure && moved == 0 && aborted == 0 {
		return
	}
	a := Advice{Subject: "net.ipv4.tcp_mem", Severity: Near, Is: fmt.Sprintf("%d of %.0f pages in use", l.h.Live.TCPPages, pressure), Want: "below 70 % of the pressure mark",
		Evidence: []Evidence{count("TCPMemoryPressures", moved, l.window()), count("TCPAbortOnMemory", aborted, l.window())}, Fix: advise("Find the program that does not read what arrives: ss -tm shows the longest receive queues")}
	if aborted > 0 {
		a.Severity = Harm
	}
	l.add(a)
}

func nsDiffers(l *looker) {
	host := hostSpace(l.h)
	if host == nil {
		return
	}
	l.each(func(n *hostdoc.Namespace) {
		if n.Host || len(n.Listeners) == 0 && len(n.Hops) == 0 {
			return
		}
		var differs []Evidence
		for _, c := range host.Changed {
			if v, ok := n.Sysctls[c.Key]; ok && v != c.Value && c.File != "" {
				differs = append(differs, Evidence{c.Key, v + ", on the host " + c.Value, c.File})
			}
		}
		if len(differs) == 0 {
			return
		}
		l.add(Advice{Subject: "netns " + n.ID, Severity: Latent, Is: fmt.Sprintf("%d settings that were tuned on the host have other values here", len(differs)), Want: "the same, where the program in it needs them", Evidence: differs,
			Fix: advise("Give them to the container: docker run --sysctl KEY=VALUE, or securityContext.sysctls of the pod")})
	})
}

func fileNotEffective(l *looker) {
	n := hostSpace(l.h)
	if n == nil {
		return
	}
	for _, f := range l.h.SysctlFiles {
		if !f.Wins || !strings.HasPrefix(f.Key, "net.") || strings.Contains(f.Key, "*") {
			continue
		}
		v, there := n.Sysctls[f.Key]
		a := Advice{Subject: f.Key, Severity: Latent, Want: f.Value, Evidence: []Evidence{{"asked for", f.Value, fmt.Sprintf("%s:%d", f.File, f.Line)}}}
		switch {
		case f.Key == "net.ipv4.tcp_tw_recycle":
			a.Is, a.Want = "the kernel has no such setting since 4.12", "the line removed"
			a.Fix = advise("Remove the line: it does nothing any more")
		case !there && !strings.Contains(f.Key, ".conf.") && !strings.Contains(f.Key, ".neigh."):
			a.Is = "not there: the module that has it is not loaded, or the name is wrong"
			a.Fix = advise("Load the module before systemd-sysctl (modules-load.d), or correct the name")
		case there && v != f.Value:
			a.Is = v
			a.Fix, a.Actions = l.sysctl(n, "Set what the file asks for; then find who sets it otherwise (tuned, a later script)", f.Key, f.Value)
		default:
			continue
		}
		l.add(a)
	}
}

func advise(title string) (f fact.Fix) {
	f.Title, f.Kind = title, "advise"
	return f
}

func keepaliveNotEnabled(l *looker) {
	for i := range l.links {
		k := &l.links[i]
		v := k.Live
		if v == nil || v.LongestIdle < 300 || v.KeepAlive >= v.Connections || k.To.Service != "" {
			continue
		}
		l.add(Advice{Subject: k.From.Name() + " to " + k.To.Addr, Severity: Latent, Is: fmt.Sprintf("%d of %d connections without keep-alive, idle up to %.0f s", v.Connections-v.KeepAlive, v.Connections, v.LongestIdle), Want: "keep-alive in the program, shorter than what devices on the path remember",
			Fix: advise("Switch SO_KEEPALIVE on in the program (tcp_keepalives_idle, keepalives=1, so_keepalive=on, option clitcpka); the sysctl alone does nothing for sockets without it")})
	}
}

func keepaliveVsPath(l *looker) {
	for i := range l.links {
		k := &l.links[i]
		v := k.Live
		if v == nil || len(k.Path) == 0 || v.KeepAlive == 0 || v.KeepAliveIn <= k.Path[0].Seconds {
			continue
		}
		a := Advice{Subject: k.From.Name() + " to " + k.To.Addr, Severity: Near, Is: fmt.Sprintf("the next keep-alive probe is due in %.0f s, the connection is forgotten after %.0f s", v.KeepAliveIn, k.Path[0].Seconds), Want: fmt.Sprintf("at most %.0f s", k.Path[0].Seconds/2)}
		for j := range l.h.Namespaces {
			if n := &l.h.Namespaces[j]; n.ID == k.Namespace {
				a.Fix, a.Actions = l.sysctl(n, "Probe before the path forgets; only for sockets that have SO_KEEPALIVE and no time of their own, opened from now on", "net.ipv4.tcp_keepalive_time", strconv.Itoa(max(1, int(k.Path[0].Seconds/2))))
			}
		}
		l.add(a)
	}
}

// icmpDropped reports whether a rule drops or rejects ICMP.
var icmpRule = regexp.MustCompile(`\b(icmp|icmpv6|ipv6-icmp)\b`)

func mtuProbing(l *looker) {
	const key = "net.ipv4.tcp_mtu_probing"
	l.each(func(n *hostdoc.Namespace) {
		if v, ok := number(n, key); !ok || v != 0 {
			return
		}
		a := Advice{Subject: subject(n, key), Severity: Latent, Is: "0", Want: "1"}
		if n.Firewall != nil {
			for _, r := range n.Firewall.Rules {
				if r.Verdict == "drop" && icmpRule.MatchString(r.Text) && !strings.Contains(r.Text, "echo-request") {
					a.Evidence = append(a.Evidence, Evidence{"a rule drops ICMP", r.Text, r.Where})
				}
			}
		}
		stuck := 0
		for _, h := range n.Hops {
			if h.Live != nil {
				stuck += h.Live.BackedOff
			}
		}
		if stuck > 0 {
			a.Evidence = append(a.Evidence, count("connections that retransmit the same segment again and again", int64(stuck), "now"))
		}
		if len(a.Evidence) == 0 {
			return
		}
		if stuck > 0 && len(a.Evidence) > 1 {
			a.Severity = Near
		}
		a.Fix, a.Actions = l.sysctl(n, "Let TCP find the size that passes when large segments vanish", key, "1")
		l.add(a)
	})
}
