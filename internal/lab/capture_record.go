//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// deckLimit bounds the packets kept of one scenario, in bytes. They stay in
	// memory until it ends, so that writing files disturbs nothing.
	deckLimit = 512 << 20
	// deckBuffer is the receive buffer of each host: what a reader that got no
	// processor for a while may be behind.
	deckBuffer = 128 << 20
	// deckQuiet is how long a host must be silent at the end of a play before
	// its recording ends, and deckPatience how long that is waited for.
	deckQuiet    = 40 * time.Millisecond
	deckPatience = time.Second
	// deckFrame is more than any packet: BIG TCP makes them of up to 512 KiB.
	deckFrame = 640 << 10
)

// deck records every namespace of a Net while a scenario plays. Methods of a
// nil deck do nothing. All of them are for the goroutine that plays.
type deck struct {
	starter *starter
	tapes   []*tape
	room    atomic.Int64 // bytes that may still be kept
}

// tape is what was recorded in one namespace. It is its reader's until done is
// closed.
type tape struct {
	host   string
	fd     int // packet socket, of all interfaces
	wake   int // eventfd: the play has ended
	room   *atomic.Int64
	done   chan struct{}
	ended  bool
	err    error
	names  []string    // of interfaces, in the order of their first packet
	index  map[int]int // kernel's interface index -> names
	frames []frame
	chunk  []byte // the frames' bytes are cut from chunks, for the sake of the collector

	lost, refused int64
	until         int64 // when it ended, ns since 1970
}

// frame is one packet of a tape.
type frame struct {
	at   int64 // ns since 1970
	name int   // of the interface
	out  bool
	size int // on the wire; more than the data when it was cut
	data []byte
}

// record starts to record every namespace when the options ask for it.
func (n *Net) record() error {
	if n.pcap == "" {
		return nil
	}
	n.deck = &deck{starter: n.starter}
	n.deck.room.Store(deckLimit)
	for _, sp := range n.spaces {
		if err := n.deck.add(sp); err != nil {
			n.deck.stop()
			n.deck = nil
			return err
		}
	}
	return nil
}

// add starts to record a namespace.
func (d *deck) add(sp *space) error {
	if d == nil {
		return nil
	}
	t := &tape{host: sp.name, room: &d.room, done: make(chan struct{}), index: map[int]int{}}
	if err := d.starter.within(sp.path(), t.open); err != nil {
		return fmt.Errorf("record %s: %w", sp.name, err)
	}
	d.tapes = append(d.tapes, t)
	go t.read()
	return nil
}

// leave ends the recording of a namespace that is about to vanish.
func (d *deck) leave(name string) {
	if d == nil {
		return
	}
	for _, t := range d.tapes {
		if t.host == name {
			t.stop()
		}
	}
}

// stop ends every recording when its host has become quiet.
func (d *deck) stop() {
	for _, t := range d.tapes {
		t.signal()
	}
	for _, t := range d.tapes {
		t.stop()
	}
}

// open makes the packet socket; it runs inside of the namespace.
func (t *tape) open() (err error) {
	// Protocol 0: nothing is received before bind.
	if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return fmt.Errorf("make packet socket: %w", err)
	}
	if t.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(t.fd)
		return fmt.Errorf("make eventfd: %w", err)
	}
	unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, deckBuffer) //nolint:errcheck // losses are counted
	err = unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err == nil {
		err = unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)})
	}
	if err != nil {
		unix.Close(t.fd)
		unix.Close(t.wake)
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

func (t *tape) signal() {
	if !t.ended {
		unix.Write(t.wake, binary.NativeEndian.AppendUint64(nil, 1)) //nolint:errcheck // cannot be full
	}
}

// stop ends the reader and takes the kernel's count of losses.
func (t *tape) stop() {
	if t.ended {
		return
	}
	t.signal()
	<-t.done
	t.ended, t.until = true, time.Now().UnixNano()
	if st, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		t.lost = int64(st.Drops)
	} else {
		t.err = errors.Join(t.err, fmt.Errorf("read packet statistics: %w", err))
	}
	unix.Close(t.fd)
	unix.Close(t.wake)
}

