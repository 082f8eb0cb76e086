package traffic

import "encoding/binary"

// side is who sends a packet.
type side uint8

const (
	client side = iota
	server
)

// packet is one step of a script: who sends what. Letters are flags: S, A, P,
// F, R; data is the number of bytes, with a part left to chance.
type packet struct {
	from  side
	flags byte
	data  int
	odd   oddity
}

// oddity is in what a packet differs from what its stack would send.
type oddity uint8

const (
	plain    oddity = iota
	answers         // a RST that answers a segment: its sequence number is the acknowledgement number, no ACK
	refuses         // a RST that answers a SYN: sequence number 0
	injected        // from a device between: another TTL, no window
	again           // sent before: the sequence number goes back
)

// The flags of RFC 9293 3.1.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// script is a kind of connection, from its first packet to its last.
type script []packet

var opening = script{{from: client, flags: syn}, {from: server, flags: syn | ack}, {from: client, flags: ack}}

func request(n int) script {
	return script{
		{from: client, flags: psh | ack, data: n}, {from: server, flags: ack},
		{from: server, flags: psh | ack, data: 2 * n}, {from: client, flags: ack},
	}
}

var closing = script{{from: server, flags: fin | ack}, {from: client, flags: fin | ack}, {from: server, flags: ack}}

func join(parts ...script) (all script) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// good are the connections that end as they should, bad the others.
var (
	good = []script{
		join(opening, request(40), closing),
		join(opening, request(60), request(30), closing),
		join(opening, request(80), closing),
		join(opening, request(40), request(50), request(60), request(30), closing),
	}
	bad = []script{
		// refused
		{{from: client, flags: syn}, {from: server, flags: rst | ack, odd: refuses}},
		// the server aborts instead of an answer
		join(opening, script{{from: client, flags: psh | ack, data: 60}, {from: server, flags: rst | ack}}),
		// the client aborts after the answer
		join(opening, request(60), script{{from: client, flags: rst | ack}}),
		// data for a socket that is gone
		join(opening, request(40), script{
			{from: server, flags: fin | ack}, {from: client, flags: psh | ack, data: 40}, {from: server, flags: rst, odd: answers},
		}),
		// a device between resets both
		join(opening, script{
			{from: client, flags: psh | ack, data: 100}, {from: server, flags: rst | ack, odd: injected}, {from: client, flags: rst | ack, odd: injected},
		}),
		// idle, then a device that has forgotten the connection
		join(opening, request(30), request(30), script{{from: client, flags: psh | ack, data: 30}, {from: server, flags: rst, odd: answers}}),
		// nobody answers
		{{from: client, flags: syn}, {from: client, flags: syn, odd: again}, {from: client, flags: syn, odd: again}, {from: client, flags: syn, odd: again}},
		// answers get lost
		join(opening, script{
			{from: client, flags: psh | ack, data: 60}, {from: client, flags: psh | ack, data: 60, odd: again},
			{from: client, flags: psh | ack, data: 60, odd: again}, {from: client, flags: rst | ack},
		}),
	}
	refused = bad[0]
)

// conn is a connection that goes on.
type conn struct {
	number uint64
	script script
	step   int
	size   int // added to the size of its data
	next_  [2]uint32
	last   [2]uint32 // sequence number of the latest segment of a side
	got    [2]uint32 // what a side has received
	ttl    [2]uint8
	ids    [2]uint16 // IP identification, counted by connection as Linux does
}

func (c *conn) next() packet { return c.script[c.step] }
func (c *conn) done() bool   { return c.step == len(c.script) }

// open begins another connection in the place of one that is done.
func (s *Source) open(c *conn) {
	n := s.born
	s.born++
	r := s.chance()
	*c = conn{number: n, size: int(r>>32) % 40, ttl: [2]uint8{64 - uint8(r>>56)%20, 64}, ids: [2]uint16{uint16(r >> 8), uint16(r >> 40)}}
	c.next_[client], c.next_[server] = uint32(r), uint32(r>>20)
	switch {
	case s.o.Scan:
		c.script = refused
	case s.o.Resets > 0 && n%uint64(s.o.Resets) == uint64(s.o.Resets)-1:
		c.script = bad[n/uint64(s.o.Resets)%uint64(len(bad))]
	default:
		c.script = good[r>>8%uint64(len(good))]
	}
}

// The clients are hosts of 10.0.0.0/8, each with a range of ports; the servers
// sixteen of 192.0.2.0/24 (RFC 5737).
const (
	clients     = 40_000
	portsOfHost = 28_000
)

// ends returns address and port of a side.
func (s *Source) end(c *conn, of side) (host uint32, port uint16) {
	if of == server {
		if s.o.Scan {
			return 192<<24 | 2<<8 | uint32(c.number/60_000%200), uint16(1 + c.number%60_000)
		}
		return 192<<24 | 2<<8 | uint32(1+c.number%16), 80
	}
	if s.o.Scan {
		return 10<<24 | 7, uint16(40_000 + c.number%1000)
	}
	return 10<<24 | uint32(1+c.number%clients), uint16(32_768 + c.number/clients%portsOfHost)
}

const (
	ethernet = 14
	header4  = 20
	header6  = 40
)

