// Package netlink speaks to the kernel by netlink sockets: one request at a time, and
// the type-length-value lists of its messages. It knows no protocol on top; packages
// linux and nft do. Everything that is read may be cut short or hostile.
//
// To see the messages, run the program under `strace -e trace=sendto,recvfrom`.
package netlink

import (
	"encoding/binary"
	"iter"
)

// Attributes walks the type-length-value list of a netlink message, in host
// byte order. A truncated AppendAttribute ends the walk. Types come without the
// flags for nesting and byte order.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			size, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
			if size < 4 || size > len(b) {
				return
			}
			if !yield(typ&0x3fff, b[4:size]) {
				return
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// AppendAttribute appends one AppendAttribute with its padding.
func AppendAttribute(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// AppendNested appends an AppendAttribute that consists of attributes.
func AppendNested(b []byte, typ uint16, value []byte) []byte {
	return AppendAttribute(b, typ|0x8000, value)
}

// Uint16 reads network byte order; a short value is 0.
func Uint16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// Uint32 reads network byte order; a short value is 0.
func Uint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64 reads network byte order; a short value is 0.
func Uint64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// NativeUint32 reads host byte order; a short value is 0.
func NativeUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// NativeUint64 reads host byte order; a short value is 0.
func NativeUint64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

// Attrs collects the attributes of a list by number; higher numbers are left out.
func Attrs(b []byte) (out [12][]byte) {
	for typ, v := range Attributes(b) {
		if int(typ) < len(out) {
			out[typ] = v
		}
	}
	return out
}
