package steady

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// ownPool keeps connections of plain HTTP/1 over http.Transport.NewClientConn: one
// connection at a time, nothing repeated by itself, no trace needed to see which one a
// request gets. It honours Base's limits of idle connections and binds late: a request
// for which a connection is dialled takes one that comes back before.
type ownPool struct {
	inner   *http.Transport
	mu      sync.Mutex
	hosts   map[string]*ownHost // guarded by mu
	idle    int                 // guarded by mu; of all hosts
	closing bool                // guarded by mu: CloseIdleConnections was called, and nothing since
	sweep   *time.Timer         // guarded by mu; nil when nobody waits for an idle timeout
}

// ownHost is what there is for one address. An empty one is forgotten.
type ownHost struct {
	idle    []*ownConn   // last used last
	waiters []*ownWaiter // first come first
}

type ownConn struct {
	cc    *http.ClientConn
	c     *Conn
	addr  string
	since time.Time // when it became idle
	used  bool
	idle  bool // guarded by the mu of the pool
}

// ownWaiter is a request that waits. Its channel has room for what it is given.
type ownWaiter struct{ got chan ownGiven }

type ownGiven struct {
	oc  *ownConn
	err error
}

// ownSlotKey is the key of a *Conn that the dial function of a Transport fills in.
type ownSlotKey struct{}

// alwaysOwn is set by tests that run everything through the own pool.
var alwaysOwn bool

// init takes what dials from a Transport that is complete. Whether there is a proxy is
// asked once for each request, and not again for each connection.
func (p *ownPool) init(base *http.Transport) {
	p.inner = base.Clone()
	p.inner.Proxy = nil
	p.hosts = map[string]*ownHost{}
}

// ownAddr returns host:port for a request that the pool can carry.
func (t *Transport) ownAddr(req *http.Request) (string, bool) {
	switch {
	case !t.OwnPool && !alwaysOwn || req.URL.Scheme != "http" || t.h2c || t.strange || req.Close || req.Method == http.MethodConnect:
		return "", false
	case t.inner.MaxConnsPerHost > 0 || t.inner.DisableKeepAlives || t.inner.Protocols != nil && !t.inner.Protocols.HTTP1():
		return "", false
	case req.Header == nil || req.Header.Get("Upgrade") != "" || legacyCancel(req):
		return "", false
	case t.inner.Proxy != nil:
		if p, err := t.inner.Proxy(req); p != nil || err != nil {
			return "", false
		}
	}
	return hostPort(req.URL)
}

// legacyCancel says whether a request has the channel that contexts have replaced.
func legacyCancel(req *http.Request) bool {
	//lint:ignore SA1019 deprecated, and honoured by Base
	return req.Cancel != nil
}

// hostPort returns the address of a URL whose host needs no translation.
func hostPort(u *url.URL) (string, bool) {
	host := u.Host
	if i := strings.LastIndexByte(host, ':'); i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		host += ":80"
	} else if i == len(host)-1 {
		host += "80"
	}
	if host[0] == ':' || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || 'A' <= r && r <= 'Z' }) {
		return "", false
	}
	return host, true
}

// roundTrip sends the request of an attempt.
func (p *ownPool) roundTrip(a *attempt, req *http.Request, addr string) (*http.Response, error) {
	for {
		oc, err := p.get(req.Context(), addr)
		if err != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, err
		}
		if oc.cc.Reserve() != nil { // it ended in the pool
			continue
		}
		a.got, a.conn, a.reused = 1, oc.c, oc.used
		a.number = oc.c.arm(flight{http: true, reused: oc.used, careful: a.careful, tapped: a.t.Tap != nil}, actArm)
		oc.used = true
		if p := a.pass.Load(); p != nil {
			p.own.Store(oc)
		}
		resp, err := oc.cc.RoundTrip(req)
		if err == nil {
			return resp, nil
		}
		p.unbegun(a, oc, req)
		return nil, bareError(err)
	}
}

