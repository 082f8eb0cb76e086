package fact

import (
	"net/netip"
	"time"
)

// Frame is a packet of a case as a capture has it, for ladder diagrams and
// extracts.
type Frame struct {
	File       string    `json:"file,omitempty"`
	Point      int       `json:"point,omitempty"` // index of the point of capture, 0 for a single one
	Number     int64     `json:"number"`          // from 1, as in Wireshark
	Time       time.Time `json:"time"`            // on the clock of the first point
	FromClient bool      `json:"from_client"`
	Flags      string    `json:"flags"`         // such as SA, in the order FSRPAUEC
	Seq        int64     `json:"seq"`           // relative to the sender's initial sequence number
	Ack        int64     `json:"ack,omitempty"` // relative; 0 without the ACK flag
	Bytes      int64     `json:"bytes"`         // of data
	Window     int64     `json:"window"`        // raw field
	TTL        int64     `json:"ttl"`
	IPID       int64     `json:"ip_id"`
	Info       string    `json:"info,omitempty"` // what the data is: "TLS ClientHello example.org"
	Kind       FrameKind `json:"kind,omitempty"`
	Note       string    `json:"note,omitempty"`    // why it matters: "nothing answers this", "seen at client only"
	Skipped    int64     `json:"skipped,omitempty"` // frames of the connection left out before this one
}

// FrameKind says what part a frame plays in its story.
type FrameKind string

// The kinds of frames.
const (
	FramePlain     FrameKind = ""
	FrameReset     FrameKind = "reset"      // the RST
	FrameTrigger   FrameKind = "trigger"    // what it answers
	FrameProof     FrameKind = "proof"      // a line of the proof points here
	FrameResent    FrameKind = "retransmit" // sent before
	FrameLost      FrameKind = "lost"       // seen at one point of capture, missing at the next
	FrameICMPError FrameKind = "icmp"       // an ICMP error about the connection
	FrameNextStep  FrameKind = "after"      // sent after the RST
)

// Ladder is the packets of one connection around what ended it, in order.
type Ladder struct {
	Client netip.AddrPort `json:"client"`
	Server netip.AddrPort `json:"server"`
	Points []string       `json:"points,omitempty"` // names of the points of capture when there are several, nearest to the client first
	Frames []Frame        `json:"frames"`
}
