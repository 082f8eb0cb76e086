package audit

// Tip is advice that the web repeats, and what it does today.
type Tip struct {
	Tip    string `json:"tip"`
	Today  string `json:"today"`
	Source string `json:"source"`
}

// Folklore lists advice that check refuses to give.
func Folklore() []Tip { return folklore }

var folklore = []Tip{
	{"net.ipv4.tcp_tw_recycle=1", "The setting is gone since Linux 4.12; behind NAT it refused connections. A line that names it does nothing.", "absent on 6.18"},
	{"net.ipv4.tcp_fin_timeout=15 against TIME_WAIT", "It governs FIN_WAIT_2 of connections without an owner only. With 2 s, TIME_WAIT still lasted for a minute.", "Linux ip-sysctl; measured on 6.18"},
	{"net.core.somaxconn=65535", "A program that calls listen(10) stays at 10, and a living listener keeps its limit until it calls listen() again. Raise the program's backlog, and restart it.", "listen(2); measured on 6.18"},
	{"net.ipv4.tcp_timestamps=0 for speed or security", "Old segments are no longer told from new ones, and tcp_tw_reuse has no effect: 0 of 20 ports could be used again, with timestamps 20 of 20.", "measured on 6.18; RFC 7323"},
	{"a low net.ipv4.tcp_max_tw_buckets", "The kernel throws TIME_WAIT away early; late segments then meet resets. The documentation says not to lower it.", "Linux ip-sysctl"},
	{"net.ipv4.tcp_keepalive_time=60 to keep connections alive", "It counts only for sockets with SO_KEEPALIVE that set no time of their own, and only for new ones. It does not feed the timers of relays: their kernel answers the probe.", "Linux ip-sysctl; measured on 6.18"},
	{"a larger net.core.rmem_max for TCP", "TCP tunes itself up to the last value of tcp_rmem. rmem_max bounds SO_RCVBUF, and setting that switches the tuning off.", "tcp(7); Linux ip-sysctl"},
	{"net.ipv4.tcp_low_latency=1, net.ipv4.tcp_fack=1", "Both are kept for old files and do nothing.", "Linux ip-sysctl"},
	{"net.ipv4.tcp_abort_on_overflow=1 to fail fast", "A burst that would have been served a moment later becomes resets.", "Linux ip-sysctl"},
	{"nf_conntrack_tcp_timeout_established=600 to save memory", "RFC 5382 asks for 7 440 s. Idle connections that are forgotten hang, or are reset.", "RFC 5382 REQ-5; measured on 6.18"},
	{"net.ipv4.tcp_mem copied in bytes", "The unit is pages of 4 KiB: a limit that never limits.", "Linux ip-sysctl"},
	{"/etc/security/limits.conf for services", "It counts for logins through PAM. A unit of systemd needs LimitNOFILE=.", "systemd.exec(5)"},
	{"SYN cookies as capacity", "They are a last resort against floods; legal load needs a longer queue and faster accepts.", "Linux ip-sysctl"},
	{"time_squeeze above zero is bad", "It says that packets were left for the next turn, which is normal work. Drops harm.", "netdata/netdata#5630"},
	{"a balancer should keep idle connections longer than its servers", "The wrong way round: the balancer sends next, so it must close first. nginx 60 s in front of node 1 s failed 56 of 4 860 requests.", "measured"},
	{"offloads off, always", "It costs processor time and hides the driver that needs a fix. Only with wrong checksums that were seen.", "ethtool(8)"},
}
