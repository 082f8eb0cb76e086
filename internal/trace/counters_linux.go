package trace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// CountersSource is the source that needs no privilege: it lists the TCP
// sockets by inet_diag several times a second, and reads what the kernel
// counted meanwhile. Sockets that vanished without an orderly close, and a
// counter that rose by as many in the same tick, explain each other; then what
// the other counters did tells how. Whenever the numbers do not agree, or a
// connection may have come and gone between two polls, nobody can tell which
// one was reset: such ends are counted in Floods and not reported.
//
// Open it with OpenCounters, Run it once; the other methods may be called from
// any goroutine meanwhile, unless they say otherwise.
type CountersSource struct {
	cfg     Config
	host    *hostView
	build   *builder // for its questions to the host; it has no kernel hooks
	sockets *poller
	spaces  map[uint64]*counted
	emit    func(Observed)
	readyIn time.Duration

	mu                     sync.Mutex // guards all below
	watched, barred        int
	refused                refusals
	reported, folded, lost uint64
	floods                 map[endKind]*Flood
}

// endKind is a class of ends that could not be told apart.
type endKind struct {
	netns uint64
	kind  string
}

// counted is what one namespace carries from one tick to the next.
type counted struct {
	last linux.Counters
	owed increments // of the tick before, as far as it is not explained
}

// increments are what the counters rose by.
type increments struct {
	ends     int64 // EstabResets: from ESTABLISHED or CLOSE_WAIT straight to CLOSE (net/ipv4/tcp.c tcp_set_state)
	failed   int64 // AttemptFails: connection attempts that failed
	opens    int64 // ActiveOpens and PassiveOpens
	rsts     int64 // OutRsts
	onClose  int64 // TCPAbortOnClose: closed with unread data
	onData   int64 // TCPAbortOnData: closed with SO_LINGER 0, or data after the close
	timeouts int64 // TCPAbortOnTimeout
	memory   int64 // TCPAbortOnMemory
	icmp     int64 // destination unreachable, received
}

func incrementsOf(d *linux.Counters) increments {
	get := func(list ...linux.Counter) int64 {
		n, _ := d.Sum(list...)
		return n
	}
	return increments{ends: get(linux.TCPEstabResets), failed: get(linux.TCPAttemptFails), opens: get(linux.TCPActiveOpens, linux.TCPPassiveOpens),
		rsts: get(linux.TCPOutRsts), onClose: get(linux.TCPAbortOnClose), onData: get(linux.TCPAbortOnData), timeouts: get(linux.TCPAbortOnTimeout),
		memory: get(linux.TCPAbortOnMemory), icmp: get(linux.ICMPInDestUnreachs, linux.ICMP6InDestUnreachs)}
}

func (a increments) plus(b increments) increments {
	return increments{a.ends + b.ends, a.failed + b.failed, a.opens + b.opens, a.rsts + b.rsts, a.onClose + b.onClose,
		a.onData + b.onData, a.timeouts + b.timeouts, a.memory + b.memory, a.icmp + b.icmp}
}

const (
	countEvery     = 150 * time.Millisecond
	countEveryFast = 20 * time.Millisecond
)

// OpenCounters opens the source without privilege. The error is an
// *AccessError when the host has no inet_diag or no /proc.
func OpenCounters(cfg Config) (*CountersSource, error) {
	start := time.Now()
	h := &linux.Host{}
	name, _ := h.Hostname()
	every := countEvery
	if cfg.Fast {
		every = countEveryFast
	}
	s := &CountersSource{cfg: cfg, host: newHostView(h), sockets: newPoller(h, every), spaces: map[uint64]*counted{}, floods: map[endKind]*Flood{}}
	s.build = &builder{kernel: &kernel{}, host: s.host, name: name, lossy: func(uint64, uint64) bool { return false }}
	s.host.refresh()
	for _, err := range h.Sockets(linux.Netns{}, linux.Listeners) {
		if err != nil {
			return nil, &AccessError{Op: "list sockets", Err: err, Hint: "the kernel needs inet_diag and tcp_diag: modprobe tcp_diag"}
		}
		break
	}
	if _, err := h.Counters(linux.Netns{}); err != nil {
		return nil, &AccessError{Op: "read counters", Err: err, Hint: "mount /proc"}
	}
	s.tick(start)
	s.readyIn = time.Since(start)
	return s, nil
}

