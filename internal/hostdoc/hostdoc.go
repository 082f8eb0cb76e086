// Package hostdoc is the document of a host's network: what is configured, what
// listens, who connects to whom, and what could not be seen. It is collected by
// reading only, without running a program, and is the one thing that audits, chains
// of timers and comparisons look at: a document is enough to judge a host later, or
// elsewhere.
//
// What changes by itself (counters, ages, process numbers, connections now) stands
// in fields named Live and is left out of the stable form: the same host twice
// gives the same bytes.
package hostdoc

import (
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/servers"
)

// Schema is the version of the document. JSON names are promises.
const Schema = "holdfast-host/1"

// Host is a host and its network.
type Host struct {
	Schema      string      `json:"schema"`
	Name        string      `json:"name"`
	OS          string      `json:"os,omitempty"`
	Kernel      string      `json:"kernel,omitempty"`
	Memory      int64       `json:"memory_bytes,omitempty"`
	Image       bool        `json:"image,omitempty"` // a tree of files, not a running system: nothing of the kernel was read
	DNS         DNS         `json:"dns"`
	Namespaces  []Namespace `json:"namespaces"`
	Services    []Service   `json:"services"`
	SysctlFiles []FileValue `json:"sysctl_files"` // what files ask for, in the order of systemd-sysctl
	CouldNotSee []Unseen    `json:"could_not_see"`
	Live        *HostLive   `json:"live,omitempty"`
}

// HostLive is what changes by itself.
type HostLive struct {
	Time     time.Time `json:"time"`
	Boot     time.Time `json:"boot"`
	Window   float64   `json:"window_s"` // between the two readings of counters
	Softnet  Softnet   `json:"softnet"`
	OOMKills int64     `json:"oom_kills"` // since boot; -1 unknown
	Orphans  int64     `json:"orphans"`   // TCP sockets without a process; -1 unknown
	TCPPages int64     `json:"tcp_pages"` // memory of TCP, in pages; -1 unknown
}

// Softnet are the queues between adapters and protocols, over all processors.
type Softnet struct {
	Dropped  int64 `json:"dropped"`  // since boot
	Squeezed int64 `json:"squeezed"` // ended for want of time with packets left; alone it harms nobody
	Moved    int64 `json:"moved"`    // drops in the window
}

// DNS is how names are resolved.
type DNS struct {
	Servers []string `json:"servers,omitempty"`
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Unseen is what could not be looked at. It is not the same as absent.
type Unseen struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// FileValue is a setting that a file asks for.
type FileValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	File  string `json:"file"`
	Line  int    `json:"line"`
	Wins  bool   `json:"wins"` // no later file says something else
}

// Namespace is a network namespace.
type Namespace struct {
	ID         string            `json:"id"` // host, a name, a container; stable over restarts where it has one
	Host       bool              `json:"host,omitempty"`
	Own        bool              `json:"-"` // that of the process that collected
	Container  string            `json:"container,omitempty"`
	Interfaces []Interface       `json:"interfaces"`
	Routes     []Route           `json:"routes"`
	Neighbours []Neighbour       `json:"neighbours,omitempty"` // Live: emptied in the stable form
	Sysctls    map[string]string `json:"sysctls"`
	Changed    []Change          `json:"changed"` // settings that differ from this kernel's default
	Defaults   bool              `json:"defaults_known"`
	Listeners  []Listener        `json:"listeners"`
	Hops       []Hop             `json:"hops"`
	Firewall   *Firewall         `json:"firewall,omitempty"` // nil: not looked
	Live       *NamespaceLive    `json:"live,omitempty"`
}

// NamespaceLive is what changes by itself.
type NamespaceLive struct {
	Inode     uint64           `json:"inode"`
	PID       int              `json:"pid,omitempty"`      // a process in it, the way in
	Counters  map[string]int64 `json:"counters,omitempty"` // since the namespace was made
	Moved     map[string]int64 `json:"moved,omitempty"`    // in the window
	Conntrack *Conntrack       `json:"conntrack,omitempty"`
	Peers     []PeerUse        `json:"peers,omitempty"` // use of local ports, the busiest first
	Sockets   int              `json:"sockets"`
}

// PeerUse counts local ports in use towards one address and port.
type PeerUse struct {
	Remote   netip.AddrPort `json:"remote"`
	Ports    int            `json:"ports"`
	TimeWait int            `json:"time_wait"` // of them
}

