//go:build !linux

package logs

import "os"

func keyOf(File, os.FileInfo) fileKey { return fileKey{} }
