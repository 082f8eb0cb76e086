package trace

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/link"
)

// witness is the wire hook. It runs for every packet that leaves, which is
// about half of what watching costs, so that on demand it is attached only
// after a sign of resets that no socket sent: netfilter dropped a TCP segment,
// a socket was reset and nobody here sent it, a RST was refused. It stays while
// such signs come, and witnessFor longer.
type witness struct {
	kernel *kernel
	since  atomic.Uint64 // monotonic time of attaching, 0 when off
	sign   uint64        // time of the last sign; Run's goroutine only
	link   link.Link     // nil when off; Run's goroutine only, and Close
	demand bool
}

const witnessFor = uint64(10 * time.Minute)

// newWitness takes over the wire hook that the ladder attached. On demand it
// detaches it at once, unless this kernel shows replies without a socket
// nowhere else.
func newWitness(k *kernel, demand bool) *witness {
	w := &witness{kernel: k}
	if k.attached["wire"] == "" {
		return w
	}
	w.since.Store(1)
	w.demand = demand && (k.facts.sendArgs == 3 || k.attached["nosk4"] != "")
	if w.demand {
		w.off()
	}
	return w
}

// off detaches; the program stays loaded.
func (w *witness) off() {
	w.since.Store(0)
	l := w.link
	if l == nil { // the ladder's own
		l = w.kernel.wire
		w.kernel.wire = nil
	}
	w.link = nil
	if l != nil {
		_ = l.Close() // what can not be detached goes with the process
	}
}

// arm notes a sign, and attaches when the witness was off.
func (w *witness) arm() error {
	w.sign = monotonic()
	if !w.demand || w.since.Load() != 0 {
		return nil
	}
	l, err := hook(w.kernel.programs["wire"], "tp_btf/net_dev_queue")
	if err != nil {
		return fmt.Errorf("attach the wire witness: %w", err)
	}
	w.link = l
	w.since.Store(monotonic())
	return nil
}

// rest detaches when there was no sign for long.
func (w *witness) rest(now uint64) {
	if w.demand && w.since.Load() != 0 && now-w.sign > witnessFor {
		w.off()
	}
}

// saw says whether the witness was on at that time, so that its silence means
// something.
func (w *witness) saw(at uint64) bool {
	since := w.since.Load()
	return since != 0 && since < at
}
