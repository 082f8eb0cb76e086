package proto

import (
	"bytes"
)

// startupNames are parameters of a StartupMessage.
var startupNames = []string{"user\x00", "database\x00", "application_name\x00", "client_encoding\x00", "options\x00", "replication\x00", "DateStyle\x00", "TimeZone\x00"}

// postgresStartup: length, protocol 3.x, then names and values.
func postgresStartup(b []byte, s Message) (Message, bool) {
	if len(b) < 13 || be32(b) < 13 || be32(b) > 10000 || b[4] != 0 || b[5] != 3 || b[6] != 0 || b[7] > 2 {
		return s, false
	}
	for _, name := range startupNames {
		if hasPrefix(b[8:], name) {
			return s, true
		}
	}
	return s, false
}

// postgresAuth: length and kind agree.
func postgresAuth(b []byte, s Message) (Message, bool) {
	if len(b) < 9 {
		return s, false
	}
	length, kind := b[4], be32(b[5:])
	switch kind {
	case 0, 2, 3, 7, 9:
		return s, length == 8
	case 5:
		return s, length == 12
	case 10:
		return s, length > 10 && len(b) >= 14 && string(b[9:14]) == "SCRAM"
	}
	return s, false
}

// postgresError: fields of a letter and a text each.
func postgresError(b []byte, s Message) (Message, bool) {
	if len(b) < 8 || be32(b[1:]) < 12 || be32(b[1:]) > 30000 || b[5] != 'S' || !isLetter(b[6]) || !isLetter(b[7]) {
		return s, false
	}
	for rest := b[5:]; len(rest) > 1 && rest[0] != 0; {
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			break
		}
		if rest[0] == 'C' && end == 6 {
			s.Name = string(rest[1:6])
		}
		rest = rest[end+1:]
	}
	return s, true
}

// mysqlGreeting: protocol 10,
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html.
func mysqlGreeting(b []byte, s Message) (Message, bool) {
	if len(b) < 7 || b[0] < 30 || b[1] != 0 || b[2] != 0 || b[3] != 0 || b[4] != 10 || !isDigit(b[5]) || !isDigit(b[6]) && b[6] != '.' {
		return s, false
	}
	s.Protocol = "mysql"
	if end := bytes.IndexByte(b[5:], 0); end > 0 {
		s.Name = clip(b[5:5+end], 255)
	}
	return s, true
}

// mysqlError: an ERR packet instead of a greeting (1040 too many connections,
// 1129 and 1130 host not allowed) or of the answer to a login.
func mysqlError(b []byte, s Message) (Message, bool) {
	if len(b) < 10 || b[1] > 1 || b[2] != 0 || b[3] > 4 || b[4] != 0xff || !allPrintable(b[7:10]) {
		return s, false
	}
	s.Code = int(b[5]) | int(b[6])<<8
	return s, s.Code >= 1000 && s.Code < 4200
}

// mysqlLogin: HandshakeResponse41 and SSLRequest: capabilities and 19 bytes of
// zero.
func mysqlLogin(b []byte, s Message) (Message, bool) {
	const protocol41, ssl = 1 << 9, 1 << 11
	if len(b) < 32 || b[2] != 0 || b[3] != 1 || le32(b[4:])&protocol41 == 0 || b[12] == 0 || !allZero(b[13:32]) {
		return s, false
	}
	if le32(b)&0xffffff == 32 && le32(b[4:])&ssl != 0 {
		s.Kind = "SSLRequest"
	} else if b[0] < 34 && b[1] == 0 {
		return s, false
	}
	s.Protocol = "mysql"
	return s, true
}

// mongoMessage: MsgHeader and the first field of the message,
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/.
func mongoMessage(b []byte, s Message) (Message, bool) {
	if len(b) < 21 || le32(b) < 26 || le32(b) > 48_000_000 {
		return s, false
	}
	s.Protocol = "mongodb"
	answer := le32(b[8:]) != 0
	switch le32(b[12:]) {
	case 2013:
		s.Kind = "OP_MSG"
		return s, le32(b[16:])&^0x10003 == 0 && b[20] <= 1
	case 2004:
		s.Kind = "OP_QUERY"
		return s, !answer && le32(b[16:]) <= 0xff && isPrintable(b[20])
	case 2012:
		s.Kind = "OP_COMPRESSED"
		return s, le32(b[16:]) == 2013 || le32(b[16:]) == 2004
	case 1:
		s.Kind = "OP_REPLY"
		return s, answer && len(b) >= 40 && le32(b[16:]) <= 15 && le32(b[28:]) == 0 && le32(b[32:]) == 1 && b[39] == 0
	}
	return s, false
}

