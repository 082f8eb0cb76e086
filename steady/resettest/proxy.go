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

// Proxy relays TCP connections to an upstream and lets faults strike them, on the
// client's side. It is a faithful relay otherwise: an end of stream stays one, and
// a reset stays a reset.
type Proxy struct {
	addr     *net.TCPAddr
	upstream string

	mu       sync.Mutex      // guards addr and upstream, too
	plan     *plan           // never replaced
	ln       *Listener       // guarded by mu; nil while the port itself is the fault, or off
	free     func()          // guarded by mu; gives the faulty port back
	names    []string        // guarded by mu; of the injections, in order
	byName   map[string]*use // guarded by mu
	past     []Stream        // guarded by mu; of listeners before this one
	off      bool            // guarded by mu
	closed   bool            // guarded by mu
	toxics   []Toxic         // guarded by mu; replaced as a whole
	toxicIDs int             // guarded by mu; given so far
	changed  chan struct{}   // guarded by mu; closed when toxics are replaced
	relayed  int             // guarded by mu; connections so far
	open     map[int]func()  // guarded by mu; ends a relayed connection
	relays   sync.WaitGroup
	running  chan struct{} // as many as may relay at once
	refused  int           // guarded by mu
}

// use is an injection with its name.
type use struct {
	in Injection
	a  *armed // nil for faults of the port
}

// The limits of a Proxy.
const (
	maxFaults  = 64
	maxRelays  = 4096
	dialLimit  = 10 * time.Second
	copyBuffer = 32 << 10
)

// NewProxy starts a proxy on listen (host:port; port 0 chooses one) to upstream.
func NewProxy(listen, upstream string, seed uint64) (*Proxy, error) {
	if _, _, err := net.SplitHostPort(upstream); err != nil {
		return nil, fmt.Errorf("upstream %q: %w", upstream, err)
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", listen, err)
	}
	p := &Proxy{addr: addr, upstream: upstream, plan: &plan{seed: seed}, byName: map[string]*use{}, open: map[int]func(){}, running: make(chan struct{}, maxRelays)}
	if err := p.lockedOpen(); err != nil { // nobody else knows it yet
		return nil, err
	}
	return p, nil
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr.String()
}

// Upstream returns host:port of the upstream.
func (p *Proxy) Upstream() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.upstream
}

// Move makes the proxy listen on another address, and relay to another upstream, as
// far as they differ. Connections that are open are aborted then.
func (p *Proxy) Move(listen, upstream string) error {
	if _, _, err := net.SplitHostPort(upstream); err != nil {
		return fmt.Errorf("upstream %q: %w", upstream, err)
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", listen, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if same := addr.Port == p.addr.Port && addr.IP.Equal(p.addr.IP); same && upstream == p.upstream {
		return nil
	}
	old, oldUpstream := p.addr, p.upstream
	p.addr, p.upstream = addr, upstream
	if err := p.lockedReopen(); err != nil {
		p.addr, p.upstream = old, oldUpstream
		return errors.Join(err, p.lockedReopen())
	}
	return nil
}

// lockedOpen listens, or does what the fault of the port says.
func (p *Proxy) lockedOpen() error {
	for _, name := range p.names {
		if f, _ := Lookup(p.byName[name].in.Fault); f.stage == stagePort {
			bound, free, err := faultyPort(f.Name, p.addr)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", f.Name, p.addr, err)
			}
			p.addr, p.free = bound, free
			return nil
		}
	}
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", p.addr.String())
	if err != nil {
		return err
	}
	p.addr = ln.Addr().(*net.TCPAddr)
	p.ln = newListener(ln, p.plan)
	l := p.ln
	p.relays.Go(func() { p.serve(l) })
	return nil
}

// lockedShut stops listening and aborts what is open.
func (p *Proxy) lockedShut() {
	if p.ln != nil {
		_ = p.ln.Close()
		p.ln.Abort()
		p.past = append(p.past, p.ln.Streams()...)
		p.past = p.past[max(0, len(p.past)-maxStreamEntries):]
		p.ln = nil
	}
	if p.free != nil {
		p.free()
		p.free = nil
	}
}

func (p *Proxy) serve(l *Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			select {
			case <-l.done:
				return
			case <-time.After(time.Millisecond): // too many open files: let some close
				continue
			}
		}
		fc := c.(*faultConn)
		select {
		case p.running <- struct{}{}:
			p.relays.Go(func() {
				defer func() { <-p.running }()
				p.relay(fc)
			})
		default:
			p.mu.Lock()
			p.refused++
			p.mu.Unlock()
			fc.kill(nil, func() { _ = abort(fc.TCPConn) })
		}
	}
}

