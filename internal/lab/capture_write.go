//go:build linux

package lab

import (
	"bufio"
	"io"
	"slices"

	"github.com/holdfast-project/holdfast/packet"
)

// writeTapes writes what a host saw as pcapng, with the interfaces of h.
func writeTapes(w io.Writer, h *RecordedHost, tapes []*tape) error {
	var list []packet.Interface
	for _, name := range h.Interfaces {
		list = append(list, packet.Interface{Link: packet.LinkEthernet, Name: name})
	}
	b := bufio.NewWriterSize(w, 1<<20)
	out, err := packet.NewWriter(b, list)
	if err != nil {
		return err
	}
	for _, t := range tapes {
		for i := range t.frames {
			f := &t.frames[i]
			r := packet.Record{
				Captured: uint32(len(f.data)), Length: uint32(f.size), Link: packet.LinkEthernet, Time: f.at, Direction: packet.DirIn,
				Interface: uint16(slices.Index(h.Interfaces, t.names[f.name])),
			}
			if f.out {
				r.Direction = packet.DirOut
			}
			if err := out.Write(&r, f.data, ""); err != nil {
				return err
			}
		}
	}
	for _, t := range tapes {
		for i := range h.Interfaces {
			if err := out.Statistics(uint16(i), t.until, uint64(t.lost)); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}
