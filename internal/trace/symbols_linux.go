package trace

import (
	"fmt"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// symbolTable names kernel functions. Firewall modules are loaded with the
// first rule that needs them, which may be long after the source was opened:
// an address outside the core kernel makes it look whether that happened.
type symbolTable struct {
	host   *linux.Host
	known  *linux.Symbols
	core   [2]uint64 // first and last address of the core kernel's text
	stamp  uint64    // of the modules that known knows
	looked time.Time
}

// modulesEvery is shorter than the hold of an observation, so that the look
// before the flush came after the event.
const modulesEvery = 20 * time.Millisecond

func openSymbols(h *linux.Host) (*symbolTable, error) {
	t := &symbolTable{host: h}
	t.stamp, _ = h.ModulesStamp() // a kernel without modules has none
	if err := t.read(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *symbolTable) read() error {
	known, err := t.host.Symbols()
	if err != nil {
		return fmt.Errorf("read kernel symbols: %w", err)
	}
	t.known = known
	t.core = [2]uint64{known.Address("_stext"), known.Address("_etext")}
	return nil
}

// Lookup returns the function that contains addr and the distance from its
// start, "" when it is not known.
func (t *symbolTable) Lookup(addr uint64) (name string, offset uint64) {
	if (addr < t.core[0] || addr >= t.core[1]) && time.Since(t.looked) > modulesEvery {
		t.looked = time.Now()
		if stamp, err := t.host.ModulesStamp(); err == nil && stamp != t.stamp && t.read() == nil {
			t.stamp = stamp
		}
	}
	return t.known.Lookup(addr)
}
