package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"time"
)

// hit is what came of a payload that lives for so many hops.
type hit uint8

const (
	failed   hit = iota // no connection came about, so that nothing was asked
	silent              // nothing
	wasReset            // a RST
	expired             // a router said that its time was exceeded
	answered            // the server answered, or closed
)

// border is where on the path something acts: between the hops before and after. A rule
// in the forwarding of router n acts behind its TTL check, so that the border is n|n+1; one
// that sees the packet first acts at n-1|n. Which of the two a router is cannot be told.
type border struct {
	before, after int
	server        int  // hops to who answers the SYN, 0 when not found
	confirmed     bool // both sides twice, and the control passed
}

func (b *border) String() string {
	if b.before == 0 {
		return "between this host and hop 1"
	}
	return fmt.Sprintf("between hop %d and hop %d", b.before, b.after)
}

const maxHops = 30

// shots are what a search sends; tests replace them.
type shots struct {
	trigger, control func(ttl int) hit
	reach            func(ttl int) bool
}

// locate finds the border for a trigger that is reset, or else dropped. ok is false when
// it cannot be told: routers that stay silent look like a device that drops.
func (s *shots) locate(reset bool) (b border, ok bool) {
	b.server = least(1, maxHops, s.reach)
	if b.server == 0 {
		return b, false
	}
	acted := func(ttl int) bool {
		if reset {
			return s.trigger(ttl) == wasReset
		}
		return s.trigger(ttl) == silent
	}
	b.after = least(1, b.server, acted)
	if b.after == 0 {
		return b, false // at full distance nothing happened: the failure has gone
	}
	b.before = b.after - 1
	b.confirmed = s.confirm(&b, acted)
	return b, b.confirmed
}

// confirm repeats both sides of the border, and wants the control to pass it.
func (s *shots) confirm(b *border, acted func(int) bool) bool {
	for range 2 {
		if !acted(b.after) || b.before > 0 && s.trigger(b.before) != expired {
			return false
		}
	}
	switch s.control(b.after) {
	case expired:
		return b.after < b.server
	case answered:
		return b.after == b.server
	}
	return false
}

// least is the smallest ttl from low to high for which f holds, if f holds from there on;
// 0 when it holds nowhere.
func least(low, high int, f func(int) bool) int {
	if !f(high) {
		return 0
	}
	for low < high {
		if mid := (low + high) / 2; f(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return high
}

// locateName finds where handshakes with the server name are reset or dropped.
func (r *run) locateName(ctx context.Context, reset bool) {
	if !canLocate {
		return
	}
	if len(r.hello(r.serverName())) > oneSegment {
		return
	}
	st := Stage{Stage: "hops", Verdict: "unknown"}
	begin := time.Now()
	to := r.addrs[0]
	with := func(sni string) func(int) hit {
		payload := r.hello(sni)
		return func(ttl int) hit {
			if ctx.Err() != nil {
				return failed
			}
			r.connection()
			h, err := shoot(ctx, to, ttl, payload)
			if err != nil {
				return failed
			}
			return h
		}
	}
	s := shots{trigger: with(r.serverName()), control: with(controlName), reach: func(ttl int) bool {
		r.connection()
		return reach(ctx, to, ttl)
	}}
	b, ok := s.locate(reset)
	st.TookMS = ms(time.Since(begin))
	st.Result = fmt.Sprintf("cannot be told: the border between hop %d and %d could not be confirmed", b.before, b.after)
	switch {
	case b.server == 0:
		st.Result = "cannot be told: the distance of the server was not found"
	case b.after == 0:
		st.Result = "cannot be told: a handshake that goes all the way did not fail this time"
	case ok && b.after == b.server:
		st.Verdict, st.Result = "found", fmt.Sprintf("at the last of %d hops: the server, its firewall, or a balancer before it", b.server)
	case ok:
		st.Verdict, st.Result = "found", fmt.Sprintf("%s; the server is %d hops away; confirmed, and the other name passes there", &b, b.server)
		r.res.border = &b
	}
	r.end(st)
}

// oneSegment is the most that surely leaves as one segment. Of a payload in two, one
// could be dropped and the other expire, which would put the border too far.
const oneSegment = 1000

// hello is the ClientHello that a handshake with a server name begins with, without
// post-quantum key exchange, so that it is short.
func (r *run) hello(sni string) []byte {
	r.sni = sni
	defer func() { r.sni = "" }()
	conf := r.tlsConfig()
	conf.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	var w firstWrite
	_ = tls.Client(&w, conf).Handshake()
	return w.b
}

// firstWrite keeps what is written, and gives nothing.
type firstWrite struct {
	net.Conn
	b []byte
}

func (w *firstWrite) Write(b []byte) (int, error) { w.b = append(w.b, b...); return len(b), nil }

func (w *firstWrite) Read([]byte) (int, error) { return 0, errNothing }

func (w *firstWrite) SetDeadline(time.Time) error { return nil }

func (w *firstWrite) SetWriteDeadline(time.Time) error { return nil }

func (w *firstWrite) Close() error { return nil }

var errNothing = errors.New("nothing to read")
