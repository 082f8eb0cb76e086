package capture

import (
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// wire fills the facts that only captured packets have.
func wire(c *fact.Case, e *tcp.Termination) {
	w := &c.Wire
	w.Sane = byWire(e.Conn.Sane())
	w.FromStart = byWire(e.Conn.Bits&tcp.FromMiddle == 0)
	w.Segments = byWire(int64(e.Sender().Segments) + int64(e.Receiver().Segments))
	w.Handshake = byWire(e.Conn.Bits&tcp.Established != 0)
	w.Life = us(time.Duration(e.Time - e.Conn.Start))
	wireHistory(w, e)
	wireOpening(w, e)
	wireAddress(w, e)
	if e.Kind == tcp.ByReset {
		wireReset(w, e)
		wireOrigin(w, e)
		wireAfter(w, e)
		wireReason(w, e)
		w.Signature, w.Forgery = labels(e)
	}
}

// wireHistory fills what the ends had done until then.
func wireHistory(w *fact.Wire, e *tcp.Termination) {
	me, peer := e.Sender(), e.Receiver()
	w.FIN, w.ReceiverFIN = byWire(me.Bits&tcp.SentFIN != 0), byWire(peer.Bits&tcp.SentFIN != 0)
	w.FINAge, w.ReceiverFINAge = since(e, me.FinTime), since(e, peer.FinTime)
	w.FINAcked = byWire(peer.Bits&tcp.FinAcked != 0)
	if idle, ok := e.Idle(); ok {
		w.Idle = us(idle)
	}
	w.Unanswered = byWire(e.Unanswered())
	w.Waiting = absent[time.Duration]()
	if !e.FromServer() && me.LastData > peer.LastData {
		w.Waiting = us(time.Duration(e.Time - me.LastData))
	}
	if mss := segmentLimit(me, peer); peer.TailSize > 0 && mss > 0 {
		w.MidTransfer = byWire(int(peer.TailSize) >= mss)
	}
	if n, ok := e.Unacked(); ok {
		w.Unacked = byWire(n)
	}
	w.GaveUp = byWire(e.Kind == tcp.ByReset && e.GaveUp())
	w.Retransmits, w.ReceiverRetr = byWire(int64(me.RetransRow)), byWire(int64(peer.RetransRow))
	w.Silence = since(e, peer.Last)
	w.Probes = byWire(int64(me.ProbesRow))
	w.ZeroWindow, w.OwnZero = byWire(peer.Bits&tcp.ZeroWindow != 0), byWire(me.Bits&tcp.ZeroWindow != 0)
	w.Gap = byWire(me.Bits&tcp.SentGap != 0)
	w.BigLost = largeLost(e)
}

// segmentLimit is the least length of data that counts as a full segment, 0 when
// neither end said its limit. Timestamps take 12 bytes.
func segmentLimit(a, b *tcp.Side) int {
	mss := max(int(a.MSS), int(b.MSS))
	if a.MSS > 0 && b.MSS > 0 {
		mss = int(min(a.MSS, b.MSS))
	}
	if mss <= 12 {
		return 0
	}
	return mss - 12
}

func since(e *tcp.Termination, t int64) fact.Opt[time.Duration] {
	if t == 0 {
		return absent[time.Duration]()
	}
	return us(time.Duration(e.Time - t))
}

// largeLost reports whether full segments stay unacknowledged while smaller
// ones had passed, and no full one ever did.
func largeLost(e *tcp.Termination) fact.Opt[bool] {
	for side := range uint8(2) {
		me, peer := &e.Conn.Sides[side], &e.Conn.Sides[1-side]
		limit := segmentLimit(me, peer)
		if me.RetransRow == 0 || limit == 0 || me.Bits&peer.Bits&tcp.HasISN == 0 || peer.Bits&tcp.HasAcked == 0 {
			continue
		}
		full, small := false, false
		for k := range tcp.Recent {
			r := e.Conn.Latest(k)
			if r == nil || r.Side != side || r.Bits&tcp.SegResent == 0 || r.Len == 0 {
				continue
			}
			if int(r.Len) >= min(limit, 1200) {
				full = true
			} else {
				small = true
			}
		}
		passed := int32(peer.Acked - me.ISN - 1)
		return byWire(full && !small && passed > 0 && int(passed) < limit)
	}
	return fact.Opt[bool]{}
}

// wireOpening fills what is known of the handshake and of the connection that
// had the same ports before.
func wireOpening(w *fact.Wire, e *tcp.Termination) {
	c := &e.Conn
	client, server := &c.Sides[c.Client], &c.Sides[c.Server()]
	if c.Bits&tcp.FromMiddle == 0 {
		w.SYNs, w.SynAcks = byWire(int64(client.SYNs)), byWire(int64(server.SYNs))
	}
	if client.SYNTime != 0 {
		switch {
		case server.SYNTime != 0:
			w.ConnectDelay = us(time.Duration(server.SYNTime - client.SYNTime))
		case e.Kind == tcp.ByReset && e.FromServer():
			w.ConnectDelay = us(time.Duration(e.Time - client.SYNTime))
		}
	}
	if client.Bits&tcp.HasISN != 0 {
		w.BareSYN = byWire(client.Bits&(tcp.HasTS|tcp.SACKOK|tcp.HasScale) == 0)
	}
	if client.Bits&tcp.HasISN != 0 && server.Bits&tcp.HasAcked != 0 {
		w.SYNWasAcked = byWire(challenged(client, server))
	}
	if c.Before.Opened == 0 {
		w.Reused = absent[string]()
		return
	}
	w.Reused = byWire([]string{"open", "half-closed", "closed", "reset"}[c.Before.How])
	w.ReusedAge = us(time.Duration(c.Start - c.Before.Last))
}

// challenged reports whether the server acknowledged something else than the
// SYN, so far the only thing that the client had sent.
func challenged(client, server *tcp.Side) bool {
	return client.Segments == uint32(client.SYNs) && server.Acked != client.ISN+1 && server.Acked != client.Next
}

// wireAddress fills what the IP headers of the connection say.
func wireAddress(w *fact.Wire, e *tcp.Termination) {
	// One segment of data, after which somebody closed, may be a forged page.
	page := func(s *tcp.Side) bool { return s.DataCount == 1 && (s.Bits&tcp.SentFIN != 0 || e.Opposite.Frame != 0) }
	if me := e.Sender(); me.SYNTTL != 0 && me.DataCount > 0 && !page(me) && me.Segments >= 3 && e.Receiver().Steady() && me.Steady() {
		w.TwoTTLs = byWire(apart(me.SYNTTL, me.DataTTL))
	}
	if e.Conn.Bits&tcp.SawICMPError != 0 {
		n := &e.Conn.ICMPError
		name, _ := icmpErrorName(n)
		from := n.From.Netip().String()
		if n.From == e.Conn.Addr[e.Conn.Server()] {
			from = "server"
		}
		w.ICMP, w.ICMPFrom = byWire(name), byWire(from)
		return
	}
	w.ICMP = absent[string]()
}

// apart reports whether two TTLs are those of different machines: other initial
// values, or further apart than a change of the route makes them.
func apart(a, b uint8) bool {
	d := tcp.Hops(a) - tcp.Hops(b)
	return tcp.StartTTL(a) != tcp.StartTTL(b) || max(d, -d) > 2
}

// wireReset fills where the RST lies in the conversation.
func wireReset(w *fact.Wire, e *tcp.Termination) {
	w.Place = byWire(e.Place())
	if p, known := e.Provoked(); known {
		w.Answers = byWire(p)
	}
	if d, ok := e.Reaction(); ok {
		w.Reaction = us(d)
	}
	if rtt := e.Sender().RTT; rtt != 0 {
		w.RTT = us(time.Duration(rtt) * time.Microsecond)
	}
	if fast, known := e.TooFast(); known {
		w.TooFast = byWire(fast)
	}
	w.Nth, w.Resets = byWire(int64(e.Nth)), byWire(int64(e.Nth+e.After.SenderResets))
	if e.Trigger.Frame != 0 {
		w.ReceiverProbe, w.Join = byWire(e.Trigger.Bits&tcp.SegProbe != 0), byWire(e.Trigger.Bits&tcp.SegMPJoin != 0)
	}
	w.OutOfWindow = outOfWindow(e)
	if e.Opposite.Frame == 0 {
		w.OppositeAge = absent[time.Duration]()
	} else {
		w.OppositeAge = us(time.Duration(e.Time - e.Opposite.Time))
	}
	w.Opposite = byWire(int64(e.NthOfConn-e.Nth) + int64(e.After.ReceiverResets))
	w.Corrupt = byWire(e.Corrupt || senseless(&e.Reset))
}

// senseless reports flags that no stack sets together with RST.
func senseless(s *packet.Segment) bool {
	return s.Flags&packet.SYN != 0 || s.Flags&(packet.FIN|packet.URG) == packet.FIN|packet.URG
}

// outOfWindow looks whether the other side had just sent data outside the
// window that the RST's side had offered.
func outOfWindow(e *tcp.Termination) fact.Opt[bool] {
	me := e.Sender()
	if me.Bits&tcp.HasAcked == 0 || e.Conn.Bits&tcp.FromMiddle != 0 {
		return fact.Opt[bool]{}
	}
	window := uint32(me.Window)
	if e.Conn.Sides[0].Bits&e.Conn.Sides[1].Bits&tcp.HasScale != 0 {
		window <<= me.Scale
	}
	for k := range tcp.Recent {
		r := e.Conn.Latest(k)
		if r == nil {
			break
		}
		if r.Side == e.From || r.Len == 0 || e.Time-r.Time > int64(time.Second) {
			continue
		}
		if int32(r.End()-(me.Acked+window)) > 0 {
			return byWire(true)
		}
	}
	return byWire(false)
}

// wireOrigin compares the IP header of the RST with those of its side and of
// what it answers.
func wireOrigin(w *fact.Wire, e *tcp.Termination) {
	me, s := e.Sender(), &e.Reset
	w.TTLStart = byWire(int64(tcp.StartTTL(s.TTL)))
	w.IPIDKind = byWire(e.IPIDKind())
	switch kind := e.Counter(); kind {
	case "breaks":
		w.IPIDBreaks = byWire(true)
	case "continues", "fits":
		w.IPIDBreaks = byWire(false)
	case "copied":
		if counts, known := me.Counts(); known && counts {
			w.IPIDBreaks = byWire(true)
		}
	}
	w.OtherStack = otherStack(e)
	wireStranger(w, e)
	w.Reserved = byWire(s.Flags&^(packet.FIN|packet.SYN|packet.RST|packet.PSH|packet.ACK|packet.URG) != 0)
	if me.SYNTTL != 0 {
		w.TTLOfSYN = byWire(s.TTL == me.SYNTTL)
	}
	if me.DataTTL != 0 {
		w.TTLOfData = byWire(s.TTL == me.DataTTL)
	}
	if me.Segments >= 2 && me.Mostly() {
		w.HopsAway = byWire(int64(tcp.Hops(s.TTL) - tcp.Hops(me.TTL)))
	}
	if me.Segments > 0 {
		if me.LinkAddr != 0 && s.LinkSrc != 0 && e.Conn.Dups == 0 {
			w.MAC = byWire(me.LinkAddr != s.LinkSrc)
		}
	}
	w.Copied = copied(e)
}

// wireStranger compares the RST with all else that came in the name of its host.
func wireStranger(w *fact.Wire, e *tcp.Termination) {
	if kind := e.TTLKind(); kind != "unknown" {
		w.TTLKind, w.TTLUsual = byWire(kind), byWire(int64(e.Usual()))
		w.TTLSure = byWire(e.UsualSure())
	}
	if kind := e.Counter(); kind != "unknown" {
		w.Counter = byWire(kind)
	}
	w.Twin, w.AckBeyond = byWire(e.Twin()), byWire(e.AckBeyond())
	w.OddRefusal, w.Overruled = byWire(e.OddRefusal()), byWire(e.Ignored())
	w.MixedData = byWire(e.MixedData())
	w.SeqStep = absent[int64]()
	switch {
	case e.After.SenderResets > 0:
		w.SeqStep = byWire(int64(int32(e.After.SeqStep)))
	case e.Previous.Frame != 0:
		w.SeqStep = byWire(int64(int32(e.Reset.Seq - e.Previous.Seq)))
	}
}

// otherStack looks whether a RST in the name of a Linux host is none of Linux.
// Its RST for no socket has the window 0 and, since Linux 4.19, the IP
// identification 0 (net/ipv4/tcp_ipv4.c tcp_v4_init and tcp_v4_send_reset); its
// RST+ACK comes from the socket, with the next identification
// (net/ipv4/tcp_output.c tcp_send_active_reset).
func otherStack(e *tcp.Termination) fact.Opt[bool] {
	me, s := e.Sender(), &e.Reset
	if !linux(e) {
		return fact.Opt[bool]{}
	}
	const lostAtMost = 4096 // segments that the capture may have missed
	step := s.IPID - me.IPID
	switch e.Form() {
	case "reply":
		return byWire(s.Window != 0 || s.IPID != 0 && wideWindow(me))
	case "active-abort":
		return byWire(step == 0 || step > lostAtMost)
	}
	return fact.Opt[bool]{}
}

// linux reports whether the segments of the RST's side are those of a Linux
// host: a TTL that began at 64, and IP identifications that are those of the
// socket, one more with each segment. The SYN-ACK of a server belongs to no
// socket yet and has 0 (net/ipv4/ip_output.c ip_build_and_send_pkt). A client is
// believed only with the SYN of newer ones.
func linux(e *tcp.Termination) bool {
	me := e.Sender()
	if e.Reset.V6 || !e.Conn.Sane() || e.Conn.Bits&tcp.FromMiddle != 0 || me.Bits&tcp.SentGap != 0 || me.IPIDJumps > 0 || tcp.StartTTL(me.SYNTTL) != 64 {
		return false
	}
	if e.FromServer() {
		return me.IPIDZero == me.SYNs && me.IPIDSteps >= 1
	}
	const options = tcp.HasTS | tcp.SACKOK | tcp.HasScale
	return me.IPIDZero == 0 && me.IPIDSteps >= 3 && me.Bits&options == options && wideWindow(me)
}

// wideWindow reports whether a SYN or SYN-ACK offers nearly 64 KiB, in full
// segments: Linux since 4.20 (net/ipv4/tcp_output.c tcp_select_initial_window).
func wideWindow(me *tcp.Side) bool {
	const timestamps = 12
	return me.SYNWindow >= 60000 && me.SYNWindow < 65535 && me.MSS > timestamps &&
		(me.SYNWindow%me.MSS == 0 || me.SYNWindow%(me.MSS-timestamps) == 0)
}

// copied counts header fields that the RST shares with the segment it answers,
// or else the latest of the other side, and not with its own side's.
func copied(e *tcp.Termination) fact.Opt[int64] {
	me, peer, s := e.Sender(), e.Receiver(), &e.Reset
	if peer.Segments == 0 {
		return fact.Opt[int64]{}
	}
	id, ttl, window := peer.IPID, peer.TTL, peer.Window
	if t := &e.Trigger; t.Frame != 0 {
		id, ttl, window = t.IPID, t.TTL, t.Window
	}
	n := int64(0)
	for _, same := range []bool{
		s.IPID != 0 && s.IPID == id && e.IPIDKind() == "copied",
		s.TTL == ttl && me.Segments > 0 && s.TTL != me.TTL && s.TTL != me.SYNTTL,
		s.Window != 0 && s.Window == window && s.Window != me.Window,
	} {
		if same {
			n++
		}
	}
	return byWire(n)
}

// wireAfter fills what followed.
func wireAfter(w *fact.Wire, e *tcp.Termination) {
	a := &e.After
	w.SenderAlive, w.ReceiverAlive = byWire(e.Alive()), byWire(a.ReceiverNew && a.ReceiverData > 0)
	w.Challenged = byWire(a.Challenge != 0)
	w.Retried = byWire(e.FromServer() && a.ReceiverSYN > 0 || !e.FromServer() && a.SenderSYN > 0)
	w.SeqChanges = byWire(a.Beyond || e.Previous.Frame != 0 && e.Place() == "beyond" && e.Previous.Seq != e.Reset.Seq)
}

// labels names the ending in the terms of two papers, so that results can be
// compared.
func labels(e *tcp.Termination) (signature, forgery fact.Opt[string]) {
	signature, forgery = absent[string](), absent[string]()
	if s := e.Signature(); s != "" {
		signature = byWire(s)
	}
	if s := e.Forgery(); s != "" {
		forgery = byWire(s)
	}
	return signature, forgery
}
