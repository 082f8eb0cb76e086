package synth

// state of an end of a connection.
type state uint8

const (
	nothing   state = iota // no socket: never had, or forgotten
	listening              // the port accepts
	asking                 // SYN sent
	open
	closed // the program has closed it; FIN sent
	gone   // over
)

// conn is one connection: a client, a server, and what happens to it.
type conn struct {
	w              *world
	client, server *end
	name           string // class
}

// end is one end of a connection.
type end struct {
	*host
	c       *conn
	port    uint16
	state   state
	id      uint16 // counter of the socket
	next    uint32 // sequence number of what is sent next
	acked   uint32 // of its own, by the other end
	expects uint32
	lost    string    // why there is no socket any more, in the words of truth for what is answered then
	deaf    bool      // nothing arrives any more
	reads   func(int) // the program gets data
	ended   func()    // the program hears of the other end's FIN
	begun   func()    // the connection is there
	finSeen bool      // the other end's FIN came
	pending []byte    // sent and not acknowledged
	window  uint16
}

func (c *conn) end(h *host) *end {
	if c.client.host == h {
		return c.client
	}
	return c.server
}

func (e *end) peer() *end {
	if e.c.client == e {
		return e.c.server
	}
	return e.c.client
}

// connect makes a connection between hosts; the port of the server listens.
func (w *world) connect(client, server *host, port uint16, class string) *conn {
	w.port++
	c := &conn{w: w, name: class}
	c.client = &end{host: client, c: c, port: w.port, next: w.chance.Uint32(), id: uint16(w.chance.Uint32()), window: 502}
	c.server = &end{host: server, c: c, port: port, state: listening, next: w.chance.Uint32(), id: uint16(w.chance.Uint32()), window: 509}
	if !client.options {
		c.client.window = client.stack.window
	}
	if !server.options {
		c.server.window = server.stack.window
	}
	w.conns = append(w.conns, c)
	return c
}

// start lets the client send its SYN.
func (c *conn) start() {
	e := c.client
	e.state = asking
	e.emit(syn, e.next, 0, nil)
	e.next++
}

// emit sends a segment of a live socket.
func (e *end) emit(flags uint8, seq, ackno uint32, data []byte) {
	g := &seg{src: e.host, dst: e.peer().host, sport: e.port, dport: e.peer().port, flags: flags, seq: seq, ack: ackno, window: e.window, data: data}
	g.ts = e.options && e.peer().options
	if flags&syn != 0 {
		g.window = e.stack.window
	}
	id := &e.id
	if flags&(syn|ack) == syn|ack && e.ids == idSocket {
		id = nil // a SYN-ACK belongs to no socket yet
	}
	g.id = e.c.w.identify(e.host, g.dst, id)
	if id == nil && e.ids == idSocket {
		g.id = 0
	}
	e.c.w.send(g, e.c)
}

// write sends data.
func (e *end) write(n int, text string) {
	if e.state != open {
		return
	}
	for n > 0 {
		k := min(n, 1400)
		b := make([]byte, k)
		for i := range b {
			b[i] = 'x'
		}
		copy(b, text)
		text = ""
		e.emit(psh|ack, e.next, e.expects, b)
		e.pending = b
		e.next += uint32(k)
		n -= k
	}
}

// close ends the connection in order; what comes then meets a closed program.
func (e *end) close(lost string) {
	if e.state != open {
		return
	}
	e.emit(fin|ack, e.next, e.expects, nil)
	e.next++
	e.state, e.lost = closed, lost
}

// abort resets the connection.
func (e *end) abort(why string) {
	if e.state != open && e.state != closed {
		return
	}
	g := &seg{src: e.host, dst: e.peer().host, sport: e.port, dport: e.peer().port, flags: rst | ack, seq: e.next, ack: e.expects}
	switch e.stack.abort {
	case abortLive:
		g.window, g.ts = e.window, e.options && e.peer().options
	case abortBare:
		g.flags, g.window = rst, e.window
	}
	g.id = e.c.w.identify(e.host, g.dst, &e.id)
	g.truth = e.truth(why)
	e.state, e.lost = nothing, "answer_after_own_reset"
	e.c.w.send(g, e.c)
}

// forget drops the socket without a word: a crash, a new machine.
func (e *end) forget(lost string) { e.state, e.lost = nothing, lost }

func (e *end) truth(verdict string) *Truth {
	side := "server"
	if e == e.c.client {
		side = "client"
	}
	return e.c.truth(side, verdict, e.stack.name)
}

