// Package drain ends a server of net/http without failing a request, and answers early
// without a reset destroying the answer.
//
// It is for the side of the server and shares nothing with package steady, which is for
// clients. It is no balancer: it can tell clients to leave, not send them elsewhere. To
// debug a drain, print its [Report].
package drain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Drain ends an http.Server without failing a request: what Shutdown promises and
// does not keep, because it closes idle connections on which a request may be
// under way.
//
//	d := &drain.Drain{}
//	d.Attach(srv)                // before Serve
//	go srv.Serve(d.Listener(ln)) // or srv.ServeTLS
//	...
//	report, err := d.Shutdown(ctx)
//
// Shutdown goes through these phases:
//
//  1. Lame duck: every answer says Connection: close (over HTTP/2 that is a
//     GOAWAY), so that clients leave by themselves. [Drain.Draining] tells
//     readiness probes. With KeepAccepting new connections are still served.
//  2. The listener is closed. When another process has it too (see package handover)
//     nothing is lost; else the kernel resets what is in its accept queue.
//  3. A connection is closed when it has been idle for the whole lame duck, has
//     nothing unread, and nothing of a request was read.
//  4. Requests that run are waited for, until ctx is done.
//
// Every connection is closed by shutting down the sending side and reading until
// the client closes, too, or Linger is over, so that unread data never turns a
// close into a reset that destroys the answer. Idle connections are the exception:
// they are closed at once, so that a request that crosses the close is answered
// by a bare RST at its first octet, and steady.Transport keeps the rest.
//
// Connections that were hijacked, such as websockets, belong to the program, which
// has to end them: OnHijacked tells it.
//
// What can still fail is a client's first request after a pause longer than
// LameDuck, when it is in the network at the moment of the close. HTTP/1.1 has no
// remedy for that; a longer LameDuck makes it rarer, and steady.Transport repeats
// such a request.
//
// A Drain serves one server and is used once. Its methods may be called from any
// goroutine.
type Drain struct {
	LameDuck      time.Duration // how long idle clients may take to come back; 200ms by default
	Linger        time.Duration // how long a closed connection is read at most; 1s by default
	KeepAccepting bool          // accept during the lame duck: for a server behind a balancer that has not noticed yet
	MaxLingering  int           // connections that linger at once; 4096 by default, more are closed at once and counted
	// OnHijacked, when set, is called when the drain begins for each hijacked connection
	// that is open, on a goroutine of its own, to say goodbye and close it. They are
	// waited for then, and closed when ctx is done. Else they are left alone, as by net/http.
	OnHijacked func(net.Conn)

	srv      *http.Server
	draining atomic.Bool
	told     atomic.Int64
	late     atomic.Int64
	hurried  atomic.Int64
	hasty    atomic.Bool // the time is over: nothing lingers
	slots    chan struct{}
	once     sync.Once
	lingers  sync.WaitGroup

	mu        sync.Mutex
	conns     map[*drainConn]bool // guarded by mu
	hijacked  map[*drainConn]bool // guarded by mu
	listeners []*drainListener    // guarded by mu
}

// Report says what a drain did.
type Report struct {
	Conns    int           `json:"conns"`    // connections that were open when it began
	Told     int64         `json:"told"`     // answers that said Connection: close
	Late     int64         `json:"late"`     // requests that came after it began, and were served
	Idle     int           `json:"idle"`     // idle connections that were closed
	Cut      int           `json:"cut"`      // connections that were closed with a request running or unread, because ctx was done
	Hijacked int           `json:"hijacked"` // hijacked connections that were open when it began
	Hurried  int64         `json:"hurried"`  // closes that did not linger, because too many did
	Took     time.Duration `json:"took_ns"`  // from the first phase to the last
	Lame     time.Duration `json:"lame_ns"`  // of which lame duck
}

// Failed is how many requests this drain may have failed, as far as a server can know.
func (r Report) Failed() int { return r.Cut }

func (d *Drain) defaults() {
	d.once.Do(func() {
		d.LameDuck = orDuration(d.LameDuck, 200*time.Millisecond)
		d.Linger = orDuration(d.Linger, time.Second)
		if d.MaxLingering <= 0 {
			d.MaxLingering = 4096
		}
		d.slots = make(chan struct{}, d.MaxLingering)
		d.conns, d.hijacked = map[*drainConn]bool{}, map[*drainConn]bool{}
	})
}

func orDuration(v, def time.Duration) time.Duration {
	if v <= 0 {
		return def
	}
	return v
}

// Attach makes the server's handler and its hooks take part. Call it once, before
// Serve, when Handler, ConnState and ConnContext are set.
func (d *Drain) Attach(srv *http.Server) {
	d.defaults()
	d.srv = srv
	next := srv.Handler
	if next == nil {
		next = http.DefaultServeMux
	}
	srv.Handler = d.Handler(next)
	state := srv.ConnState
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		d.state(c, s)
		if state != nil {
			state(c, s)
		}
	}
	base := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if base != nil {
			ctx = base(ctx, c)
		}
		return context.WithValue(ctx, drainKey{}, drained(c))
	}
}

type drainKey struct{}

// Handler tells clients to leave while the server drains. Attach calls it.
func (d *Drain) Handler(next http.Handler) http.Handler {
	d.defaults()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, _ := r.Context().Value(drainKey{}).(*drainConn); c != nil && r.ProtoMajor >= 2 {
			c.setMultiplexed()
		}
		if d.draining.Load() {
			d.late.Add(1)
		}
		dw := &drainWriter{ResponseWriter: w, d: d}
		next.ServeHTTP(dw, r)
		dw.tell() // a handler that writes nothing answers 200 at its end
	})
}

