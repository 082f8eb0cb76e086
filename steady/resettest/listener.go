package resettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Stream is what really happened to one connection of a Listener or Proxy. The
// program is the server behind them: the one that accepts, or the upstream.
type Stream struct {
	Conn     int    `json:"conn"`             // number of the connection, from 1
	Fault    string `json:"fault,omitempty"`  // that struck; empty: none, or not yet
	Chosen   string `json:"chosen,omitempty"` // that was chosen for it; it strikes when its octet comes
	In       int64  `json:"in"`               // octets that the program was given
	Answer   int64  `json:"answer"`           // octets with which the program answered
	Out      int64  `json:"out"`              // octets of them that were given to the client's socket
	Ended    bool   `json:"ended"`
	Upstream string `json:"upstream,omitempty"` // with a Proxy: why there was no upstream

	// Of a fault that is aimed at a message.
	Message  int    `json:"message,omitempty"`  // which
	Requests int    `json:"requests,omitempty"` // that the program was given whole
	Answers  int    `json:"answers,omitempty"`  // that the program has begun
	Lost     string `json:"lost,omitempty"`     // why the messages could not be counted; the fault does not strike behind that
}

// Executed says whether the program has begun to answer, the message that is aimed at
// if there is one, which is how a relay knows that a request was executed.
func (s Stream) Executed() bool {
	if s.Message > 0 {
		return s.Answers >= s.Message
	}
	return s.Answer > 0
}

// errStruck is what the program behind a fault gets.
var errStruck = errors.New("resettest: the fault has ended the connection")

// Listener accepts connections and lets faults strike them. The program behind it
// sees errors, short reads and failed writes, as it would in the wild. Which faults
// it knows Fault.Stream says; octets count from the beginning of the stream, heads
// included, and at is 1 by default (64 for the answer).
type Listener struct {
	ln    net.Listener
	plan  *plan
	limit int
	done  chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	streams []Stream            // guarded by mu
	live    map[*faultConn]bool // guarded by mu
	count   int                 // guarded by mu
	refused int                 // guarded by mu
	closed  bool                // guarded by mu
}

// maxStreams of a Listener's ledger.
const maxStreamEntries = 1 << 18

// NewListener puts faults before a listener of TCP.
func NewListener(ln net.Listener, seed uint64, inject ...Injection) (*Listener, error) {
	p, err := newPlan(seed, inject, true)
	if err != nil {
		return nil, err
	}
	if p.has(stagePort) {
		return nil, errors.New("a listener cannot refuse or swallow connections: a Proxy and a Server can")
	}
	return newListener(ln, p), nil
}

func newListener(ln net.Listener, p *plan) *Listener {
	return &Listener{ln: ln, plan: p, limit: maxStreamEntries, done: make(chan struct{}), live: map[*faultConn]bool{}}
}

// Listen listens on a loopback port with faults.
func Listen(seed uint64, inject ...Injection) (*Listener, error) {
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l, err := NewListener(ln, seed, inject...)
	if err != nil {
		_ = ln.Close()
	}
	return l, err
}

// Addr returns the address.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Streams returns what happened to each connection so far, in order.
func (l *Listener) Streams() []Stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.streams)
}

// Refused returns how many connections found the ledger full and are not in it.
func (l *Listener) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// Abort resets every connection that is open now and returns how many.
func (l *Listener) Abort() int {
	l.mu.Lock()
	var list []*faultConn
	for c := range l.live {
		list = append(list, c)
	}
	l.mu.Unlock()
	for _, c := range list {
		c.kill(nil, func() { _ = abort(c.TCPConn) })
	}
	return len(list)
}

// Close stops accepting and ends the connections that no program has.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	var parked []*faultConn
	for c := range l.live {
		if c.early() {
			parked = append(parked, c)
		}
	}
	l.mu.Unlock()
	err := l.ln.Close()
	for _, c := range parked {
		_ = c.Close()
	}
	l.wg.Wait()
	return err
}

// Accept returns the next connection that reaches the program.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return nil, err
		}
		tc, ok := c.(*net.TCPConn)
		if !ok {
			_ = c.Close()
			return nil, fmt.Errorf("resettest: %T is no connection of TCP", c)
		}
		fc, ok := l.adopt(tc)
		if !ok {
			return nil, net.ErrClosed
		}
		if !fc.early() {
			return fc, nil
		}
		l.wg.Go(fc.strikeEarly)
	}
}

