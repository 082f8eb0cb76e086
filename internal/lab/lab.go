// Package lab manufactures TCP resets, refusals and timeouts whose truth is
// known, in private network namespaces on this machine.
//
// A [Net] is a client, a router, a server and an attacker, each a namespace
// of its own, joined by veth pairs. The namespaces have no name: a process
// holds each one, and the kernel kills that process with its parent, so that
// nothing survives a crash or Ctrl-C. Applications are real processes
// ("actors": this very executable started again, see [ActorMain]), because
// much of what a reset can tell is about its process. A [Scenario] makes them
// act, waits on conditions and never on time alone, and then compares what
// the applications and the wire saw with its [Truth]: a scenario that did not
// do what it claims reports an error.
//
// Nothing here ever touches the namespace of the host: every actor refuses to
// work in the namespace of process 1 or in that of its parent.
//
// To debug one scenario, run its test with HOLDFAST_LAB_TRACE=1: every order
// to an actor and its answer are printed to stderr.
package lab

import (
	"context"
	"net/netip"
	"time"
)

// Truth is what a scenario makes happen, known because the lab did it.
type Truth struct {
	// Sender says who emitted the decisive RST: client-app, client-kernel,
	// server-app, server-kernel (an app when the RST is the direct result of
	// what a process did or suffered, a kernel when it answered or gave up by
	// itself), local-firewall (netfilter at an end), middlebox, injector, or
	// none when there was no RST.
	Sender string
	// Cause is the id of an entry of the knowledge base.
	Cause string
	// Also lists causes of legitimate secondary resets on the same flow, such
	// as the answer of a kernel whose socket is gone.
	Also []string
	// Receiver is who saw an error: client, server, both or none.
	Receiver string
	// Error is the errno name that the receiver's application saw, "" when none.
	// When the receiver is both, it is what the end that did not act saw.
	Error string
	// Lost is the number of bytes written by an application and never read by
	// the other one; -1 when the scenario does not control it.
	Lost int64
}

// Flow is one connection, or an attempt at one.
type Flow struct {
	Client netip.AddrPort `json:"client"` // the address the client end uses
	Server netip.AddrPort `json:"server"` // the address the client connects to, or the one the server end uses (see Result.Flows)
}

// Result is what a run of a scenario really produced.
type Result struct {
	// Flows are the connections the truth speaks of. When a device translates
	// addresses, the flow as the client sees it comes first, then the flow as
	// the server sees it.
	Flows []Flow
	// At is taken just before the decisive event was provoked.
	At time.Time
	// Receiver, Error and Lost are what the applications observed, in the terms
	// of Truth. Run has already compared them with it.
	Receiver, Error string
	Lost            int64
	// Recording describes the captures of the run; nil unless they were asked
	// for with Options.Pcap.
	Recording *Recording
}

// Scenario is one way to make a connection fail, with its truth.
type Scenario struct {
	ID, Title string
	Needs     []string // external programs it needs
	Demo      bool     // quick, shows well, needs no external program
	Slow      bool     // takes more than about five seconds
	Truth     Truth
	// Run provokes it on n. It returns an error when the scenario did not do
	// what its truth claims. A Net runs one scenario at a time.
	Run func(ctx context.Context, n *Net) (Result, error)
}

// Options configures NewNet. The zero value is useful.
type Options struct {
	// Logf receives a line for each order to an actor and its answer. Default:
	// none.
	Logf func(format string, args ...any)
	// Settle is called after a scenario has played and before it is cleaned
	// up, so that an observer can still look at rules, listeners and
	// namespaces, as it could on a host where they stay. May be nil.
	Settle func(ctx context.Context, res Result)
	// Pcap is a directory. When it is set, everything that enters and leaves
	// the interfaces of each namespace during a scenario is written to
	// Pcap/SCENARIO/NAMESPACE.pcapng, with the truth beside it (Recording).
	// What an earlier run of the scenario wrote there is removed.
	Pcap string
}

// Namespace is one namespace of a Net, for those who want to watch it.
type Namespace struct {
	Name  string // client, router, server, attacker
	PID   int    // process that holds it
	Path  string // /proc/PID/ns/net
	Inode uint64
}
