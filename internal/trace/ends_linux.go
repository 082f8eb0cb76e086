package trace

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

// dead fills what is remembered of the socket that had the tuple of the
// emitting end.
func (b *builder) dead(ob *Observed, o *observation) {
	d := &ob.Case.Sender.Dead
	if b.mem == nil || !b.has("state") || ob.SenderNetns == 0 {
		return
	}
	rec, horizon, ok := b.mem.closed(ob.SenderNetns, o.src, o.dst, o.first)
	d.Horizon = some(horizon)
	if ok || !b.missedClose() {
		d.Known = some(ok)
	}
	if !ok {
		b.givenUp(ob, o)
		return
	}
	d.Age = some(time.Duration(o.first - rec.TsNs))
	d.Name, d.From = some(command(rec.Comm)), some(stateName(rec.From))
	d.How = some(howClosed(&rec))
	if end, ok := b.mem.endedBadly(ob.SenderNetns, o.src, o.dst, o.first); ok && end.TsNs >= rec.TsNs && end.Sk == rec.Sk && !sends(o, &end) {
		d.How = some(errorEnd(end.SkErr)) // and not by the close, which had been in order
	}
	d.Unread, d.Unacked = some(max(int64(int32(rec.UnreadBytes)), 0)), some(max(int64(int32(rec.UnackedBytes)), 0))
	d.Received, d.Sent = some(int64(rec.ReceivedBytes)), some(int64(rec.SentBytes))
	d.Idle, d.SpokeLast = some(b.jiffies(rec.IdleJiffies)), some(rec.SpokeLast == 1)
	if ts, _, ok := b.mem.opened(rec.Sk, rec.Key, rec.TsNs); ok {
		d.Life = some(time.Duration(rec.TsNs - ts))
	}
	if rec.Kernel == 1 {
		b.deadFor(ob, &rec)
		return
	}
	if rec.Owned == 0 && rec.Exiting == 0 {
		d.Name = fact.None[string]() // closed by a timer or a packet: nobody in particular
		return
	}
	d.PID = some(int64(rec.Tgid))
	d.Exiting = some(rec.Exiting == 1)
	if rec.Exiting == 1 {
		b.death(rec.Tgid, rec.ExitCode, &d.Signal, &d.ExitCode, &d.OOM)
		if k, ok := b.killer(rec.Tgid, rec.ExitCode&0x7f); ok && k.Kernel == 0 && k.Code <= 0 && k.Pid != rec.Tgid {
			d.Killer = some(command(k.Comm))
		} else if b.has("signal") {
			d.Killer = fact.None[string]()
		}
		d.Syscall = some("exit")
	} else {
		d.Syscall = some(syscallName(rec.Syscall))
	}
	if ob.SenderPID == 0 {
		ob.SenderPID = int(rec.Tgid)
		p := &ob.Case.Sender.Proc
		b.living(p, int(rec.Tgid))
		p.PID, p.Name = some(int64(rec.Tgid)), some(command(rec.Comm))
		p.Exiting, p.Signal, p.ExitCode, p.OOM = d.Exiting, d.Signal, d.ExitCode, d.OOM
	}
}

// missedClose says whether the program that records closes could not run some
// time in the last minute, as when a task that was in it was preempted by another
// one that closed: what is not remembered may have been, all the same.
func (b *builder) missedClose() bool {
	now := monotonic()
	if now-min(b.missesAt, now) >= uint64(100*time.Millisecond) {
		b.missesAt = now
		if n := b.kernel.missed("state"); n > b.misses {
			b.misses, b.missedAt = n, now
		}
	}
	return b.missedAt != 0 && now-b.missedAt < uint64(time.Minute)
}

// givenUp fills what is remembered of an end whose close is not.
func (b *builder) givenUp(ob *Observed, o *observation) {
	d := &ob.Case.Sender.Dead
	rec, ok := b.mem.endedBadly(ob.SenderNetns, o.src, o.dst, o.first)
	if !ok || sends(o, &rec) {
		return
	}
	d.Known, d.Age, d.How = some(true), some(time.Duration(o.first-rec.TsNs)), some(errorEnd(rec.SkErr))
	d.From, d.Unacked = some(stateName(rec.From)), some(max(int64(int32(rec.UnackedBytes)), 0))
	d.Name = fact.None[string]()
}

