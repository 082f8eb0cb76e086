package synth

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// The TCP flags.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// seg is a segment on its way.
type seg struct {
	src, dst     *host
	sport, dport uint16
	flags        uint8
	seq, ack     uint32
	window       uint16
	ttl          uint8
	id           uint16
	ts           bool
	data         []byte
	mac          byte // of the device that sent it, 0 for that of its source
	truth        *Truth
	fromFront    bool // of the load balancer in front of its source
}

// seen is a segment where it was captured.
type seen struct {
	at    int64
	order int
	ttl   uint8
	mac   byte
	seg   *seg
}

// Truth is what is known of one RST.
type Truth struct {
	Stream  int    // numbered by the first frames of connections
	Client  string // address and port
	Server  string
	Frame   int    // from 1
	Sender  string // client, server, middlebox or injector
	Verdict string // in the words of the table of labels
	Note    string // stack, device and class
}

// frame6 puts what stands in an IPv4 packet into one of IPv6 (RFC 3849 addresses).
func frame6(b []byte) []byte {
	t := b[34:]
	out := make([]byte, 54+len(t))
	copy(out, b[:12])
	out[12], out[13], out[14] = 0x86, 0xdd, 0x60
	binary.BigEndian.PutUint16(out[18:], uint16(len(t)))
	out[20], out[21] = 6, b[22]
	for i, from := range []int{26, 30} {
		at := out[22+16*i:]
		binary.BigEndian.PutUint32(at, 0x20010db8)
		copy(at[12:16], b[from:from+4])
	}
	copy(out[54:], t)
	t = out[54:]
	t[16], t[17] = 0, 0
	binary.BigEndian.PutUint16(t[16:], ^fold(sum(sum(uint64(6+len(t)), out[22:54]), t)))
	return out
}

// frame writes a segment as an Ethernet frame.
func (s *seen) frame() []byte {
	g := s.seg
	options := 0
	switch {
	case g.flags&syn != 0 && g.src.options:
		options = 20
	case g.flags&syn != 0:
		options = 4
	case g.ts:
		options = 12
	}
	b := make([]byte, 54+options+len(g.data))
	copy(b, []byte{2, 0, 0, 0, 0, 99, 2, 0, 0, 0, 0, s.mac, 8, 0, 0x45, 0})
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
	binary.BigEndian.PutUint16(b[18:], g.id)
	b[20], b[22], b[23] = 0x40, s.ttl, 6
	binary.BigEndian.PutUint32(b[26:], g.src.addr)
	binary.BigEndian.PutUint32(b[30:], g.dst.addr)
	binary.BigEndian.PutUint16(b[24:], ^fold(sum(0, b[14:34])))
	t := b[34:]
	binary.BigEndian.PutUint16(t, g.sport)
	binary.BigEndian.PutUint16(t[2:], g.dport)
	binary.BigEndian.PutUint32(t[4:], g.seq)
	binary.BigEndian.PutUint32(t[8:], g.ack)
	t[12], t[13] = byte((20+options)/4)<<4, g.flags
	binary.BigEndian.PutUint16(t[14:], g.window)
	stamp := uint32(s.at / 1e6)
	switch options {
	case 20:
		copy(t[20:], []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7})
		binary.BigEndian.PutUint32(t[28:], stamp)
	case 4:
		copy(t[20:], []byte{2, 4, 5, 180})
	case 12:
		copy(t[20:], []byte{1, 1, 8, 10})
		binary.BigEndian.PutUint32(t[24:], stamp)
	}
	copy(t[20+options:], g.data)
	binary.BigEndian.PutUint16(t[16:], ^fold(sum(sum(uint64(6+len(t)), b[26:34]), t)))
	return b
}

func sum(acc uint64, b []byte) uint64 {
	for ; len(b) > 1; b = b[2:] {
		acc += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

func fold(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// enough is how many RSTs of one end of a connection, with the same reason, are
// told.
const enough = 2

// capture writes what the place of capture saw as a pcap file, and returns the
// truth of the RSTs in it.
func (w *world) capture() (file []byte, truth []Truth) {
	slices.SortStableFunc(w.log, func(a, b seen) int {
		if a.at != b.at {
			return int(min(max(a.at-b.at, -1), 1))
		}
		return a.order - b.order
	})
	var out bytes.Buffer
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b23c4d) // with nanoseconds
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], 262144)
	binary.LittleEndian.PutUint32(head[20:], 1)
	out.Write(head)
	streams := map[uint64]int{}
	told := map[Truth]int{} // the same again says nothing new
	for i := range w.log {
		s := &w.log[i]
		if s.at < w.from || w.lossy > 0 && w.chance.IntN(w.lossy) == 0 {
			continue
		}
		w.frames++
		b := s.frame()
		if w.v6 {
			b = frame6(b)
		}
		rec := make([]byte, 16)
		binary.LittleEndian.PutUint32(rec, uint32(s.at/1e9))
		binary.LittleEndian.PutUint32(rec[4:], uint32(s.at%1e9))
		binary.LittleEndian.PutUint32(rec[8:], uint32(len(b)))
		binary.LittleEndian.PutUint32(rec[12:], uint32(len(b)))
		out.Write(rec)
		out.Write(b)
		key := s.seg.key()
		if _, ok := streams[key]; !ok {
			streams[key] = len(streams)
		}
		if t := s.seg.truth; t != nil && t.Frame == 0 {
			if told[*t]++; told[*t] > enough || w.copies && told[*t] > 1 { // one of these may be a copy
				continue
			}
			t.Frame, t.Stream = w.frames, streams[key]
			truth = append(truth, *t)
		}
	}
	return out.Bytes(), truth
}

// key names the connection: the place that its client has, and its port.
func (g *seg) key() uint64 {
	if g.src.near {
		return uint64(g.src.addr)<<32 ^ uint64(g.dst.addr)<<8 ^ uint64(g.sport)<<16 ^ uint64(g.dport)
	}
	return uint64(g.dst.addr)<<32 ^ uint64(g.src.addr)<<8 ^ uint64(g.dport)<<16 ^ uint64(g.sport)
}
