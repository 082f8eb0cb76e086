package synth

// class is a way in which connections end.
type class struct {
	name  string
	often int
	play  func(w *world)
}

var ports = []uint16{80, 443, 8080, 5432, 6379, 3306, 22, 25, 445, 102, 9000}

func (w *world) port_() uint16 { return ports[w.chance.IntN(len(ports))] }

// others lets hosts talk to each other before, meanwhile and afterwards, with
// connections that end in order, so that their other packets are seen.
func (w *world) others(client, server *host, until int64) {
	for range w.between(0, 3) {
		a, b := client, server
		switch w.chance.IntN(3) {
		case 0:
			a = w.host(true)
		case 1:
			b = w.host(false)
		}
		c := w.connect(a, b, w.port_(), "orderly")
		c.polite()
		w.after(int64(w.chance.Int64N(until)), c.start)
	}
}

// polite makes a connection that asks a few times and is closed in order.
func (c *conn) polite() {
	w := c.w
	rounds := w.between(1, 6)
	c.server.reads = func(int) {
		w.after(int64(w.between(1, 40))*ms/10, func() { c.server.write(w.between(40, 3000), "HTTP/1.1 200 OK\r\n") })
	}
	ask := func() { c.client.write(w.between(30, 700), "GET / HTTP/1.1\r\nHost: h\r\n") }
	c.client.begun = func() { w.after(int64(w.between(0, 900))*us, ask) }
	got := 0
	c.client.reads = func(int) {
		if got++; got < rounds {
			w.after(int64(w.between(1, 400))*ms, ask)
		} else if got == rounds {
			w.after(int64(w.between(1, 30))*ms, func() { c.client.close("rst_after_fin") })
		}
	}
	c.server.ended = func() { w.after(int64(w.between(50, 900))*us, func() { c.server.close("rst_after_fin") }) }
	c.client.ended = func() { c.client.close("rst_after_fin") }
}

// talk opens a connection, lets it exchange some requests, and then does
// something: to the client and the server when the last answer has come.
func (w *world) talk(client, server *host, name string, rounds int, then func(c *conn)) *conn {
	c := w.connect(client, server, w.port_(), name)
	got := 0
	ask := func() { c.client.write(w.between(30, 700), "GET / HTTP/1.1\r\nHost: h\r\n") }
	c.server.reads = func(int) {
		if got < rounds {
			w.after(int64(w.between(1, 300))*ms/10, func() { c.server.write(w.between(40, 1300), "HTTP/1.1 200 OK\r\n") })
		}
	}
	c.client.begun = func() {
		if rounds == 0 {
			then(c)
			return
		}
		w.after(int64(w.between(0, 900))*us, ask)
	}
	c.client.reads = func(int) {
		if got++; got < rounds {
			w.after(int64(w.between(1, 300))*ms, ask)
		} else if got == rounds {
			then(c)
		}
	}
	w.after(int64(w.between(0, 300))*ms, c.start)
	return c
}

