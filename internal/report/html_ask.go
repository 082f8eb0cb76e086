package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// asking is a request to those who can answer for a sender.
type asking struct {
	to    string
	steps []string
}

// asks are the requests by role of the sender.
var asks = map[string]asking{
	fact.Middlebox: {"the operator of the network between client and server (firewall, load balancer, NAT gateway, proxy, VPN)", []string{
		"Which device on this way holds state for the connection below? Please name it and its task.",
		"What are its idle timer and its limits for TCP connections, and does it send a reset or nothing when they end a connection?",
		"Does its session log show this connection at the time below, and with which reason for its end (idle, policy, table full, failover, restart)?",
		"Which values can we rely on? We then keep our own timers and keepalives below them. If they are shorter than your documentation says, please correct them.",
	}},
	fact.Injector: {"the network operator or security team responsible for the way between client and server", []string{
		"Does an intrusion prevention system, content filter or other inspection send resets on this way? Please check its log for the connection and time below.",
		"If so: which rule matched, and can this traffic be excepted?",
		"If not: the reset was forged by somebody else. Please look for its source; TTL and IP ID are in the evidence below.",
	}},
	fact.ServerApp: {"the owner of the server's program", []string{
		"Does the program's log say why it ended the connection below at this time (limit, timeout, error, restart)?",
		"Did it close the socket with data unread, or with SO_LINGER set to zero? Both turn a close into a reset.",
		"Which timeout or limit applies here, and may clients rely on it?",
	}},
	fact.ServerKernel: {"the operator of the server", []string{
		"Did a program listen on this address and port at the time below, and was it restarted or overloaded (ss -ltnp, nstat -az TcpExtListenOverflows)?",
		"Did the server or its container restart, move or lose its connections then?",
	}},
	fact.ClientApp: {"the owner of the client's program", []string{
		"Does the program's log say why it gave the connection below up at this time (timeout, cancelled request, crash)?",
		"Which timeout applies, and is it longer than the server needs in the worst case?",
	}},
	fact.ClientKernel: {"the operator of the client", []string{
		"Did the program on the client end, crash or time out at the time below?",
		"Did the client restart, or did its address change?",
	}},
	fact.LocalFirewall: {"the administrator of the host's firewall", []string{
		"Which rule rejects this connection with a reset (nft list ruleset, iptables-save)?",
		"Is that intended for this client, server and port?",
	}},
	fact.Nobody: {"the operator of the network between client and server", []string{
		"Nobody sent a reset: packets of this connection stopped arriving. Does a filter on the way drop them silently?",
		"Please check packet loss, routes and the path MTU at the time below.",
	}},
	fact.UnknownSender: {"everybody who can capture at another point of the way", []string{
		"Please capture this connection at the server, or at a point nearer to it, at the same time. Two captures tell who sent the reset.",
		"Please check the logs of your devices and programs for the connection and time below.",
	}},
}

// askView is the "what we ask you" part of a story.
type askView struct {
	To    string
	Steps []string
	Facts []pairView
}

type pairView struct{ Name, Value string }

// askOf writes the request of a story; nil for a benign one, where nobody has
// to act.
func askOf(s *Story) *askView {
	f := s.Findings[0]
	if !f.Harmful {
		return nil
	}
	a, ok := asks[f.Sender.Role]
	if !ok {
		a = asks[fact.UnknownSender]
	}
	v := &askView{To: a.to, Steps: a.steps}
	v.add("Connection", fmt.Sprintf("client %s, server %s, TCP", f.Flow.Client, f.Flow.Server))
	if f.Flow.CommunityID != "" {
		v.add("Community ID", f.Flow.CommunityID)
	}
	v.add("Time", utc(f.Time))
	if n := s.Terminations(); n > 1 {
		first, last := s.Span()
		text := number(n, "time")
		if last.After(first) {
			text += ", from " + utc(first) + " to " + utc(last)
		}
		v.add("Seen", text)
	}
	if f.Where != nil {
		v.add("In the capture", fmt.Sprintf("%s, tcp.stream eq %d, frame.number eq %d", f.Where.File, f.Where.Stream, f.Where.Frame))
	}
	v.measured(s.Ladder)
	return v
}

func (v *askView) add(name, value string) { v.Facts = append(v.Facts, pairView{name, value}) }

// measured adds what the ladder says of the reset: its fields, and the longest
// silence before it.
func (v *askView) measured(l *fact.Ladder) {
	if l == nil || len(l.Frames) == 0 {
		return
	}
	frames, _ := shown(l)
	steps := pace(frames)
	var idle time.Duration
	for i := range frames {
		f := &frames[i]
		if steps[i].gap && f.Skipped == 0 {
			idle = max(idle, steps[i].delta)
		}
		if f.Kind != fact.FrameReset {
			continue
		}
		if idle > 0 {
			v.add("Silence before", strings.TrimSuffix(silence(idle), " of silence"))
		}
		v.add("The reset", fmt.Sprintf("%s, from the %s's address, TTL %d, IP ID %d, window %d, %s after the packet before", labels(f)[2], side(f.FromClient), f.TTL, f.IPID, f.Window, span(steps[i].delta)))
		return
	}
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") + " UTC" }

// whoText says in a sentence who sent the reset.
func whoText(f *fact.Finding) string {
	p := processText(f.Sender.Process)
	client, known := senderIsClient(f)
	name := "one end"
	if known || f.Sender.Role == fact.Middlebox || f.Sender.Role == fact.Injector {
		name = "the " + side(client)
	}
	s := map[string]string{
		fact.ClientApp: "The program on the client", fact.ServerApp: "The program on the server",
		fact.ClientKernel: "The kernel of the client", fact.ServerKernel: "The kernel of the server",
		fact.LocalFirewall: "The firewall of the host", fact.Middlebox: "A device between client and server, in the name of " + name,
		fact.Injector: "Somebody on the way, in the name of " + name, fact.Nobody: "Nobody: the connection ended without a reset",
	}[f.Sender.Role]
	if s == "" {
		s = "Not known"
	}
	if p != "" {
		s += ", " + p
	}
	if f.Sender.Where != "" {
		s += " (" + f.Sender.Where + ")"
	}
	s += "."
	if f.Sender.Says != "" {
		s += " " + f.Sender.Says
	}
	return s
}

// sureText says how far the verdict can be trusted.
func sureText(f *fact.Finding) string {
	return fmt.Sprintf("Cause %s (%s), sender %s (%s).", gradeWord(f.Cause.Grade), percent(f.Cause.Score), gradeWord(f.Sender.Grade), percent(f.Sender.Score))
}

func gradeWord(g fact.Grade) string {
	if g == "" {
		return string(fact.Unknown)
	}
	return string(g)
}

func itoa(n int) string { return strconv.Itoa(n) }
