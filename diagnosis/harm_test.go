package diagnosis

import (
	"testing"

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
		c.Emit.Role, c.Emit.Sock.Known = fact.Some("client"), fact.Some(true)
		c.Emit.Sock.BytesSent, c.Emit.Sock.BytesRecv, c.Emit.Sock.Unread = fact.Some(x.sent), fact.Some(x.received), fact.Some(x.unread)
		c.Emit.Proc.Signal, c.Emit.Proc.ExitCode = x.signal, fact.None[int64]()
		if got := harmful(c, false); got != x.want {
			t.Errorf("%s: harmful %t, want %t", x.name, got, x.want)
		}
	}
}
