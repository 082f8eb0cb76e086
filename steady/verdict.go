package steady

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Verdict says whether a request that got no answer reached the peer. The zero
// value is the careful one.
type Verdict uint8

const (
	// Unknown: it may have been delivered and executed. Retry only what is
	// idempotent or carries an idempotency key.
	Unknown Verdict = iota
	// NotSent: no byte of it was handed to the kernel, and none will be. Any
	// method may be sent again.
	NotSent
	// NotDelivered: the next hop has not got the whole request, on the evidence
	// that ResetError.Level names. Any method may be sent again.
	NotDelivered
	// Partial: the peer's kernel acknowledged a part, up to ResetError.Offset,
	// before the rest was handed over. It may have read more than it
	// acknowledged, and only the peer knows the exact offset.
	Partial
	// Delivered: the peer's kernel acknowledged all of it; the result is unknown.
	Delivered
)

var verdictNames = [...]string{"delivery unknown", "not sent", "not delivered", "partially delivered", "delivered, result unknown"}

// String returns the verdict in words, such as "not delivered".
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// SafeToRetry reports whether a request of any method may be sent again, because
// the next hop has not got it; how sure that is, is said by ResetError.Level.
func (v Verdict) SafeToRetry() bool { return v == NotSent || v == NotDelivered }

// Who says who ended the connection, as far as this end can know.
type Who uint8

const (
	// WhoUnknown: an RST came without a sign of its sender. It may be the peer
	// or a device that speaks in its name.
	WhoUnknown Who = iota
	// WhoPeer: the peer's FIN came, so its application or kernel ended it.
	WhoPeer
	// WhoLocal: this end: a deadline, a cancelled context, Close.
	WhoLocal
	// WhoPath: nobody answered, or a router said that the peer cannot be reached.
	WhoPath
)

var whoNames = [...]string{"unknown", "peer", "this end", "the path"}

// String returns "peer", "this end", "the path" or "unknown".
func (w Who) String() string {
	if int(w) < len(whoNames) {
		return whoNames[w]
	}
	return fmt.Sprintf("who %d", uint8(w))
}

// Snapshot is what the kernel knows of a connection at one moment. The fields
// are those of struct tcp_info, include/uapi/linux/tcp.h.
type Snapshot struct {
	Taken         bool // false: TCP_INFO could not be read, the rest is zero
	Counted       bool // computed from what was written since the last reading of TCP_INFO: BytesAcked and BytesSent as if all had been sent once and acknowledged, and what was asked for at the begin
	State         uint8
	BytesAcked    uint64 // tcpi_bytes_acked: a client's SYN counts as one
	BytesReceived uint64 // tcpi_bytes_received: a FIN counts as one
	BytesSent     uint64 // tcpi_bytes_sent: counts retransmissions again
	BytesRetrans  uint64
	DataSegments  uint32 // tcpi_data_segs_out: segments with data that were sent, retransmissions included
	RTT           time.Duration
	Silent        time.Duration // tcpi_last_data_recv: since data came, in steps of the kernel's clock (1 to 10 ms)
	Unread        uint64        // SIOCINQ; taken only after a failure
}

// States of Snapshot.State, include/net/tcp_states.h.
const (
	stateEstablished = 1
	stateClose       = 7
	stateCloseWait   = 8
	stateLastAck     = 9
	stateClosing     = 11
)

// Source names what a verdict rests on.
type Source string

// Sources, from the strongest.
const (
	SourceTap    Source = "tcp_info and the RST on the wire"
	SourceKernel Source = "tcp_info"
	SourceHTTP2  Source = "HTTP/2 frames"
	SourceProbe  Source = "all but the first octet was withheld"
	SourceAnswer Source = "an answer that had begun"
	SourceCaller Source = "nothing was handed to the kernel"
	SourceNone   Source = "method rules only"
)

// Evidence is what a verdict was judged from.
type Evidence struct {
	Source  Source
	Trusted Trust         // how much was believed
	Claim   Verdict       // what would have been concluded by believing more; zero when nothing else
	Before  Snapshot      // when the request began; not taken: the connection's begin
	After   Snapshot      // after the failure
	Read    uint64        // bytes the application read since the connection's begin
	Tracked bool          // Read and Wrote are known
	Ended   bool          // the reader has met its end, so Read is final
	Wrote   uint64        // bytes of the request handed to the kernel
	Idle    time.Duration // how long nothing had come when the request began
	Whole   bool          // all the writes of the request were accepted
	FIN     bool          // the peer's FIN was received: the socket's state says so, or an EOF
	Refused bool          // an RST came after the FIN, without an acknowledgement
	RST     *RST          // from the Tap

	stale     bool // the connection refused the first write
	overtaken bool // another request had the connection already
	loose     bool // bytes may have gone past the count
	withheld  bool // all but the first octet stays here for good
	asked     bool // Before.DataSegments is known
	probed    bool // the first octet went out alone
	first     bool // the first request of the connection: no counter can have been seen to move
}

// ResetError is an error of a connection with a verdict on what was in flight.
// It wraps the error of the operation, so that errors.Is(err,
// syscall.ECONNRESET), io.EOF and context.Canceled hold as before.
type ResetError struct {
	Verdict  Verdict
	Level    Trust // what the verdict needs believed, no more than Evidence.Trusted
	Who      Who
	Acked    uint64 // bytes of the request that the peer acknowledged: at least so many reached its kernel
	Received uint64 // bytes of the answer's body that were read before, unpacked
	Evidence Evidence
	Hint     string // what to do next, for a human
	Err      error
}

// Error returns the text of the wrapped error, the verdict and its source.
func (e *ResetError) Error() string {
	var b strings.Builder
	b.WriteString(e.Err.Error())
	b.WriteString(" (")
	b.WriteString(e.Verdict.String())
	if e.Verdict == Partial {
		fmt.Fprintf(&b, " at offset %d", e.Acked)
	}
	if e.Evidence.Source == SourceAnswer {
		fmt.Fprintf(&b, ", %d bytes of the answer came", e.Received)
	}
	fmt.Fprintf(&b, "; by %s", e.Evidence.Source)
	switch {
	case e.Level != TrustKernel:
		fmt.Fprintf(&b, ", on %s", e.Level)
	case e.Evidence.Claim != Unknown:
		fmt.Fprintf(&b, "; %s on %s", e.Evidence.Claim, TrustPeer)
	}
	b.WriteByte(')')
	return b.String()
}

// Unwrap returns the error of the operation.
func (e *ResetError) Unwrap() error { return e.Err }

// Timeout reports whether the wrapped error is a timeout.
func (e *ResetError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Offset is the number of bytes of the request that are known to have reached
// the peer's kernel; meaningful when the verdict is Partial or Delivered. It
// counts bytes on the wire: with HTTP the header, with TLS the records.
func (e *ResetError) Offset() uint64 { return e.Acked }

// VerdictOf returns the verdict of the first ResetError or RejectedError in err's
// chain, or Unknown.
func VerdictOf(err error) Verdict {
	if r, ok := errors.AsType[*ResetError](err); ok {
		return r.Verdict
	}
	if r, ok := errors.AsType[*RejectedError](err); ok {
		return r.Verdict()
	}
	return Unknown
}
