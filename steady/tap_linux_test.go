package steady_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/holdfast-project/holdfast/steady/tap"
)

// vanish closes a socket without a packet, as a host that lost its state does.
func vanish(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
			t.Error(err)
		}
	})
	c.Close()
}

// TestRootTap: a bare RST from a kernel that has no such socket proves that the
// request was not delivered; an RST that acknowledges proves nothing.
func TestRootTap(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("AF_PACKET needs CAP_NET_RAW, TCP_REPAIR needs CAP_NET_ADMIN")
	}
	watch, err := tap.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for _, c := range []struct {
		name     string
		tap      steady.Tap
		end      func(s *net.TCPConn, br *bufio.Reader, executed *atomic.Int64)
		ok       bool
		executed int64
	}{
		{"vanished, without a tap", nil, func(s *net.TCPConn, _ *bufio.Reader, _ *atomic.Int64) { vanish(t, s) }, false, 0},
		{"vanished", watch, func(s *net.TCPConn, _ *bufio.Reader, _ *atomic.Int64) { vanish(t, s) }, true, 1},
		{"aborted after the commit", watch, func(s *net.TCPConn, br *bufio.Reader, n *atomic.Int64) {
			if _, err := http.ReadRequest(br); err == nil {
				n.Add(1)
			}
			steady.Abort(s)
		}, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 10 {
				c := c
				var conns, executed atomic.Int64
				gone := make(chan struct{}, 1)
				url := steady.RawServer(t, func(s *net.TCPConn) {
					br := bufio.NewReader(s)
					first := conns.Add(1) == 1
					for {
						if _, err := http.ReadRequest(br); err != nil {
							return
						}
						if !first {
							executed.Add(1)
						}
						io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
						if first {
							gone <- struct{}{}
							c.end(s, br, &executed)
							gone <- struct{}{}
							return
						}
					}
				})
				tr := &steady.Transport{Base: &http.Transport{}, Tap: c.tap}
				resp, err := (&http.Client{Transport: tr}).Get(url)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				steady.KeepLong(tr) // so that the POST takes the same connection
				<-gone
				if !strings.HasPrefix(c.name, "aborted") {
					<-gone // the socket is gone before the next request
				}
				req, _ := http.NewRequest(http.MethodPost, url, strings.NewReader(""))
				req.ContentLength = 0
				req.Body = http.NoBody
				resp, err = tr.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				}
				if c.tap == nil && err == nil {
					c.ok, c.executed = true, 1 // its first octet alone met the reset, if it was silent for long enough
				}
				if c.ok != (err == nil) || executed.Load() != c.executed {
					t.Fatalf("error %v, executed %d times", err, executed.Load())
				}
				tr.CloseIdleConnections()
			}
		})
	}
}

// pauses is a body that comes in two parts, which become two segments.
type pauses struct {
	n    int
	wait <-chan struct{}
}

func (p *pauses) Read(b []byte) (int, error) {
	switch p.n++; p.n {
	case 1:
		return copy(b, "first half "), nil
	case 2:
		<-p.wait
		return copy(b, "second half"), nil
	}
	return 0, io.EOF
}

// TestRootTapLosesRST: the server executes on the header, the RST of its abort is
// lost, and a later segment of the same request is answered by a bare RST.
func TestRootTapLosesRST(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("AF_PACKET needs CAP_NET_RAW, TCP_REPAIR needs CAP_NET_ADMIN")
	}
	watch, err := tap.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for _, trust := range []steady.Trust{steady.TrustKernel, steady.TrustPeer} {
		for range 10 {
			var executed atomic.Int64
			gone := make(chan struct{}, 8)
			url := steady.RawServer(t, func(c *net.TCPConn) {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					if req.Method == http.MethodPost {
						executed.Add(1)
						vanish(t, c) // as an abort whose RST is lost
						gone <- struct{}{}
						return
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			tr := &steady.Transport{Base: &http.Transport{}, Tap: watch, Trust: trust, NoBreaker: true, NoThrottle: true}
			steady.WarmUp(t, tr, url)
			req, _ := http.NewRequest(http.MethodPost, url, &pauses{wait: gone})
			req.ContentLength = 22
			resp, err := tr.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			if n := executed.Load(); n != 1 || steady.VerdictOf(err).SafeToRetry() {
				t.Fatalf("executed %d times: %v", n, err)
			}
			tr.CloseIdleConnections()
		}
	}
}
