package probe

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// A contrast tells what makes an exchange fail: the failing arm and one that differs in a
// single thing take turns, and the control must still work at the end. Five of five
// against none of five is a difference that chance makes once in 126 such runs (Fisher's
// exact test, two-sided); less is none.
const contrastPairs = 5

// controlName is the server name of the control: reserved, so that no policy names it
// (RFC 6761 6.5).
const controlName = "control.example"

// contrastName asks whether a TLS handshake fails because of the server name in it, at
// the first address. It needs a name, and a failure that no server answered.
func (r *run) contrastName(ctx context.Context) {
	name := r.serverName()
	if _, err := netip.ParseAddr(name); err == nil || name == controlName || len(r.addrs) == 0 {
		return
	}
	st := Stage{Stage: "contrast"}
	begin := time.Now()
	steps := []step{{"connect", connect}, {"tls", shakeHands}}
	var failed, controlFailed int
	for range contrastPairs {
		for _, sni := range []string{controlName, name} {
			if ctx.Err() != nil {
				return
			}
			r.sni = sni
			r.drop(r.addrs[0])
			t := r.trial(ctx, r.addrs[0], steps)
			r.drop(r.addrs[0])
			t.Arm = "server name " + sni
			st.Trials = append(st.Trials, t)
			heard := t.Ended == "ok" || t.Ended == "answered"
			switch {
			case sni == name && !heard && t.Ended != "failed": // what failed here says nothing of the name
				failed++
			case sni != name && !heard:
				controlFailed++
			}
		}
	}
	r.sni = ""
	st.TookMS = ms(time.Since(begin))
	st.Result = fmt.Sprintf("with the server name %s %d of %d fail, with %s %d of %d", name, failed, contrastPairs, controlName, controlFailed, contrastPairs)
	st.Verdict = "no difference"
	if failed == contrastPairs && controlFailed == 0 {
		st.Verdict = "difference"
		r.res.named = true
		r.res.difference = st.Result
	} else if failed == contrastPairs {
		st.Result += "; this tells nothing of the name if the failures before made something block this client for a while"
	}
	r.end(st)
	if r.res.named {
		switch how := together(st.Trials, "server name "+name); how {
		case "reset", "timeout": // other ends, such as an ICMP error, look like those of a small TTL
			r.locateName(ctx, how == "reset")
		}
	}
}

// unanswered says whether every trial of a stage ended without a word of the server.
func unanswered(st *Stage) bool {
	for _, t := range st.Trials {
		if t.Ended == "ok" || t.Ended == "answered" || t.Ended == "failed" {
			return false
		}
	}
	return true
}

// together is how all trials of an arm ended, "" when not all in the same way.
func together(trials []Trial, arm string) (how string) {
	for _, t := range trials {
		switch {
		case t.Arm != arm:
		case how == "":
			how = t.Ended
		case how != t.Ended:
			return ""
		}
	}
	return how
}
