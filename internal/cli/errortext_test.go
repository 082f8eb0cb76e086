package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadError(t *testing.T) {
	for _, c := range []struct{ text, errno, runtime, doing, local, remote string }{
		{"read tcp 10.0.0.5:40122->10.0.0.7:5432: read: connection reset by peer", "ECONNRESET", "Go", "reading", "10.0.0.5:40122", "10.0.0.7:5432"},
		{"write tcp [2001:db8::5]:40122->[2001:db8::7]:443: write: broken pipe", "EPIPE", "Go", "writing", "[2001:db8::5]:40122", "[2001:db8::7]:443"},
		{`Get "http://127.0.0.1:81/": dial tcp 127.0.0.1:81: connect: connection refused`, "ECONNREFUSED", "Go", "connecting", "", "127.0.0.1:81"},
		{"dial tcp 10.1.2.3:443: i/o timeout", "ETIMEDOUT", "Go", "connecting", "", "10.1.2.3:443"},
		{"java.net.SocketException: Connection reset\n\tat java.net.SocketInputStream.read(SocketInputStream.java:186)", "ECONNRESET", "Java", "reading", "", ""},
		{"java.io.IOException: Broken pipe", "EPIPE", "Java", "", "", ""},
		{"Error: read ECONNRESET\n    at TCP.onStreamRead", "ECONNRESET", "Node.js", "reading", "", ""},
		{"Error: connect ECONNREFUSED 127.0.0.1:6379", "ECONNREFUSED", "Node.js", "connecting", "", "127.0.0.1:6379"},
		{"Error: socket hang up", "ECONNRESET", "Node.js", "", "", ""},
		{"ConnectionResetError: [Errno 104] Connection reset by peer", "ECONNRESET", "Python", "", "", ""},
		{"requests.exceptions.ConnectionError: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))", "EOF", "Python", "", "", ""},
		{"curl: (7) Failed to connect to 10.0.0.7 port 8080 after 2 ms: Connection refused", "ECONNREFUSED", "curl", "connecting", "", "10.0.0.7:8080"},
		{"curl: (56) Recv failure: Connection reset by peer", "ECONNRESET", "curl", "reading", "", ""},
		{`2026/03/01 14:03:07 [error] 812#812: *7 recv() failed (104: Connection reset by peer) while reading response header from upstream, client: 10.0.0.5, upstream: "http://10.0.0.7:8080/x"`, "ECONNRESET", "nginx", "reading", "", "10.0.0.7:8080"},
		{`[error] 8#8: *1 upstream prematurely closed connection while reading response header from upstream, upstream: "http://10.0.0.7:80/"`, "EOF", "nginx", "reading", "", "10.0.0.7:80"},
		{`psql: error: connection to server at "10.0.0.7", port 5432 failed: Connection refused`, "ECONNREFUSED", "PostgreSQL", "connecting", "", ""},
		{"thread panicked: Os { code: 104, kind: ConnectionReset, message: \"Connection reset by peer\" }", "ECONNRESET", "Rust", "", "", ""},
		{"An existing connection was forcibly closed by the remote host. (10054)", "ECONNRESET", ".NET", "", "", ""},
		{"ssh: connect to host 10.0.0.7 port 22: No route to host", "EHOSTUNREACH", "", "connecting", "", "10.0.0.7:22"},
		{"connect: cannot assign requested address", "EADDRNOTAVAIL", "", "connecting", "", ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			p, ok := readError(c.text)
			if !ok {
				t.Fatal("not recognised")
			}
			end := func(a interface{ String() string }, set bool) string {
				if !set {
					return ""
				}
				return a.String()
			}
			got := [5]string{p.Error, p.Runtime, p.Doing, end(p.Local, p.Local != nil), end(p.Remote, p.Remote != nil)}
			if want := [5]string{c.errno, c.runtime, c.doing, c.local, c.remote}; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	for _, s := range []string{"", "everything is fine", "permission denied"} {
		if p, ok := readError(s); ok {
			t.Errorf("%q read as %s", s, p.Error)
		}
	}
}

func FuzzReadError(f *testing.F) {
	f.Add("read tcp 10.0.0.5:1->[::1]:99999: connection reset by peer")
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := readError(s); ok && (p.Error == "" || p.Means == "") {
			t.Errorf("%q gives an empty symptom", s)
		}
	})
}

func TestExplainBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "binary.bin")
	if err := os.WriteFile(path, []byte{1, 0, 2, 0, 3}, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := run(t, 0, "explain", path)
	if code != codeUsage || !strings.Contains(errOut, "neither a capture nor text") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
