package steady

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// watchServer answers, and tells of its connections.
type watchServer struct {
	*httptest.Server
	mu     sync.Mutex
	states map[net.Conn]http.ConnState // guarded by mu
}

func newWatchServer(t *testing.T, idle time.Duration, secure bool) *watchServer {
	t.Helper()
	s := &watchServer{states: map[net.Conn]http.ConnState{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	}))
	s.Config.IdleTimeout = idle
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.states[c] = state
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// conns returns how many connections there were, and how many are open.
func (s *watchServer) conns() (all, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.states {
		if state != http.StateClosed {
			open++
		}
	}
	return len(s.states), open
}

// transport returns a Transport for the server, and what it learns of it.
func (s *watchServer) transport(t *testing.T) (*Transport, *upstream) {
	t.Helper()
	base := &http.Transport{}
	if s.TLS != nil {
		base.TLSClientConfig = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	}
	tr := &Transport{Base: base}
	t.Cleanup(tr.CloseIdleConnections)
	tr.once.Do(tr.init)
	return tr, tr.ups.get(s.Listener.Addr().String())
}

// sendAfter sends a request after a silence; without GetBody if plain is set.
func (s *watchServer) sendAfter(t *testing.T, tr *Transport, silence time.Duration, method string, plain bool) {
	t.Helper()
	time.Sleep(silence) // the silence is what the test is about
	req, err := http.NewRequest(method, s.URL, bytes.NewReader([]byte("amount=1")))
	if err != nil {
		t.Fatal(err)
	}
	if plain {
		req.GetBody, req.Body = nil, io.NopCloser(bytes.NewReader([]byte("amount=1")))
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// TestUntriedSilence: a POST does not try out how long the server keeps silent
// connections. It takes a fresh one, and the old one is kept to see.
func TestUntriedSilence(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := newWatchServer(t, time.Second, secure)
		tr, up := s.transport(t)
		s.sendAfter(t, tr, 0, "POST", false)
		s.sendAfter(t, tr, 10*time.Millisecond, "POST", false)
		if all, open := s.conns(); all != 2 || open != 2 || tr.Stats().Stale != 1 {
			t.Fatalf("secure %v: %d connections, %d open, %+v", secure, all, open, tr.Stats())
		}
		eventually(t, "the timeout is learned", func() bool { return up.idleLimit(0, now()) > 0 })
		if d := time.Duration(up.timeout.Load()); d < 500*time.Millisecond {
			t.Errorf("secure %v: learned %v", secure, d)
		}
		eventually(t, "the watching ends", func() bool { return up.watching.Load() == nil && up.watched.Load() == 0 })
	}
}

// TestTriedSilence: what a watched connection survives, others may rely on.
func TestTriedSilence(t *testing.T) {
	s := newWatchServer(t, 0, false)
	tr, up := s.transport(t)
	s.sendAfter(t, tr, 0, "POST", false)
	s.sendAfter(t, tr, 10*time.Millisecond, "POST", false)
	at := now()
	if up.untried(10*time.Millisecond, at+int64(time.Second)) || !up.untried(10*time.Second, at+int64(time.Second)) {
		t.Error("a connection that is silent for a second tells of 10 ms, and not of 10 s")
	}
	up.lived(time.Second)
	s.sendAfter(t, tr, 10*time.Millisecond, "POST", false)
	if all, _ := s.conns(); all != 2 {
		t.Errorf("%d connections", all)
	}
	tr.CloseIdleConnections()
	eventually(t, "all are closed", func() bool { _, open := s.conns(); return open == 0 })
	if up.watching.Load() != nil || up.timeout.Load() != 0 {
		t.Errorf("still watched, or %v learned from our own close", time.Duration(up.timeout.Load()))
	}
}

// TestSilenceIsTried: a request that may be executed twice, or one that could not
// be sent on another connection, is not held back.
func TestSilenceIsTried(t *testing.T) {
	for _, row := range []struct {
		method string
		plain  bool
	}{{"PUT", false}, {"POST", true}} {
		s := newWatchServer(t, 0, false)
		tr, _ := s.transport(t)
		tr.MaxReplay = -1
		s.sendAfter(t, tr, 0, row.method, row.plain)
		s.sendAfter(t, tr, 10*time.Millisecond, row.method, row.plain)
		if all, _ := s.conns(); all != 1 {
			t.Errorf("%s: %d connections", row.method, all)
		}
	}
}

// TestWrongTimeoutIsForgotten: connections that end by a restart of the server
// look like a short idle timeout, until one that was left outlives that.
func TestWrongTimeoutIsForgotten(t *testing.T) {
	s := newWatchServer(t, 0, false)
	tr, up := s.transport(t)
	for range 8 {
		up.sawIdleClose(2 * time.Millisecond)
	}
	s.sendAfter(t, tr, 0, "GET", false)
	s.sendAfter(t, tr, 10*time.Millisecond, "GET", false)
	if all, _ := s.conns(); all != 2 {
		t.Fatalf("%d connections", all)
	}
	eventually(t, "it is forgotten", func() bool { return up.timeout.Load() == 0 })
	s.sendAfter(t, tr, 10*time.Millisecond, "GET", false)
	if all, _ := s.conns(); all != 2 {
		t.Errorf("%d connections", all)
	}
	up.sawIdleClose(40 * time.Second)
	up.outlived(100 * time.Second)
	if up.timeout.Load() == 0 {
		t.Error("a timeout is forgotten that a server with slow timers may have")
	}
}
