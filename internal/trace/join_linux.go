package trace

import (
	"net/netip"
	"time"
)

// Limits of the joiner. Beyond them the oldest is dropped or flushed early,
// and counted.
const (
	maxPending = 8192 // observations waiting for their other half
	maxDrops   = 4096 // connections whose dropped segments are remembered
	maxWires   = 8    // devices remembered for one RST
	dropMemory = 150 * time.Second
)

// rstKey is the claimed source and destination of a RST.
type rstKey struct{ src, dst netip.AddrPort }

// observation collects what the hooks say about one RST, or about one error
// without a RST, until its hold is over.
type observation struct {
	rstKey
	kind            obsKind
	first, deadline uint64        // monotonic ns
	send            *resetEvent   // the stack sent it
	recv            *resetEvent   // a local socket accepted it
	refused         *resetEvent   // a local stack dropped it
	err             *resetEvent   // the error of the socket that was hit
	ownErr          *resetEvent   // the error of the socket that sent
	owner           *resetEvent   // who let go of the victim
	wires           []*resetEvent // devices that carried it, in order
	drop            *resetEvent   // what made an observation without RST
	aliases         []rstKey      // the same RST under translated addresses
	repeats         uint64
	attempts        int // refused RSTs with different sequence numbers
}

type obsKind uint8

const (
	obsReset obsKind = iota
	obsError
	obsDrop
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
	pending map[rstKey]*observation
	bySock  map[uint64]*observation // victim and sender sockets
	bySeq   map[uint32]*observation // RSTs by sequence number, to follow them through NAT
	queue   []*observation          // by deadline, as the hold is constant
	drops   map[conn]*droppedSegment
	icmps   map[conn]*droppedSegment
	knocks  map[netip.Addr]*knocks
	quiet   map[rstKey]uint64 // listeners and connections whose drops were reported, until when
	recent  map[rstKey]uint64 // RSTs already flushed, to see one in each direction
	evicted uint64
	flush   func(*observation)
	blocked func(netns uint64)     // netfilter just dropped a segment there; may be nil
	isICMP  func(*resetEvent) bool // the stack of an error leads through the ICMP handler
	isCopy  func(*resetEvent) bool // a socket that had a copy of the segment let go of it
}

func newJoiner(hold time.Duration, dropReasons map[int32]string, flush func(*observation)) *joiner {
	return &joiner{hold: uint64(hold), reasons: dropReasons, flush: flush,
		pending: map[rstKey]*observation{}, bySock: map[uint64]*observation{}, bySeq: map[uint32]*observation{},
		drops: map[conn]*droppedSegment{}, icmps: map[conn]*droppedSegment{}, quiet: map[rstKey]uint64{}, knocks: map[netip.Addr]*knocks{}, recent: map[rstKey]uint64{}}
}

