package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/nft"
	"github.com/holdfast-project/holdfast/internal/trace"
	"github.com/holdfast-project/holdfast/knowledge"
)

func observed(client, server string, at time.Time) trace.Observed {
	c := &fact.Case{Time: at}
	c.Flow.Client, c.Flow.Server = netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	c.Sender.Role = fact.Some("server")
	return trace.Observed{Case: c, SenderNetns: 7, SenderPID: 42}
}

func TestPatternsOfOneProcess(t *testing.T) {
	p := newPatterns()
	start := time.Unix(1000, 0)
	var o trace.Observed
	for i := range 20 {
		o = observed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(40000+i)).String(), "198.51.100.2:80", start.Add(time.Duration(i)*10*time.Millisecond))
		p.add(o)
	}
	if n := o.Pattern.Burst.Or(0); n != 20 {
		t.Errorf("burst %d", n)
	}
	late := observed("192.0.2.99:1", "198.51.100.2:80", start.Add(time.Minute))
	p.add(late)
	if n := late.Pattern.Burst.Or(0); n != 1 {
		t.Errorf("burst %d after a minute", n)
	}
}

func TestPeriodOfHealthChecks(t *testing.T) {
	p := newPatterns()
	start := time.Unix(1000, 0)
	for i, want := range []fact.State{fact.NotLooked, fact.NotLooked, fact.NotLooked, fact.Present, fact.Present} {
		o := observed("192.0.2.1:40000", "198.51.100.2:80", start.Add(time.Duration(i)*5*time.Second))
		p.add(o)
		if o.Pattern.Period.State() != want {
			t.Errorf("check %d: %v", i, o.Pattern.Period.State())
		}
		if d, ok := o.Pattern.Period.Get(); ok && d != 5*time.Second {
			t.Errorf("period %v", d)
		}
	}
	odd := observed("192.0.2.1:40000", "198.51.100.2:80", start.Add(41*time.Second))
	p.add(odd)
	if odd.Pattern.Period.State() != fact.Absent {
		t.Error("an irregular interval passed for a period")
	}
}

func TestPatternsAreBounded(t *testing.T) {
	p := newPatterns()
	for i := range 3 * maxPatterns {
		p.add(observed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1).String(), "198.51.100.2:80", time.Unix(int64(i), 0)))
	}
	if len(p.pairs) > maxPatterns || len(p.emitters) > maxPatterns || len(p.tuples) > maxPatterns {
		t.Errorf("%d pairs, %d emitters, %d tuples", len(p.pairs), len(p.emitters), len(p.tuples))
	}
}

func TestCountersAreComparedOverTheRightTime(t *testing.T) {
	h := &counterHistory{}
	now := time.Unix(1000, 0)
	for i := range 10 {
		h.past[i] = snapshot{at: now.Add(time.Duration(i-10) * 500 * time.Millisecond)}
		h.next++
	}
	h.now.at = now
	for _, c := range []struct{ least, want time.Duration }{{0, 500 * time.Millisecond}, {time.Second, time.Second}, {1200 * time.Millisecond, 1500 * time.Millisecond}, {time.Minute, 5 * time.Second}} {
		if got := now.Sub(h.before(c.least).at); got != c.want {
			t.Errorf("before(%v) is %v old, want %v", c.least, got, c.want)
		}
	}
}

func TestSpanOfATimeoutCoversItsAttempts(t *testing.T) {
	c := &fact.Case{Outcome: fact.Some("reset")}
	if least, most := span(c); least != resetSpan || most != longest {
		t.Errorf("reset: %v to %v", least, most)
	}
	c.Outcome = fact.Some("timeout")
	c.Receiver.Sock.RTO = fact.Some(4 * time.Second)
	if least, _ := span(c); least < 8*time.Second {
		t.Errorf("timeout: %v", least)
	}
}

func TestOnlyARuleThatCanMatchIsBlamed(t *testing.T) {
	o := observed("192.0.2.1:40000", "198.51.100.2:80", time.Now())
	reject := nft.Rule{Text: "reject with tcp reset", Verdict: nft.RejectReset}
	drop := nft.Rule{Text: "drop", Verdict: nft.Drop}
	policy := nft.Rule{Text: "policy drop", Verdict: nft.Drop, Policy: true}
	if r, ok := only([]nft.Rule{reject, drop, policy}, o, true); !ok || r.Text != reject.Text {
		t.Errorf("%v %v", r, ok)
	}
	if _, ok := only([]nft.Rule{reject, reject}, o, true); ok {
		t.Error("one of two rules that could both have done it was named")
	}
	if _, ok := only([]nft.Rule{drop}, o, true); ok {
		t.Error("a drop rule was blamed for a RST")
	}
	old := movedRule{reject, time.Now().Add(-2 * ruleMemory)}
	if _, ok := pick([]movedRule{old}, o, true); ok {
		t.Error("a counter that moved long ago was blamed")
	}
}

func TestUnknownSourceIsRefused(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Source: "tarot", Knowledge: base}); err == nil {
		t.Error("opened")
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("opened without knowledge")
	}
}

// TestRootSeenEqualsOutRsts makes resets in a namespace of its own and compares our
// count with the kernel's, exactly.
func TestRootSeenEqualsOutRsts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to load eBPF programs")
	}
	space := privateSpace(t)
	w := opened(t, Config{Source: "kernel", Wire: true})
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	done, findings := make(chan error, 1), make(chan fact.Finding, 1024)
	go func() {
		done <- w.Run(ctx, func(f fact.Finding) {
			if f.Flow.Server.Port() == closedPort && f.Flow.Client.Addr().IsLoopback() {
				findings <- f
			}
		})
	}()
	const n = 50
	space.do(t, func() error { return dialClosed(n) })
	for seen := range n {
		select {
		case f := <-findings:
			if f.Cause.ID != "connection-refused-closed-port" && f.Cause.ID != "unsolicited-packets-benign" && f.Cause.ID != "unknown" {
				t.Errorf("cause %s %s %+v", f.Cause.ID, f.Cause.Grade, f.Proof)
			}
		case <-ctx.Done():
			t.Fatalf("%d of %d findings came", seen, n)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s := w.Stats()
	if s.Seen != s.Reported+s.Folded+s.Lost {
		t.Errorf("seen %d != reported %d + folded %d + lost %d", s.Seen, s.Reported, s.Folded, s.Lost)
	}
	if i := slices.IndexFunc(s.Ledgers, func(l Ledger) bool { return l.Netns == fmt.Sprint(space.cookie) }); i < 0 {
		t.Errorf("no ledger of namespace %d: %+v", space.cookie, s.Ledgers)
	} else if l := s.Ledgers[i]; l.OutRsts != n || l.StackSent != n || l.Remainder != 0 {
		t.Errorf("the kernel counts %d resets out, the ledger %d, remainder %d; want %d, %d and 0", l.OutRsts, l.StackSent, l.Remainder, n, n)
	}
}

// closedPort is one that nobody listens on in a namespace that is new.
const closedPort = 9

// dialClosed connects to it from the namespace of the calling thread.
func dialClosed(n int) error {
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: closedPort, Addr: [4]byte{127, 0, 0, 1}})
		_ = unix.Close(fd)
		if !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("connect to a closed port: %w", err)
		}
	}
	return nil
}
