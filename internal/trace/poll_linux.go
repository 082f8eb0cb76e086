package trace

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

// polled is a socket as the latest poll that met it saw it. A poll is not an
// event: what moves between two polls is not known.
type polled struct {
	linux.Socket
	first time.Time // first poll that met it; the zero time when the first poll of all did
	last  time.Time // latest poll that met it
}

// poller remembers the TCP sockets of the namespaces that can be entered. Its
// polls take a bounded share of the time; its methods may be called from any
// goroutine.
type poller struct {
	host  *linux.Host
	every time.Duration

	mu     sync.Mutex // guards all below
	spaces map[uint64]*polledSpace
	owners map[uint64]int // inode -> process
	walked time.Time      // end of the latest walk over descriptors
	pause  time.Duration
}

type polledSpace struct {
	now, before map[rstKey]*polled
	at          time.Time
	polls       int
}

const (
	maxPolled  = 65536 // sockets remembered in one namespace
	walkShare  = 30    // one part in so many may go into finding owners
	pollShare  = 20    // and into polling sockets
	maxWalkFor = 4096  // inodes looked for in one walk
)

func newPoller(h *linux.Host, every time.Duration) *poller {
	return &poller{host: h, every: every, spaces: map[uint64]*polledSpace{}, owners: map[uint64]int{}}
}

// poll lists the sockets of a namespace. What is no longer there stays in
// before until the next poll.
func (p *poller) poll(ns linux.Netns, states linux.States) (*polledSpace, error) {
	p.mu.Lock()
	old := p.spaces[ns.Cookie]
	p.mu.Unlock()
	sp := &polledSpace{now: map[rstKey]*polled{}, at: time.Now(), polls: 1}
	if old != nil {
		sp.before, sp.polls = old.now, old.polls+1
	}
	for s, err := range p.host.Sockets(ns, states) {
		if err != nil {
			return nil, err
		}
		k := rstKey{s.Local, s.Remote}
		e := &polled{Socket: s, last: sp.at}
		switch was := sp.before[k]; {
		case was != nil && was.Cookie == s.Cookie:
			e.first = was.first
		case sp.polls > 1:
			e.first = sp.at
		}
		if sp.now[k] = e; len(sp.now) >= maxPolled {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spaces) > maxNetnsRemember {
		clear(p.spaces)
	}
	p.spaces[ns.Cookie] = sp
	return sp, nil
}

// find returns what is remembered of a socket, living or of the poll before.
func (p *poller) find(netns uint64, local, remote netip.AddrPort) (polled, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sp := p.spaces[netns]
	if sp == nil {
		return polled{}, false
	}
	for _, m := range []map[rstKey]*polled{sp.now, sp.before} {
		if e := m[rstKey{local, remote}]; e != nil {
			return *e, true
		}
	}
	return polled{}, false
}

// owner returns the process that held the socket at some walk, 0 when unknown.
func (p *poller) owner(inode uint64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owners[inode]
}

// walk finds the owners of sockets that have none yet, if it is time.
func (p *poller) walk() {
	p.mu.Lock()
	if time.Since(p.walked) < p.pause {
		p.mu.Unlock()
		return
	}
	wanted, alive := map[uint64]bool{}, map[uint64]int{}
	for _, sp := range p.spaces {
		for _, s := range sp.now {
			if s.Inode == 0 {
				continue
			}
			if pid, ok := p.owners[s.Inode]; ok {
				alive[s.Inode] = pid
			} else if len(wanted) < maxWalkFor {
				wanted[s.Inode] = true
			}
		}
		for _, s := range sp.before {
			if pid, ok := p.owners[s.Inode]; ok {
				alive[s.Inode] = pid
			}
		}
	}
	p.mu.Unlock()
	begin := time.Now()
	found := p.host.OwnersOfInodes(wanted)
	for inode := range wanted {
		alive[inode] = found[inode] // 0: not ours to see
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners, p.walked = alive, time.Now()
	p.pause = walkShare * p.walked.Sub(begin)
}

// run polls every namespace that list returns until ctx is done.
func (p *poller) run(ctx context.Context, list func() []linux.Netns) {
	for ctx.Err() == nil {
		begin := time.Now()
		for _, ns := range list() {
			if ctx.Err() == nil {
				_, _ = p.poll(ns, linux.Connected) // what cannot be read stays unknown
			}
		}
		p.walk()
		pauseFor(ctx, max(p.every, pollShare*time.Since(begin)))
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// polledSocket fills what does not move between two polls.
func polledSocket(s *fact.Socket, e *polled) {
	s.Known = fact.SomeBy(true, fact.ByHost)
	s.PrevState = fact.SomeBy(e.State.String(), fact.ByHost)
	s.UID, s.Cookie = fact.SomeBy(int64(e.UID), fact.ByHost), fact.SomeBy(int64(e.Cookie), fact.ByHost)
	s.Accepted = fact.SomeBy(e.Inode != 0, fact.ByHost)
	if e.Inode != 0 {
		s.Inode = fact.SomeBy(int64(e.Inode), fact.ByHost)
	}
	if !e.HasInfo {
		return
	}
	i := &e.Info
	s.TSOK, s.SRTT, s.RTO = fact.SomeBy(i.Timestamps, fact.ByHost), fact.SomeBy(i.RTT, fact.ByHost), fact.SomeBy(i.RTO, fact.ByHost)
	s.MSS = fact.SomeBy(int64(i.SndMSS), fact.ByHost)
}

// opener tells which side connected: bytes_acked counts the SYN of the side
// that sent the first one (net/ipv4/tcp_input.c), WQueue is what is written and
// not yet acknowledged.
func (e *polled) opener() (active, ok bool) {
	if e.State == linux.SynSent {
		return true, true
	}
	if e.State != linux.Established && e.State != linux.CloseWait || !e.HasInfo {
		return false, false
	}
	i := &e.Info
	switch int64(i.BytesAcked) + int64(e.WQueue) - int64(i.NotSent) - int64(i.BytesSent-i.BytesRetrans) {
	case 0:
		return false, true
	case 1:
		return true, true
	}
	return false, false
}

// refusals collects why better tiers were not available.
type refusals struct{ failures, blind []string }

func (r *refusals) add(err error) {
	if err == nil {
		return
	}
	r.failures = append(r.failures, err.Error())
	if isNoBTF(err) {
		r.blind = append(r.blind, "what the kernel source sees: this kernel has no type information (CONFIG_DEBUG_INFO_BTF=y, in the stock kernels of most distributions since 2021, adds it)")
	}
	var a *AccessError
	if errors.As(err, &a) && a.Hint != "" {
		hint, _, _ := strings.Cut(a.Hint, "; holdfast watch --source") // that is what was chosen
		r.blind = append(r.blind, "what a better source sees: "+hint)
	}
}

func isNoBTF(err error) bool {
	return errors.Is(err, ebpf.ErrNotSupported) && strings.Contains(err.Error(), "BTF")
}
