package steady

import (
	"context"
	"net"
	"sync"
	"time"
)

// Pool keeps connections for programs that speak a protocol of their own, one request
// at a time on each connection, such as a relay. It needs no net/http. Get gives a
// connection, Conn.Begin begins a request on it, Conn.Judge says what became of one
// that failed, Put gives the connection back when the answer was read.
//
//	for {
//		c, err := pool.Get(ctx, "tcp", addr)
//		c.Begin(steady.Request{Once: true})
//		if err = talk(c); err == nil {
//			pool.Put(c)
//			return nil
//		}
//		failed := c.Judge(err, steady.TrustKernel) // before Close
//		c.Close()
//		if !failed.Verdict.SafeToRetry() {
//			return failed
//		}
//	}
//
// It learns the idle timeout of each address as Transport does. The zero value is
// ready; fields must not change after the first call.
type Pool struct {
	// Dial makes connections, such as Dialer.DialContext. Default: a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// MaxIdle is how many connections are kept for each address. Default 64; those
	// beyond are closed.
	MaxIdle int
	// IdleTimeout is how long one is kept. Default 90 s.
	IdleTimeout time.Duration

	ups table[upstream]

	mu     sync.Mutex
	idle   map[string][]*Conn // guarded by mu: by network and address, the latest last
	closed bool               // guarded by mu
}

// Request is what Conn.Begin is told of a request.
type Request struct {
	// Once says that it must not be executed twice. Then a connection that was silent
	// for long is left, and its first octet goes out alone: see docs/retry.md.
	Once bool
}

// Begin says that a request begins, as Mark does, on a connection from a Pool. A first
// write that is refused, or of which all but the first octet is withheld, is judged safe
// to send again, on another connection.
func (c *Conn) Begin(r Request) {
	c.mu.Lock()
	used := c.used
	c.mu.Unlock()
	c.arm(flight{reused: used, careful: r.Once}, actArm)
}

// poolTable bounds the addresses of which connections are kept.
const poolTable = 1024

// Get returns an idle connection that lives, the one used last, or a new one.
func (p *Pool) Get(ctx context.Context, network, addr string) (*Conn, error) {
	key := network + " " + addr
	for c := p.pop(key); c != nil; c = p.pop(key) {
		silent := time.Duration(now() - c.lastRead.Load())
		if limit := c.up.idleLimit(c.base.RTT, now()); !c.Broken() && silent < p.idleTimeout() && (limit == 0 || silent < limit) {
			return c, nil
		}
		_ = c.Close() // it has ended, or would soon
	}
	dial := p.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	up := p.upstream(key)
	c, ok := raw.(*Conn)
	if !ok {
		c = track(raw, up)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pool = key
	if c.up == nil {
		c.up = up
	}
	return c, nil
}

func (p *Pool) upstream(key string) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ups.make == nil {
		p.ups.make = func() *upstream { return &upstream{} }
	}
	return p.ups.get(key)
}

func (p *Pool) idleTimeout() time.Duration {
	if p.IdleTimeout > 0 {
		return p.IdleTimeout
	}
	return 90 * time.Second
}

func (p *Pool) pop(key string) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	if p.idle[key] = list[:len(list)-1]; len(list) == 1 {
		delete(p.idle, key)
	}
	return c
}

// Put ends the request on c, whose answer was read to its end, and keeps c for the next,
// if it may. A connection that failed is closed by its user instead.
func (p *Pool) Put(c *Conn) {
	key, ok := c.answer()
	limit := p.MaxIdle
	if limit <= 0 {
		limit = 64
	}
	if ok {
		p.mu.Lock()
		_, there := p.idle[key]
		if ok = !p.closed && len(p.idle[key]) < limit && (there || len(p.idle) < poolTable); ok {
			if p.idle == nil {
				p.idle = map[string][]*Conn{}
			}
			p.idle[key] = append(p.idle[key], c)
		}
		p.mu.Unlock()
	}
	if !ok {
		_ = c.Close() // nobody needs it any more
	}
}

// answer ends a request that was answered, and returns whose connection it is, and
// whether it can carry another.
func (c *Conn) answer() (pool string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lockedVouch()
	c.used = true
	return c.pool, c.lockedStep(actAnswer) && c.pool != "" && !c.ended && c.answered == c.written && c.flight.writing == 0
}

// Close closes the connections that are kept; later ones are not.
func (p *Pool) Close() error {
	p.mu.Lock()
	list := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, conns := range list {
		for _, c := range conns {
			_ = c.Close() // they end all the same
		}
	}
	return nil
}
