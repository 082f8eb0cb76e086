package packet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// record describes a frame that was captured whole.
func record(link LinkType, data []byte) *Record {
	return &Record{Link: link, Captured: uint32(len(data)), Length: uint32(len(data)), Time: 1e18, Interface: 3}
}

func TestDecodeLayers(t *testing.T) {
	for _, f := range sampleFrames {
		t.Run(f.name, func(t *testing.T) {
			d := Decoder{Verify: true}
			s := Segment{Frame: 7}
			if kind := d.Decode(record(f.link, f.data), f.data, &s); kind != TCP {
				t.Fatalf("kind %d", kind)
			}
			if s.Layers != f.layers || s.V6 != f.v6 || s.Frame != 7 || s.Interface != 3 || s.Time != 1e18 {
				t.Errorf("layers %x, want %x; %+v", s.Layers, f.layers, s)
			}
			src, dst := "192.0.2.1", "198.51.100.2"
			if f.v6 {
				src, dst = "2001:db8::1", "2001:db8::2"
			}
			if s.Src.Netip().String() != src || s.Dst.Netip().String() != dst || s.TTL != 57 || s.TOS != 0x28 {
				t.Errorf("%v > %v, TTL %d, TOS %x", s.Src.Netip(), s.Dst.Netip(), s.TTL, s.TOS)
			}
			if s.SrcPort != 40000 || s.DstPort != 80 || s.Seq != 0x11223344 || s.Ack != 0x55667788 || s.Window != 0x1234 {
				t.Errorf("%+v", s)
			}
			if s.Length != len(s.Payload) || s.Length > 0 && !bytes.Equal(s.Payload, testPayload) {
				t.Errorf("payload %q of %d", s.Payload, s.Length)
			}
			if f.name != "ah" && s.TCPSum != SumGood || !f.v6 && s.IPSum != SumGood {
				t.Errorf("checksums %d and %d", s.TCPSum, s.IPSum)
			}
			if h, ok := d.FlowHash(record(f.link, f.data), f.data); ok && h != s.FlowHash() {
				t.Errorf("FlowHash %x of the frame, %x of the segment", h, s.FlowHash())
			}
		})
	}
}

// TestDecodeLayersTshark lets tshark judge the frames that this package made up.
func TestDecodeLayersTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	file := filepath.Join(t.TempDir(), "layers.pcapng")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := NewWriter(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sampleFrames {
		if f.alone {
			continue
		}
		i, err := w.AddInterface(Interface{Link: f.link, Name: f.name})
		if err != nil {
			t.Fatal(err)
		}
		r := record(f.link, f.data)
		if r.Interface = i; f.v6 {
			r.Direction = DirOut
		}
		if err := w.Write(r, f.data, f.name); err != nil {
			t.Fatal(err)
		}
	}
	compareWithTshark(t, tshark, file)
}

// TestDecodeShort cuts every frame at every length: no byte that is not there
// may be believed, and nothing may panic.
func TestDecodeShort(t *testing.T) {
	for _, f := range sampleFrames {
		d := Decoder{Verify: true}
		var s Segment
		for n := range len(f.data) {
			cut := f.data[:n:n]
			if kind := d.Decode(record(f.link, f.data), cut, &s); kind == TCP {
				if s.SrcPort != 40000 || s.Seq != 0x11223344 || s.Flags&ACK == 0 && s.Flags != SYN {
					t.Errorf("%s cut to %d: %+v", f.name, n, s)
				}
				if s.Length != 0 && s.Length != len(testPayload) || len(s.Payload) > s.Length {
					t.Errorf("%s cut to %d: %d of %d bytes of data", f.name, n, len(s.Payload), s.Length)
				}
				if s.TCPSum != SumUnknown && len(s.Payload) < s.Length {
					t.Errorf("%s cut to %d: the checksum was verified", f.name, n)
				}
			}
			d.Decode(record(f.link, cut), cut, &s) // as if the frame had been that short
		}
	}
}
