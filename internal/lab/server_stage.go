//go:build linux

package lab

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// service is a real server program in a namespace of the play.
type service struct {
	*program
	s     *stage
	space string
	dir   string // configuration, data and logs
	log   string // the log that tells why it closes connections
}

// nobody is the user that servers run as: some refuse to be root.
const nobody = 65534

// home makes a directory that belongs to the user of the servers, with files
// in it. In their text, {dir} stands for the directory, {port} for the play's
// first server port, and {port1} for the next one.
func (s *stage) home(files map[string]string) string {
	dir := s.tempDir()
	s.check(os.Chown(dir, nobody, nobody))
	for name, text := range files {
		path := filepath.Join(dir, name)
		s.check(os.WriteFile(path, []byte(s.expand(dir, text)), 0o600))
		s.check(os.Chown(path, nobody, nobody))
	}
	return dir
}

func (s *stage) expand(dir, text string) string {
	return strings.NewReplacer(
		"{dir}", dir, "{port}", strconv.Itoa(int(s.port)), "{port1}", strconv.Itoa(int(s.port)+1),
		"{server}", s.addr("server", 0).Addr().String(),
	).Replace(text)
}

// serve starts a program in the foreground and waits until it listens on a
// port. Its output goes to the log.
func (s *stage) serve(space, dir, log string, port uint16, name string, args ...string) *service {
	for i := range args {
		args[i] = s.expand(dir, args[i])
	}
	v := &service{s: s, space: space, dir: dir, log: filepath.Join(dir, log)}
	v.program = s.program(running{
		space: space, name: name, args: args, dir: dir, log: filepath.Join(dir, cmp.Or(log, "output.log")),
		env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "TZ=" + os.Getenv("TZ")},
		cred: &syscall.Credential{Uid: nobody, Gid: nobody},
	})
	s.within(4*soon, name+" to listen", func() bool {
		select {
		case <-v.ended:
			s.fail("%s ended: %v\n%s", name, v.cmd.ProcessState, v.logs())
		default:
		}
		return s.listens(space, port)
	})
	return v
}

// listens reports whether a socket of the namespace listens on the port. It
// does not connect: servers would log that, and some count it.
func (s *stage) listens(space string, port uint16) bool {
	for _, e := range s.sockets(space, port) {
		if e.State == "LISTEN" {
			return true
		}
	}
	return false
}

// logs is what stands in the log.
func (v *service) logs() string {
	b, err := os.ReadFile(v.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// logged waits for a text in the log. A scenario whose cause shows in a log
// checks that it does.
func (v *service) logged(text string) {
	deadline := time.Now().Add(soon)
	for !strings.Contains(v.logs(), text) {
		v.s.check(v.s.ctx.Err())
		if time.Now().After(deadline) {
			v.s.fail("%s did not log %q:\n%s", v.name, text, v.logs())
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

// signal sends a signal to the first process of the service.
func (v *service) signal(sig syscall.Signal) { v.signalPID(v.pid, sig) }

// signalPID sends it to one of its processes, from another process.
func (v *service) signalPID(pid int, sig syscall.Signal) {
	v.s.call(v.s.actor(v.space, "lab-killer"), request{Op: "kill", N: pid, Value: int(sig)})
}

// children are the processes that the first process has started.
func (v *service) children() (pids []int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", v.pid, v.pid))
	v.s.check(err)
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		v.s.check(err)
		pids = append(pids, pid)
	}
	return pids
}

// child returns the child that knows itself by that process id, inside of its
// PID namespace.
func (v *service) child(inner int) int {
	for _, pid := range v.children() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(b), "\nNSpid:")
		line, _, _ := strings.Cut(rest, "\n")
		if f := strings.Fields(line); len(f) > 1 && f[len(f)-1] == strconv.Itoa(inner) {
			return pid
		}
	}
	v.s.fail("%s has no child %d", v.name, inner)
	return 0
}

// stopped runs f while the service is stopped, as when it is busy elsewhere:
// what arrives meanwhile waits in the kernel.
func (v *service) stopped(f func()) {
	v.signal(unix.SIGSTOP)
	defer v.signal(unix.SIGCONT)
	v.s.eventually(v.name+" to stop", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.pid))
		v.s.check(err)
		_, rest, _ := strings.Cut(string(b), ") ")
		return strings.HasPrefix(rest, "T")
	})
	f()
}

// reach connects an actor to a port of a namespace, which must succeed.
func (s *stage) reach(p *proc, space string, port uint16, o opening) *sock {
	c, errno := s.dial(p, s.addr(space, port), soon, o)
	if errno != "" {
		s.fail("%s: connect to %s: %s", p.name, s.addr(space, port), errno)
	}
	return c
}

// session connects the client to the play's server; it is a flow of the truth.
func (s *stage) session() *sock {
	c := s.connect(opening{})
	s.account(c, nil)
	return c
}

// closedByServer waits until the server end has closed in good order and the
// client's kernel knows.
func (s *stage) closedByServer(c *sock) {
	s.awaitState("server", c.remote, c.local, "FIN_WAIT2")
	c.await("CLOSE_WAIT", 0)
}

// lateWrite sends to a connection that the server has closed: the kernel
// accepts it, a RST comes back, and the next write sees an error.
func (s *stage) lateWrite(c *sock, text string) {
	s.closedByServer(c)
	s.now()
	c.write([]byte(text))
	s.awaitReset(c)
	s.hurt("client", c.try(1).Errno)
}

// keyAndCertificate makes a private key and a certificate for it, as PEM.
func (s *stage) keyAndCertificate() (key, cert string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check(err)
	der, err := x509.MarshalECPrivateKey(k)
	s.check(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, DNSNames: []string{"lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	crt, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	s.check(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt}))
}

// clientHello is the first record of a TLS handshake, as crypto/tls sends it.
func (s *stage) clientHello() []byte {
	a, b := net.Pipe()
	defer b.Close()
	defer a.Close()
	go tls.Client(a, &tls.Config{ServerName: "lab"}).Handshake() //nolint:errcheck // ends with the pipe
	head := make([]byte, 5)
	_, err := io.ReadFull(b, head)
	s.check(err)
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, err = io.ReadFull(b, body)
	s.check(err)
	return append(head, body...)
}
