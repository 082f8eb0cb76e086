package trace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// PacketSource is the source for hosts where the kernel's own hooks are out of
// reach: it sees RST segments, and the handshakes and FINs that explain them,
// through AF_PACKET in every network namespace that it can enter. With nothing
// but CAP_NET_RAW that is its own. It never knows what a kernel thought: the
// facts it gives are those of the wire, and those of sockets it could list.
//
// Open it with OpenPacket, Run it once; the other methods may be called from
// any goroutine meanwhile, unless they say otherwise.
type PacketSource struct {
	cfg       Config
	host      *hostView
	build     *builder // for its questions to the host; it has no kernel hooks
	join      *joiner
	baselines *baselines
	sockets   *poller
	emit      func(Observed)
	readyIn   time.Duration
	partial   bool    // the namespaces of other users' processes cannot even be found
	tokens    float64 // of the limit on recorded segments
	refilled  uint64
	batch     []sighting
	later     []sighting        // came after the drain began: their order is not certain yet
	fresh     *linux.Namespaces // a second look at all addresses, see local
	freshAt   time.Time
	freshTook time.Duration

	mu       sync.Mutex // guards all below
	rings    map[uint64]*packetRing
	closed   uint64              // losses of rings that are closed
	barred   map[uint64]struct{} // inodes of namespaces that could not be entered
	changed  time.Time           // when a namespace was found that is new
	refused  refusals
	reported uint64
	folded   uint64
	evicted  uint64
	floods   map[floodKey]*Flood
	lost     losses
}

type floodKey struct {
	netns uint64
	port  uint16
}

const (
	maxRings     = 256   // namespaces watched
	maxBaselines = 16384 // in each of two generations
	maxFloods    = 1024
)

// OpenPacket opens the packet source. The error is an *AccessError when
// CAP_NET_RAW is missing.
func OpenPacket(cfg Config) (*PacketSource, error) {
	start := time.Now()
	if cfg.Hold == 0 {
		cfg.Hold = 30 * time.Millisecond
	}
	if cfg.Burst == 0 {
		cfg.Burst = 2000
	}
	h := &linux.Host{}
	name, _ := h.Hostname()
	s := &PacketSource{cfg: cfg, host: newHostView(h), baselines: newBaselines(maxBaselines), sockets: newPoller(h, believeSpaces),
		tokens: float64(cfg.Burst), rings: map[uint64]*packetRing{}, barred: map[uint64]struct{}{}, floods: map[floodKey]*Flood{}}
	s.join = newJoiner(cfg.Hold, nil, func(o *observation) { s.emit(s.packetCase(o)) })
	s.build = &builder{kernel: &kernel{}, host: s.host, join: s.join, name: name, lossy: s.lossy}
	own := linux.Netns{}
	first, err := h.Process(1)
	s.partial = err != nil || first.NetnsInode == 0
	s.host.refresh()
	for _, ns := range s.host.spaces.All() {
		if isOwn(ns) {
			own = ns
		}
	}
	r, err := openRing(h, own, ownFrames)
	if err != nil {
		return nil, packetError(err)
	}
	if own.Cookie == 0 {
		own.Cookie, _ = unix.GetsockoptUint64(r.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		r.ns = own
	}
	s.lockedAdd(r) // nobody else has the source yet
	s.discover()
	s.readyIn = time.Since(start)
	return s, nil
}

// isOwn says whether a namespace is that of this process.
func isOwn(ns linux.Netns) bool {
	var st unix.Stat_t
	return unix.Stat("/proc/thread-self/ns/net", &st) == nil && st.Ino == ns.Inode
}

func packetError(err error) error {
	hint := "holdfast watch --source counters needs no privilege"
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		hint = "run it as root, or give it the right to see packets: setcap cap_net_raw+ep $(command -v holdfast); " + hint
	}
	return &AccessError{Op: "watch packets", Err: err, Hint: hint}
}

