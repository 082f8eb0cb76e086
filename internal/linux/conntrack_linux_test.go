package linux

import (
	"net/netip"
	"testing"

	"github.com/holdfast-project/holdfast/internal/netnstest"
)

func TestRootConntrack(t *testing.T) {
	netnstest.Need(t, "nft")
	ns := newNetns(t)
	h := &Host{}
	run(t, ns, `nft 'table ip n { chain pre { type nat hook output priority -100; ip daddr 127.0.0.9 tcp dport 80 dnat to 127.0.0.1:8080; }; }'
nft 'table inet f { chain i { type filter hook input priority 0; ct state invalid counter drop; }; }'`)
	l := listen(t, ns, "127.0.0.1:8080")
	c := dial(t, ns, "127.0.0.9:80")
	defer l.Close()
	want := CTTuple{addrPort(c.LocalAddr()), netip.MustParseAddrPort("127.0.0.9:80")}
	for _, tuple := range []CTTuple{want, {want.Dst, want.Src}, {netip.MustParseAddrPort("127.0.0.1:8080"), want.Src}} {
		e, ok, err := h.ConntrackEntry(ns, tuple)
		if err != nil || !ok || e.Orig != want || e.Reply.Src != netip.MustParseAddrPort("127.0.0.1:8080") || e.State != "ESTABLISHED" || !e.NAT() || !e.Replied() || e.Timeout == 0 {
			t.Errorf("%v: %+v %v %v", tuple, e, ok, err)
		}
	}
	if e, ok, err := h.ConntrackEntry(ns, CTTuple{want.Src, netip.MustParseAddrPort("127.0.0.9:81")}); ok || err != nil {
		t.Errorf("a connection that is not there: %+v %v", e, err)
	}
	ct, ok, err := h.Conntrack(ns)
	if err != nil || !ok || ct.Count != 1 || ct.Max <= 0 {
		t.Errorf("%+v %v %v", ct, ok, err)
	}
}

func TestConntrackStats(t *testing.T) {
	var ct Conntrack
	ct.parseStats([]byte("entries  clashres found new invalid ignore delete chaintoolong insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n" +
		"0000000a  00000000 00000001 00000000 00000010 00000000 00000000 00000000 00000000 00000002 00000003 00000004 00000000  00000000 00000000 00000000 00000005\n" +
		"0000000a  00000000 00000001 00000000 00000001 00000000 00000000 00000000 00000000 00000002 00000003 00000004 00000000  00000000 00000000 00000000 00000005\n"))
	if ct.Count != 10 || ct.Found != 2 || ct.Invalid != 17 || ct.InsertFailed != 4 || ct.Drop != 6 || ct.EarlyDrop != 8 || ct.Restarts != 10 {
		t.Errorf("%+v", ct)
	}
}
