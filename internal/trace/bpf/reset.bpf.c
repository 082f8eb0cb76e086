//go:build ignore
// The kernel source: what is hooked, and why, is in ../trace.go. C copies, Go thinks.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "event.h"

char LICENSE[] SEC("license") = "GPL";

#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define PF_EXITING 4
#define PF_KTHREAD 0x200000
#define SYN 2
#define RST 4
#define EADDRNOTAVAIL 99
enum { ESTABLISHED = 1, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING, NEW_SYN_RECV };
enum origin { ORIGIN_UNKNOWN, ORIGIN_ACTIVE, ORIGIN_REPLY, ORIGIN_NONE, ORIGIN_RAW, ORIGIN_PACKET, ORIGIN_FORWARDED };

// Events for each CPU and kind at once, and a half of it each second; of replies without a connection, which floods consist of, a
// quarter and an eighth; the rest is counted.
const volatile __u32 burst = 4000;
const volatile __u32 payload = 1;       // look at the first bytes of data: off with --no-payload
const volatile __u32 want_ustack = 0;   // --stacks
const volatile __u32 close_slots = 16384; // for each CPU, a power of two
const volatile __u32 open_slots = 16384;
const volatile __u32 cpus = 1;
const volatile __u32 second = 250;      // jiffies
const volatile __u32 self = 0;          // our own tgid
// numbers of enum skb_drop_reason on the running kernel; 0xffff when it has none
const volatile __u32 drop_not_specified = 2, drop_no_socket = 0xffff, drop_tcp_reset = 0xffff, drop_invalid_sequence = 0xffff, drop_listen_overflow = 0xffff,
	drop_netfilter = 0xffff, drop_paws = 0xffff, drop_md5 = 0xffff, drop_md5_last = 0, drop_csum = 0xffff, drop_invalid_end = 0xffff, drop_tcp_flags = 0xffff, drop_tcp_close = 0xffff, drop_too_big = 0xffff;

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 16); __type(key, __u32); __type(value, struct counter); } counters SEC(".maps");
struct bucket { __u64 last_ns, tokens; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 32); __type(key, __u32); __type(value, struct bucket); } buckets SEC(".maps");
// Counted on each CPU for itself: two CPUs that meet a new key at the same time lose nothing.
struct { __uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH); __uint(max_entries, 1024); __type(key, struct flood_key); __type(value, struct flood_value); } floods SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH); __uint(max_entries, 4096); __type(key, struct wire_key); __type(value, __u64); } ledger SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 16384); __type(key, __u32); __type(value, struct close_record); } closes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 16384); __type(key, __u32); __type(value, struct open_record); } opens SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, __u32); __type(value, struct killer); } killers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, __u32); __type(value, __u64); } oom_victims SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, __u64); __type(value, __u64); } victims SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, __u32); __type(value, struct exit_record); } exits SEC(".maps"); // by tgid
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u64); __type(value, __u32); } creds SEC(".maps"); // who has them
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, __u64); __type(value, __u8); } ttls SEC(".maps"); // of handshakes that arrived
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } gate SEC(".maps"); // 1 once there was a victim

// Where the kernel's direct map has the page of a struct page: address = page * 64 + this, both modulo 2^64; 0 while unknown. It is
// different after each boot, no symbol has it, and so it is learnt (see learn below).
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } direct SEC(".maps");

// The state a socket had before its last change: the two ends of a loopback
// connection change within one call, hence the last four.
struct last { __u64 sk, old; };
struct cpu { __u64 closes, opens; struct last last[4]; __u64 next; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct cpu); } cpu SEC(".maps");

struct event *unused_event __attribute__((unused));
struct close_record *unused_close __attribute__((unused));
struct open_record *unused_open __attribute__((unused));
struct counter *unused_counter __attribute__((unused));
struct flood_key *unused_flood_key __attribute__((unused));
struct flood_value *unused_flood_value __attribute__((unused));
struct wire_key *unused_wire_key __attribute__((unused));
struct killer *unused_killer __attribute__((unused));
struct exit_record *unused_exit __attribute__((unused));
struct task_record *unused_task __attribute__((unused));

#define READ(src, field) BPF_CORE_READ(src, field)

static __always_inline struct cpu *this_cpu(void) { __u32 zero = 0; return bpf_map_lookup_elem(&cpu, &zero); }

static __always_inline __u8 state_before(struct cpu *cp, const struct sock *sk) {
	for (int i = 1; i <= 4; i++) { // the latest first
		struct last *l = &cp->last[(cp->next - i) & 3];
		if (l->sk == (__u64)sk) return l->old;
	}
	return 0;
}

// ---- rate limit and loss accounting: seen = sent + lost + suppressed, always.
// Submitting wakes the reader only when it has read everything before: it then sleeps,
// and looks at intervals afterwards, so that a flood wakes it a hundred times a second.

#define STRAY 16 // added to the kind of what no connection took part in

static __noinline int allow(__u32 kind) {
	struct bucket *b = bpf_map_lookup_elem(&buckets, &kind);
	if (!b) return 0;
	__u64 now = bpf_ktime_get_ns(), most = kind < STRAY ? burst : burst / 4, fresh = (now - b->last_ns) * (most / 2 + 1) / 1000000000ULL;
	if (fresh) {
		b->last_ns = now;
		b->tokens += fresh;
		if (fresh > most || b->tokens > most) b->tokens = most;
	}
	if (!b->tokens) return 0;
	b->tokens--;
	return 1;
}

