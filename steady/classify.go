package steady

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// causeOf names the kind of a failure. connected says that the request had a
// connection.
func causeOf(err error, connected bool, ev Evidence) Cause {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return CauseLocal
	case errors.Is(err, errStale), ev.Refused:
		return CauseIdleClose
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return CauseUnreachable
	case errors.Is(err, syscall.ETIMEDOUT), isTimeout(err):
		return CauseTimeout
	case isCertificate(err):
		return CauseOther
	case !connected && isBroken(err):
		return CauseHandshake
	case isBroken(err), ev.Ended, ev.FIN:
		return CauseReset
	}
	return CauseOther
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// isCertificate reports a failed verification, which no other attempt mends.
func isCertificate(err error) bool {
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return verify || host || alert
}

// serverClosedIdle is the text of net/http's errServerClosedIdle, which is not
// exported (transport.go, Go 1.26).
const serverClosedIdle = "http: server closed idle connection"

// isBroken reports whether err says that a connection ended.
func isBroken(err error) bool {
	if isReset(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	if err.Error() == serverClosedIdle {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// streamError has the shape of HTTP/2's stream error, which net/http fills by
// errors.As although its own type is not exported (net/http/h2_error.go).
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "" }

const http2RefusedStream = 7 // RFC 9113 7

// http2Texts are texts of net/http's HTTP/2 errors (h2_bundle.go, Go 1.26). NotSent:
// this end had no usable connection, and wrote nothing of the request. NotDelivered:
// the peer says that it did not process it, because its stream is above the last one
// of a GOAWAY (RFC 9113 6.8). Matched from the start of the text, because a server
// chooses part of other texts. If a later Go writes them otherwise the verdict
// becomes Unknown.
var http2Texts = []struct {
	text string
	says Verdict
}{
	{"http2: Transport received Server's graceful shutdown GOAWAY", NotDelivered},
	{"http2: Transport: cannot retry err [http2: Transport received Server's graceful shutdown GOAWAY]", NotDelivered},
	{"http2: client conn not usable", NotSent},
	{"http2: client conn could not be established", NotSent},
}

// http2Verdict returns what an error of an HTTP/2 stream says of it; Unknown when
// nothing.
func http2Verdict(err error) (Cause, Verdict) {
	var se streamError
	if errors.As(err, &se) {
		return CauseGoAway, refusal(se.Code == http2RefusedStream)
	}
	text := err.Error()
	for _, p := range http2Texts {
		if strings.HasPrefix(text, p.text) {
			return CauseGoAway, p.says
		}
	}
	const refused = "http2: Transport: cannot retry err [stream error: stream ID "
	if rest, ok := strings.CutPrefix(text, refused); ok {
		_, rest, _ = strings.Cut(rest, "; ")
		return CauseGoAway, refusal(strings.HasPrefix(rest, "REFUSED_STREAM"))
	}
	return "", Unknown
}

func refusal(refused bool) Verdict {
	if refused {
		return NotDelivered
	}
	return Unknown
}

// isIdempotent reports whether the method may be executed twice, RFC 9110 9.2.2.
func isIdempotent(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// innerReplays reports whether net/http replays the method by itself.
func innerReplays(method string) bool {
	return isIdempotent(method) && method != http.MethodPut && method != http.MethodDelete
}