func (c *conn) truth(sender, verdict, who string) *Truth {
	return &Truth{
		Client: c.client.name(c.client.port), Server: c.server.name(c.server.port), Sender: sender, Verdict: verdict, Note: c.name + ", " + who,
	}
}

// answer is the RST of a kernel that has no such connection (RFC 9293 3.10.7.1).
func (e *end) answer(g *seg, why string) {
	r := &seg{src: e.host, dst: g.src, sport: g.dport, dport: g.sport, flags: rst, seq: g.ack, window: e.replyWindow}
	if g.flags&ack == 0 {
		r.flags, r.seq, r.ack = rst|ack, 0, g.end()
	}
	r.id = e.c.w.identify(e.host, r.dst, nil)
	r.truth = e.truth(why)
	e.c.w.send(r, e.c)
}

// end is the sequence number after a segment.
func (g *seg) end() uint32 {
	n := g.seq + uint32(len(g.data))
	if g.flags&syn != 0 {
		n++
	}
	if g.flags&fin != 0 {
		n++
	}
	return n
}

// receive takes in a segment.
func (e *end) receive(g *seg) {
	if e.deaf {
		return
	}
	if g.flags&rst != 0 {
		e.receiveReset(g)
		return
	}
	switch e.state {
	case nothing, gone:
		why := e.lost
		switch {
		case why == "":
			why = "refused_port_closed"
		case why == "data_after_close" && len(g.data) == 0:
			why = "rst_after_fin"
		case why == "rst_after_fin" && len(g.data) > 0:
			why = "data_after_close"
		}
		e.answer(g, why)
	case listening:
		if g.flags&(syn|ack) == syn {
			e.expects, e.state = g.seq+1, asking
			e.emit(syn|ack, e.next, e.expects, nil)
			e.next++
		}
	case asking:
		e.receiveOpening(g)
	case open, closed:
		e.receiveOpen(g)
	}
}

func (e *end) receiveOpening(g *seg) {
	if e == e.c.client {
		if g.flags&(syn|ack) != syn|ack || g.ack != e.next {
			return
		}
		e.expects, e.state = g.seq+1, open
		e.acked = g.ack
		e.emit(ack, e.next, e.expects, nil)
		if e.begun != nil {
			e.begun()
		}
		return
	}
	if g.flags&syn != 0 || g.flags&ack == 0 || g.ack != e.next {
		return
	}
	e.state, e.acked = open, g.ack
	if e.begun != nil {
		e.begun()
	}
	if len(g.data) > 0 || g.flags&fin != 0 {
		e.receiveOpen(g)
	}
}

func (e *end) receiveOpen(g *seg) {
	if int32(g.ack-e.acked) > 0 {
		e.acked = g.ack
	}
	if g.seq != e.expects {
		if len(g.data) > 0 || g.flags&fin != 0 {
			e.emit(ack, e.next, e.expects, nil)
		}
		return
	}
	if len(g.data) > 0 {
		if e.state == closed {
			why := e.lost
			if why == "rst_after_fin" {
				why = "data_after_close"
			}
			e.state = nothing
			e.answer(g, why)
			return
		}
		e.expects += uint32(len(g.data))
		e.emit(ack, e.next, e.expects, nil)
		if e.reads != nil {
			e.reads(len(g.data))
		}
	}
	if g.flags&fin != 0 && (e.state == open || e.state == closed) {
		e.expects++
		e.finSeen = true
		if e.state == closed {
			e.emit(ack, e.next, e.expects, nil)
			e.state, e.deaf = gone, true // TIME_WAIT
			return
		}
		e.emit(ack, e.next, e.expects, nil)
		if e.ended != nil {
			e.ended()
		}
	}
}

// receiveReset believes a RST by RFC 5961 3.2.
func (e *end) receiveReset(g *seg) {
	switch e.state {
	case asking:
		if e == e.c.client && g.flags&ack != 0 && g.ack == e.next {
			e.state, e.lost = nothing, "answer_after_reset"
		} else if e == e.c.server && g.seq == e.expects {
			e.state, e.lost = nothing, "answer_after_reset"
		}
	case open, closed:
		switch d := g.seq - e.expects; {
		case d == 0:
			e.state, e.lost = nothing, "answer_after_reset"
		case d < 60000:
			e.emit(ack, e.next, e.expects, nil)
		}
	}
}