// sends says whether that end was the one that sends this RST: a stack that
// aborts on data ends its socket first.
func sends(o *observation, end *resetCloseRecord) bool {
	return o.send != nil && o.send.Full == 1 && o.send.Sk == end.Sk
}

// deadFor names the process for which a thread of the kernel closed.
func (b *builder) deadFor(ob *Observed, rec *resetCloseRecord) {
	d := &ob.Case.Sender.Dead
	d.Name, d.Syscall = fact.None[string](), fact.None[string]()
	var p fact.Process
	pid := b.opener(&p, rec.Opener, rec.Cred, rec.TsNs)
	if pid == 0 {
		return
	}
	d.PID, d.Name, d.Exiting = p.PID, p.Name, p.Exiting
	d.Signal, d.ExitCode, d.OOM, d.Killer = p.Signal, p.ExitCode, p.OOM, p.KillerName
	if p.Exiting.Or(false) {
		d.How, d.Syscall = some("exit"), some("exit")
	}
	if ob.SenderPID == 0 {
		ob.SenderPID, ob.Case.Sender.Proc = pid, p
	}
}

func howClosed(r *resetCloseRecord) string {
	switch {
	case r.Exiting == 1:
		return "exit"
	case r.To == stFinWait1 && r.Kernel == 0 && syscallName(r.Syscall) == "shutdown":
		return "shutdown"
	case r.To == stFinWait1:
		return "close"
	case r.To == stLastAck:
		return "peer"
	case r.SkErr != 0 && r.Owned == 0:
		return errorEnd(r.SkErr)
	case r.From == stCloseWait:
		return "peer"
	case r.Owned == 1:
		return "abort"
	}
	return "other"
}

// errorEnd names the end of a socket by its error (net/ipv4/tcp_input.c
// tcp_reset, tcp_timer.c tcp_write_err, icmp.c icmp_err_convert).
func errorEnd(errno uint16) string {
	switch errnoName(int32(errno)) {
	case "ECONNRESET", "EPIPE":
		return "reset"
	case "ECONNREFUSED":
		return "refused"
	case "ETIMEDOUT":
		return "timeout"
	case "EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EOPNOTSUPP", "EMSGSIZE":
		return "icmp"
	case "ECONNABORTED":
		return "abort"
	}
	return "other"
}

// listening fills the listener of the emitting end's port.
func (b *builder) listening(ob *Observed, at netip.AddrPort) {
	l := &ob.Case.Sender.Listener
	if ob.SenderNetns == 0 {
		return
	}
	s, ok, other, looked := b.host.listener(ob.SenderNetns, at)
	if !looked {
		return
	}
	if l.Exists.State() == fact.NotLooked {
		l.Exists = some(ok)
	}
	l.OtherAddr = some(other)
	l.LocalOnly = some(other && s.Local.Addr().IsLoopback())
	if !ok && !other {
		return
	}
	if l.Backlog.State() == fact.NotLooked {
		l.Backlog, l.BacklogMax = some(int64(s.RQueue)), some(int64(s.WQueue))
	}
	pid := b.host.ownerOfInode(s.Inode)
	if p, known := b.host.process(pid); known {
		l.PID, l.Name = some(int64(pid)), some(p.Name)
		if !p.Start.IsZero() {
			l.Age = some(max(time.Since(p.Start), 0))
		}
		if ok && ob.SenderPID == 0 {
			ob.SenderPID = pid
			b.living(&ob.Case.Sender.Proc, pid)
		}
	}
}

// innocent fills the end whose address a RST carries that its stack did not
// send: does it still have the connection?
func (b *builder) innocent(o *observation, ob *Observed) {
	em := &ob.Case.Sender
	if s, ok, looked := b.host.connection(ob.SenderNetns, o.src, o.dst); looked {
		em.Sock.Known = fact.SomeBy(ok, fact.ByHost)
		if ok {
			em.Sock.State = fact.SomeBy(s.State.String(), fact.ByHost)
			if s.Inode != 0 || waitsForAccept(s.State) {
				em.Sock.Accepted = fact.SomeBy(s.Inode != 0, fact.ByHost)
			}
			em.Sock.Inode = fact.SomeBy(int64(s.Inode), fact.ByHost)
			em.Sock.Unread = fact.SomeBy(unreadOf(&s), fact.ByHost)
			ob.SenderPID = b.host.ownerOfInode(s.Inode)
			b.living(&em.Proc, ob.SenderPID)
		}
	}
	b.dead(ob, o)
	b.listening(ob, o.src)
}

