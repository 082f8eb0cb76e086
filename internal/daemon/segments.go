package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/capture"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// segments follows the connections of the host segment by segment, from a live
// capture in each network namespace. The packet source sees only the RST and
// the handshake; what the RST answered, whether it was believed, and what died
// in silence is in the segments between.
type segments struct {
	host   *linux.Host
	out    chan sight
	ctx    context.Context // of all captures; in the struct, because namespaces come later
	cancel context.CancelFunc
	work   sync.WaitGroup

	spaces, refused, packets, lost, overrun atomic.Int64

	mu      sync.Mutex
	open    map[uint64]*follower // guarded by mu; by inode
	conns   int                  // guarded by mu; connections that the open ones may follow
	running int                  // guarded by mu; captures that really run
	failed  string               // guarded by mu; why a namespace is not followed; "" when all are
	closed  bool                 // guarded by mu
}

// follower is the capture in one namespace.
type follower struct {
	netns  uint64 // cookie
	conns  int    // how many it may follow
	cancel context.CancelFunc

	live    *capture.Live // the rest is of its goroutine
	dropped uint64        // as of the latest look
	lossy   time.Time     // when that had grown
}

// sight is the end of a connection as one namespace saw it.
type sight struct {
	netns uint64 // cookie
	reset bool
	later bool // a reset before it ended the same connection
	at    time.Time
	src   netip.AddrPort // who sent the reset, or who was silent
	dst   netip.AddrPort
	seen  *fact.Case
}

// Bounds of what is followed.
const (
	maxFollowed  = 32
	followBytes  = 256     // of each frame: all headers, and enough to know the protocol
	followRing   = 2 << 20 // bytes
	followConns  = 40_000  // in each namespace, as long as there are few
	followAll    = 120_000 // in all namespaces together, of about a kilobyte each
	followLeast  = 1_000   // in each
	followAfter  = time.Second
	followLag    = 250 * time.Millisecond
	waitingSight = 4096
	followAgain  = 5 * time.Second // after a capture that could not be opened
)

func newSegments() *segments {
	ctx, cancel := context.WithCancel(context.Background())
	return &segments{host: &linux.Host{}, out: make(chan sight, waitingSight), ctx: ctx, cancel: cancel, open: map[uint64]*follower{}}
}

// enter begins to follow a namespace.
func (s *segments) enter(ns linux.Netns) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.open[ns.Inode] != nil {
		return
	}
	if len(s.open) >= maxFollowed {
		s.refused.Add(1)
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	f := &follower{netns: ns.Cookie, cancel: cancel, conns: max(followLeast, min(followConns, (followAll-s.conns)/2))}
	s.conns += f.conns
	s.open[ns.Inode] = f
	s.work.Go(func() { s.follow(ctx, ns, f) })
}

// leave ends that.
func (s *segments) leave(ns linux.Netns) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.open[ns.Inode]; f != nil {
		f.cancel()
		s.conns -= f.conns
		delete(s.open, ns.Inode)
	}
}

