package trace

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/linux"
)

// inNewNetns runs f in a new network namespace with its loopback device up.
// Goroutines that f starts are elsewhere, and f must not call t.FailNow.
func inNewNetns(t *testing.T, f func(ns linux.Netns)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	fd, err := newNetns()
	if err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	ns := linux.Netns{Path: fmt.Sprintf("/proc/self/fd/%d", fd), Inode: st.Ino}
	err = (&linux.Host{}).Do(ns, func() error {
		if err := loopbackUp(); err != nil {
			return err
		}
		f(ns)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newNetns makes a namespace and returns its file; the thread goes home again.
func newNetns() (fd int, err error) {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if unix.Setns(home, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return fd, err
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func bigEndian(n uint16) uint16 { return n<<8 | n>>8 }

// segment builds an IP packet with a TCP header without options.
func segment(v6 bool, flags byte, payload int, fragment uint16) []byte {
	tcp := make([]byte, 20+payload)
	binary.BigEndian.PutUint16(tcp, 4000)
	binary.BigEndian.PutUint16(tcp[2:], 5000)
	binary.BigEndian.PutUint32(tcp[4:], 77)
	tcp[12], tcp[13] = 5<<4, flags
	if !v6 {
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 61, unix.IPPROTO_TCP
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(tcp)))
		binary.BigEndian.PutUint16(ip[4:], 99)
		binary.BigEndian.PutUint16(ip[6:], fragment)
		copy(ip[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
		return append(ip, tcp...)
	}
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7], ip[23], ip[39] = 0x60, unix.IPPROTO_TCP, 61, 1, 1
	if fragment != 0 {
		ip[6] = unix.IPPROTO_FRAGMENT
		ext := []byte{unix.IPPROTO_TCP, 0, 0, 0, 0, 0, 0, 1}
		binary.BigEndian.PutUint16(ext[2:], fragment)
		ip = append(ip, ext...)
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40+len(tcp)))
	return append(ip, tcp...)
}

// TestRootFilter shows that the filter takes what it should, on the kernel
// that runs.
func TestRootFilter(t *testing.T) {
	cases := []struct {
		name  string
		bytes []byte
		want  bool
	}{
		{"rst", segment(false, tcpRST, 0, 0), true},
		{"syn", segment(false, tcpSYN, 0, 0), true},
		{"fin and ack", segment(false, tcpFIN|16, 0, 0), true},
		{"ack", segment(false, 16, 100, 0), false},
		{"first fragment", segment(false, tcpRST, 40, 0x2000), true},
		{"later fragment", segment(false, tcpRST, 40, 0x2001), false},
		{"ipv6 rst", segment(true, tcpRST, 0, 0), true},
		{"ipv6 ack", segment(true, 16, 9, 0), false},
		{"ipv6 first fragment", segment(true, tcpRST, 16, 1), true},
		{"ipv6 later fragment", segment(true, tcpRST, 16, 9), false},
		{"short", []byte{0x45, 0, 0}, false},
		{"nothing", []byte{0}, false},
	}
	inNewNetns(t, func(ns linux.Netns) {
		r, err := openRing(&linux.Host{}, ns, blockFrames)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.close()
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		for _, c := range cases {
			proto := uint16(unix.ETH_P_IP)
			if c.bytes[0]>>4 == 6 {
				proto = unix.ETH_P_IPV6
			}
			to := &unix.SockaddrLinklayer{Ifindex: 1, Protocol: bigEndian(proto), Halen: 6}
			if err := unix.Sendto(fd, c.bytes, 0, to); err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			var got []sighting
			if err := r.drain(0, func(s *sighting) { got = append(got, *s) }); err != nil { // lo delivers before sendto returns
				t.Error(err)
			}
			if (len(got) == 1) != c.want || len(got) > 1 {
				t.Errorf("%s: seen %d times, want %v", c.name, len(got), c.want)
			}
			if len(got) == 1 && (got[0].Packet.Seq != 77 || got[0].Packet.Ttl != 61 || !got[0].out) {
				t.Errorf("%s: decoded as %+v", c.name, got[0].Packet)
			}
		}
	})
}

// TestRootRingLosses floods a ring: every segment was either read or counted
// as lost.
func TestRootRingLosses(t *testing.T) {
	inNewNetns(t, func(ns linux.Netns) {
		r, err := openRing(&linux.Host{}, ns, blockFrames)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.close()
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: 1, Protocol: bigEndian(unix.ETH_P_IP), Halen: 6}
		const n = 3 * blockFrames
		for range n {
			if err := unix.Sendto(fd, segment(false, tcpRST, 0, 0), 0, to); err != nil {
				t.Error(err)
				return
			}
		}
		read := 0
		if err := r.drain(0, func(*sighting) { read++ }); err != nil {
			t.Error(err)
		}
		if read != blockFrames || r.dropped != n-blockFrames {
			t.Errorf("read %d and lost %d of %d, want %d read", read, r.dropped, n, blockFrames)
		}
	})
}

// TestRootSynFlood shows that the ring goes without SYNs when there are too many.
func TestRootSynFlood(t *testing.T) {
	inNewNetns(t, func(ns linux.Netns) {
		r, err := openRing(&linux.Host{}, ns, 4*blockFrames)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.close()
		count := func(flags byte, n int) (seen int) {
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return 0
			}
			defer unix.Close(fd)
			for range n {
				_ = unix.Sendto(fd, segment(false, flags, 0, 0), 0, &unix.SockaddrLinklayer{Ifindex: 1, Protocol: bigEndian(unix.ETH_P_IP), Halen: 6})
			}
			if err := r.drain(0, func(s *sighting) {
				if s.Packet.Flags == flags {
					seen++
				}
			}); err != nil {
				t.Error(err)
			}
			return seen
		}
		if n := count(tcpSYN, manySyns+1); n != manySyns+1 {
			t.Errorf("%d SYNs before the limit", n)
		}
		if n := count(tcpSYN, 10); n != 0 {
			t.Errorf("%d SYNs during the flood", n)
		}
		if n := count(tcpRST, 10); n != 10 {
			t.Errorf("%d RSTs during the flood, want all 10", n)
		}
		r.syns = 0
		if err := r.adapt(time.Now().Add(quietAfter + time.Second)); err != nil {
			t.Error(err)
		}
		if n := count(tcpSYN, 10); n != 10 {
			t.Errorf("%d SYNs after the flood, want all 10", n)
		}
	})
}

// cases collects what a source reports about some ports.
type cases struct {
	mu   sync.Mutex
	list []Observed
}

func (c *cases) add(o Observed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, o)
}

