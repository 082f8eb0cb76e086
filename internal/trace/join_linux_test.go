package trace

import (
	"net/netip"
	"testing"
	"time"
)

// The tests make events by hand: what the kernel delivers, in the order in
// which it delivers it (RECV before SEND on one host).

var (
	server = netip.MustParseAddrPort("198.51.100.2:80")
	client = netip.MustParseAddrPort("192.0.2.2:40000")
	nat    = netip.MustParseAddrPort("203.0.113.1:50000")
)

func sockEvent(kind uint8, at uint64, sk uint64, local, remote netip.AddrPort) *resetEvent {
	e := &resetEvent{Kind: kind, TimeNs: at, Sk: sk, Family: 2, Full: 1, State: stClose, Reason: -1}
	l, r := local.Addr().As4(), remote.Addr().As4()
	copy(e.Laddr[:], l[:])
	copy(e.Raddr[:], r[:])
	e.Lport, e.Rport = local.Port(), remote.Port()
	return e
}

func packetEvent(kind uint8, at uint64, src, dst netip.AddrPort, flags uint8, seq uint32) *resetEvent {
	e := &resetEvent{Kind: kind, TimeNs: at, Reason: -1}
	p := &e.Packet
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(p.Saddr[:], s[:])
	copy(p.Daddr[:], d[:])
	p.Sport, p.Dport, p.Version, p.Flags, p.Seq, p.Present, p.Ttl = src.Port(), dst.Port(), 4, flags, seq, 1, 64
	return e
}

func joined(t *testing.T, events ...*resetEvent) []*observation {
	t.Helper()
	var out []*observation
	j := newJoiner(30*time.Millisecond, map[int32]string{12: "NETFILTER_DROP", 36: "TCP_RFC7323_PAWS", 40: "TCP_LISTEN_OVERFLOW", 45: "TCP_RESET"}, func(o *observation) { out = append(out, o) })
	j.isICMP = func(*resetEvent) bool { return false }
	j.isCopy = func(e *resetEvent) bool { return e.Kframes == 0 }
	for _, e := range events {
		j.add(e)
	}
	j.expire(^uint64(0))
	if n := len(j.pending) + len(j.bySock) + len(j.bySeq) + len(j.queue); n != 0 {
		t.Errorf("%d entries left behind", n)
	}
	return out
}

func TestBothEndsOfOneHostAreOneCase(t *testing.T) {
	wire := packetEvent(kindWire, 1, server, client, flagRST|flagACK, 77)
	recv := sockEvent(kindRecv, 2, 0xc, client, server)
	report := sockEvent(kindErr, 3, 0xc, client, server)
	report.SkErr, report.Reason = 104, 104
	send := sockEvent(kindSend, 4, 0x5, server, client)
	owner := &resetEvent{Kind: kindOwner, TimeNs: 5, Sk: 0xc, Pid: 42}
	out := joined(t, wire, recv, report, send, owner)
	if len(out) != 1 {
		t.Fatalf("%d observations", len(out))
	}
	o := out[0]
	if o.send == nil || o.recv == nil || o.err == nil || o.owner == nil || len(o.wires) != 1 || o.src != server || o.dst != client {
		t.Errorf("%+v", o)
	}
}

func TestOwnAbortOnDataIsNoReceivedReset(t *testing.T) {
	// tcp_reset is called on the own socket before the RST is sent (tcp_rcv_state_process)
	recv := sockEvent(kindRecv, 1, 0x5, server, client)
	send := sockEvent(kindSend, 2, 0x5, server, client)
	out := joined(t, recv, send)
	if len(out) != 1 || out[0].recv != nil || out[0].send == nil || out[0].ownErr == nil {
		t.Errorf("%d observations, first %+v", len(out), out[0])
	}
}

func TestResetIsFollowedThroughNAT(t *testing.T) {
	first := packetEvent(kindWire, 1, server, nat, flagRST, 99)
	second := packetEvent(kindWire, 2, server, client, flagRST, 99)
	second.Netns = 2
	recv := sockEvent(kindRecv, 3, 0xc, client, server)
	send := sockEvent(kindSend, 4, 0x5, server, nat)
	out := joined(t, first, second, recv, send)
	if len(out) != 1 || out[0].recv == nil || out[0].send == nil || len(out[0].aliases) != 1 {
		t.Fatalf("%d observations", len(out))
	}
}

