package tcp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

var (
	clientAddr = packet.AddrFrom(netip.MustParseAddr("192.0.2.1"))
	serverAddr = packet.AddrFrom(netip.MustParseAddr("198.51.100.9"))
)

// play feeds a table with segments written one for each line:
//
//	TIME DIRECTION FLAGS SEQ ACK LENGTH [ttl=N] [id=N] [win=N] [ts] [port=N] [sum=bad]
//
// TIME is a duration from the beginning, DIRECTION > from the client or < from
// the server, FLAGS as packet.Flags writes them. It returns what ended.
func play(t *testing.T, o Options, script string) (*Table, []*Termination) {
	t.Helper()
	var ends []*Termination
	o.OnEnd = func(e *Termination) { ends = append(ends, e) }
	table := NewTable(o)
	frame := int64(0)
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		frame++
		s := segment(t, f)
		s.Frame = frame
		table.Segment(s)
	}
	table.Flush()
	return table, ends
}

func segment(t *testing.T, f []string) *packet.Segment {
	t.Helper()
	if len(f) < 6 {
		t.Fatalf("line %q: six fields at least", f)
	}
	at, err := time.ParseDuration(f[0])
	if err != nil {
		t.Fatal(err)
	}
	num := func(s string) int {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			t.Fatalf("line %q: %v", f, err)
		}
		return int(n)
	}
	s := &packet.Segment{
		Time: int64(1_700_000_000*time.Second) + int64(at), Src: clientAddr, Dst: serverAddr, SrcPort: 40000, DstPort: 80,
		TTL: 64, Flags: flagsOf(f[2]), Seq: uint32(num(f[3])), Ack: uint32(num(f[4])), Length: num(f[5]), Window: 500, TCPSum: packet.SumGood,
	}
	if f[1] == "<" {
		s.TTL = 57
	}
	if s.Flags&packet.SYN != 0 {
		s.Options |= packet.OptMSS | packet.OptSACKOK
		s.MSS = 1460
	}
	for _, opt := range f[6:] {
		k, v, _ := strings.Cut(opt, "=")
		switch k {
		case "ttl":
			s.TTL = uint8(num(v))
		case "id":
			s.IPID = uint16(num(v))
		case "win":
			s.Window = uint16(num(v))
		case "ts":
			s.Options |= packet.OptTimestamp
		case "port":
			s.SrcPort = uint16(num(v))
		case "sum":
			s.TCPSum = packet.SumBad
		case "mac":
			s.LinkSrc = uint64(num(v))
		default:
			t.Fatalf("option %q", opt)
		}
	}
	if f[1] == "<" {
		s.Src, s.Dst, s.SrcPort, s.DstPort = s.Dst, s.Src, s.DstPort, s.SrcPort
	}
	s.Payload = []byte(strings.Repeat("x", min(s.Length, 1460)))
	return s
}

func flagsOf(s string) (f packet.Flags) {
	for i, c := range "FSRPAUEC" {
		if strings.ContainsRune(s, c) {
			f |= 1 << i
		}
	}
	return f
}

const opening = `
0ms   > S  1000 0    0
20ms  < SA 5000 1001 0
21ms  > A  1001 5001 0
`

const exchange = opening + `
30ms  > PA 1001 5001 100
50ms  < A  5001 1101 0
52ms  < PA 5001 1101 300
53ms  > A  1101 5301 0
`

// say is an ending in one line, the way the cases expect it.
func say(e *Termination) string {
	from := "client"
	if e.FromServer() {
		from = "server"
	}
	kind := [...]string{"reset", "icmp", "no-answer", "silence"}[e.Kind]
	if e.Kind != ByReset {
		return fmt.Sprintf("%s %s %s", kind, e.Phase(), from)
	}
	return fmt.Sprintf("%s %s %s %s %s %s trigger=%d", kind, e.Phase(), from, e.Form(), e.Place(), e.Accepted(), e.Trigger.Frame)
}