// Refuse records why a better source was not available; Coverage tells.
func (s *CountersSource) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused.add(err)
}

// Run polls until ctx is done, and calls emit for each case, from this
// goroutine. It polls once more when ctx is done.
func (s *CountersSource) Run(ctx context.Context, emit func(Observed)) error {
	s.emit = emit
	for {
		begin := time.Now()
		done := ctx.Err() != nil
		s.host.refresh()
		s.tick(begin)
		if done {
			return nil
		}
		s.sockets.walk()
		pauseFor(ctx, max(s.sockets.every, pollShare*time.Since(begin)))
	}
}

// tick polls every namespace once.
func (s *CountersSource) tick(now time.Time) {
	watched, barred := 0, 0
	alive := map[uint64]bool{}
	for _, ns := range s.host.spaces.All() {
		alive[ns.Cookie] = true
		if err := s.count(ns, now); err != nil {
			barred++
		} else {
			watched++
		}
	}
	for cookie := range s.spaces {
		if !alive[cookie] {
			delete(s.spaces, cookie)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched, s.barred = watched, barred
}

// count polls a namespace and reports what ended since the last time.
// Counters are read after the sockets: an end between the two shows in the
// counters now and in the sockets at the next tick, hence owed.
func (s *CountersSource) count(ns linux.Netns, now time.Time) error {
	sp, err := s.sockets.poll(ns, linux.WithHalves)
	if err != nil {
		return err
	}
	c, err := s.host.host.Counters(ns)
	if err != nil {
		return err
	}
	st := s.spaces[ns.Cookie]
	if st == nil {
		s.spaces[ns.Cookie] = &counted{last: c}
		return nil
	}
	d := c.Sub(&st.last)
	st.last = c
	t := &tick{ns: ns, at: now, inc: incrementsOf(&d), owed: st.owed}
	t.sort(sp)
	st.owed = s.settle(t)
	return nil
}

// tick is what one namespace shows in one interval.
type tick struct {
	ns        linux.Netns
	at        time.Time
	inc, owed increments
	appeared  int64     // connections that the poll met for the first time
	ended     []*polled // established sockets that vanished without an orderly close
	failed    []*polled // connection attempts that vanished
}

// sort finds the sockets that vanished between two polls.
func (t *tick) sort(sp *polledSpace) {
	for k, e := range sp.now {
		if sp.before[k] == nil && e.State != linux.SynRecv && e.State != linux.NewSynRecv {
			t.appeared++
		}
	}
	for k, e := range sp.before {
		if now := sp.now[k]; now != nil && (now.Cookie == e.Cookie || now.State == linux.TimeWait) {
			continue
		}
		switch e.State {
		case linux.Established, linux.CloseWait:
			// The other end on this host tells of an orderly close.
			if peer := sp.now[rstKey{k.dst, k.src}]; peer == nil || peer.State == linux.Established {
				t.ended = append(t.ended, e)
			}
		case linux.SynSent:
			t.failed = append(t.failed, e)
		}
	}
	slices.SortFunc(t.ended, byTuple)
	slices.SortFunc(t.failed, byTuple)
}

func byTuple(a, b *polled) int {
	if n := a.Local.Compare(b.Local); n != 0 {
		return n
	}
	return a.Remote.Compare(b.Remote)
}

// settle reports what can be told, and returns what was counted in this tick
// and may still be explained by the next.
func (s *CountersSource) settle(t *tick) increments {
	both := t.inc.plus(t.owed)
	// Without connections between two polls, whoever ended was met by a poll.
	// Attempts that failed count as opened.
	met := t.inc.opens-t.appeared-max(0, t.inc.failed-int64(len(t.failed))) <= 0
	keep := t.inc
	keep.ends = s.explain(t, t.ended, t.inc.ends, t.owed.ends, met, "EstabResets", func(inc bool) { s.report(t, t.ended, pick(inc, t.inc, both), false) })
	keep.failed = s.explain(t, t.failed, t.inc.failed, t.owed.failed, true, "AttemptFails", func(inc bool) { s.report(t, t.failed, pick(inc, t.inc, both), true) })
	if keep.ends == 0 && keep.failed == 0 {
		return increments{}
	}
	return keep
}

func pick(first bool, a, b increments) increments {
	if first {
		return a
	}
	return b
}

// explain compares the sockets that vanished with the counter, calls report
// when they agree, and returns what the next tick may explain. report is told
// whether this tick's increments alone explain them.
func (s *CountersSource) explain(t *tick, vanished []*polled, inc, owed int64, met bool, kind string, report func(inc bool)) (keep int64) {
	n := int64(len(vanished))
	s.mu.Lock()
	switch {
	case n == 0:
		s.lost += uint64(owed) // nobody met that connection
		keep = inc
		n = -1
	case met && n == inc:
		s.lost += uint64(owed)
		s.reported += uint64(n)
	case met && n == inc+owed:
		s.reported += uint64(n)
	case inc+owed > 0:
		s.folded += uint64(inc + owed)
		addFlood(s.floods, endKind{t.ns.Cookie, kind}, endKind{kind: kind}, Flood{Netns: t.ns.Cookie, Hook: "counters", Reason: kind, Count: uint64(inc + owed)}, t.at)
		n = -1
	default:
		n = -1 // they closed in order
	}
	s.mu.Unlock()
	if n > 0 {
		report(n == inc)
	}
	return keep
}

// Close does nothing: there is nothing open.
func (s *CountersSource) Close() error { return nil }

// Coverage says what is polled and what this source cannot see.
func (s *CountersSource) Coverage() Coverage {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Coverage{Tier: "counters", ReadyIn: s.readyIn, Failures: slices.Clone(s.refused.failures),
		Hooks: []string{fmt.Sprintf("inet_diag and /proc/net/snmp, netstat: %d network namespaces every %s", s.watched, s.sockets.every)},
		Sees:  []string{"connections that lived for a poll or more and ended without an orderly close", "how, when a counter leaves no doubt"}}
	c.Blind = append(c.Blind, s.refused.blind...)
	if s.barred > 0 {
		c.Blind = append(c.Blind, fmt.Sprintf("%d network namespaces that could not be entered (needs CAP_SYS_ADMIN)", s.barred))
	}
	c.Blind = append(c.Blind, fmt.Sprintf("connections that came and went within %s, refused ones among them: only counted", s.sockets.every),
		"which of several connections that ended in one interval was reset, when their number differs from the counter",
		"the segments: form, TTL, options, and so who forged or rejected", "why a kernel sent a reset, and which call or signal was behind it",
		"other users' processes, unless run by root", "what hosts beyond this one did with its segments")
	return c
}

// Stats returns the account so far: connections that ended badly, by the
// kernel's count. Lost are those that no poll had met.
func (s *CountersSource) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Reported: s.reported, Folded: s.folded, Lost: s.lost, Seen: s.reported + s.folded + s.lost}
	st.PerHook = map[string]HookStats{"counters": {st.Seen, st.Reported, st.Lost, st.Folded}}
	return st
}

// Floods returns what was counted and could not be told apart, the most
// frequent first.
func (s *CountersSource) Floods() []Flood {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedFloods(s.floods)
}

// Ledgers returns nothing: neither the stack's events nor the wire are seen.
func (s *CountersSource) Ledgers() []Ledger { return nil }

// Space returns the namespace with that cookie. Call it from emit only.
func (s *CountersSource) Space(cookie uint64) (linux.Netns, bool) { return s.host.space(cookie) }

// Spaces returns all namespaces known. Call it from emit only.
func (s *CountersSource) Spaces() []linux.Netns {
	s.host.refresh()
	return s.host.spaces.All()
}
