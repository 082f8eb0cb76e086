package trace

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func TestImpliedReason(t *testing.T) {
	reply := func(state uint8, full uint8, flags uint8) *resetEvent {
		e := &resetEvent{State: state, Full: full, Sk: 1}
		e.Packet.Present, e.Packet.Flags = 1, flags
		return e
	}
	noSocket := reply(0, 0, flagSYN)
	noSocket.Sk = 0
	wrongTime := reply(stSynSent, 1, flagSYN|flagACK)
	wrongTime.Packet.Ack, wrongTime.SndNxt = 8, 8
	wrongAck := reply(stSynSent, 1, flagACK)
	wrongAck.Packet.Ack, wrongAck.SndNxt = 5, 8
	for _, c := range []struct {
		name, call, stack string
		e                 *resetEvent
		want              string
	}{
		{"closed port", "reply", "tcp_v4_send_reset<tcp_v4_rcv", noSocket, "NO_SOCKET"},
		{"TIME_WAIT", "time-wait", "tcp_v4_send_reset<tcp_v4_rcv", reply(stTimeWait, 0, flagACK), "TCP_TIMEWAIT_SOCKET"},
		{"stray ACK", "reply", "tcp_v6_send_reset<tcp_v6_do_rcv", reply(stListen, 1, flagACK), "TCP_FLAGS"},
		{"SYN to a listener", "reply", "tcp_v4_send_reset<tcp_v4_do_rcv", reply(stListen, 1, flagSYN), ""},
		{"full queue", "minisock", "tcp_v4_send_reset<tcp_check_req<tcp_v4_rcv", reply(stListen, 1, flagACK), "INVALID_SYN"},
		{"MPTCP join", "reply", "tcp_v4_send_reset<subflow_v4_route_req<tcp_conn_request", reply(stListen, 1, flagSYN), "MPTCP_RST_EUNSPEC"},
		{"old SYN-ACK", "reply", "tcp_v4_send_reset<tcp_v4_do_rcv", wrongAck, "TCP_INVALID_ACK_SEQUENCE"},
		{"SYN-ACK with a wrong timestamp", "reply", "tcp_v4_send_reset<tcp_v4_do_rcv", wrongTime, ""},
		{"data after close", "reply", "tcp_v4_send_reset<tcp_v4_do_rcv", reply(stFinWait2, 1, flagACK), "TCP_ABORT_ON_DATA"},
		{"data after close, done", "reply", "tcp_v4_send_reset<tcp_v4_do_rcv", reply(stClose, 1, flagACK), "TCP_ABORT_ON_DATA"},
		{"unread data", "close", "tcp_send_active_reset<__tcp_close", &resetEvent{Sk: 1, PrevState: stEstablished}, "TCP_ABORT_ON_CLOSE"},
		{"linger2", "close", "tcp_send_active_reset<__tcp_close", &resetEvent{Sk: 1, PrevState: stFinWait2, Linger2Jiffies: -1}, "TCP_ABORT_ON_LINGER"},
		{"SO_LINGER", "linger", "tcp_send_active_reset<tcp_disconnect<__tcp_close", &resetEvent{Sk: 1}, "TCP_STATE"},
		{"ss -K", "sock-destroy", "tcp_send_active_reset<tcp_abort", &resetEvent{Sk: 1, State: stEstablished}, "TCP_STATE"},
		{"keep-alive", "keepalive-timer", "tcp_send_active_reset<tcp_keepalive_timer", &resetEvent{Sk: 1, State: stEstablished}, "TCP_KEEPALIVE_TIMEOUT"},
		{"orphan", "keepalive-timer", "tcp_send_active_reset<tcp_keepalive_timer", &resetEvent{Sk: 1, State: stFinWait2, Dead: 1}, "TCP_STATE"},
		{"memory", "memory", "tcp_send_active_reset<tcp_out_of_resources", &resetEvent{Sk: 1}, "TCP_ABORT_ON_MEMORY"},
		{"MPTCP close", "mptcp", "tcp_send_active_reset<mptcp_do_fastclose<__mptcp_close", &resetEvent{Sk: 1}, "TCP_ABORT_ON_CLOSE"},
		{"MPTCP fastclose by the peer", "mptcp", "tcp_send_active_reset<mptcp_do_fastclose<mptcp_worker", &resetEvent{Sk: 1}, ""},
		{"unknown", "other", "tcp_send_active_reset", &resetEvent{Sk: 1}, ""},
	} {
		if got := impliedReason(c.call, strings.Split(c.stack, "<"), c.e); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestImpliedNoSocket(t *testing.T) {
	direct := func(more func(*fact.Case)) *fact.Case {
		c := &fact.Case{}
		c.Sender.Call, c.Sender.Stack = some("reply"), some("ip_send_unicast_reply<tcp_v4_send_reset<tcp_v4_rcv<ip_local_deliver")
		more(c)
		return c
	}
	for _, c := range []struct {
		name string
		c    *fact.Case
		want bool
	}{
		{"may be TIME_WAIT", direct(func(*fact.Case) {}), false},
		{"SYN", direct(func(c *fact.Case) { c.Trigger.Flags = some("S") }), true},
		{"never had the connection", direct(func(c *fact.Case) { c.Sender.Had = some(false) }), true},
		{"had it", direct(func(c *fact.Case) { c.Sender.Had = some(true) }), false},
		{"closed lately", direct(func(c *fact.Case) {
			c.Sender.Dead.Known, c.Sender.Dead.How, c.Sender.Dead.Age = some(true), some("close"), some(time.Second)
		}), false},
		{"closed long ago", direct(func(c *fact.Case) {
			c.Sender.Dead.Known, c.Sender.Dead.How, c.Sender.Dead.Age = some(true), some("close"), some(timeWait+1)
		}), true},
		{"was reset", direct(func(c *fact.Case) { c.Sender.Dead.Known, c.Sender.Dead.How = some(true), some("reset") }), true},
		{"by a listener", direct(func(c *fact.Case) {
			c.Sender.Had, c.Sender.Stack = some(false), some("tcp_v4_send_reset<tcp_v4_do_rcv<tcp_v4_rcv")
		}), false},
		{"the kernel says so", direct(func(c *fact.Case) { c.Sender.Had, c.Sender.Reason = some(false), some("TCP_FLAGS") }), false},
	} {
		if got := impliedNoSocket(c.c); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
