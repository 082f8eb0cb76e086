package conf

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree is a set of files for tests.
type tree map[string]string

func (t tree) files() Files {
	return Files{
		Read: func(name string) ([]byte, error) {
			if s, ok := t[name]; ok {
				return []byte(s), nil
			}
			return nil, errors.New("no such file")
		},
		Glob: func(pattern string) (list []string) {
			for name := range t {
				if ok, _ := path.Match(pattern, name); ok {
					list = append(list, name)
				}
			}
			return list
		},
	}
}

func TestNginx(t *testing.T) {
	text := `# main
user www;
http {
    keepalive_timeout 65s;
    map $http_x "${a}b" { default 0; }
    upstream shop { server 127.0.0.1:9000; keepalive 32; }
    include conf.d/*.conf;
    content_by_lua_block { local s = "}"; -- } ;
        if x then y({}) end }
    log_format main '$remote_addr; {"a": 1}'
                    "b\"c";
}
`
	files := tree{"/etc/nginx/nginx.conf": text, "/etc/nginx/conf.d/a.conf": "server { listen 80; include snippets/x; }", "/etc/nginx/snippets/x": "keepalive_timeout 5;"}
	got := Nginx("/etc/nginx/nginx.conf", files.files())
	if len(got.Problems) > 0 {
		t.Fatal(got.Problems)
	}
	http := got.Root.Get("http")
	if k := http.Get("keepalive_timeout"); k.Arg(0) != "65s" || k.Line != 4 || text[k.Start:k.End] != "keepalive_timeout 65s;" {
		t.Errorf("keepalive_timeout: %+v", k)
	}
	server := http.Get("server")
	if k := server.Get("keepalive_timeout"); k == nil || k.Arg(0) != "5" || k.File != "/etc/nginx/snippets/x" {
		t.Errorf("an include inside an include: %+v", k)
	}
	if l := http.Get("log_format"); !slices.Equal(l.Args, []string{"main", `$remote_addr; {"a": 1}`, `b"c`}) || l.Line != 10 {
		t.Errorf("log_format: %+v", l)
	}
	if u := http.Get("upstream"); u.Get("keepalive").Arg(0) != "32" || text[u.Body:u.Body+7] != " server" {
		t.Errorf("upstream: %+v", u)
	}
}

func TestNginxProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"http { server {", "not closed"},
		{"a b\n}", "no semicolon"},
		{"}", "without a block"},
		{"a \"b;", "quote"},
		{"include a;", "includes itself"},
		{"include b;", "no such file"},
		{"content_by_lua_block { {", "not closed"},
	} {
		got := Nginx("/a", tree{"/a": c.text}.files())
		if !strings.Contains(strings.Join(texts(got.Problems), "\n"), c.want) {
			t.Errorf("%q: %v, want %q", c.text, got.Problems, c.want)
		}
	}
}