static __noinline void fold(__u8 kind, __u8 origin, __u64 netns, __u16 port, __s32 reason) {
	struct flood_key key = {.netns = netns, .reason = reason, .port = port, .kind = kind, .origin = origin};
	struct flood_value *v = bpf_map_lookup_elem(&floods, &key);
	__u64 now = bpf_ktime_get_ns();
	if (v) {
		if (!v->count++) v->first_ns = now;
		v->last_ns = now;
		return;
	}
	struct flood_value first = {.count = 1, .first_ns = now, .last_ns = now};
	bpf_map_update_elem(&floods, &key, &first, BPF_ANY);
}

static __noinline void tally(__u64 netns, __u32 origin) {
	struct wire_key key = {.netns = netns, .origin = origin};
	__u64 *n = bpf_map_lookup_elem(&ledger, &key), one = 1;
	if (n) ++*n;
	else bpf_map_update_elem(&ledger, &key, &one, BPF_ANY);
}

static __always_inline struct counter *count(__u32 kind) {
	struct counter *c = bpf_map_lookup_elem(&counters, &kind);
	if (c) c->seen++;
	return c;
}

static __always_inline struct event *reserve(struct counter *c, __u32 kind) {
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		c->lost++;
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	c->sent++;
	e->time_ns = bpf_ktime_get_ns();
	e->kind = kind;
	e->reason = -1;
	return e;
}

// ---- copying

static __always_inline __s32 syscall_nr(struct task_struct *t) {
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
#if defined(__TARGET_ARCH_x86)
	return READ(regs, orig_ax);
#else
	return READ(regs, syscallno);
#endif
}

static __always_inline __s32 exit_code(struct task_struct *t) {
	__s32 code = READ(t, signal) ? BPF_CORE_READ(t, signal, group_exit_code) : 0;
	return code ? code : READ(t, exit_code);
}

static __noinline void copy_task(struct event *e) {
	struct task_struct *t = bpf_get_current_task_btf();
	e->pid = READ(t, tgid);
	e->tid = READ(t, pid);
	e->task_flags = READ(t, flags);
	e->exit_code = exit_code(t);
	e->syscall = syscall_nr(t);
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

static __always_inline void put4(__u8 *to, __be32 addr) { __builtin_memcpy(to, &addr, 4); }

static __noinline __u64 netns_of_skb(const struct sk_buff *skb) {
	struct net_device *dev = READ(skb, dev);
	if (!dev) {
		struct dst_entry *dst = (void *)(READ(skb, _skb_refdst) & ~1UL);
		if (!dst) return 0;
		dev = READ(dst, dev);
	}
	return dev ? BPF_CORE_READ(dev, nd_net.net, net_cookie) : 0;
}

// Copies most bytes of a segment's data from offset on, and returns how many of them are valid. On one host, and from many network
// cards, data lies in a page and not behind the headers.
static __noinline __u32 copy_data(__u8 *to, const struct sk_buff *skb, __u32 offset, __u32 most) {
	if (most > 32) return 0;
	__u32 linear = READ(skb, len) - READ(skb, data_len), left = linear - offset, zero = 0;
	const unsigned char *from = READ(skb, data) + offset;
	if (offset >= linear) {
		__u64 *map = bpf_map_lookup_elem(&direct, &zero);
		struct skb_shared_info *shared = (void *)(READ(skb, head) + READ(skb, end));
		struct skb_frag frag = {};
		if (!map || !*map || !READ(shared, nr_frags) || bpf_probe_read_kernel(&frag, sizeof(frag), (void *)__builtin_preserve_access_index(&shared->frags))) return 0;
		offset -= linear;
		if (frag.page & 1 || offset >= frag.len) return 0; // 1: memory of a device
		left = frag.len - offset;
		from = (void *)(frag.page * 64 + *map + frag.offset + offset);
	}
	if (bpf_probe_read_kernel(to, most, from)) return 0;
	return left < most ? left : most;
}

static __noinline void copy_packet_at(struct packet *p, const struct sk_buff *skb, unsigned char *nh) {
	unsigned char *th;
	__u8 version = 0;
	__u32 ip_payload;
	if (bpf_probe_read_kernel(&version, 1, nh)) return;
	if (version >> 4 == 4) {
		struct iphdr ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), nh) || ip.protocol != IPPROTO_TCP) return;
		put4(p->saddr, ip.saddr);
		put4(p->daddr, ip.daddr);
		p->ttl = ip.ttl;
		p->ip_id = bpf_ntohs(ip.id);
		p->df = !!(ip.frag_off & bpf_htons(0x4000));
		th = nh + (ip.ihl_version & 15) * 4;
		ip_payload = bpf_ntohs(ip.tot_len) - (ip.ihl_version & 15) * 4;
	} else {
		struct ipv6hdr ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), nh) || ip.nexthdr != IPPROTO_TCP) return;
		__builtin_memcpy(p->saddr, ip.saddr, 16);
		__builtin_memcpy(p->daddr, ip.daddr, 16);
		p->ttl = ip.hop_limit;
		th = nh + sizeof(ip);
		ip_payload = bpf_ntohs(ip.payload_len);
	}
	struct tcphdr tcp;
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), th)) return;
	p->version = version >> 4;
	p->seq = bpf_ntohl(tcp.seq);
	p->ack = bpf_ntohl(tcp.ack_seq);
	p->window = bpf_ntohs(tcp.window);
	p->flags = tcp.flags;
	p->sport = bpf_ntohs(tcp.source);
	p->dport = bpf_ntohs(tcp.dest);
	p->present = 1;
	__u32 doff = (tcp.doff_res >> 4) * 4;
	if (ip_payload > doff && doff >= 20) {
		p->payload_bytes = ip_payload - doff;
		// fixed sizes keep every verifier content; Go looks only at the valid part
		if (payload) p->first_bytes = copy_data(p->first, skb, th + doff - READ(skb, data), sizeof(p->first));
	}
	if (doff > 20 && !bpf_probe_read_kernel(p->options, sizeof(p->options), th + 20)) p->options_bytes = doff - 20;
}

