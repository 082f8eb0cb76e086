package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

// byWire marks a fact that the packets show. The declarations of most facts
// name the kernel as their witness, which this source never is.
func byWire[T any](v T) fact.Opt[T] { return fact.SomeBy(v, fact.ByWire) }

// packetCase makes the case of a RST that was seen on the wire.
func (s *PacketSource) packetCase(o *observation) Observed {
	b := s.build
	b.serial++
	c := &fact.Case{ID: fmt.Sprintf("%s-%d-%d", b.name, o.first, b.serial), Time: s.host.host.MonotonicToTime(o.first), Source: "packet", Host: b.name}
	ob := Observed{Case: c, Repeats: o.repeats, WireNetns: o.wires[0].Netns}
	base := s.baselines.get(connOf(o.src, o.dst))
	c.Sender.Watched, ob.SenderNetns = s.local(o.src.Addr(), o)
	c.Receiver.Watched, ob.ReceiverNetns = s.local(o.dst.Addr(), o)
	s.wire(o, &ob, base)
	sender, senderKnown := s.sockets.find(ob.SenderNetns, o.src, o.dst)
	receiver, receiverKnown := s.sockets.find(ob.ReceiverNetns, o.dst, o.src)
	senderKnown, receiverKnown = senderKnown && ob.SenderNetns != 0, receiverKnown && ob.ReceiverNetns != 0
	if senderKnown {
		ob.SenderPID = s.owner(&c.Sender, &sender)
	}
	if receiverKnown {
		ob.ReceiverPID = s.owner(&c.Receiver, &receiver)
	}
	s.packetFlow(o, &ob, base, &sender, &receiver)
	s.story(o, c, base)
	s.survivor(o, &ob, known(&sender, senderKnown), known(&receiver, receiverKnown))
	if refused := c.Outcome.Or("") == "refused"; refused && ob.SenderNetns != 0 {
		b.listening(&ob, o.src)
	}
	return ob
}

// known is p, or nil.
func known(p *polled, ok bool) *polled {
	if !ok {
		return nil
	}
	return p
}

// local finds the watched namespace that owns the address. Of several, the one
// that carried the RST counts.
func (s *PacketSource) local(addr netip.Addr, o *observation) (fact.Opt[bool], uint64) {
	var carried []uint64
	for _, w := range o.wires {
		carried = append(carried, w.Netns)
	}
	if addr.IsLoopback() {
		return fact.SomeBy(true, fact.ByHost), carried[0]
	}
	owners, certain := s.owners(addr)
	switch {
	case len(owners) == 0 && certain:
		return fact.SomeBy(false, fact.ByHost), 0
	case len(owners) == 0:
		return fact.Opt[bool]{}, 0
	}
	carrier := func(ns uint64) bool { return slices.Contains(carried, ns) }
	i := slices.IndexFunc(owners, carrier)
	if i < 0 { // perhaps another namespace has the same address since
		if again, _ := s.look(addr); len(again) > 0 {
			owners, i = again, slices.IndexFunc(again, carrier)
		}
	}
	return fact.SomeBy(true, fact.ByHost), owners[max(i, 0)]
}

// owners returns the namespaces that own an address. That none does is certain
// only when all are watched and none is new: a new one gets its addresses
// after it was found, so that they are all read again, if there is time for it.
func (s *PacketSource) owners(addr netip.Addr) (list []uint64, certain bool) {
	if list = s.host.ownersOf(addr, 0); len(list) > 0 {
		return list, true
	}
	s.mu.Lock()
	settled := time.Since(s.changed) > settleTime
	s.mu.Unlock()
	if settled {
		return nil, s.watchesAll()
	}
	return s.look(addr)
}

// look reads the addresses of all namespaces again, if there is time for it. What
// it had read shortly before is good for who owns an address, not for that nobody
// does.
func (s *PacketSource) look(addr netip.Addr) (list []uint64, certain bool) {
	if time.Since(s.freshAt) >= pollShare*s.freshTook {
		s.fresh, s.freshAt = linux.NewNamespaces(s.host.host), time.Now()
		certain = s.fresh.Refresh() == nil && s.watchesAll()
		s.freshTook = time.Since(s.freshAt)
	}
	for _, ns := range s.fresh.Owner(addr) {
		list = append(list, ns.Cookie)
	}
	return list, certain
}

// settleTime is how long after its birth the addresses of a namespace may not
// be known yet.
const settleTime = 3 * time.Second

