//go:build !unix

package resettest

import (
	"errors"
	"net"
	"syscall"
)

const onUnix = false

// peekAt needs MSG_PEEK.
func peekAt(*net.TCPConn, []byte) (int, error) {
	return 0, errors.ErrUnsupported
}

// abortive needs the option of a socket that is not connected yet.
func abortive(string, string, syscall.RawConn) error { return nil }

// hold needs a socket that is bound and does not listen.
func hold(*net.TCPAddr) (*net.TCPAddr, func(), error) { return nil, nil, errors.ErrUnsupported }

func urgent(*net.TCPConn) error { return errors.ErrUnsupported }
