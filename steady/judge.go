package steady

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// ruling is what evidence amounts to.
type ruling struct {
	verdict Verdict
	level   Trust
	acked   uint64
	claim   Verdict // by a level that is not trusted
}

// judge turns evidence into a verdict. It is the only place that does, it has
// no I/O, and whatever it cannot prove it calls Unknown.
//
// Why bytes_acked alone proves nothing: a server may read a request, commit it
// and abort while its ACK is still delayed, and Linux does not process the ACK
// of an RST (net/ipv4/tcp_input.c, tcp_validate_incoming resets first). Why
// bytes_sent proves nothing: where data does not pass TCP it stands still.
func judge(ev Evidence, err error) ruling {
	switch {
	case ev.Tracked && !ev.loose && ev.Wrote == 0:
		return ruling{verdict: NotSent}
	case ev.Tracked && !ev.loose && ev.withheld && ev.Wrote == 1:
		return ruling{verdict: NotDelivered}
	case !ev.After.Taken:
		return ruling{}
	}
	b := ev.Before
	if !b.Taken {
		b.BytesAcked = min(1, ev.After.BytesAcked) // the SYN
	}
	r := ruling{acked: ev.After.BytesAcked - min(ev.After.BytesAcked, b.BytesAcked)} // less: earlier bytes still wait for it
	switch {
	case errors.Is(err, syscall.ETIMEDOUT), !lives(ev):
	case provedByRST(ev):
		return ruling{verdict: NotDelivered, level: TrustTap}
	case ev.Refused && ev.Trusted >= TrustPeer:
		return ruling{verdict: NotDelivered, level: TrustPeer}
	case ev.Refused:
		r.claim = NotDelivered
	}
	r.verdict = ambiguous(ev, b, r.acked)
	return r
}

// lives reports whether the kernel's counters were seen to move on this very
// connection: every byte that was written before the request was acknowledged, and
// the request itself was counted as sent. Where data does not pass TCP (gVisor,
// sockmap), where counters were set anew (a restored checkpoint), where bytes go past
// the count, and for the first request of a connection, this is false, and then a
// counter that stands still says nothing.
func lives(ev Evidence) bool {
	b, a := ev.Before, ev.After
	return ev.Tracked && !ev.loose && !ev.first && b.Taken && a.Taken && b.BytesAcked > 0 &&
		a.BytesAcked >= b.BytesAcked && a.BytesSent > b.BytesSent+a.BytesRetrans
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

// provedByRST is the rule without a FIN: every RST of the flow is bare (no ACK
// flag: sent by a kernel that had no socket for our segment), comes from as far
// as the SYN-ACK came, and nothing was acknowledged. The request went out once, in
// one segment, behind the octet that may have gone out before: else the RST of an
// abort may be lost, and a later segment meets no socket any more. An RST+ACK, or a
// retransmission that a rebooted host may have answered, or another TTL, and it
// proves nothing.
func provedByRST(ev Evidence) bool {
	r, a, b := ev.RST, ev.After, ev.Before
	segments := b.DataSegments + 1
	if ev.probed {
		segments++
	}
	return r != nil && ev.asked && a.State == stateClose &&
		r.Bare > 0 && r.Acking == 0 && r.SameTTL &&
		a.BytesAcked <= b.BytesAcked && a.BytesRetrans == b.BytesRetrans && a.DataSegments == segments
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
	Unknown:      "the next hop may have it, and the server may have executed it: send it again only if it is idempotent or carries an idempotency key, else ask the server",
	NotSent:      "send it again on another connection",
	NotDelivered: "the next hop has not got the request: send it again, and retire idle connections before the server's timeout",
	Partial:      "ask the server for its offset before going on (Upload-Offset); the acknowledged bytes are only a lower bound of what the next hop's kernel got",
	Delivered:    "the next hop has the request and the answer was lost: ask the server for its result, or send it again only with an idempotency key",
}

const hintClaim = "the peer says that it did not take the request, which an intermediary may say of what the server behind it has executed: " +
	"if none is between, Transport.Trust = TrustPeer; else send it again only if it is idempotent or carries an idempotency key"

// newResetError judges ev and wraps err.
func newResetError(ev Evidence, err error) *ResetError {
	r := judge(ev, err)
	ev.Claim = r.claim
	return &ResetError{Verdict: r.verdict, Level: r.level, Who: whoEnded(ev, err), Acked: r.acked, Evidence: withSource(ev, r), Hint: hintFor(r.verdict, r.claim), Err: err}
}

func hintFor(v, claim Verdict) string {
	if claim != Unknown {
		return hintClaim
	}
	return hints[v]
}

func withSource(ev Evidence, r ruling) Evidence {
	counted := ev.Tracked && !ev.loose
	switch {
	case ev.Source != "":
	case counted && ev.Wrote == 0:
		ev.Source = SourceCaller
	case counted && ev.withheld && ev.Wrote == 1:
		ev.Source = SourceProbe
	case !ev.After.Taken || !lives(ev) && r.acked == 0:
		ev.Source = SourceNone
	case ev.RST != nil:
		ev.Source = SourceTap
	default:
		ev.Source = SourceKernel
	}
	return ev
}
