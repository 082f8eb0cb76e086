package cli

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// filter chooses findings. Flags of one kind are alternatives, flags of
// different kinds must all hold. A condition on a process, cgroup or container
// holds when either end of the connection meets it.
type filter struct {
	ports       []uint
	addresses   []string
	pids        []int
	processes   []string
	cgroups     []string
	containers  []string
	causes      []string
	senders     []string
	only        string // harmful, harmless or empty
	onlyHarmful bool

	prefixes []netip.Prefix // parsed addresses
}

func (f *filter) flags(fs *pflag.FlagSet) {
	f.packetFlags(fs)
	fs.IntSliceVar(&f.pids, "pid", nil, "only connections of this process")
	fs.StringSliceVar(&f.processes, "process", nil, "only connections of processes whose name or executable matches this glob")
	fs.StringSliceVar(&f.cgroups, "cgroup", nil, "only connections of processes in this cgroup or systemd unit, or below it")
	fs.StringSliceVar(&f.containers, "container", nil, "only connections of this container: name, pod, or start of the id")
}

// packetFlags are those that need no process: packets have none.
func (f *filter) packetFlags(fs *pflag.FlagSet) {
	fs.UintSliceVar(&f.ports, "port", nil, "only connections with this port at either end")
	fs.StringSliceVar(&f.addresses, "address", nil, "only connections with this address, or an address of this CIDR, at either end")
	fs.StringSliceVar(&f.causes, "cause", nil, "only this cause; a glob such as 'close-*'")
	fs.StringSliceVar(&f.senders, "sender", nil, "only resets sent by this role: client-app, server-kernel, middlebox ...")
	fs.StringVar(&f.only, "only", "", "harmful: leave out what hurt nobody; harmless: the others")
	fs.BoolVar(&f.onlyHarmful, "only-harmful", false, "the same as --only harmful")
}

// roles are the values of --sender.
var roles = []string{
	fact.ClientApp, fact.ClientKernel, fact.ServerApp, fact.ServerKernel, fact.LocalFirewall,
	fact.Middlebox, fact.Injector, fact.Nobody, fact.UnknownSender,
}

// check parses the flags; its errors say which one is wrong.
func (f *filter) check() error {
	if f.onlyHarmful {
		f.only = "harmful"
	}
	if !slices.Contains([]string{"", "harmful", "harmless"}, f.only) {
		return usageError("--only harmful, or --only harmless", "--only %q is neither", f.only)
	}
	for _, a := range f.addresses {
		p, err := parsePrefix(a)
		if err != nil {
			return usageError("--address 10.0.0.0/8 or --address 192.0.2.7", "--address %q: %w", a, err)
		}
		f.prefixes = append(f.prefixes, p)
	}
	for _, p := range f.ports {
		if p > 65535 {
			return usageError("--port 443", "--port %d: a port is at most 65535", p)
		}
	}
	for _, g := range slices.Concat(f.processes, f.causes) {
		if _, err := path.Match(g, ""); err != nil {
			return usageError("'*' matches anything, '?' one character, '[a-c]' a range", "pattern %q: %w", g, err)
		}
	}
	for _, r := range f.senders {
		if !slices.Contains(roles, r) {
			return usageError("one of "+strings.Join(roles, ", "), "--sender %q is not a role", r)
		}
	}
	return nil
}

