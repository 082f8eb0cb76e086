package servers

import (
	"net"
	"path"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/internal/conf"
)

// nginx is what is remembered while its tree is walked.
type nginx struct {
	out       *Config
	upstreams map[string]*conf.Directive
	used      map[string]bool // upstreams that reuse connections: HTTP/1.1 towards them
	deadlines map[string]*Timer
}

func readNginx(r *reading) {
	name := r.out.Main
	if f, ok := r.flag("-c"); ok {
		name = f
		if !path.IsAbs(name) { // below the prefix, which is a directory of the package unless it is said
			prefix, _ := r.flag("-p")
			name = path.Join("/", r.abs(prefix), name)
		}
	}
	if name == "" {
		r.out.Unread = "its configuration file was not found"
		return
	}
	tree := conf.Nginx(name, r.files)
	r.out.Main, r.out.Files, r.out.Problems = name, tree.Files, tree.Problems
	n := &nginx{out: r.out, upstreams: map[string]*conf.Directive{}, used: map[string]bool{}, deadlines: map[string]*Timer{}}
	for _, kind := range []string{"http", "stream"} {
		for _, block := range tree.Root.Find(kind) {
			for _, u := range block.Find("upstream") {
				n.upstreams[u.Arg(0)] = u
			}
			for _, s := range block.Find("server") {
				if kind == "http" {
					n.server(block, s)
				} else {
					n.stream(block, s)
				}
			}
			for _, u := range block.Find("upstream") {
				n.upstream(u, kind)
			}
		}
	}
}

// inherited finds a directive in the innermost of several blocks.
func inherited(name string, blocks ...*conf.Directive) *conf.Directive {
	for i := len(blocks) - 1; i >= 0; i-- {
		if d := blocks[i].Get(name); d != nil {
			return d
		}
	}
	return nil
}

// timer makes a timer of a directive, or of its default. When it is not set, it
// is to be set in the block.
func nginxTimer(meaning, name string, d, block *conf.Directive, fallback float64) Timer {
	t := Timer{Meaning: meaning, Key: name, Seconds: fallback, Origin: Default}
	if d != nil {
		if x, ok := conf.Duration(d.Arg(0), time.Second); ok {
			t.Seconds, t.Origin, t.At = x.Seconds(), Configured, d.Span
			t.Set = &Place{Span: d.Span, Before: name + " ", After: ";", Unit: time.Second, Words: true}
		} else {
			t.Note = "its value is not understood; the default is shown"
		}
		return t
	}
	if block != nil && block.Body > 0 {
		at := conf.Span{File: block.File, Line: block.Line, Start: block.Body, End: block.Body}
		t.Set = &Place{Span: at, Before: "\n    " + name + " ", After: ";", Unit: time.Second, Words: true}
	}
	return t
}

func nginxListen(s *conf.Directive) (list []string, backlog string) {
	for _, l := range s.Find("listen") {
		a := l.Arg(0)
		switch {
		case strings.HasPrefix(a, "unix:"):
		case strings.Trim(a, "0123456789") == "":
			a = ":" + a
		case !strings.Contains(a, ":"):
			a += ":80"
		}
		list = append(list, strings.TrimPrefix(a, "*"))
		for _, w := range l.Args {
			if v, ok := strings.CutPrefix(w, "backlog="); ok {
				backlog = v
			}
		}
	}
	if len(list) == 0 {
		list = []string{":80"}
	}
	return list, backlog
}

func (n *nginx) server(http, s *conf.Directive) {
	f := Front{Mode: "http", Name: strings.Join(firstArgs(s.Get("server_name")), " ")}
	backlog := ""
	f.Listen, backlog = nginxListen(s)
	f.Backlog = number(backlog)
	k := nginxTimer(Close, "keepalive_timeout", inherited("keepalive_timeout", http, s), s, 75)
	k.Never = false // 0 means that every connection ends after its answer
	if k.Seconds == 0 {
		k.Note = "every connection ends after one answer, and says so"
	}
	f.Timers = append(f.Timers, k)
	n.out.Fronts = append(n.out.Fronts, f)
	n.locations([]*conf.Directive{http, s})
}

