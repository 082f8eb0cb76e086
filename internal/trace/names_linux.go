package trace

import (
	"strconv"

	"golang.org/x/sys/unix"
)

var stateNames = [...]string{1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV"}

// The states that the code below asks for (include/net/tcp_states.h).
const (
	stEstablished = 1
	stSynSent     = 2
	stSynRecv     = 3
	stFinWait1    = 4
	stFinWait2    = 5
	stTimeWait    = 6
	stClose       = 7
	stCloseWait   = 8
	stLastAck     = 9
	stListen      = 10
	stClosing     = 11
	stNewSynRecv  = 12
)

func stateName(s uint8) string {
	if int(s) < len(stateNames) && s > 0 {
		return stateNames[s]
	}
	return "UNKNOWN"
}

func errnoName(e int32) string {
	if n := unix.ErrnoName(unix.Errno(e)); n != "" {
		return n
	}
	return "errno " + strconv.Itoa(int(e))
}

func signalName(s int32) string {
	if n := unix.SignalName(unix.Signal(s)); n != "" {
		return n
	}
	return "signal " + strconv.Itoa(int(s))
}

// syscallName names the calls that close, shut or break connections; others
// by number.
func syscallName(nr int32) string {
	if n, ok := syscalls[nr]; ok {
		return n
	}
	return "syscall " + strconv.Itoa(int(nr))
}

var syscalls = merge(archSyscalls, map[int32]string{
	unix.SYS_CLOSE: "close", unix.SYS_CLOSE_RANGE: "close_range", unix.SYS_SHUTDOWN: "shutdown", unix.SYS_EXIT: "exit", unix.SYS_EXIT_GROUP: "exit_group",
	unix.SYS_CONNECT: "connect", unix.SYS_DUP3: "dup3", unix.SYS_EXECVE: "execve", unix.SYS_EXECVEAT: "execveat", unix.SYS_SENDTO: "sendto",
	unix.SYS_SENDMSG: "sendmsg", unix.SYS_SENDMMSG: "sendmmsg", unix.SYS_RECVFROM: "recvfrom", unix.SYS_RECVMSG: "recvmsg", unix.SYS_READ: "read", unix.SYS_WRITE: "write",
	unix.SYS_WRITEV: "writev", unix.SYS_READV: "readv", unix.SYS_SETSOCKOPT: "setsockopt", unix.SYS_ACCEPT: "accept", unix.SYS_ACCEPT4: "accept4",
	unix.SYS_IO_URING_ENTER: "io_uring_enter", unix.SYS_SPLICE: "splice", unix.SYS_SENDFILE: "sendfile", unix.SYS_KILL: "kill", unix.SYS_BPF: "bpf",
})

func merge(a, b map[int32]string) map[int32]string {
	for k, v := range a {
		b[k] = v
	}
	return b
}
