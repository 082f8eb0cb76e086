//go:build linux

package lab

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uintptrOf is for raw system calls only: the pointer lives until the call
// returns because the caller keeps it.
func uintptrOf(b *[16]byte) uintptr { return uintptr(unsafe.Pointer(b)) }

func dup2(from, to int) error {
	// Not Dup3: it is dup2(2) whose reset we want to see, where it exists.
	if err := sysDup2(from, to); err != nil {
		return fmt.Errorf("dup2: %w", err)
	}
	return nil
}

// tcpStates are the names of the kernel's states, include/net/tcp_states.h.
var tcpStates = [...]string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
}

func stateName(n int) string {
	if n < 0 || n >= len(tcpStates) {
		return fmt.Sprintf("state %d", n)
	}
	return tcpStates[n]
}

func readInfo(fd int) (*sockInfo, error) {
	ti, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return nil, fmt.Errorf("read TCP_INFO: %w", err)
	}
	i := &sockInfo{
		State:       stateName(int(ti.State)),
		Retransmits: int(ti.Retransmits),
		Probes:      int(ti.Probes),
		CAState:     int(ti.Ca_state),
		LastRecv:    time.Duration(ti.Last_data_recv) * time.Millisecond,
	}
	if i.State == "LISTEN" {
		i.Backlog = int(ti.Unacked) // tcp_get_info reuses the field
		return i, nil
	}
	if i.Inq, err = unix.IoctlGetInt(fd, unix.SIOCINQ); err != nil {
		return nil, fmt.Errorf("read SIOCINQ: %w", err)
	}
	if i.Outq, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ); err != nil {
		return nil, fmt.Errorf("read SIOCOUTQ: %w", err)
	}
	return i, nil
}

func opInfo(a *actor, q request, r *response) (err error) {
	r.Info, err = readInfo(q.FD)
	return err
}

// opAwait waits for a condition of a socket. It is an error, not a result,
// when the condition does not come.
func opAwait(a *actor, q request, r *response) error {
	deadline := time.Now().Add(q.Wait)
	for {
		i, err := readInfo(q.FD)
		if err != nil {
			return err
		}
		r.Info = i
		if i.meets(q.Text, q.N) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s %d: socket is %+v", q.Wait, q.Text, q.N, *i)
		}
		time.Sleep(time.Millisecond)
	}
}

// meets reports whether the socket satisfies a condition: inq (at least n bytes
// unread), acked (all sent data acknowledged), backlog (at least n connections
// wait), probes, retransmits (at least n), or the name of a state.
func (i *sockInfo) meets(cond string, n int) bool {
	switch cond {
	case "inq":
		return i.Inq >= n
	case "acked":
		return i.Outq == 0
	case "backlog":
		return i.Backlog >= n
	case "probes":
		return i.Probes >= n
	case "retransmits":
		return i.Retransmits >= n
	}
	return i.State == cond
}

// opSegv ends the process by a real segmentation fault.
func opSegv(a *actor, q request, r *response) error {
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) //nolint:errcheck // only spares the host's core handler
	type sigaction struct {
		handler, flags, restorer, mask uintptr
	}
	var dfl sigaction
	_, _, no := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	if no != 0 {
		return fmt.Errorf("restore SIGSEGV: %w", no)
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("map page: %w", err)
	}
	page[0] = 1
	return errors.New("survived a segmentation fault")
}