// cassandraFrame: the header of the native protocol 3 to 5 without flags, and a
// body that fits: doc/native_protocol_v4.spec 2 and 4.
func cassandraFrame(b []byte, s Message) (Message, bool) {
	if len(b) < 9 || b[1] != 0 || be32(b[5:]) > 1<<16 {
		return s, false
	}
	s.Version = codeText(int(b[0] & 0x7f))[2:]
	length, rest := be32(b[5:]), b[9:]
	switch answer := b[0] >= 0x80; {
	case !answer && b[4] == 5:
		s.Kind = "OPTIONS"
		return s, length == 0
	case !answer && b[4] == 1:
		s.Kind = "STARTUP"
		return s, length > 16 && len(rest) >= 8 && rest[0] == 0 && rest[2] == 0 && isLetter(rest[4]) && isLetter(rest[5])
	case answer && b[4] == 2:
		s.Kind = "READY"
		return s, length == 0
	case answer && b[4] == 3:
		s.Kind = "AUTHENTICATE"
		return s, len(rest) >= 6 && uint32(be16(rest))+2 == length && allPrintable(rest[2:6])
	case answer && b[4] == 6:
		s.Kind = "SUPPORTED"
		return s, length > 10 && len(rest) >= 7 && rest[0] == 0 && rest[2] == 0 && allPrintable(rest[4:7])
	case answer && b[4] == 0:
		s.Kind = "ERROR"
		return s, len(rest) >= 9 && rest[0] == 0 && rest[1] == 0 && uint32(be16(rest[4:]))+6 <= length && allPrintable(rest[6:9])
	}
	return s, false
}

// tdsPrelogin: MS-TDS 2.2.3.1 and 2.2.6.5: a packet whose first option is the
// version, of 6 bytes.
func tdsPrelogin(b []byte, s Message) (Message, bool) {
	if len(b) < 14 || b[7] != 0 || b[8] != 0 || be16(b[11:]) != 6 {
		return s, false
	}
	offset := be16(b[9:])
	return s, offset >= 6 && offset < 64 && offset%5 == 1 && 8+offset+6 <= be16(b[2:])
}

// tdsLogin: MS-TDS 2.2.6.4: its own length, and a version 7.0 to 7.4.
func tdsLogin(b []byte, s Message) (Message, bool) {
	return s, len(b) >= 16 && b[7] == 0 && le32(b[8:]) >= 94 && le32(b[8:]) <= 1<<17 && b[15] >= 0x70 && b[15] <= 0x74
}

// tnsNames, types of packets of Oracle Net.
var tnsNames = [...]string{1: "CONNECT", 2: "ACCEPT", 4: "REFUSE", 5: "REDIRECT", 11: "RESEND"}

// tnsPacket: length, checksums of zero, type; CONNECT and ACCEPT carry a version
// (300 to 330). Fields as Wireshark's packet-tns.c names them.
func tnsPacket(b []byte, s Message) (Message, bool) {
	if len(b) < 8 || b[2] != 0 || b[3] != 0 || int(b[4]) >= len(tnsNames) || b[5] > 0x40 || b[6] != 0 || b[7] != 0 {
		return s, false
	}
	s.Protocol, s.Kind = "oracle-tns", tnsNames[b[4]]
	length := be16(b)
	switch b[4] {
	case 1:
		return s, len(b) >= 12 && length >= 26 && tnsVersion(b[8:]) && be16(b[10:]) >= 300 && be16(b[10:]) <= be16(b[8:])
	case 2:
		return s, len(b) >= 10 && length >= 24 && tnsVersion(b[8:])
	case 4, 5:
		return refused(b, s, length)
	case 11:
		return s, length == 8
	}
	return s, false
}

func tnsVersion(b []byte) bool { return be16(b) >= 300 && be16(b) <= 330 }

// refused reads REFUSE (two reasons, length, text) and REDIRECT (length, text).
func refused(b []byte, s Message, length int) (Message, bool) {
	at := 8
	if b[4] == 4 {
		at = 10
	}
	if len(b) < at+3 || be16(b[at:]) != length-at-2 || b[at+2] != '(' {
		return s, false
	}
	if i := bytes.Index(b, []byte("(ERR=")); i > 0 {
		if n, digits := number(b[i+5:]); digits > 0 && i+5+digits < len(b) {
			s.Code = n
		}
	}
	return s, true
}

// memcachedBinary: the header of 24 bytes: magic, opcode, lengths that agree,
// data type 0, and CAS 0 in a request.
func memcachedBinary(b []byte, s Message) (Message, bool) {
	if len(b) < 24 || b[1] > 0x25 || be16(b[2:]) > 250 || b[5] != 0 || b[6] != 0 || be32(b[8:]) > 1<<20 {
		return s, false
	}
	key, extras, body := be16(b[2:]), int(b[4]), int(be32(b[8:]))
	if extras > 20 || extras%4 != 0 || key+extras > body {
		return s, false
	}
	if b[0] == 0x81 {
		s.Code = int(b[7])
		return s, b[7] <= 0x86
	}
	return s, b[7] == 0 && allZero(b[16:24])
}
