package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The flood: raw ACK segments to a closed port, each of which the stack
// answers with a reset.

const (
	batch       = 64
	segmentSize = 40 // IPv4 and TCP header
	floodPorts  = 50000
)

type segment [segmentSize]byte

// newSegment is an ACK from 127.0.0.2 to the closed port 9 of 127.0.0.1.
func newSegment() (s segment) {
	s[0], s[8], s[9] = 0x45, 64, unix.IPPROTO_TCP
	copy(s[12:], []byte{127, 0, 0, 2, 127, 0, 0, 1})
	binary.BigEndian.PutUint16(s[22:], 9)
	s[32], s[33] = 5<<4, 1<<4 // header of five words, ACK
	return s
}

// number gives the segment another source port and sequence number, and the
// checksum that belongs to them. The kernel fills in the one of the IP header.
func (s *segment) number(n uint32) {
	binary.BigEndian.PutUint16(s[20:], uint16(10000+n%floodPorts))
	binary.BigEndian.PutUint32(s[24:], n)
	binary.BigEndian.PutUint32(s[28:], 3*n)
	binary.BigEndian.PutUint16(s[36:], 0)
	binary.BigEndian.PutUint16(s[36:], ^s.sum())
}

// sum adds the pseudo header and the TCP header in one's complement (RFC 1071).
func (s *segment) sum() uint16 {
	total := uint32(unix.IPPROTO_TCP + 20)
	for i := 12; i < segmentSize; i += 2 {
		total += uint32(binary.BigEndian.Uint16(s[i:]))
	}
	total = total&0xffff + total>>16
	return uint16(total + total>>16)
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	sent uint32
}

// flood sends segments from two threads and returns how many resets the
// namespace's own counter shows.
func flood(seconds float64) (load, error) {
	before, err := outRsts(os.Getpid())
	if err != nil {
		return load{}, err
	}
	var fds [threads]int
	for i := range fds {
		if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW); err != nil {
			return load{}, fmt.Errorf("open a raw socket: %w", err)
		}
	}
	l, err := timed(seconds, threads, threads, func(id int, stop *atomic.Bool, count *atomic.Uint64) {
		burst(fds[id], uint32(id)*77777, stop, count)
	})
	if err != nil {
		return l, err
	}
	after, err := outRsts(os.Getpid())
	l.Resets = after - before
	return l, err
}

// burst sends batches until it is told to stop.
func burst(fd int, n uint32, stop *atomic.Bool, count *atomic.Uint64) {
	to := loopback(1, 0)
	var segments [batch]segment
	var iov [batch]unix.Iovec
	var msgs [batch]mmsghdr
	for i := range msgs {
		segments[i] = newSegment()
		iov[i] = unix.Iovec{Base: &segments[i][0], Len: segmentSize}
		msgs[i].Iov, msgs[i].Iovlen = &iov[i], 1
		msgs[i].Name, msgs[i].Namelen = (*byte)(unsafe.Pointer(to)), uint32(unsafe.Sizeof(*to))
	}
	for !stop.Load() {
		for i := range segments {
			n++
			segments[i].number(n)
		}
		r, _, _ := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), batch, 0, 0, 0)
		if int(r) > 0 {
			count.Add(uint64(r))
		}
	}
}
