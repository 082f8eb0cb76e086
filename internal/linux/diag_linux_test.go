package linux

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// sockets collects the sockets of a namespace.
func sockets(t *testing.T, ns Netns, states States) (out []Socket) {
	t.Helper()
	for s, err := range (&Host{}).Sockets(ns, states) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// find returns the socket with those addresses.
func find(all []Socket, local, remote netip.AddrPort) (Socket, bool) {
	for _, s := range all {
		if s.Local == local && s.Remote == remote {
			return s, true
		}
	}
	return Socket{}, false
}

func TestRootSockets(t *testing.T) {
	ns := newNetns(t)
	l := listen(t, ns, "127.0.0.1:0")
	c := dial(t, ns, l.Addr().String())
	dial(t, ns, l.Addr().String()) // a second one waits for accept
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	server, client := addrPort(l.Addr()), addrPort(c.LocalAddr())
	var peer Socket
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && peer.RQueue != 1000; {
		peer, _ = find(sockets(t, ns, Connected), server, client)
	}
	if peer.RQueue != 1000 || peer.State != Established || peer.Info.BytesRecv != 1000 || !peer.HasInfo || peer.Cookie == 0 || peer.Inode == 0 {
		t.Errorf("server side: %+v", peer)
	}
	listeners := sockets(t, ns, Listeners)
	if len(listeners) != 1 || listeners[0].Local != server || listeners[0].RQueue != 1 || listeners[0].WQueue == 0 {
		t.Errorf("listeners: %+v", listeners)
	}
	one, ok, err := (&Host{}).Socket(ns, server, client)
	if err != nil || !ok || one.Cookie != peer.Cookie {
		t.Errorf("exact lookup: %+v %v %v", one, ok, err)
	}
	one, ok, err = (&Host{}).Socket(ns, server, netip.MustParseAddrPort("127.0.0.1:1"))
	if err != nil || !ok || one.State != Listen {
		t.Errorf("lookup of the listener: %+v %v %v", one, ok, err)
	}
	if one, ok, err := (&Host{}).Socket(ns, netip.MustParseAddrPort("127.0.0.1:1"), client); err != nil || ok {
		t.Errorf("lookup of nothing: %+v %v %v", one, ok, err)
	}
	owners := (&Host{}).OwnersOfInodes(map[uint64]bool{peer.Inode: true, listeners[0].Inode: true, 1: true})
	if owners[peer.Inode] != os.Getpid() || owners[listeners[0].Inode] != os.Getpid() || len(owners) != 2 {
		t.Errorf("owners: %v", owners)
	}
	for s := range (&Host{}).Sockets(ns, AllStates) {
		if s.State == 0 {
			t.Error("no state")
		}
		break // an early end closes cleanly
	}
}

func TestRootSocketsIPv6(t *testing.T) {
	ns := newNetns(t)
	l := listen(t, ns, "[::]:0")
	c := dial(t, ns, net.JoinHostPort("127.0.0.1", portOf(l)))
	if _, ok := find(sockets(t, ns, Connected), addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())); !ok {
		t.Error("the IPv4 end of an IPv6 socket is not found by its IPv4 address")
	}
	if ls := sockets(t, ns, Listeners); len(ls) != 1 || !ls[0].V6 || ls[0].V6Only {
		t.Errorf("%+v", ls)
	}
}

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func FuzzParseSocket(f *testing.F) {
	f.Add(make([]byte, sizeDiagMsg+8))
	f.Add([]byte{10, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		parseSocket(b)
		parseCTEntry(b)
	})
}
