package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
)

// talk writes a conversation of 10.0.0.1:40000 with 10.0.0.2:80 into a pcapng
// file, one millisecond for each packet. Its links are raw IPv4.
type talk struct {
	file bytes.Buffer
	w    *packet.Writer
	now  int64
	id   uint16
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	k := &talk{now: 1_700_000_000_000_000_000}
	var err error
	if k.w, err = packet.NewWriter(&k.file, []packet.Interface{{Link: packet.LinkRaw, Name: "eth7"}}); err != nil {
		t.Fatal(err)
	}
	return k
}

// send adds a segment; sequence numbers are those of the wire.
func (k *talk) send(t *testing.T, fromClient bool, flags packet.Flags, seq, ack uint32, data string) {
	t.Helper()
	be := binary.BigEndian
	b := make([]byte, 40, 40+len(data))
	b[0], b[8], b[9] = 0x45, 64, 6
	k.id++
	be.PutUint16(b[2:], uint16(40+len(data)))
	be.PutUint16(b[4:], k.id)
	client, server := []byte{10, 0, 0, 1, 156, 64}, []byte{10, 0, 0, 2, 0, 80}
	if !fromClient {
		client, server = server, client
	}
	copy(b[12:], client[:4])
	copy(b[16:], server[:4])
	copy(b[20:], client[4:])
	copy(b[22:], server[4:])
	be.PutUint32(b[24:], seq)
	be.PutUint32(b[28:], ack)
	b[32], b[33] = 5<<4, byte(flags)
	be.PutUint16(b[34:], 1000)
	k.add(t, append(b, data...))
}

func (k *talk) add(t *testing.T, b []byte) {
	t.Helper()
	k.now += 1_000_000
	if err := k.w.Write(&packet.Record{Time: k.now}, b, ""); err != nil {
		t.Fatal(err)
	}
}

