package steady_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/steady"
)

// slow is a server of which every first copy of a request is executed, and then
// answered only when release is closed, or never when the client is gone.
type slow struct {
	release chan struct{}
	gone    chan string // IDs of copies whose client has left

	mu       sync.Mutex
	executed map[string]int      // guarded by mu
	conns    map[string][]string // guarded by mu
}

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	id := r.Header.Get("X-Id")
	s.mu.Lock()
	s.executed[id]++
	n := s.executed[id]
	s.conns[id] = append(s.conns[id], r.RemoteAddr)
	s.mu.Unlock()
	if n == 1 && strings.HasPrefix(id, "slow") {
		select {
		case <-s.release:
		case <-r.Context().Done():
			s.gone <- id
			return
		}
	}
	fmt.Fprintf(w, "copy %d of %s %s", n, id, strings.Repeat("x", 100_000))
}

func (s *slow) copies(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executed[id]
}

// awaitCopy waits until a copy of a request has arrived.
func (s *slow) awaitCopy(t *testing.T, id string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.copies(id) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("no copy of %q arrived", id)
			return
		}
	}
}

func startSlow(t *testing.T, http2 bool) (*slow, *httptest.Server) {
	s := &slow{release: make(chan struct{}), gone: make(chan string, 64), executed: map[string]int{}, conns: map[string][]string{}}
	srv := httptest.NewUnstartedServer(s)
	if srv.EnableHTTP2 = http2; http2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return s, srv
}

func send(t *testing.T, tr *steady.Transport, method, url, id string, body io.Reader, key bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Id", id)
	if key {
		req.Header.Set("Idempotency-Key", id)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.Request != req {
		t.Fatalf("%s: %v", id, err)
	}
	head, rest, _ := strings.Cut(string(b), " x")
	if method != http.MethodHead && len(rest) != 99_999 {
		t.Errorf("%s: the body has %d bytes", id, len(b))
	}
	return head
}

// TestHedge: the second copy answers, goes by another connection, and the first is
// cancelled.
func TestHedge(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			s, srv := startSlow(t, http2)
			tr := &steady.Transport{
				Base: srv.Client().Transport.(*http.Transport), Hedge: &steady.Hedge{Delay: 20 * time.Millisecond},
				KeyHeaders: []string{"Idempotency-Key"}, Budget: &steady.Budget{Min: 50},
			}
			defer tr.CloseIdleConnections()
			var id string
			tr.Observer = func(_ context.Context, e steady.Event) {
				if e.Kind == steady.EventHedge { // the second copy is not to overtake the first
					s.awaitCopy(t, id)
				}
			}
			for _, c := range []struct {
				method string
				body   io.Reader
				key    bool
			}{{"GET", nil, false}, {"PUT", strings.NewReader("x"), false}, {"DELETE", nil, false}, {"POST", strings.NewReader("x"), true}} {
				id = "slow " + c.method
				if got := send(t, tr, c.method, srv.URL, id, c.body, c.key); got != "copy 2 of "+id {
					t.Errorf("%s: %q", id, got)
				}
				if left := <-s.gone; left != id {
					t.Errorf("%s was cancelled", left)
				}
				if conns := s.conns[id]; len(conns) != 2 || conns[0] == conns[1] {
					t.Errorf("%s: connections %v", id, conns)
				}
			}
			if st := tr.Stats(); st.Hedges != 4 || st.Wins != 4 || st.Attempts != 8 || st.Retries != 0 || st.Failures != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestNoHedge: what may not be executed twice is never copied, nor what cannot be
// read twice, nor what the budget does not grant.
func TestNoHedge(t *testing.T) {
	s, srv := startSlow(t, false)
	budget := &steady.Budget{Min: 1, Ratio: 0.0001}
	tr := &steady.Transport{Base: &http.Transport{}, Hedge: &steady.Hedge{Delay: time.Millisecond}, Budget: budget}
	defer tr.CloseIdleConnections()
	send(t, tr, "GET", srv.URL, "slow spends the budget", nil, false)
	for budget.Take() {
	}
	refused := budget.Refused()
	var wg sync.WaitGroup
	ids := map[string]func(id string){
		"slow POST":                     func(id string) { send(t, tr, "POST", srv.URL, id, strings.NewReader("amount=1"), false) },
		"slow PATCH":                    func(id string) { send(t, tr, "PATCH", srv.URL, id, strings.NewReader("amount=1"), false) },
		"slow POST, key not agreed":     func(id string) { send(t, tr, "POST", srv.URL, id, strings.NewReader("amount=1"), true) },
		"slow POST without body":        func(id string) { send(t, tr, "POST", srv.URL, id, nil, false) },
		"slow PUT, body is read once":   func(id string) { send(t, tr, "PUT", srv.URL, id, io.MultiReader(strings.NewReader("x")), false) },
		"slow GET, the budget is spent": func(id string) { send(t, tr, "GET", srv.URL, id, nil, false) },
	}
	for id, do := range ids {
		wg.Go(func() { do(id) })
	}
	for id := range ids {
		s.awaitCopy(t, id)
	}
	for deadline := time.Now().Add(10 * time.Second); budget.Refused() == refused; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) { // the GET has not come to its delay
			t.Error("the budget was not asked")
			break
		}
	}
	time.AfterFunc(50*time.Millisecond, func() { close(s.release) }) // fifty delays for a copy that must not come
	wg.Wait()
	for id := range ids {
		if n := s.copies(id); n != 1 {
			t.Errorf("%s: executed %d times", id, n)
		}
	}
	if st := tr.Stats(); st.Hedges != 1 || st.Failures != 0 {
		t.Errorf("%+v", st)
	}
}