static __always_inline void copy_packet(struct packet *p, const struct sk_buff *skb) { copy_packet_at(p, skb, READ(skb, head) + READ(skb, network_header)); }

static __always_inline void copy_addresses(struct event *e, const struct sock *sk) {
	e->family = READ(sk, __sk_common.skc_family);
	if (e->family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->laddr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&e->raddr, sk, __sk_common.skc_v6_daddr);
	} else {
		put4(e->laddr, READ(sk, __sk_common.skc_rcv_saddr));
		put4(e->raddr, READ(sk, __sk_common.skc_daddr));
	}
	e->rport = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	e->lport = READ(sk, __sk_common.skc_num);
}

// What the application would have read next.
static __noinline void copy_unread(struct event *e, const struct sock *sk) {
	if (!payload) return;
	struct sk_buff *skb = BPF_CORE_READ(sk, sk_receive_queue.next);
	if ((void *)skb == (void *)__builtin_preserve_access_index(&sk->sk_receive_queue) || !skb) return;
	__u32 seq = 0;
	bpf_probe_read_kernel(&seq, sizeof(seq), skb->cb); // struct tcp_skb_cb begins with it
	e->unread_len = copy_data(e->unread, skb, READ((struct tcp_sock *)sk, copied_seq) - seq, sizeof(e->unread));
}

// Learns where the direct map has a page: of a pipe of ours, whose page begins with a pattern that we wrote. Its control block lies in
// the direct map, and both that map and the array of struct page begin at a multiple of a GiB: a few distances are to be tried.
struct try_args { __u8 pattern[32]; __s32 fd, first, count; };

SEC("syscall")
int learn(struct try_args *a) {
	struct task_struct *t = bpf_get_current_task_btf();
	struct file **list = BPF_CORE_READ(t, files, fdt, fd), *f = 0;
	if (bpf_probe_read_kernel(&f, sizeof(f), list + a->fd) || !f) return 1;
	struct pipe_inode_info *pipe = READ(f, private_data);
	struct pipe_buffer *buf = pipe ? READ(pipe, bufs) : 0;
	__u64 page = buf ? (__u64)READ(buf, page) : 0, offset = READ(buf, offset), gib = 1ULL << 30;
	if (!page) return 2;
	__u64 guess = ((__u64)pipe & ~(gib - 1)) + (page & (gib - 1)) * 64;
	for (int i = 0; i < 256 && i < a->count; i++) {
		__u64 at = guess + (__u64)(__s64)(a->first + i) * gib, data[4] = {};
		if (bpf_probe_read_kernel(data, sizeof(data), (void *)(at + offset))) continue;
		__u64 *want = (__u64 *)a->pattern;
		if (data[0] != want[0] || data[1] != want[1] || data[2] != want[2] || data[3] != want[3]) continue;
		__u32 zero = 0;
		at -= page * 64;
		bpf_map_update_elem(&direct, &zero, &at, BPF_ANY);
		return 0;
	}
	return 3;
}

static __noinline void copy_tcp(struct event *e, const struct sock *sk) {
	struct tcp_sock *tp = (void *)sk;
	struct inet_connection_sock *ic = (void *)sk;
	e->lport = bpf_ntohs(READ((struct inet_sock *)sk, inet_sport)); // skc_num is 0 after CLOSE
	e->rcv_nxt = READ(tp, rcv_nxt);
	e->snd_nxt = READ(tp, snd_nxt);
	e->unread_bytes = e->rcv_nxt - READ(tp, copied_seq);
	e->unacked_bytes = e->snd_nxt - READ(tp, snd_una);
	e->unsent_bytes = READ(tp, write_seq) - e->snd_nxt;
	e->srtt_us = READ(tp, srtt_us) >> 3;
	e->rttvar_us = READ(tp, rttvar_us) >> 2;
	e->rto_jiffies = READ(ic, icsk_rto);
	e->total_retrans = READ(tp, total_retrans);
	e->lost = READ(tp, lost);
	e->cwnd = READ(tp, snd_cwnd);
	e->snd_wnd = READ(tp, snd_wnd);
	e->rcv_wnd = READ(tp, rcv_wnd);
	e->mss = READ(tp, mss_cache);
	e->bytes_sent = READ(tp, bytes_sent);
	e->bytes_acked = READ(tp, bytes_acked);
	e->bytes_received = READ(tp, bytes_received);
	e->bytes_retrans = READ(tp, bytes_retrans);
	__u32 now = bpf_jiffies64();
	e->idle_send_jiffies = now - READ(tp, lsndtime);
	e->idle_recv_jiffies = now - READ(ic, icsk_ack.lrcvtime);
	e->idle_ack_jiffies = now - READ(tp, rcv_tstamp);
	e->keepalive_time_jiffies = READ(tp, keepalive_time);
	e->keepalive_intvl_jiffies = READ(tp, keepalive_intvl);
	e->keepalive_probes = READ(tp, keepalive_probes);
	e->user_timeout_ms = READ(ic, icsk_user_timeout);
	e->linger2_jiffies = READ(tp, linger2);
	e->probes_out = READ(ic, icsk_probes_out);
	e->retransmits = READ(ic, icsk_retransmits);
	e->backoff = READ(ic, icsk_backoff);
	e->syn_retries = READ(ic, icsk_syn_retries);
	e->ts_ok = BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.tstamp_ok);
	e->saw_ts = BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.saw_tstamp);
	e->ts_recent = READ(tp, rx_opt.ts_recent);
	e->rcv_tsval = READ(tp, rx_opt.rcv_tsval);
	e->rcv_tsecr = READ(tp, rx_opt.rcv_tsecr);
	if (bpf_core_field_exists(tp->is_mptcp)) e->mptcp = READ(tp, is_mptcp);
	if (bpf_core_field_exists(tp->md5sig_info)) e->md5 = READ(tp, md5sig_info) != 0;
}