// classes are the ends of connections that ends cause. Those of devices are in
// devices.
var classes = []class{
	{"refused", 5, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 2*second)
		c := w.connect(a, b, w.port_(), "refused")
		c.server.state = nothing
		w.after(int64(w.between(0, 1500))*ms, c.start)
	}},
	{"aborted by the server after a request", 6, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 3*second)
		rounds := w.between(0, 4)
		w.talk(a, b, "server aborts", rounds, func(c *conn) {
			c.server.reads = func(int) { w.after(int64(w.between(30, 20_000))*us, func() { c.server.abort("app_abort") }) }
			w.after(int64(w.between(1, 900))*ms, func() { c.client.write(w.between(20, 600), "POST / HTTP/1.1\r\n") })
		})
	}},
	{"aborted by the client while the answer comes", 6, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 3*second)
		w.talk(a, b, "client aborts", w.between(0, 3), func(c *conn) {
			c.server.reads = func(int) {
				for i := range 12 {
					w.after(int64(i*w.between(1, 30))*ms, func() { c.server.write(2800, "HTTP/1.1 200 OK\r\n") })
				}
			}
			n := 0
			c.client.reads = func(int) {
				if n++; n == 3 {
					c.client.abort("client_abort")
				}
			}
			w.after(int64(w.between(1, 50))*ms, func() { c.client.write(w.between(20, 600), "GET /large HTTP/1.1\r\n") })
		})
	}},
	{"idle connection reset", 5, func(w *world) {
		a, b := w.host(true), w.host(false)
		idle := int64(w.between(6, 400)) * second
		w.others(a, b, idle)
		server := w.odds(2)
		w.talk(a, b, "idle close", w.between(1, 4), func(c *conn) {
			w.after(idle, func() {
				if server {
					c.server.abort("idle_close_endpoint")
				} else {
					c.client.abort("idle_close_endpoint")
				}
			})
		})
	}},
	{"data after the server had closed", 6, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 3*second)
		w.talk(a, b, "data after close", w.between(1, 4), func(c *conn) {
			w.after(int64(w.between(100, 5000))*ms, func() {
				c.server.close("data_after_close")
				w.after(int64(w.between(0, 2))*ms+int64(w.between(0, 900))*us+c.client.delay+c.server.delay, func() { c.client.write(w.between(20, 400), "GET /again HTTP/1.1\r\n") })
			})
		})
	}},
	{"the client had closed and gone", 5, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 2*second)
		w.talk(a, b, "client gone", 0, func(c *conn) {
			c.server.reads = func(int) {
				w.after(int64(w.between(100, 3000))*us, func() {
					c.server.write(w.between(100, 1300), "HTTP/1.1 200 OK\r\n")
					c.server.close("rst_after_fin")
				})
			}
			c.client.write(w.between(30, 300), "GET / HTTP/1.0\r\n")
			c.client.close("data_after_close")
		})
	}},
	{"the server was restarted", 5, func(w *world) {
		a, b := w.host(true), w.host(false)
		pause := int64(w.between(1, 300)) * second
		w.others(a, b, pause)
		w.talk(a, b, "half open", w.between(1, 4), func(c *conn) {
			w.after(second, func() { c.server.forget("half_open") })
			w.after(pause+second, func() { c.client.write(w.between(20, 400), "GET /again HTTP/1.1\r\n") })
		})
	}},
	{"retransmissions gave up", 4, func(w *world) {
		a, b := w.host(true), w.host(false)
		for !a.givesUp {
			a.stack = w.pickStack()
			a.hops = min(a.hops, int(a.ttl)-2)
		}
		w.talk(a, b, "gave up", w.between(1, 3), func(c *conn) {
			w.after(int64(w.between(100, 3000))*ms, func() {
				c.server.deaf = true
				c.client.write(w.between(20, 900), "GET /again HTTP/1.1\r\n")
				gap, at := 300*ms, int64(0)
				last, seq := c.client.pending, c.client.next-uint32(len(c.client.pending))
				for range w.between(4, 7) {
					at += gap
					gap *= 2
					w.after(at, func() { c.client.emit(psh|ack, seq, c.client.expects, last) })
				}
				w.after(at+gap, func() { c.client.abort("retransmission_timeout") })
			})
		})
	}},
	{"keep-alive probes gave up", 3, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 20*second)
		idle := int64(w.between(30, 300)) * second
		w.talk(a, b, "keep-alive", w.between(1, 3), func(c *conn) {
			w.after(2*second, func() { c.client.deaf = true })
			n := int64(w.between(3, 9))
			for i := range n {
				w.after(idle+i*10*second, func() {
					if c.server.state == open {
						c.server.emit(ack, c.server.next-1, c.server.expects, nil)
					}
				})
			}
			w.after(idle+n*10*second, func() { c.server.abort("keepalive_giveup") })
		})
	}},
	{"load balancer flushes an idle connection", 3, func(w *world) {
		a, b := w.host(true), w.host(false)
		b.front = &host{stack: stack{ttl: 255}, hops: w.between(1, 6)}
		idle := int64(w.between(60, 600)) * second
		w.talk(a, b, "load balancer", w.between(1, 3), func(c *conn) {
			w.after(idle, func() {
				e := c.server
				g := &seg{src: e.host, dst: e.peer().host, sport: e.port, dport: e.peer().port, flags: rst | ack, seq: e.next, ack: e.expects, window: []uint16{0, 9300, 3840}[w.chance.IntN(3)], fromFront: true}
				g.id = uint16(w.chance.Uint32())
				g.truth = c.truth("middlebox", "idle_timeout_middlebox", "load balancer")
				e.state, e.lost = nothing, "answer_after_own_reset"
				w.send(g, c)
			})
		})
	}},
	{"RST instead of FIN", 5, func(w *world) {
		a, b := w.host(true), w.host(false)
		w.others(a, b, 3*second)
		w.talk(a, b, "reset on peer close", w.between(1, 4), func(c *conn) {
			c.server.ended = func() { w.after(int64(w.between(80, 3000))*us, func() { c.server.abort("reset_on_peer_close") }) }
			w.after(int64(w.between(1, 900))*ms, func() { c.client.close("rst_after_fin") })
		})
	}},
	{"a process ended", 3, func(w *world) {
		b := w.host(false)
		var all []*conn
		n := w.between(3, 6)
		for range n {
			all = append(all, w.talk(w.host(true), b, "process ended", 1, func(*conn) {}))
		}
		w.after(3*second, func() {
			for _, c := range all {
				w.after(int64(w.between(1, 200))*us, func() { c.server.abort("process_exit") })
			}
		})
	}},
	{"half-open scan", 2, func(w *world) {
		a, b := w.host(true), w.host(false)
		a.options = false
		for i := range w.between(6, 14) {
			c := w.connect(a, b, uint16(20+i), "scan")
			if w.odds(3) {
				c.client.state, c.client.lost = nothing, "port_scan"
				w.after(int64(i)*ms*3, func() { c.client.emit(syn, c.client.next, 0, nil); c.client.next++ })
			} else {
				c.server.state, c.server.lost = nothing, "port_scan"
				w.after(int64(i)*ms*3, c.start)
			}
		}
	}},
}

