package netlink

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestConn: this process may always ask for its own links.
func TestConn(t *testing.T) {
	c, err := Dial(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	links := 0
	err = c.Dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), func(b []byte) error {
		if len(b) < unix.SizeofIfInfomsg {
			return ErrShort
		}
		links++
		return nil
	})
	if err != nil || links == 0 {
		t.Errorf("%d links, %v", links, err)
	}
	if err := c.Request(unix.RTM_GETLINK, 0, []byte{1}, func(uint16, []byte) error { return nil }); err == nil {
		t.Errorf("a request that is too short: %v", err)
	}
}
