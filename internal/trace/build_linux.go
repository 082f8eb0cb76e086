package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/fact"
)

// builder turns observations into cases.
type builder struct {
	kernel  *kernel
	host    *hostView
	mem     *memory
	symbols *symbolTable
	join    *joiner
	hz      uint64
	witness *witness
	lossy   func(from, to uint64) bool // records of resets were suppressed or lost in that time
	name    string
	serial  uint64
	stacks  bool
	tried   scans                      // ports at which processes of this host were refused
	creds   map[uint64]resetTaskRecord // living processes by their credentials
	credsAt uint64                     // monotonic ns: when they were read

	searched uint64 // monotonic ns of the latest search for unseen namespaces

	misses             uint64 // runs of the program that records closes that the kernel left out
	missesAt, missedAt uint64 // monotonic ns: when they were counted, and when they last rose
}

func some[T any](v T) fact.Opt[T] { return fact.Some(v) }

// remember reads what the kernel's rings have of opens and closes since the last time.
func (b *builder) remember() {
	if b.mem != nil {
		_ = b.mem.refresh() // on error the memory answers from what it has
	}
}

// build makes the case of one observation.
func (b *builder) build(o *observation) Observed {
	b.serial++
	c := &fact.Case{ID: fmt.Sprintf("%s-%d-%d", b.name, o.first, b.serial), Time: b.host.host.MonotonicToTime(o.first), Source: "kernel", Host: b.name}
	ob := Observed{Case: c, Repeats: o.repeats}
	b.remember()
	b.ends(o, &ob)
	b.reset(o, &ob)
	b.sender(o, &ob)
	b.receiver(o, &ob)
	b.trigger(o, c)
	b.firewall(o, &ob)
	b.flow(o, &ob)
	isns(c, o.send, o.recv, o.err, o.ended, o.drop)
	b.outcome(o, c)
	b.youth(o, &ob)
	if o.send == nil && impliedNoSocket(c) {
		c.Sender.Reason = some("NO_SOCKET")
	}
	if b.lossy(o.first, o.deadline) {
		// a flood: who sent this one was counted, and the witness would cost each of its packets
	} else if o.kind == obsReset && o.send == nil && (o.refused != nil || c.Sender.Seen.State() == fact.Present && !c.Sender.Seen.Or(true)) {
		_ = b.witness.arm() // a RST that nobody here sent: the next one has a witness
	} else if o.kind == obsReset && o.send == nil && o.recv != nil {
		_ = b.witness.armArrivals()
	}
	if o.kind == obsReset {
		c.Pattern.BothWays = fact.SomeBy(b.join.bothWays(o), fact.ByKernel)
	}
	b.scanned(o, &ob)
	return ob
}

// isns fills the initial sequence numbers of both sides from sockets of the connection.
func isns(c *fact.Case, sockets ...*resetEvent) {
	if !c.Flow.RolesKnown.Or(false) {
		return
	}
	for _, e := range sockets {
		if e == nil || e.Full == 0 || e.State == stListen || e.PrevState == stListen {
			continue
		}
		own, peer, ok := e.isn(e.local() == c.Flow.Client)
		mine, other := &c.Flow.ClientISN, &c.Flow.ServerISN
		if e.local() == c.Flow.Server {
			mine, other = other, mine
		} else if e.local() != c.Flow.Client {
			continue
		}
		*mine = some(int64(own))
		if ok {
			*other = some(int64(peer))
		}
	}
}

// isn works out both initial sequence numbers of a connection from the numbers of one of
// its sockets. The kernel counts the SYN of an active opener among the bytes that were
// acknowledged (tcp_snd_una_update), and that of a passive one not, whose socket is made
// when the SYN was acknowledged (tcp_create_openreq_child). Nobody has answered yet in
// SYN_SENT; ok is then false.
func (e *resetEvent) isn(active bool) (own, peer uint32, ok bool) {
	unacknowledged := e.SndNxt - e.UnackedBytes // snd_una
	if e.State == stSynSent || e.PrevState == stSynSent {
		return unacknowledged, 0, false
	}
	own, peer = unacknowledged-uint32(e.BytesAcked), e.RcvNxt-uint32(e.BytesReceived)-1
	if !active {
		own--
	}
	return own, peer, true
}

