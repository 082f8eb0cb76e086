package resettest

import (
	"fmt"
	"io"

	"github.com/holdfast-project/holdfast/steady/framing"
)

// aim finds the message of a connection that a fault is to strike. Octets count from
// the beginning of that message and of its answer then.
type aim struct {
	message  int
	up, down side
	silent   bool // what the program still answers is thrown away
}

// side is one direction. Each is used by one goroutine at a time.
type side struct {
	next  func([]byte) (int, framing.Part, error)
	held  []byte    // not described yet
	queue []stretch // described, not passed on yet
	lost  error
	count int64 // octets of the message that were passed on
}

// stretch is octets that belong to one message.
type stretch struct {
	b    []byte
	part framing.Part
}

// newAim returns nil for an injection that is not aimed.
func newAim(a *armed) *aim {
	if a == nil || a.Protocol == "" {
		return nil
	}
	c, err := framing.New(a.Protocol)
	if err != nil {
		return nil // check has refused it
	}
	return &aim{message: max(a.Message, 1), up: side{next: c.Client}, down: side{next: c.Server}}
}

// hits says whether a stretch is of the message that is aimed at.
func (a *aim) hits(s stretch) bool {
	return s.part.Kind == framing.Message && s.part.Number == a.message
}

// put describes octets. What cannot be described any more is passed on as it is.
func (s *side) put(b []byte) {
	s.held = append(s.held, b...)
	for len(s.held) > 0 {
		n, part, err := 0, framing.Part{}, s.lost
		if err == nil {
			n, part, err = s.next(s.held)
		}
		if err != nil {
			s.lost = err
			s.flush()
			return
		}
		if n == 0 {
			return
		}
		s.queue = append(s.queue, stretch{append([]byte(nil), s.held[:n]...), part})
		s.held = s.held[n:]
	}
}

// flush gives up waiting for more octets.
func (s *side) flush() {
	if len(s.held) > 0 {
		s.queue = append(s.queue, stretch{b: s.held})
		s.held = nil
	}
}

// checkAim refuses what cannot be aimed. stream says that it is for a Listener or Proxy.
func checkAim(in Injection, f Fault, stream bool) error {
	if in.Protocol == "" && in.Message == 0 {
		return nil
	}
	if in.Protocol != "" {
		if _, err := framing.New(in.Protocol); err != nil {
			return fmt.Errorf("fault %s: %w", f.Name, err)
		}
	}
	switch {
	case f.stage < stageRequest:
		return fmt.Errorf("fault %s strikes a connection, and no message of it", f.Name)
	case stream && in.Protocol == "":
		return fmt.Errorf("fault %s: message %d of which protocol? one of %v", f.Name, in.Message, framing.Protocols())
	case !stream && in.Protocol != "" && in.Protocol != "http":
		return fmt.Errorf("fault %s: this server speaks HTTP, and not %s", f.Name, in.Protocol)
	}
	return nil
}

// readAimed is Read of a connection whose fault is aimed.
func (c *faultConn) readAimed(p []byte) (int, error) {
	s := &c.aim.up
	for {
		if _, _, dead := c.state(); dead != nil {
			return 0, dead
		}
		if len(s.queue) == 0 {
			b := make([]byte, copyBuffer)
			n, err := c.TCPConn.Read(b)
			s.put(b[:n])
			if err != nil {
				s.flush()
			}
			c.noteLost(s.lost)
			if len(s.queue) == 0 && err != nil {
				return 0, err
			}
			continue
		}
		n, err := c.passUp(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// passUp gives the program what the fault lets through of the next stretch.
func (c *faultConn) passUp(p []byte) (int, error) {
	s := &c.aim.up
	next := s.queue[0]
	left := int64(min(len(p), len(next.b)))
	hit := c.aim.hits(next)
	at := or(c.hit.At, 1)
	switch name := c.name(); {
	case !hit:
	case name == "rst-unforwarded":
		s.queue = s.queue[1:]
		if next.part.Last {
			return 0, c.acknowledged()
		}
		return 0, nil
	case name == "half-close" && next.part.First && s.count == 0:
		c.struck()
		_ = c.CloseWrite()
	case name == "rst-mid-body" || name == "stop-reading" || name == "unread-data":
		if left = min(left, at-s.count); left <= 0 && len(p) > 0 {
			return 0, c.stopped(name)
		}
	}
	n := copy(p[:left], next.b)
	if s.queue[0].b = next.b[n:]; n == len(next.b) {
		s.queue = s.queue[1:]
	}
	c.gave(int64(n))
	if n == len(next.b) && next.part.Last {
		c.note(func(s *Stream) { s.Requests = next.part.Number })
	}
	if hit {
		s.count += int64(n)
		if c.name() == "rst-mid-body" && s.count >= at {
			c.strikeRST()
		}
	}
	return n, nil
}

// acknowledged strikes when the client's kernel has the acknowledgement of everything
// that was read.
func (c *faultConn) acknowledged() error {
	acknowledge(c.TCPConn)
	c.strikeRST()
	return errStruck
}

// writeAimed is Write of a connection whose fault is aimed.
func (c *faultConn) writeAimed(p []byte) (int, error) {
	s := &c.aim.down
	s.put(p)
	c.noteLost(s.lost)
	for len(s.queue) > 0 {
		next := s.queue[0]
		s.queue = s.queue[1:]
		if next.part.First {
			c.note(func(s *Stream) { s.Answers = max(s.Answers, next.part.Number) })
		}
		n, err := c.passDown(next)
		if err != nil {
			return min(n, len(p)), err
		}
	}
	return len(p), nil
}

// passDown gives the client what the fault lets through of a stretch.
func (c *faultConn) passDown(next stretch) (int, error) {
	if c.aim.silent {
		return len(next.b), nil
	}
	if !c.aim.hits(next) {
		return c.send(next.b)
	}
	n, err := c.answer(next.b, c.aim.down.count)
	c.aim.down.count += int64(n)
	return n, err
}

func (c *faultConn) noteLost(err error) {
	if err != nil {
		c.note(func(s *Stream) { s.Lost = err.Error() })
	}
}

// CloseWrite ends the stream towards the client.
func (c *faultConn) CloseWrite() error {
	if c.aim != nil {
		if b := c.aim.down.held; len(b) > 0 {
			c.aim.down.held = nil
			if _, err := c.send(b); err != nil {
				return err
			}
		}
	}
	return c.TCPConn.CloseWrite()
}

// runUnforwarded is what a relay does that takes a request and aborts before it passes
// it on.
func runUnforwarded(x *exchange) error {
	if err := x.readBody(); err != nil {
		return err
	}
	x.note(func(e *Entry) { e.Arrived, e.Delivered = Yes, No }) // the server behind the relay never has it
	acknowledge(x.tcp)
	return runAbort(x)
}

// runLostRST executes a request and leaves its connection without a word.
func runLostRST(x *exchange) error {
	if err := x.readPart(); err != nil {
		return err
	}
	x.execute()
	_ = vanish(x.tcp)
	return errEnd
}

var _ io.ReadWriteCloser = (*faultConn)(nil)