// add takes one event; the event is copied.
func (j *joiner) add(ev *resetEvent) {
	e := new(resetEvent)
	*e = *ev
	switch e.Kind {
	case kindSend:
		j.addSend(e)
	case kindRecv:
		j.addRecv(e)
	case kindErr:
		j.addErr(e)
	case kindWire:
		j.addWire(e)
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
	if len(j.quiet) > maxDrops {
		clear(j.quiet)
	}
}

func (j *joiner) done(o *observation) {
	for _, k := range append(o.aliases, o.rstKey) {
		if j.pending[k] == o {
			delete(j.pending, k)
		}
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
	if o.send != nil || o.recv != nil || o.refused != nil || o.err != nil || o.drop != nil || len(o.wires) > 0 {
		if o.kind == obsReset {
			if len(j.recent) >= maxPending {
				clear(j.recent)
			}
			j.recent[o.rstKey] = o.first
		}
		j.flush(o)
	}
}

// bothWays says whether a RST went the other way at about the same time.
func (j *joiner) bothWays(o *observation) bool {
	back := rstKey{o.dst, o.src}
	if r := j.pending[back]; r != nil && r.kind == obsReset {
		return true
	}
	at, ok := j.recent[back]
	return ok && at+2*j.hold >= o.first
}

func (j *joiner) observe(k rstKey, kind obsKind, at uint64) *observation {
	if o := j.pending[k]; o != nil {
		return o
	}
	if len(j.queue) >= maxPending {
		j.evicted++
		j.done(j.queue[0])
		j.queue = j.queue[1:]
	}
	o := &observation{rstKey: k, kind: kind, first: at, deadline: at + j.hold}
	j.pending[k] = o
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
	o := j.observe(k, obsReset, e.TimeNs)
	if o.send != nil {
		o.repeats++
		return
	}
	o.send = e
	if e.Packet.Present == 1 && (e.Full == 0 || e.State == stListen) {
		j.knock(k.dst.Addr(), k.src.Port(), e.TimeNs)
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
	o := j.observe(rstKey{e.remote(), e.local()}, obsReset, e.TimeNs)
	if o.recv != nil {
		o.repeats++
		return
	}
	o.recv = e
	j.bySock[e.Sk] = o
}

// knocks are the ports of this host at which one source was turned away.
type knocks struct {
	at   [32]uint64
	port [32]uint16
	next int
}

const scanMemory = uint64(time.Second)

// knock remembers that a segment of from found no connection at port. It
// counts before the hold is over, so that the first port of a quick scan
// already sees the others.
func (j *joiner) knock(from netip.Addr, port uint16, at uint64) {
	k := j.knocks[from]
	if k == nil {
		if len(j.knocks) >= maxDrops {
			clear(j.knocks)
		}
		k = &knocks{}
		j.knocks[from] = k
	}
	k.at[k.next%len(k.at)], k.port[k.next%len(k.at)] = at, port
	k.next++
}

// ports counts the different ports at which the source was turned away lately.
func (j *joiner) ports(from netip.Addr, at uint64) int64 {
	k := j.knocks[from]
	if k == nil {
		return 0
	}
	seen := map[uint16]bool{}
	for i := range min(k.next, len(k.at)) {
		if k.at[i]+scanMemory >= at {
			seen[k.port[i]] = true
		}
	}
	return int64(len(seen))
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
	o := j.observe(rstKey{e.remote(), e.local()}, obsError, e.TimeNs)
	o.err = e
	j.bySock[e.Sk] = o
}

func (j *joiner) addWire(e *resetEvent) {
	k := rstKey{e.packetSrc(), e.packetDst()}
	o := j.pending[k]
	if o == nil {
		// the same RST behind a NAT: same sequence number, one address unchanged, not on its first device
		if n := j.bySeq[e.Packet.Seq]; n != nil && e.Packet.Seq != 0 && (n.src == k.src || n.dst == k.dst || n.src.Addr() == k.src.Addr() || n.dst.Addr() == k.dst.Addr()) {
			o = n
			o.aliases = append(o.aliases, k)
			j.pending[k] = o
		}
	}
	if o == nil {
		o = j.observe(k, obsReset, e.TimeNs)
	}
	if o.kind == obsError { // the error came first: a refused connect, or a RST for a socket that gave up
		o.kind = obsReset
	}
	for _, w := range o.wires {
		if w.Packet.Seq != e.Packet.Seq || w.Netns == e.Netns && w.Ifindex == e.Ifindex && w.Packet.Ttl == e.Packet.Ttl {
			o.repeats++ // another RST of the same tuple
			return
		}
	}
	if len(o.wires) == 0 && o.send == nil && e.fromTCP() && e.Origin != originActive {
		j.knock(k.dst.Addr(), k.src.Port(), e.TimeNs)
	}
	if len(o.wires) < maxWires {
		o.wires = append(o.wires, e)
	}
	if e.Packet.Seq != 0 && len(j.bySeq) < maxPending {
		j.bySeq[e.Packet.Seq] = o
	}
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
		o := j.observe(rstKey{e.packetSrc(), e.packetDst()}, obsReset, e.TimeNs)
		if o.refused != nil && o.refused.Packet.Seq != e.Packet.Seq {
			o.attempts++
			return
		}
		o.refused = e
		return
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
func (j *joiner) report(subject rstKey, e *resetEvent) {
	if j.quiet[subject] > e.TimeNs {
		return
	}
	j.quiet[subject] = e.TimeNs + uint64(time.Second)
	k := rstKey{e.packetDst(), e.packetSrc()}
	if j.pending[k] != nil {
		return
	}
	j.observe(k, obsDrop, e.TimeNs).drop = e
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

// dropped returns what is remembered of dropped segments of the connection
// within the time before at.
func dropped(m map[conn]*droppedSegment, a, b netip.AddrPort, at uint64, within time.Duration) *droppedSegment {
	d := m[connOf(a, b)]
	if d == nil || at > d.event.TimeNs && at-d.event.TimeNs > uint64(within) {
		return nil
	}
	return d
}
