// Package chain puts the timers of everything on the path of a request side by
// side: who keeps an idle connection for how long, and who closes first. It is pure
// over the document of a host, and says of each value where it comes from.
//
// The rule is: the side that sends next should be the one that closes. Where the
// receiver closes first, a request can meet the close, and is reset.
package chain

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/hostdoc"
	"github.com/holdfast-project/holdfast/internal/servers"
)

// End is one side of a link.
type End struct {
	Service string          `json:"service,omitempty"` // empty: not known, or not on this host
	Product string          `json:"product,omitempty"`
	Addr    string          `json:"addr,omitempty"` // where the receiver listens
	Timers  []servers.Timer `json:"timers"`
}

// Name is how the end is called in a picture: one line without control characters.
func (e *End) Name() string {
	unknown := "clients"
	if e.Addr != "" {
		unknown = "unknown server"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, cmp.Or(e.Service, e.Product, unknown))
}

// Link is one hop of a chain: who sends to whom, and what each side does with an
// idle connection.
type Link struct {
	Namespace string           `json:"namespace,omitempty"`
	From      End              `json:"from"`
	To        End              `json:"to"`
	Mode      string           `json:"mode,omitempty"`
	Reuses    bool             `json:"reuses"` // the sender keeps connections for the next request
	Path      []servers.Timer  `json:"path"`   // of devices between, as far as they are this host's
	Live      *hostdoc.HopLive `json:"live,omitempty"`
}

// Reuse and Close are the timers that race; nil when unknown.
func (l *Link) Reuse() *servers.Timer { return servers.Find(l.From.Timers, servers.Reuse) }

// Close is how long the receiver keeps an idle connection.
func (l *Link) Close() *servers.Timer { return servers.Find(l.To.Timers, servers.Close) }

// Of finds the links of a host: from its connections, and, where nobody is
// connected now, from its configurations. Links that differ in nothing but the
// address are shown once.
func Of(h *hostdoc.Host) []Link {
	f := finder{h: h}
	for i := range h.Namespaces {
		n := &h.Namespaces[i]
		for j := range n.Hops {
			f.hop(n, &n.Hops[j])
		}
	}
	for i := range h.Services {
		f.configured(&h.Services[i])
	}
	f.fronts()
	slices.SortStableFunc(f.links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.From.Service, b.From.Service), cmp.Compare(a.To.Addr, b.To.Addr))
	})
	return f.links
}

type finder struct {
	h     *hostdoc.Host
	links []Link
}

// hop makes a link of connections that exist.
func (f *finder) hop(n *hostdoc.Namespace, h *hostdoc.Hop) {
	if h.Live == nil || h.From == "" && h.Live.Connections == 0 {
		return // TIME_WAIT: counted with the hop of its service
	}
	host, port, err := net.SplitHostPort(h.To)
	if err != nil {
		return
	}
	l := Link{Namespace: n.ID, From: End{Service: h.From}, To: End{Service: h.Service, Addr: h.To}, Live: f.withClosers(n, h)}
	if s := f.h.Service(h.From); s != nil {
		l.From.Product = s.Product
		if b := backTo(s.Config, host, port); b != nil {
			l.From.Timers, l.Reuses, l.Mode = b.Timers, b.Reuses, b.Mode
		}
	}
	if s := f.h.Service(h.Service); s != nil {
		l.To.Product = s.Product
		if r := frontAt(s.Config, port); r != nil {
			l.To.Timers, l.Mode = r.Timers, cmp.Or(l.Mode, r.Mode)
		}
	}
	l.Path = conntrackTimer(n)
	f.add(l)
}

// withClosers adds the closes of connections that have no owner any more.
func (f *finder) withClosers(n *hostdoc.Namespace, h *hostdoc.Hop) *hostdoc.HopLive {
	live := *h.Live
	for i := range n.Hops {
		if o := &n.Hops[i]; o.From == "" && o.To == h.To && o.Live != nil && h.From != "" {
			live.SenderClosed += o.Live.SenderClosed
		}
	}
	return &live
}

func (f *finder) add(l Link) {
	for i := range f.links {
		o := &f.links[i]
		if o.Namespace == l.Namespace && o.From.Service == l.From.Service && o.To.Service == l.To.Service && o.To.Addr == l.To.Addr {
			return
		}
	}
	f.links = append(f.links, l)
}

// configured makes links of what a service is configured to connect to, on this
// host.
func (f *finder) configured(s *hostdoc.Service) {
	if s.Config == nil {
		return
	}
	for i := range s.Config.Backs {
		b := &s.Config.Backs[i]
		for _, peer := range b.Peers {
			host, port, err := net.SplitHostPort(peer)
			if err != nil {
				continue
			}
			l := Link{From: End{Service: s.ID, Product: s.Product, Timers: b.Timers}, To: End{Addr: peer}, Reuses: b.Reuses, Mode: b.Mode}
			if len(f.h.Namespaces) > 0 {
				l.Namespace = f.h.Namespaces[0].ID
			}
			if isLocal(f.h, host) && !f.listening(&l, port) {
				for j := range f.h.Services {
					t := &f.h.Services[j]
					if r := frontAt(t.Config, port); r != nil && len(r.Listen) > 0 {
						l.To.Service, l.To.Product, l.To.Timers = t.ID, t.Product, r.Timers
					}
				}
			}
			if !f.known(&l) {
				f.add(l)
			}
		}
	}
}

