package tcp

import (
	"fmt"
	"testing"
	"time"
)

// TestOrigin looks what the IP header of a RST says about its sender.
func TestOrigin(t *testing.T) {
	t.Parallel()
	const windows = "0ms > S 1000 0 0 id=10\n20ms < SA 5000 1001 0 ttl=128 id=700\n21ms > A 1001 5001 0 id=11\n30ms > PA 1001 5001 100 id=12\n" +
		"50ms < PA 5001 1101 200 ttl=128 id=701\n51ms > A 1101 5201 0 id=13\n60ms < PA 5201 1101 200 ttl=128 id=702\n"
	for _, c := range []struct{ name, script, want string }{
		{"its own counter", windows + "70ms < RA 5401 1101 0 ttl=128 id=703", "same continues"},
		{"its own counter after a pause", windows + "40s < RA 5401 1101 0 ttl=128 id=2000", "same fits"},
		{"no value of it", windows + "70ms < RA 5401 1101 0 ttl=128 id=40000", "same breaks"},
		{"another path", windows + "70ms < RA 5401 1101 0 ttl=127 id=703", "near continues"},
		{"another place", windows + "70ms < RA 5401 1101 0 ttl=118 id=9", "far breaks"},
		{"another stack", windows + "70ms < RA 5401 1101 0 ttl=255 id=9", "other-start breaks"},
		{"after one segment", "0ms > S 1000 0 0\n20ms < SA 5000 1001 0 ttl=254 id=3\n21ms > A 1001 5001 0\n30ms > PA 1001 5001 9\n40ms < RA 5001 1010 0 ttl=52 id=9000", "other-start unknown"},
		{"a counter of the other order", "0ms > S 1 0 0 id=0x100\n1ms < SA 1 2 0 id=0x100\n2ms > A 2 2 0 id=0x200\n3ms > PA 2 2 18 id=0x300\n4ms < A 2 20 0 id=0x200\n5ms > R 20 0 0 id=0x400", "same continues"},
		{"what came later", "0ms > S 1000 0 0\n9ms < RA 0 1001 0 ttl=120 id=7\n20ms < SA 5000 1001 0 ttl=50", "other-start unknown"},
	} {
		_, ends := play(t, Options{}, c.script)
		if len(ends) == 0 {
			t.Errorf("%s: no ending", c.name)
			continue
		}
		if got := ends[0].TTLKind() + " " + ends[0].Counter(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestMajority has forged data with another TTL: what most segments show counts.
func TestMajority(t *testing.T) {
	t.Parallel()
	script := opening
	for i := range 20 {
		ttl := 57
		if i%9 == 8 {
			ttl = 64
		}
		script += fmt.Sprintf("%dms < PA %d 1001 10 ttl=%d\n", 100+i, 5001+10*i, ttl)
	}
	_, ends := play(t, Options{}, script+"140ms < RA 5201 1001 0 ttl=57")
	if e := ends[0]; e.TTLKind() != "same" || !e.MixedData() || e.Sender().DataTTL != 57 {
		t.Errorf("TTL %s, mixed %v, of data %d", e.TTLKind(), e.MixedData(), e.Sender().DataTTL)
	}
}

// TestSpeaks looks at the other signs of who sent a RST.
func TestSpeaks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, script, want string }{
		{"gave up", opening + "30ms > PA 1001 5001 100\n330ms > PA 1001 5001 100\n930ms > PA 1001 5001 100\n2130ms > PA 1001 5001 100\n4530ms > RA 1101 5001 0", "active-abort gave-up"},
		{"gave up too early for that", opening + "30ms > PA 1001 5001 100\n330ms > PA 1001 5001 100\n930ms > PA 1001 5001 100\n2130ms > PA 1001 5001 100\n2200ms > RA 1101 5001 0", "active-abort"},
		{"both at once", opening + "30ms > PA 1001 5001 100\n30ms < RA 5001 1101 0\n30ms > RA 1101 5001 0", "active-abort twin"},
		{"one after the other", opening + "30ms > PA 1001 5001 100\n40ms < RA 5001 1101 0\n60ms > RA 1101 5001 0", "active-abort | active-abort"},
		{"acknowledged beyond", opening + "30ms > RA 1001 5321 0", "active-abort beyond=320"},
		{"a refusal that no kernel sends", "0ms > S 1000 0 0\n9ms < RA 77 1001 0 win=0", "refusal odd"},
		{"a refusal that counts for nothing", "0ms > S 1000 0 0\n9ms < RA 0 1001 0 win=0\n12ms < SA 5000 1001 0", "refusal overruled"},
		{"refused, and accepted the second time", "0ms > S 1000 0 0\n9ms < RA 0 1001 0 win=0\n500ms > S 1000 0 0\n512ms < SA 5000 1001 0", "refusal"},
		{"a bare abort", opening + "30ms > PA 1001 5001 100 id=7\n31ms < PA 5001 1101 9\n40ms > A 1101 5010 0 id=8\n50ms > R 1101 5010 0 id=9", "active-abort"},
		{"after its own RST", opening + "30ms > PA 1001 5001 24\n50ms < PA 5001 1025 22\n50ms < RA 5023 1025 0\n71ms > A 1025 5023 0\n71ms < R 5023 0 0 win=0", "active-abort | reply answers"},
		{"the round trip of the handshake", "0ms > S 1000 0 0\n0ms < SA 5000 1001 0\n221ms > A 1001 5001 0\n224ms > PA 1001 5001 142\n224ms > FA 1143 5001 0\n225ms < PA 5001 1144 802\n441ms > R 1144 0 0 win=0", "reply answers"},
		{"a device that lost the connection", exchange + "60ms < FA 5301 1101 0\n61ms > PA 1101 5301 31\n70ms < R 5301 0 0 ttl=57\n71ms > PA 1132 5302 31\n71ms < RA 5302 1163 0 ttl=255", "reply answers | active-abort answers"},
	} {
		_, ends := play(t, Options{}, c.script)
		got := ""
		for i, e := range ends {
			if i > 0 {
				got += " | "
			}
			got += e.Form()
			for _, sign := range []struct {
				ok   bool
				name string
			}{{e.GaveUp(), "gave-up"}, {e.Twin(), "twin"}, {e.OddRefusal(), "odd"}, {e.Ignored(), "overruled"}, {e.Trigger.Frame != 0 && e.Form() != "refusal", "answers"}} {
				if sign.ok {
					got += " " + sign.name
				}
			}
			if n := e.AckBeyond(); n > 0 {
				got += fmt.Sprintf(" beyond=%d", n)
			}
			if c.name == "both at once" {
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestHosts follows a host that counts over all its connections, and one that
// does not.
func TestHosts(t *testing.T) {
	t.Parallel()
	feed := func(ids ...uint16) (*Hosts, int64) {
		h := &Hosts{}
		at := int64(time.Second)
		for i, id := range ids {
			at += int64(time.Millisecond)
			h.Sent(1, uint16(i%3), id, 128, at)
		}
		return h, at
	}
	shared, at := feed(100, 101, 102, 104, 105, 106, 107)
	p := shared.Reset(1, 108, at+1000)
	if !p.Seen || !p.Shared || p.IPID != 107 || p.TTL != 128 {
		t.Errorf("shared counter: %+v", p)
	}
	// The RST went on, so the next one is compared with it; a stranger's is not.
	shared.Reset(1, 40000, at+2000)
	if p := shared.Reset(1, 109, at+3000); p.IPID != 108 {
		t.Errorf("after a stranger's RST the counter is %d, want 108", p.IPID)
	}
	if p.Quiet == nil || p.Quiet.Next != 0 {
		t.Errorf("quiet %+v", p.Quiet)
	}
	shared.Sent(1, 1, 110, 128, at+5000)
	if p.Quiet.Next != at+5000 || p.Quiet.Since != at+3000 {
		t.Errorf("quiet %+v, want silence until the next segment", p.Quiet)
	}
	own, at := feed(100, 9000, 33000, 101, 9001, 33001, 102)
	if p := own.Reset(1, 50000, at); p.Shared {
		t.Errorf("counters of connections are no counter of the host: %+v", p)
	}
	if p := own.Reset(2, 1, at); p.Seen {
		t.Errorf("a host never heard of: %+v", p)
	}
	same := uint32(1)
	for same = 2; place(same) != place(1); same++ {
	}
	own.Sent(same, 0, 1, 64, at+1)
	if own.Refused != 1 {
		t.Errorf("%d refused, want 1", own.Refused)
	}
	for range hostLook {
		own.Sent(same, 0, 1, 64, at+2*hostKeep)
	}
	if p := own.Reset(same, 2, at+2*hostKeep); !p.Seen {
		t.Error("a host that is silent for long keeps its place")
	}
}

// TestReused counts connections as Wireshark does.
func TestReused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		conns        int64
	}{
		{"after the middle of one", "0ms < FA 1 1 0\n1ms > R 1 0 0\n9s > S 77 0 0\n9.1s < SA 5 78 0", 2},
		{"the SYN comes again after its answer", "0ms < SA 5000 1001 0\n1ms > S 1000 0 0\n2ms > A 1001 5001 0", 1},
		{"the SYN comes after what follows it", "0ms < SA 5000 1001 0\n1ms > A 1001 5001 0\n2ms > S 1000 0 0\n3ms > PA 1001 5001 9", 1},
		{"a SYN sent again", "0ms > S 1000 0 0\n1s > S 1000 0 0\n1.1s < SA 5000 1001 0", 1},
		{"another SYN", "0ms > S 1000 0 0\n1ms < RA 0 1001 0\n1s > S 2000 0 0", 2},
	} {
		table, _ := play(t, Options{}, c.script)
		if table.Stats.Conns != c.conns {
			t.Errorf("%s: %d connections, want %d", c.name, table.Stats.Conns, c.conns)
		}
	}
}