static __always_inline __u32 who_has(__u64 cred) {
	__u32 *tgid = cred ? bpf_map_lookup_elem(&creds, &cred) : 0;
	return tgid ? *tgid : 0;
}

static __noinline void copy_sock(struct event *e, const struct sock *sk) {
	e->sk = (__u64)sk;
	e->state = READ(sk, __sk_common.skc_state);
	e->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	e->cookie = READ(sk, __sk_common.skc_cookie.counter);
	copy_addresses(e, sk);
	if (e->state == TIME_WAIT || e->state == NEW_SYN_RECV) return; // a mini-socket: the rest is not there
	e->full = 1;
	e->owned = READ(sk, sk_lock.owned);
	__u64 flags = READ(sk, __sk_common.skc_flags);
	e->dead = flags & 1;
	e->keepopen = (flags >> bpf_core_enum_value(enum sock_flags, SOCK_KEEPOPEN)) & 1;
	e->linger = (flags >> bpf_core_enum_value(enum sock_flags, SOCK_LINGER)) & 1;
	e->linger_jiffies = READ(sk, sk_lingertime);
	struct sock___ino *si = (void *)sk;
	struct socket *s = READ(sk, sk_socket);
	struct file *f = s ? READ(s, file) : 0;
	if (f) e->cred = (__u64)READ(f, f_cred);
	e->opener = who_has(e->cred);
	if (bpf_core_field_exists(si->sk_ino)) e->inode = READ(si, sk_ino);
	else if (f) e->inode = BPF_CORE_READ(f, f_inode, i_ino);
	BPF_CORE_READ_INTO(&e->uid, sk, sk_uid.val);
	e->mark = READ(sk, sk_mark);
	e->sk_err = READ(sk, sk_err);
	e->sk_err_soft = READ(sk, sk_err_soft);
	e->shutdown = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_shutdown);
	e->backlog = READ(sk, sk_ack_backlog);
	e->backlog_max = READ(sk, sk_max_ack_backlog);
	e->cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	copy_tcp(e, sk);
}

static __always_inline void copy_stacks(void *ctx, struct event *e) {
	long n = bpf_get_stack(ctx, e->kstack, sizeof(e->kstack), 0);
	if (n > 0) e->kframes = n / 8;
	if (!want_ustack) return;
	n = bpf_get_stack(ctx, e->ustack, sizeof(e->ustack), BPF_F_USER_STACK);
	if (n > 0) e->uframes = n / 8;
}

static __always_inline void remember_victim(const struct sock *sk) {
	__u64 key = (__u64)sk, now = bpf_ktime_get_ns();
	bpf_map_update_elem(&victims, &key, &now, BPF_ANY);
	__u32 zero = 0;
	__u64 *open = bpf_map_lookup_elem(&gate, &zero);
	if (open) *open = 1;
}

// ---- resets sent by the stack

static __always_inline int on_send(void *ctx, const struct sock *sk, const struct sk_buff *skb, __s32 reason) {
	struct counter *c = count(SEND);
	struct cpu *cp = this_cpu();
	if (!c || !cp) return 0;
	__u64 netns = sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) : skb ? netns_of_skb(skb) : 0;
	tally(netns, 0);
	__u8 state = sk ? READ(sk, __sk_common.skc_state) : LISTEN;
	if (!allow(state == LISTEN || state == TIME_WAIT ? SEND + STRAY : SEND)) {
		c->suppressed++;
		fold(SEND, 0, netns, 0, reason);
		return 0;
	}
	struct event *e = reserve(c, SEND);
	if (!e) return 0;
	e->reason = reason;
	if (sk) copy_sock(e, sk);
	if (skb) copy_packet(&e->packet, skb);
	e->netns = netns;
	copy_task(e);
	e->prev_state = state_before(cp, sk);
	copy_stacks(ctx, e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}
SEC("tp_btf/tcp_send_reset") int BPF_PROG(send_tp3, const struct sock *sk, const struct sk_buff *skb, int reason) { return on_send(ctx, sk, skb, reason); }
SEC("tp_btf/tcp_send_reset") int BPF_PROG(send_tp2, const struct sock *sk, const struct sk_buff *skb) { return on_send(ctx, sk, skb, -1); }
SEC("raw_tp/tcp_send_reset") int send_raw(__u64 *ctx) { return on_send(ctx, (void *)ctx[0], (void *)ctx[1], -1); }

