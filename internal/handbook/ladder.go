package handbook

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/fact"
)

// ladder draws what happens on the wire as two or three columns, from what the
// example of a cause says: its outcome, phase, form and who sent it.
func ladder(c *diagnosis.CauseSpec, example *fact.Case) []string {
	l := &drawing{}
	if len(c.Wire) > 0 {
		l.steps(c.Wire)
		return l.lines
	}
	if example == nil {
		return nil
	}
	outcome, role := example.Outcome.Or(""), example.Sender.Role.Or("server")
	phase := example.Phase.Or("")
	third := onlyThird(texts(c.Senders))
	seen := example.RST.Seen.Or(true)
	form := example.RST.Form.Or("")
	switch {
	case third != "":
		l.third(third, role, phase, form == "reply" || form == "refusal")
	case outcome == "refused" || form == "refusal":
		l.head("client", "server")
		l.right("SYN", "")
		l.left("RST, ACK", "nothing listens there, or something refuses")
	case outcome == "timeout" && phase == "connect":
		l.head("client", "server")
		l.right("SYN", "")
		l.right("SYN", "again after 1 s, then after 2, 4, 8 ... s")
		l.note("no answer; connect() ends with ETIMEDOUT")
	case outcome == "timeout" || !seen && outcome != "closed" && outcome != "unreachable":
		l.head("client", "server")
		l.right("data", "")
		l.right("data", "again, in growing intervals")
		l.note("no answer, until somebody gives up")
	case outcome == "unreachable":
		l.head("client", "server")
		l.right("SYN", "")
		l.note("an ICMP error, or none: no route to host")
	case form == "reply":
		l.answered(example, role)
	case outcome == "closed":
		l.head("client", "server")
		l.right("request", "")
		l.left("FIN", "closed, and an answer was owed")
	case form == "active-abort":
		l.aborted(example, role)
	default:
		return nil
	}
	return l.lines
}

// onlyThird is the third party that alone can be behind it, if any.
func onlyThird(senders []string) string {
	third := map[string]string{fact.Middlebox: "device", fact.Injector: "injector"}
	for _, r := range senders {
		if third[r] == "" {
			return ""
		}
	}
	if len(senders) == 0 {
		return ""
	}
	return third[senders[0]]
}

// steps draws what a cause says itself about the wire.
func (l *drawing) steps(steps []string) {
	for _, s := range steps {
		if s == "none" {
			return // nothing of it is on the wire
		}
		if len(l.lines) == 0 {
			l.head("client", "server")
		}
		kind, rest, _ := strings.Cut(s, " ")
		label, remark, _ := strings.Cut(rest, ": ")
		switch kind {
		case ">":
			l.right(label, remark)
		case "<":
			l.left(label, remark)
		default:
			l.note(rest)
		}
	}
}

// drawing is a ladder of fixed width.
type drawing struct{ lines []string }

const ladderWidth = 25

func (l *drawing) head(a, b string) {
	l.lines = append(l.lines, fmt.Sprintf("%-8s%s%8s", a, strings.Repeat(" ", ladderWidth-2), b))
}

// right and left draw a segment between the two ends, with a remark.
func (l *drawing) right(label, remark string) { l.arrow("--- "+label+" ", "->", remark) }
func (l *drawing) left(label, remark string)  { l.arrow("<-- "+label+" ", "--", remark) }

func (l *drawing) arrow(start, end, remark string) {
	line := start + strings.Repeat("-", max(0, ladderWidth+6-utf8.RuneCountInString(start)-len(end))) + end
	l.line("  |"+line+"|", remark)
}

func (l *drawing) note(remark string) { l.line("  |"+strings.Repeat(" ", ladderWidth+6)+"|", remark) }

func (l *drawing) line(s, remark string) {
	if remark != "" {
		s += "  " + remark
	}
	l.lines = append(l.lines, s)
}

// towards draws a segment sent by a role.
func (l *drawing) towards(role, label, remark string) {
	if role == "client" {
		l.right(label, remark)
	} else {
		l.left(label, remark)
	}
}

func other(role string) string {
	if role == "client" {
		return "server"
	}
	return "client"
}

// answered is a segment that met no living connection.
func (l *drawing) answered(c *fact.Case, role string) {
	l.head("client", "server")
	dead := c.Sender.Dead.How.Or("")
	switch {
	case dead == "exit":
		l.towards(role, "FIN", "the process of the "+role+" has ended")
	case dead == "close" || dead == "shutdown" || c.Wire.FIN.Or(false):
		l.towards(role, "FIN", "the "+role+" has closed")
	default:
		l.note("the " + role + " does not have the connection (any more)")
	}
	label := "data"
	if f := c.Trigger.Flags.Or(""); f == "S" || f == "SA" || f == "A" {
		label = map[string]string{"S": "SYN", "SA": "SYN, ACK", "A": "ACK"}[f]
	}
	l.towards(other(role), label, "")
	l.towards(role, "RST", "its kernel answers what belongs to no connection")
}

// aborted is a live connection that its own end cut off.
func (l *drawing) aborted(c *fact.Case, role string) {
	l.head("client", "server")
	if c.Sender.Sock.BytesRecv.Or(1) > 0 {
		l.towards(other(role), "data", "")
	}
	remark := "the " + role + " aborts a live connection"
	if c.Sender.Sock.Unread.Or(0) > 0 {
		remark = "closed with data unread"
	}
	if c.Sender.Proc.Exiting.Or(false) {
		remark = "its process has ended"
	}
	l.towards(role, "RST, ACK", remark)
}

// third is somebody between the ends.
func (l *drawing) third(who, role, phase string, answers bool) {
	l.lines = append(l.lines, fmt.Sprintf("%-8s%9s%10s%s%8s", "client", "", who, strings.Repeat(" ", 4), "server"))
	label := "data"
	if phase == "connect" {
		label = "SYN"
	}
	gap := strings.Repeat(" ", 12)
	switch {
	case who == "injector":
		l.lines = append(l.lines, "  |<-- RST ----------|"+gap+"|  in the name of the other end, which sent nothing")
	case role == "client":
		l.lines = append(l.lines, "  |"+strings.Repeat(" ", 18)+"|<-- "+label+" "+strings.Repeat("-", 8-len(label))+"|", "  |"+strings.Repeat(" ", 18)+"|--- RST --->|  in the name of the client")
	case answers:
		l.lines = append(l.lines, "  |--- "+label+" "+strings.Repeat("-", 11-len(label))+"->|"+gap+"|  it is not passed on", "  |<-- RST ----------|"+gap+"|  in the name of the server")
	default:
		l.lines = append(l.lines, "  |<-- RST ----------|--- RST --->|  to both ends, in each other's name")
	}
}
