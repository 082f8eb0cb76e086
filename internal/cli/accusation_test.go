package cli

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/traffic"
	"github.com/holdfast-project/holdfast/knowledge"
	"github.com/holdfast-project/holdfast/packet"
)

// thirdParties are senders that must not be named without proof.
var thirdParties = []string{fact.Middlebox, fact.Injector, fact.LocalFirewall}

// deviceTTL is that of RSTs which package traffic lets a device send.
const deviceTTL = 250

// TestNoFalseAccusation: nobody between the ends is named over ordinary
// traffic, scans and garbage, in which there is nobody.
func TestNoFalseAccusation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(t *testing.T) []byte
		rate int // one accusation in so many endings is borne; 0 none
	}{
		{"ordinary traffic", func(t *testing.T) []byte { return generated(t, traffic.Options{Packets: 200_000, Resets: 20}) }, 0},
		{"ordinary traffic over IPv6", func(t *testing.T) []byte { return generated(t, traffic.Options{Packets: 50_000, Resets: 20, V6: true}) }, 0},
		{"a scan", func(t *testing.T) []byte { return generated(t, traffic.Options{Packets: 20_000, Scan: true}) }, 0},
		{"random flags and numbers", garbage, 1000}, // chance makes every picture once
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "capture.pcap")
			if err := os.WriteFile(path, c.make(t), 0o600); err != nil {
				t.Fatal(err)
			}
			base, err := knowledge.Load()
			if err != nil {
				t.Fatal(err)
			}
			o := &options{env: &env{getenv: os.Getenv, err: &bytes.Buffer{}}}
			got, err := o.readCaptures(t.Context(), base, []string{path}, &captureFlags{facts: true})
			if err != nil {
				t.Fatal(err)
			}
			list := got.findings
			if len(list) == 0 {
				t.Fatal("nothing was found: the test sees nothing")
			}
			accused := 0
			for i := range list {
				f := &list[i]
				if f.Cause.Grade == fact.Proved || f.Sender.Grade == fact.Proved {
					t.Errorf("frame %d: proved from one capture: %s by %s", f.Where.Frame, f.Cause.ID, f.Sender.Role)
				}
				made := f.Case.RST.TTL.Or(0) == deviceTTL && c.name != "random flags and numbers" // a device of the generator
				if slices.Contains(thirdParties, f.Sender.Role) && f.Sender.Grade != fact.Possible && !made {
					accused++
					t.Logf("frame %d: %s (%s), %s (%s)", f.Where.Frame, f.Sender.Role, f.Sender.Grade, f.Cause.ID, f.Cause.Grade)
				}
			}
			if accused*max(c.rate, 1) > len(list) || c.rate == 0 && accused > 0 {
				t.Errorf("%d of %d endings accuse a third party", accused, len(list))
			}
		})
	}
}

func generated(t *testing.T, o traffic.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(traffic.Reader(o)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// garbage is what a fuzzer sends: few hosts, random flags, numbers, TTLs and
// identifications, from a fixed seed.
func garbage(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := packet.NewPcapWriter(&b, packet.LinkRaw, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		p := make([]byte, 40+r.IntN(20))
		p[0], p[8], p[9] = 0x45, byte(r.UintN(256)), 6
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], uint16(r.Uint32()))
		copy(p[12:], []byte{10, 0, 0, byte(r.UintN(8)), 10, 0, 1, byte(r.UintN(8))})
		binary.BigEndian.PutUint16(p[20:], uint16(40000+r.UintN(64)))
		binary.BigEndian.PutUint16(p[22:], uint16(80+r.UintN(4)))
		if r.UintN(2) == 0 {
			copy(p[12:16], p[16:20])
			copy(p[16:], []byte{10, 0, 0, byte(r.UintN(8))})
			binary.BigEndian.PutUint32(p[20:], binary.BigEndian.Uint32(p[20:])<<16|binary.BigEndian.Uint32(p[20:])>>16)
		}
		binary.BigEndian.PutUint32(p[24:], r.Uint32N(5000))
		binary.BigEndian.PutUint32(p[28:], r.Uint32N(5000))
		p[32], p[33] = 5<<4, byte(r.UintN(256))
		binary.BigEndian.PutUint16(p[34:], uint16(r.Uint32()))
		if err := w.Write(&packet.Record{Time: int64(i) * 1_000_000, Length: uint32(len(p))}, p); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}
