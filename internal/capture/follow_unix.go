//go:build unix

package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// waitReadable waits until a pipe, socket or terminal has something to read or
// has ended; io.EOF when ctx was done first. Deadlines would not do: os.Stdin
// does not support them.
func waitReadable(ctx context.Context, f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("follow pipe: %w", err)
	}
	for ctx.Err() == nil {
		var n int
		var pollErr error
		err := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, pollErr = unix.Poll(fds, int(followEvery.Milliseconds()))
		})
		switch {
		case err != nil:
			return fmt.Errorf("follow pipe: %w", err)
		case pollErr != nil && !errors.Is(pollErr, unix.EINTR):
			return fmt.Errorf("follow pipe: %w", pollErr)
		case pollErr == nil && n > 0:
			return nil
		}
	}
	return io.EOF
}
