package framing

import "encoding/binary"

// mysql frames the protocol of MySQL and MariaDB
// (https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html). A request is
// a command that is answered; those without an answer (COM_QUIT, COM_STMT_CLOSE,
// COM_STMT_SEND_LONG_DATA) are Control. Where an answer ends is not known without
// reading rows; where the next one begins is.
type mysql struct {
	up, down         run
	login            bool // the server has ended the login
	first            bool // the client has answered the greeting
	upSeq            byte // of the client's last packet
	upKind           Kind // of it
	upEmpty          bool // it had no payload: the end of a file
	upMore, downMore bool // the last packet was of the greatest size: the next one continues it
	requests         int
	pending          []pendingReply
	open             bool // an answer is open
	answering        int  // its number
	downSeq          byte // of the server's last packet
}

// pendingReply is a request whose answer has not begun, and the sequence number with
// which it will.
type pendingReply struct {
	number int
	seq    byte
}

const (
	mysqlHead    = 4
	mysqlMost    = 1<<24 - 1 // payload of a packet that is continued
	mysqlPending = 1 << 16   // requests that wait for an answer

	mysqlCompress   = 1 << 5 // capability flags
	mysqlProtocol41 = 1 << 9
	mysqlTLS        = 1 << 11
	mysqlZstd       = 1 << 26

	comQuit         = 0x01
	comSendLongData = 0x18
	comStmtClose    = 0x19
)

// packet reads the head of a packet, and the first octet of its payload if there is
// one. ok is false when more is needed.
func packet(b []byte) (size int64, seq, first byte, ok bool) {
	if len(b) < mysqlHead {
		return 0, 0, 0, false
	}
	size, seq = int64(b[0])|int64(b[1])<<8|int64(b[2])<<16, b[3]
	if size == 0 {
		return size, seq, 0, true
	}
	if len(b) == mysqlHead {
		return 0, 0, 0, false
	}
	return size, seq, b[mysqlHead], true
}

func (m *mysql) client(b []byte) (int, Part, error) {
	if m.up.left > 0 {
		return m.up.take(b)
	}
	size, seq, first, ok := packet(b)
	switch {
	case !ok:
		return 0, Part{}, nil
	case !m.login:
		return m.greeted(size, b)
	}
	// 256 packets of a file (LOAD DATA LOCAL) wrap the number.
	continued := seq != 0 || m.upMore || m.upSeq == 255 && !m.upEmpty && m.open
	part := Part{Kind: Message, Last: size < mysqlMost}
	switch {
	case continued:
		part.Kind = m.upKind
		if n := len(m.pending); m.upMore && n > 0 && m.pending[n-1].number == m.requests {
			m.pending[n-1].seq = seq + 1
		}
	case first == comQuit || first == comStmtClose || first == comSendLongData:
		part.Kind = Control
	case len(m.pending) >= mysqlPending:
		return 0, Part{}, lost("%d MySQL commands without an answer", len(m.pending))
	default:
		if len(m.pending) == 0 { // who asks has read what there was
			m.open = false
		}
		m.requests++
		m.pending = append(m.pending, pendingReply{m.requests, 1})
		part.First = true
	}
	m.upSeq, m.upMore, m.upEmpty, m.upKind = seq, size == mysqlMost, size == 0, part.Kind
	part.Last = part.Last && part.Kind == Message
	if part.Kind == Message {
		part.Number = m.requests
	}
	return m.up.begin(mysqlHead+size, part, b)
}

// greeted frames what a client sends during the login, and reads its capabilities.
func (m *mysql) greeted(size int64, b []byte) (int, Part, error) {
	if !m.first {
		if len(b) < mysqlHead+4 {
			return 0, Part{}, nil
		}
		if size < 4 {
			return 0, Part{}, lost("MySQL login of %d octets", size)
		}
		flags := binary.LittleEndian.Uint32(b[mysqlHead:])
		if flags&mysqlProtocol41 == 0 { // the old login has two octets of them
			flags &= 1<<16 - 1
		}
		switch {
		case flags&mysqlTLS != 0:
			return 0, Part{}, lost("MySQL goes on encrypted")
		case flags&(mysqlCompress|mysqlZstd) != 0:
			return 0, Part{}, lost("MySQL goes on compressed")
		}
		m.first = true
	}
	return m.up.begin(mysqlHead+size, Part{Kind: Control}, b)
}

func (m *mysql) server(b []byte) (int, Part, error) {
	if m.down.left > 0 {
		return m.down.take(b)
	}
	size, seq, first, ok := packet(b)
	switch {
	case !ok:
		return 0, Part{}, nil
	case !m.login:
		m.login = m.first && size > 0 && first == 0 // OK_Packet
		return m.down.begin(mysqlHead+size, Part{Kind: Control}, b)
	}
	part := m.answer(seq)
	m.downSeq, m.downMore = seq, size == mysqlMost
	return m.down.begin(mysqlHead+size, part, b)
}

// answer says to what a packet of the server belongs.
func (m *mysql) answer(seq byte) Part {
	waits := len(m.pending) > 0
	starts := waits && !m.downMore && (!m.open || seq == m.pending[0].seq && seq != m.downSeq+1)
	switch {
	case starts:
		m.answering, m.open = m.pending[0].number, true
		m.pending = m.pending[1:]
		return Part{Kind: Message, Number: m.answering, First: true}
	case m.open:
		return Part{Kind: Message, Number: m.answering}
	}
	return Part{Kind: Aside}
}
