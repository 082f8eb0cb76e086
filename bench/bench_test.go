package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	s := sample{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.25: 1.75, 0.5: 2.5, 1: 4} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := (sample{}).ratio(); got != "-" {
		t.Errorf("empty sample: %q", got)
	}
}

func TestReplaceSection(t *testing.T) {
	page := "# Title\n\n<!-- bench cost -->\nold\n<!-- end cost -->\n\nrest\n"
	got, err := replaceSection(page, "cost", "| a |\n")
	if want := "# Title\n\n<!-- bench cost -->\n\n| a |\n\n<!-- end cost -->\n\nrest\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := replaceSection(got, "cost", "| a |\n"); err != nil || again != got {
		t.Errorf("not stable: %q, %v", again, err)
	}
	if _, err := replaceSection(page, "flood", ""); err == nil {
		t.Error("a page without the section is no error")
	}
}

func TestParseAccount(t *testing.T) {
	a, err := parseAccount("seen 43 = reported 3 + folded 30 + lost 10: 10 lost\n" +
		"cross-check: the kernel's own count of resets (OutRsts) equals ours in 2 namespaces, 1 ended before it could be read\n" +
		"cross-check: namespace 4096: OutRsts 40, seen leaving the stack 40\n" +
		"cross-check: namespace blue: OutRsts 7, seen leaving the stack 6, remainder 1\n")
	if err != nil || a.seen != 43 || a.reported != 3 || a.folded != 30 || a.lost != 10 || !a.adds || a.agree != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	if got, want := a.ledgers["4096"], (ledger{40, 40}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := a.ledgers["blue"], (ledger{7, 6}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, err := parseAccount("nothing"); err == nil {
		t.Error("no summary is no error")
	}
}

func TestParseWrk(t *testing.T) {
	var l load
	if err := parseWrk("Running 2s test\n  59450 requests in 2.00s, 8.90MB read\nRequests/sec:  29725.12\n", &l); err != nil || l.Units != 59450 || l.Seconds != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	if err := parseWrk("unable to connect\n", &l); err == nil {
		t.Error("no numbers are no error")
	}
}

func TestParseGoBench(t *testing.T) {
	got := map[string]sample{}
	parseGoBench("goos: linux\nBenchmarkDecode-2   \t14596214\t        18.40 ns/op\t42605.81 MB/s\t       0 B/op\t       0 allocs/op\nPASS\n", got)
	if got["BenchmarkDecode ns/op"].median() != 18.40 || len(got["BenchmarkDecode allocs/op"]) != 1 {
		t.Errorf("%v", got)
	}
}

// TestSegmentChecksum adds up a segment as a receiver does: with a right
// checksum the one's complement sum is all ones.
func TestSegmentChecksum(t *testing.T) {
	s := newSegment()
	for _, n := range []uint32{0, 1, 77777, 1 << 31} {
		s.number(n)
		if got := s.sum(); got != 0xffff {
			t.Errorf("segment %d adds up to %04x", n, got)
		}
	}
}

func TestTable(t *testing.T) {
	got := table([]string{"a", "long"}, [][]string{{"bbb", "c"}})
	if want := "| a   | long |\n| --- | ---- |\n| bbb | c    |\n"; got != want {
		t.Errorf("%q", got)
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(nil); err != nil || len(all) != len(parts) {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := choose([]string{"cots"}); err == nil || !strings.Contains(err.Error(), "cots") {
		t.Errorf("%v", err)
	}
}

// TestReady: whoever is told that a tool is ready finds its word in what it said. The
// address of a server stands there; without it every request of a run failed.
func TestReady(t *testing.T) {
	r, w := io.Pipe()
	tl := &tool{eof: make(chan struct{})}
	ready := make(chan time.Time)
	tl.mu.Lock() // nothing is written to the text
	go tl.follow(r, "serving ", ready)
	go io.WriteString(w, "serving 127.0.0.1:80\n")
	select {
	case <-ready:
		t.Error("ready before its word stands in the text")
		tl.mu.Unlock()
	case <-time.After(100 * time.Millisecond):
		tl.mu.Unlock()
		<-ready
	}
	w.Close()
	<-tl.eof
	if text := tl.text(); text != "serving 127.0.0.1:80\n" {
		t.Errorf("it said %q", text)
	}
}
