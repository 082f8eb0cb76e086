package steady_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/holdfast-project/holdfast/steady/resettest"
)

// TestCutAnswer: the body of an answer that breaks off gets a verdict, and the error
// stays what it was. The request is never repeated.
func TestCutAnswer(t *testing.T) {
	for fault, want := range map[string][]error{
		"rst-mid-response": {syscall.ECONNRESET, io.ErrUnexpectedEOF},
		"fin-mid-response": {io.ErrUnexpectedEOF},
		"fin-mid-chunk":    {io.ErrUnexpectedEOF},
		"trickle-rst":      {syscall.ECONNRESET, io.ErrUnexpectedEOF},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%t", fault, secure), func(t *testing.T) {
				t.Parallel()
				// The cut is behind the head of the answer.
				s, err := resettest.Start(resettest.Config{
					TLS: secure, Inject: []resettest.Injection{{Fault: fault, At: 400, Times: 1}},
					Execute: func(resettest.Request) []byte { return []byte(strings.Repeat("x", 600)) },
				})
				if err != nil {
					t.Skip(err)
				}
				defer s.Close()
				var cuts atomic.Int64
				tr := &steady.Transport{
					Base: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
					Observer: func(_ context.Context, e steady.Event) {
						if e.Kind == steady.EventCut && e.Attempt == 1 && e.Verdict == steady.Delivered {
							cuts.Add(1)
						}
					},
				}
				defer tr.CloseIdleConnections()
				req, _ := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("amount=1"))
				req.Header.Set("X-Request-Id", "one")
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				re, ok := errors.AsType[*steady.ResetError](err)
				if !ok || re.Verdict != steady.Delivered || re.Received != uint64(len(got)) {
					t.Fatalf("%d bytes, %#v", len(got), err)
				}
				held := false
				for _, w := range want {
					held = held || errors.Is(err, w)
				}
				if !held {
					t.Errorf("%v is none of %v", err, want)
				}
				if _, again := resp.Body.Read(make([]byte, 1)); again != err {
					t.Errorf("the next Read returned %v", again)
				}
				if st := tr.Stats(); st.Cut != 1 || cuts.Load() != 1 || s.Ledger().Executed("one") != 1 {
					t.Errorf("%+v, %d events", st, cuts.Load())
				}
			})
		}
	}
}

// TestCutStream: HTTP/2, the server resets the stream within the answer.
func TestCutStream(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	tr := &steady.Transport{Base: srv.Client().Transport.(*http.Transport)}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	re, ok := errors.AsType[*steady.ResetError](err)
	if !ok || re.Verdict != steady.Delivered || string(got) != "half" || re.Received != 4 || resp.ProtoMajor != 2 {
		t.Errorf("%s %q %v", resp.Proto, got, err)
	}
}

// TestBodiesStayWhatTheyAre: an upgraded connection can be written to, an empty body
// is http.NoBody, and errors that are not of the connection get no verdict.
func TestBodiesStayWhatTheyAre(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/upgrade":
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := rw.ReadString('\n')
			io.WriteString(c, line)
		case "/gzip": // cut short by its author, in a whole answer
			w.Header().Set("Content-Encoding", "gzip")
			var b strings.Builder
			z := gzip.NewWriter(&b)
			io.WriteString(z, strings.Repeat("text ", 1000))
			z.Close()
			io.WriteString(w, b.String()[:b.Len()-12])
		case "/text":
			io.WriteString(w, strings.Repeat("text ", 1000))
		}
	}))
	defer srv.Close()
	tr := &steady.Transport{Base: &http.Transport{}}
	defer tr.CloseIdleConnections()
	get := func(path string) *http.Response {
		req, _ := http.NewRequest(http.MethodGet, srv.URL+path, nil)
		if path == "/upgrade" {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "echo")
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	up := get("/upgrade")
	rw, ok := up.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("the body of 101 is a %T", up.Body)
	}
	io.WriteString(rw, "hello\n")
	if line, err := bufio.NewReader(rw).ReadString('\n'); line != "hello\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	rw.Close()
	if empty := get("/empty"); empty.Body != http.NoBody {
		t.Errorf("an empty body is a %T", empty.Body)
	}
	short := get("/gzip")
	_, err := io.ReadAll(short.Body)
	if _, judged := errors.AsType[*steady.ResetError](err); err == nil || judged {
		t.Errorf("gzip that is too short: %v", err)
	}
	short.Body.Close()
	closed := get("/text")
	closed.Body.Close()
	_, err = closed.Body.Read(make([]byte, 1))
	if _, judged := errors.AsType[*steady.ResetError](err); err == nil || judged {
		t.Errorf("after Close: %v", err)
	}
	if st := tr.Stats(); st.Cut != 0 {
		t.Errorf("%+v", st)
	}
}
