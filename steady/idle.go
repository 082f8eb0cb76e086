package steady

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	idleSamples = 16               // closes remembered for each upstream
	idleMemory  = 10 * time.Minute // after which a learned timeout is tried again
	idleFloor   = time.Millisecond // a close sooner than this was not by an idle timer
)

// upstream is what was learned of one address.
type upstream struct {
	timeout atomic.Int64 // learned idle timeout, 0 when unknown
	expires atomic.Int64
	path    atomic.Int64 // shortest silence after which the path had lost the connection
	pathAge atomic.Int64 // when that is forgotten
	down    atomic.Bool  // the last dial failed

	survived atomic.Int64         // longest silence after which a connection lived
	watched  atomic.Int64         // since when the watched connection is silent; 0 when there is none
	rest     atomic.Int64         // not to watch again before
	watching atomic.Pointer[Conn] // the one

	mu      sync.Mutex
	samples []time.Duration // guarded by mu
	next    int
}

// sawIdleClose notes that the peer closed after a silence of d. One close may
// have another reason, so the timeout is the second shortest of the last ones,
// or the only one.
func (u *upstream) sawIdleClose(d time.Duration) {
	if d < idleFloor {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now() > u.expires.Load() {
		u.samples, u.next = u.samples[:0], 0
	}
	if len(u.samples) < idleSamples {
		u.samples = append(u.samples, d)
	} else {
		u.samples[u.next%idleSamples] = d
	}
	u.next++
	sorted := slices.Sorted(slices.Values(u.samples))
	u.learn(sorted[min(1, len(sorted)-1)])
}

func (u *upstream) learn(d time.Duration) {
	u.expires.Store(now() + int64(idleMemory))
	u.timeout.Store(int64(d))
}

// idleLimit returns how long a connection may be silent and still be used:
// the learned timeout less a margin for the way there and for slow timers. 0
// means no limit is known.
func (u *upstream) idleLimit(rtt time.Duration, at int64) time.Duration {
	path := u.pathLimit(at) * 3 / 4
	d := time.Duration(u.timeout.Load())
	if d == 0 || at > u.expires.Load() {
		return path
	}
	margin := min(max(d/4, time.Millisecond), 2*time.Second) + 2*rtt
	d = max(d-margin, d/4)
	if path > 0 {
		d = min(d, path)
	}
	return d
}

// pathFloor is the shortest silence that a device on a path is blamed for:
// timers of NAT and firewalls are not shorter.
const pathFloor = 10 * time.Second

// sawPathLoss notes that a connection was dead, without a FIN, after a silence
// of d: the server or a device between had forgotten it.
func (u *upstream) sawPathLoss(d time.Duration) {
	if d < pathFloor {
		return
	}
	if p := u.path.Load(); p == 0 || int64(d) < p || now() > u.pathAge.Load() {
		u.path.Store(int64(d))
	}
	u.pathAge.Store(now() + int64(time.Hour))
}

// pathLimit returns the learned timer of the path, 0 when there is none.
func (u *upstream) pathLimit(at int64) time.Duration {
	p := u.path.Load()
	if p == 0 || at > u.pathAge.Load() {
		return 0
	}
	return time.Duration(p)
}

const (
	// careFrom is the silence from which on a request that may not be executed
	// twice asks whether a connection to this server ever lived for so long.
	careFrom = 2 * time.Millisecond
	// watchMost is how long a connection is kept open only to be watched.
	watchMost = 90 * time.Second
	// watchRest is the time between two, once a timeout is known.
	watchRest = time.Second
)

// untried reports whether a silence is longer than what connections to this
// server were seen to survive, less a margin. The server may have its timer
// just there, and a request that meets the close may be lost without a proof.
func (u *upstream) untried(silence time.Duration, at int64) bool {
	if silence < careFrom {
		return false
	}
	known := u.survived.Load()
	if int64(silence) <= known/4*3 {
		return false
	}
	since, w := u.watched.Load(), u.watching.Load()
	if since == 0 || w == nil || int64(silence) > (at-since)/4*3 {
		return true
	}
	// Its reader may not have run yet since it ended.
	s := w.snapshot(false)
	return s.Taken && s.State != stateEstablished
}

// lived notes that a connection lived after a silence of d.
func (u *upstream) lived(d time.Duration) {
	for old := u.survived.Load(); int64(d) > old; old = u.survived.Load() {
		if u.survived.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// outlived notes that a watched connection lived for d. A learned timeout that is
// much shorter came from something else, such as a restart of the server; it may
// be three times as short where a server looks at its timers now and then.
func (u *upstream) outlived(d time.Duration) {
	u.lived(d)
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := time.Duration(u.timeout.Load()); t > 0 && d >= outlives(t) {
		u.samples, u.next = u.samples[:0], 0
		u.timeout.Store(0)
	}
}

func outlives(t time.Duration) time.Duration { return 3*t + 100*time.Millisecond }

// watch takes c, which is silent and of no other use, unless one is watched
// already, and says for how long.
func (u *upstream) watch(c *Conn) (time.Duration, bool) {
	at := now()
	if at < u.rest.Load() || !u.watching.CompareAndSwap(nil, c) {
		return 0, false
	}
	since := c.lastRead.Load()
	u.watched.Store(max(1, since))
	patience := watchMost
	if t := time.Duration(u.timeout.Load()); t > 0 {
		u.rest.Store(at + int64(watchRest))
		patience = min(max(outlives(t)-time.Duration(at-since), time.Millisecond), watchMost)
	}
	return patience, true
}

// unwatch ends the watching of c.
func (u *upstream) unwatch(c *Conn) {
	u.watched.Store(0)
	u.watching.CompareAndSwap(c, nil)
}

// stop closes the watched connection.
func (u *upstream) stop() {
	if c := u.watching.Load(); c != nil {
		c.endWatch(0, net.ErrClosed)
	}
}

// readKeepAlive learns from the header Keep-Alive: timeout=N (RFC 2068
// 19.7.1.1; Apache, Node and others send it).
func (u *upstream) readKeepAlive(h http.Header) {
	v := h["Keep-Alive"]
	if len(v) == 0 || u == nil {
		return
	}
	for part := range strings.SplitSeq(v[0], ",") {
		name, val, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(name, "timeout") {
			continue
		}
		if n, err := strconv.Atoi(val); err == nil && n > 0 && n < 1<<20 {
			u.mu.Lock()
			if d := time.Duration(n) * time.Second; len(u.samples) == 0 || d < time.Duration(u.timeout.Load()) {
				u.learn(d)
			}
			u.mu.Unlock()
		}
	}
}

// table keeps one T for each name, at most tableSize of them.
type table[T any] struct {
	make func() *T

	last atomic.Pointer[entry[T]] // asked for last: most clients talk to few servers

	mu sync.RWMutex
	m  map[string]*entry[T] // guarded by mu
}

type entry[T any] struct {
	name string
	v    *T
}

const tableSize = 1024

// get returns the entry of name, made if need be. A full table forgets an
// arbitrary one; that costs only learning it again.
func (t *table[T]) get(name string) *T {
	if e := t.last.Load(); e != nil && e.name == name {
		return e.v
	}
	t.mu.RLock()
	e := t.m[name]
	t.mu.RUnlock()
	if e == nil {
		e = t.add(name)
	}
	t.last.Store(e)
	return e.v
}

// find returns the entry of name; nil when there is none.
func (t *table[T]) find(name string) *T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.m[name]; e != nil {
		return e.v
	}
	return nil
}

func (t *table[T]) add(name string) *entry[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.m[name]; e != nil {
		return e
	}
	if t.m == nil {
		t.m = make(map[string]*entry[T])
	}
	if len(t.m) >= tableSize {
		for k := range t.m {
			delete(t.m, k)
			break
		}
	}
	e := &entry[T]{strings.Clone(name), t.make()}
	t.m[e.name] = e
	return e
}

// each calls f for every entry.
func (t *table[T]) each(f func(*T)) {
	t.mu.RLock()
	all := slices.Collect(maps.Values(t.m))
	t.mu.RUnlock()
	for _, e := range all {
		f(e.v)
	}
}
