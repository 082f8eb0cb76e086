// Package nft reads what netfilter does to packets in a namespace: the rules of nf_tables
// with sets and maps, and those of legacy iptables, each as text, as a verdict, and as a
// match that can be asked whether a packet could meet it. It changes nothing, and knows
// nothing of cases.
//
// To see the same with other eyes: `nft list ruleset`, `iptables-legacy -nvL`.
package nft

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/netlink"
)

// Verdict is what a rule does with a packet that matches.
type Verdict string

// The verdicts. A rule that only counts, logs or marks has NoVerdict.
const (
	NoVerdict   Verdict = ""
	Accept      Verdict = "accept"
	Drop        Verdict = "drop"
	RejectReset Verdict = "reject-reset" // answers with a RST
	RejectICMP  Verdict = "reject-icmp"
	Jump        Verdict = "jump"
	Goto        Verdict = "goto"
	Return      Verdict = "return"
	Queue       Verdict = "queue"
	Masquerade  Verdict = "masquerade"
	SNAT        Verdict = "snat"
	DNAT        Verdict = "dnat"
	Redirect    Verdict = "redirect"
	VerdictMap  Verdict = "vmap" // decided by a map; the text shows it
	Other       Verdict = "other"
)

// Rule is one netfilter rule, or the policy of a base chain.
type Rule struct {
	Family, Table, Chain string // ip filter INPUT, inet fw in ...
	Hook                 string // prerouting, input, forward, output, postrouting, ingress; of a chain that is jumped to, all that lead there, with commas
	Handle               uint64 // 0 for a policy and for legacy iptables
	Position             int    // in its chain, from 1
	Policy               bool   // a base chain's policy, not a rule
	Legacy               bool   // of legacy iptables, not nf_tables
	Counted              bool   // Packets and Bytes are known
	Packets, Bytes       uint64
	Verdict              Verdict
	Target               string // chain that Jump and Goto lead to
	Text                 string // as `nft list ruleset` writes it

	matches  []match
	mapKills bool // the verdict map can drop
}

// Ruleset is the firewall of one namespace at one time.
type Ruleset struct {
	Rules      []Rule
	Generation uint32 // rises with every change; counters do not change it
	NAT        bool   // a chain of type nat has rules
	Truncated  bool   // there are more rules than were read
	Legacy     bool   // legacy iptables tables exist too
}

// Kills reports whether the rule can end connections: it drops or rejects.
func (r *Rule) Kills() bool {
	return r.mapKills || r.Verdict == Drop || r.Verdict == RejectReset || r.Verdict == RejectICMP
}

// String returns where the rule stands and what it says.
func (r *Rule) String() string {
	return fmt.Sprintf("%s %s %s: %s", r.Family, r.Table, r.Chain, r.Text)
}

// key identifies a rule across two readings.
func (r *Rule) key() string {
	if r.Handle == 0 {
		return fmt.Sprintf("%s|%s|%s|%d|%t", r.Family, r.Table, r.Chain, r.Position, r.Legacy)
	}
	return fmt.Sprintf("%s|%s|%d", r.Family, r.Table, r.Handle)
}

// Moved returns the rules of after whose packet counter rose since before,
// with Packets and Bytes being the increase; the largest increase first.
// Rules that did not exist before count from 0.
func Moved(before, after Ruleset) []Rule {
	old := make(map[string]*Rule, len(before.Rules))
	for i := range before.Rules {
		if r := &before.Rules[i]; r.Counted {
			old[r.key()] = r
		}
	}
	var out []Rule
	for _, r := range after.Rules {
		if !r.Counted {
			continue
		}
		if b := old[r.key()]; b != nil && b.Packets <= r.Packets {
			r.Packets, r.Bytes = r.Packets-b.Packets, r.Bytes-min(b.Bytes, r.Bytes)
		}
		if r.Packets > 0 {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Rule) int { return cmp.Compare(b.Packets, a.Packets) })
	return out
}

// Bounds of the rules that are kept decoded, in all namespaces together.
const (
	maxCachedRules      = 100000
	maxCachedNamespaces = 4096
)

// Reader reads the firewalls of namespaces of a host, and keeps the decoded rules. It is
// safe for concurrent use and must not be copied.
type Reader struct {
	Host  *linux.Host
	cache ruleCache
}

// ruleCache keeps decoded rules: while the generation is the same, nothing but
// the counters can have changed.
type ruleCache struct {
	mu    sync.Mutex // guards all below
	known map[uint64]cachedRules
	total int
}