// listening finds the service that listens on a port of this host, and who closed
// first there lately.
func (f *finder) listening(l *Link, port string) bool {
	for i := range f.h.Namespaces {
		for _, x := range f.h.Namespaces[i].Listeners {
			if strconv.Itoa(int(x.Port)) != port || x.Service == "" {
				continue
			}
			l.To.Service = x.Service
			if x.Live != nil && x.Live.ClosedFirst+x.Live.PeerClosed > 0 {
				l.Live = &hostdoc.HopLive{ServerClosed: x.Live.ClosedFirst, SenderClosed: x.Live.PeerClosed}
			}
			if s := f.h.Service(x.Service); s != nil {
				l.To.Product = s.Product
				if r := frontAt(s.Config, port); r != nil {
					l.To.Timers = r.Timers
				}
			}
			return true
		}
	}
	return false
}

// known reports whether a link with the same ends was found from connections.
func (f *finder) known(l *Link) bool {
	_, port, _ := net.SplitHostPort(l.To.Addr)
	for i := range f.links {
		o := &f.links[i]
		_, p, _ := net.SplitHostPort(o.To.Addr)
		if o.From.Service == l.From.Service && o.Live != nil && p == port && (o.To.Addr == l.To.Addr || o.To.Service == l.To.Service && l.To.Service != "") {
			return true
		}
	}
	return false
}

// fronts adds what clients meet: the listeners of services that nobody on this
// host connects to.
func (f *finder) fronts() {
	for i := range f.h.Namespaces {
		n := &f.h.Namespaces[i]
		for _, x := range n.Listeners {
			s := f.h.Service(x.Service)
			if s == nil || slices.ContainsFunc(f.links, func(l Link) bool { return l.To.Service == x.Service && hasPort(l.To.Addr, x.Port) }) {
				continue
			}
			r := frontAt(s.Config, strconv.Itoa(int(x.Port)))
			if r == nil {
				continue
			}
			f.add(Link{Namespace: n.ID, To: End{Service: s.ID, Product: s.Product, Addr: ":" + strconv.Itoa(int(x.Port)), Timers: r.Timers}, Mode: r.Mode, Path: conntrackTimer(n)})
		}
	}
}

func hasPort(addr string, port uint16) bool {
	_, p, err := net.SplitHostPort(addr)
	return err == nil && p == strconv.Itoa(int(port))
}

func isLocal(h *hostdoc.Host, host string) bool {
	if host == "localhost" || host == "" {
		return true
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return true
	}
	for i := range h.Namespaces {
		for _, x := range h.Namespaces[i].Interfaces {
			for _, a := range x.Addresses {
				if ip, _, err := net.ParseCIDR(a); err == nil && ip.String() == host {
					return true
				}
			}
		}
	}
	return false
}

// backTo finds how a service speaks to an address. A peer that is named, and not
// numbered, is taken by its port when nothing fits better.
func backTo(c *servers.Config, host, port string) *servers.Back {
	if c == nil {
		return nil
	}
	var byPort *servers.Back
	for i := range c.Backs {
		for _, p := range c.Backs[i].Peers {
			h, q, err := net.SplitHostPort(p)
			switch {
			case err != nil || q != port:
			case h == host || h == "localhost" && net.ParseIP(host).IsLoopback():
				return &c.Backs[i]
			case net.ParseIP(h) == nil:
				byPort = &c.Backs[i]
			}
		}
	}
	return byPort
}

// frontAt finds what a service does on a port. A product whose port is set in its
// code has one front without addresses.
func frontAt(c *servers.Config, port string) *servers.Front {
	if c == nil {
		return nil
	}
	var first *servers.Front
	for i := range c.Fronts {
		f := &c.Fronts[i]
		if len(f.Listen) == 0 {
			return f
		}
		for _, a := range f.Listen {
			if a[strings.LastIndexByte(a, ':')+1:] != port || first != nil && shortest(first) <= shortest(f) {
				continue
			}
			first = f
		}
	}
	return first
}

// shortest is the shortest time for which a front keeps an idle connection.
func shortest(f *servers.Front) float64 {
	t := servers.Find(f.Timers, servers.Close)
	if t == nil || t.Never {
		return math.Inf(1)
	}
	return t.Seconds
}

