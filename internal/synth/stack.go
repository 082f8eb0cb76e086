package synth

// idPolicy is how a stack chooses the IPv4 identification.
type idPolicy uint8

const (
	idSocket idPolicy = iota // counts for each socket; what belongs to none has 0
	idHost                   // one counter for the host
	idHostLE                 // the same, written in the order of a little-endian processor
	idPath                   // one counter for each destination
	idRandom
	idZero
)

// abortForm is how a stack ends a live connection.
type abortForm uint8

const (
	abortLive  abortForm = iota // RST+ACK as any other segment: window, timestamps
	abortEmpty                  // RST+ACK, window 0, no options
	abortBare                   // RST without ACK, the window of the connection, an acknowledgement number without its flag
)

// stack is a TCP/IP implementation.
type stack struct {
	name        string
	ttl         uint8 // initial
	ids         idPolicy
	abort       abortForm
	window      uint16 // of its SYN
	options     bool   // timestamps, SACK, scale
	replyWindow uint16 // of RSTs that answer
	replyCounts bool   // RSTs that answer take an identification although sockets count for themselves
	givesUp     bool   // sends a RST when retransmissions stay unanswered
	often       int    // of so many hosts
}

// stacks are what hosts run.
var stacks = []stack{
	{name: "Linux 6", ttl: 64, ids: idSocket, window: 64240, options: true, often: 10},
	{name: "Linux 3", ttl: 64, ids: idSocket, window: 29200, options: true, replyCounts: true, often: 4},
	{name: "Windows XP", ttl: 128, ids: idHost, abort: abortBare, window: 65535, givesUp: true, often: 1},
	{name: "Windows 7", ttl: 128, ids: idHost, abort: abortEmpty, window: 8192, givesUp: true, often: 4},
	{name: "Windows 11", ttl: 128, ids: idPath, abort: abortEmpty, window: 64240, givesUp: true, often: 5},
	{name: "FreeBSD", ttl: 64, ids: idRandom, abort: abortLive, window: 65535, options: true, givesUp: true, often: 2},
	{name: "OpenBSD", ttl: 64, ids: idRandom, abort: abortLive, window: 16384, options: true, givesUp: true, often: 1},
	{name: "macOS", ttl: 64, ids: idZero, abort: abortLive, window: 65535, options: true, givesUp: true, often: 3},
	{name: "lwIP", ttl: 255, ids: idHost, abort: abortEmpty, window: 2920, replyWindow: 2920, often: 1},
	{name: "controller", ttl: 64, ids: idHostLE, abort: abortBare, window: 4096, often: 1},
	{name: "printer", ttl: 30, ids: idHost, abort: abortEmpty, window: 5840, often: 1},
	{name: "router", ttl: 255, ids: idRandom, abort: abortEmpty, window: 4128, often: 1},
}

// host is a machine with one address.
type host struct {
	stack
	addr    uint32
	hops    int   // from the place of capture
	delay   int64 // the same way, ns
	near    bool  // on the left of the place of capture, where the clients are
	id      uint16
	paths   map[*host]uint16
	v6      bool
	front   *host // load balancer that makes the handshake
	wobbles bool  // its packets take another way now and then
	last    int64 // when its latest segment passed the place of capture
	busy    int   // what it sends elsewhere moves its counter by up to so much between two packets
}

// identify returns the identification of a packet to a host; sock is the counter of its
// socket, nil when it belongs to none.
func (w *world) identify(h, to *host, sock *uint16) uint16 {
	switch h.ids {
	case idPath:
		if h.paths == nil {
			h.paths = map[*host]uint16{}
		}
		if _, ok := h.paths[to]; !ok {
			h.paths[to] = uint16(w.chance.Uint32())
		}
		h.paths[to]++
		return h.paths[to]
	case idHost, idHostLE:
		h.id += 1 + uint16(w.chance.IntN(h.busy+1))
		if h.ids == idHostLE {
			return h.id<<8 | h.id>>8
		}
		return h.id
	case idRandom:
		return uint16(w.chance.Uint32())
	case idSocket:
		if sock != nil {
			*sock++
			return *sock
		}
		if h.replyCounts {
			return uint16(w.chance.Uint32())
		}
	}
	return 0
}

// pickStack chooses what a host runs.
func (w *world) pickStack() stack {
	sum := 0
	for i := range stacks {
		sum += stacks[i].often
	}
	n := w.chance.IntN(sum)
	for i := range stacks {
		if n -= stacks[i].often; n < 0 {
			return stacks[i]
		}
	}
	return stacks[0]
}
