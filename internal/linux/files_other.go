//go:build !linux

package linux

import "os"

func fileID(string) (dev, ino uint64, size int64, regular bool) { return }

func statFile(*os.File) (dev, ino uint64, size int64, regular bool) { return }

func openRegular(string) (*os.File, error) { return nil, ErrUnsupported }

// OpenIn needs Linux.
func (h *Host) OpenIn(int, string) (*os.File, error) { return nil, ErrUnsupported }
