package trace

import "golang.org/x/sys/unix"

var archSyscalls = map[int32]string{unix.SYS_DUP2: "dup2", unix.SYS_FORK: "fork"}
