//go:build !linux

package steady

import (
	"net"
	"time"
)

func setUserTimeout(*net.TCPConn, time.Duration) {}

func isPlainTCP(uintptr) bool { return false }
