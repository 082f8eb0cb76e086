// Package probe tries an exchange with a service from outside, stage by stage, and says
// at which stage, towards which of its addresses and how often it fails: name, connect,
// TLS, first exchange. It sends what a polite client sends, tells before what that will
// be ([Plan]), and needs no privilege. It is no scanner: one service, one port, few
// connections. What a stage found becomes a [fact.Case] for the same engine that judges
// what was watched or captured.
//
// From here nobody sees who sent a reset, so that the facts of a probe are those of the
// application that suffers: which error, in which phase. To see the segments besides,
// run `holdfast watch` on this host.
package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// Options limit a run.
type Options struct {
	Family  string        // "4" or "6": only these addresses; "" both
	SNI     string        // name in the ClientHello; "" the host
	Timeout time.Duration // of one trial, 4 s when 0: enough for two SYNs that are sent again
	Repeat  int           // how often a trial that fails is made in all, 3 when 0

	Roots     *x509.CertPool   // nil: those of the system
	Resolvers []netip.AddrPort // nil: those of /etc/resolv.conf
	Progress  func(Stage)      // called as each stage ends, nil for none
	Now       func() time.Time // nil: time.Now
}

// With these a healthy target gets fewer than 60 segments: three for each connection, six
// more for TLS and an exchange.
const (
	maxAddresses = 8 // connected to; more answers of a name are counted and left out
	maxSpokenTo  = 4 // of which so many are spoken to
	maxRepeat    = 20
	fresh        = time.Second // a connection that stood idle for longer is made anew before the next stage
)

// Result is what a run found.
type Result struct {
	Schema      string      `json:"schema"`
	Kind        string      `json:"kind"` // probe
	Target      string      `json:"target"`
	Time        time.Time   `json:"time"`
	Healthy     bool        `json:"healthy"`
	Verdict     string      `json:"verdict"` // one sentence
	Connections int         `json:"connections"`
	Stages      []Stage     `json:"stages"`
	NotLooked   []NotLooked `json:"not_looked"`

	Cases      []*fact.Case `json:"-"` // one for each kind of failure, for the engine
	failed     string       // stage; "" when none failed wholly
	named      bool         // it fails for this server name only
	difference string       // what the contrast measured
	border     *border      // where, when it is between two hops of the path
	Lines      []string     `json:"-"` // the same as an error text of a client, for who reads those
}

// Stage is one step of the exchange, at all addresses.
type Stage struct {
	Stage   string  `json:"stage"`   // name, connect, tls, exchange
	Verdict string  `json:"verdict"` // ok, warning, failed
	Result  string  `json:"result"`
	TookMS  float64 `json:"took_ms"`
	Trials  []Trial `json:"trials,omitempty"`
}

// Trial is one connection, or one question to a resolver, up to the end of its stage.
type Trial struct {
	Arm    string         `json:"arm,omitempty"` // of a contrast
	At     time.Time      `json:"at"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote"`
	Ended  string         `json:"ended"`           // ok, refused, reset, timeout, unreachable, closed, answered (with something else), failed
	Error  string         `json:"error,omitempty"` // name of the errno, or what the library says
	Says   string         `json:"says,omitempty"`  // of the peer: version, status, greeting; untrusted
	TookMS float64        `json:"took_ms"`
}

// NotLooked is something that a run did not look at, and how to.
type NotLooked struct {
	What string `json:"what"`
	How  string `json:"how"`
}

// Run probes a target. It returns an error only when ctx is done; the result then has
// what was found until then.
func Run(ctx context.Context, t Target, o Options) (*Result, error) {
	r := newRun(t, o)
	if r.name(ctx) {
		r.exchange(ctx)
	}
	r.conclude(ctx.Err() != nil)
	return r.res, ctx.Err()
}

func newRun(t Target, o Options) *run {
	r := &run{t: t, o: o.filled(), live: map[netip.AddrPort]*flow{}, res: &Result{Schema: fact.Schema, Kind: "probe", Target: t.String()}}
	r.res.Time = r.o.Now()
	return r
}

func (o Options) filled() Options {
	if o.Timeout <= 0 {
		o.Timeout = 4 * time.Second
	}
	if o.Repeat <= 0 {
		o.Repeat = 3
	}
	o.Repeat = min(o.Repeat, maxRepeat)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Stage) {}
	}
	return o
}

// notLooked lists what this run did not look at.
func (r *run) notLooked() []NotLooked {
	where := "who sent a reset, and where on the path"
	if r.res.border != nil {
		where = "which device it is"
	}
	list := []NotLooked{
		{where, "sudo holdfast watch on this host while this runs, or a capture of it for holdfast explain"},
		{"idle timers, limits, path MTU", "not built yet"},
	}
	if r.t.secret {
		list = append(list, NotLooked{"what needs a login: user and password of the URL are not used", "the client itself, while holdfast watch runs"})
	}
	return list
}

