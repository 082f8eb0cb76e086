// Package servers reads what the servers of a host are configured to do with
// connections: where they listen, where they connect to, and their timers. It
// knows products by their executable and arguments and reads their files through
// conf. A configuration contributes only the keys that are named here, so that no
// secret of it can leave.
package servers

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/conf"
)

// What a timer decides; the words of knowledge/timers.yaml.
const (
	Reuse    = "reuse"    // how long the side that sends keeps an idle connection
	Close    = "close"    // how long the side that receives keeps one
	Deadline = "deadline" // how long an answer may take
	Probe    = "probe"    // after how long a silent peer is asked
)

// Where a value comes from, best first.
const (
	Argument   = "argument" // of the running process
	Configured = "configured"
	Default    = "default" // of the product, as knowledge/timers.yaml has it
)

// Timer is one timer of a server.
type Timer struct {
	Meaning string    `json:"meaning"`
	Key     string    `json:"key"` // as the product calls it
	Seconds float64   `json:"seconds,omitempty"`
	Never   bool      `json:"never,omitempty"` // no limit
	Origin  string    `json:"origin"`
	At      conf.Span `json:"at,omitzero"` // where it is configured
	Set     *Place    `json:"-"`           // how to configure it; nil when a file cannot
	Note    string    `json:"note,omitempty"`
}

// Place is where a timer is set in a file. The bytes of the span become
// Before + value + After.
type Place struct {
	conf.Span
	Before, After string
	Unit          time.Duration // of a number without one
	Words         bool          // the product takes 4s and 500ms
}

// Value writes a duration as the product reads it.
func (p *Place) Value(d time.Duration) string {
	switch {
	case p.Words && d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	case p.Words:
		return strconv.FormatInt(int64(d/time.Millisecond), 10) + "ms"
	}
	return strconv.FormatInt(int64((d+p.Unit-1)/p.Unit), 10)
}

// Edit is the change that sets a duration.
func (p *Place) Edit(d time.Duration) conf.Edit {
	return conf.Edit{Span: p.Span, Text: p.Before + p.Value(d) + p.After}
}

// Front is a side that receives: one or several listeners with the same timers.
type Front struct {
	Name   string   `json:"name,omitempty"` // server_name, frontend, database
	Listen []string `json:"listen"`         // ":80", "127.0.0.1:80", "unix:/run/x"
	Mode   string   `json:"mode,omitempty"` // http, tcp, postgres, redis ...
	Timers []Timer  `json:"timers"`
	// Announces: the server tells the sender when it will close (Connection: close,
	// GOAWAY), so that a limit of requests does not race.
	Backlog int `json:"backlog,omitempty"` // configured; 0: the default of the product
}

// Back is a side that sends: an upstream, or a pool of connections.
type Back struct {
	Name   string   `json:"name,omitempty"`
	Peers  []string `json:"peers"` // host:port as written
	Mode   string   `json:"mode,omitempty"`
	Reuses bool     `json:"reuses"` // idle connections are kept for the next request
	Timers []Timer  `json:"timers"`
}

// Config is what was read of one server.
type Config struct {
	Product  string         `json:"product"`
	Main     string         `json:"main,omitempty"` // the file it was started with
	Files    []string       `json:"files,omitempty"`
	Fronts   []Front        `json:"fronts,omitempty"`
	Backs    []Back         `json:"backs,omitempty"`
	Problems []conf.Problem `json:"problems,omitempty"` // what could not be read
	Unread   string         `json:"unread,omitempty"`   // why nothing of it can be read
}

// Timer finds a timer of a list by its meaning; nil when there is none.
func Find(list []Timer, meaning string) *Timer {
	for i := range list {
		if list[i].Meaning == meaning {
			return &list[i]
		}
	}
	return nil
}

// product is how one product is recognised and read.
type product struct {
	name    string
	exe     []string // base names of executables
	script  string   // or this word in the arguments of an interpreter
	files   []string // looked for when no argument names one
	read    func(r *reading)
	started bool // its timers come from arguments: without a process there is nothing to read
	named   bool // a running process reads only the file that its arguments name
}

