package steady

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestRows plays the cases of an HTTP/1 request that got no answer. Each row
// holds whatever the server did or did not execute, which is the ground truth.
func TestRows(t *testing.T) {
	request := make([]byte, 500)
	rows := []struct { // want: by the kernel alone
		name     string
		play     func(t *testing.T, c *Conn, s *net.TCPConn) error
		executed bool
		want     []Verdict
		who      Who
		is       error
	}{
		{"A: the peer closed before the request came", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			s.Close()
			eventually(t, "FIN", func() bool { return c.snapshot(false).State == stateCloseWait })
			c.Write(request)
			return readError(t, c)
		}, false, []Verdict{Unknown}, WhoPeer, nil},
		{"A on a fresh connection", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			begin(t, c)
			s.Close()
			eventually(t, "FIN", func() bool { return c.snapshot(false).State == stateCloseWait })
			c.Write(request)
			return readError(t, c)
		}, false, []Verdict{Unknown}, WhoPeer, nil},
		{"A with the reader first: EOF, then the request is refused", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			s.Close()
			err := readError(t, c)
			c.Write(request)
			return err
		}, false, []Verdict{Unknown}, WhoPeer, io.EOF},
		{"A checked before the first byte", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			s.Close()
			eventually(t, "FIN", func() bool { return c.snapshot(false).State == stateCloseWait })
			c.Mark()
			_, err := c.Write(request)
			return err
		}, false, []Verdict{NotSent}, WhoPeer, errStale},
		{"B: read, committed, aborted, ACK delayed", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			for range 3 {
				exchange(t, c, s)
			}
			begin(t, c)
			c.Write(request)
			io.ReadFull(s, make([]byte, 500))
			abort(s)
			return readError(t, c)
		}, true, []Verdict{Unknown, Delivered}, WhoUnknown, syscall.ECONNRESET},
		{"C: closed with the request unread", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			c.Write(request)
			eventually(t, "request in the queue", func() bool { n, _ := inq(s); return n == 500 })
			s.Close()
			return readError(t, c)
		}, false, []Verdict{Unknown, Delivered}, WhoUnknown, syscall.ECONNRESET},
		{"D: reset before the write", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			abort(s)
			eventually(t, "RST", func() bool { return c.snapshot(false).State == stateClose })
			_, err := c.Write(request)
			return err
		}, false, []Verdict{NotSent}, WhoUnknown, syscall.ECONNRESET},
		{"E: reset in the middle of an upload", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			begin(t, c)
			done := make(chan error, 1)
			go func() { _, err := c.Write(make([]byte, 64<<20)); done <- err }()
			io.CopyN(io.Discard, s, 1<<20)
			abort(s)
			return <-done
		}, false, []Verdict{Partial}, WhoUnknown, syscall.ECONNRESET},
		{"F: committed, closed cleanly, no answer", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			c.Write(request)
			io.ReadFull(s, make([]byte, 500))
			s.Close()
			return readError(t, c)
		}, true, []Verdict{Delivered}, WhoPeer, io.EOF},
		{"half close: the peer sent FIN and goes on reading", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			s.CloseWrite()
			err := readError(t, c)
			c.Write(request)
			io.ReadFull(s, make([]byte, 500))
			return err
		}, true, []Verdict{Unknown, Delivered}, WhoPeer, io.EOF},
		{"this end gives up waiting", func(t *testing.T, c *Conn, s *net.TCPConn) error {
			exchange(t, c, s)
			begin(t, c)
			c.Write(request)
			io.ReadFull(s, make([]byte, 500))
			c.SetReadDeadline(time.Unix(1, 0))
			_, err := c.Read(make([]byte, 1))
			return err
		}, true, []Verdict{Unknown, Delivered}, WhoLocal, nil},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				c, s := pair(t)
				err := r.play(t, c, s)
				re, ok := errors.AsType[*ResetError](Explain(c, err))
				if !ok {
					t.Fatalf("Explain(%v) gave no ResetError", err)
				}
				checkRow(t, re, err, r.executed, r.want, r.who, r.is)
			}
		})
	}
}

func checkRow(t *testing.T, re *ResetError, err error, executed bool, want []Verdict, who Who, is error) {
	t.Helper()
	if executed && re.Verdict.SafeToRetry() {
		t.Fatalf("verdict %q on a request that was executed: %+v", re.Verdict, re.Evidence)
	}
	found := false
	for _, v := range want {
		found = found || v == re.Verdict
	}
	if !found {
		t.Fatalf("verdict %q of %v, want one of %q: %+v", re.Verdict, err, want, re.Evidence)
	}
	if re.Who != who && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("who = %q, want %q (error %v)", re.Who, who, err)
	}
	if is != nil && !errors.Is(re, is) {
		t.Errorf("errors.Is(%v, %v) is false", re, is)
	}
	if !errors.Is(re, err) || re.Hint == "" || re.Error() == "" {
		t.Errorf("ResetError %#v does not wrap %v with a hint", re, err)
	}
}

