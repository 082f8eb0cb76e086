package trace

import (
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// maxInbox bounds the records between the drainer and the joiner: 30 MB, or
// seconds of the largest rate at which the kernel records.
const maxInbox = 32768

// inbox holds drained records until they are joined.
type inbox struct {
	more chan struct{} // something was put; one pending signal is enough

	mu      sync.Mutex // guards all below
	events  []*resetEvent
	until   uint64                // everything older, in monotonic ns, was put
	lost    [kindEnded + 1]uint64 // records refused, by kind
	refuses uint64
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

// put adds a record, or only notes that all records older than until were put.
func (b *inbox) put(e *resetEvent, until uint64) {
	b.mu.Lock()
	b.until = max(b.until, until)
	switch {
	case e == nil:
	case len(b.events) >= maxInbox:
		b.lost[min(int(e.Kind), len(b.lost)-1)]++
		b.refuses++
	default:
		b.events = append(b.events, e)
	}
	some := len(b.events) > 0
	b.mu.Unlock()
	if e == nil && some {
		select {
		case b.more <- struct{}{}:
		default:
		}
	}
}

// take returns what was put, and until when that is all there was.
func (b *inbox) take() (events []*resetEvent, until uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	events, b.events = b.events, nil
	return events, b.until
}

// refused counts the records that found the inbox full.
func (b *inbox) refused() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refuses
}

func (b *inbox) refusedOf(kind uint32) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost[kind]
}

// newLosses returns what was lost or folded since the last call.
func (s *Source) newLosses(now uint64) (l Loss, ok bool) {
	var sum HookStats
	for _, h := range s.Stats().PerHook {
		sum.Lost += h.Lost
		sum.Suppressed += h.Suppressed
	}
	from := s.toldAt
	s.toldAt = now
	if sum == s.told {
		return l, false
	}
	l = Loss{Lost: sum.Lost - s.told.Lost, Folded: sum.Suppressed - s.told.Suppressed}
	l.From, l.To = s.host.host.MonotonicToTime(from), s.host.host.MonotonicToTime(now)
	s.told = sum
	return l, true
}

// haste is the nice value of the source's threads: a host that is busy is the
// one that has resets.
const haste = -10

// hurry raises the priority of the threads of this process, where that is
// permitted, and returns what undoes it. All of them, because Go moves
// goroutines between threads; threads to come inherit it.
func hurry() (undo func()) {
	old, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return func() {}
	}
	was := 20 - old // the system call returns 20 - nice
	if was <= haste || setNice(haste) != nil {
		return func() {}
	}
	return func() { _ = setNice(was) }
}

func setNice(n int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, n); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}