// run is one run.
type run struct {
	t   Target
	o   Options
	res *Result

	addrs []netip.AddrPort
	left  int        // addresses beyond maxAddresses
	mu    sync.Mutex // guards live and the count of connections
	live  map[netip.AddrPort]*flow
	sni   string // of the arm of a contrast, "" for none
}

// exchange goes on as long as there is an address with which it can.
func (r *run) exchange(ctx context.Context) {
	defer r.hangUp()
	if r.t.Protocol == "mysql" { // one connection in a run, whatever the number of addresses
		r.addrs = r.addrs[:min(len(r.addrs), 1)]
	}
	steps := []step{{"connect", connect}}
	if r.t.overTLS() {
		steps = append(steps, step{"tls", shakeHands})
	}
	if exchange := exchanges[r.t.Protocol]; exchange != nil {
		steps = append(steps, step{"exchange", exchange})
	}
	for n := range steps {
		if ctx.Err() != nil {
			return
		}
		if !r.stage(ctx, steps[:n+1]) {
			if failed := &r.res.Stages[len(r.res.Stages)-1]; failed.Stage == "tls" && unanswered(failed) {
				r.contrastName(ctx)
			}
			return
		}
		r.addrs = r.addrs[:min(len(r.addrs), maxSpokenTo)]
	}
}

func (r *run) hangUp() {
	for _, f := range r.live {
		f.close()
	}
}

// step is what a connection does in a stage. It returns what the peer said.
type step struct {
	name string
	do   func(ctx context.Context, r *run, f *flow) (says string, err error)
}

// stage makes the last of the steps at every address, and a failed one again on a
// connection of its own. The addresses are tried side by side, so that what changes with
// time is not taken for a difference between them.
func (r *run) stage(ctx context.Context, steps []step) (goOn bool) {
	st := Stage{Stage: steps[len(steps)-1].name}
	begin := time.Now()
	failing, good := r.addrs, []netip.AddrPort(nil)
	for round := 0; round < r.o.Repeat && len(failing) > 0 && ctx.Err() == nil; round++ {
		var again []netip.AddrPort
		for i, trial := range r.trials(ctx, failing, steps, round > 0) {
			st.Trials = append(st.Trials, trial)
			switch {
			case round == 0 && trial.Ended == "ok":
				good = append(good, failing[i])
			case trial.Ended == "answered" && r.t.overHTTP() && st.Stage == "exchange": // it was heard: asking again is load
			case !r.once(st.Stage):
				again = append(again, failing[i])
			}
		}
		failing = again
	}
	st.TookMS = ms(time.Since(begin))
	r.judge(&st)
	r.end(st)
	if len(good) > 0 {
		r.addrs = good
	}
	return st.Verdict != "failed"
}

// trials makes one trial at each address at the same time; afresh, without the connections
// of the stage before.
func (r *run) trials(ctx context.Context, addrs []netip.AddrPort, steps []step, afresh bool) []Trial {
	list := make([]Trial, len(addrs))
	if len(addrs) == 1 { // on this thread, which may be in another network namespace
		if afresh {
			r.drop(addrs[0])
		}
		list[0] = r.trial(ctx, addrs[0], steps)
		return list
	}
	var wg sync.WaitGroup
	for i, a := range addrs {
		wg.Go(func() {
			if afresh {
				r.drop(a)
			}
			list[i] = r.trial(ctx, a, steps)
		})
	}
	wg.Wait()
	return list
}

// drop closes the connection that stands to an address.
func (r *run) drop(a netip.AddrPort) { r.take(a).close() }

// take hands out the connection that stands to an address, or nil.
func (r *run) take(a netip.AddrPort) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.live[a]
	delete(r.live, a)
	return f
}

// connection counts one more.
func (r *run) connection() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.res.Connections++
}

// once says whether a stage must not be tried again: MySQL and MariaDB count every
// connection that ends before the login, and block a host that has too many
// (max_connect_errors).
func (r *run) once(stage string) bool { return r.t.Protocol == "mysql" && stage == "exchange" }

// trial makes the last of the steps at an address, on the connection of the stage before
// if that stands and is fresh. Errors of earlier steps count as its own: they are what
// happens at this stage this time.
func (r *run) trial(ctx context.Context, a netip.AddrPort, steps []step) Trial {
	t := Trial{At: r.o.Now(), Remote: a}
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	f := r.take(a)
	if f != nil && (time.Since(f.used) < fresh || r.t.Protocol == "mysql") {
		steps = steps[len(steps)-1:]
	} else {
		f.close()
		f = &flow{remote: a}
		r.connection()
	}
	begin := time.Now()
	var err error
	for _, s := range steps {
		begin = time.Now()
		if t.Says, err = s.do(ctx, r, f); err != nil {
			break
		}
	}
	t.TookMS, t.Local = ms(time.Since(begin)), f.local()
	if t.Ended, t.Error = classify(err); err != nil {
		f.close()
		return t
	}
	f.used = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[a] = f
	return t
}