// inq is the receive queue of a socket.
func inq(s *net.TCPConn) (n uint64, ok bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, false
	}
	raw.Control(func(fd uintptr) { n, ok = unread(fd) })
	return n, ok
}

// TestFINIsOneOctet holds the kernel to what the FIN-first rule stands on.
func TestFINIsOneOctet(t *testing.T) {
	c, s := pair(t)
	exchange(t, c, s)
	before := c.snapshot(true)
	s.Close()
	eventually(t, "FIN", func() bool { return c.snapshot(true).State == stateCloseWait })
	after := c.snapshot(true)
	if after.BytesReceived != before.BytesReceived+1 || after.Unread != 0 {
		t.Fatalf("received %d before the FIN and %d after it (%d unread)", before.BytesReceived, after.BytesReceived, after.Unread)
	}
	for range 3 { // reading the end again does not count it again
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
	}
	if again := c.snapshot(true); again.BytesReceived != after.BytesReceived {
		t.Fatalf("received %d after reading the end", again.BytesReceived)
	}
}

func TestExplainOthers(t *testing.T) {
	c, s := pair(t)
	raw := c.NetConn()
	if _, err := raw.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(s, make([]byte, 5))
	abort(s)
	err := readError(t, raw)
	for name, conn := range map[string]net.Conn{"tcp": raw, "tls": tls.Client(raw, &tls.Config{InsecureSkipVerify: true})} {
		got := Explain(conn, err)
		if v := VerdictOf(got); v.SafeToRetry() || !errors.Is(got, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, got)
		}
		if re, _ := errors.AsType[*ResetError](got); re.Evidence.Source != SourceKernel {
			t.Errorf("%s: source %q", name, re.Evidence.Source)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	b.Close()
	re, _ := errors.AsType[*ResetError](Explain(a, io.ErrClosedPipe))
	if re.Verdict != Unknown || re.Evidence.Source != SourceNone {
		t.Errorf("pipe: %v", re)
	}
	if Explain(raw, nil) != nil || Explain(nil, io.EOF) == nil {
		t.Error("Explain(nil error) is not nil, or Explain(nil conn) is")
	}
}

// TestReadBeforeReset: bytes that came before the reset are read before it.
func TestReadBeforeReset(t *testing.T) {
	c, s := pair(t)
	c.arm(flight{http: true}, actArm)
	wrote := make(chan error, 1)
	go func() { _, err := c.Write(make([]byte, 64<<20)); wrote <- err }()
	io.CopyN(io.Discard, s, 1<<16)
	s.Write(make([]byte, 1000))
	abort(s)
	eventually(t, "RST", func() bool { return c.snapshot(false).State == stateClose })
	n, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c})
	if n != 1000 {
		t.Errorf("read %d of the early answer (%v)", n, err)
	}
	if err := <-wrote; !isReset(err) {
		t.Error(err)
	}
}

// TestOvertaken: http.Transport pools a connection before it hands the answer out.
// A request that fails when the next one has the connection must not be judged by
// that one, which may have sent nothing yet.
func TestOvertaken(t *testing.T) {
	c, s := pair(t)
	first := c.arm(flight{http: true}, actArm)
	if _, err := c.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(s, make([]byte, 100)) // executed
	s.Write(make([]byte, 10))
	io.ReadFull(c, make([]byte, 10)) // answered, and pooled
	second := c.arm(flight{http: true, reused: true}, actArm)
	s.Close()
	eventually(t, "FIN", func() bool { return c.snapshot(false).State == stateCloseWait })
	c.lastRead.Add(-int64(liveAfter)) // it was silent for long enough to be looked at
	refused := make(chan error, 1)
	go func() { _, err := c.Write(make([]byte, 100)); refused <- err }()
	eventually(t, "the refusal", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.flight.refused })
	select {
	case err := <-refused:
		t.Errorf("refused before the first answer was handed out, which closes the connection: %v", err)
	default:
	}
	ev := c.settle(t.Context(), first, errStale, TrustKernel)
	if v := judge(ev, errStale).verdict; v != Unknown || ev.stale {
		t.Errorf("the first request is judged by the second: %v, %+v", v, ev)
	}
	if err := <-refused; !errors.Is(err, errStale) {
		t.Error(err)
	}
	ev = c.settle(t.Context(), second, errStale, TrustKernel)
	if v := judge(ev, errStale).verdict; v != NotSent || !ev.stale {
		t.Errorf("the second request: %v, %+v", v, ev)
	}
}