// write puts a packet into s.frame and returns its length.
func (s *Source) write(c *conn, p packet) int {
	b := s.frame[:]
	n := p.data
	if n > 0 {
		n += c.size
	}
	seq, ackno := c.numbers(p, n)
	ip := ethernet + header4
	if s.o.V6 {
		ip = ethernet + header6
	}
	head := s.tcp(b[ip:], c, p, seq, ackno)
	payload := b[ip+head : ip+head+n]
	copy(payload, text[p.from])
	length := head + n
	binary.BigEndian.PutUint64(b, 0x0200_0000_0001_0200)
	binary.BigEndian.PutUint32(b[8:], uint32(2+p.from))
	if s.o.V6 {
		s.ipv6(b[ethernet:], c, p, length)
	} else {
		s.ipv4(b[ethernet:], c, p, length)
	}
	return ip + length
}

// numbers returns the sequence and acknowledgement numbers of a packet with n
// bytes and keeps account.
func (c *conn) numbers(p packet, n int) (seq, ackno uint32) {
	me, peer := p.from, 1-p.from
	seq, ackno = c.next_[me], c.got[me]
	switch p.odd {
	case again:
		return c.last[me], ackno
	case refuses:
		return 0, c.next_[peer]
	case answers:
		return c.got[peer], 0
	}
	c.last[me] = seq
	end := seq + uint32(n)
	if p.flags&(syn|fin) != 0 {
		end++
	}
	if p.flags&rst == 0 {
		c.next_[me], c.got[peer] = end, end
	}
	return seq, ackno
}

// text is the data of both sides, cut to size. No script sends more.
var text = [2]string{
	client: "GET /things/1234567890 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nUser-Agent: traffic\r\nX-Pad: 0123456789012345678901234567890123456789\r\n\r\n",
	server: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 120\r\nServer: traffic\r\n\r\n" +
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
}

// synOptions are MSS 1460, SACK permitted, timestamps, no-operation, scale 7:
// what Linux sends.
var synOptions = [20]byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7}

// tcp writes a header and returns its length.
func (s *Source) tcp(b []byte, c *conn, p packet, seq, ackno uint32) int {
	_, from := s.end(c, p.from)
	_, to := s.end(c, 1-p.from)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ackno)
	head, window := 20, uint16(501)
	switch {
	case p.flags&rst != 0:
		window = 0
	case p.flags&syn != 0:
		head, window = 40, 64240
		copy(b[20:40], synOptions[:])
		binary.BigEndian.PutUint32(b[28:], uint32(s.time/1e6))
	default:
		head = 32
		binary.BigEndian.PutUint32(b[20:], 0x0101080a)
		binary.BigEndian.PutUint32(b[24:], uint32(s.time/1e6))
		binary.BigEndian.PutUint32(b[28:], uint32(s.time/1e6)-1)
	}
	binary.BigEndian.PutUint16(b[12:], uint16(head/4)<<12|uint16(p.flags))
	binary.BigEndian.PutUint16(b[14:], window)
	binary.BigEndian.PutUint32(b[16:], 0)
	return head
}

func (c *conn) hops(p packet) uint8 {
	if p.odd == injected {
		return 250
	}
	return c.ttl[p.from]
}

// identify returns the IP identification of a packet: a RST that answers or
// refuses has none, and a device has its own.
func (s *Source) identify(c *conn, p packet) uint16 {
	switch p.odd {
	case answers, refuses:
		return 0
	case injected:
		return uint16(s.chance())
	}
	c.ids[p.from]++
	return c.ids[p.from]
}

func (s *Source) ipv4(b []byte, c *conn, p packet, length int) {
	from, _ := s.end(c, p.from)
	to, _ := s.end(c, 1-p.from)
	binary.BigEndian.PutUint16(s.frame[12:], 0x0800)
	id := s.identify(c, p)
	binary.BigEndian.PutUint32(b, 0x4500<<16|uint32(header4+length))
	binary.BigEndian.PutUint32(b[4:], uint32(id)<<16|0x4000)
	binary.BigEndian.PutUint32(b[8:], uint32(c.hops(p))<<24|6<<16)
	binary.BigEndian.PutUint32(b[12:], from)
	binary.BigEndian.PutUint32(b[16:], to)
	binary.BigEndian.PutUint16(b[10:], ^fold(add(0, b[:header4])))
	t := b[header4 : header4+length]
	binary.BigEndian.PutUint16(t[16:], ^fold(add(add(uint64(6+length), b[12:20]), t)))
}

func (s *Source) ipv6(b []byte, c *conn, p packet, length int) {
	from, _ := s.end(c, p.from)
	to, _ := s.end(c, 1-p.from)
	binary.BigEndian.PutUint16(s.frame[12:], 0x86dd)
	binary.BigEndian.PutUint32(b, 6<<28)
	binary.BigEndian.PutUint32(b[4:], uint32(length)<<16|6<<8|uint32(c.hops(p)))
	const prefix = 0x2001_0db8 << 32 // RFC 3849
	binary.BigEndian.PutUint64(b[8:], prefix)
	binary.BigEndian.PutUint64(b[16:], uint64(from))
	binary.BigEndian.PutUint64(b[24:], prefix)
	binary.BigEndian.PutUint64(b[32:], uint64(to))
	t := b[header6 : header6+length]
	binary.BigEndian.PutUint16(t[16:], ^fold(add(add(uint64(6+length), b[8:40]), t)))
}

// add sums 16-bit words (RFC 1071), four bytes at a time.
func add(acc uint64, b []byte) uint64 {
	for len(b) >= 4 {
		acc += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	var last [4]byte
	copy(last[:], b)
	return acc + uint64(binary.BigEndian.Uint32(last[:]))
}

func fold(acc uint64) uint16 {
	for acc>>16 != 0 {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}
