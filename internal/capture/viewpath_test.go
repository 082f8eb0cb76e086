package capture

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
)

// placed is a frame at an interface of a place.
type placed struct {
	line
	iface  uint16
	out    bool
	window uint16 // with an MSS of 1460, 0 for the usual header
}

// bytes is the frame, with the window and an MSS when there is one.
func (p *placed) bytes() []byte {
	b := p.ipv4()
	if p.flags&packet.RST != 0 {
		b[34], b[35] = 0, 0
	}
	if p.window == 0 {
		return b
	}
	b = append(b[:40:40], 2, 4, 5, 180)
	b[32] = 6 << 4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[34:], p.window)
	return b
}

// takenOn is taken for a place with several interfaces.
func takenOn(t *testing.T, files map[string][]byte, name string, ifaces int, lines []placed) *Point {
	t.Helper()
	var file bytes.Buffer
	var list []packet.Interface
	for i := range ifaces {
		list = append(list, packet.Interface{Link: packet.LinkRaw, Name: string(rune('a' + i))})
	}
	w, err := packet.NewWriter(&file, list)
	if err != nil {
		t.Fatal(err)
	}
	const start = int64(1_700_000_000 * time.Second)
	for i := range lines {
		b := lines[i].bytes()
		rec := &packet.Record{Direction: packet.DirIn, Interface: lines[i].iface, Time: start + int64(lines[i].at), Length: uint32(len(b)), Link: packet.LinkRaw}
		if lines[i].out {
			rec.Direction = packet.DirOut
		}
		if err := w.Write(rec, b, ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range ifaces {
		if err := w.Statistics(uint16(i), start+int64(5*time.Second), 0); err != nil {
			t.Fatal(err)
		}
	}
	return readBack(t, files, name, file.Bytes())
}

const (
	synAck = packet.SYN | packet.ACK
	push   = packet.PSH | packet.ACK
)

// at returns a frame.
func at(ttl byte, iface uint16, out bool, l line) placed {
	l.ttl = ttl
	return placed{line: l, iface: iface, out: out}
}

func compared(t *testing.T, files map[string][]byte, points ...*Point) []*Case {
	t.Helper()
	list, _, err := Compare(t.Context(), points, reopen(files))
	if err != nil || len(list) == 0 {
		t.Fatal(len(list), err)
	}
	return list
}

// opening is a handshake and a request with its answer, at the client's host,
// at a router with an interface for each end, and at the server's host.
func opening() (client, router, server []placed) {
	for _, l := range []line{
		{at: 0, client: true, flags: packet.SYN, seq: 1000, id: 1},
		{at: 2 * ms, flags: synAck, seq: 5000, ack: 1001},
		{at: 3 * ms, client: true, flags: packet.ACK, seq: 1001, ack: 5001, id: 2},
		{at: 4 * ms, client: true, flags: push, seq: 1001, ack: 5001, data: "hello", id: 3},
		{at: 6 * ms, flags: push, seq: 5001, ack: 1006, data: "world", id: 9},
	} {
		if l.client {
			client, router, server = append(client, at(64, 0, true, l)), append(router, at(64, 0, false, l), at(63, 1, true, l)), append(server, at(63, 0, false, l))
		} else {
			client, router, server = append(client, at(63, 0, false, l)), append(router, at(64, 1, false, l), at(63, 0, true, l)), append(server, at(64, 0, true, l))
		}
	}
	return client, router, server
}

var (
	again  = line{at: 60 * ms, client: true, flags: push, seq: 1006, ack: 5006, data: "again", id: 4}
	noSuch = line{at: 61 * ms, flags: packet.RST, seq: 5006}
)

// TestBeganBetween: a router that answers itself is told from another host that
// has the server's address now.
func TestBeganBetween(t *testing.T) {
	t.Parallel()
	t.Run("the router answered", func(t *testing.T) {
		t.Parallel()
		files := map[string][]byte{}
		client, router, server := opening()
		client = append(client, at(64, 0, true, again), at(64, 0, false, noSuch))
		router = append(router, at(64, 0, false, again), at(64, 0, true, noSuch))
		list := compared(t, files, takenOn(t, files, "client", 1, client), takenOn(t, files, "router", 2, router), takenOn(t, files, "server", 1, server))
		w := list[0].Fact().Wire
		if !w.Began.Or(false) || !w.NotSent.Or(false) || w.NotSent.By() != fact.ByPeer {
			t.Errorf("began between %v, not sent %v by %v; want true by peer", w.Began.Or(false), w.NotSent.Or(false), w.NotSent.By())
		}
	})
	moved := func(t *testing.T, other bool) fact.Wire {
		files := map[string][]byte{}
		client, router, server := opening()
		client = append(client, at(64, 0, true, again), at(63, 0, false, noSuch))
		router = append(router, at(64, 0, false, again), at(63, 1, true, again), at(64, 1, false, noSuch), at(63, 0, true, noSuch))
		points := []*Point{takenOn(t, files, "client", 1, client), takenOn(t, files, "router", 2, router), takenOn(t, files, "server", 1, server)}
		if other {
			points = append(points, takenOn(t, files, "other", 1, []placed{at(63, 0, false, again), at(64, 0, true, noSuch)}))
		}
		return compared(t, files, points...)[0].Fact().Wire
	}
	t.Run("another host has the address, captured too", func(t *testing.T) {
		t.Parallel()
		if w := moved(t, true); w.NotSent.Or(false) || w.Began.Or(false) {
			t.Errorf("not sent %v, began between %v; want neither", w.NotSent.Or(false), w.Began.Or(false))
		}
	})
	t.Run("another host has the address, not captured", func(t *testing.T) {
		t.Parallel()
		if w := moved(t, false); w.Began.Or(false) || w.NotSent.By() == fact.ByPeer {
			t.Errorf("began between %v, not sent by %v; want no proof", w.Began.Or(false), w.NotSent.By())
		}
	})
}

// TestOneWay: hosts that answer by another way than they were asked are one
// place each, and the router that sees one direction is known.
func TestOneWay(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	syn := line{client: true, flags: packet.SYN, seq: 1000, id: 1}
	answer := line{at: 2 * ms, flags: synAck, seq: 5000, ack: 1001}
	ack := line{at: 3 * ms, client: true, flags: packet.ACK, seq: 1001, ack: 5001, id: 2}
	rst := line{at: 4 * ms, flags: packet.RST, seq: 5001}
	list := compared(
		t, files,
		takenOn(t, files, "client", 2, []placed{at(64, 0, true, syn), at(63, 1, false, answer), at(64, 0, true, ack), at(64, 0, false, rst)}),
		takenOn(t, files, "router", 2, []placed{at(64, 0, false, syn), at(63, 1, true, syn), at(64, 0, false, ack), at(64, 0, true, rst)}),
		takenOn(t, files, "server", 2, []placed{at(63, 0, false, syn), at(64, 1, true, answer)}),
		takenOn(t, files, "return", 2, []placed{at(64, 1, false, answer), at(63, 0, true, answer)}),
	)
	w := list[0].Fact().Wire
	if !w.OneWay.Or(false) || !w.NotSent.Or(false) || !w.TriggerLost.Or(false) || !w.Began.Or(false) {
		t.Errorf("one way %v, not sent %v, trigger lost %v, began between %v; want all", w.OneWay.Or(false), w.NotSent.Or(false), w.TriggerLost.Or(false), w.Began.Or(false))
	}
}

// TestHistory: what the sender had done is taken from the place nearest to it.
func TestHistory(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	client, router, server := opening()
	fin := line{at: 50 * ms, flags: packet.FIN | packet.ACK, seq: 5006, ack: 1006, id: 10} // lost on the way
	client = append(client, at(64, 0, true, again), at(63, 0, false, noSuch))
	router = append(router, at(64, 0, false, again), at(63, 1, true, again), at(64, 1, false, noSuch), at(63, 0, true, noSuch))
	server = append(server, at(64, 0, true, fin), at(63, 0, false, again), at(64, 0, true, noSuch))
	list := compared(t, files, takenOn(t, files, "client", 1, client), takenOn(t, files, "router", 2, router), takenOn(t, files, "server", 1, server))
	w := list[0].Fact().Wire
	if age := w.FINAge.Or(0); !w.FIN.Or(false) || age < 10*ms || age > 12*ms {
		t.Errorf("closed %v, %v before; want 11 ms", w.FIN.Or(false), age)
	}
}

// TestRenamed: the RST to a connection that a NAT forgot is one RST, and known to
// have had other ports.
func TestRenamed(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	client, _, server := opening()
	moved, answer := again, noSuch
	moved.port, answer.port = 51000, 51000
	client = append(client, at(64, 0, true, again), at(63, 0, false, noSuch))
	server = append(server, at(63, 0, false, moved), at(64, 0, true, answer))
	list := compared(t, files, takenOn(t, files, "client", 1, client), takenOn(t, files, "server", 1, server))
	if len(list) != 2 || list[1].First != list[0] || list[0].First != nil {
		t.Fatalf("%d cases, want two of which the second follows from the first", len(list))
	}
	w := list[0].Fact().Wire
	if !w.Renamed.Or(false) || !w.NotSent.IsZero() {
		t.Errorf("renamed %v, not sent %v; want true and not looked", w.Renamed.Or(false), w.NotSent.Or(false))
	}
}

// TestArrived: what comes to a captured host and stays unanswered there.
func TestArrived(t *testing.T) {
	t.Parallel()
	var client, server []placed
	frame := func(l line) {
		here, there := at(63, 0, false, l), at(64, 0, true, l)
		if l.client {
			here, there = at(64, 0, true, l), at(63, 0, false, l)
		}
		client, server = append(client, here), append(server, there)
	}
	for i := range uint16(2) { // two that the port accepts, and one that nobody acknowledges
		d := time.Duration(i) * 5 * ms
		frame(line{at: d, client: true, flags: packet.SYN, seq: 100, port: 40001 + i})
		frame(line{at: d + ms, flags: synAck, seq: 700, ack: 101, port: 40001 + i})
		frame(line{at: d + 2*ms, client: true, flags: packet.ACK, seq: 101, ack: 701, port: 40001 + i})
	}
	frame(line{at: 20 * ms, client: true, flags: packet.SYN, seq: 300, port: 40009})
	frame(line{at: 21 * ms, flags: synAck, seq: 900, ack: 301, port: 40009})
	for _, d := range []time.Duration{30 * ms, 1030 * ms, 2030 * ms} {
		frame(line{at: d, client: true, flags: packet.SYN, seq: 1000, id: 1})
	}
	files := map[string][]byte{}
	list := compared(t, files, takenOn(t, files, "client", 1, client), takenOn(t, files, "server", 1, server))
	w := list[0].Fact().Wire
	if !w.Arrived.Or(false) || w.PortAccepted.Or(-1) != 2 || w.PortHalfOpen.Or(-1) != 1 {
		t.Errorf("arrived %v, accepted %d, half-open %d; want true, 2 and 1", w.Arrived.Or(false), w.PortAccepted.Or(-1), w.PortHalfOpen.Or(-1))
	}
}

// TestSilenceAtTheEnd: a capture that says that it went on is believed.
func TestSilenceAtTheEnd(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	client, _, _ := opening()
	for i, d := range []time.Duration{10 * ms, 30 * ms, 70 * ms, 150 * ms} {
		l := again
		l.at, l.id = d, uint16(100+i)
		client = append(client, at(64, 0, true, l))
	}
	if p := takenOn(t, files, "client", 1, client); len(p.Terminations) != 1 {
		t.Errorf("%d endings, want the data that nobody acknowledged in 5 s", len(p.Terminations))
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	for tail, want := range map[string]string{
		"":                         "",
		"Exceeded MaxStartups\r\n": "Exceeded MaxStartups",
		"-ERR max number of clien": "-ERR max number of clien",
		"E\x00\x00\x00USFATAL\x00VFATAL\x00C53300":   "FATAL 53300",
		"E\x00\x00\x00USFATAL\x00C53300M":            "FATAL 53300",
		"E\x00\x00\x00USFATAL\x00VFATAL\x00C5330":    "FATAL",
		"N\x00\x00\x01\x8bSWARNING\x00VWARNING\x00C": "WARNING",
		"E\x00\x00\x00\x55S\xff\x00":                 "",
		"\x17\x03\x03\x00\x20abc":                    "",
		"HTTP/1.1 200 OK\r\nServer:":                 "HTTP/1.1 200 OK  Server:",
	} {
		if got := lastWords(tail); got != want {
			t.Errorf("%q says %q, want %q", tail, got, want)
		}
	}
}

// TestOtherStack: RSTs in the name of a Linux server, and what Linux writes.
func TestOtherStack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flags packet.Flags
		id    uint16
		syn   uint16 // window of the SYN-ACK
		want  bool
	}{
		{"the socket's next identification", packet.RST | packet.ACK, 0x7002, 65160, false},
		{"some frames later", packet.RST | packet.ACK, 0x7102, 65160, false},
		{"that of another counter", packet.RST | packet.ACK, 0x1234, 65160, true},
		{"an answer of Linux", packet.RST, 0, 65160, false},
		{"an answer of another stack", packet.RST, 0x1234, 65160, true},
		{"an answer of Linux before 4.19", packet.RST, 0x1234, 28960, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{}
			frames, _, _ := opening()
			frames[1].window = c.syn
			id := uint16(0x7000) // of the server's socket
			for i := range frames {
				if frames[i].client || frames[i].flags == synAck {
					continue
				}
				frames[i].id, id = id, id+1
			}
			more := line{at: 70 * ms, flags: push, seq: 5006, ack: 1006, data: "more.", id: id}
			rst := line{at: 90 * ms, flags: c.flags, seq: 5011, ack: 1006, id: c.id}
			p := takenOn(t, files, "client", 1, append(frames, at(63, 0, false, more), at(63, 0, false, rst)))
			o := Cases(p)[0].Fact().Wire.OtherStack
			if o.IsZero() || o.Or(false) != c.want {
				t.Errorf("another stack: %v (looked %v), want %v", o.Or(false), !o.IsZero(), c.want)
			}
		})
	}
}

// TestPortsAreBounded: what was not remembered is not counted as absent.
func TestPortsAreBounded(t *testing.T) {
	p := newPorts()
	s := packet.Segment{Flags: synAck, Direction: packet.DirOut, TTL: 64, SrcPort: 80}
	s.Src[15], s.Dst[15] = 1, 2
	for i := range maxHandshakes + 10 {
		s.DstPort, s.Dst[14] = uint16(i), byte(i>>16)
		p.see(0, &s)
	}
	if p.kept != maxHandshakes || p.lost != 10 {
		t.Errorf("%d handshakes are kept and %d counted as lost, want %d and 10", p.kept, p.lost, maxHandshakes)
	}
}
