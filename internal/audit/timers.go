package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/chain"
	"github.com/holdfast-project/holdfast/internal/servers"
)

// ownRaces are senders whose race has a check of its own.
var ownRaces = []string{"nginx", "haproxy"}

// raceOf checks links whose sender is a product; empty: every other one.
func raceOf(product string) func(*looker) {
	return func(l *looker) {
		for i := range l.links {
			k := &l.links[i]
			if product == "" && slices.Contains(ownRaces, k.From.Product) || product != "" && k.From.Product != product {
				continue
			}
			if race := k.Race(); race != nil {
				l.race(k, race)
			}
		}
	}
}

func (l *looker) race(k *chain.Link, race *chain.Race) {
	a := Advice{Subject: k.From.Name() + " to " + k.To.Name() + " " + k.To.Addr, Severity: Latent,
		Is:   fmt.Sprintf("%s keeps idle connections for %s (%s), %s closes them after %s (%s)", k.From.Name(), chain.Amount(race.Reuse), chain.Origin(race.Reuse), k.To.Name(), chain.Amount(race.Close), chain.Origin(race.Close)),
		Want: "the side that sends closes first"}
	if k.Reuse().Never {
		a.Is = fmt.Sprintf("%s keeps idle connections without a limit, %s closes them after %s (%s)", k.From.Name(), k.To.Name(), chain.Amount(race.Close), chain.Origin(race.Close))
	}
	if v := k.Live; v != nil {
		if v.Connections > 0 || v.ServerClosed > 0 {
			a.Severity = Near
		}
		a.Evidence = append(a.Evidence, count("connections", int64(v.Connections), "now"))
		if v.ServerClosed+v.SenderClosed > 0 {
			a.Evidence = append(a.Evidence, Evidence{"closed first by the server", fmt.Sprintf("%d of %d", v.ServerClosed, v.ServerClosed+v.SenderClosed), "in TIME_WAIT"})
		}
	}
	for i, c := range race.Changes {
		fix, actions := l.timer(c)
		if i == 0 {
			a.Fix, a.Actions = fix, actions
			continue
		}
		a.Or = append(a.Or, c.String())
	}
	if race.Reuse.Note != "" {
		a.Evidence = append(a.Evidence, Evidence{race.Reuse.Key, race.Reuse.Note, ""})
	}
	if race.Close.Note != "" {
		a.Evidence = append(a.Evidence, Evidence{race.Close.Key, race.Close.Note, ""})
	}
	l.add(a)
}

// timer is the fix that sets a timer.
func (l *looker) timer(c chain.Change) (fact.Fix, []Action) {
	f := fact.Fix{Title: c.String(), Kind: "edit"}
	if s := l.h.Service(c.Service); s != nil {
		f.Product = s.Product
	}
	if c.Timer.Set == nil {
		f.Kind = "advise"
		return f, nil
	}
	e := c.Timer.Set.Edit(c.To)
	f.At = e.Span.String()
	f.Commands = []string{strings.TrimSpace(e.Text)}
	return f, []Action{{Kind: "edit", Service: c.Service, Edit: e}}
}

// poolOfBalancers is how long the balancers in front of a web server keep idle
// connections: AWS ALB 60 s by default (knowledge/timers.yaml).
const poolOfBalancers = 60

func nginxFront(l *looker) {
	seen := map[string]bool{}
	for i := range l.links {
		k := &l.links[i]
		c := k.Close()
		if k.To.Product != "nginx" || k.Mode != "http" || k.Reuse() != nil || c == nil || c.Seconds == 0 || c.Seconds > poolOfBalancers || seen[k.To.Service] {
			continue
		}
		seen[k.To.Service] = true
		a := Advice{Subject: k.To.Name() + " " + k.To.Addr, Severity: Latent, Is: fmt.Sprintf("keepalive_timeout %s (%s)", chain.Amount(c), chain.Origin(c)), Want: "longer than a balancer in front keeps idle connections, when there is one"}
		if v := k.Live; v != nil && v.ServerClosed > 0 {
			a.Evidence = append(a.Evidence, Evidence{"closed first by nginx", fmt.Sprintf("%d of %d", v.ServerClosed, v.ServerClosed+v.SenderClosed), "in TIME_WAIT"})
			a.Severity = Near // a pool on this host lost connections
		}
		if c.Set != nil {
			e := c.Set.Edit(75e9)
			a.Fix = fact.Fix{Title: "Let clients and balancers close first", Kind: "edit", Product: "nginx", At: e.Span.String(), Commands: []string{strings.TrimSpace(e.Text)}}
			a.Actions = []Action{{Kind: "edit", Service: k.To.Service, Edit: e}}
		} else {
			a.Fix = advise("Set keepalive_timeout 75s")
		}
		l.add(a)
	}
}

