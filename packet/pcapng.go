package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, 11.1) that are read; all
// others, such as names, decryption secrets and custom blocks, are passed over.
const (
	blockInterface  = 1
	blockOldPacket  = 2
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6
	blockSection    = magicSection
)

// Options that are read.
const (
	optEnd           = 0
	optComment       = 1
	optFlags         = 2 // of packet blocks
	optDropCount     = 4 // of enhanced packet blocks
	optName          = 2 // of interfaces
	optDescription   = 3
	optTSResol       = 9
	optTSOffset      = 14
	optInterfaceDrop = 5 // of statistics
	optSystemDrop    = 7
	optEndTime       = 3 // of statistics: when the capture ended
)

// clock turns the timestamps of an interface into nanoseconds.
type clock struct {
	mul, div uint64 // ns = ticks * mul / div, one of them 1
	shift    uint8  // or, when not 0, ticks are 2^-shift s
	offset   int64  // ns to add
}

func (c *clock) ns(ticks uint64) int64 {
	switch {
	case c.shift != 0:
		hi, lo := bits.Mul64(ticks&(1<<c.shift-1), 1e9)
		frac := hi<<(64-c.shift) | lo>>c.shift
		return int64(ticks>>c.shift)*1e9 + int64(frac) + c.offset
	case c.div > 1:
		return int64(ticks/c.div) + c.offset
	default:
		return int64(ticks*c.mul) + c.offset
	}
}

// clockOf reads if_tsresol: a power of ten, or of two with the top bit set.
func clockOf(resol uint8, offset int64) clock {
	c := clock{mul: 1, div: 1, offset: offset * 1e9}
	n := resol & 0x7f
	switch {
	case resol&0x80 != 0 && n == 0: // whole seconds
		c.mul = 1e9
	case resol&0x80 != 0:
		c.shift = min(n, 63)
	case n <= 9:
		for range 9 - n {
			c.mul *= 10
		}
	default:
		for range min(n-9, 19) {
			c.div *= 10
		}
	}
	return c
}

// firstSection checks the first block, so that NewReader can refuse a file.
func (r *Reader) firstSection() error {
	h, err := r.fill(12)
	if err != nil {
		return notCapture(h, err)
	}
	if err := r.order(h[8:]); err != nil {
		return fmt.Errorf("read capture: %w: %w", err, ErrFormat)
	}
	return nil
}

func (r *Reader) order(b []byte) error {
	switch {
	case binary.LittleEndian.Uint32(b) == magicOrder:
		r.big = false
	case binary.BigEndian.Uint32(b) == magicOrder:
		r.big = true
	default:
		return fmt.Errorf("a section with byte order %x", b[:4])
	}
	return nil
}

// nextBlock takes one block at b.Data[at:]. Size 0 says that more bytes are
// needed; a size beyond the data says that the rest is to be passed over.
func (r *Reader) nextBlock(b *Batch, at int) (int, error) {
	h := b.Data[at:]
	if len(h) < 12 {
		return 0, nil
	}
	kind := r.u32(h)
	if kind == blockSection {
		if err := r.order(h[8:]); err != nil {
			return 0, err
		}
	}
	size := r.u32(h[4:])
	if size < 12 || size%4 != 0 {
		return 0, fmt.Errorf("a block of %d bytes cannot be", size)
	}
	switch kind {
	case blockEnhanced, blockOldPacket, blockSimple, blockInterface, blockStatistics, blockSection:
	default:
		return int(size), nil
	}
	if size > maxRecord {
		return 0, fmt.Errorf("a block of %d bytes cannot be", size)
	}
	if len(h) < int(size) {
		return 0, nil
	}
	if tail := r.u32(h[size-4:]); tail != size {
		return 0, fmt.Errorf("a block says %d bytes at its begin and %d at its end", size, tail)
	}
	return int(size), r.block(kind, b, at, h[8:size-4])
}

func (r *Reader) block(kind uint32, b *Batch, at int, body []byte) error {
	switch kind {
	case blockEnhanced:
		return r.enhanced(b, at, body)
	case blockInterface:
		return r.addInterface(body)
	case blockSimple:
		return r.simple(b, at, body)
	case blockOldPacket:
		return r.oldPacket(b, at, body)
	case blockStatistics:
		if len(body) >= 12 {
			id := int(r.u32(body))
			r.options(body[12:], func(code uint16, v []byte) { r.statistic(id, code, v) })
		}
	case blockSection:
		if len(body) < 16 {
			return errors.New("a section header is too short")
		}
		r.section, r.clocks = len(r.interfaces), r.clocks[:0]
	}
	return nil
}

