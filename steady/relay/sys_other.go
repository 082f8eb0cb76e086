//go:build !linux

package relay

import (
	"errors"
	"syscall"
)

// read reads through the system call of Go's runtime, which other systems have too.
func read(raw syscall.RawConn) (buf *[]byte, n int, err error) {
	return nil, 0, errors.New("the relay needs Linux")
}

func wasReset(syscall.RawConn, int64) bool { return false }
func queued(syscall.RawConn) (int, bool)   { return 0, false }
func isReset(err error) bool               { return errors.Is(err, errReset) }
func isTimeout(error) bool                 { return false }

func bulk(syscall.RawConn, syscall.RawConn, func(int64), func(int64)) (end bool, rerr, werr error) {
	return false, nil, nil
}
