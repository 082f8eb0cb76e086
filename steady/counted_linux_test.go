package steady

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// checkCounted compares the count with the kernel, once all is acknowledged.
func checkCounted(t *testing.T, c *Conn) {
	t.Helper()
	counted := c.counted(c.count(), 0)
	eventually(t, "all acknowledged", func() bool { return c.snapshot(false).BytesAcked >= counted.BytesAcked })
	if s := c.snapshot(false); s.BytesAcked != counted.BytesAcked || s.BytesSent-s.BytesRetrans != counted.BytesSent || !counted.Taken {
		t.Errorf("counted %+v, the kernel says %+v", counted, s)
	}
}

// TestCountedIsExact: what is counted is what the kernel counts, whatever way
// the bytes were written, so that no system call has to be made for it.
func TestCountedIsExact(t *testing.T) {
	c, s := pair(t)
	go io.Copy(io.Discard, struct{ io.Reader }{s})
	checkCounted(t, c)
	c.Write(make([]byte, 1234))
	checkCounted(t, c)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := c.ReadFrom(f); n != 300_000 || err != nil { // sendfile
		t.Fatal(n, err)
	}
	checkCounted(t, c)
	from, to := pair(t)
	go func() { to.Write(make([]byte, 100_000)); to.Close() }()
	if n, err := from.WriteTo(c); n != 100_000 || err != nil { // splice
		t.Fatal(n, err)
	}
	checkCounted(t, c)
}

// TestCountedBelowTLS: under TLS the octets of the records count, not those of
// the application.
func TestCountedBelowTLS(t *testing.T) {
	c, s := pair(t)
	server, client := testTLS(t)
	client.InsecureSkipVerify = true // the name of the certificate is not the matter here
	go func() {
		sec := tls.Server(s, server)
		buf := make([]byte, 4)
		for {
			if _, err := io.ReadFull(sec, buf); err != nil {
				return
			}
			sec.Write(buf)
		}
	}()
	sec := tls.Client(c, client)
	for range 3 {
		sec.Write([]byte("ping"))
		if _, err := io.ReadFull(sec, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		checkCounted(t, c)
	}
}

// TestUncountedProvesNothing: bytes that escape the count, because they were
// written before it began or past it, must never make a proof of what was
// executed.
func TestUncountedProvesNothing(t *testing.T) {
	for name, earlier := range map[string]func(t *testing.T, c *Conn, s net.Conn) *Conn{
		"counted":   func(t *testing.T, c *Conn, s net.Conn) *Conn { exchange(t, c, s); return c },
		"past it":   func(t *testing.T, c *Conn, s net.Conn) *Conn { exchange(t, c.NetConn(), s); return c },
		"before it": func(t *testing.T, c *Conn, s net.Conn) *Conn { exchange(t, c.NetConn(), s); return Track(c.NetConn()) },
		"in flight then": func(_ *testing.T, c *Conn, _ net.Conn) *Conn {
			c.NetConn().Write(make([]byte, 100))
			return Track(c.NetConn())
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				for _, end := range []func(s *net.TCPConn){func(s *net.TCPConn) { s.Close() }, abort} {
					c, s := pair(t)
					c = earlier(t, c, s)
					c.Mark()
					c.Write(make([]byte, 100))
					n := 100
					if name == "in flight then" {
						n += 100
					}
					if _, err := io.ReadFull(s, make([]byte, n)); err != nil { // executed
						t.Fatal(err)
					}
					end(s)
					err := readError(t, c)
					c.Write(make([]byte, 100)) // the RST that answers this must not be taken for a refusal
					if v := VerdictOf(Explain(c, err)); v.SafeToRetry() {
						t.Errorf("%q: %v", v, err)
					}
				}
			}
		})
	}
}

