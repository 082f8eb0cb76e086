package proto

// signatures is the table of ways to begin. A longer start stands before a shorter
// one of another protocol. Sources stand at the functions, or here where the
// start alone is proof.
var signatures = []signature{
	// TLS, RFC 8446 5.1 and RFC 5246 E.2.
	{"\x16\x03", byBoth, "tls", "", tlsHandshakeStart},
	{"\x15\x03", byBoth, "tls", "Alert", tlsAlertStart},
	{"\x14\x03", byBoth, "tls", "ChangeCipherSpec", tlsCCSStart},
	{"\x17\x03", byBoth, "tls", "ApplicationData", tlsDataStart},
	{"\x80", byClient, "tls", "ClientHello", ssl2Hello},

	// HTTP/1, RFC 9110 9 and RFC 4918; RTSP, RFC 7826 13; SIP, RFC 3261 7.1.
	{"CONNECT {", byClient, "nats", "CONNECT", nil}, // https://docs.nats.io/reference/reference-protocols/nats-protocol
	{"INFO {", byServer, "nats", "INFO", natsInfo},
	{"GET ", byClient, "http/1", "GET", request},
	{"POST ", byClient, "http/1", "POST", request},
	{"HEAD ", byClient, "http/1", "HEAD", request},
	{"PUT ", byClient, "http/1", "PUT", request},
	{"DELETE ", byClient, "http/1", "DELETE", request},
	{"OPTIONS ", byClient, "http/1", "OPTIONS", request},
	{"PATCH ", byClient, "http/1", "PATCH", request},
	{"TRACE ", byClient, "http/1", "TRACE", request},
	{"CONNECT ", byClient, "http/1", "CONNECT", request},
	{"PROPFIND ", byClient, "http/1", "PROPFIND", request},
	{"PROPPATCH ", byClient, "http/1", "PROPPATCH", request},
	{"MKCOL ", byClient, "http/1", "MKCOL", request},
	{"COPY ", byClient, "http/1", "COPY", request},
	{"MOVE ", byClient, "http/1", "MOVE", request},
	{"LOCK ", byClient, "http/1", "LOCK", request},
	{"UNLOCK ", byClient, "http/1", "UNLOCK", request},
	{"REPORT ", byClient, "http/1", "REPORT", request},
	{"DESCRIBE ", byClient, "rtsp", "DESCRIBE", request},
	{"SETUP ", byClient, "rtsp", "SETUP", request},
	{"PLAY ", byClient, "rtsp", "PLAY", request},
	{"PAUSE ", byClient, "rtsp", "PAUSE", request},
	{"TEARDOWN ", byClient, "rtsp", "TEARDOWN", request},
	{"ANNOUNCE ", byClient, "rtsp", "ANNOUNCE", request},
	{"RECORD ", byClient, "rtsp", "RECORD", request},
	{"GET_PARAMETER ", byClient, "rtsp", "GET_PARAMETER", request},
	{"SET_PARAMETER ", byClient, "rtsp", "SET_PARAMETER", request},
	{"INVITE ", byBoth, "sip", "INVITE", request},
	{"REGISTER ", byBoth, "sip", "REGISTER", request},
	{"SUBSCRIBE ", byBoth, "sip", "SUBSCRIBE", request},
	{"NOTIFY ", byBoth, "sip", "NOTIFY", request},
	{"MESSAGE ", byBoth, "sip", "MESSAGE", request},
	{"PUBLISH ", byBoth, "sip", "PUBLISH", request},
	{"BYE ", byBoth, "sip", "BYE", request},
	{"HTTP/1.", byServer, "http/1", "response", statusLine},
	{"RTSP/1.", byServer, "rtsp", "response", statusLine},
	{"RTSP/2.", byServer, "rtsp", "response", statusLine},
	{"SIP/2.", byBoth, "sip", "response", statusLine},
	{"<html>", byServer, "http/1", "HTML", bareHTML}, // HTTP/0.9: what old servers answer to a bad request line
	{"<HTML>", byServer, "http/1", "HTML", bareHTML},
	{"<!DOCTYPE html", byServer, "http/1", "HTML", bareHTML},
	{"<!DOCTYPE HTML", byServer, "http/1", "HTML", bareHTML},

	// HTTP/2, RFC 9113 3.4; what the server says is an inner signature.
	{"PRI * HTTP/2.0", byClient, "http/2", "preface", nil},

	// PROXY protocol, haproxy.org/download/3.0/doc/proxy-protocol.txt 2.1 and 2.2.
	{"PROXY TCP4 ", byClient, "proxy", "header", proxyV1},
	{"PROXY TCP6 ", byClient, "proxy", "header", proxyV1},
	{"PROXY UNKNOWN", byClient, "proxy", "header", proxyV1},
	{proxySignature, byClient, "proxy", "header", proxyV2},

	// SSH, RFC 4253 4.2. RFB, RFC 6143 7.1.1. Telnet, RFC 854.
	{"SSH-", byBoth, "ssh", "greeting", sshBanner},
	{"RFB 00", byBoth, "vnc", "greeting", rfbVersion},
	{"\xff", byBoth, "telnet", "negotiation", telnetOptions},

	// SMTP, RFC 5321 4.1.1.1; FTP, RFC 959 and RFC 4217; POP3, RFC 1939 and
	// RFC 2449; IMAP, RFC 9051 7.1. Replies of digits are inner signatures.
	{"EHLO ", byClient, "smtp", "EHLO", restOfLine},
	{"HELO ", byClient, "smtp", "HELO", restOfLine},
	{"ehlo ", byClient, "smtp", "EHLO", restOfLine},
	{"helo ", byClient, "smtp", "HELO", restOfLine},
	{"AUTH TLS\r\n", byClient, "ftp", "AUTH TLS", nil},
	{"AUTH SSL\r\n", byClient, "ftp", "AUTH SSL", nil},
	{"FEAT\r\n", byClient, "ftp", "FEAT", nil},
	{"CAPA\r\n", byClient, "pop3", "CAPA", nil},
	{"STLS\r\n", byClient, "pop3", "STLS", nil},
	{"+OK ", byServer, "pop3", "greeting", restOfLine},
	{"+OK\r\n", byServer, "", "+OK", nil}, // POP3, Redis or NATS
	{"* OK ", byServer, "imap", "greeting", restOfLine},
	{"* PREAUTH ", byServer, "imap", "greeting", restOfLine},
	{"* BYE ", byServer, "imap", "BYE", restOfLine},

	// Redis, https://redis.io/docs/latest/develop/reference/protocol-spec/.
	{"*", byBoth, "redis", "command", respArray},
	{"$", byServer, "redis", "reply", respReply},
	{"%", byServer, "redis", "reply", respReply},
	{":", byServer, "redis", "reply", respReply},
	{"+PONG\r\n", byServer, "redis", "PONG", nil},
	{"+QUEUED\r\n", byServer, "redis", "QUEUED", nil},
	{"-NOAUTH ", byServer, "redis", "NOAUTH", nil},
	{"-WRONGPASS ", byServer, "redis", "WRONGPASS", nil},
	{"-NOPERM ", byServer, "redis", "NOPERM", nil},
	{"-DENIED Redis", byServer, "redis", "DENIED", nil},
	{"-LOADING Redis", byServer, "redis", "LOADING", nil},
	{"-MOVED ", byServer, "redis", "MOVED", nil},
	{"-READONLY ", byServer, "redis", "READONLY", nil},
	{"-CLUSTERDOWN ", byServer, "redis", "CLUSTERDOWN", nil},
	{"-MASTERDOWN ", byServer, "redis", "MASTERDOWN", nil},
	{"-MISCONF ", byServer, "redis", "MISCONF", nil},
	{"-NOPROTO ", byServer, "redis", "NOPROTO", nil},
	{"-OOM ", byServer, "redis", "OOM", nil},
	{"-ERR unknown command", byServer, "redis", "ERR", nil},
	{"-ERR wrong number of arguments", byServer, "redis", "ERR", nil},
	{"-ERR max number of clients", byServer, "redis", "ERR", nil},
	{"-ERR Protocol error", byServer, "redis", "ERR", nil},
	{"-ERR '", byServer, "nats", "-ERR", nil},
	{"-ERR ", byServer, "", "-ERR", nil}, // POP3 or Redis

	// memcached, doc/protocol.txt and doc/protocol-binary.txt of its source.
	{"get ", byClient, "memcached", "get", memcachedGet},
	{"gets ", byClient, "memcached", "gets", memcachedGet},
	{"set ", byClient, "memcached", "set", memcachedSet},
	{"add ", byClient, "memcached", "add", memcachedSet},
	{"stats\r\n", byClient, "memcached", "stats", nil},
	{"version\r\n", byClient, "memcached", "version", nil},
	{"STAT pid ", byServer, "memcached", "STAT", nil},
	{"STORED\r\n", byServer, "memcached", "STORED", nil},
	{"NOT_STORED\r\n", byServer, "memcached", "NOT_STORED", nil},
	{"VERSION 1.", byServer, "memcached", "VERSION", nil},
	{"VALUE ", byServer, "memcached", "VALUE", memcachedSet},
	{"\x80", byClient, "memcached", "request", memcachedBinary},
	{"\x81", byServer, "memcached", "response", memcachedBinary},

	// IRC, RFC 2812 3.1 and https://ircv3.net. XMPP, RFC 6120 4.2.
	{"NICK ", byClient, "irc", "NICK", nil},
	{"CAP LS\r\n", byClient, "irc", "CAP", nil},
	{"CAP LS 30", byClient, "irc", "CAP", nil},
	{"NOTICE AUTH :", byServer, "irc", "NOTICE", nil},
	{"ERROR :Closing Link", byServer, "irc", "ERROR", nil},
	{":", byServer, "irc", "NOTICE", ircPrefix},
	{"<stream:stream ", byBoth, "xmpp", "stream", nil},
	{"<?xml ", byBoth, "xmpp", "stream", xmppStream},

	// BitTorrent, BEP 3. Gnutella, http://rfc-gnutella.sourceforge.net. rsync,
	// clientserver.c. git, gitprotocol-pack(5).
	{"\x13BitTorrent protocol", byBoth, "bittorrent", "handshake", nil},
	{"GNUTELLA CONNECT/0.", byClient, "gnutella", "CONNECT", nil},
	{"GNUTELLA/0.", byBoth, "gnutella", "response", nil},
	{"@RSYNCD: ", byBoth, "rsync", "greeting", nil},
	{"00", byClient, "git", "", gitRequest},

	// PostgreSQL, https://www.postgresql.org/docs/current/protocol-message-formats.html.
	{"\x00\x00\x00\x08\x04\xd2\x16\x2f", byClient, "postgresql", "SSLRequest", nil},
	{"\x00\x00\x00\x08\x04\xd2\x16\x30", byClient, "postgresql", "GSSENCRequest", nil},
	{"\x00\x00\x00\x10\x04\xd2\x16\x2e", byClient, "postgresql", "CancelRequest", nil},
	{"S\x16\x03", byServer, "postgresql", "SSL accepted", nil},
	{"R\x00\x00\x00", byServer, "postgresql", "Authentication", postgresAuth},
	{"E\x00\x00", byServer, "postgresql", "ErrorResponse", postgresError},

	// AMQP 0-9-1 4.2.2 and AMQP 1.0 2.2.
	{"AMQP\x00\x00\x09", byBoth, "amqp", "protocol header", amqpHeader},
	{"AMQP\x00\x01\x00\x00", byBoth, "amqp", "protocol header", amqpHeader},
	{"AMQP\x02\x01\x00\x00", byBoth, "amqp", "protocol header", amqpHeader},
	{"AMQP\x03\x01\x00\x00", byBoth, "amqp", "protocol header", amqpHeader},
	{"AMQP\x01\x01", byBoth, "amqp", "protocol header", amqpHeader},
	{"\x01\x00\x00", byBoth, "amqp", "", amqpMethod},

	// MQTT, MQTT 3.1.1 and 5.0, sections 3.1 and 3.2.
	{"\x10", byClient, "mqtt", "CONNECT", mqttConnect},
	{"\x20", byServer, "mqtt", "CONNACK", mqttConnack},

	// SMB, MS-CIFS 2.2.3.1, MS-SMB2 2.1; NetBIOS session service, RFC 1002 4.3.
	{"\x81\x00\x00\x44\x20", byClient, "smb", "SessionRequest", nil},
	{"\x83\x00\x00\x01", byServer, "smb", "NegativeSessionResponse", nil},

	// Others with a constant start.
	{"ruok", byClient, "zookeeper", "ruok", nil}, // ZooKeeper administrator's guide, four letter words
	{"imok", byServer, "zookeeper", "imok", nil},
	{"\x30", byBoth, "ldap", "", ldapMessage},
	{"\x03", byClient, "cassandra", "", cassandraFrame},
	{"\x04", byClient, "cassandra", "", cassandraFrame},
	{"\x05", byClient, "cassandra", "", cassandraFrame},
	{"\x83", byServer, "cassandra", "", cassandraFrame},
	{"\x84", byServer, "cassandra", "", cassandraFrame},
	{"\x85", byServer, "cassandra", "", cassandraFrame},
	{"\x03\x00", byBoth, "rdp", "", rdpConnection},
	{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", byBoth, "bgp", "", bgpMessage},
	{"\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f", byBoth, "zeromq", "greeting", nil}, // ZMTP 3.1, rfc.zeromq.org/spec/37
	{"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f", byBoth, "zeromq", "greeting", nil},
	{"\x12\x01", byClient, "mssql", "PRELOGIN", tdsPrelogin},
	{"\x04\x01", byServer, "mssql", "PRELOGIN", tdsPrelogin},
	{"\x10\x01", byClient, "mssql", "LOGIN7", tdsLogin},
	{"\x12\x34", byClient, "ajp", "request", ajpRequest},
	{"\x01\x01", byClient, "fastcgi", "BEGIN_REQUEST", fastcgiBegin},
	{"\x80", byBoth, "onc-rpc", "", oncRPC},

	// SOCKS, RFC 1928 3: the lists of methods that clients offer.
	{"\x05\x01\x00", byClient, "socks", "methods", socks5},
	{"\x05\x01\x02", byClient, "socks", "methods", socks5},
	{"\x05\x02\x00\x01", byClient, "socks", "methods", socks5},
	{"\x05\x02\x00\x02", byClient, "socks", "methods", socks5},
	{"\x05\x02\x02\x00", byClient, "socks", "methods", socks5},
	{"\x05\x03\x00\x01\x02", byClient, "socks", "methods", socks5},
	{"\x05\x03\x00\x02\x01", byClient, "socks", "methods", socks5},
	{"\x05\x04\x00\x01\x02", byClient, "socks", "methods", socks5},
	{"\x04\x01", byClient, "socks", "CONNECT", socks4},
}

// innerSignatures is the table of ways to begin without a constant start, or with one
// that is too common: it says what is constant elsewhere, to look closer only
// then.
var innerSignatures = []inner{
	{3, " ", signature{"", byServer, "", "", textReply}},
	{3, "-", signature{"", byServer, "", "", textReply}},
	{3, "\x04\x00\x00\x00\x00\x00", signature{"\x00\x00", byServer, "http/2", "SETTINGS", http2Settings}},
	{4, "\x00\x03\x00", signature{"\x00\x00", byClient, "postgresql", "StartupMessage", postgresStartup}},
	{5, "SMB", signature{"\x00", byBoth, "smb", "", smbMessage}},
	{4, "\x00\x00\x00\x00", signature{"\x00\x00\x00", byBoth, "zookeeper", "", zookeeperConnect}},
	{0, "\x00\x00", signature{"", byBoth, "kerberos", "", kerberosMessage}},
	{8, "\x00\x00", signature{"\x00", byClient, "kafka", "", kafkaRequest}},
	{4, "\x00\x00", signature{"\x00\x00", byServer, "kafka", "ApiVersions response", kafkaVersions}},
	{4, "\x21\x12\xa4\x42", signature{"", byBoth, "stun", "", stunMessage}},
	{6, "\x21\x12\xa4\x42", signature{"", byBoth, "stun", "", stunMessage}},
	{3, "\x00", signature{"\x00", byClient, "uwsgi", "request", uwsgiRequest}},
	{1, "\x00\x00\x00\x0a", signature{"", byServer, "mysql", "greeting", mysqlGreeting}},
	{4, "\xff", signature{"", byServer, "mysql", "ERR", mysqlError}},
	{2, "\x00\x01", signature{"", byClient, "mysql", "HandshakeResponse", mysqlLogin}},
	{13, "\x07\x00\x00", signature{"", byBoth, "mongodb", "", mongoMessage}},
	{12, "\x01\x00\x00\x00", signature{"", byServer, "mongodb", "", mongoMessage}},
	{6, "\x00\x01", signature{"", byClient, "dns", "query", dnsMessage}},
	{6, "\x00\x01", signature{"", byServer, "dns", "response", dnsMessage}},
	{2, "\x00\x00", signature{"", byBoth, "oracle-tns", "", tnsPacket}},
	{0, "", signature{"", byClient, "imap", "", imapCommand}},
}
