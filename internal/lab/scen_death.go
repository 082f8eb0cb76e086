//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// deathRecipes are resets made by the end of a process.
var deathRecipes = []recipe{
	{
		id: "sigkill-queued", title: "SIGKILL from another process, with a request queued", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "process-killed", Receiver: "client", Error: "ECONNRESET", Lost: 700},
		play:  func(s *stage) { signalled(s, unix.SIGKILL, true) },
	},
	{
		id: "sigkill-empty-then-data", title: "SIGKILL with empty queues; the client sends later",
		truth: Truth{Sender: "server-kernel", Cause: "process-killed", Receiver: "client", Error: "EPIPE", Lost: 50},
		play:  func(s *stage) { signalled(s, unix.SIGKILL, false) },
	},
	{
		id: "sigterm-queued", title: "SIGTERM from another process, with a request queued",
		truth: Truth{Sender: "server-app", Cause: "process-killed", Receiver: "client", Error: "ECONNRESET", Lost: 700},
		play:  func(s *stage) { signalled(s, unix.SIGTERM, true) },
	},
	{
		id: "segv-queued", title: "Segmentation fault of the server with a request queued", demo: true, v6: true,
		truth: Truth{Sender: "server-app", Cause: "process-crash", Receiver: "client", Error: "ECONNRESET", Lost: 700},
		play: func(s *stage) {
			ends(s, request{Op: "segv"}, true, func(w syscall.WaitStatus) bool { return w.Signal() == unix.SIGSEGV })
		},
	},
	{
		id: "segv-empty-then-data", title: "Segmentation fault with empty queues; the client sends later",
		truth: Truth{Sender: "server-kernel", Cause: "process-crash", Receiver: "client", Error: "EPIPE", Lost: 50},
		play: func(s *stage) {
			ends(s, request{Op: "segv"}, false, func(w syscall.WaitStatus) bool { return w.Signal() == unix.SIGSEGV })
		},
	},
	{
		id: "exit-queued", title: "The server exits by itself with a request queued", demo: true,
		truth: Truth{Sender: "server-app", Cause: "process-exit-open-connections", Receiver: "client", Error: "ECONNRESET", Lost: 700},
		play: func(s *stage) {
			ends(s, request{Op: "exit", N: 3}, true, func(w syscall.WaitStatus) bool { return w.ExitStatus() == 3 })
		},
	},
	{
		id: "exit-empty-then-data", title: "The server exits by itself with empty queues; the client sends later",
		truth: Truth{Sender: "server-kernel", Cause: "process-exit-open-connections", Receiver: "client", Error: "EPIPE", Lost: 50},
		play: func(s *stage) {
			ends(s, request{Op: "exit", N: 3}, false, func(w syscall.WaitStatus) bool { return w.ExitStatus() == 3 })
		},
	},
	{
		id: "cgroup-oom", title: "The OOM killer of a control group ends the server with a request queued",
		truth: Truth{Sender: "server-app", Cause: "oom-kill", Receiver: "client", Error: "ECONNRESET", Lost: 700},
		play:  cgroupOOM,
	},
	{
		id: "child-holds-last-fd", title: "A forked child holds the last descriptor and exits with data unread",
		truth: Truth{Sender: "server-app", Cause: "process-exit-open-connections", Receiver: "client", Error: "ECONNRESET", Lost: 70},
		play:  childHoldsLast,
	},
	{
		id: "sigkill-with-accept-queue", title: "SIGKILL of a server whose accept queue is not empty", v6: true,
		truth: Truth{Sender: "server-app", Cause: "process-killed", Receiver: "client", Error: "ECONNRESET", Lost: 10},
		play:  killedWithQueue,
	},
}

// request700 leaves a request of 700 bytes unread at the server.
func (s *stage) request700() (c, a *sock) {
	_, c, a = s.pair()
	c.send(700)
	a.await("inq", 700)
	return c, a
}

// lateData sends to a connection whose server end has closed in good order,
// and reports what the client's next write sees.
func (s *stage) lateData(c *sock) {
	if g := c.recv(1); g.Errno != "EOF" {
		s.fail("client: %v instead of the end of the stream", g)
	}
	s.awaitState("server", c.remote, c.local, "FIN_WAIT2")
	s.now()
	c.send(50)
	s.awaitReset(c)
	s.hurt("client", c.try(50).Errno)
}

