package trace

import (
	"net/netip"
	"time"
)

// scanner is a source of SYNs, as one namespace sees it, or a process of this
// host.
type scanner struct {
	netns uint64
	pid   int
	from  netip.Addr
}

// scanningProcess is the number of ports at which a process of this host must
// be refused within a second to be taken for a scanner: no program has so many
// peers, and loses all of them.
const scanningProcess = 40

// scans are the ports at which a source's SYNs were refused, by namespace.
type scans map[scanner]*knocks

// knocks are the latest of them.
type knocks struct {
	at   [64]uint64
	port [64]uint16
	next int
}

const scanMemory = uint64(time.Second)

// knock remembers that a SYN of w was refused at port. It counts before the
// hold is over, so that the first port of a quick scan already sees the others.
func (s scans) knock(w scanner, port uint16, at uint64) {
	k := s[w]
	if k == nil {
		if len(s) >= maxDrops {
			clear(s)
		}
		k = &knocks{}
		s[w] = k
	}
	k.at[k.next%len(k.at)], k.port[k.next%len(k.at)] = at, port
	k.next++
}

// ports counts the different ports at which the source was refused lately.
func (s scans) ports(w scanner, at uint64) int64 {
	k := s[w]
	if k == nil {
		return 0
	}
	seen := map[uint16]bool{}
	for i := range min(k.next, len(k.at)) {
		if k.at[i]+scanMemory >= at {
			seen[k.port[i]] = true
		}
	}
	return int64(len(seen))
}
