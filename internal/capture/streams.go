package capture

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// streams numbers connections as Wireshark does: in the order of their first
// frames (tcp.stream). Connections are found by several workers at the same
// time, so the first frames are marked in a bitmap, one bit for each frame of
// the capture, and a number is the count of marks before.
type streams struct {
	mu    sync.Mutex // guards the growth of pages
	pages atomic.Pointer[[]*page]
	ranks []int64 // marks before each page, made by seal
}

const pageWords = 1 << 12

type page [pageWords]uint64

const pageFrames = pageWords * 64

// mark notes that a connection begins with a frame. Frames count from 1.
func (s *streams) mark(frame int64) {
	p := s.page(int(frame / pageFrames))
	atomic.OrUint64(&p[frame%pageFrames/64], 1<<(frame%64))
}

func (s *streams) page(i int) *page {
	if list := s.pages.Load(); list != nil && i < len(*list) {
		return (*list)[i]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*page
	if old := s.pages.Load(); old != nil {
		list = append(list, *old...)
	}
	for len(list) <= i {
		list = append(list, new(page))
	}
	s.pages.Store(&list)
	return list[i]
}

// seal makes number quick. No mark may follow.
func (s *streams) seal() {
	list := s.pages.Load()
	if list == nil {
		return
	}
	var n int64
	for _, p := range *list {
		s.ranks = append(s.ranks, n)
		for _, w := range p {
			n += int64(bits.OnesCount64(w))
		}
	}
}

// number returns the stream number of the connection that begins with a frame.
func (s *streams) number(frame int64) int64 {
	list := s.pages.Load()
	i := int(frame / pageFrames)
	if list == nil || i >= len(*list) || i >= len(s.ranks) {
		return -1
	}
	p, n := (*list)[i], s.ranks[i]
	word := frame % pageFrames / 64
	for _, w := range p[:word] {
		n += int64(bits.OnesCount64(w))
	}
	return n + int64(bits.OnesCount64(p[word]&(1<<(frame%64)-1)))
}
