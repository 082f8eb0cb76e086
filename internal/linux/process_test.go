package linux

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// tree writes files below a temporary root.
func tree(t *testing.T, files map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Host{Root: root}
}

// statLine is a stat file of a process.
func statLine(pid int, comm string, state string, ppid, start int) string {
	return strconv.Itoa(pid) + " (" + comm + ") " + state + " " + strconv.Itoa(ppid) +
		" 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 " + strconv.Itoa(start) + " 100 200 18446744073709551615 4194304 5 6 7 8 9 0 0 0 0 0 0 0 17 1 0 0 0 0 0 11 12 13 14 15 16 17 0\n"
}

func TestProcess(t *testing.T) {
	h := tree(t, map[string]string{
		"proc/stat":           "cpu  1 2 3\nbtime 1795248000\nprocesses 5\n",
		"proc/10/stat":        statLine(10, "shim", "S", 1, 50),
		"proc/42/stat":        statLine(42, "a) S 1\n(b", "T", 10, 12345),
		"proc/42/cmdline":     "/usr/sbin/nginx\x00-g\x00daemon off;\x00",
		"proc/42/status":      "Name:\tx\nUid:\t33\t0\t0\t0\n",
		"proc/42/cgroup":      "0::/system.slice/nginx.service\n",
		"proc/42/limits":      "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 1048576              files\n",
		"proc/42/fd/0":        "",
		"proc/42/fd/1":        "",
		"sys/fs/cgroup/other": "",
		"sys/fs/cgroup/system.slice/nginx.service/cgroup.events": "populated 1\nfrozen 1\n",
	})
	os.MkdirAll(filepath.Join(h.Root, "proc/42/ns"), 0o755)
	os.Symlink("net:[4026531840]", filepath.Join(h.Root, "proc/42/ns/net"))
	os.Symlink("/usr/sbin/nginx (deleted)", filepath.Join(h.Root, "proc/42/exe"))
	got, err := h.Process(42)
	if err != nil {
		t.Fatal(err)
	}
	want := Process{
		PID: 42, PPID: 10, PGID: 7, Name: "a) S 1 (b", ParentName: "shim", Exe: "/usr/sbin/nginx", ExeDeleted: true,
		Cmdline: "/usr/sbin/nginx -g daemon off;", UID: 33, Start: time.Unix(1795248000, 0).Add(123450 * time.Millisecond),
		StartTicks: 12345, State: 'T', Frozen: true, Cgroup: "/system.slice/nginx.service", Unit: "nginx.service",
		OpenFiles: 2, MaxFiles: 1024, NetnsInode: 4026531840,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Process{})); diff != "" {
		t.Error(diff)
	}
	if !got.Stopped() {
		t.Error("not stopped")
	}
	for _, pid := range []int{-1, 0, 43} {
		if _, err := h.Process(pid); !errors.Is(err, ErrGone) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
}

