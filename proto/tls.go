package proto

import "encoding/binary"

// Content types of TLS records, RFC 8446 5.1 and RFC 6520.
const (
	tlsCCS       = 20
	tlsAlertType = 21
	tlsHandshake = 22
	tlsData      = 23
	tlsHeartbeat = 24
)

// tlsRecordMax is the longest record: RFC 5246 6.2.3 (RFC 8446 allows less).
const tlsRecordMax = 1<<14 + 2048

// tlsHeader reads the header of a record.
func tlsHeader(b []byte) (kind byte, length int, ok bool) {
	if len(b) < 5 || b[0] < tlsCCS || b[0] > tlsHeartbeat || b[1] != 3 || b[2] > 4 {
		return 0, 0, false
	}
	length = int(binary.BigEndian.Uint16(b[3:]))
	return b[0], length, length > 0 && length <= tlsRecordMax
}

// handshakeNames, RFC 8446 4 and RFC 5246 7.4.
var handshakeNames = [...]string{
	0: "HelloRequest", 1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 8: "EncryptedExtensions", 11: "Certificate",
	12: "ServerKeyExchange", 13: "CertificateRequest", 14: "ServerHelloDone", 15: "CertificateVerify",
	16: "ClientKeyExchange", 20: "Finished", 22: "CertificateStatus", 24: "KeyUpdate",
}

func handshakeName(kind byte) string {
	if int(kind) < len(handshakeNames) {
		return handshakeNames[kind]
	}
	return ""
}

// alertNames, RFC 8446 6 and RFC 5246 7.2 (the latter's obsolete ones too).
var alertNames = map[int]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow",
	30: "decompression_failure", 40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate",
	43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
	47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
	60: "export_restriction", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
	86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
	110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
	116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}

func alertName(number int) string {
	if name := alertNames[number]; name != "" {
		return name
	}
	return "alert " + codeText(number)
}

// Lengths of encrypted alerts: 2 bytes and a tag of 8 (CCM_8) at least; 2 bytes,
// IV, SHA-384 and the longest padding at most (RFC 5246 6.2.3.2).
const encryptedAlertMin, encryptedAlertMax = 10, 2 + 16 + 48 + 256

// Alert looks for an alert among the TLS records at the start of a segment. It
// walks the records that lie wholly within tail. level is "warning" or "fatal",
// description the name in RFC 8446 6. Of an encrypted alert only that it is one
// can be said: level and description are empty and number is 0.
func Alert(tail []byte) (level, description string, number int, encrypted, ok bool) {
	for {
		kind, n, isRecord := tlsHeader(tail)
		switch {
		case !isRecord:
			return "", "", 0, false, false
		case kind == tlsAlertType && n == 2:
			return plainAlert(tail[5:])
		case kind == tlsAlertType:
			good := n >= encryptedAlertMin && n <= encryptedAlertMax
			return "", "", 0, good, good
		case len(tail) < 5+n:
			return "", "", 0, false, false
		}
		tail = tail[5+n:]
	}
}

func plainAlert(b []byte) (level, description string, number int, encrypted, ok bool) {
	if len(b) < 2 || b[0] != 1 && b[0] != 2 {
		return "", "", 0, false, false
	}
	level = "warning"
	if b[0] == 2 {
		level = "fatal"
	}
	return level, alertName(int(b[1])), int(b[1]), false, true
}

// CloseNotifyLike reports whether a segment of size bytes that starts with tail
// can be an alert of TLS 1.3: there it looks like application data (RFC 8446
// 5.2), of 2 bytes, the content type and a tag of 16 bytes, little padded. Very
// short data looks the same.
func CloseNotifyLike(tail []byte, size int) bool {
	kind, n, ok := tlsHeader(tail)
	return ok && kind == tlsData && tail[2] == 3 && n >= 17 && n <= 24 && size == 5+n
}

// tlsHandshakeStart: RFC 8446 4 and 5.1.
func tlsHandshakeStart(b []byte, s Message) (Message, bool) {
	_, n, ok := tlsHeader(b)
	if !ok || n < 4 || len(b) < 6 {
		return s, false
	}
	s.Kind = handshakeName(b[5])
	switch b[5] {
	case 1:
		return clientHello(b[5:min(len(b), 5+n)], s), true
	case 2:
		return serverHello(b[5:min(len(b), 5+n)], s), true
	case 0:
		return s, n == 4 && len(b) >= 9 && b[6] == 0 && b[7] == 0 && b[8] == 0
	}
	// In the middle of a connection: a message that fits the record.
	return s, s.Kind != "" && len(b) >= 9 && b[6] == 0 && 4+int(binary.BigEndian.Uint16(b[7:])) <= n
}

// tlsAlertStart: RFC 8446 6.
func tlsAlertStart(b []byte, s Message) (Message, bool) {
	_, n, ok := tlsHeader(b)
	if !ok {
		return s, false
	}
	if n == 2 {
		_, _, number, _, ok := plainAlert(b[5:])
		s.Code = number
		return s, ok
	}
	s.Kind = "encrypted alert"
	return s, n >= encryptedAlertMin && n <= encryptedAlertMax
}

