package proto

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
)

// spoken are first bytes of real conversations, and what they say.
var spoken = []struct {
	name, bytes string
	client      bool
	protocol    string
	message     string
	text        string // of String
}{
	{"http get", "GET /x?y=1 HTTP/1.1\r\nUser-Agent: curl\r\nHost: example.org\r\n\r\n", true, "http/1", "GET", "HTTP GET /x?y=1"},
	{"http proxy request", "GET http://example.org/ HTTP/1.1\r\n", true, "http/1", "GET", "HTTP GET http://example.org/"},
	{"http connect", "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", true, "http/1", "CONNECT", "HTTP CONNECT example.org:443"},
	{"http options", "OPTIONS * HTTP/1.1\r\n\r\n", true, "http/1", "OPTIONS", "HTTP OPTIONS *"},
	{"http 400", "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nDate: Tue, 01 Jul 2025", false, "http/1", "400", "HTTP 400 nginx/1.22.1"},
	{"http 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", false, "http/1", "101", "HTTP 101"},
	{"http to https, Go", "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", false, "http/1", wantsTLS, "HTTP 400 wants TLS"},
	{"html", "<html>\r\n<head><title>400 Bad Request</title></head>\r\n", false, "http/1", "HTML", "HTTP HTML 400"},
	{"http2 preface", http2Preface + "\x00\x00\x12\x04\x00\x00\x00\x00\x00", true, "http/2", "preface", "HTTP/2 preface"},
	{"http2 settings, nginx", "\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00\x00\x05\x00\xff\xff\xff", false, "http/2", "SETTINGS", "HTTP/2 SETTINGS"},
	{"http2 empty settings", "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x0f\x00\x01", false, "http/2", "SETTINGS", "HTTP/2 SETTINGS"},
	{"rtsp", "OPTIONS rtsp://10.2.2.2:8554/ RTSP/1.0\r\nCSeq: 1\r\n", true, "rtsp", "OPTIONS", "RTSP OPTIONS rtsp://10.2.2.2:8554/"},
	{"rtsp describe", "DESCRIBE rtsp://10.2.2.2/a RTSP/1.0\r\n", true, "rtsp", "DESCRIBE", "RTSP DESCRIBE rtsp://10.2.2.2/a"},
	{"rtsp answer", "RTSP/1.0 200 OK\r\nServer: VLC/3.0.12\r\n", false, "rtsp", "200", "RTSP 200 VLC/3.0.12"},
	{"sip", "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP", true, "sip", "REGISTER", "SIP REGISTER sip:example.org"},
	{"sip options", "OPTIONS sip:bob@example.org SIP/2.0\r\n", true, "sip", "OPTIONS", "SIP OPTIONS sip:bob@example.org"},
	{"sip answer", "SIP/2.0 401 Unauthorized\r\n", false, "sip", "401", "SIP 401"},
	{"ssh server", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n", false, "ssh", "greeting", "SSH greeting OpenSSH_9.2p1 Debian-2+deb12u10"},
	{"ssh client", "SSH-2.0-libssh2_1.11.0\r\n", true, "ssh", "greeting", "SSH greeting libssh2_1.11.0"},
	{"rfb", "RFB 003.008\n", false, "vnc", "greeting", "RFB greeting"},
	{"telnet", "\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27", false, "telnet", "negotiation", "Telnet negotiation"},

	{"smtp", "220 mail.example.org ESMTP Postfix (Debian)\r\n", false, "smtp", "greeting", "SMTP greeting mail.example.org ESMTP Postfix (Debian)"},
	{"smtp of a host called ftp", "220 ftp.example.org ESMTP Exim 4.96\r\n", false, "smtp", "greeting", "SMTP greeting ftp.example.org ESMTP Exim 4.96"},
	{"smtp refuses", "554 mail.example.org ESMTP not accepting connections\r\n", false, "smtp", "554", "SMTP 554 mail.example.org ESMTP not accepting connections"},
	{"smtp busy", "421 4.7.0 Too many connections\r\n", false, "smtp", "421", "SMTP 421 4.7.0 Too many connections"},
	{"smtp or ftp", "220 example.org ready\r\n", false, "", "220", "reply 220"},
	{"ehlo", "EHLO client.example.org\r\n", true, "smtp", "EHLO", "SMTP EHLO client.example.org"},
	{"vsftpd", "220 (vsFTPd 3.0.3)\r\n", false, "ftp", "greeting", "FTP greeting (vsFTPd 3.0.3)"},
	{"pure-ftpd", "220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\r\n220-You are user number 1", false, "ftp", "greeting", "FTP greeting --------- Welcome to Pure-FTPd [privsep] [TL..."},
	{"filezilla", "220-FileZilla Server 1.8.0\r\n", false, "ftp", "greeting", "FTP greeting FileZilla Server 1.8.0"},
	{"ftp over tls", "AUTH TLS\r\n", true, "ftp", "AUTH TLS", "FTP AUTH TLS"},
	{"pop3", "+OK Dovecot (Debian) ready.\r\n", false, "pop3", "greeting", "POP3 greeting Dovecot (Debian) ready."},
	{"pop3 client", "CAPA\r\n", true, "pop3", "CAPA", "POP3 CAPA"},
	{"ok of somebody", "+OK\r\n", false, "", "+OK", "reply +OK"},
	{"imap", "* OK [CAPABILITY IMAP4rev1 SASL-IR] Dovecot ready.\r\n", false, "imap", "greeting", "IMAP greeting [CAPABILITY IMAP4rev1 SASL-IR] Dovecot ready."},
	{"imap client", "a001 CAPABILITY\r\n", true, "imap", "CAPABILITY", "IMAP CAPABILITY"},
	{"imap login", "1 LOGIN bob secret\r\n", true, "imap", "LOGIN", "IMAP LOGIN"},

	{"redis ping", "*1\r\n$4\r\nPING\r\n", true, "redis", "PING", "Redis PING"},
	{"redis xadd", "*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n", true, "redis", "command", "Redis command"},
	{"redis hello", "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n", false, "redis", "reply", "Redis reply"},
	{"redis nil", "$-1\r\n", false, "redis", "reply", "Redis reply"},
	{"redis integer", ":1\r\n", false, "redis", "reply", "Redis reply"},
	{"redis pong", "+PONG\r\n", false, "redis", "PONG", "Redis PONG"},
	{"redis protected", "-DENIED Redis is running in protected mode because", false, "redis", "DENIED", "Redis DENIED"},
	{"redis answers http", "-ERR wrong number of arguments for 'get' command\r\n", false, "redis", "ERR", "Redis ERR"},
	{"nats", `INFO {"server_id":"NABC","version":"2.10.1","proto":1}` + "\r\n", false, "nats", "INFO", "NATS INFO 2.10.1"},
	{"nats client", `CONNECT {"verbose":false}` + "\r\n", true, "nats", "CONNECT", "NATS CONNECT"},
	{"nats error", "-ERR 'Authorization Violation'\r\n", false, "nats", "-ERR", "NATS -ERR"},
	{"memcached get", "get session:1 session:2\r\n", true, "memcached", "get", "memcached get"},
	{"memcached set", "set k 0 0 5\r\nhello\r\n", true, "memcached", "set", "memcached set"},
	{"memcached value", "VALUE k 0 5\r\nhello\r\nEND\r\n", false, "memcached", "VALUE", "memcached VALUE"},
	{"memcached binary", "\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00hello", true, "memcached", "request", "memcached request"},
	{"memcached binary answer", "\x81\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Not found", false, "memcached", "response", "memcached response 1"},
	{"irc", "CAP LS 302\r\nNICK bob\r\n", true, "irc", "CAP", "IRC CAP"},
	{"irc server", ":irc.example.org NOTICE * :*** Looking up your hostname\r\n", false, "irc", "NOTICE", "IRC NOTICE"},
	{"xmpp", "<?xml version='1.0'?><stream:stream to='example.org' xmlns='jabber:client'", true, "xmpp", "stream", "XMPP stream"},
	{"xml", "<?xml version='1.0'?><soap:Envelope xmlns:soap='", true, "", "", ""},
	{"bittorrent", "\x13BitTorrent protocol\x00\x00\x00\x00\x00\x10\x00\x05", true, "bittorrent", "handshake", "BitTorrent handshake"},
	{"gnutella", "GNUTELLA CONNECT/0.6\r\nNode: 10.0.0.1", true, "gnutella", "CONNECT", "Gnutella CONNECT"},
	{"rsync", "@RSYNCD: 31.0 sha512\n", false, "rsync", "greeting", "rsync greeting"},
	{"git", "0033git-upload-pack /project.git\x00host=example.org\x00", true, "git", "git-upload-pack", "git git-upload-pack"},

	{"postgres ssl", "\x00\x00\x00\x08\x04\xd2\x16\x2f", true, "postgresql", "SSLRequest", "PostgreSQL SSLRequest"},
	{"postgres startup", "\x00\x00\x00\x26\x00\x03\x00\x00user\x00postgres\x00database\x00app\x00\x00", true, "postgresql", "StartupMessage", "PostgreSQL StartupMessage"},
	{"postgres scram", "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00", false, "postgresql", "Authentication", "PostgreSQL Authentication"},
	{"postgres ok", "R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x15application_name\x00", false, "postgresql", "Authentication", "PostgreSQL Authentication"},
	{"postgres error", "E\x00\x00\x00\x50SFATAL\x00VFATAL\x00C53300\x00Msorry, too many clients already\x00", false, "postgresql", "ErrorResponse", "PostgreSQL ErrorResponse 53300"},
	{"mysql greeting", "\x4a\x00\x00\x00\x0a8.0.36\x00\x0b\x00\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xdf", false, "mysql", "greeting", "MySQL greeting 8.0.36"},
	{"mariadb greeting", "\x5f\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\x00\x1f\x00\x00\x00", false, "mysql", "greeting", "MySQL greeting 5.5.5-10.11.6-MariaDB-0+deb12u1"},
	{"mysql full", "\x17\x00\x00\x00\xff\x10\x04Too many connections", false, "mysql", "ERR", "MySQL ERR 1040"},
	{"mysql blocked", "\x46\x00\x00\x00\xff\x6a\x04Host '10.0.0.9' is not allowed to connect to this MySQL server", false, "mysql", "ERR", "MySQL ERR 1130"},
	{"mysql login", "\x54\x00\x00\x01\x8d\xa6\x0f\x20\x00\x00\x00\x01\xff" + strings.Repeat("\x00", 23) + "root\x00", true, "mysql", "HandshakeResponse", "MySQL HandshakeResponse"},
	{"mysql ssl", "\x20\x00\x00\x01\x8d\xae\x0f\x20\x00\x00\x00\x01\xff" + strings.Repeat("\x00", 23), true, "mysql", "SSLRequest", "MySQL SSLRequest"},
	{"mongodb hello", "\x3b\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x26\x00\x00\x00\x10hello\x00\x01\x00\x00\x00", true, "mongodb", "OP_MSG", "MongoDB OP_MSG"},
	{"mongodb isMaster", "\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00\x04\x00\x00\x00admin.$cmd\x00\x00\x00\x00\x00\xff\xff\xff\xff", true, "mongodb", "OP_QUERY", "MongoDB OP_QUERY"},
	{"mongodb reply", "\x4b\x01\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x27\x01\x00\x00\x08", false, "mongodb", "OP_REPLY", "MongoDB OP_REPLY"},
	{"amqp", "AMQP\x00\x00\x09\x01", true, "amqp", "protocol header", "AMQP protocol header"},
	{"amqp 1.0 sasl", "AMQP\x03\x01\x00\x00", false, "amqp", "protocol header", "AMQP protocol header"},
	{"amqp start", "\x01\x00\x00\x00\x00\x01\xf0\x00\x0a\x00\x0a\x00\x09\x00\x00\x01\xcb", false, "amqp", "Connection.Start", "AMQP Connection.Start"},
	{"amqp close", "\x01\x00\x00\x00\x00\x00\x1c\x00\x0a\x00\x32\x01\x40\x11CONNECTION_FORCED\x00\x00\x00\x00\xce", false, "amqp", "Connection.Close", "AMQP Connection.Close 320"},
	{"mqtt", "\x10\x1a\x00\x04MQTT\x04\x02\x00\x3c\x00\x0eclient", true, "mqtt", "CONNECT", "MQTT CONNECT"},
	{"mqtt 5, long", "\x10\x9a\x02\x00\x04MQTT\x05\x02\x00\x3c", true, "mqtt", "CONNECT", "MQTT CONNECT"},
	{"mqtt refused", "\x20\x02\x00\x05", false, "mqtt", "CONNACK", "MQTT CONNACK 5"},
	{"mqtt 5 accepted", "\x20\x09\x00\x00\x06\x21\x00\x14\x22\x00\x0a", false, "mqtt", "CONNACK", "MQTT CONNACK"},
	{"smb1", "\x00\x00\x00\x9b\xffSMB\x72\x00\x00\x00\x00\x18\x53\xc8", true, "smb", "Negotiate", "SMB Negotiate"},
	{"smb2", "\x00\x00\x00\xd0\xfeSMB\x40\x00\x01\x00\x00\x00\x00\x00\x00\x00\x1f\x00", true, "smb", "Negotiate", "SMB Negotiate"},
	{"netbios", "\x81\x00\x00\x44\x20CKFDENECFDEFFCFGEFFCCACACACACACA\x00", true, "smb", "SessionRequest", "SMB SessionRequest"},
	{"zookeeper", "\x00\x00\x00\x2d" + strings.Repeat("\x00", 14) + "\x75\x30" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x10" + strings.Repeat("\x00", 17), true, "zookeeper", "ConnectRequest", "ZooKeeper ConnectRequest"},
	{"zookeeper answer", "\x00\x00\x00\x25\x00\x00\x00\x00\x00\x00\x75\x30\x01\x00\x00\x5a\x3c\x1e\x00\x00\x00\x00\x00\x10" + strings.Repeat("\xaa", 17), false, "zookeeper", "ConnectResponse", "ZooKeeper ConnectResponse"},
	{"kerberos", "\x00\x00\x00\x8a\x6a\x81\x87\x30\x81\x84\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a", true, "kerberos", "AS-REQ", "Kerberos AS-REQ"},
	{"kerberos error", "\x00\x00\x00\x37\x7e\x35\x30\x33\xa0\x03\x02\x01\x05\xa1\x03\x02\x01\x1e\xa4\x11\x18\x0f20240101000000Z\xa5\x05\x02\x03\x01\x02\x03\xa6\x03\x02\x01\x19\xa9\x03\x1b\x01\x58\xaa", false, "kerberos", "KRB-ERROR", "Kerberos KRB-ERROR 25"},
	{"kafka, librdkafka", "\x00\x00\x00\x24\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07rdkafka\x00\x0blibrdkafka\x062.3.0\x00", true, "kafka", "ApiVersions", "Kafka ApiVersions rdkafka"},
	{"kafka metadata", "\x00\x00\x00\x17\x00\x03\x00\x01\x00\x00\x00\x05\x00\x09console-1\xff\xff\xff\xff", true, "kafka", "Metadata", "Kafka Metadata console-1"},
	{"kafka answer", "\x00\x00\x01\x5e\x00\x00\x00\x01\x00\x00\x00\x00\x00\x37\x00\x00\x00\x00\x00\x09\x00\x01\x00\x00\x00\x0d", false, "kafka", "ApiVersions response", "Kafka ApiVersions response"},
	{"kafka answer 3", "\x00\x00\x01\xb2\x00\x00\x00\x00\x00\x00\x3e\x00\x00\x00\x00\x00\x0a\x00\x00\x01\x00\x00\x00\x10\x00", false, "kafka", "ApiVersions response", "Kafka ApiVersions response"},
	{"stun", "\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl", true, "stun", "Binding request", "STUN Binding request"},
	{"stun in ice", "\x00\x1c\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl", true, "stun", "Binding request", "STUN Binding request"},
	{"uwsgi", "\x00\x4e\x01\x00\x0c\x00QUERY_STRING\x00\x00\x0e\x00REQUEST_METHOD\x03\x00GET", true, "uwsgi", "request", "uwsgi request"},
	{"ldap bind", "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00", true, "ldap", "bindRequest", "LDAP bindRequest"},
	{"ldap of active directory", "\x30\x84\x00\x00\x00\x10\x02\x01\x05\x61\x84\x00\x00\x00\x07\x0a\x01\x31\x04\x00\x04\x00", false, "ldap", "bindResponse", "LDAP bindResponse 49"},
	{"ldap starttls", "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", true, "ldap", "StartTLS", "LDAP StartTLS"},
	{"cassandra", "\x04\x00\x00\x00\x05\x00\x00\x00\x00", true, "cassandra", "OPTIONS", "Cassandra OPTIONS"},
	{"cassandra startup", "\x04\x00\x00\x01\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0", true, "cassandra", "STARTUP", "Cassandra STARTUP"},
	{"cassandra supported", "\x84\x00\x00\x00\x06\x00\x00\x00\x60\x00\x03\x00\x11PROTOCOL_VERSIONS", false, "cassandra", "SUPPORTED", "Cassandra SUPPORTED"},
	{"rdp", "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x0b\x00\x00\x00", true, "rdp", "ConnectionRequest", "RDP ConnectionRequest"},
	{"rdp cookie", "\x03\x00\x00\x2a\x25\xe0\x00\x00\x00\x00\x00Cookie: mstshash=bob\r\n\x01\x00\x08\x00\x03\x00\x00\x00", true, "rdp", "ConnectionRequest", "RDP ConnectionRequest"},
	{"rdp fails", "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x03\x00\x08\x00\x05\x00\x00\x00", false, "rdp", "NegotiationFailure", "RDP NegotiationFailure 5"},
	{"s7 is no rdp", "\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc1\x02\x01\x00\xc2\x02\x01\x02\xc0\x01\x0a", true, "", "", ""},
	{"bgp open", strings.Repeat("\xff", 16) + "\x00\x1d\x01\x04\xfd\xe8\x00\xb4\x0a\x00\x00\x01\x00", true, "bgp", "OPEN", "BGP OPEN"},
	{"bgp notification", strings.Repeat("\xff", 16) + "\x00\x15\x03\x06\x05", false, "bgp", "NOTIFICATION", "BGP NOTIFICATION 6"},
	{"zmtp", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL", true, "zeromq", "greeting", "ZMTP greeting"},
	{"tds", "\x12\x01\x00\x2f\x00\x00\x01\x00\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01\x02\x00\x21\x00\x01", true, "mssql", "PRELOGIN", "TDS PRELOGIN"},
	{"tds answer", "\x04\x01\x00\x2b\x00\x00\x01\x00\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01\x02\x00\x21\x00\x01", false, "mssql", "PRELOGIN", "TDS PRELOGIN"},
	{"tns", "\x00\xf4\x00\x00\x01\x00\x00\x00\x01\x3e\x01\x2c\x00\x00\x20\x00\xff\xff", true, "oracle-tns", "CONNECT", "TNS CONNECT"},
	{"tns resend", "\x00\x08\x00\x00\x0b\x00\x00\x00", false, "oracle-tns", "RESEND", "TNS RESEND"},
	{"tns refuse", "\x00\x41\x00\x00\x04\x00\x00\x00\x22\x00\x00\x35(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR=12514)(ERROR_STACK=", false, "oracle-tns", "REFUSE", "TNS REFUSE 12514"},
	{"ajp", "\x12\x34\x00\xa8\x02\x02\x00\x08HTTP/1.1\x00\x00\x01/", true, "ajp", "request", "AJP request"},
	{"ajp ping", "\x12\x34\x00\x01\x0a", true, "ajp", "CPing", "AJP CPing"},
	{"fastcgi", "\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x04\x00\x01", true, "fastcgi", "BEGIN_REQUEST", "FastCGI BEGIN_REQUEST"},
	{"nfs null call", "\x80\x00\x00\x28\x5e\x1f\x22\x33\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x04\x00\x00\x00\x00", true, "onc-rpc", "call", "ONC RPC call"},
	{"nfs reply", "\x80\x00\x00\x18\x5e\x1f\x22\x33\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", false, "onc-rpc", "reply", "ONC RPC reply"},
	{"socks 5", "\x05\x01\x00", true, "socks", "methods", "SOCKS methods"},
	{"socks 5, curl", "\x05\x02\x00\x02", true, "socks", "methods", "SOCKS methods"},
	{"socks 4", "\x04\x01\x00\x50\x0a\x00\x00\x01bob\x00", true, "socks", "CONNECT", "SOCKS CONNECT"},
	{"socks 4a", "\x04\x01\x00\x50\x00\x00\x00\x01\x00example.org\x00", true, "socks", "CONNECT", "SOCKS CONNECT example.org"},
	{"dns", "\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01", true, "dns", "query", "DNS query example.org"},
	{"dns nxdomain", "\x00\x1d\x12\x34\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01", false, "dns", "response", "DNS response 3 example.org"},
	{"proxy 1", "PROXY TCP4 10.0.0.1 10.0.0.2 40000 80\r\nGET /x HTTP/1.1\r\n", true, "proxy", "header", "PROXY v1 then HTTP GET /x"},
	{"proxy 2", proxySignature + "\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x9c\x40\x00\x50SSH-2.0-Go\r\n", true, "proxy", "header", "PROXY v2 then SSH greeting Go"},

	{"tls alert", "\x15\x03\x01\x00\x02\x02\x46", false, "tls", "Alert", "TLS Alert protocol_version"},
	{"ssl 2 hello", "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80", true, "tls", "ClientHello", "TLS ClientHello"},
	{"hello retry", "\x16\x03\x03\x00\x58\x02\x00\x00\x54\x03\x03" + retryRandom + "\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e", false, "tls", "HelloRetryRequest", "TLS HelloRetryRequest"},

	{"zeroes", strings.Repeat("\x00", 64), true, "", "", ""},
	{"zeroes of a server", strings.Repeat("\x00", 64), false, "", "", ""},
	{"ones", strings.Repeat("\xff", 64), true, "", "", ""},
	{"text", "holdfast lab. holdfast lab. holdfast lab. ", true, "", "", ""},
	{"capitals", "GET ME OUT OF HERE", true, "", "", ""},
	{"digits", "1234567890 1234567890", false, "", "", ""},
}

func TestIdentify(t *testing.T) {
	for _, k := range spoken {
		t.Run(k.name, func(t *testing.T) {
			s := Identify([]byte(k.bytes), k.client)
			if s.Protocol != k.protocol || s.Kind != k.message {
				t.Errorf("got %q %q, want %q %q", s.Protocol, s.Kind, k.protocol, k.message)
			}
			if s.String() != k.text {
				t.Errorf("String: got %q, want %q", s.String(), k.text)
			}
			if s.Protocol != "" && protocolNames[s.Protocol] == "" {
				t.Errorf("protocol %q has no name", s.Protocol)
			}
			steadyMind(t, []byte(k.bytes))
		})
	}
}

// steadyMind fails unless what is heard only becomes more exact as bytes come,
// with either role.
func steadyMind(t *testing.T, b []byte) {
	t.Helper()
	for _, client := range []bool{true, false} {
		heard := ""
		for n := range len(b) + 1 {
			s := Identify(b[:n:n], client)
			if heard != "" && s.Protocol != heard {
				t.Fatalf("client %v: after %d bytes of %q %q became %q", client, n, b, heard, s.Protocol)
			}
			heard = s.Protocol
			checkMessage(t, s)
		}
	}
}

func checkMessage(t *testing.T, s Message) {
	t.Helper()
	checkText(t, s.String())
	if len(s.Name) > 255 || len(s.Target) > 64 || s.Code < 0 {
		t.Fatalf("%+v is out of bounds", s)
	}
}

func checkText(t *testing.T, text string) {
	t.Helper()
	if len(text) > ladderWidth || !allPrintable([]byte(text)) {
		t.Fatalf("%q does not fit a ladder", text)
	}
}

func TestSignaturesInOrder(t *testing.T) {
	for i, p := range signatures {
		if p.more == nil && p.message == "" || p.protocol != "" && protocolNames[p.protocol] == "" {
			t.Errorf("signature %q of %q is incomplete", p.start, p.protocol)
		}
		for _, q := range signatures[:i] {
			if q.more == nil && q.by&p.by != 0 && strings.HasPrefix(p.start, q.start) {
				t.Errorf("signature %q is hidden by %q", p.start, q.start)
			}
		}
	}
	for _, p := range innerSignatures {
		if p.protocol != "" && protocolNames[p.protocol] == "" {
			t.Errorf("inner signature of %q has no name", p.protocol)
		}
	}
	heard := map[string]bool{"tls": true}
	for _, k := range spoken {
		heard[k.protocol] = true
	}
	for protocol := range protocolNames {
		if !heard[protocol] {
			t.Errorf("no test speaks %s", protocol)
		}
	}
}

// hello returns what a TLS client of the standard library says first.
func hello(t *testing.T, c *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Client(near, c).Handshake() }()
	b := make([]byte, 4096)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	if <-done == nil {
		t.Fatal("the handshake went on without a server")
	}
	return b[:n]
}

func TestClientHello(t *testing.T) {
	b := hello(t, &tls.Config{ServerName: "www.example.org"})
	s := Identify(b, true)
	if want := (Message{Protocol: "tls", Kind: "ClientHello", Name: "www.example.org", Version: "1.3"}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if got := SegmentInfo(b, true, true); got != "TLS ClientHello www.example.org" {
		t.Errorf("SegmentInfo: %q", got)
	}
	steadyMind(t, b)
	for n := range b {
		if s := Identify(b[:n], true); s.Name != "" && s.Name != "www.example.org" || s.Version != "" && s.Version != "1.3" {
			t.Fatalf("cut after %d bytes: %+v", n, s)
		}
	}
	s = Identify(hello(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}), true)
	if s.Version != "1.2" || s.Name != "" {
		t.Errorf("TLS 1.2 without SNI: %+v", s)
	}
	s = Identify(hello(t, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), true)
	if s.Version != "1.1" {
		t.Errorf("TLS 1.1: %+v", s)
	}
}

func TestServerHello(t *testing.T) {
	random := strings.Repeat("r", 32)
	message := func(extensions string) []byte {
		body := "\x03\x03" + random + "\x00\x13\x01\x00" + extensions
		return []byte("\x16\x03\x03\x00" + string(rune(len(body)+4)) + "\x02\x00\x00" + string(rune(len(body))) + body)
	}
	for _, k := range []struct{ extensions, version string }{
		{"\x00\x06\x00\x2b\x00\x02\x03\x04", "1.3"},
		{"\x00\x05\xff\x01\x00\x01\x00", "1.2"},
		{"", "1.2"},
	} {
		b := message(k.extensions)
		if s := Identify(b, false); s.Version != k.version || s.Kind != "ServerHello" {
			t.Errorf("extensions %q: %+v", k.extensions, s)
		}
		steadyMind(t, b)
		if s := Identify(b[:40], false); s.Version != "" {
			t.Errorf("the version of a cut message is %q", s.Version)
		}
	}
}

// tap notes what is written to a connection.
type tap struct {
	net.Conn
	wrote [][]byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.wrote = append(c.wrote, slices.Clone(b))
	return c.Conn.Write(b)
}

// talk lets two ends of TLS shake hands, and say goodbye when that worked. It
// returns what each wrote.
func talk(t *testing.T, client, server *tls.Config) (c, s [][]byte) {
	t.Helper()
	near, far := net.Pipe()
	clientTap, serverTap := &tap{Conn: near}, &tap{Conn: far}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		conn := tls.Server(serverTap, server)
		if conn.Handshake() == nil {
			io.Copy(io.Discard, conn)
		}
	}()
	conn := tls.Client(clientTap, client)
	if err := conn.Handshake(); err == nil {
		conn.Write([]byte("ping"))
		conn.Close()
	}
	near.Close()
	<-done
	return clientTap.wrote, serverTap.wrote
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestRefusedHandshake(t *testing.T) {
	server := &tls.Config{MaxVersion: tls.VersionTLS12, SessionTicketsDisabled: true}
	client := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	_, s := talk(t, client, server)
	if len(s) != 1 {
		t.Fatalf("the server wrote %d times", len(s))
	}
	if got := Identify(s[0], false); got.Kind != "Alert" || got.Code != 70 {
		t.Errorf("got %+v", got)
	}
	level, description, _, encrypted, ok := Alert(s[0])
	if level != "fatal" || description != "protocol_version" || encrypted || !ok {
		t.Errorf("Alert: %q %q %v %v", level, description, encrypted, ok)
	}
}

// keptOfTail is how much package tcp keeps of the latest data of a side (tcp.TailBytes).
const keptOfTail = 25

func TestGoodbyes(t *testing.T) {
	cert := certificate(t)
	client := func(version uint16) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, MaxVersion: version, ServerName: "a.example"}
	}
	server := &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}

	c, s := talk(t, client(tls.VersionTLS13), server)
	if got := Identify(s[0], false); got.Kind != "ServerHello" || got.Version != "1.3" {
		t.Errorf("1.3: server says %+v", got)
	}
	last := c[len(c)-1]
	if !CloseNotifyLike(last[:min(len(last), keptOfTail)], len(last)) {
		t.Errorf("1.3: %d bytes of close_notify were not recognised", len(last))
	}
	if got := SegmentInfo(c[len(c)-2], true, false); got != "TLS ApplicationData 21 B, perhaps an alert" {
		t.Errorf("1.3: ping is %q", got)
	}

	c, s = talk(t, client(tls.VersionTLS12), server)
	if got := Identify(s[0], false); got.Kind != "ServerHello" || got.Version != "1.2" {
		t.Errorf("1.2: server says %+v", got)
	}
	last = c[len(c)-1]
	if _, _, _, encrypted, ok := Alert(last[:min(len(last), keptOfTail)]); !encrypted || !ok {
		t.Errorf("1.2: close_notify %q was not recognised", last)
	}
	if got := SegmentInfo(last, true, false); got != "TLS Alert (encrypted)" {
		t.Errorf("1.2: close_notify is %q", got)
	}
	for _, b := range slices.Concat(c, s) {
		if SegmentInfo(b, true, false) == "" {
			t.Errorf("%d bytes of TLS were not recognised", len(b))
		}
		steadyMind(t, b[:min(len(b), 200)])
	}
}

