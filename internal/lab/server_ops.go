//go:build linux

package lab

import (
	"bytes"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// opRead reads like opRecv, returns the data, and is content as soon as Text
// has come.
func opRead(a *actor, q request, r *response) error {
	deadline := time.Now().Add(q.Wait)
	buf := make([]byte, 1<<16)
	for r.N < q.N && (q.Text == "" || !bytes.Contains(r.Data, []byte(q.Text))) {
		n, _, err := unix.Recvfrom(q.FD, buf[:min(len(buf), q.N-r.N)], 0)
		switch {
		case err == unix.EAGAIN:
			left := time.Until(deadline)
			if left <= 0 {
				return saw(unix.EAGAIN)
			}
			if _, err := pollFD(q.FD, unix.POLLIN, left); err != nil {
				return err
			}
		case err == unix.EINTR:
		case err != nil:
			return saw(err)
		case n == 0:
			return saw(io.EOF)
		default:
			r.N += n
			r.Data = append(r.Data, buf[:n]...)
		}
	}
	return nil
}

// until reads until the text has come, which must succeed, and returns all that
// came.
func (k *sock) until(text string) string {
	r := k.call(request{Op: "read", N: 1 << 20, Text: text, Wait: soon})
	k.read += int64(r.N)
	if r.Errno != "" {
		k.s.fail("%s: waited for %q, got %q and %q", k.p.name, text, r.Data, r.Errno)
	}
	return string(r.Data)
}
