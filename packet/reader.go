package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// ErrFormat is the error of NewReader for what is neither pcap nor pcapng.
var ErrFormat = errors.New("not a capture in pcap or pcapng format")

// DamageError says where a capture cannot be read further. Everything before
// was returned.
type DamageError struct {
	Offset int64  // in the uncompressed file, of the record that is damaged
	What   string // what is wrong there
	Cut    bool   // the file only ends too early, as when its writer was killed
}

func (e *DamageError) Error() string {
	if e.Cut {
		return fmt.Sprintf("capture is cut short at byte %d: %s; the frames before it were read, copy the file again if it should be longer", e.Offset, e.What)
	}
	return fmt.Sprintf("capture is damaged at byte %d: %s; the frames before it were read, `editcap IN OUT` or pcapfix may recover those after it", e.Offset, e.What)
}

// Limits against hostile files.
const (
	maxRecord     = 16 << 20 // bytes of one record or of one block that has to be held
	maxInterfaces = 1 << 16
	maxText       = 256       // bytes of a name
	readSize      = 128 << 10 // of one call of Read: small, so that little is carried over
)

// Magic numbers, in the byte order of the writer.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Alexey Kuznetzov's patches: a longer record header
	magicIxiaHW   = 0x1c0001ac // IXIA: nanoseconds, and the size of the file after the header
	magicIxiaSW   = 0x1c0001ab
	magicSection  = 0x0a0d0d0a // pcapng, a palindrome
	magicOrder    = 0x1a2b3c4d
)

// Reader reads the records of a capture.
type Reader struct {
	src   io.Reader
	carry []byte // read and not yet returned
	base  int64  // offset of carry[0] in the file
	skip  int64  // bytes to pass over before carry counts
	frame int64  // number of the next record
	bytes int64
	ended error // of the source, not returned before what it gave is
	err   error // what ReadBatch returns from now on
	idle  int   // reads in a row that gave nothing

	big        bool // byte order of the file or section
	interfaces []Interface
	next       func(r *Reader, b *Batch, at int) (size int, err error)

	// pcap
	header   int   // bytes of a record header
	unit     int64 // ns of a unit of the fraction
	swapLens bool  // versions before 2.4 have the two lengths in either order

	// pcapng
	section int // index of the first interface of the section
	clocks  []clock
	dropped uint64
	counted bool  // whether the capture says what it lost
	until   int64 // when the capture ended, ns since 1970
}

// NewReader reads the header of a capture.
func NewReader(r io.Reader) (*Reader, error) {
	p := &Reader{src: r, frame: 1}
	head, err := p.fill(4)
	if err != nil {
		return nil, notCapture(head, err)
	}
	if binary.LittleEndian.Uint32(head) == magicSection {
		p.next = (*Reader).nextBlock
		if err := p.firstSection(); err != nil {
			return nil, err
		}
		return p, nil
	}
	p.next = (*Reader).nextPcap
	return p, p.pcapHeader(head)
}

// fill makes carry hold at least n bytes.
func (r *Reader) fill(n int) ([]byte, error) {
	for len(r.carry) < n {
		had := len(r.carry)
		r.carry = append(r.carry, make([]byte, n-had)...)
		m, err := io.ReadFull(r.src, r.carry[had:])
		r.carry = r.carry[:had+m]
		r.bytes += int64(m)
		if err != nil {
			return r.carry, err
		}
	}
	return r.carry[:n], nil
}

// drop forgets the first n bytes of carry.
func (r *Reader) drop(n int) {
	r.carry = append(r.carry[:0], r.carry[n:]...)
	r.base += int64(n)
}

func notCapture(head []byte, err error) error {
	switch {
	case errors.Is(err, io.EOF) && len(head) == 0:
		return fmt.Errorf("read capture: the file is empty: %w", ErrFormat)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read capture: only %d bytes: %w", len(head), ErrFormat)
	default:
		return fmt.Errorf("read capture: %w", err)
	}
}

// pcapHeader reads the 24 bytes of struct pcap_file_header.
func (r *Reader) pcapHeader(head []byte) error {
	magic := binary.LittleEndian.Uint32(head)
	switch bits.ReverseBytes32(magic) {
	case magicMicro, magicNano, magicModified, magicIxiaHW, magicIxiaSW:
		r.big, magic = true, bits.ReverseBytes32(magic)
	}
	size := 24
	r.header, r.unit = 16, 1
	switch magic {
	case magicMicro:
		r.unit = 1000
	case magicModified:
		r.unit, r.header = 1000, 24
	case magicNano:
	case magicIxiaHW, magicIxiaSW:
		size = 28
	default:
		return fmt.Errorf("read capture: begins with %x: %w; convert other formats with `editcap IN OUT.pcapng`", head, ErrFormat)
	}
	h, err := r.fill(size)
	if err != nil {
		return notCapture(h, err)
	}
	major, minor := r.u16(h[4:]), r.u16(h[6:])
	r.swapLens = major == 2 && minor < 4 || major == 543 // libpcap sf-pcap.c; 543 is DG/UX
	r.interfaces = []Interface{{Link: linkOf(uint16(r.u32(h[20:]))), SnapLen: int(r.u32(h[16:]))}}
	r.drop(size)
	return nil
}

// linkOf gives the one name to link types that have several.
func linkOf(n uint16) LinkType {
	if LinkType(n) == linkPKTAPLegacy {
		return LinkPKTAP
	}
	return LinkType(n)
}

