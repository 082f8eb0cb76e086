package trace

import (
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// Connections that fail their user without a RST: a process ends while it owes an
// answer, closes without one, or gives up before the kernel does. What is not
// certain here is no case: an orderly end of a finished exchange says nothing.

// owedFor is how long ago the request may have come for its answer to be owed.
// Some protocols speak last without asking anything (HTTP/2), and then rest.
const owedFor = 10 * time.Second

// requestSize is how much a client sends at most that waits for an answer and
// sends nothing more; a service that takes data in has more.
const requestSize = 64 << 10

// failed says whether the end is worth a case.
func (b *builder) failed(o *observation) bool {
	e := o.ended
	if e.inKernelThread() {
		return false
	}
	b.remember()
	active, known := b.active(e)
	switch e.Reason {
	case gaveUpConnecting:
		return true
	case gaveUpWaiting:
		return known && active
	case cutByExit:
		return known && !active && e.ExitCode != 0 && (b.jiffies(e.IdleRecvJiffies) < owedFor || e.BytesSent == 0 && e.BytesReceived <= requestSize)
	case noAnswer:
		b.endedAfter(e)
		return known && !active && e.BytesReceived <= requestSize
	}
	return false
}

// endedAfter makes the close of a process that failed just afterwards one by its
// end: interpreters close what is open before they exit.
func (b *builder) endedAfter(e *resetEvent) {
	var r resetExitRecord
	m := b.kernel.maps["exits"]
	if m == nil || m.Lookup(e.Pid, &r) != nil || r.ExitCode == 0 || r.TsNs < e.TimeNs || r.TsNs-e.TimeNs > endHold {
		return
	}
	e.Reason, e.ExitCode = cutByExit, r.ExitCode
	e.TaskFlags |= taskExiting
}

// gaveUp says whether a process had waited and closed.
func (o *observation) gaveUp() bool {
	return o.ended != nil && (o.ended.Reason == gaveUpConnecting || o.ended.Reason == gaveUpWaiting)
}

// closer fills the end that closed while it owed an answer.
func (b *builder) closer(o *observation, ob *Observed) {
	em, e := &ob.Case.Sender, o.ended
	em.Seen = some(true)
	b.socket(&em.Sock, e)
	em.Syscall = some(b.syscall(e))
	em.Call = some("fin")
	ob.SenderPID = int(e.Pid)
	b.actor(&em.Proc, e)
	b.listening(ob, o.src)
}

// waited fills the end that gave up. Each repetition of what it had said last
// moves the time of its latest sending; the intervals between them double, so
// that the timer, which of retransmissions is the doubled one, tells when the
// first was.
func (b *builder) waited(o *observation, ob *Observed) {
	v, e := &ob.Case.Receiver, o.ended
	v.Seen, v.Call, v.Syscall = some(true), some("gave-up"), some(b.syscall(e))
	v.Error = fact.None[string]() // it had its own limit
	b.socket(&v.Sock, e)
	switch last, rto := b.jiffies(e.IdleSendJiffies), b.jiffies(e.RtoJiffies); {
	case e.Reason == gaveUpConnecting:
		v.Sock.Age = some(connecting(e))
	case e.unsendable():
		v.Sock.IdleSend = some(last + rto<<min(e.Backoff, 15) - rto)
	case e.Retransmits > 0 && e.UnackedBytes > 0:
		v.Sock.IdleSend = some(last + rto - rto>>min(e.Retransmits, 15))
	}
	ob.ReceiverPID = int(e.Pid)
	b.actor(&v.Proc, e)
}

// connecting is how long a socket had tried at least: the first intervals between
// its SYNs are of a second (net.ipv4.tcp_syn_linear_timeouts), or double.
func connecting(e *resetEvent) time.Duration { return time.Duration(e.Retransmits) * time.Second }

// unsendable says whether the data lay here although the other end had room for
// it and nothing was on the way: no route, or a link that is down.
func (e *resetEvent) unsendable() bool {
	return e.UnsentBytes > 0 && e.UnackedBytes == 0 && e.SndWnd > 0
}

// owes says whether the other end owes an answer for sure: what was sent was not
// acknowledged, or nobody there has even read it.
func (b *builder) owes(o *observation, c *fact.Case) bool {
	s := &c.Sender.Sock
	switch {
	case o.ended.Reason == gaveUpConnecting, o.ended.Retransmits > 0 && o.ended.UnackedBytes > 0, o.ended.unsendable():
		return true
	case c.Sender.Dead.How.Or("") == "abort":
		return true // it is gone, and this end was never told
	case !s.Known.Or(false):
		return false
	}
	return s.Unread.Or(0) > 0 || !s.Accepted.Or(true) || c.Sender.Proc.Stalled.Or(false)
}

// endedOutcome is the outcome of a case without RST that a process ended.
func (b *builder) endedOutcome(o *observation, c *fact.Case) string {
	switch {
	case o.gaveUp() && b.owes(o, c):
		return "timeout"
	case o.ended.Reason == cutByExit:
		return "closed"
	}
	return "none"
}
