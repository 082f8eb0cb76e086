package trace

import (
	"net/netip"
	"testing"
)

func TestHowASocketEnded(t *testing.T) {
	for _, c := range []struct {
		name string
		r    resetCloseRecord
		want string
	}{
		{"its process closed", resetCloseRecord{From: stEstablished, To: stFinWait1, Owned: 1, Syscall: -1}, "close"},
		{"its process ended", resetCloseRecord{From: stEstablished, To: stFinWait1, Owned: 1, Exiting: 1}, "exit"},
		{"closed after the peer", resetCloseRecord{From: stCloseWait, To: stLastAck, Owned: 1}, "peer"},
		{"a reset came", resetCloseRecord{From: stEstablished, To: stClose, SkErr: 104}, "reset"},
		{"a reset came after the peer's FIN", resetCloseRecord{From: stCloseWait, To: stClose, SkErr: 32}, "reset"},
		{"an ICMP error came", resetCloseRecord{From: stSynRecv, To: stClose, SkErr: 113}, "icmp"},
		{"it gave up", resetCloseRecord{From: stEstablished, To: stClose, SkErr: 110}, "timeout"},
		{"it was refused", resetCloseRecord{From: stSynSent, To: stClose, SkErr: 111}, "refused"},
		{"its process aborted", resetCloseRecord{From: stEstablished, To: stClose, Owned: 1}, "abort"},
		{"nobody knows", resetCloseRecord{From: stSynRecv, To: stClose}, "other"},
	} {
		if got := howClosed(&c.r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	orphan := resetCloseRecord{From: stFinWait1, To: stClose, SkErr: 110}
	if !orphan.isEnd() {
		t.Error("an orphan that gave up is no local close")
	}
	if closed := (resetCloseRecord{From: stEstablished, To: stFinWait1, Owned: 1}); closed.isEnd() {
		t.Error("a close is no end by an error")
	}
}

// TestSearchFindsNamespacesThatNobodySaw: an opening is found under a cookie near
// the known ones, within the bound, and not one that came later.
func TestSearchFindsNamespacesThatNobodySaw(t *testing.T) {
	local, remote := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:40000")
	m := &memory{openTuple: map[uint64]uint64{tupleKey(5000, local, remote): 10}}
	for _, x := range []struct {
		low, high, except, at uint64
		want                  bool
	}{
		{4000, 6000, 4500, 20, true},
		{0, 6000, 4500, 20, true},
		{4000, 6000, 5000, 20, false}, // the one that answered
		{4000, 6000, 4500, 5, false},  // it opened later
		{5001, 6000, 4500, 20, false},
		{0, 5000 + 1<<16 + 1, 4500, 20, false}, // beyond the bound
	} {
		ns, ok := m.search(x.low, x.high, x.except, local, remote, x.at)
		if ok != x.want || ok && ns != 5000 {
			t.Errorf("%+v: %d, %t", x, ns, ok)
		}
	}
}
