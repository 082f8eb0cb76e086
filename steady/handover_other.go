//go:build !unix

package steady

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// OfferListeners needs Unix: descriptors are not handed over here.
func OfferListeners(context.Context, string, ...net.Listener) error {
	return fmt.Errorf("steady: offer listeners: %w", errors.ErrUnsupported)
}

type offering struct{}

func newOffering(string, ...net.Listener) (*offering, error) {
	return nil, OfferListeners(context.Background(), "")
}

func (*offering) serve(context.Context) error { return errors.ErrUnsupported }

// Takeover is what a successor gets.
type Takeover struct {
	Listeners []net.Listener // in the order of the offer
}

// TakeListeners needs Unix: descriptors are not handed over here.
func TakeListeners(context.Context, string) (*Takeover, error) {
	return nil, fmt.Errorf("steady: take listeners: %w", errors.ErrUnsupported)
}

// Ready tells the offering process to drain.
func (t *Takeover) Ready() error { return errors.ErrUnsupported }

// Cancel gives up without taking over.
func (t *Takeover) Cancel() { closeListeners(t.Listeners) }
