package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followEvery is how often the end of a growing file is looked at.
const followEvery = 100 * time.Millisecond

// follower waits at the end of what it reads until ctx is done.
type follower struct {
	ctx  context.Context // in the struct, because Read has no argument for it
	r    io.Reader
	file *os.File // nil when r is no file
	grow bool     // a regular file: its end is not the end
	at   int64
}

// following wraps a reader. A pipe ends when its writers are gone; while there
// are none yet, and while they write nothing, ctx still ends the wait.
func following(ctx context.Context, r io.Reader) io.Reader {
	f := &follower{ctx: ctx, r: r}
	if file, ok := r.(*os.File); ok {
		f.file = file
		if st, err := file.Stat(); err == nil {
			f.grow = st.Mode().IsRegular()
		}
	}
	return f
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		if f.ctx.Err() != nil && !f.grow {
			return 0, io.EOF
		}
		if f.file != nil && !f.grow {
			if err := waitReadable(f.ctx, f.file); err != nil {
				return 0, err
			}
		}
		n, err := f.r.Read(p)
		f.at += int64(n)
		if n > 0 || !f.grow || !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := f.wait(); err != nil {
			return 0, err
		}
	}
}

// wait passes some time at the end of a growing file. What it had before ctx was
// done is read to its end.
func (f *follower) wait() error {
	st, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("follow file: %w", err)
	}
	if st.Size() < f.at {
		return errors.New("follow file: it became shorter while it was read; start again, and let the capturing program rotate by name")
	}
	if f.ctx.Err() != nil {
		return io.EOF
	}
	t := time.NewTimer(followEvery)
	defer t.Stop()
	select {
	case <-f.ctx.Done():
	case <-t.C:
	}
	return nil
}
