package diagnosis

import (
	"crypto/sha1" //nolint:gosec // Community ID is defined with it
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// findingID is the same for the same case, and differs between runs and hosts.
func findingID(c *fact.Case) string {
	var room [256]byte
	b := append(room[:0], c.Host...)
	b = append(b, 0)
	b = append(b, c.Source...)
	b = append(b, 0)
	b = c.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, 0)
	b = append(b, c.ID...)
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:8])
}

// CommunityID returns the Community ID v1 (seed 0) of a TCP connection, the
// same in both directions; empty when an address is not known.
// https://github.com/corelight/community-id-spec
func CommunityID(a, b netip.AddrPort) string {
	if !a.IsValid() || !b.IsValid() {
		return ""
	}
	a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	b = netip.AddrPortFrom(b.Addr().Unmap().WithZone(""), b.Port())
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	const tcp = 6
	var room [2 + 16 + 16 + 2 + 4]byte
	buf := room[:2] // the seed
	buf = appendAddr(buf, a.Addr())
	buf = appendAddr(buf, b.Addr())
	buf = append(buf, tcp, 0)
	buf = binary.BigEndian.AppendUint16(buf, a.Port())
	buf = binary.BigEndian.AppendUint16(buf, b.Port())
	sum := sha1.Sum(buf)
	return "1:" + base64.StdEncoding.EncodeToString(sum[:])
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(b, v[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

// senderOf writes what the verdict says about the sender.
func (b *Base) senderOf(c *fact.Case, v *verdict) fact.Sender {
	s := fact.Sender{Role: fact.UnknownSender, Grade: fact.Unknown, Score: v.senderProb}
	if v.sender < 0 {
		return s
	}
	k := &b.senders[v.sender]
	s.Role, s.Grade, s.Says = k.id, v.senderGrade, k.says.Render(c)
	s.Where = where(c, s.Role)
	s.Process = process(c, s.Role)
	switch s.Role {
	case fact.ClientApp, fact.ClientKernel, fact.ServerApp, fact.ServerKernel, fact.LocalFirewall:
		if c.Sender.Watched.Or(false) || c.RST.OriginHere.Or(false) {
			s.Host = c.Host
		}
	case fact.Middlebox, fact.Injector:
		if c.RST.OriginHere.Or(false) {
			s.Host = c.Host
		}
	}
	return s
}

// where is the address, rule or device of the sender; empty when not known.
func where(c *fact.Case, role string) string {
	addr := func(a netip.AddrPort) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	switch role {
	case fact.ClientApp, fact.ClientKernel:
		return addr(c.Flow.Client)
	case fact.ServerApp, fact.ServerKernel:
		return addr(c.Flow.Server)
	case fact.LocalFirewall, fact.Middlebox:
		if r, ok := c.FW.Rule.Get(); ok {
			return string(appendSafe(nil, r))
		}
		if h, ok := c.FW.Hook.Get(); ok {
			return "netfilter hook " + h
		}
		if c.FW.ThirdParty.Or(false) {
			return "a network namespace between the ends"
		}
	case fact.Injector:
		if n, ok := c.RST.OriginName.Get(); ok {
			return "raw socket of " + string(appendSafe(nil, n))
		}
	}
	return ""
}

// process names the process of the emitting end, alive or remembered; for an
// injector the one that wrote the RST. It is nil when none is known.
func process(c *fact.Case, role string) *fact.ProcessBrief {
	switch role {
	case fact.Injector:
		return brief(c.RST.OriginPID, c.RST.OriginName)
	case fact.ClientApp, fact.ClientKernel, fact.ServerApp, fact.ServerKernel:
	default:
		return nil
	}
	p := &c.Sender.Proc
	if b := brief(p.PID, p.Name); b != nil {
		b.Exe, b.Unit, b.Pod = p.Exe.Or(""), p.Unit.Or(""), p.Pod.Or("")
		b.Container = p.ContainerName.Or(p.ContainerID.Or(""))
		return b
	}
	if b := brief(c.Sender.Dead.PID, c.Sender.Dead.Name); b != nil {
		return b
	}
	return brief(c.Sender.Listener.PID, c.Sender.Listener.Name)
}

func brief(pid fact.Opt[int64], name fact.Opt[string]) *fact.ProcessBrief {
	if pid.State() != fact.Present && name.State() != fact.Present {
		return nil
	}
	return &fact.ProcessBrief{PID: pid.Or(0), Name: name.Or("")}
}

// effect says what the event cost. Bytes lost are those that the emitter had
// received and never read, and those that either end had accepted from its
// application and never saw acknowledged; the sum is of what was looked at.
func effect(c *fact.Case) fact.Effect {
	e := fact.Effect{Accepted: c.RST.Accepted.Or(""), AppError: c.Receiver.Error.Or("")}
	unread, unacked, unsent := c.Sender.Sock.Unread, c.Sender.Sock.Unacked, c.Sender.Sock.Unsent
	if c.Sender.Sock.Known.State() != fact.Present || !c.Sender.Sock.Known.Or(false) {
		unread, unacked = first(unread, c.Sender.Dead.Unread), first(unacked, c.Sender.Dead.Unacked)
	}
	if n, ok := unread.Get(); ok {
		e.BytesUnread = &n
	}
	if outcome := c.Outcome.Or(""); outcome != "survived" && outcome != "none" {
		e.BytesLost = sum(unread, unacked, unsent, inFlight(c), c.Receiver.Sock.Unsent)
	}
	e.ProcessDied = died(c)
	return e
}

// inFlight is what the other end had sent and the emitting one had not received.
// Without that end's socket it is what was not acknowledged, which also holds
// what had arrived and whose acknowledgement waited.
func inFlight(c *fact.Case) fact.Opt[int64] {
	sent, okSent := c.Receiver.Sock.BytesSent.Get()
	received, okReceived := first(c.Sender.Sock.BytesRecv, c.Sender.Dead.Received).Get()
	unacked, ok := c.Receiver.Sock.Unacked.Get()
	if ok && okSent && okReceived && c.Receiver.Sock.TotalRetr.Or(1) == 0 {
		return fact.Some(max(min(sent-received, unacked), 0))
	}
	return c.Receiver.Sock.Unacked
}

func first(a, b fact.Opt[int64]) fact.Opt[int64] {
	if a.State() == fact.Present {
		return a
	}
	return b
}

// sum adds the present values; nil when there is none.
func sum(list ...fact.Opt[int64]) *int64 {
	var total *int64
	for _, o := range list {
		n, ok := o.Get()
		switch {
		case !ok:
		case total == nil:
			total = &n
		default:
			*total += n
		}
	}
	return total
}

// died says whether the emitting process was ending; nil when nobody looked.
func died(c *fact.Case) *bool {
	looked, yes := false, false
	for _, o := range []fact.Opt[bool]{c.Sender.Proc.Exiting, c.Sender.Proc.OOM, c.Sender.Dead.Exiting} {
		looked = looked || o.State() != fact.NotLooked
		yes = yes || o.Or(false)
	}
	for _, o := range []fact.Opt[string]{c.Sender.Proc.Signal, c.Sender.Dead.Signal} {
		yes = yes || o.State() == fact.Present
	}
	if !looked && !yes {
		return nil
	}
	return &yes
}
