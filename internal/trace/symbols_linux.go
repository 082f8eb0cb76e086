package trace

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// symbolTable names kernel functions. Firewall modules are loaded with the
// first rule that needs them, which may be long after the source was opened:
// an address outside the core kernel makes it look whether that happened.
type symbolTable struct {
	host *linux.Host
	read chan struct{} // closed when the first reading is over; guards all below until then

	err    error // of the first reading
	known  *linux.Symbols
	core   [2]uint64 // first and last address of the core kernel's text
	stamp  uint64    // of the modules that known knows
	looked time.Time
}

// modulesEvery is shorter than the hold of an observation, so that the look
// before the flush came after the event.
const modulesEvery = 20 * time.Millisecond

// openSymbols starts to read the table, which takes some 50 ms: the first
// lookup waits for it, opening does not. Call it when the programs are
// attached, so that it has their names too; wait before the process ends.
func openSymbols(h *linux.Host) (*symbolTable, error) {
	if err := h.SymbolsVisible(); err != nil {
		return nil, err
	}
	t := &symbolTable{host: h, read: make(chan struct{})}
	go func() {
		defer close(t.read)
		t.stamp, _ = h.ModulesStamp() // a kernel without modules has none
		t.err = t.load()
		debug.FreeOSMemory() // loading the programs took 30 MB that are never needed again
	}()
	return t, nil
}

// wait returns the error of the first reading.
func (t *symbolTable) wait() error {
	if t == nil {
		return nil
	}
	<-t.read
	return t.err
}

// failed returns the error of the first reading if that is over.
func (t *symbolTable) failed() error {
	select {
	case <-t.read:
		return t.err
	default:
		return nil
	}
}

func (t *symbolTable) load() error {
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
	if t.wait() != nil {
		return "", 0
	}
	if (addr < t.core[0] || addr >= t.core[1]) && time.Since(t.looked) > modulesEvery {
		t.looked = time.Now()
		if stamp, err := t.host.ModulesStamp(); err == nil && stamp != t.stamp && t.load() == nil {
			t.stamp = stamp
		}
	}
	return t.known.Lookup(addr)
}
