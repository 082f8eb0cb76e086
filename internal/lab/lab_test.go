//go:build linux

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// parentEnv makes the test binary build a network and wait to be killed.
const parentEnv = "HOLDFAST_LAB_TEST_PARENT"

func TestMain(m *testing.M) {
	ActorMain()
	if os.Getenv(parentEnv) != "" {
		waitToBeKilled()
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
}

// TestRootScenarios runs every scenario once. Two networks are enough to use
// the time that most of the slower ones spend waiting for a kernel timer.
func TestRootScenarios(t *testing.T) {
	needRoot(t)
	const nets = 2
	pool := make(chan *Net, nets)
	for range nets {
		n, err := NewNet(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		pool <- n
	}
	for _, sc := range All() {
		t.Run(sc.ID, func(t *testing.T) {
			if why := Missing(sc); why != "" {
				t.Skip(why)
			}
			if sc.Slow && testing.Short() {
				t.Skip("slow")
			}
			t.Parallel()
			n := <-pool
			defer func() { pool <- n }()
			ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
			defer cancel()
			start := time.Now()
			r, err := sc.Run(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: %s %s %q, %d lost, %v", time.Since(start).Round(time.Millisecond), r.Receiver, sc.Truth.Cause, r.Error, r.Lost, r.Flows)
		})
	}
}

// TestScenarioTable checks what can be checked without running anything.
func TestScenarioTable(t *testing.T) {
	senders := []string{"client-app", "client-kernel", "server-app", "server-kernel", "local-firewall", "middlebox", "injector", "none"}
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	var ids []string
	var demos, six int
	for _, sc := range All() {
		ids = append(ids, sc.ID)
		if !kebab.MatchString(sc.ID) || !kebab.MatchString(sc.Truth.Cause) {
			t.Errorf("%s: id or cause %q is not lower-kebab", sc.ID, sc.Truth.Cause)
		}
		if !slices.Contains(senders, sc.Truth.Sender) {
			t.Errorf("%s: sender %q", sc.ID, sc.Truth.Sender)
		}
		if (sc.Truth.Receiver == "none") != (sc.Truth.Error == "") {
			t.Errorf("%s: receiver %s with error %q", sc.ID, sc.Truth.Receiver, sc.Truth.Error)
		}
		if sc.Demo {
			demos++
			if len(sc.Needs) > 0 || sc.Slow {
				t.Errorf("%s: a demo must be quick and need nothing", sc.ID)
			}
		}
		if strings.HasSuffix(sc.ID, "-v6") {
			six++
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Error("ids are not sorted and unique")
	}
	if len(ids) < 60 || six < 8 || demos < 10 {
		t.Errorf("only %d scenarios, %d over IPv6, %d demos", len(ids), six, demos)
	}
}

// TestRootCancelled: a scenario whose context ends leaves the network usable.
func TestRootCancelled(t *testing.T) {
	needRoot(t)
	n, err := NewNet(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if _, err := find(t, "keepalive-timeout").Run(ctx, n); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want the deadline", err)
	}
	if _, err := find(t, "close-unread").Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, id string) Scenario {
	t.Helper()
	for _, sc := range All() {
		if sc.ID == id {
			return sc
		}
	}
	t.Fatalf("no scenario %s", id)
	return Scenario{}
}

func TestRootCloseLeavesNothing(t *testing.T) {
	needRoot(t)
	n, err := NewNet(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := find(t, "sigkill-queued").Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	left := n.Namespaces()
	if len(left) != 4 {
		t.Fatalf("%d namespaces", len(left))
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, left)
}

// TestRootKilledLeavesNothing kills a process with a network and a scenario in
// full swing.
func TestRootKilledLeavesNothing(t *testing.T) {
	needRoot(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), parentEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var left []Namespace
	if err := json.Unmarshal(line, &left); err != nil {
		t.Fatal(err)
	}
	if len(holders(left)) <= len(left) {
		t.Errorf("only %d processes, the test does not see the actors", len(holders(left)))
	}
	cmd.Process.Kill()
	cmd.Wait()
	wantGone(t, left)
}

// waitToBeKilled builds a network, starts a scenario that waits for a timer,
// and tells what there is.
func waitToBeKilled() {
	n, err := NewNet(context.Background(), Options{})
	if err != nil {
		panic(err)
	}
	i := slices.IndexFunc(All(), func(sc Scenario) bool { return sc.ID == "keepalive-timeout" })
	go All()[i].Run(context.Background(), n)
	all := n.Namespaces()
	for len(holders(all)) < 6 {
		time.Sleep(time.Millisecond)
	}
	json.NewEncoder(os.Stdout).Encode(all)
	select {}
}

// holders lists the processes in these namespaces.
func holders(spaces []Namespace) (pids []int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		ino, err := nsInode(dir + "/ns/net")
		if err != nil {
			continue // not ours to look at, or gone
		}
		if slices.ContainsFunc(spaces, func(n Namespace) bool { return n.Inode == ino }) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

func wantGone(t *testing.T, spaces []Namespace) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for len(holders(spaces)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("processes %v still hold the namespaces", holders(spaces))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestRootProgram: an external program runs in its namespace, lives on for those
// who watch, and is gone when the next play begins.
func TestRootProgram(t *testing.T) {
	needRoot(t)
	n, err := NewNet(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var p *program
	rc := recipe{
		id: "program", truth: Truth{Sender: "server-kernel", Receiver: "client", Error: "ECONNREFUSED"},
		play: func(s *stage) {
			p = s.program(running{space: "server", name: "sh", args: []string{"-c", "echo ready; exec sleep 60"}, dir: s.tempDir()})
			s.eventually("the program to print", func() bool { return p.output() == "ready\n" })
			if ino, err := nsInode("/proc/" + strconv.Itoa(p.pid) + "/ns/net"); err != nil || ino != n.spaces["server"].inode {
				s.fail("the program is in namespace %d: %v", ino, err)
			}
			closedPort(s)
		},
	}
	if _, err := rc.run(t.Context(), n, false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
		t.Error("the program ended with the play")
	default:
	}
	if err := n.sweep(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	default:
		t.Error("the program still runs")
	}
	if _, err := os.Stat(p.cmd.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is still there: %v", err)
	}
}

// TestRootRefusesHost: neither end of the machinery works in our own namespace.
func TestRootRefusesHost(t *testing.T) {
	needRoot(t)
	st, err := newStarter()
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	if p, err := st.start("/proc/self/ns/net", "lab-test", nil); err == nil {
		p.kill()
		t.Error("an actor was started in our own namespace")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actorEnv+"=lab-test", homeEnv+"="+strconv.FormatUint(st.ino, 10))
	b, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(b), "refuse") {
		t.Errorf("an actor in our own namespace: %v, %s", err, b)
	}
}

func TestSegmentRoundTrip(t *testing.T) {
	for _, host := range []string{"192.0.2.", "2001:db8::"} {
		want := segment{
			Src: netip.AddrPortFrom(netip.MustParseAddr(host+"1"), 1234), Dst: netip.AddrPortFrom(netip.MustParseAddr(host+"2"), 80),
			Flags: flagPSH | flagACK, Seq: 1e9, Ack: 4e9, Window: 512, TTL: 47, Len: 5, HasTS: true, TSval: 77, TSe: 88,
		}
		b := want.build([]byte("hello"))
		got, ok := parseSegment(b)
		if !ok {
			t.Fatalf("%s: not decoded", host)
		}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Error(d)
		}
		if host[0] == '1' && checksum(b[:20]) != 0 {
			t.Error("wrong IPv4 checksum")
		}
	}
	for n := range 40 {
		parseSegment(make([]byte, n)) // must not panic
	}
}

func TestParseSocket(t *testing.T) {
	got, ok := parseSocket("   1: 026433C6:1B58 020200C0:A2F4 01 00000000:0000002A 00:00000000 00000000     0        0 4711 1 0000000000000000 20 4 30 10 -1")
	want := sockEntry{
		Local: netip.MustParseAddrPort("198.51.100.2:7000"), Remote: netip.MustParseAddrPort("192.0.2.2:41716"),
		State: "ESTABLISHED", RxQueue: 42, Inode: 4711,
	}
	if !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, ok := parseSocket("  sl  local_address rem_address   st tx_queue"); ok {
		t.Error("the heading is not a socket")
	}
}
