package resettest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The frames of HTTP/2 that this server knows (RFC 9113 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	maxFrame   = 16384 // octets of a payload, the default of both ends
	maxAnswer  = 32768 // octets of an answer: it must fit the peer's first window
	maxStreams = 128   // open at once; more are refused with REFUSED_STREAM

	codeNoError   = 0x0
	codeInternal  = 0x2
	codeRefused   = 0x7
	lastStreamMax = 1<<31 - 1
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// h2stream is a request that is being read.
type h2stream struct {
	id      uint32
	headers []header
	body    []byte
}

// h2conn is the state of one connection.
type h2conn struct {
	x       *exchange
	dec     hpackDecoder
	streams map[uint32]*h2stream
	last    uint32 // highest stream that was answered or is being executed
}

// serveHTTP2 serves a connection of HTTP/2, one request after another in the
// order in which they are complete, so that every fault knows what came before.
func (x *exchange) serveHTTP2() error {
	c := &h2conn{x: x, dec: hpackDecoder{max: hpackTable}, streams: map[uint32]*h2stream{}}
	if err := c.greet(); err != nil {
		return err
	}
	for {
		f, err := readFrame(x.rw)
		if err != nil {
			return err
		}
		done, err := c.take(f)
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

// greet reads the preface and sends the settings.
func (c *h2conn) greet() error {
	b := make([]byte, len(preface))
	if _, err := io.ReadFull(c.x.rw, b); err != nil {
		return err
	}
	if string(b) != preface {
		return errors.New("client does not speak HTTP/2")
	}
	settings := binary.BigEndian.AppendUint32([]byte{0, 3}, maxStreams) // MAX_CONCURRENT_STREAMS
	return c.write(frame{kind: frameSettings, payload: settings})
}

func readFrame(r io.Reader) (frame, error) {
	var h [9]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	n := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	if n > maxFrame {
		return frame{}, fmt.Errorf("frame of %d octets", n)
	}
	f := frame{kind: h[3], flags: h[4], stream: binary.BigEndian.Uint32(h[5:]) & lastStreamMax, payload: make([]byte, n)}
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

// write sends frames in one piece.
func (c *h2conn) write(frames ...frame) error {
	var b []byte
	for _, f := range frames {
		n := len(f.payload)
		b = append(b, byte(n>>16), byte(n>>8), byte(n), f.kind, f.flags)
		b = binary.BigEndian.AppendUint32(b, f.stream)
		b = append(b, f.payload...)
	}
	_, err := c.x.rw.Write(b)
	return err
}

// take handles a frame. It returns the stream whose request is now complete.
func (c *h2conn) take(f frame) (*h2stream, error) {
	switch f.kind {
	case frameSettings:
		if f.flags&flagAck == 0 {
			return nil, c.write(frame{kind: frameSettings, flags: flagAck})
		}
	case framePing:
		if f.flags&flagAck == 0 {
			return nil, c.write(frame{kind: framePing, flags: flagAck, payload: f.payload})
		}
	case frameReset:
		delete(c.streams, f.stream)
	case frameHeaders:
		return c.takeHeaders(f)
	case frameData:
		return c.takeData(f)
	}
	return nil, nil // WINDOW_UPDATE: our answers fit the first window
}

func (c *h2conn) takeHeaders(f frame) (*h2stream, error) {
	block, err := unpad(f)
	if err != nil {
		return nil, err
	}
	if f.flags&flagPriority != 0 {
		if len(block) < 5 {
			return nil, errors.New("HEADERS frame is too short")
		}
		block = block[5:]
	}
	for flags := f.flags; flags&flagEndHeaders == 0; {
		next, err := readFrame(c.x.rw)
		if err != nil {
			return nil, err
		}
		if next.kind != frameContinuation || next.stream != f.stream || len(block)+len(next.payload) > hpackList {
			return nil, errors.New("header block is not continued")
		}
		block, flags = append(block, next.payload...), next.flags
	}
	headers, err := c.dec.decode(block)
	if err != nil {
		return nil, err
	}
	st := c.streams[f.stream]
	switch {
	case st != nil: // trailers
		st.headers = append(st.headers, headers...)
	case len(c.streams) >= maxStreams:
		return nil, c.reset(f.stream, codeRefused)
	default:
		st = &h2stream{id: f.stream, headers: headers}
		c.streams[f.stream] = st
	}
	return c.complete(st, f.flags), nil
}

func (c *h2conn) takeData(f frame) (*h2stream, error) {
	data, err := unpad(f)
	if err != nil {
		return nil, err
	}
	st := c.streams[f.stream]
	if n := uint32(len(f.payload)); n > 0 { // give the window back
		credit := binary.BigEndian.AppendUint32(nil, n)
		updates := []frame{{kind: frameWindow, payload: credit}}
		if st != nil {
			updates = append(updates, frame{kind: frameWindow, stream: f.stream, payload: credit})
		}
		if err := c.write(updates...); err != nil {
			return nil, err
		}
	}
	if st == nil {
		return nil, nil
	}
	if int64(len(st.body)+len(data)) > c.x.s.cfg.MaxBody {
		delete(c.streams, f.stream)
		return nil, c.reset(f.stream, codeInternal)
	}
	st.body = append(st.body, data...)
	return c.complete(st, f.flags), nil
}

func (c *h2conn) complete(st *h2stream, flags byte) *h2stream {
	if flags&flagEndStream == 0 {
		return nil
	}
	return st
}

// unpad returns the payload of a frame without its padding.
func unpad(f frame) ([]byte, error) {
	if f.flags&flagPadded == 0 {
		return f.payload, nil
	}
	if len(f.payload) == 0 || int(f.payload[0]) >= len(f.payload) {
		return nil, errors.New("padding is longer than its frame")
	}
	return f.payload[1 : len(f.payload)-int(f.payload[0])], nil
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
	for _, h := range st.headers {
		switch {
		case h.name == ":method":
			r.Method = h.value
		case h.name == ":path":
			path = h.value
		case !strings.HasPrefix(h.name, ":"):
			r.Header.Add(h.name, h.value)
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
	frames := []frame{{kind: frameHeaders, flags: flagEndHeaders, stream: x.stream.id, payload: []byte{0x88}}} // :status 200
	for len(body) > maxFrame {
		frames = append(frames, frame{kind: frameData, stream: x.stream.id, payload: body[:maxFrame]})
		body = body[maxFrame:]
	}
	frames = append(frames, frame{kind: frameData, flags: flagEndStream, stream: x.stream.id, payload: body})
	x.note(func(e *Entry) { e.Sent, e.Answered = size, Yes }) // before the client can have it
	if err := c.write(frames...); err != nil {
		x.note(func(e *Entry) { e.Sent, e.Answered = 0, Any }) // how much went out the socket does not say
		return err
	}
	return nil
}

func (c *h2conn) reset(stream, code uint32) error {
	return c.write(frame{kind: frameReset, stream: stream, payload: binary.BigEndian.AppendUint32(nil, code)})
}

// goAway says that nothing above last was or will be processed.
func (c *h2conn) goAway(last, code uint32) error {
	return c.write(frame{kind: frameGoAway, payload: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, last), code)})
}
