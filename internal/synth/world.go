package synth

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
)

const (
	us     = int64(1000)
	ms     = 1000 * us
	second = 1000 * ms
	begin  = int64(1_700_000_000) * second
)

// event is something that happens at a time.
type event struct {
	at    int64
	order int
	do    func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// world is a network around one place of capture: clients on its left, servers on
// its right.
type world struct {
	chance  *rand.Rand
	now     int64
	order   int
	queue   events
	log     []seen
	hosts   []*host
	conns   []*conn
	box     *box // on the path of every connection; nil when there is none
	from    int64
	lossy   int  // the capture loses one frame in so many; 0 none
	copies  bool // a second mirror port sees each segment a hop later
	jumbled bool // frames may be captured out of order
	frames  int
	v6      bool // all of it is IPv6
	port    uint16
}

func newWorld(seed uint64) *world {
	return &world{chance: rand.New(rand.NewPCG(seed, 0x5eed)), now: begin, port: 40000}
}

// after does something later.
func (w *world) after(d int64, do func()) {
	w.order++
	heap.Push(&w.queue, event{w.now + d, w.order, do})
}

func (w *world) run() {
	const most = 100_000
	for n := 0; len(w.queue) > 0 && n < most; n++ {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
}

// between returns a number from a to b.
func (w *world) between(a, b int) int { return a + w.chance.IntN(b-a+1) }

// odds is true once in n times.
func (w *world) odds(n int) bool { return w.chance.IntN(n) == 0 }

// host makes a host on one side of the place of capture.
func (w *world) host(near bool) *host {
	h := &host{stack: w.pickStack(), near: near, v6: w.v6, id: uint16(w.chance.Uint32())}
	h.addr = 10<<24 | uint32(len(w.hosts)+1)
	if !near {
		h.addr = 198<<24 | 18<<16 | uint32(len(w.hosts)+1)
	}
	switch w.chance.IntN(3) {
	case 0: // captured on the host itself or beside it
		h.hops, h.delay = w.chance.IntN(2), int64(w.between(2, 60))*us
	case 1:
		h.hops, h.delay = w.between(1, 6), int64(w.between(200, 9000))*us
	default:
		h.hops, h.delay = w.between(5, 20), int64(w.between(8, 150))*ms
	}
	h.hops = min(h.hops, int(h.ttl)-2)
	h.wobbles = w.odds(12)
	if w.odds(3) {
		h.busy = w.between(0, 6)
	}
	w.hosts = append(w.hosts, h)
	return h
}

// see logs a segment that passes the place of capture.
func (w *world) see(g *seg, at int64, ttl uint8) {
	mac := g.mac
	if mac == 0 {
		mac = 1
		if !g.src.near {
			mac = 2
		}
	}
	late := int64(0)
	if w.jumbled && w.odds(12) {
		late = int64(w.between(1, 40)) * us
	}
	w.order++
	w.log = append(w.log, seen{at + late, w.order, ttl, mac, g})
	if w.copies {
		w.order++
		w.log = append(w.log, seen{at + int64(w.between(3, 90))*us, w.order, ttl - 1, mac + 50, g})
	}
}

// send lets a host send a segment: it passes the place of capture, and the box,
// and arrives.
func (w *world) send(g *seg, c *conn) {
	g.ttl = g.src.ttl
	here := max(w.now+g.src.delay+int64(w.chance.IntN(20))*us, g.src.last+1)
	g.src.last = here
	if w.box != nil && w.box.touches(w, g, c, here) {
		return
	}
	w.pass(g, c, here)
}

// moved is true once in a while when routes differ by a hop.
func (w *world) moved(h *host) uint8 {
	if h.wobbles && w.odds(15) {
		return 1
	}
	return 0
}

// pass takes a segment from the place of capture on.
func (w *world) pass(g *seg, c *conn, here int64) {
	ttl := g.ttl - uint8(g.src.hops) - w.moved(g.src)
	if f := g.src.front; f != nil && (g.fromFront || g.flags&syn != 0) {
		ttl = f.ttl - uint8(f.hops)
	}
	w.see(g, here, ttl)
	to := c.end(g.dst)
	w.after(here+g.dst.delay-w.now, func() { to.receive(g) })
}

// name is address and port as text.
func (h *host) name(port uint16) string {
	a := h.addr
	if h.v6 {
		return fmt.Sprintf("[2001:db8::%x:%x]:%d", a>>16, a&0xffff, port)
	}
	return fmt.Sprintf("%d.%d.%d.%d:%d", a>>24, a>>16&255, a>>8&255, a&255, port)
}
