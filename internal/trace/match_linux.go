package trace

import "time"

// rstNumbers are the sequence and acknowledgement numbers of a RST, as far as
// an event gives them away.
type rstNumbers struct {
	seq, other uint32 // other is a second possible seq (tcp_acceptable_seq), or the same
	ack        uint32
	hasSeq     bool
	hasAck     bool
}

// numbersOf returns what the event says of the RST's numbers.
func numbersOf(e *resetEvent) (n rstNumbers) {
	p := &e.Packet
	switch {
	case e.Kind == kindWire || e.Kind == kindArrival || e.Kind == kindDrop:
		n = rstNumbers{seq: p.Seq, other: p.Seq, ack: p.Ack, hasSeq: true, hasAck: p.Flags&flagACK != 0}
	case e.Kind == kindSend && p.Present == 1:
		// the answer to a segment, RFC 9293 3.10.7.1
		if p.Flags&flagACK != 0 {
			return rstNumbers{seq: p.Ack, other: p.Ack, hasSeq: true}
		}
		length := uint32(p.PayloadBytes) + uint32(p.Flags&flagSYN)/flagSYN + uint32(p.Flags&flagFIN)
		return rstNumbers{ack: p.Seq + length, hasSeq: true, hasAck: true}
	case e.Kind == kindSend && e.Full == 1 && e.SndNxt != 0:
		// the next one, or the end of the window when that has shrunk
		return rstNumbers{seq: e.SndNxt, other: e.SndNxt - e.UnackedBytes + e.SndWnd, hasSeq: true}
	}
	return n
}

// same says whether two events can speak of one RST.
func (n rstNumbers) same(m rstNumbers) bool {
	if n.hasSeq && m.hasSeq && n.seq != m.seq && n.other != m.seq && n.seq != m.other {
		return false
	}
	// Without a sequence number of its own a refusal is known by what it acknowledges.
	return n.seq != 0 || m.seq != 0 || !n.hasAck || !m.hasAck || n.ack == m.ack
}

// accepts says whether a socket can have accepted a RST with these numbers
// (RFC 5961 3.2 and, in SYN_SENT, RFC 9293 3.10.7.3). Linux also takes the one
// before the next, after a FIN, and the end of what SACK covers.
func accepts(e *resetEvent, n rstNumbers) bool {
	switch {
	case e.Full == 0 || !n.hasSeq:
		return true
	case e.State == stSynSent || e.PrevState == stSynSent:
		return !n.hasAck || e.SndNxt == 0 || n.ack == e.SndNxt
	case e.RcvNxt == 0:
		return true
	}
	fits := func(seq uint32) bool {
		d := int64(int32(seq - e.RcvNxt))
		return d >= -1 && d <= max(int64(e.RcvWnd), 1<<16)
	}
	return fits(n.seq) || fits(n.other)
}

// numbers are those of the observation's RST, from the best witness.
func (o *observation) numbers() rstNumbers {
	switch {
	case len(o.wires) > 0:
		return numbersOf(o.wires[0])
	case o.refused != nil:
		return numbersOf(o.refused)
	case o.send != nil:
		return numbersOf(o.send)
	case o.arrived != nil:
		return numbersOf(o.arrived)
	}
	return rstNumbers{}
}

// fits says whether a RST with these numbers can be the one of o.
func (o *observation) fits(n rstNumbers) bool {
	if o.kind == obsDrop || o.kind == obsEnded || !o.numbers().same(n) {
		return false
	}
	if o.recv != nil && !accepts(o.recv, n) {
		return false
	}
	return o.send == nil || numbersOf(o.send).same(n)
}

// takesSend says whether the stack's word that it sent a RST belongs to o. On
// one host the receiver speaks first, in the context of the sender or of the
// kernel's own threads; a RST that came in another context was another one.
func (o *observation) takesSend(e *resetEvent) bool {
	if o.send != nil || !o.fits(numbersOf(e)) {
		return false
	}
	if len(o.wires) > 0 {
		return !forged(o.wires[0])
	}
	if o.err != nil && o.recv == nil && o.err.Reason == int32(errnoETIMEDOUT) {
		return true
	}
	r := firstEvent(o.recv, o.refused)
	if r == nil {
		return true
	}
	gap := time.Duration(e.TimeNs - min(r.TimeNs, e.TimeNs))
	switch {
	case r.Tid == e.Tid && gap < 20*time.Millisecond:
		return true
	case r.inKernelThread() || r.Owned == 1 || e.inKernelThread():
		return gap < 5*time.Millisecond
	}
	return gap < 300*time.Microsecond
}

func (o *observation) takesRecv(e *resetEvent) bool {
	if o.filtered || o.recv != nil || o.refused != nil || o.drop != nil || o.ended != nil || o.err != nil && o.err.Sk != e.Sk {
		return false
	}
	n := o.numbers()
	return accepts(e, n)
}

// takesWire: a RST passes each device once, with one sequence number.
func (o *observation) takesWire(e *resetEvent) bool {
	if !o.fits(numbersOf(e)) || o.send != nil && len(o.wires) == 0 && forged(e) || o.received(e) {
		return false
	}
	for _, w := range o.wires {
		if w.Netns == e.Netns && w.Ifindex == e.Ifindex && w.Packet.Ttl <= e.Packet.Ttl {
			return false // it comes back to a device only after a router
		}
	}
	if made := e.fromTCP() || forged(e); made && len(o.wires) > 0 {
		// made here: only devices on top of others, such as a VLAN's, carry it twice
		w := o.wires[0]
		if w.Netns != e.Netns || w.Origin != e.Origin || e.TimeNs > w.TimeNs+uint64(time.Millisecond) {
			return false
		}
	}
	if o.arrived != nil && len(o.wires) == 0 && o.arrived.Netns == e.Netns && !e.forwarded() && e.TimeNs > o.arrived.TimeNs {
		return false // what had arrived here was not made here
	}
	return true
}

// received says whether a socket had taken the RST before a device has this one.
func (o *observation) received(e *resetEvent) bool {
	r := firstEvent(o.recv, o.refused)
	return r != nil && r.TimeNs+uint64(100*time.Microsecond) < e.TimeNs
}

func (o *observation) takesArrival(e *resetEvent) bool {
	if !o.fits(numbersOf(e)) || o.received(e) || o.arrived != nil && o.arrived.Netns == e.Netns {
		return false
	}
	return o.recv == nil || o.recv.Netns == e.Netns || len(o.wires) > 0
}

func (o *observation) takesRefused(e *resetEvent) bool {
	return o.refused == nil && o.recv == nil && o.fits(numbersOf(e))
}

// forged says whether a process wrote the RST of a device's event.
func forged(e *resetEvent) bool { return e.Origin == originRaw || e.Origin == originPacket }

func (e *resetEvent) forwarded() bool { return e.Origin == originForwarded }

// Flags of a task (include/linux/sched.h).
const (
	taskExiting = 0x4
	taskIO      = 0x10     // PF_IO_WORKER, which belongs to a process
	taskWorker  = 0x20     // PF_WQ_WORKER
	taskKernel  = 0x200000 // PF_KTHREAD
)

// inKernelThread says whether the event happened in a thread of the kernel,
// which owns nothing.
func (e *resetEvent) inKernelThread() bool { return e.TaskFlags&(taskWorker|taskKernel) != 0 }

const errnoETIMEDOUT = 110