// rulesKey is the cookie of a namespace and the generation of its ruleset.
type rulesKey struct {
	cookie     uint64
	generation uint32
}

type cachedRules struct {
	generation uint32
	*parsedRules
}

// parsedRules are rules as decoded, without what their chains add.
type parsedRules struct {
	rules     []Rule
	families  []uint8
	truncated bool
}

// get returns the rules of that very generation, nil when unknown.
func (c *ruleCache) get(k rulesKey) *parsedRules {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got, ok := c.known[k.cookie]; ok && got.generation == k.generation && k.cookie != 0 {
		return got.parsedRules
	}
	return nil
}

// put keeps rules, which nobody may change any more.
func (c *ruleCache) put(k rulesKey, p *parsedRules) {
	if k.cookie == 0 || k.generation == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.known[k.cookie]; ok {
		c.total -= len(old.rules)
	}
	if c.total += len(p.rules); c.known == nil || c.total > maxCachedRules || len(c.known) > maxCachedNamespaces {
		c.known, c.total = map[uint64]cachedRules{}, len(p.rules)
	}
	c.known[k.cookie] = cachedRules{k.generation, p}
}

// recount takes the counters of a rule's message over. It is false when the
// message is of another rule.
func (r *Rule) recount(b []byte) bool {
	if len(b) < 4 || familyNames[b[0]] != r.Family {
		return false
	}
	var exprs []byte
	for typ, v := range netlink.Attributes(b[4:]) {
		switch typ {
		case nftaRuleHandle:
			if netlink.Uint64(v) != r.Handle {
				return false
			}
		case nftaRuleExpressions:
			exprs = v
		}
	}
	if !r.Counted {
		return true
	}
	for _, e := range netlink.Attributes(exprs) {
		a := netlink.Attrs(e)
		if !bytes.Equal(a[nftaExprName], []byte("counter\x00")) {
			continue
		}
		packets, n, _ := parseCounter(a[nftaExprData])
		if packets != r.Packets || n != r.Bytes {
			r.Text = strings.Replace(r.Text, counterText(r.Packets, r.Bytes), counterText(packets, n), 1)
			r.Packets, r.Bytes = packets, n
		}
		return true
	}
	return false
}

// counterText writes a counter as nft does.
func counterText(packets, bytes uint64) string {
	return fmt.Sprintf("counter packets %d bytes %d", packets, bytes)
}

// Attribute numbers of linux/netfilter/nf_tables.h.
const (
	nftaChainTable, nftaChainHandle, nftaChainName, nftaChainHook = 1, 2, 3, 4
	nftaChainPolicy, nftaChainType, nftaChainCounters             = 5, 7, 8
	nftaHookNum, nftaHookPriority                                 = 1, 2
	nftaRuleTable, nftaRuleChain, nftaRuleHandle                  = 1, 2, 3
	nftaRuleExpressions, nftaRuleUserdata                         = 4, 7
	nftaListElem, nftaExprName, nftaExprData                      = 1, 1, 2
	nftaCounterBytes, nftaCounterPackets                          = 1, 2
	nftaDataValue, nftaDataVerdict                                = 1, 2
	nftaVerdictCode, nftaVerdictChain                             = 1, 2
)

// Families of netfilter (linux/netfilter.h).
const (
	familyInet, familyIPv4, familyARP, familyNetdev, familyBridge, familyIPv6 = 1, 2, 3, 5, 7, 10
)

var familyNames = map[uint8]string{familyInet: "inet", familyIPv4: "ip", familyARP: "arp",
	familyNetdev: "netdev", familyBridge: "bridge", familyIPv6: "ip6"}

// chain is what is used of a chain.
type chain struct {
	family      uint8
	table, name string
	base        bool
	hook        string
	kind        string // filter, nat, route
	policy      uint32
	counted     bool
	packets     uint64
	bytes       uint64
	hooks       []string // that lead here
}

// chainKey identifies a chain.
type chainKey struct {
	family      uint8
	table, name string
}

// parseChain decodes NFT_MSG_NEWCHAIN.
func parseChain(b []byte) (c chain, ok bool) {
	if len(b) < 4 {
		return c, false
	}
	c.family, c.policy = b[0], 1
	for typ, v := range netlink.Attributes(b[4:]) {
		switch typ {
		case nftaChainTable:
			c.table = cstring(v)
		case nftaChainName:
			c.name = cstring(v)
		case nftaChainType:
			c.kind = cstring(v)
		case nftaChainPolicy:
			c.policy = netlink.Uint32(v)
		case nftaChainCounters:
			c.packets, c.bytes, c.counted = parseCounter(v)
		case nftaChainHook:
			c.base = true
			for typ, v := range netlink.Attributes(v) {
				if typ == nftaHookNum {
					c.hook = hookName(c.family, netlink.Uint32(v))
				}
			}
		}
	}
	return c, c.name != ""
}

