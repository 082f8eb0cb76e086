package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// pcapFile writes the older format with any magic number and byte order.
func pcapFile(o binary.AppendByteOrder, magic uint32, version [2]uint16, link uint32, records ...[]byte) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(b, version[0])
	b = o.AppendUint16(b, version[1])
	b = append(b, zeros(8)...)
	b = o.AppendUint32(b, 65535)
	b = o.AppendUint32(b, link)
	if magic == magicIxiaHW || magic == magicIxiaSW {
		b = o.AppendUint32(b, 9999)
	}
	return append(b, cat(records...)...)
}

// words are 32-bit numbers in a byte order.
func words(o binary.AppendByteOrder, v ...uint32) (b []byte) {
	for _, w := range v {
		b = o.AppendUint32(b, w)
	}
	return b
}

func TestReaderPcap(t *testing.T) {
	for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, c := range []struct {
			magic uint32
			ns    int64
			extra []byte
		}{
			{magicMicro, 123_456_000, nil}, {magicNano, 123_456, nil}, {magicIxiaHW, 123_456, nil}, {magicIxiaSW, 123_456, nil},
			{magicModified, 123_456_000, []byte{0, 0, 0, 2, 8, 0, 4, 0}},
		} {
			file := pcapFile(o, c.magic, [2]uint16{2, 4}, 1|0x24000000, // with the length of a frame check sequence
				words(o, 1_600_000_000, 123_456, 3, 60), c.extra, []byte{1, 2, 3},
				words(o, 1_600_000_001, 0, 0, 0), c.extra)
			want := []Record{
				{Captured: 3, Length: 60, Link: LinkEthernet, Time: 1_600_000_000e9 + c.ns},
				{Link: LinkEthernet, Time: 1_600_000_001e9},
			}
			want[0].Offset = int64(len(file) - 2*(16+len(c.extra)) - 3)
			want[1].Offset = int64(len(file) - 16 - len(c.extra))
			if c.extra != nil {
				want[0].Direction, want[1].Direction = DirOut, DirOut
			}
			recs, frames, ifs, err := readAll(file)
			if diff := cmp.Diff(want, recs); err != nil || diff != "" || !bytes.Equal(frames[0], []byte{1, 2, 3}) {
				t.Errorf("%x %v: %v %s", c.magic, o, err, diff)
			}
			if len(ifs) != 1 || ifs[0].Link != LinkEthernet || ifs[0].SnapLen != 65535 {
				t.Errorf("%x %v: %v", c.magic, o, ifs)
			}
		}
	}
}

// TestReaderOldPcap: before 2.4 some programs wrote the lengths in the other order.
func TestReaderOldPcap(t *testing.T) {
	o := binary.LittleEndian
	recs, _, _, err := readAll(pcapFile(o, magicMicro, [2]uint16{2, 3}, 1, words(o, 1, 2, 60, 3), []byte{1, 2, 3}, words(o, 1, 2, 2, 60), []byte{1, 2}))
	if err != nil || len(recs) != 2 || recs[0].Captured != 3 || recs[0].Length != 60 || recs[1].Captured != 2 {
		t.Errorf("%v %+v", err, recs)
	}
}

// block makes a block of pcapng.
func block(o binary.AppendByteOrder, kind uint32, body ...[]byte) []byte {
	b := cat(body...)
	b = append(b, zeros(-len(b)&3)...)
	return cat(words(o, kind, uint32(len(b)+12)), b, words(o, uint32(len(b)+12)))
}

func sectionBlock(o binary.AppendByteOrder) []byte {
	return block(o, blockSection, words(o, magicOrder), o.AppendUint16(nil, 1), zeros(2), bytes.Repeat([]byte{255}, 8))
}

func ngOption(o binary.AppendByteOrder, code uint16, v []byte) []byte {
	b := o.AppendUint16(nil, code)
	b = o.AppendUint16(b, uint16(len(v)))
	return cat(b, v, zeros(-len(v)&3))
}

func interfaceBlock(o binary.AppendByteOrder, link uint16, snap uint32, options ...[]byte) []byte {
	return block(o, blockInterface, o.AppendUint16(nil, link), zeros(2), words(o, snap), cat(options...))
}

