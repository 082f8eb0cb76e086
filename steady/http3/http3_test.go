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
