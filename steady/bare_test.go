package steady_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/holdfast-project/holdfast/steady/resettest"
)

// TestFirstBarePOST: the first request to a host, a POST without a body, before it is
// known that the host speaks HTTP/2. What the server did not process is sent again;
// what it may have processed is not.
func TestFirstBarePOST(t *testing.T) {
	for fault, again := range map[string]bool{
		"refused-stream": true, "goaway-unprocessed": true,
		"rst-stream-after-commit": false, "goaway-after-commit": false, "h2-rst-after-commit": false,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s, err := resettest.Start(resettest.Config{TLS: true, HTTP2: true, Inject: []resettest.Injection{{Fault: fault, Times: 1}}})
			if err != nil {
				t.Skip(err)
			}
			defer s.Close()
			tr := &steady.Transport{Base: &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
			}}
			defer tr.CloseIdleConnections()
			req, _ := http.NewRequest(http.MethodPost, s.URL, nil)
			req.Header.Set("X-Request-Id", "first")
			resp, err := tr.RoundTrip(req)
			if err == nil {
				if resp.ProtoMajor != 2 {
					t.Errorf("protocol %s", resp.Proto)
				}
				resp.Body.Close()
			}
			if again != (err == nil) || !again && steady.VerdictOf(err).SafeToRetry() {
				t.Errorf("error %v", err)
			}
			s.Close()
			if n := s.Ledger().Executed("first"); n != 1 {
				t.Errorf("executed %d times", n)
			}
			entries := s.Ledger().Of("first")
			if want := map[bool]int{true: 2, false: 1}[again]; len(entries) != want {
				t.Errorf("%d requests reached the server, want %d: %+v", len(entries), want, entries)
			}
			if last := entries[len(entries)-1]; fault == "refused-stream" && last.Conn != 1 {
				t.Errorf("connection %d, although the first lives", last.Conn)
			}
			if n := tr.Stats(); n.Stale != 0 || n.Attempts != uint64(len(entries)) {
				t.Errorf("%+v", n)
			}
		})
	}
}