// TestHedgeLearns: without a Delay nothing is copied until the host is known.
func TestHedgeLearns(t *testing.T) {
	s, srv := startSlow(t, false)
	var mu sync.Mutex
	var delays []time.Duration
	tr := &steady.Transport{Base: &http.Transport{}, Hedge: &steady.Hedge{}, Budget: &steady.Budget{Min: 50}, Observer: func(_ context.Context, e steady.Event) {
		if e.Kind == steady.EventHedge {
			mu.Lock()
			delays = append(delays, e.Delay)
			mu.Unlock()
			if e.Delay > 0 {
				s.awaitCopy(t, "slow")
			}
		}
	}}
	defer tr.CloseIdleConnections()
	for i := range 20 {
		send(t, tr, "GET", srv.URL, fmt.Sprint("fast ", i), nil, false)
	}
	if st := tr.Stats(); st.Hedges != 0 {
		t.Errorf("copied before anything was known: %+v", st)
	}
	send(t, tr, "GET", srv.URL, "slow", nil, false)
	<-s.gone
	mu.Lock()
	defer mu.Unlock()
	if len(delays) != 1 || slices.Min(delays) < time.Millisecond || tr.Stats().Wins != 1 {
		t.Errorf("delays %v, %+v", delays, tr.Stats())
	}
}

// TestHedgeFails: when both copies fail the error is that of a failed request, and
// when the second fails the first is waited for.
func TestHedgeFails(t *testing.T) {
	for _, first := range []bool{true, false} {
		var mu sync.Mutex
		n := 0
		arrived, second := make(chan struct{}), make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			n++
			own := n
			mu.Unlock()
			if own == 1 {
				close(arrived)
				<-second
				if first {
					io.WriteString(w, "first")
					return
				}
			} else if own == 2 {
				defer close(second)
			}
			panic(http.ErrAbortHandler)
		}))
		tr := &steady.Transport{Base: &http.Transport{}, Attempts: 1, Hedge: &steady.Hedge{Delay: time.Millisecond}, Observer: func(_ context.Context, e steady.Event) {
			if e.Kind == steady.EventHedge {
				<-arrived // the second copy is not to overtake the first
			}
		}}
		req, _ := http.NewRequest(http.MethodPut, srv.URL, nil) // net/http does not replay it
		resp, err := tr.RoundTrip(req)
		if first != (err == nil) || err != nil && steady.VerdictOf(err).SafeToRetry() {
			t.Errorf("%v", err)
		}
		if err == nil {
			if b, err := io.ReadAll(resp.Body); string(b) != "first" || err != nil {
				t.Errorf("%q %v", b, err)
			}
			resp.Body.Close()
		}
		if st := tr.Stats(); st.Hedges != 1 || st.Wins != 0 || st.Attempts != 2 {
			t.Errorf("%+v", st)
		}
		tr.CloseIdleConnections()
		srv.Close()
	}
}
