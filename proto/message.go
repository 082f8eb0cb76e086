// Package proto names the application protocol of a TCP connection from the first bytes
// of its sides, and the messages that matter when a connection ends: a TLS alert, an HTTP
// status, a GOAWAY, an error of a database. It is no dissector: it never needs more than
// one segment, keeps nothing, and says nothing rather than something that fewer or more
// bytes would change. It knows nothing of TCP.
//
// To see what it makes of bytes, run the table of TestIdentify.
package proto

import (
	"strconv"
	"strings"
)

// Message is what the start of one side's data says. The zero value means
// unknown. Protocol "" with a Kind means a line of text that several
// protocols answer with, such as "220" or "-ERR": it is not TLS, HTTP or
// anything binary.
type Message struct {
	Protocol string // "tls", "http/1", "ssh" and so on, see protocolNames; "" when unknown
	Kind     string // kind of the first message: "ClientHello", "Alert", "GET", "200", "greeting", "ErrorResponse"
	Name     string // SNI, Host, server software of a greeting, queried name, SQLSTATE, or what follows a PROXY header; untrusted bytes, at most 255
	Target   string // start of the request target of HTTP, RTSP and SIP; untrusted bytes, at most 64
	Version  string // for TLS the highest version offered (supported_versions) or chosen, "" when it is not visible
	Code     int    // HTTP status, TLS alert number, SMTP code, error number of a database; 0 none
}

// protocolNames are the protocols that Identify tells apart, with the name a
// ladder shows.
var protocolNames = map[string]string{
	"ajp": "AJP", "amqp": "AMQP", "bgp": "BGP", "bittorrent": "BitTorrent", "cassandra": "Cassandra", "dns": "DNS",
	"fastcgi": "FastCGI", "ftp": "FTP", "git": "git", "gnutella": "Gnutella", "http/1": "HTTP", "http/2": "HTTP/2",
	"imap": "IMAP", "irc": "IRC", "kafka": "Kafka", "kerberos": "Kerberos", "ldap": "LDAP", "memcached": "memcached",
	"mongodb": "MongoDB", "mqtt": "MQTT", "mssql": "TDS", "mysql": "MySQL", "nats": "NATS", "onc-rpc": "ONC RPC",
	"oracle-tns": "TNS", "pop3": "POP3", "postgresql": "PostgreSQL", "proxy": "PROXY", "rdp": "RDP", "redis": "Redis",
	"rsync": "rsync", "rtsp": "RTSP", "sip": "SIP", "smb": "SMB", "smtp": "SMTP", "socks": "SOCKS", "ssh": "SSH",
	"stun": "STUN", "telnet": "Telnet", "tls": "TLS", "uwsgi": "uwsgi", "vnc": "RFB", "xmpp": "XMPP",
	"zeromq": "ZMTP", "zookeeper": "ZooKeeper",
}

// sides are the sides that may begin with a signature.
type sides uint8

const (
	byClient sides = 1 << iota
	byServer
	byBoth = byClient | byServer
)

// signature is a way to begin. When more is nil the start alone is proof;
// otherwise more looks at the bytes from the very first on, may fill in the
// message, and decides. It must not take back later what it once accepted: it
// decides on the first bytes that suffice.
type signature struct {
	start    string
	by       sides
	protocol string
	message  string
	more     func(b []byte, s Message) (Message, bool)
}

// inner is a way to begin that has constant bytes in another place.
type inner struct {
	at  int
	has string
	signature
}

// signatureIndex holds the signatures that begin with a byte.
var signatureIndex = indexSignatures(signatures)

func indexSignatures(all []signature) (by [256][]*signature) {
	for i := range all {
		first := all[i].start[0]
		by[first] = append(by[first], &all[i])
	}
	return by
}

// Identify says what the first bytes of a side mean. They may be cut anywhere:
// fewer bytes give less detail or nothing, never another protocol. Names
// further back (SNI, Host) need more than the 64 bytes that package tcp keeps. Nothing
// of first is kept.
func Identify(first []byte, fromClient bool) Message {
	if len(first) == 0 {
		return Message{}
	}
	by := byServer
	if fromClient {
		by = byClient
	}
	s := match(first, by)
	if s.Protocol == "proxy" {
		s.Name = clip(afterProxy(first), 255)
	}
	return s
}

func match(b []byte, by sides) Message {
	for _, p := range signatureIndex[b[0]] {
		if p.by&by != 0 && hasPrefix(b, p.start) {
			if s, ok := p.say(b); ok {
				return s
			}
		}
	}
	for i := range innerSignatures {
		p := &innerSignatures[i]
		if p.by&by != 0 && len(b) > p.at && hasPrefix(b[p.at:], p.has) && hasPrefix(b, p.start) {
			if s, ok := p.say(b); ok {
				return s
			}
		}
	}
	return Message{}
}

