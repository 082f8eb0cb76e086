package trace

import (
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// hostView answers questions about the host for one case at a time. What it
// reads it believes for a short time, so that a burst of cases costs one look.
type hostView struct {
	host      *linux.Host
	procs     *linux.Processes
	spaces    *linux.Namespaces
	looked    time.Time // the latest complete look at the namespaces began
	refreshed time.Time
	owners    map[uint64]ownerAt // inode -> process
	scanned   time.Time          // end of the last walk over all descriptors
	scanPause time.Duration
	listeners map[uint64]socketsAt // netns cookie -> listening sockets
	sockets   map[uint64]socketsAt // netns cookie -> connections
	born      map[uint64]birth     // by netns cookie
	unknown   map[uint64]time.Time // cookies that no process or mount leads to, and when that was found
	started   time.Time
}

type ownerAt struct {
	pid int
	at  time.Time
}

type socketsAt struct {
	list []linux.Socket
	at   time.Time
	took time.Duration // a long list is believed for longer
}

// How long answers are believed.
const (
	believeSpaces    = 250 * time.Millisecond
	believeSockets   = 2 * time.Millisecond
	believeOwner     = 2 * time.Second // a descriptor may be passed on
	maxOwners        = 65536
	maxNetnsRemember = 4096
)

func newHostView(h *linux.Host) *hostView {
	return &hostView{host: h, procs: linux.NewProcesses(h, 4096), spaces: linux.NewNamespaces(h), owners: map[uint64]ownerAt{},
		listeners: map[uint64]socketsAt{}, sockets: map[uint64]socketsAt{}, born: map[uint64]birth{}, unknown: map[uint64]time.Time{}, started: time.Now()}
}

// refresh looks for new namespaces, at most every believeSpaces.
func (v *hostView) refresh() {
	if time.Since(v.refreshed) < believeSpaces {
		return
	}
	v.refreshed = time.Now()
	_ = v.spaces.Refresh() // what cannot be read stays unknown
	if len(v.born) > maxNetnsRemember {
		clear(v.born)
		v.looked = time.Time{}
	}
	for _, ns := range v.spaces.All() {
		if _, ok := v.born[ns.Cookie]; !ok && ns.Cookie != 0 {
			v.born[ns.Cookie] = birth{after: v.looked, before: time.Now()}
		}
	}
	v.looked = v.refreshed
}

// birth is when a namespace began: after the last look that did not find it (zero
// when there was none), and before the first that did.
type birth struct{ after, before time.Time }

// space returns the namespace with that cookie.
func (v *hostView) space(cookie uint64) (linux.Netns, bool) {
	ns, ok := v.spaces.ByCookie(cookie)
	if ok && !v.host.Alive(ns) {
		ok = false // the process through which it was read has ended
	}
	if ok || cookie == 0 || time.Since(v.unknown[cookie]) < time.Second {
		return ns, ok
	}
	v.refreshed = time.Time{} // a new namespace: look at once
	v.refresh()
	if ns, ok = v.spaces.ByCookie(cookie); !ok {
		if len(v.unknown) > maxNetnsRemember {
			clear(v.unknown)
		}
		v.unknown[cookie] = time.Now()
	}
	return ns, ok
}

// ownersOf returns the cookies of the namespaces that own addr. For a loopback
// address that is the namespace of the other end.
func (v *hostView) ownersOf(addr netip.Addr, other uint64) []uint64 {
	if addr.IsLoopback() {
		return []uint64{other}
	}
	list := v.spaces.Owner(addr)
	if len(list) == 0 {
		v.refresh()
		list = v.spaces.Owner(addr)
	}
	var cookies []uint64
	for _, ns := range list {
		cookies = append(cookies, ns.Cookie)
	}
	return cookies
}

// process describes a process, dead or alive.
func (v *hostView) process(pid int) (linux.Process, bool) {
	if pid <= 0 {
		return linux.Process{}, false
	}
	return v.procs.Get(pid)
}

// ownerOfInode returns the process that holds the socket.
func (v *hostView) ownerOfInode(inode uint64) int {
	if inode == 0 {
		return 0
	}
	if o, ok := v.owners[inode]; ok && time.Since(o.at) < believeOwner {
		return o.pid
	}
	if time.Since(v.scanned) < v.scanPause {
		return 0
	}
	begin := time.Now()
	list := v.host.SocketOwners(maxOwners) // one walk answers for all
	v.scanned = time.Now()
	v.scanPause = 3 * v.scanned.Sub(begin) // a walk may take a quarter of the time at most
	if len(v.owners)+len(list) > 2*maxOwners {
		clear(v.owners)
	}
	for i, pid := range list {
		v.owners[i] = ownerAt{pid, v.scanned}
	}
	return list[inode]
}

// listener returns the listening socket that serves addr, and whether
// something listens on the port at another address only.
func (v *hostView) listener(cookie uint64, addr netip.AddrPort) (s linux.Socket, ok, other, looked bool) {
	list, looked := v.list(v.listeners, cookie, linux.Listeners)
	for _, l := range list {
		if l.Local.Port() != addr.Port() {
			continue
		}
		if a := l.Local.Addr(); a.IsUnspecified() && (a.Is6() && !l.V6Only || a.Is4() == addr.Addr().Is4()) || a == addr.Addr() {
			return l, true, false, true
		}
		s, other = l, true
	}
	return s, false, other, looked
}

// connection returns the socket of that tuple, if it still exists.
func (v *hostView) connection(cookie uint64, local, remote netip.AddrPort) (s linux.Socket, ok, looked bool) {
	list, looked := v.list(v.sockets, cookie, linux.AllStates)
	for _, c := range list {
		if c.Local == local && c.Remote == remote {
			return c, true, true
		}
	}
	return s, false, looked
}

func (v *hostView) list(cache map[uint64]socketsAt, cookie uint64, states linux.States) ([]linux.Socket, bool) {
	if c, ok := cache[cookie]; ok && time.Since(c.at) < max(believeSockets, 4*c.took) {
		return c.list, true
	}
	ns, ok := v.space(cookie)
	if !ok {
		return nil, false
	}
	begin := time.Now()
	c := socketsAt{}
	for s, err := range v.host.Sockets(ns, states) {
		if err != nil {
			return nil, false
		}
		if c.list = append(c.list, s); len(c.list) >= maxOwners {
			break
		}
	}
	if len(cache) > maxNetnsRemember {
		clear(cache)
	}
	c.at = time.Now()
	c.took = c.at.Sub(begin)
	cache[cookie] = c
	return c.list, true
}
