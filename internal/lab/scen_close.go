//go:build linux

package lab

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// closeRecipes are resets made by the way in which an application ends a
// connection.
var closeRecipes = []recipe{
	{
		id: "close-unread", title: "The server closes while received data is unread", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Receiver: "client", Error: "ECONNRESET", Lost: 1000},
		play:  closeUnread,
	},
	{
		id: "linger-zero", title: "The server closes with SO_LINGER 0", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "so-linger-zero", Receiver: "client", Error: "ECONNRESET"},
		play:  lingerZero,
	},
	{
		id: "linger-zero-unread", title: "The server closes with SO_LINGER 0 while received data is unread",
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Receiver: "client", Error: "ECONNRESET", Lost: 1000},
		play:  lingerZeroUnread,
	},
	{
		id: "early-response", title: "The server answers and closes while the body is still arriving", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "early-response-body-too-large", Receiver: "client", Error: "ECONNRESET", Lost: -1, Also: []string{"data-after-close"}},
		play:  earlyResponse,
	},
	{
		id: "data-after-close", title: "The client writes to a connection that the server closed in good order", demo: true, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "data-after-close", Receiver: "client", Error: "EPIPE", Lost: 50},
		play:  dataAfterClose,
	},
	{
		id: "data-crossing-fin", title: "Data of the client crosses the server's FIN on the way", needs: []string{"nft"}, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "data-after-close", Receiver: "client", Error: "ECONNRESET", Lost: 50},
		play:  dataCrossingFIN,
	},
	{
		id: "data-after-timewait-expired", title: "Data arrives when even TIME_WAIT of the closed connection is over; the listener answers",
		truth: Truth{Sender: "server-kernel", Cause: "data-after-close", Receiver: "client", Error: "EPIPE", Lost: 50},
		play:  dataAfterExpiry,
	},
	{
		id: "keepalive-race", title: "The server closes an idle kept-alive connection just when the client sends the next request", v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "keepalive-race-generic", Receiver: "client", Error: "EPIPE", Lost: 120},
		play:  keepaliveRace,
	},
	{
		id: "keepalive-race-crossing", title: "The next request crosses the FIN of an idle kept-alive connection", needs: []string{"nft"},
		truth: Truth{Sender: "server-kernel", Cause: "keepalive-race-generic", Receiver: "client", Error: "ECONNRESET", Lost: 120},
		play:  keepaliveCrossing,
	},
	{
		id: "shutdown-rdwr-data", title: "Data arrives at a socket that was shut down for reading and writing",
		truth: Truth{Sender: "server-kernel", Cause: "data-after-close", Receiver: "both", Error: "EPIPE", Lost: 20},
		play:  shutdownData,
	},
	{
		id: "linger2-negative", title: "The server closes with TCP_LINGER2 below zero",
		truth: Truth{Sender: "server-app", Cause: "tcp-linger2-negative", Receiver: "client", Error: "EPIPE"},
		play:  linger2Negative,
	},
	{
		id: "linger2-negative-fin-wait2", title: "The server shuts down, then closes with TCP_LINGER2 below zero",
		truth: Truth{Sender: "server-app", Cause: "tcp-linger2-negative", Receiver: "client", Error: "EPIPE"},
		play:  linger2FinWait2,
	},
	{
		id: "connect-af-unspec", title: "The server disconnects with connect(AF_UNSPEC)",
		truth: Truth{Sender: "server-app", Cause: "disconnect-af-unspec", Receiver: "client", Error: "ECONNRESET"},
		play:  connectUnspec,
	},
	{
		id: "dup2-over-fd", title: "dup2 closes the socket while received data is unread",
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Receiver: "client", Error: "ECONNRESET", Lost: 100},
		play:  dup2Over,
	},
	{
		id: "exec-cloexec", title: "exec closes the socket (close-on-exec) while received data is unread", needs: []string{"sleep"},
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Receiver: "client", Error: "ECONNRESET", Lost: 100},
		play:  execCloexec,
	},
	{
		id: "listener-closed-queued", title: "The listener is closed while connections wait to be accepted", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "listener-closed-with-queue", Receiver: "client", Error: "ECONNRESET", Lost: 200},
		play:  listenerClosed,
	},
	{
		id: "mptcp-close-unread", title: "The server closes an MPTCP connection while received data is unread",
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Receiver: "client", Error: "ECONNRESET", Lost: 100},
		play:  mptcpCloseUnread,
	},
}

func closeUnread(s *stage) {
	_, c, a := s.pair()
	c.send(1000)
	a.await("inq", 1000)
	s.now()
	a.close()
	s.hurt("client", c.drain().Errno)
}

func lingerZero(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.linger0()
	s.now()
	a.close()
	s.hurt("client", c.drain().Errno)
}

func lingerZeroUnread(s *stage) {
	_, c, a := s.pair()
	c.send(1000)
	a.await("inq", 1000)
	a.linger0()
	s.now()
	a.close()
	s.hurt("client", c.drain().Errno)
}

