package steady

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a TCP connection that counts what is read and remembers what the
// kernel knew when a request began, so that Explain can judge a failure. It
// keeps the fast paths of *net.TCPConn (splice, sendfile). Under TLS it belongs
// below the tls.Conn: tls.Client(steady.Track(c), config).
type Conn struct {
	net.Conn
	up   *upstream       // what was learned of the other end; nil when alone
	raw  syscall.RawConn // nil: TCP_INFO is of no use here
	born int64
	_    [8]byte // to the end of a cache line, behind the allocator's own word: what follows changes with each request, on three goroutines

	mu sync.Mutex
	// mu guards this line and the next, but for what is atomic.
	number   uint64 // of the flight, from 1
	written  uint64 // bytes that the kernel took, of all flights
	at       int64  // when the last request began
	nread    atomic.Uint64
	lastRead atomic.Int64 // when, on the clock of now
	owed     int          // earlier flights whose http.Transport has not handed out the answer yet
	ended    bool         // the reader met EOF or a reset
	farewell bool         // the last that was read looks like TLS's
	parks    bool         // a failed write waits for the reader
	isClosed bool
	pending  bool        // Close was called during a request; settle closes
	goner    bool        // settle is done with a connection that failed, or the peer said Connection: close
	watching atomic.Bool // watched is not 0, or was
	flight   flight

	// mu guards this, too, but it changes once only
	hasProto bool
	proto    string // negotiated by TLS
	readErr  error
	last     Snapshot
	watched  int64 // when not 0, it is closed for its user, and stays open to see when the server ends it: the last read before
	watchdog *time.Timer

	base      Snapshot // when the tracking began
	readEnded chan struct{}
	closed    chan struct{}
	changed   sync.Cond // broadcast when owed falls and when a write is over; its L is mu

	infoMu sync.Mutex
	// infoMu guards what ctl uses.
	ctl  func(fd uintptr)
	info kernelInfo
	into Snapshot
	inq  bool
}

// flight is the request that a Conn carries.
type flight struct {
	armed    bool // the next write begins the request
	begun    bool
	live     bool // armed or begun, and not finished
	http     bool // an http.Transport owns the connection: Close waits for settle
	reused   bool
	tapped   bool // a Tap will want to know of retransmissions
	careful  bool // it may not be executed twice
	refused  bool // the first write was refused: the connection is stale
	left     bool // refused although the connection lives, because of its silence
	veto     bool // net/http must not send the request again
	fenced   bool // nothing may be written any more
	writeErr bool
	writing  int32
	idle     time.Duration // between the last read and the begin
	wrote    uint64
	heard    uint64 // wrote when the peer was last heard; later comes only a farewell, such as TLS's close_notify
	start    uint64 // written at the begin
	retrans  uint64 // bytes that the kernel had sent again by then, if it was asked
}

// errStale is what the first write of a request returns when the connection is
// known to be closed, or about to be.
var errStale = errors.New("steady: connection is stale, nothing was sent")

// errOvertaken replaces the error of a request whose answer was read, and lost
// because the connection ended under the next request.
var errOvertaken = fmt.Errorf("steady: the connection ended before its answer was handed out: %w", io.ErrUnexpectedEOF)

var epoch = time.Now()

// now is the monotonic clock.
func now() int64 { return int64(time.Since(epoch)) }

// Track wraps c, best before it carries data. A c that is not a *net.TCPConn, or
// speaks Multipath TCP, is only counted: TCP_INFO would describe one subflow.
func Track(c net.Conn) *Conn { return track(c, nil) }

func track(c net.Conn, up *upstream) *Conn {
	t := &Conn{Conn: c, up: up, readEnded: make(chan struct{}), closed: make(chan struct{}), born: now()}
	t.changed.L = &t.mu
	t.lastRead.Store(t.born)
	t.ctl = func(fd uintptr) {
		t.info.read(fd, &t.into)
		if t.inq && t.into.Taken {
			t.into.Unread, t.into.Taken = unread(fd)
		}
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				if isPlainTCP(fd) {
					t.raw = raw
					t.begin(fd)
				}
			})
		}
	}
	return t
}

