package diagnosis

import (
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// TestUnusedConnectionIsNoHarm: a client that leaves a greeting unread hurts
// nobody; one that asked, or was ended by a signal, may have.
func TestUnusedConnectionIsNoHarm(t *testing.T) {
	for _, x := range []struct {
		name                   string
		sent, received, unread int64
		signal                 fact.Opt[string]
		want                   bool
	}{
		{"a health check of a server that greets", 0, 11, 11, fact.None[string](), false},
		{"it had asked", 27, 11, 11, fact.None[string](), true},
		{"it had read a part", 0, 5000, 11, fact.None[string](), true},
		{"it was killed", 0, 11, 11, fact.Some("SIGKILL"), true},
		{"nobody knows whether it was killed", 0, 11, 11, fact.Opt[string]{}, true},
	} {
		c := &fact.Case{}
		c.Outcome, c.Phase = fact.Some("reset"), fact.Some("established")
		c.RST.Form, c.RST.Accepted = fact.Some("active-abort"), fact.Some("accepted")
		c.Sender.Role, c.Sender.Sock.Known = fact.Some("client"), fact.Some(true)
		c.Sender.Sock.BytesSent, c.Sender.Sock.BytesRecv, c.Sender.Sock.Unread = fact.Some(x.sent), fact.Some(x.received), fact.Some(x.unread)
		c.Sender.Proc.Signal, c.Sender.Proc.ExitCode = x.signal, fact.None[int64]()
		if got := harmful(c, false); got != x.want {
			t.Errorf("%s: harmful %t, want %t", x.name, got, x.want)
		}
	}
}

// TestServerThatAbortsAfterAnswering: what a server sent a moment before it aborts
// may have been a part of the answer. After a pause, or when the client had
// closed, nobody waits.
func TestServerThatAbortsAfterAnswering(t *testing.T) {
	for _, x := range []struct {
		name  string
		phase string
		idle  time.Duration
		want  bool
	}{
		{"in the middle of an answer", "established", 200 * time.Millisecond, true},
		{"long after the answer", "established", 2 * time.Second, false},
		{"the client had closed", "closing", time.Millisecond, false},
	} {
		c := &fact.Case{}
		c.Outcome, c.Phase = fact.Some("reset"), fact.Some(x.phase)
		c.RST.Form, c.RST.Accepted = fact.Some("active-abort"), fact.Some("accepted")
		c.Sender.Role = fact.Some("server")
		s, v := &c.Sender.Sock, &c.Receiver.Sock
		s.Known, v.Known = fact.Some(true), fact.Some(true)
		s.BytesSent, s.BytesRecv, s.Unread, s.Unacked, s.Unsent = fact.Some[int64](543), fact.Some[int64](79), fact.Some[int64](0), fact.Some[int64](0), fact.Some[int64](0)
		s.IdleSend, s.IdleRecv = fact.Some(x.idle), fact.Some(x.idle)
		v.Unread, v.Unacked, v.Unsent = fact.Some[int64](0), fact.Some[int64](0), fact.Some[int64](0)
		if got := harmful(c, false); got != x.want {
			t.Errorf("%s: harmful %t, want %t", x.name, got, x.want)
		}
	}
}
