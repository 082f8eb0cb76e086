package linux

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Netns is one network namespace. The zero value is the namespace of the
// calling process.
type Netns struct {
	Inode    uint64         // as in net:[4026531840]; reused by the kernel after the namespace is gone
	Cookie   uint64         // SO_NETNS_COOKIE, never reused; 0 when unknown (before Linux 5.14, or no privilege)
	Path     string         // through which it is entered: /proc/PID/ns/net, /run/netns/NAME
	PID      int            // a process in it, 0 when only a mount holds it
	Name     string         // name below /run/netns, if any
	Addrs    []netip.Addr   // local addresses, without zone; loopback included when lo is up
	Prefixes []netip.Prefix // ranges that are local as a whole (ip route add local ...), without 127.0.0.0/8

	start uint64 // start of PID, to notice that the number was reused
}

// Owns reports whether addr is a local address of the namespace. Loopback
// addresses are local in each.
func (n *Netns) Owns(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() || slices.Contains(n.Addrs, addr) {
		return true
	}
	return slices.ContainsFunc(n.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// How long parts of Namespaces are believed.
const (
	addrsEvery    = 10 * time.Second // addresses of a namespace are read again in Refresh
	ownerEvery    = time.Second      // all addresses are read again when an address is unknown
	maxNamespaces = 4096
)

// Namespaces remembers the network namespaces of a host. Call Refresh now and
// then, and whenever something unknown appears; it only enters namespaces it
// has not seen.
type Namespaces struct {
	host *Host

	mu sync.Mutex // guards all below

	byInode   map[uint64]*nsEntry
	byCookie  map[uint64]*nsEntry
	byAddr    map[netip.Addr][]*nsEntry
	extra     []string // paths that Add named
	ownersAt  time.Time
	truncated bool
}

type nsEntry struct {
	ns      Netns
	addrsAt time.Time
	seen    bool // in this round of Refresh
}

// NewNamespaces returns an empty memory; call Refresh to fill it.
func NewNamespaces(h *Host) *Namespaces {
	return &Namespaces{host: h, byInode: map[uint64]*nsEntry{}, byCookie: map[uint64]*nsEntry{}}
}

// Add names a further path that holds a namespace, such as /proc/self/fd/9,
// for those that no process's main thread is in and no name is mounted for.
func (c *Namespaces) Add(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.extra, path) {
		c.extra = append(c.extra, path)
	}
}

// Refresh finds new namespaces, forgets those that are gone and reads
// addresses that are older than ten seconds again. It costs about two
// microseconds for each process and 100 for each new namespace.
func (c *Namespaces) Refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lockedRefresh(addrsEvery)
}

// lockedRefresh is Refresh with another age of addresses.
func (c *Namespaces) lockedRefresh(age time.Duration) error {
	found, err := c.host.findNetnses(c.extra)
	if err != nil {
		return err
	}
	c.truncated = len(found) > maxNamespaces
	now := time.Now()
	for _, e := range c.byInode {
		e.seen = false
	}
	for i, ns := range found {
		if i >= maxNamespaces {
			break
		}
		c.lockedMerge(ns, now, age)
	}
	c.byCookie, c.byAddr = map[uint64]*nsEntry{}, map[netip.Addr][]*nsEntry{}
	for inode, e := range c.byInode {
		if !e.seen {
			delete(c.byInode, inode)
			continue
		}
		if e.ns.Cookie != 0 {
			c.byCookie[e.ns.Cookie] = e
		}
		for _, a := range e.ns.Addrs {
			c.byAddr[a] = append(c.byAddr[a], e)
		}
	}
	return nil
}

