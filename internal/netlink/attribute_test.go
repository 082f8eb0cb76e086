package netlink

import (
	"bytes"
	"testing"
)

func TestAttributes(t *testing.T) {
	b := AppendAttribute(nil, 1, []byte("abc"))
	b = AppendNested(b, 2, AppendAttribute(nil, 3, []byte{0, 0, 1, 2}))
	b = AppendAttribute(b, 4, nil)
	if len(b)%4 != 0 {
		t.Errorf("%d bytes are not aligned", len(b))
	}
	got := Attrs(b)
	if string(got[1]) != "abc" || got[4] == nil || len(got[4]) != 0 || got[3] != nil {
		t.Errorf("%q", got)
	}
	if n := Uint32(Attrs(got[2])[3]); n != 0x102 {
		t.Errorf("nested: %#x", n)
	}
	for n := range b { // cut anywhere: fewer attributes, never a wrong one
		for typ, v := range Attributes(b[:n]) {
			if !bytes.Equal(v, got[typ]) {
				t.Errorf("cut at %d: attribute %d is %q", n, typ, v)
			}
		}
	}
}

func TestShortNumbers(t *testing.T) {
	if Uint16([]byte{1}) != 0 || Uint32([]byte{1, 2, 3}) != 0 || Uint64(nil) != 0 || NativeUint64([]byte{1}) != 0 {
		t.Error("a short value is not 0")
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(AppendAttribute(nil, 1, []byte("abc")))
	f.Add([]byte{4, 0, 1, 0, 3, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for _, v := range Attributes(b) {
			total += 4 + len(v)
		}
		if total > len(b) {
			t.Errorf("%d bytes of attributes in %d", total, len(b))
		}
	})
}
