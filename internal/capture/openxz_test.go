package capture

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// xzCapture is a pcap file of one frame, and the same again as a second stream
// with a check of another kind.
const (
	xzCapture = "\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\xe0\x00\x4f\x00" +
		"\x1e\x5d\x00\x6a\x30\xd1\xc8\x7d\x8b\xf8\x09\x9b\xad\x94\x4b\x8a\xf2\xff\xfa\xca\xd6\x57\xa8\xee\x76\x64\x52\x75" +
		"\xf0\x5e\x4b\x80\x00\x00\x00\x00\x43\x37\x38\x05\xfd\x5a\xb3\xd0\x00\x01\x3a\x50\xa6\x3a\x44\x6e\x1f\xb6\xf3\x7d" +
		"\x01\x00\x00\x00\x00\x04\x59\x5a"
	xzAgain = "\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\xe0\x00\x4f\x00" +
		"\x1e\x5d\x00\x6a\x30\xd1\xc8\x7d\x8b\xf8\x09\x9b\xad\x94\x4b\x8a\xf2\xff\xfa\xca\xd6\x57\xa8\xee\x76\x64\x52\x75" +
		"\xf0\x5e\x4b\x80\x00\x00\x00\x00\x7f\xf4\xb1\x74\x00\x01\x36\x50\xaa\x75\xf1\xc2\x90\x42\x99\x0d\x01\x00\x00\x00" +
		"\x00\x01\x59\x5a"
)

func readXz(b []byte) ([]byte, error) {
	x, err := newXzReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(x)
}

func TestOpenXz(t *testing.T) {
	f, err := Open("-", bytes.NewReader([]byte(xzCapture)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := countFrames(f); n != 1 || err != nil {
		t.Errorf("%d frames, %v", n, err)
	}
	if !IsCapture([]byte(xzCapture)) {
		t.Error("IsCapture says no")
	}
	one, err := readXz([]byte(xzCapture))
	if err != nil {
		t.Fatal(err)
	}
	two, err := readXz([]byte(xzCapture + "\x00\x00\x00\x00" + xzAgain))
	if err != nil || string(two) != string(one)+string(one) {
		t.Errorf("two streams: %d bytes, %v", len(two), err)
	}
}

// TestXzDamage changes and removes every byte: nothing may pass for whole, and
// what is cut off says so.
func TestXzDamage(t *testing.T) {
	whole := []byte(xzCapture)
	want, err := readXz(whole)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if _, err := readXz(whole[:i]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		if got, err := readXz(bad); err == nil && !bytes.Equal(got, want) {
			t.Errorf("byte %d changed: not noticed", i)
		}
	}
}

// TestXzTool compresses with the tool itself, at several levels.
func TestXzTool(t *testing.T) {
	tool, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("xz is not installed")
	}
	noise := make([]byte, 300_000)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(noise)
	capture := sampleCapture(t, 800)
	mixed := bytes.Join([][]byte{capture, noise, capture[:100_000], noise[:70_000], make([]byte, 2<<20), noise}, nil)
	for _, args := range [][]string{
		{"-0"}, {"-6"}, {"-C", "none"}, {"-C", "crc32"}, {"-C", "sha256"}, {"--block-size=1MiB", "-T2"},
		{"--lzma2=dict=4KiB,lc=0,lp=4,pb=0"}, {"--lzma2=dict=64KiB,lc=4,lp=0,pb=4"},
	} {
		for name, content := range map[string][]byte{"mixed": mixed, "empty": nil} {
			cmd := exec.Command(tool, append(args, "-c")...)
			cmd.Stdin = bytes.NewReader(content)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatalf("xz %v: %v", args, err)
			}
			if got, err := readXz(packed); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%v, %s: %d bytes of %d, %v", args, name, len(got), len(content), err)
			}
		}
	}
}

func FuzzXz(f *testing.F) {
	f.Add([]byte(xzCapture))
	f.Add([]byte(xzAgain))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := newXzReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if n, err := io.CopyN(io.Discard, x, 16<<20); err == nil && n != 16<<20 {
			t.Errorf("%d bytes without an error", n)
		}
	})
}
