package fact

import (
	"net/netip"
	"time"
)

// Case is one connection that ended badly, or looked so, with everything that
// was observed about it. Every field of type Opt, here and in the nested
// groups, is a fact; its tags declare it:
//
//	fact:"name"  the name, with the unit as suffix (_bytes, _us, _ms, _s); on a group the prefix
//	by:"kernel"  who normally observes it
//	doc:"..."    what it is
//	how:"..."    how to obtain it when nobody looked (a group's how serves its members)
//
// Durations are time.Duration in Go; in expressions and JSON they are numbers
// in the unit of the name.
type Case struct {
	ID     string    // unique within a run
	Time   time.Time // when the reset, refusal or timeout happened
	Source string    // what observed it: kernel, packet, diag, counters, capture, log
	Host   string    // name of the watched host
	Flow   Flow      `fact:"flow" by:"kernel" how:"watch the host or give a capture"`

	Outcome Opt[string] `fact:"outcome" by:"kernel" doc:"what happened: reset, refused, timeout, unreachable, closed (in order, by a FIN, while an answer was owed), survived (a RST arrived and was not accepted), none (nobody was hurt)"`
	Phase   Opt[string] `fact:"phase" by:"kernel" doc:"where in its life the connection was: connect (SYN sent, not established), accept-queue (established, not yet accepted), established, closing (a FIN was sent or received), closed (TIME_WAIT or forgotten), none (no connection at this tuple)"`

	RST      RST      `fact:"rst" by:"wire" how:"run holdfast watch with the wire witness on, or capture packets"`
	Trigger  Segment  `fact:"trigger" by:"kernel" how:"run holdfast watch on the host that sent the RST"`
	Sender   Endpoint `fact:"sender" by:"kernel" how:"run holdfast watch on the host that owns the RST's source address"`
	Receiver Endpoint `fact:"receiver" by:"kernel" how:"run holdfast watch on the host that received the RST"`
	FW       FW       `fact:"fw" by:"host" how:"run holdfast watch with CAP_NET_ADMIN on the host with the firewall"`
	Wire     Wire     `fact:"wire" by:"wire" how:"give holdfast explain a capture that has the whole connection"`
	Pattern  Pattern  `fact:"pattern" by:"pattern" how:"watch for longer: patterns need several cases"`
	Machine  Machine  `fact:"host" by:"host" how:"run holdfast watch as root on the host that suffered"`
	Symptom  Symptom  `fact:"symptom" by:"said" how:"say it: holdfast explain \"what happens, behind what, after how long\""`
	Log      Log      `fact:"log" by:"log" how:"let holdfast read the log of the process (root, or membership in its group)"`
}

// Flow is the connection: who opened it towards whom.
type Flow struct {
	Client, Server netip.AddrPort
	Netns          uint64 // kernel net_cookie of the namespace that observed it, 0 when unknown

	Family     Opt[string] `fact:"family" doc:"ipv4 or ipv6"`
	ClientPort Opt[int64]  `fact:"client_port" doc:"port of the side that opened the connection"`
	ServerPort Opt[int64]  `fact:"server_port" doc:"port of the side that was connected to"`
	Loopback   Opt[bool]   `fact:"loopback" doc:"both addresses are loopback addresses"`
	MPTCP      Opt[bool]   `fact:"mptcp" doc:"the TCP socket is a subflow of a Multipath TCP connection"`
	Public     Opt[bool]   `fact:"server_public" doc:"the server's address is one of the internet: neither private, link-local, loopback nor shared by carriers (RFC 1918, 4193, 6598)"`
	ClientISN  Opt[int64]  `fact:"client_isn" doc:"initial sequence number of the client, 0 to 4294967295 (RFC 9293 3.4.1)"`
	ServerISN  Opt[int64]  `fact:"server_isn" doc:"initial sequence number of the server"`
	RolesKnown Opt[bool]   `fact:"roles_known" doc:"client and server come from the socket's own history, not from a guess by port numbers"`
}

