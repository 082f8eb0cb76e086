// Package daemon wires sources, diagnosis and reports: it opens the best source
// that this host allows, turns its cases into findings and counts what it saw.
package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// Config says what to watch and how. The zero value watches with the best
// source and no knowledge.
type Config struct {
	Source    string           // auto, kernel, packet or counters
	Stacks    bool             // record kernel and user stacks
	Wire      bool             // attach the wire witness
	Knowledge *diagnosis.Base  // what findings are drawn from
	Why       bool             // findings carry their arithmetic
	Facts     bool             // findings carry their case
	Record    func(*fact.Case) // receives every case, before it is diagnosed
}

// Watcher is an open source. It is not safe for concurrent use, except Stats.
type Watcher struct{}

// Coverage says what the source sees, and what it can not see.
type Coverage struct {
	Tier        string
	Sees, Blind []string
	Hooks       []string
	ReadyIn     time.Duration
}

// Ledger reconciles what the kernel of a namespace counted with what was seen.
type Ledger struct {
	Netns                                                 string
	OutRsts, StackSent, WireSeen, WireNoSocket, Remainder int64
}

// Stats are counts since the start. Seen = Reported + Folded + Lost.
type Stats struct {
	Seen, Reported, Folded, Lost uint64
	Ledgers                      []Ledger
}

// Open attaches the source.
func Open(Config) (*Watcher, error) { return nil, errors.New("no source is built in yet") }

// Run emits findings until ctx ends.
func (w *Watcher) Run(ctx context.Context, _ func(fact.Finding)) error {
	<-ctx.Done()
	return nil
}

// Coverage says what is watched.
func (w *Watcher) Coverage() Coverage { return Coverage{} }

// Stats returns the counts so far.
func (w *Watcher) Stats() Stats { return Stats{} }