// scanned counts the ports at which the source of a refused SYN was refused. A
// program of this host whose connect() fails is no scanner, unless it fails at
// more ports than any program has peers.
func (b *builder) scanned(o *observation, ob *Observed) {
	c := ob.Case
	if ob.SenderNetns == 0 || c.Trigger.Flags.Or("") != "S" {
		return
	}
	var n int64
	switch {
	case o.recv == nil && o.err == nil && !(c.Receiver.Watched.Or(true) && o.doubtful):
		n = b.join.scans.ports(scanner{netns: ob.SenderNetns, from: o.dst.Addr()}, o.first)
	case ob.ReceiverPID != 0:
		w := scanner{netns: ob.ReceiverNetns, pid: ob.ReceiverPID, from: o.src.Addr()}
		b.tried.knock(w, o.src.Port(), o.first)
		if n = b.tried.ports(w, o.first); n < scanningProcess {
			return
		}
	default:
		return
	}
	c.Pattern.ScanPorts = fact.SomeBy(n, fact.ByPattern)
}

func (b *builder) has(slot string) bool { return b.kernel.attached[slot] != "" }

// ends finds out in which namespaces the two addresses live.
func (b *builder) ends(o *observation, ob *Observed) {
	c := ob.Case
	switch {
	case o.recv != nil:
		ob.ReceiverNetns = o.recv.Netns
	case o.err != nil:
		ob.ReceiverNetns = o.err.Netns
	case o.gaveUp():
		ob.ReceiverNetns = o.ended.Netns
	case o.refused != nil:
		ob.ReceiverNetns = o.refused.Netns
	}
	if o.send != nil {
		ob.SenderNetns = o.send.Netns
	}
	if o.drop != nil {
		ob.SenderNetns = o.drop.Netns
	}
	if o.ended != nil && !o.gaveUp() {
		ob.SenderNetns = o.ended.Netns
	}
	if len(o.wires) > 0 {
		ob.WireNetns = o.wires[0].Netns
		if ob.SenderNetns == 0 && (o.wires[0].fromTCP() || strings.HasPrefix(innermost(b.stack(o.wires[0]), wirePaths), "tcp-")) {
			ob.SenderNetns = ob.WireNetns // a TCP stack resets in its own name only
		}
	}
	for _, e := range append([]*resetEvent{o.send, o.recv, o.err, o.refused, o.drop, o.ended}, o.wires...) {
		if e != nil {
			b.host.space(e.Netns) // learn of namespaces before asking who owns an address
		}
	}
	c.Sender.Watched, ob.SenderNetns = b.watched(o, o.src, o.dst, ob.SenderNetns, ob.ReceiverNetns)
	c.Receiver.Watched, ob.ReceiverNetns = b.watched(o, o.dst, o.src, ob.ReceiverNetns, ob.SenderNetns)
}

// watched finds the namespace of one end: the one that an event names, or the
// only one that owns the address, or of several owners the one that carried or
// dropped a segment or has the socket. If that does not decide, nobody knows.
func (b *builder) watched(o *observation, local, remote netip.AddrPort, known, other uint64) (fact.Opt[bool], uint64) {
	if known != 0 {
		return some(true), known
	}
	owners := b.host.ownersOf(local.Addr(), other)
	switch {
	case len(owners) == 1 && owners[0] != 0:
		return some(true), owners[0]
	case len(owners) == 0:
		return some(false), 0
	case len(owners) == 1:
		return fact.Opt[bool]{}, 0
	}
	for _, w := range o.wires {
		if slices.Contains(owners, w.Netns) {
			return some(true), w.Netns
		}
	}
	if d := dropped(b.join.drops, o.src, o.dst, o.first, dropMemory); d != nil && slices.Contains(owners, d.event.Netns) {
		return some(true), d.event.Netns
	}
	for _, ns := range owners {
		if _, ok, _ := b.host.connection(ns, local, remote); ok || b.mem != nil && b.mem.had(ns, local, remote, o.first) {
			return some(true), ns
		}
	}
	return fact.Opt[bool]{}, 0
}

