package synth

// box is a device that writes RSTs in the name of others: in the path (it can
// drop) or beside it (it reads along and races).
type box struct {
	name    string
	kind    string // what it does, see touches
	left    int64  // its place: time from the place of capture, below 0 towards the clients
	hops    int    // from the place of capture
	ttl     uint8  // initial, of what it writes
	mimics  bool   // writes the TTL that fits the host in whose name it speaks
	ids     idPolicy
	id      uint16
	window  uint16
	verdict string
	sender  string // middlebox or injector
	mark    byte   // where it is the neighbour of the place of capture, its MAC address; 0 else
	armed   func(g *seg, c *conn) bool
	struck  map[*conn]int
	lost    map[*conn]bool // connections that it has forgotten
}

// touches lets the box look at a segment; true when it keeps it.
func (b *box) touches(w *world, g *seg, c *conn, here int64) bool {
	if g.flags&rst != 0 {
		if b.kind == "forgets" && b.struck[c] == 0 {
			b.lost[c] = true
		}
		return false
	}
	switch b.kind {
	case "forgets": // a stateful device without the connection answers what comes
		if !b.lost[c] || b.onFar(g) {
			return false
		}
		b.arrived(w, g, here, func(at int64) { b.answerFor(w, g, c, at) })
		return b.between(g)
	case "speaks for all": // a NAT that ends what it relays, with a counter of its own
		if g.flags&(syn|ack) == syn && b.armed(g, c) && !b.onFar(g) {
			b.arrived(w, g, here, func(at int64) {
				r := b.reset(w, c, g.dst, g.src, g.dport, g.sport)
				r.flags, r.ack, r.seq = rst|ack, g.end(), 0
				b.out(w, r, c, at+int64(w.between(1, 200))*ms)
			})
			return true
		}
		return false
	case "rejects": // a filter that refuses SYNs
		if g.flags&(syn|ack) != syn || !b.armed(g, c) {
			return false
		}
		b.arrived(w, g, here, func(at int64) {
			r := b.reset(w, c, g.dst, g.src, g.dport, g.sport)
			r.flags, r.ack = rst|ack, g.end()
			if b.window == 1 { // copies the SYN's
				r.window, r.id = g.window, g.id
			}
			b.out(w, r, c, at)
		})
		return true
	}
	if b.struck[c] > 0 || !b.armed(g, c) {
		return false
	}
	b.struck[c]++
	b.arrived(w, g, here, func(at int64) { b.inject(w, g, c, at) })
	return false
}

// onFar reports whether a segment comes from the other side of the box than the
// place of capture, so that its answer would not pass there.
func (b *box) onFar(g *seg) bool { return g.src.near == (b.left < 0) && b.left != 0 }

// between reports whether a segment has yet to pass the box after the place of
// capture.
func (b *box) between(g *seg) bool { return g.src.near == (b.left >= 0) }

// arrived does something when a segment is at the box. A segment that the box
// keeps after the place of capture is seen there.
func (b *box) arrived(w *world, g *seg, here int64, do func(at int64)) {
	at := here
	if b.between(g) {
		at += max(b.left, -b.left)
	} else {
		at -= max(b.left, -b.left)
	}
	if b.keeps() && b.between(g) {
		w.see(g, here, g.ttl-uint8(g.src.hops))
	}
	do(max(at, w.now) + int64(w.between(5, 60))*us)
}

func (b *box) keeps() bool {
	return b.kind == "forgets" || b.kind == "rejects" || b.kind == "speaks for all"
}

// reset makes a RST in the name of a host.
func (b *box) reset(w *world, c *conn, from, to *host, sport, dport uint16) *seg {
	r := &seg{src: from, dst: to, sport: sport, dport: dport, flags: rst, window: b.window, mac: b.mark}
	switch b.ids {
	case idHost:
		b.id += uint16(w.between(1, 3))
		r.id = b.id
	case idRandom:
		r.id = uint16(w.chance.Uint32())
	}
	r.truth = c.truth(b.sender, b.verdict, b.name)
	return r
}

