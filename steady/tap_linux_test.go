package steady

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	tap, err := OpenTap()
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	for _, c := range []struct {
		name     string
		tap      Tap
		end      func(s *net.TCPConn, br *bufio.Reader, executed *atomic.Int64)
		ok       bool
		executed int64
	}{
		{"vanished, without a tap", nil, func(s *net.TCPConn, _ *bufio.Reader, _ *atomic.Int64) { vanish(t, s) }, false, 0},
		{"vanished", tap, func(s *net.TCPConn, _ *bufio.Reader, _ *atomic.Int64) { vanish(t, s) }, true, 1},
		{"aborted after the commit", tap, func(s *net.TCPConn, br *bufio.Reader, n *atomic.Int64) {
			if _, err := http.ReadRequest(br); err == nil {
				n.Add(1)
			}
			abort(s)
		}, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 10 {
				c := c
				var conns, executed atomic.Int64
				gone := make(chan struct{}, 1)
				url := rawServer(t, func(s *net.TCPConn) {
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
				tr := &Transport{Base: &http.Transport{}, Tap: c.tap}
				resp, err := (&http.Client{Transport: tr}).Get(url)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				tr.ups.get(strings.TrimPrefix(url, "http://")).lived(time.Hour) // so that the POST takes the same connection
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

func TestTapTable(t *testing.T) {
	tap := &PacketTap{young: map[flowKey]*seen{}}
	p := make([]byte, 40)
	p[0], p[8], p[9], p[33] = 0x45, 64, 6, 0x04
	for i := range 3 * tapFlows {
		p[20], p[21] = byte(i>>8), byte(i)
		p[15] = byte(i >> 16)
		tap.take(p)
	}
	if n := len(tap.young) + len(tap.old); n > 2*tapFlows || tap.Forgotten() == 0 {
		t.Errorf("%d flows kept, %d forgotten", n, tap.Forgotten())
	}
	for n := range 40 { // cut packets are no packets
		tap.take(p[:n])
	}
}

// TestTapLost: a tap that lost a packet proves nothing of the flows of that time.
func TestTapLost(t *testing.T) {
	tap := &PacketTap{young: map[flowKey]*seen{}}
	p := make([]byte, 40)
	p[0], p[8], p[9] = 0x45, 64, 6
	local, remote := netip.MustParseAddrPort("0.0.0.0:0"), netip.MustParseAddrPort("0.0.0.0:0")
	for _, lost := range []uint64{0, 1} {
		p[33] = 0x12
		tap.take(p)
		tap.lost += lost
		p[33] = 0x04
		tap.take(p)
		if r, ok := tap.RST(local, remote); ok != (lost == 0) || ok && r.Bare != 1 {
			t.Errorf("lost %d: %+v, %v", lost, r, ok)
		}
	}
}
