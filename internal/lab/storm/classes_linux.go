package storm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// class is one kind of ending.
type class struct {
	name  string
	play  func(*play)
	twins bool // at the same time in both namespaces, with equal addresses
	last  bool // its actors end with it
}

// What an ending may rightly be called; the first is the exact one.
var (
	unread  = []string{"close-with-unread-data", "client-abort", "early-response-body-too-large", "reset-instead-of-fin"}
	linger  = []string{"so-linger-zero", "client-abort", "lb-health-check-noise"}
	exited  = []string{"process-exit-open-connections"}
	killed  = []string{"process-killed", "rolling-deploy-no-drain"}
	crashed = []string{"process-crash"}
	late    = []string{"data-after-close", "keepalive-race-generic", "late-segments-after-close", "client-abort"}
	refused = []string{"connection-refused-closed-port"}
	queued  = []string{"listener-closed-with-queue"}
)

var classes = []class{
	{name: "unread", play: func(p *play) { closing(p, 0, order{Op: "close"}) }},
	{name: "unread-close-range", play: func(p *play) { closing(p, 0, order{Op: "close-range"}) }},
	{name: "unread-dup2", play: func(p *play) { closing(p, 0, order{Op: "dup2"}) }},
	{name: "unread-after-shutdown", play: func(p *play) {
		p.pair(0)
		p.talk()
		p.say(p.peer, p.doer, 100)
		p.must(p.doer.proc, order{Op: "shutdown", FD: p.doer.fd, N: unix.SHUT_WR})
		finish(p, order{Op: "close"}, unread...)
	}},
	{name: "unread-fastopen", play: func(p *play) {
		p.pair(0, "fastopen")
		p.say(p.peer, p.doer, 50)
		finish(p, order{Op: "close"}, unread...)
	}},
	{name: "unread-mptcp", play: func(p *play) { closing(p, unix.IPPROTO_MPTCP, order{Op: "close"}) }},
	{name: "unread-twins", twins: true, play: func(p *play) { closing(p, 0, order{Op: "close"}) }},
	{name: "linger", play: func(p *play) { lingering(p, 0) }},
	{name: "linger-mptcp", play: func(p *play) { lingering(p, unix.IPPROTO_MPTCP) }},
	{name: "linger-twins", twins: true, play: func(p *play) { lingering(p, 0) }},
	{name: "linger-fastopen", play: func(p *play) {
		p.pair(0, "fastopen")
		p.must(p.doer.proc, order{Op: "linger", FD: p.doer.fd})
		finish(p, order{Op: "close"}, linger...)
	}},
	{name: "linger-same-port-3", play: samePort},
	{name: "unspec", play: func(p *play) {
		p.pair(0)
		p.talk()
		finish(p, order{Op: "unspec"}, "disconnect-af-unspec")
	}},
	{name: "destroy", play: destroyed},
	{name: "exit", last: true, play: func(p *play) { ending(p, func() { _ = p.doer.say(order{Op: "exit", N: p.rand.IntN(4)}) }, exited...) }},
	{name: "kill", last: true, play: func(p *play) { signalled(p, unix.SIGKILL, killed) }},
	{name: "term", last: true, play: func(p *play) { signalled(p, unix.SIGTERM, killed) }},
	{name: "segv", last: true, play: func(p *play) { signalled(p, unix.SIGSEGV, append(crashed, killed...)) }},
	{name: "kill-twins", last: true, twins: true, play: func(p *play) { signalled(p, unix.SIGKILL, killed) }},
	{name: "cgroup-kill", last: true, play: cgroupKill},
	{name: "exec", last: true, play: func(p *play) { ending(p, func() { _ = p.doer.say(order{Op: "exec"}) }, append(unread, exited...)...) }},
	{name: "passed-descriptor", play: passed},
	{name: "inherited", play: inherited},
	{name: "uring-kill", last: true, play: func(p *play) {
		ringed(p)
		signal(p, unix.SIGKILL)
		outlived(p, append(killed, unread...))
	}},
	{name: "uring-exit", last: true, play: func(p *play) {
		ringed(p)
		_ = p.doer.say(order{Op: "exit", N: 3})
		outlived(p, append(exited, unread...))
	}},
	{name: "uring-close", play: func(p *play) {
		ring := ringed(p)
		p.must(p.doer.proc, order{Op: "close", FD: ring})
		outlived(p, unread)
	}},
	{name: "late-close", play: func(p *play) { lateData(p, order{Op: "close"}) }},
	{name: "late-shutdown", play: func(p *play) { lateData(p, order{Op: "shutdown", N: unix.SHUT_RDWR}) }},
	{name: "late-killed", last: true, play: func(p *play) {
		p.pair(0)
		p.talk()
		signal(p, unix.SIGKILL)
		p.gone(p.doer.proc)
		answered(p, append(killed, late...))
	}},
	{name: "repair", play: func(p *play) {
		p.pair(0)
		p.talk()
		p.must(p.doer.proc, order{Op: "repair-close", FD: p.doer.fd})
		answered(p, late)
	}},
	{name: "refused", play: func(p *play) { refuse(p, 1) }},
	{name: "refused-5", play: func(p *play) { refuse(p, 5) }},
	{name: "queue-closed", play: func(p *play) {
		p.listen(0)
		p.peer = p.dial(0)
		p.did(p.listener.at, "app", p.listener.pid, queued...)
		p.must(p.listener.proc, order{Op: "close", FD: p.listener.fd})
		p.felt(p.peer)
	}},
	{name: "queue-killed", last: true, play: func(p *play) {
		p.listen(0)
		p.peer = p.dial(0)
		p.doer = p.listener
		p.did(p.listener.at, "app", p.listener.pid, append(queued, killed...)...)
		signal(p, unix.SIGKILL)
		p.felt(p.peer)
	}},
	{name: "reuseport", last: true, play: reusePort},
	{name: "abort-before-accept", play: func(p *play) {
		p.listen(0)
		p.doer = p.dial(0)
		p.must(p.doer.proc, order{Op: "linger", FD: p.doer.fd})
		p.did(p.doer.at, "app", p.doer.pid, linger...)
		p.do(order{Op: "close"})
	}},
	{name: "forged", play: func(p *play) { forgedReset(p, false) }},
	{name: "forged-and-abort", play: func(p *play) { forgedReset(p, true) }},
	{name: "orderly", play: func(p *play) { // nothing is to be found
		p.pair(0)
		p.talk()
		p.do(order{Op: "close"})
		p.must(p.peer.proc, order{Op: "wait-fin", FD: p.peer.fd})
		p.must(p.peer.proc, order{Op: "close", FD: p.peer.fd})
	}},
}

