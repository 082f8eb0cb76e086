package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/steady"
	"golang.org/x/sys/unix"
)

// steadyFlags are the sizes of the part steady.
type steadyFlags struct {
	posts    int
	restarts int
	only     string
	client   string
	server   string
	parallel int
}

func (f *steadyFlags) register(fs *flag.FlagSet) {
	fs.IntVar(&f.posts, "posts", 20_000, "steady: POSTs of each client to each server; the full proof is 100000")
	fs.IntVar(&f.restarts, "restarts", 100, "steady: restarts under load")
	fs.StringVar(&f.only, "only", "", "steady: one table alone: behaviours, refused, servers, restarts, overhead or outage")
	fs.StringVar(&f.server, "server", "", "steady: in the table servers, those whose names begin so, such as Jetty")
	fs.IntVar(&f.parallel, "parallel", 1, "steady: in the table servers, so many at once; the CPU is not told then")
	fs.StringVar(&f.client, "client", "", "steady: in the table behaviours, this client alone, such as steady")
}

// steady compares package steady with the retry layers of the Go world. What
// a server executed is told by the server's own ledger, never by a client.
func (b *bench) steady() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-steady-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	var out strings.Builder
	for _, t := range []struct {
		name, title string
		run         func(dir string) (string, error)
	}{
		{"behaviours", "Six ways to lose an answer", b.steadyBehaviours},
		{"refused", "HAProxy with HTTP/2: FIN after commit behind it, 5 %", b.steadyRefused},
		{"servers", "Servers that people run, idle-close race", b.steadyServers},
		{"restarts", "Restarts under load", b.steadyRestarts},
		{"overhead", "Overhead, 64 connections", b.steadyOverhead},
		{"outage", "Total outage", b.steadyOutage},
	} {
		if b.only != "" && b.only != t.name {
			continue
		}
		begin := time.Now()
		text, err := t.run(dir)
		if err != nil {
			return "", fmt.Errorf("%s: %w", t.name, err)
		}
		progress("  %s took %s\n", t.name, time.Since(begin).Round(time.Second))
		fmt.Fprintf(&out, "### %s\n\n%s\n", t.title, text)
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("no table %q", b.only)
	}
	return out.String(), nil
}

const (
	postWorkers = 8
	postRounds  = 5 // a client's requests are sent in so many turns
)

// postPatience is the deadline of a request: a server may forget one.
const postPatience = 10 * time.Second

// trail is what became of one request: each attempt has a body of its own, by
// which the ledger tells attempts apart, and steady tells its verdict on each.
type trail struct {
	id       string
	bodies   atomic.Int64
	mu       sync.Mutex
	attempts []steady.Event // guarded by mu: of attempt 1, 2, ...; failed ones only
	err      error
}

type trailKey struct{}

func (t *trail) add(e steady.Event) {
	if e.Kind == steady.EventRejected {
		return // no attempt was made
	}
	t.mu.Lock()
	t.attempts = append(t.attempts, e)
	t.mu.Unlock()
}

// body returns the body of the next attempt. All are of one length.
func (t *trail) body() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(attemptBody(int(t.bodies.Add(1))))), nil
}

func attemptBody(n int) string { return fmt.Sprintf("amount=1&attempt=%04d", n) }

// request returns a POST of the trail.
func (t *trail) request(ctx context.Context, url string, key bool) (*http.Request, error) {
	body, _ := t.body()
	req, err := http.NewRequestWithContext(context.WithValue(ctx, trailKey{}, t), http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength, req.GetBody = int64(len(attemptBody(1))), t.body
	req.Header.Set("X-Id", t.id)
	if key {
		req.Header.Set("Idempotency-Key", t.id)
	}
	return req, nil
}

// pacing is how the workers of a client send.
type pacing struct {
	workers int
	pause   func() time.Duration // between an answer and the next request; nil for none
}

// around returns pauses from 0.8 to 1.2 of an idle timeout.
func around(idle time.Duration, workers int) pacing {
	if idle == 0 {
		return pacing{workers: workers}
	}
	return pacing{workers, func() time.Duration { return idle*4/5 + rand.N(idle*2/5) }}
}

// post sends n requests from the workers, and returns those that failed or
// were tried more than once.
func (b *bench) post(c *postClient, url, prefix string, n int, p pacing) []*trail {
	var next atomic.Int64
	var mu sync.Mutex
	var notable []*trail
	var wg sync.WaitGroup
	for range p.workers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && b.ctx.Err() == nil; i = next.Add(1) {
				t := &trail{id: fmt.Sprintf("%s-%d", prefix, i)}
				t.err = sendPost(b.ctx, c, t, url)
				if t.err != nil || len(t.attempts) > 0 {
					mu.Lock()
					notable = append(notable, t)
					mu.Unlock()
				}
				if p.pause != nil {
					time.Sleep(p.pause()) // a client that thinks
				}
			}
		})
	}
	wg.Wait()
	return notable
}

