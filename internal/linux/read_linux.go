package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// readFile appends up to limit bytes of a file to b. It avoids os.Open, whose
// attempts to register /proc files with the poller cost as much as the read.
func readFile(path string, b []byte, limit int) ([]byte, error) {
	fd, err := openRetry(path)
	if err != nil {
		return b, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for len(b) < limit {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := unix.Read(fd, b[len(b):min(cap(b), limit)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return b, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return b, nil
		}
		b = b[:len(b)+n]
	}
	return b, nil
}

// openRetry opens a file for reading without ever blocking in a fifo.
func openRetry(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