// Conntrack is the state of connection tracking.
type Conntrack struct {
	Count        int64 `json:"count"`
	Max          int64 `json:"max"`
	Invalid      int64 `json:"invalid"`
	Drop         int64 `json:"drop"`
	EarlyDrop    int64 `json:"early_drop"`
	InsertFailed int64 `json:"insert_failed"`
	DropMoved    int64 `json:"drop_moved"`    // in the window: drop and early_drop
	InvalidMoved int64 `json:"invalid_moved"` // in the window
}

// Interface is a network interface.
type Interface struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind,omitempty"`
	MTU       int            `json:"mtu"`
	State     string         `json:"state"`
	Addresses []string       `json:"addresses"`
	Failed    []string       `json:"duplicate_addresses,omitempty"` // duplicate address detection found another owner
	Master    string         `json:"master,omitempty"`
	MAC       string         `json:"mac,omitempty"`
	Driver    string         `json:"driver,omitempty"`
	Speed     int            `json:"speed_mbit,omitempty"`
	Duplex    string         `json:"duplex,omitempty"`
	XDP       bool           `json:"xdp,omitempty"`
	Qdisc     string         `json:"qdisc,omitempty"`
	Live      *InterfaceLive `json:"live,omitempty"`
}

// InterfaceLive are counters of an interface.
type InterfaceLive struct {
	RxPackets  uint64 `json:"rx_packets"`
	TxPackets  uint64 `json:"tx_packets"`
	CRC        uint64 `json:"rx_crc_errors"`
	Frame      uint64 `json:"rx_frame_errors"`
	Missed     uint64 `json:"rx_missed"`
	RxDropped  uint64 `json:"rx_dropped"`
	TxErrors   uint64 `json:"tx_errors"`
	Collisions uint64 `json:"collisions"`
	Changes    uint32 `json:"carrier_changes"`
	Drops      uint32 `json:"qdisc_drops"`
	ErrorMoved uint64 `json:"errors_moved"` // CRC, frame and missed in the window
}

// Route is a route.
type Route struct {
	Dst     string `json:"dst"`
	Via     string `json:"via,omitempty"`
	Dev     string `json:"dev,omitempty"`
	Source  string `json:"source,omitempty"`
	Table   uint32 `json:"table"`
	Metric  uint32 `json:"metric,omitempty"`
	Kind    string `json:"kind"`
	MTU     int    `json:"mtu,omitempty"`
	AdvMSS  int    `json:"advmss,omitempty"`
	NextHop int    `json:"next_hops,omitempty"`
}

// Neighbour is an entry of the ARP or neighbour table.
type Neighbour struct {
	Dev   string `json:"dev"`
	Addr  string `json:"addr"`
	MAC   string `json:"mac"`
	State string `json:"state"`
	Moved bool   `json:"mac_changed,omitempty"` // between the two readings
}

// Change is a setting that is not the kernel's default.
type Change struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	File    string `json:"file,omitempty"` // that asks for it, with the line; empty: none does
}

// Listener is a listening TCP socket, or several with SO_REUSEPORT.
type Listener struct {
	Addr    string        `json:"addr"`
	Port    uint16        `json:"port"`
	Service string        `json:"service,omitempty"` // ID of a service, empty: unknown
	Backlog int           `json:"backlog"`           // limit of the accept queue, the least of them
	Sockets int           `json:"sockets"`           // with SO_REUSEPORT more than one
	Live    *ListenerLive `json:"live,omitempty"`
}

// ListenerLive is the accept queue now.
type ListenerLive struct {
	Queue       int `json:"queue"`        // the longest that was seen
	Connections int `json:"connections"`  // accepted and open
	ClosedFirst int `json:"closed_first"` // TIME_WAIT on this side: the server closed first
	PeerClosed  int `json:"peer_closed"`  // TIME_WAIT of local peers: the other side closed first
}

// Hop is who connects to what: connections of one service to one address.
type Hop struct {
	From      string     `json:"from"`              // ID of a service, or empty when unknown
	To        string     `json:"to"`                // address and port
	Service   string     `json:"service,omitempty"` // that listens there, when it is on this host
	Namespace string     `json:"namespace,omitempty"`
	Live      *HopLive   `json:"live,omitempty"`
	addr      netip.Addr // of To
	port      uint16
}

