package steady

import (
	"io"
	"net"
	"testing"
	"time"
)

// eventually polls until ok, for at most ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// pair returns both ends of a TCP connection on loopback, the first tracked.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return Track(c), s.(*net.TCPConn)
}

// exchange sends a request and an answer, as on a connection that was used.
func exchange(t *testing.T, c, s net.Conn) {
	t.Helper()
	buf := make([]byte, 4)
	for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
		if _, err := way[0].Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], buf); err != nil {
			t.Fatal(err)
		}
	}
}

// begin marks a request and lets its snapshot be taken, with nothing sent, so
// that a test can put the peer's act between the snapshot and the first byte.
func begin(t *testing.T, c *Conn) {
	t.Helper()
	c.Mark()
	if _, err := c.Write(nil); err != nil {
		t.Fatal(err)
	}
}

func abort(s *net.TCPConn) { s.SetLinger(0); s.Close() }

// readError reads until the error.
func readError(t *testing.T, c net.Conn) error {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c})
	if err == nil {
		return io.EOF
	}
	return err
}
