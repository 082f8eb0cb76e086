package steady

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// names is a resolver with a delay for each family.
type names struct {
	four, six    []string
	slow4, slow6 time.Duration
}

func (n *names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	list, delay := n.four, n.slow4
	if network == "ip6" {
		list, delay = n.six, n.slow6
	}
	if err := sleep(ctx, delay); err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

// network answers dials in memory: after a delay, or with an error.
type network struct {
	delay map[string]time.Duration
	fails map[string]error

	mu    sync.Mutex
	began time.Time
	log   []string // guarded by mu: address and time of each attempt
	open  int      // guarded by mu: connections not closed
}

func (n *network) connect(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	n.mu.Lock()
	n.log = append(n.log, fmt.Sprint(host, "@", time.Since(n.began)))
	n.mu.Unlock()
	if err := sleep(ctx, n.delay[host]); err != nil {
		return nil, err
	}
	if err := n.fails[host]; err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	a, b := net.Pipe()
	b.Close()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &closing{Conn: a, n: n, host: host}, nil
}

type closing struct {
	net.Conn
	n    *network
	host string
}

func (c *closing) Close() error {
	c.n.mu.Lock()
	c.n.open--
	c.n.mu.Unlock()
	return c.Conn.Close()
}

func TestHappyEyeballs(t *testing.T) {
	refused := syscall.ECONNREFUSED
	for _, c := range []struct {
		name  string
		names names
		net   *network
		wins  string
		log   []string
		is    error
	}{
		{"IPv6 first", names{four: []string{"10.0.0.1"}, slow4: time.Millisecond, six: []string{"fd00::1"}}, &network{}, "fd00::1", []string{"fd00::1@0s"}, nil},
		{"IPv4 waits a little for IPv6", names{four: []string{"10.0.0.1"}, six: []string{"fd00::1"}, slow6: 40 * time.Millisecond},
			&network{}, "fd00::1", []string{"fd00::1@40ms"}, nil},
		{"but not long", names{four: []string{"10.0.0.1"}, six: []string{"fd00::1"}, slow6: time.Second},
			&network{}, "10.0.0.1", []string{"10.0.0.1@50ms"}, nil},
		{"no IPv6 at all", names{four: []string{"10.0.0.1"}}, &network{}, "10.0.0.1", []string{"10.0.0.1@0s"}, nil},
		{"IPv6 is a black hole", names{four: []string{"10.0.0.1"}, six: []string{"fd00::1", "fd00::2"}},
			&network{delay: map[string]time.Duration{"fd00::1": time.Hour, "fd00::2": time.Hour}},
			"10.0.0.1", []string{"fd00::1@0s", "10.0.0.1@250ms"}, nil},
		{"a refusal starts the next at once", names{four: []string{"10.0.0.1", "10.0.0.2"}},
			&network{fails: map[string]error{"10.0.0.1": refused}}, "10.0.0.2", []string{"10.0.0.1@0s", "10.0.0.2@0s"}, nil},
		{"families take turns", names{four: []string{"10.0.0.1", "10.0.0.2"}, six: []string{"fd00::1", "fd00::2"}, slow6: 10 * time.Millisecond},
			&network{fails: map[string]error{"fd00::1": refused, "fd00::2": refused, "10.0.0.1": refused}},
			"10.0.0.2", []string{"fd00::1@10ms", "10.0.0.1@10ms", "fd00::2@10ms", "10.0.0.2@10ms"}, nil},
		{"all refuse", names{four: []string{"10.0.0.1", "10.0.0.2"}},
			&network{fails: map[string]error{"10.0.0.1": refused, "10.0.0.2": refused}}, "", nil, refused},
		{"nobody answers", names{four: []string{"10.0.0.1"}},
			&network{delay: map[string]time.Duration{"10.0.0.1": time.Hour}}, "", nil, context.DeadlineExceeded},
		{"the loser is closed", names{four: []string{"10.0.0.1"}, six: []string{"fd00::1"}},
			&network{delay: map[string]time.Duration{"fd00::1": 300 * time.Millisecond, "10.0.0.1": 50 * time.Millisecond}},
			"", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.net.began = time.Now()
				d := &Dialer{Resolver: &c.names, Connect: c.net.connect}
				conn, err := d.DialContext(t.Context(), "tcp", "example.test:443")
				if c.is != nil {
					if !errors.Is(err, c.is) {
						t.Errorf("error %v, want %v", err, c.is)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if won := conn.(*Conn).NetConn().(*closing).host; c.wins != "" && won != c.wins {
					t.Errorf("%s won, want %s", won, c.wins)
				}
				if c.log != nil && !slices.Equal(c.net.log, c.log) {
					t.Errorf("attempts %v, want %v", c.net.log, c.log)
				}
				conn.Close()
				synctest.Wait()
				time.Sleep(time.Second)
				if c.net.open != 0 {
					t.Errorf("%d connections are left", c.net.open)
				}
			})
		})
	}
}

// TestMemoryOfFailures: an address that failed is tried last, for a while.
func TestMemoryOfFailures(t *testing.T) {
	n := &network{fails: map[string]error{"10.0.0.1": syscall.ECONNREFUSED}, began: time.Now()}
	d := &Dialer{Resolver: &names{four: []string{"10.0.0.1", "10.0.0.2"}}, Connect: n.connect}
	for range 3 {
		c, err := d.Dial("tcp", "example.test:443")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	tried := 0
	for _, l := range n.log {
		if host, _, _ := cutAt(l); host == "10.0.0.1" {
			tried++
		}
	}
	if tried != 1 {
		t.Errorf("the address that refused was tried %d times in three dials: %v", tried, n.log)
	}
	n.fails["10.0.0.2"] = syscall.ECONNREFUSED
	delete(n.fails, "10.0.0.1")
	if c, err := d.Dial("tcp", "example.test:443"); err != nil {
		t.Errorf("a blamed address is not tried at all: %v", err)
	} else {
		c.Close()
	}
}

func cutAt(s string) (before, after string, ok bool) {
	for i := range s {
		if s[i] == '@' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// TestDialReal dials a listener on loopback, by name and by address, with
// Multipath TCP and without.
func TestDialReal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, addr := range []string{"127.0.0.1:" + port, "localhost:" + port} {
		for _, multi := range []bool{false, true} {
			c, err := (&Dialer{Multipath: multi}).Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			tc := c.(*Conn)
			if multi && tc.raw != nil {
				t.Error("TCP_INFO is trusted on Multipath TCP")
			}
			c.Close()
		}
	}
	if _, err := (&Dialer{}).Dial("tcp", "127.0.0.1"); err == nil {
		t.Error("an address without a port was accepted")
	}
	if _, err := (&Dialer{}).Dial("udp", "localhost:1"); err == nil {
		t.Error("udp was accepted")
	}
}

func TestPathLimit(t *testing.T) {
	u := &upstream{}
	u.sawPathLoss(time.Second)
	if u.pathLimit(now()) != 0 {
		t.Error("a second is no timer of a path")
	}
	u.sawPathLoss(400 * time.Second)
	u.sawPathLoss(360 * time.Second)
	if u.pathLimit(now()) != 360*time.Second || u.idleLimit(0, now()) != 270*time.Second {
		t.Error(u.pathLimit(now()), u.idleLimit(0, now()))
	}
}