// read is the reader: it takes packets until it is told that the play has
// ended, and then until the host is quiet.
func (t *tape) read() {
	defer close(t.done)
	buf, oob := make([]byte, deckFrame), make([]byte, 128)
	wait, ending := -1, time.Time{}
	for {
		if t.err = t.drain(buf, oob); t.err != nil {
			return
		}
		fds := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}, {Fd: int32(t.wake), Events: unix.POLLIN}}
		if wait >= 0 {
			fds = fds[:1]
		}
		n, err := unix.Poll(fds, wait)
		switch {
		case err != nil && err != unix.EINTR:
			t.err = fmt.Errorf("wait for packets: %w", err)
			return
		case err == nil && n == 0, wait >= 0 && time.Since(ending) > deckPatience:
			return
		case wait < 0 && fds[1].Revents != 0:
			wait, ending = int(deckQuiet.Milliseconds()), time.Now()
		}
	}
}

// drain takes every packet that waits.
func (t *tape) drain(buf, oob []byte) error {
	for {
		n, noob, _, from, err := unix.Recvmsg(t.fd, buf, oob, unix.MSG_TRUNC)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("read packet socket: %w", err)
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Hatype == unix.ARPHRD_LOOPBACK && ll.Pkttype == unix.PACKET_OUTGOING {
			continue // on lo a packet passes twice; we keep it where it arrives
		}
		t.keep(frame{at: stamp(oob[:noob]), out: ll.Pkttype == unix.PACKET_OUTGOING, size: n}, ll.Ifindex, buf[:min(n, len(buf))])
	}
}

// keep appends a packet to the tape.
func (t *tape) keep(f frame, ifindex int, data []byte) {
	if t.room.Add(-int64(len(data))) < 0 {
		t.refused++
		return
	}
	i, ok := t.index[ifindex]
	if !ok {
		i = len(t.names)
		t.index[ifindex] = i
		t.names = append(t.names, t.nameOf(ifindex))
	}
	if len(data) > cap(t.chunk)-len(t.chunk) {
		t.chunk = make([]byte, 0, max(1<<20, len(data)))
	}
	n := len(t.chunk)
	t.chunk = append(t.chunk, data...)
	f.name, f.data = i, t.chunk[n:len(t.chunk):len(t.chunk)]
	t.frames = append(t.frames, f)
}

// nameOf asks the kernel for the name of an interface of the tape's namespace.
func (t *tape) nameOf(ifindex int) string {
	var req struct {
		name  [unix.IFNAMSIZ]byte
		index int32
		_     [20]byte
	}
	req.index = int32(ifindex)
	_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(t.fd), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&req)))
	if no != 0 {
		return fmt.Sprintf("if%d", ifindex) // it has just been removed
	}
	return unix.ByteSliceToString(req.name[:])
}

// stamp is the kernel's time of a packet, ns since 1970.
func stamp(oob []byte) int64 {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= 16 {
			sec, ns := binary.NativeEndian.Uint64(data), binary.NativeEndian.Uint64(data[8:])
			return int64(sec)*1e9 + int64(ns)
		}
		oob = rest
	}
	return time.Now().UnixNano()
}

