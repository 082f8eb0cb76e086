// Package sqlretry wraps a database/sql driver so that a statement is sent
// again only if it was proved not delivered.
//
// database/sql repeats a statement, on another connection, when the driver
// returns driver.ErrBadConn. Drivers return it for connections that are merely
// suspected, and a statement may then be executed twice. Here the verdict of
// package steady decides: ErrBadConn when nothing was sent or delivered, and
// otherwise a *steady.ResetError that is not ErrBadConn.
//
// The driver must dial through [DialContext], so that its connections are
// tracked:
//
//	config, err := pgx.ParseConfig(dsn)             // github.com/jackc/pgx/v5
//	config.DialFunc = sqlretry.DialContext(&steady.Dialer{})
//	db := sql.OpenDB(sqlretry.Wrap(stdlib.GetConnector(*config)))
//
//	mysql.RegisterDialContext("steady", ...)         // github.com/go-sql-driver/mysql
//	connector, err := mysql.NewConnector(config)     // config.Net = "steady"
//	db := sql.OpenDB(sqlretry.Wrap(connector))
//
// It does not repeat transactions, and it does not judge errors that come while
// rows are read. To debug a verdict print steady.ResetError.Evidence.
package sqlretry

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/holdfast-project/holdfast/steady"
)

// note carries the connection from the dial function to the wrapper.
type note struct{ conn atomic.Pointer[steady.Conn] }

type noteKey struct{}

// DialContext returns a dial function for a driver's configuration. d may be nil.
func DialContext(d *steady.Dialer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if d == nil {
		d = &steady.Dialer{}
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if n, ok := ctx.Value(noteKey{}).(*note); ok {
			if tc, ok := c.(*steady.Conn); ok {
				n.conn.Store(tc)
			}
		}
		return c, nil
	}
}

// Wrap returns a connector whose connections are judged.
func Wrap(c driver.Connector) driver.Connector { return &connector{c} }

type connector struct{ driver.Connector }

// Connect opens a connection. Nothing was executed if it fails.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	n := &note{}
	inner, err := c.Connector.Connect(context.WithValue(ctx, noteKey{}, n))
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, tracked: n.conn.Load()}, nil
}

// conn is used by one goroutine at a time, as database/sql promises.
type conn struct {
	driver.Conn
	tracked *steady.Conn // nil when the driver did not dial through DialContext
	broken  bool
}

// judge runs one round trip or several and translates its error.
func (c *conn) judge(what string, do func() error) error {
	if c.tracked != nil {
		c.tracked.Mark()
	}
	err := do()
	if err == nil || errors.Is(err, driver.ErrSkip) {
		return err
	}
	bad := errors.Is(err, driver.ErrBadConn)
	if !bad && (c.tracked == nil || !c.tracked.Broken()) {
		return err // the server's answer, or of the driver itself
	}
	c.broken = true
	var verdict error = &steady.ResetError{Err: lost(what, err), Hint: "dial through sqlretry.DialContext for a verdict"}
	if c.tracked != nil {
		verdict = steady.Explain(c.tracked, lost(what, err))
	}
	if steady.VerdictOf(verdict).SafeToRetry() {
		return errors.Join(driver.ErrBadConn, verdict)
	}
	return verdict
}

// lost hides ErrBadConn, which database/sql would take as leave to repeat.
func lost(what string, err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("%s: connection lost: %v", what, err) //nolint:errorlint // hidden on purpose
	}
	return fmt.Errorf("%s: %w", what, err)
}

// IsValid reports whether the pool may keep the connection.
func (c *conn) IsValid() bool {
	if c.broken || c.tracked != nil && c.tracked.Broken() {
		return false
	}
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

// ResetSession is called before the connection is used again. Nothing of the
// next statement was sent yet, so ErrBadConn is right.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.broken || c.tracked != nil && c.tracked.Broken() {
		return driver.ErrBadConn
	}
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

// Ping may be repeated, whatever became of it.
func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// CheckNamedValue passes on to the driver.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := c.Conn.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// ExecContext executes without preparing, if the driver can.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	e, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	err = c.judge("exec", func() (err error) { res, err = e.ExecContext(ctx, query, args); return err })
	return res, err
}

// QueryContext queries without preparing, if the driver can.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	err = c.judge("query", func() (err error) { rows, err = q.QueryContext(ctx, query, args); return err })
	return rows, err
}

// Prepare prepares a statement.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext prepares a statement.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	var s driver.Stmt
	err := c.judge("prepare", func() (err error) {
		if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
			s, err = p.PrepareContext(ctx, query)
		} else {
			s, err = c.Conn.Prepare(query)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: s, c: c}, nil
}

// Begin begins a transaction.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// BeginTx begins a transaction.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	var t driver.Tx
	err := c.judge("begin", func() (err error) {
		b, ok := c.Conn.(driver.ConnBeginTx)
		switch {
		case ok:
			t, err = b.BeginTx(ctx, opts)
		case opts != driver.TxOptions{}:
			err = errors.New("sqlretry: the driver does not support options of transactions")
		default:
			t, err = c.Conn.Begin() //nolint:staticcheck // what an old driver has
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tx{t, c}, nil
}

type tx struct {
	driver.Tx
	c *conn
}

// Commit commits. If the verdict is not safe, only the database knows.
func (t *tx) Commit() error { return t.c.judge("commit", t.Tx.Commit) }

// Rollback rolls back.
func (t *tx) Rollback() error { return t.c.judge("rollback", t.Tx.Rollback) }

type stmt struct {
	driver.Stmt
	c *conn
}

// CheckNamedValue passes on to the driver.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return s.c.CheckNamedValue(v)
}

// ExecContext executes the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	err = s.c.judge("exec", func() (err error) {
		if e, ok := s.Stmt.(driver.StmtExecContext); ok {
			res, err = e.ExecContext(ctx, args)
		} else {
			res, err = s.Stmt.Exec(plain(args)) //nolint:staticcheck // what an old driver has
		}
		return err
	})
	return res, err
}

// QueryContext queries by the statement.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = s.c.judge("query", func() (err error) {
		if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
			rows, err = q.QueryContext(ctx, args)
		} else {
			rows, err = s.Stmt.Query(plain(args)) //nolint:staticcheck // what an old driver has
		}
		return err
	})
	return rows, err
}

func plain(args []driver.NamedValue) []driver.Value {
	list := make([]driver.Value, len(args))
	for i, a := range args {
		list[i] = a.Value
	}
	return list
}
