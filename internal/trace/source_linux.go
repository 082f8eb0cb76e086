package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// Source is the kernel source. Open it, then Run it once; the other methods
// may be called from any goroutine meanwhile.
type Source struct {
	cfg     Config
	kernel  *kernel
	reader  *ringbuf.Reader
	inbox   *inbox
	build   *builder
	join    *joiner
	host    *hostView
	emit    func(Observed)
	readyIn time.Duration

	mu      sync.Mutex // guards all below
	evicted uint64
	shed    uint64 // records of drops that were counted instead of explained
	lost    losses
	told    HookStats // what Config.Lost was told so far
	toldAt  uint64    // monotonic ns
}

// tickEvery is the interval of Config.Tick.
const tickEvery = 500 * time.Millisecond

// losses remembers when records of resets were suppressed or lost, so that
// their absence proves nothing in that time.
type losses struct {
	count    uint64 // at the last look
	lastLook uint64
	from, to uint64 // the latest lossy time, monotonic ns
}

func (l *losses) look(count, now uint64) {
	if count != l.count {
		if l.to < l.lastLook { // a new stretch
			l.from = l.lastLook
		}
		l.to = now
	}
	l.count, l.lastLook = count, now
}

func (l *losses) overlap(from, to uint64) bool {
	const margin = uint64(50 * time.Millisecond)
	return l.to != 0 && from <= l.to+margin && to+margin >= l.from
}

// Open attaches to the kernel. The error is an *AccessError with a hint when
// privileges or kernel features are missing.
func Open(cfg Config) (*Source, error) {
	start := time.Now()
	if cfg.Hold == 0 {
		cfg.Hold = 30 * time.Millisecond
	}
	k, err := loadKernel(cfg)
	if err != nil {
		return nil, accessError("attach to the kernel", err)
	}
	s, err := assemble(cfg, k)
	if err != nil {
		k.close()
		return nil, accessError("attach to the kernel", err)
	}
	s.readyIn = time.Since(start)
	return s, nil
}

func assemble(cfg Config, k *kernel) (*Source, error) {
	reader, err := ringbuf.NewReader(k.maps["events"])
	if err != nil {
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	host := &linux.Host{}
	mem, err := openMemory(k, monotonic())
	if err != nil {
		return nil, err
	}
	symbols, err := openSymbols(host)
	if err != nil {
		mem.close()
		return nil, err
	}
	name, _ := host.Hostname()
	s := &Source{cfg: cfg, kernel: k, reader: reader, inbox: newInbox(), host: newHostView(host), toldAt: monotonic()}
	s.build = &builder{kernel: k, host: s.host, mem: mem, symbols: symbols, hz: uint64(k.hz), name: name, stacks: cfg.Stacks, lossy: s.lossy, tried: scans{}}
	s.join = newJoiner(cfg.Hold, k.facts.dropReasons, s.flush)
	s.build.join = s.join
	s.build.witness = newWitness(k, cfg.Demand)
	s.join.blocked = func(netns uint64) {
		_ = s.build.witness.arm() // a REJECT writes its RST without a socket
		if cfg.Blocked != nil {
			cfg.Blocked(netns)
		}
	}
	s.join.isICMP = func(e *resetEvent) bool { return classify(s.build.stack(e), errorPaths) == "icmp" }
	s.join.isCopy = func(e *resetEvent) bool { return classify(s.build.stack(e), copyPaths) != "" }
	s.host.refresh()
	return s, nil
}

func accessError(op string, err error) error {
	hint := "holdfast watch --source packet needs only CAP_NET_RAW, --source counters needs nothing"
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || os.Geteuid() != 0 {
		hint = "run it as root, or give it CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_PTRACE; " + hint
	}
	return &AccessError{Op: op, Err: err, Hint: hint}
}

func monotonic() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return uint64(ts.Nano())
}

// Close detaches everything. Run must have returned.
func (s *Source) Close() error {
	_ = s.build.symbols.wait() // Run returned its error
	s.build.witness.demand = true
	s.build.witness.off()
	s.build.mem.close()
	err := s.reader.Close()
	s.kernel.close()
	return err
}

// Run reads events until ctx is done, and calls emit for each case, from this
// goroutine. What is pending when ctx ends is still emitted. A goroutine of its
// own does nothing but empty the ring buffer, so that no look-up here ever
// stands before it.
func (s *Source) Run(ctx context.Context, emit func(Observed)) error {
	s.emit = emit
	defer hurry()()
	drained := make(chan error, 1)
	go func() { drained <- s.drainer(ctx) }()
	second := time.Now()
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		if time.Since(second) >= tickEvery {
			second = time.Now()
			s.everySecond()
		}
		if err := s.build.symbols.failed(); err != nil {
			return err
		}
		timer.Reset(s.untilExpiry(tickEvery - time.Since(second)))
		select {
		case <-s.inbox.more:
		case <-timer.C:
		case err := <-drained:
			s.work()
			s.join.expire(^uint64(0))
			s.everySecond()
			return err
		}
		s.work()
	}
}