// waitsForAccept says whether a socket without an inode can be one that nobody has
// accepted. In the other states its process may be gone.
func waitsForAccept(s linux.TCPState) bool { return s == linux.Established || s == linux.CloseWait }

// unreadOf is what an application has not read; the queue counts a FIN as one.
func unreadOf(s *linux.Socket) int64 {
	n := int64(s.RQueue)
	switch s.State {
	case linux.CloseWait, linux.LastAck, linux.Closing, linux.TimeWait:
		n--
	}
	return max(n, 0)
}

// dropping fills the sender for a drop that was reported without any RST: the end
// that dropped.
func (b *builder) dropping(o *observation, ob *Observed) {
	em, e := &ob.Case.Sender, o.drop
	em.Seen = some(true)
	em.Reason = some(b.kernel.facts.dropReasons[e.Reason])
	em.Stack = some(strings.Join(b.stack(e), "<"))
	b.socket(&em.Sock, e)
	if e.Full == 1 && e.State == stListen {
		em.Listener.Exists = fact.SomeBy(true, fact.ByKernel)
		em.Listener.Backlog, em.Listener.BacklogMax = fact.SomeBy(int64(e.Backlog), fact.ByKernel), fact.SomeBy(int64(e.BacklogMax), fact.ByKernel)
	}
	b.listening(ob, o.src)
	if ob.SenderPID == 0 && e.Full == 1 {
		ob.SenderPID = b.host.ownerOfInode(e.Inode)
		b.living(&em.Proc, ob.SenderPID)
	}
}

// silentPeer fills the sender for an error without RST: what the other end, if it is
// on this host, did with our segments.
func (b *builder) silentPeer(o *observation, ob *Observed) {
	em := &ob.Case.Sender
	if !em.Watched.Or(false) {
		return
	}
	em.Seen = some(false)
	if d := dropped(b.join.drops, o.src, o.dst, o.first, b.lastAttempt(o)); d != nil && d.event.Netns == ob.SenderNetns {
		em.Reason = some(b.kernel.facts.dropReasons[d.event.Reason])
	}
	b.innocent(o, ob)
}

// receiver fills the end that was hit.
func (b *builder) receiver(o *observation, ob *Observed) {
	v := &ob.Case.Receiver
	if o.gaveUp() {
		b.waited(o, ob)
		return
	}
	e := firstEvent(o.recv, o.err, o.refused)
	if e == nil {
		if v.Watched.Or(false) && o.kind != obsEnded && b.has("recv") && !b.lossy(o.first, o.deadline) {
			v.Seen = some(false)
		}
		if ob.ReceiverNetns != 0 && (o.kind == obsReset || o.kind == obsEnded) && o.dst.Port() != 0 {
			b.bystander(o, ob)
		}
		return
	}
	v.Seen = some(true)
	b.socket(&v.Sock, e)
	if e.Owned == 1 && o.refused != e && !e.inKernelThread() {
		v.Syscall = some(b.syscall(e)) // the call of the socket's owner that met the RST
	}
	v.Stack = some(strings.Join(b.stack(e), "<"))
	switch {
	case o.recv != nil:
		v.Call, v.Error = some("reset"), some(b.errno(o))
	case o.err != nil:
		v.Call = some(orOther(classify(b.stack(o.err), errorPaths)))
		if o.err.Reason != 0 {
			v.Error = some(errnoName(o.err.Reason))
		}
	default:
		v.Reason = some(b.kernel.facts.dropReasons[e.Reason])
		v.Error = fact.None[string]()
	}
	b.receiverOwner(o, ob, e)
}

func orOther(s string) string {
	if s == "" {
		return "other"
	}
	return s
}

// errno is what the application gets: the kernel's report, or what tcp_reset
// sets in that state (net/ipv4/tcp_input.c).
func (b *builder) errno(o *observation) string {
	if o.err != nil && o.err.SkErr != 0 {
		return errnoName(o.err.SkErr)
	}
	switch o.recv.State {
	case stSynSent:
		return "ECONNREFUSED"
	case stCloseWait:
		return "EPIPE"
	}
	return "ECONNRESET"
}

