package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// FuzzReader reads a file at once and in pieces, and wants the same records.
func FuzzReader(f *testing.F) {
	o, x := binary.LittleEndian, binary.BigEndian
	f.Add(pcapFile(o, magicMicro, [2]uint16{2, 4}, 1, words(o, 1, 2, 3, 3), []byte{1, 2, 3}))
	f.Add(pcapFile(x, magicModified, [2]uint16{2, 3}, 1, words(x, 1, 2, 60, 3, 0, 0), []byte{1, 2, 3}))
	f.Add(cat(sectionBlock(x), interfaceBlock(x, 1, 2, ngOption(x, optTSResol, []byte{0x8a}), ngOption(x, optName, []byte("e"))),
		block(x, 6, words(x, 0, 0, 9, 3, 3), []byte{1, 2, 3, 0}, ngOption(x, optFlags, words(x, 1))), block(x, 3, words(x, 9), zeros(4)), block(x, 99, zeros(8))))
	f.Fuzz(func(t *testing.T, file []byte) {
		recs, frames, ifs, err := readAll(file)
		for i, r := range recs {
			if int(r.Captured) != len(frames[i]) || r.Length < r.Captured || int(r.Interface) >= len(ifs) || ifs[r.Interface].Link != r.Link {
				t.Fatalf("record %d: %+v of %d bytes", i, r, len(frames[i]))
			}
			if r.Offset < 0 || r.Offset+int64(r.Captured) > int64(len(file)) || i > 0 && r.Offset <= recs[i-1].Offset {
				t.Fatalf("record %d is said to be at %d", i, r.Offset)
			}
		}
		pieces, err2 := readPieces(file)
		if diff := cmp.Diff(recs, pieces); diff != "" {
			t.Fatal(diff)
		}
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("%v at once, %v in pieces", err, err2)
		}
	})
}

func readPieces(file []byte) (recs []Record, err error) {
	r, err := NewReader(iotest.HalfReader(bytes.NewReader(file)))
	if err != nil {
		return nil, err
	}
	var b Batch
	for err = r.ReadBatch(&b); err == nil; err = r.ReadBatch(&b) {
		for _, rec := range b.Records {
			rec.Start = 0
			recs = append(recs, rec)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return recs, err
}

// FuzzDecode decodes anything. The frame comes three times, so that fragments
// of it may meet.
func FuzzDecode(f *testing.F) {
	for _, s := range sampleFrames {
		f.Add(uint16(s.link), s.data, uint16(0))
	}
	for _, b := range fragmentsOf() {
		f.Add(uint16(LinkRaw), b, uint16(10))
	}
	f.Add(uint16(LinkRaw), inIPv4(protoICMP, cat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, inIPv4(protoTCP, testTCP()))), uint16(0))
	f.Fuzz(func(t *testing.T, link uint16, data []byte, missing uint16) {
		d := Decoder{Verify: true}
		rec := &Record{Link: LinkType(link), Captured: uint32(len(data)), Length: uint32(len(data)) + uint32(missing)}
		for range 3 {
			s := Segment{Frame: 1}
			kind := d.Decode(rec, data, &s)
			if kind != TCP {
				continue
			}
			if s.Length < 0 || len(s.Payload) > s.Length || s.HeaderSize < 20 || s.HeaderSize > 60 || s.SACKs > 4 || s.Frame != 1 {
				t.Fatalf("%+v", s)
			}
			if s.TCPSum != SumUnknown && len(s.Payload) != s.Length {
				t.Fatalf("checksum of a segment that is not all there: %+v", s)
			}
			if h, ok := d.FlowHash(rec, data); ok && h != s.FlowHash() {
				t.Fatalf("FlowHash %x of the frame, %x of the segment", h, s.FlowHash())
			}
		}
	})
}

// FuzzWriterRoundTrip writes two frames in both formats and reads them again.
func FuzzWriterRoundTrip(f *testing.F) {
	f.Add(int64(1_700_000_000_123_456_789), uint16(1), uint32(60), uint8(1), []byte("frame"), "comment", "eth0")
	f.Add(int64(-1), uint16(276), uint32(0), uint8(0), []byte{}, "", "")
	f.Fuzz(func(t *testing.T, time int64, link uint16, length uint32, direction uint8, data []byte, comment, name string) {
		i := Interface{Link: linkOf(link), Name: name[:min(len(name), maxText)], SnapLen: int(length >> 1)}
		r := Record{Captured: uint32(len(data)), Length: max(length, uint32(len(data))), Link: i.Link, Time: time, Direction: Direction(direction % 3)}
		var ng, old bytes.Buffer
		w, err := NewWriter(&ng, []Interface{i})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPcapWriter(&old, i.Link, i.SnapLen)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Write(&r, data, comment); err != nil {
				t.Fatal(err)
			}
		}
		files := []*bytes.Buffer{&ng}
		if err := p.Write(&r, data); err == nil {
			if err := p.Write(&r, data); err != nil {
				t.Fatal(err)
			}
			files = append(files, &old)
		} else if time >= 0 && time < 1<<32*1e9 {
			t.Fatal(err)
		}
		for n, file := range files {
			recs, frames, ifs, err := readAll(file.Bytes())
			if err != nil || len(recs) != 2 || !bytes.Equal(frames[1], data) {
				t.Fatalf("%d records, %v", len(recs), err)
			}
			want := r
			want.Offset = recs[1].Offset
			if n == 1 {
				want.Direction = DirUnknown
			} else if ifs[0] != i {
				t.Fatalf("interface %+v, want %+v", ifs[0], i)
			}
			if diff := cmp.Diff(want, recs[1]); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