// reset fills the facts of the RST as a packet.
func (b *builder) reset(o *observation, ob *Observed) {
	r := &ob.Case.RST
	seen := o.send != nil || o.recv != nil || o.refused != nil || len(o.wires) > 0
	r.Seen = fact.SomeBy(seen, fact.ByKernel)
	if !seen {
		return
	}
	b.packet(o, r)
	r.Form = b.form(o)
	switch {
	case len(o.wires) > 0:
		b.origin(o, ob)
	case b.written(o, r):
	case o.send == nil && !o.doubtful && b.witness.saw(o.first) && !b.lossy(o.first, o.deadline) && ob.ReceiverNetns != 0:
		r.OriginHere = some(false)
	}
	switch {
	case o.recv != nil:
		r.Accepted = some("accepted")
	case o.refused != nil:
		r.Accepted = some(b.refusal(o.refused))
	}
	b.provoked(o, r)
}

// written says whether the receiver took the RST in the very call in which a
// process wrote it through a raw or packet socket: on one host that is one stack.
func (b *builder) written(o *observation, r *fact.RST) bool {
	e := firstEvent(o.recv, o.refused)
	if e == nil || o.send != nil || o.doubtful || e.inKernelThread() {
		return false
	}
	class := innermost(b.stack(e), wirePaths)
	if class != "raw-socket" && class != "packet-socket" {
		return false
	}
	r.Origin, r.OriginHere = fact.SomeBy(class, fact.ByKernel), fact.SomeBy(true, fact.ByKernel)
	r.OriginPID, r.OriginName = some(int64(e.Pid)), some(command(e.Comm))
	return true
}

// packet takes the header facts from the device nearest to the receiver, or
// from the receiver's stack itself.
func (b *builder) packet(o *observation, r *fact.RST) {
	var e *resetEvent
	switch {
	case o.refused != nil:
		e = o.refused
	case o.recv != nil && o.recv.Packet.Present == 1:
		e = o.recv
	case o.arrived != nil:
		e = o.arrived
	case len(o.wires) > 0:
		e = o.wires[len(o.wires)-1]
	}
	if e != nil {
		p := &e.Packet
		r.TTL, r.Window, r.PayloadSize, r.Seq = some(int64(p.Ttl)), some(int64(p.Window)), some(int64(p.PayloadBytes)), some(int64(p.Seq))
		if p.Version == 4 {
			r.IPID, r.DF = some(int64(p.IpId)), some(p.Df == 1)
		}
		r.ACK = some(p.Flags&flagACK != 0)
		r.Timestamp = some(hasTimestamp(p.Options, p.OptionsBytes))
		if s := firstEvent(o.recv, o.refused); s != nil && s.Full == 1 && s.State != stListen {
			r.SeqOffset = some(int64(int32(p.Seq - s.RcvNxt)))
			if p.Flags&flagACK != 0 && s.State != stSynSent {
				r.AckUnsent = some(int32(p.Ack-s.SndNxt) > 0)
			}
		}
	} else if o.recv != nil && o.recv.TsOk == 1 {
		r.Timestamp = fact.SomeBy(o.recv.SawTs == 1, fact.ByWire)
	}
	if v := o.recv; v != nil && v.Full == 1 && v.TsOk == 1 && v.SawTs == 1 && v.TsRecent != 0 {
		r.TimestampOld = fact.SomeBy(int32(v.RcvTsval-v.TsRecent) < 0, fact.ByKernel)
	}
	if a := o.arrived; a != nil && a.PeerTtl != 0 && len(o.wires) == 0 {
		r.PeerTTL = some(int64(a.PeerTtl))
		r.HopJump = some(hops(a.Packet.Ttl) - hops(a.PeerTtl))
	}
	if len(o.wires) > 0 {
		r.OriginTTL = some(int64(o.wires[0].Packet.Ttl))
		r.Hops = some(int64(len(o.wires)))
	}
}