// on waits for the case of a server port and client port; 0 is any.
func (c *cases) on(t *testing.T, server, client uint16) *Observed {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		c.mu.Lock()
		i := slices.IndexFunc(c.list, func(o Observed) bool {
			return o.Flow.Server.Port() == server && (client == 0 || o.Flow.Client.Port() == client)
		})
		if i >= 0 {
			o := c.list[i]
			c.mu.Unlock()
			return &o
		}
		c.mu.Unlock()
	}
	t.Fatalf("no case of server port %d, client port %d", server, client)
	return nil
}

// run starts a source and returns its cases and a function that stops it.
func run(t *testing.T, src interface {
	Run(context.Context, func(Observed)) error
}) (*cases, func()) {
	t.Helper()
	c := &cases{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, c.add) }()
	return c, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func portOf(a net.Addr) uint16 { return netip.MustParseAddrPort(a.String()).Port() }

// checkWitness fails when a fact claims a witness that the source does not have.
func checkWitness(t *testing.T, c *fact.Case, never ...fact.Witness) {
	t.Helper()
	for _, d := range fact.Defs() {
		if v := d.Of(c); v.State != fact.NotLooked && slices.Contains(never, v.By) {
			t.Errorf("%s claims the witness %s", d.Name, v.By)
		}
	}
}

