package resettest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// exchange is one connection of a Server and the request it is at.
type exchange struct {
	s      *Server
	tcp    *net.TCPConn
	rw     net.Conn // the connection, or TLS over it
	w      *wire    // nil over TLS
	br     *bufio.Reader
	connNo int
	reqNo  int
	entry  int // in the ledger
	req    *http.Request
	id     string
	try    int
	body   []byte
	fault  *armed
	h2     *h2conn   // with HTTP/2
	stream *h2stream // with HTTP/2
}

func (x *exchange) connKey() string { return fmt.Sprintf("conn %d request %d", x.connNo, x.reqNo) }

// strike opens an entry for a fault that hits before a request was read, and runs it.
func (x *exchange) strike(a *armed) error {
	x.fault = a
	if a.fault.stage != stageIdle {
		x.openUnread()
	}
	return a.fault.run(x)
}

// openUnread opens the entry of a request that nobody will read.
func (x *exchange) openUnread() {
	x.entry = x.s.ledger.open(Entry{Attempt: 1, Conn: x.connNo, Request: x.reqNo, Fault: x.fault.Fault, Arrived: No, Delivered: No, Answered: No})
}

func (x *exchange) note(change func(*Entry)) { x.s.ledger.note(x.entry, change) }

// serveHTTP1 serves requests until the client leaves or a fault ends it.
func (x *exchange) serveHTTP1() error {
	var rd io.Reader = x.rw
	if x.s.cert == nil {
		x.w = &wire{TCPConn: x.tcp}
		rd = x.w
	}
	x.br = bufio.NewReaderSize(rd, 4096)
	for ; ; x.reqNo++ {
		x.entry, x.body, x.fault = -1, nil, nil
		if x.reqNo > 1 {
			if a := x.s.plan.pick(stageIdle, x.connKey(), true, x.reqNo-1); a != nil {
				if err := x.strike(a); err != nil {
					return err
				}
			}
		}
		if x.s.plan.has(stageArrival) && x.w != nil {
			if err := x.arrival(); err != nil {
				return err
			}
			if a := x.s.plan.pick(stageArrival, x.connKey(), true, x.reqNo); a != nil {
				return x.strike(a)
			}
		}
		if err := x.serveRequest(); err != nil {
			return err
		}
	}
}

// arrival waits until something of a request is in the socket.
func (x *exchange) arrival() error {
	_, err := peekAt(x.tcp, make([]byte, 1))
	return err
}

// serveRequest reads one request and answers it, or lets the fault do that.
func (x *exchange) serveRequest() error {
	if err := x.readHead(); err != nil {
		return err
	}
	hasBody := x.req.ContentLength != 0
	a := x.s.plan.pick(stageRequest, fmt.Sprintf("%s attempt %d", x.id, x.try), hasBody, x.reqNo)
	if a != nil {
		x.fault = a
		x.note(func(e *Entry) { e.Fault = a.Fault })
		return a.fault.run(x)
	}
	if x.req.ContentLength > x.s.cfg.MaxBody {
		return runEarly413(x)
	}
	if err := x.readBody(); err != nil {
		return err
	}
	last := x.req.Close
	if err := x.answer(x.message(x.execute(), last)); err != nil {
		return err
	}
	if last {
		_ = finish(x.tcp, x.s.cfg.MaxBody)
		return errEnd
	}
	return nil
}

// readHead reads the head of a request and opens its entry.
func (x *exchange) readHead() error {
	if x.w != nil {
		x.w.inHead, x.w.left = true, 0
	}
	req, err := http.ReadRequest(x.br)
	if err != nil {
		return err
	}
	x.req = req
	x.id = requestID(req.Header, x.connKey())
	x.try = x.s.ledger.attempt(x.id)
	e := Entry{ID: x.id, Attempt: x.try, Conn: x.connNo, Request: x.reqNo, Method: req.Method, Path: req.URL.Path, Arrived: Some, Delivered: Some, Answered: No}
	x.entry = x.s.ledger.open(e)
	return nil
}

// readBody reads the whole body, at most MaxBody octets.
func (x *exchange) readBody() error {
	if err := x.goAhead(); err != nil {
		return err
	}
	return x.readSome(noLimit)
}

// goAhead answers Expect: 100-continue.
func (x *exchange) goAhead() error {
	if !strings.EqualFold(x.req.Header.Get("Expect"), "100-continue") {
		return nil
	}
	_, err := io.WriteString(x.rw, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// readSome reads at most n octets of the body and takes no more from the socket,
// unless the body is chunked.
func (x *exchange) readSome(n int64) error {
	if x.w != nil {
		x.w.left = noLimit
		if x.req.ContentLength >= 0 {
			x.w.left = min(n, x.req.ContentLength-int64(len(x.body)))
		}
	}
	if x.w != nil && x.w.left == 0 {
		x.delivered()
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(x.req.Body, min(n, x.s.cfg.MaxBody+1)))
	x.body = append(x.body, b...)
	if err == nil && int64(len(x.body)) > x.s.cfg.MaxBody {
		err = fmt.Errorf("chunked body of more than %d octets", x.s.cfg.MaxBody)
	}
	x.note(func(e *Entry) { e.Body = int64(len(x.body)) })
	if err != nil {
		return err
	}
	if n == noLimit || int64(len(x.body)) == x.req.ContentLength {
		x.delivered()
	}
	return nil
}

func (x *exchange) delivered() {
	x.note(func(e *Entry) { e.Arrived, e.Delivered = Yes, Yes })
}

// execute has the effect of the request and returns the body of the answer.
func (x *exchange) execute() []byte {
	body := []byte("executed " + x.id + "\n")
	if f := x.s.cfg.Execute; f != nil {
		body = f(Request{ID: x.id, Attempt: x.try, Method: x.req.Method, Path: x.req.URL.Path, Header: x.req.Header, Body: x.body})
	}
	x.note(func(e *Entry) { e.Executed = true })
	return body
}

// message builds an answer.
func (x *exchange) message(body []byte, last bool) []byte {
	conn := ""
	if last {
		conn = "Connection: close\r\n"
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%s\r\n", len(body), conn)
	if x.req.Method == http.MethodHead {
		return []byte(head)
	}
	return append([]byte(head), body...)
}

// send writes a part of the answer. The ledger has it before the client can, and
// takes back what the socket refused.
func (x *exchange) send(p []byte) error { return x.write(p, Some) }

// answer writes an answer that is whole.
func (x *exchange) answer(p []byte) error { return x.write(p, Yes) }

func (x *exchange) write(p []byte, how Extent) error {
	var before Entry
	x.note(func(e *Entry) {
		before = *e
		e.Sent += int64(len(p))
		e.Answered = how
	})
	n, err := x.rw.Write(p)
	if err == nil {
		return nil
	}
	x.note(func(e *Entry) {
		e.Sent = before.Sent + int64(n)
		if e.Answered = before.Answered; n > 0 {
			e.Answered = Some
		}
	})
	return err
}

// park keeps the connection without reading or writing, until the server closes
// or d is over.
func (x *exchange) park(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.s.done:
	case <-t.C:
	}
}

// parkReading keeps the connection until the client leaves or the server closes.
func (x *exchange) parkReading() error {
	_, _ = io.Copy(io.Discard, x.tcp)
	return errEnd
}

// pause waits for the time of the fault.
func (x *exchange) pause(def time.Duration) { x.park(or(x.fault.After, def)) }
