package linux

import (
	"debug/elf"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestRootKernelSymbols(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("reading kernel addresses needs root")
	}
	s, err := (&Host{}).Symbols()
	if err != nil {
		t.Skip(err)
	}
	addr := s.Address("tcp_v4_rcv")
	if name, off := s.Lookup(addr + 7); addr == 0 || name != "tcp_v4_rcv" || off != 7 {
		t.Errorf("%x: %s+%d of %d", addr, name, off, s.Len())
	}
}

func TestUserSymbol(t *testing.T) {
	h := &Host{}
	pc := reflect.ValueOf(runtime.Version).Pointer()
	if got := h.UserSymbol(os.Getpid(), uint64(pc)+1); !strings.Contains(got, "(runtime.Version)") && !strings.Contains(got, "linux.test+0x") {
		t.Errorf("%q", got)
	}
	if got := h.UserSymbol(os.Getpid(), 16); got != "" {
		t.Errorf("nothing is mapped there: %q", got)
	}
	if got := h.UserSymbol(1<<30, 16); got != "" {
		t.Errorf("no such process: %q", got)
	}
}

func TestUserSymbolOfStrippedGo(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	f := &elfFile{}
	f.addGo(e)
	pc := reflect.ValueOf(runtime.Version).Pointer()
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD {
			f.loads = append(f.loads, p.ProgHeader)
		}
	}
	for _, p := range f.loads {
		if uint64(pc) >= p.Vaddr && uint64(pc) < p.Vaddr+p.Filesz {
			if name, ok := f.symbol(uint64(pc) - p.Vaddr + p.Off); !ok || name != "runtime.Version" {
				t.Errorf("%q %v", name, ok)
			}
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	h := &Host{}
	for b.Loop() {
		h.Process(os.Getpid())
	}
}

func BenchmarkProcessesGet(b *testing.B) {
	c := NewProcesses(&Host{}, 0)
	for b.Loop() {
		c.Get(os.Getpid())
	}
}