// hops is how far a packet has come, by the usual initial TTLs.
func hops(ttl uint8) int64 {
	for _, initial := range []uint8{32, 64, 128} {
		if ttl <= initial {
			return int64(initial - ttl)
		}
	}
	return int64(255 - ttl)
}

func firstEvent(list ...*resetEvent) *resetEvent {
	for _, e := range list {
		if e != nil {
			return e
		}
	}
	return nil
}

// form tells the three shapes apart (RFC 9293 3.5.2 and 3.10.7).
func (b *builder) form(o *observation) fact.Opt[string] {
	var p *resetEvent
	switch {
	case len(o.wires) > 0:
		p = o.wires[0]
	case o.refused != nil:
		p = o.refused
	case o.recv != nil && o.recv.Packet.Present == 1:
		p = o.recv
	case o.arrived != nil:
		p = o.arrived
	}
	if p != nil {
		ack, seq := p.Packet.Flags&flagACK != 0, p.Packet.Seq
		switch {
		case ack && seq == 0 && p.Packet.Window == 0:
			return some("refusal")
		case ack:
			return some("active-abort")
		case p.Packet.Window == 0 && p.Packet.OptionsBytes == 0 || findOption(p.Packet.Options, p.Packet.OptionsBytes, 30) != nil:
			return some("reply")
		}
		return some("other")
	}
	if s := o.send; s != nil {
		switch {
		case s.Packet.Present == 0:
			return fact.SomeBy("active-abort", fact.ByKernel)
		case s.Packet.Flags&flagACK == 0:
			return fact.SomeBy("refusal", fact.ByKernel)
		}
		return fact.SomeBy("reply", fact.ByKernel)
	}
	return fact.Opt[string]{} // timestamps alone do not tell: BSD, Windows and devices abort without
}

// origin says who handed the RST to the first device.
func (b *builder) origin(o *observation, ob *Observed) {
	r, w := &ob.Case.RST, o.wires[0]
	class := innermost(b.stack(w), wirePaths)
	if class == "" || class == "forwarded" && w.Origin != 6 && w.Origin != 3 {
		class = originNames[min(int(w.Origin), len(originNames)-1)]
	}
	r.Origin = some(class)
	r.OriginHere = some(class != "forwarded")
	switch w.Netns {
	case ob.SenderNetns:
		r.OriginNetns = some("sender")
	case ob.ReceiverNetns:
		r.OriginNetns = some("receiver")
	default:
		r.OriginNetns = some("other")
	}
	if (class == "tcp-active" || class == "tcp-reply") && ob.SenderNetns == 0 {
		ob.SenderNetns = w.Netns
	}
	if class == "raw-socket" || class == "packet-socket" {
		r.OriginPID, r.OriginName = some(int64(w.Pid)), some(command(w.Comm))
	}
	ob.Case.FW.ThirdParty = some(r.OriginNetns.Or("") == "other")
	ob.Case.FW.Translated = some(len(o.aliases) > 0)
}

// refusal names what the receiver did with a RST that it did not accept.
func (b *builder) refusal(e *resetEvent) string {
	switch b.kernel.facts.dropReasons[e.Reason] {
	case "TCP_RESET":
		return "challenged"
	case "TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE", "NO_SOCKET", "TCP_RFC7323_PAWS", "TCP_CLOSE", "TCP_CSUM":
		return "ignored"
	}
	switch e.State {
	case stTimeWait:
		return "timewait"
	case stListen, stNewSynRecv:
		return "embryonic"
	}
	return "ignored"
}

