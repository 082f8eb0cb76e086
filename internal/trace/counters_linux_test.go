package trace

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name    string
		have    increments
		units   int64
		attempt bool
		want    ending
	}{
		{"a RST arrived", increments{ends: 1}, 1, false, endReset},
		{"three arrived", increments{ends: 3}, 3, false, endReset},
		{"closed with unread data", increments{ends: 1, onClose: 1, rsts: 1}, 1, false, endUnread},
		{"one of two", increments{ends: 2, onClose: 1, rsts: 1}, 2, false, endUnclear},
		{"SO_LINGER 0", increments{ends: 1, onData: 1, rsts: 1}, 1, false, endAbort},
		{"unread and linger", increments{ends: 2, onClose: 1, onData: 1, rsts: 2}, 2, false, endUnclear},
		{"given up", increments{ends: 1, timeouts: 1}, 1, false, endTimeout},
		{"keep-alive", increments{ends: 1, timeouts: 1, rsts: 1}, 1, false, endProbed},
		{"some RST was sent", increments{ends: 1, rsts: 1}, 1, false, endUnclear},
		{"out of memory", increments{ends: 1, memory: 1, rsts: 1}, 1, false, endUnclear},
		{"refused", increments{failed: 1}, 1, true, endRefused},
		{"no answer", increments{failed: 1, timeouts: 1}, 1, true, endTimeout},
		{"unreachable or refused", increments{failed: 1, icmp: 1}, 1, true, endUnclear},
		{"somebody else timed out", increments{failed: 1, timeouts: 1, ends: 1}, 1, true, endUnclear},
	} {
		if got := decide(c.have, c.units, c.attempt); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestExplain checks that each end that the kernel counted is reported, folded
// or lost, exactly once, and that nothing is reported when numbers disagree.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name                   string
		vanished               int
		inc, owed              int64
		met                    bool
		reported, folded, lost uint64
		keep                   int64
	}{
		{"exact", 2, 2, 0, true, 2, 0, 0, 0},
		{"counted in the tick before", 1, 0, 1, true, 1, 0, 0, 0},
		{"both ticks", 2, 1, 1, true, 2, 0, 0, 0},
		{"closed in order", 3, 0, 0, true, 0, 0, 0, 0},
		{"which of them?", 3, 1, 0, true, 0, 1, 0, 0},
		{"more than were met", 1, 2, 0, true, 0, 2, 0, 0},
		{"may have come and gone", 1, 1, 0, false, 0, 1, 0, 0},
		{"the next tick may tell", 0, 1, 0, true, 0, 0, 0, 1},
		{"nobody met it", 0, 0, 1, true, 0, 0, 1, 0},
		{"exact, and an old one", 1, 1, 1, true, 1, 0, 1, 0},
	} {
		s := &CountersSource{floods: map[endKind]*Flood{}}
		told := 0
		list := make([]*polled, c.vanished)
		keep := s.explain(&tick{at: time.Now()}, list, c.inc, c.owed, c.met, "x", func(bool) { told = len(list) })
		if s.reported != c.reported || s.folded != c.folded || s.lost != c.lost || keep != c.keep || uint64(told) != c.reported {
			t.Errorf("%s: reported %d (told %d), folded %d, lost %d, kept %d", c.name, s.reported, told, s.folded, s.lost, keep)
		}
		if got := s.reported + s.folded + s.lost + uint64(keep); got != uint64(c.inc+c.owed) {
			t.Errorf("%s: %d of %d accounted for", c.name, got, c.inc+c.owed)
		}
	}
}

func TestSides(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:5000")
	server := &polled{Socket: linux.Socket{Local: a, Remote: b, RQueue: 9}}
	client := &polled{Socket: linux.Socket{Local: b, Remote: a}}
	if u := pairUp([]*polled{server, client}); len(u) != 1 || u[0].other != client {
		t.Fatalf("%d connections", len(u))
	}
	for _, c := range []struct {
		unit  gone
		how   ending
		from  *polled
		known bool
	}{
		{gone{one: server}, endUnread, server, true},
		{gone{one: server}, endReset, nil, true},
		{gone{one: server}, endUnclear, nil, false},
		{gone{one: client, other: server}, endUnread, server, true},
		{gone{one: client, other: server}, endAbort, nil, false},
		{gone{one: client, other: client}, endUnread, nil, false},
	} {
		if from, known := c.unit.side(c.how); from != c.from || known != c.known {
			t.Errorf("%+v %d: %v %v", c.unit, c.how, from, known)
		}
	}
}

func TestOpener(t *testing.T) {
	e := polled{Socket: linux.Socket{State: linux.Established, HasInfo: true, WQueue: 30}}
	e.Info = linux.TCPInfo{BytesSent: 120, BytesRetrans: 10, BytesAcked: 100, NotSent: 20}
	if active, ok := e.opener(); active || !ok { // 100 acknowledged and 10 in flight are the 110 sent
		t.Errorf("passive: %v %v", active, ok)
	}
	e.Info.BytesAcked++ // the SYN
	if active, ok := e.opener(); !active || !ok {
		t.Errorf("active: %v %v", active, ok)
	}
	e.Info.BytesAcked += 7
	if _, ok := e.opener(); ok {
		t.Error("knows what cannot be known")
	}
}

