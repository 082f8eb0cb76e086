package nft

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/holdfast-project/holdfast/internal/linux"
	"golang.org/x/sys/unix"
)

// getsockopt of legacy iptables, the same for both families
// (IPT_BASE_CTL and IP6T_BASE_CTL are 64).
const (
	iptGetInfo    = 64
	iptGetEntries = 65
	maxLegacySize = 16 << 20
)

// legacyTable reads one table of legacy iptables in a namespace.
func (r *Reader) legacyTable(ns linux.Netns, family uint8, table string) (rules []Rule, err error) {
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if family == familyIPv6 {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd := -1
	err = r.Host.Do(ns, func() (err error) {
		fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open socket for iptables: %w", err)
	}
	defer unix.Close(fd)
	for range 4 { // the size may change between the two calls
		info, err := legacyInfo(fd, level, table)
		if err != nil {
			return nil, err
		}
		if info.size > maxLegacySize {
			return nil, fmt.Errorf("table %s of iptables is too large", table)
		}
		b := make([]byte, 40+info.size) // the entries are aligned to eight bytes
		copy(b[:31], table)
		binary.NativeEndian.PutUint32(b[32:], info.size)
		err = getsockopt(fd, level, iptGetEntries, b)
		if err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read table %s of iptables: %w", table, err)
		}
		return parseLegacy(family, table, info, b[40:]), nil
	}
	return nil, fmt.Errorf("read table %s of iptables: it keeps changing", table)
}

// legacyInfo asks for hooks and size of a table.
func legacyInfo(fd, level int, table string) (info iptInfo, err error) {
	var b [84]byte
	copy(b[:31], table)
	if err := getsockopt(fd, level, iptGetInfo, b[:]); err != nil {
		return info, fmt.Errorf("read table %s of iptables: %w", table, err)
	}
	info.valid, info.size = binary.NativeEndian.Uint32(b[32:]), binary.NativeEndian.Uint32(b[80:])
	for i := range info.entry {
		info.entry[i], info.end[i] = binary.NativeEndian.Uint32(b[36+4*i:]), binary.NativeEndian.Uint32(b[56+4*i:])
	}
	return info, nil
}

// getsockopt passes a buffer that holds the question and gets the answer.
func getsockopt(fd, level, name int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
