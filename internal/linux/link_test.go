package linux

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// attribute builds one attribute of rtnetlink.
func attribute(typ uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestParseLink(t *testing.T) {
	b := make([]byte, sizeIfInfo)
	binary.NativeEndian.PutUint32(b[4:], 7)
	binary.NativeEndian.PutUint32(b[8:], iffUp)
	stats := make([]byte, 24*8)
	for i := range 24 {
		binary.NativeEndian.PutUint64(stats[8*i:], uint64(100+i))
	}
	mtu := binary.NativeEndian.AppendUint32(nil, 1400)
	b = append(b, attribute(iflaIfname, []byte("eth0\x00"))...)
	b = append(b, attribute(iflaMTU, mtu)...)
	b = append(b, attribute(iflaOperstate, []byte{6})...)
	b = append(b, attribute(iflaStats64, stats)...)
	b = append(b, attribute(iflaLinkinfo, attribute(iflaInfoKind, []byte("veth\x00")))...)
	b = append(b, attribute(iflaXDP, attribute(iflaXDPAttached, []byte{1}))...)
	l, ok := parseLink(b)
	if !ok || l.Index != 7 || l.Name != "eth0" || l.MTU != 1400 || l.State != "up" || !l.Up || l.Kind != "veth" || !l.XDP {
		t.Errorf("%+v", l)
	}
	// struct rtnl_link_stats64: rx_errors is the fifth, rx_crc_errors the 13th, rx_missed_errors the 16th value
	if l.Stats.RxPackets != 100 || l.Stats.RxErrors != 104 || l.Stats.RxCRC != 112 || l.Stats.RxMissed != 115 || l.Stats.RxNoHandler != 123 {
		t.Errorf("%+v", l.Stats)
	}
}

func FuzzRouteMessages(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add(append(make([]byte, sizeRtMsg), attribute(rtaMultipath, []byte{8, 0, 0, 0, 1, 0, 0, 0})...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseLink(b)
		parseRoute(b)
		parseNeighbour(b)
		parseQdisc(b)
	})
}

func TestSettings(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/sys/net/ipv4/tcp_sack": "1\n", "proc/sys/net/ipv4/tcp_fastopen_key": "secret\n", "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
		"proc/vmstat": "nr_free 1\noom_kill 3\n", "proc/meminfo": "MemTotal: 1024 kB\n", "etc/os-release": "NAME=x\nPRETTY_NAME=\"Debian 12\"\n",
		"sys/fs/cgroup/a.slice/memory.current": "1000\n", "sys/fs/cgroup/a.slice/memory.max": "max\n", "sys/fs/cgroup/a.slice/memory.events": "oom_kill 2\n", "sys/fs/cgroup/a.slice/memory.stat": "inactive_file 400\n",
		"proc/net/softnet_stat": "00000010 00000002 0000000a 00000000\n00000001 00000001 00000000\n",
		"proc/9/cmdline":        "nginx: master process nginx -c /x\x00\x00",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := &Host{Root: root}
	m, err := h.sysctls()
	if err != nil || m["net.ipv4.tcp_sack"] != "1" || m["net.ipv4.ip_local_port_range"] != "32768 60999" || m["net.ipv4.tcp_fastopen_key"] != "" {
		t.Errorf("%v %v", m, err)
	}
	if h.OOMKills() != 3 || h.MemoryTotal() != 1<<20 || h.OS() != "Debian 12" {
		t.Errorf("%d %d %q", h.OOMKills(), h.MemoryTotal(), h.OS())
	}
	if c, ok := h.CgroupMemory("/a.slice"); !ok || c.Current != 600 || c.Max != -1 || c.OOMKills != 2 {
		t.Errorf("%+v %v", c, ok)
	}
	if _, ok := h.CgroupMemory("/../../etc"); ok {
		t.Error("a group outside the tree was read")
	}
	if s, err := h.SoftnetStats(); err != nil || len(s) != 2 || s[0] != (Softnet{16, 2, 10}) {
		t.Errorf("%v %v", s, err)
	}
	if a := h.Arguments(9); len(a) != 6 || a[5] != "/x" {
		t.Errorf("%q", a)
	}
	if _, err := h.ReadFile("../../etc/passwd"); err == nil {
		t.Error("a file outside the root was read")
	}
}