func TestReaderPcapng(t *testing.T) {
	for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		u64 := func(v uint64) []byte { return o.AppendUint64(nil, v) }
		file := cat(
			sectionBlock(o),
			interfaceBlock(o, 1, 4, ngOption(o, optName, []byte("eth0")), ngOption(o, optTSResol, []byte{9}), ngOption(o, optTSOffset, u64(100)), zeros(4)),
			interfaceBlock(o, 101, 0),
			block(o, 4, zeros(40)), // names
			block(o, blockEnhanced, words(o, 0, 0, 77, 3, 60), []byte{1, 2, 3, 0}, ngOption(o, optComment, []byte("why")), ngOption(o, optFlags, words(o, 1)), ngOption(o, optDropCount, u64(5)), zeros(4)),
			block(o, 0x0a, []byte("TLSK"), zeros(2<<20)), // secrets, larger than a batch
			block(o, blockEnhanced, words(o, 1, 0, 7, 2, 2), []byte{4, 5}),
			block(o, blockSimple, words(o, 60), []byte{6, 7, 8, 9}),
			block(o, blockOldPacket, o.AppendUint16(nil, 1), o.AppendUint16(nil, 3), words(o, 0, 8, 1, 1), []byte{9, 0, 0, 0}, ngOption(o, optFlags, words(o, 2))),
			block(o, blockStatistics, words(o, 0, 0, 0), ngOption(o, optInterfaceDrop, u64(10)), ngOption(o, 4, u64(99)), ngOption(o, optSystemDrop, u64(20))),
			block(o, 0x8000_0bad, zeros(12)),
			sectionBlock(binary.BigEndian),
			interfaceBlock(binary.BigEndian, 113, 0, ngOption(binary.BigEndian, optTSResol, []byte{0x80 | 10})),
			block(binary.BigEndian, blockEnhanced, words(binary.BigEndian, 0, 0, 1024+512, 0, 0)),
		)
		want := []Record{
			{Captured: 3, Length: 60, Link: LinkEthernet, Time: 100e9 + 77, Direction: DirIn},
			{Captured: 2, Length: 2, Link: LinkRaw, Time: 7000, Interface: 1},
			{Captured: 4, Length: 60, Link: LinkEthernet},
			{Captured: 1, Length: 1, Link: LinkRaw, Time: 8000, Interface: 1, Direction: DirOut},
			{Link: LinkSLL, Time: 1.5e9, Interface: 2},
		}
		recs, frames, ifs, err := readAll(file)
		if err != nil || len(recs) != len(want) {
			t.Fatalf("%v: %v, %d records", o, err, len(recs))
		}
		for i := range recs {
			if kind := binary.LittleEndian.Uint32(file[recs[i].Offset:]); kind == 0 || kind > 6 && kind>>24 > 6 {
				t.Errorf("%v: frame %d is said to be at %d, where there is a block %x", o, i+1, recs[i].Offset, kind)
			}
			recs[i].Offset = 0
		}
		if diff := cmp.Diff(want, recs); diff != "" {
			t.Errorf("%v: %s", o, diff)
		}
		if diff := cmp.Diff([][]byte{{1, 2, 3}, {4, 5}, {6, 7, 8, 9}, {9}, {}}, frames); diff != "" {
			t.Errorf("%v: %s", o, diff)
		}
		if diff := cmp.Diff([]Interface{{Link: 1, Name: "eth0", SnapLen: 4}, {Link: 101}, {Link: 113}}, ifs); diff != "" {
			t.Errorf("%v: %s", o, diff)
		}
		r, _ := NewReader(bytes.NewReader(file))
		var b Batch
		for err = nil; err == nil; err = r.ReadBatch(&b) {
		}
		if r.Dropped() != 35 || r.Bytes() != int64(len(file)) {
			t.Errorf("%v: %d dropped, %d of %d bytes", o, r.Dropped(), r.Bytes(), len(file))
		}
	}
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		resol  uint8
		offset int64
		ticks  uint64
		want   int64
	}{
		{6, 0, 1, 1000}, {9, 0, 1, 1}, {3, 2, 1, 2_001_000_000}, {0, 0, 5, 5e9}, {12, 0, 5000, 5}, {40, 0, 5, 0},
		{0x80, 0, 3, 3e9}, {0x80 | 1, 0, 3, 1.5e9}, {0x80 | 20, 0, 1 << 19, 5e8}, {0x80 | 32, 1, 5<<32 | 1<<31, 6.5e9}, {0x80 | 63, 0, 1 << 62, 5e8},
	} {
		k := clockOf(c.resol, c.offset)
		if got := k.ns(c.ticks); got != c.want {
			t.Errorf("resolution %x, offset %d: %d ticks are %d ns, want %d", c.resol, c.offset, c.ticks, got, c.want)
		}
	}
}

