package capture

import (
	"time"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/tcp"
)

// Case is one ending with what the other endings, and the other points of
// capture, say about it.
type Case struct {
	Point       *Point
	Termination *tcp.Termination
	First       *Case // the ending that this one follows from, in the same connection; nil when it is the first

	pattern pattern
	views   *views // of the other points, nil with one
	home    *Case  // the same RST where it was seen nearest to its sender; nil with one point
}

// Cases lists the endings of a capture in the order of their frames. A later
// RST of a connection points to the first one that counts.
func Cases(p *Point) []*Case {
	list := make([]*Case, len(p.Terminations))
	found := patterns(p.Terminations)
	first := map[int64]*Case{}
	for i, e := range p.Terminations {
		c := &Case{Point: p, Termination: e, pattern: found[i]}
		list[i] = c
		if f := first[e.Conn.Opened]; f != nil {
			c.First = f
		} else if !e.Corrupt {
			first[e.Conn.Opened] = c
		}
	}
	return list
}

// Fact makes the case for the engine.
func (c *Case) Fact() *fact.Case {
	f := caseOf(c.Termination)
	f.Host = c.Point.Name
	c.pattern.fill(f, c.Termination)
	f.Wire.Points = byWire(int64(1))
	c.byLoopback(f)
	if c.views != nil {
		c.views.fill(f, c)
	}
	return f
}

// Began is when the first segment of the connection was seen.
func (c *Case) Began() time.Time { return when(c.Termination.Conn.Start) }

// Reset reports whether a RST ended the connection.
func (c *Case) Reset() bool { return c.Termination.Kind == tcp.ByReset }

// Where points into the capture.
func (c *Case) Where() fact.Where {
	return fact.Where{File: c.Point.Name, Stream: int(c.Point.Stream(c.Termination)), Frame: int(c.Termination.Frame)}
}

// byLoopback looks whether the RST came by the loopback interface although the
// connection does not: then the capturing host itself made it.
func (c *Case) byLoopback(f *fact.Case) {
	e := c.Termination
	if e.Kind != tcp.ByReset || int(e.Reset.Interface) >= len(c.Point.Interfaces) || len(c.Point.Interfaces) < 2 {
		return
	}
	name := c.Point.Interfaces[e.Reset.Interface].Name
	f.Wire.ByLoopback = byWire((name == "lo" || name == "lo0") && e.Conn.Addr[0] != e.Conn.Addr[1] && !f.Flow.Loopback.Or(false))
}
