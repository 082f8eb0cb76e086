package knowledge

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// rules are the lints of facts: what a fix may not do, and numbers that stand in
// one place only.
func (l *linter) rules(c *diagnosis.CauseSpec, set *loader) {
	at := c.At["fixes"]
	for i := range c.Fixes {
		f := &c.Fixes[i]
		if f.Automatic && (f.Risk != "low" && f.Risk != "none" || !manufactured(c)) {
			l.fail(at, "risk: low, and a scenario of the lab that shows what it does and what it harms", "fix %q is automatic", f.Title)
		}
		if f.Kind == "advise" && program.MatchString(f.Title) {
			l.fail(at, "ask: [the command]", "advice %q begins like a command", f.Title)
		}
		for _, cmd := range f.Commands {
			if addsRule.MatchString(cmd) {
				l.fail(at, "an added rule stands last, behind the one that decides: insert", "fix %q adds a rule: %s", f.Title, cmd)
			}
		}
		switch f.Kind {
		case "sysctl":
			l.sysctl(c, f, set)
		case "edit":
			l.edit(c, f, set)
		}
	}
	for _, step := range c.Wire {
		if step != "none" && !wireStep.MatchString(step) {
			l.fail(c.At["wire"], "'> label: remark' from the client, '< label: remark' from the server, '= remark', or none", "%q is no step on the wire", step)
		}
	}
	for _, r := range c.References {
		if strings.HasPrefix(r, "http") && strings.ContainsAny(r, " ()[]<>") {
			l.fail(c.At["references"], "the link alone, or the name of the document with (section)", "link %q has a blank or bracket in it", r)
		}
	}
}

var (
	wireStep  = regexp.MustCompile(`^(?:[<>] [^:]{1,25}(?:: .+)?|= .+)$`)
	program   = regexp.MustCompile(`^(sysctl|nft|iptables|systemctl|aws|az|gcloud|kubectl|docker|ethtool|conntrack|ss|ip|curl|openssl) [a-z-]`)
	addsRule  = regexp.MustCompile(`^nft add rule .*\b(accept|drop|reject|notrack)\b`)
	assigned  = regexp.MustCompile(`^sysctl -w ([^=]+)='?([^']*)'?$`)
	literal   = regexp.MustCompile(`\b(near|past)\([a-z_.]+_(ms|s), *\[?[0-9]{3,}`)
	directive = regexp.MustCompile(`^([A-Za-z][\w. -]*?)[ =:]+([\w.]+);?$`)
)

// manufactured reports whether a scenario of the lab makes the cause.
func manufactured(c *diagnosis.CauseSpec) bool {
	return len(c.Lab) > 0 && !strings.HasPrefix(c.Lab[0].S, "none")
}

// sysctl refuses a value that is the default already, an undo that restores
// nothing, and a second value for one key.
func (l *linter) sysctl(c *diagnosis.CauseSpec, f *fact.Fix, set *loader) {
	at := c.At["fixes"]
	for i, cmd := range f.Commands {
		m, u := assigned.FindStringSubmatch(cmd), assigned.FindStringSubmatch(f.Undo[i])
		if m == nil || u == nil {
			l.fail(at, "", "fix %q: %s is not understood", f.Title, cmd)
			continue
		}
		def, known := set.names.sysctls[m[1]]
		switch {
		case known && m[2] == def && u[2] == def:
			l.fail(at, "was: OLD, or the bad value that it corrects", "fix %q sets %s to its default %s", f.Title, m[1], def)
		case known && u[2] != def && u[2] != old && m[2] != def:
			l.fail(at, "was: OLD", "fix %q: the undo of %s is neither its default %s nor OLD", f.Title, m[1], def)
		}
		if l.values == nil {
			l.values = map[string]string{}
		}
		if v, there := l.values[m[1]]; there && v != m[2] && m[2] != def && v != def {
			l.fail(at, "one value for one key; a fix that several causes use has a name in macros.yaml", "fix %q sets %s to %s, another cause sets it to %s", f.Title, m[1], m[2], v)
		}
		if m[2] != def {
			l.values[m[1]] = m[2]
		}
	}
}

// edit compares settings with the defaults of timers.yaml.
func (l *linter) edit(c *diagnosis.CauseSpec, f *fact.Fix, set *loader) {
	was := map[string]string{}
	for _, line := range f.Undo {
		if m := directive.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			was[m[1]] = m[2]
		}
	}
	for _, line := range f.Commands {
		m := directive.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		def := set.names.defaults(f.Product, f.At, m[1])
		if len(def) == 0 {
			continue
		}
		before, there := was[m[1]]
		if slices.Contains(def, seconds(m[2])) && (!there || slices.Contains(def, seconds(before))) {
			l.fail(c.At["fixes"], "was: the bad value that it corrects", "fix %q sets %s of %s to its default", f.Title, m[1], f.Product)
		}
		if there && before != old && !slices.Contains(def, seconds(before)) && !slices.Contains(def, seconds(m[2])) {
			l.fail(c.At["fixes"], "OLD, or the default in timers.yaml", "fix %q: the undo of %s is neither", f.Title, m[1])
		}
	}
}

// defaults are the values that timers.yaml has for a key of a product, in
// seconds and in milliseconds, in which some products count. A key of a place
// ("upstream keepalive_timeout") goes before the same key elsewhere.
func (n *names) defaults(product, at, key string) []float64 {
	var general, there []float64
	for i := range n.timers {
		t := &n.timers[i]
		if t.Before != "" || !strings.EqualFold(strings.TrimSuffix(strings.Fields(t.Product)[0], ".js"), product) {
			continue // older versions have another default
		}
		keys, values := strings.Split(t.Key, ","), t.Default.Numbers()
		for i, k := range keys {
			list := append(slices.Clone(values), t.Shipped.Numbers()...)
			if len(keys) > 1 && len(keys) == len(values) {
				list = values[i : i+1]
			}
			switch strings.TrimSpace(k) {
			case key:
				general = append(general, list...)
			case at + " " + key:
				there = append(there, list...)
			}
		}
	}
	if len(there) > 0 {
		general = there
	}
	for _, x := range general {
		general = append(general, 1000*x)
	}
	return general
}

// seconds reads 90, 90s, 2m, 1h and 500ms; -1 is something else.
func seconds(s string) float64 {
	for unit, factor := range map[string]float64{"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 1} {
		if x, err := strconv.ParseFloat(strings.TrimSuffix(s, unit), 64); err == nil && strings.HasSuffix(s, unit) {
			return x * factor
		}
	}
	return -1
}

// literals reports numbers of timers that stand in an expression.
func (l *linter) literals(file, src string) {
	for i, line := range strings.Split(src, "\n") {
		if m := literal.FindStringIndex(line); m != nil {
			l.fail(diagnosis.Pos{File: file, Line: i + 1, Column: m[0] + 1}, "a row with a name in timers.yaml, and timer(NAME)", "a time stands in an expression")
		}
	}
}
