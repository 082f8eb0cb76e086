//go:build !linux

package repair

import "github.com/holdfast-project/holdfast/internal/linux"

// Host is the world of a running system, which needs Linux.
type Host struct {
	Dir   string
	Linux *linux.Host
}

// Open needs Linux.
func Open(string, *linux.Host) (*Host, error) { return nil, linux.ErrUnsupported }

// Close does nothing here.
func (h *Host) Close() error { return nil }

// Look needs Linux.
func (h *Host) Look(string, string) (State, error) { return State{}, linux.ErrUnsupported }

// Put needs Linux.
func (h *Host) Put(string, string, State) error { return linux.ErrUnsupported }

// Test needs Linux.
func (h *Host) Test([]string) error { return linux.ErrUnsupported }

// Signal needs Linux.
func (h *Host) Signal(Reload) error { return linux.ErrUnsupported }

// List needs Linux.
func (h *Host) List() ([]string, error) { return nil, linux.ErrUnsupported }

// Read needs Linux.
func (h *Host) Read(string) ([]byte, error) { return nil, linux.ErrUnsupported }

// Append needs Linux.
func (h *Host) Append(string, []byte) error { return linux.ErrUnsupported }

// Remove needs Linux.
func (h *Host) Remove(string) error { return linux.ErrUnsupported }
