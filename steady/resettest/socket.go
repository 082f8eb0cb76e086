package resettest

import (
	"errors"
	"io"
	"net"
	"time"
)

// settle is how long the server waits for the peer's kernel or program before it
// goes on with a fault, at most.
const settle = 2 * time.Second

// abort closes a connection so that its kernel sends a RST.
func abort(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// finish closes in good order: FIN, read what still comes, close. It reads at most
// limit octets and waits at most settle, so that no peer can hold it.
func finish(c *net.TCPConn, limit int64) error {
	if err := c.CloseWrite(); err != nil {
		return c.Close()
	}
	discard(c, limit)
	return c.Close()
}

// discard reads what comes until the end, limit or settle.
func discard(c net.Conn, limit int64) {
	if c.SetReadDeadline(time.Now().Add(settle)) == nil {
		_, _ = io.CopyN(io.Discard, c, limit) // the peer's end is what we wait for
	}
}

// wire is a connection that can stop reading at an exact octet, so that what is
// behind it stays in the kernel, unread.
type wire struct {
	*net.TCPConn
	inHead  bool  // reading the head of a request: take nothing behind it
	matched int   // octets of the empty line that ends it, so far
	left    int64 // octets that may be read behind it
	peek    []byte
}

// noLimit lets a wire read on.
const noLimit = int64(1) << 62

func (w *wire) Read(p []byte) (int, error) {
	if w.inHead {
		return w.readHead(p)
	}
	if w.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := w.TCPConn.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	return n, err
}

// WriteTo and ReadFrom of the embedded connection would go around Read.
func (w *wire) WriteTo(dst io.Writer) (int64, error) {
	return io.Copy(dst, struct{ io.Reader }{w})
}

// readHead reads as far as the empty line and not further.
func (w *wire) readHead(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if w.peek == nil {
		w.peek = make([]byte, 4096)
	}
	n, err := peekAt(w.TCPConn, w.peek[:min(len(p), len(w.peek))])
	if errors.Is(err, errors.ErrUnsupported) { // octet by octet stops exactly, too
		n, err = io.ReadFull(w.TCPConn, p[:1])
		if err == nil {
			w.matched = step(w.matched, p[0])
			w.endHead()
		}
		return n, err
	}
	if err != nil {
		return 0, err
	}
	for i, b := range w.peek[:n] {
		w.matched = step(w.matched, b)
		if w.endHead() {
			n = i + 1
			break
		}
	}
	return io.ReadFull(w.TCPConn, p[:n])
}

// endHead ends the head when its empty line was seen.
func (w *wire) endHead() bool {
	if w.matched < len(emptyLine) {
		return false
	}
	w.inHead, w.matched = false, 0
	return true
}

const emptyLine = "\r\n\r\n"

// step advances the search for the empty line by one octet.
func step(matched int, b byte) int {
	switch b {
	case emptyLine[matched]:
		return matched + 1
	case '\r':
		return 1
	}
	return 0
}
