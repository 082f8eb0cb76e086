package knowledge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-project/holdfast/fact"
)

// fixKinds are the keys of which a fix has at most one; without it, it is advice.
var fixKinds = []string{"sysctl", "unit", "edit", "nft", "nic", "ask"}

// fixKeys of each kind, besides those that every fix may have.
var fixKeys = map[string][]string{
	"advise": {},
	"sysctl": {"sysctl", "was"},
	"unit":   {"unit", "section", "set"},
	"edit":   {"edit", "at", "lines", "was"},
	"nft":    {"nft"},
	"nic":    {"nic", "features", "was"},
	"ask":    {"ask", "undo", "commands"},
	"use":    {"use"},
}

var everyFix = []string{"title", "risk", "automatic", "verify", "effect"}

// Products are the software whose configuration or code an "edit" changes.
var Products = []string{
	"apache", "asyncio", "c", "caddy", "curl", "docker", "envoy", "gcloud", "go", "gunicorn", "haproxy", "istio", "java", "kafka", "keepalived",
	"kubernetes", "mongodb", "mosquitto", "mysql", "nats", "nginx", "node", "openldap", "oracle", "pgbouncer", "php-fpm", "postfix", "postgresql", "python",
	"rabbitmq", "redis", "rust", "spring", "ssh", "sshd", "suricata", "traefik", "uvicorn", "uwsgi", "vsftpd", "wireguard", "dotnet", "grpc",
}

// fixes reads the list of fixes.
func (d *document) fixes(m mapping) []fact.Fix {
	var list []fact.Fix
	for _, n := range m.list("fixes") {
		f, ok := d.mapping(n, "a fix")
		if !ok {
			continue
		}
		if name := f.str("use"); name != "" {
			f.allow("a fix by name", "use")
			if fix, ok := d.named(name); ok {
				list = append(list, fix)
			} else {
				d.problem(f.pos, "no fix %q", name).Hint = "fixes of macros.yaml"
			}
			continue
		}
		list = append(list, d.fix(f))
	}
	return list
}

func (d *document) named(name string) (fact.Fix, bool) {
	if d.names == nil {
		return fact.Fix{}, false
	}
	f, ok := d.names.fixes[name]
	return f, ok
}

// fix reads one fix, and writes down the commands that follow from its kind.
func (d *document) fix(m mapping) fact.Fix {
	f := fact.Fix{Kind: "advise", Title: m.str("title"), Risk: m.str("risk"), Verify: m.strs("verify"), Effect: m.str("effect")}
	f.Automatic, _ = m.flag("automatic")
	for _, k := range fixKinds {
		if _, there := m.val[k]; !there {
			continue
		}
		if f.Kind != "advise" {
			d.problem(m.at[k], "a fix has one of %s; this one is %s already", strings.Join(fixKinds, ", "), f.Kind)
			continue
		}
		f.Kind = k
	}
	if _, commands := m.val["commands"]; commands && f.Kind == "advise" {
		f.Kind = "ask" // as it was written before fixes had kinds
	}
	m.allow("a fix of the kind "+f.Kind, append(slices.Clone(everyFix), fixKeys[f.Kind]...)...)
	if f.Title == "" {
		d.problem(m.pos, "a fix has no title")
	}
	switch f.Kind {
	case "sysctl":
		d.sysctl(m, &f)
	case "unit":
		d.unit(m, &f)
	case "edit":
		f.Product, f.At = m.str("edit"), m.str("at")
		f.Commands, f.Undo = m.strs("lines"), m.strs("was")
		if !slices.Contains(Products, f.Product) {
			d.problem(m.at["edit"], "unknown product %q", f.Product).Hint = strings.Join(Products, ", ")
		}
		if len(f.Commands) == 0 {
			d.problem(m.pos, "an edit without lines")
		}
	case "nft":
		d.nft(m, &f)
	case "nic":
		d.nic(m, &f)
	case "ask":
		f.Commands, f.Undo = append(m.strs("ask"), m.strs("commands")...), m.strs("undo")
	}
	return f
}

