package cli

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// symptom is what an error text says, whoever wrote it.
type symptom struct {
	Error   string `json:"error"`   // errno name, or EOF
	Outcome string `json:"outcome"` // as in a case
	Means   string `json:"means"`   // for people

	words []string // lower case; any of them in the text gives the symptom away
}

// symptoms is the table of what runtimes and servers write, the more telling
// words first. Numbers are those of Linux and of Winsock.
var symptoms = []symptom{
	{
		"ECONNREFUSED", "refused", "The answer to the connection attempt was a reset: at that address nothing accepted connections on that port at that moment, or something refused on its behalf. No data was exchanged.",
		[]string{"connection refused", "econnrefused", "actively refused", "connectionrefusederror", "[errno 111]", "(111:", "10061"},
	},
	{
		"ECONNRESET", "reset", "A reset (RST) arrived on a connection that was in use. Whatever was in flight is lost, and the text does not say who sent the reset: the process at the other end, its kernel, a firewall, a device between, or a forger.",
		[]string{"connection reset", "econnreset", "reset by peer", "forcibly closed by the remote host", "connectionreseterror", "socket hang up", "[errno 104]", "(104:", "10054", "connection was reset"},
	},
	{
		"EPIPE", "reset", "The program wrote into a connection that was already dead: a reset, or a close followed by a reset, had arrived before this write. The cause lies earlier than this line.",
		[]string{"broken pipe", "epipe", "brokenpipeerror", "[errno 32]", "(32:"},
	},
	{
		"ECONNABORTED", "reset", "The own side gave the connection up: a local kernel or tool aborted it, or it died in the accept queue before the program took it.",
		[]string{"software caused connection abort", "econnaborted", "connectionabortederror", "10053", "(103:", "[errno 103]"},
	},
	{
		"EHOSTUNREACH", "unreachable", "A router, a firewall or the own kernel answered that the host can not be reached. No reset was involved.",
		[]string{"no route to host", "ehostunreach", "network is unreachable", "enetunreach", "host is unreachable", "10065", "10051", "(113:"},
	},
	{
		"EADDRNOTAVAIL", "refused", "The own kernel found no local address and port for the connection: usually all ephemeral ports towards that destination are in use. Nothing was sent.",
		[]string{"cannot assign requested address", "eaddrnotavail", "(99:", "10049"},
	},
	{
		"ETIMEDOUT", "timeout", "No answer came for so long that the kernel or the program gave up. A lost or dropped packet leaves no trace at this end but silence.",
		[]string{"connection timed out", "etimedout", "operation timed out", "i/o timeout", "timed out", "timeout", "deadline exceeded", "10060", "(110:"},
	},
	{
		"EOF", "none", "The other end closed the connection in an orderly way (FIN) before it answered. That is no reset; the reason is in the log of the other end, or its idle time was over.",
		[]string{"unexpected eof", "prematurely closed connection", "closed the connection unexpectedly", "empty reply from server", "remotedisconnected", "remote end closed connection", "nohttpresponseexception", "server closed idle connection", ": eof"},
	},
}

// pasted is what could be read out of an error text.
type pasted struct {
	Text    string          `json:"text"`
	Runtime string          `json:"runtime,omitempty"` // who wrote it, as far as its form tells
	Phase   string          `json:"phase,omitempty"`   // connect, or established
	Doing   string          `json:"doing,omitempty"`   // connecting, reading, writing
	Local   *netip.AddrPort `json:"local,omitempty"`
	Remote  *netip.AddrPort `json:"remote,omitempty"`
	symptom
}

// readError reads one line of text. ok is false when it names no failure of a
// connection.
func readError(text string) (p pasted, ok bool) {
	low := strings.ToLower(text)
	i := slices.IndexFunc(symptoms, func(s symptom) bool {
		return slices.ContainsFunc(s.words, func(w string) bool { return strings.Contains(low, w) })
	})
	if i < 0 {
		return p, false
	}
	p = pasted{Text: text, symptom: symptoms[i], Runtime: runtimeOf(low), Doing: doing(low)}
	p.readAddresses(text)
	switch {
	case p.Doing == "connecting" || p.Error == "ECONNREFUSED" || p.Error == "EADDRNOTAVAIL":
		p.Phase, p.Doing = "connect", "connecting"
	case p.Doing != "":
		p.Phase = "established"
	}
	return p, true
}

