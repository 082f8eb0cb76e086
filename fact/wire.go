package fact

import "time"

// Wire is what the captured packets of the connection show, beyond the RST
// itself: how it came about, whether RFC 9293 explains it, and what the ends
// did afterwards. Only captures fill it. The sender here is the end whose
// address the RST carries, whoever made it.
type Wire struct {
	Points       Opt[int64]         `fact:"points" doc:"points of capture that saw this connection"`
	FromStart    Opt[bool]          `fact:"from_start" doc:"the capture has the connection from its SYN"`
	Sane         Opt[bool]          `fact:"sane" doc:"the connection is well-formed: both ends opened it, neither acknowledged what the other never sent, and each kept its distance; else odd numbers mean nothing"`
	Segments     Opt[int64]         `fact:"segments" doc:"segments of the connection before its end"`
	Place        Opt[string]        `fact:"place" doc:"where the RST's sequence number lies: next (what its sender sends next), acked (what the receiver awaits, although more had been sent), answer (the acknowledgement number of the segment it answers), behind, beyond (more than was ever sent), unknown"`
	Answers      Opt[bool]          `fact:"answers" doc:"RFC 9293 3.10.7.1 explains it: it is what a stack without this connection says to a segment that the capture has; absent when the segment may have come before the capture"`
	Reaction     Opt[time.Duration] `fact:"reaction_us" doc:"time from the segment that it answers, or else from the receiver's latest, to the RST"`
	RTT          Opt[time.Duration] `fact:"rtt_us" doc:"least time from the point of capture to the RST's sender and back"`
	TooFast      Opt[bool]          `fact:"too_fast" doc:"it came in less than half of the least round trip to its supposed sender"`
	ConnectDelay Opt[time.Duration] `fact:"connect_delay_us" doc:"time from the SYN to what answered it"`

	TTLOfSYN   Opt[bool]   `fact:"ttl_as_syn" doc:"its TTL is that of its side's SYN or SYN-ACK"`
	TTLOfData  Opt[bool]   `fact:"ttl_as_data" doc:"its TTL is that of its side's latest data"`
	TTLStart   Opt[int64]  `fact:"ttl_start" doc:"initial TTL that its TTL suggests: 32, 64, 128 or 255"`
	TwoTTLs    Opt[bool]   `fact:"two_ttls" doc:"its side's handshake and data came from different distances, as with a load balancer or proxy that splices"`
	HopsAway   Opt[int64]  `fact:"hop_difference" doc:"hops of the RST minus hops of its side's other segments, both estimated from the TTL"`
	IPIDKind   Opt[string] `fact:"ip_id" doc:"its IP identification: zero, counts-on (continues its side's counter), copied (that of the segment it answers), jump, unknown"`
	IPIDBreaks Opt[bool]   `fact:"ip_id_breaks" doc:"its side's IP identifications count up steadily, and that of this RST+ACK does not fit: another stack wrote it"`
	IPIDShared Opt[int64]  `fact:"ip_id_shared_hosts" by:"pattern" doc:"different hosts whose RSTs continue one IP identification counter, this one included"`
	TTLKind    Opt[string] `fact:"ttl" doc:"its TTL against that of most other segments of its side, or else of its address in other connections: same, near (one or two hops), far (more, or it passed no router and the others did), other-start (another initial value)"`
	TTLSure    Opt[bool]   `fact:"ttl_sure" doc:"several segments, not only the handshake, show the TTL that it is compared with"`
	TTLUsual   Opt[int64]  `fact:"ttl_usual" doc:"the TTL that it is compared with"`
	Counter    Opt[string] `fact:"counter" doc:"its IP identification against the counters of its side and of its host over all connections: continues (one of the next values), fits (possible after the pause), breaks (a counter is known and it is no value of it), copied, zero"`
	Twin       Opt[bool]   `fact:"twin" doc:"the other end was cut off at the same moment, before either can have heard of it: by a RST, or by a segment that acknowledges what was never sent"`
	AckBeyond  Opt[int64]  `fact:"ack_beyond_bytes" doc:"bytes that it acknowledges and its receiver never sent"`
	OddRefusal Opt[bool]   `fact:"odd_refusal" doc:"it refuses a SYN and carries what no kernel puts into a refusal: timestamps, a sequence number, or the window or IP identification of the SYN"`
	Overruled  Opt[bool]   `fact:"refusal_overruled" doc:"after this refusal its side accepted the same SYN all the same"`
	SeqStep    Opt[int64]  `fact:"sequence_step" doc:"sequence numbers from one RST of its side to the next; absent when it has only one"`
	OneBox     Opt[int64]  `fact:"same_box_hosts" by:"pattern" doc:"different hosts in whose name RSTs with the same marks (flags, window, steps of sequence number and IP identification) came that do not fit their hosts, this one included"`
	MixedData  Opt[bool]   `fact:"mixed_ttls" doc:"a few segments of its side came with another TTL than all others: data was injected, too"`
	Copied     Opt[int64]  `fact:"copied_fields" doc:"header fields that equal those of the segment it answers and not its side's: IP identification, TTL, window"`
	MAC        Opt[bool]   `fact:"other_link_address" doc:"it came from another MAC address than its side's other segments"`
	ByLoopback Opt[bool]   `fact:"by_loopback" doc:"the RST came by the loopback interface of the capturing host, the connection by another one: that host made it itself"`
	OtherStack Opt[bool]   `fact:"other_stack" doc:"its side's segments are those of a Linux host, and its IP identification or window is not what Linux writes into a RST of this form: another stack wrote it"`
	Reserved   Opt[bool]   `fact:"reserved_bits" doc:"ECN or reserved flags are set in it"`

	FIN            Opt[bool]          `fact:"sender_closed" doc:"its side had sent FIN before"`
	FINAge         Opt[time.Duration] `fact:"sender_closed_ms" doc:"time from its side's FIN to the RST"`
	ReceiverFIN    Opt[bool]          `fact:"receiver_closed" doc:"the other side had sent FIN before"`
	ReceiverFINAge Opt[time.Duration] `fact:"receiver_closed_ms" doc:"time from the other side's FIN to the RST"`
	FINAcked       Opt[bool]          `fact:"receiver_fin_acked" doc:"the RST's side had acknowledged the FIN of the other side"`
	Handshake      Opt[bool]          `fact:"established" doc:"the handshake was completed, or data passed both ways"`
	Idle           Opt[time.Duration] `fact:"idle_ms" doc:"how long no data had passed when the end began: at the FIN of the RST's side, at the data that it answers, or at itself"`
	Life           Opt[time.Duration] `fact:"life_ms" doc:"age of the connection in the capture"`
	Waiting        Opt[time.Duration] `fact:"waiting_ms" doc:"how long the client, whose RST it is, had waited for an answer to the data that it sent last; absent when it waited for none, or the server sent the RST"`
	Unanswered     Opt[int64]         `fact:"unanswered_bytes" doc:"data of the other side since the RST's side last sent data"`
	MidTransfer    Opt[bool]          `fact:"mid_transfer" doc:"the other side's latest data came in full-sized segments: more was to come"`
	Unacked        Opt[int64]         `fact:"unacked_bytes" doc:"data of the other side that the RST's side did not acknowledge, the RST included"`
	Retransmits    Opt[int64]         `fact:"sender_retransmits" doc:"segments that the RST's side had sent again in a row without an answer"`
	ReceiverRetr   Opt[int64]         `fact:"receiver_retransmits" doc:"segments that the other side had sent again in a row without an answer"`
	GaveUp         Opt[bool]          `fact:"gave_up" doc:"its side had sent the same again in growing intervals and reset the connection one interval after the last time"`
	Silence        Opt[time.Duration] `fact:"receiver_silence_ms" doc:"time since the other side was heard last"`
	Probes         Opt[int64]         `fact:"sender_probes" doc:"keep-alive or window probes of the RST's side that stayed unanswered"`
	ReceiverProbe  Opt[bool]          `fact:"answers_probe" doc:"what it answers is a keep-alive probe"`
	Join           Opt[bool]          `fact:"mptcp_join" doc:"what it answers asks to join a Multipath TCP connection (MP_JOIN, RFC 8684 3.2)"`
	ZeroWindow     Opt[bool]          `fact:"receiver_zero_window" doc:"the other side's window was 0 at the end"`
	OwnZero        Opt[bool]          `fact:"sender_zero_window" doc:"the RST's side had closed its window to 0 before it aborted: its application did not read"`
	Gap            Opt[bool]          `fact:"hole" doc:"data of the RST's side is missing in the capture"`
	OutOfWindow    Opt[bool]          `fact:"answers_out_of_window" doc:"what it answers, or what came just before, lay outside the window that its side had offered"`
	SYNs           Opt[int64]         `fact:"syns" doc:"SYNs of this connection so far, repeated ones included"`
	SynAcks        Opt[int64]         `fact:"syn_acks" doc:"SYN-ACKs of this connection so far, repeated ones included"`
	BareSYN        Opt[bool]          `fact:"bare_syn" doc:"the SYN has neither SACK, window scale nor timestamps, which every common stack offers and many scanners do not"`
	SYNWasAcked    Opt[bool]          `fact:"syn_challenged" doc:"the server answered the SYN with an acknowledgement of something else, as for an older connection of these ports (RFC 5961 4)"`
	Reused         Opt[string]        `fact:"reused_from" doc:"state in which the earlier connection of the same addresses and ports was left: open, half-closed, closed, reset; absent when there was none"`
	ReusedAge      Opt[time.Duration] `fact:"reused_after_ms" doc:"time since that connection's last segment"`
	Retried        Opt[bool]          `fact:"reconnected" doc:"the client sent another SYN from the same port afterwards"`

	SenderAlive   Opt[bool]          `fact:"sender_alive" doc:"its side went on with the connection after its own RST, which no TCP that had sent it does"`
	ReceiverAlive Opt[bool]          `fact:"receiver_alive" doc:"the other side went on with new data after the RST: it had no effect"`
	Challenged    Opt[bool]          `fact:"challenged" doc:"the other side answered it with an acknowledgement (RFC 5961 3.2)"`
	Nth           Opt[int64]         `fact:"nth" doc:"which RST of its side in this connection it is, from 1"`
	Resets        Opt[int64]         `fact:"resets" doc:"RSTs of its side in this connection"`
	Opposite      Opt[int64]         `fact:"opposite_resets" doc:"RSTs of the other side in this connection"`
	OppositeAge   Opt[time.Duration] `fact:"after_opposite_reset_us" doc:"time since the other side sent a RST; absent when it had not"`
	SeqChanges    Opt[bool]          `fact:"sequence_changes" doc:"RSTs of its side in this connection have different sequence numbers that nothing sent explains"`

	Protocol     Opt[string] `fact:"protocol" doc:"application protocol that the first bytes show: tls, http/1, http/2, ssh, postgresql ..."`
	ClientSpeaks Opt[string] `fact:"client_speaks" doc:"protocol of the client's first bytes"`
	ServerSpeaks Opt[string] `fact:"server_speaks" doc:"protocol of the server's first bytes"`
	Mismatch     Opt[string] `fact:"mismatch" doc:"how the two contradict each other: tls-to-plaintext, plaintext-to-tls, http2-to-http1, proxy-protocol, wrong-service; absent when they do not"`
	ServerName   Opt[string] `fact:"server_name" doc:"name that the client asked for (TLS SNI)"`
	TLSAlert     Opt[string] `fact:"tls_alert" doc:"TLS alert before the end: its name, or encrypted; absent when there was none"`
	TLSAlertFrom Opt[string] `fact:"tls_alert_from" doc:"who sent it: sender or receiver of the RST"`
	TLSHello     Opt[bool]   `fact:"tls_handshake" doc:"the end came during a TLS handshake"`
	Status       Opt[int64]  `fact:"http_status" doc:"HTTP status of the server's latest answer"`
	LastWords    Opt[string] `fact:"last_words" doc:"start of the server's latest data when it is a message in words; of a PostgreSQL error its severity and its SQLSTATE; absent when it is something else"`
	Software     Opt[string] `fact:"server_software" doc:"name of the server in its first HTTP answer (Server header) or SSH banner"`
	HalfRequest  Opt[bool]   `fact:"request_incomplete" doc:"all that the client sent is an HTTP/1 request whose headers have no end; looked at only when that is at most 64 bytes"`
	CloseNotify  Opt[bool]   `fact:"close_notify" doc:"the latest data of the RST's side, or of the other, is a TLS alert such as close_notify"`

	Reason     Opt[string] `fact:"reason" doc:"what the RST says of itself: text in it (RFC 9293 3.5.2), a NetScaler code in its window, MP_TCPRST; absent when it says nothing"`
	ReasonKind Opt[string] `fact:"reason_kind" doc:"where that was found: text, f5, netscaler, mptcp, diagnostic"`
	Corrupt    Opt[bool]   `fact:"corrupt" doc:"its TCP checksum is wrong while others of its side are right, or its header is senseless"`
	Signature  Opt[string] `fact:"signature" doc:"connection tampering signature after Sundara Raman et al. (SIGCOMM 2023), from the server's point of view"`
	Forgery    Opt[string] `fact:"forgery_test" doc:"tests for forged resets by Weaver et al. (NDSS 2009) that are positive: RST_SEQ_DATA, DATA_SEQ_RST, RST_SEQ_CHANGE, RST_ACK_CHANGE; absent when none is"`

	ICMP     Opt[string] `fact:"icmp" doc:"ICMP error about the connection: port-unreachable, host-unreachable, admin-prohibited, frag-needed ..."`
	ICMPFrom Opt[string] `fact:"icmp_from" doc:"who sent it: server, or another address"`
	BigLost  Opt[bool]   `fact:"large_segments_lost" doc:"only full-sized segments stayed unacknowledged, small ones passed"`

	NotSent        Opt[bool]  `fact:"not_sent" by:"peer" doc:"a capture nearer to its supposed sender has the connection and not this RST"`
	Sent           Opt[bool]  `fact:"sent" by:"peer" doc:"a capture nearer to its supposed sender has this RST too"`
	HostSent       Opt[bool]  `fact:"sent_by_host" by:"peer" doc:"a capture on the very host of its supposed sender (the TTL is untouched) has it: that host sent it"`
	OffPath        Opt[bool]  `fact:"off_path" by:"peer" doc:"a place of capture that has nothing else of the connection has this RST: it came from there"`
	NotCame        Opt[bool]  `fact:"not_received" by:"peer" doc:"a capture nearer to the receiver has the connection and not this RST"`
	TriggerNotSent Opt[bool]  `fact:"trigger_not_sent" by:"peer" doc:"the segment that it answers was not sent by the other end: a capture nearer to it does not have it"`
	TriggerLost    Opt[bool]  `fact:"trigger_not_received" by:"peer" doc:"the segment that it answers never came to the place of capture nearest to its supposed sender"`
	SegmentLost    Opt[bool]  `fact:"segment_lost_between" by:"peer" doc:"segments of this connection left one point of capture and never came to the next"`
	Renamed        Opt[bool]  `fact:"renamed" by:"peer" doc:"nearer to its sender this RST has other addresses or ports than the connection has there: a NAT between them no longer knew the connection"`
	Began          Opt[bool]  `fact:"began_between" by:"peer" doc:"a box between the ends made this RST: it left that box with its TTL untouched, and the box passes on what the other end sends; without that, another host may have taken over its supposed sender's address"`
	OneWay         Opt[bool]  `fact:"one_way" by:"peer" doc:"the place of capture nearest to its sender that has this RST is between the ends and has otherwise only the direction to the sender; both ends have both"`
	Arrived        Opt[bool]  `fact:"arrived" by:"peer" doc:"the latest segment that stayed unanswered came in at the very host that it was sent to"`
	PortAccepted   Opt[int64] `fact:"port_accepted" by:"peer" doc:"other connections that the same port of that host accepted, from 5 s before an unanswered SYN"`
	PortHalfOpen   Opt[int64] `fact:"port_half_open" by:"peer" doc:"other handshakes of the same port of that host, from 5 s before an unanswered SYN, whose SYN-ACK nobody acknowledged"`
	NAT            Opt[bool]  `fact:"translated" by:"peer" doc:"the connection has other addresses or ports at another point of capture"`
}
