package linux

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Bounds of symbolising user space.
const (
	maxMaps    = 4 << 20
	maxELF     = 32
	maxELFSize = 512 << 20
	maxGoTable = 128 << 20
)

// userSymbols caches symbol tables by file identity.
type userSymbols struct {
	mu    sync.Mutex // guards files
	files map[string]*elfFile
}

// elfFile is one executable or library: where it is loaded and its functions.
type elfFile struct {
	loads []elf.ProgHeader
	addrs []uint64
	sizes []uint64
	names []string
}

// mapping is one executable line of /proc/PID/maps.
type mapping struct {
	start, end, offset uint64
	dev, inode, path   string
}

// UserSymbol names an address of a process: "libc.so.6+0x117f1b (shutdown)",
// without symbols "app+0x1234", and "" when nothing executable is mapped
// there.
func (h *Host) UserSymbol(pid int, addr uint64) string {
	var m mapping
	_ = read(h.proc(pid, "maps"), maxMaps, func(b []byte) error {
		m = findMapping(b, addr)
		return nil
	})
	if m.path == "" {
		return ""
	}
	if m.path[0] != '/' {
		return fmt.Sprintf("%s+%#x", Clean([]byte(m.path), 64), addr-m.start)
	}
	file := h.elf(pid, m)
	name := Clean([]byte(path.Base(strings.TrimSuffix(m.path, " (deleted)"))), 128)
	fileOff := addr - m.start + m.offset
	if sym, ok := file.symbol(fileOff); ok {
		return fmt.Sprintf("%s+%#x (%s)", name, fileOff, sym)
	}
	return fmt.Sprintf("%s+%#x", name, fileOff)
}

// findMapping returns the executable mapping that holds addr.
func findMapping(b []byte, addr uint64) (m mapping) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		f := bytes.Fields(line)
		if len(f) < 6 || len(f[1]) < 3 || f[1][2] != 'x' {
			continue
		}
		from, to, ok := strings.Cut(string(f[0]), "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		off, err3 := strconv.ParseUint(string(f[2]), 16, 64)
		if !ok || err1 != nil || err2 != nil || err3 != nil || addr < start || addr >= end {
			continue
		}
		i := bytes.Index(line, f[5])
		if j := bytes.IndexByte(line, '/'); j >= 0 {
			i = j
		}
		return mapping{start: start, end: end, offset: off, dev: string(f[3]), inode: string(f[4]), path: string(line[i:])}
	}
	return m
}

// elf returns the symbols of a mapped file, through the process's own root so
// that containers work, nil when it cannot be read.
func (h *Host) elf(pid int, m mapping) *elfFile {
	key := m.dev + ":" + m.inode + ":" + m.path
	c := &h.users
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.files[key]; ok {
		return f
	}
	if c.files == nil || len(c.files) >= maxELF {
		c.files = map[string]*elfFile{}
	}
	f, err := readELF(h.proc(pid, "map_files/"+strconv.FormatUint(m.start, 16)+"-"+strconv.FormatUint(m.end, 16)))
	if err != nil {
		f, _ = readELF(h.proc(pid, "root"+m.path))
	}
	c.files[key] = f
	return f
}

// readELF reads the function symbols of a file.
func readELF(file string) (out *elfFile, err error) {
	fi, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxELFSize {
		return nil, fmt.Errorf("%s is not a program", file)
	}
	defer func() {
		if r := recover(); r != nil { // debug/elf is not promised to survive every file
			out, err = nil, fmt.Errorf("read %s: %v", file, r)
		}
	}()
	e, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	out = &elfFile{}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD {
			out.loads = append(out.loads, p.ProgHeader)
		}
	}
	syms, _ := e.Symbols()
	dyn, _ := e.DynamicSymbols()
	out.setSymbols(append(syms, dyn...))
	if len(syms) == 0 {
		out.addGo(e)
	}
	return out, nil
}

// addGo adds the functions of a stripped Go program, which keeps their names
// for its own stack traces.
func (f *elfFile) addGo(e *elf.File) {
	table, text := e.Section(".gopclntab"), e.Section(".text")
	if table == nil {
		table = e.Section(".data.rel.ro.gopclntab")
	}
	if table == nil || text == nil || table.Size > maxGoTable {
		return
	}
	data, err := table.Data()
	if err != nil {
		return
	}
	funcs, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return
	}
	syms := make([]elf.Symbol, 0, len(funcs.Funcs))
	for _, fn := range funcs.Funcs {
		syms = append(syms, elf.Symbol{Name: fn.Name, Info: byte(elf.STT_FUNC), Value: fn.Entry, Size: fn.End - fn.Entry})
	}
	f.setSymbols(syms)
}

// setSymbols keeps the functions, sorted by address.
func (f *elfFile) setSymbols(syms []elf.Symbol) {
	syms = slices.DeleteFunc(syms, func(s elf.Symbol) bool {
		t := elf.ST_TYPE(s.Info)
		return s.Value == 0 || t != elf.STT_FUNC && t != elf.STT_GNU_IFUNC
	})
	slices.SortStableFunc(syms, func(a, b elf.Symbol) int {
		switch {
		case a.Value < b.Value:
			return -1
		case a.Value > b.Value:
			return 1
		}
		return 0
	})
	f.addrs, f.sizes, f.names = nil, nil, nil
	for _, s := range syms {
		f.addrs = append(f.addrs, s.Value)
		f.sizes = append(f.sizes, s.Size)
		f.names = append(f.names, Clean([]byte(s.Name), 200))
	}
}

// symbol returns the function at an offset of the file.
func (f *elfFile) symbol(off uint64) (string, bool) {
	if f == nil {
		return "", false
	}
	addr, ok := f.address(off)
	if !ok {
		return "", false
	}
	i, exact := slices.BinarySearch(f.addrs, addr)
	if !exact {
		i--
	}
	if i < 0 || f.sizes[i] != 0 && addr-f.addrs[i] >= f.sizes[i] || addr-f.addrs[i] > 16<<20 {
		return "", false
	}
	return f.names[i], true
}

// address converts an offset of the file to an address of its symbol table.
func (f *elfFile) address(off uint64) (uint64, bool) {
	for _, p := range f.loads {
		if off >= p.Off && off-p.Off < p.Filesz {
			return off - p.Off + p.Vaddr, true
		}
	}
	return 0, false
}
