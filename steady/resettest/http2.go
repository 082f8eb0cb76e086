package resettest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What this server speaks of HTTP/2.
const (
	maxFrame   = 16384 // octets of a payload, the default of both ends
	maxAnswer  = 32768 // octets of an answer: it must fit the peer's first window
	maxStreams = 128   // open at once; more are refused with REFUSED_STREAM
	maxFields  = 64 << 10
	hpackTable = 4096 // SETTINGS_HEADER_TABLE_SIZE that the peer may assume
)

// h2stream is a request that is being read.
type h2stream struct {
	id     uint32
	fields []hpack.HeaderField
	body   []byte
}

// h2conn is the state of one connection.
type h2conn struct {
	x       *exchange
	fr      *http2.Framer // reads the connection and writes to out
	out     bytes.Buffer
	streams map[uint32]*h2stream
	last    uint32 // highest stream that was answered or is being executed
}

// serveHTTP2 serves a connection of HTTP/2, one request after another in the
// order in which they are complete, so that every fault knows what came before.
func (x *exchange) serveHTTP2() error {
	c := &h2conn{x: x, streams: map[uint32]*h2stream{}}
	c.fr = http2.NewFramer(&c.out, x.rw)
	c.fr.ReadMetaHeaders = hpack.NewDecoder(hpackTable, nil)
	c.fr.MaxHeaderListSize = maxFields
	c.fr.SetMaxReadFrameSize(maxFrame)
	if err := c.greet(); err != nil {
		return err
	}
	for {
		done, err := c.next()
		if err != nil {
			return err
		}
		if done == nil {
			continue
		}
		delete(c.streams, done.id)
		if err := c.serve(done); err != nil {
			return err
		}
		x.reqNo++
	}
}

// next reads a frame and handles it. It returns the stream whose request is now
// complete.
func (c *h2conn) next() (*h2stream, error) {
	f, err := c.fr.ReadFrame()
	if bad, ok := errors.AsType[http2.StreamError](err); ok {
		delete(c.streams, bad.StreamID)
		return nil, c.reset(bad.StreamID, bad.Code)
	}
	if err != nil {
		return nil, err
	}
	return c.take(f)
}

// greet reads the preface and sends the settings.
func (c *h2conn) greet() error {
	b := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.x.rw, b); err != nil {
		return err
	}
	if string(b) != http2.ClientPreface {
		return errors.New("client does not speak HTTP/2")
	}
	return c.write(c.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: maxStreams}))
}

// write sends the frames that were written to the framer, in one piece. Its argument
// is what the framer said to them.
func (c *h2conn) write(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := c.x.rw.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// take handles a frame.
func (c *h2conn) take(f http2.Frame) (*h2stream, error) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return nil, c.write(c.fr.WriteSettingsAck())
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return nil, c.write(c.fr.WritePing(true, f.Data))
		}
	case *http2.RSTStreamFrame:
		delete(c.streams, f.StreamID)
	case *http2.MetaHeadersFrame:
		return c.takeHeaders(f)
	case *http2.DataFrame:
		return c.takeData(f)
	}
	return nil, nil // WINDOW_UPDATE: our answers fit the first window
}

func (c *h2conn) takeHeaders(f *http2.MetaHeadersFrame) (*h2stream, error) {
	st := c.streams[f.StreamID]
	switch {
	case st != nil: // trailers
		st.fields = append(st.fields, f.Fields...)
	case len(c.streams) >= maxStreams:
		return nil, c.reset(f.StreamID, http2.ErrCodeRefusedStream)
	default:
		st = &h2stream{id: f.StreamID, fields: f.Fields}
		c.streams[f.StreamID] = st
	}
	return complete(st, f.StreamEnded()), nil
}

func (c *h2conn) takeData(f *http2.DataFrame) (*h2stream, error) {
	st := c.streams[f.StreamID]
	if f.Length > 0 { // give the window back
		errs := []error{c.fr.WriteWindowUpdate(0, f.Length)}
		if st != nil {
			errs = append(errs, c.fr.WriteWindowUpdate(f.StreamID, f.Length))
		}
		if err := c.write(errs...); err != nil {
			return nil, err
		}
	}
	if st == nil {
		return nil, nil
	}
	if int64(len(st.body)+len(f.Data())) > c.x.s.cfg.MaxBody {
		delete(c.streams, f.StreamID)
		return nil, c.reset(f.StreamID, http2.ErrCodeInternal)
	}
	st.body = append(st.body, f.Data()...)
	return complete(st, f.StreamEnded()), nil
}

func complete(st *h2stream, ended bool) *h2stream {
	if !ended {
		return nil
	}
	return st
}

// serve answers a request, or lets the fault do that.
func (c *h2conn) serve(st *h2stream) error {
	x := c.x
	x.h2, x.stream, x.body, x.fault = c, st, st.body, nil
	x.req = st.request()
	x.id = requestID(x.req.Header, x.connKey())
	x.try = x.s.ledger.attempt(x.id)
	x.entry = x.s.ledger.open(Entry{
		ID: x.id, Attempt: x.try, Conn: x.connNo, Request: x.reqNo, Method: x.req.Method, Path: x.req.URL.Path,
		Body: int64(len(st.body)), Arrived: Yes, Delivered: Yes, Answered: No,
	})
	key := fmt.Sprintf("%s attempt %d", x.id, x.try)
	a := x.s.plan.pick(stageStream, key, true, x.reqNo)
	if a == nil && x.reqNo > 1 {
		a = x.s.plan.pick(stageNext, key, true, x.reqNo)
	}
	if a != nil {
		x.fault = a
		x.note(func(e *Entry) { e.Fault = a.Fault })
		return a.fault.run(x)
	}
	return c.answer()
}

// request builds the request of a stream.
func (st *h2stream) request() *http.Request {
	r := &http.Request{Method: http.MethodGet, Header: http.Header{}, ProtoMajor: 2}
	path := "/"
	for _, f := range st.fields {
		switch {
		case f.Name == ":method":
			r.Method = f.Value
		case f.Name == ":path":
			path = f.Value
		case !strings.HasPrefix(f.Name, ":"):
			r.Header.Add(f.Name, f.Value)
		}
	}
	r.URL = pathURL(path)
	return r
}

// answer executes the request of the current stream and answers it.
func (c *h2conn) answer() error {
	x := c.x
	c.last = max(c.last, x.stream.id)
	body := x.execute()
	if len(body) > maxAnswer {
		body = body[:maxAnswer]
	}
	size := int64(len(body))
	ok := []byte{0x88} // HPACK's entry of its static table: ":status" is "200"
	errs := []error{c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: x.stream.id, BlockFragment: ok, EndHeaders: true})}
	for len(body) > maxFrame {
		errs = append(errs, c.fr.WriteData(x.stream.id, false, body[:maxFrame]))
		body = body[maxFrame:]
	}
	errs = append(errs, c.fr.WriteData(x.stream.id, true, body))
	x.note(func(e *Entry) { e.Sent, e.Answered = size, Yes }) // before the client can have it
	if err := c.write(errs...); err != nil {
		x.note(func(e *Entry) { e.Sent, e.Answered = 0, Any }) // how much went out the socket does not say
		return err
	}
	return nil
}

func (c *h2conn) reset(stream uint32, code http2.ErrCode) error {
	return c.write(c.fr.WriteRSTStream(stream, code))
}

// goAway says that nothing above last was or will be processed.
func (c *h2conn) goAway(last uint32) error {
	return c.write(c.fr.WriteGoAway(last, http2.ErrCodeNo, nil))
}
