package linux

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/netlink"
	"github.com/holdfast-project/holdfast/internal/netnstest"
	"golang.org/x/sys/unix"
)

func TestDoStaysAtHome(t *testing.T) {
	h := &Host{}
	if err := h.Do(Netns{}, func() error { return netlink.ErrStop }); err != netlink.ErrStop {
		t.Errorf("%v", err)
	}
	if err := h.Do(Netns{PID: os.Getpid()}, func() error { return nil }); err != nil {
		t.Errorf("own namespace: %v", err)
	}
	if err := h.Do(Netns{Path: "/nonexistent"}, func() error { return nil }); !errors.Is(err, ErrGone) {
		t.Errorf("no such namespace: %v", err)
	}
	if err := h.Do(Netns{Path: "/proc/self/ns/net", Inode: 1}, func() error { return nil }); !errors.Is(err, ErrGone) {
		t.Errorf("another inode: %v", err)
	}
	if err := h.Do(Netns{PID: os.Getpid()}, func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("leaving the goroutine is no error")
	}
	defer func() {
		if recover() != "boom" {
			t.Error("panic did not come through")
		}
	}()
	h.Do(Netns{PID: os.Getpid()}, func() error { panic("boom") })
}

func TestOwnNamespaceNeedsNoPrivilege(t *testing.T) {
	h := &Host{}
	all, err := h.Netnses()
	if err != nil {
		t.Fatal(err)
	}
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(n Netns) bool { return n.Inode == parseNsLink(s) })
	if i < 0 {
		t.Fatalf("own namespace %s is not among %+v", s, all)
	}
	if _, err := h.Counters(all[i]); err != nil {
		t.Error(err)
	}
	if _, err := h.Limits(all[i]); err != nil {
		t.Error(err)
	}
	for _, err := range h.Sockets(all[i], AllStates) {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestRootDo(t *testing.T) {
	ns := newNetns(t)
	h := &Host{}
	own := h.netnsInode(os.Getpid())
	for range 50 {
		var inside uint64
		err := h.Do(ns, func() error {
			s, err := os.Readlink("/proc/thread-self/ns/net")
			inside = parseNsLink(s)
			return err
		})
		if err != nil || inside != ns.Inode {
			t.Fatalf("in %d, want %d: %v", inside, ns.Inode, err)
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		s, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net")
		if err == nil && parseNsLink(s) != own {
			t.Errorf("thread %s stayed in %s", task.Name(), s)
		}
	}
}

// sleeper runs a process in a namespace until the test ends.
func sleeper(t *testing.T, ns Netns) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := (&Host{}).Do(ns, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func TestRootNamespaces(t *testing.T) {
	ns := newNetns(t)
	run(t, ns, "ip addr add 198.51.100.77/32 dev lo; ip addr add 2001:db8::77/128 dev lo; ip route add local 203.0.113.128/25 dev lo")
	cmd := sleeper(t, ns)
	c := NewNamespaces(&Host{})
	if err := c.Refresh(); err != nil {
		t.Fatal(err)
	}
	got, ok := c.ByInode(ns.Inode)
	if !ok || got.PID != cmd.Process.Pid || got.Cookie == 0 {
		t.Fatalf("%+v %v", got, ok)
	}
	if same, ok := c.ByCookie(got.Cookie); !ok || same.Inode != ns.Inode {
		t.Errorf("by cookie: %+v %v", same, ok)
	}
	for _, a := range []string{"198.51.100.77", "2001:db8::77", "203.0.113.129", "::ffff:198.51.100.77"} {
		owners := c.Owner(netip.MustParseAddr(a))
		if !slices.ContainsFunc(owners, func(n Netns) bool { return n.Inode == ns.Inode }) {
			t.Errorf("nobody owns %s: %+v", a, owners)
		}
	}
	if c.Local(netip.MustParseAddr("198.51.100.78")) {
		t.Error("a foreign address is local")
	}
	if n := len(c.Owner(netip.MustParseAddr("127.0.0.1"))); n != len(c.All()) {
		t.Errorf("%d namespaces own loopback, of %d", n, len(c.All()))
	}
	// A new address is found although the namespace is known already.
	run(t, ns, "ip addr add 198.51.100.79/32 dev lo")
	c.ownersAt = time.Time{}
	for _, e := range c.byInode {
		e.addrsAt = time.Now().Add(-2 * ownerEvery)
	}
	if !c.Local(netip.MustParseAddr("198.51.100.79")) {
		t.Error("the new address is not found")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := c.Refresh(); err != nil {
		t.Fatal(err)
	}
	if n, ok := c.ByInode(ns.Inode); ok {
		t.Errorf("still there: %+v", n)
	}
	c.Add(ns.Path)
	if err := c.Refresh(); err != nil {
		t.Fatal(err)
	}
	if n, ok := c.ByCookie(got.Cookie); !ok || n.Path != ns.Path {
		t.Errorf("by its path: %+v %v", n, ok)
	}
}

func TestRootCountersOfANamespace(t *testing.T) {
	ns := newNetns(t)
	h := &Host{}
	before, err := h.Counters(ns)
	if err != nil {
		t.Fatal(err)
	}
	h.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
	})
	after, err := h.Counters(ns)
	if err != nil {
		t.Fatal(err)
	}
	d := after.Sub(&before)
	for _, n := range []Counter{TCPActiveOpens, TCPOutRsts, TCPAttemptFails} {
		if v, ok := d.Get(n); !ok || v != 1 {
			t.Errorf("%v rose by %d %v, want 1", n, v, ok)
		}
	}
	cmd := sleeper(t, ns)
	same, err := h.Counters(Netns{PID: cmd.Process.Pid, Inode: ns.Inode})
	if v, _ := same.Get(TCPOutRsts); err != nil || v != 1 {
		t.Errorf("through a process: %d %v", v, err)
	}
	if _, err := h.Counters(Netns{PID: os.Getpid(), Inode: ns.Inode}); !errors.Is(err, ErrGone) {
		t.Errorf("a process of another namespace: %v", err)
	}
}

func TestRootLimits(t *testing.T) {
	ns := newNetns(t)
	run(t, ns, "echo 1 > /proc/sys/net/ipv4/tcp_abort_on_overflow; echo '1024 2048' > /proc/sys/net/ipv4/ip_local_port_range; echo 17 > /proc/sys/net/core/somaxconn")
	l, err := (&Host{}).Limits(ns)
	if err != nil {
		t.Fatal(err)
	}
	if l.AbortOnOverflow != 1 || l.PortRange != [2]int64{1024, 2048} || l.Somaxconn != 17 || l.Mem[2] <= 0 || l.MaxOrphans <= 0 {
		t.Errorf("%+v", l)
	}
}

// BenchmarkRefresh shows the cost of Refresh with 50 namespaces.
func BenchmarkRefresh(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("making namespaces needs root")
	}
	c := NewNamespaces(&Host{})
	for range 50 {
		cmd := exec.Command("sleep", "600")
		if err := (&Host{}).Do(Netns{Path: netnstest.New(b).Path}, cmd.Start); err != nil {
			b.Fatal(err)
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
	}
	start := time.Now()
	if err := c.Refresh(); err != nil {
		b.Fatal(err)
	}
	first := time.Since(start)
	for b.Loop() {
		if err := c.Refresh(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(first.Microseconds()), "first-us")
}