// judge sums up the trials of a stage.
func (r *run) judge(st *Stage) {
	fails, total := map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
	kinds := map[string]int{}
	ok := 0
	for _, t := range st.Trials {
		total[t.Remote]++
		if t.Ended == "ok" {
			ok++
			continue
		}
		fails[t.Remote]++
		kinds[describe(t)]++
	}
	bad := 0 // addresses at which nothing came about
	for a, n := range fails {
		if n == total[a] {
			bad++
		}
	}
	what := wordy(kinds)
	switch {
	case len(fails) == 0:
		st.Verdict, st.Result = "ok", fmt.Sprintf("%d of %d addresses%s", len(total), len(total), says(st.Trials))
		if len(total) == 1 {
			st.Result = strings.TrimPrefix(says(st.Trials), ", ")
			if st.Result == "" {
				st.Result = st.Trials[0].Remote.String()
			}
		}
	case bad == len(total):
		st.Verdict, st.Result = "failed", fmt.Sprintf("%s, %d of %d times", what, len(st.Trials)-ok, len(st.Trials))
		if len(total) > 1 {
			st.Result += fmt.Sprintf(" at %d addresses", len(total))
		}
	case bad > 0:
		st.Verdict, st.Result = "warning", fmt.Sprintf("%d of %d addresses fail: %s", bad, len(total), badOnes(st.Trials, fails, total))
	default:
		st.Verdict, st.Result = "warning", fmt.Sprintf("fails now and then: %s, %d of %d times (--repeat N tells how often)", what, len(st.Trials)-ok, len(st.Trials))
	}
}

// end keeps a stage, and the case of each kind of failure in it.
func (r *run) end(st Stage) {
	r.res.Stages = append(r.res.Stages, st)
	seen := map[string]bool{}
	for _, t := range st.Trials {
		key := t.Ended + t.Error
		if t.Ended == "ok" || st.Stage == "name" || st.Stage == "contrast" || st.Stage == "hops" || seen[key] {
			continue
		}
		seen[key] = true
		if c := r.caseOf(&st, &t); c != nil {
			r.res.Cases = append(r.res.Cases, c)
			r.res.Lines = append(r.res.Lines, r.line(&st, &t))
		} else if line := mismatches[strings.Contains(t.Error, "does not speak TLS")]; line != "" {
			r.res.Lines = append(r.res.Lines, line)
		}
	}
	r.o.Progress(st)
}

// conclude writes the verdict. A run that was interrupted says nothing of what it did not
// come to: it is not healthy.
func (r *run) conclude(interrupted bool) {
	r.res.NotLooked = r.notLooked()
	if interrupted {
		r.res.Verdict = "Interrupted: only what stands above was looked at."
		return
	}
	failed := slices.IndexFunc(r.res.Stages, func(s Stage) bool { return s.Verdict == "failed" })
	i := slices.IndexFunc(r.res.Stages, func(s Stage) bool { return s.Verdict != "ok" })
	switch {
	case i < 0:
		r.res.Healthy = true
		r.res.Verdict = fmt.Sprintf("Healthy: %s %s.", r.t, map[bool]string{true: "accepts connections", false: "answers"}[r.t.Protocol == "tcp"])
	case failed >= 0:
		st := &r.res.Stages[failed]
		r.res.failed = st.Stage
		r.res.Verdict = fmt.Sprintf("%s: %s.", failures[st.Stage], st.Result)
		if r.res.named {
			r.res.Verdict += fmt.Sprintf(" It is the name: %s.", r.res.difference)
		}
		if b := r.res.border; b != nil {
			r.res.Verdict += fmt.Sprintf(" A device %s does it, not the server.", b)
		}
	default:
		r.res.Verdict = fmt.Sprintf("It works, with a warning: %s: %s.", r.res.Stages[i].Stage, r.res.Stages[i].Result)
	}
}

var failures = map[string]string{
	"name":     "The name has no address here",
	"connect":  "No connection comes about",
	"tls":      "TCP connects, and TLS fails",
	"exchange": "The connection stands, and the first exchange fails",
}

