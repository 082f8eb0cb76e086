package framing

import (
	"bytes"
	"strconv"
	"strings"
)

// http1 frames HTTP/1 (RFC 9112). Interim answers are Aside. Behind CONNECT and
// an upgrade the connection is lost.
type http1 struct {
	up, down h1half
	requests int
	answers  int
	methods  []string // of the requests that are not answered yet
	tunnel   string   // why the octets are no messages any more
}

const maxMethods = 1 << 16 // requests that wait for an answer

// h1half is one direction.
type h1half struct {
	phase h1phase
	head  []byte // of the open message
	left  int64  // octets of a body, or of a chunk
	part  Part
}

type h1phase int

const (
	h1Idle    h1phase = iota
	h1Head            // in a head
	h1Body            // in a body of known length
	h1Close           // in a body up to the end of the connection
	h1Size            // in the line with the size of a chunk
	h1Chunk           // in a chunk
	h1Trailer         // in the lines behind the last chunk
)

func (h *http1) client(b []byte) (int, Part, error) {
	if h.tunnel != "" {
		return 0, Part{}, lost("%s", h.tunnel)
	}
	if h.up.phase == h1Idle {
		if b[0] == '\r' || b[0] == '\n' { // RFC 9112 2.2: empty lines before a request
			return 1, Part{Kind: Control}, nil
		}
		if len(h.methods) >= maxMethods {
			return 0, Part{}, lost("%d requests without an answer", len(h.methods))
		}
		h.requests++
		h.up.begin(Part{Kind: Message, Number: h.requests, First: true})
	}
	return h.up.take(b, func(line string, fields []string) (h1phase, int64, error) {
		method, _, ok := strings.Cut(line, " ")
		if !ok || method == "" || !strings.Contains(line, "HTTP/1.") {
			return 0, 0, lost("not a request of HTTP/1")
		}
		h.methods = append(h.methods, method)
		return bodyOf(fields, h1Idle)
	})
}

func (h *http1) server(b []byte) (int, Part, error) {
	if h.tunnel != "" {
		return 0, Part{}, lost("%s", h.tunnel)
	}
	if h.down.phase == h1Idle {
		part, ok := h.classify(b)
		if !ok {
			return 0, Part{}, nil
		}
		h.down.begin(part)
	}
	n, part, err := h.down.take(b, h.responseHead)
	if err == nil && part.Last {
		h.answers++
	}
	return n, part, err
}

// classify tells an interim answer from a final one; that needs the status.
func (h *http1) classify(b []byte) (Part, bool) {
	if len(b) < len("HTTP/1.1 2") {
		return Part{}, false
	}
	if b[9] == '1' && string(b[9:min(len(b), 12)]) != "101" || h.answers >= h.requests {
		return Part{Kind: Aside}, len(b) >= 12
	}
	return Part{Kind: Message, Number: h.answers + 1, First: true}, true
}

// responseHead says how the body of an answer is framed (RFC 9112 6.3).
func (h *http1) responseHead(line string, fields []string) (h1phase, int64, error) {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil || !strings.HasPrefix(version, "HTTP/1.") || status < 100 || status > 999 {
		return 0, 0, lost("not an answer of HTTP/1")
	}
	if h.down.part.Kind == Aside {
		return h1Idle, 0, nil
	}
	if len(h.methods) == 0 {
		return 0, 0, lost("an answer before the head of its request")
	}
	method := h.methods[0]
	h.methods = h.methods[1:]
	switch {
	case status == 101:
		h.tunnel = "HTTP goes on with another protocol"
		return h1Idle, 0, nil
	case method == "CONNECT" && status/100 == 2:
		h.tunnel = "CONNECT"
		return h1Idle, 0, nil
	case method == "HEAD" || status == 204 || status == 304:
		return h1Idle, 0, nil
	}
	return bodyOf(fields, h1Close)
}

// bodyOf reads the fields that frame a body. otherwise is the phase without any.
func bodyOf(fields []string, otherwise h1phase) (h1phase, int64, error) {
	length := int64(-1)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "transfer-encoding":
			if strings.EqualFold(value, "chunked") {
				return h1Size, 0, nil
			}
			return 0, 0, lost("transfer encoding %q", value)
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil || length >= 0 && length != int64(n) {
				return 0, 0, lost("content length %q", value)
			}
			length = int64(n)
		}
	}
	switch {
	case length > 0:
		return h1Body, length, nil
	case length == 0:
		return h1Idle, 0, nil
	}
	return otherwise, 0, nil
}

func (h *h1half) begin(p Part) { h.phase, h.part, h.head = h1Head, p, h.head[:0] }

// take describes the octets at the beginning of b. onHead is given the first line
// and the fields of a head that is complete.
func (h *h1half) take(b []byte, onHead func(string, []string) (h1phase, int64, error)) (int, Part, error) {
	n, err := 0, error(nil)
	for n < len(b) && h.phase != h1Idle && err == nil {
		var m int
		if m, err = h.step(b[n:], onHead); err == nil {
			n += m
		}
	}
	if err != nil {
		return 0, Part{}, err
	}
	p := h.part
	h.part.First = false
	p.Last = p.Kind == Message && h.phase == h1Idle
	return n, p, nil
}

// step takes octets of one phase.
func (h *h1half) step(b []byte, onHead func(string, []string) (h1phase, int64, error)) (int, error) {
	switch h.phase {
	case h1Close:
		return len(b), nil
	case h1Body, h1Chunk:
		n := min(int64(len(b)), h.left)
		if h.left -= n; h.left == 0 {
			h.phase = map[h1phase]h1phase{h1Body: h1Idle, h1Chunk: h1Size}[h.phase]
		}
		return int(n), nil
	}
	n := bytes.IndexByte(b, '\n') + 1
	ended := n > 0
	if !ended {
		n = len(b)
	}
	if h.head = append(h.head, b[:n]...); len(h.head) > maxHead {
		return 0, lost("head of more than %d octets", maxHead)
	}
	if !ended {
		return n, nil
	}
	return n, h.line(onHead)
}

// line looks at a line that is complete.
func (h *h1half) line(onHead func(string, []string) (h1phase, int64, error)) (err error) {
	begin := bytes.LastIndexByte(h.head[:len(h.head)-1], '\n') + 1
	line := strings.TrimRight(string(h.head[begin:]), "\r\n")
	switch h.phase {
	case h1Head:
		if line != "" {
			return nil
		}
		lines := strings.Split(strings.ReplaceAll(string(h.head), "\r\n", "\n"), "\n")
		h.phase, h.left, err = onHead(lines[0], lines[1:])
	case h1Size:
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
		if err != nil {
			return lost("chunk of size %q", size[:min(len(size), Most)])
		}
		if h.phase, h.left = h1Chunk, int64(n)+2; n == 0 { // with its CRLF
			h.phase, h.left = h1Trailer, 0
		}
	case h1Trailer:
		if line == "" {
			h.phase = h1Idle
		}
	}
	h.head = h.head[:0]
	return err
}