// provoked says whether the receiver had sent something that deserved a RST.
// A pure acknowledgement leaves no trace in the socket, so that "no" needs
// silence in both directions.
func (b *builder) provoked(o *observation, r *fact.RST) {
	s := o.recv
	if s == nil || s.Full == 0 {
		return
	}
	window := max(2*time.Duration(s.SrttUs)*time.Microsecond, 20*time.Millisecond)
	switch {
	case s.UnackedBytes > 0 || s.State != stEstablished || s.ProbesOut > 0 || b.jiffies(s.IdleSendJiffies) <= window:
		r.Provoked = some(true)
	case b.jiffies(s.IdleRecvJiffies) > window && b.jiffies(s.IdleAckJiffies) > window:
		r.Provoked = some(false)
	}
}

func (b *builder) jiffies(n uint32) time.Duration {
	return time.Duration(uint64(n) * uint64(time.Second) / b.hz)
}

// stack returns the kernel functions of an event, innermost first, without
// those of tracing.
func (b *builder) stack(e *resetEvent) []string {
	var out []string
	for _, a := range e.Kstack[:min(int(e.Kframes), len(e.Kstack))] {
		f, _ := b.symbols.Lookup(a)
		if !machinery(f) {
			out = append(out, f)
		}
	}
	return out
}

// sender fills the end whose address the RST carries.
func (b *builder) sender(o *observation, ob *Observed) {
	em := &ob.Case.Sender
	switch {
	case o.send != nil:
		em.Seen = some(true)
		b.sent(o, ob)
	case ob.RST.Origin.Or("") == "tcp-active" || ob.RST.Origin.Or("") == "tcp-reply":
		em.Seen = fact.SomeBy(true, fact.ByWire) // its record was lost, but the device got it from the TCP stack
		b.replied(o, ob)
	case o.kind == obsDrop:
		b.dropping(o, ob)
	case o.kind == obsError, o.gaveUp():
		b.silentPeer(o, ob)
	case o.kind == obsEnded:
		b.closer(o, ob)
	case o.doubtful: // it may be the one that this end's stack reported
	case em.Watched.Or(false) && b.has("send") && (b.kernel.facts.sendArgs == 3 || b.has("nosk4")) && !b.lossy(o.first, o.deadline):
		em.Seen = some(false)
		b.innocent(o, ob)
	}
}

// replied fills the sender from the call path that the device saw, where the record
// of the stack is missing: lost, or, before Linux 6.10 and without a hook on
// the function, never made because there was no full socket.
func (b *builder) replied(o *observation, ob *Observed) {
	stack := b.stack(o.wires[0])
	if innermost(stack, wirePaths) != "tcp-reply" {
		return
	}
	em, t := &ob.Case.Sender, &ob.Case.Trigger
	em.Call, em.Stack = some("reply"), some(strings.Join(stack, "<"))
	if o.recv != nil && o.recv.State == stSynSent {
		t.Flags = some("S") // all that a socket in SYN_SENT has sent
	}
	b.dead(ob, o)
	b.listening(ob, o.src)
}

