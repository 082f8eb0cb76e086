package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/lab"
	"github.com/holdfast-project/holdfast/knowledge"
)

var (
	clientEnd = netip.MustParseAddrPort("192.0.2.2:40000")
	serverEnd = netip.MustParseAddrPort("198.51.100.2:80")
)

// said is a finding of a capture.
func said(frame int, role string, roleGrade fact.Grade, cause string, grade fact.Grade) fact.Finding {
	return fact.Finding{
		Time: time.Unix(100, 0), Flow: fact.FindingFlow{Client: clientEnd, Server: serverEnd},
		Sender: fact.Sender{Role: role, Grade: roleGrade, Score: 0.9},
		Cause:  fact.CauseVerdict{ID: cause, Grade: grade, Score: 0.9},
		Where:  &fact.Where{Stream: 3, Frame: frame},
	}
}

func newJudge(t *testing.T, list ...fact.Finding) *captureJudge {
	t.Helper()
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	return &captureJudge{base: base, explain: func([]string) ([]fact.Finding, error) { return list, nil }}
}

func TestCompareCapture(t *testing.T) {
	client, device := labelRoles("client"), labelRoles("middlebox_load_balancer")
	server := []string{fact.ServerApp}
	tests := []struct {
		name          string
		truth         captureTruth
		f             fact.Finding
		sender, cause mark
		wrongProved   bool
	}{
		{"exact", captureTruth{Roles: server, Causes: []string{"so-linger-zero"}}, said(1, fact.ServerApp, fact.Proved, "so-linger-zero", fact.Proved), markExact, markExact, false},
		{"one of several", captureTruth{Roles: client, Causes: []string{"client-abort", "so-linger-zero"}}, said(1, fact.ClientKernel, fact.Probable, "so-linger-zero", fact.Possible), markExact, markExact, false},
		{"kernel of that end", captureTruth{Roles: server, Causes: []string{"so-linger-zero"}}, said(1, fact.ServerKernel, fact.Proved, "data-after-close", fact.Probable), markEnd, markWrong, false},
		{"device", captureTruth{Roles: device, Causes: []string{"ips-active-response"}}, said(1, fact.Injector, fact.Proved, "unknown", fact.Unknown), markEnd, markUnknown, false},
		{"wrong end, proved", captureTruth{Roles: client, Causes: []string{"client-abort"}}, said(1, fact.ServerApp, fact.Proved, "client-abort", fact.Probable), markWrong, markExact, true},
		{"wrong cause, proved", captureTruth{Roles: client, Causes: []string{"client-abort"}}, said(1, fact.ClientApp, fact.Proved, "process-crash", fact.Proved), markExact, markWrong, true},
		{"less than the truth", captureTruth{Roles: server, Causes: []string{"close-with-unread-data"}}, said(1, fact.ServerApp, fact.Probable, "peer-application-aborted", fact.Probable), markExact, markGeneral, false},
		{"less, and not true", captureTruth{Roles: device, Causes: []string{"ips-active-response"}}, said(1, fact.Middlebox, fact.Probable, "peer-application-aborted", fact.Probable), markExact, markWrong, false},
		{"its family", captureTruth{Roles: []string{fact.ServerKernel}, Causes: []string{"nginx-server-keepalive"}}, said(1, fact.ServerKernel, fact.Probable, "keepalive-race-generic", fact.Probable), markExact, markGeneral, false},
		{"firewall there", captureTruth{Roles: []string{fact.LocalFirewall}, Place: "server", Causes: []string{"firewall-reject-tcp-reset"}}, said(1, fact.ServerKernel, fact.Probable, "firewall-reject-tcp-reset", fact.Probable), markEnd, markExact, false},
		{"firewall elsewhere", captureTruth{Roles: []string{fact.LocalFirewall}, Place: "server", Causes: []string{"firewall-reject-tcp-reset"}}, said(1, fact.ClientKernel, fact.Probable, "firewall-reject-tcp-reset", fact.Probable), markWrong, markExact, false},
		{"nobody knows", captureTruth{Causes: []string{"mptcp-subflow-reset"}}, said(1, fact.UnknownSender, fact.Unknown, "mptcp-subflow-reset", fact.Probable), markNone, markExact, false},
	}
	j := newJudge(t)
	for _, x := range tests {
		v := j.compare(x.name, x.truth, &x.f)
		if v.Sender != x.sender || v.Cause != x.cause || v.WrongProved != x.wrongProved {
			t.Errorf("%s: %s, %s, wrong proved %t; want %s, %s, %t", x.name, v.Sender, v.Cause, v.WrongProved, x.sender, x.cause, x.wrongProved)
		}
	}
	for truth, want := range map[bool]mark{true: markExact, false: markSilent} {
		if v := j.compare("nothing", captureTruth{Roles: server, Nothing: truth}, nil); v.Sender != want || v.Cause != want {
			t.Errorf("nothing to say %t: %+v", truth, v)
		}
	}
}