func TestUnrelatedResetsWithOneSequenceNumberStayApart(t *testing.T) {
	other := netip.MustParseAddrPort("198.51.100.9:81")
	out := joined(t, packetEvent(kindWire, 1, server, nat, flagRST, 99), packetEvent(kindWire, 2, other, client, flagRST, 99))
	if len(out) != 2 {
		t.Errorf("%d observations", len(out))
	}
}

func TestFirstErrorIsTheCause(t *testing.T) {
	first := sockEvent(kindErr, 1, 0xc, client, server)
	first.Reason = 110
	later := sockEvent(kindErr, 2, 0xc, client, server)
	later.Reason = 103
	out := joined(t, first, later)
	if len(out) != 1 || out[0].err.Reason != 110 || out[0].kind != obsError {
		t.Errorf("%d observations", len(out))
	}
}

func TestOrdinaryErrorsMakeNoCase(t *testing.T) {
	for _, errno := range []int32{0, 103, 104, 32} {
		e := sockEvent(kindErr, 1, 0xc, client, server)
		e.Reason = errno
		if out := joined(t, e); len(out) != 0 {
			t.Errorf("errno %d made a case", errno)
		}
	}
}

func TestDropsAreReportedOnceASecond(t *testing.T) {
	var events []*resetEvent
	for i := range uint64(100) {
		e := packetEvent(kindDrop, 1+i, netip.AddrPortFrom(client.Addr(), uint16(40000+i)), server, flagSYN, 1)
		e.Reason = 40
		events = append(events, e)
	}
	if out := joined(t, events...); len(out) != 1 || out[0].kind != obsDrop {
		t.Errorf("%d observations", len(out))
	}
}

func TestRefusedResetsWithOtherSequenceNumbersAreApart(t *testing.T) {
	var events []*resetEvent
	for i := range uint32(5) {
		e := packetEvent(kindDrop, uint64(1+i), server, client, flagRST, 100+i)
		e.Reason = 45
		events = append(events, e)
	}
	if out := joined(t, events...); len(out) != 5 {
		t.Errorf("%d observations of 5 resets", len(out))
	}
}

func TestScanIsSeenAtItsFirstPort(t *testing.T) {
	var at []int64
	j := newJoiner(30*time.Millisecond, nil, nil)
	j.flush = func(o *observation) { at = append(at, j.scans.ports(scanner{from: o.dst.Addr()}, o.first)) }
	for i := range uint16(12) {
		target := netip.AddrPortFrom(server.Addr(), 1000+i)
		e := packetEvent(kindSend, uint64(i), client, target, flagSYN, 1)
		j.add(e)
	}
	j.expire(^uint64(0))
	if len(at) != 12 || at[0] != 12 {
		t.Errorf("%v", at)
	}
}

func TestPendingIsBounded(t *testing.T) {
	n := 0
	j := newJoiner(time.Hour, nil, func(*observation) { n++ })
	for i := range 3 * maxPending {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		j.add(packetEvent(kindWire, uint64(i), src, client, flagRST, uint32(i)))
	}
	if len(j.queue) > maxPending || len(j.pending) > maxPending || int(j.evicted) != n || n != 2*maxPending {
		t.Errorf("%d queued, %d pending, %d evicted, %d flushed", len(j.queue), len(j.pending), j.evicted, n)
	}
}

func TestDroppedSegmentsAreBounded(t *testing.T) {
	j := newJoiner(time.Hour, map[int32]string{12: "NETFILTER_DROP"}, func(*observation) {})
	for i := range 3 * maxDrops {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		e := packetEvent(kindDrop, uint64(i), src, server, flagSYN, 1)
		e.Reason = 12
		j.add(e)
	}
	if len(j.drops) > maxDrops {
		t.Errorf("%d drops remembered", len(j.drops))
	}
}

func TestLossesHideAbsence(t *testing.T) {
	var l losses

	l.look(0, 1000*ms)
	l.look(5, 1010*ms)
	l.look(5, 1020*ms)
	for _, c := range []struct {
		from, to uint64
		want     bool
	}{{1005, 1006, true}, {980, 1004, true}, {1040, 1070, true}, {1100, 1130, false}, {800, 830, false}} {
		if got := l.overlap(c.from*ms, c.to*ms); got != c.want {
			t.Errorf("overlap(%d, %d) = %v", c.from, c.to, got)
		}
	}
}

