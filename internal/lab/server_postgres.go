//go:build linux

package lab

import (
	"encoding/binary"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// postgresRecipes are ends of sessions of a real PostgreSQL.
var postgresRecipes = []recipe{
	{
		id: "postgres-terminate", title: "An administrator ends a session with pg_terminate_backend; the client sends a query later", needs: []string{"initdb", "postgres"},
		truth: Truth{Sender: "server-kernel", Cause: "server-admin-timeouts-db", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  postgresTerminate,
	},
	{
		id: "postgres-idle-timeout", title: "PostgreSQL ends an idle transaction (idle_in_transaction_session_timeout); the client sends a query later", needs: []string{"initdb", "postgres"},
		truth: Truth{Sender: "server-kernel", Cause: "server-admin-timeouts-db", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  postgresIdle,
	},
	{
		id: "postgres-too-many-clients", title: "PostgreSQL refuses a client above max_connections, which sends its query regardless", needs: []string{"initdb", "postgres"},
		truth: Truth{Sender: "server-kernel", Cause: "postgres-pgbouncer-limits", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  postgresTooMany,
	},
	{
		id: "postgres-backend-crash", title: "A backend of PostgreSQL is killed, and the postmaster ends all the other ones", needs: []string{"initdb", "postgres"},
		truth: Truth{Sender: "server-kernel", Cause: "postgres-backend-crash", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  postgresCrash,
	},
}

// postgresConf follows what initdb has written. Shared memory lies in files of
// the data directory, so that nothing is left when the server is killed.
const postgresConf = `listen_addresses = '*'
port = {port}
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
shared_buffers = 1MB
max_connections = 8
superuser_reserved_connections = 1
max_wal_senders = 0
autovacuum = off
fsync = off
log_connections = on
log_line_prefix = '%m [%p] '
`

// postgres starts PostgreSQL with further settings, on a new cluster.
func (s *stage) postgres(settings string) *service {
	dir := s.home(map[string]string{"more.conf": postgresConf + settings, "hba.conf": "host all all all trust\n"})
	data := filepath.Join(dir, "data")
	p := s.program(running{
		space: "server", name: "initdb", dir: dir, env: []string{"LC_ALL=C", "TZ=UTC", "HOME=" + dir},
		args: []string{"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"},
		cred: &syscall.Credential{Uid: nobody, Gid: nobody},
	})
	select {
	case <-p.ended:
	case <-s.ctx.Done():
		s.check(s.ctx.Err())
	}
	if !p.cmd.ProcessState.Success() {
		s.fail("initdb: %v: %s", p.cmd.ProcessState, p.output())
	}
	v := s.serve("server", dir, "postgres.log", s.port, "postgres", "-D", data,
		"-c", "config_file={dir}/more.conf", "-c", "hba_file={dir}/hba.conf", "-c", "ident_file={dir}/data/pg_ident.conf")
	v.logged("database system is ready to accept connections")
	return v
}

// pgMessage is a message of the protocol, version 3: a type (none for the first
// one), a length, the content.
func pgMessage(kind string, content string) []byte {
	b := binary.BigEndian.AppendUint32([]byte(kind), uint32(4+len(content)))
	return append(b, content...)
}

func pgQuery(sql string) []byte { return pgMessage("Q", sql+"\x00") }

var pgStartup = pgMessage("", "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00")

// The message ReadyForQuery: idle, and within a transaction.
const (
	pgReady = "Z\x00\x00\x00\x05I"
	pgInTx  = "Z\x00\x00\x00\x05T"
)

// pgLogin starts a session and returns the process id of its backend, as the
// server sees it.
func (s *stage) pgLogin(c *sock) (pid int) {
	c.write(pgStartup)
	answer := c.until(pgReady)
	_, key, ok := strings.Cut(answer, "K\x00\x00\x00\x0c")
	if !ok || len(key) < 4 {
		s.fail("no BackendKeyData in %q", answer)
	}
	return int(binary.BigEndian.Uint32([]byte(key)))
}

func postgresTerminate(s *stage) {
	v := s.postgres("")
	c, admin := s.session(), s.connect(opening{})
	pid := s.pgLogin(c)
	s.pgLogin(admin)
	admin.write(pgQuery("select pg_terminate_backend(" + strconv.Itoa(pid) + ")"))
	admin.until(pgReady)
	v.logged("terminating connection due to administrator command")
	s.lateWrite(c, string(pgQuery("select 1")))
}

func postgresIdle(s *stage) {
	v := s.postgres("idle_in_transaction_session_timeout = 1s\n")
	c := s.session()
	s.pgLogin(c)
	c.write(pgQuery("begin"))
	c.until(pgInTx)
	s.lateWrite(c, string(pgQuery("select 1")))
	v.logged("terminating connection due to idle-in-transaction timeout")
}

func postgresTooMany(s *stage) {
	v := s.postgres("max_connections = 2\n")
	for range 2 {
		s.pgLogin(s.connect(opening{}))
	}
	c := s.session()
	c.write(pgStartup)
	v.logged("sorry, too many clients already")
	s.lateWrite(c, string(pgQuery("select 1")))
}

func postgresCrash(s *stage) {
	v := s.postgres("")
	c, doomed := s.session(), s.connect(opening{})
	s.pgLogin(c)
	pid := s.pgLogin(doomed)
	v.signalPID(v.child(pid), unix.SIGKILL)
	v.logged("terminating any other active server processes")
	s.lateWrite(c, string(pgQuery("select 1")))
	v.logged("was terminated by signal 9: Killed")
}