// earlyResponse: the client is in the middle of a body of 60,000 bytes when
// the server, which has read only the head, answers 413 and closes.
func earlyResponse(s *stage) {
	_, c, a := s.pair()
	c.write([]byte("POST /upload HTTP/1.1\r\nHost: lab\r\nContent-Length: 600000\r\n\r\n"))
	c.send(60000)
	a.get(1000)
	a.await("inq", 30000)
	answer := []byte("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	s.now()
	a.write(answer)
	a.close()
	s.hurt("client", c.drain().Errno)
}

func dataAfterClose(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.close()
	if g := c.recv(1); g.Errno != "EOF" {
		s.fail("client: %v after an orderly close", g)
	}
	s.awaitState("server", a.local, a.remote, "FIN_WAIT2") // a TIME_WAIT socket in this substate
	s.now()
	c.send(50) // accepted by the kernel, and lost
	s.within(soon, "the RST to arrive", func() bool { return c.info().State == "CLOSE" })
	s.hurt("client", c.try(50).Errno)
}

// dropFIN is a rule that holds back the FINs of the server.
func (s *stage) dropFIN() {
	s.filter("router", "forward", fmt.Sprintf("tcp sport %d tcp flags & fin == fin drop", s.port))
}

func dataCrossingFIN(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	s.dropFIN()
	a.close()
	s.awaitState("server", a.local, a.remote, "FIN_WAIT1")
	s.now()
	c.send(50)
	s.hurt("client", c.drain().Errno)
}

func dataAfterExpiry(s *stage) {
	s.sysctl("server", "ipv4/tcp_fin_timeout=1")
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.close()
	s.awaitState("server", a.local, a.remote, "FIN_WAIT2")
	s.awaitState("server", a.local, a.remote, "")
	s.now()
	c.send(50)
	s.awaitReset(c)
	s.hurt("client", c.try(50).Errno)
}

// awaitReset waits until a RST has closed the socket, without reading its
// error.
func (s *stage) awaitReset(k *sock) { k.await("CLOSE", 0) }

// keepAliveTime is the idle time after which the server of a scenario closes.
const keepAliveTime = 1100 * time.Millisecond

// serveAndExpire serves one request, and closes after the server's keep-alive
// time: recv with that time limit is the timer.
func serveAndExpire(s *stage, beforeClose func()) (c, a *sock) {
	_, c, a = s.pair()
	c.exchange(a, 120)
	if g := a.recvFor(1, keepAliveTime); g.Errno != "EAGAIN" {
		s.fail("server: %v instead of idling", g)
	}
	beforeClose()
	a.close()
	return c, a
}

func keepaliveRace(s *stage) {
	c, a := serveAndExpire(s, func() {})
	s.awaitState("server", a.local, a.remote, "FIN_WAIT2")
	s.now()
	c.send(120)
	s.awaitReset(c)
	s.hurt("client", c.try(1).Errno)
}

func keepaliveCrossing(s *stage) {
	c, a := serveAndExpire(s, s.dropFIN)
	s.awaitState("server", a.local, a.remote, "FIN_WAIT1")
	s.now()
	c.send(120)
	s.hurt("client", c.drain().Errno)
}

func shutdownData(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.shutdown(unix.SHUT_RDWR)
	a.await("FIN_WAIT2", 0)
	s.now()
	c.send(20)
	s.awaitReset(c)
	s.hurt("client", c.try(1).Errno)
	s.hurt("server", a.drain().Errno)
}

func linger2Negative(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.setopt(unix.SOL_TCP, unix.TCP_LINGER2, -1)
	s.now()
	a.close()
	s.awaitReset(c)
	s.hurt("client", c.try(1).Errno)
}

func linger2FinWait2(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	a.setopt(unix.SOL_TCP, unix.TCP_LINGER2, -1)
	a.shutdown(unix.SHUT_WR)
	a.await("FIN_WAIT2", 0)
	s.now()
	a.close()
	s.awaitReset(c)
	s.hurt("client", c.try(1).Errno)
}

func connectUnspec(s *stage) {
	_, c, a := s.pair()
	c.exchange(a, 100)
	s.now()
	a.call(request{Op: "disconnect"})
	s.hurt("client", c.drain().Errno)
}

func dup2Over(s *stage) {
	_, c, a := s.pair()
	c.send(100)
	a.await("inq", 100)
	s.now()
	a.call(request{Op: "dup2"})
	s.hurt("client", c.drain().Errno)
}

func execCloexec(s *stage) {
	path, err := findProgram("sleep")
	s.check(err)
	_, c, a := s.pair()
	c.send(100)
	a.await("inq", 100)
	s.now()
	s.abandon(a.p, request{Op: "exec", Text: path, Args: []string{"sleep", "60"}})
	s.hurt("client", c.drain().Errno)
}

func listenerClosed(s *stage) {
	l := s.listen(s.server(), 16)
	c := s.connect(opening{})
	s.account(c, nil)
	c.send(200)
	l.await("backlog", 1)
	c.await("acked", 0)
	s.now()
	l.close()
	s.hurt("client", c.drain().Errno)
}

func mptcpCloseUnread(s *stage) {
	_, c, a := s.pairWith(opening{proto: protoMPTCP}, opening{proto: protoMPTCP})
	if s.moved("server", "MPTcpExt:MPCapableACKRX") == 0 {
		s.fail("the connection is plain TCP")
	}
	c.exchange(a, 10)
	c.send(100)
	a.await("inq", 100)
	s.now()
	a.close()
	s.hurt("client", c.drain().Errno)
}
