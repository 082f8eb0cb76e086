package daemon

import (
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
	"github.com/holdfast-project/holdfast/internal/trace"
)

// enricher adds to a case what the host knows beyond the event: counters,
// firewall rules, conntrack, logs, and the pattern of other cases. It is used
// from one goroutine. Whatever costs more than microseconds is limited in rate.
type enricher struct {
	host     *linux.Host
	src      source
	counters map[uint64]*counterHistory
	rules    map[uint64]*ruleHistory
	patterns *patterns
	logs     logReader // nil when logs are not read
	logAt    map[int]time.Time
	limits   map[uint64]linux.Limits
}

// logReader finds what a process logged around a time; looked is false when it
// has no log that can be read.
type logReader interface {
	Around(pid int, at time.Time, within time.Duration) (text, file string, looked bool)
}

// Bounds of what is remembered for each namespace.
const (
	maxSpaces   = 1024
	counterStep = 400 * time.Millisecond // a window is between one and two steps
	believe     = 20 * time.Millisecond
	logEvery    = 50 * time.Millisecond // for each process
)

type counterHistory struct {
	older, newer   linux.Counters
	ctOld, ctNew   linux.Conntrack
	hasCT          bool
	atOld, atNew   time.Time
	now            linux.Counters
	ctNow          linux.Conntrack
	atNow          time.Time
	orphanHighMark int64
}

type ruleHistory struct {
	set   linux.Ruleset
	at    time.Time
	moved []linux.Rule
	err   error
}

func newEnricher(src source) *enricher {
	e := &enricher{host: &linux.Host{}, src: src, counters: map[uint64]*counterHistory{}, rules: map[uint64]*ruleHistory{},
		patterns: newPatterns(), logAt: map[int]time.Time{}, limits: map[uint64]linux.Limits{}}
	for _, ns := range src.Spaces() { // so that the first case has a before
		e.count(ns)
		e.firewall(ns)
	}
	return e
}

func (e *enricher) enrich(o trace.Observed) {
	e.counts(o.EmitNetns, &o.Emit)
	e.counts(o.VictimNetns, &o.Victim)
	e.netfilter(o)
	e.log(o)
	e.patterns.add(o)
}

// count takes a snapshot and keeps the one of a step ago.
func (e *enricher) count(ns linux.Netns) *counterHistory {
	h := e.counters[ns.Cookie]
	if h == nil {
		if len(e.counters) >= maxSpaces {
			clear(e.counters)
		}
		h = &counterHistory{}
		e.counters[ns.Cookie] = h
	}
	if time.Since(h.atNow) < believe {
		return h
	}
	now, err := e.host.Counters(ns)
	if err != nil {
		return nil
	}
	ct, hasCT, err := e.host.Conntrack(ns)
	hasCT = hasCT && err == nil
	h.now, h.ctNow, h.atNow = now, ct, time.Now()
	switch {
	case h.atOld.IsZero():
		h.older, h.newer, h.ctOld, h.ctNew, h.atOld, h.atNew = now, now, ct, ct, h.atNow, h.atNow
	case h.atNow.Sub(h.atNew) > counterStep:
		h.older, h.ctOld, h.atOld = h.newer, h.ctNew, h.atNew
		h.newer, h.ctNew, h.atNew = now, ct, h.atNow
	}
	h.hasCT = hasCT
	return h
}

func (e *enricher) counts(cookie uint64, end *fact.End) {
	ns, ok := e.src.Space(cookie)
	if cookie == 0 || !ok {
		return
	}
	h := e.count(ns)
	if h == nil {
		return
	}
	d := h.now.Sub(&h.older)
	n := &end.Net
	n.Window = fact.Some(h.atNow.Sub(h.atOld))
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
	set(&n.TimeWait, &h.now, linux.SockTCPTw)
	set(&n.Orphans, &h.now, linux.SockTCPOrphan)
	set(&n.MemPages, &h.now, linux.SockTCPMem)
	l, ok := e.limits[cookie]
	if !ok {
		if l, _ = e.host.Limits(ns); len(e.limits) < maxSpaces {
			e.limits[cookie] = l
		}
	}
	if l.MaxOrphans > 0 {
		n.MaxOrphans = fact.Some(l.MaxOrphans)
	}
	if l.Mem[2] > 0 {
		n.MemHigh = fact.Some(l.Mem[2])
	}
}