func TestProcessOfItself(t *testing.T) {
	if os.PathSeparator != '/' || !(&Host{}).live() {
		t.Skip("needs /proc")
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
	p, err := (&Host{}).Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.PPID != os.Getppid() || p.UID != os.Getuid() || p.OpenFiles < 3 || p.MaxFiles < 3 || p.NetnsInode == 0 || p.ParentName == "" {
		t.Errorf("%+v", p)
	}
	if age := time.Since(p.Start); age < 0 || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
}

func TestProcessesRememberTheDead(t *testing.T) {
	h := tree(t, map[string]string{"proc/7/stat": statLine(7, "worker", "S", 1, 100)})
	c := NewProcesses(h, 2)
	if p, ok := c.Get(7); !ok || p.Name != "worker" || p.Gone {
		t.Fatalf("%+v %v", p, ok)
	}
	stat := filepath.Join(h.Root, "proc/7/stat")
	os.WriteFile(stat, []byte(statLine(7, "renamed", "R", 1, 100)), 0o644)
	if p, _ := c.Get(7); p.Name != "renamed" || p.State != 'R' {
		t.Errorf("after execve: %+v", p)
	}
	os.Remove(stat)
	if p, ok := c.Get(7); !ok || p.Name != "renamed" || !p.Gone {
		t.Errorf("after its end: %+v %v", p, ok)
	}
	os.WriteFile(stat, []byte(statLine(7, "another", "R", 1, 200)), 0o644)
	if p, _ := c.Get(7); p.Name != "another" || p.StartTicks != 200 || p.Gone {
		t.Errorf("number used again: %+v", p)
	}
	for pid := 8; pid < 12; pid++ {
		os.MkdirAll(filepath.Join(h.Root, "proc", strconv.Itoa(pid)), 0o755)
		os.WriteFile(h.proc(pid, "stat"), []byte(statLine(pid, "x", "S", 1, 5)), 0o644)
		c.Get(pid)
	}
	if c.Len() != 2 || c.Evicted() != 4 {
		t.Errorf("%d kept, %d forgotten", c.Len(), c.Evicted())
	}
	os.Remove(stat)
	if p, ok := c.Get(7); ok {
		t.Errorf("forgotten process came back: %+v", p)
	}
}

func TestParseCgroup(t *testing.T) {
	id := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	pod := "1b7ed7a1-3f08-4f0e-8d5c-9a1b2c3d4e5f"
	under := "1b7ed7a1_3f08_4f0e_8d5c_9a1b2c3d4e5f"
	for _, tc := range []struct {
		in   string
		want Cgroup
	}{
		{"0::/system.slice/nginx.service\n", Cgroup{Unit: "nginx.service"}},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n", Cgroup{Unit: "web.service"}},
		{"0::/user.slice/user-1000.slice/session-3.scope\n", Cgroup{Unit: "session-3.scope"}},
		{"0::/system.slice/docker-" + id + ".scope\n", Cgroup{Container: id}},
		{"0::/docker/" + id + "\n", Cgroup{Container: id}},
		{"0::/docker/" + id + "/system.slice/web.service\n", Cgroup{Container: id, Unit: "web.service"}},
		{"0::/machine.slice/libpod-" + id + ".scope/container\n", Cgroup{Container: id}},
		{"0::/machine.slice/libpod-conmon-" + id + ".scope\n", Cgroup{}},
		{"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope\n",
			Cgroup{Container: id, PodUID: pod}},
		{"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/crio-" + id + ".scope\n",
			Cgroup{Container: id, PodUID: pod}},
		{"0::/kubepods/burstable/pod" + pod + "/" + id + "\n", Cgroup{Container: id, PodUID: pod}},
		{"0::/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + id + "\n",
			Cgroup{Container: id, PodUID: pod}},
		{"0::/ecs/abc/0123456789abcdef0123456789abcdef-1234567\n", Cgroup{Container: "0123456789abcdef0123456789abcdef-1234567"}},
		{"0::/lxc.payload.web1/system.slice/ssh.service\n", Cgroup{Container: "web1", Unit: "ssh.service"}},
		{"0::/\n", Cgroup{}},
	} {
		tc.want.Path = tc.in[3 : len(tc.in)-1]
		if diff := cmp.Diff(tc.want, ParseCgroup([]byte(tc.in))); diff != "" {
			t.Errorf("%s%s", tc.in, diff)
		}
	}
	v1 := "12:pids:/docker/" + id + "\n4:memory:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n0::/\n"
	if got := ParseCgroup([]byte(v1)); got.Container != id || got.Path != "/docker/"+id {
		t.Errorf("version 1: %+v", got)
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add([]byte("0::/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n"))
	f.Add([]byte("9:name=systemd:/lxc/web\n0::/kubepods/podx/\n:::\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := ParseCgroup(b)
		if len(c.Path) > maxCgroup || len(c.Container) > maxCgroup {
			t.Errorf("%+v", c)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine(42, "a) S 1\n(b", "T", 10, 12345)))
	f.Add([]byte("1 (x) S"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = parseStat(b) })
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\nb\x00c": "a b c", "\x1b[31m": " [31m", "\xff\xfe": "??", "grün": "grün", "\u202eevil": "?evil",
	} {
		if got := Clean([]byte(in), 64); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Clean([]byte("grün"), 3); got != "gr" {
		t.Errorf("cut: %q", got)
	}
}

func TestJiffiesHz(t *testing.T) {
	h := tree(t, map[string]string{"proc/sys/kernel/osrelease": "6.1.0-9\n", "boot/config-6.1.0-9": "# x\nCONFIG_HZ_250=y\nCONFIG_HZ=250\n"})
	if got := h.JiffiesHz(); got != 250 {
		t.Errorf("from the configuration: %d", got)
	}
}

func TestKallsyms(t *testing.T) {
	h := tree(t, map[string]string{"proc/kallsyms": "ffffffff81000000 T _text\nffffffff81000000 T startup\nffffffff81000100 D data\n" +
		"ffffffff81000200 t tcp_reset.isra.0\nffffffffc0001000 t nf_send_reset\t[nf_reject_ipv4]\nffffffff81000180 W weak\n"})
	s, err := h.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint64]string{
		0xffffffff81000010: "_text+0x10", 0xffffffff81000190: "weak+0x10", 0xffffffff81000201: "tcp_reset+0x1",
		0xffffffffc0001004: "nf_send_reset+0x4", 0x1000: "", 0xffffffffd0000000: "",
	} {
		name, off := s.Lookup(addr)
		if name != "" {
			name += "+0x" + strconv.FormatUint(off, 16)
		}
		if name != want {
			t.Errorf("%x: %q, want %q", addr, name, want)
		}
	}
	hidden := tree(t, map[string]string{"proc/kallsyms": "0000000000000000 T _text\n0000000000000000 T startup\n"})
	if _, err := hidden.Symbols(); err == nil {
		t.Error("hidden addresses are no error")
	}
}