// devices are boxes with what they wait for.
var devices = []struct {
	often int
	make  func(w *world) *box
}{
	{6, func(w *world) *box {
		return &box{name: "filter, one RST", kind: "one", ttl: 64, ids: idRandom, verdict: "injected_by_third_party", sender: "injector"}
	}},
	{4, func(w *world) *box {
		return &box{name: "filter, one RST+ACK", kind: "one ack", ttl: 255, ids: idRandom, verdict: "injected_by_third_party", sender: "injector"}
	}},
	{4, func(w *world) *box {
		return &box{name: "traffic management", kind: "pair", ttl: 64, ids: idHost, window: 10240, verdict: "injected_by_third_party", sender: "injector"}
	}},
	{5, func(w *world) *box {
		return &box{name: "state filter", kind: "three", ttl: uint8(w.between(60, 220)), ids: idRandom, verdict: "injected_by_third_party", sender: "injector"}
	}},
	{6, func(w *world) *box {
		return &box{name: "IPS", kind: "both", ttl: 64, ids: idRandom, verdict: "injected_by_ips", sender: "injector", mimics: w.odds(2)}
	}},
	{4, func(w *world) *box {
		return &box{name: "filter, three alike", kind: "same", ttl: uint8(w.between(48, 128)), ids: idRandom, verdict: "injected_by_third_party", sender: "injector"}
	}},
	{3, func(w *world) *box {
		return &box{name: "filter, RST and RST+ACK", kind: "mixed", ttl: 64, ids: idRandom, window: uint16(w.between(0, 2000)), verdict: "injected_by_third_party", sender: "injector"}
	}},
	{3, func(w *world) *box {
		return &box{name: "IPS with a page", kind: "page", ttl: 64, ids: idRandom, verdict: "injected_by_ips", sender: "injector", mimics: w.odds(2)}
	}},
	{3, func(w *world) *box {
		return &box{name: "user-mode NAT", kind: "speaks for all", ttl: 255, ids: idHost, verdict: "refused_via_nat", sender: "middlebox"}
	}},
	{3, func(w *world) *box {
		return &box{name: "SYN filter", kind: "syn", ttl: 128, ids: idRandom, verdict: "injected_by_third_party", sender: "injector"}
	}},
	{6, func(w *world) *box {
		return &box{name: "stateful firewall", kind: "forgets", ttl: 255, ids: idRandom, window: uint16(w.chance.IntN(2)), verdict: "firewall_forgot", sender: "middlebox"}
	}},
	{4, func(w *world) *box {
		return &box{name: "rejecting filter", kind: "rejects", ttl: []uint8{64, 128, 255}[w.chance.IntN(3)], ids: idRandom, window: uint16(w.chance.IntN(2)), verdict: "firewall_rejects", sender: "middlebox"}
	}},
}

// device plays a scene with a box on the path.
func (w *world) device() {
	sum := 0
	for _, d := range devices {
		sum += d.often
	}
	n := w.chance.IntN(sum)
	for _, d := range devices {
		if n -= d.often; n < 0 {
			w.box = d.make(w)
			break
		}
	}
	b := w.box
	b.struck, b.lost, b.id = map[*conn]int{}, map[*conn]bool{}, uint16(w.chance.Uint32())
	b.hops = w.between(0, 12)
	hosts := w.between(1, 4)
	var guest *host
	if b.kind == "speaks for all" { // of one guest to several servers
		guest, hosts = w.host(true), w.between(2, 6)
	}
	for range hosts {
		a, s := guest, w.host(false)
		if a == nil {
			a = w.host(true)
		}
		// The box stands on the servers' side, no further than the server.
		b.left = min(max(s.delay/int64(w.between(2, 6)), 3*us), 40*ms)
		w.others(a, s, 2*second)
		w.aimed(a, s)
	}
}

// aimed plays a connection that the box of the world acts on.
func (w *world) aimed(a, s *host) {
	b := w.box
	var target *conn
	data := 0
	first := w.odds(2)
	switch b.kind {
	case "rejects", "syn", "speaks for all":
		target = w.connect(a, s, w.port_(), b.name)
		target.polite()
		w.after(int64(w.between(0, 900))*ms, target.start)
	case "forgets":
		target = w.talk(a, s, b.name, w.between(1, 4), func(c *conn) {
			b.lost[c] = true
			w.after(int64(w.between(1, 600))*second, func() { c.client.write(w.between(20, 400), "GET /again HTTP/1.1\r\n") })
		})
	default:
		target = w.connect(a, s, w.port_(), b.name)
		target.polite()
		w.after(int64(w.between(0, 900))*ms, target.start)
	}
	old := b.armed
	b.armed = func(g *seg, c *conn) bool {
		if c != target {
			return old != nil && old(g, c)
		}
		switch b.kind {
		case "rejects", "syn", "speaks for all":
			return g.flags&(syn|ack) == syn
		}
		if len(g.data) == 0 || !g.src.near {
			return false
		}
		data++
		return first || data == 2
	}
}
