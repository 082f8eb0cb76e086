package hostdoc

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/conf"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/servers"
)

// idle is from which silence on a connection counts as idle.
const idle = time.Second

// serviceOf is the ID of the service that owns a socket, empty when unknown.
func (c *collector) serviceOf(inode uint64) string {
	pid, ok := c.owners[inode]
	if inode == 0 || !ok {
		return ""
	}
	if id, ok := c.ids[pid]; ok {
		return id
	}
	p, err := c.host.Process(pid)
	if err != nil {
		return ""
	}
	id := c.register(p)
	c.ids[pid] = id
	return id
}

// interpreters are programs whose name says nothing of what they run.
var interpreters = []string{"python", "node", "java", "ruby", "perl", "php", "bash", "sh"}

// register adds a process to its service. A worker belongs to its master.
func (c *collector) register(p linux.Process) string {
	for range 4 { // the master of workers: the same executable above
		parent, err := c.host.Process(p.PPID)
		if p.PPID <= 1 || err != nil || parent.Exe == "" || parent.Exe != p.Exe || slices.Contains(interpreters, strings.TrimRight(path.Base(p.Exe), "0123456789.")) && parent.Cmdline != p.Cmdline {
			break
		}
		p = parent
	}
	argv := c.host.Arguments(p.PID)
	product := servers.ProductOf(p.Exe, argv)
	id := p.Name
	switch {
	case p.Container != "":
		n, pod, kns, ok := c.host.ContainerNames(p.Container)
		if id = "container " + short(p.Container); ok {
			id = "container " + strings.Trim(kns+"/"+pod+"/"+n, "/")
		}
	case strings.HasSuffix(p.Unit, ".service") && !strings.HasPrefix(p.Unit, "user@"):
		id = p.Unit
	case product != "":
		id = product
	case p.Exe != "":
		id = path.Base(p.Exe)
	}
	s := c.byID[id]
	if s != nil && s.Exe != p.Exe && s.Product != product { // two programs in one container
		id += " " + path.Base(p.Exe)
		s = c.byID[id]
	}
	if s != nil && s.Live != nil && product != "" && !slices.Contains(s.Live.PIDs, p.PID) && p.Unit == "" && p.Container == "" {
		id += "#" + strconv.Itoa(p.PID) // the same product started twice by hand
		s = c.byID[id]
	}
	if s == nil {
		s = &Service{ID: id, Product: product, Exe: p.Exe, Unit: p.Unit, Container: p.Container, MaxFiles: p.MaxFiles, MaxMemory: -1, Live: &ServiceLive{OOMKills: -1, Started: p.Start.UTC()}}
		if m, ok := c.host.CgroupMemory(p.Cgroup); ok && p.Cgroup != "/" && p.Cgroup != "" {
			s.MaxMemory, s.Live.Memory, s.Live.OOMKills = m.Max, m.Current, m.OOMKills
		}
		c.configure(s, p, argv)
		c.byID[id] = s
	}
	if !slices.Contains(s.Live.PIDs, p.PID) {
		s.Live.PIDs = append(s.Live.PIDs, p.PID)
		slices.Sort(s.Live.PIDs)
	}
	s.Live.OpenFiles = max(s.Live.OpenFiles, p.OpenFiles)
	s.Live.Deleted = s.Live.Deleted || p.ExeDeleted
	if p.MaxFiles > 0 && (s.MaxFiles <= 0 || p.MaxFiles < s.MaxFiles) {
		s.MaxFiles = p.MaxFiles
	}
	return id
}

// configure reads the configuration of a process, as that process sees its files.
func (c *collector) configure(s *Service, p linux.Process, argv []string) {
	if s.Product == "" {
		return
	}
	proc := &servers.Process{Argv: argv, Cwd: c.host.Cwd(p.PID), Unit: strings.HasSuffix(p.Unit, ".service") && p.Container == ""}
	s.Config = servers.Read(s.Product, proc, conf.Files{
		Read: func(name string) ([]byte, error) { return c.host.ReadIn(p.PID, name) },
		Glob: func(pattern string) []string { return c.host.GlobIn(p.PID, pattern) },
	})
	if s.Config == nil {
		return
	}
	for _, x := range s.Config.Problems {
		c.unseen("configuration of "+s.ID, "%s", x.String())
	}
}

// installed reads the configurations of an image, where nothing runs.
func (c *collector) installed() {
	files := conf.Files{Read: c.host.ReadFile, Glob: c.host.Glob}
	for _, name := range servers.Installed() {
		if cfg := servers.Read(name, nil, files); cfg != nil {
			c.out.Services = append(c.out.Services, Service{ID: name, Product: name, MaxMemory: -1, Config: cfg})
		}
	}
	slices.SortFunc(c.out.Services, func(a, b Service) int { return cmp.Compare(a.ID, b.ID) })
}

