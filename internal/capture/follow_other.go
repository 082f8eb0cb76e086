//go:build !unix

package capture

import (
	"context"
	"os"
)

// waitReadable does not wait here: reading a pipe ends when the pipe does.
func waitReadable(context.Context, *os.File) error { return nil }
