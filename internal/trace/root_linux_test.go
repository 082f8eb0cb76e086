package trace

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

// watching runs a source over f and returns the cases of the flow that f names.
func watching(t *testing.T, cfg Config, f func() netip.AddrPort) []Observed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to load eBPF programs")
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	var mu sync.Mutex
	var all []Observed
	got := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(o Observed) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, o)
			select {
			case got <- struct{}{}:
			default:
			}
		})
	}()
	at := f()
	match := func() (list []Observed) {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range all {
			if o.Flow.Server == at || o.Flow.Client == at { // without some hooks the roles are a guess
				list = append(list, o)
			}
		}
		return list
	}
	for len(match()) == 0 {
		select {
		case <-got:
		case <-ctx.Done():
			mu.Lock()
			defer mu.Unlock()
			t.Fatalf("no case of %v came; %d others, stats %+v, coverage %+v", at, len(all), s.Stats(), s.Coverage())
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Seen != st.Reported+st.Folded+st.Lost {
		t.Errorf("seen %d != reported %d + folded %d + lost %d", st.Seen, st.Reported, st.Folded, st.Lost)
	}
	return match()
}

// closeUnread resets a loopback connection by closing it with 500 bytes unread.
func closeUnread(t testing.TB) netip.AddrPort {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 500)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 100)); err != nil { // the rest has arrived with it
		t.Fatal(err)
	}
	a.Close()
	_, _ = c.Read(make([]byte, 1))
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestRootCloseWithUnreadData(t *testing.T) {
	list := watching(t, Config{}, func() netip.AddrPort { return closeUnread(t) })
	o := list[0]
	if o.Flow.Server.Port() != uint16(o.Flow.ServerPort.Or(0)) {
		t.Errorf("flow %v, server_port %v", o.Flow.Server, o.Flow.ServerPort)
	}
	for name, want := range map[string]any{
		"outcome": "reset", "phase": "established", "sender.role": "server", "sender.seen": true, "sender.call": "close", "sender.syscall": "close",
		"sender.sock.unread_bytes": int64(400), "sender.sock.prev_state": "ESTABLISHED", "sender.sock.received_bytes": int64(500),
		"sender.proc.pid": int64(os.Getpid()), "receiver.error": "ECONNRESET", "receiver.proc.pid": int64(os.Getpid()),
		"rst.form": "active-abort", "rst.origin": "tcp-active", "rst.accepted": "accepted", "rst.seq_offset": int64(0), "sender.had_connection": true,
	} {
		d, ok := fact.Lookup(name)
		if !ok {
			t.Fatal("no fact " + name)
		}
		if got := d.Any(d.Of(o.Case)); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestRootRefused(t *testing.T) {
	list := watching(t, Config{}, func() netip.AddrPort {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		l.Close()
		if _, err := net.Dial("tcp4", at.String()); err == nil {
			t.Fatal("connected")
		}
		return at
	})
	o := list[0]
	if got := fmt.Sprint(o.Outcome.Or(""), " ", o.Phase.Or(""), " ", o.RST.Form.Or(""), " ", o.Sender.Listener.Exists.Or(true), " ", o.Receiver.Error.Or("")); got != "refused connect refusal false ECONNREFUSED" {
		t.Error(got)
	}
}

// TestRootWithoutTracepointHalf takes hooks away one by one: what is left must
// still make a case, and coverage must name what is missing.
func TestRootLadder(t *testing.T) {
	for _, c := range []struct {
		skip  []string
		blind string
	}{
		{[]string{"send_tp3", "send_tp2"}, ""}, // the raw tracepoint stands in
		{[]string{"wire"}, "resets that no socket sent: firewall rejects, raw sockets, forwarding"},
		{[]string{"state"}, "how a socket died that a late reset speaks of; the age of connections"},
		{[]string{"recv_fe", "recv_kp", "recv_tp"}, ""},
		{[]string{"send_tp3", "send_tp2", "send_raw"}, "resets sent by this host's TCP stack"},
	} {
		t.Run(fmt.Sprint(c.skip), func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root to load eBPF programs")
			}
			list := watching(t, Config{Skip: c.skip}, func() netip.AddrPort { return closeUnread(t) })
			if list[0].Outcome.Or("") != "reset" {
				t.Errorf("outcome %q", list[0].Outcome.Or(""))
			}
			s, err := Open(Config{Skip: c.skip})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if c.blind != "" && !slices.Contains(s.Coverage().Blind, c.blind) {
				t.Errorf("coverage does not say it is blind to %q: %q", c.blind, s.Coverage().Blind)
			}
		})
	}
}

func TestRootNothingAttaches(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to load eBPF programs")
	}
	_, err := Open(Config{Skip: []string{"send_tp3", "send_tp2", "send_raw", "recv_fe", "recv_kp", "recv_tp", "recv_raw", "wire"}})
	if err == nil {
		t.Fatal("opened with nothing attached")
	}
	if a, ok := err.(*AccessError); !ok || a.Hint == "" {
		t.Errorf("%T %v", err, err)
	}
}
