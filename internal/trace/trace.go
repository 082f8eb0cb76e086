// Package trace is the kernel source: eBPF programs on a handful of rare
// hooks, their loader, and the joining of what they report into cases. It is
// the only package that speaks to the kernel's BPF verifier.
//
// The hooks, and what each is for (measured in the design notes: the rare ones
// cost nothing until a reset happens; state, drop and wire are the ones that
// run for ordinary traffic, and are kept to a few loads):
//
//	send   tcp_send_reset          every RST of the TCP stack, with socket and triggering segment
//	nosk   tcp_v4/6_send_reset     the same for replies without a socket, before Linux 6.10
//	recv   tcp_reset               every RST that was accepted, before queues are purged
//	err    inet_sk_error_report    timeouts and unreachables; the errno the application will see
//	state  inet_sock_set_state     memory of closes and opens, in per-CPU rings
//	drop   kfree_skb               refused RSTs, listen overflows, netfilter drops, PAWS, MD5
//	state  (the same)              ends in order that fail a user: an answer owed, a program that gave up
//	wire   net_dev_queue           every RST handed to a device, whoever made it
//	arrive netif_receive_skb       every RST that comes, with its TTL, flags and numbers, and the TTL of the handshake before
//	owner  tcp_destroy_sock        which process let go of a socket that was hit
//	icmp   icmp_send               ICMP errors that this host answers with
//	signal signal_generate, oom mark_receiver   who killed whom
//	fork, exec, exit sched_process_*, tasks iter/task   whose credentials a socket's file bears, for what kernel threads close
//
// One goroutine only empties the ring buffer, into a bounded inbox; another joins
// records into observations and builds the cases, with everything that may block.
//
// Every hook counts: seen = sent to user space + lost + suppressed. To debug,
// run holdfast watch --verbose, which prints what was attached and why not.
package trace

import (
	"errors"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

// Config says what to observe. The zero value is useful.
type Config struct {
	Stacks    bool          // take user stacks of the closing call
	NoWire    bool          // leave the wire witness off
	NoPayload bool          // never look at what connections carry
	Demand    bool          // attach the wire witness only after a sign of resets that no socket sent
	Burst     int           // events for each CPU and hook at once, and a half of it each second (a quarter and an eighth where no connection took part), before folding; 0 means 4000
	Hold      time.Duration // how long the parts of one case are collected; 0 means 30 ms
	Skip      []string      // programs not to try, for tests of the ladder
	Tick      func()        // called every half second from Run's goroutine, may be nil
	Lost      func(Loss)    // called from Run's goroutine soon after records were lost or folded, may be nil
	// Blocked is called from Run's goroutine within milliseconds of netfilter
	// dropping a segment in that namespace, long before the case; may be nil.
	Blocked func(netns uint64)
	Fast    bool // poll every millisecond instead of every ten
	// Entered and Left are called by the packet source when it begins and ends to
	// watch a namespace, from any goroutine; they must not block. Both may be nil.
	Entered, Left func(linux.Netns)
}

// Observed is a case with what is needed to look further.
type Observed struct {
	*fact.Case
	SenderNetns, ReceiverNetns, WireNetns uint64 // net_cookie, 0 when not on this host
	SenderPID, ReceiverPID                int
	Repeats                               uint64 // further resets of the same tuple within the hold, folded into this case
}

// Coverage says what this tier can see.
type Coverage struct {
	Tier     string        // kernel, packet, counters
	Hooks    []string      // attached, as slot:program
	Sees     []string      // in words
	Blind    []string      // in words: what cannot be seen, and why
	Failures []string      // attempts that the kernel refused, with its reason
	ReadyIn  time.Duration // from Open to the last hook attached
}

// BlindTimeouts is an entry of Coverage.Blind that whoever follows the segments
// takes away.
const BlindTimeouts = "timeouts and unreachable destinations"

// Stats accounts for every reset: Seen = Reported + Folded + Lost.
type Stats struct {
	Seen     uint64 // resets sent, received, refused or seen on the wire, as counted in the kernel
	Reported uint64 // records that became part of a case
	Folded   uint64 // suppressed in the kernel and counted by tuple class, see Floods
	Lost     uint64 // did not fit the ring buffer, or their program was already running on that CPU
	Sent     uint64 // resets the TCP stack sent: the number to compare with OutRsts
	Evicted  uint64 // pending cases flushed early because too many were open
	PerHook  map[string]HookStats
}

// HookStats is the account of one hook.
type HookStats struct{ Seen, Sent, Lost, Suppressed uint64 }

// Loss is a time in which resets were not recorded one by one.
type Loss struct {
	From, To time.Time
	Lost     uint64 // records that did not fit a buffer: nothing more is known of them
	Folded   uint64 // records that were counted by class instead, see Floods
}

// Flood is a class of resets that were counted instead of recorded.
type Flood struct {
	Netns       uint64
	Hook        string
	Reason      string
	Origin      string
	Port        uint16
	Count       uint64
	First, Last time.Time
}

// Ledger compares, for one network namespace, what the stack says with what
// the wire shows.
type Ledger struct {
	Netns     uint64
	StackSent uint64            // tcp_send_reset events
	Wire      map[string]uint64 // RSTs handed to devices, by origin
}

// AccessError says that nothing can be observed, and what to try.
type AccessError struct {
	Op   string
	Err  error
	Hint string
}

// Error returns what happened; Hint has the way out.
func (e *AccessError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *AccessError) Unwrap() error { return e.Err }

// ErrUnsupported means that this system has no such source.
var ErrUnsupported = errors.New("not supported on this system")