// everySecond does what has to be done now and then.
func (s *Source) everySecond() {
	now := monotonic()
	s.build.witness.rest(now)
	if len(s.join.queue) == 0 {
		s.build.mem.rest(now)
	}
	if l, ok := s.newLosses(now); ok && s.cfg.Lost != nil {
		s.cfg.Lost(l)
	}
	if s.cfg.Tick != nil {
		s.cfg.Tick()
	}
}

// work joins what was drained, and makes the cases that are complete. What is
// older than the latest drain is complete: nothing of its time is still to come.
func (s *Source) work() {
	for {
		batch, until := s.inbox.take()
		for _, e := range batch {
			s.join.expire(e.TimeNs - min(e.TimeNs, orderSlack))
			s.join.add(e)
		}
		s.join.expire(until)
		s.mu.Lock()
		s.evicted = s.join.evicted
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
	}
}

// orderSlack is how much later a record may come than one of another CPU that
// is younger.
const orderSlack = uint64(5 * time.Millisecond)

// untilExpiry is the time until the next observation is complete, at least a
// millisecond and at most the given one.
func (s *Source) untilExpiry(most time.Duration) time.Duration {
	if len(s.join.queue) == 0 {
		return max(most, time.Millisecond)
	}
	left := time.Duration(int64(s.join.queue[0].deadline - monotonic()))
	return max(min(left, most, 10*time.Millisecond), time.Millisecond)
}

// drainer empties the ring buffer into the inbox until ctx is done. While
// nothing happens it sleeps in the kernel, which wakes it for the first record;
// while records come it looks at intervals, so that a flood costs no wakeups.
func (s *Source) drainer(ctx context.Context) error {
	every := 10 * time.Millisecond
	if s.cfg.Fast {
		every = time.Millisecond
	}
	stop := context.AfterFunc(ctx, func() { _ = s.reader.Flush() }) // wakes the reader
	defer stop()
	var rec ringbuf.Record
	var quiet time.Duration // since the latest record
	rest := s.cfg.Hold + 2*every
	for {
		var wait time.Duration
		if quiet > rest {
			wait = tickEvery
		} else {
			pause(ctx, every)
			quiet += every
		}
		n, err := s.drain(&rec, wait)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if n > 0 {
			quiet = 0
		}
	}
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// drain moves what is in the ring buffer to the inbox; if there is nothing, it
// waits that long for a record or for the reader to be flushed.
func (s *Source) drain(rec *ringbuf.Record, wait time.Duration) (n uint64, err error) {
	now := monotonic() // what is younger than now may not be drained yet
	if wait > 0 || s.reader.AvailableBytes() > 0 {
		if n, err = s.read(rec, wait); err != nil {
			return n, err
		}
	}
	s.inbox.put(nil, now)
	if n > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lost.look(s.lockedLossCount(), monotonic())
	}
	return n, nil
}

func (s *Source) read(rec *ringbuf.Record, wait time.Duration) (n uint64, err error) {
	s.reader.SetDeadline(time.Now().Add(wait))
	for {
		err := s.reader.ReadInto(rec)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("read ring buffer: %w", err)
		}
		if n == 0 && wait > 0 {
			s.reader.SetDeadline(time.Unix(1, 0)) // read what is there, wait no more
		}
		if e := new(resetEvent); decodeEvent(rec.RawSample, e) {
			s.inbox.put(e, 0)
		}
		n++
	}
}

func (s *Source) lockedLossCount() (n uint64) {
	for _, kind := range []uint32{kindSend, kindRecv, kindWire} {
		c := s.counter(kind)
		n += c.Lost + c.Suppressed + s.kernel.missed(kindNames[kind])
	}
	return n + s.inbox.refused()
}

func (s *Source) counter(kind uint32) (sum resetCounter) {
	var each []resetCounter
	if s.kernel.maps["counters"].Lookup(kind, &each) != nil {
		return sum
	}
	for _, c := range each {
		sum.Seen += c.Seen
		sum.Sent += c.Sent
		sum.Lost += c.Lost
		sum.Suppressed += c.Suppressed
	}
	return sum
}

func (s *Source) lossy(from, to uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost.overlap(from, to)
}

func (s *Source) flush(o *observation) {
	if o.stray() && s.lossy(o.first, o.deadline) {
		s.mu.Lock()
		s.shed++
		s.mu.Unlock()
		return
	}
	if o.ended != nil && !s.build.failed(o) {
		return
	}
	ob := s.build.build(o)
	if o.gaveUp() && ob.Outcome.Or("") == "none" {
		return // it may just have had enough
	}
	s.emit(ob)
}

// stray says whether nothing is known but that a RST met no socket. In a flood,
// when who sent it was only counted, it is counted, too.
func (o *observation) stray() bool {
	return o.refused != nil && o.refused.Full == 0 && o.send == nil && o.recv == nil && o.err == nil && len(o.wires) == 0
}

