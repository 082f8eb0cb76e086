package capture

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
)

// publicCaptures is where public captures lie beside the repository; they are
// not part of it.
const publicCaptures = "../../../shared/captures:../../../shared/captures-new"

// captureFiles lists captures to compare with tshark: public ones, and those
// below the directories in HOLDFAST_CAPTURES, a list like PATH.
func captureFiles(t *testing.T) []string {
	t.Helper()
	dirs := publicCaptures
	if d := os.Getenv("HOLDFAST_CAPTURES"); d != "" {
		dirs = d
	}
	var files []string
	for _, dir := range filepath.SplitList(dirs) {
		before := len(files)
		for _, pattern := range []string{"*.pcap", "*.pcapng", "*.cap", "*/*.pcap", "*/*.pcapng", "*/*.cap"} {
			more, _ := filepath.Glob(filepath.Join(dir, pattern))
			files = append(files, more...)
		}
		if len(files) == before && os.Getenv("HOLDFAST_CAPTURES") != "" {
			t.Fatalf("HOLDFAST_CAPTURES names %s, and there are no captures", dir)
		}
	}
	if len(files) == 0 {
		t.Skipf("no captures in %s (set HOLDFAST_CAPTURES)", dirs)
	}
	return files
}

// tsharkFrame is what tshark says of one TCP frame.
type tsharkFrame struct {
	stream, seq, ack, size string
	reset, notice          bool
}

// tshark reads a capture with tshark.
func tshark(t *testing.T, file string) map[int64]tsharkFrame {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	args := []string{"-r", file, "-Y", "tcp", "-T", "fields", "-E", "occurrence=l", "-o", "tcp.desegment_tcp_streams:FALSE"}
	for _, f := range []string{"frame.number", "tcp.stream", "tcp.seq", "tcp.ack", "tcp.len", "tcp.flags.reset", "icmp.type", "icmpv6.type"} {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && !strings.Contains(stderr.String(), "cut short") {
		t.Fatalf("tshark: %v: %s", err, &stderr)
	}
	frames := map[int64]tsharkFrame{}
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		v := strings.Split(sc.Text(), "\t")
		n, _ := strconv.ParseInt(v[0], 10, 64)
		frames[n] = tsharkFrame{v[1], v[2], v[3], v[4], v[5] == "1" || v[5] == "True", v[6]+v[7] != ""}
	}
	return frames
}

// TestTshark holds the numbers of streams and frames, the count of RSTs, and the
// relative numbers of ladders to what tshark says of the same captures.
func TestTshark(t *testing.T) {
	for _, file := range captureFiles(t) {
		t.Run(filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)), func(t *testing.T) {
			want := tshark(t, file)
			p := readFile(t, file)
			streamsAgree(t, p, want)
			resetsAgree(t, p, want)
			laddersAgree(t, p, want)
		})
	}
}

func readFile(t *testing.T, file string) *Point {
	t.Helper()
	f, err := Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := Read(context.Background(), file, f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// streamsAgree compares the stream of every TCP frame.
func streamsAgree(t *testing.T, p *Point, want map[int64]tsharkFrame) {
	t.Helper()
	f, err := Open(p.Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := packet.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b packet.Batch
	var d packet.Decoder
	var s packet.Segment
	opened := map[ends2]int64{} // first frame of the connection at hand
	bad := 0
	for r.ReadBatch(&b) == nil {
		for i := range b.Records {
			s.Frame = b.First + int64(i)
			if d.Decode(&b.Records[i], b.Frame(i), &s) != packet.TCP {
				continue
			}
			k := endsOf(&s.Src, &s.Dst, s.SrcPort, s.DstPort)
			if p.streams.begins(s.Frame) {
				opened[k] = s.Frame
			}
			got := strconv.FormatInt(p.streams.number(opened[k]), 10)
			if w := want[s.Frame]; got != w.stream {
				if bad++; bad < 5 {
					t.Errorf("frame %d: stream %s, tshark says %s", s.Frame, got, w.stream)
				}
			}
		}
	}
	if bad >= 5 {
		t.Errorf("%d frames differ", bad)
	}
}

func resetsAgree(t *testing.T, p *Point, want map[int64]tsharkFrame) {
	t.Helper()
	n := int64(0)
	for _, w := range want {
		if w.reset && !w.notice {
			n++
		}
	}
	if got := p.TCP.RSTs; got > n || got+p.TCP.Copies < n {
		t.Errorf("%d RSTs and %d copies of segments, tshark says %d RSTs", got, p.TCP.Copies, n)
	}
	for _, e := range p.Terminations {
		if w := want[e.Frame]; e.Reset.Frame != 0 && !w.reset {
			t.Errorf("frame %d: a RST, tshark has none", e.Frame)
		}
	}
}

// laddersAgree compares the relative numbers of the frames of all ladders.
func laddersAgree(t *testing.T, p *Point, want map[int64]tsharkFrame) {
	t.Helper()
	cases := Cases(p)
	cases = cases[:min(len(cases), MaxLadders)]
	ladders, err := Ladders(context.Background(), cases, func(name string) (io.ReadCloser, error) { return Open(name, nil) })
	if err != nil {
		t.Error(err)
	}
	bad := 0
	for _, c := range cases {
		l := ladders[c]
		if l == nil {
			t.Errorf("no ladder for the ending in frame %d", c.Termination.Frame)
			continue
		}
		last, end := int64(0), false
		for i := range l.Frames {
			x := &l.Frames[i]
			end = end || x.Number == c.Termination.Frame
			if x.Number <= last {
				t.Errorf("frame %d follows frame %d", x.Number, last)
			}
			last = x.Number
			w := want[x.Number]
			stream := strconv.FormatInt(p.Stream(c.Termination), 10)
			if got := (tsharkFrame{stream, number(x.Seq), number(x.Ack), number(x.Bytes), w.reset, w.notice}); x.Kind != fact.FrameICMPError && !same(got, w) {
				if bad++; bad < 5 {
					t.Errorf("frame %d: %+v, tshark says %+v", x.Number, got, w)
				}
			}
		}
		if !end {
			t.Errorf("the ladder of the ending in frame %d does not have it", c.Termination.Frame)
		}
	}
}

func number(n int64) string { return strconv.FormatUint(uint64(uint32(n)), 10) }

// same compares frames. tshark counts an acknowledgement from 1 of a segment
// without the flag too.
func same(got, want tsharkFrame) bool {
	if got.ack == "0" {
		got.ack = want.ack
	}
	return got == want
}