// wire fills the facts of the segment.
func (s *PacketSource) wire(o *observation, ob *Observed, base *baseline) {
	r, first, last := &ob.Case.RST, o.wires[0], o.wires[len(o.wires)-1]
	r.Seen = byWire(true)
	s.build.packet(o, r)
	r.Form = s.build.form(o)
	r.Hops, r.OriginTTL = fact.Opt[int64]{}, fact.Opt[int64]{}
	hops := int64(0)
	for _, w := range o.wires {
		if w.Origin == 0 {
			hops++
		}
	}
	switch {
	case first.Origin == 0: // handed to a device before any device received it
		r.OriginHere, r.Hops, r.OriginTTL = byWire(true), byWire(hops), byWire(int64(first.Packet.Ttl))
		r.OriginNetns = byWire(whose(first.Netns, ob))
		ob.Case.FW.ThirdParty = byWire(r.OriginNetns.Or("") == "other")
	case s.watchesAll() && !s.lossy(o.first, o.deadline):
		r.OriginHere = byWire(false)
	}
	if base != nil {
		if ttl, ok := base.of(o.src).ttl(last.Netns, last.Ifindex); ok {
			r.PeerTTL = byWire(int64(ttl))
		}
	}
}

func whose(netns uint64, ob *Observed) string {
	switch {
	case netns == ob.SenderNetns && netns != 0:
		return "sender"
	case netns == ob.ReceiverNetns && netns != 0:
		return "receiver"
	}
	return "other"
}

// owner fills the facts of a socket of this host, and of the process that
// holds it or held it at the latest walk.
func (s *PacketSource) owner(e *fact.Endpoint, p *polled) (pid int) {
	polledSocket(&e.Sock, p)
	if pid = s.sockets.owner(p.Inode); pid == 0 {
		pid = s.host.ownerOfInode(p.Inode)
	}
	s.build.living(&e.Proc, pid)
	return pid
}

// packetFlow fills the connection and the roles of its ends: from the
// handshake, or the sockets, or else by port numbers.
func (s *PacketSource) packetFlow(o *observation, ob *Observed, base *baseline, sender, receiver *polled) {
	f := &ob.Case.Flow
	known := base != nil
	switch active, ok := sender.opener(); {
	case known:
		f.Client, f.Server = base.client, base.server
	case ok:
		f.Client, f.Server, known = o.dst, o.src, true
		if active {
			f.Client, f.Server = o.src, o.dst
		}
	default:
		if active, ok = receiver.opener(); ok {
			f.Client, f.Server, known = o.src, o.dst, true
			if active {
				f.Client, f.Server = o.dst, o.src
			}
			break
		}
		f.Client, f.Server = o.dst, o.src
		if o.src.Port() > o.dst.Port() {
			f.Client, f.Server = o.src, o.dst
		}
	}
	f.Netns = ob.ReceiverNetns
	if f.Netns == 0 {
		f.Netns = ob.SenderNetns
	}
	describeFlow(ob.Case, o.src, known, fact.ByWire)
	if base != nil && base.syn != nil {
		f.ClientISN = byWire(int64(base.syn.seq))
	}
	if base != nil && base.synack != nil {
		f.ServerISN = byWire(int64(base.synack.seq))
	}
	if base != nil && base.syn != nil && base.synack != nil {
		f.MPTCP = byWire(base.syn.mptcp && base.synack.mptcp)
		ts := byWire(base.syn.ts && base.synack.ts)
		ob.Case.Sender.Sock.TSOK, ob.Case.Receiver.Sock.TSOK = ts, ts
		age := byWire(time.Duration(o.first - min(base.synack.at, o.first)))
		ob.Case.Sender.Sock.Age, ob.Case.Receiver.Sock.Age = age, age
	}
}

// describeFlow fills the facts of a flow whose ends are set. src is the end
// that Sender describes.
func describeFlow(c *fact.Case, src netip.AddrPort, known bool, by fact.Witness) {
	f := &c.Flow
	family := "ipv6"
	if f.Client.Addr().Is4() {
		family = "ipv4"
	}
	f.Family = fact.SomeBy(family, by)
	f.ClientPort, f.ServerPort = fact.SomeBy(int64(f.Client.Port()), by), fact.SomeBy(int64(f.Server.Port()), by)
	f.Loopback = fact.SomeBy(f.Client.Addr().IsLoopback() && f.Server.Addr().IsLoopback(), by)
	f.Public = fact.SomeBy(fact.IsPublic(f.Server.Addr()), by)
	f.RolesKnown = fact.SomeBy(known, by)
	sender, receiver := "server", "client"
	if src == f.Client {
		sender, receiver = receiver, sender
	}
	c.Sender.Role, c.Receiver.Role = fact.SomeBy(sender, by), fact.SomeBy(receiver, by)
}

