package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/logs"
	"github.com/holdfast-project/holdfast/internal/nft"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// enricher adds to a case what the host knows beyond the event: counters,
// firewall rules, conntrack, logs, and the pattern of other cases. It is used
// from one goroutine. Whatever costs more than microseconds is limited in rate.
type enricher struct {
	host     *linux.Host
	nft      nft.Reader
	src      source
	counters map[uint64]*counterHistory
	rules    map[uint64]*ruleHistory
	patterns *patterns
	logs     *logs.Reader
	kernel   *linux.KernelLog
	cloud    fact.Opt[string]
	logged   map[int]logged
	limits   map[uint64]limitsAt
	cookies  map[listenerKey]time.Time // when SYN cookies were last reported
	stepped  time.Time                 // end of the last step that saw every namespace; zero before the first
	turn     int                       // of the namespaces that take turns in step
}

// Bounds of what is remembered for each namespace.
const (
	maxSpaces = 1024
	snapshots = 32 // half a second apart
	eachStep  = 64 // namespaces read in one step; more take turns
	believe   = 20 * time.Millisecond
	resetSpan = 500 * time.Millisecond // counters are compared over at least this time
	longest   = 5 * time.Second        // a longer window says nothing about a reset
	logEvery  = 50 * time.Millisecond  // for each process
)

// counterHistory holds the latest snapshots of a namespace.
type counterHistory struct {
	past [snapshots]snapshot
	next int
	now  snapshot
}

type snapshot struct {
	at    time.Time
	c     linux.Counters
	ct    linux.Conntrack
	hasCT bool
}

// before returns the youngest snapshot that is at least age old, or the oldest
// one there is. It is zero when there is none.
func (h *counterHistory) before(age time.Duration) (s snapshot) {
	for i := 1; i <= min(h.next, snapshots); i++ {
		s = h.past[(h.next-i)%snapshots]
		if h.now.at.Sub(s.at) >= age {
			break
		}
	}
	return s
}

type ruleHistory struct {
	set   nft.Ruleset
	at    time.Time
	took  time.Duration // to read: large rulesets are read less often
	moved []movedRule   // lately, oldest first
	err   error
}

type movedRule struct {
	nft.Rule
	at time.Time
}

const (
	maxMoved   = 64
	ruleMemory = time.Second
)

func newEnricher(src source) *enricher {
	e := &enricher{host: &linux.Host{}, src: src, counters: map[uint64]*counterHistory{}, rules: map[uint64]*ruleHistory{},
		patterns: newPatterns(), logs: logs.NewReader(&linux.Host{}), logged: map[int]logged{}, limits: map[uint64]limitsAt{}, cookies: map[listenerKey]time.Time{}}
	e.nft.Host = e.host
	e.kernel = e.host.KernelLog()
	if name, ok := e.host.Cloud(); ok {
		e.cloud = fact.None[string]()
		if name != "" {
			e.cloud = fact.Some(name)
		}
	}
	for _, ns := range src.Spaces() { // so that the first case has a before
		e.count(ns)
		if h := e.firewall(ns); h.err == nil && slices.ContainsFunc(h.set.Rules, func(r nft.Rule) bool { return r.Verdict == nft.RejectReset }) {
			e.expect()
		}
	}
	return e
}

func (e *enricher) enrich(o trace.Observed) {
	e.counts(o.SenderNetns, o.Case, &o.Sender)
	e.counts(o.ReceiverNetns, o.Case, &o.Receiver)
	e.netfilter(o)
	e.log(o)
	e.machine(o)
	e.patterns.add(o)
}

// expect tells the source that resets which no socket sends must be expected.
func (e *enricher) expect() {
	if a, ok := e.src.(interface{ Arm() error }); ok {
		_ = a.Arm() // without the witness the verdict has less proof, and says so
	}
}

