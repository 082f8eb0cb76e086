package fact

import "testing"

func TestMerge(t *testing.T) {
	dst := &Case{ID: "dst"}
	dst.Outcome = Some("reset")
	dst.RST.TTL = None[int64]()
	src := &Case{ID: "src"}
	src.Outcome = Some("timeout")
	src.RST.TTL = Some(int64(64))
	src.RST.Window = SomeBy(int64(0), ByHost)
	src.Sender.Sock.Unread = Some(int64(7))
	src.Receiver.Error = None[string]()

	kept := *dst
	if n := Merge(&kept, src, ByDefault); n != 3 {
		t.Errorf("%d facts came, want 3", n)
	}
	if kept.ID != "dst" || kept.Outcome.Or("") != "reset" || kept.RST.TTL.State() != Absent {
		t.Errorf("what was there has changed: %+v", kept)
	}
	if kept.RST.Window != SomeBy(int64(0), ByHost) || kept.Sender.Sock.Unread.Or(0) != 7 || kept.Receiver.Error.State() != Absent {
		t.Errorf("what came is another: %v %v %v", kept.RST.Window, kept.Sender.Sock.Unread, kept.Receiver.Error)
	}
	far := *dst
	Merge(&far, src, ByPeer)
	if far.RST.Window.By() != ByPeer || far.Sender.Sock.Unread.By() != ByPeer {
		t.Errorf("seen by %v and %v, want peer", far.RST.Window.By(), far.Sender.Sock.Unread.By())
	}
	if n := Merge(&far, src, ByPeer); n != 0 {
		t.Errorf("%d facts came twice", n)
	}
}

func TestConnection(t *testing.T) {
	c := &Case{}
	c.Flow.ClientISN = Some(int64(0xffffffff))
	if got := c.Connection(); got != "" {
		t.Errorf("half a key: %q", got)
	}
	c.Flow.ServerISN = Some(int64(1))
	if got := c.Connection(); got != "ffffffff-00000001" {
		t.Errorf("%q", got)
	}
}