// relay copies both ways until both sides have ended. A fault, or Abort, ends the
// upstream, too.
func (p *Proxy) relay(c *faultConn) {
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-c.ended:
			cancel()
		case <-ctx.Done():
		}
	})
	// A connection that comes to be while it is given up must see a reset, too.
	u, err := (&net.Dialer{Timeout: dialLimit, Control: abortive}).DialContext(ctx, "tcp", p.Upstream())
	if err != nil {
		c.note(func(s *Stream) { s.Upstream = err.Error() })
		c.kill(nil, func() { _ = abort(c.TCPConn) })
		return
	}
	up := u.(*net.TCPConn)
	_ = up.SetLinger(-1)
	defer func() { _ = up.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = abort(up) })
	defer stop()
	p.mu.Lock()
	p.relayed++
	conn := p.relayed
	end := func() { _ = c.Close() }
	p.open[conn] = end
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, conn)
	}()
	watch.Go(func() { p.endByTimeout(ctx, conn, end) })
	var upward sync.WaitGroup
	upward.Go(func() {
		if relayOne(up, c, &link{p: p, ctx: ctx, conn: conn, stream: upstream}) {
			_ = up.CloseWrite()
			return
		}
		_ = abort(up)
	})
	if relayOne(c, up, &link{p: p, ctx: ctx, conn: conn, stream: downstream}) {
		_ = c.CloseWrite()
	} else {
		flushed(c.TCPConn)
		c.kill(nil, func() { _ = abort(c.TCPConn) })
	}
	upward.Wait()
}

// relayOne copies until the end of src. It says no when the stream was cut: then
// the other side must see a reset.
func relayOne(dst, src net.Conn, l *link) bool {
	b := make([]byte, copyBuffer)
	for {
		got := l.read(src, b)
		if len(got.b) > 0 {
			if werr := l.write(dst, got.b, got.at); errors.Is(werr, errLimit) {
				_ = src.Close()
				return true
			} else if werr != nil {
				// The reader is gone. What it sent before is still to be copied by the
				// other direction, whose end decides.
				return !errors.Is(werr, errStruck) && !errors.Is(werr, errCut) && !errors.Is(werr, net.ErrClosed)
			}
		}
		if got.err != nil {
			return l.finish() && errors.Is(got.err, io.EOF)
		}
	}
}

// Inject adds an injection under a name. It strikes connections that are accepted
// from now on; Abort resets the ones that are open. A fault of the port has neither
// rate nor count, and aborts what is open.
func (p *Proxy) Inject(name string, in Injection) error {
	f, err := check(in, true)
	if err != nil {
		return err
	}
	if f.stage == stagePort && (in.Rate != 0 && in.Rate != 1 || in.Skip != 0 || in.Times != 0) {
		return fmt.Errorf("fault %s concerns the port: it has no rate and no count", f.Name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return net.ErrClosed
	case p.byName[name] != nil || slices.ContainsFunc(p.toxics, func(t Toxic) bool { return t.Name == name }):
		return fmt.Errorf("%w: an injection named %q", errThere, name)
	case len(p.names) >= maxFaults:
		return fmt.Errorf("a proxy has at most %d injections", maxFaults)
	}
	u := &use{in: in}
	p.names, p.byName[name] = append(p.names, name), u
	if f.stage != stagePort {
		u.a = p.plan.add(in, f)
		return nil
	}
	if err := p.lockedReopen(); err != nil {
		p.lockedForget(name)
		return errors.Join(err, p.lockedReopen())
	}
	return nil
}

// Remove takes an injection back. It says whether there was one of that name.
func (p *Proxy) Remove(name string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.byName[name]
	if u == nil {
		return false, nil
	}
	p.lockedForget(name)
	if u.a != nil {
		p.plan.remove(u.a)
		return true, nil
	}
	return true, p.lockedReopen()
}

func (p *Proxy) lockedForget(name string) {
	delete(p.byName, name)
	p.names = slices.DeleteFunc(p.names, func(n string) bool { return n == name })
}

// lockedReopen listens again, unless the proxy is off.
func (p *Proxy) lockedReopen() error {
	p.lockedShut()
	if p.off || p.closed {
		return nil
	}
	return p.lockedOpen()
}

// Enable switches the proxy on or off. Off, its port is closed and its connections
// are aborted.
func (p *Proxy) Enable(on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.off == !on {
		return nil
	}
	p.off = !on
	return p.lockedReopen()
}

// Enabled says whether the proxy is on.
func (p *Proxy) Enabled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.off && !p.closed
}

// Named is an injection of a Proxy, with how often it was chosen.
type Named struct {
	Name string
	Injection
	Chosen int // connections; a fault of the port does not count
}

// Injections returns the injections in the order in which they were added.
func (p *Proxy) Injections() []Named {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Named
	for _, name := range p.names {
		u := p.byName[name]
		list = append(list, Named{name, u.in, p.plan.chosen(u.a)})
	}
	return list
}

// Streams returns what happened to each connection so far. Conn counts from 1 again
// after the port was closed and opened.
func (p *Proxy) Streams() []Stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.past)
	if p.ln != nil {
		list = append(list, p.ln.Streams()...)
	}
	return list
}

// Refused returns how many connections were aborted because there were too many.
func (p *Proxy) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// Abort resets every connection that is open now and returns how many.
func (p *Proxy) Abort() int {
	p.mu.Lock()
	l := p.ln
	p.mu.Unlock()
	if l == nil {
		return 0
	}
	return l.Abort()
}

// Close ends the proxy and aborts its connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.lockedShut()
	p.mu.Unlock()
	p.relays.Wait()
	return nil
}
