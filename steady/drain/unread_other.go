//go:build !linux

package drain

func unread(uintptr) (int, bool) { return 0, false }