// discover opens a ring in each namespace that has none, and closes those of
// namespaces that are gone. It returns how long it took to look for them.
func (s *PacketSource) discover() (took time.Duration) {
	begin := time.Now()
	err := s.host.spaces.Refresh()
	if took = time.Since(begin); err != nil {
		return took
	}
	alive := map[uint64]bool{}
	var wg sync.WaitGroup
	for _, ns := range s.host.spaces.All() {
		alive[ns.Inode] = true
		s.mu.Lock()
		r, open := s.rings[ns.Inode]
		room := len(s.rings) < maxRings
		s.mu.Unlock()
		if open && (r.ns.Cookie == ns.Cookie || ns.Cookie == 0) || !room {
			continue
		}
		wg.Go(func() { s.watch(ns, begin) }) // at once: each waits for the kernel's readers, some ten milliseconds
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for inode, r := range s.rings {
		if !alive[inode] && inode != 0 && !isOwn(r.ns) {
			s.lockedDrop(r)
		}
	}
	for inode := range s.barred {
		if !alive[inode] {
			delete(s.barred, inode)
		}
	}
	return took
}

// watch opens a ring in a namespace that has none yet.
func (s *PacketSource) watch(ns linux.Netns, at time.Time) {
	fresh, err := openRing(s.host.host, ns, otherFrames)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, open := s.rings[ns.Inode]; open { // the inode belongs to another namespace now
		s.lockedDrop(old)
	}
	if _, known := s.barred[ns.Inode]; !known {
		s.changed = at
	}
	if err == nil {
		s.lockedAdd(fresh)
		delete(s.barred, ns.Inode)
	} else if !errors.Is(err, linux.ErrGone) {
		s.barred[ns.Inode] = struct{}{}
	}
}

func (s *PacketSource) lockedAdd(r *packetRing) {
	s.rings[r.ns.Inode] = r
	if s.cfg.Entered != nil {
		s.cfg.Entered(r.ns)
	}
}

func (s *PacketSource) lockedDrop(r *packetRing) {
	if s.cfg.Left != nil {
		s.cfg.Left(r.ns)
	}
	s.closed += r.dropped
	r.close()
	delete(s.rings, r.ns.Inode)
}

// Refuse records why a better source was not available; Coverage tells.
func (s *PacketSource) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused.add(err)
}

// Run reads segments until ctx is done, and calls emit for each case, from
// this goroutine. What is pending when ctx ends is still emitted.
func (s *PacketSource) Run(ctx context.Context, emit func(Observed)) error {
	s.emit = emit
	polling, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.sockets.run(polling, s.list) })
	wg.Go(func() {
		for polling.Err() == nil {
			pauseFor(polling, max(20*time.Millisecond, pollShare*s.discover()))
		}
	})
	defer wg.Wait()
	defer stop()
	every := 10 * time.Millisecond
	if s.cfg.Fast {
		every = time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	second := time.Now()
	for {
		done := false
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
		now := monotonic()
		cut := now
		if done {
			cut = ^uint64(0)
		}
		if err := s.drain(cut); err != nil {
			return err
		}
		if done {
			s.join.expire(^uint64(0))
			return nil
		}
		s.join.expire(now)
		if s.cfg.Tick != nil && time.Since(second) >= tickEvery {
			second = time.Now()
			s.cfg.Tick()
		}
	}
}

func (s *PacketSource) list() (out []linux.Netns) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rings {
		out = append(out, r.ns)
	}
	return out
}

