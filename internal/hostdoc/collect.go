package hostdoc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/conf"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/nft"
)

// Bounds of a document. What lies beyond is named in CouldNotSee.
const (
	maxSpaces = 512     // network namespaces
	maxHops   = 2000    // of a namespace
	maxRules  = 2000    // that end connections or translate, of a namespace
	maxOpen   = 1 << 18 // sockets of a namespace
	maxInodes = 1 << 18 // owners of sockets
)

// Options say how to collect.
type Options struct {
	// Window between the two readings of counters; 0 means one reading.
	Window time.Duration
	// Only the namespace of this process.
	OwnOnly bool
}

// collector is a document in the making.
type collector struct {
	host   *linux.Host
	rules  nft.Reader
	opt    Options
	out    *Host
	spaces []*space
	owners map[uint64]int // process by inode of its socket
	ids    map[int]string // service by process
	byID   map[string]*Service
	files  map[string][]FileValue
}

// space is a namespace in the making.
type space struct {
	ns      linux.Netns
	out     *Namespace
	sockets []linux.Socket
	network linux.Network
	before  linux.Counters
	ct      linux.Conntrack
	rules   nft.Ruleset
	macs    map[string]string
}

// Collect reads the host. It takes about a tenth of a second, and the window.
func Collect(ctx context.Context, h *linux.Host, opt Options) (*Host, error) {
	c := &collector{host: h, rules: nft.Reader{Host: h}, opt: opt, ids: map[int]string{}, byID: map[string]*Service{}, files: map[string][]FileValue{},
		out: &Host{Schema: Schema, Namespaces: []Namespace{}, Services: []Service{}, SysctlFiles: []FileValue{}, CouldNotSee: []Unseen{}}}
	c.identity()
	c.sysctlFiles()
	if c.out.Image = h.Root != "" && h.Root != "/"; c.out.Image {
		c.unseen("the kernel, connections and processes", "only a tree of files was read")
		c.installed()
		return c.out, nil
	}
	if err := c.findSpaces(); err != nil {
		return nil, err
	}
	c.owners = h.SocketOwners(maxInodes)
	for _, s := range c.spaces {
		c.first(s)
	}
	softnet, _ := softnetOf(h)
	if opt.Window > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(opt.Window):
		}
	}
	c.live(softnet)
	for _, s := range c.spaces {
		c.second(s)
		c.listenersAndHops(s)
	}
	c.joinHops()
	c.finish()
	return c.out, nil
}

func (c *collector) unseen(what, format string, args ...any) {
	u := Unseen{what, fmt.Sprintf(format, args...)}
	if !slices.Contains(c.out.CouldNotSee, u) && len(c.out.CouldNotSee) < 200 {
		c.out.CouldNotSee = append(c.out.CouldNotSee, u)
	}
}

// why is the reason of an error in one phrase.
func why(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return "not permitted; run as root"
	}
	return err.Error()
}

func (c *collector) identity() {
	c.out.Name, _ = c.host.Hostname()
	c.out.OS = c.host.OS()
	if b, err := c.host.ReadFile("etc/resolv.conf"); err == nil {
		c.out.DNS = parseResolv(b)
	}
	if c.host.Root == "" || c.host.Root == "/" {
		c.out.Kernel, _ = c.host.Kernel()
		c.out.Memory = c.host.MemoryTotal()
	}
}

// parseResolv reads resolv.conf(5).
func parseResolv(b []byte) (d DNS) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		for i := range f {
			f[i] = linux.Clean([]byte(f[i]), 255)
		}
		switch f[0] {
		case "nameserver":
			d.Servers = append(d.Servers, f[1])
		case "search", "domain":
			d.Search = f[1:]
		case "options":
			d.Options = append(d.Options, f[1:]...)
		}
	}
	return d
}

// sysctlDirs in the order of precedence of sysctl.d(5): a file in an earlier
// directory replaces one of the same name in a later one.
var sysctlDirs = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"}

