package handover

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// samePeer refuses processes of other users, except root.
func samePeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var op error
	if err := raw.Control(func(fd uintptr) { cred, op = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if op != nil {
		return fmt.Errorf("ask who is there: %w", op)
	}
	if uid := int(cred.Uid); uid != os.Geteuid() && uid != 0 {
		return fmt.Errorf("process %d of user %d is not trusted", cred.Pid, uid)
	}
	return nil
}
