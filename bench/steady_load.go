package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/holdfast-project/holdfast/steady/handover"
)

// steadyRestarts replaces the server under the load of keep-alive clients of
// plain net/http, so that what is kept is kept by the server's side alone: by
// Handover with Drain, and, as most programs do, by passing the listener on and
// http.Server.Shutdown.
func (b *bench) steadyRestarts(dir string) (string, error) {
	var rows [][]string
	for _, w := range []struct {
		name     string
		restarts int
		handover bool
	}{
		{"steady/handover, with drain", b.restarts, true},
		{"listener passed on, http.Server.Shutdown", max(1, b.restarts/5), false},
	} {
		ledger := filepath.Join(dir, fmt.Sprintf("restarts-%v", w.handover))
		row, failed, err := b.restartUnderLoad(ledger, filepath.Join(dir, "handover"), w.restarts, w.handover)
		if err != nil {
			return "", fmt.Errorf("%s: %w", w.name, err)
		}
		rows = append(rows, append([]string{w.name}, row...))
		if w.handover && failed > 0 {
			return "", fmt.Errorf("%s failed %d requests: %s", w.name, failed, strings.Join(row, ", "))
		}
	}
	return table([]string{"server", "restarts", "POSTs answered", "failed", "failed for each restart", "executed twice", "for each restart"}, rows), nil
}

const (
	restartClients = 64
	restartThink   = 5 * time.Millisecond
	restartPause   = 100 * time.Millisecond // so that the clients are busy when the next comes
)

func (b *bench) restartUnderLoad(ledger, path string, restarts int, handover bool) (row []string, failed int64, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	defer l.Close()
	old, err := b.startSuccessor(l, ledger, path, handover)
	if err != nil {
		return nil, 0, err
	}
	defer func() { old.stop() }()
	next := func() (*tool, error) { return b.startSuccessor(l, ledger, path, false) }
	if handover {
		l.Close() // the children have it
		next = func() (*tool, error) { return b.startHeir(ledger, path) }
	}
	load := b.keepPosting("http://" + l.Addr().String())
	begin := time.Now()
	for range restarts {
		fresh, err := next()
		if err != nil {
			load.stop()
			return nil, 0, err
		}
		old.stop() // by Handover it is about to end by itself
		time.Sleep(restartPause)
		progress("  %s\n", lastLine(old.text()))
		old = fresh
		if b.ctx.Err() != nil {
			break
		}
	}
	took := time.Since(begin)
	load.stop()
	if b.ctx.Err() != nil {
		return nil, 0, errors.New("interrupted")
	}
	counts, err := readLedger(ledger)
	if err != nil {
		return nil, 0, err
	}
	twice := 0
	for _, n := range counts.requests {
		twice += n - 1
	}
	ok, bad := load.ok.Load(), load.failed.Load()
	if ok == 0 {
		return nil, 0, errors.New("no request was answered")
	}
	return []string{
		fmt.Sprint(restarts), fmt.Sprint(ok), fmt.Sprint(bad), fmt.Sprintf("%.1f", float64(bad)/float64(restarts)), fmt.Sprint(twice),
		fmt.Sprintf("%.0f ms", ms(took)/float64(restarts)),
	}, bad, nil
}

// startHeir starts a server that takes the listener from its predecessor, which
// offers it since it said that it serves.
func (b *bench) startHeir(ledger, path string) (*tool, error) {
	return launch(b.ctx, nil, exec.Command("/proc/self/exe", "role", "steady-server", "-ledger", ledger, "-handover", path), "serving ")
}

// startSuccessor starts a server that inherits the listener from this process.
func (b *bench) startSuccessor(l net.Listener, ledger, path string, offered bool) (*tool, error) {
	args := []string{"role", "steady-server", "-ledger", ledger}
	if offered {
		args = append(args, "-handover", path)
	} else {
		args = append(args, "-inherit")
	}
	files, env, err := handover.Pass(nil, l)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.ExtraFiles, cmd.Env = files, env
	return launch(b.ctx, nil, cmd, "serving ")
}

// posting is a load that goes on until it is stopped.
type posting struct {
	ok, failed atomic.Int64
	done       chan struct{}
	wg         sync.WaitGroup
	client     *postClient
}

func (b *bench) keepPosting(url string) *posting {
	p := &posting{done: make(chan struct{}), client: plainClient("net/http", false)}
	var next atomic.Int64
	for range restartClients {
		p.wg.Go(func() {
			for {
				select {
				case <-p.done:
					return
				default:
				}
				if sendPost(b.ctx, p.client, &trail{id: fmt.Sprintf("c0-%d", next.Add(1))}, url) == nil {
					p.ok.Add(1)
				} else {
					p.failed.Add(1)
				}
				time.Sleep(restartThink) // a client that thinks
			}
		})
	}
	return p
}

func (p *posting) stop() {
	close(p.done)
	p.wg.Wait()
	p.client.close()
}

const overheadConns = 64