// TestReaderPieces reads the same from sources that give one byte or half of
// what they could at a time.
func TestReaderPieces(t *testing.T) {
	o := binary.LittleEndian
	file := cat(sectionBlock(o), interfaceBlock(o, 1, 0))
	for i := range 40 {
		file = cat(file, block(o, blockEnhanced, words(o, 0, 0, uint32(i), uint32(i), uint32(i)), zeros(i)), block(o, 0xbad, zeros(4*i)))
	}
	for name, src := range map[string]io.Reader{
		"one byte": iotest.OneByteReader(bytes.NewReader(file)), "half": iotest.HalfReader(bytes.NewReader(file)),
		"end with data": iotest.DataErrReader(bytes.NewReader(file)),
	} {
		r, err := NewReader(src)
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		n := 0
		for err = r.ReadBatch(&b); err == nil; err = r.ReadBatch(&b) {
			for i, rec := range b.Records {
				if b.First+int64(i) != int64(n+1) || rec.Captured != uint32(n) || rec.Time != int64(n)*1000 {
					t.Fatalf("%s: record %d of %d: %+v", name, i, b.First, rec)
				}
				n++
			}
		}
		if n != 40 || !errors.Is(err, io.EOF) || len(b.Records) != 0 {
			t.Errorf("%s: %d records, %v", name, n, err)
		}
		if err := r.ReadBatch(&b); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the end %v", name, err)
		}
	}
}

// TestReaderLarge: one record may be larger than a batch, and batches have limits.
func TestReaderLarge(t *testing.T) {
	o := binary.LittleEndian
	big := make([]byte, 5<<20)
	big[len(big)-1] = 9
	var many [][]byte
	for range 3 * BatchRecords {
		many = append(many, words(o, 1, 2, 4, 4), []byte{1, 2, 3, 4})
	}
	file := pcapFile(o, magicMicro, [2]uint16{2, 4}, 1, words(o, 1, 2, 4, 4), []byte{1, 2, 3, 4}, words(o, 1, 2, uint32(len(big)), uint32(len(big))), big, cat(many...))
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	n := 0
	for err = r.ReadBatch(&b); err == nil; err = r.ReadBatch(&b) {
		if len(b.Records) > BatchRecords {
			t.Errorf("%d records in one batch", len(b.Records))
		}
		for i := range b.Records {
			f := b.Frame(i)
			if n++; n == 2 && !bytes.Equal(f, big) || n != 2 && !bytes.Equal(f, []byte{1, 2, 3, 4}) {
				t.Fatalf("frame %d has %d bytes", n, len(f))
			}
		}
	}
	if n != 2+3*BatchRecords || !errors.Is(err, io.EOF) {
		t.Errorf("%d frames, %v", n, err)
	}
}

