package diagnosis

import (
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-project/holdfast/fact"
)

func TestTemplates(t *testing.T) {
	c := caseWith(t, map[string]any{
		"emit.reason": "NO_SOCKET", "emit.sock.unread_bytes": 1536, "emit.sock.age_ms": 350123.4, "emit.sock.srtt_us": 12,
		"emit.seen": true, "emit.proc.signal": nil, "emit.sock.lost": 0,
	})
	c.Host = "web1"
	for source, want := range map[string]string{
		"  plain\n": "plain",
		"{{.emit.reason}}, {{.emit.sock.unread_bytes}}, {{.emit.sock.age_ms}}, {{.emit.seen}}":               "NO_SOCKET, 1536, 350123.4, true",
		"{{.emit.proc.signal}} {{.emit.call}} {{bytes .emit.sock.unacked_bytes}}":                            "",
		"{{bytes .emit.sock.unread_bytes}} {{dur .emit.sock.age_ms}} {{.emit.sock.srtt_us | dur}}":           "1.5 KiB 350 s 12 µs",
		"{{if .emit.proc.signal}}a{{else if .emit.seen}}b{{else}}c{{end}}":                                   "b",
		`{{if eq .emit.reason "X" "NO_SOCKET"}}yes{{end}}{{if ne .emit.call "x"}}no{{end}}`:                  "yes",
		`{{if and (gt .emit.sock.unread_bytes 1000) (le .emit.sock.lost 0)}}both{{end}}`:                     "both",
		`{{or .emit.proc.name "a process"}} on {{.host}}. From {{.flow.client}}! Really? Yes.`:               "a process on web1. Really? Yes.",
		"It held {{bytes .emit.sock.lost}} of 1.5 MB. It had {{bytes .emit.sock.unread_bytes}}":              "It had 1.5 KiB",
		`{{if not (present .emit.call)}}nobody looked{{end}}{{/* comment */}}`:                               "nobody looked",
		"{{.emit.sock.lost}} {{if .emit.sock.lost}}lost{{else}}none{{end}} {{ge .emit.sock.unread_bytes 1}}": "0 none true",
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
		"{{.emit.raeson}}":              `f:1:8: template: unknown fact "emit.raeson" (did you mean emit.reason?)`,
		"a\n b {{.emit.reason":          "template: unclosed action",
		"{{range .emit.reason}}":        "template: ",
		"{{range .emit.reason}}{{end}}": "unsupported construct",
		"{{$x := .emit.reason}}":        "variables are not supported",
		"{{printf .emit.reason}}":       "unknown function printf",
		"{{bytes}}":                     "takes 1 argument",
		"{{.emit.reason 1}}":            "is not a function",
		"{{template \"x\"}}":            "unsupported construct",
		"{{.}}":                         "unsupported value",
	} {
		_, problems := CompileTemplate(Text{S: source, Pos: Pos{File: "f", Line: 1, Column: 1}})
		if len(problems) == 0 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%s: %v, want %s", source, problems, want)
		}
	}
}

// hostile are values that a peer, a process name or a log line may hold.
var hostile = []string{
	"{{.emit.reason}}", "{{end}}", "\x1b[2J\x1b]0;owned\x07", "a\r\nroot: all fine", "\xff\xfe\x00", "\u202egnp.exe",
	strings.Repeat("A", 100000), "", "<script>", "%s%n", "\u200b",
}

func TestHostileValues(t *testing.T) {
	tm, _ := CompileTemplate(Text{S: "x {{.emit.proc.name}} y"})
	for _, s := range hostile {
		c := &fact.Case{}
		c.Emit.Proc.Name = fact.Some(s)
		got := tm.Render(c)
		if !strings.HasPrefix(got, "x ") || !strings.HasSuffix(got, " y") || len(got) > 10*maxValue {
			t.Errorf("%.40q became %.80q", s, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("%.40q became %.80q", s, got)
		}
	}
}