// nextPcap takes one record of a pcap file at b.Data[at:]. Size 0 says that more
// bytes are needed.
func (r *Reader) nextPcap(b *Batch, at int) (int, error) {
	h := b.Data[at:]
	if len(h) < r.header {
		return 0, nil
	}
	captured, length := r.u32(h[8:]), r.u32(h[12:])
	if r.swapLens && captured > length {
		captured, length = length, captured
	}
	if captured > maxRecord {
		return 0, fmt.Errorf("a frame of %d bytes cannot be", captured)
	}
	size := r.header + int(captured)
	if len(h) < size {
		return 0, nil
	}
	rec := b.add()
	rec.Start, rec.Captured, rec.Length = uint32(at+r.header), captured, max(length, captured)
	rec.Time = int64(r.u32(h))*1e9 + int64(r.u32(h[4:]))*r.unit
	rec.Link, rec.Offset = r.interfaces[0].Link, r.base+int64(at)
	rec.Interface, rec.Direction = 0, DirUnknown
	if r.header == 24 {
		rec.Direction = sllDirection(uint16(h[22]))
	}
	return size, nil
}

// add lengthens Records by one; the caller sets every field of it.
func (b *Batch) add() *Record {
	n := len(b.Records)
	b.Records = b.Records[:n+1]
	return &b.Records[n]
}

// ReadBatch fills b with the next records. It returns io.EOF at a clean end and
// a *DamageError at a bad one, each after everything before it was returned and
// with an empty batch. It returns early, with what there is, when the source
// gave less than was asked for: a pipe is followed without delay.
func (r *Reader) ReadBatch(b *Batch) error {
	r.begin(b)
	if r.err != nil {
		return r.err
	}
	at, short := 0, false // at is where the next record begins
	for {
		var err error
		if at, err = r.parse(b, at); err != nil {
			r.err = &DamageError{Offset: r.base + int64(at), What: err.Error()}
			break
		}
		if len(b.Records) > 0 && (short || len(b.Records) == BatchRecords || len(b.Data) >= BatchBytes) {
			break
		}
		if r.ended != nil {
			r.err = r.end(b, at)
			break
		}
		short = r.more(b)
	}
	r.carry = append(r.carry[:0], b.Data[at:]...)
	r.base += int64(at)
	b.Data = b.Data[:at]
	r.frame += int64(len(b.Records))
	if len(b.Records) > 0 {
		return nil
	}
	return r.err
}

// begin empties b and moves what was carried over into it.
func (r *Reader) begin(b *Batch) {
	if cap(b.Data) < BatchBytes+readSize {
		b.Data = make([]byte, 0, BatchBytes+readSize)
	}
	if cap(b.Records) < BatchRecords {
		b.Records = make([]Record, 0, BatchRecords)
	}
	b.Records, b.First = b.Records[:0], r.frame
	b.Data = append(b.Data[:0], r.carry...)
	r.carry = r.carry[:0]
}

// parse takes records from b.Data[at:] until more bytes are needed or b is full.
func (r *Reader) parse(b *Batch, at int) (int, error) {
	for len(b.Records) < BatchRecords && r.skip == 0 {
		size, err := r.next(r, b, at)
		if err != nil || size == 0 {
			return at, err
		}
		at += size
		if over := at - len(b.Data); over > 0 { // a block that is passed over
			r.skip, at = int64(over), len(b.Data)
		}
	}
	return at, nil
}

// more reads once and says whether the source gave less than it could. The
// buffer grows only when what is there has filled it, so a length that lies
// costs nothing.
func (r *Reader) more(b *Batch) (short bool) {
	if r.skip == 0 && cap(b.Data)-len(b.Data) < readSize {
		b.Data = append(make([]byte, 0, 2*cap(b.Data)), b.Data...)
	}
	room := b.Data[len(b.Data):min(cap(b.Data), len(b.Data)+readSize)]
	if r.skip > 0 {
		if len(room) == 0 {
			room = make([]byte, readSize)
		}
		room = room[:min(int64(len(room)), r.skip)]
	}
	n, err := r.src.Read(room)
	if n == 0 && err == nil {
		if r.idle++; r.idle > 100 {
			err = io.ErrNoProgress
		}
	} else {
		r.idle = 0
	}
	r.bytes += int64(n)
	r.ended = err
	if r.skip > 0 { // everything in b was taken
		r.skip -= int64(n)
		r.base += int64(n)
		return false
	}
	b.Data = b.Data[:len(b.Data)+n]
	return n < len(room)
}

// end says how a capture ended, with b.Data[at:] left over.
func (r *Reader) end(b *Batch, at int) error {
	left := len(b.Data) - at
	cut := &DamageError{Offset: r.base + int64(at), Cut: true}
	switch {
	case errors.Is(r.ended, io.ErrUnexpectedEOF): // of a decompressor
		cut.What = "the compressed file ends too early"
	case !errors.Is(r.ended, io.EOF):
		return fmt.Errorf("read capture: %w", r.ended)
	case r.skip > 0:
		cut.What = fmt.Sprintf("%d bytes of a block are missing", r.skip)
	case left > 0:
		cut.What = fmt.Sprintf("the last record has only %d bytes", left)
	default:
		return io.EOF
	}
	return cut
}

// Interfaces returns the interfaces met so far, of all sections.
func (r *Reader) Interfaces() []Interface { return r.interfaces }

// Bytes returns how many bytes of the (uncompressed) capture were read so far.
func (r *Reader) Bytes() int64 { return r.bytes }

// Dropped returns how many frames the capturing program says it lost, by the
// statistics of pcapng; pcap has none.
func (r *Reader) Dropped() uint64 { return r.dropped }

// Counted reports whether the capture says how many frames it lost. If not,
// Dropped is no answer.
func (r *Reader) Counted() bool { return r.counted }

// Until returns when the capture ended by its own statistics, ns since 1970; 0
// when it does not say.
func (r *Reader) Until() int64 { return r.until }

func (r *Reader) u32(b []byte) uint32 {
	if r.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *Reader) u16(b []byte) uint16 {
	if r.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}
