package capture

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// xzMaxDictionary bounds what a hostile file can make us hold: what `xz -9` uses.
const xzMaxDictionary = 64 << 20

var errXz = errors.New("the xz data are damaged")

// xzReader decompresses the .xz format 1.2.0 (https://tukaani.org/xz/xz-file-format.txt)
// with the one filter that `xz` uses for files, LZMA2, and verifies its checks.
type xzReader struct {
	in    *xzCounter
	check byte      // of the stream
	sum   hash.Hash // of the block, nil for none
	block bool      // inside one
	lzma  lzma2
	out   []byte // decompressed and not yet read
	err   error
}

// xzCounter counts what was read, because blocks are padded to multiples of 4.
type xzCounter struct {
	r *bufio.Reader
	n int64
}

func (c *xzCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *xzCounter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func newXzReader(r io.Reader) (*xzReader, error) {
	x := &xzReader{in: &xzCounter{r: bufio.NewReaderSize(r, 64<<10)}}
	return x, x.streamHeader()
}

// Read gives the decompressed bytes.
func (x *xzReader) Read(p []byte) (int, error) {
	for len(x.out) == 0 && x.err == nil {
		x.err = x.more()
	}
	if len(x.out) == 0 {
		return 0, x.err
	}
	n := copy(p, x.out)
	x.out = x.out[n:]
	return n, nil
}

// more decompresses one chunk, or passes to the next block or stream.
func (x *xzReader) more() error {
	if !x.block {
		return early(x.blockHeader())
	}
	out, err := x.lzma.chunk(x.in)
	if err != nil {
		return early(err)
	}
	if out == nil {
		x.block = false
		return early(x.blockEnd())
	}
	if x.out = out; x.sum != nil {
		x.sum.Write(out)
	}
	return nil
}

// early turns an end in the middle into io.ErrUnexpectedEOF; the true end is errXzEnd.
func early(err error) error {
	switch {
	case errors.Is(err, errXzEnd):
		return io.EOF
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

var errXzEnd = errors.New("end of the last stream")

// fixed reads n bytes.
func (x *xzReader) fixed(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(x.in, b)
	return b, err
}

func (x *xzReader) streamHeader() error {
	b, err := x.fixed(12)
	if err != nil {
		return early(err)
	}
	if string(b[:6]) != string(magicXz) || b[6] != 0 || crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return errXz
	}
	switch x.check = b[7]; x.check {
	case 0:
		x.sum = nil
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	default:
		return fmt.Errorf("xz: check %d is not known", x.check)
	}
	x.in.n = 0
	return nil
}

// blockHeader reads a block header; a size of 0 is the index instead.
func (x *xzReader) blockHeader() error {
	size, err := x.in.ReadByte()
	if err != nil {
		return err
	}
	if size == 0 {
		return x.index()
	}
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if _, err := io.ReadFull(x.in, h[1:]); err != nil {
		return err
	}
	end := len(h) - 4
	if crc32.ChecksumIEEE(h[:end]) != binary.LittleEndian.Uint32(h[end:]) {
		return errXz
	}
	b := h[2:end]
	for _, flag := range []byte{0x40, 0x80} { // the sizes of the block, which its data tell too
		if h[1]&flag != 0 {
			_, n := binary.Uvarint(b)
			if n <= 0 {
				return errXz
			}
			b = b[n:]
		}
	}
	const lzma2Filter = 0x21
	if h[1]&3 != 0 || len(b) < 3 || b[0] != lzma2Filter || b[1] != 1 {
		return errors.New("xz: a filter other than LZMA2; use `xz -dc FILE | holdfast explain -`")
	}
	dictionary := uint64(2|b[2]&1) << (b[2]/2 + 11)
	if b[2] > 40 || dictionary > xzMaxDictionary {
		return fmt.Errorf("xz: a dictionary of more than %d MiB; use `xz -dc FILE | holdfast explain -`", xzMaxDictionary>>20)
	}
	x.lzma.open(int(dictionary))
	if x.block = true; x.sum != nil {
		x.sum.Reset()
	}
	return nil
}

// blockEnd reads padding and check.
func (x *xzReader) blockEnd() error {
	if _, err := x.fixed(int(-x.in.n & 3)); err != nil || x.sum == nil {
		return err
	}
	got, err := x.fixed(x.sum.Size())
	if err != nil {
		return err
	}
	want := x.sum.Sum(nil)
	for i := range want {
		j := i
		if x.sum.Size() < 32 { // a CRC is little-endian
			j = len(want) - 1 - i
		}
		if got[i] != want[j] {
			return errXz
		}
	}
	return nil
}

// index passes the index and the footer. Another stream may follow, after zeros.
func (x *xzReader) index() error {
	n, err := binary.ReadUvarint(x.in)
	if err != nil {
		return err
	}
	for range min(n, 1<<40) * 2 {
		if _, err := binary.ReadUvarint(x.in); err != nil {
			return err
		}
	}
	rest := int(-x.in.n&3) + 4 + 12
	b, err := x.fixed(rest)
	if err != nil {
		return err
	}
	if string(b[rest-2:]) != "YZ" {
		return errXz
	}
	for {
		switch head, err := x.in.r.Peek(4); {
		case len(head) == 0 && errors.Is(err, io.EOF):
			return errXzEnd
		case err != nil:
			return err
		case binary.LittleEndian.Uint32(head) != 0:
			return x.streamHeader()
		}
		if _, err := x.fixed(4); err != nil {
			return err
		}
	}
}

// lzma2 decodes LZMA2: chunks of at most 2 MiB, each LZMA or plain.
type lzma2 struct {
	window     []byte // what was decompressed last, at least a dictionary of it
	dictionary int
	since      int // bytes since the dictionary was reset
	ready      [3]bool
	packed     []byte
	rc         rangeDecoder
	lzmaState
}

// What must have been reset before a chunk can be read.
const (
	haveDictionary = iota
	haveState
	haveProperties
)

const maxChunk = 2 << 20

func (l *lzma2) open(dictionary int) {
	l.dictionary, l.since, l.ready = dictionary, 0, [3]bool{}
	l.window = l.window[:0]
}

// chunk returns the bytes of one chunk, nil at the end.
func (l *lzma2) chunk(in *xzCounter) ([]byte, error) {
	control, err := in.ReadByte()
	if err != nil || control == 0 {
		return nil, err
	}
	var h [4]byte
	if _, err := io.ReadFull(in, h[:2]); err != nil {
		return nil, err
	}
	if len(l.window) > l.dictionary+maxChunk {
		l.window = append(l.window[:0], l.window[len(l.window)-l.dictionary:]...)
	}
	if control == 1 || control >= 0xe0 {
		l.since, l.ready[haveDictionary] = 0, true
	}
	size := int(binary.BigEndian.Uint16(h[:])) + 1
	start := len(l.window)
	switch {
	case !l.ready[haveDictionary] || control > 2 && control < 0x80:
		return nil, errXz
	case control <= 2:
		l.window = append(l.window, make([]byte, size)...)
		_, err = io.ReadFull(in, l.window[start:])
		l.since += size
	default:
		size += int(control&0x1f) << 16
		err = l.packedChunk(in, control>>5&3, size)
	}
	if err != nil {
		l.window = l.window[:start]
		return nil, err
	}
	return l.window[start:], nil
}

// packedChunk decodes a chunk of LZMA that becomes size bytes.
func (l *lzma2) packedChunk(in *xzCounter, reset byte, size int) error {
	var h [2]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return err
	}
	packed := int(binary.BigEndian.Uint16(h[:])) + 1
	if reset >= 2 {
		p, err := in.ReadByte()
		if err != nil {
			return err
		}
		if !l.properties(p) {
			return errXz
		}
		l.ready[haveProperties] = true
	}
	if !l.ready[haveProperties] {
		return errXz
	}
	if reset >= 1 {
		l.reset()
		l.ready[haveState] = true
	}
	if l.packed = append(l.packed[:0], make([]byte, packed)...); !l.ready[haveState] || packed < 5 {
		return errXz
	}
	if _, err := io.ReadFull(in, l.packed); err != nil {
		return err
	}
	l.rc = rangeDecoder{in: l.packed[5:], width: 1<<32 - 1, code: binary.BigEndian.Uint32(l.packed[1:])}
	if l.packed[0] != 0 || !l.decode(size) || l.rc.short || l.rc.code != 0 || len(l.rc.in) != 0 {
		return errXz
	}
	return nil
}

// rangeDecoder takes bits from a chunk (LZMA specification, "Range coder").
type rangeDecoder struct {
	in          []byte
	width, code uint32
	short       bool // more was taken than there is
}

func (r *rangeDecoder) normalize() {
	if r.width >= 1<<24 {
		return
	}
	r.width <<= 8
	r.code <<= 8
	if len(r.in) == 0 {
		r.short = true
		return
	}
	r.code |= uint32(r.in[0])
	r.in = r.in[1:]
}

func (r *rangeDecoder) bit(p *uint16) uint32 {
	bound := r.width >> 11 * uint32(*p)
	if r.code < bound {
		r.width = bound
		*p += (2048 - *p) >> 5
		r.normalize()
		return 0
	}
	r.width -= bound
	r.code -= bound
	*p -= *p >> 5
	r.normalize()
	return 1
}

// direct takes n bits of even probability.
func (r *rangeDecoder) direct(n uint32) (v uint32) {
	for range n {
		r.width >>= 1
		b := uint32(0)
		if r.code >= r.width {
			r.code -= r.width
			b = 1
		}
		v = v<<1 | b
		r.normalize()
	}
	return v
}

// tree takes a number whose first bit is the highest; len(p) is a power of two.
func (r *rangeDecoder) tree(p []uint16) uint32 {
	m := uint32(1)
	for int(m) < len(p) {
		m = m<<1 | r.bit(&p[m])
	}
	return m - uint32(len(p))
}

// reverse takes n bits, the lowest first.
func (r *rangeDecoder) reverse(p []uint16, n uint32) (v uint32) {
	m := uint32(1)
	for i := range n {
		b := r.bit(&p[m])
		m = m<<1 | b
		v |= b << i
	}
	return v
}

// lengths decodes the length of a match, less 2.
type lengths struct {
	choice   [2]uint16
	low, mid [16][8]uint16
	high     [256]uint16
}

func (l *lengths) decode(r *rangeDecoder, at int) int {
	switch {
	case r.bit(&l.choice[0]) == 0:
		return int(r.tree(l.low[at][:]))
	case r.bit(&l.choice[1]) == 0:
		return 8 + int(r.tree(l.mid[at][:]))
	}
	return 16 + int(r.tree(l.high[:]))
}

// lzmaState is what LZMA has learnt: the probabilities of its decisions by the
// kinds of the last four of them, and the last four distances.
type lzmaState struct {
	literalContext, literalPosition, position uint // lc, lp, pb
	lzmaProbabilities
	literals []uint16
	state    int
	reps     [4]uint32
}

type lzmaProbabilities struct {
	match, repLong         [12][16]uint16
	rep, rep0, rep1, rep2  [12]uint16
	slots                  [4][64]uint16
	distances              [128]uint16
	align                  [16]uint16
	matchLength, repLength lengths
}

// properties takes the byte (pb*5 + lp)*9 + lc.
func (s *lzmaState) properties(b byte) bool {
	s.literalContext, s.literalPosition, s.position = uint(b%9), uint(b/9%5), uint(b/45)
	return b < 225 && s.literalContext+s.literalPosition <= 4
}

func (s *lzmaState) reset() {
	s.state, s.reps = 0, [4]uint32{}
	fill := func(p []uint16) {
		for i := range p {
			p[i] = 1024
		}
	}
	p := &s.lzmaProbabilities
	for i := range p.match {
		fill(p.match[i][:])
		fill(p.repLong[i][:])
	}
	for i := range p.slots {
		fill(p.slots[i][:])
	}
	for _, l := range []*lengths{&p.matchLength, &p.repLength} {
		fill(l.choice[:])
		fill(l.high[:])
		for i := range l.low {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
	}
	for _, q := range [][]uint16{p.rep[:], p.rep0[:], p.rep1[:], p.rep2[:], p.distances[:], p.align[:]} {
		fill(q)
	}
	s.literals = append(s.literals[:0], make([]uint16, 0x300<<(s.literalContext+s.literalPosition))...)
	fill(s.literals)
}

// decode appends size bytes to the window; false when the data make no sense.
func (l *lzma2) decode(size int) bool {
	for size > 0 && !l.rc.short {
		at := l.since & (1<<l.position - 1)
		n := 1
		if l.rc.bit(&l.match[l.state][at]) == 0 {
			if l.state >= 7 && !l.reaches() {
				return false
			}
			l.window = append(l.window, l.literal())
			l.state = max(l.state-3, 0)
			if l.state > 6 {
				l.state -= 3
			}
		} else {
			n = l.matched(at)
			if n > size || !l.reaches() {
				return false
			}
			from := len(l.window) - int(l.reps[0]) - 1
			for i := range n { // it may overlap what it writes
				l.window = append(l.window, l.window[from+i])
			}
		}
		size -= n
		l.since += n
	}
	return size == 0
}

// reaches says whether the last distance lies within what is there.
func (l *lzma2) reaches() bool {
	return int64(l.reps[0]) < int64(min(l.since, l.dictionary))
}

// literal decodes one byte, after a match with the help of the byte it would repeat.
func (l *lzma2) literal() byte {
	before := byte(0)
	if l.since > 0 {
		before = l.window[len(l.window)-1]
	}
	context := l.since&(1<<l.literalPosition-1)<<l.literalContext | int(before)>>(8-l.literalContext)
	p := l.literals[0x300*context:][:0x300]
	m := uint32(1)
	if l.state >= 7 {
		help := uint32(l.window[len(l.window)-int(l.reps[0])-1])
		for m < 0x100 {
			h := help >> 7 & 1
			help <<= 1
			b := l.rc.bit(&p[(1+h)<<8+m])
			if m = m<<1 | b; b != h {
				break
			}
		}
	}
	for m < 0x100 {
		m = m<<1 | l.rc.bit(&p[m])
	}
	return byte(m)
}

// matched decodes the length of a match and puts its distance first in reps.
func (l *lzma2) matched(at int) int {
	r, before := &l.rc, l.state
	after := func(early, late int) {
		if l.state = early; before >= 7 {
			l.state = late
		}
	}
	if r.bit(&l.rep[before]) == 0 {
		n := l.matchLength.decode(r, at)
		after(7, 10)
		copy(l.reps[1:], l.reps[:3])
		l.reps[0] = l.distance(min(n, 3))
		return n + 2
	}
	if r.bit(&l.rep0[before]) == 0 {
		if r.bit(&l.repLong[before][at]) == 0 {
			after(9, 11)
			return 1
		}
	} else {
		i := 1
		if r.bit(&l.rep1[before]) != 0 {
			i = 2 + int(r.bit(&l.rep2[before]))
		}
		d := l.reps[i]
		copy(l.reps[1:i+1], l.reps[:i])
		l.reps[0] = d
	}
	n := l.repLength.decode(r, at)
	after(8, 11)
	return n + 2
}

// distance decodes the distance of a match, less 1.
func (l *lzma2) distance(class int) uint32 {
	slot := l.rc.tree(l.slots[class][:])
	if slot < 4 {
		return slot
	}
	n := slot>>1 - 1
	d := (2 | slot&1) << n
	if slot < 14 {
		return d + l.rc.reverse(l.distances[d-slot:], n)
	}
	d += l.rc.direct(n-4) << 4
	return d + l.rc.reverse(l.align[:], 4)
}
