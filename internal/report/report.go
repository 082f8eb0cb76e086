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
	ASCII bool // draw ladders and tables with ASCII only
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
	if r, ok := f.Case.Sender.Role.Get(); ok {
		return r == "client", true
	}
	if r, ok := f.Case.Receiver.Role.Get(); ok {
		return r == "server", true
	}
	return false, false
}

// end is one side of a line: who, and the address in whose name.
type end struct {
	who  string // process, or what stands for it; may be empty
	addr netip.AddrPort
	port bool // the port matters: it is the server's
	own  bool // who is a process at that address, not somebody acting in its name
}

// fit writes the end in at most n cells where that is possible by leaving out
// the address or the port; n <= 0 means no limit.
func (e end) fit(n int) string {
	full := e.who + " " + address(e.addr, e.port)
	switch {
	case e.who == "":
		return address(e.addr, e.port)
	case !e.own:
		full = e.who + " (" + address(e.addr, e.port) + ")"
	}
	if n <= 0 || cells(full) <= n || !e.own {
		return full
	}
	if short := fmt.Sprintf("%s :%d", e.who, e.addr.Port()); e.port && cells(short) <= n {
		return short
	}
	return e.who
}

// Ends returns who sent the reset and whom it hit, each as a short text such as
// "nginx[812] 10.0.0.7:80" and "curl[991] 10.0.0.5". The text is clean.
func Ends(f *fact.Finding) (sender, receiver string) {
	s, r := ends(f)
	return s.fit(0), r.fit(0)
}

func ends(f *fact.Finding) (sender, receiver end) {
	client, _ := senderIsClient(f) // unknown: most resets travel towards the client
	sender, receiver = end{addr: f.Flow.Server, port: true}, end{addr: f.Flow.Client}
	if client {
		sender, receiver = receiver, sender
	}
	sender.who, sender.own = senderText(f)
	receiver.who, receiver.own = receiverProcess(f), true
	return sender, receiver
}

func senderText(f *fact.Finding) (who string, own bool) {
	p := processText(f.Sender.Process)
	switch f.Sender.Role {
	case fact.ClientApp, fact.ServerApp:
		if p != "" {
			return p, true
		}
		return "application", false
	case fact.ClientKernel, fact.ServerKernel:
		return "kernel", false
	case fact.LocalFirewall:
		return "firewall", false
	case fact.Middlebox:
		return "middlebox", false
	case fact.Injector:
		if p != "" {
			return "forged by " + p, false
		}
		return "forged", false
	case fact.Nobody:
		return "nobody", false
	}
	return "unknown", false
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

func receiverProcess(f *fact.Finding) string {
	if f.Case == nil {
		return ""
	}
	p := &f.Case.Receiver.Proc
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
	unreadIsAllLost := e.BytesUnread != nil && e.BytesLost != nil && *e.BytesUnread == *e.BytesLost
	if e.BytesLost != nil && *e.BytesLost > 0 && !unreadIsAllLost {
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
