// Package traffic makes captures for tests and benchmarks: many short
// connections at the same time in small packets, a share of which is reset in
// several ways. The same options give the same bytes everywhere: time and
// chance come from counters. It streams, so that a capture of any size needs
// neither disk nor memory, and knows nothing of how captures are explained.
//
// To look at what it makes: cd bench && go run . role traffic mixed 1000 | tshark -r -
package traffic

import (
	"encoding/binary"
	"io"
)

// Options say what to make.
type Options struct {
	Packets int64 // how many; 0 means 100,000
	Conns   int   // connections at the same time; 0 means 2,000
	Resets  int   // one connection in so many ends badly; 0 means 100, below 0 none
	V6      bool  // IPv6 instead of IPv4
	Scan    bool  // nothing but SYNs that are refused, a new port each time
}

// Source makes packets one after the other.
type Source struct {
	o     Options
	left  int64
	time  int64 // ns since 1970
	rand  uint64
	conns []conn
	born  uint64 // connections begun
	frame [1024]byte
}

// start is the time of the first packet, 2024-01-01.
const start = 1704067200 * 1e9

// New returns a source at its first packet.
func New(o Options) *Source {
	if o.Packets == 0 {
		o.Packets = 100_000
	}
	if o.Conns == 0 {
		o.Conns = 2000
	}
	if o.Resets == 0 {
		o.Resets = 100
	}
	s := &Source{o: o, left: o.Packets, time: start, rand: 0x9e3779b97f4a7c15, conns: make([]conn, o.Conns)}
	for i := range s.conns {
		s.open(&s.conns[i])
	}
	return s
}

// chance returns the next number of xorshift64* (Vigna 2016).
func (s *Source) chance() uint64 {
	s.rand ^= s.rand >> 12
	s.rand ^= s.rand << 25
	s.rand ^= s.rand >> 27
	return s.rand * 2685821657736338717
}

// Next returns the next frame, which is valid until the next call, and its
// time in ns since 1970; nil at the end.
func (s *Source) Next() (frame []byte, time int64) {
	if s.left == 0 {
		return nil, 0
	}
	s.left--
	r := s.chance()
	s.time += int64(r>>40) % 40_000 // 50,000 packets in a second
	c := &s.conns[int(uint32(r))%len(s.conns)]
	p := c.next()
	n := s.write(c, p)
	if c.step++; c.done() {
		s.open(c)
	}
	return s.frame[:n], s.time
}

// headers of a pcap file with nanoseconds.
const (
	fileHeader = 24
)

// Reader returns the packets as a pcap file.
func Reader(o Options) io.Reader {
	r := &reader{src: New(o), rest: make([]byte, fileHeader, 2048)}
	h := r.rest
	binary.LittleEndian.PutUint32(h, 0xa1b23c4d)
	binary.LittleEndian.PutUint32(h[4:], 4<<16|2) // version 2.4
	binary.LittleEndian.PutUint32(h[16:], 262144)
	binary.LittleEndian.PutUint32(h[20:], 1) // Ethernet
	return r
}

type reader struct {
	src  *Source
	rest []byte // written and not yet read
	buf  []byte // that rest is a part of
}

// Read fills p as long as there are packets.
func (r *reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.rest) == 0 && !r.record() {
			if n == 0 && len(p) > 0 {
				err = io.EOF
			}
			return n, err
		}
		m := copy(p[n:], r.rest)
		r.rest = r.rest[m:]
		n += m
	}
	return n, nil
}

func (r *reader) record() bool {
	f, at := r.src.Next()
	if f == nil {
		return false
	}
	b := binary.LittleEndian.AppendUint32(r.buf[:0], uint32(at/1e9))
	b = binary.LittleEndian.AppendUint32(b, uint32(at%1e9))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
	r.buf = append(b, f...)
	r.rest = r.buf
	return true
}
