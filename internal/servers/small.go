package servers

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/conf"
)

// number reads a count, 0 when it is none.
func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// settings reads a file of settings, and remembers what was read.
func (r *reading) settings(syntax conf.Syntax, name string) *conf.Settings {
	s := syntax.Read(name, r.files)
	r.out.Files = append(r.out.Files, s.Files...)
	r.out.Problems = append(r.out.Problems, s.Problems...)
	return s
}

// value of a setting, or the word given.
func value(s *conf.Setting, fallback string) string {
	if s == nil || s.Value == "" {
		return fallback
	}
	return s.Value
}

// listen joins addresses and a port.
func listen(addrs, port string) (list []string) {
	for a := range strings.FieldsFuncSeq(addrs, func(r rune) bool { return r == ' ' || r == ',' }) {
		switch a = strings.TrimPrefix(a, "-"); a {
		case "*", "0.0.0.0", "::", "::*", "[::]":
			a = ""
		}
		if strings.Contains(a, ":") {
			a = "[" + a + "]"
		}
		list = append(list, a+":"+port)
	}
	if list == nil {
		list = []string{":" + port}
	}
	return list
}

// place is where the value of a setting stands, or where a new line can be added
// at the end of the file.
func (r *reading) place(s *conf.Setting, file, name, separator string, unit time.Duration) *Place {
	if s != nil {
		return &Place{Span: s.Span, Before: s.Name + separator, Unit: unit}
	}
	b, err := r.files.Read(file)
	if err != nil {
		return nil
	}
	before := name + separator
	if len(b) > 0 && b[len(b)-1] != '\n' {
		before = "\n" + before
	}
	lines := strings.Count(string(b), "\n")
	return &Place{Span: conf.Span{File: file, Line: lines + 1, Start: len(b), End: len(b)}, Before: before, After: "\n", Unit: unit}
}

func readRedis(r *reading) {
	if len(r.argv) > 1 && strings.HasSuffix(r.argv[1], ".conf") {
		r.out.Main = r.abs(r.argv[1])
	}
	titled := len(r.argv) > 1 && strings.Contains(r.argv[1], ":") // "redis-server *:6379": the arguments are gone
	if r.out.Main == "" && titled {
		r.out.Unread = "its arguments are hidden behind its title; CONFIG GET tells its timers"
		_, port, _ := strings.Cut(r.argv[1], ":")
		r.out.Fronts = []Front{{Mode: "redis", Listen: []string{":" + port}, Timers: []Timer{}}}
		return
	}
	s := &conf.Settings{}
	if r.out.Main != "" {
		s = r.settings(conf.Redis, r.out.Main)
	}
	one := func(meaning, name string, fallback float64) Timer {
		t := setting(meaning, name, s.Get("", name), fallback, time.Second)
		if v, ok := r.flag("--" + name); ok {
			if d, ok := conf.Duration(v, time.Second); ok {
				t = Timer{Meaning: meaning, Key: name, Seconds: d.Seconds(), Never: d == 0, Origin: Argument}
				return t
			}
		}
		if r.out.Main != "" {
			t.Set = r.place(s.Get("", name), r.out.Main, name, " ", time.Second)
		}
		return t
	}
	port := value(s.Get("", "port"), "6379")
	if v, ok := r.flag("--port"); ok {
		port = v
	}
	f := Front{Mode: "redis", Listen: listen(value(s.Get("", "bind"), "*"), port), Backlog: number(value(s.Get("", "tcp-backlog"), "511"))}
	f.Timers = []Timer{one(Close, "timeout", 0), one(Probe, "tcp-keepalive", 300)}
	r.out.Fronts = []Front{f}
}