const labelsHead = "file\tstream\tclient\tserver\trst_frame\trst_sender\tverdict\tconfidence\tnote\torigin\n"

func labelDir(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := labelsHead + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, labelFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLabelledCaptures: the finding on the frame of the label answers for it,
// also when the capture has client and server the other way round.
func TestLabelledCaptures(t *testing.T) {
	dir := labelDir(t,
		"a.pcap\t3\t192.0.2.2:40000\t198.51.100.2:80\t12\tclient\tapp_abort_linger0\thigh\t\t",
		"b.pcap\t3\t198.51.100.2:80\t192.0.2.2:40000\t12\tserver\tapp_abort_linger0\thigh\t\t",
		"c.pcap\t4\t198.51.100.2:80\t192.0.2.2:40000\t12\tserver\tdata_after_close\thigh\t\t",
		"d.pcap\t4\t198.51.100.2:80\t192.0.2.2:40000\t12\tnone\tcorrupt_packet\thigh\t\t")
	j := newJudge(t, said(9, fact.ServerApp, fact.Proved, "process-crash", fact.Proved), said(12, fact.ClientApp, fact.Probable, "so-linger-zero", fact.Probable))
	sets, err := j.measure(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := sets[0]
	want := captureAccuracy{
		Set: "labelled captures", Cases: 4, KnownSender: 4, ExactSender: 3, RightEnd: 3, RightCause: 3, Silent: 1, Recall: 0.75, Precision: 1,
	}
	got.Verdicts, got.Missing, got.Grades, got.SenderBrier, got.CauseBrier = nil, nil, nil, 0, 0
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	text := capturesText(sets)
	for _, line := range []string{"| a.pcap", "right end", "client-app", "(nothing reported)"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing:\n%s", line, text)
		}
	}
	limits := captureLimits{sender: 0.8, precision: 0.9, cause: 0.9, wrongProved: 0}
	if err := limits.check(&sets[0]); err == nil || strings.Count(err.Error(), "less than") != 2 {
		t.Errorf("the limits say %v", err)
	}
	limits = captureLimits{sender: 0.75, precision: 1, cause: -1, wrongProved: -1}
	if err := limits.check(&sets[0]); err != nil {
		t.Error(err)
	}
}

func TestLabelsRefused(t *testing.T) {
	for name, line := range map[string]string{
		"verdict \"whim\"": "a.pcap\t3\t192.0.2.2:40000\t198.51.100.2:80\t12\tclient\twhim\thigh\t\t",
		"line 2":           "a.pcap\tthree\t192.0.2.2:40000\t198.51.100.2:80\t12\tclient\tdata_after_close\thigh\t\t",
		"is missing":       "a.pcap\t3",
	} {
		if _, err := newJudge(t).measure(labelDir(t, line)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newJudge(t).measure(labelDir(t)); err == nil {
		t.Error("a table without labels was accepted")
	}
	if _, err := newJudge(t).measure(t.TempDir()); err == nil {
		t.Error("a directory without truth was accepted")
	}
}

// TestLabelCauses: no verdict of an end stands twice, and a cause that the
// knowledge base has not is shown as missing.
func TestLabelCauses(t *testing.T) {
	seen := map[string]bool{}
	j := newJudge(t)
	for _, x := range labelCauses {
		key := x.verdict + "/" + x.end
		if seen[key] || seen[x.verdict+"/"] {
			t.Errorf("%s stands twice", key)
		}
		seen[key] = true
		l := label{Verdict: x.verdict, Sender: x.end}
		causes, known := l.causesOf()
		if !known || !slices.Equal(causes, x.causes) {
			t.Errorf("%s: %v", key, causes)
		}
		missing := 0
		for _, m := range j.missing([]label{l}) {
			missing += len(m.Causes)
			if m.Any != (len(m.Causes) < len(causes)) {
				t.Errorf("%s: %+v of %v", key, m, causes)
			}
		}
		if missing > len(causes) {
			t.Errorf("%s: %d missing of %v", key, missing, causes)
		}
	}
}

// TestCorpus judges a recording of the lab from each of the points.
func TestCorpus(t *testing.T) {
	dir := filepath.Join("testdata", "recording")
	rec, err := lab.ReadRecording(filepath.Join(dir, "linger-zero"))
	if err != nil {
		t.Fatal(err)
	}
	f := said(7, fact.ServerApp, fact.Probable, "so-linger-zero", fact.Probable)
	f.Time, f.Flow = rec.At.Add(time.Second), fact.FindingFlow{Client: rec.Flows[0].Server, Server: rec.Flows[0].Client}
	f.Sender.Role = fact.ClientApp // the capture has it the other way round
	early := said(2, fact.ServerApp, fact.Proved, "process-crash", fact.Proved)
	early.Time, early.Flow = rec.At.Add(-time.Second), f.Flow
	var asked [][]string
	j := newJudge(t)
	j.explain = func(files []string) ([]fact.Finding, error) {
		asked = append(asked, files)
		return []fact.Finding{early, f}, nil
	}
	sets, err := j.measure(dir)
	if err != nil {
		t.Fatal(err)
	}
	in := func(names ...string) (list []string) {
		for _, n := range names {
			list = append(list, filepath.Join(dir, "linger-zero", n))
		}
		return list
	}
	if d := cmp.Diff([][]string{in("client.pcapng"), in("server.pcapng"), in("client.pcapng", "server.pcapng"), in("client.pcapng", "router.pcapng", "server.pcapng")}, asked); d != "" {
		t.Error(d)
	}
	for _, a := range sets {
		if a.Cases != 1 || a.ExactSender != 1 || a.RightCause != 1 || a.WrongProved != 0 {
			t.Errorf("%+v", a)
		}
	}
}

// TestAccuracyCaptures runs the whole of it: captures, diagnosis, comparison,
// limits.
func TestAccuracyCaptures(t *testing.T) {
	out := filepath.Join(t.TempDir(), "accuracy.md")
	dir := filepath.Join("testdata", "recording")
	code, _, errOut := run(t, 0, "accuracy", "--captures", dir, "--max-wrong-proved", "0", "--write", out)
	if code != codeOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	doc, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Accuracy", "HOLDFAST_CAPTURES", "lab: all hosts together", "### Captures: lab: the client's host alone"} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("%q is missing:\n%s", want, doc)
		}
	}
	code, js, errOut := run(t, 0, "accuracy", "--captures", dir, "--min-sender", "1.1", "-o", "json")
	if code != codeFindings || !strings.Contains(errOut, "less than 1.100") || !strings.Contains(js, `"set": "lab: the server's host alone"`) {
		t.Errorf("exit code %d: %s%s", code, js, errOut)
	}
	for _, limit := range []string{"--min-precision", "--min-cause"} {
		if code, _, errOut := run(t, 0, "accuracy", "--captures", dir, limit, "1.1"); code != codeFindings {
			t.Errorf("%s 1.1: exit code %d, want %d: %s", limit, code, codeFindings, errOut)
		}
	}
	if code, _, errOut = run(t, 0, "accuracy", "--captures", t.TempDir()); code != codeNotFound || !strings.Contains(errOut, "lab run --all --source none --pcap") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
