package proto

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
func http2Settings(b []byte, s Message) (Message, bool) {
	if len(b) < 9 || b[2]%6 != 0 || b[2] > 120 || b[3] != 4 || !allZero(b[4:9]) {
		return s, false
	}
	if b[2] == 0 {
		return s, true
	}
	return s, len(b) >= 11 && be16(b[9:]) >= 1 && be16(b[9:]) <= 16
}

// telnetOptions: two negotiations, RFC 854.
func telnetOptions(b []byte, s Message) (Message, bool) {
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

// amqpHeader: "AMQP", then id, major, minor, revision.
func amqpHeader(b []byte, s Message) (Message, bool) {
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
func amqpMethod(b []byte, s Message) (Message, bool) {
	if len(b) < 13 || b[3] != 0 || b[4] > 1 || be32(b[3:]) < 4 || be16(b[7:]) != 10 || b[9] != 0 {
		return s, false
	}
	switch b[10] {
	case 10: // version-major and -minor
		s.Kind = "Connection.Start"
		return s, b[11] == 0 && b[12] == 9
	case 11:
		s.Kind = "Connection.StartOk"
		return s, b[11] == 0
	case 30:
		s.Kind = "Connection.Tune"
		return s, b[6] == 12
	case 50: // reply-code
		s.Kind, s.Code = "Connection.Close", be16(b[11:])
		return s, s.Code >= 200 && s.Code < 600
	}
	return s, false
}

// mqttConnect: the length, then the name and level of the protocol.
func mqttConnect(b []byte, s Message) (Message, bool) {
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
func mqttConnack(b []byte, s Message) (Message, bool) {
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
func dnsMessage(b []byte, s Message) (Message, bool) {
	if len(b) < 19 || be16(b) < 17 || be16(b[6:]) != 1 {
		return s, false
	}
	answer := b[4]&0x80 != 0
	opcode := b[4] >> 3 & 15
	if answer != (s.Kind == "response") || opcode != 0 && opcode != 4 && opcode != 5 || b[5]&0x40 != 0 {
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
func ldapMessage(b []byte, s Message) (Message, bool) {
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
		s.Kind = k.message
		switch k.inside {
		case "\x02\x01":
			return s, value == 2 || value == 3
		case "\x0a\x01":
			s.Code = int(value)
		case "\x80":
			if bytes.Contains(inside, []byte("1.3.6.1.4.1.1466.20037")) {
				s.Kind = "StartTLS"
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
func kerberosMessage(b []byte, s Message) (Message, bool) {
	if len(b) < 12 {
		return s, false
	}
	tag, content, size, ok := ber(b[4:])
	if !ok || len(content) < 2 || uint32(size) != be32(b) || content[0] != 0x30 {
		return s, false
	}
	for _, k := range kerberosOps {
		if tag == k.tag {
			s.Kind = k.message
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
func smbMessage(b []byte, s Message) (Message, bool) {
	if len(b) < 8 || string(b[5:8]) != "SMB" || b[1] > 1 {
		return s, false
	}
	s.Kind = "message"
	switch b[4] {
	case 0xff:
		s.Version = "1"
		if len(b) > 8 && b[8] == 0x72 {
			s.Kind = "Negotiate"
		}
	case 0xfe:
		s.Version = "2"
		if len(b) >= 18 && b[17] == 0 && int(b[16]) < len(smb2Commands) {
			s.Kind = smb2Commands[b[16]]
		}
	case 0xfd:
		s.Version, s.Kind = "3", "encrypted message"
	default:
		return s, false
	}
	return s, true
}

// zookeeperConnect: ConnectRequest and ConnectResponse of
// zookeeper/src/zookeeper.jute: length, version 0, and a password of 16 bytes.
func zookeeperConnect(b []byte, s Message) (Message, bool) {
	const password = "\x00\x00\x00\x10"
	switch {
	case len(b) < 5 || !allZero(b[4:min(len(b), 8)]):
	case b[3] == 44 || b[3] == 45: // zxid, timeout and session stand between
		s.Kind = "ConnectRequest"
		return s, len(b) >= 32 && hasPrefix(b[28:], password) && b[16] == 0
	case b[3] == 36 || b[3] == 37:
		s.Kind = "ConnectResponse"
		return s, len(b) >= 24 && hasPrefix(b[20:], password) && b[8] == 0
	}
	return s, false
}

// kafkaNames are requests that a client can begin with; the others that it
// sends on a connection of its own are only "request".
var kafkaNames = [...]string{0: "Produce", 1: "Fetch", 3: "Metadata", 10: "FindCoordinator", 17: "SaslHandshake", 18: "ApiVersions"}

// kafkaRequest: request header 1 of https://kafka.apache.org/protocol.html: size,
// key, version, correlation id, which counts from 0, and a client id.
func kafkaRequest(b []byte, s Message) (Message, bool) {
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

func knownKafka(key int, s Message) Message {
	s.Kind = "request"
	if key < len(kafkaNames) && kafkaNames[key] != "" {
		s.Kind = kafkaNames[key]
	}
	return s
}

// kafkaVersions: the answer to ApiVersions: an error code and a list of keys
// that starts with 0 and 1.
func kafkaVersions(b []byte, s Message) (Message, bool) {
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
func stunMessage(b []byte, s Message) (Message, bool) {
	const cookie = 0x2112a442
	if len(b) >= 10 && be32(b[6:]) == cookie && be16(b) == be16(b[4:])+20 {
		b = b[2:]
	}
	if len(b) < 8 || be32(b[4:]) != cookie || b[3]%4 != 0 {
		return s, false
	}
	for _, k := range stunNames {
		if be16(b) == k.kind {
			s.Protocol, s.Kind = "stun", k.message
			return s, true
		}
	}
	return s, false
}

// uwsgiRequest: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html: a
// packet of variables, the first of which is a name in capitals.
func uwsgiRequest(b []byte, s Message) (Message, bool) {
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

// rdpConnection: MS-RDPBCGR 2.2.1.1 and 2.2.1.2: a connection request or
// confirm of X.224 that negotiates, or has the cookie of RDP. Other protocols
// over TPKT (S7, H.323) do not.
func rdpConnection(b []byte, s Message) (Message, bool) {
	if len(b) < 15 || be16(b[2:]) != int(b[4])+5 {
		return s, false
	}
	switch rest := b[11:]; {
	case b[5] == 0xe0 && hasPrefix(rest, "\x01") && hasPrefix(rest[2:], "\x08\x00"):
		s.Kind = "ConnectionRequest"
	case b[5] == 0xe0 && (hasPrefix(rest, "Cook") || hasPrefix(rest, "msth")):
		s.Kind = "ConnectionRequest"
	case b[5] == 0xd0 && hasPrefix(rest, "\x02") && hasPrefix(rest[2:], "\x08\x00"):
		s.Kind = "ConnectionConfirm"
	case b[5] == 0xd0 && hasPrefix(rest, "\x03") && hasPrefix(rest[2:], "\x08\x00"):
		s.Kind = "NegotiationFailure"
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
func bgpMessage(b []byte, s Message) (Message, bool) {
	if len(b) < 19 || be16(b[16:]) < 19 || be16(b[16:]) > 4096 || b[18] == 0 || int(b[18]) >= len(bgpNames) {
		return s, false
	}
	s.Kind = bgpNames[b[18]]
	if b[18] == 3 && len(b) > 19 {
		s.Code = int(b[19])
	}
	return s, true
}

// ajpRequest: https://tomcat.apache.org/connectors-doc/ajp/ajpv13a.html: forward
// request, method, and the protocol as a string; or CPing.
func ajpRequest(b []byte, s Message) (Message, bool) {
	if len(b) >= 5 && b[2] == 0 && b[3] == 1 && b[4] == 10 {
		s.Kind = "CPing"
		return s, true
	}
	return s, len(b) >= 12 && b[4] == 2 && b[5] >= 1 && b[5] <= 27 && b[6] == 0 && b[7] == 8 && string(b[8:12]) == "HTTP"
}

// fastcgiBegin: FastCGI specification 3.3 and 5.1: eight bytes, a role, flags.
func fastcgiBegin(b []byte, s Message) (Message, bool) {
	return s, len(b) >= 16 && b[4] == 0 && b[5] == 8 && b[6] == 0 && b[8] == 0 && b[9] >= 1 && b[9] <= 3 && b[10] <= 1 && allZero(b[11:16])
}

// oncRPC: RFC 5531 9 and 11: record mark, id, call of version 2 or accepted
// reply.
func oncRPC(b []byte, s Message) (Message, bool) {
	if len(b) < 24 || b[1] > 1 || be32(b)&0xffffff < 24 {
		return s, false
	}
	switch kind := be32(b[8:]); {
	case kind == 0:
		s.Kind = "call"
		return s, be32(b[12:]) == 2 && be32(b[16:]) >= 100000 && be32(b[16:]) < 0x60000000 && be32(b[20:]) < 64
	case kind == 1:
		s.Kind = "reply"
		return s, be32(b[12:]) == 0 && be32(b[16:]) <= 6 && be32(b[20:]) <= 400
	}
	return s, false
}

// socks5 takes the list of methods that the signature is.
func socks5(_ []byte, s Message) (Message, bool) {
	s.Version = "5"
	return s, true
}

// socks4: port, address, and a user that ends in zero; version 4a has address
// 0.0.0.x and a name: https://www.openssh.com/txt/socks4.protocol.
func socks4(b []byte, s Message) (Message, bool) {
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
