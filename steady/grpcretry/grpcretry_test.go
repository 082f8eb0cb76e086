package grpcretry

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const check = "/grpc.health.v1.Health/Check"

// server counts what it executed and resets the connection of the first calls.
type server struct {
	health.UnimplementedHealthServer
	executed atomic.Int64
	aborts   int64
	l        *listener
}

func (s *server) Check(context.Context, *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	if s.executed.Add(1) <= s.aborts {
		s.l.abort()
	}
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

// listener remembers its connections, to reset them.
type listener struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn // guarded by mu
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c.(*net.TCPConn))
		l.mu.Unlock()
	}
	return c, err
}

func (l *listener) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.SetLinger(0)
		c.Close()
	}
	l.conns = nil
}

func TestCommitThenAbort(t *testing.T) {
	for _, c := range []struct {
		idempotent bool
		executed   int64
		code       codes.Code
	}{{false, 1, codes.Unavailable}, {true, 2, codes.OK}} {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &server{aborts: 1, l: &listener{Listener: inner}}
		g := grpc.NewServer()
		health.RegisterHealthServer(g, s)
		go g.Serve(s.l)
		conn, err := grpc.NewClient(inner.Addr().String(), append(Options(Config{
			Idempotent: func(method string) bool { return c.idempotent && method == check },
		}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err = health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{}, grpc.WaitForReady(c.idempotent))
		cancel()
		if status.Code(err) != c.code || s.executed.Load() != c.executed {
			t.Errorf("idempotent %v: executed %d times: %v", c.idempotent, s.executed.Load(), err)
		}
		if err != nil && steady.VerdictOf(err).SafeToRetry() {
			t.Errorf("verdict of %v", err)
		}
		conn.Close()
		g.Stop()
	}
}

// TestNotSent: with nobody listening the verdict is not sent, and the attempts
// are bounded.
func TestNotSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var events atomic.Int64
	conn, err := grpc.NewClient(l.Addr().String(), append(Options(Config{
		Backoff:  steady.Backoff{Base: time.Millisecond},
		Observer: func(context.Context, steady.Event) { events.Add(1) },
	}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = health.NewHealthClient(conn).Check(context.Background(), &health.HealthCheckRequest{})
	if steady.VerdictOf(err) != steady.NotSent || status.Code(err) != codes.Unavailable || events.Load() != 3 {
		t.Errorf("%d attempts: %v (%v)", events.Load(), err, steady.VerdictOf(err))
	}
}

// refuser speaks enough HTTP/2 to execute a call and then to say that it did not.
func refuser(t *testing.T, goAway bool) (addr string, executed *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	executed = &atomic.Int64{}
	serve := func(c net.Conn) {
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *http2.DataFrame:
				if !frame.StreamEnded() {
					continue
				}
				executed.Add(1)
				if goAway {
					_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
				} else {
					_ = f.WriteRSTStream(frame.StreamID, http2.ErrCodeRefusedStream)
				}
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String(), executed
}

// TestRefusedAfterCommit: what a peer says it did not process is not believed, unless
// told to.
func TestRefusedAfterCommit(t *testing.T) {
	for _, goAway := range []bool{false, true} {
		for trust, want := range map[steady.Trust]int64{steady.TrustKernel: 1, steady.TrustPeer: 2} {
			addr, executed := refuser(t, goAway)
			conn, err := grpc.NewClient(addr, append(Options(Config{Trust: trust}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			_, err = health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{})
			cancel()
			if n := executed.Load(); n != want || err == nil || steady.VerdictOf(err).SafeToRetry() {
				t.Errorf("GOAWAY %v, %s: executed %d times, want %d: %v", goAway, trust, n, want, err)
			}
			conn.Close()
		}
	}
}