// locations looks how a server, and each location of it, speaks to upstreams.
func (n *nginx) locations(blocks []*conf.Directive) {
	inner := blocks[len(blocks)-1]
	for _, pass := range []string{"proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass"} {
		d := inner.Get(pass)
		if d == nil {
			continue
		}
		kind := strings.TrimSuffix(pass, "_pass")
		name := hostOf(d.Arg(0))
		v := inherited("proxy_http_version", blocks...)
		h := connectionHeader(blocks)
		switch {
		case kind == "proxy" && v != nil && v.Arg(0) == "1.1" && h != "close", kind == "grpc":
			n.used[name] = true
		case kind == "fastcgi":
			if k := inherited("fastcgi_keep_conn", blocks...); k != nil && k.Arg(0) == "on" {
				n.used[name] = true
			}
		}
		t := nginxTimer(Deadline, kind+"_read_timeout", inherited(kind+"_read_timeout", blocks...), inner, 60)
		if old := n.deadlines[name]; old == nil || t.Seconds < old.Seconds {
			n.deadlines[name] = &t
		}
		if n.upstreams[name] == nil && !strings.Contains(name, "$") {
			n.out.Backs = append(n.out.Backs, Back{Peers: []string{peerOf(d.Arg(0), name)}, Mode: "http", Timers: []Timer{t}})
		}
	}
	for _, c := range inner.Block {
		if c.Name == "location" || c.Name == "if" || c.Name == "limit_except" {
			n.locations(append(blocks[:len(blocks):len(blocks)], c))
		}
	}
}

// connectionHeader is what nginx sends as Connection to an upstream: "" keeps it
// open; without proxy_set_header it is close (proxy_set_header of an outer block
// counts only when the inner has none).
func connectionHeader(blocks []*conf.Directive) string {
	for i := len(blocks) - 1; i >= 0; i-- {
		list := blocks[i].Find("proxy_set_header")
		if len(list) == 0 {
			continue
		}
		for _, d := range list {
			if strings.EqualFold(d.Arg(0), "Connection") {
				return strings.ToLower(d.Arg(1))
			}
		}
		break
	}
	return "close"
}

// hostOf is the host, or the name of an upstream, in the argument of a pass, with a
// port when that is a number: never the user and the password before it.
func hostOf(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	}
	if strings.HasPrefix(url, "unix:") {
		return url
	}
	url, _, _ = strings.Cut(url, "/")
	url = url[strings.LastIndexByte(url, '@')+1:]
	if host, port, ok := strings.Cut(url, ":"); ok && url[0] != '[' && strings.Trim(port, "0123456789") != "" && !strings.HasPrefix(port, "$") {
		return host
	}
	return url
}

// peerOf adds the port that a URL means.
func peerOf(url, host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil || strings.HasPrefix(host, "unix:") {
		return host
	}
	if strings.HasPrefix(url, "https:") {
		return host + ":443"
	}
	return host + ":80"
}

func (n *nginx) upstream(u *conf.Directive, kind string) {
	b := Back{Name: u.Arg(0), Mode: map[string]string{"http": "http", "stream": "tcp"}[kind]}
	for _, s := range u.Find("server") {
		b.Peers = append(b.Peers, peerOf("http:", s.Arg(0)))
	}
	if k := u.Get("keepalive"); k != nil && number(k.Arg(0)) > 0 && n.used[b.Name] {
		b.Reuses = true
		t := nginxTimer(Reuse, "keepalive_timeout", u.Get("keepalive_timeout"), nil, 60)
		if t.Set == nil { // it must stand behind "keepalive"
			t.Set = &Place{Span: conf.Span{File: k.File, Line: k.Line, Start: k.End, End: k.End}, Before: "\n        keepalive_timeout ", After: ";", Unit: time.Second, Words: true}
		}
		b.Timers = append(b.Timers, t)
	}
	if t := n.deadlines[b.Name]; t != nil {
		b.Timers = append(b.Timers, *t)
	}
	n.out.Backs = append(n.out.Backs, b)
}

// stream reads a server of the stream module, which relays bytes: one timer for
// both sides.
func (n *nginx) stream(block, s *conf.Directive) {
	f := Front{Mode: "tcp"}
	backlog := ""
	f.Listen, backlog = nginxListen(s)
	f.Backlog = number(backlog)
	t := nginxTimer(Close, "proxy_timeout", inherited("proxy_timeout", block, s), s, 600)
	f.Timers = []Timer{t}
	n.out.Fronts = append(n.out.Fronts, f)
	if p := s.Get("proxy_pass"); p != nil && n.upstreams[p.Arg(0)] == nil {
		t.Meaning = Reuse
		n.out.Backs = append(n.out.Backs, Back{Peers: []string{p.Arg(0)}, Mode: "tcp", Timers: []Timer{t}})
	}
}

func firstArgs(d *conf.Directive) []string {
	if d == nil {
		return nil
	}
	return d.Args[:min(len(d.Args), 1)]
}
