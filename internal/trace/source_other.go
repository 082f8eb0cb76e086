//go:build !linux

package trace

import (
	"context"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// Source is the kernel source, which exists on Linux only.
type Source struct{}

// Open returns an error that says so.
func Open(Config) (*Source, error) {
	return nil, &AccessError{Op: "attach to the kernel", Err: ErrUnsupported, Hint: "run holdfast watch on a Linux host, or explain a capture here"}
}

// Run returns ErrUnsupported.
func (*Source) Run(context.Context, func(Observed)) error { return ErrUnsupported }

// Close does nothing.
func (*Source) Close() error { return nil }

// Coverage returns nothing.
func (*Source) Coverage() Coverage { return Coverage{} }

// Stats returns nothing.
func (*Source) Stats() Stats { return Stats{} }

// Floods returns nothing.
func (*Source) Floods() []Flood { return nil }

// Ledgers returns nothing.
func (*Source) Ledgers() []Ledger { return nil }

// Space returns nothing.
func (*Source) Space(uint64) (linux.Netns, bool) { return linux.Netns{}, false }

// Spaces returns nothing.
func (*Source) Spaces() []linux.Netns { return nil }
