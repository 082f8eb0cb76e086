package sqlretry

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-project/holdfast/steady"
)

// lines is a driver for a database of one command: each line is a statement,
// and each is answered by a line. It says ErrBadConn to every error, as drivers
// did for long.
type lines struct {
	addr string
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (l *lines) Driver() driver.Driver { return nil }

func (l *lines) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := l.dial(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	return &lineConn{c: c, r: bufio.NewReader(c)}, nil
}

type lineConn struct {
	c net.Conn
	r *bufio.Reader
}

func (l *lineConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no statements") }
func (l *lineConn) Close() error                        { return l.c.Close() }
func (l *lineConn) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }

func (l *lineConn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	if _, err := fmt.Fprintln(l.c, query); err != nil {
		return nil, driver.ErrBadConn
	}
	answer, err := l.r.ReadString('\n')
	if err != nil {
		return nil, driver.ErrBadConn
	}
	if strings.HasPrefix(answer, "error") {
		return nil, errors.New(strings.TrimSpace(answer))
	}
	return driver.RowsAffected(1), nil
}

// database answers lines; abort names a statement after whose execution it
// resets, hangup one after whose answer it closes.
type database struct {
	mu       sync.Mutex
	executed map[string]int // guarded by mu
	closed   chan struct{}
}

func (d *database) serve(c *net.TCPConn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		q, err := r.ReadString('\n')
		if err != nil {
			return
		}
		q = strings.TrimSpace(q)
		d.mu.Lock()
		d.executed[q]++
		n := d.executed[q]
		d.mu.Unlock()
		switch {
		case strings.HasPrefix(q, "abort") && n == 1:
			c.SetLinger(0)
			return
		case strings.HasPrefix(q, "error"):
			fmt.Fprintln(c, "error: syntax")
		case strings.HasPrefix(q, "hangup"):
			fmt.Fprintln(c, "ok")
			c.Close()
			d.closed <- struct{}{}
			return
		default:
			fmt.Fprintln(c, "ok")
		}
	}
}

func start(t *testing.T) (*database, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := &database{executed: map[string]int{}, closed: make(chan struct{}, 1)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c.(*net.TCPConn))
		}
	}()
	return d, l.Addr().String()
}

func TestStatementsAreExecutedOnce(t *testing.T) {
	for _, tracked := range []bool{true, false} {
		d, addr := start(t)
		dial := DialContext(nil)
		if !tracked {
			dial = (&net.Dialer{}).DialContext
		}
		db := sql.OpenDB(Wrap(&lines{addr: addr, dial: dial}))
		defer db.Close()
		exec := func(q string) error { _, err := db.Exec(q); return err }
		if err := exec("insert 1"); err != nil {
			t.Fatal(err)
		}
		if err := exec("error"); err == nil || errors.Is(err, driver.ErrBadConn) || !strings.Contains(err.Error(), "syntax") {
			t.Errorf("the server's error: %v", err)
		}
		err := exec("abort")
		if _, ok := errors.AsType[*steady.ResetError](err); !ok || steady.VerdictOf(err).SafeToRetry() {
			t.Errorf("after an abort: %v", err)
		}
		if err := exec("hangup"); err != nil {
			t.Error(err)
		}
		<-d.closed
		// The connection in the pool is dead. Tracked, that is proved.
		if err := exec("insert 2"); err != nil && tracked {
			t.Errorf("after the server hung up: %v", err)
		}
		d.mu.Lock()
		for q, n := range d.executed {
			if n != 1 {
				t.Errorf("tracked %v: %q was executed %d times", tracked, q, n)
			}
		}
		d.mu.Unlock()
	}
}