// pair is a setting and its value.
type pair struct{ key, value string }

// pairs reads a mapping of scalars, in the order of the file.
func (d *document) pairs(m mapping, key string) []pair {
	n, ok := m.val[key]
	if !ok {
		return nil
	}
	s, ok := d.mapping(n, key)
	if !ok {
		return nil
	}
	var list []pair
	for _, k := range s.keys {
		list = append(list, pair{k, s.str(k)})
	}
	return list
}

// old is the value of the kernel's default when it is the same on every host, or
// else the word OLD: the value that was read before.
const old = "OLD"

func (d *document) sysctl(m mapping, f *fact.Fix) {
	was := d.pairs(m, "was")
	for _, p := range d.pairs(m, "sysctl") {
		before := old
		if d.names != nil {
			if v, ok := d.names.sysctls[p.key]; ok {
				before = v
			}
		}
		for _, w := range was {
			if w.key == p.key {
				before = w.value
			}
		}
		f.Commands = append(f.Commands, setSysctl(p.key, p.value))
		f.Undo = append(f.Undo, setSysctl(p.key, before))
		f.Verify = append(f.Verify, "sysctl "+p.key)
	}
}

func setSysctl(key, value string) string {
	if strings.Contains(value, " ") {
		value = "'" + value + "'"
	}
	return "sysctl -w " + key + "=" + value
}

func (d *document) unit(m mapping, f *fact.Fix) {
	name, section := m.str("unit"), m.str("section")
	if section == "" {
		section = "Service"
	}
	var set, keys []string
	for _, p := range d.pairs(m, "set") {
		set = append(set, p.key+"="+p.value)
		keys = append(keys, "-p "+p.key)
	}
	f.Commands = []string{fmt.Sprintf("systemctl edit %s   # [%s] %s", name, section, strings.Join(set, ", "))}
	f.Undo = []string{"systemctl revert " + name}
	f.Verify = append(f.Verify, "systemctl show "+name+" "+strings.Join(keys, " "))
}

func (d *document) nft(m mapping, f *fact.Fix) {
	n, ok := d.mapping(m.val["nft"], "nft")
	if !ok {
		return
	}
	n.allow("nft", "family", "table", "chain", "rule", "place")
	place := n.str("place")
	if place == "" {
		place = "insert" // an added rule stands last, behind the one that decides
	}
	chain := n.str("family") + " " + n.str("table") + " " + n.str("chain")
	f.Commands = []string{"nft " + place + " rule " + chain + " " + n.str("rule")}
	f.Undo = []string{"nft -a list chain " + chain + "; nft delete rule " + chain + " handle N"}
	f.Verify = append(f.Verify, "nft -a list chain "+chain)
}

func (d *document) nic(m mapping, f *fact.Fix) {
	device := m.str("nic")
	off := map[string]string{"off": "on", "on": "off"}
	for _, p := range d.pairs(m, "features") {
		f.Commands = append(f.Commands, "ethtool -K "+device+" "+p.key+" "+p.value)
		f.Undo = append(f.Undo, "ethtool -K "+device+" "+p.key+" "+off[p.value])
		f.Verify = append(f.Verify, "ethtool -k "+device+" | grep "+p.key)
	}
}

// confirm reads how to prove a cause: a text, or what to look at: {text, run,
// counter}.
func (d *document) confirm(m mapping) (text string, c fact.Confirm) {
	switch n := m.val["confirm"].(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		x, _ := d.mapping(n, "confirm")
		x.allow("confirm", "text", "run", "probe", "counter", "log")
		c = fact.Confirm{Text: x.str("text"), Run: x.strs("run"), Probe: x.strs("probe"), Counter: x.str("counter"), Log: x.str("log")}
		return c.String(), c
	}
	text = m.str("confirm")
	return text, fact.Confirm{Text: text}
}
