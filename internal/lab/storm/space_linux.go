package storm

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace with nothing but a loopback device, the thread
// that holds it, and a witness.
type space struct {
	cookie uint64
	do     chan func()
	packet int // the witness's socket

	mu     sync.Mutex
	resets map[netip.AddrPort][]Reset // guarded by mu; by sender
}

func newSpace() (*space, error) {
	s := &space{do: make(chan func()), resets: map[netip.AddrPort][]Reset{}}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace end together
		var fd int
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			fd, err = s.setUp()
		}
		if s.packet = fd; err == nil {
			go s.witness(fd)
		}
		ready <- err
		if err != nil {
			return
		}
		for f := range s.do {
			f()
		}
	}()
	return s, <-ready
}

// setUp brings the loopback device up and opens the witness.
func (s *space) setUp() (int, error) {
	ctl, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("set up the namespace: %w", err)
	}
	defer unix.Close(ctl)
	if s.cookie, err = unix.GetsockoptUint64(ctl, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
		return -1, fmt.Errorf("ask for the namespace's cookie: %w", err)
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return -1, err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(ctl, unix.SIOCSIFFLAGS, ifr); err != nil {
		return -1, fmt.Errorf("bring loopback up: %w", err)
	}
	_ = os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("3"), 0o644) // of this thread's namespace; without it there is no data in a SYN
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return -1, fmt.Errorf("open the witness: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// witness notes every RST that leaves, until the process ends.
func (s *space) witness(fd int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	b := make([]byte, 256)
	for {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		if r, ok := resetOf(b[:n]); ok {
			r.AtNS = time.Now().UnixNano()
			s.mu.Lock()
			s.resets[r.From] = append(s.resets[r.From], r)
			s.mu.Unlock()
		}
	}
}

// missed counts the packets that the witness could not take.
func (s *space) missed() uint32 {
	st, err := unix.GetsockoptTpacketStats(s.packet, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return st.Drops
}

// resetOf reads a packet by itself, on purpose not with the code under test.
func resetOf(b []byte) (r Reset, ok bool) {
	var src, dst netip.Addr
	var t []byte
	switch {
	case len(b) >= 40 && b[0]>>4 == 4 && b[9] == 6:
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		t = b[int(b[0]&15)*4:]
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == 6:
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		t = b[40:]
	}
	if len(t) < 20 || t[13]&4 == 0 {
		return r, false
	}
	r.From = netip.AddrPortFrom(src, binary.BigEndian.Uint16(t))
	r.To = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(t[2:]))
	r.Seq = binary.BigEndian.Uint32(t[4:])
	return r, true
}

// of returns the RSTs between two ends, in the order of time.
func (s *space) of(a, b netip.AddrPort) []Reset {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Reset
	for _, from := range []netip.AddrPort{a, b} {
		for _, r := range s.resets[from] {
			if r.To == a || r.To == b {
				list = append(list, r)
			}
		}
	}
	return list
}

// proc is an actor as the driver sees it.
type proc struct {
	pid  int
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	open map[int]bool // descriptors that it was told to make
	dead bool
}

// start starts an actor in the namespace.
func (s *space) start() (p *proc, err error) {
	c := exec.Command("/proc/self/exe")
	c.Args = []string{"storm"}
	c.Env = []string{actorEnv + "=1"}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	s.do <- func() { started <- c.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start an actor: %w", err)
	}
	return &proc{pid: c.Process.Pid, cmd: c, in: in, out: json.NewDecoder(out), open: map[int]bool{}}, nil
}

// order sends an order and waits for the answer.
func (p *proc) order(o order) (a answer, err error) {
	if err := p.say(o); err != nil {
		return a, err
	}
	err = p.out.Decode(&a)
	if a.FD > 0 {
		p.open[a.FD] = true
	}
	if o.Op == "close" {
		delete(p.open, o.FD)
	}
	return a, err
}

func (p *proc) say(o order) error { return json.NewEncoder(p.in).Encode(o) }

// end waits for an actor that is to end, or ends it.
func (p *proc) end() {
	if p.dead {
		return
	}
	p.dead = true
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
}
