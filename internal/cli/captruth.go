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
	{"refused_via_nat", "", []string{"user-mode-network-stack", "connection-refused-closed-port"}},
	{"timeout_giveup_half_open", "", []string{"user-mode-network-stack", "rto-giveup-user-timeout"}},
	{"idle_timeout_middlebox", "", []string{
		"idle-timeout-middlebox", "other-cloud-lb-idle", "f5-idle-reset-300", "enterprise-firewall-session-ttl", "aws-nlb-idle-350",
		"aws-natgw-idle-350", "aws-gwlb-endpoint-idle-350", "aws-alb-idle-60", "azure-lb-idle-4min", "azure-nat-snat-idle", "home-router-cgnat-idle", "ipvs-900s",
	}},
	{"idle_close_endpoint", "", []string{"idle-close-by-application", "client-abort", "so-linger-zero", "close-with-unread-data"}},
	{"port_scan", "client", []string{"unsolicited-packets-benign", "lb-health-check-noise", "so-linger-zero", "browser-preconnect-happy-eyeballs"}},
	{"port_scan", "server", []string{"unsolicited-packets-benign", "connection-refused-closed-port"}},
	{"data_after_close", "", []string{"data-after-close"}},
	{"rst_after_fin", "client", []string{"data-after-close", "client-abort", "close-with-unread-data"}},
	{"rst_after_fin", "server", []string{"data-after-close", "windows-stack-specifics", "so-linger-zero", "close-with-unread-data"}},
	{"half_open_stale_keepalive", "", []string{"data-after-close", "keepalive-race-generic", "half-open-after-reboot"}},
	{"protocol_mismatch", "", []string{"tls-to-plaintext-port", "plaintext-to-tls-port", "wrong-service-on-port", "proxy-protocol-mismatch", "http2-http1-mismatch"}},
	{"app_abort_linger0", "", []string{"so-linger-zero", "close-with-unread-data", "client-abort", "windows-stack-specifics"}},
	{"tls_close_notify_unread", "", []string{"close-with-unread-data", "client-abort"}},
	{"tls_failure", "", []string{"tls-version-or-cipher-refused", "tls-inspection-proxy", "client-abort", "close-with-unread-data", "data-after-close"}},
	{"self_declared_reason", "client", []string{"reset-with-reason-text", "client-abort", "so-linger-zero"}},
	{"self_declared_reason", "server", []string{"reset-with-reason-text", "so-linger-zero"}},
	{"self_declared_reason", "unknown", []string{"mptcp-subflow-reset"}},
	{"app_read_timeout", "", []string{"client-abort", "proxy-read-timeout", "go-http-timeouts"}},
	{"process_exit", "", []string{"process-exit-open-connections", "process-crash", "process-killed", "rolling-deploy-no-drain", "listener-closed-with-queue"}},
	{"corrupt_packet", "", nil},
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
