package proto

import (
	"bytes"
	"strings"
)

// threeDigits is "000001002..." and dotted is "0.00.10.2...": texts of numbers
// without an allocation.
var threeDigits, dotted = numberTexts()

func numberTexts() (three, dots string) {
	var a, b strings.Builder
	for i := range 1000 {
		a.WriteByte(byte('0' + i/100))
		a.WriteByte(byte('0' + i/10%10))
		a.WriteByte(byte('0' + i%10))
	}
	for i := range 100 {
		b.WriteByte(byte('0' + i/10))
		b.WriteByte('.')
		b.WriteByte(byte('0' + i%10))
	}
	return a.String(), b.String()
}

// codeText is the text of a number of three digits, 0 to 999.
func codeText(n int) string { return threeDigits[3*n : 3*n+3] }

// dottedText is "1.1" for 1 and 1.
func dottedText(a, b byte) string {
	i := 3 * (10*int(a-'0') + int(b-'0'))
	return dotted[i : i+3]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isPrintable(c byte) bool { return c >= ' ' && c <= '~' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func allPrintable(b []byte) bool {
	for _, c := range b {
		if !isPrintable(c) {
			return false
		}
	}
	return true
}

// number reads the digits at the start of b: at most 9 of them.
func number(b []byte) (n, digits int) {
	for digits < len(b) && digits < 9 && isDigit(b[digits]) {
		n = 10*n + int(b[digits]-'0')
		digits++
	}
	return n, digits
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// line returns the first line without its end, or all when no end is visible.
func line(b []byte) (text []byte, complete bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, false
	}
	return bytes.TrimSuffix(b[:i], []byte{'\r'}), true
}

// headerValue finds a complete header line and returns its value.
func headerValue(b []byte, names ...string) string {
	for _, name := range names {
		i := bytes.Index(b, []byte(name))
		if i < 0 {
			continue
		}
		if value, complete := line(b[i+len(name):]); complete {
			return clip(bytes.TrimSpace(value), 255)
		}
	}
	return ""
}

// schemes are starts of a request target that prove a protocol.
var schemes = []struct{ start, protocol string }{
	{"http://", "http/1"}, {"https://", "http/1"}, {"rtsp://", "rtsp"}, {"rtsps://", "rtsp"}, {"rtspu://", "rtsp"},
	{"sip:", "sip"}, {"sips:", "sip"}, {"tel:", "sip"},
}

// requestVersions are ends of a request line that prove a protocol: RFC 9112 3,
// RFC 7826 20.2.1, RFC 3261 7.1.
var requestVersions = []struct{ start, protocol string }{{"HTTP/1.", "http/1"}, {"RTSP/", "rtsp"}, {"SIP/2.", "sip"}}

// request reads the request line of HTTP, RTSP and SIP, which share methods
// (OPTIONS): scheme or version decide. A target of HTTP that starts with a
// slash is proof enough.
func request(b []byte, s Message) (Message, bool) {
	rest := b[len(s.Kind)+1:]
	text, _ := line(rest)
	target, version := text, []byte(nil)
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		target, version = text[:i], text[i+1:]
	}
	if len(target) == 0 || !isPrintable(target[0]) {
		return s, false
	}
	proved := target[0] == '/' && s.Protocol == "http/1"
	for _, k := range schemes {
		if !proved && hasPrefix(target, k.start) {
			s.Protocol, proved = k.protocol, true
		}
	}
	for _, k := range requestVersions {
		if !hasPrefix(version, k.start) {
			continue
		}
		if !proved {
			s.Protocol, proved = k.protocol, true
		}
		if i := bytes.IndexByte(version, '/'); s.Protocol == k.protocol && len(version) >= i+4 && isDigit(version[i+1]) && isDigit(version[i+3]) {
			s.Version = dottedText(version[i+1], version[i+3])
		}
	}
	if !proved {
		return s, false
	}
	s.Target = clip(target, 64)
	if s.Protocol == "http/1" {
		s.Name = headerValue(rest[len(text):], "\nHost:", "\nhost:")
	}
	return s, true
}

// wantsTLS is the message of a HTTP response that says that the request should
// have come over TLS.
const wantsTLS = "400 wants TLS"

// tlsPleas are how servers say it: Go net/http/server.go, nginx
// ngx_http_special_response.c, Apache httpd modules/ssl/ssl_engine_kernel.c. Of
// the first, 36 bytes are within 64.
var tlsPleas = []string{"Client sent an HTTP request to an HT", "The plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server"}

// statusLine: RFC 9112 4, RFC 7826 8.1, RFC 3261 7.2.
func statusLine(b []byte, s Message) (Message, bool) {
	i := bytes.IndexByte(b, '/')
	if len(b) < i+4 || !isDigit(b[i+3]) || s.Protocol == "http/1" && b[i+3] > '1' {
		return s, false
	}
	s.Version = dottedText(b[i+1], b[i+3])
	if len(b) < i+8 || b[i+4] != ' ' {
		return s, true
	}
	code, digits := number(b[i+5 : i+8])
	if digits != 3 {
		return s, true
	}
	s.Code, s.Kind = code, codeText(code)
	s.Name = headerValue(b[i+8:], "\nServer:", "\nserver:")
	if code == 400 && s.Protocol == "http/1" {
		for _, plea := range tlsPleas {
			if bytes.Contains(b, []byte(plea)) {
				s.Kind = wantsTLS
			}
		}
	}
	return s, true
}

// bareHTML is an answer without a status line: HTTP/0.9.
func bareHTML(b []byte, s Message) (Message, bool) {
	s.Version = "0.9"
	if bytes.Contains(b, []byte("<title>400 ")) {
		s.Code = 400
	}
	return s, true
}

// restOfLine puts what follows the first word into the name.
func restOfLine(b []byte, s Message) (Message, bool) {
	text, _ := line(b)
	if hasPrefix(text, "* ") {
		text = text[2:]
	}
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		s.Name = clip(bytes.TrimSpace(text[i:]), 255)
	}
	return s, true
}

