package drain

import "golang.org/x/sys/unix"

// unread returns the octets in the receive queue (SIOCINQ, tcp(7)).
func unread(fd uintptr) (int, bool) {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	return n, err == nil
}