func readPostgreSQL(r *reading) {
	dir, _ := r.flag("-D")
	if dir = r.abs(dir); dir != "" {
		r.out.Main = path.Join(dir, "postgresql.conf")
	}
	s := &conf.Settings{}
	for i, a := range r.argv {
		v, ok := strings.CutPrefix(a, "config_file=")
		if ok && (i > 0 && r.argv[i-1] == "-c" || strings.HasPrefix(a, "--")) {
			r.out.Main = r.abs(v)
		}
	}
	if r.out.Main == "" {
		r.out.Unread = "its configuration file was not found"
		return
	}
	s = r.settings(conf.PostgreSQL, r.out.Main)
	if d := value(s.Get("", "data_directory"), dir); d != "" {
		auto := path.Join(d, "postgresql.auto.conf")
		if _, err := r.files.Read(auto); err == nil {
			s.List = append(s.List, r.settings(conf.PostgreSQL, auto).List...)
		}
	}
	for i, a := range r.argv { // -c name=value wins over files
		if k, v, ok := strings.Cut(a, "="); ok && i > 0 && r.argv[i-1] == "-c" {
			s.List = append(s.List, conf.Setting{Name: k, Value: v})
		}
	}
	one := func(meaning, name string, fallback float64, unit time.Duration) Timer {
		x := s.Get("", name)
		t := setting(meaning, name, x, fallback, unit)
		if x != nil && x.File == "" {
			t.Origin = Argument
			return t
		}
		if x == nil || !strings.HasSuffix(x.File, "postgresql.auto.conf") {
			t.Set = r.place(x, r.out.Main, name, " = ", unit)
		}
		return t
	}
	port := value(s.Get("", "port"), "5432")
	if v, ok := r.flag("-p", "--port"); ok {
		port = v
	}
	f := Front{Mode: "postgres", Listen: listen(value(s.Get("", "listen_addresses"), "127.0.0.1"), port)}
	f.Timers = []Timer{
		one(Close, "idle_session_timeout", 0, time.Millisecond),
		one(Deadline, "idle_in_transaction_session_timeout", 0, time.Millisecond),
		one(Probe, "tcp_keepalives_idle", 0, time.Second),
	}
	r.out.Fronts = []Front{f}
}

func readMySQL(r *reading) {
	if f, ok := r.flag("--defaults-file"); ok {
		r.out.Main = r.abs(f)
	}
	s := &conf.Settings{}
	if r.out.Main != "" {
		s = r.settings(conf.INI, r.out.Main)
	}
	get := func(name string) *conf.Setting {
		for _, section := range []string{"mariadbd", "mariadb", "mysqld", "server"} {
			for _, n := range []string{name, strings.ReplaceAll(name, "_", "-")} {
				if x := s.Get(section, n); x != nil {
					return x
				}
			}
		}
		return nil
	}
	port := value(get("port"), "3306")
	if v, ok := r.flag("--port", "-P"); ok {
		port = v
	}
	t := setting(Close, "wait_timeout", get("wait_timeout"), 28800, time.Second)
	if v, ok := r.flag("--wait-timeout", "--wait_timeout"); ok {
		if d, ok := conf.Duration(v, time.Second); ok {
			t = Timer{Meaning: Close, Key: "wait_timeout", Seconds: d.Seconds(), Origin: Argument}
		}
	} else if x := get("wait_timeout"); x != nil {
		t.Set = r.place(x, "", "wait_timeout", " = ", time.Second)
	}
	r.out.Fronts = []Front{{Mode: "mysql", Listen: listen(value(get("bind-address"), "*"), port), Backlog: number(value(get("back_log"), "0")), Timers: []Timer{t}}}
}

func readApache(r *reading) {
	name := r.main("-f")
	if name == "" {
		r.out.Unread = "its configuration file was not found"
		return
	}
	s := r.settings(conf.Syntax{Comment: "#", Include: []string{"Include", "IncludeOptional"}}, name)
	f := Front{Mode: "http"}
	for _, x := range s.List {
		if strings.EqualFold(x.Name, "Listen") {
			a := strings.Fields(x.Value)
			if len(a) > 0 {
				if number(a[0]) > 0 {
					a[0] = ":" + a[0]
				}
				f.Listen = append(f.Listen, a[0])
			}
		}
	}
	t := setting(Close, "KeepAliveTimeout", s.Get("", "KeepAliveTimeout"), 5, time.Second)
	t.Never = false
	t.Set = r.place(s.Get("", "KeepAliveTimeout"), name, "KeepAliveTimeout", " ", time.Second)
	if strings.EqualFold(value(s.Get("", "KeepAlive"), "On"), "off") {
		t.Seconds, t.Set, t.Note = 0, nil, "every connection ends after one answer, and says so"
	}
	f.Timers = []Timer{t}
	f.Backlog = number(value(s.Get("", "ListenBacklog"), "511"))
	r.out.Fronts = []Front{f}
}

