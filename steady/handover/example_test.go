package handover_test

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/holdfast-project/holdfast/steady/handover"
)

// A server that its next version replaces while it runs: start the new process, and
// the old one hands over its listener, drains, and ends.
func ExampleHandover() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a real server
	h := &handover.Handover{
		Addr: "127.0.0.1:0", // Path: "/run/shop/handover.sock",
		Serving: func(_ net.Listener, from handover.Origin) {
			fmt.Println("serving, listener is", from)
			stop()
		},
	}
	report, err := h.Serve(ctx, &http.Server{Handler: http.NotFoundHandler()})
	fmt.Println("failed requests:", report.Failed(), "error:", err)
	// Output:
	// serving, listener is new
	// failed requests: 0 error: <nil>
}
