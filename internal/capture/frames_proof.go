package capture

import "github.com/holdfast-project/holdfast/tcp"

// factFrames says which frame shows what a fact says. A fact that is not listed
// was gathered from many.
var factFrames = map[string]func(*tcp.Termination) int64{
	"rst.seen": resetFrame, "rst.form": resetFrame, "rst.ttl": resetFrame, "rst.peer_ttl": resetFrame, "rst.ip_id": resetFrame,
	"rst.df": resetFrame, "rst.window": resetFrame, "rst.ack": resetFrame, "rst.timestamp": resetFrame,
	"rst.payload_bytes": resetFrame, "rst.seq_offset": resetFrame, "rst.accepted": resetFrame, "rst.provoked": resetFrame,

	"trigger.flags": triggerFrame, "trigger.payload_bytes": triggerFrame, "trigger.seq": triggerFrame, "trigger.ack_seq": triggerFrame,
	"trigger.ttl": triggerFrame, "trigger.window": triggerFrame, "trigger.timestamp": triggerFrame, "trigger.mptcp": triggerFrame,
	"trigger.first_bytes": triggerFrame, "wire.answers_probe": triggerFrame,

	"wire.place": resetFrame, "wire.answers": resetFrame, "wire.reaction_us": resetFrame, "wire.too_fast": resetFrame,
	"wire.ttl_as_syn": resetFrame, "wire.ttl_as_data": resetFrame, "wire.ttl_start": resetFrame, "wire.hop_difference": resetFrame,
	"wire.ip_id": resetFrame, "wire.copied_fields": resetFrame, "wire.other_link_address": resetFrame, "wire.reserved_bits": resetFrame,
	"wire.reason": resetFrame, "wire.reason_kind": resetFrame, "wire.corrupt": resetFrame, "wire.idle_ms": resetFrame,

	"wire.syns": openingFrame, "wire.bare_syn": openingFrame, "wire.connect_delay_us": openingFrame,

	"wire.sender_alive": aliveFrame, "wire.receiver_alive": goesOnFrame,
	"wire.challenged":       func(e *tcp.Termination) int64 { return e.After.Challenge },
	"wire.icmp":             noticeFrame,
	"wire.icmp_from":        noticeFrame,
	"wire.opposite_resets":  func(e *tcp.Termination) int64 { return e.Opposite.Frame },
	"wire.sequence_changes": func(e *tcp.Termination) int64 { return e.Previous.Frame },

	"wire.after_opposite_reset_us": func(e *tcp.Termination) int64 { return e.Opposite.Frame },
}

func resetFrame(e *tcp.Termination) int64 {
	if e.Kind != tcp.ByReset {
		return 0
	}
	return e.Frame
}

// openingFrame is the SYN.
func openingFrame(e *tcp.Termination) int64 {
	if e.Conn.Bits&tcp.FromMiddle != 0 {
		return 0
	}
	return e.Conn.Opened
}

func triggerFrame(e *tcp.Termination) int64 { return e.Trigger.Frame }

func noticeFrame(e *tcp.Termination) int64 {
	if e.Conn.Bits&tcp.SawICMPError == 0 {
		return 0
	}
	return e.Conn.ICMPError.Frame
}

// FrameOf returns the frame that shows the first of these facts that one frame
// shows; 0 when there is none.
func (c *Case) FrameOf(facts []string) int64 {
	for _, name := range facts {
		if of := factFrames[name]; of != nil {
			if n := of(c.Termination); n != 0 {
				return n
			}
		}
	}
	return 0
}
