// Package relay moves bytes between two TCP connections and hides nothing: a reset
// on one side reaches the other as a reset, after the data that had arrived was
// delivered; an orderly end stays orderly, half-closes included; an early answer
// arrives although the upload behind it failed.
//
// The usual relay, two calls of io.Copy, hides most resets: a failed write takes the
// error of a socket away, and the reader then sees a clean end. So this one asks the
// kernel: a socket that is closed and whose peer never sent a FIN was reset
// (TCP_INFO: the FIN counts as one byte received). It needs Linux.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of a relay. The zero value is usable.
type Options struct {
	// Idle ends a session in which no byte moved for so long; 0: never. The end is
	// orderly, and the record says that it was ours.
	Idle time.Duration
	// Drain bounds the wait for data under way before a reset is passed on; 5 s.
	Drain time.Duration
	// KeepAlive is the time before the first probe on both sides; 60 s.
	KeepAlive time.Duration
}

func (o Options) withDefaults() Options {
	if o.Drain <= 0 {
		o.Drain = 5 * time.Second
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = time.Minute
	}
	return o
}

// How a side ended.
const (
	Open    = "open"    // it did not end by itself
	Fin     = "fin"     // orderly
	Reset   = "reset"   // ECONNRESET
	TimeOut = "timeout" // its peer did not answer: ETIMEDOUT
	Failed  = "failed"  // another error of the network
)

// Side is what is known of one of the two connections.
type Side struct {
	Addr     string `json:"addr"`
	Received int64  `json:"received"` // bytes read from it
	Sent     int64  `json:"sent"`     // bytes written to it
	Unacked  int64  `json:"unacked"`  // of them not acknowledged when it was reset; -1 unknown
	End      string `json:"end"`
	Error    string `json:"error,omitempty"`
}

// Record tells how a session ended.
type Record struct {
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took_ns"`
	Client  Side          `json:"client"`
	Server  Side          `json:"server"`
	EndedBy string        `json:"ended_by"` // client, server, relay: whose end came first
	How     string        `json:"how"`      // fin, reset, timeout, failed, idle, stopped, unreachable
	// Hidden: one side was reset, and the other, which was still open, could not be
	// told. It is never true in a relay that works.
	Hidden bool `json:"hidden"`
}

// Bad reports whether the session ended otherwise than orderly.
func (r *Record) Bad() bool { return r.How != Fin }

// HAProxy is the nearest code of the termination states of HAProxy in TCP mode
// (configuration manual, "Session state at disconnection"), for people who know
// those: who, and in which phase.
func (r *Record) HAProxy() string {
	switch {
	case r.How == "unreachable":
		return "SC"
	case r.How == "stopped":
		return "KD"
	case r.How == "idle":
		return "cD"
	case r.How == Fin:
		return "--"
	case r.EndedBy == "client":
		return "CD"
	}
	return "SD"
}

// leg is one connection while it is relayed.
type leg struct {
	conn     *net.TCPConn
	received atomic.Int64
	sent     atomic.Int64
	unacked  atomic.Int64

	mu     sync.Mutex // guards all below
	end    string
	err    error
	closed bool // by us
	reset  bool // by us
	shut   bool // its sending half, by us
}

// bad reports whether a leg ended otherwise than orderly.
func (l *leg) bad() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end != Open && l.end != Fin
}

// session is two legs.
type session struct {
	opt            Options
	client, server *leg
	moved          atomic.Int64 // time of the last byte, ns

	mu           sync.Mutex // guards all below
	endedBy, how string
}

