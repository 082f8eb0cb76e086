package tcp

import (
	"bytes"
	"encoding/binary"
)

func be16(b []byte) int    { return int(binary.BigEndian.Uint16(b)) }
func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// http2Settings is what a server begins with: RFC 9113 3.4 and 6.5. Known
// settings have small numbers.
func http2Settings(b []byte, s Speech) (Speech, bool) {
	if len(b) < 9 || b[2]%6 != 0 || b[2] > 120 || b[3] != 4 || !allZero(b[4:9]) {
		return s, false
	}
	if b[2] == 0 {
		return s, true
	}
	return s, len(b) >= 11 && be16(b[9:]) >= 1 && be16(b[9:]) <= 16
}

// telnetOptions: two negotiations, RFC 854.
func telnetOptions(b []byte, s Speech) (Speech, bool) {
	if len(b) < 6 {
		return s, false
	}
	for i := 0; i < 6; i += 3 {
		if b[i] != 0xff || b[i+1] < 0xfb || b[i+1] > 0xfe || b[i+2] > 49 {
			return s, false
		}
	}
	return s, true
}

// startupNames are parameters of a StartupMessage.
var startupNames = []string{"user\x00", "database\x00", "application_name\x00", "client_encoding\x00", "options\x00", "replication\x00", "DateStyle\x00", "TimeZone\x00"}

