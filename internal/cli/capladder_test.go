package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-project/holdfast/packet"
)

// mkcapture TEXT FILE [CUT] writes a pcapng file of TCP segments over IPv4, one
// for each line of TEXT, without its last CUT bytes; compressed when FILE ends in
// .gz:
//
//	milliseconds source > destination flags seq ack ["data"]
func mkcapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: mkcapture TEXT FILE [CUT]")
	}
	b, err := captureOf(ts.ReadFile(args[0]))
	ts.Check(err)
	if len(args) == 3 {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		b = b[:len(b)-n]
	}
	if strings.HasSuffix(args[1], ".gz") {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err := w.Write(b)
		ts.Check(errors.Join(err, w.Close()))
		b = z.Bytes()
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

func captureOf(text string) ([]byte, error) {
	var file bytes.Buffer
	w, err := packet.NewWriter(&file, []packet.Interface{{Link: packet.LinkRaw}})
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line == "" {
			continue
		}
		rec, b, err := segmentOf(line, i)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		if err := w.Write(rec, b, ""); err != nil {
			return nil, err
		}
	}
	return file.Bytes(), nil
}

// segmentOf makes the frame of a line. Each end counts its own packets (IPID).
func segmentOf(line string, n int) (*packet.Record, []byte, error) {
	var ms int64
	var from, to, flags string
	var seq, ack uint32
	if _, err := fmt.Sscanf(line, "%d %s > %s %s %d %d", &ms, &from, &to, &flags, &seq, &ack); err != nil {
		return nil, nil, err
	}
	data := ""
	if i := strings.Index(line, `"`); i >= 0 {
		var err error
		if data, err = strconv.Unquote(line[i:]); err != nil {
			return nil, nil, err
		}
	}
	src, err := netip.ParseAddrPort(from)
	if err != nil {
		return nil, nil, err
	}
	dst, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, nil, err
	}
	be := binary.BigEndian
	b := make([]byte, 40, 40+len(data))
	b[0], b[8], b[9] = 0x45, 64, 6
	be.PutUint16(b[2:], uint16(40+len(data)))
	be.PutUint16(b[4:], uint16(100+n))
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	be.PutUint16(b[20:], src.Port())
	be.PutUint16(b[22:], dst.Port())
	be.PutUint32(b[24:], seq)
	be.PutUint32(b[28:], ack)
	b[32] = 5 << 4
	for i, f := range "FSRPAU" {
		if strings.ContainsRune(flags, f) {
			b[33] |= 1 << i
		}
	}
	if !strings.Contains(flags, "R") {
		be.PutUint16(b[34:], 64000)
	}
	return &packet.Record{Time: 1_700_000_000_000_000_000 + ms*1_000_000}, append(b, data...), nil
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	write := func(s string, fail error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, s)
			return errors.Join(err, fail)
		}
	}
	if err := replaceFile(path, write("old", nil)); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("half of it")
	if err := replaceFile(path, write("ne", failed)); !errors.Is(err, failed) {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("%q %v", b, err)
	}
	if err := replaceFile(path, write("new", nil)); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(dir)
	if b, _ := os.ReadFile(path); err != nil || len(list) != 1 || string(b) != "new" {
		t.Errorf("%q %v %v", b, list, err)
	}
}

func TestSpool(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := &spool{limit: 100}
	in := strings.Repeat("x", 60)
	if b, err := io.ReadAll(s.keep("-", strings.NewReader(in))); err != nil || string(b) != in {
		t.Fatal(err)
	}
	for range 2 {
		r, err := s.open("-")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != in {
			t.Errorf("%q %v", b, err)
		}
	}
	// More than the limit: the reader still gives all, and nothing is kept.
	if b, err := io.ReadAll(s.keep("-", strings.NewReader(in+in))); err != nil || len(b) != 120 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := s.open("-"); !errors.Is(err, errNotKept) {
		t.Error(err)
	}
	s.close()
	if list, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	// No place for it.
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if b, err := io.ReadAll(s.keep("-", strings.NewReader(in))); err != nil || string(b) != in {
		t.Errorf("%q %v", b, err)
	}
	if _, err := s.open("-"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
