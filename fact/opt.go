// Package fact holds the words of Holdfast as Go types: the case (one
// connection that ended badly), its facts, and the finding drawn from them.
//
// A fact is declared once, as a tagged field of [Case]. From that declaration
// come its name in the knowledge base, its JSON form and its reference page
// (see [Defs]). A fact is three-valued: not looked at, absent, present. Nothing
// in Holdfast may read "not looked at" as "no".
//
// The package is pure: no I/O, no clock, no goroutine.
package fact

// State says whether a fact was looked at, and what came of it.
type State uint8

// The three answers. The zero value is NotLooked, so a field that no source
// ever touched cannot be mistaken for an observation.
const (
	NotLooked State = iota // nobody looked
	Absent                 // somebody looked, and there is none
	Present                // somebody looked, and here it is
)

// String returns "not looked", "absent" or "present".
func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Present:
		return "present"
	}
	return "not looked"
}

// Witness names who observed a fact. Evidence is capped for each witness, so
// that one observer repeating itself counts once.
type Witness uint8

// The witnesses. ByDefault stands for the witness in the fact's declaration.
const (
	ByDefault Witness = iota
	ByKernel          // a kernel event of the TCP stack itself (tracepoint, iterator)
	ByWire            // the packet, as the wire witness or a capture saw it
	ByProcess         // process table: exits, signals, owners
	ByCounter         // SNMP, netstat and conntrack counters
	ByHost            // host configuration: listeners, addresses, firewall rules
	ByLog             // a log line
	ByTimer           // a gap that equals a known timer
	ByPattern         // other cases of the same time and place
	ByProbe           // an active measurement
	ByPeer            // the other end of the connection, watched elsewhere
	BySaid            // a person, in words
)

var witnessNames = [...]string{"default", "kernel", "wire", "process", "counter", "host", "log", "timer", "pattern", "probe", "peer", "said"}

// String returns the name used in YAML and JSON.
func (w Witness) String() string {
	if int(w) < len(witnessNames) {
		return witnessNames[w]
	}
	return "unknown"
}

// ParseWitness is the inverse of String; ok is false for an unknown name.
func ParseWitness(s string) (w Witness, ok bool) {
	for i, n := range witnessNames {
		if n == s && i > 0 {
			return Witness(i), true
		}
	}
	return 0, false
}

// Opt is a fact: a value of T, or the knowledge that there is none, or no
// knowledge at all. The zero value was not looked at.
type Opt[T any] struct {
	v  T
	s  State
	by Witness
}

// Some returns a present fact seen by the witness of its declaration.
func Some[T any](v T) Opt[T] { return Opt[T]{v: v, s: Present} }

// SomeBy returns a present fact seen by another witness than the declared one.
func SomeBy[T any](v T, by Witness) Opt[T] { return Opt[T]{v: v, s: Present, by: by} }

// None returns a fact that was looked for and is absent.
func None[T any]() Opt[T] { return Opt[T]{s: Absent} }

// Get returns the value, and whether it is present.
func (o Opt[T]) Get() (T, bool) { return o.v, o.s == Present }

// Or returns the value if present, def otherwise. It is for printing: the
// engine must not use it, because it reads "not looked" as def.
func (o Opt[T]) Or(def T) T {
	if o.s == Present {
		return o.v
	}
	return def
}

// State returns whether the fact was looked at and found.
func (o Opt[T]) State() State { return o.s }

// By returns the witness; ByDefault means the one in the declaration.
func (o Opt[T]) By() Witness { return o.by }

// IsZero reports whether nobody looked; encoding/json omits such facts.
func (o Opt[T]) IsZero() bool { return o.s == NotLooked }
