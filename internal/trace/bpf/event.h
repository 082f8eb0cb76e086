// Records that the programs hand to Go. Raw fields, host byte order, times in
// nanoseconds of CLOCK_MONOTONIC, units in the names. No scoring here: C copies, Go thinks.
#pragma once

enum kind { SEND = 1, RECV, ERR, DROP, WIRE, OWNER, ICMP, ARRIVE, ENDED, KINDS };

// Connections that fail their user without a RST: the reason of an ENDED event.
enum { CUT_BY_EXIT = 1, NO_ANSWER, GAVE_UP_CONNECTING, GAVE_UP_WAITING };

#define KFRAMES 32
#define UFRAMES 24

struct packet { // one TCP segment, with its IP header
	__u8 saddr[16], daddr[16];
	__u32 seq, ack;
	__u16 sport, dport, window, ip_id, payload_bytes;
	__u8 version, ttl, flags, df, present, first_bytes, options_bytes;
	__u8 first[16], options[40];
	__u8 icmp_type, icmp_code; // of the ICMP event
};

struct event {
	__u64 time_ns, sk, cookie, netns, cgroup, inode, loc, cred;
	__u8 laddr[16], raddr[16];
	__u16 lport, rport, family;
	__u8 kind, state, prev_state, full, owned, origin;
	__s32 reason; // sk_rst_reason, skb_drop_reason or errno, by kind; -1 when the kernel gives none
	__u32 ifindex, mark;
	// who was on the CPU: means something only when owned, or when Go knows from the stack
	__u32 pid, tid, uid, task_flags, opener; // opener: the process whose credentials the socket's file bears, 0 when not known
	__s32 exit_code, syscall;
	char comm[16];
	// socket
	__u32 unread_bytes, unacked_bytes, unsent_bytes, rcv_nxt, snd_nxt;
	__u32 srtt_us, rttvar_us, rto_jiffies, total_retrans, lost, cwnd, snd_wnd, rcv_wnd, mss;
	__u64 bytes_sent, bytes_acked, bytes_received, bytes_retrans;
	__u32 idle_send_jiffies, idle_recv_jiffies, idle_ack_jiffies;
	__u32 keepalive_time_jiffies, keepalive_intvl_jiffies, user_timeout_ms, linger_jiffies;
	__s32 linger2_jiffies, sk_err, sk_err_soft;
	__u32 backlog, backlog_max;
	__u8 keepalive_probes, probes_out, retransmits, backoff, syn_retries, shutdown;
	__u8 dead, keepopen, linger, ts_ok, saw_ts, mptcp, md5;
	__u32 ts_recent, rcv_tsval, rcv_tsecr; // the last two of the segment that is being received
	__u8 peer_ttl; // of the handshake of the connection, in the arrival of a RST; 0 when not seen
	__u8 kframes, uframes, unread_len;
	__u8 unread[32];
	struct packet packet;
	__u64 kstack[KFRAMES];
	__u64 ustack[UFRAMES];
};

struct close_record { // one local close; ts is written last, 0 first, so that a torn slot is seen
	__u64 ts_ns, key, sk;
	__u32 tgid;
	__s32 exit_code, syscall;
	__u32 unacked_bytes, unread_bytes, received_bytes, sent_bytes, idle_jiffies;
	char comm[16];
	__u16 lport, rport;
	__u8 from, to, exiting, owned;
	__u16 sk_err;
	__u8 kernel, spoke_last; // kernel: a thread of the kernel closed it, for opener or whoever has cred
	__u32 opener;
	__u64 cred;
};

struct exit_record { __u64 ts_ns; __u32 tgid, ppid; __s32 exit_code; __u32 pad; char comm[16]; };
struct task_record { __u64 cred, start_ns; __u32 tgid, kernel; };

struct open_record { __u64 ts_ns, sk, key; __u32 active, pad; };

struct counter { __u64 seen, sent, lost, suppressed; };

struct flood_key { __u64 netns; __u32 reason; __u16 port; __u8 kind, origin; };
struct flood_value { __u64 count, first_ns, last_ns; };

struct wire_key { __u64 netns; __u32 origin; __u32 pad; };

struct killer { __u64 ts_ns; __u32 sig, pid; __s32 code; __u32 kernel; char comm[16]; };