func readSSHD(r *reading) {
	name := r.main("-f")
	if name == "" {
		r.out.Unread = "its configuration file was not found"
		return
	}
	s := r.settings(conf.SSHD, name)
	port := value(s.Get("", "Port"), "22")
	if v, ok := r.flag("-p"); ok {
		port = v
	}
	t := setting(Probe, "ClientAliveInterval", s.Get("", "ClientAliveInterval"), 0, time.Second)
	r.out.Fronts = []Front{{Mode: "ssh", Listen: listen("*", port), Timers: []Timer{t}}}
}

func readPgBouncer(r *reading) {
	for _, a := range r.argv[min(len(r.argv), 1):] {
		if strings.HasSuffix(a, ".ini") {
			r.out.Main = r.abs(a)
		}
	}
	if r.out.Main == "" {
		r.out.Unread = "its configuration file was not found"
		return
	}
	s := r.settings(conf.INI, r.out.Main)
	one := func(meaning, name string, fallback float64) Timer {
		t := setting(meaning, name, s.Get("pgbouncer", name), fallback, time.Second)
		if x := s.Get("pgbouncer", name); x != nil {
			t.Set = r.place(x, r.out.Main, name, " = ", time.Second)
		}
		return t
	}
	r.out.Fronts = []Front{{Mode: "postgres", Listen: listen(value(s.Get("pgbouncer", "listen_addr"), "127.0.0.1"), value(s.Get("pgbouncer", "listen_port"), "6432")),
		Timers: []Timer{one(Close, "client_idle_timeout", 0)}}}
	b := Back{Mode: "postgres", Reuses: true, Timers: []Timer{one(Reuse, "server_idle_timeout", 600)}}
	for _, x := range s.List { // host and port only: the line has a password too
		if strings.EqualFold(x.Section, "databases") {
			host, port := "", "5432"
			for w := range strings.FieldsSeq(x.Value) {
				if v, ok := strings.CutPrefix(w, "host="); ok {
					host = v
				}
				if v, ok := strings.CutPrefix(w, "port="); ok {
					port = v
				}
			}
			if host != "" {
				b.Peers = append(b.Peers, host+":"+port)
			}
		}
	}
	r.out.Backs = []Back{b}
}

// argument makes a timer of an option of the process.
func (r *reading) argument(meaning, key string, fallback float64, names ...string) Timer {
	t := Timer{Meaning: meaning, Key: key, Seconds: fallback, Origin: Default}
	if v, ok := r.flag(names...); ok {
		if d, ok := conf.Duration(v, time.Second); ok {
			t.Seconds, t.Origin = d.Seconds(), Argument
		}
	}
	return t
}

func readGunicorn(r *reading) {
	f := Front{Mode: "http"}
	if v, ok := r.flag("-b", "--bind"); ok {
		f.Listen = []string{v}
	}
	class, _ := r.flag("-k", "--worker-class")
	threads, _ := r.flag("--threads")
	t := r.argument(Close, "keepalive", 2, "--keep-alive")
	if (class == "" || class == "sync") && number(threads) <= 1 {
		t.Seconds, t.Note = 0, "sync workers end every connection after one answer, and say so"
	}
	if _, ok := r.flag("-c", "--config"); ok && t.Origin == Default {
		t.Note = "a configuration file written in Python may say otherwise; it is not run"
	}
	f.Timers = []Timer{t, r.argument(Deadline, "timeout", 30, "-t", "--timeout")}
	r.out.Fronts = []Front{f}
}

func readUvicorn(r *reading) {
	port := "8000"
	if v, ok := r.flag("--port"); ok {
		port = v
	}
	host, _ := r.flag("--host")
	r.out.Fronts = []Front{{Mode: "http", Listen: listen(host, port), Timers: []Timer{r.argument(Close, "timeout_keep_alive", 5, "--timeout-keep-alive")}}}
}

// readNode knows the default only: the timer of a Node.js server is set in its
// code.
func readNode(r *reading) {
	r.out.Unread = "its timers are set in code; the default of the runtime is shown"
	r.out.Fronts = []Front{{Mode: "http", Timers: []Timer{{Meaning: Close, Key: "server.keepAliveTimeout", Seconds: 5, Origin: Default,
		Note: "6 s from 20.18 and 22.9 on; the code may set another"}}}}
}
