package capture

import (
	"fmt"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// wireReason reads what a RST says of itself.
func wireReason(w *fact.Wire, e *tcp.Termination) {
	text, kind := reason(e)
	if kind == "" {
		w.Reason, w.ReasonKind = absent[string](), absent[string]()
		return
	}
	w.Reason, w.ReasonKind = byWire(text), byWire(kind)
}

func reason(e *tcp.Termination) (text, kind string) {
	s := &e.Reset
	if s.Options&packet.OptMPTCP != 0 && s.MPTCPSubtype == 8 {
		return mptcpReason(s.MPTCPReason), "mptcp"
	}
	if p := e.Payload; p != "" {
		switch {
		case strings.HasPrefix(p, "\x33\xaa\x00\x01"):
			return fmt.Sprintf("diagnostic payload %x", p[4:min(len(p), 36)]), "diagnostic"
		case strings.Contains(p, "BIG-IP"):
			return printable(p), "f5"
		case isText(p) && len(printable(p)) >= 3:
			return printable(p), "text"
		}
	}
	if code, ok := netscaler(e); ok {
		return code, "netscaler"
	}
	return "", ""
}

// mptcpReason names the codes of MP_TCPRST (RFC 8684 3.6).
func mptcpReason(code uint8) string {
	names := []string{"unspecified error", "MPTCP-specific error", "lack of resources", "administratively prohibited", "too much outstanding data", "unacceptable performance", "middlebox interference"}
	if int(code) < len(names) {
		return names[code]
	}
	return fmt.Sprintf("code %d", code)
}

// netscalerCodes are reasons that a Citrix NetScaler writes in the window field
// of its RSTs: Citrix articles CTX695832 (8201) and CTX200852 (9300).
var netscalerCodes = map[uint16]string{
	8201: "no valid connection",
	9300: "idle connection flushed",
}

// netscaler recognises a reason code in the window of a RST from an appliance
// that starts at a TTL of 255. With a connection it sends RST+ACK; without one
// (8201) it answers as RFC 9293 says, with a bare RST.
func netscaler(e *tcp.Termination) (string, bool) {
	s := &e.Reset
	if tcp.StartTTL(s.TTL) != 255 || s.Flags&packet.ACK == 0 && s.Window != 8201 {
		return "", false
	}
	text, ok := netscalerCodes[s.Window]
	return fmt.Sprintf("%d: %s", s.Window, text), ok
}

func isText(p string) bool {
	if len(p) < 3 {
		return false
	}
	for i := range len(p) {
		if c := p[i]; (c < 0x20 || c > 0x7e) && c != '\r' && c != '\n' && c != '\t' && c != 0 {
			return false
		}
	}
	return true
}

func printable(p string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return ' '
		}
		return r
	}, p))
}
