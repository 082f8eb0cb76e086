//go:build linux

package lab

// sshdRecipes are resets by a real OpenSSH server.
var sshdRecipes = []recipe{
	{
		id: "sshd-maxstartups", title: "sshd drops a connection beyond MaxStartups whose greeting has come", needs: []string{"sshd"}, v6: true,
		truth: Truth{Sender: "server-app", Cause: "sshd-maxstartups", Receiver: "client", Error: "ECONNRESET", Lost: -1},
		play:  sshdMaxStartups,
	},
}

// sshdConf lets two clients be unauthenticated at a time.
const sshdConf = `Port {port}
HostKey {dir}/key
PidFile none
UsePAM no
StrictModes no
MaxStartups 2:100:2
`

// sshdMaxStartups: sshd runs as a user without privileges, and so needs none of
// its system directories. It is stopped while the surplus client connects, as
// one process that accepts for a whole crowd may be late.
func sshdMaxStartups(s *stage) {
	key, _ := s.keyAndCertificate()
	dir := s.home(map[string]string{"sshd.conf": sshdConf, "key": key})
	v := s.serve("server", dir, "sshd.log", s.port, "sshd", "-D", "-e", "-f", "{dir}/sshd.conf")
	for range 2 {
		c := s.connect(opening{})
		c.until("SSH-2.0-OpenSSH")
	}
	var c *sock
	v.stopped(func() {
		c = s.session()
		c.write([]byte("SSH-2.0-lab\r\n"))
		c.await("acked", 0)
		s.now()
	})
	s.abruptEnd(c)
	v.logged("MaxStartups")
}
