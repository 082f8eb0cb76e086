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

// programs are forms that only one kind of program writes.
var programs = []struct {
	name string
	form *regexp.Regexp
}{
	{"nginx", regexp.MustCompile(`\[(error|info|crit|alert|warn)\] \d+#\d+`)},
	{"HAProxy", regexp.MustCompile(`haproxy\[\d+\]`)},
	{"Go", regexp.MustCompile(`\b(dial|read|write) (tcp|udp|unix)[46]? |context deadline exceeded`)},
	{"Python", regexp.MustCompile(`\[errno \d+\]|traceback \(most recent|urllib3|requests\.exceptions|aiohttp`)},
	{"Node.js", regexp.MustCompile(`\(node:|at \S+ \(node:|\bcode: 'e[a-z]+'|"syscall":"`)},
	{"Java", regexp.MustCompile(`\bjava\.(net|io|lang|util)\.|caused by: |\tat [a-z][\w$.]+\(`)},
	{".NET", regexp.MustCompile(`\bsystem\.(net|io)\.`)},
	{"Rust", regexp.MustCompile(`\(os error \d+\)|os \{ code: \d+`)},
	{"Ruby", regexp.MustCompile(`errno::e[a-z]+`)},
	{"curl", regexp.MustCompile(`curl: \(\d+\)`)},
	{"sshd", regexp.MustCompile(`sshd(-session)?\[\d+\]`)},
	{"ssh client", regexp.MustCompile(`^ssh: |ssh: connect to host`)},
	{"PHP", regexp.MustCompile(`sqlstate\[|php (fatal|warning)`)},
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
	upstream = regexp.MustCompile(`upstream: "[a-z]+://([^/"]+)`)
	client   = regexp.MustCompile(`(?:client: |\[client |remote":"|peer_addr=|host: '|from /?|addr=|@)(\[?[0-9a-fA-F:.]*[0-9]\]?(?::\d{1,5})?)`)
	arrow    = regexp.MustCompile(`(\S+?) ?-> ?([^\s:]+:\d{1,5}|\S+)`)
	port     = regexp.MustCompile(`(\d{1,3}(?:\.\d{1,3}){3}|localhost|[a-z0-9.-]+\.[a-z]{2,}),? port:? (\d{1,5})`)
)

// peer finds the other end of the connection that the line is about. Who is
// local in a line depends on who wrote it.
func peer(x *Reading, text string) string {
	if m := upstream.FindStringSubmatch(text); m != nil && x.Side == "client" {
		return valid(m[1])
	}
	if x.Side == "server" {
		if m := client.FindStringSubmatch(text); m != nil {
			return valid(m[1])
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
		return m[1] + ":" + m[2]
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

func trim(s string) string { return strings.Trim(s, "()[]{}<>,;\"'/") }

// valid returns s when it is an address, with or without a port.
func valid(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.String()
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.String()
	}
	return ""
}