// RST is the reset itself, as a packet. Facts of the packet are those at the
// observation point nearest to the receiver, unless the name says origin.
type RST struct {
	Seen         Opt[bool]   `fact:"seen" doc:"a RST segment exists; false for a timeout, and for an error the kernel raised without one"`
	Form         Opt[string] `fact:"form" doc:"active-abort (RST+ACK of a live socket), reply (bare RST answering a segment), refusal (RST+ACK answering a SYN), other (fits none of them)"`
	Origin       Opt[string] `fact:"origin" doc:"which producer handed it to the device: tcp-active, tcp-reply, netfilter, raw-socket, packet-socket, bpf, forwarded, other; of the first device that saw it on this host"`
	OriginHere   Opt[bool]   `fact:"origin_here" doc:"the RST was made on this host (in any of its namespaces), not received from outside"`
	OriginPID    Opt[int64]  `fact:"origin_pid" by:"process" doc:"process that wrote the RST through a raw or packet socket"`
	OriginName   Opt[string] `fact:"origin_name" by:"process" doc:"name of that process"`
	OriginNetns  Opt[string] `fact:"origin_netns" doc:"namespace whose device first carried the RST: sender (the one that owns its source address), receiver (the one that owns its destination), other (a third one)"`
	Hops         Opt[int64]  `fact:"hops" doc:"number of devices on this host that carried this RST"`
	TTL          Opt[int64]  `fact:"ttl" doc:"IP TTL or hop limit nearest to the receiver"`
	OriginTTL    Opt[int64]  `fact:"origin_ttl" doc:"IP TTL where the RST was first seen"`
	PeerTTL      Opt[int64]  `fact:"peer_ttl" doc:"TTL that earlier packets of the claimed sender had at the same point"`
	IPID         Opt[int64]  `fact:"ip_id" doc:"IPv4 identification"`
	DF           Opt[bool]   `fact:"df" doc:"don't-fragment bit"`
	Window       Opt[int64]  `fact:"window" doc:"raw window field"`
	ACK          Opt[bool]   `fact:"ack" doc:"the ACK flag is set"`
	Timestamp    Opt[bool]   `fact:"timestamp" doc:"the segment carries the RFC 7323 timestamp option; a live Linux socket that negotiated it always sends it"`
	TimestampOld Opt[bool]   `fact:"timestamp_old" by:"kernel" doc:"its timestamp is older than the latest that the receiver had from the connection, which a live sender's cannot be"`
	HopJump      Opt[int64]  `fact:"hop_jump" by:"wire" doc:"hops that it travelled, less those of the handshake before, by the initial TTL that lies nearest above (32, 64, 128, 255)"`
	AckUnsent    Opt[bool]   `fact:"ack_unsent" by:"kernel" doc:"it acknowledges data that the receiver never sent"`
	PayloadSize  Opt[int64]  `fact:"payload_bytes" doc:"length of data in the RST (RFC 9293 3.5.2 allows diagnostic text)"`
	Seq          Opt[int64]  `fact:"seq" doc:"sequence number, 0 to 4294967295"`
	SeqOffset    Opt[int64]  `fact:"seq_offset" by:"kernel" doc:"sequence number of the RST minus the receiver's rcv_nxt; 0 is exact (RFC 5961)"`
	Accepted     Opt[string] `fact:"accepted" by:"kernel" doc:"what the receiver did: accepted, challenged (RFC 5961 challenge ACK), ignored, timewait (hit a TIME_WAIT socket), embryonic (dropped a half-open connection), unknown"`
	Provoked     Opt[bool]   `fact:"provoked" by:"kernel" doc:"the receiver had sent a segment that could have provoked it within the last two round trips (or 20 ms)"`
}

// Segment is a TCP segment of interest, here the one that triggered a RST.
type Segment struct {
	Flags       Opt[string] `fact:"flags" doc:"flags in the order FSRPAU, such as S, SA, PA, A, FA"`
	PayloadSize Opt[int64]  `fact:"payload_bytes" doc:"bytes of data"`
	Seq         Opt[int64]  `fact:"seq" doc:"sequence number"`
	Ack         Opt[int64]  `fact:"ack_seq" doc:"acknowledgement number"`
	TTL         Opt[int64]  `fact:"ttl" doc:"IP TTL or hop limit on arrival"`
	Window      Opt[int64]  `fact:"window" doc:"raw window field"`
	Timestamp   Opt[bool]   `fact:"timestamp" doc:"carries the timestamp option"`
	MPTCP       Opt[bool]   `fact:"mptcp" doc:"carries a Multipath TCP option (kind 30, RFC 8684)"`
	FirstBytes  Opt[string] `fact:"first_bytes" doc:"start of the data, at most 16 bytes, escaped"`
}

