package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// server accepts until the test ends and counts; each is called on its own.
func server(t *testing.T, each func(c *net.TCPConn)) (at netip.AddrPort, count *atomic.Int64) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count = new(atomic.Int64)
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			count.Add(1)
			go each(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), count
}

func answer(text string) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		defer c.Close()
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
	}
}

func abort(c *net.TCPConn) {
	_, _ = c.Read(make([]byte, 4096))
	_ = c.SetLinger(0)
	c.Close()
}

// closedPort is one at which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// certificateOf makes a certificate for 127.0.0.1, and the pool that trusts it.
func certificateOf(t *testing.T, until time.Time, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func tlsServer(t *testing.T, cert tls.Certificate) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// alerting refuses every handshake with an alert.
func alerting(t *testing.T) netip.AddrPort {
	t.Helper()
	at, _ := server(t, func(c *net.TCPConn) {
		defer c.Close()
		_ = tls.Server(c, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, io.EOF }}).Handshake()
	})
	return at
}

// TestVerdicts: what an expert would say of each server, and how often it was asked.
func TestVerdicts(t *testing.T) {
	good, trusted := certificateOf(t, time.Now().Add(90*24*time.Hour), "127.0.0.1")
	old, oldTrusted := certificateOf(t, time.Now().Add(-24*time.Hour), "127.0.0.1")
	foreign, foreignTrusted := certificateOf(t, time.Now().Add(time.Hour), "other.example")
	silence := make(chan struct{})
	t.Cleanup(func() { close(silence) })
	secure := tlsServer(t, good)
	var turn atomic.Int64
	at := func(each func(c *net.TCPConn)) netip.AddrPort { a, _ := server(t, each); return a }
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]struct {
		protocol string
		at       netip.AddrPort
		roots    *x509.CertPool
		healthy  bool
		stage    string // the last
		says     string // of its result
		outcome  string // of the first case, "" for none
	}{
		"HTTP":                       {"http", at(answer(ok)), nil, true, "exchange", "HTTP/1.1 200", ""},
		"HTTPS":                      {"https", secure, trusted, true, "exchange", "HTTP/2.0 200", ""},
		"TLS alone":                  {"tls", secure, trusted, true, "tls", "TLS 1.3, certificate for 89 more days", ""},
		"nobody listens":             {"http", closedPort(t), nil, false, "connect", "refused (ECONNREFUSED), 3 of 3 times", "refused"},
		"reset by the request":       {"http", at(abort), nil, false, "exchange", "reset (ECONNRESET), 3 of 3 times", "reset"},
		"reset in the handshake":     {"https", at(abort), trusted, false, "tls", "reset (ECONNRESET), 3 of 3 times", "reset"},
		"closed without an answer":   {"http", at(answer("")), nil, false, "exchange", "closed by the peer without an answer", "closed"},
		"silence":                    {"http", at(func(c *net.TCPConn) { <-silence; c.Close() }), nil, false, "exchange", "no answer, 3 of 3 times", "timeout"},
		"TLS to a plain port":        {"https", at(answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")), trusted, false, "tls", "does not speak TLS but answers HTTP 400", ""},
		"plain text to a TLS port":   {"http", secure, nil, false, "exchange", "wants TLS and got plain HTTP", ""},
		"an expired certificate":     {"https", tlsServer(t, old), oldTrusted, false, "tls", "the certificate is not valid now", ""},
		"another's certificate":      {"https", tlsServer(t, foreign), foreignTrusted, false, "tls", "the certificate is", ""},
		"a certificate of nobody":    {"https", secure, x509.NewCertPool(), false, "tls", "an authority that this host does not trust", ""},
		"a proxy without a server":   {"http", at(answer("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")), nil, false, "exchange", "HTTP 502: a proxy answers", ""},
		"asked too often":            {"http", at(answer("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")), nil, false, "exchange", "HTTP 429: the server limits how often this client may ask, 1 of 1 times", ""},
		"an alert":                   {"tls", alerting(t), trusted, false, "tls", "the server ended the handshake with an alert", ""},
		"an error of the server":     {"http", at(answer("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")), nil, true, "exchange", "HTTP/1.1 500", ""},
		"a redirect is an answer":    {"http", at(answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")), nil, true, "exchange", "HTTP/1.1 302", ""},
		"cut off in the answer":      {"http", at(answer("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nok")), nil, false, "exchange", "closed by the peer", "closed"},
		"Redis":                      {"redis", at(answer("+PONG\r\n")), nil, true, "exchange", "Redis", ""},
		"Redis with a password":      {"redis", at(answer("-NOAUTH Authentication required.\r\n")), nil, true, "exchange", "wants a password", ""},
		"HTTP where Redis should be": {"redis", at(answer(ok)), nil, false, "exchange", "does not speak Redis but answers HTTP 200", ""},
		"PostgreSQL without TLS":     {"postgres", at(answer("N")), nil, true, "exchange", "without TLS", ""},
		"PostgreSQL that is full":    {"postgres", at(answer("E\x00\x00\x00\x30SFATAL\x00Msorry, too many clients already\x00\x00")), nil, false, "exchange", "too many clients", ""},
		"SSH":                        {"ssh", at(answer("SSH-2.0-OpenSSH_9.2\r\n")), nil, false, "exchange", "no answer", "timeout"}, // this one waits for the client, as no SSH server does
		"now and then": {"http", at(func(c *net.TCPConn) {
			if turn.Add(1) == 1 {
				abort(c)
				return
			}
			answer(ok)(c)
		}), nil, false, "exchange", "fails now and then: reset (ECONNRESET), 1 of 3 times", "reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := Options{Roots: c.roots, Timeout: 5 * time.Second}
			if strings.Contains(c.says, "no answer") {
				opt.Timeout = 100 * time.Millisecond
			}
			res, err := Run(context.Background(), Target{Protocol: c.protocol, Host: "127.0.0.1", Port: c.at.Port(), Path: "/"}, opt)
			if err != nil {
				t.Fatal(err)
			}
			last := res.Stages[len(res.Stages)-1]
			if res.Healthy != c.healthy || last.Stage != c.stage || !strings.Contains(last.Result, c.says) {
				t.Errorf("healthy %t, %s %s: %s\nwant %t, %s: %s", res.Healthy, last.Stage, last.Verdict, last.Result, c.healthy, c.stage, c.says)
			}
			outcome := ""
			if len(res.Cases) > 0 {
				outcome = res.Cases[0].Outcome.Or("")
			}
			if outcome != c.outcome {
				t.Errorf("outcome %q, want %q", outcome, c.outcome)
			}
			if c.healthy && res.Connections != 1 {
				t.Errorf("%d connections to a healthy target", res.Connections)
			}
			if _, err := json.Marshal(res); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSSH: an SSH server speaks first.
func TestSSH(t *testing.T) {
	at, _ := server(t, func(c *net.TCPConn) {
		defer c.Close()
		_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2p1\r\n")
		_, _ = c.Read(make([]byte, 100))
	})
	res, err := Run(context.Background(), Target{Protocol: "ssh", Host: "127.0.0.1", Port: at.Port()}, Options{})
	if err != nil || !res.Healthy || !strings.Contains(res.Stages[1].Result, "OpenSSH_9.2p1") {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestMySQLOnce: MySQL counts every connection that ends before the login and blocks the
// host after a hundred, so that there is one, whatever comes of it.
func TestMySQLOnce(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		healthy bool
	}{
		"a greeting":         {"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00abcdefgh\x00\xff\xf7\xff\x02\x00\xff\xc1\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00abcdefghijkl\x00caching_sha2_password\x00", true},
		"too many":           {"\x17\x00\x00\x00\xff\x10\x04Too many connections", false},
		"closed at once":     {"", false},
		"something of a web": {"HTTP/1.1 400 Bad Request\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			at, count := server(t, func(conn *net.TCPConn) {
				_, _ = io.WriteString(conn, c.text)
				conn.Close()
			})
			res, err := Run(context.Background(), Target{Protocol: "mysql", Host: "127.0.0.1", Port: at.Port()}, Options{})
			if err != nil || res.Healthy != c.healthy || count.Load() != 1 || res.Connections != 1 {
				t.Errorf("healthy %t, %d connections, %v: %s", res.Healthy, count.Load(), err, res.Verdict)
			}
		})
	}
}

// blocking is a server behind a device that resets handshakes which name one host; with
// every that name anything.
func blocking(t *testing.T, every bool) netip.AddrPort {
	t.Helper()
	cert, _ := certificateOf(t, time.Now().Add(time.Hour), "blocked.example")
	at, _ := server(t, func(c *net.TCPConn) {
		defer c.Close()
		conf := &tls.Config{Certificates: []tls.Certificate{cert}, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if every || h.ServerName == "blocked.example" {
				_ = c.SetLinger(0)
				c.Close()
			}
			return nil, nil
		}}
		_ = tls.Server(c, conf).Handshake()
	})
	return at
}

// TestContrastName: a reset that follows a name is told from one that follows every
// handshake.
func TestContrastName(t *testing.T) {
	for name, c := range map[string]struct {
		every   bool
		verdict string
	}{"one name": {false, "difference"}, "every name": {true, "no difference"}} {
		t.Run(name, func(t *testing.T) {
			at := blocking(t, c.every)
			r := newRun(Target{Protocol: "https", Host: "blocked.example", Port: at.Port(), Path: "/"}, Options{})
			r.addrs = []netip.AddrPort{at}
			r.exchange(context.Background())
			r.conclude(false)
			last := r.res.Stages[2]
			if last.Stage != "contrast" || last.Verdict != c.verdict || len(last.Trials) != 2*contrastPairs {
				t.Errorf("%s: %s: %s", last.Stage, last.Verdict, last.Result)
			}
			if where := r.res.Stages[len(r.res.Stages)-1]; canLocate && !c.every && where.Result != "at the last of 1 hops: the server, its firewall, or a balancer before it" {
				t.Errorf("%s: %s", where.Stage, where.Result)
			}
			if r.res.Measured()["one_name"] != !c.every || strings.Contains(r.res.Verdict, "It is the name") != !c.every || !r.res.Measured()["handshake"] {
				t.Errorf("%v, %s", r.res.Measured(), r.res.Verdict)
			}
		})
	}
}

func TestOneAddressOfTwo(t *testing.T) {
	at, _ := server(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	bad := closedPort(t)
	r := newRun(Target{Protocol: "http", Host: "shop.example", Port: at.Port(), Path: "/"}, Options{})
	r.addrs = []netip.AddrPort{bad, at}
	r.exchange(context.Background())
	r.conclude(false)
	first := r.res.Stages[0]
	if first.Verdict != "warning" || !strings.Contains(first.Result, "1 of 2 addresses fail: "+bad.String()+" refused (ECONNREFUSED), 3 of 3 times") {
		t.Errorf("%s: %s", first.Verdict, first.Result)
	}
	if last := r.res.Stages[1]; last.Verdict != "ok" || r.res.Healthy || !strings.HasPrefix(r.res.Verdict, "It works, with a warning: connect: 1 of 2") {
		t.Errorf("%+v, healthy %t: %s", last, r.res.Healthy, r.res.Verdict)
	}
	if len(r.res.Cases) != 1 || r.res.Cases[0].Flow.Server != bad || r.res.Cases[0].Phase.Or("") != "connect" {
		t.Errorf("cases %+v", r.res.Cases)
	}
}

// TestInterrupted: a run that did not come to an end is not healthy.
func TestInterrupted(t *testing.T) {
	at, _ := server(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	ctx, cancel := context.WithCancel(context.Background())
	target := Target{Protocol: "http", Host: "127.0.0.1", Port: at.Port(), Path: "/"}
	res, err := Run(ctx, target, Options{Progress: func(s Stage) { cancel() }})
	if err == nil || res.Healthy || len(res.Stages) != 1 || !strings.HasPrefix(res.Verdict, "Interrupted") {
		t.Errorf("%v: healthy %t: %s", err, res.Healthy, res.Verdict)
	}
	res, err = Run(ctx, target, Options{})
	if err == nil || res.Healthy || len(res.Stages) != 0 {
		t.Errorf("%v: healthy %t: %s", err, res.Healthy, res.Verdict)
	}
	res.Measured()
}

// TestTogether: only what failed in one way each time is looked for on the path.
func TestTogether(t *testing.T) {
	trials := []Trial{{Arm: "a", Ended: "reset"}, {Arm: "b", Ended: "ok"}, {Arm: "a", Ended: "reset"}}
	if got := together(trials, "a"); got != "reset" {
		t.Errorf("%q", got)
	}
	trials[2].Ended = "unreachable"
	if got := together(trials, "a"); got != "" {
		t.Errorf("%q", got)
	}
}

// resolver answers questions with a code; a negative one says nothing.
func resolver(t *testing.T, code int) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if code < 0 || m.Unpack(b[:n]) != nil {
				continue
			}
			m.Response, m.RCode = true, dnsmessage.RCode(code)
			out, _ := m.Pack()
			_, _ = c.WriteToUDP(out, from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestResolversApart: a program takes the first resolver that answers, and waits for
// those that do not.
func TestResolversApart(t *testing.T) {
	fine, silent, failing := resolver(t, 0), resolver(t, -1), resolver(t, int(dnsmessage.RCodeServerFailure))
	r := newRun(Target{Protocol: "https", Host: "shop.example", Port: 443}, Options{Timeout: 100 * time.Millisecond, Resolvers: []netip.AddrPort{silent, fine, failing, closedPort(t)}})
	var st Stage
	bad := r.askResolvers(context.Background(), &st)
	if len(st.Trials) != 4 || len(bad) != 3 || !strings.Contains(bad[0], "no answer") || !strings.Contains(bad[1], "ServerFailure") || !strings.Contains(bad[2], "refused") {
		t.Errorf("%q of %+v", bad, st.Trials)
	}
}

// TestLostQuestion: one datagram that is lost is no fault of a resolver.
func TestLostQuestion(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		b := make([]byte, 1500)
		for n := 0; ; n++ {
			size, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if n == 0 || m.Unpack(b[:size]) != nil {
				continue
			}
			m.Response = true
			out, _ := m.Pack()
			_, _ = c.WriteToUDP(out, from)
		}
	}()
	r := newRun(Target{Protocol: "https", Host: "shop.example", Port: 443}, Options{Timeout: 3 * time.Second, Resolvers: []netip.AddrPort{c.LocalAddr().(*net.UDPAddr).AddrPort()}})
	var st Stage
	if bad := r.askResolvers(context.Background(), &st); len(bad) > 0 {
		t.Errorf("%q", bad)
	}
}

// TestMySQLOneAddress: a name with several addresses gets one connection as well.
func TestMySQLOneAddress(t *testing.T) {
	greets := func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "\x17\x00\x00\x00\xff\x10\x04Too many connections")
		c.Close()
	}
	one, first := server(t, greets)
	two, second := server(t, greets)
	r := newRun(Target{Protocol: "mysql", Host: "db.example", Port: one.Port()}, Options{})
	r.addrs = []netip.AddrPort{one, two}
	r.exchange(context.Background())
	if n := first.Load() + second.Load(); n != 1 || r.res.Connections != 1 {
		t.Errorf("%d connections arrived, %d counted", n, r.res.Connections)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("# none\nsearch a.example\nnameserver 192.0.2.1\nnameserver\nnameserver x\nnameserver 2001:db8::1\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := resolvers(path)
	if len(got) != 3 || got[1].String() != "[2001:db8::1]:53" || resolvers(path+"x") != nil {
		t.Errorf("%v", got)
	}
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"shop.example":      "https://shop.example:443/",
		"shop.example:8443": "tcp://shop.example:8443",
		"db.internal:5432":  "postgres://db.internal:5432",
		"192.0.2.1":         "https://192.0.2.1:443/",
		"::1":               "https://[::1]:443/",
		"[2001:db8::1]:22":  "ssh://[2001:db8::1]:22",
		"https://user:hunter2@shop.example/a?t=x1": "https://shop.example:443/a",
		"postgresql://u:p@db/x":                    "postgres://db:5432",
		"HTTP://shop.example":                      "http://shop.example:80/",
		"tls://shop.example:993":                   "tls://shop.example:993",
	} {
		got, err := ParseTarget(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "none", "10.0.0.0/8": "range", "ftp://x": "not spoken", "tcp://x": "needs a port", "x:0": "between 1 and 65535", "x:99999": "between 1 and 65535",
		"http://x:0/": "between 1 and 65535", "a b": "cannot be the name", "10.0.0.1-10.0.0.9/": "cannot be the name", "https://": "no host",
		"https://user:hunter2@sh op/": "cannot be read",
	} {
		_, err := ParseTarget(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"shop.example", "https://u:p@h:1/x?y", "[::1]:22", "10.0.0.0/8", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			return
		}
		if target.Host == "" || target.Port == 0 || ports[target.Protocol] == 0 && target.Protocol != "tcp" && target.Protocol != "tls" {
			t.Errorf("%q: %+v", s, target)
		}
		if again, err := ParseTarget(target.String()); err != nil || again.Host != target.Host || again.Port != target.Port {
			t.Errorf("%q is %s, which is %+v, %v", s, target, again, err)
		}
	})
}