// listenersAndHops groups the sockets of a namespace.
func (c *collector) listenersAndHops(s *space) {
	listening := map[netip.AddrPort]int{} // index of Listeners
	ports := map[uint16]bool{}
	for i := range s.sockets {
		x := &s.sockets[i]
		if x.State != linux.Listen {
			continue
		}
		ports[x.Local.Port()] = true
		j, there := listening[x.Local]
		if !there {
			j = len(s.out.Listeners)
			listening[x.Local] = j
			s.out.Listeners = append(s.out.Listeners, Listener{Addr: x.Local.Addr().String(), Port: x.Local.Port(), Service: c.serviceOf(x.Inode), Backlog: int(x.WQueue), Live: &ListenerLive{}})
		}
		l := &s.out.Listeners[j]
		l.Sockets++
		l.Backlog = min(l.Backlog, int(x.WQueue))
		l.Live.Queue = max(l.Live.Queue, int(x.RQueue))
	}
	nobody := 0
	for _, l := range s.out.Listeners {
		if l.Service == "" {
			nobody++
		}
	}
	if nobody > 0 {
		c.unseen("who listens in "+s.out.ID, "the programs behind %d of %d listeners are not visible from here", nobody, len(s.out.Listeners))
	}
	find := func(a netip.AddrPort) *Listener {
		for _, try := range []netip.Addr{a.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			if j, ok := listening[netip.AddrPortFrom(try, a.Port())]; ok {
				return &s.out.Listeners[j]
			}
		}
		return nil
	}
	hops := map[string]*Hop{}
	use := map[netip.AddrPort]*PeerUse{}
	for i := range s.sockets {
		x := &s.sockets[i]
		if x.State == linux.Listen || !x.Remote.Addr().IsValid() {
			continue
		}
		if l := find(x.Local); l != nil && ports[x.Local.Port()] {
			switch x.State {
			case linux.TimeWait:
				l.Live.ClosedFirst++
			case linux.Established:
				l.Live.Connections++
			}
			continue
		}
		u := use[x.Remote]
		if u == nil && len(use) < maxHops {
			u = &PeerUse{Remote: x.Remote}
			use[x.Remote] = u
		}
		if u != nil {
			u.Ports++
		}
		if x.State == linux.TimeWait {
			if u != nil {
				u.TimeWait++
			}
			if l := find(x.Remote); l != nil {
				l.Live.PeerClosed++
			}
		}
		c.hop(s, hops, x)
	}
	for _, u := range use {
		s.out.Live.Peers = append(s.out.Live.Peers, *u)
	}
	slices.SortFunc(s.out.Live.Peers, func(a, b PeerUse) int { return cmp.Or(cmp.Compare(b.Ports, a.Ports), a.Remote.Compare(b.Remote)) })
	s.out.Live.Peers = s.out.Live.Peers[:min(len(s.out.Live.Peers), 20)]
	for _, h := range hops {
		s.out.Hops = append(s.out.Hops, *h)
	}
	slices.SortFunc(s.out.Hops, func(a, b Hop) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	slices.SortFunc(s.out.Listeners, func(a, b Listener) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Addr, b.Addr)) })
}

// hop adds one connecting socket to its group. TIME_WAIT has no owner any more: it
// counts for every service that connects there.
func (c *collector) hop(s *space, hops map[string]*Hop, x *linux.Socket) {
	from := c.serviceOf(x.Inode)
	if x.State == linux.TimeWait {
		from = ""
	}
	key := from + " " + x.Remote.String()
	h := hops[key]
	if h == nil {
		if len(hops) >= maxHops {
			c.unseen("connections of "+s.out.ID, "to more than %d addresses", maxHops)
			return
		}
		h = &Hop{From: from, To: x.Remote.String(), Live: &HopLive{}, addr: x.Remote.Addr(), port: x.Remote.Port()}
		hops[key] = h
	}
	switch x.State {
	case linux.TimeWait:
		h.Live.SenderClosed++
	case linux.Established, linux.CloseWait:
		h.Live.Connections++
		if x.Timer == linux.KeepaliveTimer {
			h.Live.KeepAlive++
			h.Live.KeepAliveIn = max(h.Live.KeepAliveIn, x.TimerExpires.Seconds())
		}
		if x.HasInfo {
			silent := min(x.Info.LastDataRecv, x.Info.LastDataSent)
			if x.Info.BytesRecv == 0 {
				silent = x.Info.LastDataSent
			}
			if silent > idle {
				h.Live.Idle++
			}
			h.Live.LongestIdle = max(h.Live.LongestIdle, silent.Seconds())
			h.Live.RTT = max(h.Live.RTT, float64(x.Info.RTT.Microseconds())/1000)
			if x.Info.Backoff >= 5 {
				h.Live.BackedOff++
			}
		}
	}
}

// joinHops finds the listener at the other end of each hop, when it is on this
// host, and who closed first there.
func (c *collector) joinHops() {
	for _, s := range c.spaces {
		for i := range s.out.Hops {
			h := &s.out.Hops[i]
			for _, t := range c.spaces {
				if t != s && (h.addr.IsLoopback() || !spaceOwns(t, h.addr)) || t == s && !spaceOwns(t, h.addr) {
					continue
				}
				for j := range t.out.Listeners {
					l := &t.out.Listeners[j]
					a, _ := netip.ParseAddr(l.Addr)
					if l.Port == h.port && (a == h.addr || a.IsUnspecified()) {
						h.Service, h.Namespace = l.Service, t.out.ID
						h.Live.ServerClosed = l.Live.ClosedFirst
					}
				}
			}
		}
	}
}

func spaceOwns(s *space, a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, x := range s.network.Addresses {
		if x.Prefix.Addr() == a {
			return true
		}
	}
	return false
}