// Endpoint is one end of the connection: the host, its kernel, the socket and the
// process. Sender is the end whose address the RST carries as source; Receiver is
// the end that the RST, or the timeout, hit.
type Endpoint struct {
	Watched Opt[bool]   `fact:"watched" by:"host" doc:"this end's address belongs to a namespace of a watched host, so its kernel's silence means something"`
	Seen    Opt[bool]   `fact:"seen" doc:"this end's TCP stack reported its part: tcp_send_reset for the sender; tcp_receive_reset or a socket error for the receiver"`
	Role    Opt[string] `fact:"role" doc:"client or server"`
	Reason  Opt[string] `fact:"reason" doc:"the kernel's reason, without prefix: TCP_ABORT_ON_CLOSE, NO_SOCKET ... (enum sk_rst_reason, kernel 6.10); for a receiver whose packet was dropped, enum skb_drop_reason"`
	Call    Opt[string] `fact:"call" doc:"kernel path, from the stack: close, linger, listen-stop, disconnect, sock-destroy, keepalive-timer, retransmit-timer, orphan-limit, memory, minisock (accept queue), time-wait, reply, reject, fastopen, mptcp, fin (closed in order, without a reset), gave-up (a receiver that closed before its kernel gave up), other"`
	Syscall Opt[string] `fact:"syscall" doc:"system call in progress, when the process that owns the socket made it: close, shutdown, exit_group, connect, dup2, execve ..."`
	Error   Opt[string] `fact:"error" doc:"errno the application gets: ECONNRESET, EPIPE, ECONNREFUSED, ETIMEDOUT, ECONNABORTED, EHOSTUNREACH ..."`
	Stack   Opt[string] `fact:"stack" doc:"innermost kernel functions, caller after <"`
	Had     Opt[bool]   `fact:"had_connection" doc:"this end's namespace once had a socket of this connection: its opening or closing is remembered. False only when the connection is younger than the memory, so that a socket there would be known"`
	NAT     Opt[bool]   `fact:"nat" by:"host" doc:"this end's namespace translates addresses (it has NAT rules)"`
	UStack  Opt[string] `fact:"user_stack" doc:"user stack of the closing call, when --stacks asked for it"`

	Sock     Socket   `fact:"sock" doc:"the socket at this end"`
	Proc     Process  `fact:"proc" by:"process" doc:"the process that owns or owned the socket, never whoever was on the CPU"`
	Dead     Dead     `fact:"dead" doc:"memory of the socket that had this tuple and is gone"`
	Listener Listener `fact:"listener" by:"host" doc:"the listening socket of this end's port"`
	Net      Counters `fact:"net" by:"counter" doc:"increase of counters in this end's namespace over the window around the event"`
}