// Coverage says what was attached and what is therefore not seen.
func (s *Source) Coverage() Coverage {
	c := Coverage{Tier: "kernel", ReadyIn: s.readyIn, Failures: slices.Clone(s.kernel.failures)}
	for _, sl := range ladder(s.kernel.facts, s.cfg) {
		if sl.name == "wire" && s.build.witness.demand && s.build.witness.since.Load() == 0 {
			c.Hooks = append(c.Hooks, "wire:on demand")
			c.Sees = append(c.Sees, sl.blind+", from the first sign of one")
		} else if p := s.kernel.attached[sl.name]; p != "" {
			c.Hooks = append(c.Hooks, sl.name+":"+p)
			c.Sees = append(c.Sees, sl.blind)
		} else if !sl.optional {
			c.Blind = append(c.Blind, sl.blind)
		}
	}
	if s.kernel.facts.sendArgs == 2 && s.kernel.attached["nosk4"] == "" {
		c.Blind = append(c.Blind, "why a reset without a socket was sent: this kernel's tracepoint hides it and function hooks are refused")
	}
	if s.cfg.NoWire {
		c.Blind = append(c.Blind, "resets that no socket sent (the wire witness is switched off)")
	}
	if len(s.kernel.facts.rstReasons) == 0 {
		c.Blind = append(c.Blind, "the kernel's own reason code (before Linux 6.10): the call path stands in")
	}
	c.Blind = append(c.Blind, "what hosts beyond this one did with its segments")
	return c
}

// Stats returns the account so far.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{PerHook: map[string]HookStats{}, Evicted: s.evicted}
	for kind := uint32(kindSend); kind <= kindEnded; kind++ {
		c := s.counter(kind)
		missed, refused := s.kernel.missed(kindNames[kind]), s.inbox.refusedOf(kind)
		c.Seen, c.Lost, c.Sent = c.Seen+missed, c.Lost+missed+refused, c.Sent-min(refused, c.Sent)
		if kind == kindDrop {
			c.Sent, c.Suppressed = c.Sent-min(s.shed, c.Sent), c.Suppressed+s.shed
		}
		st.PerHook[kindNames[kind]] = HookStats{c.Seen, c.Sent, c.Lost, c.Suppressed}
		st.Seen += c.Seen
		st.Reported += c.Sent
		st.Folded += c.Suppressed
		st.Lost += c.Lost
	}
	st.Sent = st.PerHook["send"].Seen
	return st
}

// Floods returns the classes of resets that were counted instead of recorded,
// the most frequent first.
func (s *Source) Floods() []Flood {
	var list []Flood
	var key resetFloodKey
	var each []resetFloodValue // for each CPU
	it := s.kernel.maps["floods"].Iterate()
	for it.Next(&key, &each) {
		v := sumFlood(each)
		f := Flood{Netns: key.Netns, Hook: kindNames[min(int(key.Kind), len(kindNames)-1)], Port: key.Port, Count: v.Count,
			Origin: originNames[min(int(key.Origin), len(originNames)-1)],
			First:  s.host.host.MonotonicToTime(v.FirstNs), Last: s.host.host.MonotonicToTime(v.LastNs)}
		if n := int32(key.Reason); n >= 0 {
			switch key.Kind {
			case kindDrop:
				f.Reason = s.kernel.facts.dropReasons[n]
			case kindErr:
				f.Reason = errnoName(n)
			default:
				f.Reason = s.kernel.facts.rstReasons[n]
			}
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b Flood) int { return int(int64(b.Count) - int64(a.Count)) })
	return list
}

// sumFlood adds up what each CPU counted.
func sumFlood(each []resetFloodValue) (sum resetFloodValue) {
	for _, v := range each {
		if v.Count == 0 {
			continue
		}
		if sum.FirstNs == 0 || v.FirstNs < sum.FirstNs {
			sum.FirstNs = v.FirstNs
		}
		sum.LastNs = max(sum.LastNs, v.LastNs)
		sum.Count += v.Count
	}
	return sum
}

// Ledgers returns, for each namespace, what the stack sent and what the wire
// witness saw.
func (s *Source) Ledgers() []Ledger {
	byNS := map[uint64]*Ledger{}
	var key resetWireKey
	var each []uint64 // for each CPU
	it := s.kernel.maps["ledger"].Iterate()
	for it.Next(&key, &each) {
		var n uint64
		for _, c := range each {
			n += c
		}
		l := byNS[key.Netns]
		if l == nil {
			l = &Ledger{Netns: key.Netns, Wire: map[string]uint64{}}
			byNS[key.Netns] = l
		}
		if key.Origin == 0 {
			l.StackSent = n
		} else {
			l.Wire[originNames[min(int(key.Origin-1), len(originNames)-1)]] += n
		}
	}
	var list []Ledger
	for _, l := range byNS {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b Ledger) int { return int(int64(a.Netns) - int64(b.Netns)) })
	return list
}

// Space returns the namespace with that cookie. Call it from emit only.
func (s *Source) Space(cookie uint64) (linux.Netns, bool) { return s.host.space(cookie) }

// Spaces returns all namespaces known. Call it from emit only.
func (s *Source) Spaces() []linux.Netns {
	s.host.refresh()
	return s.host.spaces.All()
}

// Arm attaches the wire witness, because resets that no socket sends must be
// expected here. Call it before Run, or from emit.
func (s *Source) Arm() error { return s.build.witness.arm() }
