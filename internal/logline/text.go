package logline

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine bounds what is read of one line.
const maxLine = 64 << 10

var (
	colours = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\\\\e\\[[0-9;]*m|\\\\x1b\\[[0-9;]*m|\\\\033\\[[0-9;]*m")
	escape  = regexp.MustCompile(`\\u00(3c|3e|26|27|22|2f)`)
	query   = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)
)

// plainSigns are what word processors and translations make of signs.
var plainSigns = strings.NewReplacer("\u2019", "'", "\u2018", "'", "\u00a0", " ", "\u202f", " ", "\u2026", "...")

var escapes = map[string]string{"3c": "<", "3e": ">", "26": "&", "27": "'", "22": `"`, "2f": "/"}

// normal decodes what terminals, JSON and pasting did to a line, and takes the
// queries out of URLs: what they contain is no error.
func normal(line string) string {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "?")
	}
	if strings.Contains(line, "\xe2\x80") || strings.Contains(line, "\xc2\xa0") {
		line = plainSigns.Replace(line)
	}
	if strings.ContainsAny(line, "\x1b\\") {
		line = colours.ReplaceAllString(line, "")
		line = escape.ReplaceAllStringFunc(line, func(s string) string { return escapes[strings.ToLower(s[4:])] })
	}
	if i := strings.IndexByte(line, '{'); i >= 0 && i < 200 {
		if more := jsonText(line[i:]); more != "" {
			line += " | " + more
		}
	}
	if strings.Contains(line, "://") {
		line = query.ReplaceAllString(line, "$1")
	}
	return strings.TrimSpace(line)
}

// jsonText joins the strings of a JSON object.
func jsonText(s string) string {
	var v any
	if json.NewDecoder(strings.NewReader(s)).Decode(&v) != nil {
		return ""
	}
	var parts []string
	var walk func(v any, depth int)
	walk = func(v any, depth int) {
		if depth > 8 || len(parts) > 200 {
			return
		}
		switch v := v.(type) {
		case string:
			parts = append(parts, v)
		case []any:
			for _, x := range v {
				walk(x, depth+1)
			}
		case map[string]any:
			keys := make([]string, 0, len(v))
			for k := range v {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			for _, k := range keys {
				walk(v[k], depth+1)
			}
		}
	}
	walk(v, 0)
	return strings.Join(parts, " | ")
}

var timerForm = regexp.MustCompile(`(?:timeout[:= ]{1,2}|timeout after |timed out after |after |age=|within |read timeout=|timeout=)(\d+(?:\.\d+)?) ?(ms|millis\w*|s|sec\w*|m|min\w*|h)?\b`)

// timer returns the time in seconds that the line names as a limit, 0 without.
func timer(low string) float64 {
	m := timerForm.FindStringSubmatch(low)
	if m == nil {
		return 0
	}
	x, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0
	}
	switch {
	case strings.HasPrefix(m[2], "mi") && m[2] != "min" && !strings.HasPrefix(m[2], "minu"), m[2] == "ms":
		return x / 1000
	case strings.HasPrefix(m[2], "m"):
		return x * 60
	case m[2] == "h":
		return x * 3600
	}
	return x
}

// runtimes are what programs are written in: a program that can be told from the
// line says more.
var runtimes = []string{"Go", "Java", "Python", "Node.js", ".NET", "Ruby", "PHP", "Rust", "TLS", "OpenSSL", "Windows"}