// writtenCapture is a connection with a hundred segments of data, a RST that
// answers the last of them, and what comes after. It returns what was read of
// it, and its bytes.
func writtenCapture(t *testing.T) (*Point, []byte) {
	t.Helper()
	k := newTalk(t)
	const c, s = 4_294_967_000, 9000 // the numbers of the client pass zero
	k.send(t, true, packet.SYN, c, 0, "")
	k.send(t, false, packet.SYN|packet.ACK, s, c+1, "")
	k.send(t, true, packet.ACK, c+1, s+1, "")
	seq := uint32(c)
	for range 50 {
		k.send(t, true, packet.ACK|packet.PSH, seq+1, s+1, "0123456789")
		seq += 10
		k.send(t, false, packet.ACK, s+1, seq+1, "")
	}
	k.send(t, true, packet.ACK|packet.PSH, seq+1, s+1, "GET / HTTP/1.1\r\n\r\n")
	k.send(t, false, packet.RST, s+1, 0, "")
	for range 10 {
		k.send(t, true, packet.ACK|packet.PSH, seq+1, s+1, "GET / HTTP/1.1\r\n\r\n")
	}
	k.send(t, true, packet.SYN, 77, 0, "") // the same ports once more
	k.send(t, true, packet.SYN, 77, 0, "")
	p, err := Read(t.Context(), "x", bytes.NewReader(k.file.Bytes()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p, k.file.Bytes()
}

func reader(b []byte) func(string) (io.ReadCloser, error) {
	return func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func TestLadders(t *testing.T) {
	p, data := writtenCapture(t)
	cases := Cases(p)
	ladders, err := Ladders(t.Context(), cases, reader(data))
	if err != nil {
		t.Fatal(err)
	}
	l := ladders[cases[0]]
	if l == nil || l.Client.String() != "10.0.0.1:40000" || l.Server.String() != "10.0.0.2:80" {
		t.Fatalf("%+v", l)
	}
	ignored := cmpopts.IgnoreFields(fact.Frame{}, "Time", "File", "Window", "TTL", "IPID")
	get := fact.Frame{Number: 104, FromClient: true, Flags: "PA", Seq: 501, Ack: 1, Bytes: 18, Info: "HTTP GET /", Kind: fact.FrameTrigger}
	again := get
	again.Kind = fact.FrameResent
	for i, want := range map[int]fact.Frame{
		0:  {Number: 1, FromClient: true, Flags: "S"},
		1:  {Number: 2, Flags: "SA", Ack: 1},
		3:  {Number: 4, FromClient: true, Flags: "PA", Seq: 1, Ack: 1, Bytes: 10},
		4:  {Number: 90, FromClient: true, Flags: "PA", Seq: 431, Ack: 1, Bytes: 10, Skipped: 85},
		18: get,
		19: {Number: 105, Flags: "R", Seq: 1, Kind: fact.FrameReset},
		20: {Number: 106, FromClient: true, Flags: "PA", Seq: 501, Ack: 1, Bytes: 18, Info: get.Info, Kind: fact.FrameResent},
	} {
		if i >= len(l.Frames) {
			t.Fatalf("only %d frames", len(l.Frames))
		}
		if d := cmp.Diff(want, l.Frames[i], ignored); d != "" {
			t.Errorf("frame %d of the ladder: %s", i, d)
		}
	}
	if n := len(l.Frames); n != ladderHead+ladderTail+ladderAfter {
		t.Errorf("%d frames", n)
	}
	if x := l.Frames[0]; x.Window != 1000 || x.TTL != 64 || x.IPID != 1 || x.File != "x" || x.Time.UnixNano() != 1_700_000_000_001_000_000 {
		t.Errorf("%+v", x)
	}
}

// TestLaddersLimit: cases beyond the limit get none.
func TestLaddersLimit(t *testing.T) {
	p, data := writtenCapture(t)
	c := Cases(p)[0]
	var many []*Case
	for range MaxLadders + 5 {
		k := *c
		many = append(many, &k)
	}
	ladders, err := Ladders(t.Context(), many, reader(data))
	if err != nil || len(ladders) != MaxLadders {
		t.Errorf("%d ladders, %v", len(ladders), err)
	}
}

// TestLaddersChanged reads a capture that is another one the second time.
func TestLaddersChanged(t *testing.T) {
	p, data := writtenCapture(t)
	other := newTalk(t)
	for i := range uint32(200) {
		other.send(t, true, packet.ACK, i, i, "")
	}
	for _, b := range [][]byte{other.file.Bytes(), data[:len(data)/2], data[:100]} {
		if _, err := Ladders(t.Context(), Cases(p), reader(b)); !errors.Is(err, ErrChanged) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestLaddersStop(t *testing.T) {
	p, data := writtenCapture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ladders(ctx, Cases(p), reader(data)); err == nil {
		t.Error("not stopped")
	}
}

func TestFrameOf(t *testing.T) {
	p, _ := writtenCapture(t)
	c := Cases(p)[0]
	for _, k := range []struct {
		facts []string
		want  int64
	}{
		{[]string{"rst.form"}, 105},
		{[]string{"flow.family", "trigger.flags", "rst.form"}, 104},
		{[]string{"wire.icmp"}, 0},
		{nil, 0},
	} {
		if got := c.FrameOf(k.facts); got != k.want {
			t.Errorf("%v: frame %d, want %d", k.facts, got, k.want)
		}
	}
	for name := range factFrames {
		if _, ok := fact.Lookup(name); !ok {
			t.Errorf("no fact is called %s", name)
		}
	}
}

func TestExtract(t *testing.T) {
	_, data := writtenCapture(t)
	var out bytes.Buffer
	picks := []Pick{{"x", map[int64]string{2: "two", 105: ""}}, {"y", map[int64]string{1: ""}}}
	n, err := Extract(t.Context(), &out, picks, reader(data))
	if err != nil || n != 3 {
		t.Fatalf("%d frames, %v", n, err)
	}
	r, err := packet.NewReader(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var b packet.Batch
	if err := r.ReadBatch(&b); err != nil || len(b.Records) != 3 {
		t.Fatalf("%d frames, %v", len(b.Records), err)
	}
	want := []packet.Interface{{Link: packet.LinkRaw, Name: "eth7", Description: "x"}, {Link: packet.LinkRaw, Name: "eth7", Description: "y"}}
	if d := cmp.Diff(want, r.Interfaces()); d != "" {
		t.Error(d)
	}
	if b.Records[1].Time != 1_700_000_000_105_000_000 || b.Records[2].Interface != 1 || b.Frame(1)[33] != byte(packet.RST) {
		t.Errorf("%+v", b.Records)
	}
	if !bytes.Contains(out.Bytes(), []byte("two")) {
		t.Error("the comment is missing")
	}
	if _, err := Extract(t.Context(), &out, []Pick{{"x", map[int64]string{1000: ""}}}, reader(data)); err == nil {
		t.Error("a frame that is not there was extracted")
	}
}
