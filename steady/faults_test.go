package steady_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/holdfast-project/holdfast/steady/resettest"
)

// attempts gives each attempt of a request a body of its own, and keeps what
// the Transport said of the failed ones.
type attempts struct {
	n        atomic.Int64
	size     int
	mu       sync.Mutex
	verdicts []steady.Verdict // guarded by mu
}

type attemptsKey struct{}

func attemptMark(n int64) string { return fmt.Sprintf("attempt %04d", n) }

func (a *attempts) body() (io.ReadCloser, error) {
	b := make([]byte, a.size)
	copy(b, attemptMark(a.n.Add(1)))
	return io.NopCloser(bytes.NewReader(b)), nil
}

// TestEveryFault meets a POST with every fault of resettest, plain and over TLS, and
// plain with a body that no socket buffer holds, and compares the verdict on every
// single attempt with what the server executed.
func TestEveryFault(t *testing.T) {
	for _, f := range resettest.Faults() {
		for _, secure := range []bool{false, true} {
			for _, size := range []int{16, 6 << 20} {
				if f.Layer == "tls" && !secure || size > 16 && (secure || f.Layer == "h2") {
					continue
				}
				name := fmt.Sprintf("%s/tls=%t/%d", f.Name, secure, size)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					meetFault(t, f, secure, size)
				})
			}
		}
	}
}

func meetFault(t *testing.T, f resettest.Fault, secure bool, size int) {
	var mu sync.Mutex
	executed := map[string]int{}
	s, err := resettest.Start(resettest.Config{
		Seed: 1, TLS: secure, HTTP2: f.Layer == "h2", Inject: []resettest.Injection{{Fault: f.Name, Rate: 0.4, After: 5 * time.Millisecond}},
		Execute: func(r resettest.Request) []byte {
			mu.Lock()
			defer mu.Unlock()
			mark, _, _ := strings.Cut(string(r.Body[:min(len(r.Body), 16)]), "\x00")
			executed[r.ID+" "+mark]++
			return []byte("ok")
		},
	})
	if err != nil {
		t.Skip(err)
	}
	defer s.Close()
	base := &http.Transport{MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if f.Layer == "h2" {
		p := new(http.Protocols)
		p.SetHTTP2(secure)
		p.SetUnencryptedHTTP2(!secure)
		base.Protocols = p
	}
	tr := &steady.Transport{Base: base, NoThrottle: true, NoBreaker: true, Observer: func(ctx context.Context, e steady.Event) {
		if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok {
			a.mu.Lock()
			a.verdicts = append(a.verdicts, e.Verdict)
			a.mu.Unlock()
		}
	}}
	defer tr.CloseIdleConnections()
	requests := 12
	if size > 16 || f.Truth.Wire == "nothing" { // it takes long
		requests = 3
	}
	var wg sync.WaitGroup
	all := make([]map[string]*attempts, 4)
	for w := range all {
		all[w] = map[string]*attempts{}
		wg.Go(func() {
			for i := range requests {
				id, a := fmt.Sprintf("w%d-%d", w, i), &attempts{size: size}
				all[w][id] = a
				postFault(tr, s.URL, id, a)
			}
		})
	}
	wg.Wait()
	s.Close() // what is still under way is executed, or will never be
	mu.Lock()
	defer mu.Unlock()
	if twice := s.Ledger().Duplicates(); len(twice) > 0 {
		t.Errorf("executed twice: %v", twice)
	}
	said := map[steady.Verdict]int{}
	defer func() { t.Logf("verdicts %v, executed %d, %+v", said, len(executed), tr.Stats()) }()
	for _, m := range all {
		for id, a := range m {
			for i, v := range a.verdicts {
				said[v]++
				if v.SafeToRetry() && executed[id+" "+attemptMark(int64(i+1))] > 0 {
					t.Errorf("%s attempt %d: %s, and it was executed", id, i+1, v)
				}
			}
		}
	}
}

func postFault(tr *steady.Transport, url, id string, a *attempts) {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), attemptsKey{}, a), 400*time.Millisecond)
	defer cancel()
	body, _ := a.body()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return
	}
	req.GetBody, req.ContentLength = a.body, int64(a.size)
	req.Header.Set("X-Request-Id", id)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return // the verdict came by the observer
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