// receiverOwner finds the process that suffered: who let go of the socket, or
// who still holds it.
func (b *builder) receiverOwner(o *observation, ob *Observed, e *resetEvent) {
	p := &ob.Case.Receiver.Proc
	switch {
	case o.owner != nil && o.owner.inKernelThread():
		ob.ReceiverPID = b.opener(p, e.Opener, e.Cred, o.owner.TimeNs)
	case o.owner != nil:
		ob.ReceiverPID = int(o.owner.Pid)
		b.actor(p, o.owner)
	case e.State == stListen || e.Full == 0 || e.Inode == 0:
	default:
		if ob.ReceiverPID = b.host.ownerOfInode(e.Inode); ob.ReceiverPID != 0 {
			b.living(p, ob.ReceiverPID)
		}
	}
}

// bystander fills the receiving end of a RST that no socket took, as far as
// its namespace can be asked.
func (b *builder) bystander(o *observation, ob *Observed) {
	s, ok, looked := b.host.connection(ob.ReceiverNetns, o.dst, o.src)
	if !looked {
		return
	}
	v := &ob.Case.Receiver
	v.Sock.Known = fact.SomeBy(ok, fact.ByHost)
	if ok {
		v.Sock.State = fact.SomeBy(s.State.String(), fact.ByHost)
		if ob.ReceiverPID = b.host.ownerOfInode(s.Inode); ob.ReceiverPID != 0 {
			b.living(&v.Proc, ob.ReceiverPID)
		}
	}
}

// trigger copies the segment that the stack answered with the RST.
func (b *builder) trigger(o *observation, c *fact.Case) {
	e := firstEvent(o.send, o.drop)
	if e == nil {
		return
	}
	t := &c.Trigger
	if e.Packet.Present == 0 {
		t.Flags = fact.None[string]()
		return
	}
	p := &e.Packet
	t.Flags, t.PayloadSize = some(flagString(p.Flags)), some(int64(p.PayloadBytes))
	t.Seq, t.Ack, t.TTL, t.Window = some(int64(p.Seq)), some(int64(p.Ack)), some(int64(p.Ttl)), some(int64(p.Window))
	t.Timestamp = some(hasTimestamp(p.Options, p.OptionsBytes))
	t.MPTCP = some(findOption(p.Options, p.OptionsBytes, 30) != nil)
	if p.FirstBytes > 0 {
		t.FirstBytes = some(printable(p.First[:min(int(p.FirstBytes), len(p.First))]))
	} else if p.PayloadBytes == 0 {
		t.FirstBytes = fact.None[string]()
	}
}

// firewall fills what netfilter and ICMP did to the connection.
func (b *builder) firewall(o *observation, ob *Observed) {
	f := &ob.Case.FW
	if !b.has("drop") {
		return
	}
	d := dropped(b.join.drops, o.src, o.dst, o.first, b.lastAttempt(o))
	if d != nil && b.kernel.facts.dropReasons[d.event.Reason] == "NETFILTER_DROP" {
		f.Dropped = some(true)
		where, _ := b.symbols.Lookup(d.event.Loc)
		f.DroppedAt = text(where)
		f.Hook = text(classify(b.stack(&d.event), hookPaths))
		dir := "to-client"
		if d.event.packetDst() == b.server(o, ob.Case) {
			dir = "to-server"
		}
		f.DroppedDir = some(dir)
		if ob.WireNetns == 0 {
			ob.WireNetns = d.event.Netns
		}
	} else {
		f.Dropped = some(false)
	}
	b.icmp(o, f)
}

// lastAttempt is how long ago a segment may have been dropped and still be the
// reason: for a timeout, since the last transmission, which was one
// retransmission timeout ago. An earlier drop did not end the connection.
func (b *builder) lastAttempt(o *observation) time.Duration {
	if e := firstEvent(o.err, o.ended); o.kind != obsReset && e != nil {
		return 200*time.Millisecond + b.jiffies(e.RtoJiffies)*11/10
	}
	return time.Second
}

func (b *builder) server(o *observation, c *fact.Case) netip.AddrPort {
	if !c.Flow.Server.IsValid() {
		client, server, _ := b.roles(o)
		c.Flow.Client, c.Flow.Server = client, server
	}
	return c.Flow.Server
}

