package drain

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Listener wraps a listener so that its connections take part in the drain.
func (d *Drain) Listener(l net.Listener) net.Listener {
	d.defaults()
	dl := &drainListener{Listener: l, d: d, stopped: make(chan struct{}), ended: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners = append(d.listeners, dl)
	return dl
}

// drainListener hands out connections that a Drain knows. Closing it has two steps:
// no more connections, and the end of the accept loop, which http.Server takes for
// an accident when it comes before its own Shutdown.
type drainListener struct {
	net.Listener
	d       *Drain
	stopped chan struct{}
	ended   chan struct{}
	stops   sync.Once
	ends    sync.Once
	err     error // of the close; written once, in stops
}

// Accept waits for a connection.
func (l *drainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		return l.d.adopt(c), nil
	}
	select {
	case <-l.stopped:
		<-l.ended
		return nil, net.ErrClosed
	default:
		return nil, err
	}
}

// stop is the first step.
func (l *drainListener) stop() {
	l.stops.Do(func() {
		close(l.stopped)
		l.err = l.Listener.Close()
	})
}

// File returns a duplicate of the listening socket, which a successor can take.
func (l *drainListener) File() (*os.File, error) {
	f, ok := l.Listener.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no socket", l.Listener)
	}
	return f.File()
}

// Close takes both steps.
func (l *drainListener) Close() error {
	l.stop()
	l.ends.Do(func() { close(l.ended) })
	return l.err
}

func (d *Drain) adopt(c net.Conn) net.Conn {
	dc := &drainConn{Conn: c, d: d, since: time.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns[dc] = true
	return dc
}

// drainConn is a connection of a server that may drain.
type drainConn struct {
	net.Conn
	d *Drain

	mu     sync.Mutex
	since  time.Time // guarded by mu: of the last change
	busy   bool      // guarded by mu: something of a request was read
	begun  bool      // guarded by mu: a request was begun on it, ever
	multi  bool      // guarded by mu: HTTP/2
	eof    bool      // guarded by mu: the client has closed
	closed bool      // guarded by mu
}

// Read notes that a request has begun. After the drain has closed the connection it
// says so, whatever still came.
func (c *drainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.busy = c.busy || n > 0
	c.eof = c.eof || errors.Is(err, io.EOF)
	return n, err
}

// ReadFrom keeps sendfile and splice.
func (c *drainConn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// NetConn returns the connection below.
func (c *drainConn) NetConn() net.Conn { return c.Conn }

// CloseWrite shuts down the sending side.
func (c *drainConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *drainConn) becameIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.since = false, time.Now()
}

func (c *drainConn) becameActive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.begun, c.since = true, true, time.Now()
}

func (c *drainConn) setMultiplexed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.multi = true
}

func (c *drainConn) isMultiplexed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.multi
}

// unusedAge is when a connection without any request counts as idle, as in net/http.
const unusedAge = 5 * time.Second

// closeIdle closes the connection if it has been idle for that long and nothing
// has come: at once, so that a request that crosses it meets a bare RST.
func (c *drainConn) closeIdle(long time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	busy, since := c.busy, time.Since(c.since)
	if busy && !c.begun { // a TLS handshake, and then nothing
		busy = since < unusedAge
	}
	if busy || c.closed || since < long || c.waiting() {
		return false
	}
	c.closed = true
	_ = c.Conn.Close()
	c.d.forget(c)
	return true
}

// waiting says whether something is in the socket that nobody has read.
func (c *drainConn) waiting() bool {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	some := false
	err = raw.Control(func(fd uintptr) {
		n, ok := unread(fd)
		some = ok && n > 0
	})
	return err == nil && some
}

// Close closes in good order: it sends FIN at once and goes on reading for a
// while, in the background, because a server closes many connections in a row.
func (c *drainConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	eof := c.eof
	c.mu.Unlock()
	if eof || c.d.hasty.Load() || c.CloseWrite() != nil {
		c.d.forget(c)
		return c.Conn.Close()
	}
	select {
	case c.d.slots <- struct{}{}:
	default:
		c.d.hurried.Add(1)
		c.d.forget(c)
		return c.Conn.Close()
	}
	c.d.lingers.Go(func() {
		defer func() { <-c.d.slots }()
		c.linger()
	})
	return nil
}

// lingerBytes is how much of a client's talk is read at most after the close.
const lingerBytes = 64 << 20

func (c *drainConn) linger() {
	defer c.d.forget(c)
	defer func() { _ = c.Conn.Close() }()
	if c.SetReadDeadline(time.Now().Add(c.d.Linger)) != nil || c.d.hasty.Load() {
		return
	}
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes) // the client's end is what we wait for
}
