package tcp

import (
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/packet"
)

// Signature is the tampering signature of Sundara Raman et al., Global, Passive
// Detection of Connection Tampering (SIGCOMM 2023), from the server's point of
// view: the client's last good stage, then how it died. It is empty when the RST
// carries the server's address or the connection had come to an orderly end.
// A signature is a stage and no cause: scanners and impatient clients fill the
// same cells.
func (e *Termination) Signature() string {
	if e.Kind != ByReset || e.FromServer() || e.Nth > 1 {
		return ""
	}
	client := e.Sender()
	if client.Bits&SentFIN != 0 || client.Bits&HasISN == 0 {
		return ""
	}
	stage := "SYN"
	switch {
	case client.DataCount > 1:
		stage = "PSH+ACK;Data"
	case client.DataCount == 1:
		stage = "PSH+ACK"
	case client.Segments > uint32(client.SYNs):
		stage = "SYN;ACK"
	}
	how := "RST"
	if e.Reset.Flags&packet.ACK != 0 {
		how = "RST+ACK"
	}
	if e.After.SenderResets > 0 && stage != "PSH+ACK;Data" {
		how += e.repeated(how)
	}
	return stage + "->" + how
}

// repeated describes the RSTs after the first.
func (e *Termination) repeated(first string) string {
	switch {
	case first == "RST" && e.After.AckChanged:
		return "!=RST"
	case first == "RST" && !e.After.SeqChanged:
		return "=RST"
	}
	return ";" + first
}

// forgeryWindow is how close in time two RSTs must be for their sequence
// numbers to be compared.
const forgeryWindow = int64(2 * time.Second)

// Forgery names the tests of Weaver, Sommer and Paxson, Detecting Forged TCP
// Reset Packets (NDSS 2009), that the RST fails, joined by "+"; empty when none.
// The guards are stricter than the paper's, because a missed forgery costs less
// than a false accusation: no FIN and no RST of the other side may precede, and
// differences of the sequence number must exceed two bytes.
func (e *Termination) Forgery() string {
	if e.Kind != ByReset || e.Corrupt || e.Opposite.Frame != 0 {
		return ""
	}
	me, peer := e.Sender(), e.Receiver()
	if (me.Bits|peer.Bits)&SentFIN != 0 || me.Bits&HasNext == 0 {
		return ""
	}
	var found []string
	if e.After.SenderData > 0 && e.After.SenderNew && e.After.SenderSYN == 0 && e.Place() == "next" && e.After.SenderDelay < 2*time.Second {
		found = append(found, "RST_SEQ_DATA")
	}
	if e.Place() == "behind" && me.Next-e.Reset.Seq > 2 && me.DataCount > 0 && e.Trigger.Frame == 0 {
		found = append(found, "DATA_SEQ_RST")
	}
	if p := &e.Previous; p.Frame != 0 && e.Time-p.Time < forgeryWindow {
		if after(e.Reset.Seq, p.Seq+2) && e.Place() == "beyond" && (peer.Bits&HasAcked == 0 || after(e.Reset.Seq, peer.Acked+2)) {
			found = append(found, "RST_SEQ_CHANGE")
		}
		if e.Reset.Flags&p.Flags&packet.ACK != 0 && e.Reset.Ack != p.Ack && (peer.Bits&HasNext == 0 || after(e.Reset.Ack, peer.Next)) {
			found = append(found, "RST_ACK_CHANGE")
		}
	}
	return strings.Join(found, "+")
}
