package resettest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Classify puts what a client got into one word, the one that Truth.Sees uses:
//
//	answer          no error
//	refused         ECONNREFUSED
//	reset           ECONNRESET
//	epipe           EPIPE, or a connection that this end had closed
//	eof             the end of the stream before the answer began
//	unexpected-eof  the end of the stream inside something
//	timeout         nothing came in time
//	tls-alert       an alert of TLS
//	goaway          a GOAWAY frame of HTTP/2
//	stream-reset    a RST_STREAM frame of HTTP/2
//	other           anything else
//
// An answer with another status is http- and the number, and an answer that came
// only because the client repeated the request by itself is retried; the caller
// knows these, the error does not.
func Classify(err error) string {
	var alert tls.AlertError
	var timeout net.Error
	switch {
	case err == nil:
		return "answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "epipe"
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls:"):
		return "tls-alert"
	}
	// net/http does not export these errors of HTTP/2.
	switch text := err.Error(); {
	case strings.Contains(text, "GOAWAY"):
		return "goaway"
	case strings.Contains(text, "stream error:"), strings.Contains(text, "RST_STREAM"):
		return "stream-reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "unexpected-eof"
	case errors.Is(err, io.EOF), strings.Contains(text, "server closed idle connection"):
		return "eof"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "other"
}