// adopt chooses the fault of a connection.
func (l *Listener) adopt(c *net.TCPConn) (*faultConn, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return nil, false
	}
	l.count++
	fc := &faultConn{TCPConn: c, l: l, entry: -1, ended: make(chan struct{})}
	fc.hit = l.plan.choose(fmt.Sprintf("conn %d", l.count), func(a *armed) bool { return a.fault.stage != stagePort })
	s := Stream{Conn: l.count}
	if fc.hit != nil {
		s.Chosen = fc.hit.Fault
	}
	if fc.aim = newAim(fc.hit); fc.aim != nil {
		s.Message = fc.aim.message
	}
	if len(l.streams) < l.limit {
		l.streams = append(l.streams, s)
		fc.entry = len(l.streams) - 1
	} else {
		l.refused++
	}
	l.live[fc] = true
	return fc, true
}

// faultConn is a connection that a fault may strike.
type faultConn struct {
	*net.TCPConn
	l     *Listener
	hit   *armed // nil: none
	aim   *aim   // nil: the fault counts octets from the beginning
	entry int
	ended chan struct{} // closed when the connection is dead

	mu   sync.Mutex
	in   int64       // guarded by mu
	out  int64       // guarded by mu
	dead error       // guarded by mu
	idle *time.Timer // guarded by mu
}

func (c *faultConn) note(change func(*Stream)) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.entry >= 0 {
		change(&c.l.streams[c.entry])
	}
}

// struck writes into the ledger that the fault strikes.
func (c *faultConn) struck() { c.note(func(s *Stream) { s.Fault = c.name() }) }

// name returns the fault, or nothing.
func (c *faultConn) name() string {
	if c.hit == nil {
		return ""
	}
	return c.hit.Fault
}

// early says whether the fault strikes before the program gets the connection.
func (c *faultConn) early() bool {
	return c.hit != nil && (c.hit.fault.stage == stageAccept || c.hit.fault.stage == stageArrival)
}

func (c *faultConn) strikeEarly() {
	if c.hit.fault.stage == stageArrival {
		if _, err := peekAt(c.TCPConn, make([]byte, 1)); err != nil {
			_ = c.Close()
			return
		}
	}
	if c.name() == "ignored" {
		c.struck()
		c.wait(30 * time.Second)
	}
	if c.name() == "accept-close" || c.name() == "close-before-read" {
		c.kill(errStruck, func() { _ = c.TCPConn.Close() })
		return
	}
	c.strikeRST()
}

// wait waits for the time of the fault, or the end of the listener.
func (c *faultConn) wait(def time.Duration) {
	t := time.NewTimer(or(c.hit.After, def))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.l.done:
	}
}

// kill ends the connection once. why is errStruck when the fault did it.
func (c *faultConn) kill(why error, end func()) {
	c.mu.Lock()
	if c.dead != nil {
		c.mu.Unlock()
		return
	}
	c.dead = net.ErrClosed
	if why != nil {
		c.dead = why
	}
	if c.idle != nil {
		c.idle.Stop()
	}
	close(c.ended)
	c.mu.Unlock()
	if why != nil {
		c.struck() // before the client can see it
	}
	end()
	c.note(func(s *Stream) { s.Ended = true })
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	delete(c.l.live, c)
}

func (c *faultConn) strikeRST() { c.kill(errStruck, func() { _ = abort(c.TCPConn) }) }
func (c *faultConn) strikeFIN() { c.kill(errStruck, func() { _ = finish(c.TCPConn, 64<<20) }) }

// Close closes the connection.
func (c *faultConn) Close() error {
	var err error
	c.kill(nil, func() { err = c.TCPConn.Close() })
	return err
}

// state returns the counters and why the connection is dead, if it is.
func (c *faultConn) state() (in, out int64, dead error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in, c.out, c.dead
}

