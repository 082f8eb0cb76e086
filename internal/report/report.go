// Package report writes findings for people and for programs: a line, a block
// with proof and fixes, JSON, NDJSON and YAML, and the JSON Schema of the
// latter. It decides nothing: what a finding says was decided by package
// diagnosis.
//
// Everything that reaches a terminal passes [Clean]: names of processes, bytes
// of packets and lines of logs are written by strangers.
package report

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

// Style says how text looks. The zero value is plain text without a limit of
// width, as for a file or a pipe.
type Style struct {
	Color bool // ANSI colours
	Width int  // cells of the terminal; 0 means no limit
	Date  bool // write the date before the time
}

// The colours. They are SGR parameters.
const (
	red     = "31"
	green   = "32"
	yellow  = "33"
	magenta = "35"
	cyan    = "36"
	bold    = "1"
	dim     = "2"
	redBold = "1;31"
)

func (st Style) paint(sgr, s string) string {
	if !st.Color || sgr == "" || s == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// Bold returns s in bold, when the style has colours. s is not cleaned.
func (st Style) Bold(s string) string { return st.paint(bold, s) }

// Dim returns s dimmed, when the style has colours. s is not cleaned.
func (st Style) Dim(s string) string { return st.paint(dim, s) }

// Good returns s in green, when the style has colours. s is not cleaned.
func (st Style) Good(s string) string { return st.paint(green, s) }

// Bad returns s in red, when the style has colours. s is not cleaned.
func (st Style) Bad(s string) string { return st.paint(redBold, s) }

// Bytes writes a count of bytes for people: 999 B, 1.4 kB, 23 MB.
func Bytes(n int64) string {
	v, units := float64(n), []string{"kB", "MB", "GB", "TB"}
	if n < 1000 && n > -1000 {
		return fmt.Sprintf("%d B", n)
	}
	i := -1
	for v >= 999.5 && i < len(units)-1 || i < 0 {
		v /= 1000
		i++
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, units[i])
	}
	return fmt.Sprintf("%.0f %s", v, units[i])
}

// client reports whether the RST was sent in the client's name; known is false
// when the finding does not tell.
func senderIsClient(f *fact.Finding) (client, known bool) {
	switch f.Sender.Role {
	case fact.ClientApp, fact.ClientKernel:
		return true, true
	case fact.ServerApp, fact.ServerKernel:
		return false, true
	}
	if f.Case == nil {
		return false, false
	}
	if r, ok := f.Case.Emit.Role.Get(); ok {
		return r == "client", true
	}
	if r, ok := f.Case.Victim.Role.Get(); ok {
		return r == "server", true
	}
	return false, false
}

// Ends returns who sent the reset and whom it hit, each as a short text such as
// "nginx[812] 10.0.0.7:80" and "curl[991] 10.0.0.5". The text is clean.
func Ends(f *fact.Finding) (sender, receiver string) {
	client, _ := senderIsClient(f) // unknown: most resets travel towards the client
	from, to := address(f.Flow.Server, true), address(f.Flow.Client, false)
	if client {
		from, to = address(f.Flow.Client, false), address(f.Flow.Server, true)
	}
	return senderText(f, from), strings.TrimLeft(victimProcess(f)+" "+to, " ")
}

func senderText(f *fact.Finding, addr string) string {
	who := ""
	switch f.Sender.Role {
	case fact.ClientApp, fact.ServerApp:
		if p := processText(f.Sender.Process); p != "" {
			return p + " " + addr
		}
		who = "application"
	case fact.ClientKernel, fact.ServerKernel:
		who = "kernel"
	case fact.LocalFirewall:
		who = "firewall"
	case fact.Middlebox:
		who = "middlebox"
	case fact.Injector:
		who = "forged by " + processText(f.Sender.Process)
		if f.Sender.Process == nil {
			who = "forged"
		}
	case fact.Nobody:
		who = "nobody"
	default:
		who = "unknown"
	}
	return who + " (" + addr + ")"
}

// address writes an end; an ephemeral port says little, so it is left out.
func address(a netip.AddrPort, port bool) string {
	if !a.Addr().IsValid() {
		return "?"
	}
	ip := a.Addr().Unmap()
	if !port || a.Port() == 0 {
		return ip.String()
	}
	return netip.AddrPortFrom(ip, a.Port()).String()
}

func processText(p *fact.ProcessBrief) string {
	switch {
	case p == nil || p.Name == "" && p.PID == 0:
		return ""
	case p.PID == 0:
		return Clean(p.Name)
	}
	return fmt.Sprintf("%s[%d]", Clean(p.Name), p.PID)
}

func victimProcess(f *fact.Finding) string {
	if f.Case == nil {
		return ""
	}
	p := &f.Case.Victim.Proc
	return processText(&fact.ProcessBrief{PID: p.PID.Or(0), Name: p.Name.Or("")})
}

// Effect returns what the reset cost, in a few words; "" when that is unknown.
func Effect(f *fact.Finding) string {
	e := &f.Effect
	switch e.Accepted {
	case "challenged", "ignored", "timewait":
		return "not accepted, connection lives"
	}
	var parts []string
	if e.BytesUnread != nil && *e.BytesUnread > 0 {
		parts = append(parts, Bytes(*e.BytesUnread)+" never read")
	}
	if e.BytesLost != nil && *e.BytesLost > 0 {
		parts = append(parts, Bytes(*e.BytesLost)+" lost")
	}
	if e.ProcessDied != nil && *e.ProcessDied {
		parts = append(parts, "process died")
	}
	if e.AppError != "" {
		parts = append(parts, Clean(e.AppError))
	}
	if len(parts) == 0 && !f.Harmful {
		return "harmless"
	}
	return strings.Join(parts, ", ")
}