// tlsCCSStart: RFC 5246 7.1.
func tlsCCSStart(b []byte, s Message) (Message, bool) {
	_, n, ok := tlsHeader(b)
	return s, ok && n == 1 && len(b) > 5 && b[5] == 1
}

func tlsDataStart(b []byte, s Message) (Message, bool) {
	_, n, ok := tlsHeader(b)
	return s, ok && n >= 17
}

// tlsVersion names a version number, "" when there is no such version.
func tlsVersion(v uint16) string {
	switch v {
	case 0x0304:
		return "1.3"
	case 0x0303:
		return "1.2"
	case 0x0302:
		return "1.1"
	case 0x0301:
		return "1.0"
	case 0x0300:
		return "SSL 3.0"
	case 0x0002:
		return "SSL 2.0"
	}
	return ""
}

// field is a cursor over length-prefixed fields that may be cut.
type field struct {
	b   []byte
	cut bool // something needed was beyond the end
}

// next returns n bytes, fewer when cut.
func (f *field) next(n int) []byte {
	if n > len(f.b) {
		f.cut = true
		n = len(f.b)
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *field) uint(size int) int {
	n := 0
	for _, c := range f.next(size) {
		n = n<<8 | int(c)
	}
	return n
}

// vector returns a field with a length of size bytes before it.
func (f *field) vector(size int) []byte {
	n := f.uint(size)
	if f.cut {
		return nil
	}
	return f.next(n)
}

// clientHello reads SNI and the highest version: RFC 8446 4.1.2 and 4.2.1, RFC
// 6066 3. b starts at the handshake message.
func clientHello(b []byte, s Message) Message {
	f := field{b: b}
	f.next(4)
	legacy := uint16(f.uint(2))
	if f.cut {
		return s
	}
	if legacy < 0x0303 {
		s.Version = tlsVersion(legacy)
	}
	f.next(32)  // random
	f.vector(1) // session id
	f.vector(2) // cipher suites
	f.vector(1) // compression methods
	if !f.cut && len(f.b) > 0 {
		f.next(2)
	}
	highest := uint16(0)
	for len(f.b) > 0 {
		kind, body := f.uint(2), f.vector(2)
		if f.cut {
			break
		}
		switch kind {
		case 0:
			s.Name = serverName(body)
		case 43:
			highest = highestVersion(body)
		}
	}
	whole := len(b) >= 4+int(b[1])<<16+int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case highest != 0:
		s.Version = tlsVersion(highest)
	case whole && !f.cut:
		s.Version = tlsVersion(legacy)
	}
	return s
}

func serverName(b []byte) string {
	f := field{b: b}
	f.next(2)
	if f.uint(1) != 0 {
		return ""
	}
	name := f.vector(2)
	if f.cut {
		return ""
	}
	return clip(name, 255)
}

// highestVersion leaves out the values of RFC 8701 (GREASE) and drafts.
func highestVersion(b []byte) (highest uint16) {
	f := field{b: b}
	list := f.vector(1)
	for i := 0; i+1 < len(list); i += 2 {
		if v := binary.BigEndian.Uint16(list[i:]); tlsVersion(v) != "" && v > highest {
			highest = v
		}
	}
	return highest
}

// retryRandom marks a HelloRetryRequest, RFC 8446 4.1.3: the start of SHA-256
// of that word.
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91"

// serverHello reads the version chosen: RFC 8446 4.1.3 and 4.2.1.
func serverHello(b []byte, s Message) Message {
	f := field{b: b}
	f.next(4)
	legacy := uint16(f.uint(2))
	random := f.next(32)
	if len(random) >= len(retryRandom) && string(random[:len(retryRandom)]) == retryRandom {
		s.Kind, s.Version = "HelloRetryRequest", "1.3"
		return s
	}
	if f.cut {
		return s
	}
	if legacy < 0x0303 {
		s.Version = tlsVersion(legacy)
		return s
	}
	f.vector(1) // session id
	f.next(3)   // cipher suite, compression
	whole := len(b) >= 4+int(b[1])<<16+int(binary.BigEndian.Uint16(b[2:]))
	if !f.cut && len(f.b) > 0 {
		f.next(2) // no extensions before TLS 1.2
	}
	for len(f.b) > 0 {
		kind, body := f.uint(2), f.vector(2)
		if !f.cut && kind == 43 && len(body) == 2 {
			s.Version = tlsVersion(binary.BigEndian.Uint16(body))
			return s
		}
	}
	if whole && !f.cut {
		s.Version = tlsVersion(legacy)
	}
	return s
}

// ssl2Hello is a ClientHello in the form of SSL 2.0: RFC 5246 E.2. The lengths
// in it add up.
func ssl2Hello(b []byte, s Message) (Message, bool) {
	if len(b) < 11 || b[2] != 1 || !(b[3] == 3 && b[4] <= 3 || b[3] == 0 && b[4] == 2) {
		return s, false
	}
	suites, session, challenge := binary.BigEndian.Uint16(b[5:]), binary.BigEndian.Uint16(b[7:]), binary.BigEndian.Uint16(b[9:])
	if suites == 0 || suites%3 != 0 || challenge < 16 || challenge > 32 || int(b[1]) != 9+int(suites)+int(session)+int(challenge) {
		return s, false
	}
	s.Version = tlsVersion(binary.BigEndian.Uint16(b[3:]))
	return s, true
}