// sent fills the sender from the tcp_send_reset event.
func (b *builder) sent(o *observation, ob *Observed) {
	em, e := &ob.Case.Sender, o.send
	stack := b.stack(e)
	path := stack
	if e.Packet.Present == 1 {
		path = answering(stack)
	}
	call := classify(path, sendPaths)
	switch {
	case e.State == stTimeWait:
		call = "time-wait"
	case call == "":
		call = "other"
	}
	if e.Reason >= 0 {
		em.Reason = some(b.reason(e.Reason))
	}
	if r := em.Reason.Or("NOT_SPECIFIED"); r == "NOT_SPECIFIED" {
		if implied := impliedReason(call, stack, e); implied != "" {
			em.Reason = some(implied)
		}
	}
	em.Call = some(call)
	em.Stack = some(strings.Join(stack, "<"))
	b.socket(&em.Sock, e)
	if e.Full == 1 && e.State == stListen {
		em.Listener.Exists = fact.SomeBy(true, fact.ByKernel)
		em.Listener.Backlog, em.Listener.BacklogMax = fact.SomeBy(int64(e.Backlog), fact.ByKernel), fact.SomeBy(int64(e.BacklogMax), fact.ByKernel)
	}
	inProcess := inCall(call) || e.Owned == 1 && e.Packet.Present == 0
	if inProcess && e.inKernelThread() {
		em.Syscall = fact.None[string]()
	} else if inProcess {
		em.Syscall = some(b.syscall(e))
	}
	switch {
	case call == "sock-destroy":
		ob.Case.RST.OriginPID, ob.Case.RST.OriginName = fact.SomeBy(int64(e.Pid), fact.ByProcess), fact.SomeBy(command(e.Comm), fact.ByProcess)
		ob.SenderPID = b.host.ownerOfInode(e.Inode)
		b.living(&em.Proc, ob.SenderPID)
	case inProcess && e.inKernelThread():
		ob.SenderPID = b.opener(&em.Proc, e.Opener, e.Cred, e.TimeNs)
	case inProcess:
		ob.SenderPID = int(e.Pid)
		b.actor(&em.Proc, e)
	case e.Full == 1:
		ob.SenderPID = b.host.ownerOfInode(e.Inode)
		b.living(&em.Proc, ob.SenderPID)
	}
	if o.ownErr != nil && o.ownErr.SkErr != 0 {
		em.Error = some(errnoName(o.ownErr.SkErr))
	}
	if b.stacks && e.Uframes > 0 && inProcess && !e.inKernelThread() {
		em.UStack = some(b.userStack(e))
	}
	if e.Packet.Present == 1 || e.State == stTimeWait {
		b.dead(ob, o)
		b.listening(ob, o.src)
	}
}

// inCall tells the paths on which the current process is the one that owns
// the socket, also where the socket lock is not held (inet_csk_listen_stop).
func inCall(call string) bool {
	switch call {
	case "close", "linger", "disconnect", "listen-stop":
		return true
	}
	return false
}

func (b *builder) reason(n int32) string {
	if s, ok := b.kernel.facts.rstReasons[n]; ok {
		return s
	}
	if s, ok := b.kernel.facts.dropReasons[n]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", n)
}

func (b *builder) syscall(e *resetEvent) string {
	name := syscallName(e.Syscall)
	if e.TaskFlags&taskIO != 0 {
		return "io_uring_enter" // a worker of the process's ring
	}
	if e.TaskFlags&taskExiting != 0 && name != "exit_group" {
		return "exit" // killed in the middle of another call, or by a fault
	}
	return name
}