func sendPost(ctx context.Context, c *postClient, t *trail, url string) error {
	ctx, cancel := context.WithTimeout(ctx, postPatience)
	defer cancel()
	req, err := t.request(ctx, url, c.key)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(resp.Body, 100)) // of an error
	if err := cmp.Or(err, finishBody(resp)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %q", resp.StatusCode, said)
	}
	return nil
}

// tally is what a client did to a server, by the server's ledger.
type tally struct {
	sent, failed int
	lost         int // of the failed: executed
	spared       int // of the failed: not executed
	twice        int // executions beyond the first of a request, by attempts of the client
	proxied      int // executions beyond the first of one attempt: somebody between repeated it
	replays      int // attempts that steady repeated
	stale        int // connections that steady left before it sent anything
	wrong        int // attempts that steady called not sent or not delivered, and that were executed
	dials        int64
	took         time.Duration
	cpu          float64 // seconds of the client
	firstWrong   string
}

// ledgerCounts is how often a request, and each attempt of it, was executed.
type ledgerCounts struct {
	requests map[string]int
	attempts map[string]int // by ID and body
}

func readLedger(path string) (ledgerCounts, error) {
	l := ledgerCounts{map[string]int{}, map[string]int{}}
	f, err := os.Open(path)
	if err != nil {
		return l, fmt.Errorf("read the ledger: %w", err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		id, _, ok := strings.Cut(in.Text(), " ")
		if !ok {
			return l, fmt.Errorf("line %q in the ledger", in.Text())
		}
		l.requests[id]++
		l.attempts[in.Text()]++
	}
	return l, in.Err()
}

// judge counts what the ledger says of the requests of one client.
func (l ledgerCounts) judge(t *tally, prefix string, notable []*trail) {
	for id, n := range l.requests {
		if strings.HasPrefix(id, prefix+"-") {
			t.twice += n - 1
		}
	}
	for line, n := range l.attempts {
		if strings.HasPrefix(line, prefix+"-") {
			t.twice -= n - 1
			t.proxied += n - 1
		}
	}
	for _, tr := range notable {
		if tr.err != nil {
			t.failed++
			if l.requests[tr.id] > 0 {
				t.lost++
			} else {
				t.spared++
			}
		}
		for i, a := range tr.attempts {
			switch {
			case !a.Verdict.SafeToRetry():
				continue
			case a.Kind == steady.EventStale:
				t.stale++
			case a.Kind == steady.EventRetry:
				t.replays++
			}
			if l.attempts[strings.TrimSuffix(ledgerLine(tr.id, attemptBody(i+1)), "\n")] > 0 {
				t.wrong++
				t.firstWrong = fmt.Sprintf("%s attempt %d: %s, error %v", tr.id, i+1, a.Verdict, tr.err)
			}
		}
	}
}

// startSteady starts the server of a behaviour and returns it and its URL.
func (b *bench) startSteady(args ...string) (*tool, string, error) {
	t, err := launch(b.ctx, nil, exec.Command("/proc/self/exe", append([]string{"role", "steady-server"}, args...)...), "serving ")
	if err != nil {
		return nil, "", err
	}
	_, addr, _ := strings.Cut(t.text(), "serving ")
	addr, _, _ = strings.Cut(addr, "\n")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.stop()
		return nil, "", fmt.Errorf("the server does not say where it listens: %q", t.text())
	}
	return t, "http://" + addr, nil
}