func texts(list []Problem) (out []string) {
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

func TestHAProxy(t *testing.T) {
	text := `global
    maxconn 100
defaults base
    timeout client 50s   # comment
    timeout server 50000
defaults
    timeout client 1m
frontend web
    bind :80 name "my web"
    default_backend app
backend app from base
    server a 127.0.0.1:9000 check pool-purge-delay 1s
    http-request set-header X-A 'a # b'
`
	got := HAProxy([]string{"/h.cfg"}, tree{"/h.cfg": text}.files())
	if len(got.Problems) > 0 {
		t.Fatal(got.Problems)
	}
	if len(got.List) != 5 {
		t.Fatalf("%d sections", len(got.List))
	}
	web, app := got.List[3], got.List[4]
	if l := web.Get("timeout", "client"); l.Word(2) != "1m" || l.Line != 7 {
		t.Errorf("the last defaults count: %+v", l)
	}
	l := app.Get("timeout", "client")
	if l.Word(2) != "50s" || text[l.Start:l.End] != "timeout client 50s   # comment" {
		t.Errorf("named defaults: %+v", l)
	}
	if b := web.Find("bind"); len(b) != 1 || b[0].Word(3) != "my web" {
		t.Errorf("bind: %+v", b)
	}
	if h := app.Get("http-request"); h.Word(3) != "a # b" {
		t.Errorf("quotes: %+v", h.Words)
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		syntax        Syntax
		text          string
		section, name string
		want          string
	}{
		{Redis, "timeout 0\nTIMEOUT 300\n", "", "timeout", "300"},
		{Redis, "save 900 1\nrequirepass \"a b\"\n", "", "requirepass", "a b"},
		{PostgreSQL, "idle_session_timeout = '5min'  # x\n", "", "idle_session_timeout", "5min"},
		{PostgreSQL, "port 5433 # x", "", "port", "5433"},
		{PostgreSQL, "include 'more.conf'\nport=1\n", "", "max_connections", "7"},
		{INI, "[mysqld]\nwait_timeout=60\n[client]\nport = 1\n", "mysqld", "wait_timeout", "60"},
		{INI, "!includedir /d/\n", "mysqld", "wait_timeout", "9"},
		{SSHD, "ClientAliveInterval 30\n", "", "clientaliveinterval", "30"},
		{Sysctl, "net.ipv4.tcp_mem = 1 2 3\n-net/a=4", "", "net.ipv4.tcp_mem", "1 2 3"},
	} {
		files := tree{"/e/f": c.text, "/e/more.conf": "max_connections = 7", "/d/x.cnf": "[mysqld]\nwait_timeout = 9"}
		got := c.syntax.Read("/e/f", files.files())
		if s := got.Get(c.section, c.name); s == nil || s.Value != c.want {
			t.Errorf("%q: %s = %+v, want %q (%v)", c.text, c.name, s, c.want, got.Problems)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text string
		unit time.Duration
		want time.Duration
	}{
		{"60", time.Second, time.Minute}, {"1m30s", time.Second, 90 * time.Second}, {"500ms", time.Second, 500 * time.Millisecond},
		{"50000", time.Millisecond, 50 * time.Second}, {"2 min", time.Second, 2 * time.Minute}, {"1h 1m", time.Second, 61 * time.Minute}, {"0", time.Second, 0},
	} {
		if got, ok := Duration(c.text, c.unit); !ok || got != c.want {
			t.Errorf("%q: %v %v", c.text, got, ok)
		}
	}
	for _, bad := range []string{"", "x", "5 parsecs", "1.2.3s", "-1"} {
		if got, ok := Duration(bad, time.Second); ok {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestApply(t *testing.T) {
	got, err := Apply([]byte("abcdef"), Edit{Span{Start: 4, End: 5}, "X"}, Edit{Span{Start: 1, End: 1}, "-"})
	if err != nil || string(got) != "a-bcdXf" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := Apply([]byte("abc"), Edit{Span{Start: 0, End: 2}, ""}, Edit{Span{Start: 1, End: 3}, ""}); err == nil {
		t.Error("edits that overlap were made")
	}
}

// FuzzConf looks that no reader panics, and that spans lie inside their file and
// begin with what they say.
func FuzzConf(f *testing.F) {
	for _, s := range []string{"http { a b; }", "a \"b", "x_by_lua_block { } }", "global\n a 'b c' \\\n", "[x]\na=b", "${a}{;}", "\\\n;", "a{b{c{d;}}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		files := tree{"/f": string(b)}.files()
		var walk func(list []*Directive)
		walk = func(list []*Directive) {
			for _, d := range list {
				if d.File == "/f" && (d.Start < 0 || d.End > len(b) || d.Start >= d.End) {
					t.Fatalf("span of %q: %+v in %d bytes", d.Name, d.Span, len(b))
				}
				walk(d.Block)
			}
		}
		walk(Nginx("/f", files).Root.Block)
		for _, s := range HAProxy([]string{"/f"}, files).List {
			for _, l := range s.Lines {
				if l.End > len(b) || l.Start > l.End || strings.HasPrefix(string(b[l.Start:l.End]), " ") {
					t.Fatalf("span of %q: %+v", l.Words, l.Span)
				}
			}
		}
		for _, syntax := range []Syntax{Redis, PostgreSQL, INI, SSHD, Sysctl, Unit} {
			for _, s := range syntax.Read("/f", files).List {
				if s.End > len(b) || s.Start > s.End {
					t.Fatalf("span of %q: %+v", s.Name, s.Span)
				}
			}
		}
		Duration(string(b), time.Second)
	})
}
