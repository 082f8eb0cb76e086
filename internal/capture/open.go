package capture

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// HeadSize is how many bytes IsCapture wants, when there are as many: a
// compressed file may give its first byte only after one block.
const HeadSize = 256 << 10

// zstdWindow bounds what a hostile file can make the decoder allocate; zstd
// itself stops at 128 MiB unless told otherwise.
const zstdWindow = 128 << 20

// File is a file that is read to its end, decompressed on the way.
type File struct {
	Name string // "-" for standard input
	Size int64  // bytes to read, as compressed; 0 when not known

	r        io.Reader
	source   *source
	unpacker io.Closer // nil when it needs no closing
}

// Open opens a file for reading, "-" being stdin. What is compressed with gzip,
// zstd or bzip2 is told by its first bytes, not by its name, and decompressed. A
// plain file is handed out as it is: reads go to the kernel with the buffer of
// the caller.
func Open(path string, stdin io.Reader) (*File, error) {
	return open(context.Background(), path, stdin, false)
}

// Decompress returns a reader of what r has, without the compression that its
// first bytes tell of. Close it when done; r stays open.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(magicBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read: %w", err)
	}
	plain, z, err := unpacker(head, b)
	if err != nil {
		return nil, err
	}
	if z == nil {
		return io.NopCloser(plain), nil
	}
	return struct {
		io.Reader
		io.Closer
	}{plain, z}, nil
}

// Follow is Open for a file that grows or a pipe that has not begun: its end is
// waited at until ctx is done, and only then reported as io.EOF.
func Follow(ctx context.Context, path string, stdin io.Reader) (*File, error) {
	return open(ctx, path, stdin, true)
}

func open(ctx context.Context, path string, stdin io.Reader, follow bool) (*File, error) {
	src := &source{r: stdin, name: "standard input"}
	f := &File{Name: path, source: src}
	if path != "-" {
		o, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open capture: %w", err)
		}
		src.r, src.file, src.name = o, o, path
		if st, err := o.Stat(); err == nil && st.Mode().IsRegular() && !follow {
			f.Size = st.Size()
		} else if err == nil && st.IsDir() {
			o.Close()
			return nil, fmt.Errorf("open capture: %s is a directory; name its files", path)
		}
	} else if stdin == nil {
		return nil, errors.New("open capture: there is no standard input")
	}
	if follow {
		src.r = following(ctx, src.r)
	}
	if err := f.unpack(); err != nil {
		src.close()
		return nil, fmt.Errorf("open %s: %w", src.name, err)
	}
	if f.r != io.Reader(src) && !follow {
		f.r = filler{f.r}
	}
	return f, nil
}

// unpack looks at the first bytes and puts a decompressor before the source.
func (f *File) unpack() error {
	head, err := f.source.peek(magicBytes)
	if err != nil {
		return err
	}
	f.r, f.unpacker, err = unpacker(head, f.source)
	return err
}

// Read gives the decompressed bytes.
func (f *File) Read(p []byte) (int, error) { return f.r.Read(p) }

// Progress returns how many bytes of Size were read. It may be called while
// another goroutine reads.
func (f *File) Progress() int64 { return f.source.n.Load() }

// Close closes the file; standard input stays open.
func (f *File) Close() error {
	if f.unpacker != nil {
		f.unpacker.Close()
	}
	return f.source.close()
}

// source counts what is read of the file itself, and can look ahead.
type source struct {
	r    io.Reader
	file *os.File // nil for standard input
	name string
	head []byte // looked at and not yet read
	n    atomic.Int64
}

// peek returns the first n bytes, or all there are.
func (s *source) peek(n int) ([]byte, error) {
	head := make([]byte, n)
	m, err := io.ReadFull(s.r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	s.head = head[:m]
	return s.head, nil
}

// Read gives the head first.
func (s *source) Read(p []byte) (int, error) {
	var n int
	var err error
	if len(s.head) > 0 {
		n = copy(p, s.head)
		s.head = s.head[n:]
	} else {
		n, err = s.r.Read(p)
	}
	s.n.Add(int64(n))
	return n, err
}

// filler fills the whole of each read: decompressors give small pieces, and a
// short read ends a batch of package packet.
type filler struct{ r io.Reader }

func (f filler) Read(p []byte) (int, error) {
	n, err := io.ReadFull(f.r, p)
	if n > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
		return n, nil // of ReadFull or of the decompressor, which says it again
	}
	return n, err
}

func (s *source) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// magicBytes is how much tells a format.
const magicBytes = 6

// The magic numbers of compressed files.
var (
	magicGzip  = []byte{0x1f, 0x8b}
	magicZstd  = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicXz    = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	magicBzip2 = []byte("BZh")
	magicLz4   = []byte{0x04, 0x22, 0x4d, 0x18}
)

// unpacker returns what decompresses r, or r itself.
func unpacker(head []byte, r io.Reader) (io.Reader, io.Closer, error) {
	switch {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress gzip: %w", err)
		}
		return z, z, nil
	case bytes.HasPrefix(head, magicZstd) || skippable(head):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("decompress zstd: %w", err)
		}
		c := z.IOReadCloser()
		return c, c, nil
	case bytes.HasPrefix(head, magicBzip2):
		return bzip2.NewReader(r), nil, nil
	case bytes.HasPrefix(head, magicXz):
		return nil, nil, errors.New("xz is not read; use `xz -dc FILE | holdfast explain -`")
	case bytes.HasPrefix(head, magicLz4):
		return nil, nil, errors.New("lz4 is not read; use `lz4 -dc FILE | holdfast explain -`")
	}
	return r, nil, nil
}

// skippable tells a zstd file that begins with a skippable frame (RFC 8878 3.1.2).
func skippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// captureMagics are the first four bytes of captures, in both byte orders.
var captureMagics = [][]byte{
	{0xa1, 0xb2, 0xc3, 0xd4}, {0xd4, 0xc3, 0xb2, 0xa1},
	{0xa1, 0xb2, 0x3c, 0x4d}, {0x4d, 0x3c, 0xb2, 0xa1},
	{0xa1, 0xb2, 0xcd, 0x34}, {0x34, 0xcd, 0xb2, 0xa1},
	{0x1c, 0x00, 0x01, 0xac}, {0xac, 0x01, 0x00, 0x1c},
	{0x1c, 0x00, 0x01, 0xab}, {0xab, 0x01, 0x00, 0x1c},
	{0x0a, 0x0d, 0x0d, 0x0a},
}

// IsCapture tells from the first bytes of a file, HeadSize or all there are,
// whether it is a capture that package packet reads, compressed or not. It says
// no to what it cannot decompress.
func IsCapture(head []byte) bool {
	first := head
	if r, c, err := unpacker(head, bytes.NewReader(head)); err == nil {
		first = make([]byte, 4)
		n, _ := io.ReadFull(r, first) // a cut head fails after what it holds
		first = first[:n]
		if c != nil {
			c.Close()
		}
	}
	for _, m := range captureMagics {
		if bytes.HasPrefix(first, m) {
			return true
		}
	}
	return false
}
