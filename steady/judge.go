package steady

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// judge turns evidence into a verdict. It is the only place that does, it has
// no I/O, and whatever it can not prove it calls Unknown.
//
// Why bytes_acked alone proves nothing: a server may read a request, commit it
// and abort while its ACK is still delayed, and Linux does not process the ACK
// of an RST (net/ipv4/tcp_input.c, tcp_validate_incoming resets first).
func judge(ev Evidence, err error) (Verdict, uint64) {
	if ev.Tracked && ev.Wrote == 0 {
		return NotSent, 0
	}
	b, a := ev.Before, ev.After
	if !a.Taken {
		return Unknown, 0
	}
	if !b.Taken {
		b.BytesAcked = min(1, a.BytesAcked) // the SYN
	}
	acked := a.BytesAcked - min(a.BytesAcked, b.BytesAcked) // less: earlier bytes still wait for it
	switch {
	case a.BytesSent <= b.BytesSent && a.State == stateClose:
		return NotSent, 0
	case errors.Is(err, syscall.ETIMEDOUT):
	case ev.Refused:
		return NotDelivered, 0
	case provedByRST(ev, b):
		return NotDelivered, 0
	}
	return ambiguous(ev, b, acked), acked
}

// ambiguous sorts what is not proved undelivered; none of its answers allows a
// retry of every method.
func ambiguous(ev Evidence, b Snapshot, acked uint64) Verdict {
	sent := ev.After.BytesSent - min(ev.After.BytesSent, ev.After.BytesRetrans)
	whole := ev.Whole || !ev.Tracked
	if ev.Tracked {
		sent = ev.Wrote
	}
	switch {
	case acked == 0:
		return Unknown
	case whole && acked >= sent:
		return Delivered
	case !whole || acked < sent:
		return Partial
	}
	return Unknown
}

// finFirst reports the FIN-first rule: the peer's FIN was received and no byte
// of the request was acknowledged since it began. It is not yet a proof: a peer
// that closed only its sending half may still read. The RST that follows is.
func finFirst(ev Evidence) bool {
	return ev.FIN && ev.Before.Taken && ev.After.Taken && ev.After.BytesAcked <= ev.Before.BytesAcked
}

// finSeen computes Evidence.FIN. Linux counts the FIN as one received octet
// (tcp_rcv_nxt_update), so it shows even when the error is already ECONNRESET.
func finSeen(ev Evidence) bool {
	switch a := ev.After; a.State {
	case stateCloseWait, stateLastAck, stateClosing:
		return true
	case stateClose:
		return ev.Tracked && ev.Ended && a.BytesReceived == ev.Read+a.Unread+1
	}
	return false
}

// provedByRST is the rule without a FIN: every RST of the flow is bare (no ACK
// flag: sent by a kernel that had no socket for our segment), comes from as far
// as the SYN-ACK came, the request went out once, and nothing was acknowledged.
// An RST+ACK, or a retransmission that a rebooted host may have answered, or
// another TTL, and it proves nothing.
func provedByRST(ev Evidence, b Snapshot) bool {
	r, a := ev.RST, ev.After
	return r != nil && ev.Before.Taken && a.State == stateClose &&
		r.Bare > 0 && r.Acking == 0 && r.SameTTL &&
		a.BytesAcked <= b.BytesAcked && a.BytesRetrans == b.BytesRetrans
}

// whoEnded names who ended the connection from the error and the evidence.
func whoEnded(ev Evidence, err error) Who {
	switch {
	case ev.overtaken:
		return WhoUnknown
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNABORTED):
		return WhoLocal
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return WhoPath
	case ev.FIN, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE):
		return WhoPeer
	}
	return WhoUnknown
}

var hints = [...]string{
	Unknown:      "the server may have executed it: send it again only if it is idempotent or carries an idempotency key, else ask the server",
	NotSent:      "send it again on another connection",
	NotDelivered: "the server had closed the connection before the request came: send it again, and retire idle connections before the server's timeout",
	Partial:      "ask the server for its offset before going on (Upload-Offset); the acknowledged bytes are only a lower bound of what its kernel got",
	Delivered:    "the server has the request and the answer was lost: ask for its result, or send it again only with an idempotency key",
}

// newResetError judges ev and wraps err.
func newResetError(ev Evidence, err error) *ResetError {
	v, acked := judge(ev, err)
	return &ResetError{Verdict: v, Who: whoEnded(ev, err), Acked: acked, Evidence: withSource(ev), Hint: hints[v], Err: err}
}

func withSource(ev Evidence) Evidence {
	switch {
	case ev.Source != "":
	case ev.Tracked && ev.Wrote == 0:
		ev.Source = SourceCaller
	case !ev.After.Taken:
		ev.Source = SourceNone
	case ev.RST != nil:
		ev.Source = SourceTap
	default:
		ev.Source = SourceKernel
	}
	return ev
}
