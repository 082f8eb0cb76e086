package diagnosis

import (
	"cmp"
	"slices"

	"github.com/holdfast-project/holdfast/fact"
)

// context are the facts that say where others belong. A line that names others
// too is not about these.
var context = []string{
	"outcome", "phase", "sender.role", "receiver.role", "sender.watched", "receiver.watched", "sender.seen", "rst.seen", "flow.family",
	"flow.roles_known", "sender.sock.known", "receiver.sock.known", "wire.segments", "wire.sane", "wire.from_start", "wire.points",
	"wire.protocol", "sender.proc.name",
}

// groups are the facts that say the same: what one of them says, the others
// repeat. A fact that stands in none is a group of its own.
var groups = map[string][]string{
	"kernel path":       {"sender.reason", "sender.call", "sender.syscall", "sender.stack"},
	"linger":            {"sender.sock.linger", "sender.sock.linger_s"},
	"process ended":     {"sender.proc.exiting", "sender.proc.signal", "sender.proc.exit_code"},
	"process had ended": {"sender.dead.exiting", "sender.dead.signal", "sender.dead.exit_code"},
	"OOM":               {"sender.proc.oom", "sender.dead.oom"},
	"earlier socket":    {"sender.dead.known", "sender.dead.how", "sender.dead.state", "sender.dead.syscall"},
	"distance":          {"rst.ttl", "rst.peer_ttl", "wire.hop_difference", "wire.ttl_as_syn", "wire.ttl_as_data", "wire.ttl_start", "wire.two_ttls", "wire.ttl", "wire.ttl_usual", "wire.ttl_sure"},
	"identification":    {"rst.ip_id", "wire.ip_id", "wire.ip_id_breaks", "wire.ip_id_shared_hosts", "wire.copied_fields", "wire.other_stack", "wire.counter"},
	"sequence number":   {"wire.place", "wire.sequence_changes", "rst.seq_offset", "pattern.forged_attempts", "wire.forgery_test", "wire.signature", "wire.sequence_step", "wire.ack_beyond_bytes"},
	"form":              {"rst.form", "rst.timestamp", "rst.ack", "receiver.sock.timestamps"},
	"origin":            {"rst.origin", "rst.origin_name", "rst.origin_pid", "rst.origin_netns", "fw.third_namespace"},
	"provocation":       {"wire.answers", "wire.reaction_us", "wire.too_fast", "wire.rtt_us", "rst.provoked"},
	"places":            {"wire.not_sent", "wire.sent", "wire.sent_by_host", "wire.off_path", "wire.began_between", "wire.one_way", "wire.trigger_not_received"},
	"rule":              {"fw.rule", "fw.rule_moved", "fw.rule_rejects_with_reset", "fw.dropped", "fw.dropped_at", "fw.hook"},
	"accept queue":      {"sender.listener.backlog", "sender.listener.backlog_max"},
	"address":           {"pattern.address_moved", "pattern.address_twice", "pattern.holder", "pattern.sender_younger", "pattern.sender_started_ago_s"},
	"log":               {"log.text", "log.receiver_text", "symptom.text"},
	"burst":             {"pattern.burst", "pattern.burst_peers"},
	"regular":           {"pattern.period_ms", "pattern.idle_repeats", "pattern.same_peer"},
}

// groupOf is the name of the group of each fact that has one.
var groupOf = func() map[string]string {
	m := map[string]string{}
	for g, facts := range groups {
		for _, f := range facts {
			m[f] = g
		}
	}
	return m
}()

// group sorts the lines of h by falling weight and gives each its groups: those
// of the facts that it is about. What h requires anyway is its context, unless
// a line is about nothing else.
func (k *baseCompiler) group(h *hypothesis, at Pos) {
	slices.SortStableFunc(h.lines, func(a, b line) int { return cmp.Compare(b.weight, a.weight) })
	names := []string{}
	required := map[string]bool{}
	for _, r := range h.requires {
		if r != nil {
			for i := range r.facts {
				required[r.facts[i].Name] = true
			}
		}
	}
	for i := range h.lines {
		l := &h.lines[i]
		if l.expr == nil {
			continue
		}
		l.groups = nil
		for _, g := range subjects(l.expr, required) {
			n := slices.Index(names, g)
			if n < 0 {
				n, names = len(names), append(names, g)
			}
			l.groups = append(l.groups, uint8(n))
		}
	}
	if h.groups = len(names); h.groups > maxGroups {
		k.fail(at, "split it", "evidence of %s is about more than %d groups of facts", h.id, maxGroups)
	}
}

// subjects returns the groups of facts that e is about.
func subjects(e *Expr, required map[string]bool) []string {
	pick := func(leave func(d *fact.Def) bool) []string {
		var list []string
		for i := range e.facts {
			d := &e.facts[i]
			if g := cmp.Or(groupOf[d.Name], d.Name); !leave(d) && !slices.Contains(list, g) {
				list = append(list, g)
			}
		}
		return list
	}
	isContext := func(d *fact.Def) bool { return slices.Contains(context, d.Name) }
	for _, leave := range []func(d *fact.Def) bool{
		func(d *fact.Def) bool { return isContext(d) || required[d.Name] },
		isContext,
		func(*fact.Def) bool { return false },
	} {
		if list := pick(leave); len(list) > 0 {
			return list
		}
	}
	return nil
}