func haproxyRelay(l *looker) {
	for i := range l.links {
		k := &l.links[i]
		c := k.Close()
		if k.To.Product != "haproxy" || c == nil || c.Never || k.Live == nil || k.Live.Connections == 0 || !l.relays(k) || k.Live.LongestIdle < c.Seconds/2 {
			continue
		}
		a := Advice{Subject: k.From.Name() + " to " + k.To.Name() + " " + k.To.Addr, Severity: Near, Is: fmt.Sprintf("connections are idle for up to %.0f s, and are cut after %s (%s)", k.Live.LongestIdle, chain.Amount(c), chain.Origin(c)), Want: "timeout client and timeout server above what the pool keeps",
			Fix: advise("Raise timeout client and timeout server (or timeout tunnel) above the idle limit of the pool; keep-alive probes do not help, they end in the kernel")}
		l.add(a)
	}
}

// relays reports whether the receiver of a link relays bytes.
func (l *looker) relays(k *chain.Link) bool {
	s := l.h.Service(k.To.Service)
	if s == nil || s.Config == nil {
		return false
	}
	return slices.ContainsFunc(s.Config.Fronts, func(f servers.Front) bool { return f.Mode == "tcp" })
}

// databaseTimer checks a server that ends idle sessions on its own.
func databaseTimer(product, key string) func(*looker) {
	return func(l *looker) {
		seen := map[string]bool{}
		for i := range l.links {
			k := &l.links[i]
			c := k.Close()
			if k.To.Product != product || c == nil || c.Never || c.Seconds == 0 || seen[k.To.Service] {
				continue
			}
			seen[k.To.Service] = true
			a := Advice{Subject: k.To.Name() + " " + k.To.Addr, Severity: Latent, Is: fmt.Sprintf("%s %s (%s)", key, chain.Amount(c), chain.Origin(c)), Want: "no limit, or longer than every pool keeps idle connections"}
			closed := 0
			for j := range l.links {
				if o := &l.links[j]; o.To.Service == k.To.Service && o.Live != nil {
					closed = max(closed, o.Live.ServerClosed)
					if o.Live.Connections > 0 {
						a.Severity = Near
						a.Evidence = append(a.Evidence, Evidence{"connections of " + o.From.Name(), fmt.Sprintf("%d, idle up to %.0f s", o.Live.Connections, o.Live.LongestIdle), "now"})
					}
				}
			}
			closed = max(closed, l.closedFirst(k.To.Service))
			if closed > 0 {
				a.Severity = Near
				a.Evidence = append(a.Evidence, count("closed first by the server", int64(closed), "in TIME_WAIT"))
			}
			if c.Set != nil {
				e := c.Set.Edit(0)
				a.Fix = fact.Fix{Title: "Do not end idle sessions; let the pool do it", Kind: "edit", Product: product, At: e.Span.String(), Commands: []string{strings.TrimSpace(e.Text)}}
				a.Actions = []Action{{Kind: "edit", Service: k.To.Service, Edit: e}}
			} else {
				a.Fix = advise("Set " + key + " to 0, or let the pool drop idle connections earlier")
			}
			a.Or = []string{"let the pool drop connections that were idle for half of it"}
			l.add(a)
		}
	}
}

// closedFirst counts connections that a service closed first.
func (l *looker) closedFirst(service string) (n int) {
	for i := range l.h.Namespaces {
		for _, x := range l.h.Namespaces[i].Listeners {
			if x.Service == service && x.Live != nil {
				n += x.Live.ClosedFirst
			}
		}
	}
	return n
}

func silentDrop(l *looker) {
	for i := range l.links {
		k := &l.links[i]
		d := k.SilentDrop()
		if d == nil || d.Path.Seconds >= req5 || k.From.Service == "" {
			continue
		}
		a := Advice{Subject: k.From.Name() + " to " + k.To.Name() + " " + k.To.Addr, Severity: Latent, Is: fmt.Sprintf("the path forgets an idle connection after %s; %s, and nobody probes", chain.Amount(&d.Path), d.Until), Want: fmt.Sprintf("a probe every %.0f s, or a pool that closes earlier", d.Path.Seconds/2),
			Fix: advise("Switch keep-alive on in the program, at half of the time the path remembers")}
		if k.Live != nil && k.Live.Idle > 0 {
			a.Severity = Near
			a.Evidence = []Evidence{{"idle connections", fmt.Sprintf("%d, the longest for %.0f s", k.Live.Idle, k.Live.LongestIdle), "now"}}
		}
		l.add(a)
	}
}

func lateDeadline(l *looker) {
	for i := range l.links {
		k := &l.links[i]
		for _, d := range k.Late(l.links) {
			l.add(Advice{Subject: k.From.Name() + " to " + d.Middle + " to " + d.Behind, Severity: Latent, Is: fmt.Sprintf("%s gives up after %s (%s), %s waits %s (%s) for %s", k.From.Name(), chain.Amount(d.Outer), chain.Origin(d.Outer), d.Middle, chain.Amount(d.Inner), chain.Origin(d.Inner), d.Behind), Want: "whoever waits longer stands further out",
				Fix: advise(fmt.Sprintf("Set %s of %s below %s of %s", d.Inner.Key, d.Middle, d.Outer.Key, k.From.Name()))})
		}
	}
}
