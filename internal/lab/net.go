//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Net is a laboratory network: client, server and attacker, each behind its
// own link to a router. The addresses are those reserved for documentation
// (RFC 5737, RFC 3849), so that nobody takes them for real ones:
//
//	client 192.0.2.2, 2001:db8:1::2        server 198.51.100.2, 2001:db8:2::2
//	attacker 203.0.113.2, 2001:db8:3::2    router .1 and ::1 of each
//
// While another lab runs on the machine, those of RFC 2544 and other subnets
// of 2001:db8 are taken, so that one lab never looks like the other.
//
// A Net runs one scenario at a time. It is not safe for concurrent use.
type Net struct {
	settle  func(context.Context, Result) // of Options
	logf    func(string, ...any)
	starter *starter
	links   []link // client, server, attacker, extra
	claim   io.Closer
	spaces  map[string]*space
	ports   uint16         // next free block of server ports
	left    []func() error // undo what plays leave behind, see leave
	pcap    string         // of Options
	deck    *deck          // records the play that runs; nil when nobody asked
}

// space is one namespace.
type space struct {
	name   string
	holder *proc
	inode  uint64
	v4, v6 netip.Addr // of eth0; invalid for the router
}

func (sp *space) path() string { return fmt.Sprintf("/proc/%d/ns/net", sp.holder.pid) }

func (sp *space) addr(v6 bool) netip.Addr {
	if v6 {
		return sp.v6
	}
	return sp.v4
}

// link describes the link of a namespace to the router.
type link struct {
	name   string
	v4, v6 string // prefixes, to which the host number is appended
}

// linksOf returns the links of the n-th lab on this machine.
func linksOf(n int) []link {
	names := []string{"client", "server", "attacker", ""}
	v4 := []string{"192.0.2.", "198.51.100.", "203.0.113.", "198.18.0."}
	var list []link
	for i, name := range names {
		l := link{name, v4[i], fmt.Sprintf("2001:db8:%x::", i+1)}
		if n > 0 {
			l.v4, l.v6 = fmt.Sprintf("198.18.%d.", 4*n+i), fmt.Sprintf("2001:db8:%x:%x::", n, i+1)
		}
		list = append(list, l)
	}
	return list
}

const maxLabs = 60 // at a time, with addresses of their own

// claimLinks takes the lowest number of a lab that nobody holds, by the name of
// an abstract socket: it leaves no file, and the kernel gives it back when it
// is closed, also by a crash.
func claimLinks() (io.Closer, []link, error) {
	for n := range maxLabs {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: fmt.Sprintf("@holdfast-lab-%d", n), Net: "unixgram"})
		if err == nil {
			return c, linksOf(n), nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, nil, fmt.Errorf("claim addresses: %w", err)
		}
	}
	return nil, nil, fmt.Errorf("claim addresses: %d labs run already", maxLabs)
}

// portBlock is how many consecutive server ports a scenario may use.
const portBlock = 16

// NewNet builds the network. It needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN).
// Close it; if the process dies before, the kernel removes it.
func NewNet(ctx context.Context, opt Options) (*Net, error) {
	st, err := newStarter()
	if err != nil {
		return nil, err
	}
	if opt.Logf == nil && os.Getenv("HOLDFAST_LAB_TRACE") != "" {
		opt.Logf = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	}
	n := &Net{logf: opt.Logf, settle: opt.Settle, pcap: opt.Pcap, starter: st, spaces: map[string]*space{}, ports: 20000}
	if n.claim, n.links, err = claimLinks(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := n.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build lab network: %w", err), n.Close())
	}
	return n, nil
}

func (n *Net) build(ctx context.Context) error {
	if err := n.addSpace(ctx, "router", netip.Addr{}, netip.Addr{}); err != nil {
		return err
	}
	if err := n.sysctls(ctx, "router", "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1"); err != nil {
		return err
	}
	for i, l := range n.links[:3] {
		if err := n.attach(ctx, i+1, l); err != nil {
			return fmt.Errorf("attach %s: %w", l.name, err)
		}
	}
	return nil
}

// addSpace makes a namespace with a holder in it.
func (n *Net) addSpace(ctx context.Context, name string, v4, v6 netip.Addr) error {
	p, err := n.starter.start("", "lab-ns-"+name, n.logf)
	if err != nil {
		return err
	}
	sp := &space{name: name, holder: p, v4: v4, v6: v6}
	n.spaces[name] = sp
	if _, err := p.call(ctx, request{Op: "up", Text: "lo"}); err != nil {
		return err
	}
	if sp.inode, err = nsInode(sp.path()); err != nil {
		return err
	}
	if sp.inode == n.starter.ino || sp.inode == n.starter.host {
		return errors.New("the new namespace is the host's")
	}
	if err := n.deck.add(sp); err != nil {
		return err
	}
	return n.sysctls(ctx, name,
		"ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0", "ipv4/tcp_no_metrics_save=1",
		"ipv6/conf/all/accept_dad=0", "ipv6/conf/default/accept_dad=0",
		"ipv6/conf/default/accept_ra=0", "ipv6/conf/default/router_solicitations=0")
}