// Run relays between two connections until both have ended, and closes them. A
// context that ends resets both.
func Run(ctx context.Context, client, server *net.TCPConn, opt Options) Record {
	s := &session{opt: opt.withDefaults(), client: &leg{conn: client, end: Open}, server: &leg{conn: server, end: Open}}
	rec := Record{Began: time.Now()}
	rec.Client.Addr, rec.Server.Addr = client.RemoteAddr().String(), server.RemoteAddr().String()
	s.moved.Store(rec.Began.UnixNano())
	probe := time.AfterFunc(quick, s.keepAlive) // most sessions are over before: eight system calls less
	stop := context.AfterFunc(ctx, s.stopped)
	over := make(chan struct{})
	var watching sync.WaitGroup
	if s.opt.Idle > 0 {
		watching.Go(func() { s.watch(over) })
	}
	var other sync.WaitGroup
	other.Go(func() { s.copy(s.client, s.server, "client") })
	s.copy(s.server, s.client, "server")
	other.Wait()
	probe.Stop()
	stop()
	close(over)
	watching.Wait()
	s.finish()
	rec.Took = time.Since(rec.Began)
	s.client.tell(&rec.Client)
	s.server.tell(&rec.Server)
	rec.EndedBy, rec.How = s.endedBy, s.how
	rec.Hidden = s.hid(s.client, s.server) || s.hid(s.server, s.client)
	return rec
}

// finish closes what is still open. When one side was reset, so is the other: both
// directions may have ended before they knew.
func (s *session) finish() {
	bad := s.client.bad() || s.server.bad()
	for _, l := range []*leg{s.client, s.server} {
		if bad {
			l.drained(s.opt.Drain)
		}
		l.close(bad)
	}
}

// hid reports whether the end of a leg was kept from the other one, which was still
// there to be told. An end that was ours is in the record.
func (s *session) hid(ended, other *leg) bool {
	return ended.bad() && !other.bad() && !other.reset && s.endedBy != "relay"
}

// tell writes down what is known of a leg.
func (l *leg) tell(s *Side) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Received, s.Sent, s.Unacked, s.End = l.received.Load(), l.sent.Load(), l.unacked.Load(), l.end
	if l.err != nil {
		s.Error = l.err.Error()
	}
}

// ended remembers whose end came first. A FIN is the end of one direction only: what
// breaks the other one afterwards counts more.
func (s *session) ended(who, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.how == "" || s.how == Fin && how != Fin {
		s.endedBy, s.how = who, how
	}
}

// quick is how long a session lives before it gets keep-alive.
const quick = time.Second

func (s *session) keepAlive() {
	for _, l := range []*leg{s.client, s.server} {
		_ = l.conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: s.opt.KeepAlive, Interval: 10 * time.Second, Count: 3})
	}
}

// stopped resets both sides.
func (s *session) stopped() {
	s.ended("relay", "stopped")
	s.client.close(true)
	s.server.close(true)
}

// watch ends the session when nothing moved for too long.
func (s *session) watch(over <-chan struct{}) {
	timer := time.NewTimer(s.opt.Idle)
	defer timer.Stop()
	for {
		select {
		case <-over:
			return
		case <-timer.C:
		}
		left := s.opt.Idle - time.Duration(time.Now().UnixNano()-s.moved.Load())
		if left <= 0 {
			s.ended("relay", "idle")
			s.client.close(false)
			s.server.close(false)
			return
		}
		timer.Reset(left)
	}
}

// bufferSize is what one read takes; a read that fills it twice in a row is bulk.
const bufferSize = 64 << 10

// buffers hold what is under way. An idle session holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// copy moves what from sends to the other leg, and passes its end on.
func (s *session) copy(from, to *leg, who string) {
	raw, err := from.conn.SyscallConn()
	if err != nil {
		s.broken(from, to, who, err)
		return
	}
	out, err := to.conn.SyscallConn()
	if err != nil {
		s.broken(from, to, who, err)
		return
	}
	full := 0 // how often in a row the buffer was not large enough
	for {
		end, rerr, werr := false, error(nil), error(nil)
		if full >= 2 {
			full = 0
			end, rerr, werr = bulk(raw, out, func(n int64) { from.took(s, n) }, func(n int64) { to.sent.Add(n) })
		} else {
			var n int
			n, end, rerr, werr = s.step(raw, from, to)
			if full++; n < bufferSize {
				full = 0
			}
		}
		switch {
		case werr != nil:
			s.undeliverable(from, to, who, werr)
			return
		case rerr != nil:
			s.broken(from, to, who, rerr)
			return
		case end && wasReset(raw, from.received.Load()):
			s.broken(from, to, who, errReset)
			return
		case end:
			s.orderly(from, to, who)
			return
		}
	}
}

