package packet

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
)

// smallFrame is a segment with 12 bytes of options on Ethernet and IPv4.
func smallFrame(port uint16) []byte {
	f := []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 52, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x10, 1, 0, 0, 0, 0, 0,
		1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2,
	}
	binary.BigEndian.PutUint16(f[34:], port)
	return f
}

// smallFile is a pcap file of n such frames.
func smallFile(n int) []byte {
	var b bytes.Buffer
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, magicMicro)
	head[4], head[6], head[20] = 2, 4, 1
	b.Write(head)
	for i := range n {
		f := smallFrame(uint16(i % 1000))
		var h [16]byte
		binary.LittleEndian.PutUint32(h[0:], uint32(i))
		binary.LittleEndian.PutUint32(h[8:], uint32(len(f)))
		binary.LittleEndian.PutUint32(h[12:], uint32(len(f)))
		b.Write(h[:])
		b.Write(f)
	}
	return b.Bytes()
}

func BenchmarkDecode(b *testing.B) {
	f := smallFrame(1)
	rec := Record{Link: LinkEthernet, Length: uint32(len(f)), Captured: uint32(len(f))}
	var d Decoder
	var s Segment
	b.ReportAllocs()
	for b.Loop() {
		if d.Decode(&rec, f, &s) != TCP {
			b.Fatal("not TCP")
		}
	}
}

func BenchmarkDecodeVerify(b *testing.B) {
	f := smallFrame(1)
	rec := Record{Link: LinkEthernet, Length: uint32(len(f)), Captured: uint32(len(f))}
	d := Decoder{Verify: true}
	var s Segment
	for b.Loop() {
		d.Decode(&rec, f, &s)
	}
}

func BenchmarkFlowHash(b *testing.B) {
	f := smallFrame(1)
	rec := Record{Link: LinkEthernet, Length: uint32(len(f)), Captured: uint32(len(f))}
	var d Decoder
	var sum uint64
	for b.Loop() {
		h, _ := d.FlowHash(&rec, f)
		sum += h
	}
	_ = sum
}

// BenchmarkDecodeFile reads and decodes 100,000 frames from memory.
func BenchmarkDecodeFile(b *testing.B) {
	const n = 100_000
	file := smallFile(n)
	b.SetBytes(int64(len(file)))
	var batch Batch
	var d Decoder
	var s Segment
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		for {
			if err := r.ReadBatch(&batch); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
			for i := range batch.Records {
				d.Decode(&batch.Records[i], batch.Frame(i), &s)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/frame")
}
