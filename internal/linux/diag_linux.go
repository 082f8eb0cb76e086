package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"

	"github.com/holdfast-project/holdfast/internal/netlink"
	"golang.org/x/sys/unix"
)

// sockDiagByFamily is SOCK_DIAG_BY_FAMILY (linux/sock_diag.h).
const sockDiagByFamily = 20

// Sockets streams the TCP sockets of a namespace, IPv4 and IPv6, that are in
// one of the states. It needs no privilege in one's own namespace. Costs about
// a microsecond for each socket; a table that changes meanwhile may miss or
// repeat some.
func (h *Host) Sockets(ns Netns, states States) iter.Seq2[Socket, error] {
	return func(yield func(Socket, error) bool) {
		conn, err := h.Netlink(ns, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			yield(Socket{}, err)
			return
		}
		defer conn.Close()
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			req := make([]byte, sizeDiagReq)
			req[0], req[1], req[2] = family, unix.IPPROTO_TCP, 1<<(diagInfo-1)
			binary.NativeEndian.PutUint32(req[4:], uint32(states))
			err := conn.Dump(sockDiagByFamily, req, func(b []byte) error {
				if s, ok := parseSocket(b); ok && !yield(s, nil) {
					return netlink.ErrStop
				}
				return nil
			})
			switch err {
			case nil, netlink.ErrInterrupted:
			case netlink.ErrStop:
				return
			case unix.ENOENT: // no IPv6, or no inet_diag for it
			default:
				yield(Socket{}, fmt.Errorf("list sockets: %w", err))
				return
			}
		}
	}
}

// Socket looks one connection up by its addresses, without reading the table:
// about 15 microseconds. When nothing but a listener would take its segments,
// that is returned. It is false when nothing is there.
func (h *Host) Socket(ns Netns, local, remote netip.AddrPort) (s Socket, ok bool, err error) {
	conn, err := h.Netlink(ns, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return s, false, err
	}
	defer conn.Close()
	req := make([]byte, sizeDiagReq)
	req[0], req[1], req[2] = unix.AF_INET, unix.IPPROTO_TCP, 1<<(diagInfo-1)
	src, dst := local.Addr().Unmap(), remote.Addr().Unmap()
	if src.Is6() {
		req[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(req[4:], uint32(AllStates))
	binary.BigEndian.PutUint16(req[8:], local.Port())
	binary.BigEndian.PutUint16(req[10:], remote.Port())
	copy(req[12:28], src.AsSlice())
	copy(req[28:44], dst.AsSlice())
	for i := 48; i < 56; i++ {
		req[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	err = conn.Request(sockDiagByFamily, 0, req, func(_ uint16, b []byte) error {
		s, ok = parseSocket(b)
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("look up socket: %w", err)
	}
	return s, ok, nil
}

// OwnersOfInodes finds which process holds each of the socket inodes, by
// reading /proc/PID/fd of every process, about a microsecond for each open
// file, until all are found. Of several holders the lowest number counts.
func (h *Host) OwnersOfInodes(set map[uint64]bool) map[uint64]int {
	out := make(map[uint64]int, len(set))
	if len(set) == 0 {
		return out
	}
	pids, _ := h.pids()
	for _, pid := range pids {
		h.socketFDs(pid, func(inode uint64) bool {
			if _, done := out[inode]; set[inode] && !done {
				out[inode] = pid
			}
			return len(out) < len(set)
		})
		if len(out) == len(set) {
			break
		}
	}
	return out
}

// SocketOwners finds the processes that hold sockets, by the sockets' inodes, at
// most so many. Of several that share a socket it names the one with the lowest
// process id.
func (h *Host) SocketOwners(most int) map[uint64]int {
	out := map[uint64]int{}
	pids, _ := h.pids()
	for _, pid := range pids {
		h.socketFDs(pid, func(inode uint64) bool {
			if _, done := out[inode]; !done {
				out[inode] = pid
			}
			return len(out) < most
		})
	}
	return out
}

// socketFDs calls f with the inode of each socket that a process has open.
func (h *Host) socketFDs(pid int, f func(inode uint64) bool) {
	dir, err := unix.Open(h.proc(pid, "fd"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	var buf [8 << 10]byte
	var link [64]byte
	var names []string
	for seen := 0; seen < maxCountFDs; {
		n, err := unix.ReadDirent(dir, buf[:])
		if err != nil || n <= 0 {
			return
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		seen += len(names)
		for _, name := range names {
			n, err := unix.Readlinkat(dir, name, link[:])
			if err != nil {
				continue
			}
			if inode, ok := socketInode(link[:n]); ok && !f(inode) {
				return
			}
		}
	}
}

// socketInode parses "socket:[12345]".
func socketInode(b []byte) (uint64, bool) {
	const prefix = "socket:["
	if len(b) <= len(prefix) || string(b[:len(prefix)]) != prefix || b[len(b)-1] != ']' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[len(prefix):len(b)-1]), 10, 64)
	return n, err == nil
}