// took counts what was read from a leg.
func (l *leg) took(s *session, n int64) {
	l.received.Add(n)
	s.moved.Store(time.Now().UnixNano())
}

// step waits for bytes of from and writes them to the other leg.
func (s *session) step(raw syscall.RawConn, from, to *leg) (n int, end bool, rerr, werr error) {
	buf, n, rerr := read(raw)
	if buf != nil {
		defer buffers.Put(buf)
	}
	if rerr != nil || n == 0 {
		return 0, rerr == nil, rerr, nil
	}
	from.took(s, int64(n))
	m, werr := to.conn.Write((*buf)[:n])
	to.sent.Add(int64(m))
	return n, false, nil, werr
}

// errReset stands for the error that a failed write took away.
var errReset = errors.New("connection reset by peer (a failed write took the error; the kernel has closed the socket without a FIN)")

// orderly passes a FIN on.
func (s *session) orderly(from, to *leg, who string) {
	from.mark(Fin, nil)
	s.ended(who, Fin)
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.end == Fin { // both have ended: closing sends the FIN
		return
	}
	if !to.closed && !to.shut {
		to.shut = true
		_ = to.conn.CloseWrite()
	}
}

// mark remembers the first end of a leg; a reset after a FIN counts.
func (l *leg) mark(end string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == Open || l.end == Fin && end != Fin {
		l.end, l.err = end, err
	}
}

// broken passes a reset of from on, after everything that from had sent before was
// delivered.
func (s *session) broken(from, to *leg, who string, err error) {
	if errors.Is(err, net.ErrClosed) {
		return // we closed it
	}
	end := kind(err)
	from.mark(end, err)
	s.ended(who, end)
	to.drained(s.opt.Drain)
	from.close(true)
	to.close(true)
}

// undeliverable: to does not take anything any more. What it sent before is still to
// be read, and the other direction delivers it; then from is told.
func (s *session) undeliverable(from, to *leg, who string, err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	other := map[string]string{"client": "server", "server": "client"}[who]
	to.mark(kind(err), err)
	s.ended(other, kind(err))
	// The other direction reads until the end of to, and then resets from; when it
	// has ended already, because to had sent its FIN, nobody else does.
	_ = to.conn.SetReadDeadline(time.Now().Add(s.opt.Drain))
	to.mu.Lock()
	over := from.shutBy()
	to.mu.Unlock()
	if over {
		from.drained(s.opt.Drain)
		from.close(true)
		to.close(true)
	}
}

// shutBy reports whether our sending half towards a leg was shut: the direction
// towards it has ended.
func (l *leg) shutBy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut
}

// drained waits until everything that was written to a leg is acknowledged, its
// socket is dead, or the time is over.
func (l *leg) drained(limit time.Duration) {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return
	}
	deadline := time.Now().Add(limit)
	for wait := 50 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 20*time.Millisecond) {
		if n, alive := queued(raw); n == 0 || !alive {
			return
		}
		time.Sleep(wait)
	}
}

// close closes a leg once: by a reset, or orderly.
func (l *leg) close(reset bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if raw, err := l.conn.SyscallConn(); err == nil && reset {
		l.unacked.Store(-1)
		if n, alive := queued(raw); alive {
			l.unacked.Store(int64(n))
		}
	}
	if l.reset = reset; reset {
		_ = l.conn.SetLinger(0)
	}
	_ = l.conn.Close()
}

// kind is the end that an error stands for.
func kind(err error) string {
	var t net.Error
	switch {
	case isReset(err):
		return Reset
	case isTimeout(err), errors.As(err, &t) && t.Timeout():
		return TimeOut
	case errors.Is(err, io.EOF):
		return Fin
	}
	return Failed
}

// String says how a session ended, in one line.
func (r *Record) String() string {
	return fmt.Sprintf("%s to %s: %s by the %s after %v, %d bytes to the server, %d to the client", r.Client.Addr, r.Server.Addr, r.How, r.EndedBy, r.Took.Round(time.Millisecond), r.Server.Sent, r.Client.Sent)
}
