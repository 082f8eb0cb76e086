package steady_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast-project/holdfast/steady"
)

// abortingServer reads a request of five bytes, "commits" it and resets.
func abortingServer() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.ReadFull(c, make([]byte, 5))
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}()
	return l
}

// An error of a connection gets a verdict, and stays what it was.
func ExampleExplain() {
	l := abortingServer()
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	conn := steady.Track(raw)
	defer conn.Close()

	conn.Mark() // a request begins
	conn.Write([]byte("hello"))
	_, err = conn.Read(make([]byte, 1))

	err = steady.Explain(conn, err)
	fmt.Println(errors.Is(err, syscall.ECONNRESET))
	fmt.Println(steady.VerdictOf(err).SafeToRetry()) // it may have been executed
	// Output:
	// true
	// false
}

// A Transport takes the place of an http.Transport.
func ExampleTransport() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	defer srv.Close()

	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &steady.Transport{
			Base:       &http.Transport{MaxIdleConnsPerHost: 64},
			KeyHeaders: []string{"Idempotency-Key"}, // because the server honours it
		},
	}
	resp, err := client.Post(srv.URL, "text/plain", strings.NewReader("paid once"))
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(string(body))
	// Output: paid once
}

// What to do with an error is in its verdict.
func ExampleResetError() {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler) // after the work was done
	}))
	defer srv.Close()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

	client := &http.Client{Transport: &steady.Transport{}}
	_, err := client.Post(srv.URL, "text/plain", strings.NewReader("amount=1"))

	var reset *steady.ResetError
	if errors.As(err, &reset) {
		switch reset.Verdict {
		case steady.NotSent, steady.NotDelivered:
			fmt.Println("send it again")
		default:
			fmt.Println("ask the server whether it was executed")
		}
	}
	// Output: ask the server whether it was executed
}

// A Dialer can be given to anything that takes a dial function.
func ExampleDialer() {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	dialer := &steady.Dialer{UserTimeout: 15 * time.Second}
	client := &http.Client{Transport: &steady.Transport{Dial: dialer.DialContext}}
	resp, err := client.Get(srv.URL)
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 404
}

// Transports of the same servers share a Budget.
func ExampleBudget() {
	budget := &steady.Budget{Ratio: 0.2, Min: 3}
	granted := 0
	for range 100 { // requests, all of which fail
		budget.Earn()
		if budget.Take() {
			granted++
		}
	}
	fmt.Println(granted <= 23)
	// Output: true
}

// The breaker opens by cause: closing idle connections is no reason.
func ExampleBreaker() {
	var b steady.Breaker
	for range 5 {
		b.Failed(steady.CauseRefused)
	}
	cause, _, ok := b.Allow()
	fmt.Println(ok, cause)
	// Output: false refused
}

// The throttle adapts to what the server accepts.
func ExampleThrottle() {
	var t steady.Throttle
	sent := 0
	for range 1000 {
		if t.Allow() {
			sent++
			t.Failed()
		}
	}
	fmt.Println(sent < 200)
	// Output: true
}

// Failures go to a logger.
func ExampleLogTo() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case "upstream", "error", slog.TimeKey:
			return slog.Attr{}
		}
		return a
	}}))
	tr := &steady.Transport{Attempts: 1, Observer: steady.LogTo(logger)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	l.Close() // nobody listens
	req, _ := http.NewRequest(http.MethodPost, "http://"+l.Addr().String(), nil)
	_, err = tr.RoundTrip(req)
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED))
	// Output:
	// level=WARN msg="connection failed" kind=give-up method=POST attempt=1 verdict="not sent" cause=refused reason="attempts are used up"
	// true
}

// A Ladder falls back to the next protocol, here from one whose packets vanish.
func ExampleLadder() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "by TCP") }))
	defer srv.Close()
	ladder := &steady.Ladder{
		HeadStart: time.Millisecond,
		Rungs: []steady.Rung{
			{Name: "h3", Connect: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }},
			{Name: "h2", RoundTripper: &steady.Transport{}},
		},
	}
	defer ladder.Close()
	resp, err := (&http.Client{Transport: ladder}).Get(srv.URL)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(string(body))
	// Output: by TCP
}

// A server that had closed before the request came: the POST is sent again,
// and executed once.
func ExampleTransport_notDelivered() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	var executed atomic.Int64
	closed := make(chan struct{}, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				executed.Add(1)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			c.Close() // without having said Connection: close
			closed <- struct{}{}
		}
	}()
	client := &http.Client{Transport: &steady.Transport{}}
	for range 3 {
		resp, err := client.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader("amount=1"))
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
		<-closed
	}
	fmt.Println(executed.Load())
	// Output: 3
}