// Before 6.10 the tracepoint is silent unless there is a full socket: take the rest at the function itself, which answers no RST.
static __always_inline int on_send_nosk(void *ctx, const struct sock *sk, const struct sk_buff *skb) {
	__u8 flags = 0;
	bpf_probe_read_kernel(&flags, 1, READ(skb, head) + READ(skb, transport_header) + 13);
	if (flags & RST) return 0;
	if (sk) {
		__u8 state = READ(sk, __sk_common.skc_state);
		if (state != TIME_WAIT && state != NEW_SYN_RECV) return 0;
	}
	return on_send(ctx, sk, skb, -1);
}
SEC("fentry/tcp_v4_send_reset") int BPF_PROG(send4_fe, const struct sock *sk, struct sk_buff *skb) { return on_send_nosk(ctx, sk, skb); }
SEC("fentry/tcp_v6_send_reset") int BPF_PROG(send6_fe, const struct sock *sk, struct sk_buff *skb) { return on_send_nosk(ctx, sk, skb); }
SEC("kprobe/tcp_v4_send_reset") int BPF_KPROBE(send4_kp, const struct sock *sk, struct sk_buff *skb) { return on_send_nosk(ctx, sk, skb); }
SEC("kprobe/tcp_v6_send_reset") int BPF_KPROBE(send6_kp, const struct sock *sk, struct sk_buff *skb) { return on_send_nosk(ctx, sk, skb); }

// ---- resets received and accepted

static __always_inline int on_recv(void *ctx, struct sock *sk, struct sk_buff *skb) {
	struct counter *c = count(RECV);
	if (!c) return 0;
	remember_victim(sk);
	if (!allow(RECV)) {
		c->suppressed++;
		fold(RECV, 0, BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie), READ(sk, __sk_common.skc_num), -1);
		return 0;
	}
	struct event *e = reserve(c, RECV);
	if (!e) return 0;
	copy_sock(e, sk);
	copy_unread(e, sk);
	if (skb) copy_packet(&e->packet, skb);
	copy_task(e);
	copy_stacks(ctx, e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}
SEC("fentry/tcp_reset") int BPF_PROG(recv_fe, struct sock *sk, struct sk_buff *skb) { return on_recv(ctx, sk, skb); }
SEC("kprobe/tcp_reset") int BPF_KPROBE(recv_kp, struct sock *sk, struct sk_buff *skb) { return on_recv(ctx, sk, skb); }
SEC("tp_btf/tcp_receive_reset") int BPF_PROG(recv_tp, struct sock *sk) { return on_recv(ctx, sk, 0); }
SEC("raw_tp/tcp_receive_reset") int recv_raw(__u64 *ctx) { return on_recv(ctx, (void *)ctx[0], 0); }

// ---- errors without a reset: timeouts, unreachable

static __always_inline int on_err(void *ctx, const struct sock *sk, __s32 errno) {
	struct counter *c = count(ERR);
	if (!c) return 0;
	if (!allow(ERR)) {
		c->suppressed++;
		fold(ERR, 0, BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie), READ(sk, __sk_common.skc_num), errno);
		return 0;
	}
	remember_victim(sk);
	struct event *e = reserve(c, ERR);
	if (!e) return 0;
	copy_sock(e, sk);
	e->reason = errno;
	copy_task(e);
	struct cpu *cp = this_cpu();
	if (cp) e->prev_state = state_before(cp, sk);
	copy_stacks(ctx, e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}

SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(err, const struct sock *sk) {
	if (READ(sk, sk_protocol) != IPPROTO_TCP || READ(sk, sk_type) != SOCK_STREAM) return 0;
	return on_err(ctx, sk, READ(sk, sk_err));
}

// ---- memory of closes and opens: one cache line or two into a per-CPU ring, no hashing in maps

static __always_inline __u64 mix(__u64 h, __u64 v) { h = (h ^ v) * 0x9e3779b97f4a7c15ULL; return h ^ h >> 29; }

static __always_inline __u64 tuple_key(const struct sock *sk, __u16 lport) {
	__u64 h = sk->__sk_common.skc_net.net->net_cookie;
	const __be32 *d = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32, *l = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32;
	if (sk->__sk_common.skc_family == AF_INET6 && !(d[0] == 0 && d[1] == 0 && d[2] == bpf_htonl(0xffff))) {
		h = mix(h, (__u64)l[0] << 32 | l[1]);
		h = mix(h, (__u64)l[2] << 32 | l[3]);
		h = mix(h, (__u64)d[0] << 32 | d[1]);
		h = mix(h, (__u64)d[2] << 32 | d[3]);
	} else {
		h = mix(h, (__u64)sk->__sk_common.skc_rcv_saddr << 32 | sk->__sk_common.skc_daddr);
	}
	return mix(h, (__u64)lport << 16 | bpf_ntohs(sk->__sk_common.skc_dport));
}

static __always_inline void put_close(struct cpu *cp, const struct sock *sk, int old, int new) {
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp) return;
	__u32 slot = bpf_get_smp_processor_id() * close_slots + (cp->closes++ & (close_slots - 1));
	struct close_record *r = bpf_map_lookup_elem(&closes, &slot);
	if (!r) return;
	struct task_struct *t = bpf_get_current_task_btf();
	r->ts_ns = 0;
	r->sk = (__u64)sk;
	r->lport = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	r->rport = bpf_ntohs(sk->__sk_common.skc_dport);
	r->key = tuple_key(sk, r->lport);
	r->tgid = t->tgid;
	__builtin_memcpy(r->comm, t->comm, 16);
	r->exiting = !!(t->flags & PF_EXITING);
	r->exit_code = r->exiting ? t->exit_code : 0;
	r->syscall = syscall_nr(t);
	r->unacked_bytes = tp->write_seq - tp->snd_una;
	r->unread_bytes = tp->rcv_nxt - tp->copied_seq;
	r->received_bytes = tp->bytes_received;
	r->sent_bytes = tp->bytes_sent;
	__u32 now = (__u32)bpf_jiffies64(), heard = now - tp->inet_conn.icsk_ack.lrcvtime, spoke = now - tp->lsndtime;
	r->spoke_last = spoke <= heard;
	r->idle_jiffies = r->spoke_last ? spoke : heard;
	r->from = old;
	r->to = new;
	r->owned = sk->sk_lock.owned != 0;
	r->kernel = !!(t->flags & PF_KTHREAD);
	struct socket *so = r->kernel ? sk->sk_socket : 0;
	struct file *f = so ? so->file : 0;
	r->cred = f ? (__u64)f->f_cred : 0;
	r->opener = who_has(r->cred);
	r->sk_err = sk->sk_err;
	r->ts_ns = bpf_ktime_get_ns();
}