// unbegun cleans up behind a request that failed before anybody began to write it: it
// is invalid, or its connection ended first. Nobody has closed its body then, since
// those who write are done when RoundTrip returns. The connection of an invalid request
// lives on, and must not be judged.
func (p *ownPool) unbegun(a *attempt, oc *ownConn, req *http.Request) {
	if oc.c.began(a.number) {
		return
	}
	if req.Body != nil {
		_ = req.Body.Close()
	}
	if oc.cc.Err() == nil {
		oc.c.finish(a.number, false)
		a.got, a.conn, a.number, a.reused = 0, nil, 0, false
	}
}

// errCanceled is what http.Transport calls it.
var errCanceled = errors.New("net/http: request canceled")

// cancelOwn ends a pass through the own pool.
func (p *pass) cancelOwn() {
	if oc := p.own.Load(); oc != nil {
		p.canceled.Store(true)
		_ = oc.cc.Close()
	}
}

func (p *pass) unlessCanceled(err error) error {
	if err != nil && p.canceled.Load() {
		return errCanceled
	}
	return err
}

// bareError takes off what http.Transport takes off (net/http/transport.go, roundTrip),
// and its ClientConn leaves on.
func bareError(err error) error {
	switch fmt.Sprintf("%T", err) {
	case "http.nothingWrittenError", "http.transportReadFromServerError":
		return errors.Unwrap(err)
	}
	return err
}

// get returns a connection, which nobody else has.
func (p *ownPool) get(ctx context.Context, addr string) (*ownConn, error) {
	p.mu.Lock()
	p.closing = false
	h := p.hosts[addr]
	if h == nil {
		h = &ownHost{}
		p.hosts[addr] = h
	}
	if n := len(h.idle) - 1; n >= 0 {
		oc := h.idle[n]
		h.idle[n], oc.idle = nil, false
		h.idle = h.idle[:n]
		p.idle--
		p.mu.Unlock()
		return oc, nil
	}
	w := &ownWaiter{got: make(chan ownGiven, 1)}
	h.waiters = append(h.waiters, w)
	p.mu.Unlock()
	go p.dial(context.WithoutCancel(ctx), addr, w)
	select {
	case g := <-w.got:
		return g.oc, g.err
	case <-ctx.Done():
		p.leave(addr, w)
		return nil, context.Cause(ctx)
	}
}

// leave takes back a waiter, and passes on what it was given meanwhile.
func (p *ownPool) leave(addr string, w *ownWaiter) {
	p.mu.Lock()
	p.lockedForget(addr, w)
	p.mu.Unlock()
	select {
	case g := <-w.got:
		if g.oc != nil {
			p.put(g.oc)
		}
	default:
	}
}

// lockedForget says whether the waiter was there.
func (p *ownPool) lockedForget(addr string, w *ownWaiter) bool {
	h := p.hosts[addr]
	if h == nil {
		return false
	}
	i := slices.Index(h.waiters, w)
	if i < 0 {
		return false
	}
	h.waiters = slices.Delete(h.waiters, i, i+1)
	p.lockedDrop(addr, h)
	return true
}

func (p *ownPool) lockedDrop(addr string, h *ownHost) {
	if len(h.idle) == 0 && len(h.waiters) == 0 {
		delete(p.hosts, addr)
	}
}

// dial makes a connection for a waiter, or for whoever waits when it is there.
func (p *ownPool) dial(ctx context.Context, addr string, w *ownWaiter) {
	var c *Conn
	cc, err := p.inner.NewClientConn(context.WithValue(ctx, ownSlotKey{}, &c), "http", addr)
	if err == nil && c == nil {
		_ = cc.Close()
		err = errors.New("steady: the connection is not known")
	}
	if err != nil {
		p.mu.Lock()
		waits := p.lockedForget(addr, w)
		p.mu.Unlock()
		if waits {
			w.got <- ownGiven{err: err}
		}
		return
	}
	oc := &ownConn{cc: cc, c: c, addr: addr}
	cc.SetStateHook(func(*http.ClientConn) { p.changed(oc) })
	p.mu.Lock()
	waits := p.lockedForget(addr, w)
	p.mu.Unlock()
	if waits {
		w.got <- ownGiven{oc: oc}
		return
	}
	p.put(oc)
}

