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

// Conn is a TCP connection that counts what is read and written and knows where
// the request on it stands, so that Explain can judge a failure. It keeps the fast
// paths of *net.TCPConn (splice, sendfile). Under TLS it belongs below the
// tls.Conn: tls.Client(steady.Track(c), config).
type Conn struct {
	net.Conn
	up   *upstream       // what was learned of the other end; nil when alone
	raw  syscall.RawConn // nil: TCP_INFO is of no use here
	born int64
	_    [8]byte // to the end of a cache line, behind the allocator's own word: what follows changes with each request, on three goroutines

	mu sync.Mutex
	// mu guards this line and the next, but for what is atomic.
	number     uint64 // of the flight, from 1
	written    uint64 // bytes that the kernel took, of all flights
	at         int64  // when the last request began
	nread      atomic.Uint64
	lastRead   atomic.Int64 // when, on the clock of now
	unanswered int          // earlier flights whose http.Transport has not handed out the answer yet
	phase      phase
	ended      bool        // the reader met EOF or a reset
	alerted    bool        // the last that was read looks like a TLS alert
	holdWrites bool        // a failed write waits for the reader
	doomed     bool        // settle is done with a connection that failed, or the peer said Connection: close
	watching   atomic.Bool // watched is not 0, or was
	flight     flight

	// mu guards this, too, but it changes seldom
	answered uint64      // written when the peer was last heard
	clean    bool        // nothing had been written when the tracking began
	escaped  bool        // NetConn was called: what is written need not be counted
	lent     bool        // a trace has the wrapped connection
	fin      bool        // the peer's FIN was received, by the state of the socket or an EOF that no write can have caused
	broken   bool        // a write has failed, and may have taken the socket's error
	vouched  bool        // the kernel's counters were seen to follow what was written
	tries    uint8       // of lockedVouch
	sorted   atomic.Bool // counted in Stats
	hasProto bool
	proto    string // negotiated by TLS
	readErr  error
	last     Snapshot
	watched  int64  // when not 0, it is closed for its user, and stays open to see when the server ends it: the last read before
	used     bool   // a request was answered on it, by a Pool
	pool     string // what it is known by in a Pool
	watchdog *time.Timer

	base      Snapshot // when the tracking began
	readEnded chan struct{}
	closed    chan struct{}
	changed   sync.Cond // broadcast when unanswered falls and when a write is over; its L is mu

	infoMu sync.Mutex
	// infoMu guards what ctl uses.
	ctl  func(fd uintptr)
	info kernelInfo
	into Snapshot
	inq  bool
}

// flight is the record of the request that a Conn carries.
type flight struct {
	begun    bool // its first write was tried
	http     bool // an http.Transport owns the connection: Close waits for settle
	reused   bool
	tapped   bool // a Tap will want to know of retransmissions and segments
	careful  bool // it may not be executed twice, and can be sent again
	loose    bool // what is written of it need not be counted: never "not sent"
	refused  bool // the first write was refused: the connection is stale
	left     bool // refused although the connection lives, because of its silence
	withheld bool // all but the first octet was withheld, for good
	asked    bool // the kernel was asked at the begin
	probed   bool // the first octet was sent alone
	writeErr bool
	writing  int32
	idle     time.Duration // between the last read and the begin
	wrote    uint64
	heard    uint64 // wrote when the peer was last heard; later comes only a farewell, such as TLS's close_notify
	start    uint64 // written at the begin
	retrans  uint64 // bytes that the kernel had sent again by then, if it was asked
	segments uint32 // segments with data that it had sent by then, if it was asked
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
func Track(c net.Conn) *Conn {
	t := track(c, nil)
	// A client's SYN counts as one byte, where counters live at all.
	t.clean = t.base.Taken && t.base.BytesAcked > 0 && t.base.BytesSent == 0
	t.flight.loose = !t.clean
	return t
}

// track is Track for a connection that was just made, which nobody has written a
// request to.
func track(c net.Conn, up *upstream) *Conn {
	t := &Conn{Conn: c, up: up, clean: true, readEnded: make(chan struct{}), closed: make(chan struct{}), born: now()}
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
// directly is not counted, so that from then on nothing is proved of requests on
// this connection: their verdict is Unknown, and the rules of the method remain.
func (c *Conn) NetConn() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.escaped, c.flight.loose = true, true
	return c.Conn
}

// lend returns the wrapped connection to somebody who traces requests and will look
// at it, hardly write to it. Where the kernel's counters live they would tell.
func (c *Conn) lend() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent = true
	return c.Conn
}

