package trace

import (
	"net/netip"
	"testing"
	"time"
)

const ms = uint64(time.Millisecond)

func TestTwoResetsAreNeverOne(t *testing.T) {
	lo1, lo2 := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:50000")
	send := func(at, sk uint64, seq uint32, set func(*resetEvent)) *resetEvent {
		e := sockEvent(kindSend, at, sk, server, client)
		e.SndNxt, e.Tid = seq, 7
		if set != nil {
			set(e)
		}
		return e
	}
	recv := func(at, sk uint64, seq uint32, set func(*resetEvent)) *resetEvent {
		e := sockEvent(kindRecv, at, sk, client, server)
		e.RcvNxt, e.Tid, e.State = seq, 7, stEstablished
		if set != nil {
			set(e)
		}
		return e
	}
	loopback := func(netns uint64) func(*resetEvent) {
		return func(e *resetEvent) {
			a, b := lo1, lo2
			if e.Kind == kindRecv {
				a, b = b, a
			}
			x := sockEvent(e.Kind, e.TimeNs, e.Sk, a, b)
			e.Laddr, e.Raddr, e.Lport, e.Rport, e.Netns = x.Laddr, x.Raddr, x.Lport, x.Rport, netns
		}
	}
	other := func(e *resetEvent) { e.Tid = 8 }
	forger := packetEvent(kindWire, ms, server, client, flagRST, 500)
	forger.Origin = originRaw
	for _, c := range []struct {
		name   string
		events []*resetEvent
		want   int
	}{
		{"both halves", []*resetEvent{recv(ms, 1, 500, nil), send(ms+1000, 2, 500, nil)}, 1},
		{"the receiver takes what is within its window", []*resetEvent{recv(ms, 1, 500, nil), send(ms+1000, 2, 600, nil)}, 1},
		{"the receiver cannot have taken that", []*resetEvent{recv(ms, 1, 500, nil), send(ms+1000, 2, 1<<30, nil)}, 2},
		{"a reader that is late", []*resetEvent{recv(ms, 1, 500, nil), send(400*ms, 2, 500, nil)}, 2},
		{"an abort after a forgery", []*resetEvent{recv(ms, 1, 500, other), send(20*ms, 2, 500, nil)}, 2},
		{"the same, with the device's word", []*resetEvent{forger, recv(ms+1, 1, 500, other), send(2*ms, 2, 500, nil)}, 2},
		{"a forgery after the abort", []*resetEvent{send(ms, 2, 500, nil), func() *resetEvent { e := *forger; e.TimeNs = 2 * ms; return &e }()}, 2},
		{"a port used again at once", []*resetEvent{recv(ms, 1, 500, nil), send(ms+1000, 2, 500, nil), recv(2*ms, 1, 9e8, nil), send(2*ms+1000, 2, 9e8, nil)}, 2},
		{"two sends", []*resetEvent{send(ms, 2, 500, nil), send(ms, 3, 500, nil)}, 2},
		{"equal loopback addresses in two namespaces", []*resetEvent{recv(ms, 1, 500, loopback(1)), recv(ms, 3, 500, loopback(2)), send(ms+1000, 2, 500, loopback(1)), send(ms+1000, 4, 500, loopback(2))}, 2},
	} {
		out := joined(t, c.events...)
		if len(out) != c.want {
			t.Errorf("%s: %d observations, want %d", c.name, len(out), c.want)
		}
		for _, o := range out {
			if o.send != nil && o.recv != nil && o.send.Netns != o.recv.Netns {
				t.Errorf("%s: halves of two namespaces in one", c.name)
			}
		}
	}
}

func TestHalvesThatCameTooFarApartAccuseNobody(t *testing.T) {
	send := sockEvent(kindSend, ms, 2, server, client)
	recv := sockEvent(kindRecv, 200*ms, 1, client, server)
	send.SndNxt, recv.RcvNxt, recv.State = 500, 500, stEstablished
	out := joined(t, send, recv)
	if len(out) != 2 || out[0].doubtful || !out[1].doubtful {
		t.Errorf("%d observations: %+v", len(out), out)
	}
}

func TestNumbersOfAnswers(t *testing.T) {
	answer := packetEvent(kindSend, ms, client, server, flagACK, 1000) // what is answered
	answer.Packet.Ack = 77
	if n := numbersOf(answer); !n.same(numbersOf(packetEvent(kindWire, ms, server, client, flagRST, 77))) {
		t.Error("the answer to an ACK has its acknowledgement number")
	}
	syn := packetEvent(kindSend, ms, client, server, flagSYN, 1000)
	refusal := packetEvent(kindWire, ms, server, client, flagRST|flagACK, 0)
	refusal.Packet.Ack = 1001
	late := *refusal
	late.Packet.Ack = 2001
	if n := numbersOf(syn); !n.same(numbersOf(refusal)) || n.same(numbersOf(&late)) {
		t.Error("a refusal acknowledges its SYN")
	}
}

func TestInboxIsBounded(t *testing.T) {
	b := newInbox()
	for range maxInbox + 5 {
		b.put(&resetEvent{Kind: kindRecv}, 0)
	}
	b.put(nil, 9)
	events, until := b.take()
	if len(events) != maxInbox || until != 9 || b.refused() != 5 || b.refusedOf(kindRecv) != 5 {
		t.Errorf("%d events until %d, %d refused", len(events), until, b.refused())
	}
}
