package trace

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// memory reads the per-CPU rings of closes and opens that the state hook
// writes. Records are indexed only when a question needs them, so that a busy
// host pays nothing for history that nobody asks about.
type memory struct {
	closes, opens []byte // mapped read-only while somebody asks; a mapping counts as resident memory
	maps          map[string]*ebpf.Map
	asked         uint64 // monotonic ns of the latest question
	cpu           *ebpf.Map
	cpus, slots   int
	doneC, doneO  []uint64           // records of each CPU already indexed
	byTuple       map[uint64]closeAt // latest close of a tuple
	ended         map[uint64]closeAt // the latest that ended badly after its close
	bySock        map[uint64]openAt  // latest open of a socket address
	openTuple     map[uint64]uint64  // when a tuple was last opened
	heads         []resetCPU
	started       uint64 // monotonic ns when recording began
	oldest        uint64 // time of the oldest close record that is surely still there
}

type closeAt struct {
	ts   uint64
	slot int
}

type openAt struct {
	ts, key uint64
	active  bool
}

// resetCPU mirrors struct cpu; the generator does not emit it because only C
// writes it. Size is checked against the map when it is opened.
type resetCPU struct {
	Closes, Opens uint64
	_             [9]uint64
}

func openMemory(k *kernel, now uint64) (*memory, error) {
	m := &memory{maps: k.maps, cpu: k.maps["cpu"], cpus: k.cpus, slots: k.slots, doneC: make([]uint64, k.cpus), doneO: make([]uint64, k.cpus),
		byTuple: map[uint64]closeAt{}, ended: map[uint64]closeAt{}, bySock: map[uint64]openAt{}, openTuple: map[uint64]uint64{}, started: now}
	if got, want := int(m.cpu.ValueSize()), int(unsafe.Sizeof(resetCPU{})); got != want {
		return nil, fmt.Errorf("internal error: struct cpu has %d bytes, Go expects %d", got, want)
	}
	if err := m.mapRings(); err != nil { // now, so that a refusal is known before anything is watched
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *memory) mapRings() (err error) {
	if m.closes == nil {
		if m.closes, err = mapMemory(m.maps["closes"], m.slots*m.cpus*int(unsafe.Sizeof(resetCloseRecord{}))); err != nil {
			return err
		}
	}
	if m.opens == nil {
		m.opens, err = mapMemory(m.maps["opens"], m.slots*m.cpus*int(unsafe.Sizeof(resetOpenRecord{})))
	}
	return err
}

// restAfter is how long the rings stay mapped after the latest question.
const restAfter = 5 * time.Second

// rest gives the mappings back when nobody has asked for a while.
func (m *memory) rest(now uint64) {
	if now-min(m.asked, now) > uint64(restAfter) {
		m.close()
	}
}

func mapMemory(m *ebpf.Map, size int) ([]byte, error) {
	page := unix.Getpagesize()
	b, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of closes: %w", err)
	}
	return b, nil
}

func (m *memory) close() {
	if m == nil {
		return
	}
	for _, b := range []*[]byte{&m.closes, &m.opens} {
		if *b != nil {
			_ = unix.Munmap(*b)
			*b = nil
		}
	}
}

func (m *memory) closeRecord(slot int) *resetCloseRecord {
	return (*resetCloseRecord)(unsafe.Pointer(&m.closes[slot*int(unsafe.Sizeof(resetCloseRecord{}))]))
}

func (m *memory) openRecord(slot int) *resetOpenRecord {
	return (*resetOpenRecord)(unsafe.Pointer(&m.opens[slot*int(unsafe.Sizeof(resetOpenRecord{}))]))
}

// refresh indexes the records written since the last call.
func (m *memory) refresh() error {
	m.asked = monotonic()
	if err := m.mapRings(); err != nil {
		return err
	}
	m.heads = m.heads[:0]
	if err := m.cpu.Lookup(uint32(0), &m.heads); err != nil {
		return fmt.Errorf("read the heads of the close rings: %w", err)
	}
	if len(m.byTuple) > 2*m.slots*m.cpus || len(m.bySock) > 2*m.slots*m.cpus { // entries whose slots were overwritten
		clear(m.byTuple)
		clear(m.ended)
		clear(m.bySock)
		clear(m.openTuple)
		clear(m.doneC)
		clear(m.doneO)
	}
	m.oldest = m.started
	for cpu, h := range m.heads {
		if cpu >= m.cpus {
			break
		}
		base := cpu * m.slots
		for n := m.from(m.doneC[cpu], h.Closes); n < h.Closes; n++ {
			slot := base + int(n)&(m.slots-1)
			r := m.closeRecord(slot)
			of := m.byTuple
			if r.isEnd() {
				of = m.ended
			}
			if r.TsNs != 0 && r.TsNs >= of[r.Key].ts {
				of[r.Key] = closeAt{r.TsNs, slot}
			}
		}
		m.doneC[cpu] = h.Closes
		if h.Closes > uint64(m.slots) {
			m.oldest = max(m.oldest, m.closeRecord(base+int(h.Closes)&(m.slots-1)).TsNs)
		}
		for n := m.from(m.doneO[cpu], h.Opens); n < h.Opens; n++ {
			if r := m.openRecord(base + int(n)&(m.slots-1)); r.TsNs >= m.bySock[r.Sk].ts {
				m.bySock[r.Sk] = openAt{r.TsNs, r.Key, r.Active == 1}
				m.openTuple[r.Key] = r.TsNs
			}
		}
		m.doneO[cpu] = h.Opens
	}
	return nil
}

