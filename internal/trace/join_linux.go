package trace

import (
	"net/netip"
	"slices"
	"time"
)

// Limits of the joiner. Beyond them the oldest is dropped or flushed early,
// and counted.
const (
	maxPending = 8192 // observations waiting for their other half
	maxAlike   = 32   // of these with the same addresses and ports; more are counted as repeats
	maxDrops   = 4096 // connections whose dropped segments are remembered
	maxWires   = 8    // devices remembered for one RST
	dropMemory = 150 * time.Second
)

// rstKey is the claimed source and destination of a RST.
type rstKey struct{ src, dst netip.AddrPort }

// place is where a RST with that key can be. Every namespace has its own
// loopback addresses; other addresses may lie in several namespaces, one for
// each end, so that the sequence number tells RSTs of equal addresses apart.
type place struct {
	rstKey
	netns uint64 // of loopback addresses, else 0
}

func placeOf(k rstKey, netns uint64) place {
	if k.src.Addr().IsLoopback() && k.dst.Addr().IsLoopback() {
		return place{k, netns}
	}
	return place{rstKey: k}
}

// observation collects what the hooks say about one RST, or about one error
// without a RST, until its hold is over.
type observation struct {
	place
	kind            obsKind
	first, deadline uint64        // monotonic ns
	send            *resetEvent   // the stack sent it
	recv            *resetEvent   // a local socket accepted it
	refused         *resetEvent   // a local stack dropped it
	err             *resetEvent   // the error of the socket that was hit
	ownErr          *resetEvent   // the error of the socket that sent
	owner           *resetEvent   // who let go of the receiver
	wires           []*resetEvent // devices that carried it, in order
	arrived         *resetEvent   // the device that received it
	drop            *resetEvent   // what made an observation without RST
	ended           *resetEvent   // the same: a process closed, and that failed a user
	aliases         []place       // the same RST under translated addresses
	repeats         uint64
	doubtful        bool // a RST of the same numbers was sent at about this time: whether it is this one is not known
	filtered        bool // a packet filter dropped it: whatever was received is another one
}

type obsKind uint8

const (
	obsReset obsKind = iota
	obsError
	obsDrop
	obsEnded
)

// conn is a connection without direction.
type conn struct{ a, b netip.AddrPort }

func connOf(x, y netip.AddrPort) conn {
	if x.Compare(y) > 0 {
		x, y = y, x
	}
	return conn{x, y}
}

// droppedSegment is the memory of a segment that netfilter or TCP dropped, or
// that an ICMP error answered.
type droppedSegment struct {
	event resetEvent
	count int
}

// joiner turns events into observations. It is not safe for concurrent use.
type joiner struct {
	hold    uint64
	reasons map[int32]string // skb_drop_reason
	pending map[place][]*observation
	bySock  map[uint64]*observation // receiver and sender sockets
	bySeq   map[uint32]*observation // RSTs by sequence number, to follow them through NAT
	queue   []*observation          // by deadline, as the hold is constant
	ends    []*observation          // likewise, of ends in order, which wait for a RST that says more
	drops   map[conn]*droppedSegment
	icmps   map[conn]*droppedSegment
	scans   scans
	quiet   map[place]uint64  // listeners and connections whose drops were reported, until when
	recent  map[place]flushed // RSTs already flushed, to see one in each direction
	evicted uint64
	flush   func(*observation)
	blocked func(netns uint64)     // netfilter just dropped a segment there; may be nil
	isICMP  func(*resetEvent) bool // the stack of an error leads through the ICMP handler
	isCopy  func(*resetEvent) bool // a socket that had a copy of the segment let go of it
}

// flushed is what is remembered of a RST that was handed out.
type flushed struct {
	at      uint64
	numbers rstNumbers
	sent    bool // the stack reported that it sent it
}

