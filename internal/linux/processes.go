package linux

import (
	"container/list"
	"sync"
	"time"
)

// How long parts of a remembered process are believed.
const (
	varyEvery     = 200 * time.Millisecond // open files, state of the cgroup
	describeEvery = 30 * time.Second       // cgroup, command line
)

// Processes remembers processes, also after they ended, so that a reset of a
// dead process can still be named. It holds a bounded number of them and
// forgets the one not asked for longest.
type Processes struct {
	host  *Host
	limit int

	mu sync.Mutex // guards all below

	byKey   map[procKey]*list.Element // of *procEntry
	byPID   map[int]*list.Element     // the youngest with that number
	recent  *list.List                // front: asked for last
	evicted uint64
}

type procKey struct {
	pid   int
	start uint64
}

type procEntry struct {
	p                 Process
	described, varied time.Time
}

// NewProcesses returns an empty memory of at most limit processes; 0 means
// 4096.
func NewProcesses(h *Host, limit int) *Processes {
	if limit <= 0 {
		limit = 4096
	}
	return &Processes{host: h, limit: limit, recent: list.New(),
		byKey: map[procKey]*list.Element{}, byPID: map[int]*list.Element{}}
}

// Get returns the process with that number: the living one, or else the one
// remembered, with Gone set. It is false when the process has ended and was
// never asked for while it lived. A known process costs about 10 microseconds.
func (c *Processes) Get(pid int) (Process, bool) {
	st, err := c.host.stat(pid)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return c.lockedRemembered(pid)
	}
	now := time.Now()
	key := procKey{st.pid, st.start}
	el, ok := c.byKey[key]
	if !ok {
		el = c.lockedAdd(key)
	}
	e := el.Value.(*procEntry)
	if e.p.image != st.image || now.Sub(e.described) > describeEvery {
		e.p, e.described, e.varied = c.host.describe(st), now, time.Time{}
	}
	if now.Sub(e.varied) > varyEvery {
		c.host.vary(&e.p)
		e.varied = now
	}
	e.p.State, e.p.PPID, e.p.PGID = st.state, st.ppid, st.pgid
	c.recent.MoveToFront(el)
	return e.p, true
}

// Evicted returns how many processes were forgotten for lack of room.
func (c *Processes) Evicted() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evicted
}

// Len returns how many processes are remembered.
func (c *Processes) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Len()
}

// lockedRemembered returns what is known of a process that is not there.
func (c *Processes) lockedRemembered(pid int) (Process, bool) {
	el, ok := c.byPID[pid]
	if !ok {
		return Process{}, false
	}
	c.recent.MoveToFront(el)
	p := el.Value.(*procEntry).p
	p.Gone = true
	return p, true
}

// lockedAdd makes room and adds an empty entry.
func (c *Processes) lockedAdd(key procKey) *list.Element {
	for c.recent.Len() >= c.limit {
		old := c.recent.Back()
		p := &old.Value.(*procEntry).p
		delete(c.byKey, procKey{p.PID, p.StartTicks})
		if c.byPID[p.PID] == old {
			delete(c.byPID, p.PID)
		}
		c.recent.Remove(old)
		c.evicted++
	}
	e := &procEntry{p: Process{PID: key.pid, StartTicks: key.start}}
	el := c.recent.PushFront(e)
	c.byKey[key], c.byPID[key.pid] = el, el
	return el
}