var products = []product{
	{name: "nginx", exe: []string{"nginx", "openresty", "angie"}, files: []string{"/etc/nginx/nginx.conf", "/usr/local/nginx/conf/nginx.conf"}, read: readNginx},
	{name: "haproxy", exe: []string{"haproxy"}, files: []string{"/etc/haproxy/haproxy.cfg"}, read: readHAProxy, named: true},
	{name: "redis", exe: []string{"redis-server", "valkey-server", "redis-check-rdb"}, files: []string{"/etc/redis/redis.conf", "/etc/valkey/valkey.conf"}, read: readRedis, named: true},
	{name: "postgresql", exe: []string{"postgres"}, files: []string{"/etc/postgresql/*/main/postgresql.conf", "/var/lib/pgsql/data/postgresql.conf"}, read: readPostgreSQL, named: true},
	{name: "mysql", exe: []string{"mysqld", "mariadbd"}, files: []string{"/etc/mysql/my.cnf", "/etc/my.cnf"}, read: readMySQL},
	{name: "apache", exe: []string{"apache2", "httpd"}, files: []string{"/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf"}, read: readApache},
	{name: "sshd", exe: []string{"sshd"}, files: []string{"/etc/ssh/sshd_config"}, read: readSSHD},
	{name: "pgbouncer", exe: []string{"pgbouncer"}, files: []string{"/etc/pgbouncer/pgbouncer.ini"}, read: readPgBouncer, named: true},
	{name: "gunicorn", script: "gunicorn", read: readGunicorn, started: true},
	{name: "uvicorn", script: "uvicorn", read: readUvicorn, started: true},
	{name: "node", exe: []string{"node", "nodejs"}, read: readNode, started: true},
}

// ProductOf recognises a server by its executable and arguments; empty when it is
// none that is known here.
func ProductOf(exe string, argv []string) string {
	base := path.Base(exe)
	for _, p := range products {
		if slices.Contains(p.exe, base) {
			return p.name
		}
	}
	for _, p := range products {
		if p.script == "" {
			continue
		}
		for _, a := range argv[:min(len(argv), 4)] { // python /usr/bin/gunicorn, python -m gunicorn, "gunicorn: master [app]"
			if b := path.Base(a); b == p.script || b == p.script+":" {
				return p.name
			}
		}
	}
	return ""
}

// Installed are the products that can be read from files alone.
func Installed() (list []string) {
	for _, p := range products {
		if !p.started {
			list = append(list, p.name)
		}
	}
	return list
}

// reading is one server while it is read.
type reading struct {
	argv  []string
	cwd   string // of the process, for names that do not begin with a slash
	files conf.Files
	out   *Config
}

// Process is a running server, as far as it says where its configuration is.
type Process struct {
	Argv []string
	Cwd  string // working directory
	Unit bool   // started by the unit of its package, with the file of its package
}

// Read reads the configuration of a server. p is its process, nil when it is not
// running; the result is nil when nothing is there to read.
func Read(name string, proc *Process, files conf.Files) *Config {
	i := slices.IndexFunc(products, func(p product) bool { return p.name == name })
	if i < 0 || products[i].started && proc == nil {
		return nil
	}
	p := products[i]
	r := &reading{files: files, out: &Config{Product: name}}
	if proc != nil {
		r.argv, r.cwd = proc.Argv, proc.Cwd
	}
	for _, f := range p.files {
		if p.named && proc != nil && !proc.Unit {
			break
		}
		list := []string{f}
		if strings.Contains(f, "*") {
			list = nil
			if files.Glob != nil {
				list = files.Glob(f)
			}
		}
		for _, f := range list {
			if _, err := files.Read(f); err == nil {
				r.out.Main = f
			}
		}
		if r.out.Main != "" {
			break
		}
	}
	if proc == nil && r.out.Main == "" {
		return nil
	}
	p.read(r)
	return r.out
}

// flag returns the value of an option among the arguments: -c X, --config X,
// --config=X.
func (r *reading) flag(names ...string) (string, bool) {
	for i, a := range r.argv {
		name, value, joined := strings.Cut(a, "=")
		if !slices.Contains(names, name) {
			continue
		}
		if joined {
			return value, true
		}
		if i+1 < len(r.argv) {
			return r.argv[i+1], true
		}
	}
	return "", false
}

// main is the file of an option, or the one that was found.
func (r *reading) main(names ...string) string {
	if f, ok := r.flag(names...); ok {
		r.out.Main = r.abs(f)
	}
	return r.out.Main
}

// abs is a name as the process means it.
func (r *reading) abs(name string) string {
	if name == "" || path.IsAbs(name) {
		return name
	}
	return path.Join("/", r.cwd, name)
}

// setting makes a timer of a setting of a file, or of its default. unit is that of
// a bare number; zero means never.
func setting(meaning, key string, s *conf.Setting, fallback float64, unit time.Duration) Timer {
	t := Timer{Meaning: meaning, Key: key, Seconds: fallback, Origin: Default}
	if s != nil {
		if d, ok := conf.Duration(s.Value, unit); ok {
			t.Seconds, t.Origin, t.At = d.Seconds(), Configured, s.Span
		} else {
			t.Note = "its value is not understood; the default is shown"
		}
	}
	t.Never = t.Seconds == 0
	return t
}