func newJoiner(hold time.Duration, dropReasons map[int32]string, flush func(*observation)) *joiner {
	return &joiner{hold: uint64(hold), reasons: dropReasons, flush: flush,
		pending: map[place][]*observation{}, bySock: map[uint64]*observation{}, bySeq: map[uint32]*observation{},
		drops: map[conn]*droppedSegment{}, icmps: map[conn]*droppedSegment{}, quiet: map[place]uint64{}, scans: scans{}, recent: map[place]flushed{}}
}

// add takes one event, which is the joiner's from then on.
func (j *joiner) add(e *resetEvent) {
	switch e.Kind {
	case kindSend:
		j.addSend(e)
	case kindRecv:
		j.addRecv(e)
	case kindErr:
		j.addErr(e)
	case kindWire:
		j.addWire(e)
	case kindArrival:
		j.addArrival(e)
	case kindEnded:
		j.addEnded(e)
	case kindDrop:
		j.addDrop(e)
	case kindOwner:
		if o := j.bySock[e.Sk]; o != nil && (o.recv != nil && o.recv.Sk == e.Sk || o.err != nil && o.err.Sk == e.Sk) {
			o.owner = e
		}
	case kindICMP:
		if e.Packet.Present == 1 {
			remember(j.icmps, connOf(e.packetSrc(), e.packetDst()), e)
		}
	}
}

// of says whether a socket event can belong to the observation: the kernel
// uses the memory of a dead socket again at once. After tcp_disconnect a
// socket has no addresses any more, which does not speak against it.
func (o *observation) of(e *resetEvent) bool {
	l, r := e.local(), e.remote()
	return e.Rport == 0 || r.Addr().IsUnspecified() || l == o.src && r == o.dst || l == o.dst && r == o.src || len(o.aliases) > 0
}

// expire flushes what waited long enough.
func (j *joiner) expire(now uint64) {
	n := 0
	for n < len(j.queue) && j.queue[n].deadline <= now {
		j.done(j.queue[n])
		n++
	}
	j.queue = append(j.queue[:0], j.queue[n:]...)
	for n = 0; n < len(j.ends) && j.ends[n].deadline <= now; n++ {
		if !j.resetSince(j.ends[n]) {
			j.flush(j.ends[n])
		}
	}
	j.ends = append(j.ends[:0], j.ends[n:]...)
	if len(j.quiet) > maxDrops {
		clear(j.quiet)
	}
}

func (j *joiner) done(o *observation) {
	for _, p := range append(o.aliases, o.place) {
		j.forget(p, o)
	}
	for _, e := range []*resetEvent{o.send, o.recv, o.err, o.refused} {
		if e != nil && j.bySock[e.Sk] == o {
			delete(j.bySock, e.Sk)
		}
	}
	for _, w := range o.wires {
		if j.bySeq[w.Packet.Seq] == o {
			delete(j.bySeq, w.Packet.Seq)
		}
	}
	if o.send == nil && o.recv == nil && o.refused == nil && o.err == nil && o.drop == nil && o.ended == nil && len(o.wires) == 0 {
		return
	}
	if o.kind == obsReset {
		j.compare(o)
	}
	j.flush(o)
}