// sysctlFiles lists what files ask for, in the order of systemd-sysctl.
func (c *collector) sysctlFiles() {
	byName := map[string]string{}
	for _, dir := range sysctlDirs {
		for _, f := range c.host.Glob(dir + "/*.conf") {
			if _, there := byName[path.Base(f)]; !there {
				byName[path.Base(f)] = f
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		got := conf.Sysctl.Read(byName[name], conf.Files{Read: c.host.ReadFile})
		for _, p := range got.Problems {
			c.unseen(byName[name], "%s", p.Text)
		}
		for _, s := range got.List {
			key := strings.TrimPrefix(s.Name, "-")
			if strings.Contains(key, "/") && !strings.Contains(strings.SplitN(key, "/", 2)[0], ".") {
				key = strings.NewReplacer("/", ".", ".", "/").Replace(key)
			}
			c.out.SysctlFiles = append(c.out.SysctlFiles, FileValue{Key: linux.Clean([]byte(key), 128),
				Value: linux.Clean([]byte(strings.Join(strings.Fields(s.Value), " ")), 256), File: s.File, Line: s.Line})
		}
	}
	last := map[string]int{}
	for i := range c.out.SysctlFiles {
		last[c.out.SysctlFiles[i].Key] = i
	}
	for _, i := range last {
		c.out.SysctlFiles[i].Wins = true
	}
}

// findSpaces lists the namespaces, that of the host first.
func (c *collector) findSpaces() error {
	all, err := c.host.Netnses()
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	own := c.ownInode()
	first := c.firstInode(all)
	slices.SortStableFunc(all, func(a, b linux.Netns) int {
		return cmp.Or(cmp.Compare(rank(a, first, own), rank(b, first, own)), cmp.Compare(a.Inode, b.Inode))
	})
	names := map[string]int{}
	for _, ns := range all {
		if c.opt.OwnOnly && ns.Inode != own {
			continue
		}
		if len(c.spaces) >= maxSpaces {
			c.unseen("network namespaces", "only the first %d of %d were read", maxSpaces, len(all))
			break
		}
		if ns.Inode == own {
			ns = linux.Netns{Inode: own} // no need to enter it
		}
		s := &space{ns: ns, out: &Namespace{Host: ns.Inode == first, Own: ns.Inode == own, Sysctls: map[string]string{}, Changed: []Change{}, Interfaces: []Interface{}, Routes: []Route{}, Listeners: []Listener{}, Hops: []Hop{},
			Live: &NamespaceLive{Inode: ns.Inode, PID: ns.PID}}}
		s.out.ID = c.spaceName(s, names)
		c.spaces = append(c.spaces, s)
	}
	return nil
}

// bootInodes is above the numbers of namespaces that the kernel made while it
// started: 4026531833 (fixed, from 6.18 on), 4026531840, 4026531992 and others near
// them were seen; those of containers come later.
const bootInodes = 4026532000

// firstSpace is the namespace of the host when that of init cannot be read; 0 when
// it is not among those that can be seen.
func firstSpace(all []linux.Netns) (inode uint64) {
	for _, ns := range all {
		if ns.Inode < bootInodes && (inode == 0 || ns.Inode < inode) {
			inode = ns.Inode
		}
	}
	return inode
}

// OwnNetns names the network namespace of this process: host, or net:[NUMBER].
func OwnNetns(h *linux.Host) string {
	c := collector{host: h}
	own := c.ownInode()
	if all, err := h.Netnses(); err == nil && c.firstInode(all) == own {
		return "host"
	}
	return fmt.Sprintf("net:[%d]", own)
}

// firstInode is the namespace of init, or else the one that looks like it.
func (c *collector) firstInode(all []linux.Netns) uint64 {
	if p, err := c.host.Process(1); err == nil && p.NetnsInode != 0 {
		return p.NetnsInode
	}
	return firstSpace(all)
}

func (c *collector) ownInode() uint64 {
	p, err := c.host.Process(os.Getpid())
	if err != nil {
		return 0
	}
	return p.NetnsInode
}

func rank(ns linux.Netns, first, own uint64) int {
	switch ns.Inode {
	case first:
		return 0
	case own:
		return 1
	}
	return 2
}

// spaceName is a name that stays the same when the host is started again.
func (c *collector) spaceName(s *space, used map[string]int) string {
	name := ""
	switch {
	case s.out.Host:
		name = "host"
	case s.ns.Name != "":
		name = s.ns.Name
	case s.ns.PID != 0:
		if p, err := c.host.Process(s.ns.PID); err == nil {
			if p.Container != "" {
				n, pod, kns, ok := c.host.ContainerNames(p.Container)
				name = "container " + short(p.Container)
				if ok {
					name = "container " + strings.Trim(kns+"/"+pod+"/"+n, "/")
				}
				s.out.Container = name
			} else {
				name = "of " + p.Name
			}
		}
	}
	if name == "" {
		name = map[bool]string{true: "own", false: "unnamed"}[s.out.Own]
	}
	used[name]++
	if n := used[name]; n > 1 {
		name += "#" + strconv.Itoa(n)
	}
	return name
}

func short(id string) string { return id[:min(len(id), 12)] }

// first reads what a namespace is, and its counters for the first time.
func (c *collector) first(s *space) {
	id := s.out.ID
	n, err := c.host.Network(s.ns)
	if err != nil {
		c.unseen("namespace "+id, "%s", why(err))
	}
	if n.Truncated {
		c.unseen("namespace "+id, "routes or neighbours beyond the first 16384")
	}
	s.network = n
	s.macs = macsOf(n)
	if s.out.Sysctls, err = c.host.Sysctls(s.ns); err != nil {
		s.out.Sysctls = map[string]string{}
	}
	for sock, err := range c.host.Sockets(s.ns, linux.AllStates) {
		if err != nil {
			c.unseen("sockets of "+id, "%s", why(err))
			break
		}
		if len(s.sockets) >= maxOpen {
			c.unseen("sockets of "+id, "only the first %d were read", maxOpen)
			break
		}
		s.sockets = append(s.sockets, sock)
	}
	s.before, _ = c.host.Counters(s.ns)
	if ct, ok, err := c.host.Conntrack(s.ns); ok && err == nil {
		s.ct = ct
		s.out.Live.Conntrack = &Conntrack{}
	}
	rules, err := c.rules.Ruleset(s.ns)
	if err != nil {
		c.unseen("firewall of "+id, "%s", why(err))
		return
	}
	s.rules = rules
	s.out.Firewall = &Firewall{Rules: []Rule{}, NAT: rules.NAT, Legacy: rules.Legacy, Truncated: rules.Truncated}
}

func macsOf(n linux.Network) map[string]string {
	out := map[string]string{}
	for _, x := range n.Neighbours {
		if x.MAC != "" {
			out[strconv.Itoa(x.Link)+" "+x.Addr.String()] = x.MAC
		}
	}
	return out
}

// second reads counters again, and writes down what moved.
func (c *collector) second(s *space) {
	s.out.Live.Sockets = len(s.sockets)
	after, err := c.host.Counters(s.ns)
	if err == nil {
		s.out.Live.Counters, s.out.Live.Moved = map[string]int64{}, map[string]int64{}
		moved := after.Sub(&s.before)
		for k := range linux.NumCounters {
			if v, ok := after.Get(k); ok && v != 0 {
				s.out.Live.Counters[k.String()] = v
			}
			if v, ok := moved.Get(k); ok && v != 0 {
				s.out.Live.Moved[k.String()] = v
			}
		}
	}
	if ct, ok, err := c.host.Conntrack(s.ns); ok && err == nil && s.out.Live.Conntrack != nil {
		*s.out.Live.Conntrack = Conntrack{Count: ct.Count, Max: ct.Max, Invalid: int64(ct.Invalid), Drop: int64(ct.Drop), EarlyDrop: int64(ct.EarlyDrop), InsertFailed: int64(ct.InsertFailed),
			DropMoved: int64(ct.Drop + ct.EarlyDrop - s.ct.Drop - s.ct.EarlyDrop), InvalidMoved: int64(ct.Invalid - s.ct.Invalid)}
	}
	again, err := c.host.Network(s.ns)
	if err != nil {
		again = s.network
	}
	c.interfaces(s, again)
	c.firewall(s)
}

func (c *collector) interfaces(s *space, again linux.Network) {
	names := map[int]string{}
	for _, l := range s.network.Links {
		names[l.Index] = l.Name
	}
	later := map[int]linux.LinkStats{}
	for _, l := range again.Links {
		later[l.Index] = l.Stats
	}
	for _, l := range s.network.Links {
		i := Interface{Name: l.Name, Kind: l.Kind, MTU: l.MTU, State: l.State, Addresses: []string{}, Master: names[l.Master], MAC: l.MAC, Driver: l.Driver, Speed: l.Speed, Duplex: l.Duplex, XDP: l.XDP}
		if l.Loopback {
			i.Kind = "loopback"
		}
		for _, a := range s.network.Addresses {
			if a.Link != l.Index {
				continue
			}
			i.Addresses = append(i.Addresses, a.Prefix.String())
			if a.Failed {
				i.Failed = append(i.Failed, a.Prefix.Addr().String())
			}
		}
		slices.Sort(i.Addresses)
		st := later[l.Index]
		i.Live = &InterfaceLive{RxPackets: st.RxPackets, TxPackets: st.TxPackets, CRC: st.RxCRC, Frame: st.RxFrame, Missed: st.RxMissed, RxDropped: st.RxDropped, TxErrors: st.TxErrors,
			Collisions: st.Collisions, Changes: l.Changes, ErrorMoved: st.RxCRC + st.RxFrame + st.RxMissed - l.Stats.RxCRC - l.Stats.RxFrame - l.Stats.RxMissed}
		for _, q := range again.Qdiscs {
			if q.Link == l.Index && q.Root {
				i.Qdisc, i.Live.Drops = q.Kind, q.Drops
			}
		}
		s.out.Interfaces = append(s.out.Interfaces, i)
	}
	slices.SortFunc(s.out.Interfaces, func(a, b Interface) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range s.network.Routes {
		x := Route{Dst: "default", Dev: names[r.Link], Table: r.Table, Metric: r.Metric, Kind: r.Kind, MTU: r.MTU, AdvMSS: r.AdvMSS, NextHop: r.Hops}
		if r.Dst.IsValid() {
			x.Dst = r.Dst.String()
		} else if r.Family == 6 {
			x.Dst = "default6"
		}
		if r.Gateway.IsValid() {
			x.Via = r.Gateway.String()
		}
		if r.Source.IsValid() {
			x.Source = r.Source.String()
		}
		s.out.Routes = append(s.out.Routes, x)
	}
	slices.SortFunc(s.out.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Dst, b.Dst), cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Via, b.Via))
	})
	for _, n := range again.Neighbours {
		key := strconv.Itoa(n.Link) + " " + n.Addr.String()
		s.out.Neighbours = append(s.out.Neighbours, Neighbour{Dev: names[n.Link], Addr: n.Addr.String(), MAC: n.MAC, State: n.State,
			Moved: n.MAC != "" && s.macs[key] != "" && s.macs[key] != n.MAC})
	}
}

