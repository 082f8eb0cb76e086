//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// soon is how long a scenario waits for something that should happen at once.
const soon = 5 * time.Second

// stage is what a scenario plays on: one run on one network. Its methods do
// not return errors. They stop the play (by a panic that run recovers, and
// that never leaves this package), because a play is a list of steps, each of
// which must succeed.
type stage struct {
	ctx    context.Context
	n      *Net
	v6     bool
	port   uint16 // first of portBlock server ports
	res    Result
	actors map[string]*proc
	pairs  []pair
	taps   []*tap
	undo   []func(context.Context) error
	before map[string]map[string]int64 // counters of both ends at the start
}

// pair is a connection whose two ends are ours; loss is counted over them.
type pair struct{ client, server *sock }

// stop carries the error of a step to run.
type stop struct{ error }

func (s *stage) check(err error) {
	if err != nil {
		panic(stop{err})
	}
}

// fail stops the play.
func (s *stage) fail(format string, args ...any) { panic(stop{fmt.Errorf(format, args...)}) }

// call gives an order to an actor.
func (s *stage) call(p *proc, q request) response {
	r, err := p.call(s.ctx, q)
	s.check(err)
	return r
}

// actor returns the actor of that comm in a namespace, started when needed.
func (s *stage) actor(space, name string) *proc {
	if p := s.actors[name]; p != nil {
		return p
	}
	p, err := s.n.starter.start(s.n.spaces[space].path(), name, s.n.logf)
	s.check(err)
	p.space = space
	s.actors[name] = p
	return p
}

func (s *stage) client() *proc   { return s.actor("client", "lab-client") }
func (s *stage) server() *proc   { return s.actor("server", "lab-server") }
func (s *stage) attacker() *proc { return s.actor("attacker", "lab-attacker") }

// holder returns the process that configures a namespace.
func (s *stage) holder(space string) *proc { return s.n.spaces[space].holder }

// addr is the address of an end, at a port.
func (s *stage) addr(space string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(s.n.spaces[space].addr(s.v6), port)
}

// any is the unspecified address at a port.
func (s *stage) any(port uint16) netip.AddrPort {
	if s.v6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), port)
}

// now marks the decisive moment.
func (s *stage) now() { s.res.At = time.Now() }

// hurt records what an application saw; successes, a time limit of ours and an
// orderly end do not count. Of two receivers the first named gives the error.
func (s *stage) hurt(who, errno string) {
	if errno == "" || errno == "EOF" || errno == "EAGAIN" {
		return
	}
	switch s.res.Receiver {
	case "none":
		s.res.Receiver, s.res.Error = who, errno
	case who, "both":
	default:
		s.res.Receiver = "both"
	}
}

// flow records the connection that the truth speaks of.
func (s *stage) flow(client, server netip.AddrPort) {
	f := Flow{client, server}
	if !slices.Contains(s.res.Flows, f) {
		s.res.Flows = append(s.res.Flows, f)
	}
}

// eventually polls a condition.
func (s *stage) eventually(what string, cond func() bool) {
	s.within(soon, what, cond)
}

