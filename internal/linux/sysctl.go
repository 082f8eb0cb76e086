package linux

import "strings"

// Limits are the settings that decide when TCP refuses or resets. A value is
// -1 when this kernel or namespace does not have it.
type Limits struct {
	MaxOrphans      int64    // net.ipv4.tcp_max_orphans, whole host
	Mem             [3]int64 // net.ipv4.tcp_mem in pages: low, pressure, high; whole host
	PortRange       [2]int64 // net.ipv4.ip_local_port_range
	Somaxconn       int64    // net.core.somaxconn
	AbortOnOverflow int64    // net.ipv4.tcp_abort_on_overflow
	Syncookies      int64    // net.ipv4.tcp_syncookies
	MaxSynBacklog   int64    // net.ipv4.tcp_max_syn_backlog
	SynRetries      int64    // net.ipv4.tcp_syn_retries
	SynackRetries   int64    // net.ipv4.tcp_synack_retries
	Retries2        int64    // net.ipv4.tcp_retries2
	OrphanRetries   int64    // net.ipv4.tcp_orphan_retries
	FinTimeout      int64    // net.ipv4.tcp_fin_timeout, seconds
	KeepaliveTime   int64    // net.ipv4.tcp_keepalive_time, seconds
	KeepaliveIntvl  int64    // net.ipv4.tcp_keepalive_intvl, seconds
	KeepaliveProbes int64    // net.ipv4.tcp_keepalive_probes
	MaxTimeWait     int64    // net.ipv4.tcp_max_tw_buckets
	RFC1337         int64    // net.ipv4.tcp_rfc1337
}

// Limits reads the settings of a namespace. Those of the whole host are
// visible in the first namespace only and are read there.
func (h *Host) Limits(ns Netns) (Limits, error) {
	one := func(name string) int64 {
		v, err := h.Sysctl(name)
		if err != nil || len(v) == 0 {
			return -1
		}
		return v[0]
	}
	l := Limits{MaxOrphans: one("net.ipv4.tcp_max_orphans"), Mem: [3]int64{-1, -1, -1}, PortRange: [2]int64{-1, -1}}
	if v, err := h.Sysctl("net.ipv4.tcp_mem"); err == nil && len(v) == 3 {
		copy(l.Mem[:], v)
	}
	err := h.Do(ns, func() error {
		if v, err := h.Sysctl("net.ipv4.ip_local_port_range"); err == nil && len(v) == 2 {
			copy(l.PortRange[:], v)
		}
		l.Somaxconn = one("net.core.somaxconn")
		for name, p := range map[string]*int64{
			"tcp_abort_on_overflow": &l.AbortOnOverflow, "tcp_syncookies": &l.Syncookies,
			"tcp_max_syn_backlog": &l.MaxSynBacklog, "tcp_syn_retries": &l.SynRetries,
			"tcp_synack_retries": &l.SynackRetries, "tcp_retries2": &l.Retries2,
			"tcp_orphan_retries": &l.OrphanRetries, "tcp_fin_timeout": &l.FinTimeout,
			"tcp_keepalive_time": &l.KeepaliveTime, "tcp_keepalive_intvl": &l.KeepaliveIntvl,
			"tcp_keepalive_probes": &l.KeepaliveProbes, "tcp_max_tw_buckets": &l.MaxTimeWait,
			"tcp_rfc1337": &l.RFC1337,
		} {
			*p = one("net.ipv4." + name)
		}
		return nil
	})
	return l, err
}

// Sysctl returns the numbers of a setting, named with dots; inside [Host.Do]
// those of the namespace.
func (h *Host) Sysctl(name string) ([]int64, error) {
	return readInts(h.path("proc/sys/" + strings.ReplaceAll(name, ".", "/")))
}
