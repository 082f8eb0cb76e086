package capture

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-project/holdfast/packet"
)

// sampleCapture is a pcapng file of n frames of 600 bytes.
func sampleCapture(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := packet.NewWriter(&b, []packet.Interface{{Link: packet.LinkEthernet, Name: "eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 600)
	for i := range n {
		for j := range frame { // not compressible to nothing
			frame[j] = byte(i * j >> 3)
		}
		if err := w.Write(&packet.Record{Time: int64(i)}, frame, ""); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// The standard library does not write bzip2: a pcap file of one frame, and a
// line of text.
const (
	bzip2Capture = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x67\xa8\x6b\xad\x00\x00\x12\xc1\x1e\xf6\x00\x3c\x00\x20" +
		"\x00\x10\x00\x08\x00\x04\x00\x00\x00\xa0\x00\x31\x00\x00\x06\x46\xa0\x34\xda\x8a\x42\x95\x0e\x48" +
		"\x0a\x09\xa8\x23\x7c\xef\xad\xba\x7f\x17\x72\x45\x38\x50\x90\x67\xa8\x6b\xad"
	bzip2Text = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xb8\xd9\x64\xe4\x00\x00\x02\xd1\x80\x00\x10\x40\x00\x1a" +
		"\x21\xdc\x20\x20\x00\x31\x00\xd0\x01\x4f\x48\xd1\xe9\x37\xaa\x55\x95\x32\xf5\x71\xd1\x9c\x41\xe6" +
		"\x96\x20\xf8\xbb\x92\x29\xc2\x84\x85\xc6\xcb\x27\x20"
)

func countFrames(r io.Reader) (int, error) {
	p, err := packet.NewReader(r)
	if err != nil {
		return 0, err
	}
	var b packet.Batch
	n := 0
	for {
		if err := p.ReadBatch(&b); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n += len(b.Records)
	}
}

func TestOpen(t *testing.T) {
	const n = 3000
	plain := sampleCapture(t, n)
	for name, content := range map[string][]byte{
		"plain": plain, "gzip": gzipped(t, plain), "zstd": zstded(t, plain),
		"two gzip members": append(gzipped(t, plain[:5000]), gzipped(t, plain[5000:])...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "no-telling-name")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, err := countFrames(f); got != n || err != nil {
				t.Errorf("%d frames, %v", got, err)
			}
			if f.Size != int64(len(content)) || f.Progress() != f.Size {
				t.Errorf("read %d of %d, want %d", f.Progress(), f.Size, len(content))
			}
			in, err := Open("-", bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if got, err := countFrames(in); got != n || err != nil || in.Size != 0 {
				t.Errorf("from standard input %d frames, %v, size %d", got, err, in.Size)
			}
			if !IsCapture(content[:min(len(content), HeadSize)]) {
				t.Error("IsCapture says no")
			}
		})
	}
}

func TestOpenBzip2(t *testing.T) {
	f, err := Open("-", strings.NewReader(bzip2Capture))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := countFrames(f); n != 1 || err != nil {
		t.Errorf("%d frames, %v", n, err)
	}
}

func TestOpenCutShort(t *testing.T) {
	plain := sampleCapture(t, 3000)
	for name, content := range map[string][]byte{
		"plain": plain[:len(plain)-7], "gzip": gzipped(t, plain)[:2000], "zstd": zstded(t, plain)[:100_000],
	} {
		in, err := Open("-", bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		n, err := countFrames(in)
		var damage *packet.DamageError
		if !errors.As(err, &damage) || !damage.Cut || n == 0 {
			t.Errorf("%s: %d frames, then %v", name, n, err)
		}
		in.Close()
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open("-", nil); err == nil {
		t.Error("no standard input was opened")
	}
	if _, err := Open("-", bytes.NewReader(magicXz)); err == nil || !strings.Contains(err.Error(), "xz -dc") {
		t.Errorf("xz: %v", err)
	}
	if _, err := Open("-", bytes.NewReader(magicLz4)); err == nil || !strings.Contains(err.Error(), "lz4 -dc") {
		t.Errorf("lz4: %v", err)
	}
}

func TestIsCapture(t *testing.T) {
	text := bytes.Repeat([]byte("Jan 1 00:00:00 host app: connection reset by peer\n"), 100)
	for name, head := range map[string][]byte{
		"empty": nil, "text": text, "gzip of text": gzipped(t, text), "zstd of text": zstded(t, text),
		"bzip2 of text": []byte(bzip2Text), "broken gzip": {0x1f, 0x8b, 1}, "one byte": {0x0a},
	} {
		if IsCapture(head) {
			t.Errorf("%s is taken for a capture", name)
		}
	}
	plain := sampleCapture(t, 3000)
	for name, head := range map[string][]byte{
		"begin of gzip": gzipped(t, plain)[:4096], "begin of zstd": zstded(t, plain)[:HeadSize/2],
		"bzip2": []byte(bzip2Capture), "old pcap": {0xd4, 0xc3, 0xb2, 0xa1},
	} {
		if !IsCapture(head) {
			t.Errorf("%s is not taken for a capture", name)
		}
	}
}

// TestFollow writes a file piece by piece, in the middle of records too.
func TestFollow(t *testing.T) {
	content := sampleCapture(t, 50)
	path := filepath.Join(t.TempDir(), "growing")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	type result struct {
		n   int
		err error
	}
	counts, end := make(chan int, 100), make(chan result, 1)
	go func() {
		n, err := followFrames(ctx, path, counts)
		end <- result{n, err}
	}()
	for len(content) > 0 {
		k := min(len(content), 10_000)
		if _, err := w.Write(content[:k]); err != nil {
			t.Fatal(err)
		}
		content = content[k:]
		if len(content) > 0 {
			<-counts // the reader has seen some of this piece before the next is written
		}
	}
	for n := 0; n < 50; {
		n = <-counts
	}
	cancel()
	if r := <-end; r.n != 50 || r.err != nil {
		t.Errorf("%d frames, %v", r.n, r.err)
	}
}

func followFrames(ctx context.Context, path string, counts chan<- int) (n int, err error) {
	f, err := Follow(ctx, path, nil)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p, err := packet.NewReader(f)
	if err != nil {
		return 0, err
	}
	var b packet.Batch
	for {
		if err := p.ReadBatch(&b); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n += len(b.Records)
		counts <- n
	}
}

func TestFollowShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shrinking")
	if err := os.WriteFile(path, sampleCapture(t, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	counts := make(chan int, 10)
	end := make(chan error, 1)
	go func() {
		_, err := followFrames(t.Context(), path, counts)
		end <- err
	}()
	for n := 0; n < 10; {
		n = <-counts
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("got %v", err)
	}
}

// TestFollowPipe ends the wait for a pipe whose writer says nothing.
func TestFollowPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write(sampleCapture(t, 3)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, err := Follow(ctx, "-", r)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := packet.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b packet.Batch
	if err := p.ReadBatch(&b); err != nil || len(b.Records) != 3 {
		t.Fatalf("%d frames, %v", len(b.Records), err)
	}
	cancel()
	if err := p.ReadBatch(&b); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
