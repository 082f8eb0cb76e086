//go:build linux

package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recipe is a scenario as it is written down; it makes one for each family.
type recipe struct {
	id, title  string
	needs      []string
	demo, slow bool
	v6         bool   // there is a variant over IPv6, with the suffix -v6
	from       string // namespace that plays the client's part; default: client
	truth      Truth
	play       func(*stage)
}

// books are the tables of recipes, by subject.
var books = [][]recipe{closeRecipes, deathRecipes, refusedRecipes, overloadRecipes, timerRecipes, firewallRecipes, forgedRecipes, identityRecipes, natRecipes, clientRecipes, serverRecipes}

// All returns every scenario, sorted by id.
func All() []Scenario {
	var list []Scenario
	for _, book := range books {
		for _, rc := range book {
			list = append(list, rc.scenario(false))
			if rc.v6 {
				list = append(list, rc.scenario(true))
			}
		}
	}
	slices.SortFunc(list, func(a, b Scenario) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Missing returns the reason why a scenario cannot run on this machine, or "".
func Missing(sc Scenario) string {
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	if strings.HasSuffix(sc.ID, "-v6") && !hasIPv6() {
		return "the kernel has no IPv6"
	}
	for _, name := range sc.Needs {
		if _, err := findProgram(name); err != nil {
			return err.Error()
		}
	}
	if f := obstacles[strings.TrimSuffix(sc.ID, "-v6")]; f != nil {
		return f()
	}
	return ""
}

// obstacles tell what else may be missing for a scenario.
var obstacles = map[string]func() string{
	"cgroup-oom":         oomObstacle,
	"mptcp-close-unread": mptcpObstacle,
	"mptcp-join-refused": mptcpObstacle,
	"md5-mismatch":       md5Obstacle,
}

func mptcpObstacle() string {
	if _, err := os.Stat("/proc/sys/net/mptcp/enabled"); err != nil {
		return "the kernel has no MPTCP"
	}
	return ""
}

// md5Obstacle asks the kernel by giving a socket that goes nowhere a key.
func md5Obstacle() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	sig := unix.TCPMD5Sig{Addr: unix.SockaddrStorage{Family: unix.AF_INET}, Keylen: 1}
	if err := unix.SetsockoptTCPMD5Sig(fd, unix.SOL_TCP, unix.TCP_MD5SIG, &sig); err != nil {
		return "the kernel has no TCP-MD5 signatures"
	}
	return ""
}

// name is the id of the recipe's scenario over IPv4 or IPv6.
func (rc recipe) name(v6 bool) string {
	if v6 {
		return rc.id + "-v6"
	}
	return rc.id
}

func (rc recipe) scenario(v6 bool) Scenario {
	sc := Scenario{
		ID: rc.name(v6), Title: rc.title, Needs: rc.needs,
		Demo: rc.demo && !v6, Slow: rc.slow, Truth: rc.truth,
	}
	if v6 {
		sc.Title += " (IPv6)"
	}
	sc.Run = func(ctx context.Context, n *Net) (Result, error) {
		r, err := rc.run(ctx, n, v6)
		if err != nil {
			err = fmt.Errorf("scenario %s: %w", sc.ID, err)
		}
		return r, err
	}
	return sc
}

// run plays the recipe once and compares what was seen with its truth.
func (rc recipe) run(ctx context.Context, n *Net, v6 bool) (res Result, err error) {
	if err := n.sweep(); err != nil {
		return res, fmt.Errorf("clean up after the last scenario: %w", err)
	}
	s := &stage{ctx: ctx, n: n, v6: v6, port: n.takePorts(), actors: map[string]*proc{}}
	s.res.Receiver = "none"
	if err := n.record(); err != nil {
		return res, fmt.Errorf("record packets: %w", err)
	}
	defer func() {
		err = errors.Join(err, s.close())
	}()
	defer func() {
		if rec, werr := s.recorded(rc, err == nil); werr != nil {
			err = errors.Join(err, fmt.Errorf("record packets: %w", werr))
		} else {
			res.Recording = rec
		}
	}()
	defer func() {
		res = s.res
		switch x := recover().(type) {
		case nil:
		case stop:
			err = x.error
		default:
			panic(x)
		}
	}()
	s.tap(cmp.Or(rc.from, "client"), "client")
	s.tap("server", "server")
	s.before = map[string]map[string]int64{"client": s.counters("client"), "server": s.counters("server")}
	s.now()
	rc.play(s)
	s.res.Lost = s.lost()
	if err := rc.truth.verify(s.res); err != nil {
		return s.res, err
	}
	s.verifyWire(rc.truth)
	if s.n.settle != nil {
		s.n.settle(ctx, s.res)
	}
	return s.res, nil
}

// lost counts the bytes written at one end and never read at the other.
func (s *stage) lost() int64 {
	var n int64
	for _, p := range s.pairs {
		n += p.client.wrote - p.client.read
		if p.server != nil {
			n += p.server.wrote - p.server.read
		}
	}
	return n
}

// verify compares what the applications saw with the truth.
func (t Truth) verify(r Result) error {
	if r.Receiver != t.Receiver || r.Error != t.Error {
		return fmt.Errorf("receiver %s saw %q, the truth says %s %q", r.Receiver, r.Error, t.Receiver, t.Error)
	}
	if t.Lost >= 0 && r.Lost != t.Lost {
		return fmt.Errorf("%d bytes were lost, the truth says %d", r.Lost, t.Lost)
	}
	if len(r.Flows) == 0 && t.Error != "EADDRNOTAVAIL" {
		return errors.New("no flow was recorded")
	}
	return nil
}

// tap watches the link of a namespace for the play's ports.
type tap struct {
	end  string // the part it plays: client or server
	p    *proc
	fd   int
	segs []segment
}

// tap starts to watch the link of a namespace that plays an end's part.
func (s *stage) tap(space, end string) {
	p := s.holder(space)
	r := s.call(p, request{Op: "sniff", Text: "eth0", N: int(s.port)})
	s.taps = append(s.taps, &tap{end: end, p: p, fd: r.FD})
}

// tapped returns what the taps of an end have seen until now.
func (s *stage) tapped(end string) (segs []segment) {
	for _, t := range s.taps {
		if t.end != end {
			continue
		}
		r := s.call(t.p, request{Op: "sniffed", FD: t.fd})
		t.segs = append(t.segs, r.Segments...)
		segs = append(segs, t.segs...)
	}
	return segs
}

// resets returns the RSTs at an end that left it, or that arrived.
func (s *stage) resets(end string, out bool) []segment {
	var list []segment
	for _, g := range s.tapped(end) {
		if g.Flags&flagRST != 0 && g.Out == out {
			list = append(list, g)
		}
	}
	return list
}

// foreign returns the RSTs that arrived at an end and that the other end never
// sent.
func (s *stage) foreign(space, other string) []segment {
	sent := s.resets(other, true)
	return slices.DeleteFunc(s.resets(space, false), func(g segment) bool {
		return slices.ContainsFunc(sent, func(o segment) bool { return o.Seq == g.Seq && o.Ack == g.Ack && o.Src.Port() == g.Src.Port() })
	})
}

// other is the other end.
var other = map[string]string{"client": "server", "server": "client"}

// verifyWire compares what left and reached both ends with the sender that the
// truth names. It waits a little for packets that are still on their way.
func (s *stage) verifyWire(t Truth) {
	end, _, _ := strings.Cut(t.Sender, "-")
	switch t.Sender {
	case "none":
		if len(t.Also) > 0 {
			return
		}
		if n := len(s.resets("client", true)) + len(s.resets("client", false)) + len(s.resets("server", true)) + len(s.resets("server", false)); n > 0 {
			s.fail("%d RSTs on the wire, the truth says none", n)
		}
	case "client-app", "client-kernel", "server-app", "server-kernel":
		s.within(time.Second, "a RST from the "+end, func() bool { return len(s.resets(end, true)) > 0 })
		if far := other[end]; len(t.Also) == 0 && len(s.resets(far, true)) > 0 {
			s.fail("the %s sent a RST, too, and the truth does not say so", far)
		}
	case "middlebox", "injector":
		s.within(time.Second, "a RST that neither end sent", func() bool {
			return len(s.foreign("client", "server"))+len(s.foreign("server", "client")) > 0
		})
	case "local-firewall":
		if len(t.Also) > 0 {
			return
		}
		for _, e := range []string{"client", "server"} {
			if n := s.moved(e, "Tcp:OutRsts"); n != 0 {
				s.fail("the kernel of the %s sent %d RSTs, the truth says a firewall did", e, n)
			}
		}
	default:
		s.fail("unknown sender %q", t.Sender)
	}
}