func (j *joiner) forget(p place, o *observation) {
	list := j.pending[p]
	for i := range list {
		if list[i] == o {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(j.pending, p)
	} else {
		j.pending[p] = list
	}
}

// compare looks whether the RST of o may be one whose other half was handed out
// already, or still waits, because the halves came too far apart.
func (j *joiner) compare(o *observation) {
	const near = uint64(2 * time.Second)
	n := o.numbers()
	if len(o.wires) > 0 {
		j.remember(o, n)
		return // a device knows where it came from
	}
	if was, ok := j.recent[o.place]; ok && o.send == nil && was.sent && was.at+near >= o.first && o.fits(was.numbers) {
		o.doubtful = true
	}
	for _, other := range j.pending[o.place] {
		if o.send == nil && other.send != nil && o.fits(other.numbers()) {
			o.doubtful = true
		}
	}
	j.remember(o, n)
}

func (j *joiner) remember(o *observation, n rstNumbers) {
	if len(j.recent) >= maxPending {
		clear(j.recent)
	}
	j.recent[o.place] = flushed{o.first, n, o.send != nil}
}

// bothWays says whether a RST went the other way at about the same time.
func (j *joiner) bothWays(o *observation) bool {
	back := place{rstKey{o.dst, o.src}, o.netns}
	for _, r := range j.pending[back] {
		if r.kind == obsReset {
			return true
		}
	}
	was, ok := j.recent[back]
	return ok && was.at+2*j.hold >= o.first
}

// observe returns the pending observation that takes the event, or a new one.
func (j *joiner) observe(p place, kind obsKind, at uint64, takes func(*observation) bool) *observation {
	list := j.pending[p]
	for _, o := range list {
		if at <= o.deadline && takes(o) {
			return o
		}
	}
	if len(list) >= maxAlike {
		list[len(list)-1].repeats++
		return &observation{place: p, kind: kind, first: at, deadline: at} // counted, and not handed out
	}
	if len(j.queue) >= maxPending {
		j.evicted++
		j.done(j.queue[0])
		j.queue = j.queue[1:]
	}
	o := &observation{place: p, kind: kind, first: at, deadline: at + j.hold}
	j.pending[p] = append(j.pending[p], o)
	j.queue = append(j.queue, o)
	return o
}

func (j *joiner) addSend(e *resetEvent) {
	k := rstKey{e.local(), e.remote()}
	if e.Full == 0 || e.State == stListen || e.Rport == 0 || !e.local().Addr().IsValid() || e.remote().Addr().IsUnspecified() {
		if e.Packet.Present == 0 {
			return
		}
		k = rstKey{e.packetDst(), e.packetSrc()}
	}
	o := j.observe(placeOf(k, e.Netns), obsReset, e.TimeNs, func(o *observation) bool { return o.takesSend(e) })
	o.send, o.kind = e, obsReset
	if d := j.drops[connOf(k.src, k.dst)]; d != nil && d.is(k.src, e) { // the stack reports it after it was sent
		o.filtered = true
	}
	if e.Packet.Present == 1 && e.Packet.Flags&(flagSYN|flagACK) == flagSYN && (e.Full == 0 || e.State == stListen) {
		j.scans.knock(scanner{netns: e.Netns, from: k.dst.Addr()}, k.src.Port(), e.TimeNs)
	}
	if e.Full == 0 || e.Sk == 0 {
		return
	}
	// A stack that aborts on data calls tcp_reset on its own socket first: that was no RST from outside.
	if r := j.bySock[e.Sk]; r != nil && r != o && r.recv != nil && r.recv.Sk == e.Sk && r.of(e) {
		o.ownErr, r.recv = r.recv, nil
		if r.err != nil && r.err.Sk == e.Sk {
			o.ownErr, r.err = r.err, nil
		}
	}
	if e.State != stListen {
		j.bySock[e.Sk] = o
	}
}

func (j *joiner) addRecv(e *resetEvent) {
	p := placeOf(rstKey{e.remote(), e.local()}, e.Netns)
	o := j.observe(p, obsReset, e.TimeNs, func(o *observation) bool { return o.takesRecv(e) })
	o.recv, o.kind = e, obsReset
	j.bySock[e.Sk] = o
}

// reportable are the errors that no RST explains.
func reportable(errno int32) bool {
	switch errnoName(errno) {
	case "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNREFUSED", "EPROTO", "ENOPROTOOPT", "EACCES", "EHOSTDOWN", "ENONET", "EADDRNOTAVAIL":
		return true
	}
	return false
}

func (j *joiner) addErr(e *resetEvent) {
	if o := j.bySock[e.Sk]; o != nil && o.of(e) {
		if o.send != nil && o.send.Sk == e.Sk {
			o.ownErr = e
		} else if o.err == nil { // the first report is the cause, later ones are its consequences
			o.err = e
		}
		return
	}
	if e.Rport == 0 || e.Reason != 0 && !reportable(e.Reason) || e.Reason == 0 && (e.State != stSynSent || !j.isICMP(e)) {
		return // with IP_RECVERR an ICMP error is queued first, without sk_err
	}
	p := placeOf(rstKey{e.remote(), e.local()}, e.Netns)
	o := j.observe(p, obsError, e.TimeNs, func(o *observation) bool { return o.err == nil && o.recv == nil && o.drop == nil && o.ended == nil })
	o.err = e
	j.bySock[e.Sk] = o
}

func (j *joiner) addWire(e *resetEvent) {
	p := placeOf(rstKey{e.packetSrc(), e.packetDst()}, e.Netns)
	if o := j.translated(p, e); o != nil {
		o.aliases = append(o.aliases, p)
		j.pending[p] = append(j.pending[p], o)
	}
	o := j.observe(p, obsReset, e.TimeNs, func(o *observation) bool { return o.takesWire(e) })
	o.kind = obsReset // an error may have come first: a refused connect, or a RST for a socket that gave up
	if len(o.wires) == 0 && o.send == nil && e.Origin == originReply && e.Packet.Flags&flagACK != 0 && e.Packet.Seq == 0 {
		j.scans.knock(scanner{netns: e.Netns, from: p.dst.Addr()}, p.src.Port(), e.TimeNs)
	}
	if len(o.wires) < maxWires {
		o.wires = append(o.wires, e)
	}
	if e.Packet.Seq != 0 && len(j.bySeq) < maxPending {
		j.bySeq[e.Packet.Seq] = o
	}
}

// translated returns the observation of the same RST before a NAT changed its
// addresses: same sequence number, one address unchanged.
func (j *joiner) translated(p place, e *resetEvent) *observation {
	o := j.bySeq[e.Packet.Seq]
	if e.Packet.Seq == 0 || o == nil || e.TimeNs > o.deadline || slices.Contains(j.pending[p], o) {
		return nil
	}
	if slices.ContainsFunc(j.pending[p], func(o *observation) bool { return e.TimeNs <= o.deadline && o.takesWire(e) }) {
		return nil
	}
	if o.src == p.src || o.dst == p.dst || o.src.Addr() == p.src.Addr() || o.dst.Addr() == p.dst.Addr() {
		return o
	}
	return nil
}

// endHold is how long an end in order waits for a RST of its connection.
const endHold = uint64(time.Second)

// addEnded takes the end of a connection by a process. Whoever gave up was hit;
// whoever owed an answer is the one that ended it.
func (j *joiner) addEnded(e *resetEvent) {
	if e.Rport == 0 || e.remote().Addr().IsUnspecified() {
		return
	}
	if e.Reason == gaveUpConnecting || e.Reason == gaveUpWaiting {
		p := placeOf(rstKey{e.remote(), e.local()}, e.Netns)
		j.observe(p, obsEnded, e.TimeNs, func(*observation) bool { return false }).ended = e
		return
	}
	if len(j.ends) >= maxPending {
		j.evicted++
		return
	}
	p := placeOf(rstKey{e.local(), e.remote()}, e.Netns)
	j.ends = append(j.ends, &observation{place: p, kind: obsEnded, first: e.TimeNs, deadline: e.TimeNs + endHold, ended: e})
}

// resetSince says whether a RST came after an end in order, which tells the same
// and more.
func (j *joiner) resetSince(o *observation) bool {
	for _, p := range []place{o.place, {rstKey{o.dst, o.src}, o.netns}} {
		if was, ok := j.recent[p]; ok && was.at >= o.first || len(j.pending[p]) > 0 {
			return true
		}
	}
	return false
}

// addArrival takes a RST that a device received. By itself it is no case: what
// the stack does with it is.
func (j *joiner) addArrival(e *resetEvent) {
	p := placeOf(rstKey{e.packetSrc(), e.packetDst()}, e.Netns)
	o := j.observe(p, obsReset, e.TimeNs, func(o *observation) bool { return o.takesArrival(e) })
	o.arrived = e
}

func (j *joiner) addDrop(e *resetEvent) {
	if e.Packet.Present == 0 {
		return
	}
	reason := j.reasons[e.Reason]
	if e.Packet.Flags&flagRST != 0 && reason == "NOT_SPECIFIED" && j.isCopy(e) {
		return // on Linux 6.1 that has the reason of a refused RST
	}
	if e.Packet.Flags&flagRST != 0 && reason != "NETFILTER_DROP" {
		p := placeOf(rstKey{e.packetSrc(), e.packetDst()}, e.Netns)
		j.observe(p, obsReset, e.TimeNs, func(o *observation) bool { return o.takesRefused(e) }).refused = e
		return
	}
	if e.Packet.Flags&flagRST != 0 {
		for _, o := range j.pending[placeOf(rstKey{e.packetSrc(), e.packetDst()}, e.Netns)] {
			o.filtered = o.filtered || o.recv == nil && o.send != nil && o.fits(numbersOf(e))
		}
	}
	c := connOf(e.packetSrc(), e.packetDst())
	if reason == "PKT_TOO_BIG" { // the router answers with ICMP, which says the same
		e.Packet.IcmpType, e.Packet.IcmpCode = 3, 4
		if e.Packet.Version == 6 {
			e.Packet.IcmpType, e.Packet.IcmpCode = 2, 0
		}
		remember(j.icmps, c, e)
		return
	}
	remember(j.drops, c, e)
	if reason == "NETFILTER_DROP" && j.blocked != nil {
		j.blocked(e.Netns)
	}
	switch reason {
	case "TCP_LISTEN_OVERFLOW":
		j.report(rstKey{src: e.packetDst()}, e)
	case "TCP_RFC7323_PAWS":
		j.report(rstKey{c.a, c.b}, e)
	}
}

// report makes an observation of a drop, once a second for each subject.
func (j *joiner) report(key rstKey, e *resetEvent) {
	subject := place{key, e.Netns}
	if j.quiet[subject] > e.TimeNs {
		return
	}
	j.quiet[subject] = e.TimeNs + uint64(time.Second)
	p := placeOf(rstKey{e.packetDst(), e.packetSrc()}, e.Netns)
	if j.pending[p] != nil {
		return
	}
	j.observe(p, obsDrop, e.TimeNs, func(*observation) bool { return false }).drop = e
}

// remember keeps the latest dropped segment of a connection.
func remember(m map[conn]*droppedSegment, c conn, e *resetEvent) {
	if d := m[c]; d != nil {
		d.event = *e
		d.count++
		return
	}
	if len(m) >= maxDrops {
		for k, d := range m { // forget the old ones; if there are none, any one
			if e.TimeNs-d.event.TimeNs > uint64(dropMemory) || len(m) >= maxDrops {
				delete(m, k)
			}
			if len(m) < maxDrops*3/4 {
				break
			}
		}
	}
	m[c] = &droppedSegment{event: *e, count: 1}
}

// is says whether the segment is the RST that the stack of src reports with e.
func (d *droppedSegment) is(src netip.AddrPort, e *resetEvent) bool {
	x := &d.event
	return x.Packet.Flags&flagRST != 0 && x.packetSrc() == src && x.TimeNs <= e.TimeNs && e.TimeNs-x.TimeNs < uint64(time.Millisecond) && numbersOf(e).same(numbersOf(x))
}

// dropped returns what is remembered of dropped segments of the connection
// within the time before at.
func dropped(m map[conn]*droppedSegment, a, b netip.AddrPort, at uint64, within time.Duration) *droppedSegment {
	d := m[connOf(a, b)]
	if d == nil || at > d.event.TimeNs && at-d.event.TimeNs > uint64(within) {
		return nil
	}
	return d
}