// HopLive are the connections now.
type HopLive struct {
	Connections  int     `json:"connections"`
	Idle         int     `json:"idle"`           // silent for more than a second
	LongestIdle  float64 `json:"longest_idle_s"` // since the last data either way
	KeepAlive    int     `json:"keep_alive"`     // with the keep-alive timer running
	KeepAliveIn  float64 `json:"keep_alive_in_s"`
	SenderClosed int     `json:"sender_closed_first"` // TIME_WAIT at the sender
	ServerClosed int     `json:"server_closed_first"` // TIME_WAIT at the server, when it is on this host
	BackedOff    int     `json:"backed_off"`          // connections that retransmit the same segment for the fifth time or more
	RTT          float64 `json:"rtt_ms"`              // the largest
}

// Firewall is what netfilter does in a namespace.
type Firewall struct {
	Rules     []Rule `json:"rules"`
	NAT       bool   `json:"nat"`
	Legacy    bool   `json:"legacy"`
	Clamps    bool   `json:"clamps_mss"` // a rule clamps the size of segments
	Truncated bool   `json:"truncated,omitempty"`
}

// Rule is a rule that ends connections, or translates addresses.
type Rule struct {
	Where   string    `json:"where"`
	Text    string    `json:"text"`
	Verdict string    `json:"verdict"`
	Live    *RuleLive `json:"live,omitempty"`
}

// RuleLive is the counter of a rule.
type RuleLive struct {
	Handle  uint64 `json:"handle,omitempty"`
	Packets uint64 `json:"packets"`
	Counted bool   `json:"counted"`
	Moved   uint64 `json:"moved"` // in the window
}

// Service is a program that listens or connects: one unit, container or process.
type Service struct {
	ID        string          `json:"id"` // nginx.service, container shop, nginx
	Product   string          `json:"product,omitempty"`
	Exe       string          `json:"exe,omitempty"`
	Unit      string          `json:"unit,omitempty"`
	Container string          `json:"container,omitempty"`
	MaxFiles  int64           `json:"max_files,omitempty"`
	MaxMemory int64           `json:"max_memory,omitempty"` // of the control group; -1 none
	Config    *servers.Config `json:"config,omitempty"`
	Live      *ServiceLive    `json:"live,omitempty"`
}

// ServiceLive is a service now.
type ServiceLive struct {
	PIDs      []int     `json:"pids"`
	OpenFiles int       `json:"open_files"` // the most of one process
	Memory    int64     `json:"memory,omitempty"`
	OOMKills  int64     `json:"oom_kills"` // -1 unknown
	Started   time.Time `json:"started"`
	Deleted   bool      `json:"exe_replaced,omitempty"`
}

// Service finds a service by its ID; nil when there is none.
func (h *Host) Service(id string) *Service {
	for i := range h.Services {
		if h.Services[i].ID == id && id != "" {
			return &h.Services[i]
		}
	}
	return nil
}

// Outgoing is the interface of the default route; nil without one.
func (n *Namespace) Outgoing() *Interface {
	for _, r := range n.Routes {
		if !strings.HasPrefix(r.Dst, "default") {
			continue
		}
		for i := range n.Interfaces {
			if n.Interfaces[i].Name == r.Dev {
				return &n.Interfaces[i]
			}
		}
	}
	return nil
}

// Stable returns the document without what changes by itself.
func (h *Host) Stable() *Host {
	c := *h
	c.Live = nil
	c.Namespaces = make([]Namespace, len(h.Namespaces))
	for i, n := range h.Namespaces {
		n.Live, n.Neighbours = nil, nil
		n.Interfaces = clear(n.Interfaces, func(x *Interface) { x.Live = nil })
		n.Listeners = clear(n.Listeners, func(x *Listener) { x.Live = nil })
		n.Hops = nil // who talks now
		if n.Firewall != nil {
			f := *n.Firewall
			f.Rules = clear(f.Rules, func(x *Rule) { x.Live = nil })
			n.Firewall = &f
		}
		c.Namespaces[i] = n
	}
	c.Services = clear(h.Services, func(x *Service) { x.Live = nil })
	return &c
}

// clear copies a list and changes each element.
func clear[T any](list []T, f func(*T)) []T {
	out := make([]T, len(list))
	copy(out, list)
	for i := range out {
		f(&out[i])
	}
	return out
}
