package linux

import (
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