// recorded ends the recording of a play and, when the play did what it claims,
// writes the files. It returns nil when nothing was recorded.
func (s *stage) recorded(rc recipe, ok bool) (*Recording, error) {
	d := s.n.deck
	if d == nil {
		return nil, nil
	}
	d.stop()
	s.n.deck = nil
	id := rc.name(s.v6)
	dir := filepath.Join(s.n.pcap, id)
	if err := os.RemoveAll(dir); err != nil || !ok {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	t := rc.truth
	rec := &Recording{
		Scenario: id, Title: rc.title, Sender: t.Sender, Cause: t.Cause, Also: t.Also,
		Receiver: s.res.Receiver, Error: s.res.Error, Lost: s.res.Lost, At: s.res.At, Flows: s.res.Flows,
	}
	rec.SenderHost = s.senderHost(d.tapes)
	for len(d.tapes) > 0 {
		name := d.tapes[0].host
		h, err := s.writeHost(dir, name, d.take(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		rec.Hosts = append(rec.Hosts, *h)
	}
	slices.SortFunc(rec.Hosts, func(a, b RecordedHost) int { return hostRank(a.Name) - hostRank(b.Name) })
	return rec, rec.write(dir)
}

// senderHost finds the host that saw the first RST of the decisive moment
// before all others did. One clock stamps them all.
func (s *stage) senderHost(tapes []*tape) (host string) {
	first := int64(math.MaxInt64)
	for _, t := range tapes {
		for i := range t.frames {
			f := &t.frames[i]
			if f.at >= first || f.at < s.res.At.UnixNano() {
				continue
			}
			g, ok := f.segment()
			if ok && g.Flags&flagRST != 0 && slices.ContainsFunc(s.res.Flows, func(x Flow) bool { return x.has(g.Src, g.Dst) || x.has(g.Dst, g.Src) }) {
				first, host = f.at, t.host
			}
		}
	}
	return host
}

// segment decodes the frame as one of an Ethernet.
func (f *frame) segment() (segment, bool) {
	const ether = 14
	if len(f.data) < ether {
		return segment{}, false
	}
	return parseSegment(f.data[ether:])
}

// hostRank orders hosts along the path.
func hostRank(name string) int {
	if i := slices.Index([]string{"client", "router", "server", "attacker"}, name); i >= 0 {
		return i
	}
	return 4
}

// take removes the tapes of a host, the earliest first, and returns them. A
// host that was rebooted has two.
func (d *deck) take(host string) (list []*tape) {
	for _, t := range d.tapes {
		if t.host == host {
			list = append(list, t)
		}
	}
	d.tapes = slices.DeleteFunc(d.tapes, func(t *tape) bool { return t.host == host })
	return list
}

// writeHost writes the capture file of a host and describes it.
func (s *stage) writeHost(dir, name string, tapes []*tape) (*RecordedHost, error) {
	h := &RecordedHost{Name: name, Role: name, File: name + ".pcapng"}
	sp := s.n.spaces[name]
	if sp != nil && sp.v4.IsValid() {
		h.Addresses = []netip.Addr{sp.v4, sp.v6}
	}
	for _, t := range s.taps {
		switch {
		case sp != nil && t.p == sp.holder:
			h.Role = t.end
		case t.end == "client" && name == "client":
			h.Role = "bystander" // somebody else plays the client
		}
	}
	for _, t := range tapes {
		if t.err != nil {
			return nil, t.err
		}
		for _, n := range t.names {
			if !slices.Contains(h.Interfaces, n) {
				h.Interfaces = append(h.Interfaces, n)
			}
		}
		h.Lost += t.lost
		h.Refused += t.refused
	}
	f, err := os.Create(filepath.Join(dir, h.File))
	if err != nil {
		return nil, err
	}
	err = writeTapes(f, h, tapes)
	err = errors.Join(err, f.Close())
	for _, t := range tapes {
		for i := range t.frames {
			s.notice(h, &t.frames[i])
		}
	}
	return h, err
}

// notice counts a packet and notes which flows of the truth the host sees.
func (s *stage) notice(h *RecordedHost, p *frame) {
	h.Packets++
	h.Bytes += int64(len(p.data))
	g, ok := p.segment()
	if !ok {
		return
	}
	if g.Flags&flagRST != 0 {
		h.Resets++
	}
	for _, f := range s.res.Flows {
		if (f.has(g.Src, g.Dst) || f.has(g.Dst, g.Src)) && !slices.Contains(h.Flows, f) {
			h.Flows = append(h.Flows, f)
		}
	}
}

// has compares the ends of a flow; port 0 in the truth stands for any.
func (f Flow) has(client, server netip.AddrPort) bool {
	same := func(want, got netip.AddrPort) bool {
		return want.Addr() == got.Addr() && (want.Port() == 0 || want.Port() == got.Port())
	}
	return same(f.Client, client) && same(f.Server, server)
}
