//go:build linux && !amd64

package lab

import "golang.org/x/sys/unix"

// Newer architectures have dup3 only.
func sysDup2(from, to int) error { return unix.Dup3(from, to, 0) }
