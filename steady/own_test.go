package steady

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// counted is a server that counts its connections and says so.
func countedServer(t *testing.T, h http.HandlerFunc) (srv *httptest.Server, conns *atomic.Int64) {
	t.Helper()
	conns = new(atomic.Int64)
	if h == nil {
		h = func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "ok")
		}
	}
	srv = httptest.NewUnstartedServer(h)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			conns.Add(1)
		case http.StateClosed:
			conns.Add(-1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, conns
}

func ownGet(t *testing.T, tr *Transport, url string) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodPut, url, strings.NewReader("x")) // a POST would leave a connection that was silent
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	resp.Body.Close()
}

// idleConns is how many connections the own pool keeps.
func (p *ownPool) idleConns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle
}

func (p *ownPool) hostCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.hosts)
}

// TestOwnPool: connections are used again, closed on demand, and no more of them are
// kept than Base says, nor for longer.
func TestOwnPool(t *testing.T) {
	srv, conns := countedServer(t, nil)
	tr := &Transport{OwnPool: true, Base: &http.Transport{MaxIdleConnsPerHost: 2}}
	for range 20 {
		ownGet(t, tr, srv.URL)
	}
	if n := conns.Load(); n != 1 || tr.own.idleConns() != 1 {
		t.Errorf("%d connections for requests one after another", n)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { ownGet(t, tr, srv.URL) })
	}
	wg.Wait()
	eventually(t, "two connections are kept", func() bool { return tr.own.idleConns() == 2 && conns.Load() == 2 })
	tr.CloseIdleConnections()
	eventually(t, "none is kept", func() bool { return tr.own.idleConns() == 0 && conns.Load() == 0 && tr.own.hostCount() == 0 })

	tr = &Transport{OwnPool: true, Base: &http.Transport{IdleConnTimeout: 20 * time.Millisecond}}
	ownGet(t, tr, srv.URL)
	eventually(t, "the idle timeout", func() bool { return tr.own.idleConns() == 0 && conns.Load() == 0 })
}

// TestOwnPoolClosing: what is dialled when CloseIdleConnections is called, for a request
// that found another connection, is not kept.
func TestOwnPoolClosing(t *testing.T) {
	hold, slow, accepted := make(chan struct{}), make(chan struct{}), make(chan struct{})
	srv, conns := countedServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
		io.WriteString(w, "ok")
	})
	var dials atomic.Int64
	tr := &Transport{OwnPool: true, Base: &http.Transport{}, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) != 2 {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		<-slow
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		for err == nil && conns.Load() == 0 {
			runtime.Gosched()
		}
		close(accepted)
		return c, err
	}}
	var first, second sync.WaitGroup
	first.Go(func() { ownGet(t, tr, srv.URL+"/hold") })
	eventually(t, "the first dial", func() bool { return dials.Load() == 1 })
	second.Go(func() { ownGet(t, tr, srv.URL) })
	eventually(t, "the second dial", func() bool { return dials.Load() == 2 })
	close(hold)
	first.Wait()
	second.Wait()
	tr.CloseIdleConnections()
	eventually(t, "none is open", func() bool { return tr.own.idleConns() == 0 && conns.Load() == 0 })
	close(slow)
	<-accepted
	eventually(t, "the second was closed", func() bool { return conns.Load() == 0 && tr.own.idleConns() == 0 && tr.own.hostCount() == 0 })
	ownGet(t, tr, srv.URL)
	if tr.own.idleConns() != 1 {
		t.Error("a request after that does not keep its connection")
	}
}

// TestOwnPoolDead: a connection that ended in the pool is not tried.
func TestOwnPoolDead(t *testing.T) {
	srv, conns := countedServer(t, nil)
	tr := &Transport{OwnPool: true, Base: &http.Transport{}}
	for range 3 {
		ownGet(t, tr, srv.URL)
		srv.CloseClientConnections()
		eventually(t, "the pool forgets it", func() bool { return tr.own.idleConns() == 0 && conns.Load() == 0 })
	}
}

// TestOwnPoolBindsLate: a request for which a connection is dialled takes the one that
// comes back before, and the dialled one stays for the next.
func TestOwnPoolBindsLate(t *testing.T) {
	hold := make(chan struct{})
	srv, _ := countedServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
		io.WriteString(w, "ok")
	})
	slow := make(chan struct{})
	var dials atomic.Int64
	tr := &Transport{OwnPool: true, Base: &http.Transport{}, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 2 {
			<-slow
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	var first, second sync.WaitGroup
	first.Go(func() { ownGet(t, tr, srv.URL+"/hold") })
	eventually(t, "the first dial", func() bool { return dials.Load() == 1 })
	second.Go(func() { ownGet(t, tr, srv.URL) })
	eventually(t, "the second dial", func() bool { return dials.Load() == 2 })
	ctx, cancel := context.WithCancelCause(t.Context())
	third := make(chan error, 1)
	why := errors.New("enough")
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/hold", nil)
		_, err := tr.RoundTrip(req)
		third <- err
	}()
	eventually(t, "the third dial", func() bool { return dials.Load() == 3 })
	cancel(why)
	if err := <-third; !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	close(hold)
	second.Wait() // its own dial hangs still
	first.Wait()
	close(slow)
	eventually(t, "what was dialled for nobody is kept", func() bool { return tr.own.idleConns() == 2 })
}