// operations are the words that tell what the program was doing.
var operations = []struct{ doing, words string }{
	{"connecting", `\bdial (tcp|udp)|\bconnect(\(\))?\b[^a-z]|connecting to|failed to connect|connectexception|ssl_connect|connect timed out`},
	{"reading", `\bread(v?\(\)|ing)?\b|\brecv|inputstream|receiv|\bgetaddr|curl: \(56\)`},
	{"writing", `\bwrite(v?\(\))?\b|\bwriting\b|\bsend(file|ing|to)?(\(\))?\b|outputstream|curl: \(55\)`},
}

var operationPatterns = func() []*regexp.Regexp {
	var list []*regexp.Regexp
	for _, o := range operations {
		list = append(list, regexp.MustCompile(o.words))
	}
	return list
}()

func doing(low string) string {
	for i, p := range operationPatterns {
		if p.MatchString(low) {
			return operations[i].doing
		}
	}
	return ""
}

// runtimes are forms that only one kind of program writes.
var runtimes = []struct {
	name string
	form *regexp.Regexp
}{
	{"Go", regexp.MustCompile(`\b(dial|read|write) (tcp|unix)[46]? |: i/o timeout|context deadline exceeded|unexpected eof`)},
	{"nginx", regexp.MustCompile(`\[(error|info|crit|alert|warn)\] \d+#\d+|while (reading|sending|connecting|ssl handshaking)`)},
	{"Python", regexp.MustCompile(`\[errno \d+\]|connection(reset|refused|aborted)error|brokenpipeerror|urllib3|requests\.`)},
	{"Node.js", regexp.MustCompile(`\b(read|write|connect) e[a-z]+\b|socket hang up`)},
	{"curl", regexp.MustCompile(`curl: \(\d+\)|recv failure|send failure`)},
	{".NET", regexp.MustCompile(`system\.net|forcibly closed|actively refused`)},
	{"PostgreSQL", regexp.MustCompile(`server closed the connection unexpectedly|could not receive data from client|psql:`)},
	{"Java", regexp.MustCompile(`java\.|exception|\bat [a-z.]+\(`)},
	{"Rust", regexp.MustCompile(`os \{ code: \d+|\(os error \d+\)`)},
}

func runtimeOf(low string) string {
	for _, r := range runtimes {
		if r.form.MatchString(low) {
			return r.name
		}
	}
	return ""
}

var (
	addrPort = regexp.MustCompile(`\[[0-9a-fA-F:.%a-z]+\]:\d{1,5}|\b\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}`)
	hostPort = regexp.MustCompile(`(?i)(\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f:]{3,39}),? (?:and accepting tcp/ip connections on )?port:? (\d{1,5})`)
	upstream = regexp.MustCompile(`upstream: "[a-z]+://([^/"]+)`)
)

// readAddresses finds the ends: "local->remote" as Go writes it, nginx's
// upstream, or the only address of the text.
func (p *pasted) readAddresses(text string) {
	if m := upstream.FindStringSubmatch(text); m != nil {
		p.Remote = parseEnd(m[1])
		return
	}
	found := addrPort.FindAllStringIndex(text, -1)
	if len(found) >= 2 && strings.TrimSpace(text[found[0][1]:found[1][0]]) == "->" {
		p.Local, p.Remote = parseEnd(text[found[0][0]:found[0][1]]), parseEnd(text[found[1][0]:found[1][1]])
		return
	}
	if len(found) > 0 {
		p.Remote = parseEnd(text[found[0][0]:found[0][1]])
		return
	}
	if m := hostPort.FindStringSubmatch(text); m != nil {
		if a, err := netip.ParseAddr(m[1]); err == nil {
			if port, err := strconv.ParseUint(m[2], 10, 16); err == nil {
				ap := netip.AddrPortFrom(a, uint16(port))
				p.Remote = &ap
			}
		}
	}
}

func parseEnd(s string) *netip.AddrPort {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil
	}
	return &a
}
