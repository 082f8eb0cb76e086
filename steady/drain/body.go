package drain

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// BodyFirst returns a handler that reads the body of a request to its end before
// an early answer goes out: an answer of 300 or more, or the end of a handler that
// did not read everything. A server that answers and closes with unread data sends
// a reset, and the reset destroys the answer: the client sees ECONNRESET instead
// of 413, 401 or 503. net/http itself reads 256 KiB and then gives up.
//
// It reads at most limit octets and for at most wait; 0 means 16 MiB and 5 s. What is
// longer is answered with Connection: close, and Drain lingers on it.
// A body that the client holds back (Expect: 100-continue) is not asked for. HTTP/2
// needs none of this and is left alone.
func BodyFirst(next http.Handler, limit int64, wait time.Duration) http.Handler {
	if limit <= 0 {
		limit = 16 << 20
	}
	wait = orDuration(wait, 5*time.Second)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		b := &bodyFirst{ResponseWriter: w, limit: limit, wait: wait, held: r.Header.Get("Expect") != ""}
		b.body = &seenBody{ReadCloser: r.Body}
		inner := r.WithContext(r.Context()) // a copy: the server keeps its own body
		inner.Body = b.body
		next.ServeHTTP(b, inner)
		if !b.hijacked {
			b.drain()
		}
	})
}

// seenBody notes whether the body was read to its end.
type seenBody struct {
	io.ReadCloser
	begun, ended bool
}

func (s *seenBody) Read(p []byte) (int, error) {
	s.begun = true
	n, err := s.ReadCloser.Read(p)
	s.ended = s.ended || err != nil
	return n, err
}

// Close leaves the rest to drain: the server closes the body itself.
func (s *seenBody) Close() error { return nil }

type bodyFirst struct {
	http.ResponseWriter
	body     *seenBody
	limit    int64
	wait     time.Duration
	held     bool // the client waits for 100 Continue
	wrote    bool
	hijacked bool
	drained  bool
}

// drain reads the rest of the body.
func (b *bodyFirst) drain() {
	if b.drained || b.body.ended || b.held && !b.body.begun {
		return
	}
	b.drained = true
	rc := http.NewResponseController(b.ResponseWriter)
	err := rc.SetReadDeadline(time.Now().Add(b.wait))
	if err == nil {
		_, err = io.CopyN(io.Discard, b.body, b.limit)
	}
	if errors.Is(err, io.EOF) {
		_ = rc.SetReadDeadline(time.Time{}) // back to what it was; the connection lives on
		return
	}
	if !b.wrote {
		b.Header().Set("Connection", "close")
	}
}

// Unwrap is for http.ResponseController.
func (b *bodyFirst) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// Hijack implements http.Hijacker. The body is in other hands then.
func (b *bodyFirst) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	b.hijacked = true
	return http.NewResponseController(b.ResponseWriter).Hijack()
}

// WriteHeader implements http.ResponseWriter.
func (b *bodyFirst) WriteHeader(status int) {
	if status >= 300 && !b.wrote {
		b.drain()
	}
	b.wrote = b.wrote || status >= 200
	b.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (b *bodyFirst) Write(p []byte) (int, error) {
	b.wrote = true
	return b.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, so that files go out by sendfile.
func (b *bodyFirst) ReadFrom(r io.Reader) (int64, error) {
	b.wrote = true
	if rf, ok := b.ResponseWriter.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{b.ResponseWriter}, r)
}

// Flush implements http.Flusher.
func (b *bodyFirst) Flush() { _ = http.NewResponseController(b.ResponseWriter).Flush() } // Flusher has no error
