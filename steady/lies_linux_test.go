package steady

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// The tests of this file let the kernel's counters, the peer or the tap say what is
// not so. The ledger of each is a count in the server.

// hook acts between two writes of a connection.
type hook struct {
	*net.TCPConn
	before func(n int) // n counts writes, from 1
	n      int
}

func (h *hook) Write(p []byte) (int, error) {
	h.n++
	h.before(h.n)
	return h.TCPConn.Write(p)
}

// committer answers GETs, and executes a POST and aborts.
type committer struct {
	executed atomic.Int64
	got      func(c *net.TCPConn, n int) // before answer n of a connection
	whole    bool                        // read the body before
}

func (s *committer) serve(c *net.TCPConn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for n := 1; ; n++ {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.Method == http.MethodPost {
			if s.whole {
				io.Copy(io.Discard, req.Body)
			}
			s.executed.Add(1)
			abort(c)
			return
		}
		if s.got != nil {
			s.got(c, n)
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// warmUp sends so many GETs that the server's kernel delays its acknowledgements.
func warmUp(t *testing.T, tr *Transport, url string) {
	t.Helper()
	for range 21 {
		resp, err := (&http.Client{Transport: tr}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	tr.ups.each(func(u *upstream) { u.lived(time.Hour) }) // the POST takes the same connection
}

// mustNotRepeat sends a POST and reports it when it was executed twice, or its error
// says that it is safe to send again although it was executed.
func mustNotRepeat(t *testing.T, tr *Transport, url string, s *committer, body io.Reader) {
	t.Helper()
	before := s.executed.Load()
	req, _ := http.NewRequest(http.MethodPost, url, body)
	resp, err := tr.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	n := s.executed.Load() - before
	if n > 1 || n > 0 && VerdictOf(err).SafeToRetry() {
		t.Fatalf("executed %d times: %v", n, err)
	}
}

// TestUrgentByte: an octet of urgent data counts as received and is never read, as a
// FIN.
func TestUrgentByte(t *testing.T) {
	for _, trust := range []Trust{TrustKernel, TrustPeer} {
		s := &committer{got: func(c *net.TCPConn, n int) {
			if n != 20 {
				return
			}
			raw, _ := c.SyscallConn()
			raw.Control(func(fd uintptr) {
				if err := syscall.Sendto(int(fd), []byte{'!'}, syscall.MSG_OOB, nil); err != nil {
					t.Error(err)
				}
			})
		}}
		url := rawServer(t, s.serve)
		tr := &Transport{Base: &http.Transport{}, Trust: trust, NoBreaker: true, NoThrottle: true}
		for range 20 {
			warmUp(t, tr, url)
			mustNotRepeat(t, tr, url, s, strings.NewReader("pay"))
		}
		if s.executed.Load() == 0 {
			t.Error("nothing was executed")
		}
		tr.CloseIdleConnections()
	}
}

// TestHalfClose: a peer that has closed its sending half goes on reading, executes
// and aborts before its delayed acknowledgement. Its FIN comes before the first octet,
// between the first and the rest, or behind all.
func TestHalfClose(t *testing.T) {
	for _, at := range []int{1, 2, 3} {
		for _, idle := range []time.Duration{0, 2 * liveAfter} {
			t.Run(fmt.Sprintf("before write %d, idle %s", at, idle), func(t *testing.T) {
				t.Parallel()
				for range 20 {
					halfClose(t, at, idle)
				}
			})
		}
	}
}

func halfClose(t *testing.T, at int, idle time.Duration) {
	var conn atomic.Pointer[net.TCPConn]
	s := &committer{whole: true}
	url := rawServer(t, func(c *net.TCPConn) { conn.Store(c); s.serve(c) })
	tr := &Transport{Base: &http.Transport{}, NoBreaker: true, NoThrottle: true}
	tr.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := track(raw, nil)
		c.Conn = &hook{raw.(*net.TCPConn), func(n int) {
			if n == 21+at {
				conn.Load().CloseWrite()
			}
		}, 0}
		return c, nil
	}
	warmUp(t, tr, url)
	tr.ups.each(func(u *upstream) { u.lived(time.Hour) })
	time.Sleep(idle) // the silence is the matter here
	mustNotRepeat(t, tr, url, s, strings.NewReader("pay"))
	tr.CloseIdleConnections()
}

// TestHalfCloseTracked is the same for a protocol of which nothing is known.
func TestHalfCloseTracked(t *testing.T) {
	for range 20 {
		c, s := pair(t)
		for range 20 {
			exchange(t, c, s)
		}
		c.Conn = &hook{c.Conn.(*net.TCPConn), func(int) { s.CloseWrite() }, 0}
		c.Mark()
		if _, err := c.Write([]byte("POST /pay")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 9)); err != nil { // executed
			t.Fatal(err)
		}
		abort(s)
		err := readError(t, c)
		if re := c.Judge(err, TrustKernel); re.Verdict.SafeToRetry() {
			t.Fatalf("%v: %+v", re, re.Evidence)
		}
	}
}

// TestPastTheCount: what is written or read past the Conn, or before it was told,
// proves nothing.
func TestPastTheCount(t *testing.T) {
	request := []byte("pay")
	for name, send := range map[string]func(c *Conn, s *net.TCPConn) *Conn{
		"Mark after the write": func(c *Conn, _ *net.TCPConn) *Conn { c.Write(request); c.Mark(); return c },
		"Mark after the write, on a used connection": func(c *Conn, s *net.TCPConn) *Conn {
			exchange(t, c, s)
			c.Write(request)
			c.Mark()
			return c
		},
		"Track after the write":          func(c *Conn, _ *net.TCPConn) *Conn { c.Conn.Write(request); return Track(c.Conn) },
		"Track and Mark after the write": func(c *Conn, _ *net.TCPConn) *Conn { c.Conn.Write(request); c = Track(c.Conn); c.Mark(); return c },
		"written to NetConn":             func(c *Conn, _ *net.TCPConn) *Conn { c.Mark(); c.NetConn().Write(request); return c },
		"written to an earlier NetConn": func(c *Conn, s *net.TCPConn) *Conn {
			raw := c.NetConn()
			exchange(t, c, s)
			c.Mark()
			raw.Write(request)
			return c
		},
		"one octet read from NetConn": func(c *Conn, s *net.TCPConn) *Conn {
			s.Write([]byte("S"))
			io.ReadFull(c.NetConn(), make([]byte, 1))
			exchange(t, c, s)
			c.Mark()
			c.Write(request)
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				c, s := pair(t)
				c = send(c, s)
				if _, err := io.ReadFull(s, make([]byte, len(request))); err != nil { // executed
					t.Fatal(err)
				}
				abort(s)
				err := readError(t, c)
				for _, trust := range []Trust{TrustKernel, TrustPeer} {
					if re := c.Judge(err, trust); re.Verdict.SafeToRetry() {
						t.Fatalf("%v: %+v", re, re.Evidence)
					}
				}
			}
		})
	}
}

// TestRootSockmap: where eBPF moves data from socket to socket it does not pass TCP,
// and the counters stand still.
func TestRootSockmap(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sockmap needs CAP_BPF")
	}
	c, server := pair(t)
	redirect(t, c.Conn.(*net.TCPConn), server) // or the test is skipped here, and not on a goroutine that dials
	for _, trust := range []Trust{TrustKernel, TrustPeer} {
		for _, half := range []bool{false, true} {
			sockmap(t, trust, half)
		}
	}
}

