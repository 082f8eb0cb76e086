package synth

import (
	"bytes"
	"strings"
	"testing"
)

// TestMake plays scenes twice: the same seeds give the same bytes, every class and
// device appears, and every RST that is told is in its capture.
func TestMake(t *testing.T) {
	t.Parallel()
	notes := map[string]bool{}
	for seed := range uint64(400) {
		s, again := Make(seed), Make(seed)
		if !bytes.Equal(s.File, again.File) || len(s.Truth) != len(again.Truth) {
			t.Fatalf("seed %d is not the same twice", seed)
		}
		frames := framesOf(t, s.File)
		for _, x := range s.Truth {
			class, _, _ := strings.Cut(x.Note, ", ")
			notes[class] = true
			if x.Frame < 1 || x.Frame > len(frames) || flagsOf(frames[x.Frame-1])&rst == 0 {
				t.Fatalf("seed %d: frame %d of %d is no RST", seed, x.Frame, len(frames))
			}
			if x.Sender == "" || x.Verdict == "" {
				t.Fatalf("seed %d: %+v", seed, x)
			}
		}
	}
	for _, want := range []string{"refused", "server aborts", "client aborts", "idle close", "data after close", "client gone", "half open", "gave up", "reset on peer close", "process ended", "scan", "filter", "traffic management", "state filter", "IPS", "SYN filter", "IPS with a page", "user-mode NAT", "load balancer", "keep-alive", "stateful firewall", "rejecting filter"} {
		if !notes[want] {
			t.Errorf("nothing of %q in 400 scenes", want)
		}
	}
}

// flagsOf returns the TCP flags of a frame.
func flagsOf(frame []byte) byte {
	if frame[12] == 0x86 {
		return frame[67]
	}
	return frame[47]
}

// framesOf splits a capture.
func framesOf(t *testing.T, file []byte) (list [][]byte) {
	t.Helper()
	for b := file[24:]; len(b) > 0; {
		n := int(b[8]) | int(b[9])<<8
		if len(b) < 16+n {
			t.Fatal("the capture is cut short")
		}
		list = append(list, b[16:16+n])
		b = b[16+n:]
	}
	return list
}

// TestOtherSeeds sees that seeds matter.
func TestOtherSeeds(t *testing.T) {
	t.Parallel()
	a, b := Make(1), Make(2)
	if bytes.Equal(a.File, b.File) {
		t.Error("two seeds, the same capture")
	}
}