// socket copies the socket facts.
func (b *builder) socket(s *fact.Socket, e *resetEvent) {
	if e.Sk == 0 {
		s.Known = some(false)
		s.State = fact.None[string]()
		return
	}
	s.Known = some(e.Full == 1)
	s.State = some(stateName(e.State))
	if e.Full == 0 {
		return
	}
	prev := e.State
	if e.PrevState != 0 && e.State == stClose {
		prev = e.PrevState
	}
	s.PrevState = some(stateName(prev))
	s.UID, s.Inode, s.Cookie, s.MD5 = some(int64(e.Uid)), some(int64(e.Inode)), some(int64(e.Cookie)), some(e.Md5 == 1)
	if e.State == stListen {
		return
	}
	if e.UnreadLen > 0 {
		s.FirstUnread = some(printable(e.Unread[:min(int(e.UnreadLen), len(e.Unread))]))
	}
	s.Orphan = some(e.Dead == 1)
	s.Accepted = some(e.Inode != 0 || e.Dead == 1)
	s.Linger, s.LingerTime, s.Linger2 = some(e.Linger == 1), some(b.jiffies(e.LingerJiffies)), some(int64(e.Linger2Jiffies))
	s.Keepalive, s.KeepIdle, s.KeepIntvl = some(e.Keepopen == 1), b.keep(e.KeepaliveTimeJiffies, "net.ipv4.tcp_keepalive_time"), b.keep(e.KeepaliveIntvlJiffies, "net.ipv4.tcp_keepalive_intvl")
	s.KeepCount, s.ProbesOut = some(int64(e.KeepaliveProbes)), some(int64(e.ProbesOut))
	if e.KeepaliveProbes == 0 {
		s.KeepCount = fact.Opt[int64]{} // the default of the namespace applies
	}
	s.UserTimeout = some(time.Duration(e.UserTimeoutMs) * time.Millisecond)
	s.Retransmits, s.SynRetries = some(int64(e.Retransmits)), some(int64(e.SynRetries))
	s.RTO = some(b.jiffies(e.RtoJiffies))
	s.ShutRead, s.ShutWrite = some(e.Shutdown&1 != 0 && e.State != stClose), some(e.Shutdown&2 != 0 && e.State != stClose)
	if prev == stSynSent {
		s.Unread, s.Unacked, s.Retransmits = some[int64](0), some[int64](0), some(int64(e.Retransmits))
		return
	}
	b.history(s, e, prev)
}

// keep is a keep-alive time of the socket; 0 means the default of the
// namespace, which is not looked up here.
func (b *builder) keep(jiffies uint32, _ string) fact.Opt[time.Duration] {
	if jiffies == 0 {
		return fact.Opt[time.Duration]{}
	}
	return some(b.jiffies(jiffies))
}

// history copies what only a socket that was established has.
func (b *builder) history(s *fact.Socket, e *resetEvent, prev uint8) {
	unread, unacked, received := int64(int32(e.UnreadBytes)), int64(int32(e.UnackedBytes)), int64(e.BytesReceived)
	if prev == stCloseWait || prev == stLastAck || prev == stClosing || prev == stTimeWait {
		unread, received = unread-1, received-1 // the peer's FIN counts as one
	}
	if finSent(prev) && unacked > 0 {
		unacked--
	}
	s.Unread, s.Unacked, s.Unsent = some(max(unread, 0)), some(max(unacked, 0)), some(max(int64(int32(e.UnsentBytes)), 0))
	s.BytesSent, s.BytesAcked, s.BytesRecv = some(int64(e.BytesSent)), some(int64(e.BytesAcked)), some(max(received, 0))
	s.SRTT, s.RTTVar = some(time.Duration(e.SrttUs)*time.Microsecond), some(time.Duration(e.RttvarUs)*time.Microsecond)
	s.TotalRetr, s.Lost, s.Cwnd = some(int64(e.TotalRetrans)), some(int64(e.Lost)), some(int64(e.Cwnd))
	s.SndWnd, s.RcvWnd, s.MSS = some(int64(e.SndWnd)), some(int64(e.RcvWnd)), some(int64(e.Mss))
	s.IdleSend, s.IdleRecv, s.IdleAck = some(b.jiffies(e.IdleSendJiffies)), some(b.jiffies(e.IdleRecvJiffies)), some(b.jiffies(e.IdleAckJiffies))
	s.TSOK = some(e.TsOk == 1)
	if b.mem != nil {
		if ts, _, ok := b.mem.opened(e.Sk, e.key(), e.TimeNs); ok {
			s.Age = some(time.Duration(e.TimeNs - ts))
		}
	}
}

func finSent(state uint8) bool {
	switch state {
	case stFinWait1, stFinWait2, stClosing, stLastAck, stTimeWait:
		return true
	}
	return false
}

