package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Writer writes pcapng with nanoseconds, in the byte order that most machines
// have. Each call writes once: give it a bufio.Writer where that matters.
type Writer struct {
	w          io.Writer
	buf        []byte
	start      int // of the last block in buf
	interfaces int
}

// NewWriter writes the header of a section with its interfaces. Records refer to
// them by Record.Interface.
func NewWriter(w io.Writer, interfaces []Interface) (*Writer, error) {
	p := &Writer{w: w}
	p.begin(blockSection)
	p.u32(magicOrder)
	p.u32(1)           // version 1.0
	p.u32(0xffff_ffff) // length of the section: not given
	p.u32(0xffff_ffff)
	p.end()
	for _, i := range interfaces {
		p.addInterface(i)
	}
	return p, p.flush()
}

// AddInterface writes one more interface and returns its index.
func (w *Writer) AddInterface(i Interface) (index uint16, err error) {
	if w.interfaces >= maxInterfaces {
		return 0, fmt.Errorf("write capture: more than %d interfaces", maxInterfaces)
	}
	w.addInterface(i)
	return uint16(w.interfaces - 1), w.flush()
}

func (w *Writer) addInterface(i Interface) {
	w.begin(blockInterface)
	w.u32(uint32(i.Link))
	w.u32(uint32(i.SnapLen))
	w.text(optName, i.Name)
	w.text(optDescription, i.Description)
	w.option(optTSResol, []byte{9})
	w.u32(optEnd)
	w.end()
	w.interfaces++
}

// Write writes one frame. Its bytes are data, whatever rec.Captured says; the
// comment, when there is one, is shown by Wireshark beside the frame.
func (w *Writer) Write(rec *Record, data []byte, comment string) error {
	if int(rec.Interface) >= w.interfaces {
		return fmt.Errorf("write capture: a frame of interface %d, and there are %d", rec.Interface, w.interfaces)
	}
	if len(data) > maxRecord-1<<17 {
		return fmt.Errorf("write capture: a frame of %d bytes is too long", len(data))
	}
	w.begin(blockEnhanced)
	w.u32(uint32(rec.Interface))
	w.u32(uint32(uint64(rec.Time) >> 32))
	w.u32(uint32(rec.Time))
	w.u32(uint32(len(data)))
	w.u32(max(rec.Length, uint32(len(data))))
	w.padded(data)
	w.text(optComment, comment)
	if rec.Direction != DirUnknown {
		w.option(optFlags, []byte{byte(rec.Direction), 0, 0, 0})
	}
	if comment != "" || rec.Direction != DirUnknown {
		w.u32(optEnd)
	}
	w.end()
	return w.flush()
}

// Statistics writes when the capture of an interface ended, ns since 1970, and
// how many frames it lost. Without it nobody can tell silence from the end of
// the capture.
func (w *Writer) Statistics(index uint16, until int64, lost uint64) error {
	w.begin(blockStatistics)
	w.u32(uint32(index))
	w.u32(uint32(uint64(until) >> 32))
	w.u32(uint32(until))
	w.option(optEndTime, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(uint64(until)>>32)), uint32(until)))
	w.option(optInterfaceDrop, binary.LittleEndian.AppendUint64(nil, lost))
	w.u32(optEnd)
	w.end()
	return w.flush()
}

// begin starts a block in buf. Blocks follow each other there until flush.
func (w *Writer) begin(kind uint32) {
	w.start = len(w.buf)
	w.u32(kind)
	w.u32(0) // its length, which end fills in
}

func (w *Writer) end() {
	size := uint32(len(w.buf) - w.start + 4)
	binary.LittleEndian.PutUint32(w.buf[w.start+4:], size)
	w.u32(size)
}

func (w *Writer) flush() error {
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

func (w *Writer) u32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }

// padded appends b with zeros up to a multiple of four.
func (w *Writer) padded(b []byte) {
	w.buf = append(w.buf, b...)
	w.buf = append(w.buf, make([]byte, -len(b)&3)...)
}

func (w *Writer) option(code uint16, v []byte) {
	w.u32(uint32(code) | uint32(len(v))<<16)
	w.padded(v)
}

// text writes an option when there is text, at most what an option can hold.
func (w *Writer) text(code uint16, s string) {
	if s != "" {
		w.option(code, []byte(s[:min(len(s), 0xffff)]))
	}
}

// PcapWriter writes the older pcap format with nanoseconds: one link type, no
// directions, no comments, times from 1970 to 2106.
type PcapWriter struct {
	w   io.Writer
	buf []byte
}

// NewPcapWriter writes the header of a file; snapLen 0 stands for no limit.
func NewPcapWriter(w io.Writer, link LinkType, snapLen int) (*PcapWriter, error) {
	if snapLen == 0 {
		snapLen = 262144 // MAXIMUM_SNAPLEN of libpcap
	}
	h := binary.LittleEndian.AppendUint32(nil, magicNano)
	h = binary.LittleEndian.AppendUint32(h, 4<<16|2) // version 2.4
	h = append(h, make([]byte, 8)...)
	h = binary.LittleEndian.AppendUint32(h, uint32(snapLen))
	h = binary.LittleEndian.AppendUint32(h, uint32(link))
	if _, err := w.Write(h); err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	return &PcapWriter{w: w}, nil
}

// Write writes one frame, whose bytes are data.
func (w *PcapWriter) Write(rec *Record, data []byte) error {
	sec, ns := rec.Time/1e9, rec.Time%1e9
	if rec.Time < 0 || sec > 0xffff_ffff {
		return errors.New("write capture: the time does not fit into pcap, use pcapng")
	}
	b := binary.LittleEndian.AppendUint32(w.buf[:0], uint32(sec))
	b = binary.LittleEndian.AppendUint32(b, uint32(ns))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, max(rec.Length, uint32(len(data))))
	w.buf = append(b, data...)
	if _, err := w.w.Write(w.buf); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}
