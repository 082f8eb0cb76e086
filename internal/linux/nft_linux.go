package linux

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// nfgenmsg makes the header of netfilter's messages.
func nfgenmsg(family byte) []byte { return []byte{family, 0, 0, 0} }

// Firewall reads the nf_tables ruleset of a namespace, what iptables-nft made
// included, and the policies of base chains that drop. It needs
// CAP_NET_ADMIN. Costs about 100 microseconds and nine more for each rule, three
// as long as only counters change.
func (h *Host) Firewall(ns Netns) (Ruleset, error) {
	var rs Ruleset
	var err error
	for range 4 { // a ruleset that changes while it is read is read again
		if rs, err = h.readFirewall(ns); !errors.Is(err, errInterrupted) {
			break
		}
	}
	if err != nil {
		return Ruleset{}, fmt.Errorf("read nf_tables (needs CAP_NET_ADMIN): %w", err)
	}
	legacy, err := h.legacyRules(ns)
	if err == nil && len(legacy) > 0 {
		rs.Legacy = true
		rs.Rules = append(rs.Rules, legacy...)
		rs.NAT = rs.NAT || slices.ContainsFunc(legacy, func(r Rule) bool { return r.Table == "nat" && !r.Policy })
	}
	return rs, nil
}

// readFirewall is one attempt of Firewall.
func (h *Host) readFirewall(ns Netns) (rs Ruleset, err error) {
	conn, err := h.dialNetlink(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return rs, err
	}
	defer conn.close()
	generation := conn.generation()
	chains, err := conn.chains()
	if err != nil || len(chains) == 0 {
		return Ruleset{Generation: generation}, err
	}
	key := rulesKey{conn.cookie(), generation}
	if known := h.rules.get(key); known != nil {
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
		return rs, errInterrupted
	}
	h.rules.put(key, parsed)
	rs = assemble(chains, slices.Clone(parsed.rules), parsed.families)
	rs.Generation, rs.Truncated = generation, parsed.truncated
	return rs, nil
}

// cookie returns the identity of the socket's namespace, 0 when unknown.
func (c *netlinkConn) cookie() uint64 {
	n, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return n
}

// chains reads the chains; none when this kernel has no nf_tables.
func (c *netlinkConn) chains() (out []chain, err error) {
	err = c.dump(nftSubsystem|nftGetChain, nfgenmsg(0), func(b []byte) error {
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
func (c *netlinkConn) parseRules() (*parsedRules, error) {
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
func (c *netlinkConn) recount(known []Rule) (out []Rule, ok bool, err error) {
	out = make([]Rule, 0, len(known))
	same := true
	err = c.dump(nftSubsystem|nftGetRule, nfgenmsg(0), func(b []byte) error {
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
func (c *netlinkConn) generation() (n uint32) {
	_ = c.request(nftSubsystem|nftGetGen, 0, nfgenmsg(0), func(typ uint16, b []byte) error {
		if typ&0xff == nftNewGen && len(b) > 4 {
			n = be32(attrs(b[4:])[1])
		}
		return nil
	})
	return n
}

// rules returns the raw rules of every table.
func (c *netlinkConn) rules() (out [][]byte, truncated bool, err error) {
	err = c.dump(nftSubsystem|nftGetRule, nfgenmsg(0), func(b []byte) error {
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
func (c *netlinkConn) sets(rules [][]byte) (map[chainKey]*nftSet, error) {
	if !slices.ContainsFunc(rules, func(b []byte) bool { return bytes.Contains(b, []byte("lookup\x00")) }) {
		return nil, nil
	}
	out := map[chainKey]*nftSet{}
	var anonymous []*nftSet
	err := c.dump(nftSubsystem|nftGetSet, nfgenmsg(0), func(b []byte) error {
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
func (c *netlinkConn) elements(s *nftSet) error {
	req := attribute(nfgenmsg(s.key.family), 1, append([]byte(s.key.table), 0))
	req = attribute(req, 2, append([]byte(s.key.name), 0))
	s.complete = true
	return c.dump(nftSubsystem|nftGetSetElem, req, func(b []byte) error {
		s.elements = append(s.elements, parseElements(b)...)
		if len(s.elements) > maxElems {
			s.elements, s.complete = s.elements[:maxElems], false
		}
		return nil
	})
}

// HasNAT reports whether the namespace translates addresses: a rule in a
// chain of type nat, or a legacy nat table with rules. The answer may be five
// seconds old, as a large ruleset takes long to read.
func (h *Host) HasNAT(ns Netns) bool {
	key := natKey{ns.Inode, ns.Cookie, ns.Path}
	c := &h.nat
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.known[key]; ok && time.Since(a.read) < natEvery {
		return a.has
	}
	rs, err := h.Firewall(ns)
	if c.known == nil || len(c.known) >= maxNamespaces {
		c.known = map[natKey]natAnswer{}
	}
	c.known[key] = natAnswer{has: err == nil && rs.NAT, read: time.Now()}
	return c.known[key].has
}

// legacyRules reads legacy iptables, for the tables that are loaded.
func (h *Host) legacyRules(ns Netns) (out []Rule, err error) {
	for _, family := range []uint8{familyIPv4, familyIPv6} {
		file := map[uint8]string{familyIPv4: "ip_tables_names", familyIPv6: "ip6_tables_names"}[family]
		var tables []string
		err := h.inProcNet(ns, func(dir string) error {
			s, err := readString(dir+"/"+file, 4096)
			tables = strings.Fields(s)
			return err
		})
		if err != nil || len(tables) == 0 {
			continue
		}
		for _, table := range tables {
			rules, err := h.legacyTable(ns, family, table)
			if err != nil {
				return out, err
			}
			out = append(out, rules...)
		}
	}
	return out, nil
}
