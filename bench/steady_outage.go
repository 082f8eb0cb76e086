package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	outageWorkers = 32
	outageThink   = 5 * time.Millisecond
	outageBefore  = time.Second
	outageLength  = 6 * time.Second
	outageAfter   = 4 * time.Second
)

// outageKind is how a server is gone.
type outageKind struct {
	name  string
	abort bool // it takes every request and answers with a RST
}

var outageKinds = []outageKind{{"refuses connections", false}, {"resets every request", true}}

// steadyOutage takes the server away and brings it back, for each client with
// its defaults, and counts what the client adds to its callers' requests.
func (b *bench) steadyOutage(string) (string, error) {
	var rows [][]string
	for _, kind := range outageKinds {
		for i := range postClients(false) {
			c := postClients(false)[i]
			if c.key {
				continue // a PUT needs no key
			}
			row, err := b.outage(c, kind)
			c.close()
			if err != nil {
				return "", fmt.Errorf("%s, %s: %w", kind.name, c.name, err)
			}
			rows = append(rows, append([]string{kind.name, c.name}, row...))
		}
	}
	return table([]string{"server", "client", "requests in the outage", "attempts", "attempts for each", "first success after", "last failure after"}, rows), nil
}

// outageCounts is what the workers did, by phase.
type outageCounts struct {
	phase       atomic.Int64 // 0 before, 1 outage, 2 back
	under       atomic.Int64 // requests under way
	begun       atomic.Int64 // under way when the outage began, or begun in it
	attempts    atomic.Int64 // that began in the outage: connections tried, or requests sent on one that was there
	back        atomic.Int64 // Unix ns when the server was back
	success     atomic.Int64 // the first after that, ns
	lastFailure atomic.Int64 // the last of a request that began after that
	done        chan struct{}
}

func (b *bench) outage(c *postClient, kind outageKind) ([]string, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	start := func(extra ...string) (*tool, error) {
		t, _, err := b.startSteady(append([]string{"-addr", addr}, extra...)...)
		return t, err
	}
	srv, err := start()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	n := &outageCounts{done: make(chan struct{})}
	var wg sync.WaitGroup
	for range outageWorkers {
		wg.Go(func() { n.work(ctx, c, "http://"+addr) })
	}
	time.Sleep(outageBefore) // the phases of the experiment
	srv.killed()
	if kind.abort {
		if srv, err = start("-abort"); err != nil {
			return nil, err
		}
	}
	dials := c.dials.Load()
	n.begun.Store(n.under.Load())
	n.phase.Store(1)
	time.Sleep(outageLength)
	n.attempts.Store(c.dials.Load() - dials)
	n.phase.Store(2)
	if kind.abort {
		srv.killed()
	}
	if srv, err = start(); err != nil {
		return nil, err
	}
	defer srv.stop()
	n.back.Store(time.Now().UnixNano())
	time.Sleep(outageAfter)
	close(n.done)
	cancel()
	wg.Wait()
	if b.ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	return n.row(), nil
}

// row writes the counts. Neither kind of server keeps a connection, so that
// every attempt is a connection that is tried.
func (n *outageCounts) row() []string {
	after := func(at int64, never string) string {
		if at == 0 {
			return never
		}
		return fmt.Sprintf("%.2f s", float64(at)/1e9)
	}
	begun := n.begun.Load()
	return []string{
		fmt.Sprint(begun), fmt.Sprint(n.attempts.Load()), fmt.Sprintf("%.2f", float64(n.attempts.Load())/float64(max(1, begun))),
		after(n.success.Load(), "never"), after(n.lastFailure.Load(), "none"),
	}
}

func (n *outageCounts) work(ctx context.Context, c *postClient, url string) {
	for {
		select {
		case <-n.done:
			return
		default:
		}
		back := n.back.Load()
		if n.phase.Load() == 1 {
			n.begun.Add(1)
		}
		n.under.Add(1)
		err := putOnce(ctx, c, url)
		n.under.Add(-1)
		if at := n.back.Load(); at != 0 && ctx.Err() == nil {
			since := max(1, time.Now().UnixNano()-at)
			if err == nil {
				n.success.CompareAndSwap(0, since)
			} else if back != 0 {
				n.lastFailure.Store(since)
			}
		}
		time.Sleep(outageThink) // a client that thinks
	}
}

// putOnce sends an idempotent request, which every client may repeat.
func putOnce(ctx context.Context, c *postClient, url string) error {
	return sendOnce(ctx, c, http.MethodPut, url, "x")
}