// from returns the first record to index. The head moves before the record is
// written, so that the last few are looked at again.
func (m *memory) from(done, head uint64) uint64 {
	const again = 64
	return max(done-min(done, again), head-min(head, uint64(m.slots)))
}

// closed returns the latest close of the tuple at or before the monotonic time
// at, as a copy, and how far back the memory reaches.
func (m *memory) closed(netns uint64, local, remote netip.AddrPort, at uint64) (rec resetCloseRecord, horizon time.Duration, ok bool) {
	horizon = time.Duration(at - min(m.oldest, at))
	rec, ok = m.find(m.byTuple, netns, local, remote, at)
	return rec, horizon, ok
}

// endedBadly returns how a connection that its process had closed ended, when
// that was by an error.
func (m *memory) endedBadly(netns uint64, local, remote netip.AddrPort, at uint64) (rec resetCloseRecord, ok bool) {
	return m.find(m.ended, netns, local, remote, at)
}

func (m *memory) find(of map[uint64]closeAt, netns uint64, local, remote netip.AddrPort, at uint64) (rec resetCloseRecord, ok bool) {
	key := tupleKey(netns, local, remote)
	c, found := of[key]
	if !found || m.closes == nil {
		return rec, false
	}
	rec = *m.closeRecord(c.slot)
	if rec.TsNs != c.ts || rec.Key != key || rec.Lport != local.Port() || rec.Rport != remote.Port() || rec.TsNs > at {
		return rec, false // overwritten meanwhile, or torn
	}
	return rec, true
}

// isEnd says whether a record is no local close, but the error that ended a
// connection after one.
func (r *resetCloseRecord) isEnd() bool { return r.To == stClose && r.Owned == 0 && finSent(r.From) }

// opened returns when the socket at that kernel address was established and
// whether it was the side that connected. The tuple's key tells it from
// another socket that had the same memory.
func (m *memory) opened(sk, key, at uint64) (ts uint64, active, ok bool) {
	o, found := m.bySock[sk]
	if !found || o.ts > at || o.key != key {
		return 0, false, false
	}
	return o.ts, o.active, true
}

// had says whether the namespace is remembered to have had a socket of the
// tuple before the monotonic time at.
func (m *memory) had(netns uint64, local, remote netip.AddrPort, at uint64) bool {
	key := tupleKey(netns, local, remote)
	if ts, ok := m.openTuple[key]; ok && ts <= at {
		return true
	}
	c, ok := m.byTuple[key]
	if !ok {
		c, ok = m.ended[key]
	}
	return ok && c.ts <= at
}

// search returns the latest namespace with a cookie from low to high, of the
// highest 65,536 of them, that had a socket of the tuple before at.
func (m *memory) search(low, high, except uint64, local, remote netip.AddrPort, at uint64) (uint64, bool) {
	const most = 1 << 16
	low = max(low, high-min(high, most))
	for ns := high; ns > 0 && ns >= low; ns-- {
		if ns != except && m.had(ns, local, remote, at) {
			return ns, true
		}
	}
	return 0, false
}

// tupleKey is tuple_key of reset.bpf.c.
func tupleKey(netns uint64, local, remote netip.AddrPort) uint64 {
	h := netns
	if l, r := local.Addr().Unmap(), remote.Addr().Unmap(); l.Is4() && r.Is4() {
		l4, r4 := l.As4(), r.As4()
		h = mix(h, uint64(word(l4[:]))<<32|uint64(word(r4[:])))
	} else {
		l16, r16 := local.Addr().As16(), remote.Addr().As16()
		for _, a := range [][16]byte{l16, r16} {
			h = mix(h, uint64(word(a[0:]))<<32|uint64(word(a[4:])))
			h = mix(h, uint64(word(a[8:]))<<32|uint64(word(a[12:])))
		}
	}
	return mix(h, uint64(local.Port())<<16|uint64(remote.Port()))
}

// word is four bytes of an address as the kernel holds them, on a
// little-endian machine.
func word(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}