// changed is called when a request on the connection is over, or it has ended.
func (p *ownPool) changed(oc *ownConn) {
	switch {
	case oc.cc.Err() != nil:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lockedRemove(oc)
	case oc.cc.Available() > 0 && oc.used:
		p.put(oc)
	}
}

func (p *ownPool) lockedRemove(oc *ownConn) {
	if !oc.idle {
		return
	}
	oc.idle = false
	h := p.hosts[oc.addr]
	h.idle = slices.DeleteFunc(h.idle, func(o *ownConn) bool { return o == oc })
	p.idle--
	p.lockedDrop(oc.addr, h)
}

// put gives a connection to who waits longest, or keeps it.
func (p *ownPool) put(oc *ownConn) {
	p.mu.Lock()
	if oc.idle { // told twice
		p.mu.Unlock()
		return
	}
	h := p.hosts[oc.addr]
	if h == nil {
		h = &ownHost{}
		p.hosts[oc.addr] = h
	}
	if len(h.waiters) > 0 {
		w := h.waiters[0]
		p.lockedForget(oc.addr, w)
		p.mu.Unlock()
		w.got <- ownGiven{oc: oc}
		return
	}
	most := p.inner.MaxIdleConnsPerHost
	if most == 0 {
		most = http.DefaultMaxIdleConnsPerHost
	}
	if p.closing || len(h.idle) >= most || p.inner.MaxIdleConns > 0 && p.idle >= p.inner.MaxIdleConns {
		p.lockedDrop(oc.addr, h)
		p.mu.Unlock()
		_ = oc.cc.Close()
		return
	}
	h.idle, oc.idle = append(h.idle, oc), true
	p.idle++
	if d := p.inner.IdleConnTimeout; d > 0 {
		oc.since = time.Now()
		if p.sweep == nil {
			p.sweep = time.AfterFunc(d, p.expire)
		}
	}
	p.mu.Unlock()
}

// expire closes what was idle for longer than Base allows.
func (p *ownPool) expire() {
	p.mu.Lock()
	limit := p.inner.IdleConnTimeout
	var old []*ownConn
	next := time.Duration(0)
	for addr, h := range p.hosts {
		for len(h.idle) > 0 && time.Since(h.idle[0].since) >= limit {
			h.idle[0].idle = false
			old = append(old, h.idle[0])
			h.idle = slices.Delete(h.idle, 0, 1)
			p.idle--
		}
		if len(h.idle) > 0 {
			if left := limit - time.Since(h.idle[0].since); next == 0 || left < next {
				next = max(left, time.Millisecond)
			}
		}
		p.lockedDrop(addr, h)
	}
	if p.sweep = nil; next > 0 {
		p.sweep = time.AfterFunc(next, p.expire)
	}
	p.mu.Unlock()
	for _, oc := range old {
		_ = oc.cc.Close()
	}
}

// closeIdle closes what nobody uses, and what nobody will use by the time it is dialled
// or given back, until there is a request again: http.Transport does the same.
func (p *ownPool) closeIdle() {
	p.mu.Lock()
	var all []*ownConn
	for addr, h := range p.hosts {
		for _, oc := range h.idle {
			oc.idle = false
		}
		all = append(all, h.idle...)
		h.idle = nil
		p.lockedDrop(addr, h)
	}
	p.idle, p.closing = 0, true
	p.mu.Unlock()
	for _, oc := range all {
		_ = oc.cc.Close()
	}
}
