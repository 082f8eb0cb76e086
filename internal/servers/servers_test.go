package servers

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/conf"
)

func files(m map[string]string) conf.Files {
	return conf.Files{
		Read: func(name string) ([]byte, error) {
			if s, ok := m[name]; ok {
				return []byte(s), nil
			}
			return nil, errors.New("no such file")
		},
		Glob: func(pattern string) (list []string) {
			for name := range m {
				if ok, _ := path.Match(pattern, name); ok {
					list = append(list, name)
				}
			}
			return list
		},
	}
}

// summary of a configuration in one line for each side.
func summary(c *Config) string {
	if c == nil {
		return "nothing"
	}
	var b strings.Builder
	show := func(list []Timer) {
		for _, t := range list {
			v := fmt.Sprint(t.Seconds)
			if t.Never {
				v = "never"
			}
			fmt.Fprintf(&b, " %s=%s/%s", t.Meaning, v, t.Origin)
		}
		b.WriteString("; ")
	}
	for _, f := range c.Fronts {
		fmt.Fprintf(&b, "on %s", strings.Join(f.Listen, ","))
		show(f.Timers)
	}
	for _, k := range c.Backs {
		fmt.Fprintf(&b, "to %s reuses=%t", strings.Join(k.Peers, ","), k.Reuses)
		show(k.Timers)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, product string
		argv          []string
		files         map[string]string
		want          string
	}{
		{"nginx reuses over HTTP/1.1", "nginx", []string{"nginx:", "master", "process", "nginx", "-c", "/n.conf"}, map[string]string{"/n.conf": `http { upstream a { server 127.0.0.1:9000; keepalive 8; } server { listen 80; keepalive_timeout 5; location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://a; } } }`},
			"on :80 close=5/configured; to 127.0.0.1:9000 reuses=true reuse=60/default deadline=60/default"},
		{"nginx without HTTP/1.1 does not", "nginx", nil, map[string]string{"/etc/nginx/nginx.conf": `http { upstream a { server b; keepalive 8; } server { location / { proxy_pass http://a/x; } } }`},
			"on :80 close=75/default; to b:80 reuses=false deadline=60/default"},
		{"a header inside hides those outside", "nginx", nil, map[string]string{"/etc/nginx/nginx.conf": `http { proxy_http_version 1.1; proxy_set_header Connection ""; upstream a { server b; keepalive 8; } server { location / { proxy_set_header X y; proxy_pass http://a; } } }`},
			"on :80 close=75/default; to b:80 reuses=false deadline=60/default"},
		{"nginx relays", "nginx", nil, map[string]string{"/etc/nginx/nginx.conf": `stream { server { listen 5432; proxy_timeout 10m; proxy_pass db:5432; } }`},
			"on :5432 close=600/configured; to db:5432 reuses=false reuse=600/configured"},
		{"haproxy", "haproxy", []string{"haproxy", "-f", "h.cfg"}, map[string]string{"/w/h.cfg": "defaults\n mode http\n timeout client 30s\n timeout server 40s\nfrontend f\n bind *:80\n timeout http-keep-alive 5s\nbackend b\n server s 10.0.0.1:80\n"},
			"on :80 close=5/configured; to 10.0.0.1:80 reuses=true reuse=never/default deadline=40/configured"},
		{"haproxy closes", "haproxy", nil, map[string]string{"/etc/haproxy/haproxy.cfg": "defaults\n mode http\n option http-server-close\nbackend b\n server s 10.0.0.1:80\n"},
			"to 10.0.0.1:80 reuses=false deadline=never/default"},
		{"haproxy relays", "haproxy", nil, map[string]string{"/etc/haproxy/haproxy.cfg": "listen l\n bind :6380\n timeout client 3s\n timeout server 4s\n server s 10.0.0.1:6379\n"},
			"on :6380 close=3/configured; to 10.0.0.1:6379 reuses=false reuse=4/configured"},
		{"redis", "redis", []string{"redis-server", "/r.conf"}, map[string]string{"/r.conf": "timeout 30\nrequirepass secret\n"}, "on :6379 close=30/configured probe=300/default"},
		{"redis behind a title", "redis", []string{"redis-server", "*:6380"}, map[string]string{"/etc/redis/redis.conf": "timeout 30\n"}, "on :6380"},
		{"postgresql", "postgresql", []string{"postgres", "-D", "/d"}, map[string]string{"/d/postgresql.conf": "idle_session_timeout = 5min # x\nport = 5433\n", "/d/postgresql.auto.conf": "idle_session_timeout = '7000'\n"},
			"on 127.0.0.1:5433 close=7/configured deadline=never/default probe=never/default"},
		{"mysql", "mysql", nil, map[string]string{"/etc/mysql/my.cnf": "!includedir /etc/mysql/conf.d/\n", "/etc/mysql/conf.d/a.cnf": "[mysqld]\nwait-timeout = 60\n"}, "on :3306 close=60/configured"},
		{"apache", "apache", nil, map[string]string{"/etc/apache2/apache2.conf": "KeepAliveTimeout 5\nInclude ports.conf\n", "/etc/apache2/ports.conf": "Listen 8080\n"}, "on :8080 close=5/configured"},
		{"gunicorn with threads", "gunicorn", []string{"python3", "/usr/bin/gunicorn", "-k", "gthread", "-b", "127.0.0.1:9000", "--keep-alive", "75", "a:b"}, nil, "on 127.0.0.1:9000 close=75/argument deadline=30/default"},
		{"uvicorn", "uvicorn", []string{"python3", "-m", "uvicorn", "--port", "9001", "a:b"}, nil, "on :9001 close=5/default"},
		{"pgbouncer", "pgbouncer", []string{"pgbouncer", "/p.ini"}, map[string]string{"/p.ini": "[databases]\nshop = host=10.0.0.3 port=5433 password=secret\n[pgbouncer]\nserver_idle_timeout = 30\n"},
			"on 127.0.0.1:6432 close=never/default; to 10.0.0.3:5433 reuses=true reuse=30/configured"},
		{"nothing is installed", "apache", nil, nil, "nothing"},
	} {
		var p *Process
		if c.argv != nil {
			p = &Process{Argv: c.argv, Cwd: "/w"}
		}
		if got := summary(Read(c.product, p, files(c.files))); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestSet looks that what is proposed for a timer changes it and nothing else.
func TestSet(t *testing.T) {
	for _, c := range []struct{ product, file, text, want string }{
		{"nginx", "/etc/nginx/nginx.conf", "http {\n    upstream a { server b; keepalive 8; }\n    server { location / { proxy_http_version 1.1; proxy_set_header Connection ''; proxy_pass http://a; } }\n}\n", "keepalive 8;\n        keepalive_timeout 4s;"},
		{"haproxy", "/etc/haproxy/haproxy.cfg", "listen l\n    timeout server 1h\n    server s a:1\n", "    timeout server 4s\n"},
	} {
		all := files(map[string]string{c.file: c.text})
		before := Read(c.product, nil, all)
		timer := Find(before.Backs[0].Timers, Reuse)
		if timer == nil || timer.Set == nil {
			t.Fatalf("%s: no place", c.product)
		}
		after, err := conf.Apply([]byte(c.text), timer.Set.Edit(4e9))
		if err != nil || !strings.Contains(string(after), c.want) {
			t.Fatalf("%s: %v\n%s", c.product, err, after)
		}
		again := Read(c.product, nil, files(map[string]string{c.file: string(after)}))
		if got := Find(again.Backs[0].Timers, Reuse); got.Seconds != 4 || got.Origin != Configured || len(again.Problems) > 0 {
			t.Errorf("%s: %+v %v\n%s", c.product, got, again.Problems, after)
		}
	}
}

func TestProductOf(t *testing.T) {
	for _, c := range []struct {
		exe  string
		argv []string
		want string
	}{
		{"/usr/sbin/nginx", nil, "nginx"}, {"/usr/bin/python3.11", []string{"/usr/bin/python3", "/usr/bin/gunicorn", "-b", ":80"}, "gunicorn"},
		{"/usr/bin/python3.11", []string{"gunicorn:", "master", "[app]"}, "gunicorn"}, {"/usr/bin/python3", []string{"python3", "notes.py", "about", "gunicorn.txt"}, ""}, {"/bin/bash", []string{"bash"}, ""},
	} {
		if got := ProductOf(c.exe, c.argv); got != c.want {
			t.Errorf("%s %v: %q, want %q", c.exe, c.argv, got, c.want)
		}
	}
}