// lockedLoose reports whether bytes may have been written past the count.
func (c *Conn) lockedLoose() bool {
	s := c.last
	return c.flight.loose || c.escaped || c.lent && !(c.vouched && s.Taken &&
		s.BytesSent-min(s.BytesSent, s.BytesRetrans) == c.counted(c.written, 0).BytesSent)
}

// Mark says that a request begins, before its first write, which takes the
// snapshot that Explain compares with. Do not mark while another request is
// unanswered: what was written since the peer was last heard may be this request,
// which then is never called not sent.
func (c *Conn) Mark() { c.arm(flight{}, actArm) }

// arm returns the number of the flight. http.Transport pools a connection as soon
// as the answer is read and before it hands the answer out, so that the next
// request may be here while the caller of the last one still waits. Each must
// then be judged by its own number.
func (c *Conn) arm(f flight, a act) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight.http && c.phase.busy() {
		c.unanswered++
	}
	f.loose = c.escaped || !f.http && (c.written > c.answered || !c.clean && c.answered == 0 && c.nread.Load() == 0)
	c.flight = f
	c.lockedStep(a)
	c.holdWrites = f.http
	c.number++
	return c.number
}

// began reports whether a write of flight number was tried, or it has gone by.
func (c *Conn) began(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number != number || c.flight.begun
}

// lockedOvertaken reports whether another request has the connection by now, and
// notes that flight number is over.
func (c *Conn) lockedOvertaken(number uint64) bool {
	if c.number == number {
		return false
	}
	c.unanswered = max(0, c.unanswered-1)
	c.changed.Broadcast()
	return true
}

// lockedAwaitAnswered waits until the answer of an earlier request was handed
// out. A refused write makes http.Transport close the connection at once, and it
// would give that request the error instead of its answer.
func (c *Conn) lockedAwaitAnswered() {
	c.lockedWait(readerPatience, func() bool { return c.unanswered == 0 })
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

// closedAt reports whether nothing was written since written bytes were, and, because
// the connection has ended, nothing will be.
func (c *Conn) closedAt(written uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written != written || c.flight.writing > 0 || c.phase.open() && c.last.State != stateClose {
		return false
	}
	if c.phase.open() {
		c.lockedStep(actFence)
	}
	return true
}

func (c *Conn) isLoose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lockedLoose()
}

// lockedBefore is what was known when the flight began.
func (c *Conn) lockedBefore() Snapshot {
	if !c.flight.begun {
		return Snapshot{}
	}
	b := c.counted(c.flight.start, c.flight.retrans)
	b.DataSegments = c.flight.segments
	return b
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
		c.alerted = silent
		c.flight.heard, c.answered = c.flight.wrote, c.written
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
	// Linux gives EOF before an error when a FIN came (tcp_recvmsg: SOCK_DONE), and
	// EOF without a FIN only when a write has taken the error of a reset.
	c.fin = c.fin || errors.Is(err, io.EOF) && !c.broken && c.flight.writing == 0 && c.phase.open()
	c.lockedKeep(c.snapshot(true))
	if c.up != nil && !c.phase.busy() && !c.doomed {
		c.up.sawIdleClose(time.Duration(now() - c.lastRead.Load()))
	}
}

// lockedKeep keeps what the kernel said last, if it was asked.
func (c *Conn) lockedKeep(s Snapshot) {
	if !s.Taken {
		return
	}
	c.last = s
	c.fin = c.fin || s.State == stateCloseWait || s.State == stateLastAck || s.State == stateClosing
}

