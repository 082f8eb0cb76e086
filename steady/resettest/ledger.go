package resettest

import (
	"slices"
	"sync"
)

// Entry is what really happened to one request, written down by the server at
// each step, not copied from the fault.
type Entry struct {
	ID        string `json:"id"`              // of the request, see Server; empty when it was never read
	Attempt   int    `json:"attempt"`         // 1 for the first request with this ID
	Conn      int    `json:"conn"`            // number of the connection, from 1
	Request   int    `json:"request"`         // number of the request on its connection, from 1
	Method    string `json:"method"`          // empty when it was never read
	Path      string `json:"path"`            // likewise
	Fault     string `json:"fault,omitempty"` // empty: none
	Body      int64  `json:"body"`            // octets of the body that were read
	Sent      int64  `json:"sent"`            // octets of the answer given to the socket, HTTP/1.1 head included
	Arrived   Extent `json:"arrived"`         // Some: at least one octet; the server did not see more
	Delivered Extent `json:"delivered"`       // read by the server
	Executed  bool   `json:"executed"`        // its effect took place
	Answered  Extent `json:"answered"`        // given to the socket
}

// Ledger is what a Server did. All methods are safe for concurrent use.
type Ledger struct {
	limit int

	mu       sync.Mutex
	entries  []Entry        // guarded by mu
	attempts map[string]int // guarded by mu
	executed map[string]int // guarded by mu
	refused  int            // guarded by mu
}

func newLedger(limit int) *Ledger {
	return &Ledger{limit: limit, attempts: map[string]int{}, executed: map[string]int{}}
}

// Entries returns a copy of all entries in order of arrival.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Of returns the entries of one request, one for each attempt.
func (l *Ledger) Of(id string) []Entry {
	return slices.DeleteFunc(l.Entries(), func(e Entry) bool { return e.ID != id })
}

// Hit returns the entries that met a fault; of one fault when a name is given.
func (l *Ledger) Hit(fault string) []Entry {
	return slices.DeleteFunc(l.Entries(), func(e Entry) bool {
		return e.Fault == "" || fault != "" && e.Fault != fault
	})
}

// Executed returns how many times the request with that ID was executed.
func (l *Ledger) Executed(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.executed[id]
}

// Duplicates returns the requests that were executed more than once, sorted.
func (l *Ledger) Duplicates() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id, n := range l.executed {
		if n > 1 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Executions returns how many requests had their effect, repeats included.
func (l *Ledger) Executions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, k := range l.executed {
		n += k
	}
	return n
}

// Refused returns how many entries found the ledger full and were not kept. While
// it is 0, the ledger is complete.
func (l *Ledger) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// attempt counts a request by its ID and returns the number of this attempt.
func (l *Ledger) attempt(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.attempts[id]; !known && len(l.attempts) >= l.limit {
		return 1
	}
	l.attempts[id]++
	return l.attempts[id]
}

// open adds an entry and returns its number, or -1 when the ledger is full.
func (l *Ledger) open(e Entry) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) >= l.limit {
		l.refused++
		return -1
	}
	l.entries = append(l.entries, e)
	return len(l.entries) - 1
}

// note changes an entry.
func (l *Ledger) note(i int, change func(*Entry)) {
	if i < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[i]
	before := e.Executed
	change(e)
	if e.Executed && !before {
		l.executed[e.ID]++
	}
}
