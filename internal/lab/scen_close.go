//go:build linux

package lab

import "golang.org/x/sys/unix"

// closeRecipes are resets made by the way in which an application ends a
// connection.
var closeRecipes = []recipe{
	{
		id: "close-unread", title: "The server closes while received data is unread", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Victim: "client", Error: "ECONNRESET", Lost: 1000},
		play:  closeUnread,
	},
	{
		id: "linger-zero", title: "The server closes with SO_LINGER 0", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "so-linger-zero", Victim: "client", Error: "ECONNRESET"},
		play:  lingerZero,
	},
	{
		id: "linger-zero-unread", title: "The server closes with SO_LINGER 0 while received data is unread",
		truth: Truth{Sender: "server-app", Cause: "close-with-unread-data", Victim: "client", Error: "ECONNRESET", Lost: 1000},
		play:  lingerZeroUnread,
	},
	{
		id: "early-response", title: "The server answers and closes while the body is still arriving", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "early-response-body-too-large", Victim: "client", Error: "ECONNRESET", Lost: -1, Also: []string{"data-after-close"}},
		play:  earlyResponse,
	},
	{
		id: "data-after-close", title: "The client writes to a connection that the server closed in good order", demo: true, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "data-after-close", Victim: "client", Error: "EPIPE", Lost: 50},
		play:  dataAfterClose,
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
	c.call(request{Op: "send", Data: []byte("POST /upload HTTP/1.1\r\nHost: lab\r\nContent-Length: 600000\r\n\r\n"), Wait: soon})
	c.send(60000)
	a.get(1000)
	a.await("inq", 30000)
	answer := []byte("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	s.now()
	a.call(request{Op: "send", Data: answer, Wait: soon})
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

// The two directions of shutdown(2) at once.
const shutBoth = unix.SHUT_RDWR