// drainWriter adds Connection: close at the last moment, so that a request that
// began before the drain tells its client, too.
type drainWriter struct {
	http.ResponseWriter
	d     *Drain
	wrote bool
}

// Unwrap is for http.ResponseController.
func (w *drainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// tell adds the header, if the answer has not begun and the server drains.
func (w *drainWriter) tell() {
	if !w.wrote && w.d.draining.Load() {
		w.Header().Set("Connection", "close")
		w.d.told.Add(1)
	}
}

// Hijack implements http.Hijacker.
func (w *drainWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.wrote = true // by others
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// WriteHeader implements http.ResponseWriter.
func (w *drainWriter) WriteHeader(status int) {
	if status >= 200 {
		w.tell()
		w.wrote = true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *drainWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, so that files go out by sendfile.
func (w *drainWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	if rf, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w.ResponseWriter}, r)
}

// Flush implements http.Flusher.
func (w *drainWriter) Flush() {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // Flusher has no error
}

// Draining says whether the server is on its way out. A readiness probe answers
// 503 then.
func (d *Drain) Draining() bool { return d.draining.Load() }

// Shutdown drains the attached server. It returns when no connection is left, or
// when ctx is done: then it closes the rest and returns ctx's error with a report
// that counts them.
func (d *Drain) Shutdown(ctx context.Context) (Report, error) {
	var r Report
	if d.srv == nil {
		return r, errors.New("steady: Drain is not attached to a server")
	}
	if d.draining.Swap(true) {
		return r, errors.New("steady: Drain is used twice")
	}
	begin := time.Now()
	r.Hijacked = d.tellHijacked()
	r.Conns = len(d.open()) + r.Hijacked
	if !d.KeepAccepting {
		d.stopAccepting()
	}
	sleepContext(ctx, d.LameDuck)
	r.Lame = time.Since(begin)
	if d.KeepAccepting {
		d.stopAccepting()
	}
	err := d.empty(ctx, &r)
	r.Told, r.Late, r.Hurried, r.Took = d.told.Load(), d.late.Load(), d.hurried.Load(), time.Since(begin)
	return r, err
}

func sleepContext(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// drainPoll is how often the connections are looked at while they empty.
const drainPoll = 5 * time.Millisecond

// empty waits until every connection is gone, closing what is idle.
func (d *Drain) empty(ctx context.Context, r *Report) error {
	for {
		left := 0
		for _, c := range d.open() {
			switch {
			case c.isMultiplexed(): // Shutdown sends GOAWAY and waits
			case c.closeIdle(d.LameDuck):
				r.Idle++
			default:
				left++
			}
		}
		if left == 0 {
			break
		}
		if ctx.Err() != nil {
			break
		}
		sleepContext(ctx, drainPoll)
	}
	err := d.srv.Shutdown(ctx)
	if err == nil {
		err = d.awaitHijacked(ctx)
	}
	if err != nil {
		r.Cut = len(d.open()) + d.closeHijacked()
		err = errors.Join(fmt.Errorf("steady: drain: %w", err), d.srv.Close())
	}
	d.awaitLingers(ctx)
	return err
}

// awaitLingers waits until no closed connection is read any more. When ctx is done
// none is waited for: they end at once.
func (d *Drain) awaitLingers(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		d.hasty.Store(true)
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, m := range []map[*drainConn]bool{d.conns, d.hijacked} {
			for c := range m {
				_ = c.SetReadDeadline(time.Unix(1, 0)) // one that is gone needs none
			}
		}
	})
	defer stop()
	d.lingers.Wait()
}

// tellHijacked tells the program of its hijacked connections and returns how many.
func (d *Drain) tellHijacked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.OnHijacked != nil {
		for c := range d.hijacked {
			go d.OnHijacked(c)
		}
	}
	return len(d.hijacked)
}

// awaitHijacked waits for hijacked connections, if the program was told of them.
func (d *Drain) awaitHijacked(ctx context.Context) error {
	for d.OnHijacked != nil {
		d.mu.Lock()
		left := len(d.hijacked)
		d.mu.Unlock()
		if left == 0 {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sleepContext(ctx, drainPoll)
	}
	return nil
}

// closeHijacked closes those that the program was told of and did not close.
func (d *Drain) closeHijacked() (n int) {
	if d.OnHijacked == nil {
		return 0
	}
	d.mu.Lock()
	left := make([]*drainConn, 0, len(d.hijacked))
	for c := range d.hijacked {
		left = append(left, c)
	}
	d.mu.Unlock()
	for _, c := range left {
		_ = c.Close() // it ends all the same
	}
	return len(left)
}

// open returns the connections that are open now.
func (d *Drain) open() []*drainConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*drainConn, 0, len(d.conns))
	for c := range d.conns {
		list = append(list, c)
	}
	return list
}

// state is the server's hook for changes of a connection.
func (d *Drain) state(c net.Conn, s http.ConnState) {
	dc := drained(c)
	if dc == nil {
		return
	}
	switch s {
	case http.StateIdle:
		dc.becameIdle()
	case http.StateActive:
		dc.becameActive()
	case http.StateHijacked:
		d.mu.Lock()
		delete(d.conns, dc)
		d.hijacked[dc] = true // its new owner closes it
		d.mu.Unlock()
	}
}

// drained finds the connection of a Drain below TLS.
func drained(c net.Conn) *drainConn {
	for c != nil {
		if dc, ok := c.(*drainConn); ok {
			return dc
		}
		in, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = in.NetConn()
	}
	return nil
}

// stopAccepting closes the listeners. Their accept loops end with Shutdown.
func (d *Drain) stopAccepting() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.listeners {
		l.stop()
	}
}

func (d *Drain) forget(c *drainConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
	delete(d.hijacked, c)
}