// sshBanner: RFC 4253 4.2, SSH-protoversion-softwareversion.
func sshBanner(b []byte, s Message) (Message, bool) {
	text, _ := line(b)
	text = text[len("SSH-"):]
	i := bytes.IndexByte(text, '-')
	if len(text) == 0 || !isDigit(text[0]) {
		return s, false
	}
	if i > 0 {
		s.Version = knownText(text[:i], "2.0", "1.99", "1.5")
		s.Name = clip(text[i+1:], 255)
	}
	return s, true
}

// knownText returns the one of the known texts that b equals, "" otherwise.
func knownText(b []byte, known ...string) string {
	for _, k := range known {
		if string(b) == k {
			return k
		}
	}
	return ""
}

// rfbVersion: RFC 6143 7.1.1, "RFB 003.008\n".
func rfbVersion(b []byte, s Message) (Message, bool) {
	if len(b) < 12 {
		return s, len(b) > 6 && isDigit(b[6])
	}
	if isDigit(b[6]) && isDigit(b[10]) && b[7] == '.' {
		s.Version = dottedText(b[6], b[10])
	}
	return s, isDigit(b[6])
}

// natsInfo: the options of a server are JSON on one line.
func natsInfo(b []byte, s Message) (Message, bool) {
	const key = `"version":"`
	if i := bytes.Index(b, []byte(key)); i >= 0 {
		rest := b[i+len(key):]
		if j := bytes.IndexByte(rest, '"'); j >= 0 {
			s.Name = clip(rest[:j], 255)
		}
	}
	return s, true
}

// replyWords in the text of a reply 220 tell who speaks; the first that is
// complete decides.
var replyWords = []struct{ word, protocol string }{{"SMTP", "smtp"}, {"FTP", "ftp"}, {"FileZilla", "ftp"}}

// textReply is a reply of three digits: RFC 5321 4.2, RFC 959 4.2, RFC 3977
// 3.2. Whose it is often cannot be told.
func textReply(b []byte, s Message) (Message, bool) {
	if len(b) < 5 || b[0] < '1' || b[0] > '5' || b[3] != ' ' && b[3] != '-' || !isPrintable(b[4]) && b[4] != '\r' {
		return s, false
	}
	code, digits := number(b[:3])
	if digits != 3 {
		return s, false
	}
	text, complete := line(b[4:])
	s.Code, s.Kind = code, codeText(code)
	switch {
	case code == 220:
		s.Protocol = replyProtocol(text, complete)
	case code == 554 || code >= 400 && enhanced(b):
		s.Protocol = "smtp"
	}
	if s.Protocol != "" {
		s.Name = clip(text, 255)
	}
	if s.Protocol != "" && code == 220 {
		s.Kind = "greeting"
	}
	return s, true
}

// replyProtocol needs to see the byte after a word, so that more bytes do not
// change its mind.
func replyProtocol(text []byte, complete bool) string {
	for end := range len(text) + 1 {
		if end == len(text) && !complete {
			break
		}
		for _, k := range replyWords {
			start := end - len(k.word)
			if start < 0 || string(text[start:end]) != k.word {
				continue
			}
			if (start == 0 || text[start-1] != '.') && (end == len(text) || text[end] != '.') {
				return k.protocol
			}
		}
	}
	return ""
}

// enhanced reports a status code of RFC 3463, such as "421 4.7.0".
func enhanced(b []byte) bool {
	return len(b) >= 9 && b[4] == b[0] && b[5] == '.' && isDigit(b[6]) && (b[7] == '.' && isDigit(b[8]) || isDigit(b[7]) && b[8] == '.')
}

// imapCommands that a client can begin with, RFC 9051 6.
var imapCommands = []string{"CAPABILITY", "LOGIN ", "STARTTLS", "AUTHENTICATE ", "ID ("}

// imapCommand is a tag with a digit and a command.
func imapCommand(b []byte, s Message) (Message, bool) {
	space := bytes.IndexByte(b[:min(len(b), 12)], ' ')
	if space < 1 {
		return s, false
	}
	digit := false
	for _, c := range b[:space] {
		if !isDigit(c) && !isLetter(c) {
			return s, false
		}
		digit = digit || isDigit(c)
	}
	for _, k := range imapCommands {
		if rest := b[space+1:]; digit && len(rest) >= len(k) && bytes.EqualFold(rest[:len(k)], []byte(k)) {
			s.Protocol, s.Kind = "imap", strings.TrimRight(k, " (")
			return s, true
		}
	}
	return s, false
}

