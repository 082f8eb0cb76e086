package trace

import "testing"

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