// checkCauses refuses a pattern that matches no cause of the knowledge base: it
// would hide everything.
func (f *filter) checkCauses(base *diagnosis.Base) error {
	for _, g := range f.causes {
		known := g == "unknown" || slices.ContainsFunc(base.Causes(), func(c *diagnosis.CauseSpec) bool { return globs(g, c.ID) })
		if !known {
			return usageError(nearestHint(base, g), "--cause %q is no cause of the knowledge base", g)
		}
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// match reports whether a finding passes. The finding carries its case.
func (f *filter) match(x *fact.Finding) bool {
	return f.matchFlow(x) && f.matchVerdict(x) && f.matchOwners(x)
}

func (f *filter) matchFlow(x *fact.Finding) bool {
	ends := []netip.AddrPort{x.Flow.Client, x.Flow.Server}
	return anyOf(f.ports, func(p uint) bool {
		return slices.ContainsFunc(ends, func(e netip.AddrPort) bool { return uint(e.Port()) == p })
	}) && anyOf(f.prefixes, func(p netip.Prefix) bool {
		return slices.ContainsFunc(ends, func(e netip.AddrPort) bool { return p.Contains(e.Addr().Unmap()) })
	})
}

func (f *filter) matchVerdict(x *fact.Finding) bool {
	return (x.Harmful || f.only != "harmful") && (!x.Harmful || f.only != "harmless") &&
		anyOf(f.causes, func(g string) bool { return globs(g, x.Cause.ID) }) &&
		anyOf(f.senders, func(r string) bool { return r == x.Sender.Role })
}

func (f *filter) matchOwners(x *fact.Finding) bool {
	if len(f.pids)+len(f.processes)+len(f.cgroups)+len(f.containers) == 0 {
		return true
	}
	for _, p := range owners(x) {
		if anyOf(f.pids, func(pid int) bool { return p.PID.Or(-1) == int64(pid) }) &&
			anyOf(f.processes, func(g string) bool { return matchProcess(g, p) }) &&
			anyOf(f.cgroups, func(c string) bool { return matchCgroup(c, p) }) &&
			anyOf(f.containers, func(c string) bool { return matchContainer(c, p) }) {
			return true
		}
	}
	return false
}

// owners are the processes at both ends.
func owners(x *fact.Finding) []*fact.Process {
	var list []*fact.Process
	if x.Case != nil {
		list = append(list, &x.Case.Sender.Proc, &x.Case.Receiver.Proc)
		for _, end := range []*fact.Endpoint{&x.Case.Sender, &x.Case.Receiver} {
			if pid, ok := end.Dead.PID.Get(); ok {
				list = append(list, &fact.Process{PID: fact.Some(pid), Name: end.Dead.Name})
			}
		}
	}
	if s := x.Sender.Process; s != nil {
		list = append(list, &fact.Process{
			PID: fact.Some(s.PID), Name: fact.Some(s.Name), Exe: fact.Some(s.Exe),
			Unit: fact.Some(s.Unit), ContainerName: fact.Some(s.Container), Pod: fact.Some(s.Pod),
		})
	}
	return list
}

func matchProcess(glob string, p *fact.Process) bool {
	exe := p.Exe.Or("")
	return globs(glob, p.Name.Or("")) || globs(glob, exe) || globs(glob, path.Base(exe))
}

func matchCgroup(want string, p *fact.Process) bool {
	cg := strings.Trim(p.Cgroup.Or(""), "/")
	w := strings.Trim(want, "/")
	return cg == w || strings.HasPrefix(cg, w+"/") || p.Unit.Or("") == want
}

func matchContainer(want string, p *fact.Process) bool {
	return p.ContainerName.Or("") == want || p.Pod.Or("") == want || path.Base(p.Pod.Or("")) == want ||
		len(want) >= 6 && strings.HasPrefix(p.ContainerID.Or(""), want)
}

func globs(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return err == nil && ok && s != ""
}

// anyOf reports whether one of list holds; an empty list holds.
func anyOf[T any](list []T, holds func(T) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, holds)
}

// String describes the filter for the start line; "" when everything passes.
func (f *filter) String() string {
	var parts []string
	add := func(name string, n int, list any) {
		if n > 0 {
			parts = append(parts, name+" "+strings.Trim(fmt.Sprint(list), "[]"))
		}
	}
	add("port", len(f.ports), f.ports)
	add("address", len(f.addresses), f.addresses)
	add("pid", len(f.pids), f.pids)
	add("process", len(f.processes), f.processes)
	add("cgroup", len(f.cgroups), f.cgroups)
	add("container", len(f.containers), f.containers)
	add("cause", len(f.causes), f.causes)
	add("sender", len(f.senders), f.senders)
	if f.only != "" {
		parts = append(parts, f.only+" only")
	}
	return strings.Join(parts, ", ")
}
