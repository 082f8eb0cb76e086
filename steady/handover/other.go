//go:build !unix

package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Offer needs Unix: descriptors are not handed over here.
func Offer(context.Context, string, ...net.Listener) error {
	return fmt.Errorf("handover: offer listeners: %w", errors.ErrUnsupported)
}

type offering struct{}

func newOffering(string, ...net.Listener) (*offering, error) {
	return nil, Offer(context.Background(), "")
}

func (*offering) serve(context.Context) error { return errors.ErrUnsupported }

// Takeover is what a successor gets.
type Takeover struct {
	Listeners []net.Listener // in the order of the offer
}

// Take needs Unix: descriptors are not handed over here.
func Take(context.Context, string) (*Takeover, error) {
	return nil, fmt.Errorf("handover: take listeners: %w", errors.ErrUnsupported)
}

// Ready tells the offering process to drain.
func (t *Takeover) Ready() error { return errors.ErrUnsupported }

// Cancel gives up without taking over.
func (t *Takeover) Cancel() { closeListeners(t.Listeners) }