// ReadFrom and WriteTo go through Read and Write: the faults count octets there.
func (c *faultConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// WriteTo implements io.WriterTo.
func (c *faultConn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// Read reads what the fault lets through.
func (c *faultConn) Read(p []byte) (int, error) {
	in, _, dead := c.state()
	if dead != nil {
		return 0, dead
	}
	if c.aim != nil {
		return c.readAimed(p)
	}
	left := int64(len(p))
	switch name := c.name(); name {
	case "rst-mid-body", "unread-data", "stop-reading":
		if left = min(left, or(c.hit.At, 1)-in); left <= 0 && len(p) > 0 {
			return 0, c.stopped(name)
		}
	}
	n, err := c.TCPConn.Read(p[:left])
	if _, _, dead := c.state(); dead != nil { // struck from elsewhere: what still came is lost
		return 0, dead
	}
	if n > 0 && c.name() == "rst-unforwarded" {
		return 0, c.acknowledged()
	}
	c.gave(int64(n))
	switch {
	case n == 0:
	case c.name() == "rst-mid-body" && in+int64(n) >= or(c.hit.At, 1):
		c.strikeRST()
	case c.name() == "half-close" && in == 0:
		c.struck()
		_ = c.CloseWrite()
	}
	return n, err
}

// stopped is the end of reading.
func (c *faultConn) stopped(name string) error {
	if name == "unread-data" && c.aim != nil {
		c.strikeRST() // what is unread was taken from the kernel; it would send the same
		return errStruck
	}
	if name == "unread-data" {
		if _, err := peekAt(c.TCPConn, make([]byte, 1)); err != nil {
			return err
		}
		c.kill(errStruck, func() { _ = c.TCPConn.Close() })
		return errStruck
	}
	c.struck()
	c.wait(30 * time.Second)
	c.strikeRST()
	return errStruck
}

// gave counts octets for the program.
func (c *faultConn) gave(n int64) {
	c.mu.Lock()
	c.in += n
	if n > 0 && c.idle != nil {
		c.idle.Stop()
	}
	c.mu.Unlock()
	c.note(func(s *Stream) { s.In += n })
}

// Write lets through what the fault leaves of the answer.
func (c *faultConn) Write(p []byte) (int, error) {
	_, out, dead := c.state()
	if dead != nil {
		return 0, dead
	}
	c.note(func(s *Stream) { s.Answer += int64(len(p)) })
	if c.aim != nil {
		return c.writeAimed(p)
	}
	return c.answer(p, out)
}

// answer does with a piece of the answer what the fault says. out is how much of it the
// client was given before.
func (c *faultConn) answer(p []byte, out int64) (int, error) {
	switch c.name() {
	case "rst-after-commit":
		c.strikeRST()
	case "fin-after-commit":
		c.strikeFIN()
	case "slow-rst":
		c.wait(50 * time.Millisecond)
		c.strikeRST()
	case "fin-then-rst":
		c.struck()
		_ = c.CloseWrite()
		if c.hit.After > 0 {
			c.wait(0)
		}
		c.strikeRST()
	case "half-close", "stall-after-commit":
		c.struck()
		if c.aim != nil {
			c.aim.silent = true
		}
		return len(p), nil
	case "lost-rst":
		c.kill(errStruck, func() { _ = vanish(c.TCPConn) })
	case "rst-mid-response", "fin-mid-response", "trickle-rst":
		return c.writePart(p, or(c.hit.At, 64)-out)
	default:
		n, err := c.send(p)
		c.armIdle()
		return n, err
	}
	return 0, errStruck
}

// send gives octets to the socket. They are in the ledger before the client can
// have them.
func (c *faultConn) send(p []byte) (int, error) {
	c.note(func(s *Stream) { s.Out += int64(len(p)) })
	n, err := c.TCPConn.Write(p)
	c.mu.Lock()
	c.out += int64(n)
	c.mu.Unlock()
	c.note(func(s *Stream) { s.Out -= int64(len(p) - n) })
	return n, err
}

// writePart sends as much as the fault lets through, and strikes when that is all.
func (c *faultConn) writePart(p []byte, left int64) (int, error) {
	n := int(min(left, int64(len(p))))
	step := max(n, 1)
	if c.name() == "trickle-rst" {
		step = 1
	}
	for i := 0; i < n; i += step {
		if _, err := c.send(p[i:min(i+step, n)]); err != nil {
			return i, err
		}
		if step == 1 && c.name() == "trickle-rst" {
			c.wait(time.Millisecond)
		}
	}
	if int64(n) < left {
		return n, nil
	}
	flushed(c.TCPConn)
	if c.name() == "fin-mid-response" {
		c.strikeFIN()
		return n, errStruck
	}
	if c.name() == "rst-mid-response" && c.hit.After > 0 {
		c.wait(0)
	}
	c.strikeRST()
	return n, errStruck
}

// armIdle starts the clock of the idle faults after an answer.
func (c *faultConn) armIdle() {
	strike := c.strikeRST
	switch c.name() {
	case "idle-rst":
	case "idle-fin":
		strike = func() { c.kill(errStruck, func() { _ = c.TCPConn.Close() }) }
	default:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		c.idle.Stop()
	}
	c.idle = time.AfterFunc(or(c.hit.After, 100*time.Millisecond), strike)
}
