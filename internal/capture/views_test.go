package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
)

// line is a frame at a place: who sends, flags, numbers, data.
type line struct {
	at       time.Duration
	client   bool
	flags    packet.Flags
	seq, ack uint32
	data     string
	ttl      byte
	id       uint16
	port     uint16 // of the client, 0 for 40000
}

// ipv4 builds a raw IPv4 packet with right checksums left out: captures of
// hosts that leave them to the card look so.
func (l *line) ipv4() []byte {
	port := l.port
	if port == 0 {
		port = 40000
	}
	b := make([]byte, 40+len(l.data))
	b[0], b[8], b[9] = 0x45, l.ttl, 6
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], l.id)
	src, dst, sport, dport := []byte{192, 0, 2, 1}, []byte{198, 51, 100, 9}, port, uint16(80)
	if !l.client {
		src, dst, sport, dport = dst, src, dport, sport
	}
	copy(b[12:], src)
	copy(b[16:], dst)
	binary.BigEndian.PutUint16(b[20:], sport)
	binary.BigEndian.PutUint16(b[22:], dport)
	binary.BigEndian.PutUint32(b[24:], l.seq)
	binary.BigEndian.PutUint32(b[28:], l.ack)
	b[32], b[33] = 5<<4, byte(l.flags)
	binary.BigEndian.PutUint16(b[34:], 500)
	copy(b[40:], l.data)
	return b
}

