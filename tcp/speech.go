package tcp

import (
	"strconv"
	"strings"
)

// Speech is what the start of one side's data says. The zero value means
// unknown. Protocol "" with a Message means a line of text that several
// protocols answer with, such as "220" or "-ERR": it is not TLS, HTTP or
// anything binary.
type Speech struct {
	Protocol string // "tls", "http/1", "ssh" and so on, see protocolNames; "" when unknown
	Message  string // kind of the first message: "ClientHello", "Alert", "GET", "200", "greeting", "ErrorResponse"
	Name     string // SNI, Host, server software of a greeting, queried name, SQLSTATE, or what follows a PROXY header; untrusted bytes, at most 255
	Target   string // start of the request target of HTTP, RTSP and SIP; untrusted bytes, at most 64
	Version  string // for TLS the highest version offered (supported_versions) or chosen, "" when it is not visible
	Code     int    // HTTP status, TLS alert number, SMTP code, error number of a database; 0 none
}

// protocolNames are the protocols that Listen tells apart, with the name a
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

// speakers are the sides that may begin with a phrase.
type speakers uint8

const (
	byClient speakers = 1 << iota
	byServer
	byBoth = byClient | byServer
)

// phrase is a way to begin. When more is nil the start alone is proof;
// otherwise more looks at the bytes from the very first on, may fill in the
// speech, and decides. It must not take back later what it once accepted: it
// decides on the first bytes that suffice.
type phrase struct {
	start    string
	by       speakers
	protocol string
	message  string
	more     func(b []byte, s Speech) (Speech, bool)
}

// shape is a way to begin that has constant bytes in another place.
type shape struct {
	at  int
	has string
	phrase
}

// phraseIndex holds the phrases that begin with a byte.
var phraseIndex = indexPhrases(phrases)

func indexPhrases(all []phrase) (by [256][]*phrase) {
	for i := range all {
		first := all[i].start[0]
		by[first] = append(by[first], &all[i])
	}
	return by
}

// Listen says what the first bytes of a side mean. They may be cut anywhere:
// fewer bytes give less detail or nothing, never another protocol. Names
// further back (SNI, Host) need more than the 64 bytes of [Side.First]. Nothing
// of first is kept.
func Listen(first []byte, fromClient bool) Speech {
	if len(first) == 0 {
		return Speech{}
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

func match(b []byte, by speakers) Speech {
	for _, p := range phraseIndex[b[0]] {
		if p.by&by != 0 && hasPrefix(b, p.start) {
			if s, ok := p.say(b); ok {
				return s
			}
		}
	}
	for i := range shapes {
		p := &shapes[i]
		if p.by&by != 0 && len(b) > p.at && hasPrefix(b[p.at:], p.has) && hasPrefix(b, p.start) {
			if s, ok := p.say(b); ok {
				return s
			}
		}
	}
	return Speech{}
}

func (p *phrase) say(b []byte) (Speech, bool) {
	s := Speech{Protocol: p.protocol, Message: p.message}
	if p.more == nil {
		return s, true
	}
	return p.more(b, s)
}

// ladderWidth is the longest text for a ladder.
const ladderWidth = 60

// String is the speech for a ladder: "TLS ClientHello example.org", "HTTP GET
// /x". Printable ASCII, at most 60 characters; "" when unknown.
func (s Speech) String() string {
	if s.Protocol == "" {
		if s.Message == "" {
			return ""
		}
		return printable("reply "+s.Message, ladderWidth)
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
	case s.Protocol == "tls" && s.Message == "Alert":
		add(s.Message)
		add(alertName(s.Code))
	default:
		add(s.Message)
		if code := strconv.Itoa(s.Code); s.Code != 0 && s.Message != "greeting" && !strings.HasPrefix(s.Message, code) {
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
func Mismatch(client, server Speech, clientRaw []byte) string {
	c, s := client.Protocol, server.Protocol
	switch {
	case s == "" && server.Message == "":
		return ""
	case c == "proxy":
		return proxyMismatch(server, clientRaw)
	case c == "tls":
		if s != "tls" {
			return "tls-to-plaintext"
		}
		return ""
	case s == "tls":
		if c != "" || server.Message == "Alert" && cannotBeTLS(clientRaw) {
			return "plaintext-to-tls"
		}
		return ""
	case c == "http/1" && server.Message == wantsTLS:
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
func proxyMismatch(server Speech, clientRaw []byte) string {
	switch server.Protocol {
	case "http/1":
		if server.Code == 400 {
			return "proxy-protocol"
		}
	case "redis":
		if server.Message == "ERR" {
			return "proxy-protocol"
		}
	case "tls":
		inner := Listen(clientRaw[min(proxySize(clientRaw), len(clientRaw)):], true)
		switch {
		case inner.Protocol == "http/1" || inner.Protocol == "http/2":
			return "plaintext-to-tls"
		case server.Message == "Alert" && (server.Code == 10 || server.Code == 22 || server.Code == 50):
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
