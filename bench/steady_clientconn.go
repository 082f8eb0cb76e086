package main

import (
	"context"
	"net/http"
	"sync"
)

// connPool is the least that a pool on http.Transport.NewClientConn can be: for one
// address, HTTP/1, last in first out, without limits, idle timeouts, traces, hedges and
// evidence. It is measured beside steady to say what such a pool would win.
type connPool struct {
	base *http.Transport
	mu   sync.Mutex
	idle []*http.ClientConn // guarded by mu
}

func (p *connPool) roundTrip(req *http.Request) (*http.Response, error) {
	for {
		c, err := p.get(req.Context(), req.URL.Host)
		if err != nil {
			return nil, err
		}
		if c.Reserve() != nil { // it ended while it was idle
			continue
		}
		return c.RoundTrip(req)
	}
}

func (p *connPool) get(ctx context.Context, addr string) (*http.ClientConn, error) {
	p.mu.Lock()
	if n := len(p.idle) - 1; n >= 0 {
		c := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.base.NewClientConn(ctx, "http", addr)
	if err != nil {
		return nil, err
	}
	c.SetStateHook(p.changed)
	return c, nil
}

// changed is called when a request on the connection is over.
func (p *connPool) changed(c *http.ClientConn) {
	if c.Err() != nil || c.Available() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

func (p *connPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}

// clientConnClient sends through such a pool.
func clientConnClient() *postClient {
	c, tr := newClient("NewClientConn, a bare pool")
	p := &connPool{base: tr}
	c.do, c.close = p.roundTrip, p.close
	return c
}
