package sqlretry

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgres starts a database server on a port of loopback and returns the port.
func postgres(t *testing.T) string {
	t.Helper()
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(bins) == 0 {
		t.Skip("no PostgreSQL in /usr/lib/postgresql: apt install postgresql")
	}
	bin := bins[len(bins)-1]
	dir, err := os.MkdirTemp("", "sqlretry-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 { // the server refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skip("root, and no user postgres: ", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: attr.Credential}, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", port, "-k", dir, "-F")
	server.SysProcAttr, server.Dir = &syscall.SysProcAttr{Credential: attr.Credential}, dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGINT) // fast shutdown
		server.Wait()
	})
	return port
}

// cutter stands between driver and server. It can lose an answer, and
// hang up.
type cutter struct {
	net.Listener
	port string
	open atomic.Int64 // connections to clients
	cut  atomic.Int64 // when 1: the next answer to an INSERT is dropped and the client is reset

	mu    sync.Mutex
	pairs []pair // guarded by mu
}

type pair struct{ client, server *net.TCPConn }

func (c *cutter) run() {
	for {
		conn, err := c.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", "127.0.0.1:"+c.port)
		if err != nil {
			conn.Close()
			continue
		}
		c.open.Add(1)
		p := pair{conn.(*net.TCPConn), up.(*net.TCPConn)}
		c.mu.Lock()
		c.pairs = append(c.pairs, p)
		c.mu.Unlock()
		go func() { io.Copy(struct{ io.Writer }{p.server}, p.client); p.server.CloseWrite() }()
		go c.answers(p)
	}
}

// answers copies what the server says. The server has committed an INSERT when it
// says so.
func (c *cutter) answers(p pair) {
	defer func() { p.client.Close(); c.open.Add(-1) }()
	buf := make([]byte, 64<<10)
	for {
		n, err := p.server.Read(buf)
		if bytes.Contains(buf[:n], []byte("INSERT 0 1")) && c.cut.CompareAndSwap(1, 0) {
			p.client.SetLinger(0)
			p.server.Close()
			return
		}
		if n > 0 {
			if _, err := p.client.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hangUp closes all connections to clients in good order, as a proxy or a server
// does with idle ones.
func (c *cutter) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pairs {
		p.client.Close()
		p.server.Close()
	}
	c.pairs = nil
}

// settled waits until no connection is open: clients have been told by then.
func (c *cutter) settled(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); c.open.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection stays open")
		}
	}
}

func openPostgres(t *testing.T, port string) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig("postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = DialContext(&steady.Dialer{})
	db := sql.OpenDB(Wrap(stdlib.GetConnector(*config)))
	t.Cleanup(func() { db.Close() })
	return db
}

// rows returns the IDs in the table, sorted: each INSERT adds one.
func rows(t *testing.T, db *sql.DB) (ids []int) {
	t.Helper()
	r, err := db.Query("SELECT id FROM t ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		var id int
		if err := r.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// TestPostgres: the driver pgx and a real server, whose connections are lost
// between statements and behind statements. What the table holds decides.
func TestPostgres(t *testing.T) {
	port := postgres(t)
	admin := openPostgres(t, port)
	deadline := time.Now().Add(30 * time.Second)
	for admin.Ping() != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer: ", admin.Ping())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := admin.Exec("CREATE TABLE t (id int)"); err != nil { // no key: a second INSERT would show
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &cutter{Listener: l, port: port}
	go c.run()
	_, through, _ := net.SplitHostPort(l.Addr().String())
	db := openPostgres(t, through)
	db.SetMaxOpenConns(1)

	next := 0
	insert := func(query string) (int, error) {
		next++
		_, err := db.Exec(query, next)
		return next, err
	}
	const plain = "INSERT INTO t VALUES ($1)"
	kept := []int{}
	must := func(id int, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("INSERT %d: %v", id, err)
		}
		kept = append(kept, id)
	}
	for range 3 {
		must(insert(plain))
		// Between statements, the connection in the pool is closed.
		c.hangUp()
		c.settled(t)
		must(insert(plain))
		// Between statements, the server ends the backend, which first says why.
		if _, err := admin.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"); err != nil {
			t.Fatal(err)
		}
		c.settled(t)
		must(insert(plain))
		// Behind the commit the answer is lost: it stays lost, with the row there.
		c.cut.Store(1)
		id, err := insert(plain)
		if _, ok := errors.AsType[*steady.ResetError](err); !ok || errors.Is(err, driver.ErrBadConn) || steady.VerdictOf(err).SafeToRetry() {
			t.Errorf("INSERT %d, the answer was lost: %v", id, err)
		}
		kept = append(kept, id)
		// While the statement runs the backend is ended: nothing is committed.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		go terminateSleeper(ctx, admin)
		id, err = insert("WITH s AS (SELECT pg_sleep(60)) INSERT INTO t SELECT $1::int FROM s")
		cancel()
		if err == nil || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("INSERT %d, the backend was ended: %v", id, err)
		}
	}
	must(insert(plain))
	if got := rows(t, admin); !slices.Equal(got, kept) {
		t.Errorf("the table has %v, want %v", got, kept)
	}
}

// terminateSleeper ends the backend that sleeps, as soon as there is one.
func terminateSleeper(ctx context.Context, admin *sql.DB) {
	const q = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND wait_event = 'PgSleep'"
	for n := 0; n == 0 && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if err := admin.QueryRowContext(ctx, q).Scan(&n); err != nil {
			fmt.Fprintln(os.Stderr, "terminate:", err)
			return
		}
	}
}