func TestAlert(t *testing.T) {
	type answer struct {
		level, description string
		number             int
		encrypted, ok      bool
	}
	for _, k := range []struct {
		bytes string
		want  answer
	}{
		{"\x15\x03\x03\x00\x02\x02\x28", answer{"fatal", "handshake_failure", 40, false, true}},
		{"\x15\x03\x01\x00\x02\x01\x00", answer{"warning", "close_notify", 0, false, true}},
		{"\x15\x03\x03\x00\x02\x02\xfe", answer{"fatal", "alert 254", 254, false, true}},
		{"\x14\x03\x03\x00\x01\x01\x15\x03\x03\x00\x02\x02\x0a", answer{"fatal", "unexpected_message", 10, false, true}},
		{"\x15\x03\x03\x00\x1a\x00\x00\x00\x00\x00\x00\x00\x01\xaa", answer{"", "", 0, true, true}},
		{"\x17\x03\x03\x00\x03abc\x15\x03\x03\x00\x12", answer{"", "", 0, true, true}},
		{"\x15\x03\x03\x00\x02\x02", answer{}},             // cut
		{"\x15\x03\x03\x00\x02\x03\x28", answer{}},         // no such level
		{"\x15\x03\x03\x00\x05\x02\x28\x00\x00", answer{}}, // neither plain nor encrypted
		{"\x17\x03\x03\x01\x00abc", answer{}},
		{"HTTP/1.1 400", answer{}},
		{"", answer{}},
	} {
		var got answer
		got.level, got.description, got.number, got.encrypted, got.ok = Alert([]byte(k.bytes))
		if got != k.want {
			t.Errorf("%q: got %+v, want %+v", k.bytes, got, k.want)
		}
	}
}

