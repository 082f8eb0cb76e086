package cli

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/knowledge"
)

// claims are what texts say of a case, and whether it holds there. A text that
// matches must not be printed where its claim does not hold.
var claims = []struct {
	says  *regexp.Regexp
	holds func(*fact.Case, *fact.Finding) bool
}{
	{regexp.MustCompile(`\?`), never},
	{regexp.MustCompile(`\b0 (bytes|segments|times)\b`), never},
	{regexp.MustCompile(`\{\{|\}\}|\x00`), never},
	{regexp.MustCompile(`(?i)were (still )?unread|never read`), func(c *fact.Case, _ *fact.Finding) bool {
		return any0(c.Sender.Sock.Unread, c.Sender.Dead.Unread, c.Sender.Sock.BytesRecv, c.Receiver.Sock.Unacked, c.Receiver.Sock.Unread, c.Receiver.Sock.BytesSent, c.Wire.Unacked)
	}},
	{regexp.MustCompile(`(?i)[0-9] (bytes|KiB|MiB) .{0,40}(lost|discarded|thrown away)`), func(c *fact.Case, _ *fact.Finding) bool {
		return any0(c.Sender.Sock.Unread, c.Sender.Sock.Unacked, c.Sender.Sock.Unsent, c.Receiver.Sock.Unacked, c.Receiver.Sock.Unsent, c.Wire.Unacked, c.Trigger.PayloadSize, c.Sender.Dead.Unread, c.Sender.Dead.Unacked)
	}},
	{regexp.MustCompile(`(?i)the log (of the process )?says|'s log says`), func(c *fact.Case, _ *fact.Finding) bool {
		return c.Log.Text.State() == fact.Present || c.Log.ReceiverText.State() == fact.Present
	}},
	{regexp.MustCompile(`(?i)the client had acknowledged`), func(c *fact.Case, _ *fact.Finding) bool { return c.Wire.Handshake.Or(false) }},
	{regexp.MustCompile(`(?i)there was no connection`), func(c *fact.Case, _ *fact.Finding) bool {
		return !c.Sender.Had.Or(false) && !c.Sender.Dead.Known.Or(false)
	}},
	{regexp.MustCompile(`(?i)nobody was hurt`), func(_ *fact.Case, f *fact.Finding) bool { return !f.Harmful }},
	{regexp.MustCompile(`(?i)still sent data|kept sending`), func(c *fact.Case, _ *fact.Finding) bool { return c.Trigger.PayloadSize.Or(1) > 0 }},
	{regexp.MustCompile(`kworker|ksoftirqd|swapper`), never},
}

func never(*fact.Case, *fact.Finding) bool { return false }

// any0 reports whether one of the amounts is above 0, or none is known.
func any0(list ...fact.Opt[int64]) bool {
	known := false
	for _, o := range list {
		n, ok := o.Get()
		if n > 0 {
			return true
		}
		known = known || ok
	}
	return !known
}

// checkClaims holds every text of a finding against the facts of its case.
func checkClaims(t *testing.T, c *fact.Case, f *fact.Finding) {
	t.Helper()
	texts := []string{f.Cause.Says, f.Effect.Says, f.Sender.Says}
	for _, p := range f.Proof {
		texts = append(texts, p.Says)
	}
	for _, text := range texts {
		for _, k := range claims {
			if k.says.MatchString(text) && !k.holds(c, f) {
				t.Errorf("%s, %s: %q claims what does not hold (%s)", f.Sender.Role, f.Cause.ID, text, k.says)
			}
		}
		if text != "" && strings.TrimSpace(text) != text {
			t.Errorf("%q has space around it", text)
		}
	}
}

// TestTextsHold renders every text for every recorded case of the laboratory.
func TestTextsHold(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.json")
	if err != nil {
		t.Fatal(err)
	}
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		rec, err := readRecording(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(rec.Scenario, func(t *testing.T) {
			for _, c := range rec.Cases {
				f := base.Explain(c, diagnosis.Options{})
				checkClaims(t, c, &f)
			}
		})
	}
}