// TestOwnPoolDialError: the error goes to the request whose dial it was.
func TestOwnPoolDialError(t *testing.T) {
	no := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	tr := &Transport{OwnPool: true, Attempts: 1, Base: &http.Transport{}, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, no }}
	closed := false
	req, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1:1/", nil)
	req.Body, req.ContentLength = closingBody{strings.NewReader("x"), &closed}, 1
	if _, err := tr.RoundTrip(req); !errors.Is(err, no) || VerdictOf(err) != NotSent || !closed {
		t.Errorf("%v, %v, body closed %v", err, VerdictOf(err), closed)
	}
	if len(tr.own.hosts) != 0 {
		t.Error("somebody is remembered")
	}
}

// TestOwnPoolInvalid: an invalid request is refused, its body closed, and the
// connection stays.
func TestOwnPoolInvalid(t *testing.T) {
	srv, _ := countedServer(t, nil)
	tr := &Transport{OwnPool: true, Base: &http.Transport{}}
	ownGet(t, tr, srv.URL)
	closed := false
	req, _ := http.NewRequest(http.MethodPut, srv.URL, nil)
	req.Body, req.ContentLength = closingBody{strings.NewReader("x"), &closed}, 1
	req.Header["in valid"] = []string{"x"}
	if _, err := tr.RoundTrip(req); err == nil || !closed || tr.own.idleConns() != 1 {
		t.Errorf("%v, body closed %v, %d idle", err, closed, tr.own.idleConns())
	}
	ownGet(t, tr, srv.URL)
}

type closingBody struct {
	io.Reader
	closed *bool
}

func (c closingBody) Close() error { *c.closed = true; return nil }

// TestOwnPoolCancelRequest: the deprecated way to end a request ends it.
func TestOwnPoolCancelRequest(t *testing.T) {
	arrived := make(chan struct{})
	srv, _ := countedServer(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	tr := &Transport{OwnPool: true, Base: &http.Transport{}}
	req, _ := http.NewRequest(http.MethodPost, srv.URL, nil)
	go func() {
		<-arrived
		tr.CancelRequest(req)
	}()
	if _, err := tr.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "net/http: request canceled") {
		t.Error(err)
	}
}

// TestOwnPoolLeavesOthers: what it cannot carry goes through Base.
func TestOwnPoolLeavesOthers(t *testing.T) {
	proxy, _ := url.Parse("http://127.0.0.1:1")
	post := func(change func(*http.Request)) *http.Request {
		r, _ := http.NewRequest(http.MethodPost, "http://server.example/", nil)
		change(r)
		return r
	}
	plain := func(*http.Request) {}
	for name, c := range map[string]struct {
		base *http.Transport
		req  *http.Request
		want string
	}{
		"plain":           {&http.Transport{}, post(plain), "server.example:80"},
		"port":            {&http.Transport{}, post(func(r *http.Request) { r.URL.Host = "[::1]:8080" }), "[::1]:8080"},
		"no port":         {&http.Transport{}, post(func(r *http.Request) { r.URL.Host = "[::1]" }), "[::1]:80"},
		"empty port":      {&http.Transport{}, post(func(r *http.Request) { r.URL.Host = "a:" }), "a:80"},
		"no host":         {&http.Transport{}, post(func(r *http.Request) { r.URL.Host = "" }), ""},
		"name to convert": {&http.Transport{}, post(func(r *http.Request) { r.URL.Host = "bücher.example" }), ""},
		"https":           {&http.Transport{}, post(func(r *http.Request) { r.URL.Scheme = "https" }), ""},
		"close":           {&http.Transport{}, post(func(r *http.Request) { r.Close = true }), ""},
		"upgrade":         {&http.Transport{}, post(func(r *http.Request) { r.Header.Set("Upgrade", "x") }), ""},
		"connect":         {&http.Transport{}, post(func(r *http.Request) { r.Method = http.MethodConnect }), ""},
		"limit":           {&http.Transport{MaxConnsPerHost: 1}, post(plain), ""},
		"no keep-alive":   {&http.Transport{DisableKeepAlives: true}, post(plain), ""},
		"proxy":           {&http.Transport{Proxy: http.ProxyURL(proxy)}, post(plain), ""},
	} {
		tr := &Transport{OwnPool: true, Base: c.base}
		tr.once.Do(tr.init)
		if addr, ok := tr.ownAddr(c.req); addr != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, addr, ok, c.want)
		}
	}
	srv, _ := countedServer(t, nil)
	tr := &Transport{OwnPool: true, Base: &http.Transport{}}
	got := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { got++ }})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got != 1 || tr.own.idleConns() != 0 {
		t.Errorf("a traced request: GotConn %d times, %d connections of the own pool", got, tr.own.idleConns())
	}
}