static __always_inline void put_open(struct cpu *cp, const struct sock *sk, int old) {
	__u32 slot = bpf_get_smp_processor_id() * open_slots + (cp->opens++ & (open_slots - 1));
	struct open_record *r = bpf_map_lookup_elem(&opens, &slot);
	if (!r) return;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp) return;
	r->sk = (__u64)sk;
	r->key = tuple_key(sk, bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport));
	r->active = old == SYN_SENT;
	r->ts_ns = bpf_ktime_get_ns();
}

// Whether an end of a connection without RST may have failed its user. A process that ends a connection while it owes an answer, or
// that has waited for one for a second, is rare; Go asks further.
static __always_inline __u32 failing(const struct sock *sk, struct task_struct *t, int old, int new) {
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp || !sk->sk_lock.owned) return 0;
	if (old == SYN_SENT) return new == CLOSE && !sk->sk_err && tp->inet_conn.icsk_retransmits ? GAVE_UP_CONNECTING : 0;
	if (old != ESTABLISHED || new != FIN_WAIT1) return 0;
	__u32 now = bpf_jiffies64();
	__s32 owes = tp->inet_conn.icsk_ack.lrcvtime - tp->lsndtime; // it received after it had sent
	// three retransmissions take a second and more, and move the time of the last sending
	__u32 waited = tp->bytes_sent && (now - tp->lsndtime >= second || tp->inet_conn.icsk_retransmits >= 3);
	if (waited && tp->write_seq != tp->snd_una) return GAVE_UP_WAITING; // what it said last never got through, or was never sent
	if (tp->bytes_received && (owes > 0 || !tp->bytes_sent)) return t->flags & PF_EXITING ? CUT_BY_EXIT : tp->bytes_sent ? 0 : NO_ANSWER;
	if (waited && (owes < 0 || !tp->bytes_received)) return GAVE_UP_WAITING;
	return 0;
}

static __noinline int on_ended(const struct sock *sk, __u32 how) {
	struct counter *c = count(ENDED);
	if (!c) return 0;
	if (!allow(ENDED + STRAY)) {
		c->suppressed++;
		return 0;
	}
	struct event *e = reserve(c, ENDED);
	if (!e) return 0;
	copy_sock(e, sk);
	e->reason = how;
	copy_task(e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, const struct sock *sk, int old, int new) {
	if (new != CLOSE && new != FIN_WAIT1 && new != LAST_ACK && new != ESTABLISHED) return 0;
	if (sk->sk_protocol != IPPROTO_TCP) return 0;
	struct cpu *cp = this_cpu();
	if (!cp) return 0;
	if (new == ESTABLISHED) {
		put_open(cp, sk, old);
		return 0;
	}
	struct last *l = &cp->last[cp->next++ & 3];
	l->sk = (__u64)sk;
	l->old = old;
	// a local close, or the end of a connection; what ends well after a FIN has its record of the close
	if (new != CLOSE || old == ESTABLISHED || old == CLOSE_WAIT || old == SYN_RECV || old == SYN_SENT || sk->sk_err) put_close(cp, sk, old, new);
	__u32 how = failing(sk, bpf_get_current_task_btf(), old, new);
	if (how) on_ended(sk, how);
	if (old != SYN_SENT) return 0;
	// connect() gave up before it had a local port: every one is in use for this destination
	// (net/ipv4/tcp_ipv4.c tcp_v4_connect, after inet_hash_connect)
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	if (tp && !tp->inet_conn.icsk_inet.inet_sport) return on_err(ctx, sk, EADDRNOTAVAIL);
	return 0;
}

// ---- segments dropped: refused resets, overflows, netfilter, PAWS, MD5

static __always_inline int wanted_drop(__u32 reason) {
	return reason == drop_netfilter || reason == drop_listen_overflow || reason == drop_tcp_reset || reason == drop_invalid_sequence || reason == drop_paws ||
	       reason == drop_not_specified || reason == drop_no_socket || reason == drop_invalid_end || reason == drop_csum || reason == drop_tcp_close || reason == drop_too_big ||
	       (reason >= drop_md5 && reason <= drop_md5_last);
}

static __always_inline int on_drop(void *ctx, struct sk_buff *skb, void *loc, __u32 reason, struct sock *rx) {
	if (!wanted_drop(reason)) return 0;
	__be16 proto = READ(skb, protocol);
	if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6)) return 0;
	unsigned char *nh = READ(skb, head) + READ(skb, network_header);
	__u8 ip[40] = {}, flags = 0;
	if (bpf_probe_read_kernel(ip, sizeof(struct iphdr), nh)) return 0;
	__u32 hlen = proto == bpf_htons(ETH_P_IP) ? (ip[0] & 15) * 4 : 40;
	if ((proto == bpf_htons(ETH_P_IP) ? ip[9] : ip[6]) != IPPROTO_TCP) return 0;
	bpf_probe_read_kernel(&flags, 1, nh + hlen + 13);
	// the vague reasons, and no-socket, matter only for a RST: everything else there has its own event
	if (!(flags & RST) && (reason == drop_not_specified || reason == drop_no_socket || reason == drop_invalid_sequence || reason == drop_invalid_end || reason == drop_tcp_close)) return 0;
	struct counter *c = count(DROP);
	if (!c) return 0;
	if (!allow(DROP + STRAY)) {
		c->suppressed++;
		fold(DROP, 0, netns_of_skb(skb), 0, reason);
		return 0;
	}
	struct event *e = reserve(c, DROP);
	if (!e) return 0;
	copy_packet(&e->packet, skb);
	if (rx) copy_sock(e, rx);
	__u64 netns = netns_of_skb(skb);
	if (netns) e->netns = netns;
	e->reason = reason;
	e->loc = (__u64)loc;
	copy_task(e);
	copy_stacks(ctx, e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}
