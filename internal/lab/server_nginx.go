//go:build linux

package lab

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nginxRecipes are resets by, and to, a real nginx.
var nginxRecipes = []recipe{
	{
		id: "nginx-keepalive", title: "nginx closes an idle connection after keepalive_timeout while the client sends the next request", needs: []string{"nginx"}, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "nginx-server-keepalive", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  nginxKeepalive,
	},
	{
		id: "nginx-upstream-keepalive", title: "nginx sends a request on an upstream connection that the backend has just closed", needs: []string{"nginx", "nft"},
		truth: Truth{Sender: "server-kernel", Cause: "nginx-upstream-keepalive-mismatch", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxUpstream,
	},
	{
		id: "nginx-413", title: "nginx answers 413 and its lingering time ends while the body is still arriving", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "early-response-body-too-large", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxTooLarge,
	},
	{
		id: "nginx-reload", title: "nginx reloads; worker_shutdown_timeout ends an upload on the old worker", needs: []string{"nginx"},
		truth: Truth{Sender: "server-kernel", Cause: "nginx-reload-shutdown-timeout", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  nginxReload,
	},
	{
		id: "nginx-444", title: "nginx drops a forbidden request with return 444, its body unread", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "malformed-request-guard", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginx444,
	},
	{
		id: "nginx-limit-conn", title: "nginx limit_conn drops a client's second connection", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "per-service-conn-caps", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxLimitConn,
	},
	{
		id: "nginx-limit-req", title: "nginx limit_req resets a client that asks too often", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "rate-limit-ban-reset", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxLimitReq,
	},
	{
		id: "nginx-slow-client", title: "nginx resets a client that is slow to send its headers (reset_timedout_connection)", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "slow-client-guards", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxSlowClient,
	},
	{
		id: "nginx-proxy-protocol", title: "nginx expects the PROXY protocol and gets plain HTTP", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "proxy-protocol-mismatch", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxProxyProtocol,
	},
	{
		id: "nginx-plain-to-tls", title: "Plain HTTP to a TLS port of nginx", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "plaintext-to-tls-port", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxPlainToTLS,
	},
	{
		id: "nginx-tls-to-plain", title: "A TLS handshake to a plaintext port of nginx", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "tls-to-plaintext-port", Receiver: "client", Error: "ECONNRESET", Lost: -1, Also: []string{"data-after-close"}},
		play:  nginxTLSToPlain,
	},
	{
		id: "nginx-header-too-large", title: "The request's headers are larger than nginx accepts", needs: []string{"nginx"},
		truth: Truth{Sender: "server-app", Cause: "header-too-large-parser", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  nginxHeaderTooLarge,
	},
	{
		id: "nginx-read-timeout", title: "nginx gives up on a slow backend (proxy_read_timeout), which answers too late", needs: []string{"nginx"},
		truth: Truth{Sender: "client-kernel", Cause: "proxy-read-timeout", Receiver: "server", Error: "EPIPE", Lost: -1},
		play:  nginxReadTimeout,
	},
	{
		id: "nginx-worker-killed", title: "SIGKILL ends an nginx worker during an upload", needs: []string{"nginx"},
		truth: Truth{Sender: "server-kernel", Cause: "process-killed", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  nginxWorkerKilled,
	},
	{
		id: "nginx-restart", title: "nginx is restarted without draining (SIGTERM) during uploads", needs: []string{"nginx"},
		truth: Truth{Sender: "server-kernel", Cause: "rolling-deploy-no-drain", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  nginxRestart,
	},
}

// nginxConf has everything in one directory. Workers run as the user that
// starts them.
const nginxConf = `daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log info;
events { worker_connections 128; }
%s
http {
  access_log {dir}/access.log;
  client_body_temp_path {dir}/tmp;
  proxy_temp_path {dir}/tmp;
  fastcgi_temp_path {dir}/tmp;
  uwsgi_temp_path {dir}/tmp;
  scgi_temp_path {dir}/tmp;
  %s
}
`

// nginx starts nginx in a namespace, with the inner part of its http block.
func (s *stage) nginx(space string, port uint16, http string) *service {
	return s.nginxMain(space, port, "", http)
}

func (s *stage) nginxMain(space string, port uint16, main, http string) *service {
	return s.nginxIn(space, port, s.home(map[string]string{"nginx.conf": fmt.Sprintf(nginxConf, main, http)}))
}

func (s *stage) nginxIn(space string, port uint16, dir string) *service {
	v := s.serve(space, dir, "output.log", port, "nginx", "-p", "{dir}", "-e", "{dir}/error.log", "-c", "{dir}/nginx.conf")
	v.log = filepath.Join(dir, "error.log")
	return v
}

// listenBoth makes a server of nginx listen with both families.
const listenBoth = "listen {port}; listen [::]:{port};"

// get is a request without a body.
const get = "GET / HTTP/1.1\r\nHost: lab\r\nUser-Agent: lab\r\n\r\n"

// post is the head of a request with a body of n bytes.
func post(n int) string {
	return fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: lab\r\nContent-Length: %d\r\n\r\n", n)
}

// oneSegment fills a text up to a size that fits into one segment, and is more
// than the 1024 bytes that nginx reads at first: the rest stays unread.
func oneSegment(text string) []byte {
	return append([]byte(text), pattern(1300-len(text))...)
}

// abruptEnd waits for the reset, which must come by itself.
func (s *stage) abruptEnd(c *sock) { s.hurt("client", c.drain().Errno) }

func nginxKeepalive(s *stage) {
	s.nginx("server", s.port, `keepalive_timeout 2s; server { `+listenBoth+` return 200 "hello\n"; }`)
	c := s.session()
	c.write([]byte(get))
	c.until("hello\n")
	s.lateWrite(c, get)
}

// nginxUpstream: the FIN of the backend is held up by the router, so that nginx
// cannot know yet. A POST is not repeated on another connection.
func nginxUpstream(s *stage) {
	proxy := s.nginx("client", s.port+1, `
		upstream app { server {server}:{port}; keepalive 8; }
		server { listen {port1}; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; } }`)
	user := s.reach(s.actor("attacker", "lab-user"), "client", s.port+1, opening{})
	l := s.listen(s.server(), 16)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
	user.write([]byte(get))
	a := l.accept()
	a.until("\r\n\r\n")
	a.write(answer)
	user.until("hello\n")
	if g := a.recvFor(1, keepAliveTime); g.Errno != "EAGAIN" {
		s.fail("backend: %v instead of idling", g)
	}
	s.dropFIN()
	a.close()
	s.awaitState("server", a.local, a.remote, "FIN_WAIT1")
	s.flow(a.remote, a.local)
	s.now()
	user.write([]byte(post(4) + "data"))
	user.until("502 Bad Gateway")
	proxy.logged("recv() failed (104: Connection reset by peer) while reading response header from upstream")
	s.hurt("client", "ECONNRESET")
}

// nginxTooLarge: nginx answers at once, then reads and throws away what comes
// for lingering_time; a longer upload is reset.
func nginxTooLarge(s *stage) {
	v := s.nginx("server", s.port, `client_max_body_size 1k; lingering_time 1s; server { `+listenBoth+` location / { return 200; } }`)
	c := s.session()
	c.write(append([]byte(post(1<<20)), pattern(3000)...))
	c.until("413 Request Entity Too Large")
	v.logged("client intended to send too large body")
	s.now()
	s.within(2*soon, "the reset of a slow upload", func() bool {
		errno := c.try(500).Errno
		if errno == "" {
			errno = c.recvFor(all, 100*time.Millisecond).Errno
		}
		s.hurt("client", errno)
		return errno != "EAGAIN"
	})
}

// nowhere is a location whose requests are read, body first, and lead nowhere.
const nowhere = "location / { proxy_pass http://127.0.0.1:1; }"

// upload begins a request with a body that nginx waits for.
func (s *stage) upload() *sock {
	c := s.session()
	c.write(append([]byte(post(1<<20)), pattern(2000)...))
	s.eventually("nginx to read the first part of the body", func() bool {
		for _, e := range s.sockets("server", s.port) {
			if e.Remote == c.local {
				return e.RxQueue == 0 && e.Inode != 0
			}
		}
		return false
	})
	c.await("acked", 0)
	return c
}

func nginxReload(s *stage) {
	v := s.nginxMain("server", s.port, "worker_shutdown_timeout 1s;", `server { `+listenBoth+nowhere+` }`)
	c := s.upload()
	v.signal(unix.SIGHUP)
	v.logged("gracefully shutting down")
	s.lateWrite(c, "more of the body")
}

func nginx444(s *stage) {
	s.nginx("server", s.port, `server { `+listenBoth+` location / { return 200; } location ~ \.php$ { return 444; } }`)
	c := s.session()
	s.now()
	c.write(oneSegment("POST /wp-login.php HTTP/1.1\r\nHost: lab\r\nContent-Length: 1200\r\n\r\n"))
	s.abruptEnd(c)
}

func nginxLimitConn(s *stage) {
	v := s.nginx("server", s.port, `
		limit_conn_zone $binary_remote_addr zone=perip:1m;
		limit_conn perip 1; limit_conn_status 444;
		server { `+listenBoth+nowhere+` }`)
	s.upload()
	s.res.Flows = nil // the first connection is well
	c := s.session()
	s.now()
	c.write(oneSegment(post(1200)))
	s.abruptEnd(c)
	v.logged("limiting connections by zone")
}

func nginxLimitReq(s *stage) {
	v := s.nginx("server", s.port, `
		limit_req_zone $binary_remote_addr zone=perip:1m rate=1r/m;
		limit_req zone=perip; limit_req_status 444; reset_timedout_connection on;
		server { `+listenBoth+` location / { alias {dir}/; } }`)
	c := s.session()
	c.write([]byte(get))
	c.until("\r\n\r\n")
	s.now()
	c.write([]byte(get))
	s.abruptEnd(c)
	v.logged("limiting requests, excess")
}

func nginxSlowClient(s *stage) {
	v := s.nginx("server", s.port, `client_header_timeout 1s; reset_timedout_connection on; server { `+listenBoth+` return 200; }`)
	c := s.session()
	c.write([]byte("POST /login HTTP/1.1\r\nHost: lab\r\n"))
	s.now()
	s.abruptEnd(c)
	v.logged("client timed out")
}

func nginxProxyProtocol(s *stage) {
	v := s.nginx("server", s.port, `server { listen {port} proxy_protocol; return 200; }`)
	c := s.session()
	s.now()
	c.write(oneSegment("GET / HTTP/1.1\r\nHost: lab\r\nCookie: "))
	s.abruptEnd(c)
	v.logged("while reading PROXY protocol")
}

func nginxPlainToTLS(s *stage) {
	key, cert := s.keyAndCertificate()
	http := `lingering_close off; server { listen {port} ssl; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; return 200; }`
	v := s.nginxIn("server", s.port, s.home(map[string]string{"nginx.conf": fmt.Sprintf(nginxConf, "", http), "key.pem": key, "cert.pem": cert}))
	c := s.session()
	s.now()
	c.write(oneSegment(get + "GET /next HTTP/1.1\r\nHost: lab\r\nCookie: "))
	s.abruptEnd(c)
	v.logged("client sent plain HTTP request to HTTPS port")
}

func nginxTLSToPlain(s *stage) {
	v := s.nginx("server", s.port, `lingering_close off; server { `+listenBoth+` return 200; }`)
	c := s.session()
	hello := s.clientHello()
	s.now()
	c.write(hello)
	s.abruptEnd(c)
	v.logged(`client sent invalid method while reading client request line`)
	v.log = filepath.Join(v.dir, "access.log")
	v.logged(`"\x16\x03\x01`)
}

func nginxHeaderTooLarge(s *stage) {
	v := s.nginx("server", s.port, `lingering_close off; large_client_header_buffers 2 1k; server { `+listenBoth+` return 200; }`)
	c := s.session()
	s.now()
	c.write(oneSegment("GET / HTTP/1.1\r\nHost: lab\r\nCookie: "))
	s.abruptEnd(c)
	v.logged("client sent too long header line")
}

// nginxReadTimeout: the flow is that from the proxy to the backend.
func nginxReadTimeout(s *stage) {
	proxy := s.nginx("client", s.port+1, `server { listen {port1}; proxy_read_timeout 1s; location / { proxy_pass http://{server}:{port}; } }`)
	l := s.listen(s.server(), 16)
	user := s.reach(s.actor("attacker", "lab-user"), "client", s.port+1, opening{})
	user.write([]byte(get))
	a := l.accept()
	s.flow(a.remote, a.local)
	a.until("\r\n\r\n")
	user.until("504 Gateway")
	proxy.logged("upstream timed out (110: Connection timed out) while reading response header from upstream")
	s.awaitState("client", a.remote, a.local, "FIN_WAIT2")
	a.await("CLOSE_WAIT", 0)
	s.now()
	a.write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"))
	s.awaitReset(a)
	s.hurt("server", a.try(6).Errno)
}

func nginxWorkerKilled(s *stage) {
	v := s.nginx("server", s.port, `server { `+listenBoth+nowhere+` }`)
	c := s.upload()
	workers := v.children()
	if len(workers) != 1 {
		s.fail("nginx has %d children, not one worker", len(workers))
	}
	v.signalPID(workers[0], unix.SIGKILL)
	s.lateWrite(c, "more of the body")
	v.logged("exited on signal 9")
}

// uploads is how many connections are at work when nginx is restarted.
const uploads = 4

func nginxRestart(s *stage) {
	old := s.nginx("server", s.port, `server { `+listenBoth+nowhere+` }`)
	var list []*sock
	for range uploads {
		list = append(list, s.upload())
	}
	old.signal(unix.SIGTERM)
	select {
	case <-old.ended:
	case <-s.ctx.Done():
		s.check(s.ctx.Err())
	}
	s.nginxIn("server", s.port, old.dir)
	for _, c := range list {
		s.closedByServer(c)
	}
	s.now()
	for _, c := range list {
		c.write([]byte("more of the body"))
		s.awaitReset(c)
		s.hurt("client", c.try(1).Errno)
	}
	if !strings.Contains(old.logs(), "signal 15 (SIGTERM)") {
		s.fail("nginx did not log the signal:\n%s", old.logs())
	}
}