func TestStackNamesTheCause(t *testing.T) {
	for _, c := range []struct {
		stack []string
		rules []pathRule
		want  string
	}{
		{[]string{"tcp_send_active_reset", "__tcp_close", "tcp_close"}, sendPaths, "close"},
		{[]string{"tcp_send_active_reset", "tcp_disconnect", "__tcp_close"}, sendPaths, "linger"},
		{[]string{"tcp_send_active_reset", "tcp_disconnect", "inet_child_forget", "inet_csk_listen_stop", "__tcp_close"}, sendPaths, "listen-stop"},
		{[]string{"tcp_send_active_reset", "tcp_disconnect", "__inet_stream_connect"}, sendPaths, "disconnect"},
		{[]string{"tcp_send_active_reset", "tcp_abort", "tcp_diag_destroy"}, sendPaths, "sock-destroy"},
		{[]string{"tcp_v4_send_reset", "tcp_check_req", "tcp_v4_rcv"}, sendPaths, "minisock"},
		{[]string{"tcp_send_active_reset", "__mptcp_close_ssk", "mptcp_close"}, sendPaths, "mptcp"},
		{[]string{"__dev_queue_xmit", "ip_output", "nf_send_reset", "nft_reject_inet_eval"}, wirePaths, "netfilter"},
		{[]string{"nft_do_chain", "nf_hook_slow", "ip_local_deliver", "ip_rcv"}, hookPaths, "input"},
		{[]string{"nft_do_chain", "nf_hook_slow", "ip_forward", "ip_rcv"}, hookPaths, "forward"},
		{answering([]string{"tcp_v4_send_reset", "tcp_v4_do_rcv", "tcp_v4_rcv", "ip_rcv", "tcp_write_xmit", "__tcp_close"}), sendPaths, "reply"}, // the other end's close provoked it
		{answering([]string{"tcp_v6_send_reset", "tcp_v6_do_rcv", "__release_sock", "__tcp_close", "do_exit"}), sendPaths, "reply"},              // what had waited, after the close
		{answering([]string{"tcp_v4_send_reset", "tcp_check_req", "tcp_v4_rcv", "__tcp_close"}), sendPaths, "minisock"},
		{[]string{"something_new"}, sendPaths, ""},
	} {
		if got := classify(c.stack, c.rules); got != c.want {
			t.Errorf("%v: %q, want %q", c.stack, got, c.want)
		}
	}
	answer := []string{"__dev_queue_xmit", "ip_send_unicast_reply", "tcp_v4_send_reset", "tcp_v4_rcv", "__dev_queue_xmit", "raw_sendmsg"}
	if got := innermost(answer, wirePaths); got != "tcp-reply" {
		t.Errorf("the answer to a raw socket's segment is %q", got)
	}
}

func TestOptionsOfHostilePackets(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		want  bool
	}{
		{[]byte{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}, true},
		{[]byte{2, 4, 5, 180, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}, true},
		{[]byte{2, 0, 8, 10}, false},   // length zero
		{[]byte{2, 200, 8, 10}, false}, // length beyond the end
		{[]byte{0, 8, 10}, false},      // after the end of the list
		{[]byte{8}, false},
		{nil, false},
	} {
		var o [40]uint8
		copy(o[:], c.bytes)
		if got := hasTimestamp(o, uint8(len(c.bytes))); got != c.want {
			t.Errorf("%v: %v", c.bytes, got)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}, uint8(12), uint8(8))
	f.Add([]byte{30, 12, 0x10, 0x81}, uint8(4), uint8(30))
	f.Fuzz(func(t *testing.T, b []byte, n, kind uint8) {
		var o [40]uint8
		copy(o[:], b)
		if d := findOption(o, n, kind); len(d) > 38 {
			t.Errorf("%d bytes of option data", len(d))
		}
	})
}

func TestDecodingAllocatesNothing(t *testing.T) {
	raw := make([]byte, 1200)
	var e resetEvent
	if n := testing.AllocsPerRun(100, func() {
		if !decodeEvent(raw, &e) {
			t.Fatal("record refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if decodeEvent(raw[:40], &e) {
		t.Error("a short record was accepted")
	}
}