func (c *collector) firewall(s *space) {
	if s.out.Firewall == nil {
		return
	}
	again, err := c.rules.Ruleset(s.ns)
	if err != nil {
		again = s.rules
	}
	moved := map[string]uint64{}
	for _, r := range nft.Moved(s.rules, again) {
		moved[r.String()] = r.Packets
	}
	for _, r := range again.Rules {
		if strings.Contains(r.Text, "maxseg") || strings.Contains(r.Text, "TCPMSS") {
			s.out.Firewall.Clamps = true
		}
		if !r.Kills() && r.Verdict != nft.Masquerade && r.Verdict != nft.SNAT && r.Verdict != nft.DNAT && r.Verdict != nft.Redirect {
			continue
		}
		if len(s.out.Firewall.Rules) >= maxRules {
			s.out.Firewall.Truncated = true
			break
		}
		where := strings.Join([]string{r.Family, r.Table, r.Chain}, " ")
		if r.Hook != "" {
			where += " (" + r.Hook + ")"
		}
		s.out.Firewall.Rules = append(s.out.Firewall.Rules, Rule{Where: where, Text: stableText(r.Text), Verdict: string(r.Verdict),
			Live: &RuleLive{Handle: r.Handle, Packets: r.Packets, Counted: r.Counted, Moved: moved[r.String()]}})
	}
}