// TestReadBeforeTrack: one octet that was read before the count began is not
// taken for the FIN, which counts as one.
func TestReadBeforeTrack(t *testing.T) {
	for range 50 {
		c, s := pair(t)
		raw := c.NetConn()
		s.Write([]byte("!"))
		if _, err := io.ReadFull(raw, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("queued"))
		eventually(t, "the rest", func() bool { return c.snapshot(true).Unread == 6 })
		c = Track(raw)
		if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		for range 3 { // then the server's kernel delays its acknowledgements
			exchange(t, c, s)
		}
		c.Mark()
		c.Write(make([]byte, 100))
		io.ReadFull(s, make([]byte, 100)) // executed
		abort(s)
		err := readError(t, c)
		if v := VerdictOf(Explain(c, err)); v.SafeToRetry() {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// TestPeersWord: what a FIN that came first is worth, by what the counters did before
// and how much is believed.
func TestPeersWord(t *testing.T) {
	base := Evidence{
		Trusted: TrustPeer, Tracked: true, Ended: true, Wrote: 400, Whole: true, FIN: true,
		Before: Snapshot{Taken: true, Counted: true, BytesAcked: 501, BytesSent: 500},
		After:  Snapshot{Taken: true, State: stateClose, BytesAcked: 501, BytesSent: 900},
	}
	for _, row := range []struct {
		name   string
		change func(ev *Evidence)
		want   Verdict
		claim  Verdict
	}{
		{"refused after a FIN", func(*Evidence) {}, NotDelivered, Unknown},
		{"by the kernel alone", func(ev *Evidence) { ev.Trusted = TrustKernel }, Unknown, NotDelivered},
		{"with a tap that saw nothing", func(ev *Evidence) { ev.Trusted = TrustTap }, Unknown, NotDelivered},
		{"earlier bytes unacknowledged", func(ev *Evidence) { ev.After.BytesAcked = 401 }, Unknown, Unknown},
		{"one octet of the request acknowledged", func(ev *Evidence) { ev.After.BytesAcked = 502 }, Partial, Unknown},
		{"all of it", func(ev *Evidence) { ev.After.BytesAcked = 901 }, Delivered, Unknown},
		{"no FIN", func(ev *Evidence) { ev.FIN = false }, Unknown, Unknown},
		{"none of it counted as sent: sockmap", func(ev *Evidence) { ev.After.BytesSent = 500 }, Unknown, Unknown},
		{"counters set anew: a restored checkpoint", func(ev *Evidence) { ev.After.BytesSent, ev.After.BytesAcked = 400, 0 }, Unknown, Unknown},
		{"counters that never live: gVisor", func(ev *Evidence) {
			ev.Before.BytesAcked, ev.After.BytesAcked, ev.After.BytesSent = 500, 0, 0
		}, Unknown, Unknown},
		{"the first request of the connection", func(ev *Evidence) { ev.first = true }, Unknown, Unknown},
		{"bytes past the count", func(ev *Evidence) { ev.loose = true }, Unknown, Unknown},
		{"nobody answers", func(ev *Evidence) { ev.After.State = stateCloseWait }, Unknown, Unknown},
	} {
		ev := base
		row.change(&ev)
		ev = weigh(ev, io.EOF)
		r := judge(ev, io.EOF)
		if r.verdict != row.want || r.claim != row.claim || (r.verdict == NotDelivered) != (r.level == TrustPeer) {
			t.Errorf("%s: %+v, want %q, claim %q", row.name, r, row.want, row.claim)
		}
	}
}

// TestFreshlyUsedIsNotAsked: the kernel is asked for the state of a connection
// only if it was silent for a while.
func TestFreshlyUsedIsNotAsked(t *testing.T) {
	for _, silent := range []bool{false, true} {
		c, s := pair(t)
		exchange(t, c, s)
		s.Close()
		eventually(t, "FIN", func() bool { return c.snapshot(false).State == stateCloseWait })
		c.lastRead.Store(now() + int64(time.Hour))
		if silent {
			c.lastRead.Store(now() - int64(liveAfter))
		}
		c.arm(flight{reused: true}, actArm)
		_, err := c.Write(make([]byte, 100))
		if refused := err == errStale; refused != silent { //nolint:errorlint // it is not wrapped
			t.Fatalf("silent %v: %v", silent, err)
		}
		if err == nil {
			err = readError(t, c)
		}
		if v := c.Judge(err, TrustPeer).Verdict; !v.SafeToRetry() {
			t.Errorf("silent %v: %q", silent, v)
		}
	}
}