// conntrackTimer is when the host itself forgets an idle connection.
func conntrackTimer(n *hostdoc.Namespace) []servers.Timer {
	if n.Live == nil || n.Live.Conntrack == nil || n.Live.Conntrack.Count == 0 {
		return nil
	}
	v, err := strconv.ParseFloat(n.Sysctls["net.netfilter.nf_conntrack_tcp_timeout_established"], 64)
	if err != nil {
		return nil
	}
	return []servers.Timer{{Meaning: "path", Key: "nf_conntrack_tcp_timeout_established", Seconds: v, Origin: servers.Configured}}
}

// margin is the least difference between two timers that do not race: the closer
// may be late by a second, or by two round trips.
func (l *Link) margin() float64 {
	m := 1.0
	if l.Live != nil {
		m = max(m, 2*l.Live.RTT/1000)
	}
	return m
}

// Race says that the receiver may close while the sender sends.
type Race struct {
	Reuse, Close *servers.Timer
	Observed     bool // connections of this link were seen to be closed by the receiver first
	Changes      []Change
}

// Change is one way to end a race.
type Change struct {
	Service string
	Timer   *servers.Timer
	To      time.Duration
}

func (c *Change) String() string {
	return fmt.Sprintf("%s: %s from %s to %s", (&End{Service: c.Service}).Name(), c.Timer.Key, Amount(c.Timer), seconds(c.To.Seconds()))
}

// Race looks whether the sender keeps idle connections at least as long as the
// receiver; nil when not, or when one of the two is unknown.
func (l *Link) Race() *Race {
	r, c := l.Reuse(), l.Close()
	if !l.Reuses || r == nil || c == nil || c.Never || c.Seconds == 0 || !r.Never && r.Seconds+l.margin() <= c.Seconds {
		return nil
	}
	race := &Race{Reuse: r, Close: c, Observed: l.Live != nil && l.Live.ServerClosed > 0}
	if !r.Never || r.Set != nil {
		to := c.Seconds - l.margin()
		if to <= 0 {
			to = c.Seconds / 2
		}
		race.Changes = append(race.Changes, Change{l.From.Service, r, time.Duration(to * float64(time.Second))})
	}
	up := 75.0 // a sender without a limit: longer than people think, so that few are met
	if !r.Never {
		up = math.Ceil(r.Seconds + max(l.margin(), r.Seconds/10))
	}
	if r.Never || c.Set != nil || c.Origin == servers.Argument {
		race.Changes = append(race.Changes, Change{l.To.Service, c, time.Duration(up * float64(time.Second))})
	}
	return race
}

// SilentDrop says that a device of this host forgets a connection before either
// side closes it or speaks.
type SilentDrop struct {
	Path  servers.Timer
	Until string // what would end it otherwise
}

// SilentDrop looks whether the path forgets first; nil when not.
func (l *Link) SilentDrop() *SilentDrop {
	if len(l.Path) == 0 || l.Live != nil && l.Live.KeepAlive > 0 && l.Live.KeepAliveIn < l.Path[0].Seconds {
		return nil
	}
	p := l.Path[0]
	least, who := math.Inf(1), "neither side has a limit"
	for _, t := range []*servers.Timer{l.Reuse(), l.Close()} {
		if t != nil && !t.Never && t.Seconds < least {
			least, who = t.Seconds, t.Key+" is "+seconds(t.Seconds)
		}
	}
	idle := l.Live != nil && l.Live.Idle > 0
	if l.Reuse() == nil && l.Close() == nil && !idle || least < p.Seconds {
		return nil
	}
	return &SilentDrop{p, who}
}

// Deadlines says that the outer side gives up before the inner one.
type Deadlines struct {
	Outer, Inner   *servers.Timer
	Middle, Behind string
}

// Late looks at the links behind this one: whoever waits for an answer must wait
// longer than the one whom it asked.
func (l *Link) Late(all []Link) (list []Deadlines) {
	outer := servers.Find(l.From.Timers, servers.Deadline)
	if outer == nil || outer.Never || l.To.Service == "" {
		return nil
	}
	for i := range all {
		n := &all[i]
		inner := servers.Find(n.From.Timers, servers.Deadline)
		if n.From.Service != l.To.Service || n.From.Service == l.From.Service || inner == nil || !inner.Never && inner.Seconds < outer.Seconds {
			continue
		}
		list = append(list, Deadlines{outer, inner, l.To.Service, n.To.Name()})
	}
	return list
}

// Amount is the value of a timer in words.
func Amount(t *servers.Timer) string {
	switch {
	case t == nil:
		return "?"
	case t.Never:
		return "no limit"
	}
	return seconds(t.Seconds)
}

func seconds(s float64) string {
	if s != math.Trunc(s) && s < 60 {
		return strconv.FormatFloat(s*1000, 'f', -1, 64) + " ms"
	}
	return strconv.FormatFloat(s, 'f', -1, 64) + " s"
}

// Origin is where a value comes from, in words.
func Origin(t *servers.Timer) string {
	switch {
	case t == nil:
		return "unknown"
	case t.At.File != "":
		return t.At.String()
	case t.Origin == servers.Argument:
		return "argument"
	}
	return strings.ToLower(t.Origin)
}
