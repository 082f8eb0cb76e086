package main

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed peers/ledger* peers/Ledger*
var peerFiles embed.FS

// realServer is a server or proxy that people run, with a short idle timeout.
type realServer struct {
	name    string
	program string // that must be installed, "" for Go's own
	pkg     string // of Debian
	files   string // of peers, put into its directory; the first is FILE
	// command has the arguments. In it, in env and in files, DIR, FILE, PORT, LEDGER, BACKEND and BACKPORT stand
	// for what they say; BACKEND makes it a proxy for a server with the ledger.
	command string
	env     string
	workers int // that send to it; chosen by its idle timeout when 0
}

const javaPath = "/usr/share/java/"

var realServers = []*realServer{
	{name: "Go net/http"},
	{name: "nginx, proxy", program: "nginx", pkg: "nginx-light", files: "ledger-nginx.conf", command: "-c FILE -p DIR BACKEND"},
	{name: "HAProxy, proxy", program: "haproxy", pkg: "haproxy", files: "ledger-haproxy.cfg", command: "-db -f FILE BACKEND"},
	{name: "HAProxy, TCP relay", program: "haproxy", pkg: "haproxy", files: "ledger-haproxy-tcp.cfg", command: "-db -f FILE BACKEND"},
	{name: "Apache, proxy", program: "apache2", pkg: "apache2-bin", files: "ledger-apache.conf", command: "-D FOREGROUND -f FILE BACKEND"},
	{name: "lighttpd, proxy", program: "lighttpd", pkg: "lighttpd", files: "ledger-lighttpd.conf", command: "-D -f FILE BACKEND"},
	{name: "Squid, reverse proxy", program: "squid", pkg: "squid", files: "ledger-squid.conf", command: "-N -n holdfastPORT -f FILE BACKEND"},
	{name: "Varnish, proxy", program: "varnishd", pkg: "varnish", command: "-F -a 127.0.0.1:PORT -b 127.0.0.1:BACKPORT -n DIR/varnish -p timeout_idle=0.02 -p feature=+http2"},
	{name: "Caddy, proxy", program: "caddy", pkg: "caddy", files: "ledger-caddy.conf", command: "run --adapter caddyfile --config FILE BACKEND"},
	{name: "h2o, proxy", program: "h2o", pkg: "h2o", files: "ledger-h2o.conf", command: "-c FILE BACKEND"},
	{name: "socat, TCP relay", program: "socat", pkg: "socat", command: "-T0.05 TCP-LISTEN:PORT,bind=127.0.0.1,fork,reuseaddr,backlog=1024 TCP:BACKEND"},
	{name: "Jetty", program: "java", pkg: "libjetty9-java", files: "LedgerJetty.java",
		command: "-cp " + javaPath + "jetty9-server.jar:" + javaPath + "jetty9-http.jar:" + javaPath + "jetty9-io.jar:" + javaPath + "jetty9-util.jar:" + javaPath + "servlet-api.jar FILE PORT LEDGER"},
	{name: "Tomcat", program: "java", pkg: "libtomcat10-embed-java", files: "LedgerTomcat.java",
		command: "-cp " + javaPath + "tomcat10-embed-core.jar:" + javaPath + "tomcat10-annotations-api.jar FILE PORT LEDGER DIR"},
	{name: "JDK HttpServer", program: "java", pkg: "default-jdk-headless", files: "LedgerJdk.java",
		command: "-Dsun.net.httpserver.idleInterval=1 -Dsun.net.httpserver.clockTick=200 -Dsun.net.httpserver.maxIdleConnections=1000 FILE PORT LEDGER"},
	{name: "Node", program: "node", pkg: "nodejs", files: "ledger.js", command: "FILE PORT LEDGER 10"},
	{name: "gunicorn, gthread", program: "gunicorn", pkg: "gunicorn", files: "ledger.py",
		command: "--worker-class gthread --threads 4 --worker-connections 1000 --keep-alive 1 --bind 127.0.0.1:PORT --chdir DIR ledger:app", env: "LEDGER=LEDGER"},
	{name: "uWSGI, http-socket", program: "uwsgi_python3", pkg: "uwsgi-plugin-python3", files: "ledger_uwsgi.py",
		command: "--http11-socket 127.0.0.1:PORT --threads 32 --enable-threads --socket-timeout 1 --wsgi-file FILE --disable-logging", env: "LEDGER=LEDGER", workers: 16},
	{name: "Python http.server", program: "python3", pkg: "python3", files: "ledger_servers.py", command: "FILE http.server PORT LEDGER"},
	{name: "uvicorn", program: "python3", pkg: "python3-uvicorn", files: "ledger_servers.py", command: "FILE uvicorn PORT LEDGER"},
	{name: "aiohttp", program: "python3", pkg: "python3-aiohttp", files: "ledger_servers.py", command: "FILE aiohttp PORT LEDGER"},
	{name: "waitress", program: "python3", pkg: "python3-waitress", files: "ledger_servers.py", command: "FILE waitress PORT LEDGER"},
	{name: "Tornado", program: "python3", pkg: "python3-tornado", files: "ledger_servers.py", command: "FILE tornado PORT LEDGER"},
	{name: "Twisted", program: "python3", pkg: "python3-twisted", files: "ledger_servers.py", command: "FILE twisted PORT LEDGER"},
	{name: "Puma", program: "puma", pkg: "puma", files: "ledger-puma.rb ledger.ru", command: "-C FILE", env: "LEDGER=LEDGER"},
}

