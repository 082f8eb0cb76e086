package linux

import (
	"errors"

	"golang.org/x/sys/unix"
)

// KernelLog begins to follow the kernel's messages.
func (h *Host) KernelLog() *KernelLog {
	k := &KernelLog{host: h, fd: -1}
	fd, err := unix.Open(h.path("dev/kmsg"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return k
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return k
	}
	k.fd = fd
	return k
}

// drain reads what has come. The caller holds the lock.
func (k *KernelLog) drain() {
	epoch, _ := k.host.epochs()
	var buf [8 << 10]byte
	for range maxKernelReads {
		n, err := unix.Read(k.fd, buf[:])
		if errors.Is(err, unix.EPIPE) { // overwritten while nobody read: go on with the next
			k.dropped++
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		k.keep(buf[:n], epoch)
	}
}

// Close ends the following.
func (k *KernelLog) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fd >= 0 {
		_ = unix.Close(k.fd)
		k.fd = -1
	}
}