func TestCloseNotifyLike(t *testing.T) {
	for _, k := range []struct {
		bytes string
		size  int
		want  bool
	}{
		{"\x17\x03\x03\x00\x13\xaa\xbb", 24, true},
		{"\x17\x03\x03\x00\x18\xaa\xbb", 29, true},
		{"\x17\x03\x03\x00\x10\xaa\xbb", 21, false},
		{"\x17\x03\x03\x00\x19\xaa\xbb", 30, false},
		{"\x17\x03\x03\x00\x13\xaa\xbb", 48, false}, // more follows
		{"\x15\x03\x03\x00\x13\xaa\xbb", 24, false},
		{"\x17\x03\x03", 24, false},
	} {
		if got := CloseNotifyLike([]byte(k.bytes), k.size); got != k.want {
			t.Errorf("%q, %d bytes: got %v", k.bytes, k.size, got)
		}
	}
}

func TestMismatch(t *testing.T) {
	const (
		clientHello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
		serverHello = "\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"
		alert       = "\x15\x03\x03\x00\x02\x02\x46"
		get         = "GET / HTTP/1.1\r\n"
		bad         = "HTTP/1.1 400 Bad Request\r\n"
		settings    = "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80"
	)
	for _, k := range []struct{ client, server, want string }{
		{clientHello, bad, "tls-to-plaintext"},
		{clientHello, "SSH-2.0-OpenSSH_9.2\r\n", "tls-to-plaintext"},
		{clientHello, "220 ready\r\n", "tls-to-plaintext"},
		{clientHello, "<html>\r\n<head><title>400", "tls-to-plaintext"},
		{clientHello, serverHello, ""},
		{clientHello, alert, ""},
		{clientHello, "", ""},
		{clientHello, "\x7f\x01\x02", ""},
		{get, alert, "plaintext-to-tls"},
		{get, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", "plaintext-to-tls"},
		{"*1\r\n$4\r\nPING\r\n", alert, "plaintext-to-tls"},
		{"\x00\x01\x02unknown", alert, "plaintext-to-tls"},
		{"\x16unknown", alert, ""},
		{"", alert, ""},
		{"\x00\x01\x02unknown", serverHello, ""},
		{http2Preface, bad, "http2-to-http1"},
		{http2Preface, settings, ""},
		{get, settings, "http1-to-http2"},
		{get, bad, ""},
		{get, "-ERR wrong number of arguments for 'get' command\r\n", "wrong-service"},
		{get, "SSH-2.0-OpenSSH_9.2\r\n", "wrong-service"},
		{"EHLO a\r\n", "220 (vsFTPd 3.0.3)\r\n", "wrong-service"},
		{"EHLO a\r\n", "220 ready\r\n", ""},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n" + clientHello, "\x15\x03\x03\x00\x02\x02\x0a", "proxy-protocol"},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n" + clientHello, alert, ""}, // of what follows, perhaps
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n" + get, alert, "plaintext-to-tls"},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", "-ERR unknown command 'PROXY'\r\n", "proxy-protocol"},
		{proxySignature + "\x21", bad, "proxy-protocol"},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n" + get, bad, "proxy-protocol"},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n" + clientHello, serverHello, ""},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n" + get, "HTTP/1.1 200 OK\r\n", ""},
		{"abc", "def", ""},
	} {
		got := Mismatch(Identify([]byte(k.client), true), Identify([]byte(k.server), false), []byte(k.client))
		if got != k.want {
			t.Errorf("%q, %q: got %q, want %q", k.client, k.server, got, k.want)
		}
	}
}

