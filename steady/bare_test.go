package steady_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/holdfast-project/holdfast/steady/resettest"
)

// TestFirstBarePOST: a POST without a body over HTTP/2, which net/http would repeat by
// itself for a refusal and for PROTOCOL_ERROR, and does not say which. It is executed
// once at the most, and carries content-length: 0.
func TestFirstBarePOST(t *testing.T) {
	for fault, executed := range map[string]int{
		"refused-stream": 0, "goaway-unprocessed": 0,
		"rst-stream-after-commit": 1, "goaway-after-commit": 1, "h2-rst-after-commit": 1,
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
			if err == nil || steady.VerdictOf(err).SafeToRetry() {
				t.Errorf("error %v", err)
			}
			s.Close()
			if n := s.Ledger().Executed("first"); n != executed {
				t.Errorf("executed %d times", n)
			}
			if entries := s.Ledger().Of("first"); len(entries) != 1 {
				t.Errorf("%d requests reached the server: %+v", len(entries), entries)
			}
			if n := tr.Stats(); n.Stale != 0 || n.Attempts != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}
