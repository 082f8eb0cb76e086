package capture

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// byWire marks a fact that packets show. The declarations of most facts name
// the kernel as their witness, which a capture never is.
func byWire[T any](v T) fact.Opt[T] { return fact.SomeBy(v, fact.ByWire) }

// absent is a fact that was looked for and is not there.
func absent[T any]() fact.Opt[T] { return fact.None[T]() }

// when is a time since 1970 in ns as time.Time.
func when(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func us(d time.Duration) fact.Opt[time.Duration] { return byWire(max(d, 0)) }

// caseOf makes the case of an ending.
func caseOf(e *tcp.Termination) *fact.Case {
	c := &fact.Case{Time: when(e.Time), Source: "capture"}
	flow(c, e)
	ends(c, e)
	wire(c, e)
	protoFacts(c, e)
	switch e.Kind {
	case tcp.ByReset:
		reset(c, e)
		outcome(c, e)
	default:
		withoutReset(c, e)
	}
	return c
}

func addrPort(c *tcp.Conn, side uint8) netip.AddrPort {
	return netip.AddrPortFrom(c.Addr[side].Netip(), c.Port[side])
}

func flow(c *fact.Case, e *tcp.Termination) {
	f := &c.Flow
	f.Client, f.Server = addrPort(&e.Conn, e.Conn.Client), addrPort(&e.Conn, e.Conn.Server())
	family := "ipv4"
	if e.Conn.V6 {
		family = "ipv6"
	}
	f.Family = byWire(family)
	f.ClientPort, f.ServerPort = byWire(int64(f.Client.Port())), byWire(int64(f.Server.Port()))
	f.Loopback = byWire(f.Client.Addr().IsLoopback() && f.Server.Addr().IsLoopback())
	f.Public = byWire(fact.IsPublic(f.Server.Addr()))
	f.RolesKnown = byWire(e.Conn.RolesKnown)
	f.ClientISN, f.ServerISN = isn(&e.Conn.Sides[e.Conn.Client]), isn(&e.Conn.Sides[e.Conn.Server()])
	if mptcp, known := e.Conn.Negotiated(tcp.MPTCP); known {
		f.MPTCP = byWire(mptcp)
	}
	c.Sender.Role, c.Receiver.Role = byWire("client"), byWire("server")
	if e.FromServer() {
		c.Sender.Role, c.Receiver.Role = c.Receiver.Role, c.Sender.Role
	}
}

// isn is the initial sequence number of a side, if its SYN was captured.
func isn(s *tcp.Side) fact.Opt[int64] {
	if s.Bits&tcp.HasISN == 0 {
		return fact.Opt[int64]{}
	}
	return byWire(int64(s.ISN))
}

// ends fills what the segments tell of both sockets. Their kernels were not
// asked.
func ends(c *fact.Case, e *tcp.Termination) {
	me, peer := e.Sender(), e.Receiver()
	socket(&c.Sender.Sock, e, me, peer)
	socket(&c.Receiver.Sock, e, peer, me)
	if e.Kind == tcp.ByReset {
		if n, ok := e.Unacked(); ok {
			c.Receiver.Sock.Unacked = byWire(n)
		}
		if peer.Bits&tcp.HasAcked != 0 && me.Bits&tcp.HasNext != 0 {
			c.Sender.Sock.Unacked = byWire(ownUnacked(me, peer))
		}
	}
}

// ownUnacked is how many bytes of data of the RST's side its receiver never
// acknowledged.
func ownUnacked(me, peer *tcp.Side) int64 {
	next := me.Next
	if me.Bits&tcp.SentFIN != 0 && next == me.FinSeq+1 {
		next--
	}
	return int64(max(int32(next-peer.Acked), 0))
}

func socket(s *fact.Socket, e *tcp.Termination, me, peer *tcp.Side) {
	whole := e.Conn.Bits&tcp.FromMiddle == 0
	if whole {
		s.BytesSent, s.BytesRecv = byWire(int64(me.Bytes)), byWire(int64(peer.Bytes))
		s.Age = us(time.Duration(e.Time - e.Conn.Start))
	}
	s.TotalRetr = byWire(int64(me.Retransmits))
	s.Retransmits = byWire(int64(me.RetransRow))
	if me.LastData != 0 {
		s.IdleSend = us(time.Duration(e.Time - me.LastData))
	}
	if peer.LastData != 0 {
		s.IdleRecv = us(time.Duration(e.Time - peer.LastData))
	}
	if peer.Last != 0 {
		s.IdleAck = us(time.Duration(e.Time - peer.Last))
	}
	if ts, known := e.Conn.Negotiated(tcp.HasTS); known {
		s.TSOK = byWire(ts)
	}
	if me.MSS != 0 {
		s.MSS = byWire(int64(me.MSS))
	}
}

// reset fills the facts of the RST segment.
func reset(c *fact.Case, e *tcp.Termination) {
	r, s := &c.RST, &e.Reset
	r.Seen, r.Form = byWire(!e.Corrupt && !senseless(s)), byWire(e.Form()) // what is damaged is no RST
	r.TTL, r.Window, r.Seq = byWire(int64(s.TTL)), byWire(int64(s.Window)), byWire(int64(s.Seq))
	r.ACK, r.Timestamp = byWire(s.Flags&packet.ACK != 0), byWire(s.Options&packet.OptTimestamp != 0)
	r.PayloadSize = byWire(int64(s.Length))
	if !s.V6 {
		r.IPID, r.DF = byWire(int64(s.IPID)), byWire(s.DF)
	}
	if me := e.Sender(); me.Segments > 0 {
		r.PeerTTL = byWire(int64(me.TTL))
	}
	if off, ok := e.Offset(); ok {
		r.SeqOffset = byWire(off)
	}
	r.Accepted = byWire(e.Accepted())
	if p, known := e.Provoked(); known {
		r.Provoked = byWire(p)
	}
	if t := &e.Trigger; t.Frame != 0 {
		trigger(&c.Trigger, t, e)
	}
}

func trigger(s *fact.Segment, t *tcp.Seg, e *tcp.Termination) {
	s.Flags, s.PayloadSize = byWire(t.Flags.String()), byWire(int64(t.Len))
	s.Seq, s.Ack = byWire(int64(t.Seq)), byWire(int64(t.Ack))
	s.TTL, s.Window = byWire(int64(t.TTL)), byWire(int64(t.Window))
	s.Timestamp, s.MPTCP = byWire(t.Bits&tcp.SegTimestamp != 0), byWire(t.Bits&tcp.SegMPTCP != 0)
	if peer := e.Receiver(); t.Len > 0 && peer.TailLen > 0 {
		s.FirstBytes = byWire(fmt.Sprintf("%q", peer.Tail[:min(peer.TailLen, 16)]))
	}
}

// nobodyWaited reports whether the receiver of a RST had closed the connection
// itself, all its data was acknowledged, and it had the last word or was answered:
// it has lost nothing and awaits nothing.
func nobodyWaited(e *tcp.Termination) bool {
	me, peer := e.Sender(), e.Receiver()
	n, known := e.Unacked()
	return peer.Bits&tcp.SentFIN != 0 && known && n == 0 && (peer.Bytes == 0 || me.LastData >= peer.LastData || me.Bits&tcp.SentFIN != 0)
}

// outcome says what the RST did, and when in the life of the connection.
func outcome(c *fact.Case, e *tcp.Termination) {
	phase := e.Phase()
	c.Phase = byWire(phase)
	accepted := e.Accepted()
	what := "reset"
	switch {
	case e.Corrupt:
		what = "none"
	case e.Trigger.Frame != 0 && e.Trigger.Flags&(packet.SYN|packet.ACK) == 0: // a probe: no connection begins or goes on without them
		what, c.Phase = "none", byWire("none")
	case (accepted == "challenged" || accepted == "ignored") && phase != "closed":
		what = "survived"
	case phase == "connect" && e.FromServer() && e.Form() == "refusal":
		what = "refused"
	case phase == "connect" && !e.FromServer() && e.Form() == "reply" && e.Trigger.Flags&packet.SYN != 0:
		what = "none" // the client's kernel wants no such connection: nobody had one
	case phase == "closed", nobodyWaited(e):
		what = "none"
	case phase == "none" && e.Form() == "refusal":
		what, c.Phase = "refused", byWire("connect")
	}
	c.Outcome = byWire(what)
}

// withoutReset fills the facts of an end without a RST: From did not answer.
// Nobody emitted anything, and the receiver is the side that waited.
func withoutReset(c *fact.Case, e *tcp.Termination) {
	c.RST.Seen = byWire(false)
	c.Outcome, c.Phase = byWire("timeout"), byWire(e.Phase())
	switch e.Kind {
	case tcp.ByICMPError:
		name, refused := icmpErrorName(&e.Conn.ICMPError)
		c.Outcome = byWire("unreachable")
		if refused {
			c.Outcome = byWire("refused")
		}
		c.FW.ICMP = byWire(name)
	case tcp.NoAnswer:
		c.Phase = byWire("connect")
		if e.From == e.Conn.Client && e.Conn.Bits&tcp.Established != 0 {
			c.Phase = byWire("accept-queue")
		}
	}
}

// icmpErrorName names an ICMP error as the facts do; refused is whether the
// application gets ECONNREFUSED (kernel net/ipv4/icmp.c icmp_err_convert).
func icmpErrorName(n *packet.ICMPError) (name string, refused bool) {
	if n.V6 {
		switch {
		case n.Type == 2:
			return "frag-needed", false
		case n.Type == 3:
			return "time-exceeded", false
		}
		names := []string{"net-unreachable", "admin-prohibited", "beyond-scope", "host-unreachable", "port-unreachable", "admin-prohibited", "net-unreachable"}
		if n.Type == 1 && int(n.Code) < len(names) {
			return names[n.Code], n.Code == 4
		}
		return fmt.Sprintf("type-%d-code-%d", n.Type, n.Code), false
	}
	switch {
	case n.Type == 11:
		return "time-exceeded", false
	case n.Type != 3:
		return fmt.Sprintf("type-%d-code-%d", n.Type, n.Code), false
	}
	names := map[uint8]string{0: "net-unreachable", 1: "host-unreachable", 2: "protocol-unreachable", 3: "port-unreachable", 4: "frag-needed", 9: "admin-prohibited", 10: "admin-prohibited", 13: "admin-prohibited"}
	if s, ok := names[n.Code]; ok {
		return s, n.Code == 2 || n.Code == 3
	}
	return fmt.Sprintf("type-3-code-%d", n.Code), false
}