// Socket is the kernel's view of one TCP socket at the moment of the event.
type Socket struct {
	Known       Opt[bool]          `fact:"known" doc:"a full socket was at hand (not a TIME_WAIT or request mini-socket, not nothing)"`
	State       Opt[string]        `fact:"state" doc:"TCP state when the event was recorded: ESTABLISHED, SYN_SENT, CLOSE_WAIT, TIME_WAIT, LISTEN ..."`
	PrevState   Opt[string]        `fact:"prev_state" doc:"TCP state before the act that sent the RST (State is already CLOSE on an active abort)"`
	Accepted    Opt[bool]          `fact:"accepted" doc:"an application holds the socket; false while it waits in the accept queue"`
	Orphan      Opt[bool]          `fact:"orphan" doc:"closed by its process, the kernel finishes alone (SOCK_DEAD)"`
	Unread      Opt[int64]         `fact:"unread_bytes" doc:"received, never read by the application"`
	Unacked     Opt[int64]         `fact:"unacked_bytes" doc:"sent, not acknowledged"`
	Unsent      Opt[int64]         `fact:"unsent_bytes" doc:"written by the application, never sent"`
	BytesSent   Opt[int64]         `fact:"sent_bytes" doc:"payload bytes sent, with retransmissions"`
	BytesAcked  Opt[int64]         `fact:"acked_bytes" doc:"payload bytes the other end acknowledged"`
	BytesRecv   Opt[int64]         `fact:"received_bytes" doc:"payload bytes received"`
	SRTT        Opt[time.Duration] `fact:"srtt_us" doc:"smoothed round-trip time"`
	RTTVar      Opt[time.Duration] `fact:"rttvar_us" doc:"round-trip time variation"`
	RTO         Opt[time.Duration] `fact:"rto_ms" doc:"retransmission timeout"`
	Retransmits Opt[int64]         `fact:"retransmits" doc:"unanswered retransmissions in a row (icsk_retransmits)"`
	TotalRetr   Opt[int64]         `fact:"total_retransmits" doc:"retransmitted segments over the life of the socket"`
	Lost        Opt[int64]         `fact:"lost" doc:"segments considered lost over the life of the socket"`
	Cwnd        Opt[int64]         `fact:"cwnd" doc:"congestion window, segments"`
	SndWnd      Opt[int64]         `fact:"snd_wnd_bytes" doc:"window offered by the peer"`
	RcvWnd      Opt[int64]         `fact:"rcv_wnd_bytes" doc:"window offered to the peer"`
	MSS         Opt[int64]         `fact:"mss_bytes" doc:"current maximum segment size"`
	IdleSend    Opt[time.Duration] `fact:"idle_send_ms" doc:"time since the last data segment was sent"`
	IdleRecv    Opt[time.Duration] `fact:"idle_recv_ms" doc:"time since the last segment with data arrived"`
	IdleAck     Opt[time.Duration] `fact:"idle_ack_ms" doc:"time since the last acknowledgement arrived"`
	Age         Opt[time.Duration] `fact:"age_ms" doc:"time since the connection was established, or since the first SYN"`
	Keepalive   Opt[bool]          `fact:"keepalive" doc:"SO_KEEPALIVE is on"`
	KeepIdle    Opt[time.Duration] `fact:"keepalive_idle_s" doc:"TCP_KEEPIDLE or tcp_keepalive_time"`
	KeepIntvl   Opt[time.Duration] `fact:"keepalive_interval_s" doc:"TCP_KEEPINTVL or tcp_keepalive_intvl"`
	KeepCount   Opt[int64]         `fact:"keepalive_count" doc:"probes before giving up"`
	ProbesOut   Opt[int64]         `fact:"probes_out" doc:"unanswered keep-alive or zero-window probes"`
	UserTimeout Opt[time.Duration] `fact:"user_timeout_ms" doc:"TCP_USER_TIMEOUT, 0 when unset"`
	Linger      Opt[bool]          `fact:"linger" doc:"SO_LINGER is on"`
	LingerTime  Opt[time.Duration] `fact:"linger_s" doc:"SO_LINGER time; 0 with linger on means abort at close"`
	Linger2     Opt[int64]         `fact:"linger2" doc:"TCP_LINGER2 in jiffies, negative means reset when in FIN_WAIT2"`
	ShutRead    Opt[bool]          `fact:"shutdown_read" doc:"the application shut down its receiving side"`
	ShutWrite   Opt[bool]          `fact:"shutdown_write" doc:"the application shut down its sending side"`
	TSOK        Opt[bool]          `fact:"timestamps" doc:"timestamps were negotiated"`
	SynRetries  Opt[int64]         `fact:"syn_retries" doc:"SYN or SYN-ACK retransmissions"`
	UID         Opt[int64]         `fact:"uid" doc:"user id that created the socket"`
	Inode       Opt[int64]         `fact:"inode" doc:"socket inode, as in /proc/PID/fd"`
	Cookie      Opt[int64]         `fact:"cookie" doc:"kernel socket cookie"`
	MD5         Opt[bool]          `fact:"md5" doc:"a TCP-MD5 or TCP-AO key applies to the socket"`
	FirstUnread Opt[string]        `fact:"first_unread" doc:"start of the data that the application had not read when the RST destroyed it, at most 32 bytes, escaped"`
}

