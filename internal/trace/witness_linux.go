package trace

import (
	"fmt"
	"sync/atomic"
	"time"
)

// witness are the wire hooks: RSTs that leave, and RSTs that arrive. They run for
// every packet, which is about half of what watching costs, so that on demand
// they are attached only after a sign of resets that no socket sent: netfilter
// dropped a TCP segment, a socket was reset and nobody here sent it, a RST was
// refused. They stay while such signs come, and witnessFor longer.
type witness struct {
	kernel *kernel
	since  atomic.Uint64 // monotonic time of attaching, 0 when off
	sign   uint64        // time of the last sign; Run's goroutine only
	demand bool
}

const witnessFor = uint64(10 * time.Minute)

// The hooks of the witness.
const (
	leaving  = "wire"
	arriving = "arrive"
)

var witnessHooks = map[string]string{leaving: "tp_btf/net_dev_queue", arriving: "tp_btf/netif_receive_skb"}

// newWitness takes over the wire hooks that the ladder attached. On demand it
// detaches them at once, unless this kernel shows replies without a socket
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

// off detaches; the programs stay loaded.
func (w *witness) off() {
	w.since.Store(0)
	for name, l := range w.kernel.witness {
		_ = l.Close() // what cannot be detached goes with the process
		delete(w.kernel.witness, name)
	}
}

// arm notes a sign, and attaches what was off.
func (w *witness) arm() error {
	if err := w.attach(arriving); err != nil {
		return err
	}
	if w.since.Load() != 0 {
		return nil
	}
	if err := w.attach(leaving); err != nil {
		return err
	}
	w.since.Store(monotonic())
	return nil
}

// armArrivals does so for RSTs that arrive: one came from outside, and of the
// next one the packet shall be known.
func (w *witness) armArrivals() error { return w.attach(arriving) }

func (w *witness) attach(name string) error {
	w.sign = monotonic()
	p := w.kernel.programs[name]
	if !w.demand || p == nil || w.kernel.witness[name] != nil {
		return nil
	}
	l, err := hook(p, witnessHooks[name])
	if err != nil {
		return fmt.Errorf("attach the wire witness: %w", err)
	}
	w.kernel.witness[name] = l
	return nil
}

// rest detaches when there was no sign for long.
func (w *witness) rest(now uint64) {
	if w.demand && len(w.kernel.witness) > 0 && now-w.sign > witnessFor {
		w.off()
	}
}

// saw says whether the witness was on at that time, so that its silence means
// something.
func (w *witness) saw(at uint64) bool {
	since := w.since.Load()
	return since != 0 && since < at
}
