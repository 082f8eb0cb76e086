package framing

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what testdata expects; read the difference")

// talk is a conversation: each turn is what one side sends in one piece.
type talk struct {
	protocol string
	turns    []turn
}

type turn struct {
	client bool
	octets []byte
}

// frame hands a talk in, step octets at a time, and returns the parts as text, one
// line for each message, however it was cut.
func frame(t testing.TB, k talk, step int) []string {
	c, err := New(k.protocol)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var last [2]struct {
		line int
		part Part
		n    int
	}
	var held [2][]byte
	steps := 0
	for _, turn := range k.turns {
		side, next, name := 0, c.Server, "server"
		if turn.client {
			side, next, name = 1, c.Client, "client"
		}
		for b := turn.octets; len(b) > 0; {
			n := min(step, len(b))
			held[side] = append(held[side], b[:n]...)
			b = b[n:]
			for {
				if steps++; steps > 1<<22 {
					t.Fatalf("no end: %q", held[side])
				}
				n, p, err := next(held[side])
				if err != nil {
					if !errors.Is(err, ErrLost) {
						t.Fatalf("no ErrLost: %v", err)
					}
					return append(out, fmt.Sprintf("%s: %v", name, err))
				}
				if n == 0 {
					if len(held[side]) >= Most {
						t.Fatalf("%s wants more than %d octets", name, len(held[side]))
					}
					break
				}
				if n > len(held[side]) {
					t.Fatalf("%d octets of %d", n, len(held[side]))
				}
				held[side] = held[side][n:]
				l := &last[side]
				if l.n > 0 && !p.First && !l.part.Last && p.Kind == l.part.Kind && p.Number == l.part.Number {
					l.n += n
					l.part.Last = p.Last
				} else {
					out = append(out, "")
					l.line, l.part, l.n = len(out)-1, p, n
				}
				out[l.line] = fmt.Sprintf("%s: %s %s%d%s, %d octets", name, l.part.Kind, mark(l.part.First, "["), l.part.Number, mark(l.part.Last, "]"), l.n)
			}
		}
	}
	return out
}

// told is what must not depend on how the octets were cut. Where a talk is lost, a cut
// talk has told of the beginning of the message that could not be followed.
func told(lines []string) []string {
	if n := len(lines) - 1; n >= 0 && strings.Contains(lines[n], ErrLost.Error()) {
		ended := slices.DeleteFunc(slices.Clone(lines[:n]), func(s string) bool { return !strings.Contains(s, "]") })
		side, _, _ := strings.Cut(lines[n], ErrLost.Error())
		return append(ended, side+ErrLost.Error())
	}
	return lines
}

func mark(ok bool, s string) string {
	if ok {
		return s
	}
	return ""
}

// readTalk reads a talk in the form of testdata: a line "protocol NAME", then lines
// "> " and "< " with a quoted string of Go, client and server.
func readTalk(t testing.TB, text string) (k talk, want []string) {
	text, expected, _ := strings.Cut(text, "\n---\n")
	for line := range strings.SplitSeq(text, "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case "protocol":
			k.protocol = rest
		case ">", "<":
			var octets []byte
			for quoted := range strings.FieldsSeq(rest) {
				s, err := strconv.Unquote(quoted)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				octets = append(octets, s...)
			}
			k.turns = append(k.turns, turn{mark == ">", octets})
		}
	}
	return k, strings.Split(strings.TrimSpace(expected), "\n")
}

// TestTalks frames the talks of testdata, whole and octet by octet.
func TestTalks(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			k, want := readTalk(t, string(text))
			got := frame(t, k, 1<<30)
			if *update {
				text, _, _ := strings.Cut(string(text), "\n---\n")
				if err := os.WriteFile(file, []byte(text+"\n---\n"+strings.Join(got, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, step := range []int{1, 3, 7} {
				if diff := cmp.Diff(told(want), told(frame(t, k, step))); diff != "" {
					t.Errorf("%d octets at a time (-want +got):\n%s", step, diff)
				}
			}
		})
	}
}

func TestUnknownProtocol(t *testing.T) {
	if _, err := New("gopher"); err == nil || !strings.Contains(err.Error(), "postgres") {
		t.Error(err)
	}
}

// TestMySQLNumbers: a command of two packets of 16 MiB, an answer and a file of so
// many packets that their numbers wrap.
func TestMySQLNumbers(t *testing.T) {
	packet := func(seq int, payload string) []byte {
		n := len(payload)
		return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(seq)}, payload...)
	}
	many := func(first, n int, payload string) (b []byte) {
		for i := range n {
			b = append(b, packet(first+i, payload)...)
		}
		return b
	}
	k := talk{"mysql", []turn{
		{false, packet(0, "\x0a")},
		{true, packet(1, "\x00\x02\x00\x00")},
		{false, packet(2, "\x00")},
		{true, append(packet(0, "\x03"+strings.Repeat("q", mysqlMost-1)), packet(1, "q")...)},
		{false, packet(2, "\x00")},
		{true, packet(0, "\x03select")},
		{false, many(1, 600, "row")},
		{true, packet(0, "\x03load")},
		{false, packet(1, "\xfbfile")},
		{true, append(many(2, 300, "row"), packet(302, "")...)},
		{false, packet(303, "\x00")},
		{true, packet(0, "\x03load")},
		{false, packet(1, "\xfbfile")},
		{true, append(many(2, 253, "row"), packet(255, "")...)}, // ends with the last number
		{false, packet(0, "\x00")},
		{true, packet(0, "\x0e")},
		{false, packet(1, "\x00")},
	}}
	want := []string{
		"server: control 0, 10 octets", "client: control 0, 8 octets",
		"client: message [1], 16777224 octets", "server: message [1, 5 octets",
		"client: message [2], 11 octets", "server: message [2, 4200 octets",
		"client: message [3], 9 octets", "server: message [3, 14 octets", // the file is not counted below
		"client: message [4], 9 octets", "server: message [4, 14 octets",
		"client: message [5], 5 octets", "server: message [5, 5 octets",
	}
	got := slices.DeleteFunc(frame(t, k, 1<<30), func(s string) bool {
		return strings.HasPrefix(s, "client: message 3]") || strings.HasPrefix(s, "client: message 4]")
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzTalks hands in any octets, in turns of client and server: what is said must not
// depend on how they are cut, and never be more than what there is.
func FuzzTalks(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		k, _ := readTalk(f, string(text))
		seed := []byte(nil)
		for i, turn := range k.turns {
			if turn.client == (i%2 == 0) && len(turn.octets) < 200 {
				seed = append(seed, byte(len(turn.octets)))
				seed = append(seed, turn.octets...)
			}
		}
		for i := range Protocols() {
			f.Add(byte(i), seed)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		list := Protocols()
		k := talk{protocol: list[int(which)%len(list)]}
		for client := true; len(data) > 0; client = !client {
			n := min(int(data[0])+1, len(data)-1)
			k.turns = append(k.turns, turn{client, data[1 : 1+n]})
			data = data[1+n:]
		}
		whole := told(frame(t, k, 1<<30))
		for _, step := range []int{1, 5} {
			if diff := cmp.Diff(whole, told(frame(t, k, step))); diff != "" {
				t.Errorf("%s: cut into %d (-whole +cut):\n%s", k.protocol, step, diff)
			}
		}
	})
}
