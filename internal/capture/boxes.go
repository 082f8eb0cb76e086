package capture

import (
	"math"

	"github.com/holdfast-project/holdfast/packet"
	"github.com/holdfast-project/holdfast/tcp"
)

// marks are what the RSTs of one device have in common, whoever's address they
// carry.
type marks struct {
	flags   packet.Flags
	window  uint16
	seqStep uint32 // from one RST of a pair to the next, 0 when it is alone
	idStep  uint16
}

// marksOf returns the marks of a RST, and whether they say anything: the kernels
// of hosts make a bare RST with window 0, and send it once.
func marksOf(e *tcp.Termination) (marks, bool) {
	m := marks{flags: e.Reset.Flags, window: e.Reset.Window}
	switch p := &e.Previous; {
	case e.After.SenderResets > 0:
		m.seqStep, m.idStep = e.After.SeqStep, e.After.IPIDStep
	case p.Frame != 0:
		m.seqStep, m.idStep = e.Reset.Seq-p.Seq, e.Reset.IPID-p.IPID
	}
	const jump = 64 // more than a lost record
	if m.seqStep <= jump || m.seqStep >= math.MaxUint32/2 {
		m.seqStep, m.idStep = 0, 0
	}
	if m.idStep > 16 { // chance
		m.idStep = 0
	}
	return m, m.seqStep != 0 || m.window != 0 && m.flags&packet.ACK == 0
}

// stranger reports whether a RST does not fit the host in whose name it came.
func stranger(e *tcp.Termination) bool {
	switch e.TTLKind() {
	case "far", "other-start":
		return true
	}
	return e.Counter() == "breaks" || e.Place() == "beyond" || e.Alive() && e.Conn.Sane()
}

// boxes looks for RSTs with the same marks in the name of different hosts, of
// which at least one does not fit its host: one device wrote them.
func boxes(list []*tcp.Termination, out []pattern) {
	groups := groupBy(list, func(e *tcp.Termination) (marks, bool) {
		if e.Kind != tcp.ByReset || e.Corrupt {
			return marks{}, false
		}
		return marksOf(e)
	})
	for _, g := range groups {
		hosts, odd := map[packet.Addr]bool{}, map[packet.Addr]bool{}
		for _, i := range g {
			from := list[i].Conn.Addr[list[i].From]
			hosts[from] = true
			if stranger(list[i]) {
				odd[from] = true
			}
		}
		if len(odd) == 0 || len(odd)*2 < len(hosts) {
			continue
		}
		for _, i := range g {
			out[i].oneBox = int64(len(hosts))
		}
	}
}
