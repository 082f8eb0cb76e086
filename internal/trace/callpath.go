package trace

import "strings"

// The kernel stack is an oracle of the reason that does not depend on the
// kernel's version: the functions below exist since 2.6 or 4.x under these
// names. The tables are tried in order; the first pattern of which every
// function is in the stack wins.
type pathRule struct {
	class string
	all   []string
}

var sendPaths = []pathRule{
	{"listen-stop", []string{"inet_csk_listen_stop"}},
	{"sock-destroy", []string{"tcp_diag_destroy"}},
	{"sock-destroy", []string{"tcp_abort"}},
	{"keepalive-timer", []string{"tcp_keepalive_timer"}},
	{"memory", []string{"tcp_out_of_resources"}},
	{"memory", []string{"tcp_check_oom"}},
	{"retransmit-timer", []string{"tcp_write_timer"}},
	{"mptcp", []string{"mptcp_"}},
	{"mptcp", []string{"__mptcp_"}},
	{"linger", []string{"tcp_disconnect", "__tcp_close"}},
	{"disconnect", []string{"tcp_disconnect"}},
	{"close", []string{"__tcp_close"}},
	{"close", []string{"tcp_close"}},
	{"minisock", []string{"tcp_check_req"}},
	{"reply", []string{"tcp_v4_send_reset"}},
	{"reply", []string{"tcp_v6_send_reset"}},
	{"reply", []string{"tcp_rcv_state_process"}},
	{"reply", []string{"tcp_v4_rcv"}},
	{"reply", []string{"tcp_v6_rcv"}},
}

var errorPaths = []pathRule{
	{"reset", []string{"tcp_reset"}},
	{"icmp", []string{"tcp_v4_err"}},
	{"icmp", []string{"tcp_v6_err"}},
	{"icmp", []string{"icmp_unreach"}},
	{"icmp", []string{"icmpv6_notify"}},
	{"sock-destroy", []string{"tcp_abort"}},
	{"keepalive-timer", []string{"tcp_keepalive_timer"}},
	{"probe-timer", []string{"tcp_probe_timer"}},
	{"retransmit-timer", []string{"tcp_retransmit_timer"}},
	{"retransmit-timer", []string{"tcp_write_timeout"}},
	{"retransmit-timer", []string{"tcp_write_timer"}},
	{"disconnect", []string{"tcp_disconnect"}},
	{"reset", []string{"tcp_rcv_state_process"}},
}

// wirePaths name who made a packet. A stack may lead through several of them,
// because an answer is made in the call that provoked it: the innermost counts.
var wirePaths = []pathRule{
	{"raw-socket", []string{"raw_sendmsg"}},
	{"raw-socket", []string{"rawv6_sendmsg"}},
	{"packet-socket", []string{"packet_sendmsg"}},
	{"packet-socket", []string{"packet_snd"}},
	{"packet-socket", []string{"tpacket_snd"}},
	{"netfilter", []string{"nf_send_reset"}},
	{"netfilter", []string{"nf_send_reset6"}},
	{"netfilter", []string{"nft_reject"}},
	{"netfilter", []string{"reject_tg"}},
	{"bpf", []string{"bpf_clone_redirect"}},
	{"bpf", []string{"bpf_redirect"}},
	{"bpf", []string{"xdp_do_redirect"}},
	{"bpf", []string{"skb_do_redirect"}},
	{"forwarded", []string{"ip_forward"}},
	{"forwarded", []string{"ip6_forward"}},
	{"forwarded", []string{"br_forward"}},
	{"forwarded", []string{"br_handle_frame"}},
	{"tcp-reply", []string{"ip_send_unicast_reply"}},
	{"tcp-reply", []string{"tcp_v6_send_response"}},
	{"tcp-active", []string{"tcp_send_active_reset"}},
	{"tcp-active", []string{"__tcp_transmit_skb"}},
}

// copyPaths are the ways in which a packet or raw socket frees the copies that
// nobody read.
var copyPaths = []pathRule{
	{"copy", []string{"packet_"}},
	{"copy", []string{"tpacket_rcv"}},
	{"copy", []string{"skb_queue_purge"}},
	{"copy", []string{"__skb_queue_purge"}},
	{"copy", []string{"skb_queue_purge_reason"}},
	{"copy", []string{"inet_sock_destruct"}},
}

// hookPaths name the netfilter hook from the caller of nf_hook_slow. The
// order matters: ip_forward and ip_local_deliver are called from ip_rcv.
var hookPaths = []pathRule{
	{"forward", []string{"ip_forward"}},
	{"forward", []string{"ip6_forward"}},
	{"input", []string{"ip_local_deliver"}},
	{"input", []string{"ip6_input"}},
	{"output", []string{"__ip_local_out"}},
	{"output", []string{"ip_local_out"}},
	{"output", []string{"__ip6_local_out"}},
	{"output", []string{"ip6_xmit"}},
	{"postrouting", []string{"ip_output"}},
	{"postrouting", []string{"ip6_output"}},
	{"prerouting", []string{"ip_rcv"}},
	{"prerouting", []string{"ipv6_rcv"}},
	{"prerouting", []string{"ip_sabotage_in"}},
}

// classify returns the class of a stack, "" when no rule fits.
func classify(stack []string, rules []pathRule) string {
	for _, r := range rules {
		fits := true
		for _, f := range r.all {
			fits = fits && inStack(stack, f)
		}
		if fits {
			return r.class
		}
	}
	return ""
}

// innermost returns the class of the innermost function that a rule names.
func innermost(stack []string, rules []pathRule) string {
	for i := range stack {
		if class := classify(stack[i:i+1], rules); class != "" {
			return class
		}
	}
	return ""
}

// answering cuts a stack at the call that took the segment which is answered.
// On one host that call is nested in whatever its sender was doing, and a
// segment that had waited is taken in the middle of a close.
func answering(stack []string) []string {
	for i, f := range stack {
		switch f {
		case "tcp_v4_do_rcv", "tcp_v6_do_rcv", "tcp_v4_rcv", "tcp_v6_rcv":
			return stack[:i+1]
		}
	}
	return stack
}

// inStack finds a function; a name that ends in _ stands for all that begin so.
func inStack(stack []string, name string) bool {
	for _, f := range stack {
		if f == name || strings.HasSuffix(name, "_") && strings.HasPrefix(f, name) {
			return true
		}
	}
	return false
}

// machinery are the frames of tracing itself, which say nothing.
func machinery(f string) bool {
	for _, p := range []string{"bpf_prog_", "bpf_trace_run", "__bpf_trace", "__traceiter_", "bpf_trampoline", "kprobe_", "ftrace_", "trace_call_bpf", "opt_pre_handler", "optimized_callback", "bpf_get_stack", "arch_ftrace", "arch_rethook"} {
		if strings.HasPrefix(f, p) {
			return true
		}
	}
	return f == ""
}
