package framing

import "encoding/binary"

// postgres frames PostgreSQL's protocol 3 (https://www.postgresql.org/docs/current/protocol-message-formats.html).
// A request is a simple query, a function call, or everything up to a Sync; its answer
// ends with ReadyForQuery.
type postgres struct {
	up, down run
	started  bool // the client has sent its StartupMessage
	asked    bool // the client has asked for TLS or GSSAPI and waits for one octet
	ready    bool // the server has ended the login
	requests int  // begun
	cycle    bool // an extended query is open, up to its Sync
	answers  int  // ended
	begun    bool // an answer is open
}

// The codes of untyped messages.
const (
	pgCancel = 80877102
	pgTLS    = 80877103
	pgGSS    = 80877104
	pgMajor  = 3

	pgMaxStartup = 10000 // src/include/libpq/pqcomm.h, MAX_STARTUP_PACKET_LENGTH
)

func (p *postgres) client(b []byte) (int, Part, error) {
	switch {
	case p.up.left > 0:
		return p.up.take(b)
	case !p.started:
		return p.startup(b)
	case len(b) < 5:
		return 0, Part{}, nil
	}
	length := int64(binary.BigEndian.Uint32(b[1:]))
	if length < 4 {
		return 0, Part{}, lost("PostgreSQL message %q of %d octets", b[0], length)
	}
	part := Part{Kind: Message}
	switch b[0] {
	case 'p', 'X': // password, Terminate
		part.Kind = Control
	case 'Q', 'F': // Query, FunctionCall
		p.requests++
		part.First, part.Last = true, true
	case 'P', 'B', 'D', 'E', 'C', 'H', 'S': // Parse, Bind, Describe, Execute, Close, Flush, Sync
		if !p.cycle {
			p.requests++
			p.cycle, part.First = true, true
		}
		if b[0] == 'S' {
			p.cycle, part.Last = false, true
		}
	case 'd', 'c', 'f': // CopyData, CopyDone, CopyFail
	default:
		return 0, Part{}, lost("PostgreSQL has no message %q of a client", b[0])
	}
	if part.Kind == Message {
		part.Number = p.requests
	}
	return p.up.begin(1+length, part, b)
}

// startup frames the messages without a type, with which a connection begins.
func (p *postgres) startup(b []byte) (int, Part, error) {
	if b[0] == 0x16 {
		return 0, Part{}, lost("TLS")
	}
	if len(b) < 8 {
		return 0, Part{}, nil
	}
	length, code := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	switch {
	case length < 8 || length > pgMaxStartup:
		return 0, Part{}, lost("PostgreSQL start of %d octets", length)
	case code == pgTLS, code == pgGSS:
		p.asked = true
	case code>>16 == pgMajor:
		p.started = true
	case code != pgCancel:
		return 0, Part{}, lost("PostgreSQL start with code %d", code)
	}
	return p.up.begin(int64(length), Part{Kind: Control}, b)
}

func (p *postgres) server(b []byte) (int, Part, error) {
	switch {
	case p.down.left > 0:
		return p.down.take(b)
	case p.asked && (b[0] == 'S' || b[0] == 'G'):
		p.asked = false
		return 0, Part{}, lost("PostgreSQL goes on encrypted")
	case p.asked && b[0] == 'N':
		p.asked = false
		return 1, Part{Kind: Control}, nil
	case len(b) < 5:
		return 0, Part{}, nil
	}
	length := int64(binary.BigEndian.Uint32(b[1:]))
	if length < 4 || b[0] < '1' || b[0] > 'z' {
		return 0, Part{}, lost("PostgreSQL message %q of %d octets", b[0], length)
	}
	return p.down.begin(1+length, p.answer(b[0]), b)
}

// answer says to what a message of the server belongs.
func (p *postgres) answer(kind byte) Part {
	switch {
	case !p.ready:
		p.ready = kind == 'Z'
		return Part{Kind: Control}
	case kind == 'N' || kind == 'A' || kind == 'S': // NoticeResponse, NotificationResponse, ParameterStatus
		return Part{Kind: Aside}
	case p.answers >= p.requests: // nobody asked: the server says good-bye
		return Part{Kind: Aside}
	}
	part := Part{Kind: Message, Number: p.answers + 1, First: !p.begun}
	p.begun = true
	if kind == 'Z' {
		p.begun, part.Last = false, true
		p.answers++
	}
	return part
}
