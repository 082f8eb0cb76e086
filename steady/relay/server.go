package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Server accepts connections and relays each to one of several addresses.
type Server struct {
	// Backends are host:port. Each connection goes to the next one; one that cannot
	// be reached is passed over, since nothing was sent yet.
	Backends []string
	Options  Options
	// Connect bounds the connect to one backend; 3 s.
	Connect time.Duration
	// Sessions bounds how many run at once; 0 means 65536. Beyond it, connections
	// wait in the accept queue.
	Sessions int
	// Record is called at the end of each session; nil: not at all.
	Record func(Record)

	next    atomic.Uint64
	total   atomic.Int64
	bad     atomic.Int64
	hidden  atomic.Int64
	failed  atomic.Int64
	active  atomic.Int64
	running sync.WaitGroup
}

// Stats are counts since the server began.
type Stats struct {
	Sessions    int64 `json:"sessions"`    // that ended
	Active      int64 `json:"active"`      // now
	Bad         int64 `json:"bad"`         // ended otherwise than orderly
	Unreachable int64 `json:"unreachable"` // no backend could be reached
	Hidden      int64 `json:"hidden_resets_total"`
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	return Stats{Sessions: s.total.Load(), Active: s.active.Load(), Bad: s.bad.Load(), Unreachable: s.failed.Load(), Hidden: s.hidden.Load()}
}

// Listen opens a listener that costs little for each connection: without MPTCP, and
// without keep-alive, which [Run] switches on for sessions that last.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	c := net.ListenConfig{KeepAlive: -1}
	c.SetMultipathTCP(false)
	return c.Listen(ctx, "tcp", addr)
}

// Serve accepts until the listener is closed or the context ends. Sessions go on
// until [Server.Wait], or are reset when sessions ends.
func (s *Server) Serve(accept, sessions context.Context, l net.Listener) error {
	if len(s.Backends) == 0 {
		return errors.New("no backend")
	}
	stop := context.AfterFunc(accept, func() { l.Close() })
	defer stop()
	most := s.Sessions
	if most <= 0 {
		most = 1 << 16
	}
	room := make(chan struct{}, most)
	pause := 5 * time.Millisecond
	for {
		room <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			if accept.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			<-room
			select { // out of descriptors: wait until sessions end
			case <-accept.Done():
				return nil
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		client, ok := c.(*net.TCPConn)
		if !ok {
			c.Close()
			return fmt.Errorf("the listener gives %T, and no TCP connections", c)
		}
		s.running.Go(func() {
			s.active.Add(1)
			s.serve(sessions, client)
			s.active.Add(-1)
			<-room
		})
	}
}

// Wait returns when every session has ended.
func (s *Server) Wait() { s.running.Wait() }

func (s *Server) serve(ctx context.Context, client *net.TCPConn) {
	began := time.Now()
	server, err := s.dial(ctx)
	if err != nil {
		_ = client.SetLinger(0) // what the backend said is what the client hears
		rec := Record{Began: began, Took: time.Since(began), EndedBy: "server", How: "unreachable"}
		switch {
		case ctx.Err() != nil:
			rec.EndedBy, rec.How = "relay", "stopped"
		case isReset(err): // it accepted, and reset at once
			rec.How = Reset
		}
		rec.Client = Side{Addr: client.RemoteAddr().String(), End: Open}
		rec.Server = Side{End: Failed, Error: err.Error()}
		client.Close()
		s.failed.Add(1)
		s.ended(rec)
		return
	}
	s.ended(Run(ctx, client, server, s.Options))
}

func (s *Server) ended(r Record) {
	s.total.Add(1)
	if r.Bad() {
		s.bad.Add(1)
	}
	if r.Hidden {
		s.hidden.Add(1)
	}
	if s.Record != nil {
		s.Record(r)
	}
}

// dial connects to the next backend that answers.
func (s *Server) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: s.Connect, KeepAlive: -1} // Run does that
	if d.Timeout <= 0 {
		d.Timeout = 3 * time.Second
	}
	d.SetMultipathTCP(false)
	first := s.next.Add(1) - 1
	var errs []error
	for i := range s.Backends {
		c, err := d.DialContext(ctx, "tcp", s.Backends[(int(first%uint64(len(s.Backends)))+i)%len(s.Backends)])
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