var counters = regexp.MustCompile(`\bcounter packets \d+ bytes \d+`)

// stableText is a rule without its counts, which stand in RuleLive.
func stableText(s string) string { return counters.ReplaceAllString(s, "counter") }

func softnetOf(h *linux.Host) (s Softnet, err error) {
	list, err := h.SoftnetStats()
	for _, x := range list {
		s.Dropped += int64(x.Dropped)
		s.Squeezed += int64(x.Squeezed)
	}
	return s, err
}

func (c *collector) live(before Softnet) {
	l := &HostLive{Time: time.Now().UTC(), Boot: c.host.BootTime().UTC(), Window: c.opt.Window.Seconds(), OOMKills: c.host.OOMKills(), Orphans: -1, TCPPages: -1}
	if s, err := softnetOf(c.host); err == nil {
		s.Moved = s.Dropped - before.Dropped
		l.Softnet = s
	}
	if k, err := c.host.Counters(linux.Netns{}); err == nil {
		if v, ok := k.Get(linux.SockTCPOrphan); ok {
			l.Orphans = v
		}
		if v, ok := k.Get(linux.SockTCPMem); ok {
			l.TCPPages = v
		}
	}
	c.out.Live = l
}

// finish sorts and compares with defaults.
func (c *collector) finish() {
	defaults, err := c.host.SysctlDefaults()
	if err != nil {
		c.unseen("which settings differ from the kernel's defaults", "%s", why(err))
	}
	asked := map[string]FileValue{}
	for _, f := range c.out.SysctlFiles {
		if f.Wins {
			asked[f.Key] = f
		}
	}
	for _, s := range c.spaces {
		s.out.Defaults = err == nil
		for _, k := range slices.Sorted(maps.Keys(s.out.Sysctls)) {
			d, known := defaults[k]
			if v := s.out.Sysctls[k]; known && d != v {
				ch := Change{Key: k, Value: v, Default: d}
				if f, ok := asked[k]; ok && f.Value == v && s.out.Host {
					ch.File = f.File + ":" + strconv.Itoa(f.Line)
				}
				s.out.Changed = append(s.out.Changed, ch)
			}
		}
		c.out.Namespaces = append(c.out.Namespaces, *s.out)
	}
	for _, id := range slices.Sorted(maps.Keys(c.byID)) {
		c.out.Services = append(c.out.Services, *c.byID[id])
	}
}