// story fills outcome, phase and, where the packets leave no doubt, the
// segment that was answered.
func (s *PacketSource) story(o *observation, c *fact.Case, base *baseline) {
	p := &o.wires[0].Packet
	c.Outcome = byWire("reset")
	refusal := p.Flags&flagACK != 0 && p.Seq == 0 && p.Window == 0
	if base == nil {
		if refusal { // only a segment without ACK is answered so, which is a SYN (RFC 9293 3.10.7.1)
			c.Outcome, c.Phase = byWire("refused"), byWire("connect")
		}
		return
	}
	fromServer := o.src == base.server
	switch {
	case fromServer && refusal && base.syn != nil && p.Ack == base.syn.seq+1 && base.synack == nil:
		c.Outcome, c.Phase = byWire("refused"), byWire("connect")
		s.answered(o, c, base.syn)
	case base.synack == nil && base.syn != nil:
		c.Phase = byWire("connect")
		if fromServer {
			c.Outcome = byWire("refused")
		}
	case base.finBefore(o.first):
		c.Phase = byWire("closing")
	case !fromServer && p.Flags&flagACK == 0 && base.syn != nil && p.Seq == base.syn.seq+1:
		// The client may have answered the SYN-ACK itself, or a later segment.
	case base.synack != nil:
		c.Phase = byWire("established")
		if a, ok := serverSock(c, fromServer).Accepted.Get(); ok && !a {
			c.Phase = fact.SomeBy("accept-queue", fact.ByHost)
		}
	}
}

func serverSock(c *fact.Case, emitServes bool) *fact.Socket {
	if emitServes {
		return &c.Sender.Sock
	}
	return &c.Receiver.Sock
}

// answered fills the trigger from the SYN that the RST acknowledges.
func (s *PacketSource) answered(o *observation, c *fact.Case, syn *handshake) {
	t := &c.Trigger
	t.Flags, t.Seq = byWire("S"), byWire(int64(syn.seq))
	t.Window, t.Timestamp = byWire(int64(syn.window)), byWire(syn.ts)
	c.RST.Provoked = byWire(true)
	for _, p := range syn.points[:syn.n] {
		if p.netns == o.wires[0].Netns {
			t.TTL = byWire(int64(p.ttl))
		}
	}
}

// survivor looks whether the socket that the RST was aimed at is still alive,
// which a reset would have ended, and likewise the one in whose name it came:
// no TCP sends a RST for a connection that it keeps (RFC 9293 3.10.7.4).
func (s *PacketSource) survivor(o *observation, ob *Observed, sender, receiver *polled) {
	c := ob.Case
	if state, alive, looked := s.alive(ob.SenderNetns, o.src, o.dst, sender, o.first); looked && alive {
		c.Sender.Seen, c.Sender.Sock.State = fact.SomeBy(false, fact.ByHost), fact.SomeBy(state, fact.ByHost)
	}
	if c.Outcome.Or("") != "reset" {
		return
	}
	switch state, alive, looked := s.alive(ob.ReceiverNetns, o.dst, o.src, receiver, o.first); {
	case !looked: // do not say what is not known
		c.Outcome = fact.Opt[string]{}
	case alive:
		c.Outcome, c.Receiver.Sock.State = fact.SomeBy("survived", fact.ByHost), fact.SomeBy(state, fact.ByHost)
	}
}

// alive looks whether a socket is still connected after a time, monotonic ns.
// Of a namespace that is not watched it says that it looked, and found nothing;
// looked is false only when there was no time for it. was is the socket as it was
// polled before, nil when it was not.
func (s *PacketSource) alive(netns uint64, local, remote netip.AddrPort, was *polled, at uint64) (state string, alive, looked bool) {
	if netns == 0 {
		return "", false, true
	}
	if cached, ok := s.host.sockets[netns]; ok && cached.at.Before(s.host.host.MonotonicToTime(at)) {
		if time.Since(cached.at) < believeSpaces/5 { // asked too often
			return "", false, false
		}
		delete(s.host.sockets, netns)
	}
	now, ok, _ := s.host.connection(netns, local, remote)
	if !ok || was != nil && now.Cookie != was.Cookie { // gone, or another connection with the same ports
		return "", false, true
	}
	state = now.State.String()
	return state, state == "ESTABLISHED" || state == "CLOSE_WAIT", true
}
