package linux

import (
	"os"
	"path/filepath"
	"testing"
)

func TestModulesStamp(t *testing.T) {
	root := t.TempDir()
	h := &Host{Root: root}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	stamp := func(text string) uint64 {
		if err := os.WriteFile(filepath.Join(root, "proc/modules"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		n, err := h.ModulesStamp()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	one := stamp("veth 45056 0 - Live 0xffffffffc0400000\n")
	used := stamp("veth 45056 3 bridge, Live 0xffffffffc0400000\n")
	moved := stamp("veth 45056 0 - Live 0xffffffffc0500000\n")
	two := stamp("veth 45056 0 - Live 0xffffffffc0400000\nnf_tables 1 0 - Live 0xffffffffc0600000\n")
	if one != used || one == moved || one == two || stamp("") == one {
		t.Errorf("stamps %x, in use %x, reloaded %x, with another %x", one, used, moved, two)
	}
}
