//go:build !linux

package capture

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-project/holdfast/packet"
)

// Live captures from interfaces, on Linux only.
type Live struct{}

// OpenLive fails: other systems have no packet sockets.
func OpenLive(context.Context, string, *LiveOptions) (*Live, error) {
	return nil, fmt.Errorf("open live capture: only on Linux: %w; use `tcpdump -w - | holdfast explain -`", errors.ErrUnsupported)
}

// ReadBatch fails as OpenLive does.
func (*Live) ReadBatch(*packet.Batch) error { return errors.ErrUnsupported }

// Interfaces returns none.
func (*Live) Interfaces() []packet.Interface { return nil }

// Dropped returns 0.
func (*Live) Dropped() uint64 { return 0 }

// Close does nothing.
func (*Live) Close() error { return nil }