// Process is the owner of the socket and how it fares.
type Process struct {
	PID           Opt[int64]         `fact:"pid" doc:"process id (thread group)"`
	Name          Opt[string]        `fact:"name" doc:"kernel comm, at most 15 bytes"`
	Exe           Opt[string]        `fact:"exe" doc:"path of the executable"`
	Cmdline       Opt[string]        `fact:"cmdline" doc:"command line, at most 512 bytes"`
	PPID          Opt[int64]         `fact:"ppid" doc:"parent process id"`
	ParentName    Opt[string]        `fact:"parent_name" doc:"parent's comm"`
	Cgroup        Opt[string]        `fact:"cgroup" doc:"cgroup path"`
	Unit          Opt[string]        `fact:"unit" doc:"systemd unit"`
	ContainerID   Opt[string]        `fact:"container_id" doc:"container id from the cgroup path"`
	ContainerName Opt[string]        `fact:"container_name" doc:"container name, from the CRI or Docker socket"`
	Pod           Opt[string]        `fact:"pod" doc:"Kubernetes pod, namespace/name"`
	Age           Opt[time.Duration] `fact:"age_s" doc:"time since the process started"`
	Exiting       Opt[bool]          `fact:"exiting" doc:"the process was exiting when its socket was closed"`
	Signal        Opt[string]        `fact:"signal" doc:"signal that ended the process: SIGKILL, SIGSEGV ...; absent when it ended otherwise"`
	ExitCode      Opt[int64]         `fact:"exit_code" doc:"exit status; absent when a signal ended it"`
	KillerPID     Opt[int64]         `fact:"killer_pid" doc:"process that sent the signal; absent when the kernel did"`
	KillerName    Opt[string]        `fact:"killer_name" doc:"its name"`
	OOM           Opt[bool]          `fact:"oom" doc:"the OOM killer chose this process"`
	Stalled       Opt[bool]          `fact:"stopped" doc:"the process is stopped (state T: SIGSTOP, a debugger)"`
	OpenFiles     Opt[int64]         `fact:"open_files" doc:"open file descriptors"`
	MaxFiles      Opt[int64]         `fact:"max_open_files" doc:"RLIMIT_NOFILE"`
}

// Dead is what is remembered of a socket that no longer exists. Known is
// absent when nothing is remembered within Horizon.
type Dead struct {
	Known     Opt[bool]          `fact:"known" doc:"a close of this tuple is remembered; false means none within the horizon"`
	Horizon   Opt[time.Duration] `fact:"horizon_s" doc:"how far back the memory reaches"`
	Age       Opt[time.Duration] `fact:"age_ms" doc:"time from that close to the event"`
	PID       Opt[int64]         `fact:"pid" doc:"process that closed it"`
	Name      Opt[string]        `fact:"name" doc:"its name"`
	Syscall   Opt[string]        `fact:"syscall" doc:"system call that closed it"`
	From      Opt[string]        `fact:"state" doc:"TCP state in which it was closed"`
	How       Opt[string]        `fact:"how" doc:"close (by its process), shutdown, exit (process ended), reset (by a RST from the peer), refused (by the peer), timeout (gave up), icmp (an ICMP error ended it), abort (sent a RST itself), peer (closed after the peer's FIN), other"`
	Exiting   Opt[bool]          `fact:"exiting" doc:"the process was ending"`
	Signal    Opt[string]        `fact:"signal" doc:"signal that ended the process"`
	ExitCode  Opt[int64]         `fact:"exit_code" doc:"exit status of the process"`
	OOM       Opt[bool]          `fact:"oom" doc:"the OOM killer chose the process"`
	Killer    Opt[string]        `fact:"killer_name" doc:"who sent the signal"`
	Unread    Opt[int64]         `fact:"unread_bytes" doc:"unread at the close"`
	Unacked   Opt[int64]         `fact:"unacked_bytes" doc:"sent or written, unacknowledged at the close"`
	Idle      Opt[time.Duration] `fact:"idle_ms" doc:"time without data, either way, before the close"`
	SpokeLast Opt[bool]          `fact:"spoke_last" doc:"the last data before the close was its own, so that it owed no answer; to a tick of the kernel (1 to 10 ms)"`
	Life      Opt[time.Duration] `fact:"life_ms" doc:"age of the connection at the close"`
	Received  Opt[int64]         `fact:"received_bytes" doc:"payload bytes it had received"`
	Sent      Opt[int64]         `fact:"sent_bytes" doc:"payload bytes it had sent"`
}

// Listener is the listening socket of a port.
type Listener struct {
	Exists     Opt[bool]          `fact:"exists" doc:"something listens on the port in this namespace"`
	Backlog    Opt[int64]         `fact:"backlog" doc:"connections waiting for accept()"`
	BacklogMax Opt[int64]         `fact:"backlog_max" doc:"limit of that queue: min(listen argument, somaxconn)"`
	PID        Opt[int64]         `fact:"pid" doc:"process that listens"`
	Name       Opt[string]        `fact:"name" doc:"its name"`
	Age        Opt[time.Duration] `fact:"age_s" doc:"time since that process started"`
	LocalOnly  Opt[bool]          `fact:"loopback_only" doc:"it listens on a loopback address only"`
	OtherAddr  Opt[bool]          `fact:"other_address" doc:"the port is listened on, but on another address than the one connected to"`
}