// Write writes to the connection. The first write of a marked request is
// refused, with nothing sent, when the peer has already closed.
func (c *Conn) Write(p []byte) (int, error) {
	late, probe, err := c.beginWrite(len(p))
	if err != nil {
		if errors.Is(err, errInnerReplay) {
			return min(1, len(p)), err // or net/http takes another connection
		}
		return 0, err
	}
	if probe {
		return c.probe(p)
	}
	n, err := c.Conn.Write(p)
	return n, c.endWrite(int64(n), err, late || isAlert(p))
}

// ReadFrom keeps the sendfile and splice of *net.TCPConn.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	late, _, err := c.beginWrite(0)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(c.Conn, r)
	return n, c.endWrite(n, err, late)
}

// beginWrite reports late when the reader has met its end: what is written then,
// such as the alert with which tls.Conn closes, is not counted. n is how much is
// to be written, as far as that is known; probe says that this write begins the
// request and shall send its first octet alone.
func (c *Conn) beginWrite(n int) (late, probe bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == phaseArmed {
		c.lockedBegin(n)
		probe = c.phase == phaseProbing
	}
	switch c.phase {
	case phaseIdle, phaseSending:
	case phaseProbing:
		if !probe {
			return false, false, net.ErrClosed // one request has one writer
		}
	case phaseVetoed:
		return false, false, errInnerReplay
	case phaseRefused:
		c.lockedAwaitAnswered()
		return false, false, errStale
	default:
		return false, false, net.ErrClosed
	}
	c.flight.writing++
	return c.ended, probe, nil
}

// liveAfter is the silence after which the kernel is asked whether a pooled
// connection lives, and the first octet goes out alone. No idle timer is shorter, and
// a connection that is used again sooner meets the end of it, if at all, on the way.
// For a request that may not be executed twice the kernel is asked in any case.
const liveAfter = time.Millisecond

// lockedBegin begins a request with its first write, of n bytes. It refuses the
// connection when it is known to be closed, or about to be.
func (c *Conn) lockedBegin(n int) {
	f := &c.flight
	at := now()
	since := time.Duration(at - c.at) // the silence is not longer than this
	c.at = at
	f.begun, f.start = true, c.written
	f.idle = time.Duration(at - c.lastRead.Load())
	if f.refused = c.ended; f.refused {
		c.lockedStep(actRefuse)
		return
	}
	var limit time.Duration
	pooled := f.reused && c.up != nil
	if pooled {
		limit = c.up.idleLimit(c.base.RTT, at)
	}
	silence := f.idle
	if !f.reused || f.careful || f.idle >= liveAfter || f.tapped || limit > 0 && since >= limit {
		if s := c.snapshot(false); s.Taken {
			f.asked, f.retrans, f.segments = true, s.BytesRetrans, s.DataSegments
			f.refused = s.State != stateEstablished
			silence = max(silence, s.Silent) // longer when the reader was late
		}
	}
	if pooled && !f.refused {
		f.left = limit > 0 && silence >= limit || limit == 0 && f.careful && c.up.untried(silence, at)
		f.refused = f.left
		if f.idle >= liveAfter {
			c.up.lived(f.idle)
		}
	}
	switch {
	case f.refused:
		c.lockedStep(actRefuse)
	case f.careful && f.asked && f.reused && f.idle >= liveAfter && n > 1:
		f.probed = true
		c.lockedStep(actProbe)
	default:
		c.lockedStep(actSend)
	}
}

// probe writes a request that may not be executed twice to a connection that was
// silent for a while: first its first octet alone. A peer that has closed the
// connection answers that with a RST, or its FIN is here by now, and then the rest
// stays here: nobody executes one octet. After that it is too late to know, because
// a FIN and a RST that come later do not tell whether the request was read.
func (c *Conn) probe(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:1])
	if err != nil || n == 0 {
		return n, c.endWrite(int64(n), err, false)
	}
	c.mu.Lock()
	s := c.snapshot(false)
	c.lockedKeep(s)
	gone := c.ended || s.Taken && s.State != stateEstablished
	if gone {
		c.flight.refused = c.lockedStep(actRefuse)
	} else {
		gone = !c.lockedStep(actSend) // closed or fenced meanwhile
	}
	stale := c.flight.refused
	c.mu.Unlock()
	if !gone {
		m, err := c.Conn.Write(p[1:])
		return n + m, c.endWrite(int64(n+m), err, false)
	}
	_ = c.endWrite(int64(n), nil, false)
	if !stale {
		return n, net.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lockedAwaitAnswered()
	return 0, errStale
}