// pairOf connects over a loopback address.
func pairOf(t *testing.T, addr string) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestRootPacket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_RAW")
	}
	src, err := OpenPacket(Config{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	got, stop := run(t, src)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run("refused "+addr, func(t *testing.T) { testRefused(t, got, addr) })
		t.Run("abort "+addr, func(t *testing.T) { testAbort(t, src, got, addr, time.Now()) })
	}
	stop()
	st := src.Stats()
	if st.Seen == 0 || st.Seen != st.Reported+st.Folded+st.Lost {
		t.Errorf("the account is wrong: %+v", st)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

func testRefused(t *testing.T, got *cases, addr string) {
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Skip(err)
	}
	port := portOf(l.Addr())
	l.Close()
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Fatal("somebody took the port")
	}
	o := got.on(t, port, 0)
	checkWitness(t, o.Case, fact.ByKernel)
	if o.Outcome.Or("") != "refused" || o.Phase.Or("") != "connect" || o.RST.Form.Or("") != "refusal" || o.Trigger.Flags.Or("") != "S" || !o.RST.Provoked.Or(false) {
		t.Errorf("outcome %q, phase %q, form %q, trigger %q", o.Outcome.Or(""), o.Phase.Or(""), o.RST.Form.Or(""), o.Trigger.Flags.Or(""))
	}
	if !o.Flow.RolesKnown.Or(false) || o.Sender.Role.Or("") != "server" || o.Sender.Listener.Exists.Or(true) {
		t.Errorf("roles known %v, emitter %q, listener %v", o.Flow.RolesKnown.Or(false), o.Sender.Role.Or(""), o.Sender.Listener.Exists)
	}
	if o.Sender.Seen.State() != fact.NotLooked || o.Receiver.Seen.State() != fact.NotLooked {
		t.Error("says that a kernel was looked at")
	}
	if !o.Sender.Watched.Or(false) || !o.RST.OriginHere.Or(false) || o.RST.OriginNetns.Or("") != "sender" {
		t.Errorf("watched %v, origin here %v, %q", o.Sender.Watched, o.RST.OriginHere, o.RST.OriginNetns.Or(""))
	}
}

func testAbort(t *testing.T, src *PacketSource, got *cases, addr string, begun time.Time) {
	client, server := pairOf(t, addr)
	port, cport := portOf(server.LocalAddr()), portOf(client.LocalAddr())
	var found polled
	for deadline := time.Now().Add(20 * time.Second); src.sockets.owner(found.Inode) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, ns := range src.list() {
			if p, ok := src.sockets.find(ns.Cookie, netip.MustParseAddrPort(client.LocalAddr().String()), netip.MustParseAddrPort(client.RemoteAddr().String())); ok {
				found = p
			}
		}
	}
	_ = server.SetLinger(0)
	server.Close()
	o := got.on(t, port, cport)
	checkWitness(t, o.Case, fact.ByKernel)
	if o.Outcome.State() == fact.NotLooked && time.Since(begun) < 20*time.Second { // the host is busy, and the source says so
		testAbort(t, src, got, addr, begun)
		return
	}
	if o.Outcome.Or("") != "reset" || o.Phase.Or("") != "established" || o.RST.Form.Or("") != "active-abort" || o.Sender.Role.Or("") != "server" {
		t.Errorf("outcome %q, phase %q, form %q, emitter %q", o.Outcome.Or(""), o.Phase.Or(""), o.RST.Form.Or(""), o.Sender.Role.Or(""))
	}
	if ts, ok := o.RST.Timestamp.Get(); !ok || ts != o.Sender.Sock.TSOK.Or(!ts) {
		t.Errorf("timestamp %v, negotiated %v", o.RST.Timestamp, o.Sender.Sock.TSOK)
	}
	if ttl, ok := o.RST.PeerTTL.Get(); !ok || ttl != o.RST.TTL.Or(-1) {
		t.Errorf("peer's TTL %v, TTL %v", o.RST.PeerTTL, o.RST.TTL)
	}
	if found.Inode == 0 || o.ReceiverPID != os.Getpid() {
		t.Errorf("the receiver is process %d, this is %d", o.ReceiverPID, os.Getpid())
	}
}

