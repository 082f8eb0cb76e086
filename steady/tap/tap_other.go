//go:build !linux

package tap

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/holdfast-project/holdfast/steady"
)

// Tap is a steady.Tap through AF_PACKET, which only Linux has.
type Tap struct{}

// Open returns an error that is errors.ErrUnsupported.
func Open() (*Tap, error) {
	return nil, fmt.Errorf("open packet socket: %w on this system", errors.ErrUnsupported)
}

// Close does nothing.
func (*Tap) Close() error { return nil }

// Forgotten returns 0.
func (*Tap) Forgotten() uint64 { return 0 }

// RST has seen nothing.
func (*Tap) RST(_, _ netip.AddrPort) (steady.RST, bool) { return steady.RST{}, false }