// postgresStartup: length, protocol 3.x, then names and values.
func postgresStartup(b []byte, s Speech) (Speech, bool) {
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
func postgresAuth(b []byte, s Speech) (Speech, bool) {
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
func postgresError(b []byte, s Speech) (Speech, bool) {
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
func mysqlGreeting(b []byte, s Speech) (Speech, bool) {
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
func mysqlError(b []byte, s Speech) (Speech, bool) {
	if len(b) < 10 || b[1] > 1 || b[2] != 0 || b[3] > 4 || b[4] != 0xff || !allPrintable(b[7:10]) {
		return s, false
	}
	s.Code = int(b[5]) | int(b[6])<<8
	return s, s.Code >= 1000 && s.Code < 4200
}

// mysqlLogin: HandshakeResponse41 and SSLRequest: capabilities and 19 bytes of
// zero.
func mysqlLogin(b []byte, s Speech) (Speech, bool) {
	const protocol41, ssl = 1 << 9, 1 << 11
	if len(b) < 32 || b[2] != 0 || b[3] != 1 || le32(b[4:])&protocol41 == 0 || b[12] == 0 || !allZero(b[13:32]) {
		return s, false
	}
	if le32(b)&0xffffff == 32 && le32(b[4:])&ssl != 0 {
		s.Message = "SSLRequest"
	} else if b[0] < 34 && b[1] == 0 {
		return s, false
	}
	s.Protocol = "mysql"
	return s, true
}

// mongoMessage: MsgHeader and the first field of the message,
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/.
func mongoMessage(b []byte, s Speech) (Speech, bool) {
	if len(b) < 21 || le32(b) < 26 || le32(b) > 48_000_000 {
		return s, false
	}
	s.Protocol = "mongodb"
	answer := le32(b[8:]) != 0
	switch le32(b[12:]) {
	case 2013:
		s.Message = "OP_MSG"
		return s, le32(b[16:])&^0x10003 == 0 && b[20] <= 1
	case 2004:
		s.Message = "OP_QUERY"
		return s, !answer && le32(b[16:]) <= 0xff && isPrintable(b[20])
	case 2012:
		s.Message = "OP_COMPRESSED"
		return s, le32(b[16:]) == 2013 || le32(b[16:]) == 2004
	case 1:
		s.Message = "OP_REPLY"
		return s, answer && len(b) >= 40 && le32(b[16:]) <= 15 && le32(b[28:]) == 0 && le32(b[32:]) == 1 && b[39] == 0
	}
	return s, false
}

// amqpHeader: "AMQP", then id, major, minor, revision.
func amqpHeader(b []byte, s Speech) (Speech, bool) {
	switch {
	case b[4] == 1:
		s.Version = "0-10"
	case b[5] == 1:
		s.Version = "1.0"
	case len(b) < 8:
	case b[7] == 1:
		s.Version = "0-9-1"
	default:
		s.Version = "0-9"
	}
	return s, true
}

// amqpMethod: a method of class connection on channel 0, AMQP 0-9-1 4.2.3.
func amqpMethod(b []byte, s Speech) (Speech, bool) {
	if len(b) < 13 || b[3] != 0 || b[4] > 1 || be32(b[3:]) < 4 || be16(b[7:]) != 10 || b[9] != 0 {
		return s, false
	}
	switch b[10] {
	case 10: // version-major and -minor
		s.Message = "Connection.Start"
		return s, b[11] == 0 && b[12] == 9
	case 11:
		s.Message = "Connection.StartOk"
		return s, b[11] == 0
	case 30:
		s.Message = "Connection.Tune"
		return s, b[6] == 12
	case 50: // reply-code
		s.Message, s.Code = "Connection.Close", be16(b[11:])
		return s, s.Code >= 200 && s.Code < 600
	}
	return s, false
}

// mqttConnect: the length, then the name and level of the protocol.
func mqttConnect(b []byte, s Speech) (Speech, bool) {
	i := 1
	for i < len(b) && i < 4 && b[i] >= 0x80 {
		i++
	}
	if i >= len(b) {
		return s, false
	}
	rest := b[i+1:]
	for _, k := range []struct{ start, version string }{
		{"\x00\x04MQTT\x04", "3.1.1"}, {"\x00\x04MQTT\x05", "5.0"}, {"\x00\x06MQIsdp\x03", "3.1"},
	} {
		if hasPrefix(rest, k.start) {
			s.Version = k.version
			return s, true
		}
	}
	return s, false
}

// mqttConnack: of 3.1.1, two bytes; of 5.0, reason and properties that fill the
// packet.
func mqttConnack(b []byte, s Speech) (Speech, bool) {
	if len(b) < 4 || b[2] > 1 {
		return s, false
	}
	s.Code = int(b[3])
	if b[1] == 2 {
		return s, b[3] <= 5
	}
	reason := b[3] == 0 || b[3] >= 0x80 && b[3] <= 0x9f
	if len(b) < 5 || b[1] >= 0x80 || b[1] < 3 || int(b[4]) != int(b[1])-3 || !reason {
		return s, false
	}
	s.Version = "5.0"
	return s, b[4] == 0 || len(b) > 5 && b[5] >= 0x11 && b[5] <= 0x2a
}

// dnsMessage: RFC 1035 4.2.2 and 4.1: one question whose name, type and class
// are visible.
func dnsMessage(b []byte, s Speech) (Speech, bool) {
	if len(b) < 19 || be16(b) < 17 || be16(b[6:]) != 1 {
		return s, false
	}
	answer := b[4]&0x80 != 0
	opcode := b[4] >> 3 & 15
	if answer != (s.Message == "response") || opcode != 0 && opcode != 4 && opcode != 5 || b[5]&0x40 != 0 {
		return s, false
	}
	if !answer && (be16(b[8:]) != 0 || be16(b[10:]) > 1 || be16(b[12:]) > 2 || b[5]&0x0f != 0) {
		return s, false
	}
	name, rest, ok := dnsName(b[14:])
	if !ok || len(rest) < 4 || be16(b) < 12+len(b)-14-len(rest)+4 {
		return s, false
	}
	kind, class := be16(rest), be16(rest[2:])
	if kind == 0 || kind > 257 || class != 1 && class != 3 && class != 255 {
		return s, false
	}
	s.Protocol, s.Name = "dns", clip(name, 255)
	if answer {
		s.Code = int(b[5] & 0x0f)
	}
	return s, true
}

// dnsName reads the labels of a name: RFC 1035 3.1.
func dnsName(b []byte) (name, rest []byte, ok bool) {
	var buf [256]byte
	name = buf[:0]
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 {
			return name, b[1:], true
		}
		if n > 63 || len(b) <= n || len(name)+n+1 > len(buf) || !allPrintable(b[1:1+n]) {
			return nil, nil, false
		}
		if len(name) > 0 {
			name = append(name, '.')
		}
		name = append(name, b[1:1+n]...)
		b = b[1+n:]
	}
	return nil, nil, false
}

// ber reads tag and length of X.690 8.1 and returns the content that is
// visible; size counts header and content.
func ber(b []byte) (tag byte, content []byte, size int, ok bool) {
	if len(b) < 2 {
		return 0, nil, 0, false
	}
	n, header := int(b[1]), 2
	if b[1] >= 0x80 {
		more := int(b[1] & 0x7f)
		if more == 0 || more > 4 || len(b) < 2+more {
			return 0, nil, 0, false
		}
		n, header = 0, 2+more
		for _, c := range b[2:header] {
			n = n<<8 | int(c)
		}
	}
	if n < 0 || n > 1<<28 {
		return 0, nil, 0, false
	}
	return b[0], b[header:min(len(b), header+n)], header + n, true
}

// ldapOps are protocolOp tags that open a conversation: RFC 4511 4.
var ldapOps = []struct {
	tag     byte
	message string
	inside  string // what the operation starts with
}{
	{0x60, "bindRequest", "\x02\x01"},
	{0x61, "bindResponse", "\x0a\x01"},
	{0x63, "searchRequest", "\x04"},
	{0x64, "searchResultEntry", "\x04"},
	{0x65, "searchResultDone", "\x0a\x01"},
	{0x77, "extendedRequest", "\x80"},
	{0x78, "extendedResponse", "\x0a\x01"},
}

// ldapMessage: SEQUENCE, messageID, operation, RFC 4511 4.1.1.
func ldapMessage(b []byte, s Speech) (Speech, bool) {
	_, message, size, ok := ber(b)
	if !ok {
		return s, false
	}
	tag, id, idSize, ok := ber(message)
	if !ok || tag != 2 || len(id) == 0 || idSize > 6 || len(message) <= idSize {
		return s, false
	}
	op, inside, opSize, ok := ber(message[idSize:])
	if !ok || opSize > size-idSize-2 {
		return s, false
	}
	for _, k := range ldapOps {
		if op != k.tag || len(inside) < len(k.inside)+1 || !hasPrefix(inside, k.inside) {
			continue
		}
		value := inside[len(k.inside)]
		s.Message = k.message
		switch k.inside {
		case "\x02\x01":
			return s, value == 2 || value == 3
		case "\x0a\x01":
			s.Code = int(value)
		case "\x80":
			if bytes.Contains(inside, []byte("1.3.6.1.4.1.1466.20037")) {
				s.Message = "StartTLS"
			}
		}
		return s, true
	}
	return s, false
}

// kerberosOps are the application tags of RFC 4120 5.10.
var kerberosOps = []struct {
	tag     byte
	message string
}{{0x6a, "AS-REQ"}, {0x6b, "AS-REP"}, {0x6c, "TGS-REQ"}, {0x6d, "TGS-REP"}, {0x6e, "AP-REQ"}, {0x6f, "AP-REP"}, {0x7e, "KRB-ERROR"}}

// kerberosMessage: RFC 4120 7.2.2: four bytes of length, which equals that of
// the message.
func kerberosMessage(b []byte, s Speech) (Speech, bool) {
	if len(b) < 12 {
		return s, false
	}
	tag, content, size, ok := ber(b[4:])
	if !ok || len(content) < 2 || uint32(size) != be32(b) || content[0] != 0x30 {
		return s, false
	}
	for _, k := range kerberosOps {
		if tag == k.tag {
			s.Message = k.message
			if tag == 0x7e {
				s.Code = kerberosError(content)
			}
			return s, true
		}
	}
	return s, false
}

// kerberosError finds error-code [6] of a KRB-ERROR, RFC 4120 5.9.1.
func kerberosError(b []byte) int {
	_, list, _, _ := ber(b)
	for {
		tag, content, size, ok := ber(list)
		if !ok || size > len(list) {
			return 0
		}
		if tag == 0xa6 && len(content) == 3 && content[0] == 2 && content[1] == 1 {
			return int(content[2])
		}
		list = list[size:]
	}
}

// smb2Commands, MS-SMB2 2.2.1.
var smb2Commands = [...]string{
	"Negotiate", "SessionSetup", "Logoff", "TreeConnect", "TreeDisconnect", "Create", "Close", "Flush", "Read", "Write",
	"Lock", "Ioctl", "Cancel", "Echo", "QueryDirectory", "ChangeNotify", "QueryInfo", "SetInfo", "OplockBreak",
}

// smbMessage: four bytes of length, then the header of SMB 1, 2 or 3.
func smbMessage(b []byte, s Speech) (Speech, bool) {
	if len(b) < 8 || string(b[5:8]) != "SMB" || b[1] > 1 {
		return s, false
	}
	s.Message = "message"
	switch b[4] {
	case 0xff:
		s.Version = "1"
		if len(b) > 8 && b[8] == 0x72 {
			s.Message = "Negotiate"
		}
	case 0xfe:
		s.Version = "2"
		if len(b) >= 18 && b[17] == 0 && int(b[16]) < len(smb2Commands) {
			s.Message = smb2Commands[b[16]]
		}
	case 0xfd:
		s.Version, s.Message = "3", "encrypted message"
	default:
		return s, false
	}
	return s, true
}

// zookeeperConnect: ConnectRequest and ConnectResponse of
// zookeeper/src/zookeeper.jute: length, version 0, and a password of 16 bytes.
func zookeeperConnect(b []byte, s Speech) (Speech, bool) {
	const password = "\x00\x00\x00\x10"
	switch {
	case len(b) < 5 || !allZero(b[4:min(len(b), 8)]):
	case b[3] == 44 || b[3] == 45: // zxid, timeout and session stand between
		s.Message = "ConnectRequest"
		return s, len(b) >= 32 && hasPrefix(b[28:], password) && b[16] == 0
	case b[3] == 36 || b[3] == 37:
		s.Message = "ConnectResponse"
		return s, len(b) >= 24 && hasPrefix(b[20:], password) && b[8] == 0
	}
	return s, false
}

// kafkaNames are requests that a client can begin with; the others that it
// sends on a connection of its own are only "request".
var kafkaNames = [...]string{0: "Produce", 1: "Fetch", 3: "Metadata", 10: "FindCoordinator", 17: "SaslHandshake", 18: "ApiVersions"}

// kafkaRequest: request header 1 of https://kafka.apache.org/protocol.html: size,
// key, version, correlation id, which counts from 0, and a client id.
func kafkaRequest(b []byte, s Speech) (Speech, bool) {
	if len(b) < 14 || be32(b) < 10 || be32(b) > 100<<20 || be16(b[4:]) > 92 || be16(b[6:]) > 20 || be32(b[8:]) > 0xffff {
		return s, false
	}
	id := be16(b[12:])
	key := be16(b[4:])
	switch {
	case id == 0xffff:
		return knownKafka(key, s), key == 18 && be32(b) < 100
	case id == 0 || id > 255 || id+10 > int(be32(b)):
		return s, false
	}
	need := 14 + min(id, 4)
	if len(b) < need || !allPrintable(b[14:need]) {
		return s, false
	}
	s = knownKafka(key, s)
	if len(b) >= 14+id {
		s.Name = string(b[14 : 14+id])
	}
	return s, true
}

func knownKafka(key int, s Speech) Speech {
	s.Message = "request"
	if key < len(kafkaNames) && kafkaNames[key] != "" {
		s.Message = kafkaNames[key]
	}
	return s
}

// kafkaVersions: the answer to ApiVersions: an error code and a list of keys
// that starts with 0 and 1.
func kafkaVersions(b []byte, s Speech) (Speech, bool) {
	if len(b) < 24 || be32(b) < 40 || be32(b) > 4000 || be32(b[4:]) > 0xffff {
		return s, false
	}
	s.Code = be16(b[8:])
	if s.Code != 0 && s.Code != 35 {
		return s, false
	}
	if b[10] == 0 { // versions 0 to 2: INT32 count, 6 bytes each
		return s, b[11] == 0 && b[12] == 0 && b[13] >= 5 && b[13] < 128 && allZero(b[14:17]) && b[20] == 0 && b[21] == 1
	}
	return s, b[10] > 5 && b[11] == 0 && b[12] == 0 && b[13] == 0 && b[15] == 0 && b[17] == 0 && b[18] == 0 && b[19] == 1
}

// stunNames, RFC 8489 5 and RFC 8656 17.
var stunNames = []struct {
	kind    int
	message string
}{{0x0001, "Binding request"}, {0x0101, "Binding response"}, {0x0111, "Binding error"}, {0x0003, "Allocate request"}, {0x0103, "Allocate response"}, {0x0113, "Allocate error"}}

// stunMessage: type, length, magic cookie, RFC 8489 5; over TCP RFC 4571 puts a
// length before it where ICE is used (RFC 6544).
func stunMessage(b []byte, s Speech) (Speech, bool) {
	const cookie = 0x2112a442
	if len(b) >= 10 && be32(b[6:]) == cookie && be16(b) == be16(b[4:])+20 {
		b = b[2:]
	}
	if len(b) < 8 || be32(b[4:]) != cookie || b[3]%4 != 0 {
		return s, false
	}
	for _, k := range stunNames {
		if be16(b) == k.kind {
			s.Protocol, s.Message = "stun", k.message
			return s, true
		}
	}
	return s, false
}

// uwsgiRequest: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html: a
// packet of variables, the first of which is a name in capitals.
func uwsgiRequest(b []byte, s Speech) (Speech, bool) {
	if len(b) < 18 || b[3] != 0 || b[5] != 0 || int(b[1])|int(b[2])<<8 < 32 {
		return s, false
	}
	for _, name := range []string{"QUERY_STRING", "REQUEST_METHOD", "REQUEST_URI", "CONTENT_TYPE"} {
		if int(b[4]) == len(name) && hasPrefix(b[6:], name) {
			return s, true
		}
	}
	return s, false
}

// cassandraFrame: the header of the native protocol 3 to 5 without flags, and a
// body that fits: doc/native_protocol_v4.spec 2 and 4.
func cassandraFrame(b []byte, s Speech) (Speech, bool) {
	if len(b) < 9 || b[1] != 0 || be32(b[5:]) > 1<<16 {
		return s, false
	}
	s.Version = codeText(int(b[0] & 0x7f))[2:]
	length, rest := be32(b[5:]), b[9:]
	switch answer := b[0] >= 0x80; {
	case !answer && b[4] == 5:
		s.Message = "OPTIONS"
		return s, length == 0
	case !answer && b[4] == 1:
		s.Message = "STARTUP"
		return s, length > 16 && len(rest) >= 8 && rest[0] == 0 && rest[2] == 0 && isLetter(rest[4]) && isLetter(rest[5])
	case answer && b[4] == 2:
		s.Message = "READY"
		return s, length == 0
	case answer && b[4] == 3:
		s.Message = "AUTHENTICATE"
		return s, len(rest) >= 6 && uint32(be16(rest))+2 == length && allPrintable(rest[2:6])
	case answer && b[4] == 6:
		s.Message = "SUPPORTED"
		return s, length > 10 && len(rest) >= 7 && rest[0] == 0 && rest[2] == 0 && allPrintable(rest[4:7])
	case answer && b[4] == 0:
		s.Message = "ERROR"
		return s, len(rest) >= 9 && rest[0] == 0 && rest[1] == 0 && uint32(be16(rest[4:]))+6 <= length && allPrintable(rest[6:9])
	}
	return s, false
}

// rdpConnection: MS-RDPBCGR 2.2.1.1 and 2.2.1.2: a connection request or
// confirm of X.224 that negotiates, or has the cookie of RDP. Other protocols
// over TPKT (S7, H.323) do not.
func rdpConnection(b []byte, s Speech) (Speech, bool) {
	if len(b) < 15 || be16(b[2:]) != int(b[4])+5 {
		return s, false
	}
	switch rest := b[11:]; {
	case b[5] == 0xe0 && hasPrefix(rest, "\x01") && hasPrefix(rest[2:], "\x08\x00"):
		s.Message = "ConnectionRequest"
	case b[5] == 0xe0 && (hasPrefix(rest, "Cook") || hasPrefix(rest, "msth")):
		s.Message = "ConnectionRequest"
	case b[5] == 0xd0 && hasPrefix(rest, "\x02") && hasPrefix(rest[2:], "\x08\x00"):
		s.Message = "ConnectionConfirm"
	case b[5] == 0xd0 && hasPrefix(rest, "\x03") && hasPrefix(rest[2:], "\x08\x00"):
		s.Message = "NegotiationFailure"
		if len(b) > 15 {
			s.Code = int(b[15])
		}
	default:
		return s, false
	}
	return s, true
}

// bgpNames, RFC 4271 4.1 and RFC 2918.
var bgpNames = [...]string{1: "OPEN", 2: "UPDATE", 3: "NOTIFICATION", 4: "KEEPALIVE", 5: "ROUTE-REFRESH"}

// bgpMessage: marker, length, type; the code is the error code of a
// NOTIFICATION (RFC 4271 4.5).
func bgpMessage(b []byte, s Speech) (Speech, bool) {
	if len(b) < 19 || be16(b[16:]) < 19 || be16(b[16:]) > 4096 || b[18] == 0 || int(b[18]) >= len(bgpNames) {
		return s, false
	}
	s.Message = bgpNames[b[18]]
	if b[18] == 3 && len(b) > 19 {
		s.Code = int(b[19])
	}
	return s, true
}

// tdsPrelogin: MS-TDS 2.2.3.1 and 2.2.6.5: a packet whose first option is the
// version, of 6 bytes.
func tdsPrelogin(b []byte, s Speech) (Speech, bool) {
	if len(b) < 14 || b[7] != 0 || b[8] != 0 || be16(b[11:]) != 6 {
		return s, false
	}
	offset := be16(b[9:])
	return s, offset >= 6 && offset < 64 && offset%5 == 1 && 8+offset+6 <= be16(b[2:])
}

// tdsLogin: MS-TDS 2.2.6.4: its own length, and a version 7.0 to 7.4.
func tdsLogin(b []byte, s Speech) (Speech, bool) {
	return s, len(b) >= 16 && b[7] == 0 && le32(b[8:]) >= 94 && le32(b[8:]) <= 1<<17 && b[15] >= 0x70 && b[15] <= 0x74
}

// tnsNames, types of packets of Oracle Net.
var tnsNames = [...]string{1: "CONNECT", 2: "ACCEPT", 4: "REFUSE", 5: "REDIRECT", 11: "RESEND"}

// tnsPacket: length, checksums of zero, type; CONNECT and ACCEPT carry a version
// (300 to 330). Fields as Wireshark's packet-tns.c names them.
func tnsPacket(b []byte, s Speech) (Speech, bool) {
	if len(b) < 8 || b[2] != 0 || b[3] != 0 || int(b[4]) >= len(tnsNames) || b[5] > 0x40 || b[6] != 0 || b[7] != 0 {
		return s, false
	}
	s.Protocol, s.Message = "oracle-tns", tnsNames[b[4]]
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
func refused(b []byte, s Speech, length int) (Speech, bool) {
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

// ajpRequest: https://tomcat.apache.org/connectors-doc/ajp/ajpv13a.html: forward
// request, method, and the protocol as a string; or CPing.
func ajpRequest(b []byte, s Speech) (Speech, bool) {
	if len(b) >= 5 && b[2] == 0 && b[3] == 1 && b[4] == 10 {
		s.Message = "CPing"
		return s, true
	}
	return s, len(b) >= 12 && b[4] == 2 && b[5] >= 1 && b[5] <= 27 && b[6] == 0 && b[7] == 8 && string(b[8:12]) == "HTTP"
}

// fastcgiBegin: FastCGI specification 3.3 and 5.1: eight bytes, a role, flags.
func fastcgiBegin(b []byte, s Speech) (Speech, bool) {
	return s, len(b) >= 16 && b[4] == 0 && b[5] == 8 && b[6] == 0 && b[8] == 0 && b[9] >= 1 && b[9] <= 3 && b[10] <= 1 && allZero(b[11:16])
}

// oncRPC: RFC 5531 9 and 11: record mark, id, call of version 2 or accepted
// reply.
func oncRPC(b []byte, s Speech) (Speech, bool) {
	if len(b) < 24 || b[1] > 1 || be32(b)&0xffffff < 24 {
		return s, false
	}
	switch kind := be32(b[8:]); {
	case kind == 0:
		s.Message = "call"
		return s, be32(b[12:]) == 2 && be32(b[16:]) >= 100000 && be32(b[16:]) < 0x60000000 && be32(b[20:]) < 64
	case kind == 1:
		s.Message = "reply"
		return s, be32(b[12:]) == 0 && be32(b[16:]) <= 6 && be32(b[20:]) <= 400
	}
	return s, false
}

// memcachedBinary: the header of 24 bytes: magic, opcode, lengths that agree,
// data type 0, and CAS 0 in a request.
func memcachedBinary(b []byte, s Speech) (Speech, bool) {
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

// socks5 takes the list of methods that the phrase is.
func socks5(_ []byte, s Speech) (Speech, bool) {
	s.Version = "5"
	return s, true
}

// socks4: port, address, and a user that ends in zero; version 4a has address
// 0.0.0.x and a name: https://www.openssh.com/txt/socks4.protocol.
func socks4(b []byte, s Speech) (Speech, bool) {
	if len(b) < 9 || b[2] == 0 && b[3] == 0 || b[7] == 0 {
		return s, false
	}
	end := bytes.IndexByte(b[8:], 0)
	if end < 0 || !allPrintable(b[8:8+end]) {
		return s, false
	}
	s.Version = "4"
	if b[4] != 0 || b[5] != 0 || b[6] != 0 {
		return s, b[4] != 0
	}
	host := b[8+end+1:]
	if len(host) < 4 || !allPrintable(host[:4]) {
		return s, false
	}
	s.Version = "4a"
	if end := bytes.IndexByte(host, 0); end > 0 && end <= 255 {
		s.Name = string(host[:end])
	}
	return s, true
}
