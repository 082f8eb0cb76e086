//go:build linux

package lab

import (
	"fmt"
	"net/netip"
)

// haproxyRecipes are resets by a real HAProxy.
var haproxyRecipes = []recipe{
	{
		id: "haproxy-timeout-client", title: "HAProxy closes a tunnel whose client was silent for timeout client; the client sends later", needs: []string{"haproxy"}, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "haproxy-timeout-client-server", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  haproxyTimeoutClient,
	},
	{
		id: "haproxy-timeout-server", title: "HAProxy gives up on a backend that does not answer within timeout server", needs: []string{"haproxy"},
		truth: Truth{Sender: "client-app", Cause: "haproxy-timeout-client-server", Receiver: "server", Error: "ECONNRESET", Lost: -1},
		play:  haproxyTimeoutServer,
	},
	{
		id: "haproxy-reject", title: "HAProxy rejects connections above a limit (tcp-request connection reject)", needs: []string{"haproxy"},
		truth: Truth{Sender: "server-app", Cause: "per-service-conn-caps", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  haproxyReject,
	},
	{
		id: "haproxy-health-check", title: "HAProxy checks a backend's port and resets the connection at once", needs: []string{"haproxy"},
		truth: Truth{Sender: "client-app", Cause: "lb-health-check-noise", Receiver: "none", Lost: -1},
		play:  haproxyHealthCheck,
	},
}

// haproxyConf logs to standard output, which is a file.
const haproxyConf = `global
  log stdout format raw local0
  maxconn 100
  nbthread 1
defaults
  log global
  mode %s
  option %slog
  timeout connect 3s
  timeout client %s
  timeout server %s
`

// haproxy starts HAProxy with further sections of its configuration.
func (s *stage) haproxy(space string, port uint16, mode, client, server, sections string) *service {
	dir := s.home(map[string]string{"haproxy.cfg": fmt.Sprintf(haproxyConf, mode, mode, client, server) + sections})
	return s.serve(space, dir, "haproxy.log", port, "haproxy", "-db", "-f", "{dir}/haproxy.cfg")
}

// tunnel relays the play's port to a backend on the next one.
const tunnel = `
frontend web
  bind :::{port} v4v6
  %s
  default_backend app
backend app
  server one 127.0.0.1:{port1}
`

// backend is an application behind HAProxy, on the same host.
func (s *stage) backend() *sock {
	return s.listenOn(s.server(), 16, opening{local: netip.AddrPortFrom(netip.IPv4Unspecified(), s.port+1)})
}

func haproxyTimeoutClient(s *stage) {
	v := s.haproxy("server", s.port, "tcp", "1s", "30s", fmt.Sprintf(tunnel, ""))
	l := s.backend()
	c := s.session()
	c.write([]byte("hello\n"))
	a := l.accept()
	a.until("hello\n")
	a.write([]byte("welcome\n"))
	c.until("welcome\n")
	if g := a.drain(); g.Errno != "EOF" { // HAProxy tells the backend first
		s.fail("backend: %v instead of the end of the stream", g)
	}
	a.close()
	s.lateWrite(c, "still there?\n")
	v.logged(" cD ")
}

// haproxyTimeoutServer: the flow is that from HAProxy to the backend.
func haproxyTimeoutServer(s *stage) {
	v := s.haproxy("client", s.port+1, "http", "30s", "1s", `
frontend web
  bind :{port1}
  default_backend app
backend app
  server one {server}:{port}
`)
	l := s.listen(s.server(), 16)
	user := s.reach(s.actor("attacker", "lab-user"), "client", s.port+1, opening{})
	user.write([]byte(get))
	a := l.accept()
	s.flow(a.remote, a.local)
	a.until("\r\n\r\n")
	s.now()
	user.until("504 Gateway")
	s.hurt("server", a.drain().Errno)
	v.logged(" sH")
}

func haproxyReject(s *stage) {
	s.haproxy("server", s.port, "tcp", "30s", "30s", fmt.Sprintf(tunnel, "tcp-request connection reject if { fe_conn gt 1 }"))
	l := s.backend()
	first := s.connect(opening{})
	first.write([]byte("hello\n"))
	a := l.accept()
	a.until("hello\n")
	s.now()
	c, errno := s.dial(s.client(), s.addr("server", s.port), soon, opening{})
	s.account(c, nil)
	if s.hurt("client", errno); errno == "" { // the reset may be faster than the end of connect()
		s.abruptEnd(c)
	}
}

// checksBefore is how many health checks there are before the one of the truth:
// only several show that they are regular.
const checksBefore = 6

func haproxyHealthCheck(s *stage) {
	s.listen(s.server(), 16)
	s.haproxy("client", s.port+1, "tcp", "30s", "30s", `
frontend web
  bind :{port1}
  default_backend app
backend app
  server one {server}:{port} check inter 250ms fastinter 250ms
`)
	s.within(2*soon, "health checks", func() bool { return len(s.resets("client", true)) >= checksBefore })
	s.now()
	n := len(s.resets("client", true))
	s.eventually("another health check", func() bool { return len(s.resets("client", true)) > n })
	rst := s.resets("client", true)[n]
	s.flow(rst.Src, rst.Dst)
}