// isProxy says whether a server of ours stands behind it.
func (r *realServer) isProxy() bool { return strings.Contains(r.command, "BACK") }

// path finds the program. Python is Debian's, which has its packages.
func (r *realServer) path() (string, error) {
	if r.program == "python3" {
		return "/usr/bin/python3", nil
	}
	if p := "/usr/sbin/" + r.program; exists(p) {
		return p, nil
	}
	return exec.LookPath(r.program)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// serverPlace is where one real server runs.
type serverPlace struct {
	dir, ledger, backend string
	port                 int
}

// steadyServers lets plain net/http and steady send POSTs to real servers, with
// pauses around the idle timeout.
func (b *bench) steadyServers(dir string) (string, error) {
	rows := make([][][]string, len(realServers))
	errs := make([]error, len(realServers))
	running := make(chan struct{}, max(1, b.parallel))
	var wg sync.WaitGroup
	for i, r := range realServers {
		if b.server != "" && !strings.HasPrefix(strings.ToLower(r.name), strings.ToLower(b.server)) {
			continue
		}
		running <- struct{}{}
		wg.Go(func() {
			defer func() { <-running }()
			rows[i], errs[i] = b.steadyServer(r, filepath.Join(dir, fmt.Sprintf("server-%d", i)))
			if errors.Is(errs[i], errNotReady) {
				progress("  %s: %v\n", r.name, errs[i])
				rows[i] = [][]string{append([]string{r.name, "not measured: install " + r.pkg}, make([]string, len(tallyHead)-2)...)}
				errs[i] = nil
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", r.name, errs[i])
			}
		})
	}
	wg.Wait()
	all := slices.Concat(rows...)
	if b.parallel > 1 { // who used the CPU is not known then
		for _, row := range all {
			row[len(row)-1] = "-"
		}
	}
	return table(tallyHead, all), errors.Join(errs...)
}

// errNotReady is the error of a server that is not there, or does not start.
var errNotReady = errors.New("it does not get ready")

func (b *bench) steadyServer(r *realServer, dir string) ([][]string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // some servers leave root
		return nil, err
	}
	p := serverPlace{dir: dir, ledger: filepath.Join(dir, "ledger")}
	var url string
	if r.program == "" || r.isProxy() {
		flags := []string{"-ledger", p.ledger, "-idle", "10ms"}
		if r.isProxy() { // and it loses answers: what does the proxy make of that?
			flags = []string{"-ledger", p.ledger, "-fin", "0.01", "-rst", "0.01"}
		}
		srv, at, err := b.startSteady(flags...)
		if err != nil {
			return nil, err
		}
		defer srv.stop()
		url, p.backend = at, strings.TrimPrefix(at, "http://")
	}
	if r.program != "" {
		front, err := b.startReal(r, &p)
		if err != nil {
			return nil, err
		}
		defer front.stop()
		url = fmt.Sprintf("http://127.0.0.1:%d", p.port)
	}
	idle, err := measureIdle(url)
	if err != nil {
		return nil, err
	}
	workers, posts := 16, b.posts/4
	if idle > 300*time.Millisecond { // most of the time is waiting
		posts = b.posts / 10
		workers = min(100, posts/10) // so that each sends on a connection that was used
	}
	if r.workers > 0 {
		workers = r.workers
	}
	clients := []*postClient{plainClient("net/http", false), steadyClient(false)}
	tallies, names, err := b.takeTurns(clients, url, p.ledger, posts, around(idle, workers))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s, %d ms", r.name, idle.Milliseconds())
	return tallyRows(name, names, tallies), checkSteady(name, names, tallies)
}