func sockmap(t *testing.T, trust Trust, half bool) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := &committer{got: func(c *net.TCPConn, n int) {
		if half && n == 20 {
			c.CloseWrite()
		}
	}}
	tr := &Transport{Base: &http.Transport{}, Trust: trust, NoBreaker: true, NoThrottle: true}
	tr.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		peer, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		redirect(t, c.(*net.TCPConn), peer.(*net.TCPConn))
		go s.serve(peer.(*net.TCPConn))
		return c, nil
	}
	for range 10 {
		mustNotRepeat(t, tr, "http://"+ln.Addr().String(), s, strings.NewReader("pay"))
	}
	if n := tr.Stats(); s.executed.Load() == 0 || n.ByEvidence > 0 || n.ByMethod == 0 {
		t.Errorf("executed %d, %+v", s.executed.Load(), n)
	}
}

// redirect makes what client writes appear at server without TCP.
func redirect(t *testing.T, client, server *net.TCPConn) {
	newMap := func() *ebpf.Map {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			t.Skip("no sockmap: ", err)
		}
		return m
	}
	from, to := newMap(), newMap()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SkMsg, License: "GPL", AttachType: ebpf.AttachSkMsgVerdict,
		Instructions: asm.Instructions{
			asm.LoadMapPtr(asm.R2, to.FD()),
			asm.Mov.Imm(asm.R3, 0),
			asm.Mov.Imm(asm.R4, 1), // BPF_F_INGRESS
			asm.FnMsgRedirectMap.Call(),
			asm.Return(),
		},
	})
	if err != nil {
		t.Skip("no sk_msg programs: ", err)
	}
	t.Cleanup(func() { from.Close(); to.Close(); prog.Close() })
	err = link.RawAttachProgram(link.RawAttachProgramOptions{Target: from.FD(), Program: prog, Attach: ebpf.AttachSkMsgVerdict})
	for _, end := range []struct {
		m *ebpf.Map
		c *net.TCPConn
	}{{to, server}, {from, client}} {
		raw, rerr := end.c.SyscallConn()
		if rerr != nil {
			t.Fatal(rerr)
		}
		raw.Control(func(fd uintptr) { err = errors.Join(err, end.m.Update(uint32(0), uint32(fd), ebpf.UpdateAny)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}