// steadyOverhead measures what steady adds to requests that succeed.
func (b *bench) steadyOverhead(string) (string, error) {
	srv, url, err := b.startSteady()
	if err != nil {
		return "", err
	}
	defer srv.stop()
	// All in one process and against one server. The second plain client shows the noise, and
	// a bare pool of NewClientConn what it would cost to leave net/http's own pool.
	clients := []*postClient{plainClient("net/http", false), bareSteady(false), bareSteady(true), clientConnClient(), plainClient("net/http again (noise)", false)}
	results := make([][]overhead, len(clients))
	for round := range b.rounds {
		for k := range 2 * len(clients) { // forth and back
			i := k
			if k >= len(clients) {
				i = 2*len(clients) - 1 - k
			}
			i = (i + round) % len(clients)
			o, err := b.closedLoop(clients[i], url, time.Duration(b.seconds*float64(time.Second)/2), srv)
			if err != nil {
				return "", err
			}
			if k < len(clients) {
				results[i] = append(results[i], o)
			} else {
				results[i][round].add(o)
			}
		}
		progress("  round %d of %d\n", round+1, b.rounds)
	}
	var rows [][]string
	for i, c := range clients {
		var rate, cpu, client, reqs, us, allocs, p99 sample
		for r, o := range results[i] {
			base := results[0][r]
			rate = append(rate, o.rate()/base.rate())
			cpu = append(cpu, o.each(o.cpu+o.server)/base.each(base.cpu+base.server))
			client = append(client, o.each(o.cpu)/base.each(base.cpu))
			reqs, us = append(reqs, o.rate()), append(us, 1e6*o.each(o.cpu))
			allocs = append(allocs, o.each(o.allocs)-base.each(base.allocs))
			p99 = append(p99, o.took.quantile(0.99))
		}
		rows = append(rows, []string{
			c.name, rate.ratio(), cpu.ratio(), client.ratio(), fmt.Sprintf("%.0f", reqs.median()), fmt.Sprintf("%.1f", us.median()),
			fmt.Sprintf("%+.1f", allocs.median()), fmt.Sprintf("%.1f [%.1f-%.1f]", p99.median(), p99.quantile(0.25), p99.quantile(0.75)), fmt.Sprint(len(results[i])),
		})
	}
	return table([]string{"client", "rate", "CPU of client and server", "CPU of the client", "requests/s", "us CPU of the client each", "allocations each", "p99, ms", "rounds"}, rows), nil
}

// bareSteady is steady as it is used, without this program's observer.
func bareSteady(own bool) *postClient {
	c, tr := newClient(steadyName(own))
	st := &steady.Transport{Base: tr, OwnPool: own}
	c.do, c.close, c.stats = st.RoundTrip, st.CloseIdleConnections, st.Stats
	return c
}

// overhead is what a number of requests took.
type overhead struct {
	n, seconds, cpu, server, allocs float64
	took                            sample // of requests, in ms
}

func (o *overhead) add(p overhead) {
	o.n, o.seconds, o.cpu, o.server, o.allocs = o.n+p.n, o.seconds+p.seconds, o.cpu+p.cpu, o.server+p.server, o.allocs+p.allocs
	o.took = append(o.took, p.took...)
}
func (o overhead) rate() float64          { return o.n / o.seconds }
func (o overhead) each(x float64) float64 { return x / o.n }

// closedLoop sends small POSTs over 64 connections for a time.
func (b *bench) closedLoop(c *postClient, url string, d time.Duration, srv *tool) (overhead, error) {
	var stop atomic.Bool
	var n atomic.Int64
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	var before, after runtime.MemStats
	var took [overheadConns]sample
	for i := range took {
		took[i] = make(sample, 0, 1<<14) // not while it is measured
	}
	send := func(until func() bool) {
		for i := range overheadConns {
			wg.Go(func() {
				for !until() {
					begin := time.Now()
					if err := sendSmall(c, url); err != nil {
						first.CompareAndSwap(nil, &err)
						return
					}
					if len(took[i]) < cap(took[i]) {
						took[i] = append(took[i], time.Since(begin).Seconds()*1e3)
					}
					n.Add(1)
				}
			})
		}
	}
	var warm atomic.Int64
	send(func() bool { return warm.Add(1) > 10*overheadConns })
	wg.Wait()
	for i := range took {
		took[i] = took[i][:0]
	}
	runtime.GC() // each starts with an equally clean heap
	runtime.ReadMemStats(&before)
	n.Store(0)
	cpu, server, begin := processCPU(), cpuTime(srv.cmd.Process.Pid), time.Now()
	send(stop.Load)
	time.Sleep(d) // the length of the measurement
	stop.Store(true)
	wg.Wait()
	o := overhead{n: float64(n.Load()), seconds: time.Since(begin).Seconds(), cpu: processCPU() - cpu, server: (cpuTime(srv.cmd.Process.Pid) - server).Seconds()}
	runtime.ReadMemStats(&after)
	o.allocs = float64(after.Mallocs - before.Mallocs)
	o.took = slices.Concat(took[:]...)
	c.close()
	if err := first.Load(); err != nil {
		return o, *err
	}
	if o.n == 0 {
		return o, errors.New("no request was answered")
	}
	return o, nil
}

func sendSmall(c *postClient, url string) error {
	return sendOnce(context.Background(), c, http.MethodPost, url, "amount=1")
}

// sendOnce sends a request and reads the answer.
func sendOnce(ctx context.Context, c *postClient, method, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	return finishBody(resp)
}