func TestReaderDamage(t *testing.T) {
	o := binary.LittleEndian
	good := words(o, 1, 2, 4, 4)
	pcap := pcapFile(o, magicMicro, [2]uint16{2, 4}, 1, good, []byte{1, 2, 3, 4})
	ng := cat(sectionBlock(o), interfaceBlock(o, 1, 0), block(o, blockEnhanced, words(o, 0, 0, 0, 4, 4), []byte{1, 2, 3, 4}))
	tail := block(o, blockEnhanced, words(o, 0, 0, 0, 4, 4), []byte{1, 2, 3, 4})
	wrongTail := bytes.Clone(tail)
	wrongTail[len(tail)-4]++
	for _, c := range []struct {
		name string
		file []byte
		cut  bool
		at   int
		what string
	}{
		{"half a record header", cat(pcap, good[:7]), true, len(pcap), "7 bytes"},
		{"half a record", cat(pcap, good, []byte{1, 2}), true, len(pcap), "18 bytes"},
		{"a length that cannot be", cat(pcap, words(o, 1, 2, 1<<31, 4)), false, len(pcap), "cannot be"},
		{"half a block", cat(ng, tail[:20]), true, len(ng), "20 bytes"},
		{"half a block passed over", cat(ng, block(o, 77, zeros(40))[:30]), true, 0, "22 bytes of a block"},
		{"a block of 4 bytes", cat(ng, words(o, 6, 4, 0, 0)), false, len(ng), "4 bytes"},
		{"a block of 13 bytes", cat(ng, words(o, 6, 13, 0, 0, 0)), false, len(ng), "13 bytes"},
		{"a block too large", cat(ng, words(o, 6, 1<<30, 0, 0, 0)), false, len(ng), "cannot be"},
		{"two lengths", cat(ng, wrongTail), false, len(ng), "at its end"},
		{"an interface that is not there", cat(ng, block(o, 6, words(o, 5, 0, 0, 0, 0))), false, len(ng), "interface 5"},
		{"a frame larger than its block", cat(ng, block(o, 6, words(o, 0, 0, 0, 5, 5), zeros(4))), false, len(ng), "room for 4"},
		{"an old frame larger than its block", cat(ng, block(o, 2, words(o, 0, 0, 0, 5, 5), zeros(4))), false, len(ng), "room for 4"},
		{"a packet block too short", cat(ng, block(o, 6, zeros(16))), false, len(ng), "too short"},
		{"a simple block too short", cat(ng, block(o, 3)), false, len(ng), "too short"},
		{"an interface block too short", cat(ng, block(o, 1, zeros(4))), false, len(ng), "too short"},
		{"a section too short", cat(ng, block(o, blockSection, words(o, magicOrder))), false, len(ng), "too short"},
		{"a section of another order", cat(ng, block(o, blockSection, words(o, 7, 7, 7, 7))), false, len(ng), "byte order"},
	} {
		recs, _, _, err := readAll(c.file)
		var damage *DamageError
		if !errors.As(err, &damage) || len(recs) != 1 {
			t.Errorf("%s: %d records, %v", c.name, len(recs), err)
			continue
		}
		if damage.Cut != c.cut || c.at != 0 && damage.Offset != int64(c.at) || !strings.Contains(damage.Error(), c.what) {
			t.Errorf("%s: want offset %d: %v", c.name, c.at, err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"nothing":          {"", "empty"},
		"three bytes":      {"abc", "only 3 bytes"},
		"text":             {"Jan 1 00:00:00 host kernel", "editcap"},
		"half a header":    {"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "only 8 bytes"},
		"half a section":   {"\x0a\x0d\x0d\x0a\x1c\x00", "only 6 bytes"},
		"a text with CRLF": {"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00abcd", "byte order"},
	} {
		if _, err := NewReader(strings.NewReader(c.file)); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := NewReader(iotest.ErrReader(broken)); !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
	o := binary.LittleEndian
	r, err := NewReader(io.MultiReader(bytes.NewReader(pcapFile(o, magicMicro, [2]uint16{2, 4}, 1, words(o, 1, 2, 0, 0))), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	if err := r.ReadBatch(&b); err != nil || len(b.Records) != 1 {
		t.Errorf("%d records, %v", len(b.Records), err)
	}
	if err := r.ReadBatch(&b); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestReaderAllocations: reading on into the same batch allocates nothing.
func TestReaderAllocations(t *testing.T) {
	file := smallFile(50_000)
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for range 2 { // the batch and what is carried over get their sizes
		if err := r.ReadBatch(&b); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(2, func() {
		if err := r.ReadBatch(&b); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
