package synth

import (
	"fmt"
	"strings"
)

// Scene is one capture and its truth.
type Scene struct {
	Seed  uint64
	File  []byte // pcap
	Truth []Truth
}

// Make plays the scene of a seed: connections of one class, or several of a
// device, with others beside them. The same seed gives the same bytes.
func Make(seed uint64) Scene {
	w := newWorld(seed)
	w.lossy = []int{0, 0, 0, 0, 200, 40}[w.chance.IntN(6)]
	w.jumbled = w.odds(6)
	w.copies = w.odds(10)
	w.v6 = w.odds(8)
	if w.odds(3) {
		w.device()
	} else {
		sum := 0
		for _, c := range classes {
			sum += c.often
		}
		for range w.between(1, 4) {
			n := w.chance.IntN(sum)
			for _, c := range classes {
				if n -= c.often; n < 0 {
					c.play(w)
					break
				}
			}
		}
	}
	w.run()
	if w.odds(8) && len(w.log) > 8 { // the capture begins late
		w.from = w.log[w.chance.IntN(len(w.log)/3)].at
	}
	s := Scene{Seed: seed}
	s.File, s.Truth = w.capture()
	return s
}

// Header is the first line of the table of truth.
const Header = "file\tstream\tclient\tserver\trst_frame\trst_sender\tverdict\tconfidence\tnote"

// Lines returns the truth of a scene as lines of the table.
func (s *Scene) Lines(file string) string {
	var b strings.Builder
	for _, t := range s.Truth {
		fmt.Fprintf(&b, "%s\t%d\t%s\t%s\t%d\t%s\t%s\thigh\t%s\n", file, t.Stream, t.Client, t.Server, t.Frame, t.Sender, t.Verdict, t.Note)
	}
	return b.String()
}
