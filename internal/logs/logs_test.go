package logs

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-project/holdfast/internal/linux"
)

func TestParseStamp(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 50, 45, 0, time.UTC)
	ms := at.Add(123 * time.Millisecond)
	us := at.Add(123456 * time.Microsecond)
	for _, tc := range []struct {
		name, line string
		want       time.Time
		zoned      bool
	}{
		{"nginx", `2026/11/21 08:50:45 [error] 31493#31493: *1 connect() failed`, at, false},
		{"nginx access", `127.0.0.1 - - [21/Nov/2026:08:50:45 +0000] "GET / HTTP/1.1" 502`, at, true},
		{"apache access west", `127.0.0.1 - - [21/Nov/2026:03:50:45 -0500] "GET /"`, at, true},
		{"apache error", `[Sat Nov 21 08:50:45.123456 2026] [core:error] [pid 5]`, us, false},
		{"redis", `31496:M 21 Nov 2026 08:50:45.123 * Ready`, ms, false},
		{"postgres utc", `2026-11-21 08:50:45.123 UTC [901] FATAL:  terminating`, ms, true},
		{"postgres local", `2026-11-21 08:50:45.123 CET [901] FATAL:  terminating`, ms, false},
		{"mysql", `2026-11-21T08:50:45.123456Z 8 [Warning] Aborted connection`, us, true},
		{"offset", `2026-11-21T09:50:45.123+01:00 INFO`, ms, true},
		{"short offset", `2026-11-21 09:50:45.123+01 LOG:`, ms, true},
		{"python", `2026-11-21 08:50:45,123 ERROR worker`, ms, false},
		{"go", `2026/11/21 08:50:45.123456 http: panic serving`, us, false},
		{"go with number", `2026/11/21 08:50:45 -12 left`, at, false},
		{"tomcat", `21-Nov-2026 08:50:45.123 SEVERE [main]`, ms, false},
		{"haproxy", `10.0.0.1:5000 [21/Nov/2026:08:50:45.123] front back/s1`, ms, false},
		{"rfc5424", `<134>1 2026-11-21T08:50:45.123Z host haproxy 4 - -`, ms, true},
		{"json", `{"level":"error","time":"2026-11-21T08:50:45.123Z","msg":"reset"}`, ms, true},
		{"zap", `{"level":"error","ts":1795251045.123,"msg":"reset"}`, ms, true},
		{"pino", `{"level":50,"time":1795251045123,"msg":"reset"}`, ms, true},
		{"logfmt", `time=2026-11-21T08:50:45.123Z level=error`, ms, true},
		{"cri", `2026-11-21T08:50:45.123456Z stderr F connection reset`, us, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ok := parseStamp(tc.line)
			if !ok || !s.t.Equal(tc.want) || s.zoned != tc.zoned {
				t.Errorf("got %v zoned %v ok %v, want %v zoned %v", s.t, s.zoned, ok, tc.want, tc.zoned)
			}
		})
	}
	for _, line := range []string{"", "no time at all", "12:00", "2026-13-45 99:99:99 nonsense", "    at com.example.Main(Main.java:12)"} {
		if s, ok := parseStamp(line); ok {
			t.Errorf("%q: found %v", line, s.t)
		}
	}
}

func TestStampWithoutYear(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 10, 0, time.UTC)
	for line, want := range map[string]time.Time{
		"Dec 31 23:59:59 host sshd[1]: x":         time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC),
		"Jan  1 00:00:05 host sshd[1]: x":         time.Date(2027, 1, 1, 0, 0, 5, 0, time.UTC),
		"E0101 00:00:05.000001  1 server.go:7] x": time.Date(2027, 1, 1, 0, 0, 5, 1000, time.UTC),
	} {
		s, ok := parseStamp(line)
		if got := s.withYear(now); !ok || !got.Equal(want) {
			t.Errorf("%q: got %v %v, want %v", line, got, ok, want)
		}
	}
}

// pick runs a fixture through the window around a time.
func pick(t *testing.T, name string, at time.Time, within time.Duration, word string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	last := at.Add(time.Second)
	return window{from: at.Add(-within), to: at.Add(within), written: last, known: -1, word: word}.pick(b)
}

func TestPickFixtures(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 50, 45, 0, time.UTC)
	if got := pick(t, "nginx-error.log", at, 500*time.Millisecond, ""); len(got) != 15 || !strings.Contains(got[6], "Connection refused") {
		t.Errorf("nginx: %q", got)
	}
	if got := pick(t, "redis.log", at.Add(1500*time.Millisecond), 500*time.Millisecond, ""); len(got) != 2 || !strings.Contains(got[0], "User requested shutdown") {
		t.Errorf("redis: %q", got)
	}
	want := []string{
		"2026-11-21 08:50:45.002 UTC [901] app@shop FATAL:  terminating connection due to administrator command",
		"2026-11-21 08:50:45.002 UTC [901] app@shop STATEMENT:  SELECT pg_sleep(60)",
		" FROM generate_series(1, 3)",
		"2026-11-21 08:50:45.417 UTC [902] app@shop LOG:  could not send data to client: Connection reset by peer",
	}
	if diff := cmp.Diff(want, pick(t, "postgresql.log", at, 2*time.Second, "")); diff != "" {
		t.Error(diff)
	}
	if got := pick(t, "syslog.log", at, 300*time.Millisecond, "sshd"); len(got) != 1 || !strings.Contains(got[0], "Timeout before authentication") {
		t.Errorf("syslog: %q", got)
	}
}

