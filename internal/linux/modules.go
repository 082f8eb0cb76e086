package linux

import (
	"bytes"
	"fmt"
	"hash/fnv"
)

// ModulesStamp returns a number that changes when a kernel module is loaded or
// removed, so that symbols read before can be told from those of now. It reads
// /proc/modules, some 100 microseconds.
func (h *Host) ModulesStamp() (uint64, error) {
	sum := fnv.New64a()
	err := read(h.path("proc/modules"), 1<<20, func(b []byte) error {
		for len(b) > 0 {
			var line []byte
			line, b = nextLine(b)
			// name size references users state address: references and users change by use
			for i, f := range bytes.Fields(line) {
				if i != 2 && i != 3 {
					sum.Write(f)
					sum.Write([]byte{' '})
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read modules: %w", err)
	}
	return sum.Sum64(), nil
}
