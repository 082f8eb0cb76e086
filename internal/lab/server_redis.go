//go:build linux

package lab

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// redisRecipes are resets by a real Redis.
var redisRecipes = []recipe{
	{
		id: "redis-maxclients", title: "Redis refuses a client above maxclients whose first command has come", needs: []string{"redis-server"},
		truth: Truth{Sender: "server-app", Cause: "redis-timeout-maxclients", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  redisMaxclients,
	},
	{
		id: "redis-timeout", title: "Redis closes an idle client (timeout); the client sends its next command", needs: []string{"redis-server"}, v6: true,
		truth: Truth{Sender: "server-kernel", Cause: "redis-timeout-maxclients", Receiver: "client", Error: "EPIPE", Lost: -1},
		play:  redisTimeout,
	},
	{
		id: "redis-output-buffer", title: "Redis drops a slow subscriber whose output buffer is full", needs: []string{"redis-server"},
		truth: Truth{Sender: "server-kernel", Cause: "redis-output-buffer", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  redisOutputBuffer,
	},
	{
		id: "redis-plain-to-tls", title: "A Redis client without TLS connects to the TLS port", needs: []string{"redis-server"},
		truth: Truth{Sender: "server-app", Cause: "plaintext-to-tls-port", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  redisPlainToTLS,
	},
}

// redisConf logs to standard output, which is a file.
const redisConf = `bind * -::*
protected-mode no
daemonize no
save ""
appendonly no
dir {dir}
loglevel verbose
enable-debug-command yes
`

// redis starts Redis with further settings.
func (s *stage) redis(settings string, files map[string]string) *service {
	all := map[string]string{"redis.conf": redisConf + settings + "\n"}
	for name, text := range files {
		all[name] = text
	}
	return s.serve("server", s.home(all), "redis.log", s.port, "redis-server", "{dir}/redis.conf")
}

// resp is a command in the protocol of Redis.
func resp(words ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return []byte(b.String())
}

// redisMaxclients: Redis has one thread. While it is busy, the new client's
// command comes, so that it is unread when Redis says no.
func redisMaxclients(s *stage) {
	s.redis("port {port}\nmaxclients 1", nil)
	first := s.connect(opening{})
	first.write(resp("PING"))
	first.until("+PONG\r\n")
	first.write(resp("DEBUG", "SLEEP", "1"))
	s.eventually("Redis to be busy", func() bool {
		for _, e := range s.sockets("server", s.port) {
			if e.Remote == first.local {
				return e.RxQueue == 0
			}
		}
		return false
	})
	c := s.session()
	c.write(resp("PING"))
	c.await("acked", 0)
	s.now()
	c.until("-ERR max number of clients reached\r\n")
	s.abruptEnd(c)
}

func redisTimeout(s *stage) {
	v := s.redis("port {port}\ntimeout 1", nil)
	c := s.session()
	c.write(resp("PING"))
	c.until("+PONG\r\n")
	s.lateWrite(c, string(resp("PING")))
	v.logged("Closing idle client")
}

// message is the size of what is published; many of them fill all buffers of
// the kernel, and then that of Redis.
const message = 256 << 10

func redisOutputBuffer(s *stage) {
	v := s.redis("port {port}\nclient-output-buffer-limit pubsub 1mb 0 0", nil)
	c := s.connect(opening{opts: []sockopt{{unix.SOL_SOCKET, unix.SO_RCVBUF, 4096}}})
	s.account(c, nil)
	c.write(resp("SUBSCRIBE", "news"))
	c.until(":1\r\n")
	publisher := s.connect(opening{})
	s.within(4*soon, "Redis to drop the subscriber", func() bool {
		publisher.write([]byte(fmt.Sprintf("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$%d\r\n", message)))
		publisher.send(message)
		publisher.write([]byte("\r\n"))
		publisher.until("\r\n")
		return strings.Contains(v.logs(), "scheduled to be closed ASAP for overcoming of output buffer limits")
	})
	s.awaitState("server", c.remote, c.local, "FIN_WAIT1")
	s.now()
	c.write(resp("PING"))
	s.abruptEnd(c)
}

// redisPlainToTLS: the handshake fails at the first five bytes, the rest of the
// command stays unread.
func redisPlainToTLS(s *stage) {
	key, cert := s.keyAndCertificate()
	v := s.redis("port 0\ntls-port {port}\ntls-cert-file {dir}/cert.pem\ntls-key-file {dir}/key.pem\ntls-ca-cert-file {dir}/cert.pem",
		map[string]string{"key.pem": key, "cert.pem": cert})
	c := s.session()
	s.now()
	c.write(resp("PING"))
	s.abruptEnd(c)
	v.logged("Error accepting a client connection")
}