func TestEndings(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, script string
		want         []string
	}{
		{"refused", "0ms > S 1000 0 0\n20ms < RA 0 1001 0", []string{"reset connect server refusal answer accepted trigger=1"}},
		{"abort of a live socket", exchange + "60ms < RA 5301 1101 0", []string{"reset established server active-abort next accepted trigger=0"}},
		{"data after close", exchange + "60ms < FA 5301 1101 0\n61ms > A 1101 5302 0\n70ms > PA 1101 5302 50\n90ms < R 5302 0 0",
			[]string{"reset closing server reply next accepted trigger=10"}},
		{"no such connection", exchange + "9s > PA 1101 5301 50\n9.02s < R 5301 0 0", []string{"reset established server reply next accepted trigger=8"}},
		{"an acknowledgement of live data is no trigger", exchange + "60ms < R 5301 0 0", []string{"reset established server reply next accepted trigger=0"}},
		{"what was acknowledged is no trigger", exchange + "60ms > PA 1101 5301 50\n80ms < A 5301 1151 0\n85ms < R 5301 0 0",
			[]string{"reset established server reply next accepted trigger=0"}},
		{"too late for an answer", exchange + "60ms > PA 1101 5301 50\n5s < R 5301 0 0", []string{"reset established server reply next accepted trigger=0"}},
		{"in the window, challenged", exchange + "60ms < R 5400 0 0\n61ms > A 1101 5301 0\n70ms > PA 1101 5301 10",
			[]string{"reset established server reply beyond challenged trigger=0"}},
		{"outside the window", exchange + "60ms < R 905301 0 0", []string{"reset established server reply beyond ignored trigger=0"}},
		{"a closed connection is reset twice", exchange + "60ms < RA 5301 1101 0\n61ms > PA 1101 5301 10\n80ms < R 5301 0 0",
			[]string{"reset established server active-abort next accepted trigger=0", "reset closed server reply next accepted trigger=9"}},
		{"nobody answers", "0s > S 1000 0 0\n1s > S 1000 0 0\n3s > S 1000 0 0\n7s > S 1000 0 0", []string{"no-answer connect server"}},
		{"one SYN at the end proves nothing", "0s > S 1000 0 0", nil},
		{"silence", exchange + "1s > PA 1101 5301 50\n1.2s > PA 1101 5301 50\n1.6s > PA 1101 5301 50\n2.4s > PA 1101 5301 50\n4s > PA 1101 5301 50",
			[]string{"silence established server"}},
		{"an orderly end", exchange + "60ms > FA 1101 5301 0\n80ms < FA 5301 1102 0\n81ms > A 1102 5302 0", nil},
		{"half-open: the challenge of an old connection", "0ms > S 1000 0 0\n20ms < A 7777 3333 0\n21ms > R 3333 0 0",
			[]string{"reset connect client reply acked accepted trigger=2"}},
		{"sequence numbers wrap", "0ms > S 0xfffffff0 0 0\n20ms < SA 0xffffffff 0xfffffff1 0\n21ms > A 0xfffffff1 0 0\n30ms > PA 0xfffffff1 0 100\n60ms < RA 0 0x55 0",
			[]string{"reset established server active-abort next accepted trigger=0"}},
		{"a RST of nothing known", "0ms < R 5301 0 0", []string{"reset none server reply unknown unknown trigger=0"}},
		{"damaged", exchange + "60ms < RA 5301 1101 0 sum=bad\n70ms > PA 1101 5301 10\n90ms < A 5301 1111 0",
			[]string{"reset established server active-abort next ignored trigger=0"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, ends := play(t, Options{}, c.script)
			var got []string
			for _, e := range ends {
				got = append(got, say(e))
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	// Two mirror ports: before and after a router.
	script := strings.ReplaceAll(exchange, "\n\n", "\n")
	var twice strings.Builder
	for line := range strings.Lines(script + "60ms < RA 5301 1101 0\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		fmt.Fprintf(&twice, "%s id=7 ttl=60\n%s id=7 ttl=59\n", line, line)
	}
	table, ends := play(t, Options{}, twice.String())
	if len(ends) != 1 || table.Stats.RSTs != 1 || table.Stats.Copies != 8 {
		t.Errorf("got %d endings, %d RSTs, %d copies; want 1, 1, 8", len(ends), table.Stats.RSTs, table.Stats.Copies)
	}
	if n := ends[0].Conn.Sides[0].Retransmits + ends[0].Conn.Sides[1].Retransmits; n != 0 {
		t.Errorf("%d copies were taken for retransmissions", n)
	}
}

// TestProvoked: that nothing provoked a RST is known only when all that passed
// in the time of an answer is remembered.
func TestProvoked(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "%dms < PA %d 1101 100\n", 1000+i, 5301+i*100)
	}
	for _, c := range []struct {
		script          string
		provoked, known bool
	}{
		{exchange + "60ms < R 5301 0 0", false, true},
		{exchange + b.String() + "1021ms < R 7301 0 0", false, false},
		{exchange + b.String() + "5s < R 7301 0 0", false, true},
		{opening + "30ms < R 5001 0 0", true, true}, // the last segment of the handshake, as at a full accept queue
	} {
		_, ends := play(t, Options{}, c.script)
		if provoked, known := ends[0].Provoked(); provoked != c.provoked || known != c.known {
			t.Errorf("%q: provoked %v, known %v; want %v, %v", c.script, provoked, known, c.provoked, c.known)
		}
	}
}

// TestTooFast: in a transfer the RST answers what was sent a round trip ago, not
// what was sent just before it came.
func TestTooFast(t *testing.T) {
	t.Parallel()
	transfer := func(n int) string {
		var b strings.Builder
		b.WriteString(exchange)
		for i := range n {
			fmt.Fprintf(&b, "%dms > PA %d 5301 100\n", 1000+i, 1101+i*100)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, script string
		fast, known  bool
	}{
		{"an honest answer", exchange + "1000ms > PA 1101 5301 100\n1020ms < R 5301 0 0", false, true},
		{"from nearby", exchange + "1000ms > PA 1101 5301 100\n1002ms < R 5301 0 0", true, true},
		{"during a transfer, after a round trip", transfer(22) + "1021ms < R 5301 0 0", false, false},
		{"a short transfer", transfer(4) + "1021ms < R 5301 0 0", false, true},
	} {
		_, ends := play(t, Options{}, c.script)
		if fast, known := ends[0].TooFast(); fast != c.fast || known != c.known {
			t.Errorf("%s: fast %v, known %v; want %v, %v", c.name, fast, known, c.fast, c.known)
		}
	}
}

func TestLifeAfterReset(t *testing.T) {
	t.Parallel()
	_, ends := play(t, Options{}, exchange+"60ms < R 5301 0 0\n62ms < PA 5301 1101 200\n63ms > A 1101 5501 0")
	e := ends[0]
	if !e.Alive() || e.After.SenderFirst != 9 || e.Forgery() != "RST_SEQ_DATA" {
		t.Errorf("alive %v, first frame %d, forgery %q; want true, 9, RST_SEQ_DATA", e.Alive(), e.After.SenderFirst, e.Forgery())
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	var opened []int64
	_, ends := play(t, Options{OnOpen: func(f int64) { opened = append(opened, f) }}, exchange+`
60ms > FA 1101 5301 0
80ms < FA 5301 1102 0
81ms > A 1102 5302 0
2s > S 90000 0 0
2.02s < RA 0 90001 0`)
	if len(opened) != 2 || opened[1] != 11 {
		t.Errorf("connections began at frames %v, want two, the second at 11", opened)
	}
	if b := ends[0].Conn.Before; b.How != Closed || b.Opened != 1 {
		t.Errorf("before: %+v, want the closed one of frame 1", b)
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ script, want string }{
		{"0ms > S 1000 0 0\n20ms < SA 5000 1001 0\n21ms > R 1001 0 0", "SYN->RST"},
		{opening + "30ms > RA 1001 5001 0", "SYN;ACK->RST+ACK"},
		{opening + "30ms > PA 1001 5001 100\n31ms > RA 1101 5001 0", "PSH+ACK->RST+ACK"},
		{exchange + "60ms > PA 1101 5301 10\n61ms > R 1111 0 0", "PSH+ACK;Data->RST"},
		{exchange + "60ms < RA 5301 1101 0", ""},
	} {
		_, ends := play(t, Options{}, c.script)
		if got := ends[0].Signature(); got != c.want {
			t.Errorf("%q: got %q, want %q", c.script, got, c.want)
		}
	}
}

// TestBounded fills a small table: who was silent longest goes, and is counted.
func TestBounded(t *testing.T) {
	t.Parallel()
	var ends int
	table := NewTable(Options{Conns: 64, OnEnd: func(*Termination) { ends++ }})
	for i := range 10_000 {
		s := segment(t, []string{"0ms", ">", "S", "1000", "0", "0"})
		s.Frame, s.SrcPort, s.Time = int64(i+1), uint16(i), s.Time+int64(i)*int64(time.Millisecond)
		s.Src[15] = byte(i >> 8)
		table.Segment(s)
		if live := table.Live(); live > 64 {
			t.Fatalf("%d connections, want at most 64", live)
		}
	}
	if table.Stats.Evicted != 10_000-64 {
		t.Errorf("%d evicted, want %d", table.Stats.Evicted, 10_000-64)
	}
}

// TestRecycled closes more connections, one after the other, than a table keeps
// once they are long over: those that stay open stay known, and nothing counts
// as thrown out.
func TestRecycled(t *testing.T) {
	t.Parallel()
	table := NewTable(Options{Conns: 100_000})
	frame := int64(0)
	send := func(n int, at time.Duration, line string) {
		frame++
		s := segment(t, append([]string{at.String()}, strings.Fields(line)...))
		client := &s.Src
		if s.DstPort != 80 {
			client = &s.Dst
		}
		client[13], client[14], client[15] = byte(n>>16), byte(n>>8), byte(n)
		s.Frame = frame
		table.Segment(s)
	}
	for n := range 60_000 {
		at := time.Duration(n) * time.Millisecond
		send(n, at, "> S 1000 0 0")
		send(n, at, "< SA 5000 1001 0")
		send(n, at, "> A 1001 5001 0")
		if n%1000 == 0 {
			continue // stays open
		}
		send(n, at, "> FA 1001 5001 0")
		send(n, at, "< FA 5001 1002 0")
		send(n, at, "> A 1002 5002 0")
	}
	if live := table.Live(); live > 40_000 {
		t.Errorf("%d connections are kept", live)
	}
	if table.Stats.Evicted != 0 || table.Stats.Conns != 60_000 {
		t.Errorf("%d thrown out, %d begun; want 0 and 60,000", table.Stats.Evicted, table.Stats.Conns)
	}
	for n := 0; n < 60_000; n += 1000 { // the open ones go on where they were
		send(n, time.Minute+time.Second, "> PA 1001 5001 10")
	}
	if table.Stats.Conns != 60_000 {
		t.Errorf("%d connections after the open ones went on, want 60,000", table.Stats.Conns)
	}
}

// TestStorm sends more RSTs in one connection than get an ending of their own.
func TestStorm(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(exchange)
	for i := range 100 {
		fmt.Fprintf(&b, "%dms < R %d 0 0 id=%d\n", 60+i, 5301+i*1000, i+1)
	}
	table, ends := play(t, Options{PerConn: 10}, b.String())
	if len(ends) != 10 || table.Stats.Folded != 90 || ends[9].Folded != 90 {
		t.Errorf("%d endings, %d folded, want 10 and 90", len(ends), table.Stats.Folded)
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte("\x02\x12\x10\x18\x14\x04\x01\x11"), uint32(1000))
	f.Fuzz(func(t *testing.T, script []byte, seed uint32) {
		table := NewTable(Options{Conns: 8, PerConn: 4, OnEnd: func(e *Termination) {
			_, _, _, _ = e.Phase(), e.Form(), e.Place(), e.Accepted()
			_, _ = e.Idle()
			_, _ = e.Signature(), e.Forgery()
			_ = e.Unanswered()
		}})
		x := seed
		next := func() uint32 { x = x*1664525 + 1013904223; return x }
		for i, c := range script {
			s := &packet.Segment{
				Time: int64(i) * int64(next()%2_000_000_000), Frame: int64(i + 1), Src: clientAddr, Dst: serverAddr, SrcPort: uint16(next() % 4), DstPort: 80,
				Flags: packet.Flags(c), Seq: next() % 100, Ack: next() % 100, Length: int(next() % 20), TTL: uint8(next()), IPID: uint16(next() % 3),
				TCPSum: packet.Sum(next() % 4), Window: uint16(next() % 50), Scale: uint8(next()),
			}
			s.Payload = make([]byte, s.Length)
			if next()%2 == 0 {
				s.Src, s.Dst, s.SrcPort, s.DstPort = s.Dst, s.Src, s.DstPort, s.SrcPort
			}
			table.Segment(s)
		}
		table.Flush()
		if table.Live() != 0 {
			t.Errorf("%d connections after Flush", table.Live())
		}
	})
}