// programs are forms that only one kind of program writes, the most special
// first.
var programs = []struct {
	name string
	form *regexp.Regexp
}{
	{"nginx", regexp.MustCompile(`\[(error|info|crit|alert|warn|notice)\] \d+#\d+`)},
	{"HAProxy", regexp.MustCompile(`haproxy\[\d+\]`)},
	{"kubelet", regexp.MustCompile(`\bkubelet\b|probe (failed|errored): `)},
	{"Postfix", regexp.MustCompile(`\bpostfix/`)},
	{"Dovecot", regexp.MustCompile(`\bdovecot\b|(imap|pop3|managesieve)-login: `)},
	{"sshd", regexp.MustCompile(`sshd(-session)?\[\d+\]`)},
	{"ssh client", regexp.MustCompile(`^ssh: |ssh: connect to host`)},
	{"Traefik", regexp.MustCompile(`\btraefik\b`)},
	{"Caddy", regexp.MustCompile(`\bcaddy\b|http\.handlers\.reverse_proxy|http\.log\.error|http\.stdlib`)},
	{"Elasticsearch", regexp.MustCompile(`\[o\.e\.|org\.elasticsearch`)},
	{"Kafka", regexp.MustCompile(`socketserver (brokerid|listenertype)|kafka\.(server|network)\.`)},
	{"Kafka client", regexp.MustCompile(`\[(producer|consumer|adminclient) clientid=|org\.apache\.kafka\.(clients|common)`)},
	{"librdkafka", regexp.MustCompile(`\brdkafka\b|\[thrd:`)},
	{"gRPC", regexp.MustCompile(`rpc error: code =|statusruntimeexception|io\.grpc\.|\bgrpc\b`)},
	{"mitmproxy", regexp.MustCompile(`\bmitm(proxy|dump)\b|tlsprotocolexception\(`)},
	{"Celery", regexp.MustCompile(`\bcelery\b|/mainprocess\] `)},
	{"Sidekiq", regexp.MustCompile(`\bsidekiq\b`)},
	{"ZooKeeper", regexp.MustCompile(`nioservercnxn|quorumpeer|zookeeper\.server`)},
	{"Cassandra client", regexp.MustCompile(`com\.datastax\.|\bcassandra\.cluster\b`)},
	{"Maven", regexp.MustCompile(`could not transfer artifact|failed to execute goal`)},
	{"Gradle", regexp.MustCompile(`^(> )?could not (get|head|resolve) '|\bgradle\b`)},
	{"Bazel", regexp.MustCompile(`\bbazel\b|error downloading \[http`)},
	{"Redis client", regexp.MustCompile(`\b(redis\.exceptions|jedis|lettuce|predis|ioredis|redis::|redisclient::)|^redis connection to `)},
	{"MongoDB client", regexp.MustCompile(`\b(mongo(ose)?[a-z]*error|pymongo|com\.mongodb)\b`)},
	{"PostgreSQL client", regexp.MustCompile(`\b(psycopg2?|psql: |org\.postgresql|asyncpg|pgx)\b`)},
	{"MySQL client", regexp.MustCompile(`\b(pymysql|mysqlclient|com\.mysql|mysql2::|_mysql_exceptions)\b`)},
	{"SQL Server client", regexp.MustCompile(`\bsqlclient\b|\bpyodbc\b`)},
	{"HikariCP", regexp.MustCompile(`\bhikaripool\b`)},
	{"Docker", regexp.MustCompile(`response from daemon|\bdockerd\b|containerd|msg="container failed to exit`)},
	{"kubectl", regexp.MustCompile(`^(error: )?unable to connect to the server|portforward\.go:\d+\]`)},
	{"git", regexp.MustCompile(`^fatal: |rpc failed; `)},
	{"npm", regexp.MustCompile(`\bnpm (err!|error)`)},
	{"pip", regexp.MustCompile(`\bpip\._vendor\b`)},
	{"apt", regexp.MustCompile(`^(err|e): ?\d* ?http|^e: failed to fetch`)},
	{"wget", regexp.MustCompile(`^connecting to .*\.\.\. |\bwget: `)},
	{"curl", regexp.MustCompile(`curl: \(\d+\)|^\* `)},
	{"Go", regexp.MustCompile(`\b(dial|read|write) (tcp|udp|unix)[46]? |context deadline exceeded`)},
	{"Python", regexp.MustCompile(`\[errno \d+\]|traceback \(most recent|urllib3|requests\.exceptions|aiohttp|sqlalchemy\.exc|httpx\.|httpcore|asyncio`)},
	{"Node.js", regexp.MustCompile(`\(node:|at \S+ \(node:|\bcode: 'e[a-z]+'|"syscall":"|_http_client\.js|node_modules`)},
	{"Java", regexp.MustCompile(`\bjava\.(net|io|lang|util|nio)\.|caused by: |\tat [a-z][\w$.]+\(|javax\.net|io\.netty|okhttp3?\.|org\.apache\.http`)},
	{".NET", regexp.MustCompile(`\bsystem\.(net|io|threading|security)\.|microsoft\.`)},
	{"Rust", regexp.MustCompile(`\(os error \d+\)|os \{ code: \d+|hyper::|reqwest|tokio`)},
	{"Ruby", regexp.MustCompile(`errno::e[a-z]+|net::(open|read|write)timeout|openssl::ssl::`)},
	{"PHP", regexp.MustCompile(`sqlstate\[|php (fatal|warning|notice)|guzzlehttp|\bon line \d+$`)},
	{"Perl", regexp.MustCompile(`^500 can't connect to |\bat \S+\.p[lm] line \d+|lwp::`)},
	{"Elixir", regexp.MustCompile(`dbconnection\.|httpoison|\bmint\.|postgrex|#pid<|\*\* \(`)},
	{"Windows", regexp.MustCompile(`\b0x8007[0-9a-f]{4}\b|\(120\d\d\)`)},
	{"OpenSSL", regexp.MustCompile(`\berror:[0-9a-f]{8}:`)},
	{"kernel", regexp.MustCompile(`\bkernel: |^\[ *\d+\.\d+\] `)},
}

