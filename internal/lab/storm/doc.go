// Package storm makes thousands of connections end at random and in parallel,
// and keeps its own account of what it did. Its actors, its ledger and its
// witnesses share nothing with the rules that judge: truth comes from outside
// the code that is tested.
//
// An [Termination] is one connection in a private network namespace. Two actors hold
// its ends: processes of their own, this very executable started again (see
// [Main]), which do single system calls on order. A packet socket in each
// namespace witnesses every RST. [Score] compares what was found with both.
//
// The choice depends on the seed alone. To see one class again, run it with
// Options.Only.
package storm

import "net/netip"

// Options says how large a storm is. The zero value is a calm of 100 endings.
type Options struct {
	Terminations int                           // how many, 100 when 0
	Seed         uint64                        // what is chosen, and in which order
	Parallel     int                           // endings at once, 8 when 0
	Load         int                           // busy loops beside them
	Only         []string                      // classes, all when empty
	Logf         func(format string, v ...any) // orders and answers; may be nil
}

// Reset is a RST that a witness saw leave.
type Reset struct {
	From, To netip.AddrPort
	Seq      uint32
	AtNS     int64 // CLOCK_REALTIME
}

// Act is what the ledger says of a RST: who ended the connection.
type Act struct {
	From   netip.AddrPort // the source address that its RST bears
	Sender string         // app, kernel or injector
	PID    int            // of the process that did it; 0 when no process did
	Causes []string       // ids that are true; a more general one is among them
}

// Termination is one connection and what is known of its end.
type Termination struct {
	N              int
	Class          string
	Netns          uint64 // kernel net_cookie
	Client, Server netip.AddrPort
	Acts           []Act   // in the order of time
	Resets         []Reset // as witnessed, in the order of time
	Err            string  // why it did not do what it should; then it is not scored
}
