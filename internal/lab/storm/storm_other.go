//go:build !linux

package storm

import (
	"context"
	"errors"
)

// Main does nothing and returns false.
func Main() (handled bool) { return false }

// Run says that this system has no namespaces.
func Run(context.Context, Options) ([]*Termination, error) {
	return nil, errors.New("a storm needs Linux")
}