// caseOf makes the case that a client would report.
func (r *run) caseOf(st *Stage, t *Trial) *fact.Case {
	outcome := map[string]string{"refused": "refused", "reset": "reset", "timeout": "timeout", "unreachable": "unreachable", "closed": "closed"}[t.Ended]
	if outcome == "" {
		return nil // an answer that was not hoped for is no end of a connection
	}
	phase := "established"
	if st.Stage == "connect" || !t.Local.IsValid() {
		phase = "connect"
	}
	by := fact.ByProcess // an errno is what a program saw; it proves nothing of who did it
	c := &fact.Case{ID: fmt.Sprintf("probe-%s-%d", st.Stage, len(r.res.Cases)+1), Time: t.At, Source: "probe"}
	c.Flow.Client, c.Flow.Server = t.Local, t.Remote
	family := "ipv6"
	if t.Remote.Addr().Unmap().Is4() {
		family = "ipv4"
	}
	c.Flow.Family, c.Flow.ServerPort = fact.SomeBy(family, by), fact.SomeBy(int64(t.Remote.Port()), by)
	c.Flow.Loopback, c.Flow.Public = fact.SomeBy(t.Remote.Addr().IsLoopback(), by), fact.SomeBy(fact.IsPublic(t.Remote.Addr()), by)
	c.Flow.RolesKnown = fact.SomeBy(true, by)
	c.Outcome, c.Phase = fact.SomeBy(outcome, by), fact.SomeBy(phase, by)
	c.Sender.Role, c.Receiver.Role = fact.SomeBy("server", by), fact.SomeBy("client", by)
	if strings.HasPrefix(t.Error, "E") {
		c.Receiver.Error = fact.SomeBy(t.Error, by)
	}
	return c
}

// mismatches is what clients print when a server does not speak TLS.
var mismatches = map[bool]string{true: "error:0A00010B:SSL routines::wrong version number"}

// Measured are the circumstances that a run has measured, for the reading of its lines
// (symptom.* of package fact): it always fails, or not, on connections that were new, at
// the first exchange.
func (r *Result) Measured() map[string]bool {
	always := r.failed != ""
	m := map[string]bool{"always": always, "intermittent": !always, "idle": false, "large_only": false, "upload": false, "mid_transfer": false, "load": false}
	if always {
		m["retry_works"] = false
	}
	switch r.failed {
	case "connect":
		m["connect"] = true
	case "tls":
		m["handshake"] = true
	}
	if r.named {
		m["one_name"] = true
	}
	return m
}

// line is the error as clients print it.
func (r *run) line(st *Stage, t *Trial) string {
	where := fmt.Sprintf("connection to %s port %d", t.Remote.Addr(), t.Remote.Port())
	text := map[string]string{"refused": "Connection refused", "reset": "Connection reset by peer", "timeout": "Connection timed out", "unreachable": "No route to host", "closed": "server closed the connection unexpectedly"}[t.Ended]
	switch {
	case st.Stage == "connect":
		return where + " failed: " + text
	case st.Stage == "tls" && t.Ended == "reset":
		return "OpenSSL SSL_connect: Connection reset by peer in " + where
	case st.Stage == "tls":
		return where + " failed: TLS handshake: " + text
	case t.Ended == "closed" && r.t.overHTTP():
		return "curl: (52) Empty reply from server"
	case t.Ended == "timeout":
		return where + ": read timed out"
	}
	return where + " failed: " + text
}

// Plan says what a run would do, without doing it.
func Plan(t Target, o Options) []string {
	o = o.filled()
	host := "ask the resolvers of this host for the addresses of " + t.Host
	if strings.Contains(t.Host, ".") {
		host += ", and each of them apart (A)"
	}
	if _, err := netip.ParseAddr(t.Host); err == nil {
		host = "no name to resolve"
	}
	connects := fmt.Sprintf("connect to port %d of each address, at most %d, 1 connection each", t.Port, maxAddresses)
	if t.Protocol == "mysql" {
		connects = fmt.Sprintf("connect to port %d of one address, 1 connection", t.Port)
	}
	list := []string{host, connects}
	if t.overTLS() {
		list = append(list, fmt.Sprintf("on at most %d of them, a TLS handshake with server name %q", maxSpokenTo, cmp.Or(o.SNI, t.Host)),
			fmt.Sprintf("if nobody answers it: %d more at one address, in turn with as many that name %s", contrastPairs, controlName),
			"if only the name fails: about 25 connections whose first data lives for few hops, to find between which it happens")
	}
	if says := polite[t.Protocol]; says != "" {
		where := fmt.Sprintf("on at most %d of them", maxSpokenTo)
		if t.Protocol == "mysql" {
			where = "on it"
		}
		list = append(list, where+": "+says)
	}
	return append(list, fmt.Sprintf("what fails is tried %d times in all, each within %v", o.Repeat, o.Timeout))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r *run) serverName() string { return cmp.Or(r.o.SNI, r.t.Host) }

// tlsConfig is that of a current client.
func (r *run) tlsConfig() *tls.Config {
	name := r.serverName()
	if r.sni != "" {
		name = r.sni
	}
	c := &tls.Config{ServerName: name, RootCAs: r.o.Roots, MinVersion: tls.VersionTLS10} //nolint:gosec // old versions are reported, and nothing secret is sent
	if r.t.overHTTP() {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	return c
}