// Counters are increases of /proc/net/snmp, netstat and sockstat values in the
// window from about a second before the event to the event.
type Counters struct {
	Window         Opt[time.Duration] `fact:"window_ms" doc:"length of the window"`
	OutRsts        Opt[int64]         `fact:"out_rsts" doc:"Tcp OutRsts"`
	ListenOverflow Opt[int64]         `fact:"listen_overflows" doc:"TcpExt ListenOverflows"`
	ListenDrops    Opt[int64]         `fact:"listen_drops" doc:"TcpExt ListenDrops"`
	SynCookies     Opt[int64]         `fact:"syncookies_sent" doc:"TcpExt SyncookiesSent"`
	ReqQFull       Opt[int64]         `fact:"req_queue_full" doc:"TcpExt TCPReqQFullDoCookies + TCPReqQFullDrop"`
	AbortOnMemory  Opt[int64]         `fact:"abort_on_memory" doc:"TcpExt TCPAbortOnMemory"`
	AbortOnData    Opt[int64]         `fact:"abort_on_data" doc:"TcpExt TCPAbortOnData"`
	AbortOnClose   Opt[int64]         `fact:"abort_on_close" doc:"TcpExt TCPAbortOnClose"`
	AbortOnTimeout Opt[int64]         `fact:"abort_on_timeout" doc:"TcpExt TCPAbortOnTimeout"`
	PAWS           Opt[int64]         `fact:"paws_rejected" doc:"TcpExt PAWSEstab + PAWSActive"`
	ChallengeACK   Opt[int64]         `fact:"challenge_acks" doc:"TcpExt TCPChallengeACK"`
	MD5Failures    Opt[int64]         `fact:"md5_failures" doc:"TcpExt TCPMD5NotFound + TCPMD5Unexpected + TCPMD5Failure + TCPAO*"`
	MemPressure    Opt[int64]         `fact:"memory_pressures" doc:"TcpExt TCPMemoryPressures"`
	TWRecycled     Opt[int64]         `fact:"timewait_recycled" doc:"TcpExt TWRecycled + TWKilled"`
	SynRetrans     Opt[int64]         `fact:"syn_retransmits" doc:"TcpExt TCPSynRetrans"`
	InCsumErrors   Opt[int64]         `fact:"checksum_errors" doc:"Tcp InCsumErrors"`
	TimeWait       Opt[int64]         `fact:"time_wait_sockets" doc:"TIME_WAIT sockets now (a gauge)"`
	Orphans        Opt[int64]         `fact:"orphans" doc:"orphaned sockets now (a gauge)"`
	MaxOrphans     Opt[int64]         `fact:"max_orphans" doc:"tcp_max_orphans"`
	MemPages       Opt[int64]         `fact:"tcp_memory_pages" doc:"pages used by TCP now (a gauge)"`
	MemHigh        Opt[int64]         `fact:"tcp_memory_high_pages" doc:"third value of tcp_mem"`
}

