// The few kernel types that the programs read, with relocation, so that no
// vmlinux.h of five megabytes is needed. Only named fields matter: CO-RE finds
// their offsets in the running kernel's BTF.
#pragma once
#define __VMLINUX_H__ // bpf_tracing.h then takes the kernel's names of registers
typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef __u64 __be64;
typedef _Bool bool;

enum { BPF_ANY = 0 };
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_F_MMAPABLE = 1 << 10, BPF_F_USER_STACK = 1 << 8, BPF_RB_WAKE_IF_IDLE = 0 };

struct skb_frag { __u64 page; __u32 len, offset; }; // copied whole: the bio_vec of old, with other names since 6.10
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr { union { __u8 u6_addr8[16]; __be32 u6_addr32[4]; } in6_u; };
typedef struct { __s32 counter; } atomic_t;
typedef struct { __s64 counter; } atomic64_t;
struct net { __u64 net_cookie; };
typedef struct { struct net *net; } possible_net_t;
typedef struct { __u32 val; } kuid_t;

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	__u16 skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
};
typedef struct { int owned; } socket_lock_t;
struct kernfs_node { __u64 id; };
struct cgroup { struct kernfs_node *kn; };
struct sock_cgroup_data { struct cgroup *cgroup; };
struct inode { unsigned long i_ino; };
struct cred;
struct file { struct inode *f_inode; const struct cred *f_cred; void *private_data; };
struct fdtable { struct file **fd; };
struct files_struct { struct fdtable *fdt; };
struct page;
struct pipe_buffer { struct page *page; unsigned int offset; };
struct pipe_inode_info { struct pipe_buffer *bufs; };
struct socket { struct file *file; };
struct sk_buff_head { struct sk_buff *next; __u32 qlen; };
enum sock_flags { SOCK_DEAD, SOCK_DONE, SOCK_URGINLINE, SOCK_KEEPOPEN, SOCK_LINGER };
struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct sk_buff_head sk_receive_queue;
	struct socket *sk_socket;
	kuid_t sk_uid;
	unsigned long sk_lingertime;
	__u32 sk_ack_backlog, sk_max_ack_backlog;
	__u8 sk_shutdown;
	__u16 sk_protocol, sk_type;
	int sk_err, sk_err_soft;
	__u32 sk_mark;
	struct sock_cgroup_data sk_cgrp_data;
};
struct sock___ino { unsigned long sk_ino; };
struct inet_sock { struct sock sk; __be16 inet_sport; };
struct request_sock_queue { atomic_t qlen, young; };
struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
	__u32 icsk_rto;
	__u8 icsk_ca_state : 5, icsk_retransmits, icsk_backoff, icsk_syn_retries, icsk_probes_out;
	struct { __u32 lrcvtime; } icsk_ack;
	__u32 icsk_user_timeout;
};
struct tcp_options_received { __u32 ts_recent, rcv_tsval, rcv_tsecr; __u16 saw_tstamp : 1, tstamp_ok : 1; };
struct tcp_md5sig_info;
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 snd_wnd, mss_cache, snd_cwnd, copied_seq, rttvar_us, lost, write_seq, lsndtime;
	__u32 rcv_nxt, snd_nxt, snd_una, srtt_us, rcv_wnd, rcv_tstamp, total_retrans;
	__u64 bytes_sent, bytes_received, bytes_acked, bytes_retrans;
	struct tcp_options_received rx_opt;
	__u8 keepalive_probes;
	unsigned int keepalive_time, keepalive_intvl;
	int linger2;
	bool is_mptcp;
	struct tcp_md5sig_info *md5sig_info;
};
struct net_device { int ifindex; possible_net_t nd_net; };
struct dst_entry { struct net_device *dev; };
struct sk_buff {
	struct sk_buff *next;
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len, data_len;
	__u32 mark;
	int skb_iif;
	__be16 protocol;
	__u16 transport_header, network_header;
	unsigned char *head, *data;
	unsigned int end;
	char cb[48];
};
struct skb_shared_info { __u8 nr_frags; struct skb_frag frags[1]; };
struct signal_struct { atomic_t live; int group_exit_code; };
struct task_struct { unsigned int flags; int pid, tgid, exit_code; char comm[16]; struct signal_struct *signal; struct task_struct *real_parent; const struct cred *cred; struct files_struct *files; __u64 start_time; };
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; };
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
struct kernel_siginfo { int si_signo, si_code; };
#if defined(__TARGET_ARCH_x86)
struct pt_regs { unsigned long di, si, dx, cx, r8, r9, ax, sp, bp, ip, orig_ax; };
#else
struct user_pt_regs { __u64 regs[31], sp, pc, pstate; };
struct pt_regs { struct user_pt_regs user_regs; __s32 syscallno; };
#endif

#pragma clang attribute pop

struct iphdr { __u8 ihl_version, tos; __be16 tot_len, id, frag_off; __u8 ttl, protocol; __sum16 check; __be32 saddr, daddr; };
struct ipv6hdr { __u32 ver_tc_flow; __be16 payload_len; __u8 nexthdr, hop_limit; __u8 saddr[16], daddr[16]; };
struct tcphdr { __be16 source, dest; __be32 seq, ack_seq; __u8 doff_res, flags; __be16 window; __sum16 check; __be16 urg_ptr; };
