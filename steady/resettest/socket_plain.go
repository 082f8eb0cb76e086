//go:build !unix

package resettest

import (
	"errors"
	"net"
)

const onUnix = false

// peekAt needs MSG_PEEK.
func peekAt(*net.TCPConn, []byte) (int, error) {
	return 0, errors.ErrUnsupported
}

// hold needs a socket that is bound and does not listen.
func hold(*net.TCPAddr) (*net.TCPAddr, func(), error) { return nil, nil, errors.ErrUnsupported }