// follow reads the segments of a namespace until ctx is done. A capture that
// cannot be opened is tried again, and is not counted as running meanwhile.
func (s *segments) follow(ctx context.Context, ns linux.Netns, f *follower) {
	for ctx.Err() == nil {
		err := s.host.Do(ns, func() (err error) {
			f.live, err = capture.OpenLive(ctx, "any", &capture.LiveOptions{SnapLen: followBytes, RingBytes: followRing})
			return err
		})
		if err == nil {
			s.run(ctx, ns, f)
			return
		}
		s.note(0, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

// note counts captures that run, and keeps why the latest did not.
func (s *segments) note(running int, failed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += running
	if failed != "" || running > 0 {
		s.failed = failed
	}
}

func (s *segments) run(ctx context.Context, ns linux.Netns, f *follower) {
	defer f.live.Close()
	s.note(1, "")
	defer s.note(-1, "")
	p := capture.Watch(ctx, ns.Name, f.live, capture.WatchOptions{
		Conns: f.conns, After: followAfter, Lag: followLag,
		Each: func(c *capture.Case, _ fact.Where) { s.send(f, c) },
	})
	s.spaces.Add(1)
	s.packets.Add(p.Packets)
	s.lost.Add(int64(f.live.Dropped()))
}

// complete reports whether the ring lost nothing since a time: what is missing in
// a capture with losses may have been there.
func (f *follower) complete(since time.Time) bool {
	if n := f.live.Dropped(); n != f.dropped {
		f.dropped, f.lossy = n, time.Now()
	}
	return f.lossy.Before(since)
}

// send hands over the end of a connection.
func (s *segments) send(f *follower, c *capture.Case) {
	if !f.complete(c.Began()) {
		s.overrun.Add(1)
		return
	}
	seen := c.Fact()
	x := sight{netns: f.netns, reset: c.Reset(), later: c.First != nil, at: seen.Time, seen: seen}
	x.src, x.dst = seen.Flow.Client, seen.Flow.Server
	if seen.Sender.Role.Or("") == "server" {
		x.src, x.dst = x.dst, x.src
	}
	select {
	case s.out <- x:
	default:
		s.overrun.Add(1)
	}
}

// close ends all captures and waits for what they still have to say, which is
// read from out meanwhile.
func (s *segments) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	close(s.out)
}

// account says what was read so far.
func (s *segments) account() *Segments {
	return &Segments{s.spaces.Load(), s.refused.Load(), s.packets.Load(), s.lost.Load(), s.overrun.Load()}
}

// coverage adds what is followed to what the source says of itself.
func (s *segments) coverage(c *trace.Coverage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != "" {
		c.Failures = append(c.Failures, "follow connections: "+s.failed)
	}
	if s.running == 0 {
		return // nothing of what follows is seen
	}
	for i := range c.Blind {
		if c.Blind[i] == trace.BlindTimeouts {
			c.Blind[i] = "timeouts, until 30 seconds of silence have passed"
		}
	}
	if n := s.refused.Load(); n > 0 {
		c.Blind = append(c.Blind, fmt.Sprintf("the segments in %d network namespaces beyond the first %d", n, maxFollowed))
	}
	c.Hooks = append(c.Hooks, fmt.Sprintf("af_packet: the segments of %d network namespaces", s.running))
	c.Sees = append(c.Sees, "what each reset answered, whether it was believed, and connections that died in silence")
}

// heldFor is how long a case waits for what the segments say of it.
const heldFor = followAfter + followLag + time.Second

// Bounds of what a merger remembers.
const (
	maxHeld = 4096
	maxTold = 4096
	nearby  = 100 * time.Millisecond // between the same reset in two captures

	sameSilence = time.Minute // between the same silence in two captures
)

// route is a connection seen from one of its ends.
type route struct{ src, dst netip.AddrPort }

// held is a case that waits.
type held struct {
	trace.Observed
	until time.Time
	best  *sight
	rank  int
}

// merger puts what the segments say into the cases of the source. It is used
// from one goroutine.
type merger struct {
	handle func(trace.Observed)
	host   string
	queue  []*held             // oldest first
	of     map[route][]*held   // those of queue that were not handed out
	told   map[route]time.Time // silences, and when
	hasty  func()              // called for each case that could not wait
}

func newMerger(host string, handle func(trace.Observed), hasty func()) *merger {
	return &merger{handle: handle, host: host, hasty: hasty, of: map[route][]*held{}, told: map[route]time.Time{}}
}

// hold takes a case of the source.
func (m *merger) hold(o trace.Observed, now time.Time) {
	h := &held{Observed: o, until: now.Add(heldFor)}
	m.queue = append(m.queue, h)
	k := emitter(o.Case)
	m.of[k] = append(m.of[k], h)
	for len(m.queue) > maxHeld {
		if m.release(m.queue[0]) {
			m.hasty()
		}
		m.queue = m.queue[1:]
	}
}

// emitter is the connection of a case, seen from the end that Sender describes.
func emitter(c *fact.Case) route {
	k := route{c.Flow.Client, c.Flow.Server}
	if c.Sender.Role.Or("") == "server" {
		k.src, k.dst = k.dst, k.src
	}
	return k
}

// add takes what the segments say.
func (m *merger) add(x sight) {
	if !x.reset {
		m.silence(&x)
		return
	}
	for _, h := range m.of[route{x.src, x.dst}] {
		if d := x.at.Sub(h.Time); d < -nearby || d > nearby {
			continue
		}
		r := h.standing(x.netns)
		if h.best == nil || r > h.rank {
			h.best, h.rank = &x, r
		}
		if r == bestStanding {
			m.release(h)
		}
		return
	}
}

// standing says how near a namespace is to the sender of the reset: what was seen
// there passed the fewest devices.
func (h *held) standing(netns uint64) int {
	switch {
	case netns == h.SenderNetns && netns != 0:
		return bestStanding
	case netns == h.WireNetns && h.SenderNetns == 0:
		return bestStanding
	case netns == h.ReceiverNetns:
		return 1
	}
	return 0
}

const bestStanding = 2

// silence hands out the end of a connection that no reset ended, once for all
// namespaces.
func (m *merger) silence(x *sight) {
	k := route{x.src, x.dst}
	if at, done := m.told[k]; x.later || done && x.at.Sub(at).Abs() < sameSilence {
		return
	}
	if len(m.told) >= maxTold {
		clear(m.told)
	}
	m.told[k] = x.at
	x.seen.Source, x.seen.Host = "packet", m.host
	m.handle(trace.Observed{Case: x.seen})
}

// expire hands out what has waited long enough.
func (m *merger) expire(now time.Time) {
	for len(m.queue) > 0 && !m.queue[0].until.After(now) {
		m.release(m.queue[0])
		m.queue = m.queue[1:]
	}
}

// release hands out a case, unless it was already.
func (m *merger) release(h *held) bool {
	k := emitter(h.Case)
	list := m.of[k]
	for i := range list {
		if list[i] != h {
			continue
		}
		if len(list) == 1 {
			delete(m.of, k)
		} else {
			m.of[k] = append(list[:i:i], list[i+1:]...)
		}
		if h.best != nil {
			join(h.Case, h.best.seen)
		}
		m.handle(h.Observed)
		return true
	}
	return false
}

// join adds to c what the segments tell and nobody had looked at.
func join(c, seen *fact.Case) {
	if c.Flow.Client != seen.Flow.Client { // they disagree on who opened it
		if c.Flow.RolesKnown.Or(false) || !seen.Flow.RolesKnown.Or(false) {
			return
		}
		netns := c.Flow.Netns
		c.Flow = seen.Flow
		c.Flow.Netns, c.Sender.Role, c.Receiver.Role = netns, seen.Sender.Role, seen.Receiver.Role
	}
	fact.Merge(c, seen, fact.ByDefault)
}