// steadyBehaviours lets every client send POSTs to every server.
func (b *bench) steadyBehaviours(dir string) (string, error) {
	var rows [][]string
	for i, m := range misbehaviours {
		ledger := filepath.Join(dir, fmt.Sprintf("ledger-%d", i))
		srv, url, err := b.startSteady("-idle", m.idle.String(), "-rst", fmt.Sprint(m.rst), "-fin", fmt.Sprint(m.fin),
			"-half", fmt.Sprint(m.half), "-oob="+fmt.Sprint(m.oob), "-ledger", ledger)
		if err != nil {
			return "", err
		}
		tallies, names, err := b.takeTurns(b.chosenClients(), url, ledger, b.posts, around(m.idle, postWorkers))
		srv.stop()
		if err != nil {
			return "", err
		}
		rows = append(rows, tallyRows(m.name, names, tallies)...)
		if err := checkSteady(m.name, names, tallies); err != nil {
			return table(tallyHead, rows), err
		}
	}
	return table(tallyHead, rows), nil
}

// chosenClients are all clients, or the one that was asked for.
func (b *bench) chosenClients() []*postClient {
	return slices.DeleteFunc(postClients(true), func(c *postClient) bool { return b.client != "" && c.name != b.client })
}

var tallyHead = []string{"server", "client", "POSTs", "executed twice", "repeated by a proxy", "failed", "of which executed", "not executed", "repeated by proof", "left unsent", "judged wrongly", "connections", "us CPU each"}

func tallyRows(server string, names []string, tallies []tally) [][]string {
	var rows [][]string
	for i, t := range tallies {
		repeats, stale, wrong := "-", "-", "-"
		if isSteady(names[i]) {
			repeats, stale, wrong = fmt.Sprint(t.replays), fmt.Sprint(t.stale), fmt.Sprint(t.wrong)
		}
		twice := fmt.Sprint(t.twice)
		if t.twice > 0 {
			twice = "**" + twice + "**"
		}
		rows = append(rows, []string{
			server, names[i], fmt.Sprint(t.sent), twice, fmt.Sprint(t.proxied), fmt.Sprint(t.failed), fmt.Sprint(t.lost), fmt.Sprint(t.spared),
			repeats, stale, wrong, fmt.Sprint(t.dials), fmt.Sprintf("%.0f", t.cpu/float64(t.sent)*1e6),
		})
	}
	return rows
}

// checkSteady is the promise: a run in which it is broken has no table.
func checkSteady(server string, names []string, tallies []tally) error {
	for i, t := range tallies {
		if isSteady(names[i]) && (t.twice > 0 || t.wrong > 0) {
			return fmt.Errorf("%s: steady executed %d twice and judged %d wrongly: %s", server, t.twice, t.wrong, t.firstWrong)
		}
	}
	return nil
}

// takeTurns lets the clients send in turns, so that what the machine does
// meanwhile falls on all of them, and reads the ledger at the end.
func (b *bench) takeTurns(clients []*postClient, url, ledger string, n int, p pacing) ([]tally, []string, error) {
	tallies := make([]tally, len(clients))
	notable := make([][]*trail, len(clients))
	names := make([]string, len(clients))
	for round := range postRounds {
		for k := range clients {
			i := (k + round) % len(clients)
			c, t := clients[i], &tallies[i]
			names[i] = c.name
			cpu, begin := processCPU(), time.Now()
			turn := n/postRounds + min(1, max(0, n%postRounds-round))
			notable[i] = append(notable[i], b.post(c, url, fmt.Sprintf("c%d-r%d", i, round), turn, p)...)
			t.took += time.Since(begin)
			t.cpu += processCPU() - cpu
			t.sent += turn
			c.close()
		}
		progress("  %s round %d of %d\n", filepath.Base(ledger), round+1, postRounds)
	}
	if b.ctx.Err() != nil {
		return nil, nil, errors.New("interrupted")
	}
	counts, err := readLedger(ledger)
	if err != nil {
		return nil, nil, err
	}
	if len(counts.requests) == 0 {
		return nil, nil, fmt.Errorf("the ledger %s is empty: the server executed nothing; %s", ledger, firstFailure(notable))
	}
	for i, c := range clients {
		counts.judge(&tallies[i], fmt.Sprintf("c%d", i), notable[i])
		tallies[i].dials = c.dials.Load()
	}
	return tallies, names, nil
}

// firstFailure says how many POSTs failed, and how the first of them did.
func firstFailure(notable [][]*trail) string {
	var first error
	n := 0
	for _, t := range slices.Concat(notable...) {
		if t.err == nil {
			continue
		}
		if n++; first == nil {
			first = t.err
		}
	}
	return fmt.Sprintf("%d POSTs failed, the first with: %v", n, first)
}

// processCPU is the time this process spent on a CPU, in seconds.
func processCPU() float64 {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r) // it cannot fail with these arguments
	return busy(&r)
}
