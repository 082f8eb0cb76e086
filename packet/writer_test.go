package packet

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readAll returns the records of a capture with their bytes, and how it ended.
func readAll(file []byte) (recs []Record, frames [][]byte, interfaces []Interface, err error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, nil, err
	}
	var b Batch
	for {
		if err := r.ReadBatch(&b); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return recs, frames, r.Interfaces(), err
		}
		if want := int64(len(recs)) + 1; b.First != want {
			return nil, nil, nil, errors.New("Batch.First is wrong")
		}
		for i, rec := range b.Records {
			frames = append(frames, bytes.Clone(b.Frame(i)))
			rec.Start = 0
			recs = append(recs, rec)
		}
	}
}

func TestWriterRoundTrip(t *testing.T) {
	interfaces := []Interface{
		{Link: LinkEthernet, Name: "eth0", Description: "the first", SnapLen: 100},
		{Link: LinkRaw, Name: "tun0"},
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, interfaces)
	if err != nil {
		t.Fatal(err)
	}
	var want []Record
	var frames [][]byte
	for i := range 20_000 { // more than one batch
		f := bytes.Repeat([]byte{byte(i)}, i%70)
		r := Record{Captured: uint32(len(f)), Length: uint32(len(f) + i%3), Interface: uint16(i % 2), Link: interfaces[i%2].Link,
			Direction: Direction(i % 3), Time: 1_700_000_000_123_456_789 + int64(i), Offset: int64(out.Len())}
		comment := ""
		if i%5 == 0 {
			comment = "why"[:1+i%3]
		}
		if err := w.Write(&r, f, comment); err != nil {
			t.Fatal(err)
		}
		want, frames = append(want, r), append(frames, f)
	}
	recs, got, ifs, err := readAll(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, recs); diff != "" {
		t.Error(diff)
	}
	for i := range frames {
		if !bytes.Equal(frames[i], got[i]) {
			t.Fatalf("frame %d differs", i)
		}
	}
	if diff := cmp.Diff(interfaces, ifs); diff != "" {
		t.Error(diff)
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := NewWriter(io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&Record{}, nil, ""); err == nil {
		t.Error("a frame of no interface was written")
	}
	if i, err := w.AddInterface(Interface{Link: LinkRaw}); err != nil || i != 0 {
		t.Errorf("AddInterface: %d, %v", i, err)
	}
	if err := w.Write(&Record{}, nil, ""); err != nil {
		t.Error(err)
	}
}

func TestPcapWriterRoundTrip(t *testing.T) {
	var out bytes.Buffer
	w, err := NewPcapWriter(&out, LinkSLL2, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Captured: 3, Length: 9, Link: LinkSLL2, Time: 1_700_000_000_123_456_789, Offset: 24}
	if err := w.Write(&r, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&Record{Time: -1}, nil); err == nil {
		t.Error("a time before 1970 was written")
	}
	recs, frames, ifs, err := readAll(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Record{r}, recs); diff != "" || !bytes.Equal(frames[0], []byte{1, 2, 3}) || ifs[0].Link != LinkSLL2 {
		t.Errorf("%s %x %v", diff, frames, ifs)
	}
}

func TestStatistics(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, []Interface{{Link: LinkEthernet}})
	if err != nil {
		t.Fatal(err)
	}
	const until = int64(1_700_000_000_123_456_789)
	if err := w.Statistics(0, until, 7); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	var batch Batch
	if err := r.ReadBatch(&batch); err != io.EOF {
		t.Fatalf("got %v, want io.EOF", err)
	}
	if r.Until() != until || r.Dropped() != 7 {
		t.Errorf("ended at %d with %d lost, want %d and 7", r.Until(), r.Dropped(), until)
	}
}