// measureIdle finds out when a server closes a connection that has worked: the median
// of five. On a busy machine a server with a short timeout can lose the first request;
// such a try does not count.
func measureIdle(url string) (time.Duration, error) {
	const want, most = 5, 20
	var took []time.Duration
	var failed error
	for try := 0; len(took) < want; try++ {
		if try == most {
			return 0, fmt.Errorf("measure its idle timeout: %w", failed)
		}
		d, err := measureOnce(strings.TrimPrefix(url, "http://"))
		if errors.Is(err, errKeeps) {
			return 0, err
		}
		if err != nil {
			failed = err
			continue
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// errKeeps is the error of a server that has no idle timeout to speak of.
var errKeeps = errors.New("it keeps idle connections for more than 10 s")

func measureOnce(addr string) (time.Duration, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"); err != nil {
		return 0, err
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	if err := finishBody(resp); err != nil {
		return 0, err
	}
	if resp.Close {
		return 0, errors.New("it closes each connection behind its answer")
	}
	begin := time.Now()
	_, err = in.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, errKeeps
	}
	return time.Since(begin), nil
}

// startReal starts a server of another project and waits until it listens.
func (b *bench) startReal(r *realServer, p *serverPlace) (*tool, error) {
	path, err := r.path()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotReady, err)
	}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	_, backport, _ := strings.Cut(p.backend, ":")
	names := strings.Fields(r.files)
	file := ""
	if len(names) > 0 {
		file = filepath.Join(p.dir, names[0])
	}
	fill := strings.NewReplacer("DIR", p.dir, "FILE", file, "BACKPORT", backport, "BACKEND", p.backend, "PORT", strconv.Itoa(p.port), "IDLE", "10")
	for _, name := range names {
		text, err := peerFiles.ReadFile("peers/" + name)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(name, ".conf") || strings.HasSuffix(name, ".cfg") || strings.HasSuffix(name, ".rb") {
			text = []byte(fill.Replace(string(text)))
		}
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o644); err != nil {
			return nil, err
		}
	}
	var args []string
	for _, a := range strings.Fields(r.command) {
		if a == "BACKEND" { // only says that it is a proxy
			continue
		}
		if a == "LEDGER" {
			a = p.ledger
		}
		args = append(args, fill.Replace(a))
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = p.dir
	cmd.Stdout = io.Discard
	if r.env != "" {
		cmd.Env = append(os.Environ(), "LEDGER="+p.ledger)
	}
	t, err := launch(b.ctx, nil, cmd, "")
	if err != nil {
		return nil, err
	}
	return t, awaitPort(t, p.port)
}

// awaitPort waits until a tool listens; else it stops it.
func awaitPort(t *tool, port int) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return nil
		}
		if time.Now().After(deadline) || t.ended() {
			t.stop()
			return fmt.Errorf("%w: %s", errNotReady, lastLine(t.text()))
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
