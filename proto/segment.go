package proto

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

// SegmentInfo says what a segment of data is, for a ladder: "TLS
// ApplicationData 1,234 B", "HTTP/2 GOAWAY NO_ERROR", "HTTP 400 nginx". first
// means that it is the first data of its side; later ones are only named where
// few bytes prove it, because any data may be in them. "" when unknown.
// Printable ASCII, at most 60 characters.
func SegmentInfo(payload []byte, fromClient, first bool) string {
	if text := tlsRecords(payload, fromClient); text != "" {
		return text
	}
	if text := http2Frames(payload, fromClient, first); text != "" {
		return text
	}
	if text := farewell(payload, fromClient); text != "" {
		return text
	}
	s := Identify(payload, fromClient)
	if first || anywhere(s) {
		return s.String()
	}
	return ""
}

// anywhere reports whether a message is proof in the middle of a connection too.
func anywhere(s Message) bool {
	switch s.Protocol {
	case "http/1":
		return s.Kind != "HTML"
	case "rtsp", "sip", "smb", "bgp", "amqp", "mongodb":
		return true
	case "postgresql":
		return s.Kind == "ErrorResponse" || s.Kind == "Authentication"
	case "mysql":
		return s.Kind == "ERR"
	case "redis":
		return s.Kind != "reply"
	case "smtp", "":
		return s.Code >= 400
	}
	return false
}

// thousands writes 1234 as "1,234".
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// partsMax is how many records or frames of a segment are listed.
const partsMax = 8

// tlsRecords lists the records of a segment that starts with one.
func tlsRecords(b []byte, fromClient bool) string {
	kind, n, ok := tlsHeader(b)
	if !ok || kind == tlsHeartbeat && n < 19 || kind == tlsCCS && n != 1 {
		return ""
	}
	hidden := CloseNotifyLike(b, len(b))
	var parts []string
	data := 0
	flush := func() {
		if data > 0 {
			parts = append(parts, "ApplicationData "+thousands(data)+" B")
		}
		data = 0
	}
	for ok && len(parts) < partsMax {
		record := b[:min(len(b), 5+n)]
		if kind == tlsData {
			data += n
		} else {
			flush()
			parts = append(parts, tlsRecord(record, n, fromClient))
		}
		b = b[len(record):]
		kind, n, ok = tlsHeader(b)
	}
	flush()
	if hidden {
		parts = append(parts, "perhaps an alert")
	}
	return printable("TLS "+strings.Join(parts, ", "), ladderWidth)
}

// tlsRecord names a record whose length field says n.
func tlsRecord(b []byte, n int, fromClient bool) string {
	switch b[0] {
	case tlsCCS:
		return "ChangeCipherSpec"
	case tlsAlertType:
		level, description, _, encrypted, ok := Alert(b)
		switch {
		case !ok:
			return "Alert"
		case encrypted:
			return "Alert (encrypted)"
		case level == "warning":
			return "Alert " + description
		}
		return "Alert " + level + " " + description
	case tlsHeartbeat:
		return "Heartbeat " + thousands(n) + " B"
	}
	if names := handshakeMessages(b[5:], n); names != "" {
		return names
	}
	if s := Identify(b, fromClient); s.Protocol == "tls" && s.Kind != "" {
		return strings.TrimPrefix(s.String(), "TLS ")
	}
	return "Handshake " + thousands(n) + " B"
}

// handshakeMessages names the messages of a record when there are several and
// they fill it: a record that is encrypted does not add up.
func handshakeMessages(b []byte, n int) string {
	if len(b) < n {
		return ""
	}
	var names []string
	for len(b) > 0 && len(names) < partsMax {
		if len(b) < 4 || b[0] == 0 || b[1] != 0 || handshakeName(b[0]) == "" || len(b) < 4+be16(b[2:]) {
			return ""
		}
		names = append(names, handshakeName(b[0]))
		b = b[4+be16(b[2:]):]
	}
	if len(names) < 2 {
		return ""
	}
	return strings.Join(names, ", ")
}

// frameRule says what a frame of HTTP/2 must look like: RFC 9113 6.
type frameRule struct {
	name     string
	flags    byte // those that are defined
	least    int  // bytes
	most     int
	stream   byte // 0 never on a stream, 1 always, 2 both
	multiple int  // the length is a multiple of this
}

const frameMax = 1 << 17 // longer frames need SETTINGS_MAX_FRAME_SIZE, which is rare

var frameRules = [...]frameRule{
	0:  {"DATA", 0x09, 0, frameMax, 1, 1},
	1:  {"HEADERS", 0x2d, 1, frameMax, 1, 1},
	2:  {"PRIORITY", 0, 5, 5, 1, 1},
	3:  {"RST_STREAM", 0, 4, 4, 1, 1},
	4:  {"SETTINGS", 1, 0, 240, 0, 6},
	5:  {"PUSH_PROMISE", 0x0c, 5, frameMax, 1, 1},
	6:  {"PING", 1, 8, 8, 0, 1},
	7:  {"GOAWAY", 0, 8, frameMax, 0, 1},
	8:  {"WINDOW_UPDATE", 0, 4, 4, 2, 1},
	9:  {"CONTINUATION", 4, 1, frameMax, 1, 1},
	16: {"PRIORITY_UPDATE", 0, 4, frameMax, 0, 1}, // RFC 9218 7.1
}