// begin notes where the count begins. A byte that was read before must not pass
// for a FIN, which counts as one: what came and is not in the queue was read.
func (c *Conn) begin(fd uintptr) {
	var again Snapshot
	c.info.read(fd, &again)
	queued, ok := unread(fd)
	c.info.read(fd, &c.base)
	if s := c.base; !ok || s.State != stateEstablished || s.BytesReceived != again.BytesReceived || queued > s.BytesReceived {
		c.base = Snapshot{} // it ends already, or more came meanwhile: no proof will be had here
		return
	}
	c.nread.Store(c.base.BytesReceived - queued)
}

// NetConn returns the wrapped connection. What is read from or written to it
// directly is not counted: of a request written so nothing is known.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Mark says that a request begins: its first write takes the snapshot that
// Explain compares with. Do not mark while another request is unanswered.
func (c *Conn) Mark() { c.arm(flight{armed: true, live: true}) }

// arm returns the number of the flight. http.Transport pools a connection as soon
// as the answer is read and before it hands the answer out, so that the next
// request may be here while the caller of the last one still waits. Each must
// then be judged by its own number.
func (c *Conn) arm(f flight) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight.http && c.flight.live {
		c.owed++
	}
	c.flight = f
	c.parks = f.http
	c.number++
	return c.number
}

// lockedOvertaken reports whether another request has the connection by now, and
// notes that flight number is over.
func (c *Conn) lockedOvertaken(number uint64) bool {
	if c.number == number {
		return false
	}
	c.owed = max(0, c.owed-1)
	c.changed.Broadcast()
	return true
}

// lockedAwaitAnswered waits until the answer of an earlier request was handed
// out. A refused write makes http.Transport close the connection at once, and it
// would give that request the error instead of its answer.
func (c *Conn) lockedAwaitAnswered() {
	c.lockedWait(readerPatience, func() bool { return c.owed == 0 })
}

// lockedWait waits until over holds, and no longer than d.
func (c *Conn) lockedWait(d time.Duration, over func() bool) {
	if over() {
		return
	}
	expired := false
	t := time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		expired = true
		c.changed.Broadcast()
	})
	defer t.Stop()
	for !over() && !expired {
		c.changed.Wait()
	}
}

// counted is what the kernel would say when written bytes had been written, all
// of them sent once and acknowledged. It costs no system call, and it is as good a
// begin of a request as one: the request's first byte has the number
// base.BytesAcked+written at the least, because the kernel took no less than was
// counted, so as long as BytesAcked is not above that, nothing of the request was
// acknowledged. What escapes the count, such as a write to NetConn, only makes
// the rules stricter.
func (c *Conn) counted(written, retrans uint64) Snapshot {
	b := c.base
	if !b.Taken {
		return Snapshot{}
	}
	return Snapshot{
		Taken: true, Counted: true, BytesRetrans: retrans,
		BytesAcked: b.BytesAcked + written,
		BytesSent:  b.BytesSent - min(b.BytesSent, b.BytesRetrans) + written,
	}
}

// count returns how much was written, for HTTP/2, where a stream begins.
func (c *Conn) count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// lockedBefore is what was known when the flight began.
func (c *Conn) lockedBefore() Snapshot {
	if !c.flight.begun {
		return Snapshot{}
	}
	return c.counted(c.flight.start, c.flight.retrans)
}

// snapshot asks the kernel. It does not block.
func (c *Conn) snapshot(inq bool) Snapshot {
	if c.raw == nil {
		return Snapshot{}
	}
	c.infoMu.Lock()
	defer c.infoMu.Unlock()
	c.inq = inq
	if c.raw.Control(c.ctl) != nil {
		return Snapshot{}
	}
	return c.into
}

// Read reads from the connection and counts.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	silent := isAlert(p[:n]) // a farewell does not end the silence that idle timeouts are learned from
	c.didRead(int64(n), silent, err)
	if c.watching.Load() && (n > 0 || err != nil) {
		c.endWatch(n, err)
	}
	return n, err
}