// icmp names the ICMP error behind an unreachable destination: the one this
// host sent, or what the errno allows (net/ipv4/icmp.c icmp_err_convert).
func (b *builder) icmp(o *observation, f *fact.FW) {
	if d := dropped(b.join.icmps, o.src, o.dst, o.first, dropMemory); d != nil && o.kind != obsReset {
		f.ICMP = fact.SomeBy(icmpName(d.event.Packet.Version, d.event.Packet.IcmpType, d.event.Packet.IcmpCode), fact.ByKernel)
		return
	}
	if o.err == nil || classify(b.stack(o.err), errorPaths) != "icmp" {
		if o.kind == obsError {
			f.ICMP = fact.None[string]()
		}
		return
	}
	switch errnoName(o.err.Reason) {
	case "ECONNREFUSED":
		f.ICMP = some("port-unreachable")
	case "EHOSTUNREACH":
		f.ICMP = some("host-unreachable")
	case "ENETUNREACH":
		f.ICMP = some("net-unreachable")
	case "EACCES":
		f.ICMP = some("admin-prohibited")
	default:
		f.ICMP = some("other")
	}
}

func icmpName(version, typ, code uint8) string {
	names := map[[2]uint8]string{{3, 0}: "net-unreachable", {3, 1}: "host-unreachable", {3, 3}: "port-unreachable", {3, 4}: "frag-needed", {3, 9}: "admin-prohibited", {3, 10}: "admin-prohibited", {3, 13}: "admin-prohibited", {11, 0}: "ttl-exceeded"}
	if version == 6 {
		names = map[[2]uint8]string{{1, 0}: "net-unreachable", {1, 1}: "admin-prohibited", {1, 3}: "host-unreachable", {1, 4}: "port-unreachable", {1, 5}: "admin-prohibited", {1, 6}: "admin-prohibited", {2, 0}: "frag-needed", {3, 0}: "ttl-exceeded"}
	}
	if s, ok := names[[2]uint8{typ, code}]; ok {
		return s
	}
	return "other"
}

// flow fills the connection and the roles of its ends.
func (b *builder) flow(o *observation, ob *Observed) {
	c := ob.Case
	client, server, known := b.roles(o)
	f := &c.Flow
	f.Client, f.Server, f.Netns = client, server, ob.ReceiverNetns
	if f.Netns == 0 {
		f.Netns = ob.SenderNetns
	}
	family := "ipv6"
	if client.Addr().Is4() {
		family = "ipv4"
	}
	f.Family, f.ClientPort, f.ServerPort = some(family), some(int64(client.Port())), some(int64(server.Port()))
	f.Loopback = some(client.Addr().IsLoopback() && server.Addr().IsLoopback())
	f.Public = some(fact.IsPublic(server.Addr()))
	f.RolesKnown = some(known)
	if e := firstEvent(o.send, o.recv, o.err, o.ended); e != nil && e.Full == 1 && e.State != stListen {
		f.MPTCP = some(e.Mptcp == 1)
	}
	role := func(a netip.AddrPort) fact.Opt[string] {
		if a == client {
			return some("client")
		}
		return some("server")
	}
	c.Sender.Role, c.Receiver.Role = role(o.src), role(o.dst)
}

// roles says who opened the connection, from the sockets' own history where
// one is at hand.
func (b *builder) roles(o *observation) (client, server netip.AddrPort, known bool) {
	asEmit := func(active bool) (netip.AddrPort, netip.AddrPort, bool) {
		if active {
			return o.src, o.dst, true
		}
		return o.dst, o.src, true
	}
	if e := o.drop; e != nil {
		return o.dst, o.src, e.State == stListen || e.State == stNewSynRecv
	}
	if e := o.ended; e != nil {
		if active, ok := b.active(e); ok {
			return asEmit(active != o.gaveUp())
		}
	}
	if e := o.send; e != nil && e.Full == 1 {
		if active, ok := b.active(e); ok {
			return asEmit(active)
		}
	}
	if e := firstEvent(o.recv, o.err, o.refused); e != nil && e.Full == 1 {
		if active, ok := b.active(e); ok {
			return asEmit(!active)
		}
	}
	if e := o.send; e != nil && e.Packet.Present == 1 && e.Packet.Flags&(flagSYN|flagACK) == flagSYN {
		return asEmit(false)
	}
	if e := o.refused; e != nil && (e.State == stListen || e.State == stNewSynRecv) {
		return asEmit(true)
	}
	if active, ok := b.deadRole(o); ok {
		return asEmit(active)
	}
	return asEmit(b.guessActive(o))
}