// drain takes what the rings hold, in the order of time over all namespaces:
// baselines first, so that a RST finds its handshake.
func (s *PacketSource) drain(cut uint64) error {
	s.batch = append(s.batch[:0], s.later...)
	s.later = s.later[:0]
	lost, err := s.fill(cut)
	if err != nil {
		return err
	}
	slices.SortStableFunc(s.batch, func(a, b sighting) int { return int(int64(a.TimeNs) - int64(b.TimeNs)) })
	var reported, folded uint64
	for i := range s.batch {
		switch g := &s.batch[i]; {
		case g.Packet.Flags&flagRST == 0:
			s.baselines.add(g)
		case s.allow(g.TimeNs):
			reported++
			e := g.resetEvent // the batch is used again
			s.join.add(&e)
		default:
			folded++
			s.fold(g)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported += reported
	s.folded += folded
	s.lost.look(lost+s.folded, monotonic())
	s.evicted = s.join.evicted
	if cap(s.batch) > 4*ownFrames {
		s.batch = nil
	}
	return nil
}

// fill moves what the rings hold into the batch, and returns what they lost so
// far.
func (s *PacketSource) fill(cut uint64) (lost uint64, err error) {
	wall := time.Now().UnixNano()
	now := int64(monotonic())
	s.mu.Lock()
	defer s.mu.Unlock()
	lost = s.closed
	for _, r := range s.rings {
		err := r.drain(now-wall, func(g *sighting) {
			if int64(g.TimeNs)-now > int64(time.Second) || now-int64(g.TimeNs) > int64(time.Hour) { // a stamp of another clock
				g.TimeNs = uint64(now)
			}
			if g.TimeNs > cut {
				s.later = append(s.later, *g)
			} else {
				s.batch = append(s.batch, *g)
			}
		})
		if err != nil {
			return lost, fmt.Errorf("watch packets: %w", err)
		}
		lost += r.dropped
	}
	return lost, nil
}

// allow is the limit on recorded segments in a second.
func (s *PacketSource) allow(at uint64) bool {
	if at > s.refilled {
		s.tokens = min(float64(s.cfg.Burst), s.tokens+float64(at-s.refilled)*float64(s.cfg.Burst)/1e9)
		s.refilled = at
	}
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// fold counts a RST by the port that serves.
func (s *PacketSource) fold(g *sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addFlood(s.floods, floodKey{g.Netns, min(g.Packet.Sport, g.Packet.Dport)}, floodKey{netns: g.Netns},
		Flood{Netns: g.Netns, Hook: "wire", Port: min(g.Packet.Sport, g.Packet.Dport), Count: 1}, s.host.host.MonotonicToTime(g.TimeNs))
}

// addFlood counts f under its key, or, when there are too many classes, under
// the one that holds the rest.
func addFlood[K comparable](m map[K]*Flood, key, rest K, f Flood, at time.Time) {
	old := m[key]
	if old == nil && len(m) >= maxFloods {
		key, f.Port = rest, 0
		old = m[key]
	}
	if old == nil {
		f.First, f.Last = at, at
		m[key] = &f
		return
	}
	old.Count += f.Count
	old.Last = at
}

func (s *PacketSource) lossy(from, to uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost.overlap(from, to)
}

// watchesAll says whether every namespace of the host is watched.
func (s *PacketSource) watchesAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.partial && len(s.barred) == 0 && len(s.rings) < maxRings
}

// Close stops watching. Run must have returned.
func (s *PacketSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rings {
		s.lockedDrop(r)
	}
	return nil
}

// Coverage says what is watched and what this source cannot see.
func (s *PacketSource) Coverage() Coverage {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Coverage{Tier: "packet", ReadyIn: s.readyIn, Failures: slices.Clone(s.refused.failures),
		Hooks: []string{fmt.Sprintf("af_packet: %d network namespaces", len(s.rings))},
		Sees:  []string{"resets on the wire with their form, TTL and options", "who opened the connection, when its handshake was seen", "which process of this host holds or held the socket, as far as it may be asked"},
	}
	c.Blind = append(c.Blind, s.refused.blind...)
	if s.partial {
		c.Blind = append(c.Blind, "other users' network namespaces, such as those of containers (needs CAP_SYS_PTRACE and CAP_SYS_ADMIN)")
	}
	if len(s.barred) > 0 {
		c.Blind = append(c.Blind, fmt.Sprintf("%d network namespaces that could not be entered (needs CAP_SYS_ADMIN)", len(s.barred)))
	}
	if len(s.rings) >= maxRings {
		c.Blind = append(c.Blind, fmt.Sprintf("network namespaces beyond the first %d", maxRings))
	}
	c.Blind = append(c.Blind, "why a kernel sent or refused a reset, and the call that closed the socket", BlindTimeouts,
		"who killed a process", "the first moments of a network namespace, until it is found", "resets behind IPv6 extension headers other than the fragment header", "what hosts beyond this one did with its segments")
	return c
}

// Stats returns the account so far. Lost counts segments that did not fit a
// ring; some of them may have been SYN or FIN.
func (s *PacketSource) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Reported: s.reported, Folded: s.folded, Lost: s.closed, Evicted: s.evicted, PerHook: map[string]HookStats{}}
	for _, r := range s.rings {
		st.Lost += r.dropped
	}
	st.Seen = st.Reported + st.Folded + st.Lost
	st.PerHook["wire"] = HookStats{st.Seen, st.Reported, st.Lost, st.Folded}
	return st
}

// Floods returns the classes of resets that were counted instead of recorded,
// the most frequent first.
func (s *PacketSource) Floods() []Flood {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedFloods(s.floods)
}

func sortedFloods[K comparable](m map[K]*Flood) []Flood {
	var list []Flood
	for _, f := range m {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Flood) int { return int(int64(b.Count) - int64(a.Count)) })
	return list
}

// Ledgers returns nothing: what the stack sent is not seen, so that there is
// nothing to compare the wire with.
func (s *PacketSource) Ledgers() []Ledger { return nil }

// Space returns the namespace with that cookie. Call it from emit only.
func (s *PacketSource) Space(cookie uint64) (linux.Netns, bool) { return s.host.space(cookie) }

// Spaces returns all namespaces known. Call it from emit only.
func (s *PacketSource) Spaces() []linux.Netns {
	s.host.refresh()
	return s.host.spaces.All()
}