// taken writes what a place saw, on a clock that is off by shift, and reads it.
func taken(t *testing.T, files map[string][]byte, name string, shift time.Duration, until time.Duration, lines []line) *Point {
	t.Helper()
	var file bytes.Buffer
	w, err := packet.NewWriter(&file, []packet.Interface{{Link: packet.LinkRaw, Name: "eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	const start = int64(1_700_000_000 * time.Second)
	for i := range lines {
		b := lines[i].ipv4()
		way := packet.DirIn
		if lines[i].ttl == 64 { // untouched: it left here
			way = packet.DirOut
		}
		rec := &packet.Record{Direction: way, Time: start + int64(lines[i].at+shift), Length: uint32(len(b)), Link: packet.LinkRaw}
		if err := w.Write(rec, b, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Statistics(0, start+int64(until+shift), 0); err != nil {
		t.Fatal(err)
	}
	return readBack(t, files, name, file.Bytes())
}

// readBack reads a capture and keeps it for those who read it again.
func readBack(t *testing.T, files map[string][]byte, name string, file []byte) *Point {
	t.Helper()
	files[name] = file
	p, err := Read(t.Context(), name, bytes.NewReader(file), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const ms = time.Millisecond

// dialogue is a connection as the client's place and the server's place see it,
// 10 ms apart.
func dialogue() (client, server []line) {
	both := []line{
		{0, true, packet.SYN, 1000, 0, "", 64, 1, 0},
		{20 * ms, false, packet.SYN | packet.ACK, 5000, 1001, "", 60, 0, 0},
		{21 * ms, true, packet.ACK, 1001, 5001, "", 64, 2, 0},
		{30 * ms, true, packet.ACK | packet.PSH, 1001, 5001, "hello", 64, 3, 0},
		{50 * ms, false, packet.ACK | packet.PSH, 5001, 1006, "world", 60, 9, 0},
		{51 * ms, true, packet.ACK, 1006, 5006, "", 64, 4, 0},
	}
	for _, l := range both {
		client = append(client, l)
		if l.client {
			l.at, l.ttl = l.at+10*ms, 60
		} else {
			l.at, l.ttl = l.at-10*ms, 64
		}
		server = append(server, l)
	}
	return client, server
}

func reopen(files map[string][]byte) Opener {
	return func(name string) (io.ReadCloser, error) {
		b, ok := files[name]
		if !ok {
			return nil, errors.New("no such file")
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	rst := line{90 * ms, false, packet.RST | packet.ACK, 5006, 1006, "", 60, 77, 0}
	atServer := rst
	atServer.at, atServer.ttl = 80*ms, 64
	request := line{58 * ms, true, packet.ACK | packet.PSH, 1006, 5006, "again", 64, 5, 0}
	forgedReply := line{59 * ms, false, packet.RST, 5006, 0, "", 62, 0, 0}
	cases := []struct {
		name           string
		client, server []line
		until          time.Duration // how long the server's capture went on
		shift          time.Duration // its clock
		want           map[string]string
	}{
		{"the server sent it", []line{rst}, []line{atServer}, time.Second, 0,
			map[string]string{"wire.not_sent": "false", "wire.sent": "true", "wire.sent_by_host": "true"}},
		{"the same with clocks an hour apart", []line{rst}, []line{atServer}, time.Second, time.Hour,
			map[string]string{"wire.not_sent": "false", "wire.sent_by_host": "true"}},
		{"forged on the way", []line{rst}, nil, time.Second, 0,
			map[string]string{"wire.not_sent": "true", "wire.sent": "not looked"}},
		{"forged, clocks three hours apart", []line{rst}, nil, time.Second, -3 * time.Hour,
			map[string]string{"wire.not_sent": "true"}},
		{"the server's capture had ended: no proof", []line{rst}, nil, 75 * ms, 0,
			map[string]string{"wire.not_sent": "not looked"}},
		{"a device answered, the request never came", []line{request, forgedReply}, nil, time.Second, 0,
			map[string]string{"wire.not_sent": "true", "wire.trigger_not_received": "true"}},
		{"it got lost on the way to the client", nil, []line{atServer}, time.Second, 0,
			map[string]string{"wire.sent": "true", "wire.not_received": "not looked"}}, // the client's capture ends before
		{"a NAT gave the segment another port", []line{request, rst}, []line{{58 * ms, false, packet.RST | packet.ACK, 5006, 1006, "", 64, 77, 51000}}, time.Second, 0,
			map[string]string{"wire.not_sent": "not looked"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{}
			client, server := dialogue()
			here := taken(t, files, "client", 0, 95*ms, append(client, c.client...))
			there := taken(t, files, "server", c.shift, c.until, append(server, c.server...))
			list, refused, err := Compare(t.Context(), []*Point{here, there}, reopen(files))
			if err != nil || refused != 0 {
				t.Fatal(refused, err)
			}
			if len(list) == 0 {
				t.Fatal("no case")
			}
			k := list[0]
			for _, other := range list {
				if other.Point == here {
					k = other
				}
			}
			f := k.Fact()
			for name, want := range c.want {
				d, ok := fact.Lookup(name)
				if !ok {
					t.Fatalf("no fact %s", name)
				}
				got := d.Of(f)
				text := got.State.String()
				if got.State == fact.Present {
					text = fmt.Sprint(got.Bool)
				}
				if text != want {
					t.Errorf("%s is %s, want %s", name, text, want)
				}
			}
		})
	}
}

// TestCompareLosses: a place that lost packets proves no absence.
func TestCompareLosses(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	client, server := dialogue()
	here := taken(t, files, "client", 0, time.Second, append(client, line{60 * ms, false, packet.RST | packet.ACK, 5006, 1006, "", 60, 77, 0}))
	there := taken(t, files, "server", 0, time.Second, server)
	there.Lost = 1
	list, _, err := Compare(t.Context(), []*Point{here, there}, reopen(files))
	if err != nil {
		t.Fatal(err)
	}
	if o := list[0].Fact().Wire.NotSent; !o.IsZero() {
		t.Errorf("not_sent is %v, want not looked", o.State())
	}
}

// TestCompareUncounted: a capture that does not say what it lost shows absence
// on the wire, and is no second end that proves.
func TestCompareUncounted(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	client, server := dialogue()
	here := taken(t, files, "client", 0, time.Second, append(client, line{90 * ms, false, packet.RST | packet.ACK, 5006, 1006, "", 60, 77, 0}))
	there := taken(t, files, "server", 0, time.Second, server)
	there.Counted = false
	list, _, err := Compare(t.Context(), []*Point{here, there}, reopen(files))
	if err != nil {
		t.Fatal(err)
	}
	if o := list[0].Fact().Wire.NotSent; !o.Or(false) || o.By() != fact.ByWire {
		t.Errorf("not_sent is %v by %v, want true by wire", o.Or(false), o.By())
	}
}

// TestCompareFiltered: a place whose filter left most of the connection out
// proves no absence.
func TestCompareFiltered(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	client, server := dialogue()
	here := taken(t, files, "client", 0, time.Second, append(client, line{90 * ms, false, packet.RST | packet.ACK, 5006, 1006, "", 60, 77, 0}))
	there := taken(t, files, "server", 0, time.Second, server[:3]) // only the handshake
	list, _, err := Compare(t.Context(), []*Point{here, there}, reopen(files))
	if err != nil {
		t.Fatal(err)
	}
	if o := list[0].Fact().Wire.NotSent; !o.IsZero() {
		t.Errorf("not_sent is %v, want not looked", o.State())
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	var s streams
	first := []int64{1, 2, 64, 65, 4096, pageFrames - 1, pageFrames, 3*pageFrames + 7}
	for _, f := range first {
		s.mark(f)
	}
	s.seal()
	for i, f := range first {
		if n := s.number(f); n != int64(i) {
			t.Errorf("frame %d has number %d, want %d", f, n, i)
		}
	}
	if n := s.number(100 * pageFrames); n != -1 {
		t.Errorf("a frame beyond the end has number %d, want -1", n)
	}
}

// FuzzRead puts arbitrary bytes through the whole path: reading, decoding,
// following, patterns, facts and the comparison with itself.
func FuzzRead(f *testing.F) {
	client, _ := dialogue()
	for _, extra := range [][]line{nil, {{60 * ms, false, packet.RST, 5006, 0, "", 62, 0, 0}}, {{70 * ms, true, packet.RST | packet.ACK, 1006, 5006, "No listener", 255, 3, 0}}} {
		var file bytes.Buffer
		w, err := packet.NewWriter(&file, []packet.Interface{{Link: packet.LinkRaw}})
		if err != nil {
			f.Fatal(err)
		}
		for _, l := range append(client, extra...) {
			b := l.ipv4()
			if err := w.Write(&packet.Record{Time: int64(l.at)}, b, ""); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(file.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Read(t.Context(), "x", bytes.NewReader(data), Options{Workers: 2, Conns: 64})
		if err != nil {
			return
		}
		for _, c := range Cases(p) {
			check(t, c)
		}
		files := map[string][]byte{"x": data}
		list, _, err := Compare(t.Context(), []*Point{p, p}, reopen(files))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			check(t, c)
		}
	})
}

func check(t *testing.T, c *Case) {
	f := c.Fact()
	if f.Outcome.Or("") == "" || f.Phase.Or("") == "" {
		t.Errorf("a case without outcome or phase: %+v", c.Where())
	}
	if r := f.Wire.Reason.Or(""); strings.ContainsFunc(r, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		t.Errorf("unprintable reason %q", r)
	}
}
