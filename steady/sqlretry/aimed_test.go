package sqlretry

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/holdfast-project/holdfast/steady/resettest"
)

// mariadb starts a server on a port of loopback and returns the port.
func mariadb(t *testing.T) string {
	t.Helper()
	server, err := exec.LookPath("mariadbd")
	if err != nil {
		server = "/usr/sbin/mariadbd"
	}
	if _, err := os.Stat(server); err != nil {
		t.Skip("no mariadbd: apt install mariadb-server")
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	common := []string{"--no-defaults", "--datadir=" + data}
	if os.Getuid() == 0 {
		common = append(common, "--user=root")
	}
	install := exec.Command("mariadb-install-db", append(common, "--auth-root-authentication-method=normal", "--skip-test-db")...)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	run := exec.Command(server, append(common, "--bind-address=127.0.0.1", "--port="+port, "--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "pid"), "--innodb-flush-log-at-trx-commit=0", "--local-infile=1")...)
	run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Process.Signal(syscall.SIGTERM); run.Wait() })
	return port
}

// executor executes one statement on a connection that stays the same.
type executor func(query string, args ...any) error

// dialPostgres uses pgx itself: through database/sql it also sends pings, by the clock.
func dialPostgres(t *testing.T, dsn string) executor {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		return func(string, ...any) error { return err }
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return func(query string, args ...any) error {
		_, err := c.Exec(t.Context(), query, args...)
		return err
	}
}

func dialMySQL(t *testing.T, dsn string) executor {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c, err := db.Conn(t.Context())
	if err != nil {
		return func(string, ...any) error { return err }
	}
	return func(query string, args ...any) error {
		_, err := c.ExecContext(t.Context(), query, args...)
		return err
	}
}

// patient dials until the server answers.
func patient(t *testing.T, dial func(*testing.T, string) executor, dsn string) executor {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		exec := dial(t, dsn)
		err := exec("SELECT 1")
		if err == nil {
			return exec
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestAimedStatements strikes the n-th request of connections to real databases, by
// resettest, and asks the database what was executed.
func TestAimedStatements(t *testing.T) {
	servers := map[string]string{} // port of each protocol
	for _, c := range []struct {
		name     string
		protocol string
		dsn      string // with ADDR
		dial     func(*testing.T, string) executor
		insert   func(exec executor, id int) error
		message  int // request that the third INSERT is
	}{
		{"PostgreSQL, prepared", "postgres", "postgres://postgres@ADDR/postgres?sslmode=disable", dialPostgres, withArg("$1"), 4}, // Parse and Sync come first
		{"PostgreSQL, simple, TLS refused before", "postgres", "postgres://postgres@ADDR/postgres?sslmode=prefer&default_query_exec_mode=simple_protocol", dialPostgres, withArg("$1"), 3},
		{"MariaDB, text", "mysql", "root@tcp(ADDR)/mysql", dialMySQL, func(exec executor, id int) error { return exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", id)) }, 3},
		{"MariaDB, prepared and closed", "mysql", "root@tcp(ADDR)/mysql", dialMySQL, withArg("?"), 6}, // PREPARE and EXECUTE each; CLOSE is not counted
	} {
		if servers[c.protocol] == "" {
			servers[c.protocol] = map[string]func(*testing.T) string{"postgres": postgres, "mysql": mariadb}[c.protocol](t)
		}
		t.Run(c.name, func(t *testing.T) {
			addr := "127.0.0.1:" + servers[c.protocol]
			admin := patient(t, c.dial, strings.Replace(c.dsn, "ADDR", addr, 1))
			for _, fault := range []string{"rst-unforwarded", "rst-after-commit"} {
				for _, query := range []string{"DROP TABLE IF EXISTS t", "CREATE TABLE t (id int)"} {
					if err := admin(query); err != nil {
						t.Fatal(err)
					}
				}
				p, err := resettest.NewProxy("127.0.0.1:0", addr, 1)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if err := p.Inject("it", resettest.Injection{Fault: fault, Protocol: c.protocol, Message: c.message}); err != nil {
					t.Fatal(err)
				}
				exec := c.dial(t, strings.Replace(c.dsn, "ADDR", p.Addr(), 1))
				for id := 1; id <= 3; id++ {
					if err := c.insert(exec, id); (err != nil) != (id == 3) {
						t.Errorf("%s: INSERT %d: %v", fault, id, err)
					}
				}
				executed := fault == "rst-after-commit"
				want := map[bool]int{false: 2, true: 3}[executed]
				got := -1
				for deadline := time.Now().Add(10 * time.Second); got != want && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
					got = count(t, c.protocol, strings.Replace(c.dsn, "ADDR", addr, 1))
				}
				list := p.Streams()
				i := slices.IndexFunc(list, func(s resettest.Stream) bool { return s.Fault == fault }) // pgx also asks to cancel, and was refused TLS, on others
				if i < 0 {
					t.Fatalf("%s does not strike: %+v", fault, list)
				}
				s := list[i]
				requests := map[bool]int{false: c.message - 1, true: c.message}[executed]
				if got != want || s.Lost != "" || s.Executed() != executed || s.Requests != requests {
					t.Errorf("%s: %d rows, want %d: %+v", fault, got, want, s)
				}
			}
		})
	}
}

func withArg(mark string) func(executor, int) error {
	return func(exec executor, id int) error { return exec("INSERT INTO t VALUES ("+mark+")", id) }
}

// count asks the database itself how many rows there are.
func count(t *testing.T, protocol, dsn string) int {
	t.Helper()
	driver := map[string]string{"postgres": "pgx", "mysql": "mysql"}[protocol]
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := 0
	if err := db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