// FW is the state of netfilter in the namespaces that carried the connection.
type FW struct {
	Dropped     Opt[bool]   `fact:"dropped" by:"kernel" doc:"netfilter dropped a segment of this connection (kfree_skb reason NETFILTER_DROP)"`
	DroppedAt   Opt[string] `fact:"dropped_at" by:"kernel" doc:"kernel function that dropped it, such as nft_do_chain, ipt_do_table, nf_hook_slow"`
	DroppedDir  Opt[string] `fact:"dropped_direction" by:"kernel" doc:"direction of the dropped segment: to-server or to-client"`
	Hook        Opt[string] `fact:"hook" by:"kernel" doc:"netfilter hook, from the stack: input, output, forward, prerouting, postrouting"`
	Rule        Opt[string] `fact:"rule" doc:"text of the rule whose counter moved, or of the only rule that can have done it"`
	RuleMoved   Opt[bool]   `fact:"rule_moved" doc:"a reject or drop rule's counter moved in the window"`
	RuleRejects Opt[bool]   `fact:"rule_rejects_with_reset" doc:"that rule rejects with tcp reset (false: it drops or answers with ICMP)"`
	CTInvalid   Opt[int64]  `fact:"conntrack_invalid" by:"counter" doc:"increase of conntrack's invalid counter"`
	CTDrop      Opt[int64]  `fact:"conntrack_drop" by:"counter" doc:"increase of conntrack's drop, early_drop and insert_failed counters"`
	CTCount     Opt[int64]  `fact:"conntrack_count" by:"counter" doc:"entries in the conntrack table"`
	CTMax       Opt[int64]  `fact:"conntrack_max" by:"counter" doc:"limit of the conntrack table"`
	CTEntry     Opt[bool]   `fact:"conntrack_entry" doc:"conntrack knows the connection now"`
	Translated  Opt[bool]   `fact:"translated" by:"wire" doc:"this very RST was seen under two address pairs: a NAT carried it"`
	NAT         Opt[bool]   `fact:"nat" doc:"a namespace that carried the connection translates addresses (NAT rules or NAT entries exist)"`
	ThirdParty  Opt[bool]   `fact:"third_namespace" by:"kernel" doc:"the RST was made in a namespace that is neither end's (a router or NAT on this host)"`
	ICMP        Opt[string] `fact:"icmp" by:"kernel" doc:"ICMP error that ended the connection attempt: port-unreachable, host-unreachable, admin-prohibited, frag-needed ..."`
}

// Pattern is what other cases of the same time and place look like.
type Pattern struct {
	Burst          Opt[int64]         `fact:"burst" doc:"resets of the same emitter process or namespace within one second, this one included"`
	Quiet          Opt[time.Duration] `fact:"quiet_ms" doc:"how long the host in whose name the RST came sent nothing but RSTs afterwards, to anybody in the capture"`
	BurstPeers     Opt[int64]         `fact:"burst_peers" doc:"different remote addresses in that burst"`
	ScanPorts      Opt[int64]         `fact:"scan_ports" doc:"different ports of this host at which segments of that source found no connection and were reset, within one second, the hold of this case included"`
	SamePeer       Opt[int64]         `fact:"same_peer" doc:"cases between the same two addresses and server port within a minute"`
	Period         Opt[time.Duration] `fact:"period_ms" doc:"interval of the cases between the same addresses and server port, when it is regular within 15 %; absent when irregular"`
	IdleRepeats    Opt[int64]         `fact:"idle_repeats" doc:"cases on the same server port whose idle gap is within 5 % of this one, this one included"`
	BothWays       Opt[bool]          `fact:"both_ways" by:"kernel" doc:"a RST went the other way at about the same time: something resets both ends"`
	ForgedAttempts Opt[int64]         `fact:"forged_attempts" doc:"RST segments aimed at this tuple within ten seconds, with different sequence numbers"`
	SenderStarted  Opt[time.Duration] `fact:"sender_started_ago_s" by:"host" doc:"age of the namespace, process or listener that answered, when it is younger than the connection"`
	Holder         Opt[string]        `fact:"holder" by:"kernel" doc:"which namespace of this host had the connection at the emitting end: same (the one that answered), alive (another, which still has the socket), dropped (another, whose socket is gone), gone (another, which no longer exists), none (no namespace is remembered to have had it)"`
	SenderNew      Opt[bool]          `fact:"sender_younger" by:"host" doc:"the host or namespace that answered is younger than the connection it reset"`
	AddressMoved   Opt[bool]          `fact:"address_moved" by:"host" doc:"the answering address belonged to another namespace or host when the connection was alive"`
	AddressTwice   Opt[bool]          `fact:"address_twice" by:"host" doc:"two namespaces or hosts hold the answering address at the same time"`
}

// Machine is the watched host.
type Machine struct {
	OS         Opt[string] `fact:"os" doc:"operating system: linux, macos, windows, android, ios ..."`
	Cloud      Opt[string] `fact:"cloud" doc:"cloud that it runs in, by its firmware (DMI): aws, azure, google, oracle, alibaba, digitalocean, hetzner, openstack; absent when it is none of these"`
	KernelText Opt[string] `fact:"kernel_text" by:"log" doc:"messages of the kernel within ten seconds of the event, at most 4 KiB"`
}

