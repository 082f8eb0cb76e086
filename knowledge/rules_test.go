package knowledge

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/diagnosis"
)

// TestRules: each lint of facts finds what it is for, and nothing else.
func TestRules(t *testing.T) {
	t.Parallel()
	const unit = "    unit: team-x-proxy     # one of sysctl: {KEY: VALUE}, unit: NAME with set, edit: PRODUCT with lines and was, nft: {...},\n    set: {TimeoutStopSec: 120}  # nic: DEVICE with features, ask: [commands] with undo; or none of them, which is advice\n"
	for _, c := range []struct{ name, from, to, want string }{
		{"sysctl to its default", unit, "    sysctl: {net.core.somaxconn: 4096}\n", "to its default 4096"},
		{"sysctl back to its default", unit, "    sysctl: {net.ipv4.tcp_syncookies: 1}\n    was: {net.ipv4.tcp_syncookies: 0}\n", ""},
		{"undo of a sysctl that restores nothing", unit, "    sysctl: {net.core.somaxconn: 8192}\n    was: {net.core.somaxconn: 1000}\n", "neither its default 4096 nor OLD"},
		{"two values for a sysctl", unit, "    sysctl: {net.ipv4.tcp_keepalive_time: 300}\n", "another cause sets it to 60"},
		{"directive to its default", unit, "    edit: nginx\n    at: http\n    lines: [keepalive_timeout 75s;]\n", "keepalive_timeout of nginx to its default"},
		{"directive to what is shipped", unit, "    edit: nginx\n    at: http\n    lines: [keepalive_timeout 65;]\n", "to its default"},
		{"directive from a bad value", unit, "    edit: nginx\n    at: http\n    lines: [keepalive_timeout 75s;]\n    was: [keepalive_timeout 1s;]\n", ""},
		{"undo of a directive", unit, "    edit: nginx\n    at: http\n    lines: [keepalive_timeout 600s;]\n    was: [keepalive_timeout 10s;]\n", "the undo of keepalive_timeout is neither"},
		{"the same key of another place", unit, "    edit: nginx\n    at: upstream\n    lines: [keepalive_timeout 4s;]\n    was: [keepalive_timeout 60s;]\n", ""},
		{"an added rule", unit, "    nft: {family: inet, table: filter, chain: input, place: add, rule: ct state invalid drop}\n", "adds a rule"},
		{"automatic without a scenario", unit, unit + "    automatic: true\n", "is automatic"},
		{"advice that is a command", "The proxy of team X, let it drain for longer\n" + unit, "systemctl restart it\n", "begins like a command"},
		{"link with a comment in it", "  - RFC 9293 section 3.10.7\n", "  - https://example.org/page (section 2)\n", "has a blank or bracket"},
		{"a time in an expression", "  - if: sender.proc.name == \"team-x-proxy\"\n", "  - if: sender.proc.name == \"team-x-proxy\" and near(sender.dead.idle_ms, 5000, 0.1)\n", "a time stands in an expression"},
		{"a time by its name", "  - if: sender.proc.name == \"team-x-proxy\"\n", "  - if: sender.proc.name == \"team-x-proxy\" and near(sender.dead.idle_ms, timer(nginx-keepalive), 0.1)\n", ""},
		{"an unknown timer", "  - if: sender.proc.name == \"team-x-proxy\"\n", "  - if: near(sender.dead.idle_ms, timer(nginx-keepalife), 0.1)\n", "names of timers.yaml"},
		{"a timer that nobody opened", "  - if: sender.proc.name == \"team-x-proxy\"\n", "  - if: near(sender.dead.idle_ms, timer(netscaler-server), 0.1)\n", "open a source first"},
		{"a step on the wire", "fixes:\n", "wire: ['> data: at once', '< FIN', '= nothing']\nfixes:\n", ""},
		{"no step on the wire", "fixes:\n", "wire: ['client sends']\nfixes:\n", "is no step on the wire"},
		{"two kinds", unit, unit + "    ask: [ls]\n", "a fix has one of"},
		{"an unknown product", unit, "    edit: ngnix\n    lines: [x y;]\n", "unknown product"},
		{"a case like nothing", "    facts: {outcome: reset, rst.seen: true, sender.seen: true, sender.watched: true, sender.role: server, sender.call: close,\n            sender.reason: TCP_ABORT_ON_CLOSE, sender.sock.unread_bytes: 1000, sender.proc.name: nginx}\n", "    like: nothing\n", "no given of macros.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := Skeleton("mine")
			if !strings.Contains(s, c.from) {
				t.Fatalf("the skeleton has no %q", c.from)
			}
			dir := t.TempDir()
			write(t, dir, "mine.yaml", strings.Replace(s, c.from, c.to, 1))
			var got []string
			for _, p := range lint(dir, true) {
				got = append(got, p.Error())
			}
			all := strings.Join(got, "\n")
			if c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("want %q, got:\n%s", c.want, all)
			}
		})
	}
}

// lint lints dir, with what the embedded causes set in mind.
func lint(dir string, embedded bool) []diagnosis.Problem {
	return Lint(dir, func(string) bool { return embedded })
}
