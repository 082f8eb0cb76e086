package resettest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"
)

// Toxic is one of the toxics of toxiproxy, which Proxy knows besides its faults. They
// touch one direction of a connection and take effect at once, also on connections
// that are open. What a client's request did at the server they cannot know.
type Toxic struct {
	Name       string
	Type       string             // one of ToxicTypes
	Stream     string             // "downstream", towards the client, or "upstream"; empty: downstream
	Toxicity   float64            // share of the connections, 0 to 1
	Attributes map[string]float64 // see ToxicTypes; what is not there is 0

	id int // tells it from another one that had its name before
}

// ToxicType says what a toxic does.
type ToxicType struct {
	Type       string   `json:"type"`
	Doc        string   `json:"doc"`
	Attributes []string `json:"attributes,omitempty"`
}

// ToxicTypes are the toxics. The eighth of toxiproxy, down, is a proxy that is not
// enabled.
func ToxicTypes() []ToxicType {
	return []ToxicType{
		{Type: "latency", Doc: "Each piece of data waits.", Attributes: []string{"latency: ms", "jitter: ms, more or less"}},
		{Type: "bandwidth", Doc: "No more than so much data passes in a second.", Attributes: []string{"rate: KB/s"}},
		{Type: "slow_close", Doc: "The end of the stream waits.", Attributes: []string{"delay: ms"}},
		{Type: "timeout", Doc: "Data is dropped, and the connection closed after a while, or when the toxic is removed.", Attributes: []string{"timeout: ms; 0 for never"}},
		{Type: "reset_peer", Doc: "The first data, or the end, of the stream is dropped, and both ends are reset a while later.", Attributes: []string{"timeout: ms"}},
		{Type: "slicer", Doc: "Data is cut into small pieces.", Attributes: []string{"average_size: octets", "size_variation: octets, more or less", "delay: us between pieces"}},
		{Type: "limit_data", Doc: "The connection is closed behind so much data, counted from when the toxic was added.", Attributes: []string{"bytes: octets"}},
	}
}

const (
	downstream = "downstream"
	upstream   = "upstream"
)

func lookupToxic(kind string) (ToxicType, bool) {
	list := ToxicTypes()
	i := slices.IndexFunc(list, func(t ToxicType) bool { return t.Type == kind })
	if i < 0 {
		return ToxicType{}, false
	}
	return list[i], true
}

// toxicLimit bounds every attribute: no timer is longer than a day, and no count of
// octets beyond what a float64 holds exactly.
const toxicLimit = 1 << 53

// check fills defaults and refuses what cannot be done.
func (t *Toxic) check() error {
	kind, ok := lookupToxic(t.Type)
	if t.Stream == "" {
		t.Stream = downstream
	}
	switch {
	case !ok:
		return fmt.Errorf("no toxic or fault is called %q", t.Type)
	case t.Stream != downstream && t.Stream != upstream:
		return fmt.Errorf("toxic %s: stream %q is neither upstream nor downstream", t.Name, t.Stream)
	case !(t.Toxicity >= 0 && t.Toxicity <= 1):
		return fmt.Errorf("toxic %s: toxicity %v is not between 0 and 1", t.Name, t.Toxicity)
	}
	for name, v := range t.Attributes {
		if !slices.ContainsFunc(kind.Attributes, func(a string) bool { return strings.HasPrefix(a, name+":") }) {
			delete(t.Attributes, name) // as toxiproxy does
		} else if !(v >= 0 && v < toxicLimit) {
			return fmt.Errorf("toxic %s: %s %v", t.Name, name, v)
		}
	}
	return nil
}

func (t *Toxic) ms(name string) time.Duration {
	return time.Duration(min(t.Attributes[name], float64(24*time.Hour/time.Millisecond)) * float64(time.Millisecond))
}

