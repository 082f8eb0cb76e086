package capture

import (
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// Limits of what is remembered of the ports of a captured host.
const (
	maxHandshakes = 1 << 16 // of all ports
	portMemory    = int64(5 * time.Second)
)

// port is a listening port of a host, seen by a capture on that very host.
type port struct {
	place
	addr packet.Addr
	port uint16
}

// handshake is a SYN-ACK that left a host with its TTL untouched.
type handshake struct {
	time int64
	done bool // the last acknowledgement, or more, came
}

// ports remembers the handshakes that captured hosts answered.
type ports struct {
	list map[port][]*handshake
	open map[tuple]*handshake // those that are not done
	kept int
	lost int // handshakes beyond maxHandshakes: what the others count is too little then
}

func newPorts() *ports {
	return &ports{list: map[port][]*handshake{}, open: map[tuple]*handshake{}}
}

// see notes a segment. A SYN-ACK that is sent again is one handshake.
func (p *ports) see(point int, s *packet.Segment) {
	const both = packet.SYN | packet.ACK
	switch {
	case s.Flags&both == both && s.Direction == packet.DirOut && tcp.Hops(s.TTL) == 0:
		k := tupleOf(s.Src, s.Dst, s.SrcPort, s.DstPort)
		if p.open[k] != nil {
			return
		}
		if p.kept >= maxHandshakes {
			p.lost++
			return
		}
		p.kept++
		h := &handshake{time: s.Time}
		at := port{place{point, s.Interface}, s.Src, s.SrcPort}
		p.list[at], p.open[k] = append(p.list[at], h), h
	case len(p.open) > 0 && s.Flags&both == packet.ACK && s.Direction == packet.DirIn:
		k := tupleOf(s.Src, s.Dst, s.SrcPort, s.DstPort)
		if h := p.open[k]; h != nil {
			h.done = true
			delete(p.open, k)
		}
	}
}

// around counts the handshakes of a port that began in the time before.
func (p *ports) around(at port, from, to int64) (done, half int64) {
	for _, h := range p.list[at] {
		switch {
		case h.time < from || h.time > to:
		case h.done:
			done++
		default:
			half++
		}
	}
	return done, half
}

// arrived looks whether what stayed unanswered came to the very host that it
// was sent to: it came in there, and what that host sends leaves with its TTL
// untouched. For a SYN, that is known by other connections of the port.
func (v *views) arrived(w *fact.Wire, e *tcp.Termination, t *track, s *sighting, common int64) {
	o := t.sighting(s, common)
	if o == nil || o.way != packet.DirIn {
		return
	}
	if t.hops(!s.client) == 0 {
		w.Arrived = byPeer(true)
		return
	}
	at := port{t.place, t.server, t.sport}
	if e.Kind != tcp.NoAnswer || !s.client || len(v.ports.list[at]) == 0 || v.ports.lost > 0 {
		return
	}
	done, half := v.ports.around(at, e.Conn.Start+t.shift-portMemory, e.Time+t.shift+portMemory)
	w.Arrived, w.PortAccepted, w.PortHalfOpen = byPeer(true), byPeer(done), byPeer(half)
}

// sighting returns the copy of a segment here at about a time of the first
// track's clock.
func (t *track) sighting(s *sighting, common int64) *sighting {
	for i := range t.list {
		o := &t.list[i]
		if d := o.time - t.shift - common; o.same(s) && max(d, -d) <= maxDelay {
			return o
		}
	}
	return nil
}
