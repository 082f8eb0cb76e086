package main

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed peers/ledger.js
var nodeScript string

//go:embed peers/ledger.py
var pythonScript string

//go:embed peers/ledger-nginx.conf
var nginxConfig string

//go:embed peers/ledger-haproxy.cfg
var haproxyConfig string

// realServer is a server that people run, with a short idle timeout.
type realServer struct {
	name    string
	program string        // that must be installed, "" for Go's own
	pkg     string        // of Debian
	idle    time.Duration // as it is told
	closes  time.Duration // when it really closes, by what it adds; the pauses are around it
	workers int
	share   int // one of so many POSTs of the part
	script  string
	args    func(r *realServer, p serverPlace) []string
}

// serverPlace is where one real server runs.
type serverPlace struct {
	dir, file, ledger, backend string
	port                       int
}

var realServers = []*realServer{
	{name: "Go net/http", idle: 10 * time.Millisecond, workers: 16, share: 4},
	{
		name: "nginx, proxy", program: "nginx", pkg: "nginx", idle: 10 * time.Millisecond, workers: 16, share: 4, script: nginxConfig,
		args: func(_ *realServer, p serverPlace) []string { return []string{"-c", p.file, "-p", p.dir} },
	},
	{
		name: "HAProxy, proxy", program: "haproxy", pkg: "haproxy", idle: 10 * time.Millisecond, workers: 16, share: 4, script: haproxyConfig,
		args: func(_ *realServer, p serverPlace) []string { return []string{"-db", "-f", p.file} },
	},
	{
		name: "Node", program: "node", pkg: "nodejs", idle: 10 * time.Millisecond, closes: 1010 * time.Millisecond, workers: 40, share: 20, script: nodeScript,
		args: func(r *realServer, p serverPlace) []string {
			return []string{p.file, strconv.Itoa(p.port), p.ledger, strconv.FormatInt(r.idle.Milliseconds(), 10)}
		},
	},
	{
		// Its idle timeout is in whole seconds, and looked at once in a second.
		name: "gunicorn, gthread", program: "gunicorn", pkg: "gunicorn", idle: time.Second, closes: 1500 * time.Millisecond, workers: 40, share: 20, script: pythonScript,
		args: func(_ *realServer, p serverPlace) []string {
			return []string{
				"--worker-class", "gthread", "--threads", "4", "--worker-connections", "1000", "--keep-alive", "1",
				"--bind", "127.0.0.1:" + strconv.Itoa(p.port), "--env", "LEDGER=" + p.ledger, "--chdir", p.dir, "ledger:app",
			}
		},
	},
}

// steadyServers lets plain net/http and steady send POSTs to real servers, with
// pauses around the idle timeout.
func (b *bench) steadyServers(dir string) (string, error) {
	var rows [][]string
	for i, r := range realServers {
		if r.program != "" {
			if _, err := exec.LookPath(r.program); err != nil {
				row := append([]string{r.name, "not measured: install " + r.pkg}, make([]string, len(tallyHead)-2)...)
				rows = append(rows, row)
				continue
			}
		}
		more, err := b.steadyServer(r, filepath.Join(dir, fmt.Sprintf("server-%d", i)))
		rows = append(rows, more...)
		if err != nil {
			return "", fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return table(tallyHead, rows), nil
}

func (b *bench) steadyServer(r *realServer, dir string) ([][]string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	p := serverPlace{dir: dir, ledger: filepath.Join(dir, "ledger"), file: filepath.Join(dir, "config")}
	idle := "0s"
	if r.program == "" {
		idle = r.idle.String()
	}
	srv, url, err := b.startSteady("-ledger", p.ledger, "-idle", idle)
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	if r.program != "" {
		p.backend = strings.TrimPrefix(url, "http://")
		front, err := b.startReal(r, &p)
		if err != nil {
			return nil, err
		}
		defer front.stop()
		url = fmt.Sprintf("http://127.0.0.1:%d", p.port)
	}
	clients := []*postClient{plainClient("net/http", false), steadyClient()}
	tallies, names, err := b.takeTurns(clients, url, p.ledger, b.posts/r.share, around(max(r.idle, r.closes), r.workers))
	if err != nil {
		return nil, err
	}
	return tallyRows(r.name, names, tallies), checkSteady(r.name, names, tallies)
}

// startReal starts a server of another project and waits until it listens.
func (b *bench) startReal(r *realServer, p *serverPlace) (*tool, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p.port = port
	if r.program == "gunicorn" {
		p.file = filepath.Join(p.dir, "ledger.py")
	}
	text := r.script
	if r.program == "nginx" || r.program == "haproxy" {
		text = strings.NewReplacer("DIR", p.dir, "PORT", strconv.Itoa(port), "BACKEND", p.backend,
			"IDLE", strconv.FormatInt(r.idle.Milliseconds(), 10)).Replace(text)
	}
	if err := os.WriteFile(p.file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	t, err := launch(b.ctx, nil, exec.Command(r.program, r.args(r, *p)...), "")
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return t, nil
		}
		if time.Now().After(deadline) || t.ended() {
			t.stop()
			return nil, errors.New("did not get ready: " + lastLine(t.text()))
		}
	}
}

// freePort is a port on which nobody listens, a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
