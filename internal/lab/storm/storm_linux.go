package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// spaces is the number of namespaces, in which addresses are the same.
const spaces = 2

// storm is a running storm.
type storm struct {
	Options
	spaces []*space
	dir    string

	mu   sync.Mutex
	idle []map[int]*proc // guarded by mu; by namespace, actors that wait for work
	list []*Termination  // guarded by mu
}

// Run lets it storm, and returns the ledger in the order of the endings.
func Run(ctx context.Context, o Options) ([]*Termination, error) {
	o.Terminations, o.Parallel = max(o.Terminations, 1), max(o.Parallel, 1)
	dir, err := os.MkdirTemp("", "holdfast-storm")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &storm{Options: o, dir: dir}
	for range spaces {
		sp, err := newSpace()
		if err != nil {
			return nil, err
		}
		s.spaces = append(s.spaces, sp)
		s.idle = append(s.idle, map[int]*proc{})
	}
	defer s.stop()
	stop, err := busy(o.Load)
	if err != nil {
		return nil, err
	}
	defer stop()
	jobs := make(chan job)
	var work sync.WaitGroup
	for range o.Parallel {
		work.Go(func() {
			for j := range jobs {
				s.play(j)
			}
		})
	}
	for _, j := range choose(o) {
		if ctx.Err() != nil {
			break
		}
		jobs <- j
	}
	close(jobs)
	work.Wait()
	time.Sleep(200 * time.Millisecond) // the witnesses read on
	for _, sp := range s.spaces {
		if n := sp.missed(); n > 0 {
			return nil, fmt.Errorf("the witness missed %d packets: nothing can be compared with it", n)
		}
	}
	for _, e := range s.list {
		for _, sp := range s.spaces {
			if sp.cookie == e.Netns {
				e.Resets = sp.of(e.Client, e.Server)
			}
		}
	}
	slices.SortFunc(s.list, func(a, b *Termination) int { return a.N - b.N })
	return s.list, ctx.Err()
}

// job is what is to be played.
type job struct {
	n     int
	class *class
	seed  uint64
}

// choose draws the endings: every class as often as the others, in an order of
// chance.
func choose(o Options) (list []job) {
	r := rand.New(rand.NewPCG(o.Seed, 0x5707))
	var from []*class
	for i := range classes {
		if len(o.Only) == 0 || slices.Contains(o.Only, classes[i].name) {
			from = append(from, &classes[i])
		}
	}
	for n := 0; n < o.Terminations && len(from) > 0; n++ {
		list = append(list, job{n, from[r.IntN(len(from))], r.Uint64()})
	}
	return list
}

// busy starts loops that use the CPUs.
func busy(n int) (stop func(), err error) {
	var list []*exec.Cmd
	stop = func() {
		for _, c := range list {
			_ = c.Process.Kill()
			_ = c.Wait() // it was killed
		}
	}
	for range n {
		c := exec.Command("/proc/self/exe")
		c.Env = []string{actorEnv + "=busy"}
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			stop()
			return nil, err
		}
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, c.Process.Pid, 0)
		list = append(list, c)
	}
	return stop, nil
}

func (s *storm) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range s.idle {
		for _, p := range m {
			p.end()
		}
		close(s.spaces[i].do)
	}
}

// hire takes an idle actor of the namespace, or starts one.
func (s *storm) hire(space int) (*proc, error) {
	s.mu.Lock()
	for pid, p := range s.idle[space] {
		delete(s.idle[space], pid)
		s.mu.Unlock()
		return p, nil
	}
	s.mu.Unlock()
	return s.spaces[space].start()
}

// release lets an actor wait for more, with all its sockets closed.
func (s *storm) release(space int, p *proc) {
	for fd := range p.open {
		if _, err := p.order(order{Op: "close", FD: fd}); err != nil {
			p.end()
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle[space][p.pid] = p
}

// play plays one job and adds what happened to the ledger.
func (s *storm) play(j job) {
	r := rand.New(rand.NewPCG(j.seed, 1))
	where := []int{r.IntN(spaces)}
	if j.class.twins {
		where = []int{0, 1}
	}
	var both sync.WaitGroup
	for _, space := range where {
		both.Go(func() {
			p := &play{s: s, job: j, space: space, rand: rand.New(rand.NewPCG(j.seed, uint64(2+space*boolInt(j.class.twins)))), start: time.Now()}
			p.e = &Termination{N: j.n, Class: j.class.name, Netns: s.spaces[space].cookie}
			p.run()
			s.mu.Lock()
			s.list = append(s.list, append(p.more, p.e)...)
			s.mu.Unlock()
		})
	}
	both.Wait()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// play is one ending while it happens.
type play struct {
	s     *storm
	job   job
	space int
	rand  *rand.Rand
	start time.Time
	e     *Termination
	more  []*Termination // further connections of the class
	procs []*proc

	listener  end
	doer      end // whoever ends the connection
	peer      end
	doesServe bool // the doer accepted
}

// end is one end of the connection.
type end struct {
	*proc
	fd int
	at netip.AddrPort
}

var errPlay = errors.New("the play failed")

// run plays, and turns what fails into the ending's error.
func (p *play) run() {
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, errPlay) {
				panic(v)
			}
			p.e.Err = fmt.Sprint(v)
		}
		for _, a := range p.procs {
			if p.e.Err != "" || p.job.class.last {
				a.end()
			}
			if !a.dead {
				p.s.release(p.space, a)
			}
		}
	}()
	p.job.class.play(p)
}

