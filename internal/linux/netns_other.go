//go:build !linux

package linux

import (
	"iter"
	"net/netip"
)

func (h *Host) findNetnses([]string) ([]Netns, error) { return nil, ErrUnsupported }

func (h *Host) inspect(*Netns) error { return ErrUnsupported }

// Do needs Linux.
func (h *Host) Do(Netns, func() error) error { return ErrUnsupported }

// Sockets needs Linux.
func (h *Host) Sockets(Netns, States) iter.Seq2[Socket, error] {
	return func(yield func(Socket, error) bool) { yield(Socket{}, ErrUnsupported) }
}

// Socket needs Linux.
func (h *Host) Socket(Netns, netip.AddrPort, netip.AddrPort) (Socket, bool, error) {
	return Socket{}, false, ErrUnsupported
}

// OwnersOfInodes needs Linux; it finds nothing elsewhere.
func (h *Host) OwnersOfInodes(map[uint64]bool) map[uint64]int { return nil }

// SocketOwners needs Linux; it is empty elsewhere.
func (h *Host) SocketOwners(int) map[uint64]int { return nil }

// Alive needs Linux; it is false elsewhere.
func (h *Host) Alive(Netns) bool { return false }

// Conntrack needs Linux.
func (h *Host) Conntrack(Netns) (Conntrack, bool, error) { return Conntrack{}, false, ErrUnsupported }

// ConntrackEntry needs Linux.
func (h *Host) ConntrackEntry(Netns, CTTuple) (CTEntry, bool, error) {
	return CTEntry{}, false, ErrUnsupported
}

// Network needs Linux.
func (h *Host) Network(Netns) (Network, error) { return Network{}, ErrUnsupported }

// SysctlDefaults needs Linux.
func (h *Host) SysctlDefaults() (map[string]string, error) { return nil, ErrUnsupported }
