package resettest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config says what a Server serves and how it fails. The zero value is a healthy
// HTTP/1.1 server on a port of its own.
type Config struct {
	Addr   string      // host:port to listen on; 127.0.0.1:0 by default
	Seed   uint64      // decides who is hit, together with the rates
	Inject []Injection // the first one that hits a request wins
	HTTP2  bool        // speak HTTP/2; also when an injection needs it
	TLS    bool        // speak TLS, with a certificate made for this server; also when an injection needs it

	// Execute has the effect of a request and returns the body of the answer. By
	// default there is no effect but the entry in the ledger, and the answer
	// says "executed" and the ID.
	Execute func(Request) []byte

	MaxBody    int64 // octets of a request's body; 64 MiB by default, more is refused with 413
	MaxConns   int   // connections at once; 4096 by default, more are aborted and counted
	MaxEntries int   // entries in the ledger; 1<<20 by default
}

// Request is what Execute is given.
type Request struct {
	ID      string // see Server
	Attempt int
	Method  string
	Path    string
	Header  http.Header
	Body    []byte
}

// Server is a server that fails as told and writes down the truth.
//
// It knows a request by its header Resettest-Id, else X-Request-Id, else
// Idempotency-Key; without any of them it invents an ID from the numbers of
// connection and request. A repeated request is one with the same ID.
type Server struct {
	// Addr is host:port of the server.
	Addr string
	// URL is the address with its scheme, without a slash at the end.
	URL string

	cfg    Config
	plan   *plan
	ledger *Ledger
	cert   *certificate // nil without TLS
	ln     net.Listener // nil when the port itself is the fault
	free   func()       // gives the port back when ln is nil
	done   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	conns   map[*net.TCPConn]bool // guarded by mu
	accepts int                   // guarded by mu
	refused int                   // guarded by mu
}

// TB is the part of testing.TB that New needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// New starts a server for one test, with these injections, and closes it when the
// test ends.
func New(tb TB, inject ...Injection) *Server {
	tb.Helper()
	s, err := Start(Config{Inject: inject})
	if err != nil {
		tb.Fatalf("resettest: %v", err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// Start starts a server. Close ends it.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.MaxBody = or(cfg.MaxBody, 64<<20)
	cfg.MaxConns = int(or(int64(cfg.MaxConns), 4096))
	cfg.MaxEntries = int(or(int64(cfg.MaxEntries), 1<<20))
	p, err := newPlan(cfg.Seed, cfg.Inject, false)
	if err != nil {
		return nil, err
	}
	if err := cfg.speak(p); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, plan: p, ledger: newLedger(cfg.MaxEntries), done: make(chan struct{}), conns: map[*net.TCPConn]bool{}}
	if cfg.TLS {
		if s.cert, err = newCertificate(); err != nil {
			return nil, err
		}
	}
	if err := s.listen(); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
	}
	s.URL = "http://" + s.Addr
	if cfg.TLS {
		s.URL = "https://" + s.Addr
	}
	return s, nil
}

// speak finds out which protocol the injections need, and refuses a mixture.
func (c *Config) speak(p *plan) error {
	var h1, h2 string
	for _, a := range p.list {
		switch a.fault.Layer {
		case "h2":
			h2 = a.Fault
		case "http/1.1":
			h1 = a.Fault
		case "tls":
			c.TLS = true
			if a.fault.stage != stageHello {
				h1 = a.Fault
			}
		}
		if a.fault.stage == stagePort && len(p.list) > 1 {
			return fmt.Errorf("fault %s concerns the port: it cannot be combined with others", a.Fault)
		}
	}
	c.HTTP2 = c.HTTP2 || h2 != ""
	if c.HTTP2 && h1 != "" {
		return fmt.Errorf("fault %s needs HTTP/1.1, and this server speaks HTTP/2 (%s)", h1, h2)
	}
	return nil
}