// deadRole asks the memory of closes whether the dead socket had connected.
func (b *builder) deadRole(o *observation) (active, ok bool) {
	if b.mem == nil || o.send == nil {
		return false, false
	}
	rec, _, found := b.mem.closed(o.send.Netns, o.src, o.dst, o.first)
	if !found {
		return false, false
	}
	_, active, ok = b.mem.opened(rec.Sk, rec.Key, rec.TsNs)
	return active, ok
}

// guessActive decides by port numbers: the lower one serves.
func (b *builder) guessActive(o *observation) bool {
	if o.send != nil {
		if _, ok, _, looked := b.host.listener(o.send.Netns, o.src); looked && ok {
			return false
		}
	}
	return o.src.Port() > o.dst.Port()
}

// active tells whether the socket connected (or was connected to). The state,
// the record of its opening, or the fact that bytes_acked counts the SYN only
// for the side that sent the first one (net/ipv4/tcp_input.c) decides.
func (b *builder) active(e *resetEvent) (active, ok bool) {
	state := e.State
	if state == stClose && e.PrevState != 0 {
		state = e.PrevState
	}
	switch state {
	case stSynSent:
		return true, true
	case stListen, stSynRecv, stNewSynRecv:
		return false, true
	}
	if b.mem != nil {
		if _, active, ok := b.mem.opened(e.Sk, e.key(), e.TimeNs); ok {
			return active, true
		}
	}
	if state == stClose {
		return false, false // whether a FIN was sent is not known
	}
	n := int64(e.BytesAcked) + int64(e.UnackedBytes) - int64(e.BytesSent-e.BytesRetrans)
	if finSent(state) {
		n--
	}
	switch n {
	case 0:
		return false, true
	case 1:
		return true, true
	}
	return false, false
}

// outcome says what happened to the connection, and in which phase.
func (b *builder) outcome(o *observation, c *fact.Case) {
	c.Phase = some(b.phase(o, c))
	switch {
	case o.kind == obsEnded:
		c.Outcome = some(b.endedOutcome(o, c))
	case o.kind == obsDrop:
		c.Outcome = some("timeout")
		if b.kernel.facts.dropReasons[o.drop.Reason] == "TCP_RFC7323_PAWS" {
			c.Outcome = some("none")
		}
	case o.recv == nil && o.err == nil && o.ownErr != nil && c.Sender.Error.Or("") == "ETIMEDOUT":
		c.Outcome = some("timeout") // the sender itself had given up, and nobody took its RST
	case o.recv == nil && o.err == nil && o.refused != nil:
		c.Outcome = some("none")
		if r := o.refused; r.Full == 1 && r.State != stListen {
			c.Outcome = some("survived")
		}
	case o.recv != nil:
		c.Outcome = some(outcomeOf(c.Receiver.Error.Or("")))
	case o.err != nil && o.err.Reason == 0:
		c.Outcome = some("unreachable")
		if c.FW.ICMP.Or("") == "port-unreachable" {
			c.Outcome = some("refused")
		}
	case o.err != nil:
		c.Outcome = some(outcomeOf(c.Receiver.Error.Or("")))
	case o.ownErr != nil && c.Sender.Error.Or("") == "ETIMEDOUT":
		c.Outcome = some("timeout")
	case c.Trigger.Flags.Or("") == "S":
		c.Outcome = some("refused")
	default:
		c.Outcome = some("reset")
	}
}

func outcomeOf(errno string) string {
	switch errno {
	case "ECONNREFUSED":
		return "refused"
	case "ETIMEDOUT":
		return "timeout"
	case "EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL", "EACCES", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET":
		return "unreachable"
	}
	return "reset"
}