// finish lets the doer end the connection with an order, for which its process
// answers.
func finish(p *play, o order, causes ...string) {
	p.did(p.doer.at, "app", p.doer.pid, causes...)
	p.do(o)
	p.felt(p.peer)
}

func closing(p *play, proto int, o order) {
	p.pair(proto)
	if p.rand.IntN(2) == 0 {
		p.talk()
	}
	p.say(p.peer, p.doer, 1+p.rand.IntN(5000))
	finish(p, o, unread...)
}

func lingering(p *play, proto int) {
	p.pair(proto)
	p.talk()
	causes := linger
	if p.rand.IntN(4) == 0 {
		p.say(p.peer, p.doer, 100)
		causes = append(unread[:len(unread):len(unread)], linger...) // the kernel looks for unread data first
	}
	p.must(p.doer.proc, order{Op: "linger", FD: p.doer.fd})
	finish(p, order{Op: "close"}, causes...)
}

// samePort ends three connections with the same four numbers one after the other.
func samePort(p *play) {
	p.listen(0)
	a := p.actor()
	from := p.addr(30000 + p.rand.IntN(20000))
	p.e.Client = from
	for range 3 {
		x := p.must(a, order{Op: "connect", Addr: p.listener.at, To: from})
		y := p.must(p.listener.proc, order{Op: "accept", FD: p.listener.fd})
		p.doer, p.peer = end{a, x.FD, from}, end{p.listener.proc, y.FD, p.listener.at}
		p.must(a, order{Op: "linger", FD: x.FD})
		finish(p, order{Op: "close"}, linger...)
		delete(a.open, x.FD)
		p.must(p.listener.proc, order{Op: "close", FD: y.FD})
	}
}

func destroyed(p *play) {
	p.pair(0)
	p.talk()
	p.did(p.doer.at, "kernel", 0, "sock-destroy-admin")
	p.must(p.actor(), order{Op: "destroy", Addr: p.doer.at, To: p.peer.at})
	p.felt(p.peer)
}

// ending lets the doer's process end with data unread.
func ending(p *play, f func(), causes ...string) {
	p.pair(0)
	p.say(p.peer, p.doer, 1+p.rand.IntN(2000))
	p.did(p.doer.at, "app", p.doer.pid, causes...)
	f()
	p.felt(p.peer)
}

func signal(p *play, sig unix.Signal) {
	if err := unix.Kill(p.doer.pid, sig); err != nil {
		panic(fmt.Errorf("%w: kill: %w", errPlay, err))
	}
}

func signalled(p *play, sig unix.Signal, causes []string) {
	ending(p, func() { signal(p, sig) }, causes...)
}

// cgroupKill kills a group of processes through its cgroup.
func cgroupKill(p *play) {
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
		root = filepath.Join(root, "unified")
	}
	dir, err := os.MkdirTemp(root, "holdfast-storm")
	if err != nil {
		panic(fmt.Errorf("%w: %w", errPlay, err))
	}
	defer func() { // the group is empty only when its process was waited for
		p.doer.end()
		_ = os.Remove(dir)
	}()
	ending(p, func() {
		p.must(p.doer.proc, order{Op: "cgroup", Path: dir})
		if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644); err != nil {
			panic(fmt.Errorf("%w: %w", errPlay, err))
		}
	}, killed...)
}