// actor fills the process from an event that happened in its own context.
func (b *builder) actor(p *fact.Process, e *resetEvent) {
	b.living(p, int(e.Pid))
	p.PID, p.Name = some(int64(e.Pid)), some(command(e.Comm))
	exiting := e.TaskFlags&taskExiting != 0
	p.Exiting = some(exiting)
	if !exiting {
		return
	}
	var r resetExitRecord
	if m := b.kernel.maps["exits"]; p.PPID.State() == fact.NotLooked && m != nil && m.Lookup(e.Pid, &r) == nil {
		p.PPID = some(int64(r.Ppid)) // it is gone from /proc
	}
	b.death(e.Pid, e.ExitCode, &p.Signal, &p.ExitCode, &p.OOM)
	b.killed(p, e.Pid, e.ExitCode)
}

// killed fills who sent the signal that ended the process.
func (b *builder) killed(p *fact.Process, pid uint32, code int32) {
	k, ok := b.killer(pid, code&0x7f)
	switch {
	case ok && k.Kernel == 0 && k.Code <= 0 && k.Pid != pid:
		p.KillerPID, p.KillerName = some(int64(k.Pid)), some(command(k.Comm))
	case b.has("signal"):
		p.KillerPID, p.KillerName = fact.None[int64](), fact.None[string]()
	}
}

// death decodes an exit code as the kernel keeps it: signal in the low seven
// bits, status above the low byte.
func (b *builder) death(pid uint32, code int32, signal *fact.Opt[string], status *fact.Opt[int64], oom *fact.Opt[bool]) {
	if sig := code & 0x7f; sig != 0 {
		*signal, *status = some(signalName(sig)), fact.None[int64]()
	} else {
		*signal, *status = fact.None[string](), some(int64(code>>8&0xff))
	}
	if b.has("oom") {
		var at uint64
		*oom = some(b.kernel.maps["oom_victims"].Lookup(pid, &at) == nil)
	}
}

func (b *builder) killer(pid uint32, sig int32) (k resetKiller, ok bool) {
	if m := b.kernel.maps["killers"]; m != nil && b.has("signal") {
		ok = m.LookupWithFlags(pid, &k, ebpf.MapLookupFlags(0)) == nil && int32(k.Sig) == sig
	}
	return k, ok
}

// living fills what /proc knows, or knew, of a process.
func (b *builder) living(p *fact.Process, pid int) {
	lp, ok := b.host.process(pid)
	if !ok {
		if pid != 0 {
			p.PID = some(int64(pid))
		}
		return
	}
	p.PID, p.Name, p.PPID, p.ParentName = some(int64(lp.PID)), some(lp.Name), some(int64(lp.PPID)), some(lp.ParentName)
	p.Exe, p.Cmdline, p.Cgroup = text(lp.Exe), text(lp.Cmdline), text(lp.Cgroup)
	p.Unit, p.ContainerID = text(lp.Unit), text(lp.Container)
	if !lp.Start.IsZero() {
		p.Age = some(max(time.Since(lp.Start), 0))
	}
	if lp.Container != "" {
		if name, pod, ns, ok := b.host.host.ContainerNames(lp.Container); ok {
			p.ContainerName = text(name)
			if pod != "" {
				p.Pod = some(ns + "/" + pod)
			}
		}
	}
	if !lp.Gone {
		p.Stalled = some(lp.Stopped())
		p.OpenFiles, p.MaxFiles = some(int64(lp.OpenFiles)), some(lp.MaxFiles)
		if p.Exiting.State() == fact.NotLooked {
			p.Exiting = some(false)
		}
	}
}

// text is a fact that is absent when empty.
func text(s string) fact.Opt[string] {
	if s == "" {
		return fact.None[string]()
	}
	return some(s)
}

// userStack names the frames of the closing call.
func (b *builder) userStack(e *resetEvent) string {
	var out []string
	for _, a := range e.Ustack[:min(int(e.Uframes), len(e.Ustack))] {
		s := b.host.host.UserSymbol(int(e.Pid), a)
		if s == "" {
			s = fmt.Sprintf("%#x", a)
		}
		out = append(out, s)
	}
	return strings.Join(out, "<")
}
