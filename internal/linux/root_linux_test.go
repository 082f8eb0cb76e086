package linux

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newNetns makes a network namespace that lives until the test ends, with lo
// up. It skips the test without the right to do so.
func newNetns(t *testing.T) Netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	fd, err := unshareNet()
	if err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	ns := Netns{Path: fmt.Sprintf("/proc/self/fd/%d", fd), Inode: st.Ino}
	run(t, ns, "ip link set lo up")
	return ns
}

// unshareNet makes a namespace and returns its file. The thread goes home
// again: were it the main thread, the whole process would seem to have moved.
func unshareNet() (fd int, err error) {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if unix.Setns(home, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return fd, err
}

// run runs commands, one in each line, inside a namespace.
func run(t *testing.T, ns Netns, script string) string {
	t.Helper()
	var out []byte
	err := (&Host{}).Do(ns, func() (err error) {
		cmd := exec.Command("sh", "-ec", script)
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// need skips the test when a program is not installed.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// listen opens a listener inside a namespace.
func listen(t *testing.T, ns Netns, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	err := (&Host{}).Do(ns, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dial opens a connection inside a namespace.
func dial(t *testing.T, ns Netns, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	err := (&Host{}).Do(ns, func() (err error) {
		c, err = net.Dial("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// addrPort returns the address of a listener or connection.
func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// ruleTexts returns the texts of rules and their verdicts.
func ruleTexts(rs Ruleset) string {
	var b strings.Builder
	for _, r := range rs.Rules {
		fmt.Fprintf(&b, "%s %s %s %s %d [%s] %s\n", r.Family, r.Table, r.Chain, r.Hook, r.Position, r.Verdict, r.Text)
	}
	return b.String()
}