func TestZoneOfFile(t *testing.T) {
	// The writer is in New York; the file was last written at 08:50:46 UTC.
	text := "2026/11/21 03:50:40 early\n2026/11/21 03:50:45 [error] reset\n"
	at := time.Date(2026, 11, 21, 8, 50, 45, 0, time.UTC)
	w := window{from: at.Add(-time.Second), to: at.Add(time.Second), written: at.Add(500 * time.Millisecond), known: -1}
	if diff := cmp.Diff([]string{"2026/11/21 03:50:45 [error] reset"}, w.pick([]byte(text))); diff != "" {
		t.Error(diff)
	}
}

// writeLog opens a log file that this very process writes.
func writeLog(t *testing.T, name string) *os.File {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("finding a process's files needs Linux")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAroundWithTimes(t *testing.T) {
	f := writeLog(t, "server-error.log")
	now := time.Now()
	stamp := func(d time.Duration) string { return now.Add(d).Format("2006/01/02 15:04:05.000000") }
	f.WriteString(stamp(-time.Minute) + " stale-line\n" + stamp(0) + " [error] connection \x1b[31mreset\x00\n\tbecause of this\n")
	text, file, looked := NewReader(&linux.Host{}).Around(os.Getpid(), now, 2*time.Second)
	if want := stamp(0) + " [error] connection  [31mreset\n because of this"; !looked || !strings.Contains(text, want) {
		t.Errorf("looked %v, text %q, want %q", looked, text, want)
	}
	if strings.Contains(text, "stale-line") || !strings.Contains(file, f.Name()) {
		t.Errorf("file %q, text %q", file, text)
	}
}

func TestAroundWithoutTimes(t *testing.T) {
	f := writeLog(t, "plain.log")
	f.WriteString("before one\nbefore two\n")
	r := NewReader(&linux.Host{})
	r.Remember(os.Getpid())
	f.WriteString("after one\nafter two\n")
	text, _, _ := r.Around(os.Getpid(), time.Now(), 2*time.Second)
	if !strings.Contains(text, "after one\nafter two") || strings.Contains(text, "before") {
		t.Errorf("text %q", text)
	}
	fresh, _, _ := NewReader(&linux.Host{}).Around(os.Getpid(), time.Now(), 2*time.Second)
	if !strings.Contains(fresh, "after two") || strings.Contains(fresh, "after one") {
		t.Errorf("without an earlier look: %q", fresh)
	}
}

func TestAroundIsBounded(t *testing.T) {
	f := writeLog(t, "flood.log")
	line := time.Now().Format("2006-01-02T15:04:05.000Z07:00") + " " + strings.Repeat("x", 100) + "\n"
	f.WriteString(strings.Repeat(line, 20000))
	text, _, _ := NewReader(&linux.Host{}).Around(os.Getpid(), time.Now(), 5*time.Second)
	if len(text) > maxText || len(text) < maxText/2 {
		t.Errorf("%d bytes", len(text))
	}
}

func TestReadTailStartsAtALine(t *testing.T) {
	f := writeLog(t, "tail.log")
	line := strings.Repeat("y", 999) + "\n"
	f.WriteString(strings.Repeat(line, 200))
	rf, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer rf.Close()
	b, start, err := readTail(rf, 200000)
	if err != nil || start%1000 != 0 || len(b) == 0 || len(b) > maxTail || len(b)%1000 != 0 {
		t.Errorf("%d bytes from %d, %v", len(b), start, err)
	}
}

func FuzzStamp(f *testing.F) {
	for _, name := range []string{"nginx-error.log", "nginx-access.log", "redis.log", "postgresql.log", "syslog.log"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"log":"hello\n","stream":"stderr","time":"2026-11-21T08:50:45.123Z"}`))
	f.Add([]byte("E1121 08:50:45.123456  1 x.go:1] y\nts=1795251045.1\n\xff\x00"))
	at := time.Date(2026, 11, 21, 8, 50, 45, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		w := window{from: at.Add(-time.Hour), to: at.Add(time.Hour), written: at, known: -1}
		for _, line := range w.pick(b) {
			if len(line) > maxLine || strings.ContainsAny(line, "\x00\n\x1b") {
				t.Errorf("line %q", line)
			}
		}
	})
}