// attach makes the namespace of l and its link to the router. Hardware
// addresses are fixed, so that a rebuilt namespace is found again at once.
func (n *Net) attach(ctx context.Context, num int, l link) error {
	v4, v6 := l.v4+"2", l.v6+"2"
	if err := n.addSpace(ctx, l.name, netip.MustParseAddr(v4), netip.MustParseAddr(v6)); err != nil {
		return err
	}
	port := "to-" + l.name
	orders := []struct {
		space string
		q     request
	}{
		{"router", request{Op: "veth", Text: port, N: n.spaces[l.name].holder.pid, Args: []string{"eth0", mac(num, 1), mac(num, 2)}}},
		{"router", request{Op: "addr", Text: port, Args: []string{l.v4 + "1/24", l.v6 + "1/64"}}},
		{"router", request{Op: "offload", Text: port}},
		{"router", request{Op: "up", Text: port}},
		{l.name, request{Op: "addr", Text: "eth0", Args: []string{v4 + "/24", v6 + "/64"}}},
		{l.name, request{Op: "offload", Text: "eth0"}},
		{l.name, request{Op: "up", Text: "eth0"}},
		{l.name, request{Op: "route", Args: []string{"0.0.0.0/0", l.v4 + "1"}}},
		{l.name, request{Op: "route", Args: []string{"::/0", l.v6 + "1"}}},
	}
	for _, o := range orders {
		if o.q.Op == "addr" && !hasIPv6() {
			o.q.Args = o.q.Args[:1]
		} else if o.q.Op == "route" && o.q.Args[0] == "::/0" && !hasIPv6() {
			continue
		}
		if _, err := n.spaces[o.space].holder.call(ctx, o.q); err != nil {
			return err
		}
	}
	return nil
}

// detach removes a namespace and its link. What it holds ends in silence.
func (n *Net) detach(ctx context.Context, name string) error {
	sp := n.spaces[name]
	if sp == nil {
		return nil
	}
	delete(n.spaces, name)
	_, err := n.spaces["router"].holder.call(ctx, request{Op: "unlink", Text: "to-" + name})
	n.deck.leave(name)
	sp.holder.kill()
	return err
}

func mac(link, host int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", link, host) }

// sysctl sets "path=value" in a namespace and returns the old value.
func (n *Net) sysctl(ctx context.Context, space, setting string) (old string, err error) {
	path, value, _ := strings.Cut(setting, "=")
	r, err := n.spaces[space].holder.call(ctx, request{Op: "sysctl", Text: path, Args: []string{value}})
	return r.Text, err
}

// sysctls sets several, without those of IPv6 where the kernel has none.
func (n *Net) sysctls(ctx context.Context, space string, settings ...string) error {
	for _, set := range settings {
		if strings.HasPrefix(set, "ipv6/") && !hasIPv6() {
			continue
		}
		if _, err := n.sysctl(ctx, space, set); err != nil {
			return err
		}
	}
	return nil
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// Namespaces lists the namespaces, the client first. Scenarios that reboot an
// end replace its namespace.
func (n *Net) Namespaces() []Namespace {
	var list []Namespace
	for _, name := range []string{"client", "router", "server", "attacker"} {
		if sp := n.spaces[name]; sp != nil {
			list = append(list, Namespace{Name: name, PID: sp.holder.pid, Path: sp.path(), Inode: sp.inode})
		}
	}
	return list
}

// Close ends every process of the network; the kernel then removes the
// namespaces, which nothing else holds.
func (n *Net) Close() error {
	err := n.sweep()
	for _, sp := range n.spaces {
		sp.holder.kill()
	}
	n.spaces = nil
	n.starter.close()
	if n.claim != nil {
		err = errors.Join(err, n.claim.Close())
		n.claim = nil
	}
	return err
}

// leave has f called when the next play begins or the network is closed. What
// watchers of a play may want to look at, such as a log, must live that long.
func (n *Net) leave(f func() error) { n.left = append(n.left, f) }

// sweep removes what plays left behind, the latest first.
func (n *Net) sweep() error {
	var errs []error
	for _, f := range slices.Backward(n.left) {
		errs = append(errs, f())
	}
	n.left = nil
	return errors.Join(errs...)
}

// takePorts returns the first of portBlock server ports that no scenario on
// this network has used.
func (n *Net) takePorts() uint16 {
	p := n.ports
	n.ports += portBlock
	if n.ports >= 32000 { // below the ephemeral ports
		n.ports = 20000
	}
	return p
}

// programDirs are searched after PATH.
var programDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/*/bin"}

// findProgram returns the path of an external program.
func findProgram(name string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), programDirs...) {
		found, _ := filepath.Glob(filepath.Join(dir, name))
		for i := len(found) - 1; i >= 0; i-- { // the newest version sorts last
			if st, err := os.Stat(found[i]); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return found[i], nil
			}
		}
	}
	return "", fmt.Errorf("%s: program not found; install it or add its directory to PATH", name)
}

// closeTimeout bounds the clean-up after a scenario, which also happens when
// its context is over.
const closeTimeout = 15 * time.Second
