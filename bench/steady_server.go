package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-project/holdfast/steady/handover"
)

// misbehaviour is how the server of the part steady treats its clients.
type misbehaviour struct {
	name string
	idle time.Duration // close connections that are idle for so long
	rst  float64       // share of the executions whose answer is lost by a RST
	fin  float64       // share whose answer is lost by a close in good order
	half float64       // share before whose execution the server shuts its sending side down, and aborts behind it
	oob  bool          // every connection carries an octet of urgent data
}

var misbehaviours = []misbehaviour{
	{name: "idle-close race", idle: 5 * time.Millisecond},
	{name: "RST after commit, 5 %", rst: 0.05},
	{name: "FIN after commit, 5 %", fin: 0.05},
	{name: "mixed", idle: 5 * time.Millisecond, rst: 0.025, fin: 0.025},
	{name: "half-close, execute, abort, 5 %", half: 0.05},
	{name: "urgent octet, RST after commit, 5 %", rst: 0.05, oob: true},
}

// steadyServer is a role: an HTTP server on the standard library that executes
// POSTs, which means that it writes a line to its ledger, and then behaves.
type steadyServer struct {
	misbehaviour
	abort  bool // every request is read and met with a RST, none is executed
	ledger *os.File

	mu   sync.Mutex
	seen map[string]int // guarded by mu: executions of each ID
}

func runSteadyServer(args []string) error {
	s := &steadyServer{seen: map[string]int{}}
	fs := flag.NewFlagSet("steady-server", flag.ContinueOnError)
	fs.DurationVar(&s.idle, "idle", 0, "idle timeout")
	fs.Float64Var(&s.rst, "rst", 0, "share of answers lost by a RST")
	fs.Float64Var(&s.fin, "fin", 0, "share of answers lost by a FIN")
	fs.Float64Var(&s.half, "half", 0, "share executed behind a half-close, and aborted")
	fs.BoolVar(&s.oob, "oob", false, "send an octet of urgent data on every connection")
	fs.BoolVar(&s.abort, "abort", false, "abort everything")
	ledger := fs.String("ledger", os.DevNull, "file to append to")
	addr := fs.String("addr", "127.0.0.1:0", "where to listen")
	path := fs.String("handover", "", "socket by which a successor takes over")
	inherit := fs.Bool("inherit", false, "serve the socket that was inherited, and end by Shutdown alone")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if s.ledger, err = os.OpenFile(*ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	srv := &http.Server{Handler: s, IdleTimeout: s.idle, ConnContext: withConn}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *path != "" {
		h := &handover.Handover{Addr: *addr, Path: *path, Serving: func(l net.Listener, _ handover.Origin) { announce(l) }}
		report, err := h.Serve(ctx, srv)
		fmt.Fprintf(os.Stderr, "drained %+v\n", report)
		return err
	}
	return serveUntil(ctx, srv, *addr, *inherit)
}

func announce(l net.Listener) { fmt.Fprintf(os.Stderr, "serving %s\n", l.Addr()) }

// serveUntil serves until ctx is done and then ends as most programs do.
func serveUntil(ctx context.Context, srv *http.Server, addr string, inherit bool) error {
	var l net.Listener
	var err error
	if inherit {
		var list []net.Listener
		if list, err = handover.Inherited(); err == nil && len(list) == 0 {
			err = errors.New("no listener was inherited")
		}
		if err == nil {
			l = list[0]
		}
	} else {
		l, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return err
	}
	announce(l)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return srv.Shutdown(limit)
}

// ServeHTTP executes a request and then answers, or does not.
func (s *steadyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away; nothing was executed
	}
	if s.abort {
		hangUp(w, true)
		return
	}
	id := r.Header.Get("X-Id")
	if id == "" {
		return // the overhead is measured without a ledger
	}
	if s.oob {
		sendUrgent(r)
	}
	if s.half > 0 && chance(id, s.times(id)) < s.half {
		s.halfClose(w, id, string(body))
		return
	}
	n, err := s.execute(id, string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	draw := chance(id, n)
	switch {
	case draw < s.rst:
		hangUp(w, true)
	case draw < s.rst+s.fin:
		hangUp(w, false)
	}
}

// execute writes to the ledger and returns how often id was executed before.
func (s *steadyServer) execute(id, body string) (int, error) {
	s.mu.Lock()
	n := s.seen[id]
	s.seen[id]++
	s.mu.Unlock()
	_, err := s.ledger.WriteString(ledgerLine(id, body))
	return n, err
}

func ledgerLine(id, body string) string { return id + " " + strings.TrimSpace(body) + "\n" }

// chance draws from [0,1) for execution n of id, the same in every run.
func chance(id string, n int) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, id, "#", n)
	x := h.Sum64() * 0x9e3779b97f4a7c15 // FNV mixes its upper bits badly
	return float64(x>>11) / (1 << 53)
}

// times is how often id was executed.
func (s *steadyServer) times(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id]
}

// halfClose shuts the sending side down, executes and aborts.
func (s *steadyServer) halfClose(w http.ResponseWriter, id, body string) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.CloseWrite() // a client that is gone loses nothing
	if _, err := s.execute(id, body); err == nil {
		_ = tcp.SetLinger(0)
	}
}

type connKey struct{}

// told is a connection, and whether it carried urgent data.
type told struct {
	net.Conn
	once sync.Once
}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &told{Conn: c})
}

// sendUrgent sends one octet of urgent data, once on each connection.
func sendUrgent(r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*told)
	if !ok {
		return
	}
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	c.once.Do(func() {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = syscall.Sendto(int(fd), []byte{'!'}, syscall.MSG_OOB, nil) })
		}
	})
}

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter, rst bool) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok && rst {
		_ = tcp.SetLinger(0) // it fails only on a socket that is gone
	}
	c.Close()
}

// killed ends a child at once, as a crash does.
func (t *tool) killed() {
	_ = t.cmd.Process.Signal(syscall.SIGKILL)
	<-t.eof
	_ = t.cmd.Wait()
}
