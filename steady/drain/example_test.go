package drain_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-project/holdfast/steady/drain"
)

// End a server without failing a request.
func ExampleDrain() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })}
	d := &drain.Drain{LameDuck: 50 * time.Millisecond}
	d.Attach(srv)
	wrapped := d.Listener(l)
	go srv.Serve(wrapped)

	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	report, err := d.Shutdown(ctx)
	fmt.Println("failed requests:", report.Failed(), "error:", err)
	// Output: failed requests: 0 error: <nil>
}

// Read the body before a refusal goes out, so that an upload sees 403, not a reset.
func ExampleBodyFirst() {
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	srv := &http.Server{Handler: drain.BodyFirst(refuse, 64<<20, 10*time.Second)}
	fmt.Println(srv.Handler != nil)
	// Output: true
}