// netfilter adds conntrack counters and the rule whose counter moved, looked
// for in the namespaces that carried the RST or dropped a segment.
func (e *enricher) netfilter(o trace.Observed) {
	f := &o.FW
	for _, cookie := range []uint64{o.WireNetns, o.EmitNetns, o.VictimNetns} {
		ns, ok := e.src.Space(cookie)
		if cookie == 0 || !ok {
			continue
		}
		if h := e.count(ns); h != nil && h.hasCT && f.CTCount.State() == fact.NotLooked {
			f.CTCount, f.CTMax = fact.Some(h.ctNow.Count), fact.Some(h.ctNow.Max)
			f.CTInvalid = fact.Some(int64(h.ctNow.Invalid - h.ctOld.Invalid))
			f.CTDrop = fact.Some(int64(h.ctNow.Drop + h.ctNow.EarlyDrop + h.ctNow.InsertFailed - h.ctOld.Drop - h.ctOld.EarlyDrop - h.ctOld.InsertFailed))
		}
		if f.NAT.Or(false) == false {
			f.NAT = fact.Some(e.host.HasNAT(ns))
		}
		if f.CTEntry.Or(false) == false {
			if _, found, err := e.host.ConntrackEntry(ns, linux.CTTuple{Src: o.Flow.Client, Dst: o.Flow.Server}); err == nil {
				f.CTEntry = fact.Some(found)
			}
		}
	}
	if ns, ok := e.src.Space(o.EmitNetns); ok && o.EmitNetns != 0 {
		o.Emit.NAT = fact.Some(e.host.HasNAT(ns))
	}
	if blocked(o.Case) {
		e.blame(o)
	}
}

// blocked says whether a firewall may have had a hand in the case.
func blocked(c *fact.Case) bool {
	return c.RST.Origin.Or("") == "netfilter" || c.FW.Dropped.Or(false) || c.FW.ICMP.State() == fact.Present ||
		c.Emit.Seen.State() == fact.Present && !c.Emit.Seen.Or(true)
}

// blame names the rule: one whose counter moved and that can match, or the
// only one that can have done it.
func (e *enricher) blame(o trace.Observed) {
	f := &o.FW
	wantsReset := o.RST.Origin.Or("") == "netfilter"
	for _, cookie := range []uint64{o.WireNetns, o.EmitNetns, o.VictimNetns} {
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

func (e *enricher) name(f *fact.FW, r linux.Rule) {
	f.Rule = fact.Some(r.String())
	f.RuleRejects = fact.Some(r.Verdict == linux.RejectReset)
}

// pick returns the first rule that ends connections and can match either
// direction of this one.
func pick(rules []linux.Rule, o trace.Observed, wantsReset bool) (linux.Rule, bool) {
	for _, r := range rules {
		if fits(&r, o, wantsReset) {
			return r, true
		}
	}
	return linux.Rule{}, false
}

func only(rules []linux.Rule, o trace.Observed, wantsReset bool) (found linux.Rule, ok bool) {
	for _, r := range rules {
		if !fits(&r, o, wantsReset) || r.Policy {
			continue
		}
		if ok {
			return linux.Rule{}, false // two that could: name none
		}
		found, ok = r, true
	}
	return found, ok
}

func fits(r *linux.Rule, o trace.Observed, wantsReset bool) bool {
	if !r.Kills() || wantsReset != (r.Verdict == linux.RejectReset) {
		return false
	}
	a := linux.Packet{Src: o.Flow.Client, Dst: o.Flow.Server}
	b := linux.Packet{Src: o.Flow.Server, Dst: o.Flow.Client}
	return !r.Excludes(a) || !r.Excludes(b)
}

// firewall reads the rules of a namespace, and which of their counters moved
// since the last time.
func (e *enricher) firewall(ns linux.Netns) *ruleHistory {
	h := e.rules[ns.Cookie]
	if h != nil && time.Since(h.at) < believe {
		return h
	}
	if h == nil {
		if len(e.rules) >= maxSpaces {
			clear(e.rules)
		}
		h = &ruleHistory{}
		e.rules[ns.Cookie] = h
	}
	set, err := e.host.Firewall(ns)
	h.moved, h.err = nil, err
	if err == nil {
		h.moved = linux.Moved(h.set, set)
		h.set = set
	}
	h.at = time.Now()
	return h
}

// log adds what the emitting process wrote around the event.
func (e *enricher) log(o trace.Observed) {
	if e.logs == nil {
		return
	}
	pid := o.EmitPID
	if pid == 0 {
		if p, ok := o.Emit.Listener.PID.Get(); ok {
			pid = int(p)
		}
	}
	if pid == 0 || time.Since(e.logAt[pid]) < logEvery {
		return
	}
	if len(e.logAt) > maxSpaces {
		clear(e.logAt)
	}
	e.logAt[pid] = time.Now()
	text, file, looked := e.logs.Around(pid, o.Time, 2*time.Second)
	switch {
	case !looked:
	case text == "":
		o.Log.Text = fact.None[string]()
	default:
		o.Log.Text, o.Log.File = fact.Some(text), fact.Some(file)
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