func (b *builder) phase(o *observation, c *fact.Case) string {
	states := []string{c.Sender.Sock.PrevState.Or(""), c.Receiver.Sock.PrevState.Or("")}
	any := func(list ...string) bool {
		return slices.ContainsFunc(states, func(s string) bool { return slices.Contains(list, s) })
	}
	switch {
	case any("SYN_SENT", "SYN_RECV"), c.Trigger.Flags.Or("") == "S":
		return "connect"
	case !c.Sender.Sock.Accepted.Or(true), !c.Receiver.Sock.Accepted.Or(true), c.Sender.Call.Or("") == "minisock", o.kind == obsDrop && c.Sender.Listener.Backlog.Or(0) > 0:
		return "accept-queue"
	case c.Sender.Dead.Known.Or(false), any("TIME_WAIT"), c.Sender.Sock.State.Or("") == "TIME_WAIT":
		return "closed"
	case any("FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "CLOSE_WAIT"):
		return "closing"
	case any("ESTABLISHED"):
		return "established"
	}
	return "none"
}

// youth asks which namespace of this host had the connection at the emitting
// end. A connection older than the memory of openings proves nothing.
func (b *builder) youth(o *observation, ob *Observed) {
	c := ob.Case
	if b.mem == nil || !b.has("state") || ob.SenderNetns == 0 || o.kind == obsDrop {
		return
	}
	p := &c.Pattern
	if b.mem.had(ob.SenderNetns, o.src, o.dst, o.first) {
		c.Sender.Had, p.Holder = some(true), some("same")
		p.SenderNew, p.AddressMoved, p.AddressTwice = some(false), some(false), some(false)
		return
	}
	opened, ok := b.opened(o)
	if !ok {
		return
	}
	c.Sender.Had = some(false)
	ns, ok, looked := b.holder(o, ob.SenderNetns)
	if !ok {
		if looked {
			p.Holder = some("none")
		}
		return
	}
	then, alive := b.host.spaces.Reread(ns) // it may have lost the address a moment ago
	twice := alive && then.Owns(o.src.Addr())
	switch {
	case !alive:
		p.Holder = some("gone")
	case b.still(ns, o):
		p.Holder = some("alive")
	default:
		p.Holder = some("dropped")
	}
	switch born, ok := b.host.born[ob.SenderNetns]; {
	case ok && born.after.After(opened):
		p.SenderStarted = fact.SomeBy(time.Since(born.after), fact.ByHost)
		p.SenderNew, p.AddressMoved, p.AddressTwice = some(true), some(alive && !twice), some(twice)
	case ok && born.before.Before(opened), alive:
		p.SenderNew, p.AddressMoved, p.AddressTwice = some(false), some(!twice), some(twice)
	}
}

// How often namespaces that nobody has seen are searched: a search takes a
// millisecond or two, and cases may come by the thousand.
const searchEvery = uint64(50 * time.Millisecond)

// holder returns the namespace, other than the one that answered, that had the
// connection, and whether all of them were looked at. One may have come and gone
// between two looks at the namespaces: its opening is remembered all the same,
// under a cookie that nobody has seen but that lies near the others, because the
// kernel deals them out in batches.
func (b *builder) holder(o *observation, answered uint64) (ns uint64, ok, looked bool) {
	const batches = 2 * 4096 // net/core/net_namespace.c, COOKIE_LOCAL_BATCH
	low, high := answered, answered
	for ns := range b.host.born {
		if ns != answered && b.mem.had(ns, o.src, o.dst, o.first) {
			return ns, true, true
		}
		low, high = min(low, ns), max(high, ns)
	}
	now := monotonic()
	if now-min(b.searched, now) < searchEvery {
		return 0, false, false
	}
	b.searched = now
	ns, ok = b.mem.search(low-min(low, batches), high+batches, answered, o.src, o.dst, o.first)
	return ns, ok, true
}

func (b *builder) still(ns uint64, o *observation) bool {
	_, ok, _ := b.host.connection(ns, o.src, o.dst)
	return ok
}

// opened returns when the connection was established, where the memory of openings
// reaches back so far, by the receiver's own record.
func (b *builder) opened(o *observation) (time.Time, bool) {
	v := firstEvent(o.recv, o.err)
	if v == nil || v.Full == 0 || v.State == stSynSent {
		return time.Time{}, false
	}
	ts, _, ok := b.mem.opened(v.Sk, v.key(), v.TimeNs)
	return b.host.host.MonotonicToTime(ts), ok
}
