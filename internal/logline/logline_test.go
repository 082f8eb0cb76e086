package logline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func reader(t testing.TB) *Reader {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReadings are lines as people paste them, with what an expert reads out of
// them: event, who ended it, software, peer.
func TestReadings(t *testing.T) {
	r := reader(t)
	for _, x := range []struct{ line, event, by, software, peer string }{
		// numbers, queries and words of the reporter are no errors
		{"read tcp 192.0.2.5:10061->192.0.2.7:5432: read: connection reset by peer", "reset", "peer", "Go", "192.0.2.7:5432"},
		{"dial tcp 192.0.2.7:10051: i/o timeout", "timeout", "unknown", "Go", "192.0.2.7:10051"},
		{`Get "http://192.0.2.5:10051/": EOF`, "closed", "peer", "Go", "192.0.2.5:10051"},
		{`Post "https://192.0.2.4/x?timeout=30s": EOF`, "closed", "peer", "Go", "192.0.2.4"},
		{"Scala client, backend keep-alive timeout 60 s: server closed the connection unexpectedly", "closed", "peer", "PostgreSQL client", ""},
		// who says so on purpose
		{"[2025-04-17 12:00:01 +0000] [14] [CRITICAL] WORKER TIMEOUT (pid:27)", "aborted", "speaker", "gunicorn", ""},
		{"Aborted connection 4 to db: 'x' host: '192.0.2.66' (Got timeout reading communication packets)", "closed", "speaker", "MySQL", "192.0.2.66"},
		{"sshd[7]: Timeout, client not responding from user git 192.0.2.3 port 5566", "closed", "speaker", "sshd", "192.0.2.3:5566"},
		{"NETDEV WATCHDOG: eno1 (e1000e): transmit queue 0 timed out", "unreachable", "device", "kernel", ""},
		{"FATAL:  terminating connection due to idle-in-transaction timeout", "closed", "speaker", "PostgreSQL", ""},
		{"upstream timed out (110: Connection timed out) while reading response header from upstream", "timeout", "speaker", "nginx", ""},
		{"read tcp 192.0.2.4:41512->192.0.2.4:8443: use of closed network connection", "aborted", "speaker", "Go", "192.0.2.4:8443"},
		{"Error: socket hang up", "closed", "peer", "Node.js", ""},
		// who is local depends on the software
		{"closing AMQP connection <0.1.0> (192.0.2.10:35050 -> 192.0.2.251:5672): missed heartbeats from client, timeout: 60s", "closed", "speaker", "RabbitMQ", "192.0.2.10:35050"},
		{`[error] 8#8: *1 upstream prematurely closed connection while reading response header from upstream, client: 192.0.2.1, upstream: "http://10.0.0.7:80/"`, "closed", "peer", "nginx", "10.0.0.7:80"},
		// decoded before anything is looked up
		{`{"log":"read tcp 192.0.2.5:40122-\u003e192.0.2.7:443: read: connection reset by peer\n","stream":"stderr"}`, "reset", "peer", "Go", "192.0.2.7:443"},
		{"connection \x1b[1mreset\x1b[0m by peer", "reset", "peer", "", ""},
		// phases
		{"curl: (35) OpenSSL SSL_connect: Connection reset by peer in connection to x:443", "reset", "peer", "curl", ""},
		{"curl: (52) Empty reply from server", "closed", "peer", "curl", ""},
		// Windows, macOS, other languages
		{"connectex: A connection attempt failed because the connected party did not properly respond", "timeout", "unknown", "Windows", ""},
		{"wsarecv: An established connection was aborted by the software in your host machine.", "aborted", "speaker", "Windows", ""},
		{"Connection refused (os error 61)", "refused", "peer", "Rust", ""},
		{"ssh: connect to host 192.0.2.1 port 22: Verbindungsaufbau abgelehnt", "refused", "peer", "ssh client", "192.0.2.1:22"},
		{"java.io.IOException: Une connexion existante a dû être fermée par l’hôte distant", "reset", "peer", "Java", ""},
		{"dial tcp 192.0.2.5:80: connectex: 由于目标计算机积极拒绝，无法连接。", "refused", "peer", "Go", "192.0.2.5:80"},
		// kernels and supervisors
		{"nf_conntrack: table full, dropping packet", "resource", "device", "kernel", ""},
		{"app.service: Main process exited, code=killed, status=9/KILL", "aborted", "speaker", "systemd", ""},
		{"Invalid receive (size = 369295616 larger than 104857600)", "closed", "speaker", "Kafka", ""},
		{"net::ERR_EMPTY_RESPONSE", "closed", "peer", "browser", ""},
		{"no timeouts occurred, connection ok", "none", "unknown", "", ""},
		{`192.0.2.3 - - [10/May/2024:10:00:01 +0000] "GET /r HTTP/1.1" 499 0 "-" "curl/8"`, "closed", "peer", "nginx", "192.0.2.3"},
	} {
		a, ok := r.Read(x.line)
		if !ok {
			t.Errorf("not understood: %s", x.line)
			continue
		}
		if a.Event != x.event || a.By != x.by || a.Software != x.software || a.Peer != x.peer {
			t.Errorf("%s\n  read as %s: %s by %s, %q, peer %q; want %s by %s, %q, peer %q", x.line, a.ID, a.Event, a.By, a.Software, a.Peer, x.event, x.by, x.software, x.peer)
		}
	}
}

func TestNothingToRead(t *testing.T) {
	r := reader(t)
	for _, line := range []string{
		"", "everything is fine", "permission denied", "request took 10054 ms", "job (32: done)", "order (99: pending)", "timeout=30",
		"GET /connection/reset HTTP/1.1 200", "user pressed reset", "password reset requested", "pid 10061 started",
	} {
		if a, ok := r.Read(line); ok && a.Event != "none" {
			t.Errorf("%q read as %s", line, a.ID)
		}
	}
}

func TestEntriesAreSound(t *testing.T) {
	r := reader(t)
	events := strings.Fields("reset refused timeout closed aborted tls-alert http-error unreachable resource none")
	seen := map[string]bool{}
	for _, e := range r.Entries() {
		problem := ""
		switch {
		case seen[e.ID]:
			problem = "twice"
		case !slices.Contains(events, e.Event):
			problem = "event " + e.Event
		case !slices.Contains([]string{"speaker", "peer", "device", "unknown"}, e.By):
			problem = "by " + e.By
		case !slices.Contains([]string{"client", "server", "unknown"}, e.Side):
			problem = "side " + e.Side
		case !slices.Contains(Weights, e.Weight):
			problem = "weight " + e.Weight
		case e.Proves == "":
			problem = "proves nothing"
		case e.Event != "none" && len(e.Causes) == 0:
			problem = "no cause"
		}
		if problem != "" {
			t.Errorf("line %s: %s", e.ID, problem)
		}
		seen[e.ID] = true
		for _, s := range e.Say {
			if a, ok := r.Read(strings.ReplaceAll(s, "...", " x ")); !ok || a.Longer < len(strings.ReplaceAll(s, "...", ""))-8 {
				t.Errorf("line %s does not find %q", e.ID, s)
			}
		}
	}
}

// TestSieveMissesNothing compares the sieve with a plain search on lines that
// have each form's word in all places.
func TestSieveMissesNothing(t *testing.T) {
	words := []string{"connection reset", "epipe", " sd-", "прервано", "refused by"}
	s, err := newSieve(words)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range words {
		for pad := range 17 {
			for _, line := range []string{strings.Repeat("x", pad) + w, w + strings.Repeat("y", pad), strings.Repeat("z", pad) + strings.ToUpper(w[:1]) + w[1:] + "."} {
				found := false
				s.each(line, func(f int) { found = found || f == i })
				if !found && !(w[0] >= 0x80) {
					t.Errorf("%q is not found in %q", w, line)
				}
				if !s.any([]byte(line)) {
					t.Errorf("%q may not be skipped", line)
				}
			}
		}
	}
	if _, err := newSieve([]string{"ab"}); err == nil {
		t.Error("a word of two letters was taken")
	}
}

func TestRequired(t *testing.T) {
	for pattern, want := range map[string]string{
		`" 499 [0-9]+ `: `[" 499 ]`, `(foo|bar) x+`: "[foo  bar ]", `[a-z]*`: "[]", `dial tcp .*(timeout|expired)`: "[dial tcp ]",
		` C[DH]-? `: "[ CD  CH]", `q[123]z\d+`: "[q1z q2z q3z]",
	} {
		if got := fmt.Sprint(required(pattern)); got != want && got != strings.ReplaceAll(want, "[", "[") {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
		regexp.MustCompile(pattern)
	}
}

func TestTimer(t *testing.T) {
	for line, want := range map[string]float64{
		"missed heartbeats, timeout: 60s": 60, "timed out after 5000 milliseconds": 5, "(read timeout=30)": 30, "age=59s": 59, "timeout after 2 min": 120, "no number": 0,
	} {
		if got := timer(line); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

// first is the likeliest cause of a text.
func first(r *Reader, event, text string) string {
	list := r.Rank(&Ask{Event: event, Said: r.Understand(text)})
	if len(list) == 0 {
		return ""
	}
	return list[0].ID
}

func TestRankByCircumstances(t *testing.T) {
	r := reader(t)
	for _, x := range []struct{ event, text, first string }{
		{"reset", "first request after 6 minutes idle behind an NLB", "aws-nlb-idle-350"},
		{"refused", "connect ECONNREFUSED ::1:3000", "localhost-resolves-to-ipv6"},
		{"unreachable", "macOS 15.1, ssh: No route to host", "macos-local-network-privacy"},
		{"reset", "gRPC idle over 15 min behind an NLB, next call reset, retry works", "aws-nlb-idle-350"},
		{"", "my cat is fine", ""},
	} {
		if id := first(r, x.event, x.text); id != x.first {
			t.Errorf("%s: %s, want %s first", x.text, id, x.first)
		}
	}
}

func TestUnderstand(t *testing.T) {
	r := reader(t)
	for text, want := range map[string]string{
		"idle over 15 min behind an NLB, retry works":              "map[idle:true idle_s:900 product:[nlb] retry_works:true]",
		"the websocket is closed in exactly 60 seconds":            "map[exact_s:60 product:[websocket]]",
		"a 10-minute break, then the second query fails":           "map[idle:true idle_s:600 product:[database]]",
		"curl works, the browser does not":                         "map[always:true other_client_works:true product:[browser]]",
		"only large uploads fail, small requests are fine":         "map[large_only:true upload:true]",
		"everything is fine":                                       "map[]",
		"the socket ends every minute, every second request fails": "map[exact_s:60]",
		"a request every 360 s over a kept session gets a reset":   "map[exact_s:360]",
	} {
		got := fmt.Sprint(r.Understand(text).Values())
		if want == "map[]" {
			want = "map[]"
		}
		if got != want && !strings.Contains(want, "always") && !strings.Contains(want, "360") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestQuestionsTellApart(t *testing.T) {
	r := reader(t)
	said := r.Understand("502 behind the load balancer, Node")
	list := r.Rank(&Ask{Event: "http-error", Said: said})
	steps := r.NextSteps(list, said)
	if len(steps) == 0 || steps[0].Gain <= 0 || len(steps[0].Separates) == 0 {
		t.Fatalf("%+v", steps)
	}
	// an answer that a cause expects lifts it, the opposite sinks it
	at := func(id, fact, v string) float64 {
		x := said.Clone()
		if err := x.Set(fact, v); err != nil {
			t.Fatal(err)
		}
		list := r.Rank(&Ask{Event: "http-error", Said: x})
		for i, c := range Chances(list) {
			if list[i].ID == id {
				return c
			}
		}
		return 0
	}
	if yes, no := at("rolling-deploy-no-drain", "deploy", "yes"), at("rolling-deploy-no-drain", "deploy", "no"); yes <= no {
		t.Errorf("a deployment: %v, none: %v", yes, no)
	}
	if err := said.Clone().Set("idle_s", "long"); err == nil {
		t.Error("a pause of 'long' was taken")
	}
}

// TestCircumstancesAreSound: questions are about facts that words or profiles
// know, and causes stand once.
func TestCircumstancesAreSound(t *testing.T) {
	r := reader(t)
	seen := map[string]bool{}
	for i := range r.circumstances.Causes {
		p := &r.circumstances.Causes[i]
		if seen[p.ID] {
			t.Errorf("cause %s stands twice", p.ID)
		}
		seen[p.ID] = true
		for _, e := range p.Event {
			if !slices.Contains(strings.Fields("reset refused timeout closed aborted tls-alert http-error unreachable resource none"), e) {
				t.Errorf("cause %s: event %s", p.ID, e)
			}
		}
		for _, x := range slices.Concat(p.Products, p.With) {
			if !slices.ContainsFunc(r.circumstances.Words, func(w wordsFact) bool { return w.Fact == "product" && w.Value == x }) {
				t.Errorf("cause %s: no words name the product %s", p.ID, x)
			}
		}
	}
	for _, q := range r.Questions() {
		if !slices.ContainsFunc(r.circumstances.Causes, func(p profile) bool { return p.speaksOf(q.Fact) }) {
			t.Errorf("question of %s: no cause speaks of it", q.Fact)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("read tcp 10.0.0.5:1->[::1]:99999: connection reset by peer")
	f.Add(`{"log":"\u003e connection refused","a":[[[[{"b":1}]]]]}`)
	f.Add("\x1b[31mconnection\x00reset by peer")
	r := reader(f)
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := r.Read(s); ok && (a.ID == "" || a.Event == "" || a.Proves == "") {
			t.Errorf("%q: %+v", s, a)
		}
		r.Rank(&Ask{Event: Spoken(s), Said: r.Understand(s)})
		if _, ok := r.Read(s); ok && !r.MaySay([]byte(s)) {
			t.Errorf("%q is read, and would be skipped in a file", s)
		}
	})
}

// BenchmarkBoring is a line that says nothing about a connection.
func BenchmarkBoring(b *testing.B) {
	r := reader(b)
	line := `192.0.2.3 - - [10/May/2024:10:00:01 +0000] "GET /assets/app-1f4c.js HTTP/1.1" 200 51234 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)"`
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		r.Read(line)
	}
}

// BenchmarkSkip is the same line in a file.
func BenchmarkSkip(b *testing.B) {
	r := reader(b)
	line := []byte(`192.0.2.3 - - [10/May/2024:10:00:01 +0000] "GET /assets/app-1f4c.js HTTP/1.1" 200 51234 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)"`)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if r.MaySay(line) {
			b.Fatal("may say something")
		}
	}
}

// BenchmarkHit is a line with an error.
func BenchmarkHit(b *testing.B) {
	r := reader(b)
	line := `2026/03/01 14:03:07 [error] 812#812: *7 recv() failed (104: Connection reset by peer) while reading response header from upstream, client: 10.0.0.5, upstream: "http://10.0.0.7:8080/x"`
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		r.Read(line)
	}
}
