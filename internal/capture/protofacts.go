package capture

import (
	"strings"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/proto"
	"github.com/holdfast-project/holdfast/tcp"
)

// protoFacts fills what the first and the latest bytes of both sides say.
func protoFacts(c *fact.Case, e *tcp.Termination) {
	w := &c.Wire
	client, server := &e.Conn.Sides[e.Conn.Client], &e.Conn.Sides[e.Conn.Server()]
	cs := proto.Identify(client.First[:client.FirstLen], true)
	ss := proto.Identify(server.First[:server.FirstLen], false)
	w.ClientSpeaks, w.ServerSpeaks = spoken(client, cs), spoken(server, ss)
	switch {
	case cs.Protocol != "":
		w.Protocol = byWire(cs.Protocol)
	case ss.Protocol != "":
		w.Protocol = byWire(ss.Protocol)
	}
	if cs.Protocol == "tls" && cs.Kind == "ClientHello" && cs.Name != "" {
		w.ServerName = byWire(cs.Name) // without it, the name may lie beyond the bytes that are kept
	}
	if client.FirstLen > 0 && e.Conn.Bits&tcp.FromMiddle == 0 { // in the middle, STARTTLS looks like one
		w.Mismatch = absent[string]()
		if m := proto.Mismatch(cs, ss, client.First[:client.FirstLen]); m != "" {
			w.Mismatch = byWire(m)
		}
	}
	if answer := proto.Identify(server.Tail[:server.TailLen], false); answer.Protocol == "http/1" && answer.Code > 0 {
		w.Status = byWire(int64(answer.Code))
	}
	words(w, client, server, cs, ss)
	if cs.Protocol == "tls" || ss.Protocol == "tls" || records(client) || records(server) {
		tlsFacts(w, e, ss)
	}
}

// words fills what the server says of itself, and whether the client had said
// all.
func words(w *fact.Wire, client, server *tcp.Side, cs, ss proto.Message) {
	if server.FirstLen > 0 {
		w.Software = absent[string]()
		if name := software(string(server.First[:server.FirstLen]), ss); name != "" {
			w.Software = byWire(name)
		}
		w.LastWords = absent[string]()
		if text := lastWords(string(server.Tail[:server.TailLen])); text != "" {
			w.LastWords = byWire(text)
		}
	}
	if first := string(client.First[:client.FirstLen]); cs.Protocol == "http/1" && client.Bytes == uint64(len(first)) {
		w.HalfRequest = byWire(!strings.Contains(first, "\r\n\r\n"))
	}
}

// software returns the name in the Server header of an HTTP answer, or in the
// banner of SSH (RFC 4253 4.2), without its version. A header that may be cut
// is not believed.
func software(first string, s proto.Message) string {
	end := ""
	switch s.Protocol {
	case "http/1":
		_, after, ok := strings.Cut(first, "\r\nServer: ")
		if !ok {
			return ""
		}
		first, end = after, "/ \r"
	case "ssh":
		first, end = strings.TrimPrefix(strings.TrimPrefix(first, "SSH-2.0-"), "SSH-1.99-"), "_ \r"
	default:
		return ""
	}
	if i := strings.IndexAny(first, end); i > 0 && isText(first[:i]) {
		return strings.ToLower(first[:i])
	}
	return ""
}

// lastWords returns the start of a message in words: plain text, or an error of
// PostgreSQL (its protocol 3.0, ErrorResponse and NoticeResponse).
func lastWords(tail string) string {
	if len(tail) > 5 && (tail[0] == 'E' || tail[0] == 'N') && tail[1] == 0 && tail[5] == 'S' {
		fields := strings.Split(tail[5:], "\x00")
		severity, code := fields[0][1:], ""
		for _, f := range fields[1:] {
			if strings.HasPrefix(f, "C") && len(f) >= 6 {
				code = " " + f[1:6]
			}
		}
		if severity != "" && isText(severity) {
			return severity + code
		}
		return ""
	}
	if isText(tail) {
		return printable(tail)
	}
	return ""
}

func spoken(s *tcp.Side, p proto.Message) fact.Opt[string] {
	switch {
	case s.FirstLen == 0:
		return fact.Opt[string]{}
	case p.Protocol == "":
		return absent[string]()
	}
	return byWire(p.Protocol)
}

// records reports whether the latest data of a side begins with a TLS record:
// protocols such as PostgreSQL and SMTP change to TLS on the way.
func records(s *tcp.Side) bool {
	return s.TailLen >= 5 && s.Tail[0] >= 20 && s.Tail[0] <= 23 && s.Tail[1] == 3 && s.Tail[2] <= 4
}

// tlsFacts looks for alerts in the latest segments of both sides. One that came
// with the end of a connection is the reason of that end, or its farewell.
func tlsFacts(w *fact.Wire, e *tcp.Termination, server proto.Message) {
	w.TLSAlert, w.TLSAlertFrom, w.CloseNotify = absent[string](), absent[string](), byWire(false)
	me, peer := e.Sender(), e.Receiver()
	for _, s := range []struct {
		side *tcp.Side
		name string
	}{{peer, "receiver"}, {me, "sender"}} {
		tail := s.side.Tail[:s.side.TailLen]
		_, description, number, encrypted, ok := proto.Alert(tail)
		switch {
		case !ok && proto.CloseNotifyLike(tail, int(s.side.TailSize)):
			w.CloseNotify = byWire(true)
		case !ok:
		case encrypted:
			w.TLSAlert, w.TLSAlertFrom, w.CloseNotify = byWire("encrypted"), byWire(s.name), byWire(true)
		default:
			w.TLSAlert, w.TLSAlertFrom = byWire(description), byWire(s.name)
			w.CloseNotify = byWire(number == 0)
		}
	}
	w.TLSHello = byWire(handshaking(e, server))
}

// handshaking reports whether TLS had not come to application data: neither
// side's latest segment begins with such a record (type 23).
func handshaking(e *tcp.Termination, server proto.Message) bool {
	const applicationData = 23
	for side := range e.Conn.Sides {
		s := &e.Conn.Sides[side]
		if s.TailLen > 0 && s.Tail[0] == applicationData {
			return false
		}
	}
	return e.Conn.Sides[0].DataCount+e.Conn.Sides[1].DataCount <= 12 || server.Protocol == ""
}
