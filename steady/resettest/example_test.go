package resettest_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-project/holdfast/steady/resettest"
)

// A client that repeats every failed request executes this one twice, and the ledger
// says so.
func Example() {
	s, err := resettest.Start(resettest.Config{Inject: []resettest.Injection{{Fault: "rst-after-commit", Times: 1}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	c := s.Client()
	for {
		req, _ := http.NewRequest(http.MethodPost, s.URL+"/pay", strings.NewReader("10 EUR"))
		req.Header.Set("X-Request-Id", "order-17")
		resp, err := c.Do(req)
		fmt.Println("the client saw:", resettest.Classify(err))
		if err == nil {
			resp.Body.Close()
			break
		}
	}
	fmt.Println("executed:", s.Ledger().Executed("order-17"), "times; duplicates:", s.Ledger().Duplicates())
	// Output:
	// the client saw: reset
	// the client saw: answer
	// executed: 2 times; duplicates: [order-17]
}

func ExampleLookup() {
	f, _ := resettest.Lookup("idle-fin")
	fmt.Println(f.Doc)
	fmt.Println("safe to repeat:", f.Truth.SafeToRepeat())
	fmt.Println("on the wire:", f.Truth.Wire)
	// Output:
	// The server answers one request, promises to keep the connection, and closes it when it is idle. The next request meets a socket that is gone.
	// safe to repeat: true
	// on the wire: fin then rst without ACK
}

// Faults before a server of your own.
func ExampleListen() {
	l, err := resettest.Listen(1, resettest.Injection{Fault: "rst-mid-response", At: 10, Times: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(l)
	defer srv.Close()
	_, err = http.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader("x"))
	fmt.Println("failed:", err != nil)
	s := l.Streams()[0]
	fmt.Println("executed:", s.Executed(), "octets of the answer that were sent:", s.Out)
	// Output:
	// failed: true
	// executed: true octets of the answer that were sent: 10
}
