//go:build !linux

package field

import (
	"context"
	"errors"
)

type output struct{}

func (output) String() string { return "" }

func (r *Running) start(context.Context, string) error {
	return errors.New("namespaces need Linux")
}

// Close does nothing here.
func (r *Running) Close() error { return nil }
