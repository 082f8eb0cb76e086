package resettest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// header is a name and a value.
type header struct{ name, value string }

// hpackDecoder decodes header blocks (RFC 7541). One belongs to one connection.
type hpackDecoder struct {
	dynamic []header // newest first
	size    int      // as RFC 7541 4.1 counts it
	max     int
}

// The limits of a header block.
const (
	hpackTable = 4096    // SETTINGS_HEADER_TABLE_SIZE that the peer may assume
	hpackList  = 1 << 16 // octets of names and values in a block
)

var errHpack = errors.New("header block is not HPACK")

// decode returns the fields of a block.
func (d *hpackDecoder) decode(b []byte) ([]header, error) {
	var list []header
	total := 0
	for len(b) > 0 {
		var h header
		var ok bool
		var err error
		if h, ok, b, err = d.field(b); err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if total += len(h.name) + len(h.value); total > hpackList {
			return nil, fmt.Errorf("header block of more than %d octets", hpackList)
		}
		list = append(list, h)
	}
	return list, nil
}

// field decodes one representation (RFC 7541 6). ok is false for a change of the
// table size.
func (d *hpackDecoder) field(b []byte) (h header, ok bool, rest []byte, err error) {
	switch {
	case b[0]&0x80 != 0: // indexed
		i, rest, err := hpackInt(b, 7)
		if err != nil {
			return h, false, nil, err
		}
		h, err = d.at(i)
		return h, true, rest, err
	case b[0]&0xc0 == 0x40: // literal, to be remembered
		h, rest, err = d.literal(b, 6)
		if err == nil {
			d.remember(h)
		}
		return h, true, rest, err
	case b[0]&0xe0 == 0x20: // size of the table
		n, rest, err := hpackInt(b, 5)
		if err != nil || n > hpackTable {
			return h, false, nil, errHpack
		}
		d.max = n
		d.evict()
		return h, false, rest, nil
	}
	h, rest, err = d.literal(b, 4)
	return h, true, rest, err
}

func (d *hpackDecoder) literal(b []byte, bits int) (h header, rest []byte, err error) {
	i, b, err := hpackInt(b, bits)
	if err != nil {
		return h, nil, err
	}
	if i > 0 {
		if h, err = d.at(i); err != nil {
			return h, nil, err
		}
	} else if h.name, b, err = hpackString(b); err != nil {
		return h, nil, err
	}
	h.value, rest, err = hpackString(b)
	return h, rest, err
}

func (d *hpackDecoder) at(i int) (header, error) {
	fixed := staticHeaders()
	switch {
	case i >= 1 && i <= len(fixed):
		return fixed[i-1], nil
	case i > len(fixed) && i <= len(fixed)+len(d.dynamic):
		return d.dynamic[i-len(fixed)-1], nil
	}
	return header{}, errHpack
}

func (d *hpackDecoder) remember(h header) {
	d.dynamic = append([]header{h}, d.dynamic...)
	d.size += len(h.name) + len(h.value) + 32
	d.evict()
}

func (d *hpackDecoder) evict() {
	for d.size > d.max {
		last := len(d.dynamic) - 1
		d.size -= len(d.dynamic[last].name) + len(d.dynamic[last].value) + 32
		d.dynamic = d.dynamic[:last]
	}
}

// staticHeaders is RFC 7541 Appendix A.
var staticHeaders = sync.OnceValue(func() []header {
	var list []header
	for f := range strings.SplitSeq(staticTable, "|") {
		name, value, _ := strings.Cut(f, "=")
		list = append(list, header{name, value})
	}
	return list
})

// hpackInt decodes an integer with a prefix of so many bits (RFC 7541 5.1).
func hpackInt(b []byte, bits int) (int, []byte, error) {
	if len(b) == 0 {
		return 0, nil, errHpack
	}
	mask := byte(1<<bits - 1)
	n := int(b[0] & mask)
	b = b[1:]
	if n < int(mask) {
		return n, b, nil
	}
	for shift := 0; shift <= 21; shift += 7 {
		if len(b) == 0 {
			break
		}
		c := b[0]
		b = b[1:]
		n += int(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, b, nil
		}
	}
	return 0, nil, errHpack
}

// hpackString decodes a string (RFC 7541 5.2).
func hpackString(b []byte) (string, []byte, error) {
	if len(b) == 0 {
		return "", nil, errHpack
	}
	packed := b[0]&0x80 != 0
	n, b, err := hpackInt(b, 7)
	if err != nil || n > len(b) {
		return "", nil, errHpack
	}
	if !packed {
		return string(b[:n]), b[n:], nil
	}
	s, err := unhuffman(b[:n])
	return s, b[n:], err
}

// huffmanNode is a node of the code tree: children, or an octet.
type huffmanNode struct {
	next  [2]*huffmanNode
	octet byte
}

// huffmanTree builds the tree from the lengths: the code is canonical, codes of one
// length follow each other in the order of their octets. The end of string, thirty
// ones, has no node: it must not appear in a string.
var huffmanTree = sync.OnceValue(func() *huffmanNode {
	root := &huffmanNode{}
	code := uint32(0)
	for bits := 1; bits <= 30; bits++ {
		code <<= 1
		for octet := range huffmanLengths {
			if huffmanLength(octet) == bits {
				root.insert(code, bits, byte(octet))
				code++
			}
		}
	}
	return root
})

func huffmanLength(octet int) int {
	if c := huffmanLengths[octet]; c >= 'a' {
		return int(c-'a') + 1
	}
	return int(huffmanLengths[octet]-'A') + 27
}

func (n *huffmanNode) insert(code uint32, bits int, octet byte) {
	for i := bits - 1; i >= 0; i-- {
		b := code >> i & 1
		if n.next[b] == nil {
			n.next[b] = &huffmanNode{}
		}
		n = n.next[b]
	}
	n.octet = octet
}

// unhuffman decodes a packed string. Padding is at most seven ones.
func unhuffman(b []byte) (string, error) {
	var out strings.Builder
	root := huffmanTree()
	n, depth, ones := root, 0, true
	for _, c := range b {
		for i := 7; i >= 0; i-- {
			bit := c >> i & 1
			ones = ones && bit == 1
			depth++
			if n = n.next[bit]; n == nil {
				return "", errHpack
			}
			if n.next[0] == nil && n.next[1] == nil {
				out.WriteByte(n.octet)
				n, depth, ones = root, 0, true
			}
		}
	}
	if depth > 7 || !ones {
		return "", errHpack
	}
	return out.String(), nil
}