// step takes the snapshots that later cases are compared with, and returns
// cases that only counters show.
func (e *enricher) step() (cases []trace.Observed) {
	list := e.src.Spaces()
	for i := range min(len(list), eachStep) {
		ns := list[(e.turn+i)%len(list)]
		h := e.count(ns)
		if h == nil {
			continue
		}
		before := h.past[(h.next+snapshots-1)%snapshots]
		h.past[h.next%snapshots] = h.now
		h.next++
		if o, ok := e.flooded(ns, &before, &h.now); ok {
			cases = append(cases, o)
		}
	}
	e.turn += eachStep
	if len(list) <= eachStep {
		e.stepped = time.Now()
	}
	return cases
}

type listenerKey struct {
	netns uint64
	at    netip.AddrPort
}

// flooded makes a case when a listener answered with SYN cookies, which hurts
// nobody by itself, once in ten seconds.
func (e *enricher) flooded(ns linux.Netns, before, now *snapshot) (o trace.Observed, ok bool) {
	d := now.c.Sub(&before.c)
	if n, known := d.Get(linux.SyncookiesSent); !known || n <= 0 {
		return o, false
	}
	target := e.besieged(ns)
	listener := listenerKey{ns.Cookie, target}
	if !target.IsValid() || now.at.Sub(e.cookies[listener]) < 10*time.Second {
		return o, false
	}
	if len(e.cookies) >= maxSpaces {
		clear(e.cookies)
	}
	e.cookies[listener] = now.at
	c := &fact.Case{ID: fmt.Sprintf("syncookies-%d-%d", ns.Cookie, now.at.UnixNano()), Time: now.at, Source: "counters"}
	c.Flow.Server, c.Flow.Netns = target, ns.Cookie
	c.Flow.Client = netip.AddrPortFrom(unspecified(target.Addr()), 0) // many clients
	c.Flow.ServerPort = fact.Some(int64(target.Port()))
	c.Outcome, c.Phase = fact.SomeBy("none", fact.ByCounter), fact.SomeBy("connect", fact.ByCounter)
	c.RST.Seen = fact.SomeBy(false, fact.ByCounter)
	c.Sender.Watched, c.Sender.Role = fact.Some(true), fact.SomeBy("server", fact.ByCounter)
	return trace.Observed{Case: c, SenderNetns: ns.Cookie}, true
}