// passed gives the descriptor to another process, which closes it.
func passed(p *play) {
	p.pair(0)
	p.say(p.peer, p.doer, 300)
	other := p.actor()
	path := filepath.Join(p.s.dir, fmt.Sprintf("%d-%d", p.e.N, p.space))
	way := p.must(other, order{Op: "take", Path: path})
	p.must(p.doer.proc, order{Op: "give", Path: path, FD: p.doer.fd})
	delete(p.doer.open, p.doer.fd)
	x := p.must(other, order{Op: "take", FD: way.FD})
	delete(other.open, way.FD)
	p.doer.proc, p.doer.fd = other, x.FD
	finish(p, order{Op: "close"}, unread...)
	delete(other.open, x.FD)
}

// inherited leaves the last descriptor with a child, which exits.
func inherited(p *play) {
	p.pair(0)
	p.say(p.peer, p.doer, 300)
	x := p.must(p.doer.proc, order{Op: "spawn", FD: p.doer.fd, N: p.rand.IntN(3)})
	delete(p.doer.open, p.doer.fd)
	p.did(p.doer.at, "app", x.N, append(exited, unread...)...)
	p.must(p.doer.proc, order{Op: "give", N: x.N})
	p.felt(p.peer)
}

// ringed leaves the socket to a ring alone, with data unread.
func ringed(p *play) (ring int) {
	p.pair(0)
	p.say(p.peer, p.doer, 500)
	x := p.must(p.doer.proc, order{Op: "uring", FD: p.doer.fd})
	delete(p.doer.open, p.doer.fd)
	return x.FD
}

// outlived waits until the kernel has closed for the process.
func outlived(p *play, causes []string) {
	p.did(p.doer.at, "app", p.doer.pid, causes...)
	p.felt(p.peer)
}

func lateData(p *play, o order) {
	p.pair(0)
	p.talk()
	p.do(o)
	answered(p, late)
}

// answered lets the peer send what the doer's kernel can only answer.
func answered(p *play, causes []string) {
	time.Sleep(time.Duration(p.rand.IntN(30)) * time.Millisecond)
	p.did(p.doer.at, "kernel", p.doer.pid, causes...)
	p.must(p.peer.proc, order{Op: "send", FD: p.peer.fd, N: 7})
	p.felt(p.peer)
}

// refuse lets one program meet n ports at which nobody listens.
func refuse(p *play, n int) {
	a := p.actor()
	for i := range n {
		if i > 0 {
			p.more = append(p.more, p.e)
			p.e = &Termination{N: p.e.N, Class: p.e.Class, Netns: p.e.Netns}
		}
		p.e.Client, p.e.Server = p.addr(30000+i), p.addr(20000+i)
		p.did(p.e.Server, "kernel", 0, refused...)
		if x := p.try(a, order{Op: "connect", Addr: p.e.Server, To: p.e.Client}); x.Errno != int(unix.ECONNREFUSED) {
			panic(fmt.Errorf("%w: not refused: %s", errPlay, x.Err))
		}
	}
}

// reusePort kills one of two processes that serve one port, with a connection
// in its queue. Which of them has it is known by who survives.
func reusePort(p *play) {
	p.listen(0, "reuseport")
	other := p.actor()
	p.must(other, order{Op: "listen", Addr: p.listener.at, Flags: []string{"reuseport"}})
	p.peer = p.dial(0)
	p.did(p.listener.at, "app", 0, append(queued, killed...)...)
	for _, a := range []*proc{p.listener.proc, other} {
		_ = unix.Kill(a.pid, unix.SIGKILL)
		p.gone(a)
		for range 100 { // until the witness has read it, if there is one
			if len(p.s.spaces[p.space].of(p.e.Client, p.e.Server)) > 0 {
				p.e.Acts[0].PID = a.pid
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// forgedReset lets a third process write a RST in the doer's name; after that the
// doer may abort what it still believes to have.
func forgedReset(p *play, abort bool) {
	p.pair(0)
	p.talk()
	forger := p.actor()
	n := p.must(p.peer.proc, order{Op: "numbers", FD: p.peer.fd})
	p.did(p.doer.at, "injector", forger.pid, "forged-rst-attack", "ips-active-response")
	p.must(forger, order{Op: "forge", Addr: p.doer.at, To: p.peer.at, Seq: n.Ack})
	p.felt(p.peer)
	if !abort {
		return
	}
	time.Sleep(time.Duration(1+p.rand.IntN(60)) * time.Millisecond)
	p.must(p.doer.proc, order{Op: "linger", FD: p.doer.fd})
	p.did(p.doer.at, "app", p.doer.pid, linger...)
	p.do(order{Op: "close"})
}
