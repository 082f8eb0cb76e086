package logs

import (
	"os"
	"syscall"
)

// keyOf identifies a file for as long as it exists.
func keyOf(f File, fi os.FileInfo) fileKey {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fileKey{uint64(st.Dev), st.Ino, f.Path}
	}
	return fileKey{}
}