// AddToxic adds a toxic.
func (p *Proxy) AddToxic(t Toxic) error {
	if err := t.check(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return net.ErrClosed
	case p.byName[t.Name] != nil || slices.ContainsFunc(p.toxics, func(o Toxic) bool { return o.Name == t.Name }):
		return fmt.Errorf("%w: a toxic named %q", errThere, t.Name)
	case len(p.toxics) >= maxFaults:
		return fmt.Errorf("a proxy has at most %d toxics", maxFaults)
	}
	p.toxicIDs++
	t.id = p.toxicIDs
	p.lockedSetToxics(append(slices.Clone(p.toxics), t))
	return nil
}

// errThere is the error for a name that is taken.
var errThere = errors.New("is there already")

// UpdateToxic changes the toxic of that name, and reports whether there is one.
func (p *Proxy) UpdateToxic(name string, change func(*Toxic)) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.toxics)
	i := slices.IndexFunc(list, func(o Toxic) bool { return o.Name == name })
	if i < 0 {
		return false, nil
	}
	change(&list[i])
	if err := list[i].check(); err != nil {
		return true, err
	}
	p.lockedSetToxics(list)
	return true, nil
}

// RemoveToxic takes a toxic back, and reports whether there was one.
//
// The connections whose data a timeout has dropped are closed, as toxiproxy does: the
// data is lost, and nothing behind it may pass.
func (p *Proxy) RemoveToxic(name string) bool {
	p.mu.Lock()
	i := slices.IndexFunc(p.toxics, func(o Toxic) bool { return o.Name == name })
	if i < 0 {
		p.mu.Unlock()
		return false
	}
	old := p.toxics[i]
	p.lockedSetToxics(slices.Delete(slices.Clone(p.toxics), i, i+1))
	var ends []func()
	for conn, end := range p.open {
		if old.Type == "timeout" && p.hits(old, conn) {
			ends = append(ends, end)
		}
	}
	p.mu.Unlock()
	for _, end := range ends {
		end()
	}
	return true
}

// hits says whether a toxic concerns a connection.
func (p *Proxy) hits(t Toxic, conn int) bool {
	return t.Toxicity == 1 || t.Toxicity > 0 && chance(p.plan.seed, "toxic "+t.Name, fmt.Sprint(conn)) < t.Toxicity
}

// Toxics returns the toxics in the order in which they were added.
func (p *Proxy) Toxics() []Toxic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.toxics
}

