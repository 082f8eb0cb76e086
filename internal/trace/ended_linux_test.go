package trace

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func listening(t *testing.T) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetDeadline(time.Now().Add(10 * time.Second))
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

// TestRootEndings closes connections in order that fail their user all the same,
// and some that do not.
func TestRootEndings(t *testing.T) {
	t.Run("a client that waited for a server that does not accept", func(t *testing.T) {
		list := watching(t, Config{}, func() netip.AddrPort {
			l, at := listening(t)
			t.Cleanup(func() { l.Close() })
			c, err := net.Dial("tcp4", at.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("request")); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(1200 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Fatal("an answer came")
			}
			c.Close()
			return at
		})
		o := list[0]
		if o.Outcome.Or("") != "timeout" || o.Receiver.Call.Or("") != "gave-up" || o.Sender.Sock.Accepted.Or(true) || o.Flow.Client.Port() == 0 || o.Receiver.Role.Or("") != "client" {
			t.Errorf("outcome %v, call %v, accepted %v, %v is %v", o.Outcome, o.Receiver.Call, o.Sender.Sock.Accepted, o.Flow.Client, o.Receiver.Role)
		}
	})
	t.Run("a server that reads and closes", func(t *testing.T) {
		list := watching(t, Config{}, func() netip.AddrPort {
			l, at := listening(t)
			defer l.Close()
			c, err := net.Dial("tcp4", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("request")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			return at
		})
		o := list[0]
		if o.Outcome.Or("") != "none" || o.Sender.Call.Or("") != "fin" || o.Sender.Role.Or("") != "server" || o.RST.Seen.Or(true) {
			t.Errorf("outcome %v, call %v of the %v", o.Outcome, o.Sender.Call, o.Sender.Role)
		}
	})
}

func TestWhatEndedInOrderIsNoCase(t *testing.T) {
	b := &builder{hz: 250}
	ended := func(reason int32, set func(*resetEvent)) *observation {
		e := sockEvent(kindEnded, 1, 1, server, client)
		// of the side that accepted: its SYN-ACK is not in bytes_acked
		e.State, e.Reason, e.BytesSent, e.BytesAcked, e.BytesReceived, e.ExitCode = stEstablished, reason, 100, 100, 50, 9
		if set != nil {
			set(e)
		}
		return &observation{ended: e, kind: obsEnded}
	}
	active := func(e *resetEvent) { e.BytesAcked++ }
	for _, c := range []struct {
		name string
		o    *observation
		want bool
	}{
		{"a server killed while it owes an answer", ended(cutByExit, nil), true},
		{"one that had rested for long", ended(cutByExit, func(e *resetEvent) { e.IdleRecvJiffies = 250 * 60 }), false},
		{"one that ended well", ended(cutByExit, func(e *resetEvent) { e.ExitCode = 0 }), false},
		{"a client that was killed", ended(cutByExit, active), false},
		{"a server that waited for its client", ended(gaveUpWaiting, nil), false},
		{"a client that waited", ended(gaveUpWaiting, active), true},
		{"a thread of the kernel", ended(cutByExit, func(e *resetEvent) { e.TaskFlags = taskKernel }), false},
	} {
		if got := b.failed(c.o); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	var k fact.Case
	k.Sender.Sock.Known, k.Sender.Sock.Unread, k.Sender.Sock.Accepted = some(true), some[int64](0), some(true)
	if o := ended(gaveUpWaiting, active); b.endedOutcome(o, &k) != "none" {
		t.Error("a server that has read the request may be at work")
	}
}

// TestRootUnreadWords: what the receiver had not read when its connection was reset, on
// one host, where the data lies in pages.
func TestRootUnreadWords(t *testing.T) {
	abort := func() netip.AddrPort {
		l, at := listening(t)
		t.Cleanup(func() { l.Close() })
		c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(s, "FATAL: too many")
		s.SetLinger(0)
		s.Close()
		return at
	}
	o := watching(t, Config{}, abort)[0]
	if got := o.Receiver.Sock.FirstUnread.Or(""); got != "FATAL: too many" {
		t.Errorf("the client had not read %q", got)
	}
	if o = watching(t, Config{NoPayload: true}, abort)[0]; o.Receiver.Sock.FirstUnread.State() != fact.NotLooked {
		t.Errorf("looked in spite of --no-payload: %v", o.Receiver.Sock.FirstUnread)
	}
}