SEC("tp_btf/kfree_skb") int BPF_PROG(drop_tp4, struct sk_buff *skb, void *loc, int reason, struct sock *rx) { return on_drop(ctx, skb, loc, reason, rx); }
SEC("tp_btf/kfree_skb") int BPF_PROG(drop_tp3, struct sk_buff *skb, void *loc, int reason) { return on_drop(ctx, skb, loc, reason, 0); }

// ---- wire witness: every RST handed to a device, in every namespace, whoever made it

static __always_inline __u8 origin_of(const struct sk_buff *skb) {
	struct sock *sk = READ(skb, sk);
	if (!sk) return READ(skb, skb_iif) ? ORIGIN_FORWARDED : ORIGIN_NONE;
	__u16 family = READ(sk, __sk_common.skc_family);
	if (family == AF_PACKET) return ORIGIN_PACKET;
	__u8 state = READ(sk, __sk_common.skc_state);
	if (state == TIME_WAIT || state == NEW_SYN_RECV) return ORIGIN_REPLY;
	if (READ(sk, sk_type) == SOCK_STREAM) return ORIGIN_ACTIVE;
	// the kernel's own control socket is a raw one of protocol TCP, too, but no process holds it
	struct socket *s = READ(sk, sk_socket);
	return READ(sk, sk_protocol) == IPPROTO_TCP && !(s && READ(s, file)) ? ORIGIN_REPLY : ORIGIN_RAW;
}

