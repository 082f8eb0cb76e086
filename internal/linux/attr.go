package linux

import (
	"encoding/binary"
	"iter"
)

// attributes walks the type-length-value list of a netlink message, in host
// byte order. A truncated attribute ends the walk. Types come without the
// flags for nesting and byte order.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
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

// attribute appends one attribute with its padding.
func attribute(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// nested appends an attribute that consists of attributes.
func nested(b []byte, typ uint16, value []byte) []byte {
	return attribute(b, typ|0x8000, value)
}

// be16, be32 and be64 read network byte order; a short value is 0.
func be16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// cstring returns the text before the first NUL, made printable.
func cstring(b []byte) string {
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return Clean(b, 256)
}

// nativeU64 reads host byte order; a short value is 0.
func nativeU64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}