func TestSegmentInfo(t *testing.T) {
	data := "\x17\x03\x03\x04\xd2" + strings.Repeat("d", 1234)
	for _, k := range []struct {
		bytes         string
		client, first bool
		want          string
	}{
		{data, true, false, "TLS ApplicationData 1,234 B"},
		{data[:100], true, false, "TLS ApplicationData 1,234 B"},
		{data + data, true, false, "TLS ApplicationData 2,468 B"},
		{data[5:], true, false, ""},
		{"\x17\x03\x03\x00\x13" + strings.Repeat("d", 19), false, false, "TLS ApplicationData 19 B, perhaps an alert"},
		{"\x15\x03\x03\x00\x02\x01\x00", false, false, "TLS Alert close_notify"},
		{"\x15\x03\x03\x00\x02\x02\x28", false, true, "TLS Alert fatal handshake_failure"},
		{"\x15\x03\x03\x00\x1a" + strings.Repeat("e", 26), false, false, "TLS Alert (encrypted)"},
		{"\x14\x03\x03\x00\x01\x01\x16\x03\x03\x00\x28" + strings.Repeat("\x00", 40), true, false, "TLS ChangeCipherSpec, Handshake 40 B"},
		{"\x16\x03\x03\x00\x08\x0c\x00\x00\x00\x0e\x00\x00\x00", false, false, "TLS ServerKeyExchange, ServerHelloDone"},
		{"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n\r\n", false, false, "HTTP 502 nginx"},
		{"POST /api/v1/orders HTTP/1.1\r\n", true, false, "HTTP POST /api/v1/orders"},
		{http2Preface + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x0f\x00\x01", true, true, "HTTP/2 preface, SETTINGS, WINDOW_UPDATE"},
		{"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x0b", false, false, "HTTP/2 GOAWAY ENHANCE_YOUR_CALM last 5"},
		{"\x00\x00\x04\x03\x00\x00\x00\x00\x03\x00\x00\x00\x08", true, false, "HTTP/2 RST_STREAM 3 CANCEL"},
		{"\x00\x00\x04\x03\x00\x00\x00\x00\x03\x00\x00\x01\x08", true, false, "HTTP/2 RST_STREAM 3 error 264"},
		{"\x00\x00\x05\x01\x04\x00\x00\x00\x01\x82\x86\x84\x41\x8a\x00\x04\x00\x00\x01\x00\x00\x00\x01data", true, false, "HTTP/2 HEADERS 1, DATA 1 1,024 B"},
		{"\x00\x00\x05\x00\x01\x00\x00\x00\x01hello", true, false, "HTTP/2 DATA 1 5 B"},
		{"\x00\x00\x0b\x01\x04\x00\x00\x00\x01\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64", true, false, "HTTP/2 HEADERS 1 gRPC"},
		{"\x00\x00\x05\x00\x01\x00\x00\x00\x01hello!", true, false, ""},
		{"\x00\x00\x06\x01\x04\x00\x00\x00\x01\x82\x86\x84\x41\x8a", true, false, ""},
		{"X\x00\x00\x00\x04", true, false, "PostgreSQL Terminate"},
		{"\x01\x00\x00\x00\x01", true, false, "MySQL COM_QUIT"},
		{"\x30\x05\x02\x01\x03\x42\x00", true, false, "LDAP unbindRequest"},
		{"\x88\x02\x03\xe9", false, false, "WebSocket close 1001"},
		{"\x88\x82\x11\x22\x33\x44\x12\xca", true, false, "WebSocket close 1000"},
		{"\x88\x82\x11\x22\x33\x44\xff\xff", true, false, ""},
		{"E\x00\x00\x00\x50SFATAL\x00VFATAL\x00C57P01\x00Mterminating connection", false, false, "PostgreSQL ErrorResponse 57P01"},
		{"421 4.4.2 mail Error: timeout exceeded\r\n", false, false, "SMTP 421 4.4.2 mail Error: timeout exceeded"},
		{"221 2.0.0 Bye\r\n", false, false, ""},
		{"\x05\x01\x00", true, false, ""},
		{"\x05\x01\x00", true, true, "SOCKS methods"},
		{"holdfast", true, true, ""},
		{"", true, true, ""},
	} {
		got := SegmentInfo([]byte(k.bytes), k.client, k.first)
		if got != k.want {
			t.Errorf("%.40q: got %q, want %q", k.bytes, got, k.want)
		}
		for n := range min(len(k.bytes), 200) {
			checkText(t, SegmentInfo([]byte(k.bytes[:n]), k.client, k.first))
		}
	}
}

// TestIdentifyAllocates nothing unless it returns text of the peer.
func TestIdentifyAllocates(t *testing.T) {
	for _, text := range []string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 200 OK\r\n", "*1\r\n$4\r\nPING\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "holdfast lab. holdfast lab."} {
		b := []byte(text)
		if n := testing.AllocsPerRun(100, func() { Identify(b, true); Identify(b, false) }); n != 0 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	for _, k := range []struct{ name, bytes string }{
		{"tls", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 53)},
		{"status", "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnecti"},
		{"unknown", "holdfast lab. holdfast lab. holdfast lab. holdfast lab. holdfast"},
		{"zeroes", strings.Repeat("\x00", 64)},
	} {
		b.Run(k.name, func(b *testing.B) {
			first := []byte(k.bytes)
			b.ReportAllocs()
			for b.Loop() {
				Identify(first, false)
			}
		})
	}
}

func FuzzIdentify(f *testing.F) {
	for _, k := range spoken {
		f.Add([]byte(k.bytes), k.client)
	}
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		b = b[:min(len(b), 512)]
		steadyMind(t, b)
		checkText(t, SegmentInfo(b, client, true))
		checkText(t, SegmentInfo(b, client, false))
		Alert(b)
		CloseNotifyLike(b, len(b))
		Mismatch(Identify(b, true), Identify(b, false), b)
	})
}
