package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/logline"
	"github.com/holdfast-project/holdfast/knowledge"
)

// TestDurationIn finds how long a request or connection lasted in the usual
// formats, and in no number beside.
func TestDurationIn(t *testing.T) {
	for line, want := range map[string]float64{
		`haproxy[674]: 192.0.2.3:33319 [15/Sep/2022:12:06:44.301] www~ be/srv2 0/0/1/-1/30002 504 194 - - sH-- 3/3/1/1/0 0/0 "GET /slow HTTP/1.1"`: 30.002,
		`haproxy[14387]: 192.0.2.2:33313 [06/Feb/2024:12:12:51.443] fnt bck/srv1 0/1/50007 212 sD 1/1/1/1/0 0/0`:                                   50.007,
		`10.0.0.5 - - [10/May/2024:10:00:00 +0000] "GET /r HTTP/1.1" 504 160 "-" "curl/8.0" rt=60.001 uct=0.000`:                                   60.001,
		`{"status":504,"request_time":"60.003","upstream_response_time":"60.002"}`:                                                                 60.003,
		`[2023-04-12T07:20:50.890Z] "GET /x HTTP/1.1" 504 UT response_timeout - "-" 0 24 15001 - "-" "curl/7.87.0" "1" "app"`:                      15.001,
		`StackExchange.Redis timeout after 5000ms`: 5,
		`2024/05/10 10:00:00 [error] 29#29: *8 upstream prematurely closed connection while reading response header from upstream, client: 10.1.1.1`:        0,
		`10.0.0.5 - - [10/May/2024:10:00:00 +0000] "GET /r HTTP/1.1" 200 512 "-" "curl/8.0"`:                                                                0,
		`{"level":"error","ts":1622200000.1,"logger":"http.log.error","msg":"dial tcp 127.0.0.1:9000: connect: connection refused","duration":0.000412331}`: 0.000412331,
	} {
		if got, _ := durationIn(line); got != want {
			t.Errorf("%s: %v s, want %v", line, got, want)
		}
	}
}

// TestEqualTimes: most of the same, within two percent, are a timer; scattered
// ones, a few, and no more kinds than are kept are none.
func TestEqualTimes(t *testing.T) {
	var same, scattered, few ages
	for i := range 1000 {
		same.add(59.99 + float64(i%4)/100)
		scattered.add(1 + float64(i)*1.7)
	}
	same.add(3)
	few.add(60)
	few.add(60)
	if x, n := same.equal(); n != 1000 || x < 59.9 || x > 60.1 {
		t.Errorf("equal times: %v in %d", x, n)
	}
	if _, n := scattered.equal(); n != 0 {
		t.Errorf("scattered times: %d", n)
	}
	if _, n := few.equal(); n != 0 {
		t.Errorf("two times: %d", n)
	}
	if len(scattered.seen) > maxAges {
		t.Errorf("%d durations kept", len(scattered.seen))
	}
}

// TestLogBecomesAStory: thousands of lines of many clients are one story, with its
// timer, its share of the file and its begin; servers have stories of their own.
func TestLogBecomesAStory(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := logline.New()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	at := time.Date(2024, 5, 10, 9, 0, 0, 0, time.UTC)
	for i := range 4000 {
		at = at.Add(time.Second)
		client, stamp := fmt.Sprintf("10.0.%d.%d", i/250, i%250), at.Format("02/Jan/2006:15:04:05 -0700")
		if i > 1500 && i%10 == 0 {
			fmt.Fprintf(&log, "%s - - [%s] \"GET /report HTTP/1.1\" 504 160 \"-\" \"curl/8.0\" rt=60.00%d\n", client, stamp, i/10%7)
		} else {
			fmt.Fprintf(&log, "%s - - [%s] \"GET /a/104/%d HTTP/1.1\" 200 512 \"-\" \"curl/8.0\" rt=0.012\n", client, stamp, i)
		}
	}
	for i := range 40 {
		fmt.Fprintf(&log, "2024/05/10 10:%02d:00 [error] 7#7: *1 upstream prematurely closed connection while reading response header from upstream, client: 10.1.1.%d, server: x, request: \"GET / HTTP/1.1\", upstream: \"http://10.2.0.%d:80/\", host: \"x\"\n", i, i, i%2+1)
	}
	x := newTextReader(r)
	if err := x.lines("access.log", strings.NewReader(log.String())); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range x.finish(base) {
		fmt.Fprintf(&got, "%s %s %v %d %s\n", s.Reading.Event, s.Reading.Peer, s.Reading.TimerS, s.Where.Count, s.Cause.ID)
		if s.Reading.Event == "timeout" {
			seen := strings.Join(s.seen(), "\n")
			for _, want := range []string{"6.2 % of the 4040 lines; none in the first 25m10s of the file", "249 addresses", "249 of 249 lasted 60 s: equal times are a timer, such as nginx client_header_timeout, client_body_timeout, proxy_read_timeout", "one each 10 s"} {
				if !strings.Contains(seen, want) {
					t.Errorf("no %q in\n%s", want, seen)
				}
			}
		}
	}
	want := "closed 10.2.0.1:80 0 20 nginx-upstream-keepalive-mismatch\nclosed 10.2.0.2:80 0 20 nginx-upstream-keepalive-mismatch\ntimeout  60 249 proxy-read-timeout\n"
	if got.String() != want {
		t.Errorf("stories:\n%swant:\n%s", got.String(), want)
	}
}