static __always_inline int on_rst(void *ctx, struct sk_buff *skb) {
	unsigned char *nh = READ(skb, head) + READ(skb, network_header);
	__u8 ip[20];
	if (bpf_probe_read_kernel(ip, sizeof(ip), nh)) return 0;
	if ((ip[0] >> 4 == 4 ? ip[9] : ip[6]) != IPPROTO_TCP) return 0;
	struct counter *c = count(WIRE);
	if (!c) return 0;
	__u8 origin = origin_of(skb);
	__u64 netns = netns_of_skb(skb);
	tally(netns, origin + 1);
	if (!allow(origin == ORIGIN_REPLY ? WIRE + STRAY : WIRE)) {
		c->suppressed++;
		if (origin != ORIGIN_ACTIVE && origin != ORIGIN_REPLY) fold(WIRE, origin, netns, 0, -1);
		return 0;
	}
	struct event *e = reserve(c, WIRE);
	if (!e) return 0;
	copy_packet(&e->packet, skb);
	e->netns = netns;
	e->origin = origin;
	e->sk = (__u64)READ(skb, sk);
	struct net_device *dev = READ(skb, dev);
	if (dev) e->ifindex = READ(dev, ifindex);
	e->mark = READ(skb, mark);
	copy_task(e);
	copy_stacks(ctx, e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}

// A REJECT target leaves the transport header unset, so that the flags are
// found from the network header: one read for the common header lengths.
SEC("tp_btf/net_dev_queue")
int BPF_PROG(wire, struct sk_buff *skb) {
	__be16 proto = skb->protocol;
	unsigned char *nh = skb->head + skb->network_header;
	__u8 flags;
	if (proto == bpf_htons(ETH_P_IP)) {
		__u8 h[34]; // IP header without options, TCP up to its flags
		if (bpf_probe_read_kernel(h, sizeof(h), nh) || h[9] != IPPROTO_TCP) return 0;
		flags = h[33];
		if ((h[0] & 15) != 5 && bpf_probe_read_kernel(&flags, 1, nh + (h[0] & 15) * 4 + 13)) return 0;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		if (bpf_probe_read_kernel(&flags, 1, nh + 53)) return 0; // on_rst checks the protocol
	} else {
		return 0;
	}
	return flags & RST ? on_rst(ctx, skb) : 0;
}

// ---- the same for RSTs that arrive, from this host or another, with the TTL of the handshake before

static __noinline __u64 packet_key(__u64 netns, const struct packet *p) {
	const __u64 *s = (const __u64 *)p->saddr, *d = (const __u64 *)p->daddr;
	__u64 h = mix(mix(netns, s[0]), d[0]);
	return mix(mix(mix(h, s[1]), d[1]), (__u64)p->sport << 16 | p->dport);
}

static __always_inline int on_arrival(struct sk_buff *skb, unsigned char *nh, __u8 flags) {
	__u64 netns = netns_of_skb(skb), key;
	if (!(flags & RST)) {
		struct packet p = {};
		copy_packet_at(&p, skb, nh);
		if (!p.present) return 0;
		key = packet_key(netns, &p);
		bpf_map_update_elem(&ttls, &key, &p.ttl, BPF_ANY);
		return 0;
	}
	struct counter *c = count(ARRIVE);
	if (!c) return 0;
	if (!allow(ARRIVE + STRAY)) { c->suppressed++; return 0; }
	struct event *e = reserve(c, ARRIVE);
	if (!e) return 0;
	copy_packet_at(&e->packet, skb, nh);
	e->netns = netns;
	struct net_device *dev = READ(skb, dev);
	if (dev) e->ifindex = READ(dev, ifindex);
	key = packet_key(netns, &e->packet);
	__u8 *ttl = bpf_map_lookup_elem(&ttls, &key);
	if (ttl) e->peer_ttl = *ttl;
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}

// The network header is not set yet: data begins with it.
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(arrive, struct sk_buff *skb) {
	__be16 proto = skb->protocol;
	unsigned char *nh = skb->data;
	__u8 flags;
	if (proto == bpf_htons(ETH_P_IP)) {
		__u8 h[34];
		if (bpf_probe_read_kernel(h, sizeof(h), nh) || h[9] != IPPROTO_TCP) return 0;
		flags = h[33];
		if ((h[0] & 15) != 5 && bpf_probe_read_kernel(&flags, 1, nh + (h[0] & 15) * 4 + 13)) return 0;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		__u8 next;
		if (bpf_probe_read_kernel(&next, 1, nh + 6) || next != IPPROTO_TCP || bpf_probe_read_kernel(&flags, 1, nh + 53)) return 0;
	} else {
		return 0;
	}
	return flags & (RST | SYN) ? on_arrival(skb, nh, flags) : 0;
}

// ---- who finally lets go of a socket that was hit: the application that suffered

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(owner, struct sock *sk) {
	__u32 zero = 0;
	__u64 *open = bpf_map_lookup_elem(&gate, &zero), key = (__u64)sk;
	if (!open || !*open) return 0;
	if (!bpf_map_lookup_elem(&victims, &key)) return 0;
	bpf_map_delete_elem(&victims, &key);
	if (!READ(sk, sk_lock.owned)) return 0;
	struct counter *c = count(OWNER);
	if (!c) return 0;
	if (!allow(OWNER)) { c->suppressed++; return 0; }
	struct event *e = reserve(c, OWNER);
	if (!e) return 0;
	e->sk = key;
	e->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	copy_task(e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}

// ---- ICMP errors that this host sends (6.10)

SEC("tp_btf/icmp_send")
int BPF_PROG(icmp, struct sk_buff *skb, int type, int code) {
	struct counter *c = count(ICMP);
	if (!c) return 0;
	if (!allow(ICMP)) { c->suppressed++; return 0; }
	struct event *e = reserve(c, ICMP);
	if (!e) return 0;
	copy_packet(&e->packet, skb);
	e->netns = netns_of_skb(skb);
	e->packet.icmp_type = type;
	e->packet.icmp_code = code;
	copy_stacks(ctx, e);
	bpf_ringbuf_submit(e, BPF_RB_WAKE_IF_IDLE);
	return 0;
}

// ---- who killed whom

SEC("tp_btf/signal_generate")
int BPF_PROG(signal, int sig, struct kernel_siginfo *info, struct task_struct *victim, int group, int result) {
	if (result != 0 && result != 4) return 0; // delivered, or lost info
	if (sig != 9 && sig != 15 && sig != 11 && sig != 6 && sig != 7 && sig != 8 && sig != 4 && sig != 2 && sig != 1 && sig != 3 && sig != 13 && sig != 5 && sig != 24 && sig != 31) return 0;
	__u32 tgid = READ(victim, tgid);
	struct task_struct *t = bpf_get_current_task_btf();
	struct killer k = {.ts_ns = bpf_ktime_get_ns(), .sig = sig, .pid = READ(t, tgid)};
	k.kernel = (__u64)info == 1; // SEND_SIG_PRIV
	if ((__u64)info > 2) k.code = READ(info, si_code);
	bpf_get_current_comm(k.comm, sizeof(k.comm));
	bpf_map_update_elem(&killers, &tgid, &k, BPF_ANY);
	return 0;
}
SEC("tp_btf/mark_victim")
int BPF_PROG(oom, struct task_struct *t) {
	__u32 tgid = READ(t, tgid);
	__u64 now = bpf_ktime_get_ns();
	bpf_map_update_elem(&oom_victims, &tgid, &now, BPF_ANY);
	return 0;
}

// ---- whose credentials a socket's file bears: those of the process that opened it, each of which has its own. Threads of the
// kernel close sockets for others (io_uring), often after these have ended. The memory of credentials is used again, but not
// while a file bears them, so that who has them is asked when the socket is closed.

static __always_inline void has_creds(struct task_struct *t) {
	__u64 cred = (__u64)READ(t, cred);
	__u32 tgid = READ(t, tgid);
	bpf_map_update_elem(&creds, &cred, &tgid, BPF_ANY);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forks, struct task_struct *parent, struct task_struct *child) {
	if (READ(child, pid) == READ(child, tgid)) has_creds(child);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(execs, struct task_struct *t) {
	has_creds(t);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exits_tp, struct task_struct *t) {
	if (BPF_CORE_READ(t, signal, live.counter)) return 0; // other threads live on
	__u32 tgid = READ(t, tgid);
	struct exit_record r = {.ts_ns = bpf_ktime_get_ns(), .tgid = tgid, .ppid = BPF_CORE_READ(t, real_parent, tgid), .exit_code = exit_code(t)};
	bpf_probe_read_kernel_str(r.comm, sizeof(r.comm), t->comm);
	bpf_map_update_elem(&exits, &tgid, &r, BPF_ANY);
	has_creds(t); // it may have changed them
	return 0;
}

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx) {
	struct task_struct *t = ctx->task;
	if (!t) return 0;
	struct task_record r = {.cred = (__u64)READ(t, cred), .start_ns = READ(t, start_time), .tgid = READ(t, tgid), .kernel = READ(t, flags) & PF_KTHREAD};
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