// out sends a RST from the box to an end; when that lies beyond the place of
// capture, it passes there.
func (b *box) out(w *world, r *seg, c *conn, at int64) {
	dist := max(b.left, -b.left)
	seenHere := r.dst.near == (b.left >= 0) || b.left == 0
	ttl := b.ttl - uint8(b.hops)
	if b.mimics {
		ttl = r.src.ttl - uint8(r.src.hops)
	}
	arrives := at + dist + r.dst.delay
	if seenHere {
		w.after(at-w.now, func() { w.see(r, at+dist, ttl) })
	} else {
		arrives = at + max(r.dst.delay-dist, 5*us)
		r.truth = nil
	}
	w.after(arrives-w.now, func() { c.end(r.dst).receive(r) })
}

// answerFor answers a segment as a device does that knows no such connection.
func (b *box) answerFor(w *world, g *seg, c *conn, at int64) {
	r := b.reset(w, c, g.dst, g.src, g.dport, g.sport)
	r.seq = g.ack
	if b.window == 1 { // RST+ACK with the numbers and the window of the segment
		r.flags, r.ack, r.window = rst|ack, g.end(), g.window
	}
	b.out(w, r, c, at)
}

// inject resets a connection that the box reads along.
func (b *box) inject(w *world, g *seg, c *conn, at int64) {
	back := func(flags uint8, more uint32) *seg { // to the sender, in the name of the other end
		r := b.reset(w, c, g.dst, g.src, g.dport, g.sport)
		r.flags, r.seq = flags, g.ack+more
		if flags&ack != 0 {
			r.ack = g.end()
		}
		return r
	}
	forth := func(flags uint8) *seg { // to the receiver, in the name of the sender
		r := b.reset(w, c, g.src, g.dst, g.sport, g.dport)
		r.flags, r.seq = flags, g.end()
		if flags&ack != 0 {
			r.ack = g.ack
		}
		return r
	}
	switch b.kind {
	case "one":
		b.out(w, back(rst, 0), c, at)
	case "one ack":
		b.out(w, back(rst|ack, 0), c, at)
	case "pair": // Weaver et al.: Sandvine
		first, second := back(rst, 0), back(rst, 12503)
		second.id = first.id + 2
		b.out(w, first, c, at)
		b.out(w, second, c, at+int64(w.between(300, 900))*us)
	case "three": // Clayton et al.
		for i, more := range []uint32{0, 1460, 4380} {
			b.out(w, back(rst|ack, more), c, at+int64(i)*int64(w.between(3, 60))*us)
		}
	case "both": // Snort, Suricata
		b.out(w, forth(rst|ack), c, at)
		b.out(w, back(rst|ack, 0), c, at)
	case "same": // three alike, Great Firewall 2023
		for i := range 3 {
			b.out(w, back(rst|ack, 0), c, at+int64(i)*int64(w.between(1, 40))*us)
		}
	case "mixed": // RST, then RST+ACK (Sundara Raman et al.)
		b.out(w, back(rst, 0), c, at)
		b.out(w, back(rst|ack, 0), c, at+int64(w.between(1, 90))*us)
	case "page": // a block page and FIN in the name of the server, a RST to it
		b.out(w, forth(rst|ack), c, at)
		page := b.reset(w, c, g.dst, g.src, g.dport, g.sport)
		page.flags, page.seq, page.ack, page.window, page.truth = psh|ack|fin, g.ack, g.end(), 65535, nil
		page.data = []byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nblocked")
		b.out(w, page, c, at)
	case "syn": // a refusal that the server overrules
		r := b.reset(w, c, g.dst, g.src, g.dport, g.sport)
		r.flags, r.seq, r.ack = rst|ack, 0, g.end()
		b.out(w, r, c, at)
	}
}
