//go:build !linux

package linux

import (
	"io"
	"os"
)

// readFile appends up to limit bytes of a file to b.
func readFile(path string, b []byte, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return b, err
	}
	defer f.Close()
	got, err := io.ReadAll(io.LimitReader(f, int64(limit)))
	return append(b, got...), err
}
