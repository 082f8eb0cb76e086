//go:build !linux

package steady

import (
	"errors"
	"fmt"
	"net/netip"
)

// PacketTap is a Tap through AF_PACKET, which only Linux has.
type PacketTap struct{}

// OpenTap returns an error that is errors.ErrUnsupported.
func OpenTap() (*PacketTap, error) {
	return nil, fmt.Errorf("open packet socket: %w on this system", errors.ErrUnsupported)
}

// Close does nothing.
func (*PacketTap) Close() error { return nil }

// Forgotten returns 0.
func (*PacketTap) Forgotten() uint64 { return 0 }

// RST has seen nothing.
func (*PacketTap) RST(_, _ netip.AddrPort) (RST, bool) { return RST{}, false }
