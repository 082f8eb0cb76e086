package diagnosis

import (
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-project/holdfast/fact"
)

func TestTemplates(t *testing.T) {
	c := caseWith(t, map[string]any{
		"sender.reason": "NO_SOCKET", "sender.sock.unread_bytes": 1536, "sender.sock.age_ms": 350123.4, "sender.sock.srtt_us": 12,
		"sender.seen": true, "sender.proc.signal": nil, "sender.sock.lost": 0,
	})
	c.Host = "web1"
	for source, want := range map[string]string{
		"  plain\n": "plain",
		"{{.sender.reason}}, {{.sender.sock.unread_bytes}}, {{.sender.sock.age_ms}}, {{.sender.seen}}":             "NO_SOCKET, 1536, 350123.4, true",
		"{{.sender.proc.signal}} {{.sender.call}} {{bytes .sender.sock.unacked_bytes}}":                            "",
		"{{bytes .sender.sock.unread_bytes}} {{dur .sender.sock.age_ms}} {{.sender.sock.srtt_us | dur}}":           "1.5 KiB 350 s 12 µs",
		"{{if .sender.proc.signal}}a{{else if .sender.seen}}b{{else}}c{{end}}":                                     "b",
		`{{if eq .sender.reason "X" "NO_SOCKET"}}yes{{end}}{{if ne .sender.call "x"}}no{{end}}`:                    "yes",
		`{{if and (gt .sender.sock.unread_bytes 1000) (le .sender.sock.lost 0)}}both{{end}}`:                       "both",
		`{{or .sender.proc.name "a process"}} on {{.host}}. From {{.flow.client}}! Really? Yes.`:                   "a process on web1. Really? Yes.",
		"It held {{bytes .sender.sock.lost}} of 1.5 MB. It had {{bytes .sender.sock.unread_bytes}}":                "It had 1.5 KiB",
		`{{if not (present .sender.call)}}nobody looked{{end}}{{/* comment */}}`:                                   "nobody looked",
		"{{.sender.sock.lost}} {{if .sender.sock.lost}}lost{{else}}none{{end}} {{ge .sender.sock.unread_bytes 1}}": "0 none true",
	} {
		tm, problems := CompileTemplate(Text{S: source})
		if problems != nil {
			t.Errorf("%s: %v", source, problems)
			continue
		}
		if got := tm.Render(c); got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
}

func TestTemplateProblems(t *testing.T) {
	for source, want := range map[string]string{
		"{{.sender.raeson}}":              `f:1:10: template: unknown fact "sender.raeson" (did you mean sender.reason?)`,
		"a\n b {{.sender.reason":          "template: unclosed action",
		"{{range .sender.reason}}":        "template: ",
		"{{range .sender.reason}}{{end}}": "unsupported construct",
		"{{$x := .sender.reason}}":        "variables are not supported",
		"{{printf .sender.reason}}":       "unknown function printf",
		"{{bytes}}":                       "takes 1 argument",
		"{{.sender.reason 1}}":            "is not a function",
		"{{template \"x\"}}":              "unsupported construct",
		"{{.}}":                           "unsupported value",
	} {
		_, problems := CompileTemplate(Text{S: source, Pos: Pos{File: "f", Line: 1, Column: 1}})
		if len(problems) == 0 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%s: %v, want %s", source, problems, want)
		}
	}
}

// hostile are values that a peer, a process name or a log line may hold.
var hostile = []string{
	"{{.sender.reason}}", "{{end}}", "\x1b[2J\x1b]0;owned\x07", "a\r\nroot: all fine", "\xff\xfe\x00", "\u202egnp.exe",
	strings.Repeat("A", 100000), "", "<script>", "%s%n", "\u200b",
}

func TestHostileValues(t *testing.T) {
	tm, _ := CompileTemplate(Text{S: "x {{.sender.proc.name}} y"})
	for _, s := range hostile {
		c := &fact.Case{}
		c.Sender.Proc.Name = fact.Some(s)
		got := tm.Render(c)
		if !strings.HasPrefix(got, "x ") || !strings.HasSuffix(got, " y") || len(got) > 10*maxValue {
			t.Errorf("%.40q became %.80q", s, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("%.40q became %.80q", s, got)
		}
	}
}