// IsPublic reports whether an address is one of the internet.
func IsPublic(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// Log is what the emitting or suffering process wrote around the event.
type Log struct {
	Text Opt[string] `fact:"text" doc:"lines that the emitting process or its parent logged within two seconds of the event, at most 4 KiB"`
	File Opt[string] `fact:"file" doc:"where they stand"`

	ReceiverText Opt[string] `fact:"receiver_text" doc:"lines that the suffering process logged within two seconds of the event, at most 4 KiB"`
}

// Symptom is what a person tells of a failure. It orders causes for explain
// TEXT; it never proves one, because nobody saw it.
type Symptom struct {
	Text              Opt[string]        `fact:"text" doc:"what happens, in the words of who reports it, at most 4 KiB"`
	Product           Opt[string]        `fact:"product" doc:"software, service or device that was named, several apart by spaces"`
	IdleS             Opt[time.Duration] `fact:"idle_s" doc:"how long the connection was idle before it failed"`
	ExactS            Opt[time.Duration] `fact:"exact_s" doc:"the time after which it fails each time"`
	Idle              Opt[bool]          `fact:"idle" doc:"it fails on the first use after a pause"`
	LargeOnly         Opt[bool]          `fact:"large_only" doc:"small requests and answers work, large ones fail"`
	Upload            Opt[bool]          `fact:"upload" doc:"it is an upload or a large request body"`
	Download          Opt[bool]          `fact:"download" doc:"it is a download or a large answer"`
	Deploy            Opt[bool]          `fact:"deploy" doc:"it coincides with deployments"`
	Restart           Opt[bool]          `fact:"restart" doc:"a process or host restarted, crashed or failed over at that time"`
	Startup           Opt[bool]          `fact:"startup" doc:"only in the first seconds after a start"`
	Upgrade           Opt[bool]          `fact:"upgrade" doc:"it began with an upgrade or a change"`
	Load              Opt[bool]          `fact:"load" doc:"under load only"`
	Parallel          Opt[bool]          `fact:"parallel" doc:"with many connections at the same moment"`
	Intermittent      Opt[bool]          `fact:"intermittent" doc:"now and then"`
	Always            Opt[bool]          `fact:"always" doc:"every time"`
	RetryWorks        Opt[bool]          `fact:"retry_works" doc:"the next try works"`
	ReconnectLoop     Opt[bool]          `fact:"reconnect_loop" doc:"it reconnects and is thrown out again within seconds, for ever"`
	Connect           Opt[bool]          `fact:"connect" doc:"no connection comes about"`
	Handshake         Opt[bool]          `fact:"handshake" doc:"it ends during the TLS handshake or before the first byte"`
	AfterLogin        Opt[bool]          `fact:"after_login" doc:"the login works, and it dies right after"`
	MidTransfer       Opt[bool]          `fact:"mid_transfer" doc:"in the middle of a transfer"`
	Hang              Opt[bool]          `fact:"hang" doc:"silence instead of an error"`
	DirectWorks       Opt[bool]          `fact:"direct_works" doc:"it works around the proxy, balancer, mesh or container network"`
	OtherClientWorks  Opt[bool]          `fact:"other_client_works" doc:"another client on the same machine works"`
	OtherNetworkWorks Opt[bool]          `fact:"other_network_works" doc:"it works from another network or address"`
	OneName           Opt[bool]          `fact:"one_name" doc:"only this name or site, others on the same address work"`
	Region            Opt[bool]          `fact:"region" doc:"in a country or network that filters"`
	ServerSilent      Opt[bool]          `fact:"server_silent" doc:"the server's log shows nothing of the failed request"`
	RestartCures      Opt[bool]          `fact:"restart_cures" doc:"a restart of the client or host cures it for a while"`
	OneHost           Opt[bool]          `fact:"one_host" doc:"one host only, with all its connections"`
	Memory            Opt[bool]          `fact:"memory" doc:"memory was short"`
	Disk              Opt[bool]          `fact:"disk" doc:"a disk of the server is full"`
	Descriptors       Opt[bool]          `fact:"descriptors" doc:"too many open files"`
	TimeWait          Opt[bool]          `fact:"time_wait" doc:"local ports are used up"`
	PlainTLS          Opt[bool]          `fact:"plain_tls" doc:"one side speaks TLS and the other not"`
	ManyLogins        Opt[bool]          `fact:"many_logins" doc:"many logins or requests came from this address before"`
	CannotAnyMore     Opt[bool]          `fact:"cannot_any_more" doc:"it worked until a moment ago"`
}
