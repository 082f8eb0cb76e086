package trace

import (
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// timeWait is TCP_TIMEWAIT_LEN (include/net/tcp.h), which cannot be changed.
const timeWait = 60 * time.Second

// impliedReason returns the name that Linux 6.12 gives to the reason of a
// reset, on kernels that record none (before 6.10) or not yet this one: there
// each call site has its own, and stack and socket tell the call sites apart.
// It is "" when they do not. Compare net/ipv4/tcp.c, tcp_timer.c, tcp_ipv4.c,
// tcp_minisocks.c, tcp_input.c and net/mptcp of 6.12.
func impliedReason(call string, stack []string, e *resetEvent) string {
	if e.Packet.Present == 1 {
		return impliedReply(stack, e)
	}
	switch call {
	case "linger", "disconnect", "listen-stop", "sock-destroy": // tcp_disconnect, tcp_abort
		return "TCP_STATE"
	case "memory":
		return "TCP_ABORT_ON_MEMORY"
	case "close": // __tcp_close sends for two reasons only
		if e.PrevState == stFinWait2 && e.Linger2Jiffies < 0 {
			return "TCP_ABORT_ON_LINGER"
		}
		return "TCP_ABORT_ON_CLOSE"
	case "keepalive-timer":
		if e.State == stFinWait2 && e.Dead == 1 {
			return "TCP_STATE"
		}
		return "TCP_KEEPALIVE_TIMEOUT"
	case "mptcp":
		if inStack(stack, "__mptcp_close") && inStack(stack, "mptcp_do_fastclose") {
			return "TCP_ABORT_ON_CLOSE"
		}
	}
	return ""
}

// impliedReply is impliedReason for the answer to a segment.
func impliedReply(stack []string, e *resetEvent) string {
	switch {
	case inStack(stack, "subflow_v4_route_req"), inStack(stack, "subflow_v6_route_req"):
		return "MPTCP_RST_EUNSPEC" // some reason of RFC 8684 section 3.6
	case inStack(stack, "tcp_check_req"):
		return "INVALID_SYN"
	case e.State == stTimeWait:
		return "TCP_TIMEWAIT_SOCKET"
	case e.Sk == 0:
		return "NO_SOCKET"
	case e.State == stListen && e.Packet.Flags&flagACK != 0:
		return "TCP_FLAGS"
	case e.State == stSynSent && e.Packet.Ack != e.SndNxt: // else the timestamp was wrong
		return "TCP_INVALID_ACK_SEQUENCE"
	case e.Full == 1 && (e.State == stFinWait1 || e.State == stFinWait2 || e.State == stClose):
		return "TCP_ABORT_ON_DATA"
	}
	return ""
}

// impliedNoSocket says whether a reply of which only the device knows can have
// had no socket: that it went straight from the receipt of the segment, and that
// no TIME_WAIT socket can have been there, the other way to come here.
func impliedNoSocket(c *fact.Case) bool {
	em := &c.Sender
	stack := em.Stack.Or("")
	if em.Reason.State() == fact.Present || em.Call.Or("") != "reply" ||
		!strings.Contains(stack, "tcp_v4_send_reset<tcp_v4_rcv") && !strings.Contains(stack, "tcp_v6_send_reset<tcp_v6_rcv") {
		return false
	}
	if c.Trigger.Flags.Or("") == "S" {
		return true // TIME_WAIT answers a SYN with an ACK
	}
	if had, ok := em.Had.Get(); ok && !had {
		return true
	}
	if d := &em.Dead; d.Known.Or(false) {
		switch d.How.Or("") {
		case "reset", "timeout", "abort": // straight to CLOSE
			return true
		}
		return d.Age.Or(0) > timeWait
	}
	return false
}