// http2Errors, RFC 9113 7.
var http2Errors = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func http2Error(b []byte) string {
	if code := be32(b); code < uint32(len(http2Errors)) {
		return http2Errors[code]
	}
	return "error " + strconv.FormatUint(uint64(be32(b)), 10)
}

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // RFC 9113 3.4
	frameHeader  = 9
)

// http2Frames lists the frames of a segment when they fill it exactly, or when
// at least one that is no DATA lies wholly in it.
func http2Frames(b []byte, fromClient, first bool) string {
	var parts []string
	if fromClient && hasPrefix(b, http2Preface) {
		parts, b = append(parts, "preface"), b[len(http2Preface):]
	}
	proof := len(parts) > 0
	for len(b) >= frameHeader && len(parts) < partsMax {
		name, n := frameLook(b)
		if name == "" {
			if proof {
				break
			}
			return ""
		}
		whole := len(b) >= frameHeader+n
		parts = append(parts, frameText(name, b[:min(len(b), frameHeader+n)]))
		if !whole {
			b = nil
			if !proof {
				return ""
			}
			break
		}
		b = b[frameHeader+n:]
		proof = proof || name != "DATA" || len(b) == 0
	}
	if !proof || first && !fromClient && len(parts) > 0 && !strings.HasPrefix(parts[0], "SETTINGS") {
		return ""
	}
	return printable("HTTP/2 "+strings.Join(parts, ", "), ladderWidth)
}

// frameLook returns the name of a frame, "" when it is none, and its length.
func frameLook(b []byte) (name string, n int) {
	n = int(b[0])<<16 | be16(b[1:])
	if int(b[3]) >= len(frameRules) || frameRules[b[3]].name == "" {
		return "", 0
	}
	r, stream := frameRules[b[3]], be32(b[5:])
	if b[4]&^r.flags != 0 || n < r.least || n > r.most || n%r.multiple != 0 || stream>>31 != 0 {
		return "", 0
	}
	if r.stream == 0 && stream != 0 || r.stream == 1 && stream == 0 || b[3] == 4 && b[4] == 1 && n != 0 {
		return "", 0
	}
	return r.name, n
}

// grpcType is "application/grpc" as text and in the Huffman code of RFC 7541,
// cut to whole bytes.
var grpcType = [][]byte{[]byte("application/grpc"), []byte("\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64")}

func frameText(name string, b []byte) string {
	body, stream := b[frameHeader:], strconv.FormatUint(uint64(be32(b[5:])), 10)
	switch name {
	case "GOAWAY":
		if len(body) >= 8 {
			return name + " " + http2Error(body[4:]) + " last " + strconv.FormatUint(uint64(be32(body)), 10)
		}
	case "RST_STREAM":
		if len(body) >= 4 {
			return name + " " + stream + " " + http2Error(body)
		}
	case "DATA":
		return name + " " + stream + " " + thousands(int(b[0])<<16|be16(b[1:])) + " B"
	case "HEADERS":
		for _, k := range grpcType {
			if bytes.Contains(body, k) {
				return name + " " + stream + " gRPC"
			}
		}
		return name + " " + stream
	case "SETTINGS", "PING":
		if b[4] == 1 {
			return name + " ACK"
		}
	}
	return name
}

// farewells are whole segments with which a client says goodbye.
var farewells = []struct{ bytes, text string }{
	{"X\x00\x00\x00\x04", "PostgreSQL Terminate"},
	{"\x01\x00\x00\x00\x01", "MySQL COM_QUIT"},
	{"QUIT\r\n", "QUIT"},
	{"quit\r\n", "QUIT"},
}

// farewell names a segment that is nothing but a goodbye: those of the table,
// an unbind of LDAP (RFC 4511 4.3) and a close of WebSocket (RFC 6455 5.5.1).
func farewell(b []byte, fromClient bool) string {
	if len(b) > 16 {
		return ""
	}
	if code := websocketClose(b, fromClient); code != 0 {
		return "WebSocket close " + strconv.Itoa(code)
	}
	if !fromClient {
		return ""
	}
	for _, k := range farewells {
		if string(b) == k.bytes {
			return k.text
		}
	}
	if n := len(b); n >= 7 && b[0] == 0x30 && int(b[1]) == n-2 && b[2] == 2 && int(b[3]) == n-6 && b[n-2] == 0x42 && b[n-1] == 0 {
		return "LDAP unbindRequest"
	}
	return ""
}

// websocketClose returns the status of a close frame of 2 bytes, which a client
// masks.
func websocketClose(b []byte, fromClient bool) int {
	var code uint16
	switch {
	case fromClient && len(b) == 8 && b[0] == 0x88 && b[1] == 0x82:
		code = binary.BigEndian.Uint16(b[6:]) ^ binary.BigEndian.Uint16(b[2:])
	case !fromClient && len(b) == 4 && b[0] == 0x88 && b[1] == 2:
		code = binary.BigEndian.Uint16(b[2:])
	}
	if code >= 1000 && code <= 1015 {
		return int(code)
	}
	return 0
}