func TestFold(t *testing.T) {
	s := &PacketSource{cfg: Config{Burst: 100}, tokens: 100, host: newHostView(&linux.Host{}), floods: map[floodKey]*Flood{}}
	at := uint64(time.Hour)
	allowed := 0
	for range 1000 {
		if s.allow(at) {
			allowed++
		}
	}
	if allowed != 100 {
		t.Errorf("%d of 1000 at once, want 100", allowed)
	}
	if at += uint64(time.Second) / 2; !s.allow(at) || s.tokens > 50 {
		t.Errorf("%.0f tokens after half a second", s.tokens)
	}
	for port := range 3 * maxFloods {
		g := &sighting{}
		g.Netns, g.Packet.Sport, g.Packet.Dport, g.TimeNs = 1, uint16(port+1), 65535, at
		s.fold(g)
	}
	var sum uint64
	for _, f := range s.Floods() {
		sum += f.Count
	}
	if sum != 3*maxFloods || len(s.floods) > maxFloods+1 {
		t.Errorf("%d counted in %d classes", sum, len(s.floods))
	}
}

func TestBaselines(t *testing.T) {
	table := newBaselines(4)
	seg := func(sport, dport uint16, flags uint8, seq uint32) *sighting {
		s := &sighting{}
		s.TimeNs, s.Ifindex = uint64(seq), 1
		p := &s.Packet
		p.Version, p.Saddr[0], p.Daddr[0], p.Sport, p.Dport, p.Flags, p.Seq, p.Ttl, p.Present = 4, 1, 2, sport, dport, flags, seq, 64, 1
		if flags&flagACK != 0 && flags&flagSYN != 0 {
			p.Saddr, p.Daddr = p.Daddr, p.Saddr
		}
		return s
	}
	table.add(seg(1000, 80, flagSYN, 5))
	table.add(seg(80, 1000, flagSYN|flagACK, 9))
	client := netip.MustParseAddrPort("1.0.0.0:1000")
	server := netip.MustParseAddrPort("2.0.0.0:80")
	b := table.get(connOf(server, client))
	if b == nil || b.client != client || b.syn == nil || b.synack == nil || b.of(server) != b.synack {
		t.Fatalf("baseline is %+v", b)
	}
	table.add(seg(1000, 80, flagSYN, 70)) // the ports again
	if b = table.get(connOf(server, client)); b.syn.seq != 70 || b.synack != nil {
		t.Errorf("a new connection kept %+v", b)
	}
	for port := range 40 {
		table.add(seg(uint16(2000+port), 80, flagSYN, 1))
		table.get(connOf(server, client)) // in use: stays
	}
	if n := len(table.young) + len(table.old); n > 8 || table.get(connOf(server, client)) == nil {
		t.Errorf("%d baselines, the used one is %v", n, table.get(connOf(server, client)))
	}
}

func FuzzParsePacket(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		f.Add(segment(v6, tcpRST, 0, 0))
		f.Add(segment(v6, tcpSYN, 3, 1))
	}
	f.Add([]byte{0x4f, 0, 0, 1})
	f.Fuzz(func(_ *testing.T, b []byte) {
		var e resetEvent
		if parsePacket(b, &e) {
			_ = hasTimestamp(e.Packet.Options, e.Packet.OptionsBytes)
			_, _ = e.packetSrc(), e.packetDst()
		}
		frame := make([]byte, frameSize)
		copy(frame, b)
		var s sighting
		_ = parseFrame(frame, 0, &s)
	})
}