// parseCounter decodes the attributes of a counter expression.
func parseCounter(b []byte) (packets, bytes uint64, ok bool) {
	for typ, v := range netlink.Attributes(b) {
		switch typ {
		case nftaCounterPackets:
			packets, ok = netlink.Uint64(v), true
		case nftaCounterBytes:
			bytes = netlink.Uint64(v)
		}
	}
	return packets, bytes, ok
}

// hookName names a hook of a family.
func hookName(family uint8, n uint32) string {
	names := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	switch family {
	case familyNetdev:
		names = []string{"ingress", "egress"}
	case familyARP:
		names = []string{"input", "output", "forward"}
	}
	if int(n) < len(names) {
		return names[n]
	}
	return ""
}

// parseRule decodes NFT_MSG_NEWRULE; sets resolves anonymous sets and may be
// nil.
func parseRule(b []byte, sets func(chainKey) *nftSet) (r Rule, family uint8, ok bool) {
	if len(b) < 4 {
		return r, 0, false
	}
	d := ruleDecoder{family: b[0], sets: sets, rule: &r}
	r.Family = familyNames[b[0]]
	var exprs, user []byte
	for typ, v := range netlink.Attributes(b[4:]) {
		switch typ {
		case nftaRuleTable:
			r.Table = cstring(v)
		case nftaRuleChain:
			r.Chain = cstring(v)
		case nftaRuleHandle:
			r.Handle = netlink.Uint64(v)
		case nftaRuleExpressions:
			exprs = v
		case nftaRuleUserdata:
			user = v
		}
	}
	for typ, v := range netlink.Attributes(exprs) {
		if typ == nftaListElem {
			d.expression(v)
		}
	}
	if c := ruleComment(user); c != "" {
		d.say("comment " + fmt.Sprintf("%q", c))
	}
	r.Text = d.text()
	return r, b[0], r.Chain != ""
}

// ruleComment finds the comment in a rule's user data: type, length, value
// (libnftnl's NFTNL_UDATA_RULE_COMMENT is 0).
func ruleComment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return cstring(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// assemble makes the ruleset out of chains and rules: positions, hooks that
// lead to each chain, policies that drop.
func assemble(chains []chain, rules []Rule, families []uint8) (rs Ruleset) {
	index := make(map[chainKey]*chain, len(chains))
	for i := range chains {
		c := &chains[i]
		if c.base {
			c.hooks = []string{c.hook}
		}
		index[chainKey{c.family, c.table, c.name}] = c
	}
	spreadHooks(index, rules, families)
	position := map[chainKey]int{}
	for i := range rules {
		r := &rules[i]
		k := chainKey{families[i], r.Table, r.Chain}
		position[k]++
		r.Position = position[k]
		if c := index[k]; c != nil {
			r.Hook = strings.Join(c.hooks, ",")
			rs.NAT = rs.NAT || c.kind == "nat"
		}
	}
	rs.Rules = rules
	for i := range chains {
		c := &chains[i]
		if !c.base || c.policy != 0 {
			continue
		}
		rs.Rules = append(rs.Rules, Rule{
			Family: familyNames[c.family], Table: c.table, Chain: c.name, Hook: c.hook, Policy: true,
			Position: position[chainKey{c.family, c.table, c.name}] + 1,
			Counted:  c.counted, Packets: c.packets, Bytes: c.bytes, Verdict: Drop, Text: "policy drop",
		})
	}
	return rs
}

// spreadHooks follows jumps until no chain learns of a further hook.
func spreadHooks(index map[chainKey]*chain, rules []Rule, families []uint8) {
	for range 16 { // the kernel allows a depth of 16 (NFT_JUMP_STACK_SIZE)
		changed := false
		for i := range rules {
			r := &rules[i]
			if r.Target == "" {
				continue
			}
			from, to := index[chainKey{families[i], r.Table, r.Chain}], index[chainKey{families[i], r.Table, r.Target}]
			if from == nil || to == nil {
				continue
			}
			for _, h := range from.hooks {
				if !slices.Contains(to.hooks, h) {
					to.hooks = append(to.hooks, h)
					changed = true
				}
			}
		}
		if !changed {
			return
		}
	}
}

// cstring returns the text before the first NUL, made printable.
func cstring(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return linux.Clean(b, 256)
}