const childEnv = "HOLDFAST_TEST_UNPRIVILEGED"

// TestRootCountersUnprivileged runs TestUnprivilegedChild as nobody, without
// any capability, in a network namespace of its own where nothing else happens.
func TestRootCountersUnprivileged(t *testing.T) {
	dir, err := os.MkdirTemp("", "holdfast-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "test")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	inNewNetns(t, func(linux.Netns) {
		cmd := exec.Command(bin, "-test.run=^TestUnprivilegedChild$", "-test.v")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), childEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput() // forked from this thread, and so in its namespace
		if err != nil || !strings.Contains(string(out), "PASS: TestUnprivilegedChild") {
			t.Errorf("as nobody: %v\n%s", err, out)
		}
	})
}

func TestUnprivilegedChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("runs as nobody, from TestRootCountersUnprivileged")
	}
	if _, err := OpenPacket(Config{}); !isAccess(err) {
		t.Errorf("packets without privilege: %v", err)
	}
	if _, err := Open(Config{}); !isAccess(err) {
		t.Errorf("kernel hooks without privilege: %v", err)
	}
	src, err := OpenCounters(Config{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	src.Refuse(errors.New("no privilege"))
	if c := src.Coverage(); c.Tier != "counters" || len(c.Blind) == 0 || len(c.Failures) != 1 {
		t.Errorf("coverage is %+v", c)
	}
	got, stop := run(t, src)
	closedInOrder := orderly(t, src)
	port, cport := unreadClose(t, src)
	o := got.on(t, port, cport)
	if o.Outcome.Or("") != "reset" || o.Sender.Role.Or("") != "server" || o.RST.Form.Or("") != "active-abort" || o.Sender.Sock.Unread.Or(0) != 5 || !o.Flow.RolesKnown.Or(false) {
		t.Errorf("outcome %q, emitter %q, form %q, unread %v, roles %v", o.Outcome.Or(""), o.Sender.Role.Or(""), o.RST.Form.Or(""), o.Sender.Sock.Unread, o.Flow.RolesKnown)
	}
	if o.SenderPID != os.Getpid() {
		t.Errorf("the emitter is process %d, this is %d", o.SenderPID, os.Getpid())
	}
	checkWitness(t, o.Case, fact.ByKernel, fact.ByWire, fact.ByPeer, fact.ByProbe)

	port, cport = lingerZero(t, src)
	o = got.on(t, port, cport)
	if o.Outcome.Or("") != "reset" || o.Sender.Role.State() != fact.NotLooked {
		t.Errorf("outcome %q, emitter %q: which end aborted cannot be known", o.Outcome.Or(""), o.Sender.Role.Or(""))
	}
	stop()
	for _, o := range got.list {
		if o.Flow.Server.Port() == closedInOrder {
			t.Error("an orderly close was reported")
		}
	}
	if st := src.Stats(); st.Seen != st.Reported+st.Folded+st.Lost || st.Reported != 4 {
		t.Errorf("the account is wrong: %+v", st) // both ends of two connections
	}
}

func isAccess(err error) bool {
	var a *AccessError
	return errors.As(err, &a) && a.Hint != ""
}

// met waits until a poll has met both ends of a connection, and a walk found
// the owner.
func met(t *testing.T, src *CountersSource, c *net.TCPConn, ready func(polled) bool) {
	t.Helper()
	ns := src.host.spaces.All() // as nobody, also those of other processes of nobody
	ns = ns[slices.IndexFunc(ns, isOwn):]
	local, remote := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		p, ok := src.sockets.find(ns[0].Cookie, local, remote)
		_, other := src.sockets.find(ns[0].Cookie, remote, local)
		if ok && other && src.sockets.owner(p.Inode) != 0 && (ready == nil || ready(p)) {
			return
		}
	}
	t.Fatalf("no poll met %s in %v", fmt.Sprint(local, remote), ns)
}

func unreadClose(t *testing.T, src *CountersSource) (port, cport uint16) {
	client, server := pairOf(t, "127.0.0.1")
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	met(t, src, server, func(p polled) bool { return p.RQueue == 5 })
	server.Close()
	return portOf(server.LocalAddr()), portOf(client.LocalAddr())
}

func lingerZero(t *testing.T, src *CountersSource) (port, cport uint16) {
	client, server := pairOf(t, "127.0.0.1")
	met(t, src, server, nil)
	_ = server.SetLinger(0)
	server.Close()
	return portOf(server.LocalAddr()), portOf(client.LocalAddr())
}

func orderly(t *testing.T, src *CountersSource) (port uint16) {
	client, server := pairOf(t, "127.0.0.1")
	met(t, src, server, nil)
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("the server read something")
	}
	server.Close()
	return portOf(server.LocalAddr())
}