func (s *Server) listen() error {
	addr, err := net.ResolveTCPAddr("tcp", s.cfg.Addr)
	if err != nil {
		return err
	}
	if s.plan.has(stagePort) {
		bound, free, err := faultyPort(s.cfg.Inject[0].Fault, addr)
		if err != nil {
			return err
		}
		s.Addr, s.free = bound.String(), free
		return nil
	}
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false) // its aborts look different on the wire
	if s.ln, err = lc.Listen(context.Background(), "tcp", addr.String()); err != nil {
		return err
	}
	s.Addr = s.ln.Addr().String()
	s.wg.Go(s.accept)
	return nil
}

// faultyPort makes a port that refuses, or that swallows.
func faultyPort(fault string, addr *net.TCPAddr) (*net.TCPAddr, func(), error) {
	a := *addr
	if a.IP == nil {
		a.IP = net.IPv4zero
	}
	if fault == "black-hole" {
		return blackHole(&a)
	}
	return hold(&a)
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if s.closed() {
				return
			}
			time.Sleep(time.Millisecond) // too many open files: let some close
			continue
		}
		tc := c.(*net.TCPConn)
		no, ok := s.admit(tc)
		if !ok {
			_ = abort(tc) // over the limit, counted
			continue
		}
		s.wg.Go(func() {
			defer s.forget(tc)
			s.serve(tc, no)
		})
	}
}

func (s *Server) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *Server) admit(c *net.TCPConn) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.cfg.MaxConns || s.closed() {
		s.refused++
		return 0, false
	}
	s.accepts++
	s.conns[c] = true
	return s.accepts, true
}

func (s *Server) forget(c *net.TCPConn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// serve handles one connection to its end. Errors end it: what happened is in the
// ledger, and the client sees the rest.
func (s *Server) serve(c *net.TCPConn, no int) {
	x := &exchange{s: s, tcp: c, rw: c, connNo: no, reqNo: 1, entry: -1}
	if a := s.plan.pick(stageAccept, x.connKey(), true, 1); a != nil {
		_ = x.strike(a)
		return
	}
	if s.cert != nil && !x.handshake() {
		return
	}
	if s.cfg.HTTP2 {
		_ = x.serveHTTP2()
		return
	}
	_ = x.serveHTTP1()
}

// Ledger returns the ledger of the server.
func (s *Server) Ledger() *Ledger { return s.ledger }

// Refused returns how many connections were aborted because there were too many.
func (s *Server) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Client returns a client for this server, with its own connections: it trusts the
// certificate of the server and speaks its protocol. The transport is the one of
// net/http, with everything that it repeats by itself.
func (s *Server) Client() *http.Client {
	t := &http.Transport{TLSClientConfig: s.ClientTLS(), MaxIdleConnsPerHost: 256, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(!s.cfg.HTTP2)
	t.Protocols.SetHTTP2(s.cfg.HTTP2)
	t.Protocols.SetUnencryptedHTTP2(s.cfg.HTTP2)
	return &http.Client{Transport: t}
}

// ClientTLS returns a configuration that trusts the certificate of the server, nil
// without TLS.
func (s *Server) ClientTLS() *tls.Config {
	if s.cert == nil {
		return nil
	}
	return &tls.Config{RootCAs: s.cert.pool}
}

// Close aborts all connections, gives the port back and waits for the server to end.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed() {
		s.mu.Unlock()
		return nil
	}
	close(s.done)
	var err error
	if s.ln != nil {
		err = s.ln.Close()
	} else {
		s.free()
	}
	for c := range s.conns {
		_ = abort(c)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// requestID finds the ID of a request in its header.
func requestID(h http.Header, otherwise string) string {
	for _, name := range []string{"Resettest-Id", "X-Request-Id", "Idempotency-Key"} {
		if v := strings.TrimSpace(h.Get(name)); v != "" {
			return v
		}
	}
	return otherwise
}

// errEnd ends a connection after a fault.
var errEnd = errors.New("the fault ends the connection")
