package linux

import (
	"net"
	"net/netip"
	"testing"

	"github.com/holdfast-project/holdfast/internal/netnstest"
)

// newNetns makes a network namespace that lives until the test ends, with lo up.
func newNetns(t *testing.T) Netns {
	t.Helper()
	s := netnstest.New(t)
	return Netns{Path: s.Path, Inode: s.Inode}
}

func space(ns Netns) netnstest.Space { return netnstest.Space{Path: ns.Path, Inode: ns.Inode} }

// run runs commands, one in each line, inside a namespace.
func run(t *testing.T, ns Netns, script string) string {
	t.Helper()
	return space(ns).Run(t, script)
}

// listen opens a listener inside a namespace.
func listen(t *testing.T, ns Netns, addr string) net.Listener {
	t.Helper()
	return space(ns).Listen(t, addr)
}

// dial opens a connection inside a namespace.
func dial(t *testing.T, ns Netns, addr string) net.Conn {
	t.Helper()
	return space(ns).Dial(t, addr)
}

// addrPort returns the address of a listener or connection.
func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }
