package trace

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

var record = flag.Bool("record", false, "record testdata/close-unread.bin again, as root")

// records is what the ring buffer held after one close with unread data on
// loopback: every record of both ends, one after the other.
const records = "testdata/close-unread.bin"

const recordSize = int(unsafe.Sizeof(resetEvent{}))

// TestRootRecord writes the file that the benchmarks read. Its layout is that
// of struct event, so a change there needs:
//
//	go test ./internal/trace -run TestRootRecord -record
func TestRootRecord(t *testing.T) {
	if !*record {
		t.Skip("writes test data only with -record")
	}
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := closeUnread(t)
	var out []byte
	var rec ringbuf.Record
	s.reader.SetDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		err := s.reader.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var e resetEvent
		if decodeEvent(rec.RawSample, &e) && about(&e, at) {
			out = append(out, rec.RawSample[:recordSize]...)
		}
	}
	if len(out) < 4*recordSize {
		t.Fatalf("only %d records", len(out)/recordSize)
	}
	if err := os.WriteFile(records, out, 0o644); err != nil {
		t.Fatal(err)
	}
}

// about says whether a record belongs to a connection of that server.
func about(e *resetEvent, at netip.AddrPort) bool {
	return e.Kind == kindOwner || e.local() == at || e.remote() == at || e.packetSrc() == at || e.packetDst() == at
}

// recorded returns the records as they lie in the ring buffer.
func recorded(b *testing.B) (raw [][]byte) {
	b.Helper()
	all, err := os.ReadFile(records)
	if err != nil {
		b.Fatal(err)
	}
	if len(all)%recordSize != 0 {
		b.Skip("struct event has changed: record again, see TestRootRecord")
	}
	for ; len(all) > 0; all = all[recordSize:] {
		raw = append(raw, all[:recordSize])
	}
	return raw
}

// BenchmarkDecode decodes one record.
func BenchmarkDecode(b *testing.B) {
	raw := recorded(b)
	var e resetEvent
	var kinds int
	b.ReportAllocs()
	b.SetBytes(int64(recordSize))
	for i := 0; b.Loop(); i++ {
		if !decodeEvent(raw[i%len(raw)], &e) {
			b.Fatal("a record of the right size was refused")
		}
		kinds += int(e.Kind)
	}
	if kinds == 0 {
		b.Fatal("nothing was decoded")
	}
}

// BenchmarkJoin takes all records of one reset and makes the observation.
func BenchmarkJoin(b *testing.B) {
	var events []resetEvent
	for _, r := range recorded(b) {
		events = append(events, resetEvent{})
		decodeEvent(r, &events[len(events)-1])
	}
	n := 0
	j := newJoiner(30*time.Millisecond, nil, func(*observation) { n++ })
	j.isICMP = func(*resetEvent) bool { return false }
	b.ReportAllocs()
	rounds := 0
	for b.Loop() {
		rounds++
		for i := range events {
			j.add(&events[i])
		}
		j.expire(^uint64(0))
	}
	if n != rounds {
		b.Fatalf("%d observations of %d resets", n, rounds)
	}
}

// BenchmarkBuild makes the case of a live observation, with what it asks the
// host: sockets, processes, names of kernel functions.
func BenchmarkBuild(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to load eBPF programs")
	}
	s, err := Open(Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	at := closeUnread(b)
	var seen *observation
	s.join.flush = func(o *observation) {
		if o.send != nil && o.recv != nil && (o.src == at || o.dst == at) {
			seen = o
		}
	}
	var rec ringbuf.Record
	for deadline := time.Now().Add(5 * time.Second); seen == nil; {
		if time.Now().After(deadline) {
			b.Fatal("the reset was not seen")
		}
		if _, err := s.drain(&rec, 10*time.Millisecond); err != nil {
			b.Fatal(err)
		}
		batch, _ := s.inbox.take()
		for _, e := range batch {
			s.join.add(e)
		}
		s.join.expire(^uint64(0))
	}
	b.ReportAllocs()
	for b.Loop() {
		if o := s.build.build(seen); o.Case == nil {
			b.Fatal("no case")
		}
	}
}
