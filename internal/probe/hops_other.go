//go:build !linux

package probe

import (
	"context"
	"errors"
	"net/netip"
)

const canLocate = false

func shoot(context.Context, netip.AddrPort, int, []byte) (hit, error) {
	return failed, errors.ErrUnsupported
}

func reach(context.Context, netip.AddrPort, int) bool { return false }