func (r *Reader) enhanced(b *Batch, at int, body []byte) error {
	if len(body) < 20 {
		return errors.New("a packet block is too short")
	}
	captured := r.u32(body[12:])
	err := r.addPacket(b, at, 28, r.u32(body), captured, r.u32(body[16:]), uint64(r.u32(body[4:]))<<32|uint64(r.u32(body[8:])), len(body)-20)
	if err != nil {
		return err
	}
	if rest := 20 + int(captured+3)&^3; rest < len(body) {
		r.options(body[rest:], func(code uint16, v []byte) { r.packetOption(b, code, v) })
	}
	return nil
}

func (r *Reader) oldPacket(b *Batch, at int, body []byte) error {
	if len(body) < 20 {
		return errors.New("a packet block is too short")
	}
	captured := r.u32(body[12:])
	err := r.addPacket(b, at, 28, uint32(r.u16(body)), captured, r.u32(body[16:]), uint64(r.u32(body[4:]))<<32|uint64(r.u32(body[8:])), len(body)-20)
	if err != nil {
		return err
	}
	if rest := 20 + int(captured+3)&^3; rest < len(body) {
		r.options(body[rest:], func(code uint16, v []byte) {
			if code == optFlags {
				r.packetOption(b, code, v)
			}
		})
	}
	return nil
}

func (r *Reader) simple(b *Batch, at int, body []byte) error {
	if len(body) < 4 {
		return errors.New("a packet block is too short")
	}
	length := r.u32(body)
	captured := min(length, uint32(len(body)-4))
	if r.section < len(r.interfaces) {
		if snap := r.interfaces[r.section].SnapLen; snap > 0 {
			captured = min(captured, uint32(snap))
		}
	}
	err := r.addPacket(b, at, 12, 0, captured, length, 0, len(body)-4)
	if err == nil {
		b.Records[len(b.Records)-1].Time = 0
	}
	return err
}

// addPacket adds a record whose bytes begin skip bytes into the block at b.Data[at:].
func (r *Reader) addPacket(b *Batch, at, skip int, id, captured, length uint32, ticks uint64, room int) error {
	if id >= uint32(len(r.clocks)) {
		return fmt.Errorf("a frame of interface %d, and the section has %d", id, len(r.clocks))
	}
	if captured > uint32(room) {
		return fmt.Errorf("a frame of %d bytes in a block with room for %d", captured, room)
	}
	index := r.section + int(id)
	rec := b.add()
	rec.Start, rec.Captured, rec.Length = uint32(at+skip), captured, max(length, captured)
	rec.Interface, rec.Link, rec.Direction = uint16(index), r.interfaces[index].Link, DirUnknown
	rec.Time, rec.Offset = r.clocks[id].ns(ticks), r.base+int64(at)
	return nil
}

func (r *Reader) packetOption(b *Batch, code uint16, v []byte) {
	switch {
	case code == optFlags && len(v) == 4:
		if d := Direction(r.u32(v) & 3); d <= DirOut {
			b.Records[len(b.Records)-1].Direction = d
		}
	case code == optDropCount && len(v) == 8:
		r.dropped += r.u64(v)
	}
}

func (r *Reader) statistic(id int, code uint16, v []byte) {
	if code == optEndTime && len(v) == 8 && id < len(r.clocks) {
		ticks := uint64(r.u32(v))<<32 | uint64(r.u32(v[4:]))
		r.until = max(r.until, r.clocks[id].ns(ticks))
	}
	if (code == optInterfaceDrop || code == optSystemDrop) && len(v) == 8 {
		r.dropped, r.counted = r.dropped+r.u64(v), true
	}
}

func (r *Reader) addInterface(body []byte) error {
	if len(body) < 8 {
		return errors.New("an interface block is too short")
	}
	if len(r.interfaces) >= maxInterfaces {
		return fmt.Errorf("more than %d interfaces", maxInterfaces)
	}
	i := Interface{Link: linkOf(r.u16(body)), SnapLen: int(r.u32(body[4:]))}
	resol, offset := uint8(6), int64(0)
	r.options(body[8:], func(code uint16, v []byte) {
		switch {
		case code == optName:
			i.Name = string(v[:min(len(v), maxText)])
		case code == optDescription:
			i.Description = string(v[:min(len(v), maxText)])
		case code == optTSResol && len(v) >= 1:
			resol = v[0]
		case code == optTSOffset && len(v) == 8:
			offset = int64(r.u64(v))
		}
	})
	r.interfaces = append(r.interfaces, i)
	r.clocks = append(r.clocks, clockOf(resol, offset))
	return nil
}

// options walks over a list of options. What is malformed ends it: options are
// never worth the frames.
func (r *Reader) options(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, n := r.u16(b), int(r.u16(b[2:]))
		if code == optEnd || 4+n > len(b) {
			return
		}
		f(code, b[4:4+n])
		b = b[min(4+(n+3)&^3, len(b)):]
	}
}

func (r *Reader) u64(b []byte) uint64 {
	if r.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}
