//go:build linux

package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// clientRecipes are resets that the client's side makes.
var clientRecipes = []recipe{
	{
		id: "client-abort", title: "The client closes in the middle of a download", demo: true, v6: true,
		truth: Truth{Sender: "client-app", Cause: "client-abort", Receiver: "server", Error: "ECONNRESET", Lost: -1, Also: []string{"data-after-close"}},
		play:  clientAbort,
	},
	{
		id: "client-timeout-abort", title: "The client gives up waiting and closes; the answer comes too late",
		truth: Truth{Sender: "client-kernel", Cause: "client-abort", Receiver: "server", Error: "EPIPE", Lost: 500},
		play:  clientTimeout,
	},
	{
		id: "client-killed-reading", title: "The client is killed in the middle of a download",
		truth: Truth{Sender: "client-app", Cause: "process-killed", Receiver: "server", Error: "ECONNRESET", Lost: -1, Also: []string{"process-killed"}},
		play:  clientKilled,
	},
	{
		id: "client-linger-zero", title: "The client closes with SO_LINGER 0 after a complete exchange",
		truth: Truth{Sender: "client-app", Cause: "so-linger-zero", Receiver: "server", Error: "ECONNRESET"},
		play:  clientLinger,
	},
	{
		id: "rst-before-accept", title: "The client aborts while its connection waits to be accepted",
		truth: Truth{Sender: "client-app", Cause: "client-abort", Receiver: "server", Error: "ECONNRESET"},
		play:  abortBeforeAccept,
	},
	{
		id: "health-check", title: "A health checker connects and resets, again and again",
		truth: Truth{Sender: "client-app", Cause: "lb-health-check-noise", Receiver: "server", Error: "ECONNRESET"},
		play:  healthCheck,
	},
	{
		id: "happy-eyeballs-loser", title: "A speculative connect is cancelled before its SYN-ACK arrives",
		truth: Truth{Sender: "client-kernel", Cause: "browser-preconnect-happy-eyeballs", Receiver: "none"},
		play:  eyeballsLoser,
	},
	{
		id: "preconnect-unused", title: "A browser closes a connection that it opened in advance and did not use",
		truth: Truth{Sender: "client-kernel", Cause: "browser-preconnect-happy-eyeballs", Receiver: "server", Error: "EPIPE", Lost: -1},
		play:  preconnect,
	},
}

// download lets the server write as much as the client's kernel takes; the
// client reads a part.
func (s *stage) download() (c, a *sock) {
	_, c, a = s.pair()
	c.send(100)
	a.get(100)
	if g := a.tryFor(16<<20, give); g.Errno != "" {
		s.fail("server: %v", g)
	}
	c.get(1000)
	c.await("inq", 1000)
	return c, a
}

func clientAbort(s *stage) {
	c, a := s.download()
	s.now()
	c.close()
	s.hurt("server", a.drain().Errno)
}

func clientKilled(s *stage) {
	c, a := s.download()
	s.now()
	s.killedBy("client", c.p, unix.SIGKILL)
	s.hurt("server", a.drain().Errno)
}

func clientTimeout(s *stage) {
	_, c, a := s.pair()
	c.send(100)
	a.get(100)
	if g := c.recvFor(1, 300*time.Millisecond); g.Errno != "EAGAIN" { // the client's time limit
		s.fail("client: %v before the answer", g)
	}
	c.close()
	a.await("CLOSE_WAIT", 0)
	s.now()
	a.send(500)
	s.awaitReset(a)
	s.hurt("server", a.try(1).Errno)
}

func clientLinger(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	c.linger0()
	s.now()
	c.close()
	s.hurt("server", a.drain().Errno)
}

func abortBeforeAccept(s *stage) {
	l := s.listen(s.server(), 16)
	c := s.connect(opening{})
	c.send(100)
	c.await("acked", 0)
	l.await("backlog", 1)
	c.linger0()
	s.now()
	c.close()
	a := l.accept()
	s.account(c, a)
	s.hurt("server", a.drain().Errno) // what had arrived can still be read
}

// checkPeriod is the period of the health checker.
const checkPeriod = 250 * time.Millisecond

func healthCheck(s *stage) {
	l := s.listen(s.server(), 16)
	tick := time.NewTicker(checkPeriod)
	defer tick.Stop()
	for i := range 6 {
		if i > 0 {
			<-tick.C // the period is what makes a checker recognisable
		}
		s.now() // only the last check has all the others before it
		c, a := s.join(l, opening{})
		c.linger0()
		c.close()
		s.hurt("server", a.drain().Errno)
	}
}

// eyeballsLoser: the SYN-ACK is held back until the client has lost interest.
func eyeballsLoser(s *stage) {
	s.listen(s.server(), 16)
	heal := s.blackhole("client")
	c := s.open(s.client(), opening{})
	to := s.addr("server", s.port)
	c.local = c.call(request{Op: "connect", Addr: to}).Local
	s.flow(c.local, to)
	s.awaitState("server", to, c.local, "SYN_RECV")
	c.close()
	heal()
	s.now()
	s.eventually("the client's kernel to refuse the SYN-ACK", func() bool { return len(s.resets("client", true)) > 0 })
}

// preconnect: the server, tired of waiting for a request, says so (408) to a
// connection that the browser has closed.
func preconnect(s *stage) {
	_, c, a := s.pair()
	c.close()
	a.await("CLOSE_WAIT", 0)
	s.now()
	a.write([]byte("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"))
	s.awaitReset(a)
	s.hurt("server", a.try(1).Errno)
}
