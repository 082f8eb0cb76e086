//go:build !linux

package lab

import (
	"context"
	"errors"
)

var errNotLinux = errors.New("the lab needs network namespaces: run it on Linux")

// Net is a laboratory network. It exists on Linux only.
type Net struct{}

// NewNet fails: the lab needs Linux.
func NewNet(context.Context, Options) (*Net, error) { return nil, errNotLinux }

// Close does nothing.
func (*Net) Close() error { return nil }

// Namespaces returns nothing.
func (*Net) Namespaces() []Namespace { return nil }

// All returns nothing: no scenario can run here.
func All() []Scenario { return nil }

// Missing returns why no scenario can run here.
func Missing(Scenario) string { return errNotLinux.Error() }

// ActorMain does nothing and returns false.
func ActorMain() (handled bool) { return false }