// actor hires one more process.
func (p *play) actor() *proc {
	a, err := p.s.hire(p.space)
	if err != nil {
		panic(fmt.Errorf("%w: %w", errPlay, err))
	}
	p.procs = append(p.procs, a)
	return a
}

// must gives an order that has to succeed.
func (p *play) must(a *proc, o order) answer {
	x := p.try(a, o)
	if x.Err != "" {
		panic(fmt.Errorf("%w: %s: %s", errPlay, o.Op, x.Err))
	}
	return x
}

// try gives an order that may fail.
func (p *play) try(a *proc, o order) answer {
	x, err := a.order(o)
	if p.s.Logf != nil {
		p.s.Logf("%d %s: %d: %+v: %+v %v", p.e.N, p.e.Class, a.pid, o, x, err)
	}
	if err != nil {
		a.end()
		panic(fmt.Errorf("%w: %s: the actor is gone: %w", errPlay, o.Op, err))
	}
	return x
}

// gone waits until the kernel has ended the actor.
func (p *play) gone(a *proc) {
	_, _ = a.cmd.Process.Wait()
	a.dead = true
	_ = a.in.Close()
}

// addr is an address that no other ending has.
func (p *play) addr(port int) netip.AddrPort {
	n := p.e.N
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(1 + n>>16), byte(n >> 8), byte(n)}), uint16(port))
}

// did notes an act of the ledger.
func (p *play) did(from netip.AddrPort, sender string, pid int, causes ...string) {
	p.e.Acts = append(p.e.Acts, Act{from, sender, pid, causes})
}

// listen opens a listener with a new actor.
func (p *play) listen(proto int, flags ...string) {
	p.listener.proc = p.actor()
	x := p.must(p.listener.proc, order{Op: "listen", Addr: p.addr(20000 + p.rand.IntN(8000)), Proto: proto, Flags: flags})
	p.listener.fd, p.listener.at = x.FD, x.Addr
	p.e.Server = x.Addr
}

// dial connects a new actor to the listener.
func (p *play) dial(proto int, flags ...string) end {
	a := p.actor()
	from := p.addr(30000 + p.rand.IntN(20000))
	x := p.must(a, order{Op: "connect", Addr: p.listener.at, To: from, Proto: proto, Flags: flags})
	p.e.Client = x.Addr
	return end{a, x.FD, x.Addr}
}

// pair makes a connection; by chance the doer is the one that accepted.
func (p *play) pair(proto int, flags ...string) {
	p.listen(proto, flags...)
	client := p.dial(proto, flags...)
	x := p.must(p.listener.proc, order{Op: "accept", FD: p.listener.fd})
	server := end{p.listener.proc, x.FD, p.listener.at}
	if slices.Contains(flags, "fastopen") {
		p.must(server.proc, order{Op: "recv", FD: server.fd, N: 8})
	}
	p.doer, p.peer = client, server
	if p.rand.IntN(2) == 0 {
		p.doer, p.peer, p.doesServe = server, client, true
	}
}

// say lets one end send n bytes, and waits until they are at the other.
func (p *play) say(from, to end, n int) {
	p.must(from.proc, order{Op: "send", FD: from.fd, N: n})
	p.must(to.proc, order{Op: "wait-bytes", FD: to.fd, N: n})
}

// talk is a finished exchange: nothing is left unread.
func (p *play) talk() {
	for range 1 + p.rand.IntN(3) {
		p.say(p.doer, p.peer, 10)
		p.must(p.peer.proc, order{Op: "recv", FD: p.peer.fd, N: 10})
		p.say(p.peer, p.doer, 20)
		p.must(p.doer.proc, order{Op: "recv", FD: p.doer.fd, N: 20})
	}
}

// felt waits until an end has an error.
func (p *play) felt(e end) { p.try(e.proc, order{Op: "wait-error", FD: e.fd}) }

// do gives an order to the doer, in one of its threads or in another.
func (p *play) do(o order) {
	if o.FD == 0 {
		o.FD = p.doer.fd
	}
	o.Thread = p.rand.IntN(3) == 0
	p.must(p.doer.proc, o)
}
