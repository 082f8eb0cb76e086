package nft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/netlink"
	"golang.org/x/sys/unix"
)

// Bounds of what is read of a firewall.
const (
	maxRules = 50000
	maxSets  = 256
	maxElems = 1024
)

// nftables messages, without the subsystem (linux/netfilter/nf_tables.h).
const (
	nftSubsystem                                                               = 10 << 8
	nftNewChain, nftGetChain, nftNewRule, nftGetRule, nftGetSet, nftGetSetElem = 3, 4, 6, 7, 10, 13
	nftNewGen, nftGetGen                                                       = 15, 16
)

// conn asks nf_tables.
type conn struct{ *netlink.Conn }

// Ruleset reads the nf_tables ruleset of a namespace, what iptables-nft made
// included, and the policies of base chains that drop. It needs
// CAP_NET_ADMIN. Costs about 100 microseconds and nine more for each rule, three
// as long as only counters change.
func (r *Reader) Ruleset(ns linux.Netns) (Ruleset, error) {
	var rs Ruleset
	var err error
	for range 4 { // a ruleset that changes while it is read is read again
		if rs, err = r.attempt(ns); !errors.Is(err, netlink.ErrInterrupted) {
			break
		}
	}
	if err != nil {
		return Ruleset{}, fmt.Errorf("read nf_tables (needs CAP_NET_ADMIN): %w", err)
	}
	legacy, err := r.legacyRules(ns)
	if err == nil && len(legacy) > 0 {
		rs.Legacy = true
		rs.Rules = append(rs.Rules, legacy...)
		rs.NAT = rs.NAT || slices.ContainsFunc(legacy, func(l Rule) bool { return l.Table == "nat" && !l.Policy })
	}
	return rs, nil
}

// attempt is one attempt of Ruleset.
func (r *Reader) attempt(ns linux.Netns) (rs Ruleset, err error) {
	nl, err := r.Host.Netlink(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return rs, err
	}
	defer nl.Close()
	conn := conn{nl}
	generation := conn.generation()
	chains, err := conn.chains()
	if err != nil || len(chains) == 0 {
		return Ruleset{Generation: generation}, err
	}
	key := rulesKey{conn.NetnsCookie(), generation}
	if known := r.cache.get(key); known != nil {
		rules, ok, err := conn.recount(known.rules)
		if ok || err != nil {
			rs = assemble(chains, rules, known.families)
			rs.Generation, rs.Truncated = generation, known.truncated
			return rs, err
		}
	}
	parsed, err := conn.parseRules()
	if err != nil {
		return rs, err
	}
	if conn.generation() != generation {
		return rs, netlink.ErrInterrupted
	}
	r.cache.put(key, parsed)
	rs = assemble(chains, slices.Clone(parsed.rules), parsed.families)
	rs.Generation, rs.Truncated = generation, parsed.truncated
	return rs, nil
}

// chains reads the chains; none when this kernel has no nf_tables.
func (c conn) chains() (out []chain, err error) {
	err = c.Dump(nftSubsystem|nftGetChain, netlink.NetfilterHeader(0), func(b []byte) error {
		if ch, ok := parseChain(b); ok {
			out = append(out, ch)
		}
		return nil
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return out, err
}

// parseRules reads and decodes every rule.
func (c conn) parseRules() (*parsedRules, error) {
	raw, truncated, err := c.rules()
	if err != nil {
		return nil, err
	}
	sets, err := c.sets(raw)
	if err != nil {
		return nil, err
	}
	p := &parsedRules{truncated: truncated}
	for _, b := range raw {
		if r, family, ok := parseRule(b, func(k chainKey) *nftSet { return sets[k] }); ok {
			p.rules, p.families = append(p.rules, r), append(p.families, family)
		}
	}
	return p, nil
}

// recount reads the counters of rules that have not changed otherwise. It is
// false when they have.
func (c conn) recount(known []Rule) (out []Rule, ok bool, err error) {
	out = make([]Rule, 0, len(known))
	same := true
	err = c.Dump(nftSubsystem|nftGetRule, netlink.NetfilterHeader(0), func(b []byte) error {
		if len(out) >= len(known) {
			same = same && len(known) >= maxRules
			return nil
		}
		r := known[len(out)]
		same = same && r.recount(b)
		out = append(out, r)
		return nil
	})
	return out, same && len(out) == len(known), err
}

// generation returns the number of the ruleset, 0 when unknown.
func (c conn) generation() (n uint32) {
	_ = c.Request(nftSubsystem|nftGetGen, 0, netlink.NetfilterHeader(0), func(typ uint16, b []byte) error {
		if typ&0xff == nftNewGen && len(b) > 4 {
			n = netlink.Uint32(netlink.Attrs(b[4:])[1])
		}
		return nil
	})
	return n
}

// rules returns the raw rules of every table.
func (c conn) rules() (out [][]byte, truncated bool, err error) {
	err = c.Dump(nftSubsystem|nftGetRule, netlink.NetfilterHeader(0), func(b []byte) error {
		if len(out) >= maxRules {
			truncated = true
			return nil
		}
		out = append(out, bytes.Clone(b))
		return nil
	})
	return out, truncated, err
}

// sets reads the sets, and the elements of those anonymous ones that rules
// show in place. Nothing is asked when no rule looks anything up.
func (c conn) sets(rules [][]byte) (map[chainKey]*nftSet, error) {
	if !slices.ContainsFunc(rules, func(b []byte) bool { return bytes.Contains(b, []byte("lookup\x00")) }) {
		return nil, nil
	}
	out := map[chainKey]*nftSet{}
	var anonymous []*nftSet
	err := c.Dump(nftSubsystem|nftGetSet, netlink.NetfilterHeader(0), func(b []byte) error {
		if s, ok := parseSet(b); ok && len(out) < maxRules {
			out[s.key] = &s
			if s.anonymous && len(anonymous) < maxSets {
				anonymous = append(anonymous, &s)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, s := range anonymous {
		if err := c.elements(s); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return out, nil
}

// elements reads the elements of one set.
func (c conn) elements(s *nftSet) error {
	req := netlink.AppendAttribute(netlink.NetfilterHeader(s.key.family), 1, append([]byte(s.key.table), 0))
	req = netlink.AppendAttribute(req, 2, append([]byte(s.key.name), 0))
	s.complete = true
	return c.Dump(nftSubsystem|nftGetSetElem, req, func(b []byte) error {
		s.elements = append(s.elements, parseElements(b)...)
		if len(s.elements) > maxElems {
			s.elements, s.complete = s.elements[:maxElems], false
		}
		return nil
	})
}

// legacyRules reads legacy iptables, for the tables that are loaded.
func (r *Reader) legacyRules(ns linux.Netns) (out []Rule, err error) {
	for _, family := range []uint8{familyIPv4, familyIPv6} {
		file := map[uint8]string{familyIPv4: "ip_tables_names", familyIPv6: "ip6_tables_names"}[family]
		s, err := r.Host.ProcNet(ns, file)
		tables := strings.Fields(s)
		if err != nil || len(tables) == 0 {
			continue
		}
		for _, table := range tables {
			rules, err := r.legacyTable(ns, family, table)
			if err != nil {
				return out, err
			}
			out = append(out, rules...)
		}
	}
	return out, nil
}