func (p *signature) say(b []byte) (Message, bool) {
	s := Message{Protocol: p.protocol, Kind: p.message}
	if p.more == nil {
		return s, true
	}
	return p.more(b, s)
}

// ladderWidth is the longest text for a ladder.
const ladderWidth = 60

// String is the message for a ladder: "TLS ClientHello example.org", "HTTP GET
// /x". Printable ASCII, at most 60 characters; "" when unknown.
func (s Message) String() string {
	if s.Protocol == "" {
		if s.Kind == "" {
			return ""
		}
		return printable("reply "+s.Kind, ladderWidth)
	}
	words := []string{protocolNames[s.Protocol]}
	if words[0] == "" {
		words[0] = s.Protocol
	}
	add := func(w string) {
		if w != "" {
			words = append(words, w)
		}
	}
	switch {
	case s.Protocol == "proxy":
		add("v" + s.Version)
		if s.Name != "" {
			add("then")
		}
		add(s.Name)
	case s.Protocol == "tls" && s.Kind == "Alert":
		add(s.Kind)
		add(alertName(s.Code))
	default:
		add(s.Kind)
		if code := strconv.Itoa(s.Code); s.Code != 0 && s.Kind != "greeting" && !strings.HasPrefix(s.Kind, code) {
			add(code)
		}
		if s.Target != "" {
			add(s.Target)
		} else {
			add(s.Name)
		}
	}
	return printable(strings.Join(words, " "), ladderWidth)
}

// printable replaces what is no printable ASCII by dots and cuts.
func printable(s string, limit int) string {
	var b strings.Builder
	for i := range len(s) {
		if b.Len() == limit {
			return b.String()[:limit-3] + "..."
		}
		if s[i] >= ' ' && s[i] <= '~' {
			b.WriteByte(s[i])
		} else {
			b.WriteByte('.')
		}
	}
	return b.String()
}

// clip is a copy of the start of s.
func clip[T string | []byte](s T, limit int) string { return string(s[:min(len(s), limit)]) }

// Mismatch compares what both sides said first. clientRaw is the start of the
// client's data. The results are "" (no mismatch can be shown) or
//
//	tls-to-plaintext  the client spoke TLS, the server something else
//	plaintext-to-tls  the client did not speak TLS, the server did or asked for it
//	http2-to-http1    the server answered the HTTP/2 preface with HTTP/1
//	http1-to-http2    the server answered HTTP/1 with HTTP/2 frames
//	proxy-protocol    the server refused what began with a PROXY header
//	wrong-service     both are known and different
//
// Both must be the true start of the connection: in the middle of one, STARTTLS
// and its like look the same.
func Mismatch(client, server Message, clientRaw []byte) string {
	c, s := client.Protocol, server.Protocol
	switch {
	case s == "" && server.Kind == "":
		return ""
	case c == "proxy":
		return proxyMismatch(server, clientRaw)
	case c == "tls":
		if s != "tls" {
			return "tls-to-plaintext"
		}
		return ""
	case s == "tls":
		if c != "" || server.Kind == "Alert" && cannotBeTLS(clientRaw) {
			return "plaintext-to-tls"
		}
		return ""
	case c == "http/1" && server.Kind == wantsTLS:
		return "plaintext-to-tls"
	case c == "http/2" && s == "http/1":
		return "http2-to-http1"
	case c == "http/1" && s == "http/2":
		return "http1-to-http2"
	case c != "" && s != "" && c != s:
		return "wrong-service"
	}
	return ""
}

// proxyMismatch: a server that does not know PROXY takes the header for a
// request line, a record or a command. One that knows it can refuse what
// follows for reasons of its own, so only alerts about a malformed record count.
func proxyMismatch(server Message, clientRaw []byte) string {
	switch server.Protocol {
	case "http/1":
		if server.Code == 400 {
			return "proxy-protocol"
		}
	case "redis":
		if server.Kind == "ERR" {
			return "proxy-protocol"
		}
	case "tls":
		inner := Identify(clientRaw[min(proxySize(clientRaw), len(clientRaw)):], true)
		switch {
		case inner.Protocol == "http/1" || inner.Protocol == "http/2":
			return "plaintext-to-tls"
		case server.Kind == "Alert" && (server.Code == 10 || server.Code == 22 || server.Code == 50):
			return "proxy-protocol"
		}
	}
	return ""
}

// cannotBeTLS reports whether data is no start of a TLS connection: neither a
// record of any content type (RFC 8446 5.1) nor an SSL 2.0 header.
func cannotBeTLS(b []byte) bool {
	return len(b) > 0 && (b[0] < 20 || b[0] > 24) && b[0] < 0x80
}