func signalled(s *stage, sig syscall.Signal, queued bool) {
	if queued {
		c, a := s.request700()
		s.now()
		s.killed(a.p, sig)
		s.hurt("client", c.drain().Errno)
		return
	}
	_, c, a := s.pair()
	c.exchange(a, 100)
	s.killed(a.p, sig)
	s.lateData(c)
}

// ends makes the server end itself by an order.
func ends(s *stage, q request, queued bool, expected func(syscall.WaitStatus) bool) {
	var c, a *sock
	if queued {
		c, a = s.request700()
	} else {
		_, c, a = s.pair()
		c.exchange(a, 100)
	}
	s.now()
	s.abandon(a.p, q)
	ws, err := a.p.waitEnd(s.ctx)
	s.check(err)
	if !expected(ws) {
		s.fail("server ended with status %#x", ws)
	}
	if !queued {
		s.lateData(c)
		return
	}
	s.hurt("client", c.drain().Errno)
}

// oomLimit is the memory that the receiver's control group may use.
const oomLimit = 32 << 20

func cgroupOOM(s *stage) {
	dir, err := memoryGroup(fmt.Sprintf("holdfast-lab-%d-%d", os.Getpid(), s.port))
	s.check(err)
	defer removeGroup(dir)
	c, a := s.request700()
	s.call(a.p, request{Op: "cgroup", Text: dir})
	s.now()
	s.abandon(a.p, request{Op: "eat", N: 20 * oomLimit >> 20})
	ws, err := a.p.waitEnd(s.ctx)
	s.check(err)
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		s.fail("server ended with status %#x, not by the OOM killer", ws)
	}
	s.hurt("client", c.drain().Errno)
}

// memoryRoot finds where memory control groups can be made, and the names of
// the limits there: version 1, or version 2 with the memory controller.
func memoryRoot() (root string, limits []string) {
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		return "/sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
	}
	b, _ := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control")
	if slices.Contains(strings.Fields(string(b)), "memory") {
		return "/sys/fs/cgroup", []string{"memory.max"}
	}
	return "", nil
}

// memoryGroup makes a control group with oomLimit. It also removes groups that
// a killed lab has left.
func memoryGroup(name string) (dir string, err error) {
	root, limits := memoryRoot()
	stale, _ := filepath.Glob(filepath.Join(root, "holdfast-lab-*"))
	for _, d := range stale {
		var pid, port int
		fmt.Sscanf(filepath.Base(d), "holdfast-lab-%d-%d", &pid, &port) //nolint:errcheck // then pid is 0
		if unix.Kill(pid, 0) == unix.ESRCH {
			removeGroup(d)
		}
	}
	dir = filepath.Join(root, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make control group: %w", err)
	}
	for _, l := range limits {
		if err := os.WriteFile(filepath.Join(dir, l), []byte(strconv.Itoa(oomLimit)), 0); err != nil {
			os.Remove(dir)
			return "", fmt.Errorf("limit control group: %w", err)
		}
	}
	// Without this, swap would take the excess; the file exists with swap only.
	os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0) //nolint:errcheck // see above
	return dir, nil
}

func removeGroup(dir string) { os.Remove(dir) } //nolint:errcheck // swept by the next run

func oomObstacle() string {
	if root, _ := memoryRoot(); root == "" {
		return "no memory control group can be made here: version 2 without the memory controller"
	} else if unix.Access(root, unix.W_OK) != nil {
		return "control groups are read-only here"
	}
	return ""
}

func childHoldsLast(s *stage) {
	_, c, a := s.pair()
	c.send(70)
	a.await("inq", 70)
	child := a.call(request{Op: "child"}).N
	a.close()
	if g := c.recvFor(1, 0); g.Errno != "EAGAIN" {
		s.fail("client: %v while the child holds the connection", g)
	}
	s.now()
	s.call(a.p, request{Op: "child-end", N: child})
	s.hurt("client", c.drain().Errno)
}

func killedWithQueue(s *stage) {
	l := s.listen(s.server(), 16)
	c := s.connect(opening{})
	s.account(c, nil)
	c.send(10)
	l.await("backlog", 1)
	c.await("acked", 0)
	s.now()
	s.killed(l.p, unix.SIGKILL)
	s.hurt("client", c.drain().Errno)
}
