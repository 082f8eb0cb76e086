// Package framing finds out where requests and their answers begin and end in the
// stream of a connection of PostgreSQL, MySQL, Redis or HTTP/1, so that a relay can
// count them, strike one of them, or leave between two of them.
//
// It only reads: it changes no octet, checks no password and understands no query.
// It needs both directions, because the length of an answer can depend on its
// request. What it cannot follow (TLS, compression, CONNECT, subscriptions, octets
// that are not the protocol) it says by an error, and says no more of that
// connection: a wrong number would be worse than none.
//
// To debug it, print what [Conn.Client] and [Conn.Server] return.
package framing

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Kind says to what a stretch of octets belongs.
type Kind int

// The kinds.
const (
	Control Kind = iota // to no request: a handshake, a login, a farewell
	Message             // to a request, or to its answer
	Aside               // to nothing that was asked: a notice, a pushed message, an interim answer
)

// String returns the name of the kind.
func (k Kind) String() string {
	return [...]string{"control", "message", "aside"}[k]
}

// Part describes a stretch of octets of one direction.
type Part struct {
	Kind   Kind
	Number int  // of a Message: which request, from 1; of an answer: which one is answered
	First  bool // the stretch begins with the first octet of the message
	Last   bool // it ends with its last octet; never for answers whose end cannot be known
}

// ErrLost is what Client and Server return, wrapped in the reason, when they cannot
// follow the connection any more.
var ErrLost = errors.New("messages cannot be followed")

// Most is how many octets Client and Server want to see at most before they say what
// the first of them is.
const Most = 16

// maxHead bounds what is remembered of a head or a line, in octets.
const maxHead = 64 << 10

// protocol frames both directions of one connection. Octets are handed in once.
type protocol interface {
	client(b []byte) (int, Part, error)
	server(b []byte) (int, Part, error)
}

var protocols = map[string]func() protocol{
	"http":     func() protocol { return &http1{} },
	"mysql":    func() protocol { return &mysql{} },
	"postgres": func() protocol { return &postgres{} },
	"redis":    func() protocol { return &redis{} },
}

// Protocols returns the names that New knows, sorted.
func Protocols() []string {
	var list []string
	for name := range protocols {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Conn frames one connection. Its methods can be called from two goroutines, one for
// each direction, when an answer is handed in after the request that it answers.
type Conn struct {
	mu   sync.Mutex
	p    protocol // guarded by mu
	lost error    // guarded by mu
}

// New returns a Conn for a connection that begins.
func New(protocol string) (*Conn, error) {
	f := protocols[protocol]
	if f == nil {
		return nil, fmt.Errorf("protocol %q is none of %v", protocol, Protocols())
	}
	return &Conn{p: f()}, nil
}

// Client says what the octets are with which b begins, which the client sent: n of
// them are part. n is 0 when that cannot be said yet: come again with more behind
// them, at most Most. The octets that were described are not handed in again.
func (c *Conn) Client(b []byte) (n int, part Part, err error) {
	return c.next(b, c.p.client)
}

// Server is Client for the other direction.
func (c *Conn) Server(b []byte) (n int, part Part, err error) {
	return c.next(b, c.p.server)
}

func (c *Conn) next(b []byte, f func([]byte) (int, Part, error)) (int, Part, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		return 0, Part{}, c.lost
	}
	if len(b) == 0 {
		return 0, Part{}, nil
	}
	n, part, err := f(b)
	if err != nil {
		c.lost = err
	}
	return n, part, err
}

// lost is an error with its reason.
func lost(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLost, fmt.Sprintf(format, args...))
}

// run is the rest of a frame whose length is known.
type run struct {
	left int64
	part Part // of the octets that are left; Last holds at the end only
}

// take returns what of b belongs to the run.
func (r *run) take(b []byte) (int, Part, error) {
	n := min(int64(len(b)), r.left)
	r.left -= n
	p := r.part
	p.Last = p.Last && r.left == 0
	r.part.First = false
	return int(n), p, nil
}

// begin starts a run of n octets and takes of it what b has.
func (r *run) begin(n int64, p Part, b []byte) (int, Part, error) {
	r.left, r.part = n, p
	return r.take(b)
}
