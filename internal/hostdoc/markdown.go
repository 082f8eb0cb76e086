package hostdoc

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/internal/servers"
)

// Markdown writes the document for people: one fact on a line, so that a line of
// git is a change. chains are lines of internal/chain.
func (h *Host) Markdown(chains []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s\n", md(h.Name))
	line("- system: %s", md(h.OS))
	if h.Kernel != "" {
		line("- kernel: %s", md(h.Kernel))
	}
	if h.Memory > 0 {
		line("- memory: %d MiB", h.Memory>>20)
	}
	for _, s := range h.DNS.Servers {
		line("- name server: %s", md(s))
	}
	if len(h.DNS.Search) > 0 {
		line("- search list: %s", md(strings.Join(h.DNS.Search, " ")))
	}
	h.markdownServices(line)
	if len(chains) > 0 {
		line("\n## Timers\n\n```")
		for _, c := range chains {
			line("%s", strings.TrimRight(strings.ReplaceAll(c, "```", "'''"), "\n"))
		}
		line("```")
	}
	for i := range h.Namespaces {
		h.Namespaces[i].markdown(line)
	}
	if len(h.CouldNotSee) > 0 {
		line("\n## Could not see\n")
		for _, u := range h.CouldNotSee {
			line("- %s: %s", md(u.What), md(u.Why))
		}
	}
	return b.String()
}

// md makes foreign text harmless in Markdown and in a terminal.
func md(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			b.WriteByte(' ')
		case strings.ContainsRune("\\`*_<>[]|#&", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (h *Host) markdownServices(line func(string, ...any)) {
	if len(h.Services) == 0 {
		return
	}
	line("\n## Services\n")
	for _, s := range h.Services {
		about := []string{}
		for _, x := range []string{s.Product, s.Exe, s.Unit, s.Container} {
			if x != "" && x != s.ID && !slices.Contains(about, md(x)) {
				about = append(about, md(x))
			}
		}
		line("- %s", strings.TrimSuffix(md(s.ID)+" ("+strings.Join(about, ", ")+")", " ()"))
		if s.MaxFiles > 0 {
			line("  - open files at most %d", s.MaxFiles)
		}
		if s.MaxMemory > 0 {
			line("  - memory at most %d MiB", s.MaxMemory>>20)
		}
		if s.Config == nil {
			continue
		}
		if s.Config.Unread != "" {
			line("  - %s", md(s.Config.Unread))
		}
		for _, f := range s.Config.Files {
			line("  - reads %s", md(f))
		}
		for _, f := range s.Config.Fronts {
			line("  - listens on %s%s", md(strings.Join(f.Listen, ", ")), named(f.Name))
			timers(line, f.Timers)
		}
		for _, k := range s.Config.Backs {
			line("  - connects to %s%s", md(strings.Join(k.Peers, ", ")), named(k.Name))
			timers(line, k.Timers)
		}
	}
}

func named(s string) string {
	if s == "" {
		return ""
	}
	return " (" + md(s) + ")"
}

func timers(line func(string, ...any), list []servers.Timer) {
	for _, t := range list {
		v := strconv.FormatFloat(t.Seconds, 'f', -1, 64) + " s"
		if t.Never {
			v = "no limit"
		}
		from := t.Origin
		if t.At.File != "" {
			from = t.At.String()
		}
		line("    - %s: %s, %s (%s)", t.Meaning, md(t.Key), v, md(from))
	}
}

func (n *Namespace) markdown(line func(string, ...any)) {
	line("\n## Network namespace %s\n", md(n.ID))
	for _, i := range n.Interfaces {
		kind := ""
		if i.Kind != "" {
			kind = " (" + md(i.Kind) + ")"
		}
		line("- interface %s%s: %s, MTU %d", md(i.Name), kind, i.State, i.MTU)
		for _, a := range i.Addresses {
			line("  - %s", a)
		}
		if i.Driver != "" {
			line("  - driver %s", md(i.Driver))
		}
		if i.Qdisc != "" {
			line("  - queue %s", md(i.Qdisc))
		}
	}
	for _, r := range n.Routes {
		text := "route " + r.Dst
		for _, p := range [][2]string{{"via", r.Via}, {"dev", r.Dev}, {"src", r.Source}} {
			if p[1] != "" {
				text += " " + p[0] + " " + md(p[1])
			}
		}
		if r.Table != 254 {
			text += " table " + strconv.Itoa(int(r.Table))
		}
		line("- %s", text)
	}
	for _, l := range n.Listeners {
		line("- listener %s port %d: %s, backlog %d", l.Addr, l.Port, md(either(l.Service, "unknown program")), l.Backlog)
	}
	switch {
	case n.Firewall == nil:
		line("- firewall: not looked")
	case len(n.Firewall.Rules) == 0:
		line("- firewall: no rule ends or translates connections")
	default:
		for _, r := range n.Firewall.Rules {
			line("- rule in %s: %s", md(r.Where), md(r.Text))
		}
	}
	if !n.Defaults {
		line("- settings that differ from the kernel's defaults: not looked")
	}
	for _, c := range n.Changed {
		from := ""
		if c.File != "" {
			from = " (" + md(c.File) + ")"
		}
		line("- %s: %s, default %s%s", md(c.Key), md(c.Value), md(c.Default), from)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Sysctls)) {
		if strings.HasPrefix(k, "net.ipv4.tcp_keepalive") || strings.HasSuffix(k, "_timeout_established") {
			line("- %s: %s", k, md(n.Sysctls[k]))
		}
	}
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