// besieged returns the listening address with the most half-open connections.
func (e *enricher) besieged(ns linux.Netns) (target netip.AddrPort) {
	halves, listening := map[netip.AddrPort]int{}, map[uint16]bool{}
	for s, err := range e.host.Sockets(ns, linux.Listeners|1<<linux.SynRecv|1<<linux.NewSynRecv) {
		if err != nil || len(halves) > maxSpaces {
			break
		}
		if s.State == linux.Listen {
			listening[s.Local.Port()] = true
		} else {
			halves[s.Local]++
		}
	}
	for at, n := range halves {
		if listening[at.Port()] && (n > halves[target] || n == halves[target] && at.Compare(target) < 0) {
			target = at
		}
	}
	return target
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// look reads the rules of a namespace at once, because netfilter just dropped
// something there; the case comes later, when a rule may be gone.
func (e *enricher) look(cookie uint64) {
	if ns, ok := e.src.Space(cookie); ok {
		e.firewall(ns)
	}
}

// count reads the counters of a namespace, at most every believe.
func (e *enricher) count(ns linux.Netns) *counterHistory {
	h := e.counters[ns.Cookie]
	if h == nil {
		if len(e.counters) >= maxSpaces {
			clear(e.counters)
		}
		h = &counterHistory{}
		e.counters[ns.Cookie] = h
	}
	if time.Since(h.now.at) < believe {
		return h
	}
	c, err := e.host.Counters(ns)
	if err != nil {
		return nil
	}
	ct, hasCT, err := e.host.Conntrack(ns)
	h.now = snapshot{at: time.Now(), c: c, ct: ct, hasCT: hasCT && err == nil}
	if h.next == 0 {
		h.past[0], h.next = h.now, 1
		if !e.stepped.IsZero() { // a namespace younger than the last step: all its counters began since
			h.past[0] = snapshot{at: e.stepped, c: h.now.c.Sub(&h.now.c), hasCT: h.now.hasCT}
		}
	}
	return h
}

// span is the time over which counters belong to the case: a moment for a
// reset; for a timeout all attempts, which with doubling intervals took about
// twice the last one.
func span(c *fact.Case) (least, most time.Duration) {
	if c.Outcome.Or("") != "timeout" {
		return resetSpan, longest
	}
	least = resetSpan + max(2*c.Receiver.Sock.RTO.Or(0), min(c.Receiver.Sock.Age.Or(0), longest))
	return least, least + longest
}

func (e *enricher) counts(cookie uint64, c *fact.Case, end *fact.Endpoint) {
	ns, ok := e.src.Space(cookie)
	if cookie == 0 || !ok {
		return
	}
	h := e.count(ns)
	if h == nil {
		return
	}
	least, most := span(c)
	before := h.before(least)
	over := h.now.at.Sub(before.at)
	if over > most {
		return
	}
	e.fill(&end.Net, h, &before, over)
	l := e.limitsOf(ns)
	if l.MaxOrphans > 0 {
		end.Net.MaxOrphans = fact.Some(l.MaxOrphans)
	}
	if l.Mem[2] > 0 {
		end.Net.MemHigh = fact.Some(l.Mem[2])
	}
}

// limitsAt are the limits of a namespace at some time.
type limitsAt struct {
	linux.Limits
	at time.Time
}

// believeLimits is how long a limit is taken for unchanged.
const believeLimits = 10 * time.Second

// limitsOf reads the limits of a namespace; what cannot be read is zero, and
// read again the next time.
func (e *enricher) limitsOf(ns linux.Netns) linux.Limits {
	if l, ok := e.limits[ns.Cookie]; ok && time.Since(l.at) < believeLimits {
		return l.Limits
	}
	l, err := e.host.Limits(ns)
	if err != nil {
		return l
	}
	if len(e.limits) >= maxSpaces {
		clear(e.limits)
	}
	e.limits[ns.Cookie] = limitsAt{l, time.Now()}
	return l
}

func (e *enricher) fill(n *fact.Counters, h *counterHistory, before *snapshot, over time.Duration) {
	d := h.now.c.Sub(&before.c)
	n.Window = fact.Some(over)
	set := func(to *fact.Opt[int64], from *linux.Counters, list ...linux.Counter) {
		if v, ok := from.Sum(list...); ok {
			*to = fact.Some(v)
		}
	}
	set(&n.OutRsts, &d, linux.TCPOutRsts)
	set(&n.ListenOverflow, &d, linux.ListenOverflows)
	set(&n.ListenDrops, &d, linux.ListenDrops)
	set(&n.SynCookies, &d, linux.SyncookiesSent)
	set(&n.ReqQFull, &d, linux.TCPReqQFullDoCookies, linux.TCPReqQFullDrop)
	set(&n.AbortOnMemory, &d, linux.TCPAbortOnMemory)
	set(&n.AbortOnData, &d, linux.TCPAbortOnData)
	set(&n.AbortOnClose, &d, linux.TCPAbortOnClose)
	set(&n.AbortOnTimeout, &d, linux.TCPAbortOnTimeout)
	set(&n.PAWS, &d, linux.PAWSEstab, linux.PAWSActive)
	set(&n.ChallengeACK, &d, linux.TCPChallengeACK)
	set(&n.MD5Failures, &d, linux.TCPMD5NotFound, linux.TCPMD5Unexpected, linux.TCPMD5Failure)
	set(&n.MemPressure, &d, linux.TCPMemoryPressures)
	set(&n.TWRecycled, &d, linux.TWRecycled, linux.TWKilled)
	set(&n.SynRetrans, &d, linux.TCPSynRetrans)
	set(&n.InCsumErrors, &d, linux.TCPInCsumErrors)
	set(&n.TimeWait, &h.now.c, linux.SockTCPTw)
	set(&n.Orphans, &h.now.c, linux.SockTCPOrphan)
	set(&n.MemPages, &h.now.c, linux.SockTCPMem)
}

// netfilter adds conntrack counters and the rule whose counter moved, looked
// for in the namespaces that carried the RST or dropped a segment.
func (e *enricher) netfilter(o trace.Observed) {
	f := &o.FW
	for _, cookie := range []uint64{o.WireNetns, o.SenderNetns, o.ReceiverNetns} {
		ns, ok := e.src.Space(cookie)
		if cookie == 0 || !ok {
			continue
		}
		e.conntrack(ns, o.Case)
		if !f.NAT.Or(false) {
			f.NAT = fact.Some(e.firewall(ns).set.NAT)
		}
		if !f.CTEntry.Or(false) {
			if _, found, err := e.host.ConntrackEntry(ns, linux.CTTuple{Src: o.Flow.Client, Dst: o.Flow.Server}); err == nil {
				f.CTEntry = fact.Some(found)
			}
		}
	}
	if ns, ok := e.src.Space(o.SenderNetns); ok && o.SenderNetns != 0 {
		o.Sender.NAT = fact.Some(e.firewall(ns).set.NAT)
	}
	if blocked(o.Case) {
		e.blame(o)
	}
}

func (e *enricher) conntrack(ns linux.Netns, c *fact.Case) {
	h := e.count(ns)
	if h == nil || !h.now.hasCT || c.FW.CTCount.State() != fact.NotLooked {
		return
	}
	f, now := &c.FW, &h.now.ct
	f.CTCount, f.CTMax = fact.Some(now.Count), fact.Some(now.Max)
	least, most := span(c)
	if b := h.before(least); b.hasCT && h.now.at.Sub(b.at) <= most {
		f.CTInvalid = fact.Some(int64(now.Invalid - b.ct.Invalid))
		f.CTDrop = fact.Some(int64(now.Drop + now.EarlyDrop + now.InsertFailed - b.ct.Drop - b.ct.EarlyDrop - b.ct.InsertFailed))
	}
}

// blocked says whether a firewall may have had a hand in the case.
func blocked(c *fact.Case) bool {
	return c.RST.Origin.Or("") == "netfilter" || c.Source == "packet" || c.FW.Dropped.Or(false) || c.FW.ICMP.State() == fact.Present ||
		c.Sender.Seen.State() == fact.Present && !c.Sender.Seen.Or(true)
}

// blame names the rule: one whose counter moved and that can match, or the
// only one that can have done it.
func (e *enricher) blame(o trace.Observed) {
	f := &o.FW
	origin, told := o.RST.Origin.Get()
	wantsReset := origin == "netfilter" || !told && o.RST.Seen.Or(false)
	for _, cookie := range []uint64{o.WireNetns, o.SenderNetns, o.ReceiverNetns} {
		ns, ok := e.src.Space(cookie)
		if cookie == 0 || !ok {
			continue
		}
		h := e.firewall(ns)
		if h.err != nil {
			continue
		}
		if f.RuleMoved.State() == fact.NotLooked {
			f.RuleMoved = fact.Some(false)
		}
		if r, ok := pick(h.moved, o, wantsReset); ok {
			f.RuleMoved = fact.Some(true)
			e.name(f, r)
			return
		}
		if r, ok := only(h.set.Rules, o, wantsReset); ok {
			e.name(f, r)
			return
		}
	}
}

func (e *enricher) name(f *fact.FW, r nft.Rule) {
	f.Rule = fact.Some(r.String())
	f.RuleRejects = fact.Some(r.Verdict == nft.RejectReset)
}

// pick returns the first rule that ends connections and can match either
// direction of this one.
func pick(rules []movedRule, o trace.Observed, wantsReset bool) (nft.Rule, bool) {
	for i := len(rules) - 1; i >= 0; i-- {
		if time.Since(rules[i].at) < ruleMemory && fits(&rules[i].Rule, o, wantsReset) {
			return rules[i].Rule, true
		}
	}
	return nft.Rule{}, false
}

func only(rules []nft.Rule, o trace.Observed, wantsReset bool) (found nft.Rule, ok bool) {
	for _, r := range rules {
		if !fits(&r, o, wantsReset) || r.Policy {
			continue
		}
		if ok {
			return nft.Rule{}, false // two that could: name none
		}
		found, ok = r, true
	}
	return found, ok
}

func fits(r *nft.Rule, o trace.Observed, wantsReset bool) bool {
	if !r.Kills() || wantsReset != (r.Verdict == nft.RejectReset) {
		return false
	}
	a := nft.Packet{Src: o.Flow.Client, Dst: o.Flow.Server}
	b := nft.Packet{Src: o.Flow.Server, Dst: o.Flow.Client}
	return !r.Excludes(a) || !r.Excludes(b)
}

// firewall reads the rules of a namespace, and which of their counters moved
// since the last time.
func (e *enricher) firewall(ns linux.Netns) *ruleHistory {
	h := e.rules[ns.Cookie]
	if h != nil && time.Since(h.at) < max(believe, 5*h.took) {
		return h
	}
	if h == nil {
		if len(e.rules) >= maxSpaces {
			clear(e.rules)
		}
		h = &ruleHistory{}
		e.rules[ns.Cookie] = h
	}
	begin := time.Now()
	set, err := e.nft.Ruleset(ns)
	h.took = time.Since(begin)
	h.err = err
	if err == nil {
		for _, r := range nft.Moved(h.set, set) {
			h.moved = append(h.moved, movedRule{r, time.Now()})
		}
		h.moved = h.moved[max(0, len(h.moved)-maxMoved):]
		if len(set.Rules) > 0 || time.Since(h.at) > ruleMemory {
			h.set = set // rules that were just taken away may still be the answer
		}
	}
	h.at = time.Now()
	return h
}

// log adds what the emitting process wrote around the event; of one that has
// ended, what its parent or whoever serves the port wrote. The receiver's own
// words are kept apart.
func (e *enricher) log(o trace.Observed) {
	l := &o.Log
	e.read(o.Time, &l.Text, &l.File, o.SenderPID, int(o.Sender.Listener.PID.Or(0)), int(o.Sender.Proc.PPID.Or(0)))
	var file fact.Opt[string]
	e.read(o.Time, &l.ReceiverText, &file, o.ReceiverPID)
}

// machine adds what the host is, and what its kernel said around the event.
func (e *enricher) machine(o trace.Observed) {
	const around = 10 * time.Second
	m := &o.Machine
	m.OS, m.Cloud = fact.Some("linux"), e.cloud
	if text, looked := e.kernel.Around(o.Time, around); looked {
		m.KernelText = fact.None[string]()
		if text != "" {
			m.KernelText = fact.Some(text)
		}
	}
}

// read takes the first log with lines of the time.
func (e *enricher) read(at time.Time, text, file *fact.Opt[string], pids ...int) {
	for _, pid := range pids {
		if pid <= 1 || pid == os.Getpid() { // our own report is no witness
			continue
		}
		r := e.around(pid, at)
		if !r.looked {
			continue
		}
		*text = fact.None[string]()
		if r.text != "" {
			*text, *file = fact.Some(r.text), fact.Some(r.file)
			return
		}
	}
}

// around reads a process's log, at most every logEvery: cases of one burst
// share one look.
func (e *enricher) around(pid int, at time.Time) logged {
	if r, ok := e.logged[pid]; ok && time.Since(r.at) < logEvery {
		return r
	}
	if len(e.logged) > maxSpaces {
		clear(e.logged)
	}
	r := logged{at: time.Now()}
	r.text, r.file, r.looked = e.logs.Around(pid, at, 2*time.Second)
	e.logged[pid] = r
	return r
}

// logged is what a process's log said at some time.
type logged struct {
	at         time.Time
	text, file string
	looked     bool
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