// WriteTo keeps the splice of *net.TCPConn.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, c.Conn)
	c.didRead(n, false, nil)
	if err == nil { // io.Copy hides the io.EOF
		c.didRead(0, false, io.EOF)
	}
	return n, err // the error may be w's
}

func (c *Conn) didRead(n int64, silent bool, err error) {
	if n > 0 {
		c.nread.Add(uint64(n))
		if !silent {
			c.lastRead.Store(now())
		}
		c.mu.Lock()
		c.farewell = silent
		c.flight.heard = c.flight.wrote
		c.mu.Unlock()
	}
	if err != nil && isFinal(err) {
		c.endRead(err)
	}
}

// readError is what ended the reading, or io.EOF.
func (c *Conn) readError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readErr == nil {
		return io.EOF
	}
	return c.readErr
}

// negotiated returns the protocol that sec, above c, has agreed on.
func (c *Conn) negotiated(sec *tls.Conn) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasProto {
		c.proto, c.hasProto = sec.ConnectionState().NegotiatedProtocol, true
	}
	return c.proto
}

// isFinal reports whether the connection will never give another byte after err.
func isFinal(err error) bool {
	return !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}

func (c *Conn) endRead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.readErr = true, err
	close(c.readEnded)
	c.last = c.snapshot(true)
	if c.up != nil && !c.flight.live && !c.goner {
		c.up.sawIdleClose(time.Duration(now() - c.lastRead.Load()))
	}
}

// Write writes to the connection. The first write of a marked request is
// refused, with nothing sent, when the peer has already closed.
func (c *Conn) Write(p []byte) (int, error) {
	late, err := c.beginWrite()
	if err != nil {
		if errors.Is(err, errInnerReplay) {
			return min(1, len(p)), err // or net/http takes another connection
		}
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.endWrite(int64(n), err, late || isAlert(p))
	return n, err
}

// ReadFrom keeps the sendfile and splice of *net.TCPConn.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	late, err := c.beginWrite()
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(c.Conn, r)
	c.endWrite(n, err, late)
	return n, err
}

// beginWrite reports late when the reader has met its end: what is written then,
// such as the alert with which tls.Conn closes, is not counted.
func (c *Conn) beginWrite() (late bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flight
	switch {
	case f.fenced:
		return false, net.ErrClosed
	case f.veto:
		return false, errInnerReplay
	}
	if f.armed {
		f.armed = false
		c.lockedBegin()
	}
	if f.refused {
		c.lockedAwaitAnswered()
		return false, errStale
	}
	f.writing++
	return c.ended, nil
}

// liveAfter is the silence after which the kernel is asked whether a pooled
// connection lives. No idle timer is shorter, and a connection that is used
// again sooner meets the end of it, if at all, on the way.
const liveAfter = time.Millisecond

// lockedBegin begins a request with its first write. It refuses the connection
// when it is known to be closed, or about to be.
func (c *Conn) lockedBegin() {
	f := &c.flight
	at := now()
	since := time.Duration(at - c.at) // the silence is not longer than this
	c.at = at
	f.begun, f.start = true, c.written
	f.idle = time.Duration(at - c.lastRead.Load())
	if f.refused = c.ended; f.refused {
		return
	}
	var limit time.Duration
	pooled := f.reused && c.up != nil
	if pooled {
		limit = c.up.idleLimit(c.base.RTT, at)
	}
	silence := f.idle
	if !f.reused || f.idle >= liveAfter || f.tapped || limit > 0 && since >= limit {
		if s := c.snapshot(false); s.Taken {
			f.retrans = s.BytesRetrans
			f.refused = s.State != stateEstablished
			silence = max(silence, s.Silent) // longer when the reader was late
		}
	}
	if !pooled || f.refused {
		return
	}
	f.left = limit > 0 && silence >= limit || limit == 0 && f.careful && c.up.untried(silence, at)
	f.refused = f.left
	if f.idle >= liveAfter {
		c.up.lived(f.idle)
	}
}

