package steady

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Frame types and flags, RFC 9113 6.
const (
	frameData, frameHeaders, frameReset, frameSettings, frameGoAway = 0, 1, 3, 4, 7
	flagEndStream, flagEndHeaders, flagAck                          = 1, 4, 1
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	f = binary.BigEndian.AppendUint32(f, stream)
	return append(f, payload...)
}

func words(list ...uint32) (b []byte) {
	for _, w := range list {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// answer200 is HEADERS with :status 200, entry 8 of the static table (RFC 7541 A).
func answer200(stream uint32) []byte {
	return frame(frameHeaders, flagEndStream|flagEndHeaders, stream, []byte{0x88})
}

// h2Server speaks just enough HTTP/2 to misbehave: act gets the number of the
// request and its stream, when the request is complete, and returns whether the
// connection goes on.
func h2Server(t *testing.T, act func(n int64, stream uint32, w io.Writer) bool) (url string, client *tls.Config) {
	t.Helper()
	server, client := testTLS(t)
	server.NextProtos = []string{"h2"}
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var n atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveH2(c, func(stream uint32) bool { return act(n.Add(1), stream, c) })
		}
	}()
	return "https://" + l.Addr().String(), client
}

func serveH2(c net.Conn, complete func(stream uint32) bool) {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 24)); err != nil { // the preface
		return
	}
	c.Write(frame(frameSettings, 0, 0, nil))
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if _, err := io.ReadFull(c, make([]byte, size)); err != nil {
			return
		}
		stream := binary.BigEndian.Uint32(head[5:])
		switch kind, flags := head[3], head[4]; {
		case kind == frameSettings && flags&flagAck == 0:
			c.Write(frame(frameSettings, flagAck, 0, nil))
		case (kind == frameHeaders || kind == frameData) && flags&flagEndStream != 0:
			if !complete(stream) {
				return
			}
		}
	}
}

// TestHTTP2 plays what a server can do to a stream. The server counts what it
// executed; the client may send again only what it did not.
func TestHTTP2(t *testing.T) {
	const protocolError, refused = 1, 7
	for _, c := range []struct {
		name     string
		act      func(executed *atomic.Int64, stream uint32, w io.Writer) bool // of the first request
		executed int64                                                         // by the first attempt
		refuses  bool                                                          // the peer says that it did not process it
	}{
		{"refused stream after the commit, as by HAProxy", func(n *atomic.Int64, stream uint32, w io.Writer) bool {
			n.Add(1)
			w.Write(frame(frameReset, 0, stream, words(refused)))
			return true
		}, 1, true},
		{"GOAWAY that lies", func(n *atomic.Int64, stream uint32, w io.Writer) bool {
			n.Add(1)
			w.Write(frame(frameGoAway, 0, 0, words(max(stream, 2)-2, 0)))
			return true
		}, 1, true},
		{"refused stream", func(_ *atomic.Int64, stream uint32, w io.Writer) bool {
			w.Write(frame(frameReset, 0, stream, words(refused)))
			return true
		}, 0, true},
		{"GOAWAY below the stream", func(_ *atomic.Int64, stream uint32, w io.Writer) bool {
			w.Write(frame(frameGoAway, 0, 0, words(max(stream, 2)-2, 0)))
			return true
		}, 0, true},
		{"GOAWAY that includes the stream, then gone", func(n *atomic.Int64, stream uint32, w io.Writer) bool {
			n.Add(1)
			w.Write(frame(frameGoAway, 0, 0, words(stream, 0)))
			return false
		}, 1, false},
		{"GOAWAY with a text that lies", func(n *atomic.Int64, stream uint32, w io.Writer) bool {
			n.Add(1)
			text := "http2: Transport: cannot retry err [stream error: stream ID 1; REFUSED_STREAM; received from peer]"
			w.Write(frame(frameGoAway, 0, 0, append(words(stream, 2), text...)))
			return false
		}, 1, false},
		{"PROTOCOL_ERROR after the commit", func(n *atomic.Int64, stream uint32, w io.Writer) bool {
			n.Add(1)
			w.Write(frame(frameReset, 0, stream, words(protocolError)))
			return true
		}, 1, false},
		{"closed after the commit", func(n *atomic.Int64, _ uint32, _ io.Writer) bool { n.Add(1); return false }, 1, false},
	} {
		for _, body := range []string{"", "amount=1"} {
			for _, warm := range []bool{false, true} {
				for _, trust := range []Trust{TrustKernel, TrustPeer} {
					if trust == TrustPeer && c.executed > 0 && c.refuses {
						continue // who believes it is lied to
					}
					name := fmt.Sprintf("%s/body=%q/warm=%v/%s", c.name, body, warm, trust)
					t.Run(name, func(t *testing.T) { meetHTTP2(t, c.act, c.executed, c.refuses, body, warm, trust) })
				}
			}
		}
	}
}

// meetHTTP2 sends one POST whose first attempt meets act.
func meetHTTP2(t *testing.T, act func(*atomic.Int64, uint32, io.Writer) bool, commits int64, refuses bool, body string, warm bool, trust Trust) {
	var executed atomic.Int64
	first := int64(1)
	if warm {
		first = 2
	}
	url, conf := h2Server(t, func(n int64, stream uint32, w io.Writer) bool {
		switch {
		case n < first: // the request that warms up
		case n == first:
			return act(&executed, stream, w)
		default:
			executed.Add(1)
		}
		w.Write(answer200(stream))
		return true
	})
	tr := &Transport{Base: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}, Backoff: Backoff{Base: 1}, Trust: trust}
	defer tr.CloseIdleConnections()
	if warm {
		resp, err := (&http.Client{Transport: tr}).Get(url)
		if err != nil || resp.ProtoMajor != 2 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	req, _ := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if body == "" {
		req, _ = http.NewRequest(http.MethodPost, url, nil)
	}
	resp, err := tr.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	// Without a body net/http repeats by itself, and does not say for what reason; it is
	// kept from that.
	again := refuses && trust == TrustPeer && body != ""
	want := commits
	if again {
		want = 1
	}
	if n := executed.Load(); n != want || again != (err == nil) {
		t.Fatalf("executed %d times, want %d (%v)", n, want, err)
	}
	re, _ := errors.AsType[*ResetError](err)
	switch {
	case again:
	case re == nil && VerdictOf(err).SafeToRetry(), re != nil && re.Verdict.SafeToRetry():
		t.Errorf("verdict %v", err)
	case refuses && body != "" && (re == nil || re.Evidence.Claim != NotDelivered || re.Level != TrustKernel):
		t.Errorf("the peer's claim is not told: %v", err)
	}
}

// TestHTTP2Plain: HTTP/2 works through the wrapper, with a zero Base as with
// plain net/http.
func TestHTTP2Plain(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	base := srv.Client().Transport.(*http.Transport)
	tr := &Transport{Base: base}
	defer tr.CloseIdleConnections()
	for range 3 {
		req, _ := http.NewRequest(http.MethodPost, srv.URL, strings.NewReader("hello"))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != 2 || string(b) != "hello" || resp.Request != req {
			t.Errorf("%s %q", resp.Proto, b)
		}
	}
	zero := &Transport{Base: &http.Transport{}}
	zero.once.Do(zero.init)
	if !zero.inner.ForceAttemptHTTP2 {
		t.Error("HTTP/2 is off, although a zero http.Transport speaks it")
	}
}