// lockedSetToxics replaces the list, which is never changed in place, and wakes those
// who wait for a change.
func (p *Proxy) lockedSetToxics(list []Toxic) {
	p.toxics = list
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// active returns the toxics of one direction of a connection, and what is closed when
// that may have changed. An empty stream stands for both directions.
func (p *Proxy) active(conn int, stream string) ([]Toxic, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	var list []Toxic
	for _, t := range p.toxics {
		if p.hits(t, conn) && (stream == "" || t.Stream == stream) {
			list = append(list, t)
		}
	}
	return list, p.changed
}

// endByTimeout ends a connection when a toxic timeout says so, until ctx is done. The other toxics act on data and need no clock of their own.
func (p *Proxy) endByTimeout(ctx context.Context, conn int, end func()) {
	began := map[int]time.Time{}
	for {
		list, changed := p.active(conn, "")
		fire := make(<-chan time.Time) // never
		var first time.Duration
		for _, t := range list {
			if t.Type != "timeout" {
				continue
			}
			if began[t.id].IsZero() {
				began[t.id] = time.Now()
			}
			if left := time.Until(began[t.id].Add(t.ms("timeout"))); t.ms("timeout") > 0 && (first == 0 || left < first) {
				first = max(1, left)
				fire = time.After(first)
			}
		}
		select {
		case <-fire:
			end()
			return
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// link is one direction of a relayed connection.
type link struct {
	p      *Proxy
	ctx    context.Context // done when the connection has ended
	conn   int
	stream string
	passed map[int]int64 // octets, for each toxic limit_data
	ahead  <-chan chunk  // what was read while older data waits; nil until there was latency
}

// chunk is what one read gave, and when.
type chunk struct {
	b   []byte
	at  time.Time
	err error
}

// maxAhead bounds what waits in a direction, in chunks of at most copyBuffer.
const maxAhead = 256

// read reads into b. Once there is latency, it is read ahead: data that waits must not
// keep the data behind it waiting longer.
func (l *link) read(src net.Conn, b []byte) chunk {
	if l.ahead == nil {
		list, _ := l.p.active(l.conn, l.stream)
		if !slices.ContainsFunc(list, func(t Toxic) bool { return t.Type == "latency" }) {
			n, err := src.Read(b)
			return chunk{b[:n], time.Now(), err}
		}
		l.ahead = l.readAhead(src)
	}
	select {
	case got := <-l.ahead:
		return got
	case <-l.ctx.Done():
		return chunk{err: net.ErrClosed}
	}
}

// readAhead reads until src or the connection ends.
func (l *link) readAhead(src net.Conn) <-chan chunk {
	out := make(chan chunk, maxAhead)
	l.p.relays.Go(func() {
		b := make([]byte, copyBuffer)
		for {
			n, err := src.Read(b)
			select {
			case out <- chunk{slices.Clone(b[:n]), time.Now(), err}:
			case <-l.ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return out
}

// How toxics end a connection: errLimit in good order, errCut with a reset.
var (
	errLimit = errors.New("the limit of limit_data is reached")
	errCut   = errors.New("reset_peer resets both ends")
)

// write passes b, which was read at a time, on to dst as the toxics say.
func (l *link) write(dst net.Conn, b []byte, at time.Time) error {
	list, _ := l.p.active(l.conn, l.stream)
	if len(list) == 0 {
		_, err := dst.Write(b)
		return err
	}
	piece, pause, last := len(b), time.Duration(0), false
	for _, t := range list {
		switch t.Type {
		case "timeout":
			return nil // dropped
		case "reset_peer":
			l.sleep(t.ms("timeout"))
			return errCut
		case "latency":
			jitter := t.ms("jitter")
			l.sleep(t.ms("latency") + rand.N(2*jitter+1) - jitter - time.Since(at))
		case "limit_data":
			if left := int64(t.Attributes["bytes"]) - l.passed[t.id]; left <= int64(len(b)) {
				b, last = b[:max(0, left)], true
			}
			l.count(t.id, len(b))
		case "slicer":
			size, vary := int(t.Attributes["average_size"]), int(t.Attributes["size_variation"])
			piece = min(piece, max(1, size+rand.IntN(2*vary+1)-vary))
			pause += time.Duration(t.Attributes["delay"]) * time.Microsecond
		case "bandwidth":
			perSecond := max(1, t.Attributes["rate"]*1000)
			piece = min(piece, max(1, int(perSecond/50))) // a fiftieth of a second at once
			pause += time.Duration(float64(min(piece, len(b))) / perSecond * float64(time.Second))
		}
	}
	for len(b) > 0 && l.ctx.Err() == nil {
		n := min(max(1, piece), len(b))
		if _, err := dst.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		l.sleep(pause)
	}
	if last {
		return errLimit
	}
	return nil
}

// count remembers what passed a toxic.
func (l *link) count(id, n int) {
	if l.passed == nil {
		l.passed = map[int]int64{}
	}
	l.passed[id] += int64(n)
}

// finish does with the end of the stream what the toxics say, and reports whether
// the other end may see it as one.
func (l *link) finish() bool {
	list, _ := l.p.active(l.conn, l.stream)
	for _, t := range list {
		switch t.Type {
		case "slow_close":
			l.sleep(t.ms("delay"))
		case "reset_peer":
			l.sleep(t.ms("timeout"))
			return false
		}
	}
	return true
}

func (l *link) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}