// lockedMerge takes one found namespace over. The old entry stays when the
// process through which it was known still lives; otherwise the inode may
// have been reused, so that cookie and addresses are read again.
func (c *Namespaces) lockedMerge(ns Netns, now time.Time, age time.Duration) {
	e, known := c.byInode[ns.Inode]
	if known && e.ns.PID != 0 && e.ns.PID == ns.PID && e.ns.start == ns.start && now.Sub(e.addrsAt) < age {
		e.seen = true
		return
	}
	if known && ns.PID == 0 && e.ns.Path == ns.Path && now.Sub(e.addrsAt) < min(age, ownerEvery) {
		e.seen = true
		return
	}
	if err := c.host.inspect(&ns); err != nil && ns.PID == 0 && ns.Path != "" {
		return
	}
	c.byInode[ns.Inode] = &nsEntry{ns: ns, addrsAt: now, seen: true}
}

// All returns every namespace known, in order of inode.
func (c *Namespaces) All() []Netns {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Netns, 0, len(c.byInode))
	for _, e := range c.byInode {
		out = append(out, e.ns)
	}
	slices.SortFunc(out, func(a, b Netns) int { return int(int64(a.Inode) - int64(b.Inode)) })
	return out
}

// Truncated reports whether the host has more namespaces than are remembered.
func (c *Namespaces) Truncated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.truncated
}

// ByCookie returns the namespace with that SO_NETNS_COOKIE (BPF's
// net->net_cookie).
func (c *Namespaces) ByCookie(cookie uint64) (Netns, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byCookie[cookie]; ok && cookie != 0 {
		return e.ns, true
	}
	return Netns{}, false
}

// Reread reads the addresses of one namespace now, some 100 microseconds. It is
// false when the namespace is gone or was never known.
func (c *Namespaces) Reread(cookie uint64) (Netns, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byCookie[cookie]
	if !ok || cookie == 0 {
		return Netns{}, false
	}
	ns := e.ns
	if c.host.inspect(&ns) != nil || ns.Cookie != cookie {
		return Netns{}, false
	}
	e.ns, e.addrsAt = ns, time.Now()
	c.byAddr = map[netip.Addr][]*nsEntry{}
	for _, e := range c.byInode {
		for _, a := range e.ns.Addrs {
			c.byAddr[a] = append(c.byAddr[a], e)
		}
	}
	return ns, true
}

// ByInode returns the namespace with that inode number now.
func (c *Namespaces) ByInode(inode uint64) (Netns, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byInode[inode]; ok {
		return e.ns, true
	}
	return Netns{}, false
}

// Owner returns the namespaces in which addr is a local address: more than
// one for addresses such as 172.17.0.1 of two bridges, all for loopback. An
// unknown address makes it read all addresses again, at most every second.
func (c *Namespaces) Owner(addr netip.Addr) []Netns {
	addr = addr.Unmap().WithZone("")
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.lockedOwner(addr)
	if len(out) == 0 && time.Since(c.ownersAt) > ownerEvery {
		c.ownersAt = time.Now()
		if c.lockedRefresh(ownerEvery) == nil {
			out = c.lockedOwner(addr)
		}
	}
	return out
}

// Local reports whether addr is local to any namespace of the host.
func (c *Namespaces) Local(addr netip.Addr) bool { return len(c.Owner(addr)) > 0 }

func (c *Namespaces) lockedOwner(addr netip.Addr) (out []Netns) {
	if !addr.IsLoopback() {
		for _, e := range c.byAddr[addr] {
			out = append(out, e.ns)
		}
		if len(out) > 0 {
			return out
		}
	}
	for _, e := range c.byInode {
		if e.ns.Owns(addr) {
			out = append(out, e.ns)
		}
	}
	slices.SortFunc(out, func(a, b Netns) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Netnses returns every network namespace that a process is in or a name
// below /run/netns or /run/docker/netns holds. [Namespaces] is the cheaper
// way to do so repeatedly.
func (h *Host) Netnses() ([]Netns, error) {
	c := NewNamespaces(h)
	if err := c.Refresh(); err != nil {
		return nil, err
	}
	return c.All(), nil
}
