//go:build unix && !linux

package handover

import "net"

// samePeer trusts the mode of the socket.
func samePeer(*net.UnixConn) error { return nil }