func (s *stage) within(limit time.Duration, what string, cond func() bool) {
	deadline := time.Now().Add(limit)
	for !cond() {
		s.check(s.ctx.Err())
		if time.Now().After(deadline) {
			s.fail("waited %v in vain: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// sysctl changes a setting in a namespace until the end of the play.
func (s *stage) sysctl(space string, settings ...string) {
	for _, set := range settings {
		old, err := s.n.sysctl(s.ctx, space, set)
		s.check(err)
		path, _, _ := strings.Cut(set, "=")
		s.undo = append(s.undo, func(ctx context.Context) error {
			_, err := s.n.sysctl(ctx, space, path+"="+old)
			return err
		})
	}
}

// nft loads rules into a namespace until the end of the play, or unnft.
func (s *stage) nft(space, script string) {
	s.call(s.holder(space), request{Op: "nft", Text: script})
	s.undo = append(s.undo, func(ctx context.Context) error {
		_, err := s.holder(space).call(ctx, request{Op: "nft", Text: "flush ruleset"})
		return err
	})
}

// filter loads filter rules at one hook, for both families.
func (s *stage) filter(space, hook string, rules ...string) {
	script := fmt.Sprintf("table inet lab {\n chain %s {\n  type filter hook %s priority 0; policy accept;\n", hook, hook)
	for _, r := range rules {
		script += "  " + r + "\n"
	}
	s.nft(space, script+" }\n}\n")
}

func (s *stage) unnft(space string) {
	s.call(s.holder(space), request{Op: "nft", Text: "flush ruleset"})
}

// blackhole makes the router discard in silence what is sent to an end, until
// the returned function is called.
func (s *stage) blackhole(space string) (restore func()) {
	dst := netip.PrefixFrom(s.n.spaces[space].addr(s.v6), s.n.spaces[space].addr(s.v6).BitLen()).String()
	s.call(s.holder("router"), request{Op: "blackhole", Args: []string{dst}})
	done := false
	remove := func(ctx context.Context) error {
		if done {
			return nil
		}
		done = true
		_, err := s.holder("router").call(ctx, request{Op: "unroute", Args: []string{dst}})
		return err
	}
	s.undo = append(s.undo, remove)
	return func() { s.check(remove(s.ctx)) }
}

// extra attaches one more namespace to the router until the end of the play.
func (s *stage) extra(name string) *space {
	l := s.n.links[3]
	l.name = name
	s.undo = append(s.undo, func(ctx context.Context) error { return s.n.detach(ctx, name) })
	s.check(s.n.attach(s.ctx, 4, l))
	return s.n.spaces[name]
}

// reboot takes the power from an end: its namespace, sockets and processes are
// gone without a segment. A new namespace with the same addresses follows.
func (s *stage) reboot(space string) {
	for name, p := range s.actors {
		if p.space != space {
			continue
		}
		p.quiet(s.ctx)
		p.kill()
		delete(s.actors, name)
	}
	s.taps = slices.DeleteFunc(s.taps, func(t *tap) bool { return t.p == s.holder(space) })
	s.check(s.n.detach(s.ctx, space))
	i := slices.IndexFunc(s.n.links, func(l link) bool { return l.name == space })
	s.check(s.n.attach(s.ctx, i+1, s.n.links[i]))
	s.tap(space, space)
	s.before[space] = s.counters(space)
}

// counters reads the SNMP counters of a namespace.
func (s *stage) counters(space string) map[string]int64 {
	return s.call(s.holder(space), request{Op: "counters"}).Counters
}

// moved is the increase of a counter of an end since the play began.
func (s *stage) moved(space, counter string) int64 {
	return s.counters(space)[counter] - s.before[space][counter]
}

// sockets lists the TCP sockets of a namespace on one local port.
func (s *stage) sockets(space string, local uint16) []sockEntry {
	all := s.call(s.holder(space), request{Op: "sockets"}).Sockets
	return slices.DeleteFunc(all, func(e sockEntry) bool { return e.Local.Port() != local })
}

// state is the TCP state of the connection local-remote, "" when the kernel
// knows none.
func (s *stage) state(space string, local, remote netip.AddrPort) string {
	for _, e := range s.sockets(space, local.Port()) {
		if e.Local == local && e.Remote == remote {
			return e.State
		}
	}
	return ""
}

// awaitState waits for a state as state reports it.
func (s *stage) awaitState(space string, local, remote netip.AddrPort, want string) {
	var got string
	s.eventually(fmt.Sprintf("%s to be %q at the %s", local, want, space), func() bool {
		got = s.state(space, local, remote)
		return got == want
	})
}

// killed ends an actor by a signal that another process sends, and waits.
func (s *stage) killed(p *proc, sig syscall.Signal) { s.killedBy("server", p, sig) }

// killedBy does it from a process in the given namespace.
func (s *stage) killedBy(space string, p *proc, sig syscall.Signal) {
	s.call(s.actor(space, "lab-killer"), request{Op: "kill", N: p.pid, Value: int(sig)})
	if sig == unix.SIGSTOP {
		return
	}
	ws, err := p.waitEnd(s.ctx)
	s.check(err)
	if !ws.Signaled() || ws.Signal() != sig {
		s.fail("%s ended by %v, not by %v", p.name, ws, sig)
	}
}

// close leaves the network as it was, without a further segment: sockets
// vanish before their processes are ended.
func (s *stage) close() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), closeTimeout)
	defer cancel()
	var errs []error
	for _, p := range s.actors {
		p.quiet(ctx)
	}
	for _, p := range s.actors {
		p.kill()
	}
	for _, t := range s.taps {
		_, err := t.p.call(ctx, request{Op: "sniff-stop", FD: t.fd})
		errs = append(errs, err)
	}
	for _, f := range slices.Backward(s.undo) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// quiet removes the sockets of an actor that still listens to us.
func (p *proc) quiet(ctx context.Context) {
	select {
	case <-p.ended:
		return
	default:
	}
	p.cmd.Process.Signal(unix.SIGCONT) //nolint:errcheck // it may just have ended
	if p.busy {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	p.call(ctx, request{Op: "vanish"}) //nolint:errcheck // it is killed next
}

// abandon gives an actor an order that it does not live to answer.
func (s *stage) abandon(p *proc, q request) {
	_, err := p.begin(q)
	s.check(err)
	p.busy = true
}

// order returns an order to the holder of a namespace, to be undone with.
func (s *stage) order(space string, q request) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.holder(space).call(ctx, q)
		return err
	}
}

func (s *stage) unroute(dst string) func(context.Context) error {
	return s.order("router", request{Op: "unroute", Args: []string{dst}})
}

// inject sends a segment from the attacker, whatever source address it bears.
func (s *stage) inject(g segment, data []byte) {
	s.call(s.attacker(), request{Op: "raw", Addr: g.Dst, Data: g.build(data)})
}
