package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/lab"
)

// labelFile is the name of the table in a directory of labelled captures.
const labelFile = "truth.tsv"

// label is what is known of one reset in a capture: a line of labelFile.
type label struct {
	File           string
	Stream         int // numbered as tcp.stream of Wireshark
	Client, Server netip.AddrPort
	Frame          int    // of the reset, from 1
	Sender         string // client, server, middlebox or middlebox_KIND, injector, none, unknown
	Verdict        string // why, in the words of labelCauses
	Note           string
}

// labelColumns are the columns that a table of labels must have; others may
// stand between them.
var labelColumns = []string{"file", "stream", "client", "server", "rst_frame", "rst_sender", "verdict", "note"}

// readLabels reads the table of a directory of labelled captures.
func readLabels(dir string) ([]label, error) {
	path := filepath.Join(dir, labelFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open labels: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	var column map[string]int
	var list []label
	for n := 1; sc.Scan(); n++ {
		fields := strings.Split(sc.Text(), "\t")
		if column == nil {
			if column, err = columnsOf(fields); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		l, err := parseLabel(column, fields)
		if err != nil {
			return nil, &cliError{codeUsage, fmt.Errorf("%s: line %d: %w", path, n, err), "columns " + strings.Join(labelColumns, ", ") + ", separated by tabs"}
		}
		list = append(list, l)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(list) == 0 {
		return nil, &cliError{codeNotFound, fmt.Errorf("%s has no label", path), "one line for each reset"}
	}
	return list, nil
}

func columnsOf(header []string) (map[string]int, error) {
	column := map[string]int{}
	for _, name := range labelColumns {
		i := slices.Index(header, name)
		if i < 0 {
			return nil, fmt.Errorf("there is no column %q", name)
		}
		column[name] = i
	}
	return column, nil
}

func parseLabel(column map[string]int, fields []string) (l label, err error) {
	var errs []error
	get := func(name string) string {
		if i := column[name]; i < len(fields) {
			return fields[i]
		}
		errs = append(errs, fmt.Errorf("%s is missing", name))
		return ""
	}
	number := func(name string) int {
		n, err := strconv.Atoi(get(name))
		errs = append(errs, err)
		return n
	}
	end := func(name string) netip.AddrPort {
		a, err := netip.ParseAddrPort(get(name))
		errs = append(errs, err)
		return a
	}
	l = label{
		File: get("file"), Stream: number("stream"), Client: end("client"), Server: end("server"),
		Frame: number("rst_frame"), Sender: get("rst_sender"), Verdict: get("verdict"), Note: get("note"),
	}
	return l, errors.Join(errs...)
}

// labelRoles are the roles that a label's sender stands for: it names the end
// only, not who at that end. Nil when it does not know.
func labelRoles(sender string) []string {
	sender, _, _ = strings.Cut(sender, "_")
	switch sender {
	case "client":
		return []string{fact.ClientApp, fact.ClientKernel}
	case "server":
		return []string{fact.ServerApp, fact.ServerKernel}
	case "middlebox", "injector", "none":
		return []string{sender}
	}
	return nil
}

// labelCauses translates the verdicts of labels into causes of the knowledge
// base. A verdict is coarser than a cause: several may be right. Where the
// meaning differs by who sent the reset, the end is named.
var labelCauses = []struct {
	verdict, end string
	causes       []string
}{
	{"refused_port_closed", "", []string{"connection-refused-closed-port"}},
	{"client_abort", "", []string{"client-abort", "peer-application-aborted"}},
	{"firewall_forgot", "", []string{"middlebox-answered", "middlebox-idle-timeout", "firewall-reject-tcp-reset", "enterprise-firewall-session-ttl", "linux-conntrack-entry-lost", "conntrack-invalid-nat-leak", "stateful-failover"}},
	{"firewall_rejects", "", []string{"middlebox-answered", "firewall-reject-tcp-reset", "ngfw-policy-reset"}},
	{"app_abort_after_request", "", []string{"peer-application-aborted", "so-linger-zero", "reset-instead-of-fin", "close-with-unread-data", "client-abort"}},
	{"app_abort", "", []string{"peer-application-aborted", "so-linger-zero", "reset-instead-of-fin", "close-with-unread-data", "client-abort", "idle-connection-closed-by-owner"}},
	{"app_abort_unused", "", []string{"peer-application-aborted", "reset-instead-of-fin", "so-linger-zero", "close-with-unread-data", "browser-preconnect-happy-eyeballs", "idle-connection-closed-by-owner", "windows-stack-specifics"}},
	{"sshd_maxstartups", "", []string{"sshd-maxstartups"}},
	{"answer_after_own_reset", "", []string{"late-segments-after-close", "data-after-close", "answer-after-reset"}},
	{"answer_after_reset", "", []string{"answer-after-reset"}},
	{"reset_on_peer_close", "", []string{"reset-instead-of-fin", "late-segments-after-close", "windows-stack-specifics", "close-with-unread-data"}},
	{"retransmission_timeout", "", []string{"rto-giveup-user-timeout"}},
	{"firewall_forgot_after_reset", "", []string{"middlebox-answered", "firewall-forgot-after-reset", "firewall-reject-tcp-reset"}},
	{"injected_by_ips", "", []string{"ips-active-response", "forged-rst-attack", "ngfw-policy-reset"}},
	{"refused_via_nat", "", []string{"user-mode-network-stack", "connection-refused-closed-port"}},
	{"timeout_giveup", "", []string{"rto-giveup-user-timeout", "tcp-keepalive-timeout"}},
	{"timeout_giveup_half_open", "", []string{"user-mode-network-stack", "rto-giveup-user-timeout"}},
	{"keepalive_giveup", "", []string{"tcp-keepalive-timeout", "rto-giveup-user-timeout"}},
	{"idle_timeout_middlebox", "", []string{
		"middlebox-idle-timeout", "netscaler-idle-180", "azure-lb-idle-4min", "f5-idle-reset-300", "aws-nlb-idle-350", "ipvs-900s",
		"enterprise-firewall-session-ttl",
	}},
	{"firewall_out_of_window", "", []string{"firewall-out-of-window", "firewall-reject-tcp-reset", "conntrack-invalid-nat-leak"}},
	{"nat_or_firewall_answers_for_dead_client", "", []string{"middlebox-idle-timeout", "linux-conntrack-entry-lost", "firewall-reject-tcp-reset"}},
	{"injected_by_nat_gateway", "", []string{"user-mode-network-stack", "forged-rst-attack", "firewall-reject-tcp-reset"}},
	{"injected_by_third_party", "", []string{"forged-rst-attack", "ips-active-response", "ngfw-policy-reset", "state-censorship-injection", "isp-throttling-injection"}},
	{"forged_ineffective", "", []string{"forged-rst-attack", "ips-active-response"}},
	{"idle_close_endpoint", "", []string{"idle-connection-closed-by-owner"}},
	{"connect_cancelled", "client", []string{"browser-preconnect-happy-eyeballs", "unsolicited-packets-benign", "lb-health-check-noise"}},
	{"port_scan", "client", []string{"unsolicited-packets-benign", "lb-health-check-noise", "browser-preconnect-happy-eyeballs"}},
	{"port_scan", "server", []string{"unsolicited-packets-benign", "connection-refused-closed-port"}},
	{"half_open", "", []string{"half-open-after-reboot", "half-open-reconnect-challenge"}},
	{"half_open_tuple_reuse", "", []string{"half-open-reconnect-challenge", "timewait-port-reuse"}},
	{"half_open_stale_keepalive", "", []string{"late-segments-after-close", "data-after-close", "half-open-after-reboot"}},
	{"data_after_close", "", []string{"data-after-close", "keepalive-race-generic", "client-abort", "late-segments-after-close"}},
	{"rst_after_fin", "", []string{"late-segments-after-close", "reset-instead-of-fin", "windows-stack-specifics"}},
	{"protocol_mismatch", "", []string{"tls-to-plaintext-port", "plaintext-to-tls-port", "wrong-service-on-port", "proxy-protocol-mismatch", "http2-http1-mismatch"}},
	{"app_abort_unread_data", "", []string{"close-with-unread-data", "client-abort", "early-response-body-too-large"}},
	{"app_abort_before_response", "", []string{"close-with-unread-data", "client-abort"}},
	{"app_abort_linger0", "", []string{"so-linger-zero", "reset-instead-of-fin", "windows-stack-specifics", "close-with-unread-data"}},
	{"tls_close_notify_unread", "", []string{"tls-close-notify-unread"}},
	{"tls_failure", "", []string{"tls-handshake-failed", "tls-version-or-cipher-refused", "tls-certificate-refused", "tls-sni-unknown-reset"}},
	{"self_declared_reason", "unknown", []string{"self-declared-reason", "mptcp-subflow-reset"}},
	{"self_declared_reason", "", []string{"self-declared-reason"}},
	{"mptcp_fast_close", "", []string{"mptcp-subflow-reset", "self-declared-reason"}},
	{"app_read_timeout", "", []string{"client-abort", "proxy-read-timeout", "go-http-timeouts"}},
	{"process_exit", "", []string{"process-exit-open-connections", "process-crash", "process-killed", "rolling-deploy-no-drain", "listener-closed-with-queue"}},
	{"corrupt_packet", "", []string{"corrupt-packet"}},
}

// wireSame lists, for verdicts from packets, the causes that look the same on the
// wire: the verdict is true of them and says less. That a process was killed,
// for instance, and that it closed its socket, are the same FIN.
var wireSame = map[string][]string{
	"data-after-close": {
		"process-exit-open-connections", "process-crash", "process-killed", "nginx-reload-shutdown-timeout", "rolling-deploy-no-drain",
		"postgres-backend-crash", "server-admin-timeouts-db", "postgres-pgbouncer-limits", "redis-timeout-maxclients", "haproxy-timeout-client-server",
		"tls-to-plaintext-port", "nginx-server-keepalive", "keepalive-race-generic",
	},
	"keepalive-race-generic":    {"haproxy-timeout-client-server", "redis-timeout-maxclients", "server-admin-timeouts-db", "rolling-deploy-no-drain"},
	"client-abort":              {"haproxy-timeout-client-server", "proxy-read-timeout", "process-killed"},
	"tcp-keepalive-timeout":     {"rto-giveup-user-timeout"}, // TCP_USER_TIMEOUT ends it after unanswered keep-alive probes, too
	"connect-timeout-no-answer": {"md5-ao-mismatch", "firewall-drop-or-icmp", "server-thread-pool-exhausted", "dos-flood", "fd-exhaustion-emfile"},
	"rto-giveup-user-timeout":   {"firewall-drop-or-icmp", "mtu-blackhole", "server-thread-pool-exhausted"},
	"firewall-drop-or-icmp":     {"mtu-blackhole", "rto-giveup-user-timeout"},
	"middlebox-answered":        {"firewall-reject-tcp-reset", "asymmetric-routing", "conntrack-invalid-nat-leak", "linux-conntrack-entry-lost"},
	// What these two say from packets names a packet filter that rejects besides.
	"peer-has-no-such-connection":    {"firewall-reject-tcp-reset"},
	"connection-refused-closed-port": {"firewall-reject-tcp-reset", "rate-limit-ban-reset"},
	"late-segments-after-close":      {"tcp-linger2-negative"},
	"slow-consumer-dropped":          {"redis-output-buffer"},
	"reset-instead-of-fin":           {"tcp-linger2-negative", "so-linger-zero"},
	"early-response-body-too-large":  {"rate-limit-ban-reset"},
}

// causesOf returns the causes that a label allows, and whether its verdict is
// known at all.
func (l *label) causesOf() (causes []string, known bool) {
	for _, t := range labelCauses {
		if t.verdict == l.Verdict && (t.end == "" || t.end == l.Sender) {
			return t.causes, true
		}
	}
	return nil, false
}

// recordings returns the directories of a corpus that holdfast lab run --pcap
// wrote: dir itself, or those in it.
func recordings(dir string) (list []string, err error) {
	if _, err := os.Stat(filepath.Join(dir, lab.RecordingFile)); err == nil {
		return []string{dir}, nil
	}
	list, err = filepath.Glob(filepath.Join(dir, "*", lab.RecordingFile))
	for i := range list {
		list[i] = filepath.Dir(list[i])
	}
	return list, err
}

// hasLabels reports whether a directory has a table of labels.
func hasLabels(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, labelFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