// redisCommands that are worth a name.
var redisCommands = []string{"PING", "AUTH", "HELLO", "SELECT", "CLIENT", "GET", "SET", "INFO", "COMMAND", "CONFIG", "SUBSCRIBE", "CLUSTER", "MULTI", "EVAL", "HGET", "HSET", "QUIT", "REPLCONF", "PSYNC"}

// respNumber reads a type byte, digits and CRLF and returns what follows.
func respNumber(b []byte) (rest []byte, n int, ok bool) {
	n, digits := number(b[1:])
	rest = b[1+digits:]
	if digits == 0 || digits > 8 || !hasPrefix(rest, "\r\n") {
		return nil, 0, false
	}
	return rest[2:], n, true
}

// respArray: an array whose first element is a bulk string.
func respArray(b []byte, s Message) (Message, bool) {
	rest, _, ok := respNumber(b)
	if !ok || len(rest) == 0 || rest[0] != '$' {
		return s, false
	}
	rest, n, ok := respNumber(rest)
	if !ok || n == 0 {
		return s, false
	}
	for _, k := range redisCommands {
		if n == len(k) && len(rest) >= n && bytes.EqualFold(rest[:n], []byte(k)) {
			s.Kind = k
		}
	}
	return s, true
}

// respReply: a length or an integer.
func respReply(b []byte, s Message) (Message, bool) {
	if hasPrefix(b[1:], "-1\r\n") && b[0] == '$' {
		return s, true
	}
	_, _, ok := respNumber(b)
	return s, ok
}

// memcachedGet: "get <key>*\r\n".
func memcachedGet(b []byte, s Message) (Message, bool) {
	text, complete := line(b)
	if !complete || !allPrintable(text) {
		return s, false
	}
	words := 0
	for word := range bytes.FieldsSeq(text) {
		if len(word) > 250 || hasPrefix(word, "HTTP/") || words == 1 && word[0] == '/' {
			return s, false
		}
		words++
	}
	return s, words > 1
}

// memcachedSet: "set <key> <flags> <exptime> <bytes> [noreply]\r\n", "VALUE
// <key> <flags> <bytes> [<cas>]\r\n".
func memcachedSet(b []byte, s Message) (Message, bool) {
	text, complete := line(b)
	if !complete {
		return s, false
	}
	words := 0
	for word := range bytes.FieldsSeq(text) {
		if _, digits := number(word); words >= 2 && digits != len(word) && string(word) != "noreply" {
			return s, false
		}
		words++
	}
	return s, words >= 4 && words <= 6
}

// ircPrefix: ":server.name NOTICE", ":server.name 001" (RFC 2812 2.3.1).
func ircPrefix(b []byte, s Message) (Message, bool) {
	space := bytes.IndexByte(b, ' ')
	if space < 2 || bytes.IndexByte(b[:space], '.') < 0 || !allPrintable(b[:space]) {
		return s, false
	}
	rest := b[space+1:]
	if hasPrefix(rest, "001 ") {
		s.Kind = "001"
		return s, true
	}
	return s, hasPrefix(rest, "NOTICE ")
}

// xmppStream: the XML declaration and a stream.
func xmppStream(b []byte, s Message) (Message, bool) {
	i := bytes.IndexByte(b, '>')
	return s, i > 0 && hasPrefix(bytes.TrimSpace(b[i+1:]), "<stream:stream ")
}

// gitRequest: a pkt-line with the service, gitprotocol-pack(5).
func gitRequest(b []byte, s Message) (Message, bool) {
	const service = "git-"
	if len(b) < 12 || !hasPrefix(b[4:], service) {
		return s, false
	}
	for _, k := range []string{"git-upload-pack ", "git-receive-pack ", "git-upload-archive "} {
		if hasPrefix(b[4:], k) {
			s.Kind = k[:len(k)-1]
			return s, true
		}
	}
	return s, false
}

// proxySignature opens version 2 of the PROXY protocol.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

func proxyV1(_ []byte, s Message) (Message, bool) {
	s.Version = "1"
	return s, true
}

func proxyV2(_ []byte, s Message) (Message, bool) {
	s.Version = "2"
	return s, true
}

// proxySize is the length of a PROXY header, 0 when it is not visible.
func proxySize(b []byte) int {
	switch {
	case hasPrefix(b, "PROXY "):
		return 1 + bytes.IndexByte(b, '\n')
	case hasPrefix(b, proxySignature) && len(b) >= 16:
		return 16 + be16(b[14:])
	}
	return 0
}

// afterProxy says what follows a PROXY header, "" when that is not visible.
func afterProxy(b []byte) string {
	size := proxySize(b)
	if size == 0 || size >= len(b) {
		return ""
	}
	s := match(b[size:], byClient) // not Identify: headers in headers would recurse
	if s.Protocol == "proxy" {
		return "" // one header is enough
	}
	return s.String()
}