func softwareOf(low string) string {
	for _, p := range programs {
		if p.form.MatchString(low) {
			return p.name
		}
	}
	return ""
}

var (
	address  = regexp.MustCompile(`\[[0-9a-fA-F:.%a-z]+\]:\d{1,5}|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?`)
	upstream = regexp.MustCompile(`upstream: "(?:[a-z]+://)?([^/"]+)|(?:remote server|attempt to connect to|on endpoint) \[?([0-9][0-9a-fA-F:.]*[0-9]\]?(?::\d{1,5})?)`)
	client   = regexp.MustCompile(`(?:client: |client |\[client |remote":"|remoteaddress=/|peer_addr=|host: '|\brip=|\bfrom /?|\bfrom [\w.-]*\[|unknown\[|\baddr=|@)(\[?[0-9a-fA-F:.]*[0-9]\]?(?::\d{1,5})?)`)
	arrow    = regexp.MustCompile(`(\S+?) ?-> ?([^\s:]+:\d{1,5}|\S+)`)
	port     = regexp.MustCompile(`(\d{1,3}(?:\.\d{1,3}){3}|localhost|[a-z0-9.-]+\.[a-z]{2,})["\]]?,?:? (?:port:?|port) (\d{1,5})`)
	mail     = regexp.MustCompile(`[a-z0-9.-]\[([0-9a-fA-F:.]+)\](:\d{1,5})?`) // Postfix: name[address]:port
	ours     = regexp.MustCompile(`client: [^,]+|\[client [^\]]+\]|localaddress=/[^,}]+|"(?:client_ip|remote_ip|remote_addr|remote_port)":"[^"]*"|listen_addr=\S+|\blip=[^,]+|on \[?[0-9a-fA-F:.]+\]?:\d+ past`)
)

// peer finds the other end of the connection that the line is about. Who is
// local in a line depends on who wrote it.
func peer(x *Reading, text string) string {
	if x.Side != "server" {
		if m := upstream.FindStringSubmatch(text); m != nil {
			return valid(m[1] + m[2])
		}
	}
	if x.Side == "server" {
		if m := client.FindStringSubmatch(strings.ToLower(text)); m != nil {
			if p := port.FindStringSubmatch(text); p != nil && p[1] == m[1] {
				return net(p[1], p[2])
			}
			if v := valid(m[1]); v != "" {
				return v
			}
		}
	}
	if p := port.FindStringSubmatch(text); p != nil && valid(p[1]) != "" {
		return net(p[1], p[2])
	}
	if x.Software == "Postfix" {
		for _, m := range mail.FindAllStringSubmatch(text, 4) {
			if v := valid(m[1] + m[2]); v != "" {
				return v
			}
		}
	}
	if m := arrowIn(text); m != nil {
		a, b := valid(trim(m[1])), valid(trim(m[2]))
		if x.Side == "server" && x.Software != "Go" {
			return a
		}
		if b != "" {
			return b
		}
	}
	if m := port.FindStringSubmatch(text); m != nil {
		return net(m[1], m[2])
	}
	if x.Side == "client" {
		text = ours.ReplaceAllString(text, "")
	}
	for _, s := range address.FindAllString(text, 4) {
		if v := valid(s); v != "" && !strings.HasPrefix(v, "0.0.0.0") {
			return v
		}
	}
	return ""
}

// arrowIn finds "a -> b".
func arrowIn(text string) []string {
	if !strings.Contains(text, "->") {
		return nil
	}
	return arrow.FindStringSubmatch(text)
}

// net joins an address and its port.
func net(host, port string) string { return host + ":" + port }

func trim(s string) string { return strings.Trim(s, "()[]{}<>,;\"'/") }

// valid returns s when it is an address, with or without a port.
func valid(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	if host, ok := strings.CutPrefix(s, "["); ok && !strings.Contains(host, "::") && strings.Contains(host, ".") {
		s = strings.Replace(host, "]", "", 1) // sshd writes IPv4 in brackets, too
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.String()
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.String()
	}
	return ""
}
