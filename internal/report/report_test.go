package report

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // golden files show clock times
	os.Exit(m.Run())
}

//go:fix inline

// samples are findings that show every way a line can look.
func samples() []fact.Finding {
	at := time.Date(2026, 3, 1, 14, 3, 7, 212_000_000, time.UTC)
	flow := fact.FindingFlow{Client: netip.MustParseAddrPort("10.0.0.5:40122"), Server: netip.MustParseAddrPort("10.0.0.7:5432")}
	base := fact.Finding{Schema: fact.Schema, ID: "f-1", Time: at, Source: "kernel", Flow: flow, Outcome: "reset", Phase: "established", Harmful: true}
	unread := base
	unread.Sender = fact.Sender{
		Role: fact.ServerApp, Grade: fact.Proved, Score: 0.998, Host: "db1",
		Process: &fact.ProcessBrief{PID: 812, Name: "postgres", Exe: "/usr/lib/postgresql/15/bin/postgres", Unit: "postgresql@15-main.service"},
	}
	unread.Cause = fact.CauseVerdict{
		ID: "close-with-unread-data", Title: "The application closed the socket while received data was still unread",
		Class: "software-bug", Grade: fact.Proved, Score: 0.9987, Says: "postgres closed its socket with 1432 bytes unread.\nThe kernel answers that with a reset.",
	}
	unread.Alternatives = []fact.Alternative{{ID: "process-crash", Title: "The process died", Score: 0.001}}
	unread.Proof = []fact.Proof{{Says: "the kernel recorded TCP_ABORT_ON_CLOSE with 1432 bytes unread", Witness: "kernel", Weight: 40}}
	unread.Missing = []fact.Missing{{Fact: "rst.ttl", How: "run holdfast watch with the wire witness on, or capture packets"}}
	unread.Effect = fact.Effect{Accepted: "accepted", AppError: "ECONNRESET", BytesUnread: new(int64(1432)), ProcessDied: new(false)}
	unread.Fixes = []fact.Fix{{Title: "Read the request to its end before closing", Kind: "edit", Product: "c", At: "code", Commands: []string{"shutdown(fd, SHUT_WR); while (read(fd, buf, n) > 0);"}, Risk: "none", Undo: []string{"nothing to undo"}}}
	unread.References = []string{"RFC 9293 3.10.7"}
	unread.Arithmetic = &fact.Arithmetic{
		Senders: []fact.Score{{ID: fact.ServerApp, Prior: 0, Total: 42, Posterior: 0.998}},
		Causes: []fact.Score{
			{ID: "close-with-unread-data", Prior: 5, Total: 45, Posterior: 0.9987, Lines: []fact.ScoreLine{
				{If: `sender.reason == "TCP_ABORT_ON_CLOSE"`, Witness: "kernel", Weight: 40, Counted: 30, Answer: "true"},
				{If: "rst.ttl == rst.peer_ttl", Witness: "wire", Weight: 4, Answer: "not looked"},
			}},
			{ID: "so-linger-zero", Prior: 2, Posterior: 0, Vetoed: "sender.sock.linger"},
		},
	}
	unread.Case = &fact.Case{}
	unread.Case.Receiver.Proc.Name, unread.Case.Receiver.Proc.PID = fact.Some("psql"), fact.Some(int64(991))

	refused := base
	refused.ID, refused.Outcome, refused.Phase = "f-2", "refused", "connect"
	refused.Sender = fact.Sender{Role: fact.ServerKernel, Grade: fact.Proved, Score: 0.99}
	refused.Cause = fact.CauseVerdict{ID: "port-closed", Title: "Nothing listens on the port", Grade: fact.Proved, Score: 0.99}
	refused.Effect = fact.Effect{AppError: "ECONNREFUSED"}
	refused.Count = 37

	hostile := base
	hostile.ID = "f-3"
	hostile.Flow = fact.FindingFlow{Client: netip.MustParseAddrPort("[2001:db8::5]:1"), Server: netip.MustParseAddrPort("[2001:db8::7]:443")}
	hostile.Sender = fact.Sender{Role: fact.ClientApp, Process: &fact.ProcessBrief{PID: 7, Name: "\x1b[2J\u202eevil"}}
	hostile.Cause = fact.CauseVerdict{ID: "unknown", Title: "Unknown", Grade: fact.Unknown}

	benign := base
	benign.ID, benign.Harmful, benign.Outcome = "f-4", false, "none"
	benign.Sender = fact.Sender{Role: fact.ClientKernel, Grade: fact.Probable}
	benign.Cause = fact.CauseVerdict{ID: "health-check", Title: "A health check", Class: "benign", Grade: fact.Probable, Score: 0.9}

	forged := base
	forged.ID = "f-5"
	forged.Sender = fact.Sender{Role: fact.Injector, Process: &fact.ProcessBrief{PID: 99, Name: "rstkill"}}
	forged.Cause = fact.CauseVerdict{ID: "forged-rst", Title: "Somebody forged the reset", Grade: fact.Possible, Score: 0.6}
	forged.Effect = fact.Effect{Accepted: "challenged"}
	forged.Story = "f-1"

	silent := base
	silent.ID, silent.Outcome = "f-6", "timeout"
	silent.Sender = fact.Sender{Role: fact.Nobody}
	silent.Cause = fact.CauseVerdict{ID: "retransmission-timeout", Title: "No answer", Grade: fact.Probable, Score: 0.9}
	silent.Effect = fact.Effect{AppError: "ETIMEDOUT", BytesLost: new(int64(23_400))}
	return []fact.Finding{unread, refused, hostile, benign, forged, silent}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name string
		st   Style
	}{
		{"pipe", Style{}},
		{"wide", Style{Width: 150}},
		{"120", Style{Width: 120}},
		{"110", Style{Width: 110}},
		{"80", Style{Width: 80}},
		{"40", Style{Width: 40}},
		{"color", Style{Width: 120, Color: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintln(&b, c.st.Header())
			for _, f := range samples() {
				line := c.st.Line(&f)
				for l := range strings.SplitSeq(line, "\n") {
					if c.st.Width > 0 && !c.st.Color && cells(l) > c.st.Width {
						t.Errorf("line takes %d cells: %s", cells(l), l)
					}
				}
				fmt.Fprintln(&b, line)
			}
			f := samples()[0]
			b.WriteString(c.st.Details(&f) + c.st.Why(&f))
			golden(t, "testdata/text-"+c.name+".golden", b.String())
		})
	}
}

func TestMachineForms(t *testing.T) {
	f := samples()[0]
	f.Case = nil
	for name, write := range map[string]func(*bytes.Buffer) error{
		"json":   func(b *bytes.Buffer) error { return JSON(b, f) },
		"ndjson": func(b *bytes.Buffer) error { return NDJSON(b, f) },
		"yaml":   func(b *bytes.Buffer) error { return YAML(b, f) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/finding."+name+".golden", b.String())
		})
	}
}

func TestEndsWithoutAddresses(t *testing.T) {
	sender, receiver := Ends(&fact.Finding{})
	if sender != "unknown (?)" || receiver != "?" {
		t.Errorf("got %q and %q", sender, receiver)
	}
}