// endWrite counts n written bytes and returns the error that the writer shall see.
func (c *Conn) endWrite(n int64, err error, late bool) error {
	c.mu.Lock()
	c.written += uint64(n)
	c.broken = c.broken || err != nil
	f := &c.flight
	if f.writing--; f.writing == 0 {
		c.changed.Broadcast()
	}
	if !late || f.wrote == 0 {
		f.wrote += uint64(n)
	}
	f.writeErr = f.writeErr || err != nil && !(late && f.wrote > 0)
	park := err != nil && c.holdWrites && !late && isReset(err)
	err = c.lockedFirstError(err)
	c.mu.Unlock()
	if park {
		c.awaitReader()
	}
	return err
}

// lockedFirstError returns err, or what really ended the connection when err is only
// the deadline by which Close woke the writer.
func (c *Conn) lockedFirstError(err error) error {
	if err == nil || c.phase != phaseClosing && c.phase != phaseClosed || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	first := net.ErrClosed
	var read *net.OpError
	switch {
	case errors.As(c.readErr, &read):
		first = read.Err
	case errors.Is(c.readErr, io.EOF):
		first = io.ErrUnexpectedEOF
	}
	op := &net.OpError{Op: "write", Err: first}
	if local := c.LocalAddr(); local != nil {
		op.Net, op.Source, op.Addr = local.Network(), local, c.RemoteAddr()
	}
	return op
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
	if !c.phase.open() {
		return net.ErrClosed
	}
	close(c.closed)
	if c.flight.left && c.pool == "" && c.lockedWatch() { // nobody reads what a Pool leaves
		return nil
	}
	if !c.ended || c.last.State != stateClose {
		c.lockedKeep(c.snapshot(true))
	}
	if c.up != nil && c.alerted && !c.ended && !c.phase.busy() && !c.doomed {
		c.up.sawIdleClose(time.Duration(now() - c.lastRead.Load())) // under TLS the FIN is not read
	}
	if c.flight.http && c.raw != nil && c.lockedStep(actHold) {
		return c.Conn.SetDeadline(time.Unix(1, 0))
	}
	c.lockedStep(actClose)
	return c.Conn.Close()
}

// lockedWatch leaves the connection open for its reader, who thereby learns when
// the server ends it. Nothing will be written to it any more.
func (c *Conn) lockedWatch() bool {
	if _, legal := c.phase.step(actWatch); c.ended || !legal {
		return false
	}
	patience, ok := c.up.watch(c)
	if !ok {
		return false
	}
	c.lockedStep(actWatch)
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
	c.lockedStep(actClose)
	c.Conn.Close()
}

// finish ends a request that was answered.
func (c *Conn) finish(number uint64, closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doomed = c.doomed || closing
	c.lockedVouch()
	if c.lockedOvertaken(number) {
		return
	}
	if c.phase == phaseClosing {
		c.lockedStep(actClose)
		c.Conn.Close()
		return
	}
	c.lockedStep(actAnswer)
	c.flight.http = false
}

// vouchTries is how often a connection is looked at to see whether the kernel
// counts what it carries.
const vouchTries = 3

// lockedVouch sees, behind the first answer, whether the kernel counts what this
// connection carries: a client's SYN, and every byte that was written and answered.
// Where it does not (gVisor, sockmap, a restored checkpoint) there is no evidence.
func (c *Conn) lockedVouch() {
	if c.vouched || c.tries >= vouchTries || !c.base.Taken || c.answered == 0 {
		return
	}
	c.tries++
	s := c.snapshot(false)
	c.vouched = c.base.BytesAcked > 0 && s.Taken && s.BytesAcked >= c.base.BytesAcked+c.answered && s.BytesSent >= c.base.BytesSent+c.answered
}

// confirmation bounds how long settle waits for the RST that answers a request
// sent after the peer's FIN.
const (
	confirmFloor = 30 * time.Millisecond
	confirmCap   = 500 * time.Millisecond
)
