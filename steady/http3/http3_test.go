package http3

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/quic-go/quic-go"
	quichttp3 "github.com/quic-go/quic-go/http3"
)

// listenBoth takes the same port of TCP and UDP.
func listenBoth(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if u, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, u
		}
		l.Close()
	}
	t.Skip("no port is free for both TCP and UDP")
	return nil, nil
}

// TestLadder: a server speaks HTTP/1.1 by TCP; its UDP port is a black hole at
// first, and then speaks HTTP/3.
func TestLadder(t *testing.T) {
	l, udp := listenBoth(t)
	var executed atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		executed.Add(1)
		io.WriteString(w, r.Proto)
	})
	srv := httptest.NewUnstartedServer(handler)
	srv.Listener.Close()
	srv.Listener = l
	srv.StartTLS()
	defer srv.Close()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs

	h3 := &quichttp3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer h3.Close()
	ladder := &steady.Ladder{
		HeadStart: 20 * time.Millisecond, Cooldown: 10 * time.Millisecond,
		Rungs: []steady.Rung{
			Rung(h3),
			{Name: "h1", RoundTripper: &steady.Transport{Base: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}},
		},
	}
	defer ladder.Close()
	sent := int64(0)
	post := func() string {
		req, _ := http.NewRequest(http.MethodPost, srv.URL, strings.NewReader("x"))
		resp, err := ladder.RoundTrip(req)
		sent++
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	if got := post(); got != "HTTP/1.1" {
		t.Errorf("with UDP blocked: %s", got)
	}
	s3 := &quichttp3.Server{Handler: handler, TLSConfig: quichttp3.ConfigureTLSConfig(&tls.Config{Certificates: srv.TLS.Certificates})}
	go s3.Serve(udp)
	defer s3.Close()
	deadline := time.Now().Add(30 * time.Second)
	for post() != "HTTP/3.0" {
		if time.Now().After(deadline) {
			t.Fatal("not back on HTTP/3")
		}
	}
	if executed.Load() != sent {
		t.Errorf("executed %d of %d requests", executed.Load(), sent)
	}
}

// TestRejectedAfterCommit: a server that executes a request and says that it rejected
// it is not believed, unless told to.
func TestRejectedAfterCommit(t *testing.T) {
	for _, body := range []string{"", "pay"} {
		for trust, want := range map[steady.Trust]int64{steady.TrustKernel: 1, steady.TrustPeer: 2} {
			udp, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var executed atomic.Int64
			certs := httptest.NewUnstartedServer(nil)
			certs.StartTLS()
			s3 := &quichttp3.Server{
				TLSConfig: quichttp3.ConfigureTLSConfig(&tls.Config{Certificates: certs.TLS.Certificates}),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					executed.Add(1)
					s, err := w.(quichttp3.HTTPStreamer).HTTPStream()
					if err != nil {
						t.Error(err)
						return
					}
					s.CancelRead(quic.StreamErrorCode(quichttp3.ErrCodeRequestRejected))
					s.CancelWrite(quic.StreamErrorCode(quichttp3.ErrCodeRequestRejected))
				}),
			}
			go s3.Serve(udp)
			h3 := &quichttp3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			req, _ := http.NewRequest(http.MethodPost, "https://"+udp.LocalAddr().String(), strings.NewReader(body))
			if body == "" {
				req, _ = http.NewRequest(http.MethodPost, "https://"+udp.LocalAddr().String(), nil)
			}
			_, err = TrustingRung(h3, trust).RoundTripper.RoundTrip(req)
			if n := executed.Load(); n != want || steady.VerdictOf(err).SafeToRetry() != (trust == steady.TrustPeer) {
				t.Errorf("body %q, %s: executed %d times, want %d: %v (%s)", body, trust, n, want, err, steady.VerdictOf(err))
			}
			h3.Close()
			s3.Close()
			udp.Close()
			certs.Close()
		}
	}
}
