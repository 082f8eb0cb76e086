package diagnosis

import (
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// pause is how long no data must have passed before a connection counts as
// idle when only one of its ends is known.
const pause = time.Second

// patience is how long a client waits before it counts as one that waited. Who
// ends a request sooner has not waited for it: it cancels.
const patience = 250 * time.Millisecond

// harmful is the only definition of harm: somebody waited, or data was lost, or
// an application got an error that it did not cause itself. What nobody knows
// counts as harm, unless the cause says that nobody is hurt.
func harmful(c *fact.Case, benign bool) bool {
	switch c.Outcome.Or("") {
	case "survived", "none":
		return false
	}
	switch c.RST.Accepted.Or("") {
	case "ignored", "challenged", "timewait":
		return false
	}
	if refusedItself(c) {
		return true
	}
	return !benign && !quiet(c)
}

// refusedItself reports whether an application got ECONNREFUSED from its own
// connect(): it wanted that connection, whatever the cause.
func refusedItself(c *fact.Case) bool {
	return c.Receiver.Error.Or("") == "ECONNREFUSED" && c.Receiver.Role.Or("") != "server"
}

// quiet reports whether the reset ended a connection on which nothing was under
// way: idle, or finished. Every part of that must be known.
func quiet(c *fact.Case) bool {
	switch {
	case c.Outcome.Or("") != "reset" || c.Phase.Or("") == "connect":
		return false
	case c.Trigger.PayloadSize.Or(-1) == 0 && strings.Contains(c.Trigger.Flags.Or(""), "F"):
		return zero(inFlight(c), c.Wire.Unacked) // the end of a connection that its other end forgot
	case c.Sender.Role.Or("") == "client" && (cancelled(&c.Sender.Dead) || finished(c) || unused(c)):
		return true
	case c.RST.Form.Or("") == "reply":
		return false
	}
	return quietSocket(c) || quietWire(c)
}

// cancelled reports whether a client that is gone had ended the connection of
// its own accord, with nothing unread and without having waited.
func cancelled(d *fact.Dead) bool {
	switch d.How.Or("") {
	case "close", "shutdown", "abort", "exit":
		return d.Signal.State() == fact.Absent && zero(d.Unread) && d.Idle.Or(patience) < patience
	}
	return false
}

// finished reports whether the client's process had done its work: it ended in
// good order, without having waited.
func finished(c *fact.Case) bool {
	p, s := &c.Sender.Proc, &c.Sender.Sock
	return p.Exiting.Or(false) && p.ExitCode.Or(1) == 0 && min(s.IdleSend.Or(patience), s.IdleRecv.Or(patience)) < patience
}

// unused reports whether the client never used the connection: of its own accord
// it closed what it had sent nothing on and read nothing from, as a health check
// does to a server that greets.
func unused(c *fact.Case) bool {
	s, p := &c.Sender.Sock, &c.Sender.Proc
	unread, ok := s.Unread.Get()
	return ok && s.Known.Or(false) && zero(s.BytesSent) && s.BytesRecv.Or(-1) == unread && p.Signal.State() == fact.Absent && p.ExitCode.Or(0) == 0
}

// quietSocket is quiet as the socket of the emitting end shows it, and that of
// the other end where it is at hand.
func quietSocket(c *fact.Case) bool {
	s, v := &c.Sender.Sock, &c.Receiver.Sock
	if !s.Known.Or(false) || !zero(s.Unread) || !zero(s.Unacked) || !zero(s.Unsent) {
		return false
	}
	switch {
	case v.Known.Or(false):
		if !zero(inFlight(c)) || !zero(v.Unsent) {
			return false
		}
	case min(s.IdleSend.Or(0), s.IdleRecv.Or(0)) < pause:
		return false
	}
	sent, received := s.BytesSent.Or(-1), s.BytesRecv.Or(-1)
	send, okSend := s.IdleSend.Get()
	recv, okRecv := s.IdleRecv.Get()
	if !okSend || !okRecv {
		return false
	}
	switch c.Sender.Role.Or("") {
	case "client": // it has the last answer, or never asked, or asked just now
		return sent == 0 || received > 0 && recv <= send || send < patience && c.Sender.Proc.Signal.State() == fact.Absent
	case "server": // it has answered the last request, and not just now: that may have been a part of the answer
		return sent > 0 && received > 0 && send <= recv && (send >= pause || c.Phase.Or("") == "closing")
	}
	return false
}

// quietWire is quiet as a capture shows it.
func quietWire(c *fact.Case) bool {
	w := &c.Wire
	if !w.Handshake.Or(false) || !zero(w.Unacked) || w.MidTransfer.Or(true) || w.Retransmits.Or(1) > 0 {
		return false
	}
	if w.Idle.Or(0) < pause && !w.ReceiverFIN.Or(false) {
		return false
	}
	switch c.Sender.Role.Or("") {
	case "client":
		return w.Waiting.State() == fact.Absent
	case "server":
		return zero(w.Unanswered)
	}
	return false
}

// zero reports whether one of the values is present, and all present ones are 0.
func zero(list ...fact.Opt[int64]) bool {
	known := false
	for _, o := range list {
		if n, ok := o.Get(); ok {
			if n != 0 {
				return false
			}
			known = true
		}
	}
	return known
}