func (c *Conn) endWrite(n int64, err error, late bool) {
	c.mu.Lock()
	c.written += uint64(n)
	f := &c.flight
	if f.writing--; f.writing == 0 {
		c.changed.Broadcast()
	}
	if !late || f.wrote == 0 {
		f.wrote += uint64(n)
	}
	f.writeErr = f.writeErr || err != nil && !(late && f.wrote > 0)
	park := err != nil && c.parks && !late && isReset(err)
	c.mu.Unlock()
	if park {
		c.awaitReader()
	}
}

// isAlert reports whether p looks like a TLS alert, with which tls.Conn says
// goodbye: nobody reads after it. TLS 1.3 hides its type in a record of 24 bytes.
func isAlert(p []byte) bool {
	const alert, application = 21, 23
	return len(p) > 0 && len(p) <= 64 && (p[0] == alert || p[0] == application && len(p) == 24)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// readerPatience is how long a failed write waits for a reader that gets
// nothing.
const readerPatience = time.Second

// awaitReader holds a failed write back until the reader has met its end. A
// server that answers early and resets leaves its answer in the receive queue,
// and http.Transport closes the connection at the first write error.
func (c *Conn) awaitReader() {
	t := time.NewTimer(readerPatience)
	defer t.Stop()
	start := c.nread.Load()
	for {
		select {
		case <-c.readEnded:
			return
		case <-c.closed:
			return
		case <-t.C:
			if c.nread.Load() == start && c.snapshot(true).Unread == 0 {
				return
			}
			t.Reset(readerPatience)
		}
	}
}

// CloseWrite shuts the sending half down.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection and keeps what the kernel knew.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	c.isClosed = true
	close(c.closed)
	if c.flight.left && c.lockedWatch() {
		return nil
	}
	if !c.ended || c.last.State != stateClose {
		if s := c.snapshot(true); s.Taken {
			c.last = s
		}
	}
	c.flight.fenced = true
	if c.up != nil && c.farewell && !c.ended && !c.flight.live && !c.goner {
		c.up.sawIdleClose(time.Duration(now() - c.lastRead.Load())) // under TLS the FIN is not read
	}
	if c.flight.http && c.flight.live {
		c.pending = true
		return c.Conn.SetDeadline(time.Unix(1, 0))
	}
	return c.Conn.Close()
}

// lockedWatch leaves the connection open for its reader, who thereby learns when
// the server ends it. Nothing will be written to it any more.
func (c *Conn) lockedWatch() bool {
	if c.ended {
		return false
	}
	patience, ok := c.up.watch(c)
	if !ok {
		return false
	}
	c.flight.fenced = true
	c.watched = max(1, c.lastRead.Load())
	c.watching.Store(true)
	c.watchdog = time.AfterFunc(patience, func() { c.endWatch(0, os.ErrDeadlineExceeded) })
	return true
}

// endWatch closes a watched connection when its reader has something, and learns.
func (c *Conn) endWatch(n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched == 0 {
		return
	}
	c.watchdog.Stop()
	silence := time.Duration(now() - c.watched)
	c.watched = 0
	c.up.unwatch(c)
	switch {
	case n > 0, errors.Is(err, io.EOF): // a farewell, such as an alert of TLS or a status 408, or a FIN
		c.up.sawIdleClose(silence)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.up.outlived(silence)
	case !errors.Is(err, net.ErrClosed):
		c.up.sawPathLoss(silence)
	}
	c.Conn.Close()
}

// finish ends a request that was answered.
func (c *Conn) finish(number uint64, closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goner = c.goner || closing
	if c.lockedOvertaken(number) {
		return
	}
	c.flight.live, c.flight.http = false, false
	if c.pending {
		c.pending = false
		c.Conn.Close()
	}
}

// confirmation bounds how long settle waits for the RST that answers a request
// sent after the peer's FIN.
const (
	confirmFloor = 30 * time.Millisecond
	confirmCap   = 500 * time.Millisecond
)
